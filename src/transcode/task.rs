//! One video from source to output: judged, encoded, proved, committed.
//!
//! Not for many videos, see `batch`. Invariant: whatever goes wrong, the output folder looks as before.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::commit::{self, Workplace};
use super::cut::{Cut, cuts};
use super::encoding::Settings;
use super::proof::Claim;
use super::record::{ChunkFile, Record};
use super::{Audio, TranscodeError};
use crate::child;
use crate::decode::{self, About, Child, FfmpegSource, FrameSource, HwAccel, LogLine, Tools, VideoInfo};
use crate::digest;
use crate::ids::VideoUid;
use crate::manifest::{Manifest, Video, duration_sec};
use crate::shard::{Shard, split};
use crate::store::StoreError;

/// A video to transcode.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The video.
    pub video_uid: VideoUid,
    /// Its file; `None` if none was found.
    pub path: Option<PathBuf>,
    /// Its length in seconds, as far as is known without opening it.
    pub cost_sec: f64,
}

/// The tasks of one shard, longest first. The parts are disjoint, together the first `limit` videos of the manifest, and do
/// not depend on what is done already.
pub fn tasks(manifest: &Manifest, shard: Shard, limit: Option<usize>) -> Vec<Task> {
    tasks_of_all(manifest, shard, limit).0
}

/// The same, and the tasks of all other shards, longest first.
pub fn tasks_of_all(manifest: &Manifest, shard: Shard, limit: Option<usize>) -> (Vec<Task>, Vec<Task>) {
    let videos = manifest.videos.iter().take(limit.unwrap_or(usize::MAX));
    let mut tasks: Vec<Task> = videos.flat_map(tasks_of).collect();
    tasks.sort_by(|a, b| b.cost_sec.total_cmp(&a.cost_sec).then_with(|| a.video_uid.cmp(&b.video_uid)));
    split(tasks, shard, |task| task.cost_sec)
}

/// A video, or each chapter of a recording by itself and under its own name: the outputs are chapters again.
fn tasks_of(video: &Video) -> Vec<Task> {
    let chapters = video.path.as_deref().map(decode::chapters).unwrap_or_default();
    let cost_sec = duration_sec(video) / chapters.len().max(1) as f64;
    let chapter = |path: PathBuf| {
        let video_uid = VideoUid::parse(path.file_stem()?.to_str()?).ok()?;
        Some(Task { video_uid, path: Some(path), cost_sec })
    };
    let single = || vec![Task { video_uid: video.uid.clone(), path: video.path.clone(), cost_sec }];
    let apart: Option<Vec<Task>> = chapters.into_iter().map(chapter).collect();
    apart.filter(|tasks| !tasks.is_empty()).unwrap_or_else(single)
}

/// What is to be done about a video.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Its output is there, as its record says.
    Done(Box<Record>),
    /// Its output is to be made.
    Open,
}

/// What became of a video.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its output was made.
    Made(Box<Record>),
    /// Its output was there.
    Done(Box<Record>),
    /// Its output could have been put in place, but another run has taken the video over.
    Lost,
}

/// How a video is watched while its output is made.
pub struct Watch<'w> {
    /// Is told how many frames are encoded, and of how many, and says whether to go on.
    pub encoded: &'w mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    /// Says whether the output may be put in place.
    pub is_ours: &'w dyn Fn() -> bool,
}

/// Makes outputs of one kind in one folder.
#[derive(Debug, Clone)]
pub struct Transcoder {
    /// The programs.
    pub tools: Tools,
    /// What decides the bytes.
    pub settings: Settings,
    /// The output folder.
    pub out: PathBuf,
    /// Threads of ffmpeg's decoder and of its encoder; 0 lets ffmpeg choose.
    pub threads: usize,
    /// Whether outputs of others, and of other settings, are replaced.
    pub force: bool,
}

impl Transcoder {
    /// Where the output of `video_uid` lies, relative to the output folder: a file, or a folder of chunks.
    pub fn name_of(&self, video_uid: &VideoUid) -> String {
        if self.settings.chunks.is_some() { video_uid.to_string() } else { format!("{video_uid}.mp4") }
    }

