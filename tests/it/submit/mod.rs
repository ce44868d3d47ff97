//! `egofx submit`: what it prints for engines, what it refuses, and parts that run on this machine.
//!
//! Slurm's commands are scripts here; a real cluster is `tests/cluster`.

mod local;
mod missing;
mod slurm;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Workshop;

/// A program that tells its words, one a line.
const WORDS: &str = "#!/bin/sh\nfor word; do echo \"word $word\"; done\n";

/// Four videos for one recipe, and the command that makes their features in `out`.
fn small() -> Workshop {
    let shop = Workshop::with_recipe();
    let names = ["v0.mp4", "v1.mp4", "v2.mp4", "v3.mp4"];
    names.iter().zip(1..).for_each(|(name, number)| drop(shop.clip(name, 20 * number)));
    shop.manifest(&names);
    shop
}

const EXTRACT: &str = "extract -m all.csv -p rows.toml -o out";

/// Two videos, in a manifest whose name is hard on shells.
fn hostile() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 20);
    shop.clip("b.mp4", 20);
    shop.write(LIST, "video_uid,path\na,a.mp4\nb,b.mp4\n");
    shop.script("words.sh", WORDS);
    shop
}

const LIST: &str = "it's \"$HOME\" `all` \\ ü.csv";

/// `egofx submit` with `flags` for a command whose words are hard on shells.
fn submit(shop: &Workshop, flags: &str) -> Command {
    let mut program = shop.program(&format!("submit {flags} --program ./words.sh"));
    program.args(["--", "extract", "-m", LIST, "-p", "rows.toml", "-o", "out $(x)"]);
    program
}

/// The script that it prints, which bash understands.
fn printed(shop: &Workshop, flags: &str) -> String {
    let run = shop.finished(flags, &mut submit(shop, flags)).ends_with(0);
    let path = shop.write("printed.sh", &run.stdout);
    let checked = Command::new("bash").arg("-n").arg(path).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", run.stdout, String::from_utf8_lossy(&checked.stderr));
    run.stdout
}

/// Runs the script `text` as an engine does; its end, and what it wrote.
fn bash(shop: &Workshop, text: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let path = shop.write("run.sh", text);
    let mut command = Command::new("bash");
    command.arg(path).current_dir("/").envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let written = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), written.concat())
}

/// That `said` has the command's words as they were given, and the part.
#[track_caller]
fn has_words(said: &str, part: &str) {
    let words: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("word ")).collect();
    let expected = ["extract", "-m", LIST, "-p", "rows.toml", "-o", "out $(x)", "--steal", "seen", "--shard", part];
    assert_eq!(words, expected, "{said}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_task_of_hyperqueue_does_its_part() {
    let shop = hostile();
    let text = printed(&shop, "hyperqueue --shards 2 --cpus 3 --hq=--priority=1");
    let directives: Vec<&str> = text.lines().filter(|line| line.starts_with("#HQ")).collect();
    assert_eq!(
        directives,
        [
            "#HQ --name=egofx-extract",
            "#HQ --array=1-2",
            "#HQ --crash-limit=1000",
            "#HQ --stdout=none",
            "#HQ --stderr=none",
            "#HQ --cpus=3",
            "#HQ --priority=1"
        ]
    );
    let (code, said) = bash(&shop, &text, &[("HQ_JOB_ID", "7"), ("HQ_TASK_ID", "2")]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    has_words(&read(&shop.path("out $(x)/logs/hq-7_2.log")), "2/2");
}

#[test]
fn what_is_wrong_with_a_command_is_said_before_any_node_is_asked_for() {
    let shop = hostile();
    shop.write("lost.csv", "video_uid,path\na,a.mp4\nc,c.mp4\n");
    let slurm = |count: u32, command: &str| shop.egofx(&format!("submit slurm --shards {count} -- {command}"));
    let extract = |rest: &str| format!("extract -p rows.toml -o out {rest}");
    for (count, command, words) in [
        (3, extract("-m lost.csv --unknown"), "unexpected argument '--unknown'"),
        (3, "extract -p rows.toml -m lost.csv".into(), "required arguments were not provided"),
        (2, extract("-m none.csv"), "none.csv: cannot read the manifest"),
        (2, extract("-m lost.csv"), "1 of 2 videos not there"),
        (2, extract("-m lost.csv --shard 1/2"), "submit gives each part its own"),
        (2, extract("-m lost.csv --shard=auto"), "submit gives each part its own"),
        (2, "extract -m lost.csv -p none.toml -o out".into(), "none.toml"),
        (2, extract("-m lost.csv --ffmpeg ./none"), "none"),
        (2, "verify out".into(), "verify takes no --shard"),
        (2, "egofx-train nlq -c x.toml".into(), "egofx-train nlq takes no --shard"),
        (2, "resize --videos . -o ../out --dry-run".into(), "--dry-run"),
    ] {
        slurm(count, &command).ends_with(2).says(&[words]);
    }
    let run = submit(&shop, "slurm --shards 3").output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("--shards 3: expected at most 2, the number of videos"), "{said}");
    assert!(!shop.path("out").exists() && !shop.path("out $(x)").exists(), "nothing was written");
    let unchecked = "submit k8s --shards 9 --image egofx:1 --unchecked -- extract -m /in/pods.csv -p rows.toml -o /out";
    let manifest = shop.egofx(unchecked).ends_with(0).stdout;
    assert!(
        manifest.contains("  completions: 9\n") && manifest.contains("            - \"/in/pods.csv\"\n"),
        "{manifest}"
    );
}

