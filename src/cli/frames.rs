//! `egofx frames`: single frames of videos as image files.
//!
//! Not for which frame a time means, nor for decoding: that is the library's. Invariant: every frame that was asked for has a line
//! in the table or is told as missing.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use rayon::prelude::*;
use serde::Serialize;

use egofx::decode::{FfmpegSource, HwAccel, Reader};
use egofx::durable;
use egofx::frames::{At, CRITICAL, Format, FramesError, Had, Video, Wanted, Writer, critical_frames, read_times};
use egofx::ids::{VideoUid, uid_for};
use egofx::manifest::Manifest;
use egofx::meter::Meter;
use egofx::time::Fps;

use super::args::{Ffmpeg, cores};
use super::progress::{Progress, Reporting};
use super::{FAILED, plural, say, say_json, tell};

/// The table of all frames, in the output folder.
const TABLE: &str = "frames.csv";

/// Write single frames as JPEG or PNG: by time, by index, or those that annotations name.
///
/// Frames are decoded as for features, each proved by its timestamp, and written as
/// OUT/<video_uid>/<index>.jpg, the index counted from 0 in the order in which frames are shown.
/// OUT/frames.csv has a line for each frame that was asked for: its name, index, second and file.
/// A second means the frame that is shown then. The same command again keeps files that are there
/// and whole, of the same frame of the same file. The exit code is 1 if a frame could not be had.
///
///   egofx frames v.mp4 --at 1.5 --at 2.25 -o frames/
///   egofx frames -m all.csv --times times.csv -o frames/
///   egofx frames -m ego4d.csv --annotations fho_main.json --of pre --of pnr --of post -o frames/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Frames {
    /// One video, of which --at and --frame are wanted.
    #[arg(required_unless_present = "manifest", conflicts_with = "manifest")]
    video: Option<PathBuf>,
    /// A second of the video; may be repeated.
    #[arg(long, value_name = "SEC", requires = "video")]
    at: Vec<f64>,
    /// The index of a frame of the video, from 0; may be repeated.
    #[arg(long, value_name = "N", requires = "video")]
    frame: Vec<u64>,
    /// Videos: our CSV, Ego4D's manifest.csv or ego4d.json.
    #[arg(short, long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Folders that are searched, with all folders below, for videos whose path the manifest does not give.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// A CSV with the columns video_uid and sec or frame, or clip_uid and sec (of the clip), and name if there are names; may be
    /// repeated.
    #[arg(long, value_name = "FILE", requires = "manifest")]
    times: Vec<PathBuf>,
    /// Ego4D's fho_main.json, fho_oscc-pnr_*.json, fho_scod_*.json, fho_hands_*.json or fho_sta_*.json, whose frames count 30 a
    /// second; may be repeated.
    #[arg(long, value_name = "FILE", requires = "manifest")]
    annotations: Vec<PathBuf>,
    /// Which frames of the annotations; may be repeated. sta is the last frame that short-term anticipation sees.
    #[arg(long, value_name = "KIND", value_parser = CRITICAL.to_vec(), default_values = ["pre", "pnr", "post"])]
    of: Vec<String>,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// jpeg is small, png has the pixels as they are.
    #[arg(long, value_name = "FORMAT", default_value = "jpeg")]
    format: FormatName,
    /// Of JPEG files, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Whose arithmetic makes colours of coded frames, as in recipes.
    #[arg(long, value_name = "READER", default_value = "exact")]
    reader: ReaderName,
    /// Videos that are decoded side by side [default: half the cores].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Say which frames would be written, by the headers of the files, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replace image files of other frames or forms.
    #[arg(long)]
    force: bool,
    /// Print the frames as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporting: Reporting,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Jpeg,
    Png,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReaderName {
    Exact,
    Decord,
    Opencv,
    Pyav,
}

/// A line of the table.
#[derive(Serialize)]
struct Line<'r> {
    video_uid: &'r VideoUid,
    name: &'r str,
    frame: u64,
    sec: f64,
    file: PathBuf,
    kept: bool,
}

/// A video that the manifest lists, or that was named.
struct Known {
    path: Option<PathBuf>,
    fps: Option<Fps>,
}

/// The videos that are known, by their names.
type Videos = BTreeMap<VideoUid, Known>;

/// What became of the frames of a video, in the order of the request.
type Answers = Vec<Result<Had, String>>;

impl Frames {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (wanted, videos) = self.wanted()?;
        ensure!(
            !wanted.is_empty(),
            "no frame is asked for: give --at or --frame, or --times or --annotations with a manifest"
        );
        let mut by_video: BTreeMap<&VideoUid, Vec<&Wanted>> = BTreeMap::new();
        wanted.iter().for_each(|one| by_video.entry(&one.video_uid).or_default().push(one));
        let source = FfmpegSource { tools: self.ffmpeg.known_tools()?, threads: 0, hwaccel: HwAccel::None };
        let jobs = self.jobs.map_or_else(|| (cores() / 2).max(1), NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build()?;
        let (writer, meter) = (self.writer(), Meter::default());
        meter.expect(by_video.len());
        let progress = Progress::of_meter(&meter, "videos", self.reporting.shown(self.json || self.dry_run));
        let of = |(uid, wanted): (&&VideoUid, &Vec<&Wanted>)| {
            let answers = self.of_video(&writer, &source, videos.get(*uid), wanted);
            meter.done(wanted.len() as u64);
            answers
        };
        let answers: Result<Vec<Answers>, FramesError> = pool.install(|| by_video.par_iter().map(of).collect());
        progress.finish();
        self.publish(&by_video, answers?)
    }

