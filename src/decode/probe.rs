//! Looking at a file: which stream, what size, when each frame is shown. No decoding where packets tell that.
//!
//! Not for deciding what to do about oddities: they are recorded. Invariant: the timeline has one entry per frame that a
//! decoder can deliver, however few the file still holds.

use std::fs::File;
use std::path::Path;

use super::demuxer::Clock;
use super::disposable::Search;
use super::header::{self, Header, Stream};
use super::listing::{self, Begun, Packets, Remark};
use super::log_line::Shown;
use super::nal::Coding;
use super::{FfmpegSource, FrameSet, ProbeError, VideoInfo};
use crate::time::{TimeBase, Timeline};
use crate::url;

/// The version of the rules by which files are probed: raised whenever another [`VideoInfo`] may come of the same file, so that
/// results that were kept are made anew.
pub const RULES: u32 = 1;

/// A header may promise this much more than the frames reach before that counts as a truncated file, in seconds:
/// writers round, and the last frame's duration is a guess.
const DECLARED_TOLERANCE_SEC: f64 = 0.5;

/// Bytes behind the last packet that need no explanation: indices, tables, the overhead of the container.
const MOST_REST_BYTES: u64 = 256 << 10;

/// The longest gap in a damaged container that is taken for lost frames, in frames: an hour at 30 fps.
const MOST_LOST_FRAMES: i128 = 108_000;

/// Lost frames of all gaps together.
const MOST_LOST_IN_ALL: usize = 10 * MOST_LOST_FRAMES as usize;

/// A step from one frame to the next that a person should know of, in seconds.
const JUMP_SEC: f64 = 3600.0;

/// Codecs that have packets which are never shown, of their own or together with others.
const HIDES_PACKETS: [&str; 3] = ["vp8", "vp9", "av1"];

/// A packet of MPEG-4 that says "the same image again" in fewer bytes than any image needs: no frame comes of it.
const LEAST_MPEG4_BYTES: u64 = 10;

/// Ticks into which one tick is divided where several frames share it.
const SHARES: u32 = 1000;

/// The frames of a stream.
struct Frames {
    timeline: Timeline,
    keyframes: Vec<u64>,
    lost: Vec<u64>,
    counted: bool,
}

/// Probes `path`.
///
/// # Errors
/// A [`ProbeError`] for each way in which a file is no video.
pub fn probe(source: &FfmpegSource, path: &Path) -> Result<VideoInfo, ProbeError> {
    let bytes = check_file(path)?;
    // Side by side: to start is most of what either ffprobe does with a short file.
    let listing = listing::begin(&source.tools, path);
    let header = header::read(&source.tools, path)?;
    let listed = Listed::new(source, (path, bytes), &header, listing)?;
    let frames = listed.frames()?;
    let promised_end_sec = listed.promised_end(&frames.timeline);
    listed.check_whole(&frames.timeline, promised_end_sec)?;
    Ok(listed.info(frames, promised_end_sec))
}

/// The stream of a file, with the list of its packets.
struct Listed<'f> {
    source: &'f FfmpegSource,
    path: &'f Path,
    bytes: u64,
    header: &'f Header,
    stream: &'f Stream,
    codec: String,
    packets: Packets,
    remarks: Vec<Remark>,
    /// Why the packets do not tell of the frames, if they do not.
    why_decode: Option<String>,
}

