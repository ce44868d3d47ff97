//! Programs that run beside this one: started, listened to, and ended.
//!
//! Not for making sense of what they print. Invariants: each runs in a process group of its own, so that a signal to ours
//! (Ctrl-C, a scheduler's SIGTERM) does not reach it while we finish what is in flight; none outlives its [`Process`]; none
//! waits for us by mistake, since threads of their own feed its stdin and drain its stderr; and what it wrote counts only
//! once [`Process::end`] has said how it ended. A program that was not started, that was killed or that fell silent is a
//! [`Crash`], which says nothing of the file that it worked on.

mod crash;
mod found;
mod watch;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crash::judged;
pub use crash::{Crash, twice, wait_before_again};
pub use found::{find, is_executable};
pub use watch::Watch;

/// How long a program may give no sign of life while it is waited for, unless somebody says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a killed program may take to end, before it is left to the system: one that waits for a dead disk never does.
const LAST: Duration = Duration::from_secs(10);

/// The kernel's pipe buffer that we ask for, in bytes (the usual limit for unprivileged users).
const PIPE_BYTES: usize = 1 << 20;

/// How long what a program says may lie in its pipe while nobody asks for it. A decoder says something of each frame, in pieces:
/// to be woken for each of them costs both sides some percent of what decoding does.
const UNHEARD: Duration = Duration::from_millis(5);

/// What of it is read at once, in bytes: as much as its pipe holds.
const UNHEARD_BYTES: usize = 64 << 10;

/// Bytes of stderr that are kept: damaged files bring thousands of lines, the first ones tell the story.
const MOST_SAID: usize = 256 << 10;

/// Bytes of stdout that [`output`] takes.
const MOST_OUTPUT: u64 = 64 << 20;

