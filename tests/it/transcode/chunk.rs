//! `egofx chunk` on videos whose frames show their numbers: each frame is in its chunk, and a clip of EgoClip has the same
//! frames from chunks and from the whole file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egofx::compat::Compat;
use egofx::decode::{FfmpegSource, Filter, FrameSource, HwAccel, Transform};
use egofx::grid::egoclip::{Address, ChunkLength, EGOCLIP_CHUNKS, NarratedClip, Pick, fill};
use serde_json::Value;

use crate::support;
use crate::support::videos;
use crate::support::{H264, Outcome, Workshop, ffprobe, finish, json, media, packet_times, signal, tool, wait_for};

/// Fast, and the same bytes each time; good enough to read numbers off the images.
const FAST: &str = "--preset ultrafast --threads 1 --crf 12";
const CODED: Transform = Transform::centred(32, 32, Filter::Bilinear);

fn shop() -> Workshop {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    shop
}

fn chunk(shop: &Workshop, flags: &str) -> Outcome {
    shop.egofx(&format!("chunk --videos videos -o out {FAST} {flags}"))
}

/// Makes a video of 32x32 pixels whose frame n shows n in binary: sixteen blocks of 8x8, row by row, least significant first.
fn coded(shop: &Workshop, name: &str, frames: u64, rate: &str) {
    let light = "geq=lum='235*gt(mod(floor(N/pow(2,floor(X/8)+4*floor(Y/8))),2),0)':cb=128:cr=128";
    let source = format!("-f lavfi -i color=black:s=32x32:r={rate}");
    shop.ffmpeg(&format!(
        "{source} -vf {light} -frames:v {frames} -c:v libx264 -preset ultrafast -crf 12 -bf 2 -g 250 -pix_fmt yuv420p {name}"
    ));
}

/// The numbers that the frames `wanted` of a file show, in that order, by the real decoder.
fn codes(path: &Path, wanted: &[u64]) -> Vec<u64> {
    let source = FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None };
    let video = source.probe(path, None).unwrap();
    let mut ascending = wanted.to_vec();
    ascending.sort_unstable();
    ascending.dedup();
    let frames: BTreeMap<u64, u64> = source
        .open(&video, &ascending, &[CODED])
        .map(|frame| frame.unwrap())
        .map(|frame| (frame.index, code(&frame.pixels[0].levels())))
        .collect();
    wanted.iter().map(|index| frames[index]).collect()
}

fn code(rgb: &[u8]) -> u64 {
    let light = |bit: usize| rgb[((bit / 4 * 8 + 4) * 32 + bit % 4 * 8 + 4) * 3] > 127;
    (0..16).map(|bit| u64::from(light(bit)) << bit).sum()
}

fn chunk_file(shop: &Workshop, uid: &str, k: u64) -> PathBuf {
    shop.path(&format!("out/{uid}/{k}.mp4"))
}

/// Number of frames of each chunk of a video, in the order of their numbers.
fn counts(shop: &Workshop, uid: &str) -> Vec<(u64, usize)> {
    let files = fs::read_dir(shop.path("out").join(uid)).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut counts: Vec<(u64, usize)> = files.map(|path| (number(&path), packet_times(&path, "v:0").len())).collect();
    counts.sort_unstable();
    counts
}

fn record(shop: &Workshop, uid: &str) -> Value {
    json(&fs::read_to_string(shop.path(&format!("out/.egofx/records/{uid}.json"))).unwrap())
}

/// The numbers read at `addresses` from chunks, and from the whole file.
fn read_both_ways(shop: &Workshop, uid: &str, addresses: &[Address], chunks: ChunkLength) -> (Vec<u64>, Vec<u64>) {
    let from_chunks = addresses.iter().map(|a| codes(&chunk_file(shop, uid, a.chunk), &[a.frame()])[0]).collect();
    let whole: Vec<u64> = addresses.iter().map(|a| a.whole(chunks)).collect();
    (from_chunks, codes(&shop.path(&format!("videos/{uid}.mp4")), &whole))
}