impl<'f> Listed<'f> {
    /// Of the file of so many bytes at a path, by the `listing` that has begun.
    fn new(
        source: &'f FfmpegSource,
        (path, bytes): (&'f Path, u64),
        header: &'f Header,
        listing: Begun,
    ) -> Result<Self, ProbeError> {
        let stream = header.best_stream(path)?;
        let codec = stream.codec_name.clone().unwrap_or_default();
        let coding = coding(source, header, stream, path);
        let search = || Search::new(path, header.format.format_name.as_deref()?, coding.as_ref()?);
        let (packets, remarks) = listing::packets(&source.tools, path, listing, stream.index, &codec, search)?;
        let why_decode = why_decode(header, &codec, &packets);
        Ok(Self { source, path, bytes, header, stream, codec, packets, remarks, why_decode })
    }

    fn damage(&self) -> Option<&Remark> {
        self.remarks.iter().find(|remark| remark.is_damage)
    }

    /// The frames, by the packets or, where those do not tell of them, by decoding.
    fn frames(&self) -> Result<Frames, ProbeError> {
        let Self { source, path, header, stream, packets, .. } = self;
        let frames = if self.why_decode.is_some() {
            of_frames(header, stream, packets, &listing::frames(source, path, stream.index)?)
        } else {
            of_packets(header, stream, packets, self.damage().is_some())
        };
        frames.ok_or_else(|| {
            let why = self.remarks.first().map_or("no packets", |remark| &remark.words).to_owned();
            ProbeError::NoFrames { path: self.path.to_owned(), why }
        })
    }

    fn promised_end(&self, line: &Timeline) -> Option<f64> {
        promised_end(self.header, self.stream, &self.packets, line, self.damage().is_some())
    }

    /// That the list did not break off.
    fn check_whole(&self, line: &Timeline, promised_end_sec: Option<f64>) -> Result<(), ProbeError> {
        let is_reached = promised_end_sec.is_some_and(|end| end <= line.end_sec() + 0.5 / line.mean_fps());
        if self.header.is_open_ended() || !is_reached {
            check_reads(self.source, self.path, self.stream.index, line)?;
        }
        check_end(self.header, &self.packets, self.bytes, self.path)
    }

    /// Frames that may be left out before the decoder, where nothing about the list is in doubt.
    fn disposable(&self, line: &Timeline) -> FrameSet {
        let is_in_doubt = self.why_decode.is_some() || !self.remarks.is_empty();
        let search = self.packets.search.as_ref().filter(|_| !is_in_doubt);
        search.map(|search| search.frames(line)).unwrap_or_default()
    }

    /// What a person should know.
    fn notes(&self, line: &Timeline) -> Vec<String> {
        let decoded = self.why_decode.as_ref().map(|why| format!("{why}; frames were listed by decoding"));
        let remark = self.remarks.iter().find(|remark| !remark.is_damage).map(said);
        decoded.into_iter().chain(remark).chain(jump(line)).collect()
    }

    fn info(self, Frames { timeline, keyframes, lost, counted }: Frames, promised_end_sec: Option<f64>) -> VideoInfo {
        let ((width, height), end_sec) = (self.stream.shown_size(), timeline.end_sec());
        VideoInfo {
            path: self.path.to_owned(),
            bytes: self.bytes,
            chunks: Vec::new(),
            stream: self.stream.index,
            width,
            height,
            rotation: self.stream.rotation(),
            color_space: self.stream.color_space(),
            stereo: self.stream.stereo(),
            keyframes,
            disposable: self.disposable(&timeline),
            counted,
            lost,
            declared_end_sec: promised_end_sec.filter(|end| *end > end_sec + DECLARED_TOLERANCE_SEC),
            damage: self.damage().map(said),
            notes: self.notes(&timeline),
            codec: self.codec,
            timeline,
            images: None,
            origin: None,
            ends: None,
        }
    }
}

fn said(Remark { words, .. }: &Remark) -> String {
    format!("ffprobe: {words}")
}

pub(super) fn check_file(path: &Path) -> Result<u64, ProbeError> {
    if url::of(path).is_some() {
        return Err(ProbeError::Elsewhere(path.to_owned()));
    }
    let unreadable = |why: String| ProbeError::Unreadable { path: path.to_owned(), why };
    let metadata = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(ProbeError::Missing(path.to_owned())),
        other => other.map_err(|e| unreadable(e.to_string()))?,
    };
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".into()));
    }
    File::open(path).map_err(|e| unreadable(e.to_string()))?;
    if metadata.len() == 0 { Err(ProbeError::Empty(path.to_owned())) } else { Ok(metadata.len()) }
}

