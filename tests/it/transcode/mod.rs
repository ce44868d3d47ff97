//! Smaller copies and chunk files of videos.

mod chunk;
mod resize;
mod sharing;
