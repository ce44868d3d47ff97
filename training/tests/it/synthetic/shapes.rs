//! The synthetic dataset, read back by the readers and scored by the evaluators of the real benchmarks, and looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use egofx::benchmark::{Benchmark, Built, Sources};
use egofx::decode::{FfmpegSource, Filter, FrameSource, HwAccel, Tools, Transform};
use egofx::metric::{EVALUATORS, Inputs};
use egofx::text::{TextModel, TokenizationRule, Tokenizer};
use egofx_train::synthetic::{QaPaths, ShapesDataset, ShapesPaths, SyntheticError};
use serde_json::{Value, json};

use crate::support::shapes;

const SIDE: usize = 48;

fn small() -> ShapesDataset {
    ShapesDataset {
        seed: 5,
        side: SIDE,
        motions: 8,
        cast: 2,
        clips_per_video: 15,
        videos: [14, 6],
        questions: 30,
        changes: [9, 6],
        homes: [2, 6],
        intervals: [8, 4, 6],
        ..shapes::least()
    }
}

struct Made {
    folder: tempfile::TempDir,
    paths: ShapesPaths,
}

fn make(dataset: &ShapesDataset) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let paths = dataset.write(folder.path(), &shapes::tools()).unwrap();
    Made { folder, paths }
}

/// The same dataset for all tests that only look.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| make(&small()))
}

/// A benchmark as the root library reads it, with all of its videos there and nothing left out or odd.
fn read(name: &str, annotations: &[&Path], videos: &Path) -> Built {
    let annotations = annotations.iter().map(|&path| path.to_owned()).collect();
    let sources = Sources { annotations, videos: vec![videos.to_owned()], ..Sources::default() };
    let built = (Benchmark::find(name).unwrap().build)(&sources).unwrap();
    let lines = |findings: &[egofx::benchmark::Finding]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((lines(&built.tally.dropped), lines(&built.tally.kept)), (vec![], vec![]), "{name}");
    built
}

fn column<'b>(built: &'b Built, name: &str) -> Vec<&'b str> {
    built.queries.as_ref().unwrap().column(name).unwrap().collect()
}