/// How images of the stream are coded, where some may be left out before the decoder: nothing refers to those of the highest
/// layer, and where there is one, images come in another order than they are shown.
fn coding(source: &FfmpegSource, header: &Header, stream: &Stream, path: &Path) -> Option<Coding> {
    let codec = stream.codec_name.as_deref().filter(|codec| Coding::CODECS.contains(codec))?;
    let may_drop = source.drops_packets() && stream.is_reordered() && header.clock() == Clock::Stored;
    Coding::of(codec, &may_drop.then(|| header::configuration(&source.tools, path, stream.index)).flatten()?)
}

/// A list that stops where the file cannot be read looks like one of a file that ends there.
fn check_reads(source: &FfmpegSource, path: &Path, stream: u32, line: &Timeline) -> Result<(), ProbeError> {
    let last_sec = line.container_sec(line.frames() - 1);
    match listing::read_error(source, path, stream, last_sec)? {
        Some(why) => Err(ProbeError::Broken { path: path.to_owned(), why }),
        None => Ok(()),
    }
}

/// A list that stops well before the file does was broken off, whoever says nothing of it.
fn check_end(header: &Header, packets: &Packets, bytes: u64, path: &Path) -> Result<(), ProbeError> {
    let (end, rest) = (packets.end, bytes.saturating_sub(packets.end));
    if !header.is_open_ended() || end == 0 || rest <= (bytes / 20).max(MOST_REST_BYTES) {
        return Ok(());
    }
    let why = format!("its last packet ends at byte {end}, the file at byte {bytes}: what follows is of no use");
    Err(ProbeError::Broken { path: path.to_owned(), why })
}

/// Why the packets do not tell which frames there are and when they are shown, if they do not.
fn why_decode(header: &Header, codec: &str, packets: &Packets) -> Option<String> {
    let untimed = || (packets.untimed > 0).then(|| format!("{} packets without a timestamp", packets.untimed));
    let counted = || match header.clock() {
        Clock::Stored | Clock::Decoding => None,
        Clock::Counted | Clock::None => Some("a container without timestamps".to_owned()),
    };
    let hidden = || {
        let may_be = HIDES_PACKETS.contains(&codec) && has_short_steps(&packets.pts);
        may_be.then(|| format!("packets closer than frames, as {codec} has some that are not shown"))
    };
    let together = || has_repeats(&packets.pts).then(|| "packets with the same timestamp".to_owned());
    let least = if codec == "mpeg4" { LEAST_MPEG4_BYTES } else { 1 };
    let empty = || packets.smallest.is_some_and(|bytes| bytes < least).then(|| "packets without an image".to_owned());
    untimed().or_else(counted).or_else(hidden).or_else(together).or_else(empty)
}

/// Whether some steps are shorter than three quarters of the usual one, as before and after a packet between two frames.
fn has_short_steps(pts: &[i64]) -> bool {
    let mut pts = pts.to_vec();
    pts.sort_unstable();
    let mut steps: Vec<i64> = pts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    steps.sort_unstable();
    // Rounded timestamps differ by a tick.
    let is_short = |usual: i64| 4 * (i128::from(steps[0]) + 1) < 3 * i128::from(usual) || steps[0] == 0;
    steps.get(steps.len() / 2).is_some_and(|&usual| is_short(usual))
}

fn has_repeats(pts: &[i64]) -> bool {
    let mut pts = pts.to_vec();
    pts.sort_unstable();
    pts.windows(2).any(|pair| pair[0] == pair[1])
}

/// The frames that packets tell of.
fn of_packets(header: &Header, stream: &Stream, packets: &Packets, damaged: bool) -> Option<Frames> {
    let base = stream.time_base()?;
    // Frames before the first key frame cannot be decoded (streams that were cut out of a broadcast begin with some).
    let first_key = packets.keys.first().copied().unwrap_or(i64::MIN);
    let mut shown: Vec<i64> = packets.pts.iter().copied().filter(|&p| p >= first_key).collect();
    shown.sort_unstable();
    let lost = if damaged { lost_pts(&shown) } else { Vec::new() };
    shown.extend(&lost);
    let timeline = Timeline::new(shown, base, header.origin(base))?;
    let (keyframes, lost) = (indices(&timeline, &packets.keys), indices(&timeline, &lost));
    Some(Frames { timeline, keyframes, lost, counted: false })
}

