//! LeRobot data sets (v3): `meta/info.json`, and the Parquet files below `meta/episodes` that say where each episode lies.
//!
//! A unit is an episode as a camera saw it: a clip of an MP4 that holds many, from `from_timestamp` to `to_timestamp`, which are seconds of
//! the MP4 as LeRobot's own reader takes them. A query is a task of the episode. Not for what the robot measured (`data/`), for
//! pictures that are kept in Parquet files, or for depth maps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use walkdir::WalkDir;

use super::builder::{Builder, Extent, Unit};
use super::json::{self, Cell, Pairs};
use super::parquet::Columns;
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::uid_for;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "lerobot",
    about: "episodes of a LeRobot data set (version 3), with their tasks",
    needs: Needs {
        annotations: Need::Required("the folder of a LeRobot data set, which holds meta/info.json (--annotations DIR)"),
        videos: Need::Unused,
    },
    build,
};

const COLUMNS: [&str; 3] = ["camera", "episode_index", "length"];

const INFO: &str = "meta/info.json";
const EPISODES: &str = "meta/episodes";

/// All that is read before the version is known.
#[derive(Deserialize)]
struct Version {
    codebase_version: String,
}

#[derive(Deserialize)]
struct Info {
    features: Pairs<Feature>,
    video_path: Option<String>,
    total_episodes: Option<u64>,
    #[serde(default)]
    splits: BTreeMap<String, Cell>,
}

#[derive(Deserialize)]
struct Feature {
    dtype: String,
    #[serde(default)]
    info: Option<BTreeMap<String, Cell>>,
    #[serde(default)]
    video_info: Option<BTreeMap<String, Cell>>,
}

impl Feature {
    /// Whether it is a video that shows what a camera saw.
    fn is_camera(&self) -> bool {
        let notes = self.info.iter().chain(&self.video_info).flatten();
        let is_depth = |(name, value): (&String, &Cell)| {
            ["is_depth_map", "video.is_depth_map"].contains(&name.as_str()) && value.as_str() == "true"
        };
        self.dtype == "video" && !notes.into_iter().any(is_depth)
    }
}

/// A data set whose `info.json` is read.
struct DataSet {
    root: PathBuf,
    /// What its folder is called, as a uid can be; those of clips and videos begin with it.
    name: String,
    info: Info,
}

impl DataSet {
    fn open(root: &Path) -> Result<Self, BenchmarkError> {
        let path = root.join(INFO);
        let Version { codebase_version: version } = json::read(&path)?;
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let name = uid_for(&root.file_name().unwrap_or_default().to_string_lossy());
        if version.trim_start_matches('v').split('.').next() != Some("3") {
            let (at, expected) = ("codebase_version".to_owned(), "\"v3.0\"".to_owned());
            let found = format!("{version:?}{}", remedy(&version, &root, &name));
            return Err(BenchmarkError::Unfit { path, at, expected, found });
        }
        Ok(Self { info: json::read(&path)?, root, name })
    }

    fn unfit(&self, at: &str, expected: String, found: String) -> BenchmarkError {
        BenchmarkError::Unfit { path: self.root.join(INFO), at: at.to_owned(), expected, found }
    }

    /// The cameras that are asked for; the only one, where there is one.
    fn cameras(&self, asked: &[String]) -> Result<Vec<&str>, BenchmarkError> {
        let features = &self.info.features.0;
        let known: Vec<&str> =
            features.iter().filter(|(_, feature)| feature.is_camera()).map(|(key, _)| key.as_str()).collect();
        if known.is_empty() {
            let found: Vec<String> =
                features.iter().map(|(key, feature)| format!("{key} ({})", feature.dtype)).collect();
            return Err(self.unfit("features", "one of dtype video that is no depth map".to_owned(), found.join(", ")));
        }
        let expected = || format!("one of its cameras by --camera, or all: {}", known.join(", "));
        match asked {
            [] if known.len() == 1 => Ok(known),
            [] => Err(self.unfit("features", expected(), "none chosen".to_owned())),
            asked if asked.iter().any(|key| key == "all") => Ok(known),
            asked => {
                let camera = |key: &String| known.iter().copied().find(|known| known == key);
                let cameras = asked.iter().map(|key| camera(key).ok_or(key)).collect::<Result<Vec<_>, _>>();
                cameras.map_err(|key| self.unfit("features", expected(), format!("{key:?}")))
            }
        }
    }

