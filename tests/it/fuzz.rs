//! A moment of `make fuzz`: some mutated files for every parser of foreign bytes, the same ones each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::support::fuzz::{Input, TARGETS};

const SEED: u64 = 1;
const INPUTS: u64 = 60;

#[test]
fn no_parser_panics_or_crashes_on_a_mutated_file() {
    egofx::foreign::isolate(Path::new(env!("CARGO_BIN_EXE_egofx")));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for target in TARGETS {
        // Of inputs for which programs are started there are fewer.
        let inputs = if target.name == "tools" { INPUTS / 10 } else { INPUTS };
        let seeds = target.seeds(&data);
        let folder = tempfile::tempdir().unwrap();
        for number in 0..inputs {
            let path = target.write(&seeds, folder.path(), SEED, number);
            let input = Input { path: &path, data: &data, number };
            let done = catch_unwind(AssertUnwindSafe(|| (target.read)(&input)));
            assert!(done.is_ok(), "target {}, seed {SEED}, input {number}", target.name);
        }
    }
}
