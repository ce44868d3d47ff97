//! How a file is named to ffmpeg and ffprobe: as that file, and as a video.
//!
//! Playlists and scripts (HLS, DASH, ffconcat, SDP, AviSynth, ...) name other files and hosts, whatever a file that holds one
//! is called; their frames would stand under the hash of the text. So only demuxers are let in that read the file that they
//! were given, see `demuxer`, and no protocol but that of files. Not for what is in a file. QuickTime files may name others
//! too, which ffmpeg follows with its option `enable_drefs` alone, and nobody sets that here.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::demuxer;

/// The options, before the name of an input, that keep it to a video's own file.
fn restrictions() -> [String; 4] {
    [
        "-format_whitelist".into(),
        demuxer::names().collect::<Vec<_>>().join(","),
        "-protocol_whitelist".into(),
        "file".into(),
    ]
}

/// Makes `path` the next input of an ffmpeg.
pub fn read_video(command: &mut Command, path: &Path) {
    command.args(restrictions()).arg("-i").arg(file_url(path));
}

/// Makes `path` what an ffprobe looks at.
pub fn probe_video(command: &mut Command, path: &Path) {
    command.args(restrictions()).arg(file_url(path));
}

/// `file:` keeps ffmpeg and ffprobe from taking a name with a colon for a protocol.
pub fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// The demuxer that ffmpeg or ffprobe says was kept out, if that is what the complaint of `who` says in `words`.
pub fn kept_out<'w>(who: &'w str, words: &str) -> Option<&'w str> {
    match words {
        _ if words.contains("not on whitelist") => Some(who),
        _ if words.contains("Not detecting m3u8/hls") => Some("hls"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_files() {
        for name in ["-", "pipe:0", "http://host/a.mp4", "concat:a|b", "a:b.mp4"] {
            assert_eq!(file_url(Path::new(name)).to_str(), Some(format!("file:{name}").as_str()));
        }
    }
}
