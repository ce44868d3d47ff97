//! Small JPEG images of videos at given times, for people to look at.
//!
//! Not for features: a thumbnail is the first frame at or after its time, scaled by ffmpeg, and nothing is proved of it.
//! Invariants: no more is decoded than what lies between the key frame before a time and the frame that is shown; a video that is
//! absent or broken is an answer with words, never an error; there is one place in the answer for each time.

mod ffmpeg;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;

use crate::decode::{FfmpegSource, FrameSource, HwAccel, Outline, ProbeError, Tools, inputs, outline};
use crate::time::Fps;

/// The height of a thumbnail in pixels, unless somebody asks for another.
pub const HEIGHT: u32 = 96;

/// Which thumbnails are wanted of a video.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The file, a folder of chunk files, or what names its images.
    pub path: PathBuf,
    /// The rate of a video that is a folder of images; files have their own.
    pub fps: Option<Fps>,
    /// Seconds, as rows of a store count them.
    pub secs: Vec<f64>,
}

/// The thumbnails of a video.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strip {
    /// One for each time, as JPEG; `None` where there is no frame, or none that can be decoded.
    pub images: Vec<Option<Vec<u8>>>,
    /// Why some are not there.
    pub why: Option<String>,
}

impl Strip {
    /// No thumbnail of `count`, for the reason `why`.
    fn without(count: usize, why: impl ToString) -> Self {
        Self { images: vec![None; count], why: Some(why.to_string()) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.images.iter().flatten().count()
    }
}

/// Makes thumbnails.
#[derive(Debug, Clone)]
pub struct Thumbnailer {
    /// The programs that decode.
    pub tools: Tools,
    /// The height of a thumbnail in pixels.
    pub height: u32,
}

/// A place in a file: what ffmpeg is asked for.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    file: PathBuf,
    /// Index of its stream in the container.
    stream: u32,
    /// Second by the container's own clock that is sought; nothing for the beginning.
    seek_sec: Option<f64>,
    /// Seconds behind that which are decoded and not shown.
    skip_sec: f64,
    /// Width times height of the video.
    pixels: u64,
}

/// How much earlier than its frame a place is sought in a container without an index.
const LEAD_SEC: f64 = 10.0;

impl Place {
    /// At second `sec` of `file`.
    fn of(file: &Path, outline: &Outline, sec: f64) -> Self {
        let lead_sec = if outline.seeks_late { LEAD_SEC } else { 0.0 };
        let seek_sec = Some(sec - lead_sec).filter(|sec| *sec > 0.0);
        Self {
            file: file.to_owned(),
            stream: outline.stream,
            seek_sec: seek_sec.map(|seek| seek + outline.origin_sec),
            skip_sec: sec - seek_sec.unwrap_or(0.0),
            pixels: u64::from(outline.width) * u64::from(outline.height),
        }
    }

    fn sec(&self) -> f64 {
        self.seek_sec.unwrap_or(0.0) + self.skip_sec
    }
}

impl Thumbnailer {
    /// Those of several videos, as many at a time as there are threads of rayon's.
    pub fn strips(&self, requests: &[Request]) -> Vec<Strip> {
        requests.par_iter().map(|request| self.strip(request)).collect()
    }

    /// Those of one video.
    pub fn strip(&self, request: &Request) -> Strip {
        let count = request.secs.len();
        let places = match self.places(request) {
            Ok(places) => places,
            Err(error) => return Strip::without(count, error),
        };
        let mut wanted: Vec<(usize, &Place)> =
            places.iter().enumerate().filter_map(|(at, place)| Some((at, place.as_ref()?))).collect();
        wanted.sort_by(|(_, a), (_, b)| a.file.cmp(&b.file).then(a.sec().total_cmp(&b.sec())));
        let mut strip = Strip { images: vec![None; count], why: None };
        for group in groups(&wanted) {
            let group_places: Vec<&Place> = group.iter().map(|(_, place)| *place).collect();
            match ffmpeg::images(&self.tools, self.height, &group_places) {
                Ok(images) => {
                    group.iter().zip(images.found).for_each(|((at, _), image)| strip.images[*at] = image);
                    strip.why = strip.why.or(images.said);
                }
                Err(crash) => strip.why = strip.why.or_else(|| Some(crash.to_string())),
            }
        }
        let without = count - strip.count();
        strip.why = match strip.why {
            _ if without == 0 => None,
            Some(why) => Some(format!("{}: {why}", request.path.display())),
            None => Some(format!("{}: no frame at {without} of {count} times", request.path.display())),
        };
        strip
    }

