//! Indexes and searches over small stores whose scores are chosen by hand.

use std::fs;
use std::path::Path;

use ndarray::{Array1, Array2, Axis};

use super::*;
use crate::meter::Meter;
use crate::shard::Shard;
use crate::store::{Contract, Dtype, RowBlock, RowKind, RowMeta, Store, StoreReader, samples};

/// A window: the cosine that it is to have with the query, start and end.
type Made = (f32, f64, f64);

fn contract(name: &str) -> Contract {
    let feature = "backbone = \"egovlp_video\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n[grid]\nkind = \"egovlp\"\nframes = 4\n\
                   [transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n\
                   [output]\nformat = \"hdf5\"\ndtype = \"f32\"\n";
    Contract { feature_set: name.into(), recipe: feature.into(), ..samples::contract("hdf5", Dtype::F32) }
}

/// What all windows are compared with.
fn query() -> Array1<f32> {
    let mut query = Array1::zeros(samples::DIM);
    query[0] = 1.0;
    query
}

fn commit(store: &mut Store, unit: &str, windows: &[Made]) {
    let mut features = Array2::zeros((windows.len(), samples::DIM));
    for (mut row, (cosine, ..)) in features.outer_iter_mut().zip(windows) {
        // Of any length: rows are divided by it.
        (row[0], row[1]) = (3.0 * cosine, 3.0 * (1.0 - cosine * cosine).sqrt());
    }
    let meta = |&(_, start_sec, end_sec): &Made| RowMeta { start_sec, end_sec, ..RowMeta::default() };
    let meta = windows.iter().map(meta).collect();
    let mut open = store.begin(samples::header(unit, windows.len() as u64)).unwrap();
    open.append(&RowBlock { first_row: 0, meta, features }).unwrap();
    store.commit(open).unwrap();
}

fn store_of(out: &Path, name: &str, units: &[(&str, &[Made])]) -> Store {
    let mut store = Store::open(out, &contract(name), Shard::WHOLE).unwrap();
    store.promise(&units.iter().map(|(unit, _)| samples::planned(unit)).collect::<Vec<_>>()).unwrap();
    units.iter().for_each(|(unit, windows)| commit(&mut store, unit, windows));
    store
}

fn index_of(units: &[(&str, &[Made])]) -> (tempfile::TempDir, Index) {
    let out = tempfile::tempdir().unwrap();
    let store = store_of(out.path(), "set", units);
    let reader = StoreReader::open(store.path()).unwrap();
    let (index, _) = current(&reader, &reader.path().join(INDEX_FILE), &Meter::default()).unwrap();
    (out, index)
}

/// Clip, start, end and windows of the moments that are found.
fn found(index: Index, margin: f32, own: Option<&Instant>) -> Vec<(String, f64, f64, usize)> {
    let hits = search(&[index], query().view(), MomentRule { top: 9, margin }, own).unwrap();
    hits.into_iter().map(|hit| hit.moment).map(|m| (m.clip_uid.unwrap(), m.start_sec, m.end_sec, m.windows)).collect()
}

fn expected(moments: &[(&str, f64, f64, usize)]) -> Vec<(String, f64, f64, usize)> {
    moments.iter().map(|&(clip, start, end, windows)| (clip.to_owned(), start, end, windows)).collect()
}

#[test]
fn windows_that_adjoin_and_score_alike_are_one_moment() {
    let windows: &[Made] = &[(0.1, 0.0, 1.0), (0.46, 1.0, 2.0), (0.5, 2.0, 3.0), (0.48, 3.0, 4.0), (0.44, 4.0, 5.0)];
    let one = |margin| found(index_of(&[("a", windows)]).1, margin, None);
    // The last one scores too little, and is a moment of its own; so is the first.
    assert_eq!(one(0.05), expected(&[("a", 1.0, 4.0, 3), ("a", 4.0, 5.0, 1), ("a", 0.0, 1.0, 1)]));
    assert_eq!(one(0.07), expected(&[("a", 1.0, 5.0, 4), ("a", 0.0, 1.0, 1)]));
    assert_eq!(one(0.0).len(), 5);
    assert_eq!(one(2.0), expected(&[("a", 0.0, 5.0, 5)]));
}

