//! Synthetic benchmarks, read back by the readers of the real ones.

use std::collections::BTreeMap;
use std::path::Path;

use egofx::ids::UnitUid;
use egofx::manifest::Manifest;
use egofx::metric::qfvs::{Summaries, read_tags};
use egofx::metric::{EVALUATORS, Inputs};
use egofx::ndarray::{Array1, Array2, Axis, s};
use egofx::qfvs::{Limits, pack, segment};
use egofx::queries::Queries;
use egofx::store::{RowKind, StoreReader, Unit};
use egofx_train::synthetic::{Mq, Nlq, Qfvs, SyntheticError};
use tch::{Kind, Tensor};

const FPS: f64 = 1.875;

fn nlq() -> Nlq {
    Nlq {
        seed: 7,
        clips: [20, 8],
        rows: 60,
        dim: 24,
        token_dim: 16,
        tokens: 6,
        queries_per_clip: 4,
        concept_dim: 4,
        noise: 0.5,
        shuffled: false,
    }
}

fn mq() -> Mq {
    Mq { seed: 7, clips: [12, 6], rows: 50, dim: 24, classes: 5, moments_per_clip: 4, noise: 0.5, shuffled: false }
}

fn qfvs() -> Qfvs {
    Qfvs { seed: 7, shots: 230, dim: 24, concepts: 6, pairs: 5, noise: 0.5, shuffled: false }
}

fn unit(store: &Path, name: &str) -> Unit {
    StoreReader::open(store).unwrap().read_unit(&UnitUid::parse(name).unwrap()).unwrap()
}

fn units(store: &Path) -> usize {
    let reader = StoreReader::open(store).unwrap();
    for entry in reader.committed().unwrap().iter() {
        assert_eq!(reader.check_committed(entry).unwrap(), None);
    }
    assert_eq!(reader.planned().unwrap().len(), reader.committed().unwrap().len());
    reader.planned().unwrap().len()
}

/// Features, and a mean over the rows of a window.
fn mean_of(unit: &Unit, start_sec: f64, end_sec: f64) -> Array1<f32> {
    let [start, end] = [start_sec, end_sec].map(|sec| (sec * FPS).round() as usize);
    unit.features.slice(s![start..end, ..]).mean_axis(Axis(0)).unwrap()
}

#[test]
fn nlq_reads_back() {
    let out = tempfile::tempdir().unwrap();
    let paths = nlq().write(out.path()).unwrap();
    let manifest = Manifest::read(&paths.tables.manifest).unwrap();
    assert_eq!((manifest.videos.len(), manifest.rejected.len()), (28, 0));
    let queries = Queries::read(&paths.tables.queries).unwrap();
    assert_eq!(queries.len(), 28 * 4);
    assert_eq!(queries.column("split").unwrap().filter(|split| *split == "train").count(), 20 * 4);
    assert_eq!((units(&paths.features), units(&paths.tokens)), (28, 28));
    for query in queries.iter() {
        let (start, end) = (query.start_sec.unwrap() * FPS, query.end_sec.unwrap() * FPS);
        assert!(start >= 0.0 && end <= 60.0 + 1e-9 && end - start > 2.9, "{start} {end}");
        let video = query.clip_uid.as_str().replace("clip", "video");
        let tokens = unit(&paths.tokens, &video);
        let own: Vec<_> = tokens.meta.iter().filter(|row| row.query_id.as_deref() == Some(query.id)).collect();
        assert_eq!(own.len(), 6);
        assert!(!own[2].padded && own[0].clip_uid.as_ref() == Some(query.clip_uid));
    }
    let clip = unit(&paths.features, "clip-val-0003");
    assert_eq!(
        (clip.features.dim(), clip.contract.row_kind, clip.contract.rows_per_sec),
        ((60, 24), RowKind::Window, FPS)
    );
    assert_eq!(clip.header.span.unwrap().end_sec, 32.0);
}

/// What a sentence and its window show, each a mean.
type Pair = (Array1<f32>, Array1<f32>);

