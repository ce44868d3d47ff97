//! Videos that lie there as folders of images: the same rows as from the file that they were made of, and every image that
//! is missing or damaged costs its own rows only.

use std::fs;
use std::path::Path;

use egofx::decode::{Channels, Fault, FfmpegSource, Filter, Frame, FrameSource, HwAccel, Reader, Transform, VideoInfo};
use egofx::time::Fps;

use crate::support;
use crate::support::programs::tools;
use crate::support::{Workshop, media, row_bits};

/// Shots of five images at five a second.
const SHOTS: &str = "kind = \"uniform\"\nfps = \"5\"\nframes = 5\nstride = 5\ntail = \"drop\"";

/// A workshop with 32 real frames as `NAME0001.jpg` and on in `folder`, and `clip.mkv`, made of them at 5 a second.
fn shop(folder: &str, name: &str) -> Workshop {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path(folder)).unwrap();
    shop.ffmpeg(&format!("-i {} -frames:v 32 -q:v 2 {folder}/{name}%04d.jpg", media("nasa_13013.mp4")));
    shop.ffmpeg(&format!("-framerate 5 -i {folder}/{name}%04d.jpg -c:v ffv1 clip.mkv"));
    assert_eq!(fs::read_dir(shop.path(folder)).unwrap().count(), 32);
    shop
}

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None }
}

fn fps(rate: u32) -> Option<Fps> {
    Fps::new(rate, 1)
}

fn open(video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> (Vec<Frame>, Vec<Fault>) {
    let (mut frames, mut faults) = (Vec::new(), Vec::new());
    for next in source().open(video, wanted, transforms) {
        next.map_or_else(|fault| faults.push(fault), |frame| frames.push(frame));
    }
    (frames, faults)
}

/// Pixels of PNG files are those of a video without loss, and a reader's are scaled in one way: so rows agree to the bit.
#[test]
fn a_folder_gives_the_rows_of_the_video_it_was_made_of() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path("frames")).unwrap();
    shop.ffmpeg(&format!("-i {} -frames:v 32 frames/frame_%05d.png", media("nasa_13013.mp4")));
    shop.ffmpeg("-framerate 5 -i frames/frame_%05d.png -c:v ffv1 -pix_fmt bgr0 clip.mkv");
    let path = shop.recipe("rows", SHOTS, "hdf5", "f32");
    let read = "channels = \"rgb\"\nreader = \"decord\"\nprepare = \"none\"";
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("channels = \"rgb\"", read)).unwrap();
    shop.write("all.csv", "video_uid,path,fps\nclip,clip.mkv,\nfolder,frames,5\n");
    shop.extract("out", "").ends_with(0);
    let (video, folder) = (shop.unit("out/rows", "clip"), shop.unit("out/rows", "folder"));
    assert_eq!(video.meta.len(), 6, "32 frames are 6 shots of 5, and 2 are dropped");
    assert_eq!(folder.meta, video.meta, "frames and times of all rows");
    assert_eq!(row_bits(&folder), row_bits(&video));
    assert_eq!((folder.header.source_frames, folder.header.source_fps), (32, 5.0));
    let bytes: u64 = fs::read_dir(shop.path("frames")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(folder.header.source_bytes, bytes);
    shop.egofx("verify out").ends_with(0);
    shop.egofx("audit -m all.csv").ends_with(0);
    shop.extract("again", "--batch-size 3 --decoders 2").ends_with(0);
    assert_eq!(shop.unit_files("again"), shop.unit_files("out"), "the same bits in another batch");
}

#[test]
fn a_folder_of_something_else_is_called_what_it_is() {
    let shop = Workshop::with_recipe();
    for (folder, files, words) in [
        (
            "card",
            &["GX010001.MP4", "GX020001.MP4", "GX010001.THM"][..],
            "a folder of videos (GX010001.MP4, GX020001.MP4)",
        ),
        ("scans", &["1.bmp", "2.bmp", "3.bmp", "4.bmp"], "a folder of files (1.bmp, 2.bmp, 3.bmp, ...)"),
        ("empty", &[], "an empty folder"),
    ] {
        fs::create_dir(shop.path(folder)).unwrap();
        files.iter().for_each(|file| drop(shop.write(&format!("{folder}/{file}"), "x")));
        shop.write("all.csv", format!("video_uid,path,fps\n{folder},{folder},30\n"));
        let expected = "expected one video's file, or a folder of the chunks of one";
        shop.egofx("audit -m all.csv").ends_with(1);
        shop.extract(&format!("out_{folder}"), "").ends_with(1).says(&[words, expected]);
    }
}

