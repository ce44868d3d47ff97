//! Frames by an ffmpeg process: real decoding, exact frames, scaled and cropped by ffmpeg, piped as RGB24.
//!
//! Not for choosing frames. Invariant: a frame is delivered under the index that its own timestamp proves; neither
//! ffmpeg's exit status nor a frame count is trusted instead.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};

use ffmpeg_sidecar::command::FfmpegCommand;

use super::child::Child;
use super::graph::Sizes;
use super::log_line::LogLine;
use super::picture_stream::PictureStream;
use super::{Fault, Frame, FrameSource, FrameStream, ProbeError, Tools, VideoInfo, pictures, pieces, probe};
use crate::recipe::Transform;
use crate::time::Fps;

/// A complaint is printed when a packet is decoded, up to this many frames before its picture comes out (frame threads
/// and reordering). So harm may begin that much later than the complaint, and last until the key frame after.
const COMPLAINT_LEAD_FRAMES: u64 = 48;

/// Which hardware decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HwAccel {
    /// Software: the reference.
    #[default]
    None,
    /// NVDEC on the GPU of this number; frames come back to main memory.
    Cuda(u32),
}

/// A [`FrameSource`] that runs one ffmpeg per stream of frames, and decodes pictures of a folder by itself.
#[derive(Debug, Clone)]
pub struct FfmpegSource {
    /// The programs.
    pub tools: Tools,
    /// Decoder threads per process; 0 lets ffmpeg choose.
    pub threads: usize,
    /// Which hardware decodes.
    pub hwaccel: HwAccel,
}

impl FrameSource for FfmpegSource {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        match pieces::files(path) {
            Some(files) => pieces::probe(self, path, &files),
            None if pictures::are_named_by(path) => pictures::probe(path, fps),
            None if path.is_dir() => Err(pictures::refused(path)),
            None => probe::probe(&self.tools, path),
        }
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        if wanted.is_empty() || transforms.is_empty() {
            return Box::new(std::iter::empty());
        }
        if !video.pieces.is_empty() {
            return pieces::open(self, video, wanted, transforms);
        }
        if let Some(pictures) = &video.pictures {
            return Box::new(PictureStream::new(video, pictures.clone(), wanted, transforms));
        }
        Box::new(Stream {
            source: self.clone(),
            video: video.clone(),
            landings: Landing::before(wanted[0], video),
            landing: None,
            wanted: wanted.to_vec(),
            sizes: Sizes::new(transforms, video),
            state: State::Unstarted,
            delivered: 0,
            suspect: None,
            harmed_until: 0,
            last_complaint: String::new(),
            fell_back: false,
            ready: VecDeque::new(),
        })
    }

    fn version(&self) -> String {
        self.tools.version.clone()
    }
}

impl FfmpegSource {
    /// ffmpeg as [`LogLine`] understands it, before its input.
    pub(super) fn command(&self) -> FfmpegCommand {
        let mut command = FfmpegCommand::new_with_path(&self.tools.ffmpeg);
        command.args(["-hide_banner", "-nostats", "-loglevel", "repeat+level+info"]);
        command.args(["-threads", &self.threads.to_string()]);
        command
    }

    /// What comes out of `command`: the frames that the filter graph on its stdin selects, raw on its stdout.
    pub(super) fn end_in_raw_frames(&self, command: &mut FfmpegCommand) {
        command.args([self.tools.filter_file_option(), "pipe:0", self.tools.passthrough_option(), "passthrough"]);
        // Each frame is to come out at once. The encoder of raw frames has threads too, and holds back a frame for each:
        // the last wanted ones would come at the end of the file only, decoded for nothing.
        command.args(["-threads:v", "1", "-flush_packets", "1"]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
    }
}

/// Why the hardware decoder cannot be used on this machine, if it cannot: asked of ffmpeg itself.
pub fn hwaccel_fault(tools: &Tools, hwaccel: HwAccel) -> Option<String> {
    let HwAccel::Cuda(ordinal) = hwaccel else { return None };
    let output = Command::new(&tools.ffmpeg)
        .args(["-v", "error", "-init_hw_device", &format!("cuda=gpu:{ordinal}")])
        .args(["-f", "lavfi", "-i", "nullsrc=s=64x64", "-frames:v", "1", "-f", "null", "-"])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Some(text.lines().next().unwrap_or("ffmpeg gave no reason").trim().to_owned())
        }
        Err(e) => Some(e.to_string()),
    }
}