/// The share of validation queries whose window a linear map from tokens to rows, fitted to the training split, finds
/// among those of its clip.
fn found_by_a_linear_map(settings: &Nlq) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let paths = settings.write(out.path()).unwrap();
    let queries = Queries::read(&paths.tables.queries).unwrap();
    let mut pairs: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
    for query in queries.iter() {
        let tokens = unit(&paths.tokens, &query.clip_uid.as_str().replace("clip", "video"));
        let own: Vec<usize> = (0..tokens.meta.len())
            .filter(|&row| tokens.meta[row].query_id.as_deref() == Some(query.id) && !tokens.meta[row].padded)
            .collect();
        let sentence = tokens.features.select(Axis(0), &own).mean_axis(Axis(0)).unwrap();
        let clip = unit(&paths.features, query.clip_uid.as_str());
        let window = mean_of(&clip, query.start_sec.unwrap(), query.end_sec.unwrap());
        pairs.entry(query.clip_uid.to_string()).or_default().push((sentence, window));
    }
    let tensor = |rows: Vec<&Array1<f32>>| {
        let width = rows[0].len() as i64;
        Tensor::from_slice(&rows.into_iter().flatten().copied().collect::<Vec<_>>()).view([-1, width])
    };
    let of =
        |split: &str| pairs.iter().filter(|(clip, _)| clip.contains(split)).map(|(_, pairs)| pairs).collect::<Vec<_>>();
    let train: Vec<_> = of("train").into_iter().flatten().collect();
    let (x, y) = (tensor(train.iter().map(|(x, _)| x).collect()), tensor(train.iter().map(|(_, y)| y).collect()));
    let map = x.linalg_pinv(1e-6, false).matmul(&y);
    let (mut found, mut all) = (0, 0);
    for clip in of("val") {
        let (x, y) = (tensor(clip.iter().map(|(x, _)| x).collect()), tensor(clip.iter().map(|(_, y)| y).collect()));
        let distances = Tensor::cdist(&x.matmul(&map), &y, 2.0, None);
        let right = distances.argmin(1, false).eq_tensor(&Tensor::arange(x.size()[0], (Kind::Int64, x.device())));
        found += right.sum(Kind::Int64).int64_value(&[]);
        all += x.size()[0];
    }
    found as f64 / all as f64
}

#[test]
fn nlq_can_be_learnt_unless_it_is_shuffled() {
    let found = found_by_a_linear_map(&nlq());
    assert!(found > 0.9, "{found}");
    let found = found_by_a_linear_map(&Nlq { shuffled: true, ..nlq() });
    assert!(found < 0.5, "{found}, chance is 0.25");
}

#[test]
fn mq_reads_back() {
    let out = tempfile::tempdir().unwrap();
    let paths = mq().write(out.path()).unwrap();
    let manifest = Manifest::read(&paths.tables.manifest).unwrap();
    assert_eq!((manifest.videos.len(), units(&paths.features)), (18, 18));
    let queries = Queries::read(&paths.tables.queries).unwrap();
    assert_eq!(queries.len(), 18 * 4);
    let classes: std::collections::BTreeSet<&str> = queries.iter().map(|query| query.text).collect();
    assert_eq!(classes.len(), 5);
    assert!(queries.column("primary").unwrap().all(|primary| primary == "true"));
    let truths = egofx::metric::mq::Annotations::read(&paths.annotations[1], None).unwrap();
    assert_eq!((truths.clips.len(), truths.clips[0].moments.len(), truths.clips[0].duration_sec), (6, 4, 50.0 / FPS));
}

/// The share of validation moments whose class is that of the nearest mean of the training split.
fn found_by_prototypes(settings: &Mq) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let paths = settings.write(out.path()).unwrap();
    let queries = Queries::read(&paths.tables.queries).unwrap();
    let mut means: BTreeMap<String, Array2<f32>> = BTreeMap::new();
    let seen: Vec<(String, bool, Array1<f32>)> = queries
        .iter()
        .map(|query| {
            let clip = unit(&paths.features, query.clip_uid.as_str());
            let rows = mean_of(&clip, query.start_sec.unwrap(), query.end_sec.unwrap());
            (query.text.to_owned(), query.clip_uid.as_str().contains("train"), rows)
        })
        .collect();
    for (class, _, rows) in seen.iter().filter(|(_, is_train, _)| *is_train) {
        let all = means.entry(class.clone()).or_insert_with(|| Array2::zeros((0, rows.len())));
        all.push_row(rows.view()).unwrap();
    }
    let distance = |rows: &Array1<f32>, all: &Array2<f32>| (rows - &all.mean_axis(Axis(0)).unwrap()).pow2().sum();
    let val: Vec<_> = seen.iter().filter(|(_, is_train, _)| !is_train).collect();
    let right = val.iter().filter(|(class, _, rows)| {
        let best = means.iter().min_by(|a, b| distance(rows, a.1).total_cmp(&distance(rows, b.1)));
        best.is_some_and(|(found, _)| found == class)
    });
    right.count() as f64 / val.len() as f64
}

