//! Looking at a file with ffprobe: which stream, what size, when each frame is shown. Demuxing only, no decoding.
//!
//! Not for deciding what to do about oddities: they are recorded. Invariant: the timeline has one entry per frame that a
//! decoder can deliver, however few the file still holds.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{ProbeError, Tools, VideoInfo, pieces};
use crate::time::{TimeBase, Timeline};

/// A header may promise this much more than the frames reach before that counts as a truncated file, in seconds:
/// writers round, and the last frame's duration is a guess.
const DECLARED_TOLERANCE_SEC: f64 = 0.5;

/// The longest gap in a damaged container that is taken for lost frames, in frames: an hour at 30 fps.
const MOST_LOST_FRAMES: i64 = 108_000;

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Container,
}

#[derive(Deserialize, Default)]
struct Container {
    format_name: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    time_base: Option<String>,
    nb_frames: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    side_data_list: Vec<SideData>,
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

/// What the packets of the stream tell.
#[derive(Default)]
struct Packets {
    pts: Vec<i64>,
    keys: Vec<i64>,
    seen: u64,
    untimed: u64,
}

/// Probes `path`.
///
/// # Errors
/// A [`ProbeError`] for each way in which a file is no video.
pub fn probe(tools: &Tools, path: &Path) -> Result<VideoInfo, ProbeError> {
    let bytes = check_file(path)?;
    let header = read_header(tools, path)?;
    let stream = best_stream(&header, path)?;
    let (mut packets, mut complaints) = read_packets(tools, path, stream.index, PACKETS)?;
    let mut notes = Vec::new();
    if packets.untimed > 0 {
        notes.push(format!("{} packets without a timestamp; frames were listed by decoding", packets.untimed));
        (packets, complaints) = read_packets(tools, path, stream.index, FRAMES)?;
    }
    let (timeline, keyframes, lost) = timeline(&header, stream, &mut packets, path, &complaints)?;
    let declared_end_sec = declared_end(&header, stream, &packets, &timeline, &complaints);
    notes.extend(complaints.first().map(|line| format!("ffprobe: {line}")));
    let rotation = rotation(stream);
    let (width, height) = shown_size(stream);
    Ok(VideoInfo {
        path: path.to_owned(),
        bytes,
        pieces: Vec::new(),
        stream: stream.index,
        codec: stream.codec_name.clone().unwrap_or_default(),
        width,
        height,
        rotation,
        stereo: stereo(stream),
        keyframes,
        lost,
        timeline,
        declared_end_sec,
        notes,
        pictures: None,
    })
}

/// How long the header says that the video is, in seconds, if it says so: for plans, without a look at its frames.
pub fn declared_sec(tools: &Tools, path: &Path) -> Option<f64> {
    if let Some(files) = pieces::files(path) {
        return files.iter().map(|file| declared_sec(tools, file)).sum();
    }
    let header = read_header(tools, path).ok()?;
    let by_stream = best_stream(&header, path).ok()?.duration.clone();
    by_stream.or(header.format.duration)?.parse().ok()
}

/// What a header says of the video that would be read, without a look at its frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline {
    /// Width in pixels as shown, after rotation.
    pub width: u32,
    /// Height in pixels as shown, after rotation.
    pub height: u32,
    /// Length in seconds, if it is said.
    pub duration_sec: Option<f64>,
}

/// Reads a file's header.
///
/// # Errors
/// [`ProbeError`], but for what only frames show.
pub fn outline(tools: &Tools, path: &Path) -> Result<Outline, ProbeError> {
    check_file(path)?;
    let header = read_header(tools, path)?;
    let stream = best_stream(&header, path)?;
    let (width, height) = shown_size(stream);
    let duration = stream.duration.as_deref().or(header.format.duration.as_deref());
    Ok(Outline { width, height, duration_sec: duration.and_then(|text| text.parse().ok()) })
}

/// Width and height after rotation.
fn shown_size(stream: &Stream) -> (u32, u32) {
    let (width, height) = (stream.width.unwrap_or(0), stream.height.unwrap_or(0));
    if rotation(stream) % 180 == 90 { (height, width) } else { (width, height) }
}

