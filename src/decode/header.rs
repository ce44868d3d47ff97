//! What ffprobe reads out of a file's header: the streams, which of them is the video, and how long it is said to be.
//!
//! Not for packets. Invariant: what a header leaves open is `None`, also where it is written as a number.

use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::demuxer::{self, Clock};
use super::log_line::Complaint;
use super::{ColorSpace, ProbeError, Tools, input};
use crate::child;
use crate::time::TimeBase;

#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    pub streams: Vec<Stream>,
    #[serde(default)]
    pub format: Container,
}

#[derive(Deserialize, Default)]
pub(super) struct Container {
    pub format_name: Option<String>,
    pub start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct Stream {
    pub index: u32,
    codec_type: Option<String>,
    pub codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    color_space: Option<String>,
    time_base: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    pub nb_frames: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    side_data_list: Vec<SideData>,
    has_b_frames: Option<u32>,
    /// As a table of numbers and letters.
    extradata: Option<String>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    default: u8,
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize, Default)]
struct Tags {
    #[serde(rename = "DURATION")]
    duration: Option<String>,
    rotate: Option<String>,
    stereo_mode: Option<String>,
}

#[derive(Deserialize)]
struct SideData {
    side_data_type: Option<String>,
    rotation: Option<f64>,
    /// Of a type that depends on the kind of side data.
    r#type: Option<serde_json::Value>,
}

/// Matrices of colours in planes, by the names that ffprobe gives them and the filter `setparams` takes.
const COLOR_SPACES: [&str; 12] = [
    "bt709",
    "fcc",
    "bt470bg",
    "smpte170m",
    "smpte240m",
    "ycgco",
    "bt2020nc",
    "bt2020c",
    "smpte2085",
    "chroma-derived-nc",
    "chroma-derived-c",
    "ictcp",
];

const HEADER: &str = "format=format_name,start_time,duration:\
    stream=index,codec_type,codec_name,width,height,color_space,time_base,\
    avg_frame_rate,r_frame_rate,nb_frames,start_time,duration,has_b_frames:\
    stream_disposition=default,attached_pic:stream_tags=DURATION,rotate,stereo_mode:\
    stream_side_data=side_data_type,rotation,type";

/// Reads the header of `path`.
///
/// # Errors
/// [`ProbeError::Crashed`], [`ProbeError::NotMedia`].
pub(super) fn read(tools: &Tools, path: &Path) -> Result<Header, ProbeError> {
    child::twice(|| read_once(tools, path), ProbeError::is_crash)
}

fn read_once(tools: &Tools, path: &Path) -> Result<Header, ProbeError> {
    let mut command = tools.ffprobe();
    command.args(["-v", "error", "-show_entries", HEADER, "-of", "json"]);
    input::probe_video(&mut command, path);
    let output = child::output(&mut command, tools.patience).map_err(|crash| ProbeError::crashed(path, crash))?;
    // The last words are mostly "Invalid data found"; the ones before say which.
    let words: Vec<String> = output.stderr.lines().take(3).map(|line| tidy(line, path)).collect();
    let complaint = (!words.is_empty()).then(|| words.join("; "));
    let refused = |why: String| ProbeError::NotMedia { path: path.to_owned(), why };
    let other_format = |format: &str| ProbeError::Format { path: path.to_owned(), format: format.to_owned() };
    let complaints = || output.stderr.lines().map(Complaint::of);
    if let Some(format) = complaints().find_map(|said| Some(input::kept_out(&said.who, &said.words)?.to_owned())) {
        return Err(other_format(&format));
    }
    if !output.status.success() {
        return Err(refused(complaint.unwrap_or_else(|| output.status.to_string())));
    }
    let header: Header = serde_json::from_slice(&output.stdout).map_err(|e| refused(e.to_string()))?;
    // Whatever else the program that was named as ffprobe obeys.
    match header.format.format_name.as_deref().filter(|format| demuxer::clock_of(format).is_none()) {
        Some(format) => Err(other_format(format)),
        None => Ok(header),
    }
}