#[test]
fn a_moment_ends_at_a_low_window_a_gap_or_the_clip_and_overlaps_count() {
    // A window that scores low between two that do not.
    let dip: &[Made] = &[(0.5, 0.0, 1.0), (0.1, 1.0, 2.0), (0.5, 2.0, 3.0)];
    let moments = found(index_of(&[("a", dip)]).1, 0.05, None);
    assert_eq!(moments, expected(&[("a", 0.0, 1.0, 1), ("a", 2.0, 3.0, 1), ("a", 1.0, 2.0, 1)]), "ties by row");
    // Half a window apart, and more.
    let gap: &[Made] = &[(0.5, 0.0, 1.0), (0.5, 1.4, 2.4), (0.5, 3.0, 4.0)];
    let moments = found(index_of(&[("a", gap)]).1, 0.05, None);
    assert_eq!(moments, expected(&[("a", 0.0, 2.4, 2), ("a", 3.0, 4.0, 1)]));
    // Overlapping windows, and the next clip, which begins where this one ends.
    let (one, two): (&[Made], &[Made]) = (&[(0.5, 0.0, 2.0), (0.5, 1.0, 3.0)], &[(0.5, 3.0, 5.0)]);
    let moments = found(index_of(&[("a", one), ("b", two)]).1, 0.05, None);
    assert_eq!(moments, expected(&[("a", 0.0, 3.0, 2), ("b", 3.0, 5.0, 1)]));
}

#[test]
fn the_moment_that_was_asked_for_is_left_out_and_others_are_not() {
    let windows: &[Made] = &[(0.5, 0.0, 1.0), (0.49, 1.0, 2.0), (0.1, 2.0, 3.0), (0.3, 3.0, 4.0)];
    let (_out, index) = index_of(&[("a", windows)]);
    let at = |video: &str, sec| Instant { video_uid: video.to_owned(), sec };
    let row = find_row(std::slice::from_ref(&index), &at("v", 1.25)).unwrap();
    assert!((row[0] - 0.49).abs() < 1e-3 && (row.dot(&row) - 1.0).abs() < 1e-6, "{row}");
    let said = |at| find_row(std::slice::from_ref(&index), &at).unwrap_err().to_string();
    assert_eq!(said(at("v", 4.0)), "no window covers v@4: its windows are from 0.00 to 4.00 s");
    assert_eq!(said(at("w", 1.0)), "no window covers w@1: no window is of that video");
    let moments = found(index, 0.05, Some(&at("v", 1.25)));
    assert_eq!(moments, expected(&[("a", 3.0, 4.0, 1), ("a", 2.0, 3.0, 1)]));
    let (_out, index) = index_of(&[("a", windows)]);
    assert_eq!(found(index, 0.05, Some(&at("w", 1.25))).len(), 3, "another video");
}