    /// What is to be done about `task`.
    ///
    /// # Errors
    /// [`TranscodeError::NotLocated`], [`Exists`](TranscodeError::Exists), [`Settings`](TranscodeError::Settings),
    /// [`OwnSource`](TranscodeError::OwnSource), [`Record`](TranscodeError::Record).
    pub fn standing(&self, task: &Task) -> Result<Standing, TranscodeError> {
        let source = task.path.as_deref().ok_or(TranscodeError::NotLocated)?;
        let target = self.out.join(self.name_of(&task.video_uid));
        if lies_in(source, &target) {
            return Err(TranscodeError::OwnSource(target));
        }
        self.check_settings(task)?;
        let Some(record) = Record::read(&self.out, &task.video_uid)? else {
            let free = self.force || !target.exists();
            return if free { Ok(Standing::Open) } else { Err(TranscodeError::Exists(target)) };
        };
        let anew = if record.difference(&self.settings.fields()).is_some() {
            "the settings are others"
        } else if !record.is_of(source) {
            "its source has changed"
        } else if !record.holds(&self.out) {
            "its output is absent, incomplete or changed"
        } else {
            return Ok(Standing::Done(Box::new(record)));
        };
        log::warn!("{}: made anew: {anew}", task.video_uid);
        Ok(Standing::Open)
    }

    /// Whether the output of `task` is there by its record and by the lengths of files, of which none is read.
    pub fn looks_done(&self, task: &Task) -> bool {
        let record = Record::read(&self.out, &task.video_uid).ok().flatten();
        let is_ours = |record: &Record| record.difference(&self.settings.fields()).is_none();
        record.filter(is_ours).is_some_and(|record| record.has_lengths(task.path.as_deref(), &self.out))
    }