fn videos(built: &Built) -> BTreeSet<String> {
    built.manifest.videos.iter().map(|video| video.uid.to_string()).collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Frames of a video as it is, one for each of `wanted`, which ascend.
fn frames(path: &Path, wanted: &[u64]) -> Vec<Vec<u8>> {
    let source = FfmpegSource { tools: shapes::tools(), threads: 1, hwaccel: HwAccel::None };
    let video = source.probe(path, None).unwrap();
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", SIDE as u32, SIDE as u32));
    assert_eq!(video.remarks(), [""; 0]);
    let side = SIDE as u32;
    let whole = Transform::centred(side, side, Filter::Bilinear);
    let stream = source.open(&video, wanted, &[whole]);
    stream.map(|frame| frame.unwrap().pixels[0].levels().into_owned()).collect()
}

const COLOURS: [(&str, [f64; 3]); 4] = [
    ("red", [220.0, 30.0, 30.0]),
    ("green", [30.0, 190.0, 50.0]),
    ("blue", [40.0, 70.0, 235.0]),
    ("yellow", [240.0, 220.0, 30.0]),
];

/// What stands out of a picture: how much of each colour, and where the most frequent one is, in sides, on a torus.
struct Seen {
    colour: &'static str,
    pixels: usize,
    at: [f64; 2],
}

fn look(frame: &[u8]) -> Seen {
    let mut counts = [0usize; 4];
    let mut sums = [[0.0f64; 4]; 4];
    for (place, pixel) in frame.chunks(3).enumerate() {
        let distance = |rgb: &[f64; 3]| -> f64 {
            pixel.iter().zip(rgb).map(|(&level, ink)| (f64::from(level) - ink).powi(2)).sum::<f64>().sqrt()
        };
        if let Some(colour) = COLOURS.iter().position(|(_, rgb)| distance(rgb) < 70.0) {
            counts[colour] += 1;
            let turns = [place % SIDE, place / SIDE].map(|at| TAU * (at as f64 + 0.5) / SIDE as f64);
            let parts = [turns[0].cos(), turns[0].sin(), turns[1].cos(), turns[1].sin()];
            sums[colour].iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
    }
    let best = (0..4).max_by_key(|&colour| counts[colour]).unwrap();
    let [cos_x, sin_x, cos_y, sin_y] = sums[best];
    let at = [sin_x.atan2(cos_x), sin_y.atan2(cos_y)].map(|turn| (turn / TAU).rem_euclid(1.0));
    Seen { colour: COLOURS[best].0, pixels: counts[best], at }
}

/// The shorter way from one place on a torus to another.
fn way(from: f64, to: f64) -> f64 {
    (to - from + 0.5).rem_euclid(1.0) - 0.5
}

/// How a thing goes: right and down.
struct Track {
    colour: &'static str,
    axes: [Way; 2],
    /// Its greatest size over its least.
    size: f64,
}

/// Along one axis, in sides of the picture.
#[derive(Debug, Default)]
struct Way {
    /// From the first place to the last.
    net: f64,
    /// Forth and back.
    length: f64,
    least: f64,
    most: f64,
}

impl Way {
    fn add(&mut self, step: f64) {
        self.net += step;
        self.length += step.abs();
        self.least = self.least.min(self.net);
        self.most = self.most.max(self.net);
    }

    fn is_straight(&self) -> bool {
        self.net.abs() > 0.25 && self.net.abs() > 0.85 * self.length
    }

    fn is_wide(&self) -> bool {
        self.most - self.least > 0.15
    }
}

/// Follows a thing through the frames from `start` to `end` seconds, three by three.
fn track(path: &Path, start_sec: f64, end_sec: f64) -> Track {
    let (first, last) = ((start_sec * 30.0).round() as u64, (end_sec * 30.0).round() as u64);
    let wanted: Vec<u64> = (first..last).step_by(3).collect();
    let seen: Vec<Seen> = frames(path, &wanted).iter().map(|frame| look(frame)).collect();
    let colour = seen[0].colour;
    assert!(seen.iter().all(|seen| seen.colour == colour && seen.pixels >= 8), "{}", path.display());
    let mut axes = [Way::default(), Way::default()];
    for pair in seen.windows(2) {
        (0..2).for_each(|axis| axes[axis].add(way(pair[0].at[axis], pair[1].at[axis])));
    }
    let sizes: Vec<usize> = seen.iter().map(|seen| seen.pixels).collect();
    let size = *sizes.iter().max().unwrap() as f64 / *sizes.iter().min().unwrap() as f64;
    Track { colour, axes, size }
}

/// The motion that a track shows, by the word that [`told`] has for it.
fn motion(Track { axes: [right, down], size, .. }: &Track) -> &'static str {
    match (right.is_wide(), down.is_wide()) {
        (true, false) if right.is_straight() => {
            if right.net < 0.0 {
                "left"
            } else {
                "right"
            }
        }
        (false, true) if down.is_straight() => {
            if down.net < 0.0 {
                "up"
            } else {
                "down"
            }
        }
        (true, true) => "swirl",
        (true, false) => "shake",
        _ if *size > 1.6 => "squeeze",
        _ => "hold",
    }
}

/// The motion that a sentence tells.
fn told(text: &str) -> &'static str {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match () {
        _ if has(&["swirl", "whirl"]) => "swirl",
        _ if has(&["shak", "rattle", "wiggle"]) => "shake",
        _ if has(&["squeez", "pump"]) => "squeeze",
        _ if has(&["still"]) => "hold",
        _ if has(&["left"]) => "left",
        _ if has(&["right"]) => "right",
        _ if has(&["up", "raise"]) => "up",
        _ if has(&["down", "lower"]) => "down",
        _ => "nothing",
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(' ').any(|found| found == word)
}

fn video(name: &str) -> PathBuf {
    made().paths.videos.join(format!("{name}.mp4"))
}

