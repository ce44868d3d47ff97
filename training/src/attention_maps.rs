//! Pictures of cross-attention: where in a clip each word of a sentence maps, layer by layer.
//!
//! As on EgoVLPv2's poster. Not for networks or decoding. Invariant: within a picture the warmest patch has the highest
//! weight of its word in that layer and the coldest the lowest, so that pictures of different words must not be compared by
//! colour: the weight that warm stands for is written beside each.

use std::fmt::Write as _;
use std::path::Path;

use egofx::durable::{self, Existing};
use egofx_pixels::{MEAN, STD};
use tch::{Device, Kind, Tensor};

use crate::error::TrainError;

/// The least width of a frame on the page, in pixels: smaller ones are enlarged.
const SHOWN_SIDE: usize = 192;
/// How much of a pixel the colour of the warmest patch covers; the coldest covers nothing.
const OPACITY: f32 = 0.7;

/// The frames of a clip, eight bits a channel.
pub struct FrameStrip {
    /// Width and height of a frame in pixels.
    pub side: usize,
    /// `3 * side * side` bytes for each frame, rows top to bottom.
    pub frames: Vec<Vec<u8>>,
    /// The second of the video at which each frame is shown.
    pub times_sec: Vec<f64>,
}

/// Where words look.
pub struct AttentionMaps {
    /// The sentence's words, special tokens included.
    pub words: Vec<String>,
    /// For each layer `[L, F, h, w]`, single precision: weights of patches, means over heads.
    pub layers: Vec<Tensor>,
    /// The number of the first of these layers in its tower, from 0.
    pub first_layer: usize,
}

impl FrameStrip {
    /// Out of normalised frames `[F, 3, S, S]` that are shown at these times; enlarged if they are small.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn of(frames: &Tensor, times_sec: Vec<f64>) -> Result<Self, TrainError> {
        let side = frames.size()[3] as usize;
        let side = side * SHOWN_SIDE.div_ceil(side);
        let channels = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]);
        let plain = frames * channels(STD) + channels(MEAN);
        let plain = plain.upsample_bilinear2d([side as i64, side as i64], false, None, None);
        let bytes = (plain * 255.0).round().clamp(0.0, 255.0).to_kind(Kind::Uint8).permute([0, 2, 3, 1]).contiguous();
        let bytes = Vec::<u8>::try_from(bytes.view(-1))?;
        Ok(Self { side, frames: bytes.chunks(3 * side * side).map(<[u8]>::to_vec).collect(), times_sec })
    }

    /// All frames below one another, as a PNG.
    fn write(&self, path: &Path, pixels: &[u8]) -> Result<(), TrainError> {
        write_png(path, self.side, self.side * self.frames.len(), pixels)
    }
}

impl AttentionMaps {
    /// Out of the weights of fused layers, each `[1, heads, L, 1 + F h w]` with the class token first, of a tower of `depth`
    /// layers that shows `frames` frames.
    pub fn of(words: Vec<String>, weights: &[Tensor], frames: i64, depth: usize) -> Self {
        let map = |layer: &Tensor| {
            let patches = layer.mean_dim([1i64].as_slice(), false, Kind::Float).squeeze_dim(0);
            let patches = patches.narrow(1, 1, patches.size()[1] - 1).to_device(Device::Cpu);
            let side = ((patches.size()[1] / frames) as f64).sqrt().round() as i64;
            patches.view([-1, frames, side, side])
        };
        Self { words, layers: weights.iter().map(map).collect(), first_layer: depth - weights.len() }
    }

    /// Writes `frames.png`, the frames below one another, the same under a heat map for each word and layer, and `index.html`,
    /// which shows for each word the frames with their times and the maps beside them.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&self, strip: &FrameStrip, sentence: &str, folder: &Path) -> Result<(), TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        strip.write(&folder.join(FRAMES_FILE), &strip.frames.concat())?;
        let times: String = strip.times_sec.iter().map(|sec| format!("<div>{sec:.2} s</div>")).collect();
        let (mut links, mut tables) = (String::new(), String::new());
        for (place, word) in self.words.iter().enumerate() {
            let word = escaped(word);
            let _ = write!(links, "<a href=\"#word{place}\">{word}</a> ");
            let mut heads = "<th></th><th>frame</th>".to_owned();
            let mut cells = format!("<td class=\"times\">{times}</td><td>{}</td>", image(FRAMES_FILE, "the frames"));
            for (layer, map) in self.layers.iter().enumerate() {
                let number = self.first_layer + layer;
                let name = format!("layer{number:02}_word{place:02}.png");
                let most = self.picture(strip, &map.get(place as i64), &folder.join(&name))?;
                let _ = write!(heads, "<th>layer {number}<br><small>warmest {:.2} %</small></th>", 100.0 * most);
                let _ = write!(cells, "<td>{}</td>", image(&name, &format!("{word}, layer {number}")));
            }
            let _ = write!(
                tables,
                "<h2 id=\"word{place}\">{word}</h2>\n<table>\n<tr>{heads}</tr>\n<tr>{cells}</tr>\n</table>\n"
            );
        }
        let page = PAGE
            .replace("SIDE", &strip.side.to_string())
            .replace("SENTENCE", &escaped(sentence))
            .replace("LINKS", &links)
            .replace("TABLES", &tables);
        let path = folder.join("index.html");
        durable::write_bytes(&path, page.as_bytes()).map_err(TrainError::io("write", &path))
    }

    /// Frames under a heat map `[F, h, w]`; the highest weight.
    fn picture(&self, strip: &FrameStrip, map: &Tensor, path: &Path) -> Result<f64, TrainError> {
        let side = strip.side as i64;
        let (least, most) = (map.min().double_value(&[]), map.max().double_value(&[]));
        let heat = (map - least) / (most - least).max(f64::MIN_POSITIVE);
        let heat = heat.unsqueeze(1).upsample_bilinear2d([side, side], false, None, None).squeeze_dim(1);
        let heat = Vec::<f32>::try_from(heat.contiguous().view(-1))?;
        let plain = strip.frames.iter().flat_map(|frame| frame.chunks_exact(3));
        let pixels: Vec<u8> = plain.zip(heat).flat_map(|(pixel, heat)| mixed(pixel, heat)).collect();
        strip.write(path, &pixels)?;
        Ok(most)
    }
}