#[test]
fn equal_scores_come_in_the_order_of_stores_and_rows_whatever_the_block() {
    let out = tempfile::tempdir().unwrap();
    // Windows far apart, in more than one block, of three scores.
    let windows: Vec<Made> =
        (0..700).map(|i| ([0.2, 0.5, 0.3][i % 3], 10.0 * i as f64, 10.0 * i as f64 + 1.0)).collect();
    let indexes = ["one", "two"].map(|name| {
        let store = store_of(out.path(), name, &[("a", &windows)]);
        let reader = StoreReader::open(store.path()).unwrap();
        current(&reader, &reader.path().join(INDEX_FILE), &Meter::default()).unwrap().0
    });
    let rule = MomentRule { top: 500, margin: 0.05 };
    let hits = search(&indexes, query().view(), rule, None).unwrap();
    let places: Vec<(usize, usize)> = hits.iter().map(|hit| (hit.store, hit.moment.row)).collect();
    let best = |store: usize, rest: usize| (0..700).filter(move |row| row % 3 == rest).map(move |row| (store, row));
    let expected: Vec<_> = best(0, 1).chain(best(1, 1)).chain(best(0, 2)).take(500).collect();
    assert_eq!(places, expected);
    // Many at a time are the same.
    let queries = Array2::from_shape_fn((300, samples::DIM), |(i, j)| if j == i % 2 { 1.0 } else { 0.0 });
    let batch = search_batch(&indexes, queries.view(), rule).unwrap();
    assert_eq!((batch.len(), &batch[298]), (300, &hits));
    assert_eq!(batch[1], search(&indexes, queries.index_axis(Axis(0), 1), rule, None).unwrap());
}

#[test]
fn an_index_is_of_what_is_committed_and_made_anew_when_that_changes() {
    let out = tempfile::tempdir().unwrap();
    let mut store = Store::open(out.path(), &contract("set"), Shard::WHOLE).unwrap();
    store.promise(&["a", "b"].map(samples::planned)).unwrap();
    samples::commit(&mut store, "b");
    // The run goes on; nothing waits for it.
    let reader = StoreReader::open(store.path()).unwrap();
    let look = || current(&reader, &reader.path().join(INDEX_FILE), &Meter::default()).unwrap();
    let (index, why) = look();
    assert_eq!((index.rows(), index.dim(), index.stride(), why.as_deref()), (5, 8, 32, Some("there is none")));
    let window = index.window(3).unwrap();
    assert_eq!(
        (window.video_uid, window.clip_uid, window.start_sec),
        ("v", "b", 4.0 * 16.0 / 30.0),
        "row 3 is missing"
    );
    assert!((index.row(3).iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-3);
    assert_eq!(look().1, None, "it is current");
    samples::commit(&mut store, "a");
    let (two, why) = look();
    assert_eq!((two.rows(), why.as_deref()), (10, Some("the store has changed")));
    assert_eq!((two.window(0).unwrap().clip_uid, two.window(5).unwrap().clip_uid), ("a", "b"), "by names of units");
    assert_eq!(index.window(0).unwrap().clip_uid, "b", "what is open stays as it was");
    // The same unit once more: other bytes may be in it.
    samples::commit(&mut store, "a");
    assert_eq!(look().1.as_deref(), Some("the store has changed"));
    assert_eq!(look().1, None);
    let left: Vec<_> = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".egofx")), "{left:?}");
}

#[test]
fn a_short_index_is_made_anew_and_a_flipped_bit_is_found() {
    let out = tempfile::tempdir().unwrap();
    let store = store_of(out.path(), "set", &[("a", &[(0.5, 0.0, 1.0), (0.4, 1.0, 2.0)])]);
    let reader = StoreReader::open(store.path()).unwrap();
    let look = || current(&reader, &reader.path().join(INDEX_FILE), &Meter::default()).unwrap();
    let (path, bytes) = (look().0.path().to_owned(), fs::read(look().0.path()).unwrap());
    look().0.check().unwrap();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..100], &[], &[b'x'; 5000]] {
        // As whoever damages files does it: in a file of its own.
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        assert!(matches!(Index::open(&path), Err(SearchError::Damaged { .. })));
        let why = look().1.unwrap();
        assert!(why.starts_with("it is damaged: "), "{why}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let mut flipped = bytes.clone();
    flipped[4097] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, flipped).unwrap();
    let error = Index::open(&path).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("search.index is damaged: its CRC-32 is") && error.contains("egofx index"), "{error}");
}

