//! The frames of one file, out of one ffmpeg after the other.
//!
//! Not for choosing frames. Invariant: a frame is delivered if it is proved to be the one of its index (see `order`) and
//! no complaint may be about it; neither ffmpeg's exit status nor a frame count is trusted instead. A decoder may complain
//! of harm some frames late, so frames are held back until the next key frame, as far as decoding goes on anyway.

use std::collections::VecDeque;
use std::process::Command;

use super::child::Child;
use super::command::{FfmpegSource, HwAccel, reported};
use super::drops::Drops;
use super::graph::Sizes;
use super::log_line::{About, Complaint, LogLine, Shown, is_told};
use super::order::{Order, Standing};
use super::seek::{COMPLAINT_LEAD_FRAMES, SeekPoint};
use super::transform::Transform;
use super::{Fault, Frame, VideoInfo, input};
use crate::child::{self, Crash};

/// Bytes of frames that are held back at most: 340 squares of 256 pixels, 85 where they are scaled in single precision.
const HELD_BYTES: usize = 64 << 20;

enum State {
    Unstarted,
    Running(Child),
    Ended,
}

/// What comes next of a running ffmpeg.
enum Next {
    /// The image of this frame, which may be used or not.
    Image(u64, bool),
    /// The seek did not lead to the mark.
    Missed(SeekPoint),
    /// Nothing more.
    End,
}

/// The wanted frames of a video, in order.
pub(super) struct Stream {
    source: FfmpegSource,
    video: VideoInfo,
    /// Where to start, the last one first; at the first frame if there are none.
    seek_points: Vec<SeekPoint>,
    /// The one in use, until its mark has come.
    seek_point: Option<SeekPoint>,
    /// The mark of the one in use, also after it has come.
    mark: Option<u64>,
    wanted: Vec<u64>,
    /// Whether packets that nobody needs are to be dropped, and those that the ffmpeg at work drops.
    may_drop: bool,
    drops: Option<Drops>,
    sizes: Sizes,
    state: State,
    /// Frames of `wanted` that have come out of the decoder, or will not come any more.
    passed: usize,
    /// Whether the input is open.
    open: bool,
    /// Where frames stand since the start or the mark.
    order: Option<Order>,
    /// A complaint since the last frame.
    suspect: Option<Complaint>,
    /// Frames below this index may be harmed.
    harmed_until: u64,
    /// Why the next frame that is not delivered is not.
    reason: Option<Fault>,
    last_complaint: String,
    /// What the system refused this ffmpeg.
    refusal: Option<Crash>,
    /// Whether an ffmpeg has crashed before.
    crashed: bool,
    fell_back: bool,
    /// Frames since the last key frame, of which a complaint may still come.
    held: VecDeque<Frame>,
    ready: VecDeque<Result<Frame, Fault>>,
}

impl Iterator for Stream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.doubt().is_none() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return None,
                State::Unstarted => self.start(),
                State::Running(_) if self.passed == self.wanted.len() => self.release_held(),
                State::Running(child) => self.advance(child),
            }
        }
        self.ready.pop_front()
    }
}