fn egoclip(made: &Made) -> Built {
    read("egoclip", &[&made.paths.egoclip], &made.paths.videos)
}

#[test]
fn what_narrations_of_egoclip_say_is_in_the_pixels() {
    let built = egoclip(made());
    let queries = built.queries.as_ref().unwrap();
    assert_eq!((built.manifest.videos.len(), queries.len()), (14, 14 * 15));
    let (verbs, nouns) = (column(&built, "verbs"), column(&built, "nouns"));
    let mut seen = BTreeMap::new();
    for (query, (verb, noun)) in queries.iter().zip(verbs.iter().zip(nouns)).step_by(3) {
        let (start, end) = (query.start_sec.unwrap(), query.end_sec.unwrap());
        assert!((0.9..1.3).contains(&(end - start)), "{start} {end}");
        let track = track(&video(query.clip_uid.as_str()), start, end);
        assert!(has_word(query.text, track.colour), "{}: {}", query.text, track.colour);
        assert_eq!(motion(&track), told(query.text), "{} {:?}", query.text, track.axes);
        let shape = ["circle", "cross", "ring"].into_iter().find(|shape| has_word(query.text, shape)).unwrap();
        // One motion and one thing for each tag.
        assert_eq!(seen.entry(verb.to_string()).or_insert(told(query.text).to_owned()), told(query.text));
        let thing = format!("{} {shape}", track.colour);
        assert_eq!(*seen.entry(format!("noun {noun}")).or_insert(thing.clone()), thing);
        assert!(verb.parse::<i64>().unwrap() < 118 && noun.parse::<i64>().unwrap() < 582);
    }
    assert!(seen.len() > 12, "all motions are seen: {seen:?}");
}

#[test]
fn questions_of_egomcq_have_one_right_answer() {
    let made = made();
    let built = read("egomcq", &[&made.paths.egomcq], &made.paths.videos);
    assert_eq!(built.queries.as_ref().unwrap().len(), 60);
    let trained = videos(&egoclip(made));
    assert!(videos(&built).is_disjoint(&trained), "training and validation share a video");
    let questions = json_of(&made.paths.egomcq);
    let mut answers = BTreeSet::new();
    let mut scores = serde_json::Map::new();
    for (key, question) in questions.as_object().unwrap() {
        let (choices, answer) = (&question["choices"], question["answer"].as_u64().unwrap());
        let right = &choices[answer.to_string()];
        assert_eq!(right, &question["query"]);
        let tags = |clip: &Value| (clip["tag_verb"].clone(), clip["tag_noun"].clone());
        let others: Vec<&Value> = choices.as_object().unwrap().values().filter(|clip| *clip != right).collect();
        assert_eq!(others.len(), 4);
        assert!(others.iter().all(|other| tags(other) != tags(right)));
        let of: BTreeSet<&str> =
            choices.as_object().unwrap().values().map(|clip| clip["video_uid"].as_str().unwrap()).collect();
        assert_eq!(of.len(), if question["types"] == 1 { 5 } else { 1 });
        answers.insert(answer);
        scores.insert(key.clone(), (0..5).map(|choice| f64::from(u8::from(choice == answer))).collect());
    }
    assert_eq!(answers.len(), 5);
    let right = made.folder.path().join("mcq_right.json");
    std::fs::write(&right, Value::Object(scores).to_string()).unwrap();
    let report = evaluate("egomcq", &right, &made.paths.egomcq, |inputs| inputs);
    assert!(report.grids[0].rows.iter().flat_map(|(_, row)| row).all(|share| *share == 1.0), "{report:?}");
}

fn evaluate(
    name: &str,
    predictions: &Path,
    annotations: &Path,
    more: impl FnOnce(Inputs) -> Inputs,
) -> egofx::metric::Report {
    let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == name).unwrap();
    let inputs = Inputs::default().file("predictions", predictions).file("annotations", annotations);
    (evaluator.evaluate)(&more(inputs)).unwrap()
}