    /// Where the frames of `request` are looked for; `None` for a time that lies in no file.
    fn places(&self, request: &Request) -> Result<Vec<Option<Place>>, ProbeError> {
        let files: Vec<PathBuf> = inputs(&request.path).into_iter().filter(|path| !path.is_dir()).collect();
        match files.as_slice() {
            [] => self.in_images(request),
            files => self.in_files(files, &request.secs),
        }
    }

    /// In a file, or in chunk files of which each goes on where the one before ends.
    fn in_files(&self, files: &[PathBuf], secs: &[f64]) -> Result<Vec<Option<Place>>, ProbeError> {
        let mut starts = Vec::with_capacity(files.len());
        let mut start_sec = 0.0;
        for file in files {
            let outline = outline(&self.tools, file)?;
            starts.push((start_sec, file, outline));
            start_sec += outline.duration_sec.unwrap_or(0.0);
        }
        let place = |sec: &f64| {
            let (start_sec, file, outline) = starts.iter().rev().find(|(start, ..)| start <= sec).or(starts.first())?;
            sec.is_finite().then(|| Place::of(file, outline, sec - start_sec))
        };
        Ok(secs.iter().map(place).collect())
    }

    /// In files of which each is a frame.
    fn in_images(&self, request: &Request) -> Result<Vec<Option<Place>>, ProbeError> {
        let source = FfmpegSource { tools: self.tools.clone(), threads: 1, hwaccel: HwAccel::None };
        let video = source.probe(&request.path, request.fps)?;
        let pixels = u64::from(video.width) * u64::from(video.height);
        let place = |sec: &f64| {
            let index = (0..video.timeline.frames()).rfind(|index| video.timeline.sec(*index) <= *sec)?;
            let file: &Path = video.images.as_ref()?.file(index)?;
            Some(Place { file: file.to_owned(), stream: 0, seek_sec: None, skip_sec: 0.0, pixels })
        };
        Ok(request.secs.iter().map(place).collect())
    }
}

/// Places that one ffmpeg has open at a time: few of large videos, since each has a decoder of its own.
fn groups<'g, 'p>(wanted: &'g [(usize, &'p Place)]) -> std::slice::Chunks<'g, (usize, &'p Place)> {
    /// Pixels of all decoders' frames together: eight of 1080p.
    const PIXELS: u64 = 16 << 20;
    let largest = wanted.iter().map(|(_, place)| place.pixels).max().unwrap_or(1).max(1);
    wanted.chunks((PIXELS / largest).clamp(1, 8) as usize)
}

/// A JPEG as a URI that a page can hold.
pub fn data_uri(jpeg: &[u8]) -> String {
    data_uri_of("image/jpeg", jpeg)
}

/// The same of any type.
pub fn data_uri_of(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_can_hold_an_image() {
        assert_eq!(data_uri(&[255, 216, 255]), "data:image/jpeg;base64,/9j/");
        assert_eq!(data_uri_of("image/png", b"a"), "data:image/png;base64,YQ==");
    }

    #[test]
    fn of_large_videos_few_are_open_at_a_time() {
        let of = |pixels| Place { file: "a.mp4".into(), stream: 0, seek_sec: None, skip_sec: 0.0, pixels };
        for (pixels, sizes) in [(1920 * 1080, [8, 2]), (3840 * 2160, [2, 2])] {
            let place = of(pixels);
            let wanted: Vec<(usize, &Place)> = (0..10).map(|at| (at, &place)).collect();
            let found: Vec<usize> = groups(&wanted).map(<[_]>::len).collect();
            assert_eq!([found[0], *found.last().unwrap()], sizes);
        }
    }
}