#[test]
fn clips_have_the_same_frames_from_chunks_and_from_the_whole_file() {
    let shop = shop();
    coded(&shop, "videos/v.mp4", 200, "30");
    chunk(&shop, "--length 2").ends_with(0);
    assert_eq!(counts(&shop, "v"), [(0, 60), (1, 60), (2, 60), (3, 20)]);
    let chunks = ChunkLength { sec: 2 };
    for (start, end, frames) in
        [(0.0, 0.2, 4), (0.5, 1.5, 4), (1.5, 2.5, 16), (1.9, 2.1, 4), (3.7, 4.4, 4), (6.0, 7.5, 4)]
    {
        let clip = NarratedClip::new(start, end);
        let picked = clip.pick(frames, Pick::Uniform).unwrap();
        for compat in [Compat::Fixed, Compat::AsReleased] {
            let addresses = clip.addresses(&picked, chunks, |k| chunks.frames_of(k, 200), compat);
            let (from_chunks, from_whole) = read_both_ways(&shop, "v", &fill(addresses, frames), chunks);
            assert_eq!(from_chunks, from_whole, "{start} to {end} {compat:?}");
            let named = |&i: &i64| match compat {
                Compat::Fixed => (i as u64).min(199),
                // Off by one, the first frame twice; the first frame of the second chunk is that of the first chunk.
                Compat::AsReleased if i == 60 => 0,
                Compat::AsReleased => (i as u64).min(200).saturating_sub(1),
            };
            assert_eq!(from_chunks, picked.iter().map(named).collect::<Vec<_>>(), "{start} to {end} {compat:?}");
        }
    }
}

#[test]
fn chunks_of_600_seconds_hold_18000_frames_and_a_multiple_has_no_empty_last_one() {
    let shop = shop();
    coded(&shop, "videos/long.mp4", 18_030, "30");
    chunk(&shop, "").ends_with(0);
    assert_eq!(counts(&shop, "long"), [(0, 18_000), (1, 30)]);
    for (k, wanted) in [(0, [0, 17_999]), (1, [18_000, 18_029])] {
        assert_eq!(codes(&chunk_file(&shop, "long", k), &[0, wanted[1] - wanted[0]]), wanted);
        let times = packet_times(&chunk_file(&shop, "long", k), "v:0");
        assert!(times[0].abs() < 1e-6, "chunk {k} begins at {}", times[0]);
        let ideal = |(i, &sec): (usize, &f64)| (sec - i as f64 / 30.0).abs() < 1e-3;
        assert!(times.iter().enumerate().all(ideal), "chunk {k}");
    }
    let clip = NarratedClip::new(599.9, 600.1);
    let picked = clip.pick(4, Pick::Uniform).unwrap();
    let addresses = clip.addresses(&picked, EGOCLIP_CHUNKS, |_| 18_000, Compat::Fixed);
    let both = read_both_ways(&shop, "long", &addresses, EGOCLIP_CHUNKS);
    assert_eq!(both, (vec![17_997, 17_998, 18_000, 18_001], vec![17_997, 17_998, 18_000, 18_001]));
    let shorter = self::shop();
    coded(&shorter, "videos/even.mp4", 180, "30");
    chunk(&shorter, "--length 2").ends_with(0);
    assert_eq!(counts(&shorter, "even"), [(0, 60), (1, 60), (2, 60)]);
}

