//! The batch script: run as Slurm runs it, by commands that stand for Slurm's.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use super::{bash, has_words, hostile, printed, read};
use crate::support::{Workshop, finish, signal, wait_for};

/// Commands that stand for Slurm's: `srun` runs the command, `squeue` tells what is in the file `state`, the others note their words.
fn slurm(shop: &Workshop) -> String {
    std::fs::create_dir(shop.path("bin")).unwrap();
    let folder = shop.path("").display().to_string();
    shop.script("bin/srun", "#!/bin/sh\nwhile case $1 in --*) ;; *) false ;; esac; do shift; done\nexec \"$@\"\n");
    shop.script("bin/squeue", &format!("#!/bin/sh\ncat {folder}/state\n"));
    shop.script(
        "bin/scontrol",
        &format!("#!/bin/sh\necho \"scontrol $*\" >> {folder}/calls\ntest ! -e {folder}/refused\n"),
    );
    let sbatch = "echo \"sbatch $* ${SLURM_RESTART_COUNT-unset}\" >> FOLDER/calls; cat > FOLDER/again.sh";
    shop.script("bin/sbatch", &format!("#!/bin/sh\n{}\n", sbatch.replace("FOLDER", &folder)));
    shop.write("calls", "");
    format!("{folder}/bin:{}", std::env::var("PATH").unwrap())
}

/// A command that ends with the code in the file `code`, or with 75 when it is told. Each start of it leaves its process in `begun`.
/// Bash may lose a signal that comes while it starts what it substitutes: this shell starts nothing until it has told of itself.
const POLITE: &str = "#!/bin/sh\ntrap 'exit 75' USR1\nread -r code < code\necho $$ >> begun\ntest \"$code\" = wait || exit \"$code\"\n\
    while :; do sleep 0.2; done\n";

/// The processes of the command's starts.
fn begun(shop: &Workshop) -> Vec<String> {
    let text = std::fs::read_to_string(shop.path("begun")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const TASK: [(&str, &str); 2] = [("SLURM_ARRAY_JOB_ID", "40"), ("SLURM_ARRAY_TASK_ID", "2")];

fn start(shop: &Workshop, path: &str, text: &str) -> Child {
    let mut command = Command::new("bash");
    command.arg(shop.write("job.sh", text)).env("PATH", path).envs(TASK).env("SLURM_RESTART_COUNT", "3");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_task_of_slurm_does_its_part_in_the_folder_of_the_command() {
    let shop = hostile();
    let path = slurm(&shop);
    let text = printed(&shop, "slurm --shards 2");
    let task = |index: &str, offset: &str| {
        let environment = [("PATH", path.as_str()), TASK[0], ("SLURM_ARRAY_TASK_ID", index), ("EGOFX_OFFSET", offset)];
        bash(&shop, &text, &environment)
    };
    for (index, offset, part) in [("2", "0", "2/2"), ("1", "1", "2/2"), ("1", "0", "1/2")] {
        let (code, said) = task(index, offset);
        assert_eq!(code, Some(0), "{said}");
        has_words(&said, part);
    }
}

#[test]
fn a_part_that_is_stopped_goes_on_unless_somebody_cancelled_it() {
    let shop = hostile();
    let path = slurm(&shop);
    shop.script("words.sh", POLITE);
    shop.write("code", "wait\n");
    let text = printed(&shop, "slurm --shards 2");
    let again = "sbatch --array=2 --dependency=afterany:40_2 unset\n";
    let requeue = "scontrol requeue 40_2\n";
    // What Slurm says of the job (state, requeues, preemption), the signal to the shell, and what the script does then.
    for (state, name, calls) in [
        ("R 3 N/A", "USR1", requeue.to_owned()),
        ("R 3 N/A", "TERM", requeue.to_owned()),
        ("CG 3 2026-01-01T00:00:00", "TERM", again.to_owned()),
        ("CG 4 2026-01-01T00:00:00", "TERM", String::new()),
        ("CG 3 N/A", "TERM", String::new()),
        ("", "USR1", String::new()),
    ] {
        shop.write("state", state);
        shop.write("calls", "");
        let _ = std::fs::remove_file(shop.path("begun"));
        let job = start(&shop, &path, &text);
        wait_for("the run has begun", 30, || !begun(&shop).is_empty());
        signal(&job, name);
        if state.starts_with("CG") {
            // Slurm signals the run itself, which may have ended by the script's word.
            let _ = Command::new("kill").args(["-USR1", &begun(&shop)[0]]).stderr(Stdio::null()).status();
        }
        let run = finish(job).ends_with(75);
        assert_eq!(read(&shop.path("calls")), calls, "{state} {name}: {run}");
    }
    // A cluster that refuses requeues.
    shop.write("refused", "");
    shop.write("state", "R 3 N/A");
    shop.write("calls", "");
    shop.write("code", "75\n");
    finish(start(&shop, &path, &text)).ends_with(75);
    assert_eq!(read(&shop.path("calls")), requeue.to_owned() + again);
    assert_eq!(read(&shop.path("again.sh")).trim_end(), text.trim_end(), "the same script is submitted again");
}

#[test]
fn a_run_that_is_killed_is_begun_again_a_few_times_and_one_that_fails_is_not() {
    let shop = hostile();
    let path = slurm(&shop);
    shop.script("words.sh", POLITE);
    let text = printed(&shop, "slurm --shards 2 --retries 2");
    for (code, times) in [(0, 1), (1, 1), (2, 1), (130, 1), (137, 3)] {
        shop.write("code", format!("{code}\n"));
        let _ = std::fs::remove_file(shop.path("begun"));
        finish(start(&shop, &path, &text)).ends_with(code);
        assert_eq!(begun(&shop).len(), times, "exit code {code}");
    }
    assert_eq!(read(&shop.path("calls")), "");
    shop.write("code", "wait\n");
    let _ = std::fs::remove_file(shop.path("begun"));
    let mut job = start(&shop, &path, &text);
    for count in 1..=3 {
        wait_for("the run has begun", 30, || begun(&shop).len() == count);
        assert!(Command::new("kill").args(["-KILL", &begun(&shop)[count - 1]]).status().unwrap().success());
    }
    let ended = job.wait().unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(137), None));
    finish(job);
}
