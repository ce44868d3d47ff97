//! `egofx resize`: smaller copies of videos.
//!
//! Not for features, which are made from original files. Invariant: each output has every frame of its source at its time.

use std::process::ExitCode;

use clap::Args;

use egofx::grid::egoclip::ChunkLength;
use egofx::transcode::Size;

use super::transcode::{Transcode, side};

/// Resize videos to upright H.264 with every frame at its own time.
///
/// Writes <OUT>/<video_uid>.mp4. `egofx extract` does not need them: it reads original files. Training code that decodes single frames does.
///
/// Each output is checked against its source (size, number of frames, time of each frame) before it gets its name, and
/// recorded with its hash. Give the same command again after a crash: what fits its record is kept, the rest is made. A
/// video that is truncated or damaged is refused, since its copy would look whole; it is listed, and the others go on.
///
/// Exit code 0: all outputs are there; 1: some videos failed; 2: nothing was begun; 75: stopped by SIGTERM or SIGUSR1, give
/// the command again; 130: interrupted.
#[derive(Args)]
pub struct Resize {
    /// Pixels of the shorter side, also of portrait videos. Smaller videos are enlarged.
    #[arg(long, value_name = "PX", default_value = "256", value_parser = side)]
    short_side: u32,
    /// Pixels of the height whatever the orientation, as EgoVLP's script does: a portrait video of 1080x1920 becomes
    /// 144x256. For landscape videos there is no difference to --short-side.
    #[arg(long, value_name = "PX", value_parser = side, conflicts_with = "short_side")]
    fixed_height: Option<u32>,
    #[command(flatten)]
    transcode: Transcode,
}

impl Resize {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (options, size, chunks) = self.asked();
        options.run(size, chunks)
    }

    /// What is asked, in the words of both commands that transcode.
    pub fn asked(self) -> (Transcode, Size, Option<ChunkLength>) {
        let size = self.fixed_height.map_or(Size::ShortSide(self.short_side), Size::FixedHeight);
        (self.transcode, size, None)
    }
}