fn check_file(path: &Path) -> Result<u64, ProbeError> {
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

/// `file:` keeps ffprobe from taking a name with a colon for a protocol.
pub fn file_url(path: &Path) -> std::ffi::OsString {
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    url
}

const HEADER: &str = "format=format_name,start_time,duration:\
    stream=index,codec_type,codec_name,width,height,time_base,nb_frames,duration:\
    stream_disposition=default,attached_pic:stream_tags=DURATION,rotate,stereo_mode:\
    stream_side_data=side_data_type,rotation,type";

fn read_header(tools: &Tools, path: &Path) -> Result<Header, ProbeError> {
    let output = Command::new(&tools.ffprobe)
        .args(["-v", "error", "-show_entries", HEADER, "-of", "json"])
        .arg(file_url(path))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| ProbeError::Tool(e.to_string()))?;
    // The last words are mostly "Invalid data found"; the ones before say which.
    let words: Vec<String> = String::from_utf8_lossy(&output.stderr).lines().take(3).map(|l| tidy(l, path)).collect();
    let complaint = (!words.is_empty()).then(|| words.join("; "));
    let refused = |why: String| ProbeError::NotMedia { path: path.to_owned(), why };
    if !output.status.success() {
        return Err(refused(complaint.unwrap_or_else(|| output.status.to_string())));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| refused(e.to_string()))
}

/// The words of a complaint without addresses and without the file's name, which the error names already.
fn tidy(line: &str, path: &Path) -> String {
    let url = format!("file:{}: ", path.display());
    let words = line.replace(&url, "");
    match words.split_once("] ") {
        Some((tag, rest)) if tag.starts_with('[') => rest.to_owned(),
        _ => words,
    }
}

/// The stream that players choose: marked as default first, then the largest picture, then the first one. Cover pictures
/// are no video.
fn best_stream<'a>(header: &'a Header, path: &Path) -> Result<&'a Stream, ProbeError> {
    let is_video = |s: &&Stream| {
        s.codec_type.as_deref() == Some("video") && s.disposition.attached_pic == 0 && s.width.unwrap_or(0) > 0
    };
    let size = |s: &Stream| u64::from(s.width.unwrap_or(0)) * u64::from(s.height.unwrap_or(0));
    let rank = |s: &&Stream| (s.disposition.default, size(s), std::cmp::Reverse(s.index));
    header.streams.iter().filter(is_video).max_by_key(rank).ok_or_else(|| {
        let kind = |s: &Stream| s.codec_type.clone().unwrap_or_else(|| "unknown".into());
        let name = |s: &Stream| s.codec_name.clone().unwrap_or_else(|| "unknown".into());
        let found: Vec<String> = header.streams.iter().map(|s| format!("{} {}", kind(s), name(s))).collect();
        let found = if found.is_empty() { "no streams".into() } else { found.join(", ") };
        ProbeError::NoVideo { path: path.to_owned(), found }
    })
}

/// Entries that list packets, and frames where packets bear no timestamps.
const PACKETS: &str = "packet=pts,flags";
const FRAMES: &str = "frame=best_effort_timestamp,key_frame";

/// Reads ffprobe's list line by line: an hour of video has a hundred thousand.
fn read_packets(tools: &Tools, path: &Path, stream: u32, entries: &str) -> Result<(Packets, Vec<String>), ProbeError> {
    let tool = |e: std::io::Error| ProbeError::Tool(e.to_string());
    let mut child = Command::new(&tools.ffprobe)
        .args(["-v", "error", "-select_streams", &stream.to_string(), "-show_entries", entries, "-of", "csv=p=0"])
        .arg(file_url(path))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(tool)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut packets = Packets::default();
    let complaints = std::thread::scope(|scope| {
        let drainer = scope.spawn(move || {
            let mut text = String::new();
            // Damaged files bring thousands of lines; the first ones tell the story.
            let _ = stderr.map(|pipe| pipe.take(64 << 10).read_to_string(&mut text));
            text
        });
        for line in BufReader::new(stdout.into_iter().next()?).lines().map_while(Result::ok) {
            packets.note(&line);
        }
        drainer.join().ok()
    });
    child.wait().map_err(tool)?;
    let complaints = complaints.unwrap_or_default();
    Ok((packets, complaints.lines().map(|line| tidy(line, path)).collect()))
}