/// `imread` turns an image by its EXIF orientation and Pillow does not, so that a folder has two shapes.
#[test]
fn images_that_lie_on_their_side_are_turned_for_opencv_alone() {
    let folder = tempfile::tempdir().unwrap();
    let turned = support::checkout().join("tests/data/readers/turned_6.jpg");
    fs::copy(turned, folder.path().join("1.jpg")).unwrap();
    let video = source().probe(folder.path(), fps(1)).unwrap();
    assert_eq!((video.width, video.height, video.rotation), (117, 203, 90));
    for (reader, size) in [(Reader::Opencv, (117, 203)), (Reader::Pillow, (203, 117)), (Reader::Exact, (203, 117))] {
        assert_eq!(video.size_for(&Transform::whole(reader)), size, "{reader:?}");
    }
    fs::copy(support::checkout().join("tests/data/readers/420.jpg"), folder.path().join("2.jpg")).unwrap();
    let video = source().probe(folder.path(), fps(1)).unwrap();
    let (frames, faults) = open(&video, &[0, 1], &[Transform::whole(Reader::Pillow)]);
    assert_eq!((frames.len(), faults), (2, vec![]), "as stored, both are of one size");
    let (frames, faults) = open(&video, &[0, 1], &[Transform::whole(Reader::Opencv)]);
    let words = faults[0].to_string();
    assert!(frames.len() == 1 && words.contains("2.jpg: the image is 203x117, the first one of its folder 117x203"));
}