/// Whoever wrote them: rows that are no numbers are passed over, and places that are none are an error.
#[test]
fn an_index_of_nonsense_is_an_error_or_gives_nothing() {
    let (_out, index) = index_of(&[("a", &[(0.5, 0.0, 1.0), (0.4, 1.0, 2.0)])]);
    let (path, bytes) = (index.path().to_owned(), fs::read(index.path()).unwrap());
    let searched = |from: usize, count: usize| {
        let mut damaged = bytes.clone();
        damaged[from..from + count].fill(0xff);
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        search(&[Index::open(&path).unwrap()], query().view(), MomentRule { top: 9, margin: 0.05 }, None)
    };
    // Behind the header stand two rows of 32 halves, four times, two places, one end and its name.
    assert_eq!(searched(4096, 64).unwrap().len(), 1, "one row is NaN");
    assert_eq!(searched(4096, 128).unwrap(), []);
    let (places, ends) = (4096 + 128 + 32, 4096 + 128 + 32 + 8);
    for (from, count) in [(places, 8), (ends, 8), (ends + 8, 3)] {
        let error = searched(from, count).unwrap_err().to_string();
        assert!(error.contains("search.index is damaged: it has no name of place"), "{error}");
    }
    assert_eq!(searched(4096 + 128, 32).unwrap().len(), 2, "times that are none adjoin nothing");
}

#[test]
fn rows_that_are_no_moments_or_of_no_text_are_refused_with_what_would_do() {
    let refused = |change: &dyn Fn(&mut Contract)| {
        let out = tempfile::tempdir().unwrap();
        let mut contract = contract("set");
        change(&mut contract);
        let store = Store::open(out.path(), &contract, Shard::WHOLE).unwrap();
        let reader = StoreReader::open(store.path()).unwrap();
        let judged = expect_moments(&reader).and_then(|()| expect_text_space(&reader));
        judged.map_err(|error| error.to_string().replace(&*out.path().to_string_lossy(), ""))
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    assert_eq!(
        refused(&|c| c.row_kind = RowKind::FusedWindow).unwrap_err(),
        "/set: its rows are of the kind fused-window, expected window or clip: they have met a query already, and are of that query alone"
    );
    let class = refused(&|c| {
        (c.backbone, c.recipe) = ("egovlpv2_video".into(), c.recipe.replace("\"embedding\"", "\"class\""));
    });
    assert_eq!(
        class.unwrap_err(),
        "/set: no sentence can be compared with its rows: they are \"class\" of egovlpv2_video, which is not projected into the space of \
         sentences; extract with a recipe of feature = \"embedding\": -p egovlpv2_charades, -p egovlpv2_epic, -p egovlpv2_mcq, -p \
         egovlpv2_mq"
    );
    let imported = refused(&|c| c.checkpoint_sha256 = "imported".into()).unwrap_err();
    assert!(
        imported.contains("they were imported, and no record says which checkpoint of model gave them"),
        "{imported}"
    );
    assert!(refused(&|c| c.recipe = "a = 1".into()).unwrap_err().contains("their recipe cannot be read"));
}

#[test]
fn stores_of_one_checkpoint_and_output_are_searched_together_and_others_are_not() {
    let out = tempfile::tempdir().unwrap();
    let open = |name: &str, change: &dyn Fn(&mut Contract)| {
        let mut contract = contract(name);
        change(&mut contract);
        let store = Store::open(out.path(), &contract, Shard::WHOLE).unwrap();
        StoreReader::open(store.path()).unwrap()
    };
    let usual = || open("a", &|_| ());
    expect_one_space(&[usual(), open("b", &|c| c.grid = "egoclip".into())]).unwrap();
    let other = expect_one_space(&[usual(), open("c", &|c| c.checkpoint_sha256 = "12".repeat(32))]).unwrap_err();
    assert!(other.to_string().contains("(sha256 cdcdcdcdcdcd), "), "{other}");
    assert!(other.to_string().contains("(sha256 121212121212): their scores cannot be compared"), "{other}");
    let class = open("d", &|c| c.recipe = c.recipe.replace("\"embedding\"", "\"class\""));
    assert!(expect_one_space(&[usual(), class]).is_err());
}
