//! The ONNX types in `src/export/onnx/` against the schema beside them. With `EGOFX_BLESS=1` they are written anew: `make
//! test-schema EGOFX_BLESS=1`, which notes in `SHA256SUMS` that they belong together.

use std::fs;
use std::path::Path;

/// What stands above the generated code.
const OPENING: &str = "\
//! ONNX's own types, generated from `onnx.proto` (Apache-2.0, the ONNX project) by `tests/schema/onnx_types.rs`.
//!
//! Not to be edited. Invariant: the code is what `prost-build` makes of the schema, so no build needs a compiler for it.

";

#[test]
fn the_onnx_types_are_what_their_schema_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/export/onnx");
    let schema = protox::compile([folder.join("onnx.proto")], [&folder]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    config.out_dir(out.path()).format(true).disable_comments(["."]).compile_fds(schema).unwrap();
    let generated = fs::read_to_string(out.path().join("onnx.rs")).unwrap();
    let kept = folder.join("types.rs");
    let expected = OPENING.to_owned() + &generated;
    if std::env::var_os("EGOFX_BLESS").is_some() {
        fs::write(&kept, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&kept).unwrap() == expected,
        "types.rs is not what onnx.proto says: make test-schema EGOFX_BLESS=1"
    );
}
