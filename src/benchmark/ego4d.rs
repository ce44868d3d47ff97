//! All of Ego4D: each video as one clip, from `ego4d.json` or the `manifest.csv` that its download brings.
//!
//! Not for the annotations of the challenges, which are benchmarks of their own. Videos come in the order of the file,
//! and with folders given only those that are there.

use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::manifest::{Clip, Manifest, ManifestError, Video};

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "ego4d",
    about: "whole videos of Ego4D, from its metadata",
    needs: Needs {
        annotations: Need::Required("ego4d.json or manifest.csv of Ego4D (--annotations FILE)"),
        videos: Need::Optional("folders with the downloaded videos, to leave out those that are not there"),
    },
    build,
};

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut manifest = Manifest::read(BENCHMARK.one_file(sources)?)?;
    manifest.name = BENCHMARK.name.to_owned();
    manifest.videos.iter_mut().for_each(make_whole);
    if !sources.videos.is_empty() {
        keep_present(&mut manifest, sources)?;
    }
    Ok(manifest.into())
}

/// Replaces a video's clips, if it has any but itself; what the first one carries is kept.
fn make_whole(video: &mut Video) {
    let first = video.clips.drain(..).next();
    let whole = Clip::whole(&video.uid, 0);
    video.clips.push(match first {
        Some(Clip { extra, line, .. }) => Clip { extra, line, ..whole },
        None => whole,
    });
}

fn keep_present(manifest: &mut Manifest, sources: &Sources) -> Result<(), ManifestError> {
    // What a manifest says about paths may be true of another machine only.
    manifest.videos.iter_mut().for_each(|video| video.path = video.path.take().filter(|path| path.is_file()));
    manifest.locate(&sources.videos)?;
    let listed = manifest.videos.len();
    manifest.videos.retain(|video| video.path.is_some());
    match manifest.videos.len() {
        0 => Err(ManifestError::NoVideoFiles { roots: sources.videos.clone(), rejected: Vec::new() }),
        present => {
            log::info!("{present} of {listed} videos of Ego4D are present");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn data(file: &str) -> Vec<PathBuf> {
        vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/manifests")).join(file)]
    }

    const SECOND: &str = "00000000-0000-4000-8000-000000000002";

    #[test]
    fn metadata_and_manifest_list_the_same_whole_videos() {
        let built =
            |file| build(&Sources { annotations: data(file), videos: vec![], ..Sources::default() }).unwrap().manifest;
        let (json, csv) = (built("ego4d.json"), built("ego4d_manifest.csv"));
        assert_eq!((json.name.as_str(), csv.name.as_str()), ("ego4d", "ego4d"));
        let outline = |manifest: &Manifest| -> Vec<_> {
            let videos = manifest.videos.iter();
            videos.map(|v| (v.uid.clone(), v.duration_sec, v.num_frames, v.fps, v.clips[0].uid.clone())).collect()
        };
        assert_eq!(outline(&json), outline(&csv));
        assert_eq!(json.videos.len(), 3);
    }

    #[test]
    fn with_folders_only_videos_that_are_there_remain() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("v2/full_scale")).unwrap();
        let path = dir.path().join(format!("v2/full_scale/{SECOND}.mp4"));
        fs::write(&path, "").unwrap();
        let sources =
            Sources { annotations: data("ego4d.json"), videos: vec![dir.path().to_owned()], ..Sources::default() };
        let manifest = build(&sources).unwrap().manifest;
        assert_eq!(manifest.videos.len(), 1);
        assert_eq!(manifest.videos[0].path, Some(path));
    }

    #[test]
    fn a_listed_path_that_is_not_there_gives_way_to_the_folders() {
        let dir = tempfile::tempdir().unwrap();
        let (list, video) = (dir.path().join("m.csv"), dir.path().join("a.mp4"));
        fs::write(&list, "video_uid,path\na,/nowhere/a.mp4\nb,/nowhere/b.mp4\n").unwrap();
        fs::write(&video, "").unwrap();
        let manifest =
            build(&Sources { annotations: vec![list], videos: vec![dir.path().to_owned()], ..Sources::default() })
                .unwrap()
                .manifest;
        assert_eq!(manifest.videos.iter().map(|video| video.path.clone()).collect::<Vec<_>>(), [Some(video)]);
    }

    #[test]
    fn folders_without_any_of_the_videos_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let sources =
            Sources { annotations: data("ego4d.json"), videos: vec![dir.path().to_owned()], ..Sources::default() };
        let text = build(&sources).unwrap_err().to_string();
        assert!(text.starts_with("no usable video file below "), "{text}");
    }

    #[test]
    fn rows_about_parts_become_whole_videos() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.csv");
        fs::write(&path, "video_uid,start_sec,end_sec,split\nv,0,5,train\nv,5,9,val\n").unwrap();
        let manifest =
            build(&Sources { annotations: vec![path], videos: vec![], ..Sources::default() }).unwrap().manifest;
        let clip = &manifest.videos[0].clips[0];
        assert_eq!((manifest.num_clips(), clip.uid.as_str(), clip.span, clip.line), (1, "v", None, 2));
        assert_eq!(clip.extra["split"], "train");
    }
}