    /// The Parquet files about episodes, in the order in which LeRobot reads them.
    fn episode_files(&self) -> Result<Vec<PathBuf>, BenchmarkError> {
        let folder = self.root.join(EPISODES);
        let walk = WalkDir::new(&folder).min_depth(2).max_depth(2).sort_by_file_name();
        let error = |error: walkdir::Error| BenchmarkError::Read { path: folder.clone(), cause: error.into() };
        let entries = walk.into_iter().collect::<Result<Vec<_>, _>>().map_err(error)?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(walkdir::DirEntry::into_path).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
        if files.is_empty() {
            let (at, found) = ("its folders".to_owned(), "none".to_owned());
            let expected = "files such as chunk-000/file-000.parquet".to_owned();
            return Err(BenchmarkError::Unfit { path: folder, at, expected, found });
        }
        Ok(files)
    }

    /// Where the MP4 of these numbers lies.
    fn video(&self, camera: &str, chunk: u64, file: u64) -> Result<PathBuf, BenchmarkError> {
        let template = self.info.video_path.as_deref().unwrap_or_default();
        let expected = || "a path of {video_key}, {chunk_index:03d} and {file_index:03d}".to_owned();
        let path = filled(template, &[("video_key", camera)], &[("chunk_index", chunk), ("file_index", file)]);
        let path = path.filter(|path| !path.is_empty());
        Ok(self.root.join(path.ok_or_else(|| self.unfit("video_path", expected(), format!("{template:?}")))?))
    }

    /// The split whose range, `0:50`, holds an episode.
    fn split(&self, episode: u64) -> &str {
        let holds = |range: &Cell| {
            let (first, end) = range.as_str().split_once(':')?;
            Some((first.trim().parse().ok()?..end.trim().parse().ok()?).contains(&episode))
        };
        self.info.splits.iter().find(|(_, range)| holds(range) == Some(true)).map_or("", |(split, _)| split)
    }
}

/// What to do about an older version.
fn remedy(version: &str, root: &Path, name: &str) -> String {
    let converter = "python -m lerobot.scripts.convert_dataset_v21_to_v30";
    match version.starts_with("v2") {
        true => format!(
            ", one MP4 for each episode; LeRobot converts v2.1: {converter} --repo-id={name} --root={root:?} --push-to-hub=false"
        ),
        false => String::new(),
    }
}

/// A template of Python's `str.format` with these texts and numbers in it; none where it wants anything else.
fn filled(template: &str, texts: &[(&str, &str)], numbers: &[(&str, u64)]) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (field, behind) = behind.split_once('}')?;
        let (name, format) = field.split_once(':').unwrap_or((field, ""));
        filled.push_str(before);
        match texts.iter().find(|(known, _)| *known == name) {
            Some((_, text)) if format.is_empty() => filled.push_str(text),
            Some(_) => return None,
            None => {
                let (_, number) = numbers.iter().find(|(known, _)| *known == name)?;
                let width = format.strip_suffix('d').unwrap_or(format);
                let width = if width.is_empty() { 0 } else { width.strip_prefix('0')?.parse::<u8>().ok()? };
                filled.push_str(&format!("{number:0width$}", width = usize::from(width)));
            }
        }
        rest = behind;
    }
    filled.push_str(rest);
    Some(filled)
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let set = DataSet::open(BENCHMARK.one_file(sources)?)?;
    let cameras = set.cameras(&sources.cameras)?;
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    let mut found = 0;
    for path in set.episode_files()? {
        let episodes = Episodes::read(&path, &set, &cameras)?;
        found += episodes.numbers.len() as u64;
        episodes.add(&mut builder, &set)?;
    }
    if let Some(told) = set.info.total_episodes.filter(|told| *told > found) {
        builder
            .tally
            .keep("data sets that tell of more episodes", format_args!("{INFO}: {told}, in {EPISODES} {found}"));
    }
    builder.finish(&Sources::default())
}

/// One file about episodes.
struct Episodes<'c> {
    /// What examples call it.
    name: String,
    numbers: Vec<Option<u64>>,
    lengths: Vec<Option<u64>>,
    tasks: Vec<Vec<String>>,
    cameras: Vec<Seen<'c>>,
}

/// Where a camera's episodes lie.
struct Seen<'c> {
    camera: &'c str,
    chunks: Vec<Option<u64>>,
    files: Vec<Option<u64>>,
    starts: Vec<Option<f64>>,
    ends: Vec<Option<f64>>,
}

/// The column of a camera.
fn of_camera(camera: &str, what: &str) -> String {
    format!("videos/{camera}/{what}")
}

