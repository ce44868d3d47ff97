//! Videos, recipes and manifests of the benchmarks, made by ffmpeg once and kept in `target/bench-data/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use egofx::decode::VideoInfo;
use egofx::plan::Layout;
use egofx::recipe::Recipe;

use super::{Fallible, root, tools};

/// Where inputs are kept.
pub fn folder() -> PathBuf {
    // The program lies in <target>/release/deps/.
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(root()).join("bench-data")
}

/// 1080p, 30 s. Ten seconds are encoded and repeated, because encoding is slow; a key frame every 250 frames and one at
/// each repetition.
pub fn full_hd() -> Fallible<PathBuf> {
    let ten = encoded("full_hd_10.mp4", "testsrc2=s=1920x1080:r=30", 6, 10, &[])?;
    repeated("full_hd.mp4", &ten, 3)
}

/// 454x256, as the benchmarks' own copies of Ego4D are; 60 s.
pub fn small() -> Fallible<PathBuf> {
    encoded("small.mp4", "testsrc2=s=454x256:r=30", 8, 60, &[])
}

/// The same for 20 s.
pub fn short() -> Fallible<PathBuf> {
    encoded("short.mp4", "testsrc2=s=454x256:r=30", 8, 20, &[])
}

/// Like [`small`], as cameras write it: every frame is referred to by the next one.
pub fn small_without_b() -> Fallible<PathBuf> {
    encoded("small_without_b.mp4", "testsrc2=s=454x256:r=30", 8, 60, &["-bf", "0"])
}

/// Like [`small`], that many minutes.
pub fn long(minutes: u32) -> Fallible<PathBuf> {
    repeated(&format!("long_{minutes}.mp4"), &small()?, minutes)
}

/// A moving test image under fresh noise, so that macroblocks carry residuals as those of a camera do.
fn encoded(name: &str, image: &str, noise: u32, seconds: u32, options: &[&str]) -> Fallible<PathBuf> {
    made(name, |command| {
        command.args(["-f", "lavfi", "-i", image, "-t", &seconds.to_string()]);
        command.args(["-vf", &format!("noise=alls={noise}:allf=t"), "-pix_fmt", "yuv420p"]);
        command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", "250"]).args(options);
    })
}

fn repeated(name: &str, from: &Path, times: u32) -> Fallible<PathBuf> {
    made(name, |command| {
        command.args(["-stream_loop", &(times - 1).to_string(), "-i"]).arg(from).args(["-c", "copy"]);
    })
}

fn made(name: &str, arguments: impl FnOnce(&mut Command)) -> Fallible<PathBuf> {
    let path = folder().join(name);
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("making {name}");
    fs::create_dir_all(folder())?;
    let unfinished = path.with_extension("unfinished.mp4");
    let mut command = Command::new(tools()?.ffmpeg);
    command.args(["-v", "error", "-y"]).stdin(Stdio::null());
    arguments(&mut command);
    if !command.arg(&unfinished).status()?.success() {
        return Err(format!("ffmpeg cannot make {name}; it needs libx264").into());
    }
    fs::rename(unfinished, &path)?;
    Ok(path)
}

/// A recipe of the given grid, for the tiny backbone at 256x256.
pub fn recipe(name: &str, grid: &str) -> Fallible<Recipe> {
    Ok(Recipe::read(&recipe_file(name, grid)?)?)
}

/// The same as a file.
pub fn recipe_file(name: &str, grid: &str) -> Fallible<PathBuf> {
    recipe_of("tiny", name, grid)
}

/// The same for another backbone of one tower.
pub fn recipe_of(backbone: &str, name: &str, grid: &str) -> Fallible<PathBuf> {
    let path = folder().join("recipes").join(format!("{name}.toml"));
    fs::create_dir_all(folder().join("recipes"))?;
    let text = format!(
        "backbone = \"{backbone}\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n[grid]\n{grid}\n[transform]\nshort_side = 256\ncrop = 256\n\
         filter = \"bilinear\"\nchannels = \"rgb\"\nreader = \"decord\"\nprepare = \"video-resize\"\n\
         [output]\nformat = \"hdf5\"\ndtype = \"f32\"\n"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// EgoVLP's grid: 1.87 windows a second, 4 frames each.
pub const EGOVLP: &str = "kind = \"egovlp\"\nframes = 4";
/// Ego4D's grid: every frame, twice.
pub const EGO4D: &str = "kind = \"ego4d\"\nframes = 32\nstride = 16";
/// Ten frames a second in overlapping windows: little to decode, much to infer.
pub const DENSE: &str = "kind = \"uniform\"\nfps = \"10\"\nframes = 16\nstride = 1\ntail = \"drop\"";

/// A manifest of whole videos, or of their stretch `span` in seconds.
pub fn manifest(name: &str, video: &Path, span: Option<(f64, f64)>) -> Fallible<PathBuf> {
    let path = folder().join(format!("{name}.csv"));
    let (start, end) = span.map_or_else(Default::default, |(a, b)| (a.to_string(), b.to_string()));
    let stem = video.file_stem().unwrap_or_default().to_string_lossy();
    let row = format!("{stem},{},{stem},{start},{end}", video.display());
    fs::write(&path, format!("video_uid,path,clip_uid,start_sec,end_sec\n{row}\n"))?;
    Ok(path)
}

/// So many questions about a clip, beside the manifest of that name.
pub fn queries(name: &str, clip: &str, count: usize) -> Fallible<PathBuf> {
    let path = folder().join(format!("{name}.queries.csv"));
    let rows = (0..count).map(|i| format!("q{i},{clip},where did I put cup number {i}?,,\n")).collect::<String>();
    fs::write(&path, format!("query_id,clip_uid,text,start_sec,end_sec\n{rows}"))?;
    Ok(path)
}

/// A vocabulary of single bytes, in the files of RoBERTa's.
pub fn vocabulary(path: &Path) -> Fallible {
    let specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"].map(str::to_owned);
    // How byte-level BPE writes printable bytes; a blank is U+0120.
    let bytes = ('!'..='~').map(String::from).chain(["\u{120}".to_owned()]);
    let words: serde_json::Map<String, serde_json::Value> =
        specials.into_iter().chain(bytes).enumerate().map(|(id, word)| (word, id.into())).collect();
    fs::create_dir_all(path)?;
    fs::write(path.join("vocab.json"), serde_json::Value::Object(words).to_string())?;
    Ok(fs::write(path.join("merges.txt"), "#version: 0.2\n")?)
}

/// The frames that recipes want of a whole video, ascending.
pub fn wanted(video: &VideoInfo, recipes: &[Recipe]) -> Fallible<Vec<u64>> {
    let mut wanted = Vec::new();
    for recipe in recipes {
        wanted.extend(
            Layout::new(video, &recipe.frames().ok_or("no frames")?, recipe.body.compat, None)?
                .frames
                .into_iter()
                .flatten(),
        );
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}
