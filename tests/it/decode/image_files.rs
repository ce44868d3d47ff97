//! `egofx frames`: image files hold the frames that are shown at the times that were asked for, and are kept where they are whole.

use std::fs;
use std::path::Path;

use egofx::decode::{FfmpegSource, FrameSource, HwAccel, Reader, Transform};

use crate::support::{Workshop, json, media, packet_times, videos};

/// Width, height and pixels of a PNG file.
fn png(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    (info.width, info.height, rgb)
}

/// The lines of `frames.csv` without its header, in cells.
fn table(shop: &Workshop, out: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(shop.path(out).join("frames.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("video_uid,name,frame,sec,file"));
    lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// The frame of a stream that players show at a second, by ffprobe's own word.
fn shown(path: &str, stream: u32, sec: f64) -> usize {
    let times = packet_times(Path::new(path), &stream.to_string());
    times.iter().filter(|&&time| time <= sec + 1e-6).count() - 1
}

#[test]
fn frames_are_those_that_are_shown_then_pixel_by_pixel() {
    let shop = Workshop::new();
    for (name, secs) in [("nasa_13013.mp4", [0.0, 1.21, 2.5]), ("pause.mp4", [0.5, 3.0, 6.2])] {
        let path = media(name);
        let asked: String = secs.iter().map(|sec| format!(" --at {sec}")).collect();
        shop.egofx(&format!("frames {path}{asked} --frame 7 --format png -o {name}.d"))
            .ends_with(0)
            .says(&["4 frames in"]);
        let source = FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None };
        let info = source.probe(Path::new(&path), None).unwrap();
        let expected: Vec<u64> = secs.iter().map(|&sec| shown(&path, info.stream, sec) as u64).chain([7]).collect();
        let lines = table(&shop, &format!("{name}.d"));
        let found: Vec<u64> = lines.iter().map(|cells| cells[2].parse().unwrap()).collect();
        assert_eq!(found, expected, "{name}");
        // What the pipeline decodes at these places, and beside them.
        let mut wanted: Vec<u64> = expected.iter().flat_map(|&index| [index, index + 1]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let (frames, faults) = videos::split(source.open(&info, &wanted, &[Transform::whole(Reader::Exact)]));
        assert_eq!((frames.len(), faults), (wanted.len(), vec![]));
        let of = |index: u64| frames.iter().find(|frame| frame.index == index).unwrap().pixels[0].levels().into_owned();
        for (cells, index) in lines.iter().zip(expected) {
            let (width, height, rgb) = png(&shop.path(&format!("{name}.d")).join(&cells[4]));
            assert_eq!((width, height), (info.width, info.height));
            assert!(rgb == of(index) && rgb != of(index + 1), "{name}: frame {index}");
            let sec: f64 = cells[3].parse().unwrap();
            assert!((sec - info.timeline.sec(index)).abs() < 1e-5);
        }
    }
}

/// By another way through ffmpeg: of all frames of the clip, the file is nearest to the one of its number.
#[test]
fn a_file_is_the_frame_of_its_number_by_another_decoders_count_too() {
    let shop = Workshop::new();
    let clip = shop.clip("v.mp4", 50);
    let all = videos::ffmpeg([
        Path::new("-i"),
        &clip,
        Path::new("-f"),
        Path::new("rawvideo"),
        Path::new("-pix_fmt"),
        Path::new("rgb24"),
        Path::new("-"),
    ]);
    let frames: Vec<&[u8]> = all.chunks(64 * 48 * 3).collect();
    assert_eq!(frames.len(), 50);
    shop.write("t.csv", "video_uid,sec,name\nv,0.399,before\nv,0.4,at\nv,1.9999,late\n");
    shop.manifest(&["v.mp4"]);
    for (format, extension) in [("png", "png"), ("jpeg", "jpg")] {
        shop.egofx(&format!("frames -m all.csv --times t.csv --format {format} -o {format}")).ends_with(0);
        let lines = table(&shop, format);
        let files: Vec<String> = lines.iter().map(|cells| format!("{} {}", cells[1], cells[4])).collect();
        let expected = ["before v/0000009", "at v/0000010", "late v/0000049"].map(|file| format!("{file}.{extension}"));
        assert_eq!(files, expected);
        for (cells, index) in lines.iter().zip([9, 10, 49]).filter(|_| format == "png") {
            let (_, _, rgb) = png(&shop.path(format).join(&cells[4]));
            let away = |frame: &[u8]| frame.iter().zip(&rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
            let nearest = (0..50).min_by_key(|&at| away(frames[at])).unwrap();
            assert_eq!(nearest, index);
        }
    }
}

#[test]
fn what_is_there_and_whole_is_kept_and_anything_else_is_not() {
    let shop = Workshop::new();
    shop.clip("v.mp4", 30);
    let command = "frames v.mp4 --at 0.2 --at 0.6 --frame 20 -o f";
    let dry = shop
        .egofx(&format!("{command} --dry-run"))
        .ends_with(0)
        .says(&["3 frames would be in f, 0 of them there before"]);
    assert!(dry.stdout.contains("write  v/0000005.jpg  frame 5 at 0.200 s"), "{dry}");
    assert!(!shop.path("f").exists());
    shop.egofx(command).ends_with(0).says(&["3 frames in f, 0 of them there before; 0 missing"]);
    let [cut, other] = ["f/v/0000005.jpg", "f/v/0000015.jpg"].map(|name| shop.path(name));
    let (bytes, modified) = (fs::read(&cut).unwrap(), fs::metadata(&other).unwrap().modified().unwrap());
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(shop.path("f/v/0000020.jpg")).unwrap();
    let run = shop.egofx(&format!("{command} --json")).ends_with(0).says(&["3 frames in f, 1 of them there before"]);
    let kept: Vec<bool> = json(&run.stdout).as_array().unwrap().iter().map(|line| line["kept"] == true).collect();
    assert_eq!(kept, [false, true, false]);
    assert_eq!(fs::read(&cut).unwrap(), bytes);
    assert_eq!(fs::metadata(&other).unwrap().modified().unwrap(), modified);
    // Another form, another video under the same name, and somebody else's file.
    let said = ["f/v/0000005.jpg exists already and is an image of another frame, file or form; --force replaces it"];
    shop.egofx(&format!("{command} --quality 50")).ends_with(2).says(&said);
    assert_eq!(fs::read(&cut).unwrap(), bytes);
    shop.encode("v.mp4", "96x64", 30, crate::support::H264);
    shop.egofx(command).ends_with(2).says(&said);
    shop.egofx(&format!("{command} --force")).ends_with(0);
    assert_ne!(fs::read(&cut).unwrap(), bytes);
    fs::write(&cut, "mine").unwrap();
    shop.egofx(command).ends_with(2).says(&["0000005.jpg exists already and is nothing that egofx frames wrote"]);
}

#[test]
fn annotated_frames_count_thirty_a_second_and_what_is_missing_is_said() {
    let shop = Workshop::new();
    shop.clip("v.mp4", 50);
    shop.manifest(&["v.mp4", "gone.mp4"]);
    let frames = |pre: u64, pnr: u64, post: u64| serde_json::json!({"pre_frame": pre, "pnr_frame": pnr, "post_frame": post, "pre_45": 0});
    let action = |uid: &str, frames| serde_json::json!({"uid": uid, "critical_frames": frames});
    let of = |video: &str, actions| serde_json::json!({"video_uid": video, "annotated_intervals": [{"narrated_actions": actions}]});
    let main = serde_json::json!({"videos": [
        of("v", vec![action("a", frames(6, 12, 30)), action("b", frames(12, 59, 90))]),
        of("gone", vec![action("c", frames(1, 2, 3))]),
        of("unknown", vec![action("d", frames(1, 2, 3))]),
    ]});
    shop.write("fho_main.json", main.to_string());
    let run = shop.egofx("frames -m all.csv --annotations fho_main.json --format png -o f").ends_with(1);
    run.says(&[
        "egofx: v b_post: frame 90 at 30 a second lies outside of the video, which goes from 0.00 s to 2.00 s",
        "egofx: gone c_pre: ",
        "egofx: unknown d_pnr: the manifest does not list the video",
        "5 frames in f, 0 of them there before; 7 missing",
    ]);
    // 25 frames a second: number n of 30 is shown at (n + 0.5) / 30.
    let found: Vec<(String, usize)> =
        table(&shop, "f").iter().map(|cells| (cells[1].clone(), cells[2].parse().unwrap())).collect();
    let expected = [("a_pre", 5), ("a_pnr", 10), ("a_post", 25), ("b_pre", 10), ("b_pnr", 49)];
    assert_eq!(found, expected.map(|(name, frame)| (name.to_owned(), frame)));
    assert_eq!(fs::read_dir(shop.path("f/v")).unwrap().count(), 4, "a frame that is named twice is one file");
    shop.egofx("frames -m all.csv --annotations fho_main.json --of pre_45 -o g").ends_with(1).says(&["2 frames in g"]);
    shop.egofx("frames -m all.csv -o g").ends_with(2).says(&["no frame is asked for: give --at or --frame"]);
    shop.write("t.csv", "video_uid,sec\nv,later\n");
    shop.egofx("frames -m all.csv --times t.csv -o g")
        .ends_with(2)
        .says(&["t.csv: line 2: expected a number of seconds, found \"later\""]);
}