/// A running program. Its stdout is what [`Read`] gives: it ends also where the program was ended for its silence, so that
/// whoever has read all of it asks [`Process::end`] what that is worth.
pub struct Process {
    program: String,
    child: Child,
    stdout: Option<ChildStdout>,
    signs: Arc<AtomicU64>,
    /// Whether nothing more is to be waited for than the end.
    is_ending: Arc<AtomicBool>,
    patience: Duration,
    silent: bool,
    reaped: bool,
    helpers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`, feeds it `input` (no stdin without), and has each line of its stderr heard on a thread of its own.
    ///
    /// # Errors
    /// [`Crash::Start`].
    pub fn start(
        command: &mut Command,
        patience: Duration,
        input: Option<String>,
        hear: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, Crash> {
        let program = name_of(command);
        let name = program.clone();
        let refused = move |error: io::Error| Crash::Start { program: name.clone(), why: error.to_string() };
        let (child, (stdin, stdout, stderr)) = Self::spawn(command, input.is_some()).map_err(&refused)?;
        // From here on whatever fails ends the child.
        let (signs, is_ending, helpers) = (Arc::default(), Arc::default(), Vec::new());
        let (silent, reaped) = (false, false);
        let mut process = Self { program, child, stdout, signs, is_ending, patience, silent, reaped, helpers };
        if let (Some(stdin), Some(input)) = (stdin, input) {
            process.helpers.push(feeder(stdin, input).map_err(&refused)?);
        }
        if let Some(stderr) = stderr {
            let (signs, is_ending) = (process.signs.clone(), process.is_ending.clone());
            process.helpers.push(drainer(stderr, signs, is_ending, hear).map_err(&refused)?);
        }
        Ok(process)
    }

    fn spawn(command: &mut Command, fed: bool) -> io::Result<(Child, Pipes)> {
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if fed { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // A larger pipe spares wake-ups; without it everything works all the same.
        if let Some(stdout) = &pipes.1 {
            let _ = rustix::pipe::fcntl_setpipe_size(stdout, PIPE_BYTES);
        }
        Ok((child, pipes))
    }

    /// Has what the program has said so far heard at once, by somebody who waits for it.
    pub fn listen(&self) {
        for helper in &self.helpers {
            helper.thread().unpark();
        }
    }

    /// A watch that begins now: for waiting for something else of this program than its stdout.
    pub fn watch(&self) -> Watch {
        Watch::new(self.signs.clone(), self.patience)
    }

    /// Ends it for its silence.
    pub fn give_up(&mut self) {
        self.silent = true;
        self.stdout = None;
        self.kill();
    }

    /// Waits for its end. Call it when everything has been read: its stdout, and what it says.
    ///
    /// # Errors
    /// [`Crash`]: then nothing that it wrote counts. An exit status that is not 0 is no crash.
    pub fn end(&mut self) -> Result<ExitStatus, Crash> {
        let (mut watch, mut pause) = (self.watch(), Duration::from_millis(1));
        self.is_ending.store(true, Relaxed);
        self.listen();
        while !self.silent && self.is_running() {
            thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(50));
            if watch.is_over() {
                self.give_up();
            }
        }
        let status = self.reap();
        match status.filter(|_| !self.silent) {
            Some(status) => judged(&self.program, status),
            None => Err(Crash::Silent { program: self.program.clone(), patience: self.patience }),
        }
    }

    /// Its name, for errors.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Whether it runs still; it is not reaped by the question, so that the number of its group stays its own.
    fn is_running(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    /// Kills it and what it has started.
    fn kill(&self) {
        if !self.reaped {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
    }

    /// Takes note of its end, unless even a killed one does not end.
    fn reap(&mut self) -> Option<ExitStatus> {
        // What a script left behind in its group would keep its pipes open.
        self.kill();
        self.is_ending.store(true, Relaxed);
        self.listen();
        let killed = Instant::now();
        while self.is_running() && killed.elapsed() < LAST {
            thread::sleep(Duration::from_millis(1));
        }
        if self.is_running() {
            log::warn!("{} does not end although it was killed", self.program);
            self.helpers.clear();
            return None;
        }
        let status = self.child.wait().ok();
        self.reaped = true;
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
        status
    }
}

impl Read for Process {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut watch = self.watch();
        while let Some(stdout) = &mut self.stdout {
            if is_readable(stdout, watch.look())? {
                return stdout.read(buffer);
            }
            if watch.is_over() {
                self.give_up();
            }
        }
        Ok(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.reap();
        }
    }
}

type Pipes = (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>);

/// What a program printed that ran to its end.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said, as far as that is kept.
    pub stderr: String,
}

/// Runs `command` to its end, with nothing on its stdin.
///
/// # Errors
/// [`Crash`].
pub fn output(command: &mut Command, patience: Duration) -> Result<Output, Crash> {
    let said = Said::default();
    let mut process = Process::start(command, patience, None, said.hear())?;
    let mut stdout = Vec::new();
    let read = (&mut process).take(MOST_OUTPUT).read_to_end(&mut stdout);
    let read = read.and_then(|_| io::copy(&mut process, &mut io::sink()));
    read.map_err(|error| Crash::System { program: process.program.clone(), words: error.to_string() })?;
    let status = process.end()?;
    Ok(Output { status, stdout, stderr: said.words() })
}

/// What a program says, as far as it is kept.
#[derive(Debug, Default, Clone)]
pub struct Said(Arc<Mutex<String>>);

impl Said {
    /// Takes its lines.
    pub fn hear(&self) -> impl FnMut(&str) + Send + use<> {
        let kept = self.0.clone();
        move |line| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() + line.len() < MOST_SAID {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }

    /// What was kept so far: all of it once the program has ended.
    pub fn words(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Has the kernel kill what `command` starts when the thread that starts it is gone: for programs that no closed pipe ends,
/// since they write files or nothing. Elsewhere than on Linux they run on, into files that nobody takes.
pub fn end_with_us(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let us = rustix::process::getpid();
        let ask = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            let alive = rustix::process::getppid() == Some(us);
            if alive { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
        unsafe { command.pre_exec(ask) };
    }
}

fn name_of(command: &Command) -> String {
    let path = std::path::Path::new(command.get_program());
    path.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

fn feeder(mut stdin: ChildStdin, input: String) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("child-stdin".into()).spawn(move || {
        // A program that dies early closes the pipe; its stderr says why.
        let _ = stdin.write_all(input.as_bytes());
    })
}

fn drainer(
    stderr: ChildStderr,
    signs: Arc<AtomicU64>,
    is_ending: Arc<AtomicBool>,
    mut hear: impl FnMut(&str) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("child-stderr".into()).spawn(move || {
        for line in byte_lines(BufReader::with_capacity(UNHEARD_BYTES, Unhurried { stderr, is_ending, heard: false })) {
            signs.fetch_add(1, Relaxed);
            hear(&line);
        }
    })
}

/// A program's stderr, read by many lines at a time.
struct Unhurried {
    stderr: ChildStderr,
    is_ending: Arc<AtomicBool>,
    /// Whether it was read before.
    heard: bool,
}

impl Read for Unhurried {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.heard, true) && !self.is_ending.load(Relaxed) {
            thread::park_timeout(UNHEARD);
        }
        self.stderr.read(buffer)
    }
}

/// Whether there is something to read, or nothing will be any more, within `wait`.
fn is_readable(stdout: &ChildStdout, wait: Duration) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: stdout.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one entry is lent for the call, and its descriptor is open as long as `stdout` lives.
    let found = unsafe { libc::poll(&raw mut asked, 1, wait_ms) };
    if found >= 0 {
        return Ok(found > 0);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
}

/// Lines of a stream that need not be UTF-8 (titles in container metadata often are not).
fn byte_lines(mut reader: impl BufRead) -> impl Iterator<Item = String> {
    let mut bytes = Vec::new();
    std::iter::from_fn(move || {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn run(script: &str, patience_ms: u64) -> Result<Output, Crash> {
        output(&mut shell(script), Duration::from_millis(patience_ms))
    }

    #[test]
    fn what_a_program_prints_and_says_is_kept_with_its_status() {
        let done = run("echo one; echo two >&2; exit 3", 5000).unwrap();
        assert_eq!((done.stdout, done.stderr, done.status.code()), (b"one\n".to_vec(), "two\n".to_owned(), Some(3)));
    }

    #[test]
    fn a_death_by_a_signal_is_a_crash_also_behind_a_shell() {
        let killed = |signal| Crash::Killed { program: "sh".into(), signal };
        assert_eq!(run("echo all; kill -9 $$", 5000).unwrap_err(), killed(9));
        assert_eq!(run("sh -c 'kill -11 $$'; exit $?", 5000).unwrap_err(), killed(11));
        assert_eq!(killed(9).to_string(), "sh was killed by signal 9 (out of memory?)");
        assert!(matches!(run("/nonexistent/ffmpeg", 5000), Err(Crash::Start { .. })));
        assert!(matches!(output(&mut Command::new("/nonexistent/ffmpeg"), PATIENCE), Err(Crash::Start { .. })));
    }

    #[test]
    fn a_program_that_is_stopped_or_hangs_is_ended_with_all_that_it_started() {
        for script in ["echo begun; kill -STOP $$", "sleep 1000 & sleep 1000", "exec >&- 2>&-; sleep 1000"] {
            let crash = run(script, 300).unwrap_err();
            assert_eq!(crash, Crash::Silent { program: "sh".into(), patience: Duration::from_millis(300) }, "{script}");
        }
    }

    #[test]
    fn signs_of_life_on_either_pipe_keep_a_slow_program_alive() {
        let done = run(
            "for i in 1 2 3 4 5 6; do sleep 0.2; echo $i >&2; done; for i in 1 2 3; do sleep 0.2; echo $i; done",
            700,
        );
        assert_eq!(done.unwrap().stdout, b"1\n2\n3\n");
    }

    /// 3 MB do not fit into the pipe: while nobody reads, the program waits for us.
    #[test]
    fn a_program_that_waits_for_us_is_not_silent() {
        let mut command = shell("head -c 3000000 /dev/zero");
        let mut process = Process::start(&mut command, Duration::from_millis(200), None, |_| {}).unwrap();
        thread::sleep(Duration::from_millis(600));
        assert_eq!(io::copy(&mut process, &mut io::sink()).unwrap(), 3_000_000);
        assert!(process.end().unwrap().success());
    }

    #[test]
    fn a_process_that_is_let_go_takes_its_group_with_it() {
        let mut process =
            Process::start(&mut shell("sleep 1000 & echo $!; wait"), PATIENCE, Some(String::new()), |_| {}).unwrap();
        let mut pid = [0; 32];
        let length = process.read(&mut pid).unwrap();
        let pid: i32 = String::from_utf8_lossy(&pid[..length]).trim().parse().unwrap();
        let group = unsafe { libc::getpgid(pid) };
        assert!(group == process.child.id() as i32 && group != unsafe { libc::getpgid(0) });
        drop(process);
        let gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        assert!((0..1000).any(|_| gone() || {
            thread::sleep(Duration::from_millis(5));
            false
        }));
    }

    #[test]
    fn work_is_tried_once_more_after_a_crash_and_only_then() {
        let mut tries = 0;
        let mut work = |what: &'static str| {
            tries += 1;
            if tries == 2 { Ok(()) } else { Err(what) }
        };
        assert_eq!(twice(|| work("crash"), |error| *error == "crash"), Ok(()));
        let mut tries = 0;
        let failed = twice(
            || {
                tries += 1;
                Err::<(), _>("damage")
            },
            |error| *error == "crash",
        );
        assert_eq!((failed, tries), (Err("damage"), 1));
    }
}
