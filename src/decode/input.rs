//! How a file is named to ffmpeg and ffprobe: as that file, and as a video.
//!
//! Playlists and scripts (HLS, DASH, ffconcat, SDP, AviSynth, ...) name other files and hosts, whatever a file that holds one
//! is called; their frames would stand under the hash of the text. So only demuxers are let in that read the file that they
//! were given, and no protocol but that of files. Not for what is in a file. QuickTime files may name others too, which
//! ffmpeg follows with its option `enable_drefs` alone, and nobody sets that here.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Demuxers of videos that read no other file than their own, by libavformat's names; some are of later releases than most
/// people have, and unknown names are ignored. Source: libavformat's demuxers.
const DEMUXERS: [&str; 106] = [
    // Containers.
    "mov",
    "mp4",
    "3gp",
    "matroska",
    "webm",
    "avi",
    "mpegts",
    "mpegtsraw",
    "mpeg",
    "flv",
    "live_flv",
    "asf",
    "asf_o",
    "ogg",
    "rm",
    "mxf",
    "mxf_opatom",
    "nut",
    "ivf",
    "dv",
    "gxf",
    "wtv",
    "lxf",
    "nsv",
    "nuv",
    "pva",
    "pmp",
    "ty",
    "ivr",
    "kux",
    "dhav",
    "cine",
    "r3d",
    "mgsts",
    "luodat",
    "lmlm4",
    "ipmovie",
    "iv8",
    "xmv",
    "ffm",
    "av1",
    // Streams of one codec.
    "h264",
    "hevc",
    "vvc",
    "m4v",
    "mpegvideo",
    "mjpeg",
    "mjpeg_2000",
    "mpjpeg",
    "smjpeg",
    "ingenient",
    "h263",
    "h261",
    "vc1",
    "vc1test",
    "dirac",
    "cavsvideo",
    "avs2",
    "avs3",
    "obu",
    "evc",
    "apv",
    "dnxhd",
    "ipu",
    "simbiosis_imx",
    // Pictures that move, and pictures without loss.
    "gif",
    "apng",
    "webp",
    "webp_pipe",
    "yuv4mpegpipe",
    "v210",
    "v210x",
    "swf",
    "flic",
    "film_cpk",
    "filmstrip",
    "ser",
    // Pictures behind one another in one file: a stream of Motion JPEG is taken for one by its first picture.
    "jpeg_pipe",
    "jpegls_pipe",
    "j2k_pipe",
    "jpegxl_pipe",
    "png_pipe",
    "bmp_pipe",
    "dpx_pipe",
    "exr_pipe",
    "tiff_pipe",
    "ppm_pipe",
    "pgm_pipe",
    "pam_pipe",
    "gif_pipe",
    "sgi_pipe",
    "qoi_pipe",
    // Games and the early days.
    "4xm",
    "bink",
    "smk",
    "roq",
    "ea",
    "dxa",
    "cdxl",
    "rl2",
    "vmd",
    "thp",
    "wc3movie",
    "wsvqa",
    "mtv",
    "mm",
];

/// The options, before the name of an input, that keep it to a video's own file.
fn restrictions() -> [String; 4] {
    ["-format_whitelist".into(), DEMUXERS.join(","), "-protocol_whitelist".into(), "file".into()]
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

/// Whether a demuxer, which may have several names (`mov,mp4,m4a`), is one of a video's own file.
pub fn is_of_videos(format: &str) -> bool {
    format.split(',').any(|name| DEMUXERS.contains(&name))
}

/// The demuxer that ffmpeg or ffprobe says was kept out, if that is what the complaint of `who` says in `words`.
pub fn kept_out<'w>(who: &'w str, words: &str) -> Option<&'w str> {
    words.contains("not on whitelist").then_some(who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_name_other_files_are_kept_out() {
        assert!(
            is_of_videos("mov,mp4,m4a,3gp,3g2,mj2") && is_of_videos("matroska,webm") && is_of_videos("yuv4mpegpipe")
        );
        for format in
            ["hls", "dash", "concat", "sdp", "image2", "lavfi", "imf", "vobsub", "tty", "webm_dash_manifest", ""]
        {
            assert!(!is_of_videos(format), "{format}");
        }
    }

    #[test]
    fn names_are_names_of_files() {
        for name in ["-", "pipe:0", "http://host/a.mp4", "concat:a|b", "a:b.mp4"] {
            assert_eq!(file_url(Path::new(name)).to_str(), Some(format!("file:{name}").as_str()));
        }
    }
}
