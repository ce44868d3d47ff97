//! How ffmpeg is called: its arguments, what it is to report of each frame, and which hardware decodes.

use std::process::Command;

use super::Tools;
use super::log_line::REPORTS_FRAMES;
use crate::child;

/// The filters that come last: what encodes and writes raw frames takes them as one a tick, whenever they are shown.
const WITHOUT_TIME: &str = "settb=1/1000,setpts=N";

/// Which hardware decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HwAccel {
    /// Software: the reference.
    #[default]
    None,
    /// NVDEC on the GPU of this number; frames come back to main memory.
    Cuda(u32),
}

/// A [`FrameSource`](super::FrameSource) that runs one ffmpeg per stream of frames, and decodes images of a folder by itself.
#[derive(Debug, Clone)]
pub struct FfmpegSource {
    /// The programs.
    pub tools: Tools,
    /// Decoder threads per process; 0 lets ffmpeg choose.
    pub threads: usize,
    /// Which hardware decodes.
    pub hwaccel: HwAccel,
}

impl FfmpegSource {
    /// Timestamps as the container has them, of each packet its own: given the choice, ffmpeg turns to the times of
    /// decoding for all frames once one of them has a wrong timestamp.
    pub(super) const OWN_TIMES: [&str; 3] = ["-copyts", "-fflags", "+igndts"];

    /// ffmpeg as [`LogLine`] understands it, before its input.
    pub(super) fn command(&self) -> Command {
        let mut command = self.tools.ffmpeg();
        command.args(["-hide_banner", "-nostats", "-loglevel", "repeat+level+info"]);
        command.args(["-threads", &self.threads.to_string()]);
        command
    }

    /// Whether packets can be dropped in front of the decoder: ffmpeg filters those of an input since version 7. Only software
    /// has been seen to decode the others as it does all.
    pub(super) fn drops_packets(&self) -> bool {
        self.tools.major() >= 7 && self.hwaccel == HwAccel::None
    }

    /// What comes out of `command`: the frames that the filter graph on its stdin selects, raw on its stdout.
    pub(super) fn end_in_raw_frames(&self, command: &mut Command) {
        command.args([self.tools.filter_file_option(), "pipe:0", self.tools.passthrough_option(), "passthrough"]);
        command.args(["-enc_time_base", "1:1000"]);
        // Each frame is to come out at once. The encoder of raw frames has threads too, and holds back a frame for each:
        // the last wanted ones would come at the end of the file only, decoded for nothing.
        command.args(["-threads:v", "1", "-flush_packets", "1"]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
    }
}

/// The graph that reports every frame, by its timestamp or, if they are `counted`, by its number; then does what `chosen`
/// says.
pub(super) fn reported(chosen: &str, counted: bool) -> String {
    let number = if counted { "setpts=N," } else { "" };
    format!("{number}{REPORTS_FRAMES},{chosen},{WITHOUT_TIME}\n")
}

/// Why the hardware decoder cannot be used on this machine, if it cannot: asked of ffmpeg itself.
pub fn hwaccel_fault(tools: &Tools, hwaccel: HwAccel) -> Option<String> {
    let HwAccel::Cuda(ordinal) = hwaccel else { return None };
    let mut command = tools.ffmpeg();
    command.args(["-v", "error", "-init_hw_device", &format!("cuda=gpu:{ordinal}")]);
    command.args(["-f", "lavfi", "-i", "nullsrc=s=64x64", "-frames:v", "1", "-f", "null", "-"]);
    match child::output(&mut command, tools.patience) {
        Ok(output) if output.status.success() => None,
        Ok(_) if !has_cuda(tools) => Some(format!(
            "{} is built without CUDA; name one that has it with --ffmpeg and --ffprobe: that of a distribution has it mostly",
            tools.ffmpeg.display()
        )),
        Ok(output) => Some(output.stderr.lines().next().unwrap_or("ffmpeg gave no reason").trim().to_owned()),
        Err(e) => Some(e.to_string()),
    }
}

/// Whether ffmpeg was built with CUDA, also where there is no GPU.
fn has_cuda(tools: &Tools) -> bool {
    let listed = child::output(tools.ffmpeg().args(["-v", "error", "-hwaccels"]), tools.patience);
    listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim() == "cuda"))
}
