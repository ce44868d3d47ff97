//! Exported graphs among themselves: what is served is what was compared with the original code, whole or in halves, alone
//! or in a batch.

use std::fs;

use egofx::backbone::{Card, Dim, Element, Feed, Outputs};
use egofx::export::{self, MODELS, Plan, Scale};
use egofx::recipe::Recipe;

use crate::support::checkout;
use crate::support::graphs::{
    EXPORTED, Golden, LAVILA, batch, max_abs, noise, output, pad, rows_do_not_depend_on_their_batch, session, usual,
};

/// Largest difference between ways to the same output that add in another order.
const EQUAL: f32 = 2e-6;
/// Largest difference between frames prepared in the graph and outside of it.
const PREPARED: f32 = 2e-5;

/// Names of the graphs that are made for use.
fn served() -> Vec<String> {
    Card::names(&EXPORTED).into_iter().filter(|name| !name.ends_with("_debug")).collect()
}

/// Frames `[.., side, side, 3]` as the original transforms prepare them for a debug graph: `[.., 3, image, image]`.
fn prepared(frames: &[u8], side: usize, image: usize) -> Vec<f32> {
    let (mean, std) = match image {
        96 => ([0.45; 3], [0.225; 3]),
        _ => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    };
    let taps = |i: usize| {
        let place = ((i as f32 + 0.5) * (side as f32 / image as f32) - 0.5).max(0.0);
        (place as usize, (place as usize + 1).min(side - 1), place.fract())
    };
    let one = |frame: &[u8], i: usize| {
        let (c, (top, bottom, v), (left, right, u)) = (i / (image * image), taps(i / image % image), taps(i % image));
        let at = |y: usize, x: usize| f32::from(frame[(y * side + x) * 3 + c]) / 255.0;
        let row = |y: usize| at(y, left) * (1.0 - u) + at(y, right) * u;
        (row(top) * (1.0 - v) + row(bottom) * v - mean[c]) / std[c]
    };
    let frames = frames.chunks(side * side * 3);
    frames.flat_map(|frame| (0..3 * image * image).map(move |i| one(frame, i))).collect()
}

