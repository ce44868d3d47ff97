//! Ego-Exo4D: `takes.json`, whose takes several cameras have recorded, a video each.
//!
//! A unit is the video of one camera, called `{take_uid}_{camera}_{stream}` as Ego4D's own features are; a query is the task of
//! the take. Which cameras are listed is chosen: the wearer's, those outside, the best of these, or some by name; of Aria's
//! streams the one of colours. Not for captures, nor for videos that were put together of several (`collage`, `best_exo`).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::builder::{Builder, Extent, Unit, name_of};
use super::json::{self, Cell, Pairs};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "egoexo",
    about: "videos of Ego-Exo4D's takes, of the cameras that --camera names",
    needs: Needs {
        annotations: Need::Required("takes.json of Ego-Exo4D (--annotations FILE)"),
        videos: Need::Optional("the folder that holds takes/, to leave out videos that are not there"),
    },
    build,
};

const COLUMNS: [&str; 6] = ["take_uid", "take_name", "camera", "parent_task_name", "university_name", "is_best_exo"];

/// What names of real cameras begin with.
const CAMERAS: [&str; 3] = ["aria", "cam", "gp"];
/// Aria's stream of colours.
const COLOURS: &str = "rgb";
/// Where smaller copies lie beside the videos.
const DOWNSCALED: &str = "downscaled/448";

#[derive(Deserialize)]
struct Take {
    take_uid: String,
    take_name: String,
    root_dir: PathBuf,
    best_exo: Option<String>,
    #[serde(default)]
    is_dropped: Option<bool>,
    task_name: Option<String>,
    task_start_sec: Option<f64>,
    task_end_sec: Option<f64>,
    duration_sec: Option<f64>,
    #[serde(default)]
    parent_task_name: Cell,
    #[serde(default)]
    university_name: Cell,
    frame_aligned_videos: Option<Pairs<Pairs<Stream>>>,
}

#[derive(Deserialize)]
struct Stream {
    relative_path: Option<PathBuf>,
}

impl Take {
    /// Whether the videos of a camera were asked for.
    fn is_chosen(&self, camera: &str, chosen: &[String]) -> bool {
        let is_ego = is_ego(camera);
        let is_it = |choice: &String| match choice.as_str() {
            "ego" => is_ego,
            "exo" => !is_ego,
            "best" => self.best_exo.as_deref() == Some(camera),
            "all" => true,
            name => name == camera,
        };
        if chosen.is_empty() { is_ego } else { chosen.iter().any(is_it) }
    }
}

fn is_ego(camera: &str) -> bool {
    camera.starts_with(CAMERAS[0])
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let takes: Vec<Take> = json::read(path)?;
        for (number, take) in takes.iter().enumerate() {
            let at = format!("{}: [{number}]", name_of(path));
            add_take(&mut builder, &at, take, sources);
        }
    }
    builder.finish(sources)
}

fn add_take(builder: &mut Builder, at: &str, take: &Take, sources: &Sources) {
    if take.is_dropped == Some(true) {
        return builder.tally.drop("takes that are marked as dropped", format_args!("{at}: {}", take.take_name));
    }
    let cameras = take.frame_aligned_videos.iter().flat_map(|videos| &videos.0);
    let real = cameras.filter(|(camera, _)| CAMERAS.iter().any(|prefix| camera.starts_with(prefix)));
    let mut chosen = 0;
    for (camera, streams) in real.filter(|(camera, _)| take.is_chosen(camera, &sources.cameras)) {
        for (stream, video) in streams.0.iter().filter(|(stream, _)| !is_ego(camera) || stream == COLOURS) {
            chosen += 1;
            add_video(builder, at, take, (camera, stream, video), sources);
        }
    }
    if chosen == 0 {
        builder
            .tally
            .drop("takes without a video of the cameras that are asked for", format_args!("{at}: {}", take.take_name));
    }
}

fn add_video(
    builder: &mut Builder,
    at: &str,
    take: &Take,
    (camera, stream, video): (&str, &str, &Stream),
    sources: &Sources,
) {
    let at = format!("{at}.frame_aligned_videos.{camera}.{stream}");
    let Some(relative) = &video.relative_path else {
        return builder.tally.drop("videos without a path", at);
    };
    let name = format!("{}_{camera}_{stream}", take.take_uid);
    let unit = Unit { video_uid: &name, clip_uid: &name, extent: Extent::Whole, split: "" };
    let Some(clip_uid) = builder.unit(&at, &unit) else { return };
    if let Some(path) = found(&take.root_dir.join(relative), &sources.videos) {
        builder.path(&name, &path);
    }
    if let Some(sec) = take.duration_sec {
        builder.duration(&name, sec);
    }
    let (start_sec, end_sec) = (take.task_start_sec, take.task_end_sec);
    builder.note_window(&at, start_sec, end_sec, take.duration_sec);
    let text = take.task_name.as_deref().unwrap_or_default();
    let query = Query { id: &name, clip_uid: &clip_uid, text, start_sec, end_sec };
    let is_best = (take.best_exo.as_deref() == Some(camera)).to_string();
    let own = [&take.parent_task_name, &take.university_name].map(Cell::as_str);
    builder.query(&at, query, &["", &take.take_uid, &take.take_name, camera, own[0], own[1], &is_best]);
}

