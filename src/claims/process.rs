//! Which process a worker is, told so that others on the same machine can see at once whether it has died.
//!
//! Not for workers on other machines, whose heartbeat is all that is known of them. Invariant: a process is called dead only by
//! one that sees the same processes: on the same boot of the same machine and in the same namespace of processes (containers have
//! their own, in which the same number is another process).

use std::fs;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// What beside its number tells a process from all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine's boot, by the id that the kernel drew.
    boot: String,
    /// The namespace in which the process has its number, as `/proc/self/ns/pid` names it.
    namespace: String,
    /// When it was started, in ticks since the boot: numbers are given again.
    started: u64,
}

impl Process {
    /// This one; `None` where the system does not say, or has mounted the processes of another namespace.
    pub(super) fn this() -> Option<&'static Self> {
        static THIS: OnceLock<Option<Process>> = OnceLock::new();
        THIS.get_or_init(Self::look).as_ref()
    }

    fn look() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let pid: u32 = stat.split(' ').next()?.parse().ok()?;
        if pid != std::process::id() {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned();
        Some(Self { boot, namespace, started: Stat::parse(&stat)?.started })
    }

    /// Whether the process, whose number is `pid`, is known to have ended; `false` where that cannot be told from here.
    pub(super) fn is_dead(&self, pid: u32) -> bool {
        let Some(this) = Self::this() else { return false };
        if (&self.boot, &self.namespace) != (&this.boot, &this.namespace) {
            return false;
        }
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        // Asked first: the entries of other users' processes may be hidden.
        if test_kill_process(number) == Err(Errno::SRCH) {
            return true;
        }
        Stat::of(pid).is_some_and(|stat| stat.ended || stat.started != self.started)
    }
}

/// What the system says of a process.
struct Stat {
    /// Whether it has ended and its parent has not asked yet how.
    ended: bool,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// See proc_pid_stat(5): the state is field 3, the start field 22; the name before them is in brackets and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        Some(Self { ended, started: fields.nth(18)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn this() -> Process {
        Process::this().expect("the tests run where there is /proc").clone()
    }

    #[test]
    fn a_process_lives_until_it_is_killed() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process { started: Stat::of(child.id()).unwrap().started, ..this() };
        assert!(!process.is_dead(child.id()) && !this().is_dead(std::process::id()));
        child.kill().unwrap();
        let begun = Instant::now();
        while !process.is_dead(child.id()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it has ended, and nobody has asked how");
            thread::sleep(Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert!(process.is_dead(child.id()));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let former = Process { started: this().started + 1, ..this() };
        assert!(former.is_dead(std::process::id()));
    }

    #[test]
    fn nothing_is_known_of_other_machines_boots_and_containers() {
        let gone = Process { started: 1, ..this() };
        assert!(gone.is_dead(std::process::id()));
        for other in [
            Process { boot: "another".into(), ..gone.clone() },
            Process { namespace: "pid:[1]".into(), ..gone.clone() },
        ] {
            assert!(!other.is_dead(std::process::id()));
        }
        assert!(!gone.is_dead(0) && !gone.is_dead(u32::MAX));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let rest = (4..=22).map(|field| format!(" {field}")).collect::<String>();
        let stat = Stat::parse(&format!("7 (a) Z 1) R{rest} 23\n")).unwrap();
        assert_eq!((stat.ended, stat.started), (false, 22));
        assert!(Stat::parse(&format!("7 (a) Z{rest}")).unwrap().ended);
        assert!(Stat::parse("7 (a").is_none() && Stat::parse("7 (a) R 1").is_none());
    }
}
