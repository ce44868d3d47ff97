//! What ffmpeg says on stderr with `-loglevel repeat+level+info`: frames that came out of the decoder, and complaints.
//!
//! Not for acting on it. Invariants: lines that we do not know are ignored, except that an unknown error is one of the
//! decoder's; who speaks decides whether a complaint is about the video or about what we do with it.

/// The filter that reports each frame as it comes out of the decoder, and lets it pass: twice its timestamp, and one more of a
/// key frame, on top of [`ZERO`]; [`UNTIMED`] for frames without a timestamp, or with one that is not told, see [`is_told`]. The number
/// is written at once, where `showinfo` writes pieces of lines into which other threads of ffmpeg write theirs; and it has
/// the same digits for all, so that it is found behind a line that another thread had begun.
pub const REPORTS_FRAMES: &str = "select='1+0*print(if(isnan(pts)+gt(abs(pts),19e14),1e15+key,5e15+2*pts+key),32)'";

/// Timestamps beyond this many ticks are not told: 60 years of microseconds.
const MOST_TICKS: i64 = 1_900_000_000_000_000;

/// Whether [`REPORTS_FRAMES`] tells of a frame with this timestamp by it.
pub fn is_told(pts: i64) -> bool {
    pts.unsigned_abs() <= MOST_TICKS.unsigned_abs()
}

/// What is written of a frame at second 0.
const ZERO: i64 = 5_000_000_000_000_000;

/// What is written of a frame without a timestamp.
const UNTIMED: i64 = 1_000_000_000_000_000;

/// Digits of what is written of any frame; below 2^53, so that ffmpeg's floating point numbers hold it.
const NUMBER_DIGITS: usize = 16;

/// One line that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine {
    /// The input has been opened. What was said before is about its header, and about images that were decoded for a
    /// look at them and will be decoded again.
    Opened,
    /// A frame came out of the decoder.
    Frame(Shown),
    /// Somebody complained.
    Complaint(Complaint),
    /// Hardware decoding was asked for and is not used.
    Fallback(String),
    /// With `-progress`: so many frames are encoded.
    Encoded(u64),
}

/// A frame as it came out of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Its timestamp in ticks of the stream, if it has one.
    pub pts: Option<i64>,
    /// Whether a decoder can start at it.
    pub key: bool,
}

/// A complaint, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Who spoke: a decoder, a demuxer, a filter; empty if it has no name.
    pub who: String,
    /// Who said what, without addresses and levels.
    pub words: String,
    /// What it is about.
    pub about: About,
    /// The stream of the input that it names, if it names one.
    pub stream: Option<u32>,
}

/// What a complaint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Bits that make no sense, or an image that had to be made up: images are harmed.
    Image,
    /// An image, or the parameters of one, to which others refer is not there. Natural where a stream begins between
    /// key frames, or with an open group of images: then the images that miss it are never shown.
    Reference,
    /// Filters, encoder or muxer of our own command: the video is as it was.
    Output,
    /// The system, which refused a read, memory, a file descriptor or a device, or told ffmpeg to end: nothing is known of
    /// the video by that.
    System,
}

/// Words by which ffmpeg tells that software decodes instead of hardware. (Without a device it gives up altogether, and
/// that is a plain error.)
const FALLBACK: &[&str] = &["hwaccel initialisation returned error", "Failed setup for format"];

/// Words that mean a harmed image although they are said as a warning or as information. H.264 and MPEG-4 decoders
/// say of many a broken image only that they concealed it.
const HARMED: &[&str] = &["corrupt decoded frame", "corrupt input packet", "concealing "];

/// Words of decoders (H.264, HEVC, MPEG, VP8, VP9) that lack what an image refers to, and ffmpeg's echo of their
/// failure, which says nothing of its own.
const REFERENCE: &[&str] = &[
    "mmco: unref short failure",
    "reference image missing during reorder",
    "Missing reference image",
    "co located POCs unavailable",
    "non-existing PPS",
    "non-existing SPS",
    "PPS id out of range",
    "PPS changed between slices",
    "sps_id",
    "SPS id out of range",
    "SPS 0 does not exist",
    "decode_slice_header error",
    "no frame!",
    "Could not find ref with POC",
    "Error constructing the frame RPS",
    "Error parsing NAL unit",
    "Skipping invalid undecodable NALU",
    "first frame is no keyframe",
    "without a prior keyframe",
    "Not all references are available",
    "Requested reference",
    "Error while decoding stream",
    "Error submitting packet to decoder",
];

