//! The frames of a stream, by its packets or by decoding it.
//!
//! Packets are listed by ffprobe, at the speed of the disk; but not every packet is a frame, nor has every packet a
//! timestamp. Then frames are listed by ffmpeg, as slowly as they are decoded. Not for making a timeline of either.
//! Invariant: a list is whole, or an error: a program that was killed, or that ended otherwise than well, is not believed.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use super::child::Child;
use super::ffmpeg::{COUNTS_FRAMES, FfmpegSource};
use super::log_line::{About, LogLine, Shown};
use super::probe::file_url;
use super::{ProbeError, Tools};

/// What the packets of a stream tell.
#[derive(Default)]
pub(super) struct Packets {
    /// When those are shown that are, in the order of decoding.
    pub pts: Vec<i64>,
    /// When those are decoded that are shown.
    pub dts: Vec<i64>,
    /// When those are shown that a decoder can start at, whether an edit list hides them or not.
    pub keys: Vec<i64>,
    /// All of them.
    pub seen: u64,
    /// Those that have no pts.
    pub untimed: u64,
    /// Bytes of the smallest.
    pub smallest: Option<u64>,
    /// The byte of the file where the last packet of any stream ends; 0 where that is not known.
    pub end: u64,
}

/// Something that ffprobe said while it read a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// Who said what.
    pub words: String,
    /// Whether pictures of the stream are harmed or lost, as far as one can tell without decoding them all.
    pub is_damage: bool,
}

/// Lists the packets of stream number `stream`, whose codec is `codec`.
///
/// # Errors
/// [`ProbeError::Tool`] if ffprobe cannot be run, [`ProbeError::Broken`] if it did not end well.
pub(super) fn packets(
    tools: &Tools,
    path: &Path,
    stream: u32,
    codec: &str,
) -> Result<(Packets, Vec<Remark>), ProbeError> {
    let tool = |e: std::io::Error| ProbeError::Tool(e.to_string());
    let mut child = Command::new(&tools.ffprobe)
        .args(["-hide_banner", "-loglevel", "repeat+level+info"])
        .args(["-show_entries", "packet=stream_index,pts,dts,size,pos,flags", "-of", "csv=p=0"])
        .arg(file_url(path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(tool)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut packets = Packets::default();
    let said = std::thread::scope(|scope| {
        let drainer = scope.spawn(move || first_words(stderr));
        // ffprobe's list is read line by line: an hour of video has a hundred thousand.
        for line in stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok)) {
            packets.note(&line, stream);
        }
        drainer.join().unwrap_or_default()
    });
    let remarks = remarks(&said, stream, codec);
    let status = child.wait().map_err(tool)?;
    if status.success() {
        return Ok((packets, remarks));
    }
    let why = remarks.last().map_or_else(|| status.to_string(), |last| format!("{status}: {}", last.words));
    Err(ProbeError::Broken { path: path.to_owned(), why })
}

/// The first words of what ffprobe says: damaged files bring thousands of lines, the first ones tell the story.
fn first_words(stderr: Option<ChildStderr>) -> String {
    let Some(mut pipe) = stderr else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut pipe).take(256 << 10).read_to_end(&mut bytes);
    // What is not read would stop ffprobe.
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The complaints in `said`. A decoder that has a look at the first pictures is believed here, for nobody decodes them
/// all; but not that something is missing to which they refer.
fn remarks(said: &str, stream: u32, codec: &str) -> Vec<Remark> {
    let (mut open, mut remarks) = (false, Vec::new());
    for line in said.lines().flat_map(LogLine::parse) {
        match line {
            LogLine::Opened => open = true,
            LogLine::Complaint(complaint) => {
                let is_pictures = complaint.who == "NULL" || complaint.who.contains(codec);
                let concerns = complaint.concerns(stream, open || is_pictures);
                let is_damage = concerns && complaint.about == About::Picture;
                remarks.push(Remark { words: complaint.words, is_damage });
            }
            _ => {}
        }
    }
    remarks
}

