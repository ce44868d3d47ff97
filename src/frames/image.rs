//! One frame as JPEG or PNG, with a comment that says which frame it is and how it was made; and whether a file is that.
//!
//! Not for decoding videos. Invariant: a file counts as kept only if all of it decodes and its comment is the one expected.

use std::fs;
use std::io;
use std::path::Path;

use mozjpeg::{ColorSpace, Compress, Marker};

use crate::decode::Image;
use crate::foreign;

/// The form of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Small, and not the same pixels; quality 1 to 100.
    Jpeg {
        /// libjpeg's number.
        quality: u8,
    },
    /// The pixels as they are.
    Png,
}

impl Format {
    /// What file names end with.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg { .. } => "jpg",
            Self::Png => "png",
        }
    }

    /// What tells files of one form from those of another.
    pub(super) fn words(self) -> String {
        match self {
            Self::Jpeg { quality } => format!("jpeg quality {quality}"),
            Self::Png => "png".to_owned(),
        }
    }

    /// An image of `size` with `comment` in it.
    pub(super) fn encode(self, rgb: &[u8], size: (u32, u32), comment: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Jpeg { quality } => foreign::parse(|| jpeg(rgb, size, comment, quality))
                .unwrap_or_else(|panicked| Err(io::Error::other(panicked.to_string())))
                .map_err(|error| error.to_string()),
            Self::Png => png(rgb, size, comment).map_err(|error| error.to_string()),
        }
    }
}

fn jpeg(rgb: &[u8], (width, height): (u32, u32), comment: &str, quality: u8) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(width as usize, height as usize);
    compress.set_fastest_defaults();
    compress.set_quality(f32::from(quality));
    let mut started = compress.start_compress(Vec::new())?;
    started.write_marker(Marker::COM, comment.as_bytes());
    started.write_scanlines(rgb)?;
    started.finish()
}

fn png(rgb: &[u8], (width, height): (u32, u32), comment: &str) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_text_chunk("Comment".to_owned(), comment.to_owned())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// What is found where a file is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing.
    Absent,
    /// The image that is to be written, whole.
    Whole,
    /// An image of ours that is damaged.
    Damaged,
    /// Something else, in words.
    Other(String),
}

/// Compares the file at `path` with the image that has `comment`.
pub(super) fn look_at(path: &Path, comment: &str) -> io::Result<Kept> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Absent),
        read => read?,
    };
    let holds = |text: &str| bytes.windows(text.len()).take(4096).any(|window| window == text.as_bytes());
    Ok(match (holds(comment), Image::read(path)) {
        (true, Ok(_)) => Kept::Whole,
        (true, Err(_)) => Kept::Damaged,
        (false, _) if holds(OURS) => Kept::Other("an image of another frame, file or form".to_owned()),
        (false, _) => Kept::Other("nothing that egofx frames wrote".to_owned()),
    })
}

/// What comments begin with.
pub(super) const OURS: &str = "egofx frame ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_kept_only_whole_and_with_its_comment() {
        let rgb: Vec<u8> = (0..16 * 8 * 3).map(|at| (at * 7 % 256) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        for format in [Format::Png, Format::Jpeg { quality: 90 }] {
            let path = folder.path().join(format.extension());
            assert_eq!(look_at(&path, "egofx frame 1").unwrap(), Kept::Absent);
            let bytes = format.encode(&rgb, (16, 8), "egofx frame 1 of v;").unwrap();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(look_at(&path, "egofx frame 1 of v;").unwrap(), Kept::Whole);
            assert!(matches!(look_at(&path, "egofx frame 2 of v;").unwrap(), Kept::Other(_)));
            let image = Image::read(&path).unwrap();
            assert_eq!((image.width, image.height), (16, 8));
            assert!(format != Format::Png || image.rgb == rgb);
            fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
            assert_eq!(look_at(&path, "egofx frame 1 of v;").unwrap(), Kept::Damaged);
            fs::write(&path, "notes").unwrap();
            let other = Kept::Other("nothing that egofx frames wrote".to_owned());
            assert_eq!(look_at(&path, "egofx frame 1 of v;").unwrap(), other);
        }
    }
}
