//! Every video below a folder, as one clip each: a file, a folder with the chunks of one, or the chapters of a GoPro's recording.
//!
//! For videos that come without a list. Not for telling videos from other files by content: extensions decide. Videos
//! are in order of their uids, with explicit paths, and a name that fits two files fits none. A name that is no uid, with a
//! space for instance, is given one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::{VideoUid, uid_for};
use crate::manifest::{
    Clip, Manifest, ManifestError, Place, RejectReason, Rejected, Video, same_file, uid_of, videos_below,
};

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "folder",
    about: "every video below a folder, named by its file",
    needs: Needs { annotations: Need::Unused, videos: Need::Required("a folder with videos (--videos DIR)") },
    build,
};

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let roots = BENCHMARK.videos(sources)?;
    let (mut by_uid, mut rejected) = (BTreeMap::new(), Vec::new());
    for root in roots {
        for path in videos_below(root)? {
            sort_in(&mut by_uid, &mut rejected, path);
        }
    }
    let single = settle(by_uid, &mut rejected);
    rejected.sort_by(|a, b| a.place.cmp(&b.place));
    if single.is_empty() {
        return Err(ManifestError::NoVideoFiles { roots: roots.to_vec(), rejected }.into());
    }
    let videos = (1..).zip(single).map(|(line, (uid, path))| whole(uid, path, line)).collect();
    Ok(Manifest { name: name_of(&roots[0]), videos, rejected }.into())
}

fn sort_in(by_uid: &mut BTreeMap<VideoUid, Vec<PathBuf>>, rejected: &mut Vec<Rejected>, path: PathBuf) {
    // A replacement character makes the uid fail, with the rest of the name in the message: such a path cannot be listed.
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = if path.to_str().is_some() { uid_of(&path).map(|name| uid_for(&name)) } else { None };
    match VideoUid::parse(&name.unwrap_or_else(|| stem.into_owned())) {
        Ok(uid) => {
            let paths = by_uid.entry(uid).or_default();
            if !paths.iter().any(|known| same_file(known, &path)) {
                paths.push(path);
            }
        }
        Err(cause) => reject(rejected, path, RejectReason::Uid { column: "video_uid", cause }),
    }
}

/// Two roots may overlap, so a file that was rejected once is not rejected again.
fn reject(rejected: &mut Vec<Rejected>, path: PathBuf, reason: RejectReason) {
    let rejection = Rejected { place: Place::File(path), reason };
    if !rejected.contains(&rejection) {
        rejected.push(rejection);
    }
}

fn settle(by_uid: BTreeMap<VideoUid, Vec<PathBuf>>, rejected: &mut Vec<Rejected>) -> Vec<(VideoUid, PathBuf)> {
    let mut single = Vec::with_capacity(by_uid.len());
    for (uid, mut paths) in by_uid {
        if paths.len() == 1 {
            single.extend(paths.pop().map(|path| (uid, path)));
            continue;
        }
        for (at, path) in paths.iter().enumerate() {
            let other = paths[usize::from(at == 0)].clone();
            reject(rejected, path.clone(), RejectReason::SameName { video_uid: uid.clone(), other });
        }
    }
    single
}

fn whole(uid: VideoUid, path: PathBuf, line: u64) -> Video {
    let clips = vec![Clip::whole(&uid, line)];
    Video { uid, path: Some(path), duration_sec: None, num_frames: None, fps: None, clips }
}

