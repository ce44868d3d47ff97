//! Frames of videos: those of healthy, odd, damaged and hostile files, and of folders of images.

mod builds;
mod certified;
mod children;
mod damaged_videos;
mod dropped_frames;
mod every_frame;
mod files;
mod frames;
mod hostile_videos;
mod image_files;
mod images;
mod thumbnails;
mod together;
