//! An ffmpeg process with an owner.
//!
//! Not for making sense of what it prints. Invariants: stdin is fed and stderr is drained by their own threads, so the
//! child never blocks on us by mistake; it runs in its own process group, so that Ctrl-C reaches us alone; dropping the
//! owner kills and reaps it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, ExitStatus};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, unbounded};
use ffmpeg_sidecar::child::FfmpegChild;
use ffmpeg_sidecar::command::FfmpegCommand;

use super::log_line::LogLine;

/// The kernel's pipe buffer that we ask for, in bytes (the usual limit for unprivileged users).
const PIPE_BYTES: usize = 1 << 20;

/// A running ffmpeg that writes raw frames to its stdout.
pub struct Child {
    process: FfmpegChild,
    stdout: ChildStdout,
    lines: Receiver<LogLine>,
    helpers: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts `command`, which writes files: no closed pipe would end it if we were killed, so the system is asked to.
    pub fn spawn_writer(mut command: FfmpegCommand) -> io::Result<Self> {
        end_with_us(command.as_inner_mut());
        Self::spawn(command, String::new())
    }

    /// Starts `command` and feeds it `stdin`.
    pub fn spawn(mut command: FfmpegCommand, stdin: String) -> io::Result<Self> {
        command.as_inner_mut().process_group(0);
        let mut process = command.spawn()?;
        let missing = || io::Error::other("a pipe of ffmpeg is missing");
        let stdout = process.take_stdout().ok_or_else(missing)?;
        let stderr = process.take_stderr().ok_or_else(missing)?;
        let mut input = process.take_stdin().ok_or_else(missing)?;
        // A larger pipe spares wake-ups; without it everything works all the same.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        #[expect(
            clippy::disallowed_methods,
            reason = "a bound is a deadlock: ffmpeg prints a line for each decoded frame, and we read none while we wait for \
                      the picture of the next wanted one; an hour without a wanted frame is some megabytes of lines"
        )]
        let (sender, lines) = unbounded();
        let feeder = std::thread::Builder::new().name("ffmpeg-stdin".into()).spawn(move || {
            // ffmpeg that dies early closes the pipe; its stderr says why.
            let _ = input.write_all(stdin.as_bytes());
        })?;
        let drainer = std::thread::Builder::new().name("ffmpeg-stderr".into()).spawn(move || {
            for line in byte_lines(BufReader::new(stderr)) {
                log::trace!("ffmpeg: {line}");
                for line in LogLine::parse(&line) {
                    // Nobody listens any more: go on draining, so that the child can end.
                    let _ = sender.send(line);
                }
            }
        })?;
        Ok(Self { process, stdout, lines, helpers: vec![feeder, drainer] })
    }

    /// Fills `buffer` with one frame; `false` at the end of the stream, also in the middle of a frame.
    pub fn read_frame(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.stdout.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The next line that matters; `None` once ffmpeg has closed its stderr.
    pub fn next_line(&self) -> Option<LogLine> {
        self.lines.recv().ok()
    }

    /// Waits for the end; call it when stdout has ended.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A full channel would keep the drainer from its end.
        while self.lines.recv().is_ok() {}
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

/// Has the kernel kill the child when the thread that started it is gone. Elsewhere than on Linux it would run on, into a
/// file that nobody takes.
fn end_with_us(command: &mut std::process::Command) {
    #[cfg(target_os = "linux")]
    {
        let us = rustix::process::getpid();
        let ask = move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            let alive = rustix::process::getppid() == Some(us);
            if alive { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        // SAFETY: between fork and exec only two system calls are made, and nothing is allocated.
        unsafe { command.pre_exec(ask) };
    }
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