/// The record of the decoder's configuration that the container has for stream number `stream`; `None` if there is none, or
/// ffprobe does not tell. It is asked for by itself, for attachments have theirs too, of any size.
pub(super) fn configuration(tools: &Tools, path: &Path, stream: u32) -> Option<Vec<u8>> {
    let mut command = tools.ffprobe();
    command.args(["-v", "error", "-select_streams", &stream.to_string()]);
    command.args(["-show_entries", "stream=index,extradata", "-show_data", "-of", "json"]);
    input::probe_video(&mut command, path);
    let output = child::output(&mut command, tools.patience).ok().filter(|output| output.status.success())?;
    let header: Header = serde_json::from_slice(&output.stdout).ok()?;
    header.streams.into_iter().find(|found| found.index == stream)?.extradata.as_deref().map(table_bytes)
}

/// The words of a complaint without addresses and without the file's name, which the error names already.
fn tidy(line: &str, path: &Path) -> String {
    let Complaint { who, words, .. } = Complaint::of(line);
    let words = words.strip_prefix(&format!("{who}: ")).unwrap_or(&words);
    words.replace(&format!("file:{}: ", path.display()), "")
}

impl Header {
    /// The stream that players choose: marked as default first, then the largest image, then the first one. Cover
    /// images are no video.
    ///
    /// # Errors
    /// [`ProbeError`] if there is no video stream.
    pub fn best_stream(&self, path: &Path) -> Result<&Stream, ProbeError> {
        let is_video = |s: &&Stream| {
            s.codec_type.as_deref() == Some("video") && s.disposition.attached_pic == 0 && s.width.unwrap_or(0) > 0
        };
        let size = |s: &Stream| u64::from(s.width.unwrap_or(0)) * u64::from(s.height.unwrap_or(0));
        let rank = |s: &&Stream| (s.disposition.default, size(s), std::cmp::Reverse(s.index));
        self.streams.iter().filter(is_video).max_by_key(rank).ok_or_else(|| {
            let kind = |s: &Stream| s.codec_type.clone().unwrap_or_else(|| "unknown".into());
            let name = |s: &Stream| s.codec_name.clone().unwrap_or_else(|| "unknown".into());
            let found: Vec<String> = self.streams.iter().map(|s| format!("{} {}", kind(s), name(s))).collect();
            let found = if found.is_empty() { "no streams".into() } else { found.join(", ") };
            ProbeError::NoVideo { path: path.to_owned(), found }
        })
    }

    /// How the container tells when its frames are shown.
    pub fn clock(&self) -> Clock {
        self.format.format_name.as_deref().and_then(demuxer::clock_of).unwrap_or(Clock::Counted)
    }

    /// The tick of `base` that counts as second 0. Files have one; broadcast streams start at any time of day.
    pub fn origin(&self, base: TimeBase) -> i64 {
        let name = self.format.format_name.as_deref().unwrap_or("");
        if !name.split(',').any(|n| matches!(n, "mpegts" | "mpeg")) {
            return 0;
        }
        let start = seconds(self.format.start_time.as_deref()).unwrap_or(0.0);
        (start * f64::from(base.den) / f64::from(base.num)).round() as i64
    }

    /// Whether nothing but the file's length tells where its packets end.
    pub fn is_open_ended(&self) -> bool {
        let name = self.format.format_name.as_deref().unwrap_or("");
        let always = name.split(',').any(|n| matches!(n, "mpegts" | "mpeg" | "flv" | "live_flv" | "ogg"));
        always || (name.contains("matroska") && self.duration_sec().is_none())
    }

    /// How long the container says that all of it is, in seconds.
    pub fn duration_sec(&self) -> Option<f64> {
        known(seconds(self.format.duration.as_deref())?)
    }
}

