//! `egofx chunk`: videos cut into chunks of equal length.
//!
//! Not for features, which are made from original files. Invariant: each frame of the source is in one chunk.

use std::process::ExitCode;

use clap::Args;

use egofx::grid::egoclip::{ChunkLength, EGOCLIP_CHUNKS};
use egofx::transcode::Size;

use super::transcode::{Transcode, side};

/// Cut videos into chunk files of 600 seconds, for EgoClip pretraining.
///
/// Writes <OUT>/<video_uid>/0.mp4, 1.mp4, ...: what EgoClip pretraining and EgoMCQ read in EgoVLP's code. Chunk k holds the
/// frames shown from second 600 k to second 600 (k + 1), 18000 of them at 30 frames a second, and begins at second 0. A video
/// is decoded once, however long it is. There is no empty last chunk where the length is a multiple of 600 s (the original
/// makes one). A video of one chunk is copied as it is, unless a size or key frames (--for, --keyint) are asked for.
///
/// Checks, resume, failures and exit codes are those of `egofx resize`, which is not needed before: --short-side resizes in
/// the same pass.
#[derive(Args)]
pub struct Chunk {
    /// Length of a chunk in seconds. EgoVLP's code wants 600.
    #[arg(long, value_name = "SEC", default_value_t = EGOCLIP_CHUNKS.sec, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    length: u32,
    /// Also resize: pixels of the shorter side (256 for EgoVLP). Without a size, frames stay as they are.
    #[arg(long, value_name = "PX", value_parser = side)]
    short_side: Option<u32>,
    /// Also resize: pixels of the height whatever the orientation, as EgoVLP's script does.
    #[arg(long, value_name = "PX", value_parser = side, conflicts_with = "short_side")]
    fixed_height: Option<u32>,
    #[command(flatten)]
    transcode: Transcode,
}

impl Chunk {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (options, size, chunks) = self.asked();
        options.run(size, chunks)
    }

    /// What is asked, in the words of both commands that transcode.
    pub fn asked(self) -> (Transcode, Size, Option<ChunkLength>) {
        let size = match (self.short_side, self.fixed_height) {
            (Some(side), _) => Size::ShortSide(side),
            (None, Some(side)) => Size::FixedHeight(side),
            (None, None) => Size::Keep,
        };
        (self.transcode, size, Some(ChunkLength { sec: self.length }))
    }
}
