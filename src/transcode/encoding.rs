//! Everything that decides the bytes of an output, and ffmpeg's command for it.
//!
//! Not for running it. Invariant: frames keep their own times; none is made, dropped or repeated by ffmpeg.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::cut::Cut;
use super::size::Size;
use crate::decode::{REPORTS_FRAMES, Tools, VideoInfo, file_url, keeping, read_video};
use crate::grid::egoclip::ChunkLength;

/// x264's presets, fastest first.
pub const PRESETS: [&str; 9] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];

/// What becomes of the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audio {
    /// It is copied.
    Copy,
    /// It is encoded as AAC, for sound that MP4 cannot hold.
    Aac,
    /// It is left out.
    None,
}

/// The names of [`Audio`].
pub const AUDIO: [(&str, Audio); 3] = [("copy", Audio::Copy), ("aac", Audio::Aac), ("none", Audio::None)];

/// What decides the bytes of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The size of the image.
    pub size: Size,
    /// Length of chunks; `None` makes one file of each video.
    pub chunks: Option<ChunkLength>,
    /// x264's constant rate factor, 0 to 51; lower is better and larger.
    pub crf: u8,
    /// One of [`PRESETS`].
    pub preset: &'static str,
    /// Most frames from one key frame to the next; `None` is x264's 250.
    pub keyint: Option<u32>,
    /// The sound.
    pub audio: Audio,
}

impl Settings {
    /// The settings by name, as records keep them.
    pub fn fields(&self) -> BTreeMap<String, String> {
        let audio = AUDIO.iter().find(|(_, audio)| *audio == self.audio).map_or("", |(name, _)| name);
        let fields = [
            ("size", self.size.to_string()),
            ("piece_sec", self.chunks.map_or("none".into(), |chunks| chunks.sec.to_string())),
            ("crf", self.crf.to_string()),
            ("preset", self.preset.to_owned()),
            ("keyint", self.keyint.map_or("default".into(), |n| n.to_string())),
            ("audio", audio.to_owned()),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Whether `video` needs no encoding: it is one chunk in the size that it has, with the key frames that it has.
    pub(super) fn copies(&self, cuts: &[Cut]) -> bool {
        self.chunks.is_some() && self.size == Size::Keep && self.keyint.is_none() && cuts.len() == 1
    }

    /// Width and height of what is made of `video`.
    pub(super) fn size_of(&self, video: &VideoInfo, cuts: &[Cut]) -> (u32, u32) {
        if self.copies(cuts) { (video.width, video.height) } else { self.size.of(video.width, video.height) }
    }

    /// The command that writes `0.part`, `1.part`, ... into `folder`, one for each of `cuts`.
    pub(super) fn command(
        &self,
        tools: &Tools,
        video: &VideoInfo,
        cuts: &[Cut],
        threads: usize,
        folder: &Path,
    ) -> Command {
        let mut command = tools.ffmpeg();
        command.args(["-hide_banner", "-nostdin", "-nostats", "-progress", "pipe:2"]);
        command.args(["-loglevel", "repeat+level+info", "-threads", &threads.to_string(), "-copyts"]);
        if video.timeline.container_sec(0) != video.timeline.sec(0) {
            // Streams that begin at any time of day: their own clock counts from the start.
            command.arg("-start_at_zero");
        }
        if video.counted {
            // Filters that were set up anew where images change their size would count from 0 again.
            command.args(["-reinit_filter", "0"]);
        }
        read_video(&mut command, &video.path);
        command.args(["-map", &format!("0:{}", video.stream), "-map", "0:a?", "-sn", "-dn"]);
        if self.copies(cuts) {
            command.args(["-c:v", "copy"]);
        } else {
            self.encode(&mut command, tools, video, cuts, threads);
        }
        match self.audio {
            Audio::Copy => command.args(["-c:a", "copy"]),
            Audio::Aac => command.args(["-c:a", "aac"]),
            Audio::None => command.arg("-an"),
        };
        if let [_] = cuts {
            command.args(["-f", "mp4"]).arg(file_url(&folder.join("0.part")));
        } else {
            segment(&mut command, cuts, folder);
        }
        command
    }

    fn encode(&self, command: &mut Command, tools: &Tools, video: &VideoInfo, cuts: &[Cut], threads: usize) {
        let (width, height) = self.size_of(video, cuts);
        // Full-range 4:2:0 stays full-range; whatever else there is becomes what every decoder takes.
        // Told when the first frame has come: before, a decoder may miss what is never shown.
        let first = format!("{REPORTS_FRAMES},{}", video.timing_filter());
        let scale = format!("{first}scale={width}:{height}:flags=bicubic,format=yuv420p|yuvj420p");
        command.args(["-vf", &keeping(video.color_space, scale)]);
        // Ticks of the source: with the default, one per frame, frames of variable rates would fall together.
        let base = video.timeline.base();
        let ticks = match (video.counted, tools.major()) {
            (true, _) => format!("{}:{}", base.num, base.den),
            (false, 1..7) => "-1".to_owned(),
            (false, _) => "demux".to_owned(),
        };
        command.args([tools.passthrough_option(), "passthrough", "-enc_time_base", &ticks]);
        command.args(["-c:v", "libx264", "-crf", &self.crf.to_string(), "-preset", self.preset]);
        command.args(["-threads:v", &threads.to_string()]);
        if video.counted && !(1..6).contains(&tools.major()) {
            // Since version 6 `setpts` takes a frame's duration away; without one a file ends before its last frame.
            let last = video.timeline.frames() - 1;
            let ticks = |index: u64| video.timeline.ticks(index);
            let step = ticks(last).zip(last.checked_sub(1).and_then(ticks)).map_or(1, |(end, before)| end - before);
            command.args(["-bsf:v", &format!("setts=duration='if(gt(DURATION,0),DURATION,{step})'")]);
        }
        if let Some(keyint) = self.keyint {
            command.args(["-g", &keyint.to_string()]);
        }
        if cuts.len() > 1 {
            let line = &video.timeline;
            // Just before the frame, so that rounding cannot put the key frame after it.
            let moment = |cut: &Cut| (line.sec(cut.frames.start - 1) + line.sec(cut.frames.start)) / 2.0;
            let moments: Vec<String> = cuts[1..].iter().map(|cut| format!("{:.6}", moment(cut))).collect();
            command.args(["-force_key_frames", &moments.join(",")]);
        }
    }
}

/// One decode, one encode, a new file at each cut: counted in frames, so that timestamps cannot move it.
fn segment(command: &mut Command, cuts: &[Cut], folder: &Path) {
    let starts: Vec<String> = cuts[1..].iter().map(|cut| cut.frames.start.to_string()).collect();
    // Reordered frames begin below 0 when they are decoded; shifted as a whole, the first chunk would begin late.
    command.args(["-avoid_negative_ts", "disabled", "-f", "segment", "-segment_format", "mp4"]);
    command.args(["-segment_frames", &starts.join(","), "-reset_timestamps", "1"]);
    command.arg(file_url(&pattern(folder)));
}

/// `folder/%d.part`, with each `%` of the folder's own doubled.
fn pattern(folder: &Path) -> std::path::PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for &byte in folder.as_os_str().as_bytes() {
        bytes.extend(std::iter::repeat_n(byte, if byte == b'%' { 2 } else { 1 }));
    }
    std::path::PathBuf::from(OsString::from_vec(bytes)).join("%d.part")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_in_a_folders_name_is_no_number() {
        assert_eq!(pattern(Path::new("/data/50%d")), Path::new("/data/50%%d/%d.part"));
    }
}