fn name_of(root: &Path) -> String {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    absolute.file_name().map_or_else(|| BENCHMARK.name.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::manifest::samples::tree;

    fn built(roots: &[PathBuf]) -> Result<Manifest, BenchmarkError> {
        build(&Sources { annotations: vec![], videos: roots.to_vec(), ..Sources::default() })
            .map(|built| built.manifest)
    }

    #[test]
    fn every_video_file_is_listed_in_order_of_its_uid() {
        let dir = tree(&["z/a.mp4", "c.MKV", "b.webm", "notes.txt"]);
        let root = dir.path().to_owned();
        let manifest = built(&[root.clone(), root.join("z")]).unwrap();
        let paths: Vec<_> = manifest.videos.iter().flat_map(|video| video.path.clone()).collect();
        assert_eq!(paths, [root.join("z/a.mp4"), root.join("b.webm"), root.join("c.MKV")]);
        assert!(manifest.rejected.is_empty());
        assert_eq!(manifest.videos[1].clips, [Clip::whole(&VideoUid::parse("b").unwrap(), 2)]);
        assert_eq!(manifest.name, root.file_name().unwrap().to_str().unwrap());
    }

    #[test]
    fn names_that_are_no_uids_are_given_one_and_keep_their_paths() {
        let names = ["a b.mp4", "a,b: 50%.MOV", "видео.mkv", "x/GX010123.MP4", "x/Screen Recording 1.mov", "影/0.mp4"];
        let dir = tree(&names);
        fs::write(dir.path().join("影/1.mp4"), "").unwrap();
        let manifest = built(&[dir.path().to_owned()]).unwrap();
        assert!(manifest.rejected.is_empty(), "{:?}", manifest.rejected);
        let mut paths: Vec<_> = manifest.videos.iter().flat_map(|video| video.path.clone()).collect();
        paths.sort();
        let mut expected: Vec<_> = names.iter().map(|name| dir.path().join(name.trim_end_matches("/0.mp4"))).collect();
        expected.sort();
        assert_eq!(paths, expected);
        let uids: Vec<&str> = manifest.videos.iter().map(|video| video.uid.as_str()).collect();
        assert!(uids.contains(&"GX010123") && uids.iter().any(|uid| uid.starts_with("a_b_50-")), "{uids:?}");
        let mut text = Vec::new();
        manifest.write_csv(&mut text).unwrap();
        let listed = dir.path().join("m.csv");
        fs::write(&listed, text).unwrap();
        let places = |manifest: Manifest| manifest.videos.into_iter().map(|v| (v.uid, v.path)).collect::<Vec<_>>();
        assert_eq!(places(Manifest::read(&listed).unwrap()), places(manifest));
    }

    #[test]
    fn chapters_of_a_recording_are_one_video() {
        let names = ["GX010123.MP4", "GX020123.MP4", "GX030123.MP4", "GX010124.MP4", "GH020125.MP4", "x/GX010123.MP4"];
        let dir = tree(&names);
        let manifest = built(&[dir.path().to_owned()]).unwrap();
        let found = |uid: &str| {
            let video = manifest.videos.iter().find(|video| video.uid.as_str() == uid).unwrap();
            video.path.clone().unwrap()
        };
        assert_eq!(found("GX0123"), dir.path().join("GX%02d0123.MP4"));
        // The others have no second chapter, or no first one.
        let uids: Vec<&str> = manifest.videos.iter().map(|video| video.uid.as_str()).collect();
        assert_eq!(uids, ["GH020125", "GX010123", "GX010124", "GX0123"]);
        assert_eq!(found("GX010123"), dir.path().join("x/GX010123.MP4"));
    }

    #[test]
    fn hidden_names_and_twins_are_rejected() {
        let dir = tree(&["._GX01.mp4", "x/a.mp4", "y/a.mkv", "ok.mp4"]);
        let manifest = built(&[dir.path().to_owned(), dir.path().to_owned()]).unwrap();
        assert_eq!(manifest.videos.len(), 1);
        let texts: Vec<_> = manifest.rejected.iter().map(Rejected::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].contains("._GX01.mp4: video_uid: uid \"._GX01\" contains '.'"), "{texts:?}");
        for (text, own, other) in [(&texts[1], "x/a.mp4", "y/a.mkv"), (&texts[2], "y/a.mkv", "x/a.mp4")] {
            assert!(
                text.contains(&format!("{own}: video_uid a is also the name of ")) && text.ends_with(other),
                "{text}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf8_is_rejected() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tree(&["ok.mp4"]);
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.mp4")), "").unwrap();
        let manifest = built(&[dir.path().to_owned()]).unwrap();
        assert_eq!((manifest.videos.len(), manifest.rejected.len()), (1, 1));
    }

    #[test]
    fn a_folder_without_videos_is_an_error() {
        let text = built(&[tree(&["notes.txt"]).path().to_owned()]).unwrap_err().to_string();
        assert!(text.starts_with("no usable video file below "), "{text}");
        let text = built(&[tree(&["._a.mp4"]).path().to_owned()]).unwrap_err().to_string();
        assert!(text.contains("._a.mp4: video_uid: uid"), "{text}");
        assert!(matches!(
            built(&["/nowhere/at/all".into()]),
            Err(BenchmarkError::Manifest(ManifestError::Root { .. }))
        ));
    }
}
