//! `egofx manifest lerobot`: from the folder of a data set to rows of its episodes, and what is refused with which words.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use egofx::manifest::Manifest;
use egofx::queries::Queries;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::support::{Workshop, checkout, videos::data};

const TOP: &str = "observation.images.top";
const WRIST: &str = "observation.images.wrist";
const FPS: f64 = 25.0;

fn camera(depth: bool) -> Value {
    json!({"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"], "info": {"is_depth_map": depth}})
}

/// What `meta/info.json` holds for these cameras.
fn info(cameras: &[&str]) -> Value {
    let mut features = json!({"action": {"dtype": "float32", "shape": [2], "names": null}, "depth": camera(true)});
    cameras.iter().for_each(|key| features[key] = camera(false));
    json!({
        "codebase_version": "v3.0", "robot_type": "so100", "fps": 25, "total_episodes": 4, "total_tasks": 2, "chunks_size": 1000,
        "splits": {"train": "0:3", "val": "3:4"}, "features": features, "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    })
}

/// A data set `set` without episodes.
fn set(info: &Value) -> Workshop {
    let shop = Workshop::with_recipe();
    fs::create_dir_all(shop.path("set/meta/episodes/chunk-000")).unwrap();
    shop.write("set/meta/info.json", info.to_string());
    shop
}

/// MP4s of a camera, of so many frames.
fn videos(shop: &Workshop, camera: &str, frames: &[u32]) {
    let folder = format!("set/videos/{camera}/chunk-000");
    fs::create_dir_all(shop.path(&folder)).unwrap();
    for (k, frames) in frames.iter().enumerate() {
        shop.clip(&format!("{folder}/file-{k:03}.mp4"), *frames);
    }
}

/// Number, tasks, file, first and last second.
type Episode<'e> = (i64, &'e [&'e str], Option<i64>, f64, f64);

/// The columns of LeRobot's table of episodes; every camera has the same numbers.
fn columns(cameras: &[&str], episodes: &[Episode]) -> Vec<(String, ArrayRef)> {
    let mut tasks = ListBuilder::new(StringBuilder::new());
    episodes.iter().for_each(|episode| tasks.append_value(episode.1.iter().map(Some)));
    let lengths = episodes.iter().map(|episode| ((episode.4 - episode.3) * FPS).round() as i64);
    let starts: ArrayRef = Arc::new(Float64Array::from_iter_values(episodes.iter().map(|episode| episode.3)));
    let ends: ArrayRef = Arc::new(Float64Array::from_iter_values(episodes.iter().map(|episode| episode.4)));
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("episode_index".into(), Arc::new(Int64Array::from_iter_values(episodes.iter().map(|episode| episode.0)))),
        ("tasks".into(), Arc::new(tasks.finish())),
        ("length".into(), Arc::new(Int64Array::from_iter_values(lengths))),
        ("stats/action/min".into(), starts.clone()),
    ];
    for camera in cameras {
        let chunks = Int64Array::from_iter_values(episodes.iter().map(|_| 0));
        let files = episodes.iter().map(|episode| episode.2).collect::<Int64Array>();
        columns.extend([
            (format!("videos/{camera}/chunk_index"), Arc::new(chunks) as ArrayRef),
            (format!("videos/{camera}/file_index"), Arc::new(files)),
            (format!("videos/{camera}/from_timestamp"), starts.clone()),
            (format!("videos/{camera}/to_timestamp"), ends.clone()),
        ]);
    }
    columns
}

/// Writes a file about episodes, by snappy as LeRobot does.
fn write(shop: &Workshop, file: &str, columns: Vec<(String, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let path = shop.path("set/meta/episodes").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Video, clip, first and last second, and split of a line.
type Line = (String, String, Option<(f64, f64)>, String);

fn manifest_of(shop: &Workshop) -> Vec<Line> {
    let manifest = Manifest::read(&shop.path("all.csv")).unwrap();
    let clips = manifest.videos.iter().flat_map(|video| video.clips.iter().map(move |clip| (video, clip)));
    let line = |(video, clip): (&egofx::manifest::Video, &egofx::manifest::Clip)| {
        let span = clip.span.map(|span| (span.start_sec, span.end_sec));
        let split = clip.extra.get("split").cloned().unwrap_or_default();
        (video.uid.to_string(), clip.uid.to_string(), span, split)
    };
    clips.map(line).collect()
}

#[test]
fn episodes_are_extracted_at_their_times() {
    let shop = set(&info(&[TOP]));
    // Written by pyarrow as LeRobot does; see make.py there.
    fs::copy(data("lerobot/episodes.parquet"), shop.path("set/meta/episodes/chunk-000/file-000.parquet")).unwrap();
    videos(&shop, TOP, &[60, 18]);
    shop.egofx("manifest lerobot --annotations set -o all.csv").ends_with(0).says(&[
        "kept: episodes without a task: 1 (meta/episodes/chunk-000/file-000.parquet: row 2: set_observation.images.top_episode-000002)",
        "train: 1 video, 3 clips, 3 queries\nval: 1 video, 1 clip, 1 query\n4 clips of 2 videos; 0 entries rejected",
    ]);
    let file = |number: u32| format!("set_{TOP}_chunk-000_file-00{number}");
    let episode = |number: u32| format!("set_{TOP}_episode-00000{number}");
    let expected = [
        (file(0), episode(0), Some((0.0, 0.96)), "train".to_owned()),
        (file(0), episode(1), Some((0.96, 1.6)), "train".to_owned()),
        (file(0), episode(2), Some((1.6, 2.4000000000000004)), "train".to_owned()),
        (file(1), episode(3), Some((0.0, 0.72)), "val".to_owned()),
    ];
    assert_eq!(manifest_of(&shop), expected);
    let queries = Queries::read(&shop.path("all.queries.csv")).unwrap();
    let texts: Vec<_> = queries.iter().map(|query| (query.id.to_owned(), query.text)).collect();
    let asked = |number, k, text| (format!("{}_{k}", episode(number)), text);
    let [cube, drawer] = ["pick up the cube", "open the drawer"];
    assert_eq!(texts, [asked(0, 0, cube), asked(1, 0, cube), asked(1, 1, drawer), asked(3, 0, drawer)]);
    assert_eq!(queries.column("length").unwrap().collect::<Vec<_>>(), ["24", "16", "16", "18"]);

    let demo = checkout().join("pipelines/demo.toml");
    shop.egofx(&format!("extract -m all.csv -p rows.toml -p {} -o out", demo.display())).ends_with(0);
    // LeRobot takes the frame nearest to `from_timestamp + k / fps` for frame k of an episode.
    for (number, first, frames) in [(0, 0, 24_u64), (1, 24, 16), (2, 40, 20), (3, 0, 18)] {
        let rows = shop.unit("out/rows", &episode(number)).meta;
        let range = (rows[0].first_frame, rows[rows.len() - 1].last_frame);
        assert_eq!((range, rows.len()), ((first, first + frames - 1), frames.div_ceil(8) as usize), "{number}");
        let (start_sec, end_sec) = expected[number as usize].2.unwrap();
        let rows = shop.unit("out/demo", &episode(number)).meta;
        assert_eq!(rows[0].start_sec, start_sec);
        assert!(rows.iter().all(|row| row.end_sec <= end_sec), "{number}: {rows:?}");
        assert!(rows.iter().all(|row| (first..first + frames).contains(&row.first_frame)), "{number}: {rows:?}");
        assert!(rows.iter().all(|row| (first..first + frames).contains(&row.last_frame)), "{number}: {rows:?}");
    }
    shop.egofx("verify out").ends_with(0);
}

#[test]
fn cameras_are_chosen_by_key_and_listed_where_none_is() {
    let shop = set(&info(&[TOP, WRIST]));
    let episodes: [Episode; 2] = [(0, &["open"], Some(0), 0.0, 0.4), (1, &["close"], Some(0), 0.4, 1.0)];
    write(&shop, "chunk-000/file-000.parquet", columns(&[TOP, WRIST], &episodes));
    for camera in [TOP, WRIST] {
        fs::create_dir_all(shop.path(&format!("set/videos/{camera}/chunk-000"))).unwrap();
        shop.write(&format!("set/videos/{camera}/chunk-000/file-000.mp4"), "");
    }
    let list = |flags: &str| shop.egofx(&format!("manifest lerobot --annotations set {flags} -o all.csv --force"));
    let known =
        format!("set/meta/info.json: features: expected one of its cameras by --camera, or all: {TOP}, {WRIST}, found");
    list("").ends_with(2).says(&[&format!("{known} none chosen")]);
    list("--camera depth").ends_with(2).says(&[&format!("{known} \"depth\"")]);
    list(&format!("--camera {WRIST}")).ends_with(0).says(&["2 clips of 1 video"]);
    let clips = |camera: &str| [0, 1].map(|number| format!("set_{camera}_episode-00000{number}"));
    let listed = || manifest_of(&shop).into_iter().map(|(_, clip, ..)| clip).collect::<Vec<_>>();
    assert_eq!(listed(), clips(WRIST));
    list("--camera all").ends_with(0).says(&["4 clips of 2 videos"]);
    assert_eq!(listed(), [clips(TOP), clips(WRIST)].concat());
}

#[test]
fn episodes_that_cannot_be_used_do_not_stop_the_others() {
    let shop = set(&info(&[TOP]));
    let episodes: [Episode; 5] = [
        (0, &["open"], Some(0), 0.0, 0.4),
        (1, &["open"], Some(0), 0.9, 0.4),
        (2, &["open"], Some(7), 0.0, 0.4),
        (3, &["open"], None, 0.0, 0.4),
        (-1, &["open"], Some(0), 0.0, 0.4),
    ];
    write(&shop, "chunk-000/file-000.parquet", columns(&[TOP], &episodes));
    write(&shop, "chunk-001/file-000.parquet", columns(&[TOP], &[(0, &["close"], Some(0), 0.4, 0.8)]));
    videos(&shop, TOP, &[20]);
    let mut told = info(&[TOP]);
    told["total_episodes"] = json!(9);
    shop.write("set/meta/info.json", told.to_string());
    let missing = shop.path(&format!("set/videos/{TOP}/chunk-000/file-007.mp4"));
    let run = shop.egofx("manifest lerobot --annotations set -o all.csv").ends_with(0);
    let file = "meta/episodes/chunk-000/file-000.parquet: row";
    run.says(&[
        &format!(
            "dropped: clips that hold nothing: 1 ({file} 1: videos/{TOP}/from_timestamp and to_timestamp: \
             set_{TOP}_episode-000001: 0.9 to 0.4 s)"
        ),
        &format!("dropped: episodes whose video is not there: 1 ({file} 2: {})", missing.display()),
        &format!("dropped: episodes that a camera did not see: 1 ({file} 3: {TOP})"),
        &format!("dropped: episodes without a number: 1 ({file} 4)"),
        "dropped: clips whose uid names another interval already: 1 (meta/episodes/chunk-001/file-000.parquet: row 0",
        "kept: data sets that tell of more episodes: 1 (meta/info.json: 9, in meta/episodes 6)",
        "1 clip of 1 video; 5 entries rejected",
    ]);
    fs::remove_dir_all(shop.path("set/videos")).unwrap();
    let run = shop.egofx("manifest lerobot --annotations set -o none.csv").ends_with(2);
    run.says(&["benchmark lerobot: no usable clip; dropped: episodes whose video is not there: 4 ("]);
}

#[test]
fn what_is_no_such_data_set_is_refused_with_the_place() {
    let shop = set(&info(&[TOP]));
    let refused = |words: &str| {
        shop.egofx("manifest lerobot --annotations set -o refused.csv").ends_with(2).says(&[words]);
        assert!(!shop.path("refused.csv").exists());
    };
    let changed = |field: &str, value: Value| {
        let mut other = info(&[TOP]);
        other[field] = value;
        shop.write("set/meta/info.json", other.to_string());
    };
    refused("set/meta/episodes: its folders: expected files such as chunk-000/file-000.parquet, found none");
    shop.write("set/meta/episodes/chunk-000/file-000.parquet", "PAR1 not really");
    refused("set/meta/episodes/chunk-000/file-000.parquet: cannot be read as Parquet: ");

    let whole = || columns(&[TOP], &[(0, &["open"], Some(0), 0.0, 0.4)]);
    let without = |name: &str| whole().into_iter().filter(|(found, _)| found != name).collect::<Vec<_>>();
    for column in ["episode_index", "tasks", "length", "videos/observation.images.top/to_timestamp"] {
        write(&shop, "chunk-000/file-000.parquet", without(column));
        refused(&format!("set/meta/episodes/chunk-000/file-000.parquet: no column {column}, found "));
    }
    let mut other = without("tasks");
    other.push(("tasks".to_owned(), Arc::new(Int64Array::from(vec![3]))));
    write(&shop, "chunk-000/file-000.parquet", other);
    refused("file-000.parquet: column tasks: expected lists of texts, found type Int64");

    write(&shop, "chunk-000/file-000.parquet", whole());
    changed("video_path", json!("videos/{video_key}/{episode_index:06d}.mp4"));
    refused(
        "info.json: video_path: expected a path of {video_key}, {chunk_index:03d} and {file_index:03d}, found \"videos/",
    );
    changed("video_path", Value::Null);
    refused("info.json: video_path: expected a path of");
    changed("features", json!({"observation.image": {"dtype": "image"}}));
    refused("info.json: features: expected one of dtype video that is no depth map, found observation.image (image)");
    changed("codebase_version", json!("v2.1"));
    refused(
        "info.json: codebase_version: expected \"v3.0\", found \"v2.1\", one MP4 for each episode; LeRobot converts v2.1: python -m",
    );
    changed("codebase_version", json!("v4.0"));
    refused("info.json: codebase_version: expected \"v3.0\", found \"v4.0\"");
    fs::remove_dir_all(shop.path("set/meta")).unwrap();
    refused("set/meta/info.json: cannot read the annotations: No such file");
    let two = shop.egofx("manifest lerobot --annotations set --annotations set -o refused.csv").ends_with(2);
    two.says(&["takes one annotation file, 2 were given"]);
    assert!(!Path::new("refused.csv").exists());
}