impl Stream {
    /// The ticks of its timestamps.
    pub fn time_base(&self) -> Option<TimeBase> {
        self.time_base.as_deref().and_then(fraction)
    }

    /// How long a frame is shown by its rate, if it has one: the mean of the container, else that of the codec. Where each
    /// packet is known to last `ticks`, only a rate that agrees is believed: since version 6.1 ffmpeg gives H.264, HEVC and
    /// MPEG-2 without a container a mean of 25 fps, whatever they are.
    pub fn frame_base(&self, ticks: Option<u32>) -> Option<TimeBase> {
        let rates = [&self.avg_frame_rate, &self.r_frame_rate].into_iter().flatten().filter_map(|rate| fraction(rate));
        let mut bases = rates.filter(|rate| rate.num > 0).map(|rate| TimeBase { num: rate.den, den: rate.num });
        let (Some(ticks), Some(tick)) = (ticks.filter(|&ticks| ticks > 0), self.time_base()) else {
            return bases.next();
        };
        let sec = |base: TimeBase| f64::from(base.num) / f64::from(base.den);
        let agrees = |base: &TimeBase| (sec(*base) - f64::from(ticks) * sec(tick)).abs() <= sec(tick);
        bases.find(agrees).or_else(|| Some(TimeBase { num: tick.num.checked_mul(ticks)?, den: tick.den }))
    }

    /// ffmpeg's name of the matrix of its colours, if one is said that [`COLOR_SPACES`] knows.
    pub fn color_space(&self) -> Option<ColorSpace> {
        color_space(self.color_space.as_deref()?)
    }

    /// When it begins by the container's clock, in seconds.
    pub fn start_sec(&self) -> Option<f64> {
        seconds(self.start_time.as_deref())
    }

    /// How long the container says that it is, in seconds.
    pub fn duration_sec(&self) -> Option<f64> {
        known(seconds(self.duration.as_deref())?)
    }

    /// When its tag says that it ends, in seconds.
    pub fn tagged_end_sec(&self) -> Option<f64> {
        self.tags.duration.as_deref().and_then(clock_sec)
    }

    /// Width and height after rotation.
    pub fn shown_size(&self) -> (u32, u32) {
        let (width, height) = (self.width.unwrap_or(0), self.height.unwrap_or(0));
        if self.rotation() % 180 == 90 { (height, width) } else { (width, height) }
    }

    /// Clockwise degrees that a player turns the image by.
    pub fn rotation(&self) -> i32 {
        let matrix = self.side_data_list.iter().find_map(|data| data.rotation).map(|counter| -counter);
        let tag = self.tags.rotate.as_deref().and_then(|degrees| degrees.parse::<f64>().ok());
        (matrix.or(tag).unwrap_or(0.0).round() as i32).rem_euclid(360)
    }

    /// Whether its frames are shown in another order than they are decoded.
    pub fn is_reordered(&self) -> bool {
        self.has_b_frames.is_some_and(|frames| frames > 0)
    }

    /// How the container says that two eyes share a frame.
    pub fn stereo(&self) -> Option<String> {
        let is_stereo = |data: &&SideData| data.side_data_type.as_deref() == Some("Stereo 3D");
        let by_data = self.side_data_list.iter().find(is_stereo).and_then(|data| data.r#type.as_ref()?.as_str());
        by_data.or(self.tags.stereo_mode.as_deref()).filter(|mode| !matches!(*mode, "2D" | "mono")).map(str::to_owned)
    }
}

/// The bytes of ffprobe's table, of which each line has sixteen: `00000010: 0164 0015 ffe1 001a 6764 0015 acd9 41d0  .d......gd....A.`
fn table_bytes(table: &str) -> Vec<u8> {
    let of_line = |line: &str| {
        let numbers = line.split_once(": ").map_or("", |(_, rest)| rest.split_once("  ").map_or(rest, |(all, _)| all));
        let digits: Vec<u32> = numbers.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks_exact(2).map(|pair| (16 * pair[0] + pair[1]) as u8).collect::<Vec<_>>()
    };
    table.lines().flat_map(of_line).collect()
}

fn color_space(said: &str) -> Option<ColorSpace> {
    COLOR_SPACES.into_iter().find(|&known| known == said)
}

/// Reads what [`Stream::color_space`] gave.
pub(super) fn known_color_space<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ColorSpace>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|said| color_space(&said)))
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok()
}

