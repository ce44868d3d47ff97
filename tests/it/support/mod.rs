//! What the behavioural tests share: a folder of real clips, recipes and manifests, and the program run in it.
//!
//! Not for judging. Invariant: everything lies in a temporary folder that goes away with its [`Workshop`].

pub mod browser;
pub mod cluster;
pub mod fuzz;
pub mod graphs;
pub mod programs;
pub mod storage;
pub mod stores;
pub mod videos;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use egofx::ids::UnitUid;
use egofx::store::{StoreReader, Unit};
use serde_json::Value;

use fuzz::script::write_executable;

/// Windows of 8 frames side by side: a frame belongs to one row, but for the last row, which is moved back.
pub const DENSE: &str = "kind = \"ego4d\"\nframes = 8\nstride = 8";
/// The demo's grid.
pub const EGOVLP: &str = "kind = \"egovlp\"\nframes = 4";
/// How clips are encoded unless a test says otherwise: 25 frames a second, a key frame every 12.
pub const H264: &str = "-c:v libx264 -preset ultrafast -g 12 -bf 2 -pix_fmt yuv420p";

/// A working folder: `.runtime` and `onnx` are the checkout's, the rest is the test's own.
pub struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for from in [programs::base().join(".runtime"), checkout().join("onnx")] {
            std::os::unix::fs::symlink(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        Self { folder }
    }

    /// The usual recipe, `rows.toml`.
    pub fn with_recipe() -> Self {
        let shop = Self::new();
        shop.recipe("rows", DENSE, "hdf5", "f32");
        shop
    }

    /// A folder with all that is in `kept`.
    pub fn like(kept: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(kept, folder.path());
        Self { folder }
    }

    /// What is here, in a folder `name` that all tests of this program share.
    pub fn kept(&self, name: &str) -> PathBuf {
        let folder = graphs::shared(name);
        fs::create_dir_all(&folder).unwrap();
        copy(self.folder.path(), &folder);
        folder
    }

    /// Puts graphs of both tiny models here, as `models`.
    pub fn models(&self) {
        std::os::unix::fs::symlink(&*graphs::RANDOM, self.path("models")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a program that the test, or egofx, is to run.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write_executable(&path, text);
        path
    }

    pub fn recipe(&self, name: &str, grid: &str, format: &str, dtype: &str) -> PathBuf {
        let text = format!(
            "backbone = \"tiny\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n[grid]\n{grid}\n[transform]\nshort_side = 256\ncrop = 256\n\
             filter = \"bilinear\"\nchannels = \"rgb\"\n[output]\nformat = \"{format}\"\ndtype = \"{dtype}\"\n"
        );
        self.write(&format!("{name}.toml"), text)
    }

    /// Writes `all.csv` with a line for each `path`, whose stem is the video's name.
    pub fn manifest(&self, paths: &[&str]) -> PathBuf {
        let stem = |path: &str| Path::new(path).file_stem().unwrap().to_string_lossy().into_owned();
        let lines: String = paths.iter().map(|path| format!("{},{path}\n", stem(path))).collect();
        self.write("all.csv", format!("video_uid,path\n{lines}"))
    }

    /// Runs ffmpeg with `arguments`, which are separated by blanks.
    pub fn ffmpeg(&self, arguments: &str) {
        let output = self.command(tool("ffmpeg"), &format!("-v error -y {arguments}")).output().unwrap();
        assert!(output.status.success(), "ffmpeg {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes the clip `name` of `size`, `frames` long at 25 a second, encoded by the options `codec`.
    pub fn encode(&self, name: &str, size: &str, frames: u32, codec: &str) -> PathBuf {
        self.ffmpeg(&format!("-f lavfi -i testsrc2=s={size}:r=25 -frames:v {frames} {codec} {name}"));
        self.path(name)
    }

    /// A small clip that any decoder takes.
    pub fn clip(&self, name: &str, frames: u32) -> PathBuf {
        self.encode(name, "64x48", frames, H264)
    }

    /// A command that runs in this folder, with nothing on stdin.
    pub fn command(&self, program: impl AsRef<OsStr>, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        for variable in ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            command.env_remove(variable);
        }
        // Whatever else is installed here: what a test compares is the reference's.
        command.env("EGOFX_DEVICE", "cpu");
        command
    }

    /// The program with `arguments`, which are separated by blanks.
    pub fn program(&self, arguments: &str) -> Command {
        self.command(env!("CARGO_BIN_EXE_egofx"), arguments)
    }

    /// Runs the program to its end.
    pub fn egofx(&self, arguments: &str) -> Outcome {
        Outcome::new(arguments, self.program(arguments).output().unwrap())
    }

    /// Runs a command that stands for the program with `arguments` to its end.
    pub fn finished(&self, arguments: &str, command: &mut Command) -> Outcome {
        Outcome::new(arguments, command.output().unwrap())
    }

    /// `extract` of `all.csv` by `rows.toml` into `out`, with further `flags`.
    pub fn extract(&self, out: &str, flags: &str) -> Outcome {
        self.egofx(&format!("extract -m all.csv -p rows.toml -o {out} {flags}"))
    }

    /// Starts the program; its output is collected by [`finish`].
    pub fn start(&self, arguments: &str) -> Child {
        self.program(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn report(&self, out: &str) -> Value {
        json(&fs::read_to_string(self.path(out).join("report.json")).unwrap())
    }

    /// A committed unit, checked against its ledger.
    pub fn unit(&self, store: &str, unit_uid: &str) -> Unit {
        let store = StoreReader::open(&self.path(store)).unwrap();
        store.read_unit(&UnitUid::parse(unit_uid).unwrap()).unwrap()
    }

    /// The units that the ledgers of `store` name.
    pub fn committed(&self, store: &str) -> Vec<String> {
        let committed = StoreReader::open(&self.path(store)).unwrap().committed().unwrap();
        committed.iter().map(|entry| entry.unit_uid.to_string()).collect()
    }

    /// The bytes of all units of all feature sets in `out`.
    pub fn unit_files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for set in egofx::store::feature_sets(&self.path(out)).unwrap() {
            for entry in fs::read_dir(set.join("units")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.path(out)).unwrap().to_string_lossy().into_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
        files
    }

    /// Files of `out` that only a run under way may have.
    pub fn leftovers(&self, out: &str) -> Vec<PathBuf> {
        let is_private = |name: &OsStr| name.to_string_lossy().starts_with(".egofx-");
        let of_a_run = |path: &Path| path.components().any(|c| c.as_os_str() == "tmp" || is_private(c.as_os_str()));
        let entries = walkdir::WalkDir::new(self.path(out)).into_iter().flatten();
        let files = entries.filter(|e| e.file_type().is_file() || is_private(e.file_name()));
        files.map(|e| e.path().strip_prefix(self.folder.path()).unwrap().to_owned()).filter(|p| of_a_run(p)).collect()
    }

    /// Puts a program `ffmpeg.sh` here that notes each start in `starts` before it becomes ffmpeg.
    pub fn counting_ffmpeg(&self) {
        // Each note is one short write, so that notes of several decoders do not mix.
        let [notes, hold, first] = ["starts", "hold", "first"].map(|name| self.path(name).display().to_string());
        let wait = format!("mkdir {first} || while test -e {hold}; do sleep 0.2; done");
        let held = format!("if test -e {hold}; then {wait}; fi 2> /dev/null");
        let note = format!("case \"$*\" in *rawvideo*) echo \"$*\" >> {notes}; {held} ;; esac");
        let script = format!("#!/bin/sh\n{note}\nexec {} \"$@\"\n", tool("ffmpeg").display());
        self.script("ffmpeg.sh", &script);
    }

    /// Lets of the decoders that are started through [`counting_ffmpeg`](Self::counting_ffmpeg) one begin; the others wait until
    /// [`release`](Self::release).
    pub fn hold(&self) {
        let _ = fs::remove_dir(self.path("first"));
        self.write("hold", "");
    }

    /// Lets all decoders go on.
    pub fn release(&self) {
        fs::remove_file(self.path("hold")).unwrap();
    }

    /// The arguments of decoders started through [`counting_ffmpeg`](Self::counting_ffmpeg) since this was last asked.
    pub fn decoders_started(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.path("starts")).unwrap_or_default();
        let _ = fs::remove_file(self.path("starts"));
        notes.lines().map(str::to_owned).collect()
    }

    /// Command lines of live processes that work on files of this folder, this test excepted.
    pub fn live_processes(&self) -> Vec<String> {
        let mark = self.folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let line = |pid: PathBuf| {
            let bytes = fs::read(pid.join("cmdline")).ok()?;
            let working = fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.folder.path()));
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            (working || text.contains(&mark)).then_some(text).filter(|text| !text.is_empty())
        };
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| line(entry.path())).collect()
    }

    /// Whether an encoder is at work on files of this folder.
    pub fn encodes(&self) -> bool {
        self.live_processes().iter().any(|line| line.contains("libx264"))
    }

    /// Waits until `run` has an encoder at work, or has ended.
    pub fn wait_for_an_encoder(&self, run: &mut Child) {
        wait_for("ffmpeg is at work", 60, || self.encodes() || run.try_wait().unwrap().is_some());
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `ffmpeg` or `ffprobe`, as the program finds them.
pub fn tool(name: &str) -> PathBuf {
    let tools = programs::tools();
    if name == "ffprobe" { tools.ffprobe } else { tools.ffmpeg }
}

pub fn media(name: &str) -> String {
    checkout().join("tests/data/media").join(name).display().to_string()
}

/// Lines that `ffprobe -of csv=p=0` prints for the `entries` of `stream`.
pub fn ffprobe(path: &Path, stream: &str, entries: &str) -> Vec<String> {
    let arguments = ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0"];
    let output = Command::new(tool("ffprobe")).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// Presentation times of the packets of `stream` in seconds, ascending, by ffprobe's own word.
pub fn packet_times(path: &Path, stream: &str) -> Vec<f64> {
    let lines = ffprobe(path, stream, "packet=pts_time");
    let mut times: Vec<f64> = lines.iter().map(|line| line.parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Runs a Python program in the workshop with the test packages of `make setup-test`.
pub fn python(shop: &Workshop, program: &str) -> serde_json::Value {
    let packages = checkout().join(".runtime/py");
    assert!(packages.join("h5py").is_dir(), "no Python packages in {}: run `make setup-test`", packages.display());
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    let output = command.args(["-c", program]).env("PYTHONPATH", packages).current_dir(shop.path("")).output().unwrap();
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{said}");
    json(&text)
}

/// A file system of its own, gone with its owner.
pub struct Mount(pub PathBuf);

impl Mount {
    /// `None` where this user may not mount.
    pub fn tmpfs(path: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path)),
            _ => {
                eprintln!(
                    "skipped: this user may not mount a file system, so a full or read-only one cannot be tested"
                );
                None
            }
        }
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Waits for a program that was started.
pub fn finish(child: Child) -> Outcome {
    Outcome::new("", child.wait_with_output().unwrap())
}

/// Sends `signal`, `KILL` for instance.
pub fn signal(child: &Child, signal: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
}

/// Waits until `happened`, or fails after `seconds` with `what`.
pub fn wait_for(what: &str, seconds: u64, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The features of a unit in a form in which NaN equals NaN, one entry per row.
pub fn row_bits(unit: &Unit) -> Vec<Vec<u32>> {
    unit.features.outer_iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// What a run of the program came to.
pub struct Outcome {
    arguments: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    fn new(arguments: &str, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { arguments: arguments.to_owned(), code: output.status.code(), stdout, stderr }
    }

    /// Asserts the exit code, and that nothing panicked.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}, {self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// Asserts that stderr has all of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "nothing on stderr says {word:?}, {self}");
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arguments, code, stdout, stderr } = self;
        write!(f, "egofx {arguments} ended with {code:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// A vocabulary of EgoVLPv2's kind in the folder `name`: bytes and the special tokens.
pub fn write_vocabulary(shop: &Workshop, name: &str) {
    let specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"].map(str::to_owned);
    // How byte-level BPE writes printable bytes; a blank is U+0120.
    let bytes = ('!'..='~').map(String::from).chain(["\u{120}".to_owned()]);
    let words: serde_json::Map<String, Value> =
        specials.into_iter().chain(bytes).enumerate().map(|(id, word)| (word, id.into())).collect();
    fs::create_dir(shop.path(name)).unwrap();
    shop.write(&format!("{name}/vocab.json"), Value::Object(words).to_string());
    shop.write(&format!("{name}/merges.txt"), "#version: 0.2\n");
}
