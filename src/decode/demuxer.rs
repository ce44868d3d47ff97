//! The demuxers by which videos are read, and how each tells when frames are shown.
//!
//! Not for opening files, see `input`. Invariant: none of these reads another file than the one that it was given.

/// How a container tells when its frames are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// By a timestamp that it stores, which is the same after a seek.
    Stored,
    /// By when they are decoded, which is the same after a seek, but not how they are reordered.
    Decoding,
    /// By timestamps that are counted from the file's beginning while it is read.
    Counted,
    /// Not at all: images, one after the other.
    None,
}

/// Demuxers of videos that read no other file than their own, by libavformat's names, and how they tell when frames are
/// shown; some are of later releases than most people have, and unknown names are ignored. Source: libavformat's demuxers
/// and their manual.
const DEMUXERS: [(Clock, &[&str]); 4] = [
    (
        Clock::Stored,
        &[
            "mov", "mp4", "3gp", "matroska", "webm", "mpegts", "mpeg", "flv", "live_flv", "ogg", "mxf", "nut", "ivf",
            "rm",
        ],
    ),
    (Clock::Decoding, &["avi", "asf"]),
    (
        Clock::None,
        &[
            "h264",
            "hevc",
            "vvc",
            "m4v",
            "mpegvideo",
            "mjpeg",
            "h263",
            "h261",
            "vc1",
            "dirac",
            "cavsvideo",
            "avs2",
            "avs3",
            "obu",
            "av1",
            "dnxhd",
            "evc",
            "apv",
        ],
    ),
    (
        Clock::Counted,
        &[
            // Containers.
            "mpegtsraw",
            "asf_o",
            "mxf_opatom",
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
            // Streams of one codec; images that move, and images without loss.
            "mjpeg_2000",
            "mpjpeg",
            "smjpeg",
            "ingenient",
            "vc1test",
            "ipu",
            "simbiosis_imx",
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
            // Images behind one another in one file: a stream of Motion JPEG is taken for one by its first image.
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
        ],
    ),
];

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    DEMUXERS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// The clock of a demuxer, which may have several names (`mov,mp4,m4a`); `None` if it is not one of a video's own file.
pub fn clock_of(format: &str) -> Option<Clock> {
    let of = |(clock, names): &(Clock, &[&str])| format.split(',').any(|name| names.contains(&name)).then_some(*clock);
    DEMUXERS.iter().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_name_other_files_are_kept_out() {
        for format in ["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "yuv4mpegpipe"] {
            assert!(clock_of(format).is_some(), "{format}");
        }
        for format in
            ["hls", "dash", "concat", "sdp", "image2", "lavfi", "imf", "vobsub", "tty", "webm_dash_manifest", ""]
        {
            assert!(clock_of(format).is_none(), "{format}");
        }
    }
}
