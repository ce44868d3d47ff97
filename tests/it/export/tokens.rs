//! Graphs of patch tokens: against the last states of the original code, their means against means that are made here, and
//! through the program.

use std::fs;
use std::path::Path;

use egofx::backbone::{Card, Feed};
use egofx::checkpoint::Checkpoint;
use egofx::export::TokenGrid;

use super::lavila;
use crate::support::graphs::{
    Golden, egovlp, egovlpv2_small, exported_into, max_abs, output, rows_do_not_depend_on_their_batch, session,
    tokens_into,
};
use crate::support::{Workshop, checkout};

/// Largest difference from the original's last states.
const STATE: f32 = 5e-5;
/// Largest difference between ways to the same mean.
const EQUAL: f32 = 2e-6;
/// Numbers of a token.
const DIM: usize = 32;

/// Tokens of windows of so many frames, each of `side * side` patches.
struct Shape {
    frames: usize,
    side: usize,
}

impl Shape {
    fn window(&self) -> usize {
        (1 + self.frames * self.side * self.side) * DIM
    }

    /// `tokens` and `map` of maps of `places * places`, made of `tokens` of all patches.
    fn pooled(&self, tokens: &[f32], places: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut all, mut maps) = (Vec::new(), Vec::new());
        for window in tokens.chunks(self.window()) {
            let (class, patches) = window.split_at(DIM);
            let frames: Vec<Vec<f32>> =
                patches.chunks(self.side * self.side * DIM).map(|f| self.means(f, places)).collect();
            all.extend(class);
            frames.iter().for_each(|frame| all.extend(frame));
            let mean = |i: usize| frames.iter().map(|frame| frame[i]).sum::<f32>() / frames.len() as f32;
            maps.extend((0..places * places * DIM).map(mean));
        }
        (all, maps)
    }

    fn means(&self, patches: &[f32], places: usize) -> Vec<f32> {
        let cell = self.side / places;
        let at = |y: usize, x: usize, c: usize| patches[(y * self.side + x) * DIM + c];
        let mean = |i: usize| {
            let (y, x, c) = (i / DIM / places, i / DIM % places, i % DIM);
            let cells = (0..cell * cell).map(|k| at(y * cell + k / cell, x * cell + k % cell, c));
            cells.sum::<f32>() / (cell * cell) as f32
        };
        (0..places * places * DIM).map(mean).collect()
    }
}

/// Debug graphs of `checkpoint`, at the finest and at one place a frame, against the `states` that the original had on `pixels`.
#[track_caller]
fn compare(checkpoint: &Checkpoint, (stem, head_size): (&str, usize), shape: &Shape, pixels: &Feed, states: &[f32]) {
    for (grid, places) in [(TokenGrid::Patches, shape.side), (TokenGrid::Places(1), 1)] {
        let folder = tempfile::tempdir().unwrap();
        tokens_into(checkpoint, head_size, grid, folder.path());
        let outputs =
            session(folder.path(), &format!("{stem}_video_tokens_debug")).run(std::slice::from_ref(pixels)).unwrap();
        let (tokens, map) = shape.pooled(states, places);
        for (name, expected) in [("tokens", tokens), ("map", map)] {
            let off = max_abs(output(&outputs, name), &expected);
            assert!(off <= STATE, "{stem}, {places} places: {name} is off by {off:e}");
        }
        rows_do_not_depend_on_their_batch(folder.path(), &format!("{stem}_video_tokens"), 0.0);
    }
}

#[test]
fn tokens_are_the_last_states_of_egovlp() {
    let [inputs, expected] = ["inputs", "expected"].map(|file| Golden::open(&format!("egovlp/{file}.safetensors")));
    for frames in [4, 8] {
        let (_, states) = expected.floats(&format!("video_f{frames}.norm"));
        let pixels = inputs.pixels(&format!("video_f{frames}"));
        compare(&egovlp(), ("egovlp", 16), &Shape { frames, side: 2 }, &pixels, &states);
    }
}

#[test]
fn tokens_are_the_last_states_of_egovlpv2_in_dual_mode() {
    let [inputs, expected] = ["inputs", "expected"].map(|file| Golden::open(&format!("egovlpv2/{file}.safetensors")));
    let (_, states) = expected.floats("dual.video_f4.norm");
    let shape = Shape { frames: 4, side: 2 };
    compare(&egovlpv2_small(), ("egovlpv2", 16), &shape, &inputs.pixels("video_f4"), &states);
}

#[test]
fn tokens_are_the_last_states_of_lavila() {
    for (video, text, stem, head_size, side) in
        [("base", "large", "lavila_base", 16, 2), ("large", "base", "lavila_large", 8, 3)]
    {
        let (_folder, joined) = lavila::put_together(&lavila::checkpoint(video), &lavila::checkpoint(text));
        let open = |file: &str| Golden::open(&format!("lavila/{video}/{file}.safetensors"));
        let (_, states) = open("expected").floats("video_f4.norm");
        let pixels = lavila::pixels(open("inputs").floats("video_f4"));
        compare(&joined, (stem, head_size), &Shape { frames: 4, side }, &pixels, &states);
    }
}

