//! What a clip of a video costs a processor: read together as training does, alone, and by decord and TorchCodec; and how many steps
//! a second so many cores feed by that.
//!
//! `cargo bench --bench clips`, or `-- ROUNDS CLIPS`; `make bench-peers` of the root brings what is compared with, and without it our
//! half is measured. Clips are those of EgoClip: 4 frames of a second, at random in ten minutes of 454x256, with a key frame every 30
//! frames and every 250. All get the same clips, one thread, and open a video anew for each clip; what imports and first calls take
//! is left out. Ours end as the network takes them: cropped, scaled, normalised; the others' as they are decoded. Nothing fails by
//! the clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use egofx::compat::Compat;
use egofx::decode::{Channels, Reader, Tools};
use egofx_train::corpora::ahead::Ahead;
use egofx_train::corpora::choice::Choice;
use egofx_train::corpora::frames::{ClipSettings, Clips};
use egofx_train::corpora::listed::{Clip, ClipRef};
use egofx_train::rng::{Generator, Purpose, generator};
use egofx_train::sources::{Ffmpeg, Sources};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const KEY_FRAMES: [u32; 2] = [30, 250];
const ROUNDS: usize = 5;
const CLIPS: usize = 64;
const FRAMES: u32 = 4;
const SIDE: i64 = 224;
const BATCH: usize = 32;

/// Who else reads clips, and how it opens a video.
const PEERS: [(&str, &str); 3] = [("decord", ""), ("torchcodec", "exact"), ("torchcodec", "approximate")];

/// The clips of a round, which begin wherever it is.
struct Round {
    spans: Vec<[f64; 2]>,
    seed: u64,
}

impl Round {
    fn new(round: usize, clips: usize) -> Self {
        let start = |clip: usize| (clip * 7919 + round * 104_729) % 17_900;
        let spans = (0..clips).map(|clip| start(clip) as f64 / 30.0).map(|start| [start, start + 1.0]).collect();
        Self { spans, seed: round as u64 }
    }

    /// Each clip, and what is drawn for it.
    fn wanted<'v>(&'v self, path: &'v Path) -> impl Iterator<Item = (ClipRef<'v>, Generator)> {
        self.spans.iter().enumerate().map(move |(number, &span)| {
            let wanted = ClipRef { path, clip: Clip { video: 0, span: Some(span) } };
            (wanted, generator(self.seed, Purpose::Sample { number: number as u64 }))
        })
    }
}

fn main() -> Fallible<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let (rounds, count) = (numbers.next().unwrap_or(ROUNDS), numbers.next().unwrap_or(CLIPS));
    tch::set_num_threads(1);
    let clips = clips()?;
    println!("milliseconds of processor time a clip, {rounds} rounds of {count} clips: middle (least .. most)\n");
    let mut together = [0.0; KEY_FRAMES.len()];
    for (keys, together) in KEY_FRAMES.into_iter().zip(&mut together) {
        let path = video(keys)?;
        let mut costs: Vec<(String, Vec<f64>)> = Vec::new();
        for round in 0..rounds {
            let round = Round::new(round, count);
            for (name, cost) in ours(&clips, &path, &round)?.into_iter().chain(theirs(&clips, &path, &round)?) {
                match costs.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, found)) => found.push(cost),
                    None => costs.push((name, vec![cost])),
                }
            }
        }
        println!("a key frame every {keys} frames:");
        for (name, mut found) in costs {
            found.sort_by(f64::total_cmp);
            let middle = found[found.len() / 2];
            let (least, most) = (found[0], found[found.len() - 1]);
            println!("  {name:<32} {middle:6.1} ({least:.1} .. {most:.1})");
            if name == TOGETHER {
                *together = middle;
            }
        }
    }
    simulate(&together);
    Ok(())
}

const TOGETHER: &str = "egofx, 32 together";

/// Reads clips as pretraining does, and keeps no video in memory.
fn clips() -> Fallible<Clips> {
    let settings = ClipSettings {
        frames: FRAMES,
        hflip: true,
        short_side: 256,
        crop_scale: (0.5, 1.0),
        channels: Channels::Rgb,
        reader: Reader::Opencv,
    };
    let sources = Sources { ffmpeg: Ffmpeg::in_one_of(egofx::places::bases(), None), ..Sources::default() };
    Ok(Clips::new(&settings, SIDE, Compat::Fixed, &sources)?)
}

fn ours(clips: &Clips, path: &Path, round: &Round) -> Fallible<Vec<(String, f64)>> {
    // The probe is kept; it costs a run nothing after the first epoch.
    clips.video(path)?;
    let together = per_clip(round, || {
        for part in round.wanted(path).collect::<Vec<_>>().chunks_mut(BATCH) {
            let plan =
                |(wanted, draw): &(ClipRef, Generator)| clips.plan(*wanted, Choice::Narrated, Some(draw.clone()));
            let mut ahead: Ahead = part.iter().filter_map(plan).collect();
            for (wanted, draw) in part {
                let _ = clips.clip(&mut ahead, *wanted, Choice::Narrated, Some(draw))?;
            }
        }
        Ok(())
    })?;
    let alone = per_clip(round, || {
        for (wanted, mut draw) in round.wanted(path) {
            let _ = clips.clip(&mut Ahead::default(), wanted, Choice::Narrated, Some(&mut draw))?;
        }
        Ok(())
    })?;
    let named =
        |name: &str, [ffmpeg, own]: [f64; 2]| [(name.to_owned(), ffmpeg + own), (format!("{name}: ffmpeg"), ffmpeg)];
    Ok([named(TOGETHER, together), named("egofx, one by one", alone)].concat())
}