impl Stream {
    /// The frames of `wanted`, which is not empty, in each of `transforms`. With `may_drop`, packets that nobody needs do not come
    /// to the decoder.
    pub fn new(
        source: &FfmpegSource,
        video: &VideoInfo,
        wanted: &[u64],
        transforms: &[Transform],
        may_drop: bool,
    ) -> Self {
        Self {
            source: source.clone(),
            seek_points: SeekPoint::before(wanted[0], video),
            seek_point: None,
            mark: None,
            wanted: wanted.to_vec(),
            may_drop,
            drops: None,
            sizes: Sizes::new(transforms, video),
            video: video.clone(),
            state: State::Unstarted,
            passed: 0,
            open: false,
            order: None,
            suspect: None,
            harmed_until: 0,
            reason: None,
            last_complaint: String::new(),
            refusal: None,
            crashed: false,
            fell_back: false,
            held: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Why packets should not have been dropped, as far as one can tell.
    pub fn doubt(&self) -> Option<&Fault> {
        self.reason.as_ref().filter(|_| self.drops.is_some())
    }

    fn start(&mut self) {
        self.seek_point = self.seek_points.pop();
        self.mark = self.seek_point.map(|seek_point| seek_point.mark);
        (self.open, self.order, self.suspect, self.refusal) = (false, None, None, None);
        let selected = self.mark.iter().chain(&self.wanted);
        let mut named: Vec<i64> = selected.filter_map(|&index| self.name_of(index)).collect();
        named.dedup(); // the mark may be wanted itself
        self.drops = if self.may_drop { Drops::of(&self.video, &self.wanted, self.seek_point) } else { None };
        let graph = reported(&self.sizes.graph(&named, self.source.hwaccel), self.video.counted);
        match Child::spawn(self.command(), self.source.tools.patience, graph) {
            Ok(child) => self.state = State::Running(child),
            Err(crash) => self.crash(crash),
        }
    }

    /// What ffmpeg's filters know frame `index` by: its timestamp or its number. None where its report would not tell it: an
    /// image of which nobody knows the frame must not come.
    fn name_of(&self, index: u64) -> Option<i64> {
        let name = if self.video.counted { i64::try_from(index).ok() } else { self.video.timeline.pts(index) };
        name.filter(|&name| is_told(name))
    }

    /// The frame that bears this name, if there is one.
    fn index_of(&self, name: i64) -> Option<u64> {
        if !self.video.counted {
            return self.video.timeline.index_of(name);
        }
        u64::try_from(name).ok().filter(|&index| index < self.video.timeline.frames())
    }

    fn command(&self) -> Command {
        let mut command = self.source.command();
        if let HwAccel::Cuda(ordinal) = self.source.hwaccel {
            command.args(["-hwaccel", "cuda", "-hwaccel_device", &ordinal.to_string()]);
        }
        command.args(FfmpegSource::OWN_TIMES);
        if self.video.counted {
            // Filters that were set up anew where images change their size would count from 0 again.
            command.args(["-reinit_filter", "0"]);
        }
        if let Some(SeekPoint { target, .. }) = self.seek_point {
            // By the container's own clock, and no trimming: `select` knows which frames are wanted.
            let second = self.video.timeline.container_sec(target);
            command.args(["-seek_timestamp", "1", "-noaccurate_seek", "-ss", &format!("{second:.6}")]);
        }
        if self.sizes.turned_here() {
            command.arg("-noautorotate");
        }
        command.args(self.drops.iter().flat_map(Drops::options));
        input::read_video(&mut command, &self.video.path);
        command.args(["-map", &format!("0:{}", self.video.stream), "-an", "-sn", "-dn"]);
        self.source.end_in_raw_frames(&mut command);
        command
    }

    /// Reads one image, or the end.
    fn advance(&mut self, mut child: Child) {
        let mut image = vec![0; self.sizes.bytes()];
        match child.read_frame(&mut image) {
            Ok(true) => {}
            Ok(false) => return self.end(child),
            Err(crash) => return self.crash(crash),
        }
        match self.next_frame(&mut child) {
            Next::Image(index, sound) => self.deliver(index, image, sound),
            Next::Missed(seek_point) => return self.restart(seek_point),
            Next::End => return self.end(child),
        }
        self.state = State::Running(child);
    }

    /// Follows the frames that the decoder gives up to the one whose image was piped.
    fn next_frame(&mut self, child: &mut Child) -> Next {
        while let Some(line) = child.next_line() {
            match line {
                LogLine::Frame(shown) => {
                    if let Some(next) = self.follow(shown) {
                        return next;
                    }
                }
                LogLine::Complaint(complaint) if complaint.about == About::System => {
                    self.refusal = Some(child.refused(complaint.words));
                }
                LogLine::Complaint(complaint) => self.complain(complaint),
                LogLine::Fallback(why) => self.fall_back(why),
                LogLine::Opened => self.open = true,
                LogLine::Encoded(_) => {} // nothing is encoded here
            }
        }
        Next::End
    }

    /// Takes a frame that came out of the decoder; tells what becomes of it if its image was piped.
    fn follow(&mut self, Shown { pts, .. }: Shown) -> Option<Next> {
        let index = pts.and_then(|name| self.index_of(name));
        if let Some(seek_point) = self.seek_point {
            let index = index.filter(|&index| index >= seek_point.mark)?;
            // Too late, or after complaints that nobody can place.
            if index > seek_point.mark || (self.suspect.is_some() && !seek_point.far) {
                return Some(Next::Missed(seek_point));
            }
            (self.seek_point, self.suspect) = (None, None);
        }
        let sound = self.is_sound(index);
        index.filter(|&index| self.is_selected(index)).map(|index| Next::Image(index, sound))
    }

    fn is_selected(&self, index: u64) -> bool {
        self.mark == Some(index) || self.wanted.binary_search(&index).is_ok()
    }

    /// Whether the next frame out of the decoder is the one of `index`, and unharmed as far as anybody can tell.
    fn is_sound(&mut self, index: Option<u64>) -> bool {
        if self.order.is_none() {
            // Where a stream begins between key frames, decoders miss what the first images refer to. Those are not on
            // the timeline; what they miss is no harm to the others.
            if index.is_none() {
                return false;
            }
            self.suspect.take_if(|complaint| complaint.about == About::Reference);
        }
        let near = index.unwrap_or(self.harmed_until);
        if let Some(Complaint { words: line, .. }) = self.suspect.take() {
            self.reason.get_or_insert(Fault::Damage { near, line });
            self.harmed_until = self.video.keyframe_from(near + COMPLAINT_LEAD_FRAMES).max(self.harmed_until);
            self.drop_held();
        }
        let is_key = index.is_some_and(|index| self.video.keyframes.binary_search(&index).is_ok());
        if is_key {
            self.release_held();
        }
        let place = self.drops.as_ref().map_or(index, |drops| index.and_then(|index| drops.place_of(index)));
        let standing = self.order.get_or_insert_default().judge(place, is_key);
        if let Standing::Doubtful { due: Some(due) } = standing {
            self.reason.get_or_insert(Fault::Disorder { due, found: index });
        }
        standing == Standing::Proved && near >= self.harmed_until
    }

    /// A complaint may be about these.
    fn drop_held(&mut self) {
        if !self.held.is_empty() {
            self.held.clear();
            self.ready.extend(self.reason.take().map(Err));
        }
    }

    fn release_held(&mut self) {
        self.ready.extend(self.held.drain(..).map(Ok));
    }

    /// Holds a frame back, and lets the first ones go where that would take too much memory.
    fn hold(&mut self, frame: Frame) {
        self.held.push_back(frame);
        let most = (HELD_BYTES / self.sizes.frame_bytes().max(1)).max(1);
        if self.held.len() > most {
            self.ready.extend(self.held.pop_front().map(Ok));
        }
        // Nobody decodes on to hear of more.
        if self.passed == self.wanted.len() {
            self.release_held();
        }
    }

    fn complain(&mut self, complaint: Complaint) {
        self.last_complaint.clone_from(&complaint.words);
        let is_worse = self.suspect.as_ref().is_none_or(|known| known.about == About::Reference);
        if is_worse && complaint.concerns(self.video.stream, self.open) {
            self.suspect = Some(complaint);
        }
    }

    fn fall_back(&mut self, why: String) {
        if !std::mem::replace(&mut self.fell_back, true) {
            self.ready.push_back(Err(Fault::Fallback { wanted: "cuda".into(), why }));
        }
    }

    /// Hands on the image of a frame, if it is wanted and sound.
    fn deliver(&mut self, index: u64, image: Vec<u8>, sound: bool) {
        let position = self.wanted.partition_point(|&w| w < index);
        let is_wanted = position >= self.passed && self.wanted.get(position) == Some(&index);
        if !is_wanted {
            return;
        }
        // Frames between the last one and this one did not come.
        if !sound || position > self.passed {
            self.ready.extend(self.reason.take().map(Err));
        }
        if sound {
            self.passed = position + 1;
            self.hold(Frame { index, pixels: self.sizes.pixels(image, index) });
        } else if index < self.harmed_until {
            self.passed = position + 1;
        }
    }

    fn restart(&mut self, seek_point: SeekPoint) {
        let again = seek_point.target - self.seek_points.last().map_or(0, |next| next.target);
        self.ready.push_back(Err(Fault::Restarted { sec: self.video.timeline.sec(seek_point.target), again }));
        self.state = State::Unstarted;
    }

    /// ffmpeg did not do its work, through no fault of the video: it is tried once more, from the first frame on that was
    /// not handed on.
    fn crash(&mut self, crash: Crash) {
        if let Some(first) = self.held.front() {
            self.passed = self.wanted.partition_point(|&wanted| wanted < first.index);
        }
        self.held.clear();
        if std::mem::replace(&mut self.crashed, true) {
            return self.ready.push_back(Err(Fault::Crashed(crash)));
        }
        child::wait_before_again(&format_args!("{}: {crash}", self.video.path.display()));
        self.seek_points = SeekPoint::before(self.wanted[self.passed], &self.video);
        self.state = State::Unstarted;
    }

    /// stdout has ended: everything that ffmpeg still says, its exit status, and what is missing.
    fn end(&mut self, mut child: Child) {
        while !matches!(self.next_frame(&mut child), Next::End) {}
        let status = match child.end() {
            Ok(status) => status.to_string(),
            Err(crash) => return self.crash(crash),
        };
        if let Some(refusal) = self.refusal.take() {
            return self.crash(refusal);
        }
        if let Some(complaint) = self.suspect.take().filter(|_| !self.held.is_empty()) {
            // Nothing came after it.
            self.reason.get_or_insert(Fault::Damage { near: self.harmed_until, line: complaint.words });
            self.drop_held();
        }
        self.release_held();
        if let Some(seek_point) = self.seek_point.take() {
            return self.restart(seek_point);
        }
        let (got, wanted) = (self.passed as u64, self.wanted.len() as u64);
        if got < wanted {
            let line = std::mem::take(&mut self.last_complaint);
            self.ready.extend(self.reason.take().map(Err));
            self.ready.push_back(Err(Fault::Short { status, got, wanted, line }));
        }
    }
}
