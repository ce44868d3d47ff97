//! PNR, the point of no return: the clips of `fho_oscc-pnr_*.json` in which an object changes its state.
//!
//! A unit is a clip, a query the frame of the change. Not for clips without one: they belong to OSCC and are counted here.
//! A frame is a frame of the video, as annotated.

use super::oscc::{self, NEEDS};
use super::{Benchmark, BenchmarkError, Built, Sources};

pub(super) const BENCHMARK: Benchmark =
    Benchmark { name: "pnr", about: "clips with the frame in which an object's state changes", needs: NEEDS, build };

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    oscc::collect(&BENCHMARK, sources, |builder, at, entry, split| {
        if split == "test" {
            return true;
        }
        match (entry.state_change == Some(true), entry.pnr()) {
            (true, Some(_)) => return true,
            (true, None) => builder.tally.drop("clips with a change in no frame", at),
            (false, _) => builder.tally.drop("clips without a change", at),
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, lines};
    use super::*;

    #[test]
    fn only_clips_with_the_frame_of_a_change_are_listed() {
        let built = built(&BENCHMARK, &["fho_oscc-pnr_val.json", "fho_oscc-pnr_test_unannotated.json"]).unwrap();
        assert_eq!(lines(&built), ["video-1 clip-1 10 18 val", "video-2 clip-5 0 8 val", "video-3 clip-9 0 8 test"]);
        let queries = built.queries.as_ref().unwrap();
        assert_eq!(queries.column("pnr_frame").unwrap().collect::<Vec<_>>(), ["420", "75", ""]);
        let reasons = [
            ("clips without a change", 3),
            ("clips that hold nothing", 1),
            ("clips with a change in no frame", 1),
            ("clips whose uid could not be a file's name", 1),
            ("clips whose uid names another interval already", 1),
        ];
        assert_eq!(dropped(&built), reasons);
    }
}