#[test]
fn a_damaged_image_costs_its_own_row_and_is_named() {
    let shop = shop("frames", "frame_");
    shop.recipe("rows", SHOTS, "hdf5", "f32");
    shop.write("all.csv", "video_uid,path,fps\nwhole,frames,5\n");
    shop.extract("whole", "").ends_with(0);
    let whole = shop.unit("whole/rows", "whole");
    for what in ["cut", "overwritten", "no_image", "another_size"] {
        let folder = shop.path("bad");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(shop.path("frames")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        let bytes = fs::read(folder.join("frame_0008.jpg")).unwrap();
        let middle = bytes.len() / 2;
        match what {
            "cut" => drop(shop.write("bad/frame_0008.jpg", &bytes[..middle])),
            "overwritten" => {
                let zeros = vec![0; 3000];
                drop(shop.write("bad/frame_0008.jpg", [&bytes[..middle], &zeros, &bytes[middle + 3000..]].concat()));
            }
            "no_image" => drop(shop.write("bad/frame_0008.jpg", "this is a text")),
            _ => shop.ffmpeg("-f lavfi -i testsrc2=s=64x48 -frames:v 1 -update 1 bad/frame_0008.jpg"),
        }
        let words = match what {
            "another_size" => "frame_0008.jpg: the image is 64x48, the first one of its folder 480x270",
            _ => "frame_0008.jpg",
        };
        shop.write("all.csv", "video_uid,path,fps\nbad,bad,5\n");
        let (out, partial) = (format!("out_{what}"), format!("partial_{what}"));
        shop.extract(&out, "").ends_with(1).says(&[words]);
        shop.extract(&partial, "--on-error partial").ends_with(0);
        let bad = shop.unit(&format!("{partial}/rows"), "bad");
        let missing: Vec<usize> = (0..bad.meta.len()).filter(|&row| bad.meta[row].missing).collect();
        assert_eq!(missing, [1], "{what}: image 8 is in the second shot");
        let (found, expected) = (row_bits(&bad), row_bits(&whole));
        assert!((0..6).all(|row| row == 1 || found[row] == expected[row]), "{what}: other rows are untouched");
    }
}

#[test]
fn a_missing_image_leaves_a_gap_and_moves_nothing() {
    let shop = shop("frames", "frame_");
    shop.recipe("rows", SHOTS, "hdf5", "f32");
    shop.write("all.csv", "video_uid,path,fps\nbad,frames,5\n");
    shop.extract("whole", "").ends_with(0);
    let whole = shop.unit("whole/rows", "bad");
    fs::remove_file(shop.path("frames/frame_0013.jpg")).unwrap();
    fs::write(shop.path("frames/frame_0014.jpg"), "").unwrap();
    shop.extract("out", "").ends_with(1).says(&["1 of 6 rows cannot be had"]);
    shop.extract("partial", "--on-error partial").ends_with(0);
    let bad = shop.unit("partial/rows", "bad");
    assert!(bad.header.notes.iter().any(|note| note.contains("2 of 32 images are missing, the first is frame 12")));
    let missing: Vec<usize> = (0..bad.meta.len()).filter(|&row| bad.meta[row].missing).collect();
    assert_eq!(missing, [2]);
    assert_eq!(row_bits(&bad)[5], row_bits(&whole)[5]);
}

#[test]
fn without_a_rate_a_folder_is_no_video() {
    let shop = shop("frames", "frame_");
    shop.recipe("rows", SHOTS, "hdf5", "f32");
    shop.write("all.csv", "video_uid,path\nfolder,frames\n");
    shop.extract("out", "").ends_with(1).says(&["a folder of images has no rate", "column fps"]);
}

#[test]
fn names_of_any_kind_are_read() {
    let name = "a 'quoted' 50%d \\ {x}: [é] ";
    let shop = Workshop::new();
    shop.ffmpeg(&format!("-i {} -frames:v 3 -q:v 2 %d.jpg", media("nasa_13013.mp4")));
    let folder = shop.path("it's a folder\nof two lines");
    fs::create_dir(&folder).unwrap();
    (1..=3).for_each(|i| drop(fs::rename(shop.path(&format!("{i}.jpg")), folder.join(format!("{name}{i}.jpg")))));
    let video = source().probe(&folder, fps(1)).unwrap();
    let (frames, faults) = open(&video, &[0, 1, 2], &[Transform::centred(64, 64, Filter::Bilinear)]);
    assert_eq!((frames.len(), faults), (3, vec![]));
}

/// EgoVLP's reader of EPIC-KITCHENS' images took a flag of colour conversion for one of reading, so blue came first.
#[test]
fn bgr_puts_blue_first() {
    let shop = shop("frames", "frame_");
    let rgb = Transform::centred(64, 48, Filter::Bilinear);
    let bgr = Transform { channels: Channels::Bgr, ..rgb };
    for (path, rate) in [("frames", fps(5)), ("clip.mkv", None)] {
        let video = source().probe(&shop.path(path), rate).unwrap();
        let (frames, faults) = open(&video, &[3, 9], &[rgb, bgr]);
        assert!(faults.is_empty() && frames.len() == 2, "{path}: {faults:?}");
        for frame in frames {
            let swapped: Vec<u8> =
                frame.pixels[0].levels().chunks(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
            assert_ne!(frame.pixels[0], frame.pixels[1]);
            assert_eq!(frame.pixels[1].levels(), swapped, "{path}");
        }
    }
}

#[test]
fn benchmarks_find_folders_of_images() {
    let shop = shop("videos/P01-moviepy", "f");
    shop.recipe("rows", SHOTS.replace("\"5\"", "\"1\"").as_str(), "hdf5", "f32");
    let annotations = support::checkout().join("tests/data/annotations/qfvs");
    let list = format!("manifest qfvs --annotations {} --videos videos -o all.csv", annotations.display());
    shop.egofx(&list).ends_with(0);
    let text = fs::read_to_string(shop.path("all.csv")).unwrap();
    assert!(text.lines().nth(1).is_some_and(|line| line.contains("P01-moviepy") && line.ends_with(",1")), "{text}");
    shop.extract("out", "").ends_with(0);
    let unit = shop.unit("out/rows", "P01");
    assert_eq!((unit.meta.len(), unit.meta[5].start_sec, unit.meta[5].end_sec), (6, 25.0, 30.0));
}

/// A clip's own images have the numbers of the whole video, and the clip its seconds.
#[test]
fn oscc_looks_at_multiples_of_the_step_in_images_of_the_clip() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path("videos/clip-1")).unwrap();
    let made = "-f lavfi -i testsrc2=s=64x48:r=30 -frames:v 240 -start_number 300 videos/clip-1/%d.jpeg";
    shop.ffmpeg(made);
    shop.recipe("rows", "kind = \"keyframes\"\nframes = 16", "hdf5", "f32");
    let annotations = support::checkout().join("tests/data/annotations/fho_oscc-pnr_val.json");
    let list = format!("manifest oscc --annotations {} --videos videos -o all.csv", annotations.display());
    shop.egofx(&list).ends_with(0);
    let text = fs::read_to_string(shop.path("all.csv")).unwrap();
    assert!(text.contains("clip-1/%d.jpeg") && text.contains("video-1"), "{text}");
    shop.extract("out", "").ends_with(0);
    let unit = shop.unit("out/rows", "clip-1");
    assert_eq!(unit.meta.len(), 1);
    assert_eq!((unit.meta[0].first_frame, unit.meta[0].last_frame), (0, 225), "frames 300 and 525 of the video");
    assert_eq!((unit.meta[0].start_sec, unit.meta[0].end_sec), (10.0, 18.0));
}

