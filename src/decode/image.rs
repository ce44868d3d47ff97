//! One image file as Pillow and OpenCV decode it: libjpeg's arithmetic for JPEG, 8 bits of red, green and blue for PNG.
//!
//! Not for lists of files. Invariant: an image of which its decoder has anything to complain is an error and never pixels,
//! and what a file declares asks for memory only within bounds.

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use png::{BitDepth, ColorType, Transformations};

use crate::foreign;

/// Most pixels of an image: Pillow refuses more as a decompression bomb.
const MOST_PIXELS: u64 = 178_956_970;

/// Most pixels for each byte of a JPEG file: a block of 64 takes a bit at the least.
const JPEG_PIXELS: u64 = 512;

/// The largest file that is read into memory, in bytes: more than any image of [`MOST_PIXELS`] takes.
const MOST_BYTES: u64 = 1 << 30;

/// What a JPEG file begins with.
const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF];
/// What its image ends with. libjpeg makes one up where there is none.
const END_OF_JPEG: &[u8] = &[0xFF, 0xD9];
/// What a PNG file begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Three bytes a pixel, rows top to bottom.
    pub rgb: Vec<u8>,
    /// How it is to be turned, by its EXIF data.
    pub orientation: Orientation,
}

/// Where the first row and the first column of an image are to be seen: the values 1 to 8 of EXIF's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    /// As it is stored.
    pub const UPRIGHT: Self = Self(1);

    /// That of a file, by the EXIF data in `bytes`; upright without any.
    fn of(bytes: &[u8]) -> Self {
        let data = exif::Reader::new().read_from_container(&mut Cursor::new(bytes)).ok();
        let field = data.as_ref().and_then(|data| data.get_field(exif::Tag::Orientation, exif::In::PRIMARY));
        let value = field.and_then(|field| field.value.get_uint(0)).and_then(|value| u8::try_from(value).ok());
        value.filter(|value| (1..=8).contains(value)).map_or(Self::UPRIGHT, Self)
    }

    /// Whether width and height change places.
    pub fn lies(self) -> bool {
        self.0 >= 5
    }

    /// Clockwise degrees that a viewer turns the image by, apart from mirroring.
    pub fn degrees(self) -> i32 {
        match self.0 {
            3 | 4 => 180,
            5 | 6 => 90,
            7 | 8 => 270,
            _ => 0,
        }
    }

    /// Where the pixel of a turned image comes from: column and row out of `(x, y)`, in an image of `width * height`.
    fn source(self, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        let (right, below) = (width - 1, height - 1);
        match self.0 {
            2 => (right - x, y),
            3 => (right - x, below - y),
            4 => (x, below - y),
            5 => (y, x),
            6 => (y, below - x),
            7 => (right - y, below - x),
            8 => (right - y, x),
            _ => (x, y),
        }
    }
}

/// Why a file is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The system does not let us read it: nothing is known of the image by that.
    #[error("{0}")]
    Unreadable(String),
    /// It is no JPEG or PNG file, it is damaged or cut, or too large.
    #[error("{0}")]
    Damaged(String),
}

impl Image {
    /// Decodes `file`.
    ///
    /// # Errors
    /// What is wrong with it, without its name.
    pub fn read(file: &Path) -> Result<Self, ImageError> {
        let unreadable = |error: std::io::Error| ImageError::Unreadable(error.to_string());
        let bytes = fs::metadata(file).map_err(unreadable)?.len();
        if bytes > MOST_BYTES {
            return Err(ImageError::Damaged(format!("the file has {bytes} bytes, at most {MOST_BYTES} are read")));
        }
        Self::decode(&fs::read(file).map_err(unreadable)?).map_err(ImageError::Damaged)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        foreign::parse(|| Self::parsed(bytes)).unwrap_or_else(|panicked| Err(panicked.to_string()))
    }

    fn parsed(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(JPEG) {
            jpeg(bytes)
        } else if bytes.starts_with(PNG) {
            png(bytes)
        } else {
            Err("neither a JPEG nor a PNG file".to_owned())
        }
    }

    /// The right way up.
    pub fn turned(&self) -> Self {
        let from = (self.width, self.height);
        let (width, height) = if self.orientation.lies() { (self.height, self.width) } else { from };
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for place in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let (x, y) = self.orientation.source(place, from);
            let at = (y as usize * self.width as usize + x as usize) * 3;
            rgb.extend_from_slice(&self.rgb[at..at + 3]);
        }
        Self { width, height, rgb, orientation: Orientation::UPRIGHT }
    }
}