#[test]
fn things_of_oscc_change_where_the_annotations_say_so() {
    let paths = &made().paths;
    let [train, val] = paths.oscc.each_ref().map(|path| read("oscc", &[path], &paths.videos));
    assert!(videos(&train).is_disjoint(&videos(&val)));
    let clips: Vec<Value> =
        paths.oscc.iter().flat_map(|path| json_of(path)["clips"].as_array().unwrap().clone()).collect();
    assert_eq!(clips.len(), 15);
    let mut changes = 0;
    for clip in &clips {
        let number = |key: &str| clip[key].as_u64();
        let (start, end) = (number("parent_start_frame").unwrap(), number("parent_end_frame").unwrap());
        assert_eq!(end - start, 240);
        let pnr = number("parent_pnr_frame");
        assert_eq!(clip["state_change"].as_bool().unwrap(), pnr.is_some());
        let wanted = [start, pnr.unwrap_or(start + 120) - 1, pnr.unwrap_or(start + 120), end - 1];
        let seen = frames(&video(clip["video_uid"].as_str().unwrap()), &wanted);
        let colours: Vec<&str> = seen.iter().map(|frame| look(frame).colour).collect();
        assert_eq!((colours[0], colours[2]), (colours[1], colours[3]));
        assert_eq!(colours[1] != colours[2], pnr.is_some(), "{colours:?}");
        changes += usize::from(pnr.is_some());
    }
    assert!((6..=10).contains(&changes), "{changes}");
    // PNR is about those that change, and counts the others as left out.
    let annotations = paths.oscc.to_vec();
    let pnr = (Benchmark::find("pnr").unwrap().build)(&Sources { annotations, videos: vec![], ..Sources::default() })
        .unwrap();
    assert_eq!(pnr.queries.as_ref().unwrap().len(), changes);
}

#[test]
fn orders_of_epic_are_seen_and_their_relevancies_are_perfect_similarities() {
    let paths = &made().paths;
    let [train, test] = paths.epic.each_ref().map(|split| read("epic", &[&split.clips], &paths.videos));
    assert!(videos(&train).is_disjoint(&videos(&test)));
    let queries = test.queries.as_ref().unwrap();
    assert_eq!(queries.len(), 30);
    let spans = test.manifest.videos.iter().flat_map(|video| video.clips.iter().map(move |clip| (video, clip)));
    for ((film, clip), query) in spans.zip(queries.iter()).step_by(4) {
        assert_eq!(clip.uid, *query.clip_uid);
        let span = clip.span.unwrap();
        let track = track(&video(film.uid.as_str()), span.start_sec, span.end_sec);
        assert!(has_word(query.text, track.colour));
        assert_eq!(motion(&track), told(query.text), "{}", query.text);
    }
    for split in &paths.epic {
        let report = evaluate("mir", &split.relevancy, &split.clips, |inputs| {
            inputs.file("sentences", &split.sentences).file("relevancy", &split.relevancy)
        });
        for (name, row) in &report.grids[0].rows {
            assert!(row.iter().all(|value| (value - 1.0).abs() < 1e-9), "{name} {row:?}");
        }
        let computed =
            evaluate("mir", &split.relevancy, &split.clips, |inputs| inputs.file("sentences", &split.sentences));
        assert_eq!(report.grids[0].rows, computed.grids[0].rows);
    }
}

#[test]
fn actions_of_charades_are_seen() {
    let paths = &made().paths;
    let charades = &paths.charades;
    let built = read("charades", &[&charades.train, &charades.test], &paths.videos);
    let annotations = vec![charades.classes.clone()];
    let sentences =
        (Benchmark::find("charades").unwrap().build)(&Sources { annotations, videos: vec![], ..Sources::default() })
            .unwrap();
    assert_eq!(sentences.queries.unwrap().len(), 157);
    let classes: Vec<String> =
        std::fs::read_to_string(&charades.classes).unwrap().lines().map(|line| line[5..].to_owned()).collect();
    assert_eq!(classes.iter().collect::<BTreeSet<_>>().len(), 157);
    let counts = built.counts();
    let splits: Vec<_> = counts.iter().map(|count| (count.split.as_str(), count.videos, count.queries)).collect();
    assert_eq!(splits, [("train", 2, 30), ("test", 6, 6)]);
    let sources = Sources { annotations: vec![charades.test.clone()], videos: vec![], ..Sources::default() };
    let test = (Benchmark::find("charades").unwrap().build)(&sources).unwrap();
    for (query, class) in test.queries.as_ref().unwrap().iter().zip(column(&test, "class")) {
        let text = &classes[class[1..].parse::<usize>().unwrap()];
        let track = track(&video(query.clip_uid.as_str()), query.start_sec.unwrap(), query.end_sec.unwrap());
        assert!(has_word(text, track.colour) && motion(&track) == told(text), "{text}");
    }
}

