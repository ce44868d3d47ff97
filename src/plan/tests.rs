//! Plans: what is in them, how they are cut, and that every row is accounted for.

use std::fmt::Write;

use super::*;
use crate::backbone::Towers;
use crate::decode::{FrameSource, SyntheticSource, VideoInfo};
use crate::recipe::Recipe;

fn manifest(text: &str) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.csv");
    std::fs::write(&path, text).unwrap();
    Manifest::read(&path).unwrap()
}

fn recipe(name: &str, grid: &str, compat: &str) -> Recipe {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.toml"));
    let text = format!(
        "backbone = \"tiny\"\nfeature = \"embedding\"\ncompat = \"{compat}\"\n[grid]\n{grid}\n[transform]\nshort_side = 256\ncrop = 256\n\
         filter = \"bilinear\"\nchannels = \"rgb\"\n[output]\nformat = \"hdf5\"\ndtype = \"f32\"\n"
    );
    std::fs::write(&path, text).unwrap();
    Recipe::read(&path).unwrap()
}

fn egovlp() -> Recipe {
    recipe("egovlp", "kind = \"egovlp\"\nframes = 4", "fixed")
}

fn set(recipe: Recipe) -> FeatureSet {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx");
    let towers = Towers::single(&models, &recipe.body.backbone, &recipe.body.feature).unwrap();
    FeatureSet::new(recipe, towers, None)
}

fn only(recipe: Recipe) -> PerSet<FeatureSet> {
    std::iter::once(set(recipe)).collect()
}

fn wanted<'w>(manifest: &'w Manifest, sets: &'w PerSet<FeatureSet>) -> Wanted<'w> {
    Wanted { manifest, queries: None, sets, limit: None }
}

fn lay(video: &VideoInfo, recipe: &Recipe, span: Option<TimeSpan>) -> Result<Layout, LayoutError> {
    Layout::new(video, &recipe.frames().unwrap(), recipe.body.compat, span)
}

fn units(plan: &Plan) -> Vec<UnitUid> {
    plan.tasks.iter().flat_map(Task::units).cloned().collect()
}

fn videos(n: usize) -> Manifest {
    let mut text = String::from("video_uid,clip_uid,start_sec,end_sec,duration_sec\n");
    for v in 0..n {
        for c in 0..3 {
            let _ = writeln!(text, "v{v},v{v}c{c},{},{},{}", c * 10, c * 10 + 10 + v % 7, 100);
        }
    }
    manifest(&text)
}

fn video(frames: u64, declared_end_sec: Option<f64>, lost: Vec<u64>) -> VideoInfo {
    let source = SyntheticSource { frames, fps: Fps::new(30, 1).unwrap() };
    VideoInfo { declared_end_sec, lost, ..source.probe(std::path::Path::new("v.mp4"), None).unwrap() }
}

#[test]
fn a_video_is_in_one_job_however_many_clips_and_recipes_want_it() {
    let sets = [egovlp(), recipe("dense", "kind = \"ego4d\"\nframes = 32\nstride = 16", "fixed")];
    let sets = sets.into_iter().map(set).collect();
    let plan = Plan::new(wanted(&videos(5), &sets), Shard::WHOLE, |_, _| false).unwrap();
    assert_eq!((plan.jobs.len(), plan.units, plan.done), (5, 30, 0));
    assert!(plan.jobs.windows(2).all(|pair| pair[0].cost_sec >= pair[1].cost_sec), "longest first");
    assert_eq!(plan.jobs[0].cost_sec, 34.0, "overlapping clips count once");
}

