//! A hardware decoder is compared with software before it is believed. There is none here: an ffmpeg that is told to use one decodes
//! by software, in one case without a filter that the standard asks for.

use std::fs;

use egofx::decode::{CertifiedSource, Fault, FfmpegSource, Filter, FrameSource, HwAccel, Tools, Transform};
use tempfile::TempDir;

use crate::support::fuzz::script::write_executable;
use crate::support::programs::tools;
use crate::support::videos::{data, split};

/// An ffmpeg that decodes with the options `decoder` where it is told to use CUDA, and writes a line for each start.
fn pretended(folder: &TempDir, decoder: &str) -> CertifiedSource {
    let (real, ffmpeg, starts) = (tools(), folder.path().join("ffmpeg"), folder.path().join("starts"));
    let script = format!(
        "#!/bin/sh\nhow=software; i=$#\nwhile [ $i -gt 0 ]; do a=$1; shift; i=$((i-1)); case \"$a\" in\n\
         -hwaccel) how=hardware; shift; i=$((i-1)); set -- \"$@\" {decoder};;\n-hwaccel_device) shift; i=$((i-1));;\n\
         *) set -- \"$@\" \"$a\";; esac; done\necho $how >> {}\nexec {} \"$@\"\n",
        starts.display(),
        real.ffmpeg.display()
    );
    write_executable(&ffmpeg, &script);
    CertifiedSource::new(FfmpegSource { tools: Tools { ffmpeg, ..real }, threads: 1, hwaccel: HwAccel::Cuda(0) })
}

fn starts(folder: &TempDir) -> Vec<String> {
    let said = fs::read_to_string(folder.path().join("starts")).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

const WANTED: [u64; 4] = [3, 10, 11, 30];

/// Frames and faults of two videos of one kind, which are the same file.
fn decoded(source: &CertifiedSource) -> [(Vec<egofx::decode::Frame>, Vec<Fault>); 2] {
    let video = source.probe(&data("media/nasa_13013.mp4"), None).unwrap();
    [(), ()].map(|()| split(source.open(&video, &WANTED, &[Transform::centred(64, 48, Filter::Bilinear)])))
}

#[test]
fn a_hardware_decoder_is_compared_once_for_each_kind_of_video() {
    let folder = tempfile::tempdir().unwrap();
    let source = pretended(&folder, "");
    for (frames, faults) in decoded(&source) {
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(frames.iter().map(|frame| frame.index).collect::<Vec<_>>(), WANTED);
    }
    assert_eq!(starts(&folder), ["software", "hardware", "hardware", "hardware"], "compared once, and used twice");
}

#[test]
fn a_hardware_decoder_that_gives_other_frames_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let source = pretended(&folder, "-skip_loop_filter all");
    let software = FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None };
    let [(truth, _), _] = decoded(&CertifiedSource::new(software));
    for (frames, faults) in decoded(&source) {
        let [Fault::Fallback { why, .. }] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!(why, "its frame 3 differs from software's");
        assert_eq!(frames.len(), WANTED.len());
        assert!(frames.iter().zip(&truth).all(|(a, b)| a.index == b.index && a.pixels == b.pixels));
    }
    assert_eq!(starts(&folder), ["software", "hardware", "software", "software"]);
}
