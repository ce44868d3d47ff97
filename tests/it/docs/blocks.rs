//! Fenced blocks of commands in the README and the book, and the shell that they are tried in.
//!
//! A block is marked by the words behind its fence: `sh` is run as it stands, all blocks of a page one after another in one
//! folder; `sh needs-data` wants files that are not here, so that each command is only parsed by the program that it is for;
//! `sh long` is a tutorial of minutes. Python blocks are marked alike. `egofx-train`'s tests compile this file too: either
//! package tries the commands of its own program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What can be done with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Run,
    NeedsData,
    Long,
}

/// One fenced block.
#[derive(Debug, Clone)]
pub struct Block {
    /// `sh` or `python`.
    pub language: String,
    pub mark: Mark,
    pub text: String,
    /// Its page and line, for messages.
    pub place: String,
}

/// A page and its blocks.
#[derive(Debug)]
pub struct Page {
    pub blocks: Vec<Block>,
}

/// README and all pages of the book in `project`, in order of their paths.
pub fn pages(project: &Path) -> Vec<Page> {
    let mut paths = vec![project.join("README.md"), project.join("CONTRIBUTING.md")];
    let mut folders = vec![project.join("docs/book/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    let page = |path: PathBuf| {
        let name = path.strip_prefix(project).unwrap().to_string_lossy();
        Page { blocks: blocks(&fs::read_to_string(&path).unwrap(), &name) }
    };
    paths.into_iter().map(page).collect()
}

/// The blocks of shell and Python in `text`; an unknown mark is a mistake of its author.
pub fn blocks(text: &str, page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text: String = body.flat_map(|line| [line, "\n"]).collect();
        let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
        if !matches!(language, "sh" | "python") {
            continue;
        }
        let place = format!("{page}:{}", number + 1);
        let mark = match mark {
            "" => Mark::Run,
            "needs-data" => Mark::NeedsData,
            "long" => Mark::Long,
            other => panic!("{place}: a block is marked {other:?}: needs-data, long or nothing"),
        };
        found.push(Block { language: language.to_owned(), mark, text, place });
    }
    found
}

/// A folder for the blocks of a page, with what a checkout has that they name.
pub struct Shell {
    folder: tempfile::TempDir,
    project: PathBuf,
}

impl Shell {
    /// An empty folder; the programs have still to be put into it.
    pub fn new(project: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in [".runtime", "manifests", "pipelines", "tests", "onnx"] {
            symlink(project.join(name), folder.path().join(name)).unwrap();
        }
        fs::create_dir_all(folder.path().join("bin")).unwrap();
        fs::create_dir_all(folder.path().join("training")).unwrap();
        symlink(project.join("training/configs"), folder.path().join("training/configs")).unwrap();
        Self { folder, project: project.to_owned() }
    }

    /// Makes `name` a program of this shell.
    pub fn program(&self, name: &str, script: &str) {
        let path = self.folder.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `name` is `binary`, which only parses what it is given; recipes and experiment files have to be there.
    pub fn parses(&self, name: &str, binary: &str) {
        let files = format!(
            "before=; for word in \"$@\"; do\n\
             case \"$before $word\" in\n\
             *' training/configs/'*) test -f '{0}'/\"$word\" || {{ echo \"no file $word\" >&2; exit 2; }} ;;\n\
             '-p '*/*) ;;\n\
             '-p '*) test -f '{0}'/pipelines/\"$word\".toml || {{ echo \"no recipe $word\" >&2; exit 2; }} ;;\n\
             esac; before=$word\ndone",
            self.project.display()
        );
        self.program(name, &format!("{files}\nexec '{binary}' check-args \"$@\""));
    }

    /// What launches programs launches them, `make` knows its targets, `cargo` its benchmarks and examples, and nothing else
    /// is done.
    pub fn parses_tools(&self) {
        let launched = "while [ $# -gt 0 ]; do case \"$1\" in egofx*) exec \"$@\" ;; esac; shift; done; exit 127";
        self.program("srun", launched);
        self.program("torchrun", launched);
        self.program("hq", launched);
        let project = self.project.display();
        let target = format!(
            "folder='{project}'; while [ $# -gt 0 ]; do case \"$1\" in\n\
             -C) folder='{project}'/$2; shift ;;\n*=*) ;;\n\
             *) grep -qE \"^([a-z-]+ )*$1( [a-z-]+)*:\" \"$folder/Makefile\" || {{ echo \"no target $1\" >&2; exit 2; }} ;;\n\
             esac; shift; done"
        );
        self.program("make", &target);
        let named = format!(
            "cd '{project}'; while [ $# -gt 0 ]; do case \"$1\" in\n\
             --bench | --example | --test) test -e \"${{1#--}}es/$2.rs\" || test -e \"${{1#--}}s/$2.rs\" || \
             grep -qs \"name = \\\"$2\\\"\" Cargo.toml training/Cargo.toml || {{ echo \"no $1 $2\" >&2; exit 2; }}; shift ;;\n\
             --) exit 0 ;;\nesac; shift; done"
        );
        self.program("cargo", &named);
        self.program("pip", "test \"$1\" = install && test $# = 2");
    }

    /// Runs `block` in the folder.
    pub fn run(&self, block: &Block) -> Output {
        let mut command = match block.language.as_str() {
            "sh" => Command::new("sh"),
            _ => Command::new("python3"),
        };
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        let flags: &[&str] = if block.language == "sh" { &["-euc"] } else { &["-c"] };
        command.args(flags).arg(&block.text).current_dir(&self.folder).stdin(Stdio::null()).env("PATH", path);
        command.env("PYTHONPATH", format!("{0}/python:{0}/.runtime/py", self.project.display()));
        // What blocks take from their surroundings.
        command.envs([
            ("SLURM_ARRAY_TASK_ID", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_MAX", "2"),
            ("C", "training/configs"),
        ]);
        for variable in ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            command.env_remove(variable);
        }
        command.output().unwrap()
    }

    /// Runs `block`, which has to end with 0; what it wrote to stdout.
    pub fn succeeds(&self, block: &Block) -> String {
        let output = self.run(block);
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{}: {}\n{}{stdout}{stderr}", block.place, output.status, block.text);
        stdout
    }
}