impl<'c> Episodes<'c> {
    fn read(path: &Path, set: &DataSet, cameras: &[&'c str]) -> Result<Self, BenchmarkError> {
        const OF_CAMERA: [&str; 4] = ["chunk_index", "file_index", "from_timestamp", "to_timestamp"];
        let own = ["episode_index", "length", "tasks"].map(str::to_owned);
        let theirs = cameras.iter().flat_map(|camera| OF_CAMERA.map(|what| of_camera(camera, what)));
        let columns = Columns::read(path, &own.into_iter().chain(theirs).collect::<Vec<_>>())?;
        let seen = |&camera: &&'c str| {
            let [chunk, file, start, end] = OF_CAMERA.map(|what| of_camera(camera, what));
            let (chunks, files) = (columns.counts(&chunk)?, columns.counts(&file)?);
            Ok(Seen { camera, chunks, files, starts: columns.numbers(&start)?, ends: columns.numbers(&end)? })
        };
        Ok(Self {
            name: path.strip_prefix(&set.root).unwrap_or(path).display().to_string(),
            numbers: columns.counts("episode_index")?,
            lengths: columns.counts("length")?,
            tasks: columns.texts("tasks")?,
            cameras: cameras.iter().map(seen).collect::<Result<_, BenchmarkError>>()?,
        })
    }

    fn add(&self, builder: &mut Builder, set: &DataSet) -> Result<(), BenchmarkError> {
        for (row, number) in self.numbers.iter().enumerate() {
            let at = format!("{}: row {row}", self.name);
            match number {
                Some(number) => {
                    self.cameras
                        .iter()
                        .try_for_each(|seen| self.add_episode(builder, set, (&at, row, *number), seen))?;
                }
                None => builder.tally.drop("episodes without a number", &at),
            }
        }
        Ok(())
    }

    fn add_episode(
        &self,
        builder: &mut Builder,
        set: &DataSet,
        (at, row, number): (&str, usize, u64),
        seen: &Seen<'_>,
    ) -> Result<(), BenchmarkError> {
        let (name, camera) = (&set.name, seen.camera);
        let (Some(chunk), Some(file)) = (seen.chunks[row], seen.files[row]) else {
            builder.tally.drop("episodes that a camera did not see", format_args!("{at}: {camera}"));
            return Ok(());
        };
        let path = set.video(camera, chunk, file)?;
        if !path.is_file() {
            builder.tally.drop("episodes whose video is not there", format_args!("{at}: {}", path.display()));
            return Ok(());
        }
        let video = uid_for(&format!("{name}_{camera}_chunk-{chunk:03}_file-{file:03}"));
        let clip = uid_for(&format!("{name}_{camera}_episode-{number:06}"));
        let extent = Extent::Seconds(seen.starts[row], seen.ends[row]);
        let split = set.split(number);
        let times = format!("{at}: {} and to_timestamp", of_camera(camera, "from_timestamp"));
        let unit = Unit { video_uid: &video, clip_uid: &clip, extent, split };
        let Some(clip_uid) = builder.unit(&times, &unit) else { return Ok(()) };
        builder.path(&video, &path);
        let length = self.lengths[row].map(|length| length.to_string()).unwrap_or_default();
        let tasks: Vec<&str> = self.tasks[row].iter().map(|task| task.trim()).filter(|task| !task.is_empty()).collect();
        if tasks.is_empty() {
            builder.tally.keep("episodes without a task", format_args!("{at}: {clip_uid}"));
        }
        for (k, text) in tasks.into_iter().enumerate() {
            let query =
                Query { id: &format!("{clip_uid}_{k}"), clip_uid: &clip_uid, text, start_sec: None, end_sec: None };
            builder.query(at, query, &[split, camera, &number.to_string(), &length]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_templates_of_python() {
        let of =
            |template: &str| filled(template, &[("video_key", "a.b")], &[("chunk_index", 7), ("file_index", 1234)]);
        let usual = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";
        assert_eq!(of(usual).as_deref(), Some("videos/a.b/chunk-007/file-1234.mp4"));
        assert_eq!(of("{chunk_index}/{file_index:d}").as_deref(), Some("7/1234"));
        assert_eq!(of("plain").as_deref(), Some("plain"));
        for template in
            ["{episode_index:06d}", "{chunk_index:3d}", "{video_key:03d}", "{file_index", "{file_index:0999d}"]
        {
            assert_eq!(of(template), None, "{template}");
        }
    }

    #[test]
    fn depth_maps_are_no_cameras() {
        let feature = |text: &str| serde_json::from_str::<Feature>(text).unwrap().is_camera();
        assert!(feature(r#"{"dtype": "video", "shape": [8, 8, 3], "info": {"is_depth_map": false, "video.fps": 30}}"#));
        assert!(!feature(r#"{"dtype": "image"}"#));
        assert!(!feature(r#"{"dtype": "video", "info": {"video.is_depth_map": true}}"#));
        assert!(!feature(r#"{"dtype": "video", "info": null, "video_info": {"video.is_depth_map": true}}"#));
    }
}