/// Milliseconds of ffmpeg and of this process.
fn per_clip(round: &Round, read: impl FnOnce() -> Fallible<()>) -> Fallible<[f64; 2]> {
    let before = processor_ms()?;
    read()?;
    let after = processor_ms()?;
    Ok([0, 1].map(|of| (after[of] - before[of]) / round.spans.len() as f64))
}

/// Of the processes that this one has waited for, and of this one; in hundredths of a second as Linux tells them.
fn processor_ms() -> Fallible<[f64; 2]> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let of = |from: usize| -> Fallible<f64> {
        let ticks = fields.get(from..from + 2).ok_or("/proc/self/stat is short")?;
        Ok(ticks.iter().flat_map(|text| text.parse::<u64>()).sum::<u64>() as f64 * 10.0)
    };
    Ok([of(13)?, of(11)?])
}

/// What the others take for the frames that are drawn here.
fn theirs(clips: &Clips, path: &Path, round: &Round) -> Fallible<Vec<(String, f64)>> {
    let video = clips.video(path)?;
    let frames = round.wanted(path).map(|(wanted, mut draw)| {
        let mut frames = Choice::Narrated.indices(&video, wanted, FRAMES, Compat::Fixed, Some(&mut draw))?;
        frames.sort_unstable();
        Ok(frames)
    });
    let frames = frames.collect::<Fallible<Vec<Vec<u64>>>>()?;
    let list = folder().join("clips.json");
    fs::write(&list, serde_json::to_vec(&frames)?)?;
    let mut found = Vec::new();
    for (reader, mode) in PEERS {
        let packages = ["torch", "peers"].map(|name| root().join(".runtime").join(name));
        let mut python = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
        python.env("PYTHONPATH", std::env::join_paths(packages)?).env("OMP_NUM_THREADS", "1");
        python.arg(root().join("training/benches/clips.py")).arg(reader).arg(path).arg(&list).arg(mode);
        let output = python.stdin(Stdio::null()).output()?;
        match String::from_utf8_lossy(&output.stdout).trim().parse() {
            Ok(cost) if output.status.success() => found.push((format!("{reader} {mode}"), cost)),
            _ => eprintln!("{reader}: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()),
        }
    }
    Ok(found)
}

/// How many steps a second so many cores feed, if reading clips is all that they do.
fn simulate(costs: &[f64]) {
    println!(
        "\nsteps a second that cores feed, by the middle of \"{TOGETHER}\"; a key frame every 30, every 250 frames:"
    );
    println!("| cores | batch 32 | batch 256 |\n|---|---|---|");
    for cores in [1, 2, 4, 8, 16, 32, 64] {
        let steps = |batch: f64| {
            let of: Vec<String> =
                costs.iter().map(|cost| format!("{:.2}", f64::from(cores) * 1e3 / cost / batch)).collect();
            of.join(", ")
        };
        println!("| {cores} | {} | {} |", steps(32.0), steps(256.0));
    }
}

/// Ten minutes of a moving test picture under noise, as `egofx chunk --for training` encodes, or without `--for`: a minute, repeated.
fn video(keys: u32) -> Fallible<PathBuf> {
    let (path, minute) = (folder().join(format!("clips_{keys}.mp4")), folder().join(format!("minute_{keys}.mp4")));
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(folder())?;
    let tools = Tools::find(None, None, &egofx::places::bases())?;
    let run = |arguments: &str, from: &Path, to: &Path| -> Fallible<()> {
        let mut command = tools.ffmpeg();
        command.args(["-v", "error", "-y"]).stdin(Stdio::null());
        let from = from.display().to_string();
        let words = arguments.split_whitespace().map(|word| if word == "FROM" { &from } else { word });
        let done = command.args(words).arg(to).status()?.success();
        if done { Ok(()) } else { Err(format!("ffmpeg cannot make {}", to.display()).into()) }
    };
    let image = "-f lavfi -i testsrc2=s=454x256:r=30 -t 60 -vf noise=alls=8:allf=t -pix_fmt yuv420p";
    run(&format!("{image} -c:v libx264 -preset medium -crf 23 -g {keys}"), Path::new(""), &minute)?;
    let unfinished = path.with_extension("unfinished.mp4");
    run("-stream_loop 9 -i FROM -c copy", &minute, &unfinished)?;
    fs::rename(unfinished, &path)?;
    Ok(path)
}

/// Where inputs are kept.
fn folder() -> PathBuf {
    // The program lies in <target>/release/deps/.
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(root()).join("bench-data")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".."))
}