/// A pixel under its heat, from 0 to 1. The frame below is grey, so that colour is heat alone, and shows through the more, the
/// colder it is.
fn mixed(pixel: &[u8], heat: f32) -> [u8; 3] {
    let heat = heat.clamp(0.0, 1.0);
    let grey = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
    let colour = colorous::INFERNO.eval_continuous(f64::from(heat)).into_array();
    colour.map(|level| (grey + OPACITY * heat * (f32::from(level) - grey)).round() as u8)
}

fn image(name: &str, words: &str) -> String {
    format!("<img src=\"{name}\" alt=\"{words}\">")
}

fn write_png(path: &Path, width: usize, height: usize, pixels: &[u8]) -> Result<(), TrainError> {
    let refused = |cause: std::io::Error| TrainError::io("write", path)(cause);
    durable::write(path, Existing::Replace, refused, |file| {
        let mut encoder = png::Encoder::new(file, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|error| refused(error.into()))?;
        writer.write_image_data(pixels).and_then(|()| writer.finish()).map_err(|error| refused(error.into()))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The frames without a heat map.
const FRAMES_FILE: &str = "frames.png";

const PAGE: &str = "<!doctype html>
<meta charset=\"utf-8\">
<title>SENTENCE</title>
<style>
body { font-family: sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse }
th, td { padding: .2em .4em; text-align: left; vertical-align: top; font-size: small }
th small { font-weight: normal }
img { display: block; width: SIDEpx }
.times div { height: SIDEpx; white-space: nowrap }
.bar { display: inline-block; width: 12em; height: 1em; background: linear-gradient(to right, #888, #c9441f, #ff3c00, #ffc800) }
</style>
<h1>SENTENCE</h1>
<p>Where each word maps, by fused layer: weights of cross-attention, means over heads. coldest <span class=\"bar\"></span> warmest
patch of that word in that layer. The warmest patch's weight stands above each column; a patch that had all of it would have
100 %. Words must not be compared by colour.</p>
<p>LINKS</p>
TABLES";

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn pictures_show_the_warmest_patch_of_each_word_and_the_page_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let frames = Tensor::zeros([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        // One head, two words, a class token and two frames of 2 x 2 patches; the second word maps at the last patch.
        let mut weights = vec![0.1f32; 2 * 9];
        weights[17] = 0.9;
        let weights = Tensor::from_slice(&weights).view([1, 1, 2, 9]);
        let maps = AttentionMaps::of(vec!["<s>".into(), "a&b".into()], &[weights.shallow_clone(), weights], 2, 12);
        assert_eq!((maps.first_layer, maps.layers[0].size()), (10, vec![2, 2, 2, 2]));
        let strip = FrameStrip::of(&frames, vec![12.0, 12.5]).unwrap();
        assert_eq!(strip.frames[1][..3], [124, 116, 104], "normalised black is the mean of ImageNet");
        maps.write(&strip, "a < b", folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
        // For each of two words the plain frames with their times, and two layers beside them.
        assert_eq!((page.matches("<img").count(), page.matches("src=\"frames.png\"").count()), (6, 2));
        assert_eq!(page.matches("<div>12.00 s</div><div>12.50 s</div>").count(), 2);
        assert!(page.contains("<h1>a &lt; b</h1>") && page.contains("<h2 id=\"word1\">a&amp;b</h2>"), "{page}");
        assert!(page.contains("layer 11<br><small>warmest 90.00 %"), "{page}");
        let pixels = |name: &str| {
            let file = File::open(folder.path().join(name)).unwrap();
            let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), (192, 384), "enlarged, below one another");
            pixels
        };
        let (plain, warm) = (pixels("frames.png"), pixels("layer11_word01.png"));
        assert_eq!(plain[..3], [124, 116, 104]);
        let [first, last] = [&warm[..3], &warm[warm.len() - 3..]];
        assert!(first[0] == first[1] && first[1] == first[2], "cold patches show the frame: {first:?}");
        assert!(last[0] > 200 && last[1] > 200 && last[2] < 170, "the warmest patch is pale yellow: {last:?}");
    }
}