#[test]
fn odd_rates_gaps_and_late_starts_are_cut_by_the_frames_own_times() {
    let shop = shop();
    coded(&shop, "videos/ntsc.mp4", 200, "30000/1001");
    shop.ffmpeg("-itsoffset 1.5 -i videos/ntsc.mp4 -c copy videos/late.mkv");
    // Nothing is shown from second 2 to second 6.
    shop.ffmpeg("-i videos/ntsc.mp4 -vf setpts='PTS+if(gte(N,60),5/TB,0)' -vsync passthrough -c:v libx264 -preset ultrafast videos/gap.mkv");
    chunk(&shop, "--length 2").ends_with(0);
    assert_eq!(counts(&shop, "ntsc"), [(0, 60), (1, 60), (2, 60), (3, 20)]);
    assert_eq!(counts(&shop, "late"), [(0, 15), (1, 60), (2, 60), (3, 60), (4, 5)]);
    let gap = counts(&shop, "gap");
    assert_eq!(gap.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [0, 3, 4, 5], "chunks 1 and 2 have no frames");
    for uid in ["ntsc", "late", "gap"] {
        let mut next = 0;
        for (k, frames) in counts(&shop, uid) {
            let shown = codes(&chunk_file(&shop, uid, k), &(0..frames as u64).collect::<Vec<_>>());
            assert_eq!(shown, (next..next + frames as u64).collect::<Vec<_>>(), "{uid} {k}");
            next += frames as u64;
            let source = packet_times(
                &fs::read_dir(shop.path("videos"))
                    .unwrap()
                    .map(|e| e.unwrap().path())
                    .find(|p| p.file_stem().unwrap() == uid)
                    .unwrap(),
                "v:0",
            );
            assert!(shown.iter().all(|&n| (source[n as usize] / 2.0) as u64 == k), "{uid} {k}");
        }
        assert_eq!(next, 200, "{uid}");
        let first = record(&shop, uid)["chunks"][1].clone();
        assert!(first["start_sec"].as_f64().unwrap() >= 2.0 && first["first_frame"].as_u64().unwrap() > 0, "{first}");
    }
}

#[test]
fn a_folder_of_chunks_is_read_as_the_video_that_it_was() {
    let shop = shop();
    for (name, rate) in [("v", "30"), ("ntsc", "30000/1001")] {
        coded(&shop, &format!("videos/{name}.mp4"), 200, rate);
    }
    chunk(&shop, "--length 2").ends_with(0);
    let source = FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None };
    for name in ["v", "ntsc"] {
        let (folder, file) = (shop.path(&format!("out/{name}")), shop.path(&format!("videos/{name}.mp4")));
        let (chunks, whole) = (source.probe(&folder, None).unwrap(), source.probe(&file, None).unwrap());
        assert_eq!((chunks.timeline.frames(), chunks.files().len()), (200, 4));
        let far = |i| (chunks.timeline.sec(i) - whole.timeline.sec(i)).abs();
        assert!((0..200).all(|i| far(i) < 1e-4), "{name}");
        for wanted in [(0..200).collect::<Vec<_>>(), vec![59, 60, 119, 120, 199], vec![61], vec![10, 150]] {
            assert_eq!(codes(&folder, &wanted), wanted, "{name}");
        }
    }
    shop.recipe("rows", support::EGOVLP, "hdf5", "f32");
    for (list, path) in [("chunks", "out/v"), ("whole", "videos/v.mp4")] {
        shop.write(&format!("{list}.csv"), format!("video_uid,path,clip_uid,start_sec,end_sec\nv,{path},c,0.5,6.2\n"));
        shop.egofx(&format!("extract -m {list}.csv -p rows.toml -o features-{list}")).ends_with(0);
        shop.egofx(&format!("verify features-{list}")).ends_with(0);
    }
    let (chunks, whole) = (shop.unit("features-chunks/rows", "c"), shop.unit("features-whole/rows", "c"));
    assert_eq!((chunks.meta.len(), &chunks.meta), (10, &whole.meta), "the same frames at the same times");
    shop.egofx("audit -m chunks.csv").ends_with(0);
    let refused =
        |words: &str| shop.egofx("extract -m chunks.csv -p rows.toml -o new").ends_with(1).says(&["out/v", words]);
    let moved = fs::read(chunk_file(&shop, "v", 1)).unwrap();
    fs::remove_file(chunk_file(&shop, "v", 1)).unwrap();
    refused("the chunks do not make one video: 1.mp4 is missing, there is 3.mp4");
    fs::copy(chunk_file(&shop, "v", 3), chunk_file(&shop, "v", 1)).unwrap();
    refused("1.mp4 ends at 0.67 s and is not the last one, 0.mp4 ends at 2.00 s");
    fs::write(chunk_file(&shop, "v", 1), moved).unwrap();
    shop.egofx("extract -m chunks.csv -p rows.toml -o new").ends_with(0);
}