#[test]
fn mq_can_be_learnt_unless_it_is_shuffled() {
    let found = found_by_prototypes(&mq());
    assert!(found > 0.9, "{found}");
    let found = found_by_prototypes(&Mq { shuffled: true, ..mq() });
    assert!(found < 0.5, "{found}, chance is 0.2");
}

#[test]
fn qfvs_reads_back() {
    let out = tempfile::tempdir().unwrap();
    let paths = qfvs().write(out.path()).unwrap();
    let manifest = Manifest::read(&paths.tables.manifest).unwrap();
    let videos: Vec<&str> = manifest.videos.iter().map(|video| video.uid.as_str()).collect();
    assert_eq!(videos, ["P01", "P02", "P03", "P04"]);
    let queries = Queries::read(&paths.tables.queries).unwrap();
    let pairs = queries.column("concept_2").unwrap().filter(|second| !second.is_empty()).count();
    assert_eq!((pairs, units(&paths.shots), units(&paths.features)), (20, 4, queries.len()));
    let tags = read_tags(&paths.tags).unwrap();
    assert_eq!(tags.iter().map(|(_, shots)| shots.len()).collect::<Vec<_>>(), [230; 4]);
    for (query, shots) in queries.iter().zip(queries.column("oracle_shots").unwrap()) {
        let unit = unit(&paths.features, query.id);
        assert_eq!((unit.contract.row_kind, unit.features.dim()), (RowKind::FusedWindow, (230, 24)));
        assert_eq!(unit.header.query_text.as_deref(), Some(query.text));
        assert!(shots.split_whitespace().all(|shot| (1..=230).contains(&shot.parse::<usize>().unwrap())));
        // One in fifty for a pair, none for a concept alone.
        assert_eq!(shots.split_whitespace().count(), if query.text.contains(" and ") { 4 } else { 0 });
    }
    for (video, shots) in &tags {
        let text = std::fs::read_to_string(paths.shot_tags.join(video).join(format!("{video}.txt"))).unwrap();
        let listed: Vec<usize> = text.lines().map(|line| line.matches("Concept").count()).collect();
        let counted: Vec<usize> = shots.iter().map(|tags| tags.iter().filter(|tag| **tag).count()).collect();
        assert_eq!(listed, counted);
        let rows = unit(&paths.shots, video).features;
        let points = segment(rows.mapv(f64::from).view(), Limits::QFVS).unwrap().change_points;
        assert!(points.len() >= 2, "{points:?}");
        let packed = pack(rows.view(), &points).unwrap();
        assert_eq!(packed.flat(), rows);
    }
}

#[test]
fn the_oracle_of_qfvs_has_a_full_score() {
    let out = tempfile::tempdir().unwrap();
    let paths = qfvs().write(out.path()).unwrap();
    let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == "qfvs").unwrap();
    let oracle = &paths.oracle_summaries;
    let inputs = Inputs::default().file("predictions", oracle).file("annotations", oracle).file("tags", &paths.tags);
    let report = (evaluator.evaluate)(&inputs).unwrap();
    let (name, numbers) = report.grids[0].rows.last().unwrap();
    assert_eq!((name.as_str(), numbers.as_slice()), ("mean of videos", [1.0; 3].as_slice()));
    assert_eq!(Summaries::read(oracle).unwrap().videos.len(), 4);
}