/// Width and height of an image file as stored, and its orientation, by its first bytes.
///
/// # Errors
/// What is wrong with it.
pub fn outline(file: &Path) -> Result<((u32, u32), Orientation), String> {
    foreign::parse(|| parsed_outline(file)).unwrap_or_else(|panicked| Err(panicked.to_string()))
}

fn parsed_outline(file: &Path) -> Result<((u32, u32), Orientation), String> {
    let size = imagesize::size(file).map_err(|e| e.to_string())?;
    let side = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0);
    let size = side(size.width).zip(side(size.height)).ok_or("an image without pixels")?;
    let bytes = fs::metadata(file).map_err(|e| e.to_string())?.len();
    let orientation = if bytes > MOST_BYTES {
        Orientation::UPRIGHT
    } else {
        Orientation::of(&fs::read(file).map_err(|e| e.to_string())?)
    };
    Ok((size, orientation))
}

/// Refuses what would take more memory than an image may, and what a file of `bytes` bytes, `held` of something for each
/// of them, is too short for: so many as `needed` says of the pixels.
fn check_pixels(width: u64, height: u64, (bytes, held): (usize, u64), needed: fn(u64) -> u64) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(1..=MOST_PIXELS) => {}
        _ => return Err(format!("the image claims to be {width}x{height}, at most {MOST_PIXELS} pixels are read")),
    }
    if needed(width * height) > (bytes as u64).saturating_mul(held) {
        return Err(format!("the image claims to be {width}x{height}, for which its {bytes} bytes are too few"));
    }
    Ok(())
}

/// libjpeg with its defaults: the accurate integer DCT and fancy upsampling, as Pillow and OpenCV use it.
fn jpeg(bytes: &[u8]) -> Result<Image, String> {
    // libjpeg's errors unwind, and here its warnings do: of a damaged file it would fill in what is not there.
    catch_unwind(AssertUnwindSafe(|| unwinding_jpeg(bytes))).unwrap_or_else(|why| {
        Err(why.downcast_ref::<String>().cloned().unwrap_or_else(|| "libjpeg gave up".to_owned()))
    })
}

fn unwinding_jpeg(bytes: &[u8]) -> Result<Image, String> {
    let words = |e: std::io::Error| e.to_string();
    let decoder = mozjpeg::Decompress::builder().with_err(complaints::manager()).from_mem(bytes).map_err(words)?;
    let (width, height) = decoder.size();
    check_pixels(width as u64, height as u64, (bytes.len(), JPEG_PIXELS), |pixels| pixels)?;
    if decoder.components().len() == 4 {
        return Err("a JPEG file of four inks (CMYK), expected red, green and blue or grey".to_owned());
    }
    let mut started = decoder.rgb().map_err(words)?;
    let pixels: Vec<[u8; 3]> = started.read_scanlines().map_err(words)?;
    let rest = started.finish_into_inner().map_err(words)?;
    if !bytes[..bytes.len() - rest.len()].ends_with(END_OF_JPEG) {
        return Err("the JPEG file is cut: it has no end".to_owned());
    }
    let rgb = pixels.into_flattened();
    Ok(Image { width: width as u32, height: height as u32, rgb, orientation: Orientation::of(bytes) })
}