impl Packets {
    /// Takes `pts,flags` (`512,K__`) or `key_frame,timestamp` (`1,512`).
    fn note(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(',').collect();
        let (time, key) = match fields[..] {
            [key @ ("0" | "1"), time, ..] if !time.contains(['K', '_']) => (time, key == "1"),
            [time, flags, ..] if flags.contains('D') => return self.hide(time, flags.contains('K')),
            [time, flags, ..] => (time, flags.contains('K')),
            _ => return,
        };
        self.seen += 1;
        match time.parse() {
            Ok(pts) => {
                self.pts.push(pts);
                self.keys.extend(key.then_some(pts));
            }
            Err(_) => self.untimed += 1,
        }
    }

    /// A packet that an edit list hides: never shown, but decoded, and shown ones may build on it.
    fn hide(&mut self, time: &str, key: bool) {
        self.seen += 1;
        self.keys.extend(time.parse::<i64>().ok().filter(|_| key));
    }
}

/// The timeline, the key frames, and the frames that are only known by the gap that they left.
fn timeline(
    header: &Header,
    stream: &Stream,
    packets: &mut Packets,
    path: &Path,
    complaints: &[String],
) -> Result<(Timeline, Vec<u64>, Vec<u64>), ProbeError> {
    let nothing = |why: String| ProbeError::NoFrames { path: path.to_owned(), why };
    let base = stream.time_base.as_deref().and_then(fraction).ok_or_else(|| nothing("no time base".into()))?;
    // Frames before the first key frame cannot be decoded (streams that were cut out of a broadcast begin with some).
    let first_key = packets.keys.first().copied().unwrap_or(i64::MIN);
    let mut shown: Vec<i64> = std::mem::take(&mut packets.pts).into_iter().filter(|&p| p >= first_key).collect();
    shown.sort_unstable();
    let lost = if complaints.is_empty() { Vec::new() } else { lost_pts(&shown) };
    shown.extend(&lost);
    let line = Timeline::new(shown, base, origin(header, base))
        .ok_or_else(|| nothing(complaints.first().cloned().unwrap_or_else(|| "no packets".into())))?;
    let indices = |pts: &[i64]| {
        let mut indices: Vec<u64> = pts.iter().filter_map(|&p| line.index_of(p)).collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    };
    let (keyframes, lost) = (indices(&packets.keys), indices(&lost));
    Ok((line, keyframes, lost))
}

/// The tick that counts as second 0. Files have one; broadcast streams start at any time of day.
fn origin(header: &Header, base: TimeBase) -> i64 {
    let name = header.format.format_name.as_deref().unwrap_or("");
    if !name.split(',').any(|n| matches!(n, "mpegts" | "mpeg")) {
        return 0;
    }
    let start: f64 = header.format.start_time.as_deref().and_then(|t| t.parse().ok()).unwrap_or(0.0);
    (start * f64::from(base.den) / f64::from(base.num)).round() as i64
}

fn fraction(text: &str) -> Option<TimeBase> {
    let (num, den) = text.split_once('/')?;
    Some(TimeBase { num: num.parse().ok()?, den: den.parse().ok()? })
}

/// Where the header says that the video ends, if its frames stop well before.
fn declared_end(
    header: &Header,
    stream: &Stream,
    packets: &Packets,
    line: &Timeline,
    complaints: &[String],
) -> Option<f64> {
    let start = line.start_sec();
    let by_tag = stream.tags.duration.as_deref().and_then(clock_sec);
    let by_stream = stream.duration.as_deref().and_then(|d| d.parse::<f64>().ok()).map(|d| start + d);
    // A count tells whether frames are lost; when the last one ends, a duration tells better than their number.
    let by_count = stream.nb_frames.as_deref().and_then(|n| n.parse::<u64>().ok()).map(|n| {
        let lost = n.saturating_sub(packets.seen);
        let guess = line.end_sec() + lost as f64 / line.mean_fps();
        if lost > 0 { by_stream.unwrap_or(guess) } else { guess }
    });
    // The container's duration may be the sound's; it counts where the video is alone or ffprobe complained.
    let whole = header.format.duration.as_deref().and_then(|d| d.parse::<f64>().ok());
    let by_container = whole.filter(|_| header.streams.len() == 1 || !complaints.is_empty());
    let declared = by_count.or(by_tag).or(by_stream).or(by_container)?;
    (declared > line.end_sec() + DECLARED_TOLERANCE_SEC).then_some(declared)
}