/// The longest step from one frame to the next, where it is none of a recording.
fn jump(line: &Timeline) -> Option<String> {
    let step = |index: u64| line.sec(index + 1) - line.sec(index);
    let longest = (0..line.frames() - 1).max_by(|&a, &b| step(a).total_cmp(&step(b)))?;
    let sec = step(longest);
    (sec > JUMP_SEC).then(|| format!("its timestamps jump by {sec:.0} s after frame {longest}"))
}

fn indices(timeline: &Timeline, pts: &[i64]) -> Vec<u64> {
    let mut indices: Vec<u64> = pts.iter().filter_map(|&p| timeline.index_of(p)).collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// The frames that a decoder gave, in its order. If each has the timestamp of a packet of its own, and the container
/// stores them, frames are known by them, and by their number otherwise.
fn of_frames(header: &Header, stream: &Stream, packets: &Packets, shown: &[Shown]) -> Option<Frames> {
    let base = stream.time_base()?;
    let times: Option<Vec<i64>> = shown.iter().map(|frame| frame.pts).collect();
    if let Some(times) = times.as_ref().filter(|times| header.clock() == Clock::Stored && ascends(times)) {
        let mut stored = packets.pts.clone();
        stored.sort_unstable();
        if times.iter().all(|time| stored.binary_search(time).is_ok()) {
            let timeline = Timeline::new(times.clone(), base, header.origin(base))?;
            let keyframes = indices(&timeline, &packets.keys);
            return Some(Frames { timeline, keyframes, lost: Vec::new(), counted: false });
        }
    }
    let timeline = counted_timeline(header, stream, packets, shown.len(), times)?;
    let is_start = |(index, frame): (u64, &Shown)| (index == 0 || frame.key).then_some(index);
    let keyframes = (0..).zip(shown).filter_map(is_start).collect();
    Some(Frames { timeline, keyframes, lost: Vec::new(), counted: true })
}

/// When `frames` frames are shown that are known by their number: by an image's turn in containers that know no times of
/// showing, by the decoder's guess where it does not go backwards, by the stream's rate where nothing else is known.
fn counted_timeline(
    header: &Header,
    stream: &Stream,
    packets: &Packets,
    frames: usize,
    guessed: Option<Vec<i64>>,
) -> Option<Timeline> {
    let (base, clock) = (stream.time_base()?, header.clock());
    let by_rate = || Timeline::new((0..frames as i64).collect(), stream.frame_base(packets.lasting())?, 0);
    // The n-th frame is shown when the n-th packet is decoded: what delay there is says nothing of the recording.
    let knows_decoding_only = clock == Clock::Decoding || packets.untimed > packets.seen / 10;
    let turns = Some(&packets.dts).filter(|dts| knows_decoding_only && dts.len() == frames && ascends(dts));
    let by_turn = || Timeline::new(turns?.clone(), base, header.origin(base));
    let by_guess = || spread(guessed?, base, header.origin(base));
    match clock {
        Clock::None => by_rate().or_else(by_guess),
        _ => by_turn().or_else(by_guess).or_else(by_rate),
    }
}

fn ascends(times: &[i64]) -> bool {
    times.windows(2).all(|pair| pair[0] < pair[1])
}

/// A timeline of frames in their order, of which some share a tick; `None` if a time goes backwards.
fn spread(times: Vec<i64>, base: TimeBase, origin: i64) -> Option<Timeline> {
    if ascends(&times) {
        return Timeline::new(times, base, origin);
    }
    let fine = |time: i64| time.checked_mul(i64::from(SHARES));
    let mut spread: Vec<i64> = Vec::with_capacity(times.len());
    for time in times {
        let (own, before) = (fine(time)?, spread.last().copied().unwrap_or(i64::MIN));
        let shares_tick = before >= own && before < own.checked_add(i64::from(SHARES))? - 1;
        if before >= own && !shares_tick {
            return None;
        }
        spread.push(own.max(before.saturating_add(1)));
    }
    Timeline::new(spread, TimeBase { num: base.num, den: base.den.checked_mul(SHARES)? }, fine(origin)?)
}

/// Where the header says that the video ends, if it says so.
fn promised_end(header: &Header, stream: &Stream, packets: &Packets, line: &Timeline, damaged: bool) -> Option<f64> {
    let origin_sec = line.container_sec(0) - line.sec(0);
    let start_sec = stream.start_sec().map_or(line.start_sec(), |start| start - origin_sec);
    let by_stream = stream.duration_sec().map(|duration| start_sec + duration);
    // A count tells whether frames are lost; when the last one ends, a duration tells better than their number.
    let by_count = stream.nb_frames.as_deref().and_then(|n| n.parse::<u64>().ok()).map(|n| {
        let lost = n.saturating_sub(packets.seen);
        let guess = line.end_sec() + lost as f64 / line.mean_fps();
        if lost > 0 { by_stream.unwrap_or(guess) } else { guess }
    });
    // The container's duration may be the sound's; it counts where the video is alone or ffprobe complained.
    let by_container = header.duration_sec().filter(|_| header.streams.len() == 1 || damaged);
    by_count.or(stream.tagged_end_sec()).or(by_stream).or(by_container)
}

/// In a damaged container: timestamps for the frames that are gone, so that those after them keep their indices. `pts`
/// ascends. A gap is taken for lost frames from half a step beyond the usual one on.
fn lost_pts(pts: &[i64]) -> Vec<i64> {
    let step = |pair: &[i64]| i128::from(pair[1]) - i128::from(pair[0]);
    let mut steps: Vec<i128> = pts.windows(2).map(step).collect();
    steps.sort_unstable();
    let Some(&usual) = steps.get(steps.len() / 2).filter(|&&step| step > 0) else { return Vec::new() };
    let gaps = pts.windows(2).filter(|pair| 2 * step(pair) > 3 * usual);
    let fill = |pair: &[i64]| {
        let (start, gap) = (i128::from(pair[0]), step(pair));
        let parts = (gap + usual / 2) / usual;
        // A garbled timestamp may claim years; nothing is known of such a gap but that it is one.
        let shown = parts.min(MOST_LOST_FRAMES);
        (1..shown).map(move |k| (start + gap * k / shown) as i64)
    };
    gaps.flat_map(fill).take(MOST_LOST_IN_ALL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lost_from_a_damaged_container_keep_their_places() {
        assert_eq!(lost_pts(&[0, 40, 80, 200, 240, 280]), [120, 160]);
        assert_eq!(lost_pts(&[0, 33, 67, 100, 133, 200, 233]), [166], "timestamps rounded to milliseconds");
        assert_eq!(lost_pts(&[0, 40, 80, 120]), [0_i64; 0]);
        assert_eq!(lost_pts(&[7]), [0_i64; 0]);
    }

    #[test]
    fn packets_between_frames_are_noticed() {
        assert!(!has_short_steps(&[0, 33, 67, 100, 133, 167]), "rounded to milliseconds");
        assert!(!has_short_steps(&[0, 40, 80, 160, 200]), "a gap");
        assert!(has_short_steps(&[0, 41, 42, 83, 125, 167]));
        assert!(has_short_steps(&[0, 40, 40, 80]) && has_repeats(&[0, 80, 40, 80]));
        assert!(!has_short_steps(&[0, 1, 2, 3]) && !has_short_steps(&[7]) && !has_short_steps(&[]));
    }

    #[test]
    fn frames_that_share_a_tick_keep_their_order() {
        let base = TimeBase { num: 1, den: 1000 };
        let line = spread(vec![5, 6, 6, 6, 8], base, 5).unwrap();
        assert_eq!((line.frames(), line.sec(0), line.sec(4)), (5, 0.0, 0.003));
        assert!(line.sec(1) == 0.001 && line.sec(3) < 0.001_01);
        assert_eq!(spread(vec![5, 7, 6], base, 0), None, "backwards");
    }
}
