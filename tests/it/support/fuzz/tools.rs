//! What ffprobe and ffmpeg say, mutated: their answers about a small video are kept once and played back.
//!
//! Not for what they are asked: an answer is known by the words of the request that are no paths. Invariant: nothing but
//! the one answer in question differs from what the tools have said.

use std::fs;
use std::path::{Path, PathBuf};

use egofx::decode::{FfmpegSource, Filter, FrameSource, HwAccel, Tools, Transform};

use super::Input;
use super::script::write_executable;

const VIDEO: &str = "media/pause.mp4";
/// What tells answers apart.
const KEY: &str = "key=$(basename $0)-$(printf '%s\\n' \"$@\" | grep -v / | cksum | cut -d' ' -f1); cd $(dirname $0)";

/// Puts programs `ffprobe` and `ffmpeg` into `folder` that do as `script` says.
fn source(folder: &Path, script: &str) -> Result<FfmpegSource, String> {
    let program = |name: &str| -> PathBuf {
        let path = folder.join(name);
        write_executable(&path, &format!("#!/bin/sh\n{script}\n"));
        path
    };
    let tools =
        Tools::find(Some(&program("ffmpeg")), Some(&program("ffprobe")), &[]).map_err(|error| error.to_string())?;
    Ok(FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None })
}

/// Looks at the video and decodes some of its frames.
fn decode(source: Result<FfmpegSource, String>, data: &Path) -> Result<usize, String> {
    let source = source?;
    let video = source.probe(&data.join(VIDEO), None).map_err(|error| error.to_string())?;
    let transform = Transform::centred(32, 32, Filter::Bilinear);
    let frames = source.open(&video, &[0, 1, 5, 20], &[transform]).collect::<Result<Vec<_>, _>>();
    Ok(frames.map_err(|fault| format!("{fault:?}"))?.len())
}

/// What both tools have said, each answer with its name as the first line.
pub fn answers(data: &Path) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let real = Tools::find(None, None, &[data.join("../..")]).expect("ffmpeg and ffprobe are needed; run `make setup`");
    let tool =
        format!("tool={}; test $(basename $0) = ffmpeg || tool={}", real.ffmpeg.display(), real.ffprobe.display());
    let record = format!("{tool}\n{KEY}\n$tool \"$@\" > $key.out 2> $key.err; end=$?");
    let source = source(folder.path(), &format!("{record}\ncat $key.err >&2; cat $key.out; exit $end"));
    assert_eq!(decode(source, data), Ok(4), "the tools read {VIDEO}");
    let named = |entry: fs::DirEntry| {
        let (name, bytes) = (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        [name.as_bytes(), b"\n", &bytes].concat()
    };
    let mut answers: Vec<Vec<u8>> = fs::read_dir(folder.path()).unwrap().map(|entry| named(entry.unwrap())).collect();
    answers.retain(|answer| answer.split(|byte| *byte == b'\n').next().unwrap().contains(&b'.'));
    answers.sort();
    answers
}

/// Plays all answers back, the mutated one in the place of that whose name it has kept.
pub fn replay(input: &Input) {
    let folder = input.path.parent().unwrap();
    if !folder.join("kept").is_dir() {
        fs::create_dir(folder.join("kept")).unwrap();
        for answer in answers(input.data) {
            let (name, rest) = split(&answer);
            fs::write(folder.join("kept").join(name), rest).unwrap();
        }
    }
    let bytes = fs::read(input.path).unwrap();
    let (name, mutated) = split(&bytes);
    let place = folder.join("kept").join(&name);
    let Ok(healthy) = fs::read(&place) else { return };
    fs::write(&place, mutated).unwrap();
    let played = format!("{KEY}; cd kept\ncat $key.err >&2; exec cat $key.out");
    let _ = decode(source(folder, &played), input.data);
    fs::write(place, healthy).unwrap();
}

fn split(answer: &[u8]) -> (String, &[u8]) {
    let end = answer.iter().position(|byte| *byte == b'\n').unwrap_or(answer.len());
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.get(end + 1..).unwrap_or_default())
}