fn questions(paths: &QaPaths) -> [Vec<Value>; 3] {
    paths.questions.each_ref().map(|path| json_of(path).as_array().unwrap().clone())
}

#[test]
fn answers_of_egotaskqa_are_seen() {
    let paths = &made().paths;
    let [direct, indirect] = &paths.qa;
    let files: Vec<&Path> = direct.questions.iter().map(PathBuf::as_path).collect();
    let built = read("egotaskqa", &files, &paths.qa_videos);
    assert_eq!(built.queries.as_ref().unwrap().len(), 18 * 6);
    let answers: Vec<String> = std::fs::read_to_string(&direct.answers).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(&answers[..2], ["<UNK0>", "<UNK1>"]);
    let [train, _, test] = questions(direct);
    let mut tracks = BTreeMap::new();
    for question in train.iter().chain(&test) {
        let (text, answer) = (question["question"].as_str().unwrap(), question["answer"].as_str().unwrap());
        let class = question["answer_encode"].as_u64().unwrap() as usize;
        assert!(answers[class] == answer || (class == 1 && !answers.contains(&answer.to_owned())));
        let interval = question["interval"].as_str().unwrap();
        let clip = paths.qa_videos.join(format!("{interval}.mp4"));
        let track = tracks.entry(interval).or_insert_with(|| track(&clip, 0.2, 1.7));
        match question["semantic"].as_str().unwrap() {
            "state" => assert_eq!(answer, track.colour),
            "action" if answer == "yes" => assert_eq!(told(text), motion(track)),
            "action" if answer == "no" => assert_ne!(told(text), motion(track)),
            "action" => assert_eq!(told(answer), motion(track)),
            semantic => assert_eq!(semantic, "object"),
        }
    }
    let verified = |answer: &str| train.iter().filter(|question| question["answer"] == answer).count();
    assert!(verified("yes") > 3 && verified("no") > 3);
    let references = |questions: &[Value]| -> BTreeSet<String> {
        questions.iter().map(|question| question["reference"].as_str().unwrap().to_owned()).collect()
    };
    let [train, val, test] = questions(indirect);
    assert_eq!([&train, &val, &test].map(Vec::len), [8 * 4, 4 * 2, 6 * 2]);
    assert_eq!(references(&train), BTreeSet::from(["direct".to_owned()]));
    assert_eq!(references(&test), BTreeSet::from(["indirect".to_owned()]));
    let right: Vec<&Value> = test.iter().map(|question| &question["answer_encode"]).collect();
    let predictions = made().folder.path().join("qa_right.json");
    std::fs::write(&predictions, json!(right).to_string()).unwrap();
    let report = evaluate("egotaskqa", &predictions, &indirect.questions[2], |inputs| inputs);
    assert!(report.grids[0].rows.iter().any(|(name, row)| name.contains("indirect") && row[0] == 1.0), "{report:?}");
}