#[test]
fn an_engine_that_is_not_here_is_named() {
    let shop = hostile();
    for (flags, name) in [
        ("slurm", "sbatch is not on the PATH: --now hands the script to Slurm; without --now it is printed"),
        ("hyperqueue", "hq is not on the PATH: --now hands the script to HyperQueue"),
        ("k8s --image x", "kubectl is not on the PATH: --now hands the script to Kubernetes"),
    ] {
        let mut program = submit(&shop, &format!("{flags} --shards 2 --now"));
        shop.finished(flags, program.env("PATH", shop.path("empty"))).ends_with(2).says(&[name]);
    }
    assert!(!shop.path("out $(x)").exists());
}

#[test]
fn engines_are_handed_their_scripts() {
    let shop = hostile();
    std::fs::create_dir(shop.path("bin")).unwrap();
    for name in ["sbatch", "hq", "kubectl"] {
        let text = "#!/bin/sh\nfor word; do echo \"word $word\"; done\ncase \"$*\" in *' -') cat ;; esac\n";
        shop.script(&format!("bin/{name}"), text);
    }
    let path = format!("{}:{}", shop.path("bin").display(), std::env::var("PATH").unwrap());
    let now = |flags: &str| {
        let mut program = submit(&shop, &format!("{flags} --shards 2 --now"));
        shop.finished(flags, program.env("PATH", &path)).ends_with(0).stdout
    };
    let script = shop.path("out $(x)/logs/egofx-extract.sh").canonicalize();
    assert!(script.is_err());
    let said = now("slurm --max-array 2");
    let script = shop.path("out $(x)/logs/egofx-extract.sh").display().to_string();
    assert_eq!(said, format!("word --array=1\nword {script}\nword --array=1\nword {script}\n"));
    assert!(read(script.as_ref()).contains("#SBATCH --array=1\n"));
    assert_eq!(now("hyperqueue"), format!("word submit\nword --directives=file\nword {script}\n"));
    assert!(read(script.as_ref()).contains("#HQ --array=1-2\n"));
    let said = now("k8s --image x");
    assert!(said.starts_with("word create\nword -f\nword -\n") && said.contains("\nkind: Job\n"), "{said}");
}

#[test]
fn clips_of_the_other_program_are_cached_in_parts() {
    let shop = Workshop::new();
    std::fs::create_dir(shop.path("bin")).unwrap();
    let understands = "#!/bin/sh\ncase \"$*\" in *--unknown*) echo 'unexpected argument' >&2; exit 2 ;; esac\n";
    let program = shop.script("bin/egofx-train", understands).display().to_string();
    let path = format!("{}:{}", shop.path("bin").display(), std::env::var("PATH").unwrap());
    let run = |arguments: &str| shop.finished(arguments, shop.program(arguments).env("PATH", &path));
    let command = "-- egofx-train cache-clips -c my.toml --annotations a.csv -o clips";
    let text = run(&format!("submit slurm --shards 4 {command}")).ends_with(0).stdout;
    let line = format!("command=({program} cache-clips -c my.toml --annotations a.csv -o clips)\n");
    assert!(text.contains(&line) && text.contains("#SBATCH --job-name=egofx-cache-clips\n"), "{text}");
    assert!(text.contains(&format!("#SBATCH --output={}/%A_%a.log\n", shop.path("clips/logs").display())), "{text}");
    run(&format!("submit slurm --shards 4 {command} --unknown")).ends_with(2).says(&["unexpected argument"]);
    run(&format!("submit slurm --missing {command}")).ends_with(2).says(&["submit it with --shards"]);
}