/// Where decoding starts in the middle of a file.
///
/// Mostly the key frame before the wanted ones is the place. Some containers land behind it, and a decoder that starts at
/// an open GOP complains of frames that refer to earlier ones, while nobody can tell which frames a complaint concerns:
/// then it starts some key frames earlier, and complaints count from `mark` on only; what they mean before it is past
/// when the last key frame before the wanted ones comes.
#[derive(Debug, Clone, Copy)]
struct Landing {
    /// The key frame that is sought. Containers without an index land up to a key frame later.
    target: u64,
    /// A key frame that is selected too; that it comes first shows that the seek landed well.
    mark: u64,
    /// Whether complaints before the mark are known to be past before the wanted frames come.
    far: bool,
}

impl Landing {
    /// Where to start, the last one first; the first frame of the file is what is left when none of them will do.
    fn before(wanted: u64, video: &VideoInfo) -> Vec<Self> {
        let key = video.keyframe_before(wanted);
        let near = Self { target: key, mark: key, far: false };
        let far = key.checked_sub(COMPLAINT_LEAD_FRAMES).map(|index| video.keyframe_before(index)).and_then(|mark| {
            let target = video.keyframe_before(mark.checked_sub(1)?);
            Some(Self { target, mark, far: true })
        });
        far.into_iter().chain([near]).filter(|landing| landing.target > 0).collect()
    }
}

enum State {
    Unstarted,
    Running(Child),
    Ended,
}

struct Stream {
    source: FfmpegSource,
    video: VideoInfo,
    /// Where to start, the last one first; at the first frame if there are none.
    landings: Vec<Landing>,
    /// The one in use, until it is known to be right.
    landing: Option<Landing>,
    wanted: Vec<u64>,
    sizes: Sizes,
    state: State,
    /// Frames of `wanted` that have come out of the decoder.
    delivered: usize,
    /// A complaint since the last frame.
    suspect: Option<String>,
    /// Frames below this index may be harmed.
    harmed_until: u64,
    last_complaint: String,
    fell_back: bool,
    ready: VecDeque<Result<Frame, Fault>>,
}

impl Iterator for Stream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return None,
                State::Unstarted => self.start(),
                State::Running(_) if self.delivered == self.wanted.len() => {}
                State::Running(child) => self.advance(child),
            }
        }
        self.ready.pop_front()
    }
}

impl Stream {
    fn start(&mut self) {
        self.landing = self.landings.pop();
        let selected = self.landing.iter().map(|landing| &landing.mark).chain(&self.wanted);
        let mut pts: Vec<i64> = selected.filter_map(|&index| self.video.timeline.pts(index)).collect();
        pts.dedup(); // the mark may be wanted itself
        match Child::spawn(self.command(), self.sizes.graph(&pts, self.source.hwaccel)) {
            Ok(child) => self.state = State::Running(child),
            Err(e) => self.ready.push_back(Err(Fault::Child(e.to_string()))),
        }
    }