#[test]
fn both_vocabularies_know_every_word() {
    let made = made();
    let mut texts: Vec<String> = egoclip(made).queries.unwrap().iter().map(|query| query.text.to_owned()).collect();
    for split in &made.paths.epic {
        let built = read("epic", &[&split.clips], &made.paths.videos);
        texts.extend(built.queries.unwrap().iter().map(|query| query.text.to_owned()));
    }
    texts.extend(std::fs::read_to_string(&made.paths.charades.classes).unwrap().lines().map(|line| line[5..].into()));
    for question in questions(&made.paths.qa[0]).concat() {
        texts.extend(["question", "answer"].map(|key| question[key].as_str().unwrap().to_owned()));
    }
    let egovlp = Tokenizer::open(&made.paths.tokenizers[0]).unwrap();
    let egovlpv2 = Tokenizer::open(&made.paths.tokenizers[1]).unwrap();
    assert_eq!([egovlp.model, egovlpv2.model], [TextModel::EgoVlp, TextModel::EgoVlpV2]);
    let specials = &egovlpv2.specials;
    // Where RoBERTa has them: positions begin behind the padding's id.
    assert_eq!([specials.start, specials.pad, specials.end, specials.unknown], [0, 1, 2, 3]);
    for (tokenizer, blank) in [(&egovlp, ""), (&egovlpv2, "Ġ")] {
        for rule in
            ["pretrain", "egotaskqa"].iter().filter_map(|name| TokenizationRule::find(name, tokenizer.model).ok())
        {
            let encoded = tokenizer.encode(rule, &texts).unwrap();
            assert_eq!(encoded.cut.iter().sum::<usize>(), 0, "some sentence is too long");
            assert!(encoded.ids.iter().all(|id| *id != tokenizer.specials.unknown));
        }
        let rule = TokenizationRule::find("pretrain", tokenizer.model).unwrap();
        let ids = tokenizer.encode(rule, &["#C C slides the yellow triangle to the right"]).unwrap().ids;
        let tokens: Vec<String> = ids.iter().map(|&id| tokenizer.token(id).unwrap()).skip(3).take(8).collect();
        let words = ["slides", "the", "yellow", "triangle", "to", "the", "right"];
        assert_eq!(tokens[1..].to_vec(), words.map(|word| format!("{blank}{word}")), "{tokens:?}");
    }
}

/// Where things are when a clip begins says nothing about whether they go left or right.
#[test]
fn no_single_frame_tells_left_from_right() {
    let dataset = ShapesDataset { motions: 2, videos: [40, 5], clips_per_video: 12, questions: 5, ..small() };
    let made = make(&dataset);
    let built = egoclip(&made);
    let mut sums: BTreeMap<&str, (f64, [f64; 2])> = BTreeMap::new();
    let queries: Vec<_> = built.queries.as_ref().unwrap().iter().collect();
    for of_video in queries.chunk_by(|a, b| a.clip_uid == b.clip_uid) {
        let path = made.paths.videos.join(format!("{}.mp4", of_video[0].clip_uid));
        let firsts: Vec<u64> = of_video.iter().map(|query| (query.start_sec.unwrap() * 30.0).round() as u64).collect();
        for (query, frame) in of_video.iter().zip(frames(&path, &firsts)) {
            let sum = sums.entry(told(query.text)).or_default();
            let turn = TAU * look(&frame).at[0];
            sum.0 += 1.0;
            sum.1 = [sum.1[0] + turn.cos(), sum.1[1] + turn.sin()];
        }
    }
    assert_eq!(sums.keys().copied().collect::<Vec<_>>(), ["left", "right"]);
    for (motion, (count, sum)) in sums {
        // Of uniform places each sum has the variance n/2.
        let sigma = (count / 2.0f64).sqrt();
        assert!(sum.iter().all(|sum| sum.abs() < 3.5 * sigma), "{motion}: {sum:?} of {count}, sigma {sigma}");
    }
}

#[test]
fn backgrounds_differ_between_videos_and_stay_within_one() {
    let uids: Vec<String> = videos(&egoclip(made())).into_iter().take(2).collect();
    let [[first, last], [other, _]] = [0, 1].map(|at| {
        let seen = frames(&video(&uids[at]), &[0, 700]);
        [seen[0].clone(), seen[1].clone()]
    });
    let unlike = |a: &[u8], b: &[u8]| {
        a.chunks(3).zip(b.chunks(3)).filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 12)).count()
    };
    let all = SIDE * SIDE;
    assert!(unlike(&first, &last) < all / 3, "{}", unlike(&first, &last));
    assert!(unlike(&first, &other) > all / 2, "{}", unlike(&first, &other));
}