impl Packets {
    /// Takes `stream,pts,dts,size,pos,flags`: `0,512,0,1380,48,K__`.
    fn note(&mut self, line: &str, stream: u32) {
        let [of, pts, dts, size, pos, flags, ..] = line.split(',').collect::<Vec<_>>()[..] else { return };
        let size: Option<u64> = size.parse().ok();
        self.end = self.end.max(pos.parse().map_or(0, |pos: u64| pos.saturating_add(size.unwrap_or(0))));
        if of.parse() != Ok(stream) {
            return;
        }
        let (pts, is_key) = (pts.parse::<i64>().ok(), flags.contains('K'));
        self.seen += 1;
        self.keys.extend(pts.filter(|_| is_key));
        // Hidden by an edit list: never shown, but decoded, and shown ones may build on it.
        if flags.contains('D') {
            return;
        }
        self.pts.extend(pts);
        self.untimed += u64::from(pts.is_none());
        self.dts.extend(dts.parse::<i64>().ok());
        self.smallest = size.into_iter().chain(self.smallest).min();
    }
}

/// Lists the frames of stream number `stream` in the order in which they are shown, by decoding all of it.
///
/// # Errors
/// [`ProbeError::Tool`] if ffmpeg cannot be run, [`ProbeError::Broken`] if it did not end well.
pub(super) fn frames(source: &FfmpegSource, path: &Path, stream: u32) -> Result<Vec<Shown>, ProbeError> {
    let tool = |e: std::io::Error| ProbeError::Tool(e.to_string());
    let mut command = source.command();
    command.args(FfmpegSource::OWN_TIMES).arg("-i").arg(file_url(path));
    command.args(["-map", &format!("0:{stream}"), "-an", "-sn", "-dn", "-vf", COUNTS_FRAMES]);
    command.args([source.tools.passthrough_option(), "passthrough", "-f", "null", "-"]);
    let mut child = Child::spawn(command, String::new()).map_err(tool)?;
    let (mut frames, mut last) = (Vec::new(), String::new());
    while let Some(line) = child.next_line() {
        match line {
            LogLine::Frame(shown) => frames.push(shown),
            LogLine::Complaint(complaint) => last = complaint.words,
            LogLine::Opened | LogLine::Fallback(_) | LogLine::Encoded(_) => {}
        }
    }
    let status = child.wait().map_err(tool)?;
    if status.success() || !frames.is_empty() && status.code().is_some() {
        return Ok(frames);
    }
    Err(ProbeError::Broken { path: path.to_owned(), why: format!("{status}: {last}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_lines_of_several_versions_are_understood() {
        let mut packets = Packets::default();
        for line in [
            "0,0,-512,900,48,K_",
            "0,1024,0,80,948,__",
            "1,0,0,4000,1028,K_",
            "0,512,512,7,5028,___",
            "0,2048,1024,6,N/A,KD_",
            "0,N/A,1536,81,5042,__",
            "0,1536,2048,82,5123,K__,",
            "",
        ] {
            packets.note(line, 0);
        }
        assert_eq!((packets.pts, packets.keys), (vec![0, 1024, 512, 1536], vec![0, 2048, 1536]));
        assert_eq!((packets.dts, packets.end), (vec![-512, 0, 512, 1536, 2048], 5205));
        assert_eq!((packets.seen, packets.untimed, packets.smallest), (6, 1, Some(7)));
    }

    #[test]
    fn damage_is_told_from_what_is_natural_or_of_no_concern() {
        let said = "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] Referenced QT chapter track not found\n\
                    [NULL @ 0x1] [error] Invalid NAL unit size (-1 > 551).\n\
                    [h264 @ 0x1] [error] non-existing PPS 0 referenced\n\
                    [aac @ 0x1] [error] channel element 1.0 is not allocated\n\
                    [info] Input #0, mov, from 'a.mp4':\n\
                    [mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] stream 1, offset 0x1f: partial file\n\
                    [mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] stream 0, offset 0x1f: partial file\n";
        let found: Vec<bool> = remarks(said, 0, "h264").iter().map(|remark| remark.is_damage).collect();
        assert_eq!(found, [false, true, false, false, false, true]);
    }
}
