//! Tests of batch scripts: the texts. What Slurm makes of them is tried on a cluster.

use super::super::{Parts, samples};
use super::*;

fn slurm() -> Slurm {
    Slurm { max_array: MAX_ARRAY, ..Slurm::default() }
}

#[test]
fn a_script_has_a_task_for_each_part_and_survives_hostile_words() {
    let slurm =
        Slurm { parallel: Some(4), time_sec: Some(5400), options: vec!["-p gpu".into(), "qos=low".into()], ..slurm() };
    let text = script(&samples::job(), &slurm).unwrap();
    let expected = "#!/bin/bash
# Made by egofx 0.1.0 for Slurm: 16 parts of
#   /opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features
# Submit it by: mkdir -p /shared/features/logs && sbatch THIS_FILE
#SBATCH --job-name=egofx-extract
#SBATCH --array=1-16%4
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:30:00
#SBATCH --signal=B:USR1@80
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=/shared/features/logs/%A_%a.log
#SBATCH -p gpu
#SBATCH --qos=low

set -u
of=16 retries=3
launch=(srun --ntasks=1 --cpus-per-task=8)
command=(/opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features)
cd -- '/home/me/a \"b\" $c' || exit 2

";
    assert_eq!(text.strip_suffix(BODY).unwrap(), expected);
}

#[test]
fn containers_gpus_and_odd_folders_are_given_as_they_are() {
    let mut job = Job { gpus: 2, cpus: None, logs: "/a b/50%".into(), ..samples::job() };
    let binds = vec!["/data".to_owned(), "/x y:/z".to_owned()];
    let apptainer = Slurm { container: Some(Container::Apptainer("/img/egofx.sif".into())), binds, ..slurm() };
    let text = script(&job, &apptainer).unwrap();
    for line in [
        "#SBATCH --gres=gpu:2",
        "#SBATCH --output=\"/a b/50%%/%A_%a.log\"",
        "# Submit it by: mkdir -p '/a b/50%' && sbatch THIS_FILE",
        "launch=(srun --ntasks=1 apptainer exec --pwd '/home/me/a \"b\" $c' --nv --bind /data --bind '/x y:/z' /img/egofx.sif)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let pyxis = Slurm { container: Some(Container::Pyxis("docker://e:1".into())), ..apptainer };
    let line = "launch=(srun --ntasks=1 --container-image=docker://e:1 '--container-mounts=/data:/data,/x y:/z' \
        '--container-workdir=/home/me/a \"b\" $c')\n";
    assert!(script(&job, &pyxis).unwrap().contains(line));
    job.logs = "a\\b".into();
    assert!(script(&job, &pyxis).unwrap_err().to_string().contains("has a backslash, which Slurm cannot be given"));
}

#[test]
fn more_parts_than_an_array_may_have_become_several() {
    let window = |offset, array: &str| Window { offset, array: array.to_owned() };
    let windows = |parts, parallel| {
        let job = Job { parts, ..samples::job() };
        windows(&job, &Slurm { max_array: 1001, parallel, ..slurm() })
    };
    assert_eq!(windows(Parts::all(1000), None), [window(0, "1-1000")]);
    assert_eq!(
        windows(Parts::all(2500), Some(30)),
        [window(0, "1-1000%10"), window(1000, "1-1000%10"), window(2000, "1-500%10")]
    );
    assert_eq!(
        windows(Parts::only(2500, [2, 1000, 1001, 2003]), None),
        [window(0, "2,1000"), window(1000, "1"), window(2000, "3")]
    );
    let job = Job { parts: Parts::all(3), ..samples::job() };
    let text = script(&job, &Slurm { max_array: 3, ..slurm() }).unwrap();
    assert!(text.contains("#SBATCH --array=1-2\n") && text.contains("#   EGOFX_OFFSET=2 sbatch --array=1 THIS_FILE\n"));
}

#[test]
fn what_would_break_a_script_is_refused() {
    let refused = |slurm: Slurm| script(&samples::job(), &slurm).unwrap_err().to_string();
    for (option, words) in [
        ("--array=1-3", "--array: the script depends on its own; --shards says how many parts there are"),
        ("-n 4", "-n: the script depends on its own; a part is one task"),
        ("no-requeue", "--no-requeue: the script depends on its own; a part that is stopped is called again"),
        ("--comment=a\nrm -rf x", "has a line break, which Slurm cannot be given"),
    ] {
        let found = refused(Slurm { options: vec![option.into()], ..slurm() });
        assert!(found.ends_with(words), "{found}");
    }
    let short = refused(Slurm { time_sec: Some(120), ..slurm() });
    assert!(short.starts_with("--time 00:02:00: a part is warned 80 s before its time is over"), "{short}");
}

#[test]
fn times_are_read_and_written_as_slurm_does() {
    for (text, sec, written) in [
        ("90", 5400, "01:30:00"),
        ("1:30", 90, "00:01:30"),
        ("8:00:00", 28_800, "08:00:00"),
        ("1-12", 129_600, "1-12:00:00"),
        ("2-0:30", 174_600, "2-00:30:00"),
        ("1-01:02:03", 90_123, "1-01:02:03"),
    ] {
        assert_eq!((seconds(text), time(sec)), (Ok(sec), written.to_owned()), "{text}");
    }
    for bad in ["", "x", "1:2:3:4", "-1", "1-", "18446744073709551615"] {
        assert!(seconds(bad).is_err(), "{bad}");
    }
    let job = samples::job();
    assert_eq!([limit_sec(0.0, &job), limit_sec(64_000.0, &job)], [600, 6600]);
    assert_eq!(max_array("AuthType = auth/munge\nMaxArraySize            = 4001\nMaxJobCount = 1\n"), Some(4001));
    assert_eq!(max_array("slurm_load_ctl_conf error"), None);
}

#[test]
fn containers_are_read() {
    assert_eq!("apptainer:/a:b.sif".parse(), Ok(Container::Apptainer("/a:b.sif".into())));
    assert_eq!("pyxis:nvcr.io#x".parse(), Ok(Container::Pyxis("nvcr.io#x".into())));
    let error = "docker:x".parse::<Container>().unwrap_err().to_string();
    assert_eq!(error, "--container \"docker:x\": expected apptainer:IMAGE or pyxis:IMAGE");
}