/// All files below a folder by name.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.append(&mut files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

fn bytes(dataset: &ShapesDataset) -> BTreeMap<String, Vec<u8>> {
    let made = make(dataset);
    let root = made.folder.path();
    files(root)
        .into_iter()
        .map(|(path, bytes)| (path.strip_prefix(root).unwrap().display().to_string(), bytes))
        .collect()
}

fn tiny() -> ShapesDataset {
    ShapesDataset {
        videos: [2, 5],
        clips_per_video: 6,
        questions: 4,
        changes: [3, 3],
        intervals: [2, 2, 2],
        homes: [2, 2],
        ..small()
    }
}

/// The bytes of a tiny dataset, for tests that set others against it.
fn tiny_bytes() -> &'static BTreeMap<String, Vec<u8>> {
    static BYTES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    BYTES.get_or_init(|| bytes(&tiny()))
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let first = tiny_bytes();
    let second = bytes(&tiny());
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differing: Vec<&String> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    assert_eq!(differing, [""; 0]);
    assert!(first.keys().all(|name| !name.ends_with(".part")));
    let other = bytes(&ShapesDataset { seed: 6, ..tiny() });
    for name in ["egoclip.csv", "egomcq.json", "fho_oscc-pnr_val.json", "EPIC_100_retrieval_test.csv"] {
        assert_ne!(first[name], other[name], "{name}");
    }
    assert_eq!(first["tokenizers/egovlpv2/vocab.json"], other["tokenizers/egovlpv2/vocab.json"]);
}

#[test]
fn shuffled_the_videos_stay_and_what_is_told_does_not() {
    let (plain, shuffled) = (tiny_bytes(), bytes(&ShapesDataset { shuffled: true, ..tiny() }));
    for (name, bytes) in plain.iter().filter(|(name, _)| name.ends_with(".mp4")) {
        assert!(shuffled[name] == *bytes, "{name}");
    }
    for name in [
        "egoclip.csv",
        "egomcq.json",
        "EPIC_100_retrieval_train.csv",
        "metadata_train.csv",
        "qa/direct/formatted_train_qas_encode.json",
    ] {
        assert_ne!(plain[name], shuffled[name], "{name}");
    }
}

#[test]
fn sizes_that_hold_nothing_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    let tools = shapes::tools();
    let refused = |dataset: ShapesDataset| match dataset.write(out.path(), &tools).unwrap_err() {
        SyntheticError::Size { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(refused(ShapesDataset { side: 49, ..small() }), "side");
    assert_eq!(refused(ShapesDataset { side: 8, ..small() }), "side");
    assert_eq!(refused(ShapesDataset { colours: 7, ..small() }), "colours");
    assert_eq!(refused(ShapesDataset { motions: 1, ..small() }), "motions");
    assert_eq!(refused(ShapesDataset { cast: 13, ..small() }), "cast");
    assert_eq!(refused(ShapesDataset { videos: [1, 4], ..small() }), "videos");
    assert_eq!(refused(ShapesDataset { intervals: [1, 2, 2], ..small() }), "a split of clips");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
    assert_eq!(refused(ShapesDataset { questions: 91, ..small() }), "questions");
}

#[test]
fn what_ffmpeg_says_is_passed_on() {
    let out = tempfile::tempdir().unwrap();
    let broken = Tools { ffmpeg: "false".into(), ..shapes::tools() };
    let error = tiny().write(out.path(), &broken).unwrap_err();
    assert!(matches!(error, SyntheticError::Encode { .. }), "{error}");
    let missing = Tools { ffmpeg: "/nowhere/ffmpeg".into(), ..shapes::tools() };
    assert!(matches!(tiny().write(out.path(), &missing).unwrap_err(), SyntheticError::Write { .. }));
}