/// Of the last video's shots the share whose concept the sum of the concepts' prototypes, fitted to the others, finds.
fn found_by_a_direction(settings: &Qfvs) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let paths = settings.write(out.path()).unwrap();
    let tags = read_tags(&paths.tags).unwrap();
    let queries = Queries::read(&paths.tables.queries).unwrap();
    let mut train: Vec<(bool, Array1<f32>)> = Vec::new();
    let mut test: Vec<(bool, Array1<f32>)> = Vec::new();
    let alone = queries.iter().zip(queries.column("concept_1").unwrap().zip(queries.column("concept_2").unwrap()));
    for (query, (concept, _)) in alone.filter(|(_, (_, second))| second.is_empty()) {
        let concept: usize = concept.trim_start_matches("Concept").parse().unwrap();
        let (video, shots) = tags.iter().find(|(video, _)| video == query.clip_uid.as_str()).unwrap();
        let rows = unit(&paths.features, query.id).features;
        let part = if video == "P04" { &mut test } else { &mut train };
        part.extend(shots.iter().zip(rows.outer_iter()).map(|(tags, row)| (tags[concept], row.to_owned())));
    }
    let mean = |shown: bool| {
        let rows: Vec<_> = train.iter().filter(|(found, _)| *found == shown).map(|(_, row)| row).collect();
        rows.iter().fold(Array1::<f32>::zeros(rows[0].len()), |sum, row| sum + *row) / rows.len() as f32
    };
    let (with, without) = (mean(true), mean(false));
    let direction = &with - &without;
    let threshold = direction.dot(&(with + without)) / 2.0;
    let accuracy = |shown: bool| {
        let rows: Vec<_> = test.iter().filter(|(found, _)| *found == shown).collect();
        rows.iter().filter(|(_, row)| (direction.dot(row) > threshold) == shown).count() as f64 / rows.len() as f64
    };
    (accuracy(true) + accuracy(false)) / 2.0
}

#[test]
fn qfvs_can_be_learnt_unless_it_is_shuffled() {
    let found = found_by_a_direction(&qfvs());
    // Not all: concepts are told apart from nothing by one direction, and not all are shown equally often.
    assert!(found > 0.8, "{found}, chance is 0.5");
    let found = found_by_a_direction(&Qfvs { shuffled: true, ..qfvs() });
    assert!((0.4..0.6).contains(&found), "{found}, chance is 0.5");
}

/// All files below a folder, but those that only runs at the same time would fight for.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.file_name().unwrap() == "locks" => {}
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                    found.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let all = |seed: u64, shuffled: bool| {
        let out = tempfile::tempdir().unwrap();
        Nlq { seed, shuffled, clips: [2, 2], ..nlq() }.write(out.path()).unwrap();
        Mq { seed, shuffled, clips: [2, 2], ..mq() }.write(out.path()).unwrap();
        Qfvs { seed, shuffled, shots: 60, ..qfvs() }.write(out.path()).unwrap();
        files(out.path())
    };
    let first = all(7, false);
    let second = all(7, false);
    let differing: Vec<&String> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    assert_eq!(differing, [""; 0]);
    assert_eq!(first.len(), second.len());
    let other = all(8, false);
    let shuffled = all(7, true);
    assert_ne!(first["nlq-tokens/units/video-val-0001.h5"], other["nlq-tokens/units/video-val-0001.h5"]);
    for name in ["nlq_val.json", "moments_train.json", "tags.json", "Oracle_Summaries/P01/"] {
        let of = |files: &BTreeMap<String, Vec<u8>>| {
            files
                .iter()
                .filter(|(path, _)| path.starts_with(name))
                .map(|(path, bytes)| (path.clone(), bytes.clone()))
                .collect::<Vec<_>>()
        };
        assert!(!of(&first).is_empty(), "{name}");
        assert_ne!(of(&first), of(&other), "{name}");
        assert_ne!(of(&first), of(&shuffled), "{name}");
    }
}

#[test]
fn shuffling_keeps_the_features() {
    let of = |shuffled: bool| {
        let out = tempfile::tempdir().unwrap();
        let nlq = Nlq { shuffled, clips: [2, 2], ..nlq() }.write(out.path()).unwrap();
        let qfvs = Qfvs { shuffled, shots: 60, ..qfvs() }.write(out.path()).unwrap();
        let query = Queries::read(&qfvs.tables.queries).unwrap().get(0).unwrap().id.to_owned();
        (unit(&nlq.features, "clip-train-0001").features, unit(&qfvs.features, &query).features)
    };
    assert_eq!(of(false), of(true));
}

#[test]
fn sizes_that_hold_nothing_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let refused = |result: Result<(), SyntheticError>| result.unwrap_err().to_string();
    let short = Nlq { rows: 15, ..nlq() };
    let text = "a synthetic benchmark with rows 15: expected at least 16";
    assert_eq!(refused(short.write(out.path()).map(drop)), text);
    let few = Qfvs { pairs: 16, ..qfvs() };
    let text = "a synthetic benchmark with pairs 16: expected at most 15";
    assert_eq!(refused(few.write(out.path()).map(drop)), text);
    assert!(refused(Mq { classes: 0, ..mq() }.write(out.path()).map(drop)).contains("classes 0"));
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