    fn writer(&self) -> Writer {
        let format = match self.format {
            FormatName::Jpeg => Format::Jpeg { quality: self.quality },
            FormatName::Png => Format::Png,
        };
        let reader = match self.reader {
            ReaderName::Exact => Reader::Exact,
            ReaderName::Decord => Reader::Decord,
            ReaderName::Opencv => Reader::Opencv,
            ReaderName::Pyav => Reader::Pyav,
        };
        Writer { out: self.out.clone(), format, reader, force: self.force }
    }

    /// The frames that are asked for, and the videos that are known.
    fn wanted(&self) -> anyhow::Result<(Vec<Wanted>, Videos)> {
        if let Some(path) = &self.video {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let uid = VideoUid::parse(&uid_for(&stem)).with_context(|| path.display().to_string())?;
            let ats = self.at.iter().map(|&sec| At::Sec(sec)).chain(self.frame.iter().map(|&frame| At::Frame(frame)));
            let wanted = ats.map(|at| Wanted { video_uid: uid.clone(), name: String::new(), at }).collect();
            return Ok((wanted, Videos::from([(uid, Known { path: Some(path.clone()), fps: None })])));
        }
        let path = self.manifest.as_deref().context("no videos are named: give a video or --manifest FILE")?;
        let mut manifest = Manifest::read(path)?;
        manifest.locate(&self.videos)?;
        manifest.rejected.iter().for_each(|rejected| tell(format_args!("egofx: manifest: {rejected}")));
        let mut wanted = Vec::new();
        for path in &self.times {
            wanted.extend(read_times(path, &manifest)?);
        }
        for path in &self.annotations {
            let (found, unnamed) = critical_frames(path, &self.of)?;
            if unnamed > 0 {
                let frames = plural(unnamed, "frame");
                tell(format_args!(
                    "dropped: {frames} of videos whose uid could not be a file's name ({})",
                    path.display()
                ));
            }
            wanted.extend(found);
        }
        let videos =
            manifest.videos.into_iter().map(|video| (video.uid, Known { path: video.path, fps: video.fps })).collect();
        Ok((wanted, videos))
    }

    fn of_video(
        &self,
        writer: &Writer,
        source: &FfmpegSource,
        video: Option<&Known>,
        wanted: &[&Wanted],
    ) -> Result<Answers, FramesError> {
        let without = |why: &str| Ok(vec![Err(why.to_owned()); wanted.len()]);
        let (path, fps) = match video {
            None => return without("the manifest does not list the video"),
            Some(Known { path: None, .. }) => {
                return without("no file of the video is known; --videos DIR says where to look");
            }
            Some(Known { path: Some(path), fps }) => (path.clone(), *fps),
        };
        let video = Video { uid: wanted[0].video_uid.clone(), path, fps };
        let requested = match writer.look_at(source, &video, wanted)? {
            Ok(requested) => requested,
            Err(why) => return without(&why),
        };
        if self.dry_run { Ok(requested.forecast()) } else { requested.write(source) }
    }

    fn publish(&self, by_video: &BTreeMap<&VideoUid, Vec<&Wanted>>, answers: Vec<Answers>) -> anyhow::Result<ExitCode> {
        let (mut lines, mut failed) = (Vec::new(), 0);
        for (wanted, answer) in by_video.values().flatten().zip(answers.into_iter().flatten()) {
            match answer {
                Ok(Had { index, sec, file, kept }) => {
                    lines.push(Line {
                        video_uid: &wanted.video_uid,
                        name: &wanted.name,
                        frame: index,
                        sec,
                        file,
                        kept,
                    });
                }
                Err(why) => {
                    failed += 1;
                    let name = if wanted.name.is_empty() { String::new() } else { format!(" {}", wanted.name) };
                    tell(format_args!("egofx: {}{name}: {why}", wanted.video_uid));
                }
            }
        }
        if !self.dry_run {
            self.write_table(&lines)?;
        }
        if self.json {
            say_json(&lines)?;
        } else if self.dry_run {
            say(&lines.iter().map(Line::forecast).collect::<String>())?;
        }
        let kept = lines.iter().filter(|line| line.kept).count();
        let would = if self.dry_run { "would be in" } else { "in" };
        let frames = plural(lines.len(), "frame");
        tell(format_args!("{frames} {would} {}, {kept} of them there before; {failed} missing", self.out.display()));
        Ok(ExitCode::from(if failed > 0 { FAILED } else { 0 }))
    }

    fn write_table(&self, lines: &[Line]) -> anyhow::Result<()> {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["video_uid", "name", "frame", "sec", "file"])?;
        for line in lines {
            let (frame, sec) = (line.frame.to_string(), format!("{:.6}", line.sec));
            let file = line.file.to_string_lossy();
            table.write_record([line.video_uid.as_str(), line.name, &frame, &sec, &file])?;
        }
        table.flush()?;
        let path = self.out.join(TABLE);
        durable::write_bytes(&path, &table.into_inner()?).with_context(|| path.display().to_string())
    }
}

impl Line<'_> {
    /// For people.
    fn forecast(&self) -> String {
        let state = if self.kept { "keep " } else { "write" };
        format!("{state}  {}  frame {} at {:.3} s  {}\n", self.file.display(), self.frame, self.sec, self.name)
    }
}
