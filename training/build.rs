//! Compiles the C++ shim against the libtorch that tch links, after checking that it is the version that tch fits.

use std::path::Path;

/// The version of libtorch that tch 0.24 was generated for: neither an older nor a newer one links safely.
const LIBTORCH_VERSION: &str = "2.11.0";

fn main() {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let root = Path::new(&lib).parent().expect("libtorch's lib folder lies in libtorch's folder");
    check_version(root);
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(1)
        // What a debugger could be told of libtorch's headers takes as long as all else.
        .debug(false)
        // Gloo's headers are not in torch's wheel; c10d's name a few of its types.
        .include("shim/gloo_stub")
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D", None)
        .define("USE_C10D_GLOO", None)
        .file("shim/unit.cpp")
        .compile("egofx_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}

/// With `LIBTORCH` set, torch-sys compares no versions of its own: a wheel has them in `version.py` only.
fn check_version(root: &Path) {
    let wheel = root.join("version.py");
    println!("cargo:rerun-if-changed={}", wheel.display());
    let zip = root.join("build-version");
    let text = std::fs::read_to_string(&wheel).or_else(|_| std::fs::read_to_string(&zip));
    let text = text.unwrap_or_else(|_| {
        panic!("{} is no libtorch: it has no version.py; run `make setup-libtorch`", root.display())
    });
    let line = text.lines().find(|line| line.starts_with("__version__ =")).unwrap_or(text.trim());
    assert!(
        line.contains(LIBTORCH_VERSION),
        "{} has libtorch of {line:?}, expected {LIBTORCH_VERSION}; run `make setup-libtorch`, or unset LIBTORCH",
        root.display()
    );
}