/// What a debug graph takes in place of `feed`.
fn as_pixels(feed: Feed<'static>) -> Feed<'static> {
    let Feed::Bytes(_, frames, shape) = feed else { return feed };
    // SlowFast's frames are not resized.
    let (side, image) = (shape[2], if shape[2] == 96 { 96 } else { 32 });
    assert!(side == image || side == export::frame_side(image));
    Feed::Floats("pixels", prepared(&frames, side, image).into(), vec![shape[0], shape[1], 3, image, image])
}

/// Every output of `found`, by name, within `limit` of `expected`, of numbers beyond 10 within so much of their tenth; the
/// largest difference.
#[track_caller]
fn agree(what: &str, found: &Outputs, expected: &Outputs, limit: f32) -> f32 {
    let off = |(name, values): &(String, Vec<f32>)| {
        let (expected, off) = (output(expected, name), max_abs(values, output(expected, name)));
        let tenth = expected.iter().fold(10.0_f32, |most, v| most.max(v.abs())) / 10.0;
        assert!(off <= limit * tenth, "{what}: {name} is off by {off:e}");
        off
    };
    found.iter().map(off).fold(0.0, f32::max)
}

#[test]
fn a_served_graph_computes_what_its_debug_graph_computes() {
    let lengths: [fn(&str) -> usize; 5] = [
        |dim| if dim == "F" { 1 } else { usual(dim) },
        usual,
        |dim| if dim == "F" { 5 } else { usual(dim) },
        |dim| if dim == "F" { 8 } else { usual(dim) },
        |dim| if dim == "F" { 16 } else { usual(dim) },
    ];
    for name in served() {
        let card = Card::read(&EXPORTED, &name).unwrap();
        let (mut graph, mut debug) = (session(&EXPORTED, &name), session(&EXPORTED, &format!("{name}_debug")));
        let takes_frames = card.inputs.iter().any(|input| input.dtype == Element::Uint8);
        let mut worst = 0.0_f32;
        let takes_any = card.inputs.iter().any(|input| input.shape.contains(&Dim::Named("F".into())));
        for length in if takes_frames && takes_any { &lengths[..] } else { &lengths[1..2] } {
            let feeds = batch(&card, &[0, 1], *length);
            let found = graph.run(&feeds).unwrap();
            let expected = debug.run(&feeds.into_iter().map(as_pixels).collect::<Vec<_>>()).unwrap();
            worst = worst.max(agree(&name, &found, &expected, PREPARED));
        }
        println!("{name}: within {worst:.1e} of its debug graph");
    }
}

#[test]
fn two_halves_are_the_whole_and_a_lower_half_serves_many() {
    let card = |name: &str| Card::read(&EXPORTED, &format!("egovlpv2_{name}")).unwrap();
    let run = |name: &str, feeds: &[Feed]| session(&EXPORTED, &format!("egovlpv2_{name}")).run(feeds).unwrap();
    let fused = run("fused", &{
        let mut feeds = batch(&card("fused"), &[0, 1, 2], usual);
        feeds[0] = batch(&card("fused"), &[3, 3, 3], usual).remove(0);
        feeds
    });
    let video = run("lower_video", &batch(&card("lower_video"), &[3], usual));
    let [tokens, attended] = ["video_tokens", "video_attended"].map(|name| output(&video, name).repeat(3));
    let [ids, mask] = batch(&card("lower_text"), &[0, 1, 2], usual).try_into().unwrap();
    let words = run("lower_text", &[ids, mask.clone()]).remove(0).1;
    let width = words.len() / (3 * 7);
    let upper = run(
        "upper",
        &[
            Feed::Floats("video_tokens", tokens.into(), vec![3, 17, width]),
            Feed::Floats("video_attended", attended.into(), vec![3, 17, width]),
            Feed::Floats("text_tokens", words.into(), vec![3, 7, width]),
            mask,
        ],
    );
    assert_eq!(upper.len(), 4);
    println!("split: within {:.1e} of the whole", agree("upper", &upper, &fused, EQUAL));
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    served().iter().for_each(|name| rows_do_not_depend_on_their_batch(&EXPORTED, name, 0.0));
}

#[test]
fn padding_changes_no_sentence() {
    for name in ["egovlp_text", "egovlpv2_text"] {
        let card = Card::read(&EXPORTED, name).unwrap();
        let mut graph = session(&EXPORTED, name);
        let mut pooled = |length: usize| {
            let mut ids: Vec<i64> = (0..5).map(|i| i64::from(noise(9, i) % 150) + 5).collect();
            let mut mask = vec![1; 5];
            ids.resize(length, pad(&card));
            mask.resize(length, 0);
            let feeds =
                [("ids", ids), ("mask", mask)].map(|(name, values)| Feed::Ints(name, values.into(), vec![1, length]));
            output(&graph.run(&feeds).unwrap(), "pooled").to_vec()
        };
        let alone = pooled(5);
        for length in [6, 9, 30] {
            let off = max_abs(&alone, &pooled(length));
            assert!(off <= EQUAL, "{name}: padded to {length} tokens it is off by {off:e}");
        }
    }
}

/// What frame `f` has more than frame 0, if all frames are alike: their rows of the temporal table differ.
fn temporal_rows(model: &str, frames: usize) -> Vec<Vec<f32>> {
    let pixels = Feed::Floats("pixels", vec![0.25; frames * 3 * 32 * 32].into(), vec![1, frames, 3, 32, 32]);
    let outputs = session(&EXPORTED, &format!("{model}_video_debug")).run(&[pixels]).unwrap();
    let tokens = output(&outputs, "probe.video.embedded");
    let width = tokens.len() / (1 + 4 * frames);
    let patch = |f: usize| &tokens[(1 + 4 * f) * width..][..width];
    (0..frames).map(|f| patch(f).iter().zip(patch(0)).map(|(a, b)| a - b).collect()).collect()
}

/// EgoVLP gives frames beyond its table no embedding; EgoVLPv2 cuts its table or intervals it, linearly and with its ends
/// at the ends.
#[test]
fn temporal_tables_are_cut_continued_and_stretched_as_the_original_loads_them() {
    for (model, counts) in [("egovlp", &[4, 8, 16, 20][..]), ("egovlpv2", &[2, 5, 16])] {
        let golden = Golden::open(&format!("{model}/expected.safetensors"));
        for &frames in counts {
            let (shape, table) = golden.floats(&format!("temporal_at_load.t{frames}"));
            assert_eq!(shape[1], frames);
            if (model, frames) == ("egovlp", 20) {
                assert!(table[16 * shape[2]..].iter().all(|v| *v == 0.0));
            }
            let rows: Vec<&[f32]> = table.chunks(shape[2]).collect();
            for (f, found) in temporal_rows(model, frames).iter().enumerate() {
                let expected: Vec<f32> = rows[f].iter().zip(rows[0]).map(|(a, b)| a - b).collect();
                let off = max_abs(found, &expected);
                assert!(off <= EQUAL, "{model}: row {f} of {frames} is off by {off:e}");
            }
        }
    }
}

#[test]
fn the_published_models_have_the_published_numbers_of_parameters() {
    let sizes = |(name, plan): (String, Plan)| (name, plan.parameters.len(), plan.num_parameters());
    let found: Vec<_> = MODELS.iter().flat_map(|model| model.published(Scale::Full)).map(sizes).collect();
    let expected = [
        ("egovlp", 327, 180_934_400),
        ("egovlpv2", 557, 381_611_623),
        ("lavila-base", 375, 177_662_977),
        ("lavila-large", 591, 527_513_857),
        // The positional table alone is larger.
        ("lavila-large-336", 591, 527_513_857 + (576 - 256) * 1024),
        ("lavila-distilbert", 327, 180_925_441),
        ("lavila-egovlp", 328, 180_934_401),
        ("slowfast8x8_r101", 1062, 62_826_968),
    ];
    assert_eq!(found, expected.map(|(name, tensors, values)| (name.to_owned(), tensors, values)));
}

#[test]
fn recipes_name_graphs_and_outputs_that_the_exporter_makes() {
    let mut seen = 0;
    for entry in fs::read_dir(checkout().join("pipelines")).unwrap() {
        let recipe = Recipe::read(&entry.unwrap().path()).unwrap();
        let (name, body) = (&recipe.name, &recipe.body);
        if body.backbone == "tiny" {
            continue;
        }
        let models = if body.backbone.starts_with("lavila") { &*LAVILA } else { &*EXPORTED };
        let card = |graph: &str| Card::read(models, graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let backbone = card(&body.backbone);
        assert!(backbone.outputs.iter().any(|output| output.name == body.feature), "{name}: {}", body.feature);
        let lower = body.fusion.as_ref().map(|fusion| [card(&fusion.lower_video), card(&fusion.lower_text)]);
        let looking = lower.as_ref().map_or(&backbone, |[video, _]| video);
        let pixels = looking.inputs.iter().find(|input| input.dtype == Element::Uint8);
        // The tiny tower takes 32 pixels of frames of 37; the published one 224 of 256. LaViLa's take frames of their size.
        let is_own = |side: &Dim| matches!(side, Dim::Fixed(32 | 224));
        let side = pixels.map(|input| if is_own(&input.shape[2]) { 224 } else { 256 });
        assert_eq!(body.transform.map(|transform| transform.crop), side, "{name}: transform.crop");
        seen += 1;
    }
    assert!(seen >= 41, "{seen} recipes");
}