    fn command(&self) -> FfmpegCommand {
        let mut command = self.source.command();
        if let HwAccel::Cuda(ordinal) = self.source.hwaccel {
            command.args(["-hwaccel", "cuda", "-hwaccel_device", &ordinal.to_string()]);
        }
        if self.sizes.turned_here() {
            command.arg("-noautorotate");
        }
        command.arg("-copyts");
        if let Some(Landing { target, .. }) = self.landing {
            // By the container's own clock, and no trimming: `select` knows which frames are wanted.
            let second = self.video.timeline.container_sec(target);
            command.args(["-seek_timestamp", "1", "-noaccurate_seek", "-ss", &format!("{second:.6}")]);
        }
        command.arg("-i").arg(probe::file_url(&self.video.path));
        command.args(["-map", &format!("0:{}", self.video.stream), "-an", "-sn", "-dn"]);
        self.source.end_in_raw_frames(&mut command);
        command
    }

    /// Reads one frame, or the end.
    fn advance(&mut self, mut child: Child) {
        let mut picture = vec![0; self.sizes.bytes()];
        match child.read_frame(&mut picture) {
            Ok(true) => {}
            Ok(false) => return self.end(child),
            Err(e) => return self.ready.push_back(Err(Fault::Child(e.to_string()))),
        }
        let Some(pts) = self.timestamp(&child) else { return self.end(child) };
        let Some(index) = self.video.timeline.index_of(pts) else { return self.state = State::Running(child) };
        match self.landing.take() {
            Some(Landing { mark, far: true, .. }) if index == mark => self.suspect = None,
            // Too late, or after complaints that nobody can place.
            Some(landing) if index != landing.mark || self.suspect.is_some() => return self.restart(landing),
            _ => {}
        }
        self.deliver(index, picture);
        self.state = State::Running(child);
    }

    /// The timestamp of the frame just read; complaints printed before it are noted.
    fn timestamp(&mut self, child: &Child) -> Option<i64> {
        loop {
            match child.next_line()? {
                LogLine::Frame(pts) => return Some(pts),
                LogLine::Damage(line) => self.complain(line),
                LogLine::Fallback(why) => self.fall_back(why),
                LogLine::Encoded(_) => {} // nothing is encoded here
            }
        }
    }

    fn complain(&mut self, line: String) {
        self.suspect.get_or_insert_with(|| line.clone());
        self.last_complaint = line;
    }

    fn fall_back(&mut self, why: String) {
        if !std::mem::replace(&mut self.fell_back, true) {
            self.ready.push_back(Err(Fault::Fallback { wanted: "cuda".into(), why }));
        }
    }

    fn deliver(&mut self, index: u64, picture: Vec<u8>) {
        // Frames between the last one and this one did not come; they count as passed.
        let position = self.wanted.partition_point(|&w| w < index);
        if position < self.delivered || self.wanted.get(position) != Some(&index) {
            return;
        }
        self.delivered = position + 1;
        if let Some(line) = self.suspect.take() {
            if index >= self.harmed_until {
                self.ready.push_back(Err(Fault::Damage { near: index, line }));
            }
            self.harmed_until = self.video.keyframe_from(index + COMPLAINT_LEAD_FRAMES);
        }
        if index >= self.harmed_until {
            self.ready.push_back(Ok(Frame { index, pixels: self.sizes.pixels(picture, index) }));
        }
    }

    fn restart(&mut self, landing: Landing) {
        self.suspect = None;
        let again = landing.target - self.landings.last().map_or(0, |next| next.target);
        self.ready.push_back(Err(Fault::Restarted { sec: self.video.timeline.sec(landing.target), again }));
        self.state = State::Unstarted;
    }

    /// stdout has ended: everything that ffmpeg still says, its exit status, and what is missing.
    fn end(&mut self, mut child: Child) {
        while self.timestamp(&child).is_some() {}
        if let Some(landing) = self.landing.take() {
            return self.restart(landing);
        }
        let status = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let (got, wanted) = (self.delivered as u64, self.wanted.len() as u64);
        if got < wanted {
            let line = std::mem::take(&mut self.last_complaint);
            self.ready.push_back(Err(Fault::Short { status, got, wanted, line }));
        }
    }
}
