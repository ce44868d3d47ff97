//! What ffmpeg says on stderr with `-loglevel repeat+level+info`: timestamps of frames, and complaints.
//!
//! Not for acting on it. Invariant: lines that we do not know are ignored, except that an unknown error is an error.

/// One line that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine {
    /// `showinfo` saw a frame with this timestamp, in ticks of the stream.
    Frame(i64),
    /// A decoder complained, or a frame was marked as corrupt.
    Damage(String),
    /// Hardware decoding was asked for and is not used.
    Fallback(String),
    /// With `-progress`: so many frames are encoded.
    Encoded(u64),
}

/// Words by which ffmpeg tells that software decodes instead of hardware. (Without a device it gives up altogether, and
/// that is a plain error.)
const FALLBACK: &[&str] = &["hwaccel initialisation returned error", "Failed setup for format"];

/// Words that mean a harmed picture although they are said as a warning or as information. H.264 and MPEG-4 decoders
/// say of many a broken picture only that they concealed it.
const HARMED: &[&str] = &["corrupt decoded frame", "corrupt input packet", "concealing "];

impl LogLine {
    /// What a line says. `showinfo` writes a line in pieces, and a decoder's thread may write in between, then without
    /// name or level: so one line can be both a frame and a complaint.
    pub fn parse(line: &str) -> Vec<Self> {
        let Some((before, shown)) = line.split_once("[Parsed_showinfo_") else {
            return Self::complaint(line).into_iter().collect();
        };
        let Some(pts) = pts(shown) else { return Vec::new() };
        let foreign = shown.split_once(" type:").and_then(|(_, rest)| rest.get(1..)).unwrap_or("");
        let harm = [before, foreign].map(str::trim).into_iter().filter(|words| !words.is_empty());
        harm.map(|words| Self::Damage(plain(words))).chain([Self::Frame(pts)]).collect()
    }

    fn complaint(line: &str) -> Option<Self> {
        if let Some(frames) = line.strip_prefix("frame=") {
            return frames.trim().parse().ok().map(LogLine::Encoded);
        }
        if FALLBACK.iter().any(|words| line.contains(words)) {
            return Some(LogLine::Fallback(plain(line)));
        }
        let severe = ["[error]", "[fatal]", "[panic]"].iter().any(|tag| line.contains(tag));
        let harmed = HARMED.iter().any(|words| line.contains(words));
        (severe || harmed).then(|| LogLine::Damage(plain(line)))
    }
}

/// The integer after ` pts:` (`pts_time` has six digits only).
fn pts(line: &str) -> Option<i64> {
    let (_, rest) = line.split_once(" pts:")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The line without addresses and levels: `[h264 @ 0x55..] [error] words` becomes `h264: words`.
fn plain(line: &str) -> String {
    let mut words = line.trim();
    let mut who = "";
    while let Some((tag, rest)) = words.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        if let Some((name, _)) = tag.split_once(" @ ") {
            who = name;
        }
        words = rest.trim_start();
    }
    if who.is_empty() { words.to_owned() } else { format!("{who}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_as_integers() {
        let line = "[Parsed_showinfo_4 @ 0x55df5099f800] [info] n:   0 pts: 100100 pts_time:3.33667 pos:   130525 fmt:rgb24 type:B ";
        assert_eq!(LogLine::parse(line), [LogLine::Frame(100_100)]);
        let negative = "[Parsed_showinfo_4 @ 0x1] [info] n:   0 pts:  -1024 pts_time:-0.08 duration:   1001";
        assert_eq!(LogLine::parse(negative), [LogLine::Frame(-1024)]);
        assert_eq!(LogLine::parse("[Parsed_showinfo_4 @ 0x1] [info] config in time_base: 1/30000"), []);
    }

    #[test]
    fn complaints_are_told_from_chatter() {
        let damage = "[h264 @ 0x55d] [error] error while decoding MB 17 9, bytestream -7";
        let words = "h264: error while decoding MB 17 9, bytestream -7".to_owned();
        assert_eq!(LogLine::parse(damage), [LogLine::Damage(words)]);
        for line in [
            "[warning] file.mp4: corrupt decoded frame in stream 0",
            "[h264 @ 0x1] [info] concealing 187 DC, 187 AC, 187 MV errors in P frame",
        ] {
            assert!(matches!(LogLine::parse(line)[..], [LogLine::Damage(_)]), "{line}");
        }
        assert_eq!(LogLine::parse("[swscaler @ 0x1] [warning] deprecated pixel format used"), []);
        assert_eq!(LogLine::parse("  [info] Stream #0:0: Video: h264"), []);
        assert_eq!(LogLine::parse("frame=1200"), [LogLine::Encoded(1200)]);
        let fallback = "[h264 @ 0x1] [error] Failed setup for format cuda: hwaccel initialisation returned error.";
        assert!(matches!(LogLine::parse(fallback)[..], [LogLine::Fallback(_)]));
    }

    #[test]
    fn a_complaint_in_the_middle_of_a_frames_line_is_not_lost() {
        let line =
            "[Parsed_showinfo_4 @ 0x1] [info] n:   0 pts:     12 pts_time:1 i:P iskey:0 type:B concealing 9 DC errors";
        let words = "concealing 9 DC errors".to_owned();
        assert_eq!(LogLine::parse(line), [LogLine::Damage(words), LogLine::Frame(12)]);
    }
}
