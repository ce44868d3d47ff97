//! A running ffmpeg: raw frames on its stdout, and what it says line by line.
//!
//! Not for acting on what it says. Invariant: lines come in the order in which ffmpeg said them.

use std::io::{self, Read};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use super::log_line::LogLine;
use crate::child::{self, Crash, Process};

/// The exit status by which ffmpeg tells that a signal made it end in good order, with less than all of its output.
const TOLD_TO_END: i32 = 255;

/// An ffmpeg with an owner.
pub struct Child {
    process: Process,
    lines: Receiver<LogLine>,
}

impl Child {
    /// Starts `command`, which writes files or nothing: no closed pipe would end it if we were killed, so the system is asked
    /// to.
    ///
    /// # Errors
    /// [`Crash::Start`].
    pub fn spawn_writer(mut command: Command, patience: Duration) -> Result<Self, Crash> {
        child::end_with_us(&mut command);
        Self::spawn(command, patience, String::new())
    }

    /// Starts `command` and feeds it `stdin`.
    ///
    /// # Errors
    /// [`Crash::Start`].
    pub fn spawn(mut command: Command, patience: Duration, stdin: String) -> Result<Self, Crash> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a bound is a deadlock: ffmpeg prints a line for each decoded frame, and we read none while we wait for \
                      the image of the next wanted one; an hour without a wanted frame is some megabytes of lines"
        )]
        let (sender, lines) = unbounded();
        let hear = move |line: &str| {
            log::trace!("ffmpeg: {line}");
            for line in LogLine::parse(line) {
                // Nobody listens any more: go on draining, so that the child can end.
                let _ = sender.send(line);
            }
        };
        Ok(Self { process: Process::start(&mut command, patience, Some(stdin), hear)?, lines })
    }

    /// Fills `buffer` with one frame; `false` at the end of the stream, also in the middle of a frame.
    ///
    /// # Errors
    /// [`Crash::System`]: the pipe cannot be read.
    pub fn read_frame(&mut self, buffer: &mut [u8]) -> Result<bool, Crash> {
        match self.process.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(Crash::System { program: self.process.program().to_owned(), words: e.to_string() }),
        }
    }

    /// The next line that matters; `None` once ffmpeg has closed its stderr, or was ended for its silence.
    pub fn next_line(&mut self) -> Option<LogLine> {
        if let Ok(line) = self.lines.try_recv() {
            return Some(line);
        }
        let mut watch = self.process.watch();
        self.process.listen();
        loop {
            match self.lines.recv_timeout(watch.look()) {
                Ok(line) => return Some(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if watch.is_over() => {
                    self.process.give_up();
                    return None;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for the end; call it when stdout and the lines have ended.
    ///
    /// # Errors
    /// [`Crash`].
    pub fn end(&mut self) -> Result<ExitStatus, Crash> {
        let status = self.process.end()?;
        let told = status.code() == Some(TOLD_TO_END);
        if told { Err(Crash::Told { program: self.process.program().to_owned() }) } else { Ok(status) }
    }

    /// The crash that the system's refusal is, in ffmpeg's `words`.
    pub fn refused(&self, words: String) -> Crash {
        Crash::System { program: self.process.program().to_owned(), words }
    }
}