/// The system's words for what it refuses, by anybody's mouth; and ffmpeg's for a signal.
const SYSTEM: &[&str] = &[
    "Input/output error",
    "Read error",
    "Remote I/O error",
    "Cannot allocate memory",
    "Too many open files",
    "Resource temporarily unavailable",
    "Stale file handle",
    "Permission denied",
    "Operation not permitted",
    "No such file or directory",
    "No such device",
    "Connection timed out",
    "Transport endpoint is not connected",
    "Host is down",
    "received signal",
];

/// How the names of demuxers begin that complain of what they do not find between packets.
const DEMUXERS: &[&str] = &[
    "mov,", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "asf", "ogg", "mxf", "nut", "ivf", "rm", "concat",
];

/// How the parts of our own command begin their names: filters, the encoder of raw frames, muxers, output files.
const OUTPUT: &[&str] = &[
    "Parsed_",
    "graph",
    "auto_",
    "AVFilterGraph",
    "fc#",
    "vf#",
    "af#",
    "swscaler",
    "SWR",
    "rawvideo",
    "null",
    "vost#",
    "aost#",
    "ost#",
    "out#",
    "enc:",
    "libx264",
    "mp4",
    "segment",
    "mux",
    "AVIOContext",
];

/// What our command says of itself without a name.
const OUTPUT_WORDS: &[&str] = &[
    "Error while filtering",
    "Error reinitializing filters",
    "Failed to inject frame into filter network",
    "Error muxing",
    "Error writing",
    "Error encoding",
    "Error initializing output",
    "Error closing",
    "Error opening output",
    "av_interleaved_write_frame",
    "Conversion failed",
    "Terminating thread",
    "Task finished with error",
];

impl LogLine {
    /// What a line says: a frame's number may stand behind what another thread had begun to write.
    pub fn parse(line: &str) -> Vec<Self> {
        let (others, frame) = frame(line).map_or((line, None), |(before, shown)| (before, Some(Self::Frame(shown))));
        Self::of_others(others).into_iter().chain(frame).collect()
    }

    fn of_others(line: &str) -> Option<Self> {
        if let Some(frames) = line.strip_prefix("frame=") {
            return frames.trim().parse().ok().map(LogLine::Encoded);
        }
        if line.contains("[info] Input #0, ") {
            return Some(Self::Opened);
        }
        if FALLBACK.iter().any(|words| line.contains(words)) {
            return Some(Self::Fallback(plain(line).1));
        }
        let severe = ["[error]", "[fatal]", "[panic]", "Exiting normally, received signal"];
        let severe = severe.iter().any(|tag| line.contains(tag));
        let harmed = HARMED.iter().any(|words| line.contains(words));
        (severe || harmed).then(|| Self::Complaint(Complaint::of(line)))
    }
}

impl Complaint {
    /// What `line`, which is known to be a complaint, is about.
    pub fn of(line: &str) -> Self {
        let (who, words) = plain(line);
        let is_output = who.iter().any(|name| OUTPUT.iter().any(|own| name.starts_with(own)))
            || (who.is_empty() && OUTPUT_WORDS.iter().any(|own| words.contains(own)));
        let speaks_of = |known: &[&str]| known.iter().any(|known| words.contains(known));
        let about = match () {
            // A decoder's failure may be called by any name of the system's.
            () if speaks_of(REFERENCE) => About::Reference,
            () if speaks_of(SYSTEM) => About::System,
            () if is_output => About::Output,
            () => About::Image,
        };
        let (stream, who) = (stream(&words), who.last().copied().unwrap_or_default().to_owned());
        Self { who, words, about, stream }
    }

    /// Whether it may be about images of the input's stream number `stream`.
    pub fn concerns(&self, stream: u32, open: bool) -> bool {
        !matches!(self.about, About::Output | About::System)
            && self.stream.is_none_or(|named| named == stream)
            && self.is_news(open)
    }

    /// Before the input is `open`, a decoder speaks of images that it will decode again, and a demuxer of tables, or of
    /// packets that it does not find.
    pub fn is_news(&self, open: bool) -> bool {
        open || (self.is_demuxers() && !self.is_of_tables())
    }

