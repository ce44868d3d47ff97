//! A real Slurm of this one machine, as `tests/cluster/slurm.sh` starts it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{Workshop, checkout, wait_for};

/// A cluster of two nodes; it ends with this.
pub struct Cluster {
    script: Child,
    /// Closed, it ends the script.
    stdin: Option<ChildStdin>,
    /// The cluster's `slurm.conf`.
    config: String,
}

impl Cluster {
    /// Starts one whose preempted jobs end by `preempt_mode`; `None`, with a line on stderr, where Slurm is not to be had.
    ///
    /// `make test` installs Slurm and says so by `EGOFX_TEST_SLURM`.
    pub fn start(preempt_mode: &str, variables: &[(&str, &str)]) -> Option<Self> {
        if std::env::var_os("EGOFX_TEST_SLURM").is_none() {
            eprintln!("not run: EGOFX_TEST_SLURM is not set, as it is by `make test` where Slurm can be installed");
            return None;
        }
        let mut command = Command::new(checkout().join("tests/cluster/slurm.sh"));
        command.args(["sh", "-c", "echo \"$SLURM_CONF\"; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("EGOFX_TEST_PREEMPT", preempt_mode).envs(variables.iter().copied());
        let mut script = command.spawn().unwrap();
        let mut config = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut config).unwrap();
        assert!(!config.is_empty(), "Slurm did not come up, see above");
        Some(Self { stdin: script.stdin.take(), script, config: config.trim_end().to_owned() })
    }

    /// A command of Slurm's, or one that uses it, in the folder of `shop`.
    pub fn command(&self, shop: &Workshop, program: &str, arguments: &str) -> Command {
        let mut command = shop.command(program, arguments);
        command.env("SLURM_CONF", &self.config);
        command
    }

    /// What a command of Slurm's says on stdout.
    pub fn says(&self, shop: &Workshop, program: &str, arguments: &str) -> String {
        let output = self.command(shop, program, arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until no job is left.
    pub fn drained(&self, shop: &Workshop) {
        wait_for("the queue is empty", 300, || self.says(shop, "squeue", "--noheader").is_empty());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.script.wait();
    }
}