/// What Pillow's `convert("RGB")` and `imread` make of a PNG file: grey is spread over the three channels, palettes are looked
/// up, alpha is dropped, of 16 bits the upper 8 count.
fn png(bytes: &[u8]) -> Result<Image, String> {
    let words = |e: png::DecodingError| e.to_string();
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_limits(png::Limits { bytes: usize::MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.ignore_checksums(false);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(words)?;
    let (width, height) = header.size();
    // A pixel takes a bit at the least.
    check_pixels(width.into(), height.into(), (bytes.len(), foreign::MOST_GROWTH), |pixels| pixels / 8)?;
    if (header.color_type, header.bit_depth) == (ColorType::Grayscale, BitDepth::Sixteen) {
        return Err(
            "a grey PNG file of 16 bits, of which every reader makes something else, expected 8 bits".to_owned()
        );
    }
    let mut reader = decoder.read_info().map_err(words)?;
    let bytes_out = reader.output_buffer_size().ok_or("an image that does not fit into memory")?;
    let mut values = vec![0; bytes_out];
    let shown = reader.next_frame(&mut values).map_err(words)?;
    reader.finish().map_err(words)?;
    if (shown.width, shown.height, shown.bit_depth) != (width, height, BitDepth::Eight) {
        return Err(format!(
            "an animated PNG whose first image is {}x{} of {width}x{height}",
            shown.width, shown.height
        ));
    }
    let rgb = match shown.color_type {
        ColorType::Rgb => values,
        ColorType::Rgba => values.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        ColorType::Grayscale => values.into_iter().flat_map(|grey| [grey; 3]).collect(),
        ColorType::GrayscaleAlpha => values.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        ColorType::Indexed => return Err("a palette that cannot be looked up".to_owned()),
    };
    Ok(Image { width, height, rgb, orientation: Orientation::of(bytes) })
}

/// libjpeg's ways to complain.
mod complaints {
    use std::os::raw::c_int;
    use std::panic::resume_unwind;

    use mozjpeg_sys::{JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR, jpeg_common_struct, jpeg_error_mgr, jpeg_std_error};

    /// Warnings that say nothing of pixels: a JFIF version of the future, an unknown Adobe transform.
    const HARMLESS: [c_int; 2] = [JWRN_JFIF_MAJOR, JWRN_ADOBE_XFORM];

    /// Unwinds at an error and at any warning that is not harmless, with libjpeg's words as a `String`.
    pub fn manager() -> jpeg_error_mgr {
        // SAFETY: it is a structure of numbers and pointers, which may all be zero, and libjpeg fills it in.
        let mut manager = unsafe {
            let mut manager = std::mem::zeroed();
            jpeg_std_error(&mut manager);
            manager
        };
        manager.error_exit = Some(refuse);
        manager.emit_message = Some(refuse_if_warned);
        manager
    }

    extern "C-unwind" fn refuse(decoder: &mut jpeg_common_struct) {
        resume_unwind(Box::new(words(decoder)))
    }

    extern "C-unwind" fn refuse_if_warned(decoder: &mut jpeg_common_struct, level: c_int) {
        // SAFETY: libjpeg calls this with the manager that it was given.
        let code = unsafe { (*decoder.err).msg_code };
        if level < 0 && !HARMLESS.contains(&code) {
            refuse(decoder);
        }
    }

    fn words(decoder: &mut jpeg_common_struct) -> String {
        type Declared = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; 80]);
        type Format = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &mut [u8; 80]);
        let mut text = [0; 80];
        // SAFETY: as above. libjpeg's function writes a text of at most 80 bytes, its 0 included, into the buffer, which its
        // declaration in Rust has as one that is only read.
        unsafe {
            if let Some(format) = (*decoder.err).format_message {
                std::mem::transmute::<Declared, Format>(format)(decoder, &mut text);
            }
        }
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 3 by 2 pixels whose values are 1 to 6.
    fn small(orientation: u8) -> Image {
        let rgb = (1..=6).flat_map(|value| [value; 3]).collect();
        Image { width: 3, height: 2, rgb, orientation: Orientation(orientation) }
    }

    #[test]
    fn images_are_turned_as_exif_says() {
        for (orientation, width, shown) in [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
        ] {
            let turned = small(orientation).turned();
            let values: Vec<u8> = turned.rgb.iter().step_by(3).copied().collect();
            assert_eq!((turned.width, values), (width, shown.to_vec()), "{orientation}");
        }
    }

    fn encoded(rgb: &[u8], width: usize, progressive: bool) -> Vec<u8> {
        let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
        encoder.set_size(width, rgb.len() / 3 / width);
        if progressive {
            encoder.set_progressive_mode();
        } else {
            encoder.set_fastest_defaults();
        }
        let mut started = encoder.start_compress(Vec::new()).unwrap();
        started.write_scanlines(rgb).unwrap();
        started.finish().unwrap()
    }

    #[test]
    fn a_jpeg_file_that_is_cut_or_overwritten_is_an_error() {
        let noise: Vec<u8> = (0..64 * 48 * 3_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for progressive in [false, true] {
            let whole = encoded(&noise, 64, progressive);
            let image = Image::decode(&whole).unwrap();
            assert_eq!((image.width, image.height, image.rgb.len()), (64, 48, 64 * 48 * 3));
            assert!(Image::decode(&[&whole[..], b"more"].concat()).is_ok(), "what follows the end is no part of it");
            for end in [3, 200, whole.len() / 2, whole.len() - 2, whole.len() - 1] {
                assert!(Image::decode(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
            }
            let mut harmed = whole.clone();
            let middle = whole.len() / 2;
            harmed[middle..middle + 300].fill(0);
            let error = Image::decode(&harmed).unwrap_err();
            assert!(error.contains("Corrupt JPEG data"), "{error}");
        }
    }

    #[test]
    fn what_claims_to_be_huge_asks_for_no_memory() {
        let mut jpeg = encoded(&[0; 8 * 8 * 3], 8, false);
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a baseline frame");
        jpeg[frame + 5..frame + 9].fill(0xFF);
        let error = Image::decode(&jpeg).unwrap_err();
        assert!(error.contains("65535x65535") || error.contains("image dimension"), "{error}");
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x30, 0, 0x30, 0]);
        let error = Image::decode(&jpeg).unwrap_err();
        assert!(error.contains("claims to be 12288x12288, for which its ") && error.ends_with("too few"), "{error}");
        let png = png_of(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6]);
        let error = Image::decode(&enlarged(png, 0x3000)).unwrap_err();
        assert!(error.contains("claims to be 12288x12288, for which its "), "{error}");
        let error = Image::decode(b"GIF89a").unwrap_err();
        assert!(error.contains("neither a JPEG nor a PNG"), "{error}");
    }

    /// A PNG file whose header says that it has sides of `side`, its checksum right.
    fn enlarged(mut png: Vec<u8>, side: u32) -> Vec<u8> {
        png[16..20].copy_from_slice(&side.to_be_bytes());
        png[20..24].copy_from_slice(&side.to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&png[12..29]);
        png[29..33].copy_from_slice(&sum.sum().to_be_bytes());
        png
    }

    fn png_of(color: ColorType, depth: BitDepth, values: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(&[9, 8, 7, 30, 20, 10][..]);
            encoder.set_trns(&[0, 255][..]);
        }
        encoder.write_header().unwrap().write_image_data(values).unwrap();
        bytes
    }

    #[test]
    fn png_files_of_every_kind_become_eight_bits_of_red_green_and_blue() {
        use BitDepth::{Eight, Four, One, Sixteen, Two};
        for (color, depth, values, expected) in [
            (ColorType::Rgb, Eight, &[1, 2, 3, 4, 5, 6][..], [1, 2, 3, 4, 5, 6]),
            (ColorType::Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 9], [1, 2, 3, 4, 5, 6]),
            (ColorType::Grayscale, Eight, &[7, 200], [7, 7, 7, 200, 200, 200]),
            (ColorType::GrayscaleAlpha, Eight, &[7, 0, 200, 9], [7, 7, 7, 200, 200, 200]),
            (ColorType::Grayscale, One, &[0b0100_0000], [0, 0, 0, 255, 255, 255]),
            (ColorType::Grayscale, Two, &[0b0110_0000], [85, 85, 85, 170, 170, 170]),
            (ColorType::Grayscale, Four, &[0x1F], [17, 17, 17, 255, 255, 255]),
            (ColorType::Indexed, One, &[0b0100_0000], [9, 8, 7, 30, 20, 10]),
            (ColorType::Rgb, Sixteen, &[1, 255, 2, 255, 3, 255, 4, 0, 5, 0, 6, 0], [1, 2, 3, 4, 5, 6]),
            (ColorType::GrayscaleAlpha, Sixteen, &[7, 255, 1, 1, 200, 0, 1, 1], [7, 7, 7, 200, 200, 200]),
        ] {
            let bytes = png_of(color, depth, values);
            assert_eq!(Image::decode(&bytes).unwrap().rgb, expected, "{color:?} {depth:?}");
            assert!(Image::decode(&bytes[..bytes.len() - 20]).is_err(), "{color:?} {depth:?}, cut");
            let mut harmed = bytes;
            let data = harmed.windows(4).position(|name| name == b"IDAT").unwrap() + 8;
            harmed[data] ^= 0x10;
            assert!(Image::decode(&harmed).is_err(), "{color:?} {depth:?}, harmed");
        }
        let grey = png_of(ColorType::Grayscale, Sixteen, &[7, 255, 200, 0]);
        assert!(Image::decode(&grey).unwrap_err().contains("expected 8 bits"));
    }
}