    fn is_demuxers(&self) -> bool {
        let name = self.who.rsplit('/').next().unwrap_or_default();
        DEMUXERS.iter().any(|demuxer| name.starts_with(demuxer))
    }

    /// MP4 has everything in tables, and healthy files get complaints about those that nobody needs (chapters, edits).
    fn is_of_tables(&self) -> bool {
        self.who.contains("mov,") && !self.words.contains("partial file")
    }
}

/// What the filter [`REPORTS_FRAMES`] said, and what stands before it in the line.
fn frame(line: &str) -> Option<(&str, Shown)> {
    let line = line.trim_end().strip_suffix(".000000")?;
    let (before, number) = line.split_at_checked(line.len().checked_sub(NUMBER_DIGITS)?)?;
    let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number: i64 = number.parse().ok()?;
    let (pts, key) = match number - UNTIMED {
        key @ (0 | 1) => (None, key == 1),
        _ => (Some((number - ZERO).div_euclid(2)), (number - ZERO).rem_euclid(2) == 1),
    };
    Some((before, Shown { pts, key }))
}

/// The stream that words name: `stream 1`, `stream #0:1`, `(stream = 1`.
fn stream(words: &str) -> Option<u32> {
    let (_, rest) = words.split_once("stream ")?;
    let rest = rest.trim_start_matches("#0:").trim_start_matches("= ");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The names in front of a line, and the line without addresses and levels: of `[h264 @ 0x55..] [error] words`, `h264` and
/// `h264: words`.
fn plain(line: &str) -> (Vec<&str>, String) {
    let (mut words, mut who) = (line.trim(), Vec::new());
    while let Some((tag, rest)) = words.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        who.extend(tag.split_once(" @ ").map(|(name, _)| name));
        words = rest.trim_start();
    }
    let text = match who.last() {
        Some(name) => format!("{name}: {words}"),
        None => words.to_owned(),
    };
    (who, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(line: &str) -> About {
        match &LogLine::parse(line)[..] {
            [LogLine::Complaint(complaint)] => complaint.about,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn shown(pts: i64, key: bool) -> LogLine {
        LogLine::Frame(Shown { pts: Some(pts), key })
    }

    #[test]
    fn frames_are_known_by_their_numbers() {
        for (line, frame) in [
            ("[info] 5000000000200201.000000", shown(100_100, true)),
            ("[Eval @ 0x7ffc] [info] 4999999999997952.000000", shown(-1024, false)),
            ("[info] 1200000000000001.000000", shown(-1_900_000_000_000_000, true)),
            ("[info] 8800000000000000.000000", shown(1_900_000_000_000_000, false)),
            ("[info] 1000000000000000.000000", LogLine::Frame(Shown { pts: None, key: false })),
            ("[info] 1000000000000001.000000", LogLine::Frame(Shown { pts: None, key: true })),
        ] {
            assert_eq!(LogLine::parse(line), [frame], "{line}");
        }
        for line in ["[info]   Duration: 00:00:06.00, start: 0.000000", "[info] 5000.000000", "é000000000000000.000000"]
        {
            assert_eq!(LogLine::parse(line), [], "{line}");
        }
    }

    #[test]
    fn a_frame_behind_what_another_thread_began_is_found() {
        assert_eq!(LogLine::parse("[info]   Stream #0:05000000000001024.000000"), [shown(512, false)]);
        let line = "[h264 @ 0x1] [error] concealing 9 DC errors 5000000000001025.000000";
        let complaint = Complaint::of("[h264 @ 0x1] [error] concealing 9 DC errors");
        assert_eq!(LogLine::parse(line), [LogLine::Complaint(complaint), shown(512, true)]);
    }

    #[test]
    fn complaints_are_told_from_chatter() {
        let damage = "[h264 @ 0x55d] [error] error while decoding MB 17 9, bytestream -7";
        let words = "h264: error while decoding MB 17 9, bytestream -7".to_owned();
        let complaint = Complaint { who: "h264".into(), words, about: About::Image, stream: None };
        assert_eq!(LogLine::parse(damage), [LogLine::Complaint(complaint)]);
        for line in [
            "[warning] file.mp4: corrupt decoded frame in stream 0",
            "[h264 @ 0x1] [info] concealing 187 DC, 187 AC, 187 MV errors in P frame",
            "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] stream 0, offset 0x1f: partial file",
        ] {
            assert_eq!(about(line), About::Image, "{line}");
        }
        assert_eq!(LogLine::parse("[swscaler @ 0x1] [warning] deprecated pixel format used"), []);
        assert_eq!(LogLine::parse("  [info] Stream #0:0: Video: h264"), []);
        assert_eq!(LogLine::parse("frame=1200"), [LogLine::Encoded(1200)]);
        assert_eq!(LogLine::parse("[info] Input #0, mpegts, from 'file:a.ts':"), [LogLine::Opened]);
        let fallback = "[h264 @ 0x1] [error] Failed setup for format cuda: hwaccel initialisation returned error.";
        assert!(matches!(LogLine::parse(fallback)[..], [LogLine::Fallback(_)]));
    }

    #[test]
    fn who_speaks_decides_what_a_complaint_is_about() {
        for line in [
            "[rawvideo @ 0x1] [error] Application provided invalid, non monotonically increasing dts to muxer in stream 0: 300 >= 300",
            "[vost#0:0/rawvideo @ 0x1] [error] Error submitting a packet to the muxer: Invalid argument",
            "[Parsed_scale_3 @ 0x1] [error] Failed to configure output pad",
            "[vost#0:0/libx264 @ 0x1] [enc:libx264 @ 0x2] [error] Could not open encoder",
            "[error] av_interleaved_write_frame(): No space left on device",
        ] {
            assert_eq!(about(line), About::Output, "{line}");
        }
        for line in [
            "[h264 @ 0x1] [error] mmco: unref short failure",
            "[h264 @ 0x1] [error] non-existing PPS 0 referenced",
            "[error] Error while decoding stream #0:0: Invalid data found when processing input",
            "[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [error] Error submitting packet to decoder: Invalid data found",
        ] {
            assert_eq!(about(line), About::Reference, "{line}");
        }
    }

    #[test]
    fn what_the_system_refuses_is_no_damage() {
        for line in [
            "[error] file:a.ts: Input/output error",
            "[in#0/matroska,webm @ 0x1] [error] Error during demuxing: Input/output error",
            "[matroska,webm @ 0x1] [error] Read error",
            "[fatal] file:a.mp4: Too many open files",
            "[Parsed_scale_3 @ 0x1] [error] Failed to configure output pad: Cannot allocate memory",
            "[info] Exiting normally, received signal 15.",
        ] {
            assert_eq!(about(line), About::System, "{line}");
            assert!(!Complaint::of(line).concerns(0, true), "{line}");
        }
        assert_eq!(about("[error] Error while decoding stream #0:0: Cannot allocate memory"), About::Reference);
    }

    #[test]
    fn a_complaint_about_another_stream_is_none_about_this_one() {
        for (line, stream) in [
            ("[warning] f.mp4: corrupt input packet in stream 1", Some(1)),
            ("[mpegts @ 0x1] [error] Packet corrupt (stream = 1, dts = 7).", Some(1)),
            ("[error] Error while decoding stream #0:1: Invalid data found", Some(1)),
            ("[h264 @ 0x1] [error] error while decoding MB 17 9, bytestream -7", None),
        ] {
            let complaint = Complaint::of(line);
            assert_eq!(complaint.stream, stream, "{line}");
            let concerned = (complaint.concerns(0, true), complaint.concerns(1, true));
            assert_eq!(concerned, (stream.is_none(), true), "{line}");
        }
    }

    #[test]
    fn before_a_file_is_open_only_packets_that_are_not_found_count() {
        for (line, counts) in [
            ("[h264 @ 0x1] [error] error while decoding MB 17 9, bytestream -7", false),
            ("[NULL @ 0x1] [error] Invalid NAL unit size (-1 > 551).", false),
            ("[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] Referenced QT chapter track not found", false),
            ("[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] stream 0, offset 0x1f: partial file", true),
            ("[matroska,webm @ 0x1] [error] 0x00 at pos 77 (0x4d) invalid as first byte of an EBML number", true),
        ] {
            let complaint = Complaint::of(line);
            assert_eq!((complaint.concerns(0, false), complaint.concerns(0, true)), (counts, true), "{line}");
        }
    }
}