#[test]
fn shards_are_disjoint_whole_balanced_and_indifferent_to_what_is_done() {
    let (manifest, sets) = (videos(40), only(egovlp()));
    let shard = |i, done: &dyn Fn(SetId, &UnitUid) -> bool| {
        Plan::new(wanted(&manifest, &sets), Shard::new(i, 3).unwrap(), done).unwrap()
    };
    let mut seen: Vec<UnitUid> = Vec::new();
    for i in 1..=3 {
        let plan = shard(i, &|_, _| false);
        assert!((plan.cost_sec() - 40.0 * 33.0 / 3.0).abs() < 40.0, "shard {i} has {} s", plan.cost_sec());
        let after = shard(i, &|_, uid| uid.as_str().ends_with("c1"));
        assert_eq!(after.units + after.done, plan.units);
        assert!(units(&after).iter().all(|unit| units(&plan).contains(unit)));
        seen.extend(units(&plan));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (120, 120));
    let second = units(&shard(2, &|_, _| false));
    let wanted = wanted(&manifest, &sets);
    assert_eq!(Vec::from_iter(wanted.unfinished(3, |_, _| false).unwrap()), [1, 2, 3]);
    assert_eq!(Vec::from_iter(wanted.unfinished(3, |_, uid| *uid != second[0]).unwrap()), [2]);
    assert!(wanted.unfinished(3, |_, _| true).unwrap().is_empty());
}

#[test]
fn ten_thousand_clips_are_planned_quickly_and_limits_hold() {
    let manifest = videos(3400);
    let sets = only(egovlp());
    let wanted = Wanted { limit: Some(10_000), ..wanted(&manifest, &sets) };
    let plan = Plan::new(wanted, Shard::WHOLE, |_, _| false).unwrap();
    assert_eq!((plan.units, wanted.promised().unwrap()[SetId::new(0)].len()), (10_000, 10_000));
}

#[test]
fn rows_of_a_whole_video_cover_it() {
    let layout = lay(&video(300, None, vec![]), &egovlp(), None).unwrap();
    assert_eq!((layout.rows.len(), layout.computable(), layout.shortfall), (18, 18, None));
    assert!(layout.rows[0].start_sec == 0.0 && layout.rows[17].end_sec <= 10.0);
    assert!(layout.rows.windows(2).all(|pair| pair[0].end_sec == pair[1].start_sec));
}

#[test]
fn a_truncated_file_owes_the_rows_that_its_header_promises() {
    let layout = lay(&video(300, Some(20.0), vec![]), &egovlp(), None).unwrap();
    assert_eq!((layout.rows.len(), layout.computable()), (37, 18));
    assert!(layout.shortfall.unwrap().contains("19 of 37 rows cannot be had: 20.00 s were expected"));
    assert!(layout.rows[18].missing && layout.frames[18].is_empty());
}

#[test]
fn a_clip_beyond_the_end_is_cut_short_squeezed_or_refused() {
    let clip = TimeSpan::new(5.0, 15.0);
    let fixed = lay(&video(300, None, vec![]), &egovlp(), clip).unwrap();
    assert_eq!((fixed.rows.len(), fixed.computable()), (18, 9));
    let released = recipe("r", "kind = \"egovlp\"\nframes = 4", "as-released");
    let squeezed = lay(&video(300, None, vec![]), &released, clip).unwrap();
    assert_eq!((squeezed.computable(), squeezed.zeros, squeezed.notes.len()), (18, 2, 2));
    let slack = lay(&video(300, None, vec![]), &egovlp(), TimeSpan::new(5.0, 10.4)).unwrap();
    assert_eq!(slack.shortfall, None, "half a second is how annotations are");
    let late = lay(&video(300, None, vec![]), &egovlp(), TimeSpan::new(10.0, 12.0)).unwrap_err();
    assert_eq!(late.to_string(), "the clip starts at 10 s, the video ends at 10.00 s");
    let short = lay(&video(300, None, vec![]), &egovlp(), TimeSpan::new(1.0, 1.2)).unwrap_err();
    assert!(short.to_string().contains("too short for one window"));
}

#[test]
fn rows_that_want_a_lost_frame_are_missing_and_the_others_keep_their_places() {
    let whole = lay(&video(300, None, vec![]), &egovlp(), None).unwrap();
    let lost: Vec<u64> = (50..60).collect();
    let damaged = lay(&video(300, None, lost), &egovlp(), None).unwrap();
    let missing: Vec<usize> = (0..damaged.rows.len()).filter(|&i| damaged.rows[i].missing).collect();
    assert_eq!(missing, [3], "frames 50 to 59 are in the fourth window");
    assert!(
        damaged.rows.iter().zip(&whole.rows).all(|(a, b)| (a.first_frame, a.start_sec) == (b.first_frame, b.start_sec))
    );
}
