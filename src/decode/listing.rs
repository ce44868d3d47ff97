//! The frames of a stream, by its packets or by decoding it.
//!
//! Packets are listed by ffprobe, at the speed of the disk; but not every packet is a frame, nor has every packet a
//! timestamp. Then frames are listed by ffmpeg, as slowly as they are decoded. Not for making a timeline of either.
//! Invariant: a list is whole, or an error: a program that was killed, or that ended otherwise than well, is not believed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use super::child::Child;
use super::command::FfmpegSource;
use super::disposable::{Place, Search};
use super::log_line::{About, Complaint, LogLine, REPORTS_FRAMES, Shown};
use super::{ProbeError, Tools, input};
use crate::child::{self, Crash, Process, Said};

/// Complaints that are kept of a run: damaged files bring thousands.
const MOST_COMPLAINTS: usize = 100;

/// What the packets of a stream tell.
#[derive(Default)]
pub(super) struct Packets {
    /// When those are shown that are, in the order of decoding.
    pub pts: Vec<i64>,
    /// When those are decoded that are shown.
    pub dts: Vec<i64>,
    /// How long those last that are shown, each in ticks or not known.
    pub durations: BTreeSet<Option<u32>>,
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
    /// What is searched for those that nothing refers to.
    pub search: Option<Search>,
}

/// Something that ffprobe said while it read a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// Who said what.
    pub words: String,
    /// Whether images of the stream are harmed or lost, as far as one can tell without decoding them all.
    pub is_damage: bool,
    /// Whether it is about the system and not about the file.
    is_refusal: bool,
}

/// An ffprobe that lists packets, and what it says.
pub(super) type Begun = Result<(Process, Said), Crash>;

/// Starts to list the packets of `path`; it waits where nobody reads on, and is ended where nobody wants it.
pub(super) fn begin(tools: &Tools, path: &Path) -> Begun {
    let mut command = tools.ffprobe();
    command.args(["-hide_banner", "-loglevel", "repeat+level+info"]);
    command.args(["-show_entries", "packet=stream_index,pts,dts,duration,size,pos,flags", "-of", "csv=p=0"]);
    input::probe_video(&mut command, path);
    let said = Said::default();
    Ok((Process::start(&mut command, tools.patience, None, said.hear())?, said))
}

/// Lists the packets of stream number `stream`, whose codec is `codec`, by the ffprobe that has `begun`, and has `search` look at each.
///
/// # Errors
/// [`ProbeError::Crashed`] if ffprobe crashed twice, [`ProbeError::Broken`] if it did not end well.
pub(super) fn packets(
    tools: &Tools,
    path: &Path,
    begun: Begun,
    stream: u32,
    codec: &str,
    search: impl Fn() -> Option<Search>,
) -> Result<(Packets, Vec<Remark>), ProbeError> {
    let mut begun = Some(begun);
    let mut again = || begun.take().unwrap_or_else(|| begin(tools, path));
    let once = || packets_of(again(), path, stream, codec, Packets { search: search(), ..Packets::default() });
    child::twice(once, ProbeError::is_crash)
}

fn packets_of(
    begun: Begun,
    path: &Path,
    stream: u32,
    codec: &str,
    mut packets: Packets,
) -> Result<(Packets, Vec<Remark>), ProbeError> {
    let broken = |why: String| ProbeError::Broken { path: path.to_owned(), why };
    let crashed = |crash| ProbeError::crashed(path, crash);
    let (mut process, said) = begun.map_err(crashed)?;
    // ffprobe's list is read line by line: an hour of video has a hundred thousand.
    for line in BufReader::new(&mut process).lines() {
        packets.note(&line.map_err(|error| broken(error.to_string()))?, stream);
    }
    let status = process.end().map_err(crashed)?;
    let remarks = remarks(&said.words(), stream, codec);
    if let Some(refusal) = remarks.iter().find(|remark| remark.is_refusal) {
        return Err(broken(refusal.words.clone()));
    }
    if status.success() {
        return Ok((packets, remarks));
    }
    Err(broken(remarks.last().map_or_else(|| status.to_string(), |last| format!("{status}: {}", last.words))))
}

/// Reads stream number `stream` on from second `from_sec` to the end of the file, without decoding: ffprobe says nothing of a read that fails, and
/// takes it for the end; ffmpeg says so. What it says, if it does.
///
/// # Errors
/// [`ProbeError::Crashed`].
pub(super) fn read_error(
    source: &FfmpegSource,
    path: &Path,
    stream: u32,
    from_sec: f64,
) -> Result<Option<String>, ProbeError> {
    let once = || {
        let mut command = source.command();
        command.args(FfmpegSource::OWN_TIMES).args(["-seek_timestamp", "1", "-ss", &format!("{from_sec:.6}")]);
        input::read_video(&mut command, path);
        command.args(["-map", &format!("0:{stream}")]);
        command.args(["-c", "copy", "-f", "null", "-"]);
        let said = lines(source, path, command, |_| {})?;
        Ok(said.into_iter().find(|complaint| complaint.about == About::System).map(|complaint| complaint.words))
    };
    child::twice(once, ProbeError::is_crash)
}