/// Where a video of that path lies: in one of the folders, or a smaller copy of it; as it is where no folder was given, for a
/// manifest that lies in the folder of the download.
fn found(path: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    if roots.is_empty() {
        return Some(path.to_owned());
    }
    let smaller = path.parent().zip(path.file_name()).map(|(folder, name)| folder.join(DOWNSCALED).join(name));
    let candidates = |root: &PathBuf| [Some(root.join(path)), smaller.as_ref().map(|smaller| root.join(smaller))];
    let found = roots.iter().flat_map(candidates).flatten().find(|path| path.is_file())?;
    Some(std::path::absolute(&found).unwrap_or(found))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{annotations, dropped, kept, lines};
    use super::*;

    fn built(cameras: &[&str], videos: &[PathBuf]) -> Result<Built, BenchmarkError> {
        let cameras = cameras.iter().map(|camera| (*camera).to_owned()).collect();
        build(&Sources { annotations: vec![annotations("takes.json")], videos: videos.to_vec(), cameras })
    }

    fn names(cameras: &[&str]) -> Vec<String> {
        let built = built(cameras, &[]).unwrap();
        built.manifest.videos.iter().map(|video| video.uid.to_string()).collect()
    }

    #[test]
    fn cameras_are_chosen_by_kind_or_by_name() {
        assert_eq!(names(&[]), ["take-1_aria01_rgb", "take-2_aria02_rgb"]);
        assert_eq!(names(&["ego"]), names(&[]));
        assert_eq!(names(&["exo"]), ["take-1_cam01_0", "take-1_cam02_0", "take-2_gp01_0"]);
        assert_eq!(names(&["best"]), ["take-1_cam02_0"]);
        assert_eq!(names(&["ego", "cam01"]), ["take-1_aria01_rgb", "take-1_cam01_0", "take-2_aria02_rgb"]);
        assert_eq!(names(&["all"]).len(), 5);
    }

    #[test]
    fn takes_are_queries_and_what_cannot_be_used_is_counted() {
        let built = built(&["ego"], &[]).unwrap();
        let expected = ["take-1_aria01_rgb take-1_aria01_rgb whole -", "take-2_aria02_rgb take-2_aria02_rgb whole -"];
        assert_eq!(lines(&built), expected);
        assert_eq!(built.manifest.videos[0].duration_sec, Some(110.5));
        let path = "takes/cmu_bike01_2/frame_aligned_videos/aria01_214-1.mp4";
        assert_eq!(built.manifest.videos[0].path.as_deref(), Some(Path::new(path)));
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.text, query.start_sec, query.end_sec)).collect();
        assert_eq!(rows, [("Remove a Wheel", Some(0.28164), Some(110.06668)), ("", None, None)]);
        assert_eq!(queries.column("take_name").unwrap().next(), Some("cmu_bike01_2"));
        let reasons =
            [("takes that are marked as dropped", 1), ("takes without a video of the cameras that are asked for", 1)];
        assert_eq!((dropped(&built), kept(&built)), (reasons.to_vec(), vec![]));
    }

    #[test]
    fn videos_are_found_below_the_download_and_as_smaller_copies() {
        let root = tempfile::tempdir().unwrap();
        let videos = root.path().join("takes/cmu_bike01_2/frame_aligned_videos");
        std::fs::create_dir_all(videos.join(DOWNSCALED)).unwrap();
        let small = videos.join(DOWNSCALED).join("aria01_214-1.mp4");
        std::fs::write(&small, "").unwrap();
        std::fs::write(videos.join("cam01.mp4"), "").unwrap();
        let built = built(&["all"], &[root.path().to_owned()]).unwrap();
        let found: Vec<_> = built.manifest.videos.iter().filter_map(|video| video.path.clone()).collect();
        assert_eq!(found, [small, videos.join("cam01.mp4")]);
        assert_eq!(dropped(&built)[2], ("clips of videos that are not below --videos", 3));
    }

    #[test]
    fn a_list_of_another_form_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("takes.json");
        std::fs::write(&path, r#"[{"take_uid": "a", "take_name": "b"}]"#).unwrap();
        let error = build(&Sources { annotations: vec![path], ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains("takes.json: [0]: missing field `root_dir`"), "{error}");
    }
}