/// A graph of tokens that was made once stays good where the others are made anew without it.
#[test]
fn tokens_need_no_weights_of_their_own_and_go_with_their_checkpoint() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    exported_into(&egovlp(), without.path(), false, &[]);
    tokens_into(&egovlp(), 16, TokenGrid::Patches, with.path());
    let weights = |folder: &Path| fs::read(folder.join("egovlp.weights")).unwrap();
    assert!(weights(with.path()) == weights(without.path()));
    exported_into(&egovlp(), with.path(), false, &[]);
    let card = Card::read(with.path(), "egovlp_video_tokens").unwrap();
    let shown: Vec<String> = card.outputs.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tokens float32 [B, 1+4*F, 32]", "map float32 [B, 2, 2, 32]"]);
    let shop = Workshop::new();
    let out = with.path().display();
    let other = format!("export --random egovlp --tiny --out {out}");
    shop.egofx(&other).ends_with(2).says(&["egovlp_video_tokens"]);
    shop.egofx(&format!("{other} --force")).ends_with(0);
    assert!(!Card::names(with.path()).contains(&"egovlp_video_tokens".to_owned()));
}

/// Graphs of two grids have one name: none of the earlier one stays, of whatever precision.
#[test]
fn tokens_of_another_grid_take_the_place_of_all_that_were_there() {
    let shop = Workshop::new();
    let export = |flags: &str| shop.egofx(&format!("export --random egovlp --tiny --out models {flags}")).ends_with(0);
    let names = || Card::names(&shop.path("models"));
    let tokens = || names().into_iter().filter(|name| name.contains("_tokens")).collect::<Vec<_>>();
    export("--tokens --precision fp16");
    assert_eq!(tokens(), ["egovlp_video_tokens", "egovlp_video_tokens_fp16"]);
    export("--tokens=1");
    assert_eq!(tokens(), ["egovlp_video_tokens"]);
    assert!(names().contains(&"egovlp_video_fp16".to_owned()));
}

#[test]
fn places_that_no_patches_make_are_refused() {
    let shop = Workshop::new();
    let tiny = checkout().join("tests/data/checkpoints/egovlp_tiny.pth").display().to_string();
    for (given, word) in [
        (
            format!("{tiny} --head-size 16 --tokens=3"),
            "--tokens=3: a frame of egovlp has 2 x 2 patches, expected one of 1, 2",
        ),
        (
            format!("{tiny} --head-size 16 --tokens=0"),
            "--tokens=0: a frame of egovlp has 2 x 2 patches, expected one of 1, 2",
        ),
        ("--random slowfast8x8_r101 --tiny --tokens".to_owned(), "slowfast8x8_r101 has no tokens of patches"),
    ] {
        shop.egofx(&format!("export {given} --out out")).ends_with(2).says(&[word]);
        assert!(!shop.path("out").exists());
    }
}

/// `backbone = ..._video_tokens` in a recipe: a row is all numbers of a window, behind one another.
#[test]
fn recipes_keep_tokens_and_maps_of_every_window() {
    let shop = Workshop::new();
    shop.clip("v.mp4", 60);
    shop.manifest(&["v.mp4"]);
    shop.egofx("export --random egovlp --tiny --seed 3 --tokens=2 --out models").ends_with(0);
    let recipe = |name: &str, dim: usize| {
        let text = format!(
            "backbone = \"egovlp_video_tokens\"\nfeature = \"{name}\"\ncompat = \"fixed\"\n[grid]\nkind = \"egovlp\"\nframes = 4\n\
             [transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n[output]\ndim = {dim}\n\
             format = \"hdf5\"\ndtype = \"f32\"\n"
        );
        shop.write(&format!("{name}.toml"), text);
    };
    let shape = Shape { frames: 4, side: 2 };
    recipe("tokens", shape.window());
    recipe("map", 4 * DIM);
    let extract = |out: &str, flags: &str| {
        let words = format!("extract -m all.csv -p tokens.toml -p map.toml --models models -o {out} {flags}");
        shop.egofx(&words).ends_with(0);
    };
    extract("a", "");
    extract("b", "--batch-size 1");
    assert_eq!(shop.unit_files("a"), shop.unit_files("b"));
    let (tokens, map) = (shop.unit("a/tokens", "v"), shop.unit("a/map", "v"));
    assert_eq!((tokens.features.dim(), map.features.dim()), ((4, shape.window()), (4, 4 * DIM)));
    assert_eq!(tokens.meta, map.meta);
    let (rows, maps) = (tokens.features.as_slice().unwrap(), map.features.as_slice().unwrap());
    assert!(max_abs(&shape.pooled(rows, 2).1, maps) <= EQUAL);
    shop.egofx("verify a").ends_with(0);
}
