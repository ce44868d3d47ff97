//! Pictures of cross-attention: where in a clip each word of a sentence looks, layer by layer.
//!
//! As on EgoVLPv2's poster. Not for networks or decoding. Invariant: within a picture the warmest patch has the highest
//! weight of its word in that layer and the coldest the lowest, so that pictures of different words must not be compared by
//! colour: the weight that warm stands for is written beside each.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use crate::corpora::pixels::{MEAN, STD};
use crate::error::TrainError;

/// The frames of a clip, eight bits a channel.
pub struct Film {
    /// Width and height of a frame in pixels.
    pub side: usize,
    /// `3 * side * side` bytes for each frame, rows top to bottom.
    pub frames: Vec<Vec<u8>>,
}

/// Where words look.
pub struct Looks {
    /// The sentence's words, special tokens included.
    pub words: Vec<String>,
    /// For each layer `[L, F, h, w]`, single precision: weights of patches, means over heads.
    pub layers: Vec<Tensor>,
    /// The number of the first of these layers in its tower, from 0.
    pub first_layer: usize,
}

impl Film {
    /// Out of normalised frames `[F, 3, S, S]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn of(frames: &Tensor) -> Result<Self, TrainError> {
        let side = frames.size()[3] as usize;
        let channels = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]);
        let plain = frames * channels(STD) + channels(MEAN);
        let bytes = (plain * 255.0).round().clamp(0.0, 255.0).to_kind(Kind::Uint8).permute([0, 2, 3, 1]).contiguous();
        let bytes = Vec::<u8>::try_from(bytes.view(-1))?;
        Ok(Self { side, frames: bytes.chunks(3 * side * side).map(<[u8]>::to_vec).collect() })
    }
}

impl Looks {
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

    /// Writes a PNG for each word and layer, all frames side by side, and `index.html`, which shows them.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&self, film: &Film, sentence: &str, folder: &Path) -> Result<(), TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let mut rows = String::new();
        for (place, word) in self.words.iter().enumerate() {
            let _ = write!(rows, "<tr><th>{}</th>", escaped(word));
            for (layer, map) in self.layers.iter().enumerate() {
                let name = format!("layer{:02}_word{place:02}.png", self.first_layer + layer);
                let most = self.picture(film, &map.get(place as i64), &folder.join(&name))?;
                let _ = write!(rows, "<td><img src=\"{name}\" alt=\"\"><br>{:.2} %</td>", 100.0 * most);
            }
            rows.push_str("</tr>\n");
        }
        let heads = (0..self.layers.len()).map(|layer| format!("<th>layer {}</th>", self.first_layer + layer));
        let page = PAGE
            .replace("SENTENCE", &escaped(sentence))
            .replace("HEADS", &heads.collect::<String>())
            .replace("ROWS", &rows);
        let path = folder.join("index.html");
        std::fs::write(&path, page).map_err(TrainError::io("write", &path))
    }

    /// Frames under a heat map `[F, h, w]`; the highest weight.
    fn picture(&self, film: &Film, map: &Tensor, path: &Path) -> Result<f64, TrainError> {
        let side = film.side as i64;
        let (least, most) = (map.min().double_value(&[]), map.max().double_value(&[]));
        let heat = (map - least) / (most - least).max(f64::MIN_POSITIVE);
        let heat = heat.unsqueeze(1).upsample_bilinear2d([side, side], false, None, None).squeeze_dim(1);
        let heat = Vec::<f32>::try_from(heat.contiguous().view(-1))?;
        let width = film.side * film.frames.len();
        let mut pixels = vec![0; 3 * width * film.side];
        for (number, frame) in film.frames.iter().enumerate() {
            for place in 0..film.side * film.side {
                let (row, column) = (place / film.side, place % film.side);
                let to = 3 * (row * width + number * film.side + column);
                let mixed = mixed(&frame[3 * place..][..3], heat[number * film.side * film.side + place]);
                pixels[to..to + 3].copy_from_slice(&mixed);
            }
        }
        write_png(path, width, film.side, &pixels)?;
        Ok(most)
    }
}

/// A pixel under its heat, from 0 (dark blue) over green to 1 (red): half of each.
fn mixed(pixel: &[u8], heat: f32) -> [u8; 3] {
    let heat = heat.clamp(0.0, 1.0);
    let ramp = |centre: f32| (1.5 - (4.0 * heat - centre).abs()).clamp(0.0, 1.0) * 255.0;
    let colours = [ramp(3.0), ramp(2.0), ramp(1.0)];
    std::array::from_fn(|channel| ((f32::from(pixel[channel]) + colours[channel]) / 2.0) as u8)
}

fn write_png(path: &Path, width: usize, height: usize, pixels: &[u8]) -> Result<(), TrainError> {
    let refused = |cause: std::io::Error| TrainError::Io { action: "write", path: PathBuf::from(path), cause };
    let file = BufWriter::new(File::create(path).map_err(refused)?);
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
    written.map_err(|error| refused(std::io::Error::other(error)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const PAGE: &str = "<!doctype html>
<meta charset=\"utf-8\">
<title>SENTENCE</title>
<style>
body { font-family: sans-serif; margin: 2em }
table { border-collapse: collapse }
th, td { padding: .3em .6em; text-align: left; font-size: small }
thead th { position: sticky; top: 0; background: white }
</style>
<h1>SENTENCE</h1>
<p>Where each word looks, by fused layer: weights of cross-attention, mean over heads. Red is the highest weight of that word in
that layer, which is written below; a patch would have all of it at 100 %.</p>
<table>
<thead><tr><th></th>HEADS</tr></thead>
<tbody>
ROWS</tbody>
</table>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_show_the_warmest_patch_of_each_word_and_the_page_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let frames = Tensor::zeros([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        // One head, two words, a class token and two frames of 2 x 2 patches; the second word looks at the last patch.
        let mut weights = vec![0.1f32; 2 * 9];
        weights[17] = 0.9;
        let weights = Tensor::from_slice(&weights).view([1, 1, 2, 9]);
        let looks = Looks::of(vec!["<s>".into(), "a&b".into()], &[weights.shallow_clone(), weights], 2, 12);
        assert_eq!((looks.first_layer, looks.layers[0].size()), (10, vec![2, 2, 2, 2]));
        let film = Film::of(&frames).unwrap();
        assert_eq!(film.frames[1][..3], [124, 116, 104], "normalised black is the mean of ImageNet");
        looks.write(&film, "a < b", folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
        assert_eq!(page.matches("<img").count(), 4);
        assert!(page.contains("<h1>a &lt; b</h1>") && page.contains("a&amp;b") && page.contains("90.00 %"), "{page}");
        let file = File::open(folder.path().join("layer11_word01.png")).unwrap();
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (16, 8));
        let pixel = |x: usize, y: usize| &pixels[3 * (y * 16 + x)..][..3];
        assert!(pixel(15, 7)[0] > pixel(15, 7)[2] && pixel(0, 0)[0] < pixel(0, 0)[2], "red in the last corner only");
    }
}