#[test]
fn one_decode_resizes_and_cuts_and_the_sound_comes_along() {
    let shop = shop();
    fs::copy(media("nasa_13013.mp4"), shop.path("videos/nasa.mp4")).unwrap();
    shop.encode("videos/portrait.mp4", "48x80", 100, H264);
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nexec {} \"$@\"\n",
        shop.path("starts").display(),
        tool("ffmpeg").display()
    );
    shop.script("noting.sh", &script);
    chunk(&shop, "--length 3 --short-side 64 --ffmpeg ./noting.sh").ends_with(0);
    let starts = fs::read_to_string(shop.path("starts")).unwrap();
    assert_eq!(
        starts.lines().filter(|line| line.contains("libx264")).count(),
        2,
        "one process for each video: {starts}"
    );
    assert_eq!(counts(&shop, "nasa").iter().map(|(_, frames)| frames).sum::<usize>(), 390);
    assert_eq!(ffprobe(&chunk_file(&shop, "nasa", 1), "v:0", "stream=width,height"), ["112,64"]);
    assert_eq!(ffprobe(&chunk_file(&shop, "portrait", 1), "v:0", "stream=width,height"), ["64,106"]);
    let packets = |path: &Path| ffprobe(path, "a", "packet=size").len();
    let sound: usize = (0..5).map(|k| packets(&chunk_file(&shop, "nasa", k))).sum();
    assert_eq!(sound, packets(&shop.path("videos/nasa.mp4")), "no packet of sound is lost at a cut");
}

#[test]
fn a_video_of_one_chunk_is_copied_as_it_is() {
    let shop = shop();
    shop.clip("videos/a.mp4", 50);
    shop.ffmpeg("-i videos/a.mp4 -c copy videos/b.mkv");
    chunk(&shop, "").ends_with(0);
    assert_eq!(fs::read(chunk_file(&shop, "a", 0)).unwrap(), fs::read(shop.path("videos/a.mp4")).unwrap());
    assert_eq!(
        ffprobe(&chunk_file(&shop, "b", 0), "v:0", "packet=size"),
        ffprobe(&shop.path("videos/b.mkv"), "v:0", "packet=size")
    );
    assert_eq!((counts(&shop, "a"), counts(&shop, "b")), (vec![(0, 50)], vec![(0, 50)]));
}

/// The frames of a file that a decoder can start at.
fn keys(path: &Path) -> Vec<usize> {
    let flags = ffprobe(path, "v:0", "packet=pts,flags");
    let mut packets: Vec<(i64, bool)> = flags
        .iter()
        .filter_map(|line| line.split_once(','))
        .map(|(pts, flags)| (pts.parse().unwrap(), flags.contains('K')))
        .collect();
    packets.sort_unstable();
    packets.iter().enumerate().filter(|(_, (_, is_key))| *is_key).map(|(at, _)| at).collect()
}

#[test]
fn for_training_there_is_a_key_frame_every_30_frames_also_in_a_video_of_one_chunk() {
    let shop = shop();
    shop.clip("videos/a.mp4", 100);
    let medium = |flags: &str| shop.egofx(&format!("chunk --videos videos -o out --preset medium {flags}"));
    medium("--length 3").ends_with(0);
    assert_eq!((keys(&chunk_file(&shop, "a", 0)), keys(&chunk_file(&shop, "a", 1))), (vec![0], vec![0]));
    medium("--length 3 --for training --force").ends_with(0);
    assert_eq!((keys(&chunk_file(&shop, "a", 0)), keys(&chunk_file(&shop, "a", 1))), (vec![0, 30, 60], vec![0]));
    medium("--for training --force").ends_with(0);
    assert_eq!(keys(&chunk_file(&shop, "a", 0)), [0, 30, 60, 90]);
    medium("--for training --keyint 20").ends_with(2).says(&["cannot be used with"]);
    medium("--for viewing").ends_with(2).says(&["training"]);
}