#[test]
fn one_row_comes_of_each_clip_by_single_window_grids() {
    let shop = Workshop::new();
    shop.clip("clip.mp4", 100);
    shop.write("all.csv", "video_uid,path,clip_uid,start_sec,end_sec\nv,clip.mp4,a,0.4,2.0\nv,clip.mp4,b,1.0,3.9\n");
    for (grid, a) in [
        ("kind = \"egoclip\"\nframes = 4", (14, 44)),
        ("kind = \"segments\"\nframes = 4\nedges = \"truncated\"", (14, 44)),
        ("kind = \"segments\"\nframes = 4\nedges = \"rounded\"", (15, 44)),
        ("kind = \"keyframes\"\nframes = 16", (10, 47)),
    ] {
        shop.recipe("rows", grid, "parquet", "f32");
        let _ = fs::remove_dir_all(shop.path("out"));
        shop.extract("out", "").ends_with(0);
        let unit = shop.unit("out/rows", "v");
        let names: Vec<&str> = unit.meta.iter().map(|row| row.clip_uid.as_ref().unwrap().as_str()).collect();
        assert_eq!(names, ["a", "b"], "{grid}");
        let row = &unit.meta[0];
        assert_eq!((row.first_frame, row.last_frame), a, "{grid}");
        assert!((row.start_sec - 0.4).abs() < 0.05 && (row.end_sec - 2.0).abs() < 0.05, "{grid}: {row:?}");
        let rows = row_bits(&unit);
        assert_ne!(rows[0], rows[1]);
        shop.egofx("verify out").ends_with(0);
    }
    assert!(Path::new(&shop.path("out/rows/store.json")).exists());
}

/// What is drawn for a frame depends on seed, name and index alone: not on batches, decoders, shards or what came before.
#[test]
fn random_crops_are_the_same_however_the_run_is_cut() {
    let shop = shop("frames", "frame_");
    let path = shop.recipe("rows", SHOTS, "hdf5", "f32");
    let centred = fs::read_to_string(&path).unwrap();
    let random = centred.replace("short_side = 256", "seed = 3").replace("bilinear", "bicubic");
    fs::write(&path, &random).unwrap();
    shop.write(
        "all.csv",
        "video_uid,path,clip_uid,start_sec,end_sec,fps\nf,frames,a,0,4,5\nf,frames,b,2,6,5\nc,clip.mkv,c,0,4,\n",
    );
    shop.extract("out", "").ends_with(0);
    shop.extract("other", "--batch-size 2 --decoders 2 --shard 1/2").ends_with(0);
    shop.extract("other", "--batch-size 5 --shard 2/2").ends_with(0);
    assert_eq!(shop.unit_files("out"), shop.unit_files("other"));
    let rows = |out: &str, clip: &str| row_bits(&shop.unit(&format!("{out}/rows"), clip));
    assert_eq!(rows("out", "a")[2], rows("out", "b")[0], "one frame is cropped in one way for all clips");
    assert_ne!(rows("out", "a")[0], rows("out", "c")[0], "another name draws other crops");
    fs::write(&path, random.replace("seed = 3", "seed = 4")).unwrap();
    shop.extract("seeded", "").ends_with(0);
    assert_ne!(rows("out", "a"), rows("seeded", "a"));
}