    /// [`TranscodeError::Settings`] if there is an output of `task` with other settings that may not be replaced.
    pub(super) fn check_settings(&self, task: &Task) -> Result<(), TranscodeError> {
        let Some(record) = Record::read(&self.out, &task.video_uid)? else { return Ok(()) };
        match record.difference(&self.settings.fields()) {
            Some((field, stored, wanted)) if !self.force => {
                Err(TranscodeError::Settings { video_uid: task.video_uid.clone(), field, stored, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Makes the output of `task`, unless it is there.
    ///
    /// # Errors
    /// A [`TranscodeError`] for each way in which that fails; nothing is left behind then.
    pub fn make(&self, task: &Task, watch: Watch) -> Result<Outcome, TranscodeError> {
        let name = self.name_of(&task.video_uid);
        if let Standing::Done(record) = self.standing(task)? {
            commit::clean(&self.out, &name, &task.video_uid)?;
            return Ok(Outcome::Done(record));
        }
        let source = task.path.as_deref().ok_or(TranscodeError::NotLocated)?;
        let video = self.probe(source)?;
        let cuts = cuts(&video.timeline, self.settings.chunks);
        let workplace = Workplace::new(&self.out, &name, self.settings.chunks.is_some())?;
        let total = video.timeline.frames();
        self.write(&video, &cuts, workplace.chunks(), &mut |done| (watch.encoded)(done.min(total), total))?;
        let copies = self.settings.copies(&cuts);
        let size = self.settings.size_of(&video, &cuts);
        let claim = Claim { video: &video, size, upright: !copies, restarts: cuts.len() > 1 };
        let mut record = self.record(task, source, size)?;
        for (at, cut) in cuts.iter().enumerate() {
            let part = workplace.chunks().join(format!("{at}.part"));
            claim.prove(&self.tools, &part, cut)?;
            record.chunks.push(self.chunk(task, &video, cut, &part)?);
        }
        if !(watch.is_ours)() {
            return Ok(Outcome::Lost);
        }
        workplace.commit(&record, &self.out)?;
        Ok(Outcome::Made(Box::new(record)))
    }

    /// A source that is not all there is refused: its copy would look whole.
    fn probe(&self, source: &Path) -> Result<VideoInfo, TranscodeError> {
        let prober = FfmpegSource { tools: self.tools.clone(), threads: self.threads, hwaccel: HwAccel::None };
        let video = prober.probe(source, None)?;
        if let Some(declared_sec) = video.declared_end_sec {
            let end_sec = video.timeline.end_sec();
            return Err(TranscodeError::Truncated { path: source.to_owned(), declared_sec, end_sec });
        }
        if let Some(&first) = video.lost.first() {
            let first_sec = video.timeline.sec(first);
            return Err(TranscodeError::Lost { path: source.to_owned(), lost: video.lost.len(), first_sec });
        }
        Ok(video)
    }

    fn write(
        &self,
        video: &VideoInfo,
        cuts: &[Cut],
        folder: &Path,
        encoded: &mut Encoded,
    ) -> Result<(), TranscodeError> {
        let is_mp4 = video.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mp4"));
        if self.settings.copies(cuts) && is_mp4 && self.settings.audio == Audio::Copy {
            // What it is already, and what the original does.
            let part = folder.join("0.part");
            std::fs::copy(&video.path, &part).map_err(|error| StoreError::io("copy a video to", &part, error))?;
            return Ok(());
        }
        let mut anew = false;
        let once = || {
            if std::mem::replace(&mut anew, true) {
                commit::empty(folder)?;
            }
            let command = self.settings.command(&self.tools, video, cuts, self.threads, folder);
            let child = Child::spawn_writer(command, self.tools.patience);
            run(child.map_err(|crash| TranscodeError::crashed(&video.path, crash))?, &video.path, &mut *encoded)
        };
        child::twice(once, |error| matches!(error, TranscodeError::Crashed { .. }))
    }

    fn record(&self, task: &Task, source: &Path, size: (u32, u32)) -> Result<Record, TranscodeError> {
        let read = |error| StoreError::io("read", source, error);
        Ok(Record {
            video_uid: task.video_uid.clone(),
            settings: self.settings.fields(),
            source: source.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            source_bytes: std::fs::metadata(source).map_err(read)?.len(),
            source_ends_sha256: digest::ends(source).map_err(read)?,
            size,
            ffmpeg: self.tools.version.clone(),
            egofx: env!("CARGO_PKG_VERSION").to_owned(),
            chunks: Vec::new(),
        })
    }

    fn chunk(&self, task: &Task, video: &VideoInfo, cut: &Cut, part: &Path) -> Result<ChunkFile, TranscodeError> {
        let named = part.with_file_name(format!("{}.mp4", cut.chunk));
        let (bytes, sha256) = commit::settle(part, &named)?;
        let name = self.name_of(&task.video_uid);
        let file = if self.settings.chunks.is_some() { format!("{name}/{}.mp4", cut.chunk) } else { name };
        let line = &video.timeline;
        Ok(ChunkFile {
            file,
            chunk: cut.chunk,
            first_frame: cut.frames.start,
            frames: cut.frames.end - cut.frames.start,
            start_sec: line.sec(cut.frames.start),
            end_sec: line.sec(cut.frames.end),
            bytes,
            sha256,
        })
    }
}

/// Is told how many frames are encoded, and says whether to go on.
type Encoded<'e> = dyn FnMut(u64) -> ControlFlow<()> + 'e;

/// Waits for ffmpeg. Its success counts only together with its silence.
fn run(mut child: Child, source: &Path, encoded: &mut Encoded) -> Result<(), TranscodeError> {
    let (mut complaints, mut first) = (0, String::new());
    let (mut open, mut begun) = (false, false);
    while let Some(line) = child.next_line() {
        match line {
            LogLine::Opened => open = true,
            LogLine::Encoded(frames) if encoded(frames).is_break() => return Err(TranscodeError::Abandoned),
            LogLine::Encoded(_) => {}
            LogLine::Complaint(complaint) => {
                // Where a stream begins between key frames, images miss others that are never shown, nor are they.
                let natural = complaint.about == About::Reference && !begun;
                let ours = matches!(complaint.about, About::Output | About::System);
                let counts = ours || (complaint.is_news(open) && !natural);
                complaints += usize::from(counts);
                if counts && first.is_empty() {
                    first = complaint.words;
                }
            }
            LogLine::Fallback(_) => {} // software decodes
            LogLine::Frame(_) => begun = true,
        }
    }
    let status = child.end().map_err(|crash| TranscodeError::crashed(source, crash))?;
    if status.success() && complaints == 0 {
        return Ok(());
    }
    Err(TranscodeError::Ffmpeg { path: source.to_owned(), status: status.to_string(), complaints, first })
}

/// Whether `source` is `target`, or lies in it.
fn lies_in(source: &Path, target: &Path) -> bool {
    let (source, target) = (source.canonicalize(), target.canonicalize());
    matches!((source, target), (Ok(source), Ok(target)) if source.starts_with(&target))
}