/// The complaints in `said`. A decoder that has a look at the first images is believed here, for nobody decodes them
/// all; but not that something is missing to which they refer.
fn remarks(said: &str, stream: u32, codec: &str) -> Vec<Remark> {
    let (mut open, mut remarks) = (false, Vec::new());
    for line in said.lines().flat_map(LogLine::parse) {
        match line {
            LogLine::Opened => open = true,
            LogLine::Complaint(complaint) => {
                let is_of_frames = complaint.who == "NULL" || complaint.who.contains(codec);
                let concerns = complaint.concerns(stream, open || is_of_frames);
                let is_damage = concerns && complaint.about == About::Image;
                let is_refusal = complaint.about == About::System;
                remarks.push(Remark { words: complaint.words, is_damage, is_refusal });
            }
            _ => {}
        }
    }
    remarks
}

impl Packets {
    /// How many ticks each of them lasts, if that is known and the same of all.
    pub fn lasting(&self) -> Option<u32> {
        if self.durations.len() == 1 { self.durations.first().copied().flatten() } else { None }
    }

    /// Takes `stream,pts,dts,duration,size,pos,flags`: `0,512,0,512,1380,48,K__`.
    fn note(&mut self, line: &str, stream: u32) {
        let [of, pts, dts, duration, size, pos, flags, ..] = line.split(',').collect::<Vec<_>>()[..] else { return };
        let (pos, size): (Option<u64>, Option<u64>) = (pos.parse().ok(), size.parse().ok());
        self.end = self.end.max(pos.map_or(0, |pos| pos.saturating_add(size.unwrap_or(0))));
        if of.parse() != Ok(stream) {
            return;
        }
        let (pts, is_key) = (pts.parse::<i64>().ok(), flags.contains('K'));
        self.seen += 1;
        self.keys.extend(pts.filter(|_| is_key));
        if let Some(search) = &mut self.search {
            let (is_special, is_hidden) = (flags.contains(['K', 'D', 'C']), flags.contains('D'));
            search.look(Place { pos, size, pts, is_special, is_hidden });
        }
        // Hidden by an edit list: never shown, but decoded, and shown ones may build on it.
        if flags.contains('D') {
            return;
        }
        self.pts.extend(pts);
        self.untimed += u64::from(pts.is_none());
        self.dts.extend(dts.parse::<i64>().ok());
        self.durations.insert(duration.parse().ok());
        self.smallest = size.into_iter().chain(self.smallest).min();
    }
}

/// Lists the frames of stream number `stream` in the order in which they are shown, by decoding all of it.
///
/// # Errors
/// [`ProbeError::Crashed`] if ffmpeg crashed twice, [`ProbeError::Broken`] if it did not end well.
pub(super) fn frames(source: &FfmpegSource, path: &Path, stream: u32) -> Result<Vec<Shown>, ProbeError> {
    child::twice(|| frames_once(source, path, stream), ProbeError::is_crash)
}

fn frames_once(source: &FfmpegSource, path: &Path, stream: u32) -> Result<Vec<Shown>, ProbeError> {
    let mut command = source.command();
    command.args(FfmpegSource::OWN_TIMES);
    input::read_video(&mut command, path);
    command.args(["-map", &format!("0:{stream}"), "-an", "-sn", "-dn", "-vf", REPORTS_FRAMES]);
    command.args([source.tools.passthrough_option(), "passthrough", "-f", "null", "-"]);
    let mut frames = Vec::new();
    let said = lines(source, path, command, |shown| frames.push(shown))?;
    let broken = |why: String| ProbeError::Broken { path: path.to_owned(), why };
    if let Some(refusal) = said.iter().find(|complaint| complaint.about == About::System) {
        return Err(broken(refusal.words.clone()));
    }
    let last = || said.last().map_or_else(|| "ffmpeg gave none".to_owned(), |complaint| complaint.words.clone());
    if frames.is_empty() { Err(broken(last())) } else { Ok(frames) }
}

/// Runs an ffmpeg that writes nothing to its end, and gives its first complaints, those of the system before all others.
fn lines(
    source: &FfmpegSource,
    path: &Path,
    command: Command,
    mut take: impl FnMut(Shown),
) -> Result<Vec<Complaint>, ProbeError> {
    let crashed = |crash| ProbeError::crashed(path, crash);
    let mut child = Child::spawn_writer(command, source.tools.patience).map_err(crashed)?;
    let mut said: Vec<Complaint> = Vec::new();
    while let Some(line) = child.next_line() {
        match line {
            LogLine::Frame(shown) => take(shown),
            LogLine::Complaint(complaint) if complaint.about == About::System => said.insert(0, complaint),
            LogLine::Complaint(complaint) if said.len() < MOST_COMPLAINTS => said.push(complaint),
            _ => {}
        }
    }
    child.end().map_err(crashed)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_lines_of_several_versions_are_understood() {
        let mut packets = Packets::default();
        for line in [
            "0,0,-512,512,900,48,K_",
            "0,1024,0,512,80,948,__",
            "1,0,0,1024,4000,1028,K_",
            "0,512,512,512,7,5028,___",
            "0,2048,1024,9,6,N/A,KD_",
            "0,N/A,1536,512,81,5042,__",
            "0,1536,2048,512,82,5123,K__,",
            "",
        ] {
            packets.note(line, 0);
        }
        assert_eq!(packets.lasting(), Some(512));
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