/// Seconds of `00:00:13.040000000`, as Matroska tags have it.
fn clock_sec(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| part.trim().parse::<f64>().ok().map(|part| sum * 60.0 + part))
}

/// Clockwise degrees that a player turns the picture by.
fn rotation(stream: &Stream) -> i32 {
    let matrix = stream.side_data_list.iter().find_map(|data| data.rotation).map(|counter| -counter);
    let tag = stream.tags.rotate.as_deref().and_then(|degrees| degrees.parse::<f64>().ok());
    (matrix.or(tag).unwrap_or(0.0).round() as i32).rem_euclid(360)
}

/// How the container says that two eyes share a picture.
fn stereo(stream: &Stream) -> Option<String> {
    let is_stereo = |data: &&SideData| data.side_data_type.as_deref() == Some("Stereo 3D");
    let by_data = stream.side_data_list.iter().find(is_stereo).and_then(|data| data.r#type.as_ref()?.as_str());
    by_data.or(stream.tags.stereo_mode.as_deref()).filter(|mode| !matches!(*mode, "2D" | "mono")).map(str::to_owned)
}

/// In a damaged container: timestamps for the frames that are gone, so that those after them keep their indices. `pts`
/// ascends. A gap is taken for lost frames from half a step beyond the usual one on.
fn lost_pts(pts: &[i64]) -> Vec<i64> {
    let mut steps: Vec<i64> = pts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let Some(&usual) = steps.get(steps.len() / 2).filter(|&&step| step > 0) else { return Vec::new() };
    let gaps = pts.windows(2).filter(|pair| 2 * (pair[1] - pair[0]) > 3 * usual);
    let fill = |pair: &[i64]| {
        let (start, gap) = (pair[0], pair[1] - pair[0]);
        let parts = (gap + usual / 2) / usual;
        // A garbled timestamp may claim years; nothing is known of such a gap but that it is one.
        let shown = parts.min(MOST_LOST_FRAMES);
        (1..shown).map(move |k| start + gap * k / shown)
    };
    gaps.flat_map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_lines_of_several_versions_are_understood() {
        let mut packets = Packets::default();
        for line in ["0,K_", "1024,__", "512,___", "2048,KD_", "N/A,__", "1536,K__,", ""] {
            packets.note(line);
        }
        assert_eq!((packets.pts, packets.keys), (vec![0, 1024, 512, 1536], vec![0, 2048, 1536]));
        assert_eq!((packets.seen, packets.untimed), (6, 1));
        let mut frames = Packets::default();
        for line in ["1,0", "0,512", "0,N/A"] {
            frames.note(line);
        }
        assert_eq!((frames.pts, frames.keys, frames.untimed), (vec![0, 512], vec![0], 1));
    }

    #[test]
    fn frames_lost_from_a_damaged_container_keep_their_places() {
        assert_eq!(lost_pts(&[0, 40, 80, 200, 240, 280]), [120, 160]);
        assert_eq!(lost_pts(&[0, 33, 67, 100, 133, 200, 233]), [166], "timestamps rounded to milliseconds");
        assert_eq!(lost_pts(&[0, 40, 80, 120]), [0_i64; 0]);
        assert_eq!(lost_pts(&[7]), [0_i64; 0]);
    }

    #[test]
    fn durations_of_matroska_tags_are_seconds() {
        assert_eq!(clock_sec("00:01:13.500000000"), Some(73.5));
        assert_eq!(clock_sec("soon"), None);
    }

    #[test]
    fn complaints_lose_addresses_and_the_files_name() {
        let path = Path::new("/data/a.mp4");
        assert_eq!(tidy("[mov,mp4 @ 0x55] moov atom not found", path), "moov atom not found");
        assert_eq!(tidy("file:/data/a.mp4: Invalid data found", path), "Invalid data found");
    }
}