fn fraction(text: &str) -> Option<TimeBase> {
    let (num, den) = text.split_once('/')?;
    Some(TimeBase { num: num.parse().ok()?, den: den.parse().ok().filter(|&den| den > 0)? })
}

/// Longer than any video: a month.
const ABSURD_SEC: f64 = 31.0 * 86_400.0;

/// From here on it is asked whether a duration is all ones; in shorter ones rounding leaves no answer.
const LONG_SEC: f64 = 40_000.0;

/// A duration that is meant as one. ISO 14496-12 reserves all ones (`u32::MAX` ticks, of any whole number a second) for
/// one that cannot be determined, as in fragmented files that were written live.
fn known(duration_sec: f64) -> Option<f64> {
    let ticks_a_second = f64::from(u32::MAX) / duration_sec;
    let is_all_ones = duration_sec > LONG_SEC && (ticks_a_second - ticks_a_second.round()).abs() < 1e-4;
    (!is_all_ones && duration_sec < ABSURD_SEC).then_some(duration_sec)
}

/// Seconds of `00:00:13.040000000`, as Matroska tags have it.
fn clock_sec(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| part.trim().parse::<f64>().ok().map(|part| sum * 60.0 + part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_matroska_tags_are_seconds() {
        assert_eq!(clock_sec("00:01:13.500000000"), Some(73.5));
        assert_eq!(clock_sec("soon"), None);
    }

    #[test]
    fn tables_of_bytes_are_read() {
        let line = "00000000: 0164 0015 ffe1 001a 6764 0015 acd9 41d0  .d......gd....A.";
        let table = format!("\n{line}\n00000010: 879b c0                                  : 0a  b\n");
        let bytes = table_bytes(&table);
        assert_eq!((&bytes[..3], bytes.len(), &bytes[16..]), (&[1, 0x64, 0][..], 19, &[0x87, 0x9b, 0xc0][..]));
        assert_eq!(table_bytes(""), [0_u8; 0]);
    }

    #[test]
    fn a_duration_of_all_ones_is_none() {
        for ticks in [600.0, 1000.0, 15_360.0, 30_000.0, 90_000.0] {
            let sec = ((f64::from(u32::MAX) / ticks) * 1e6_f64).round() / 1e6;
            assert_eq!(known(sec), None, "{ticks} ticks a second");
        }
        for sec in [0.5, 13.013, 3600.0, 43_200.0, 86_400.5] {
            assert_eq!(known(sec), Some(sec));
        }
    }

    #[test]
    fn clocks_are_those_of_the_container() {
        let clock = |name: &str| {
            let format = Container { format_name: Some(name.into()), ..Container::default() };
            Header { streams: Vec::new(), format }.clock()
        };
        assert_eq!([clock("mov,mp4,m4a,3gp,3g2,mj2"), clock("matroska,webm")], [Clock::Stored; 2]);
        assert_eq!((clock("avi"), clock("gif"), clock("m4v")), (Clock::Decoding, Clock::Counted, Clock::None));
    }

    #[test]
    fn complaints_lose_addresses_and_the_files_name() {
        let path = Path::new("/data/a.mp4");
        assert_eq!(tidy("[mov,mp4 @ 0x55] moov atom not found", path), "moov atom not found");
        assert_eq!(tidy("file:/data/a.mp4: Invalid data found", path), "Invalid data found");
    }
}