#[test]
fn faulty_videos_are_named_and_the_others_cut() {
    let shop = shop();
    shop.clip("videos/good.mp4", 100);
    shop.encode("videos/cut.mp4", "64x48", 200, &format!("{H264} -movflags +faststart"));
    let bytes = fs::read(shop.path("videos/cut.mp4")).unwrap();
    shop.write("videos/cut.mp4", &bytes[..bytes.len() / 2]);
    shop.ffmpeg("-f lavfi -i sine -t 1 -c:a aac videos/sound.mp4");
    fs::create_dir_all(shop.path("out/taken")).unwrap();
    shop.clip("videos/taken.mp4", 100);
    shop.write("out/taken/0.mp4", "precious");
    chunk(&shop, "--length 2").ends_with(1).says(&[
        "cut: ",
        "truncated: its header says",
        "no video stream",
        "out/taken exists already",
        "1 video made, 0 done before, 3 failed, 0 not reached",
    ]);
    assert_eq!(counts(&shop, "good"), [(0, 50), (1, 50)]);
    assert!(!shop.path("out/cut").exists() && !shop.path("out/sound").exists());
    assert_eq!(fs::read(chunk_file(&shop, "taken", 0)).unwrap(), b"precious");
    chunk(&shop, "--length 2 --force").ends_with(1).says(&["1 video made, 1 done before, 2 failed"]);
    assert_eq!(counts(&shop, "taken"), [(0, 50), (1, 50)]);
    chunk(&shop, "--length 3")
        .ends_with(2)
        .says(&["was made here with piece_sec = 2, this run would make it with piece_sec = 3"]);
    let words = "0 videos made, 2 done before";
    fs::remove_file(chunk_file(&shop, "good", 1)).unwrap();
    chunk(&shop, "--length 2").ends_with(1).says(&["good: made anew", "1 video made, 1 done before"]);
    chunk(&shop, "--length 2").ends_with(1).says(&[words]);
    chunk(&shop, "--length 3 --force").ends_with(1).says(&["2 videos made"]);
    assert_eq!(counts(&shop, "good"), [(0, 75), (1, 25)]);
}

#[test]
fn a_killed_run_is_finished_by_the_same_command() {
    let shop = shop();
    for (name, frames) in [("a", 700), ("b", 500)] {
        shop.encode(&format!("videos/{name}.mp4"), "320x240", frames, H264);
    }
    shop.egofx(&format!("chunk --videos videos -o whole --length 5 {FAST}")).ends_with(0);
    let files = |out: &str| -> BTreeMap<PathBuf, Vec<u8>> {
        let all =
            walkdir::WalkDir::new(shop.path(out)).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let relative = |path: &Path| path.strip_prefix(shop.path(out)).unwrap().to_owned();
        all.map(|e| (relative(e.path()), fs::read(e.path()).unwrap()))
            .filter(|(p, _)| !p.starts_with(".egofx"))
            .collect()
    };
    let (wanted, mut within) = (files("whole"), 0);
    assert_eq!(wanted.len(), 6 + 4);
    for milliseconds in [0, 100, 300, 500, 0] {
        let mut run = shop.start(&format!("chunk --videos videos -o out --length 5 --jobs 2 {FAST}"));
        shop.wait_for_an_encoder(&mut run);
        std::thread::sleep(Duration::from_millis(milliseconds));
        within += usize::from(shop.encodes());
        signal(&run, "KILL");
        finish(run);
        wait_for("all processes have ended", 10, || shop.live_processes().is_empty());
        assert!(files("out").iter().all(|(name, bytes)| wanted[name] == *bytes), "a half-made chunk has its name");
    }
    assert!(within > 0);
    chunk(&shop, "--length 5").ends_with(0);
    assert!(files("out") == wanted);
    assert_eq!(fs::read_dir(shop.path("out/.egofx/tmp")).unwrap().count(), 0);
}
