//! Ctrl-C: the first one (or SIGTERM) stops politely, the second one at once.
//!
//! Invariant: whoever reads the words may already ask again.

use anyhow::Context;

use super::{INTERRUPTED, tell};

/// Calls `interrupt` at the first Ctrl-C. `interrupted` says whether there was one.
pub fn listen(
    interrupted: impl Fn() -> bool + Send + 'static,
    interrupt: impl Fn() + Send + 'static,
) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if interrupted() {
            // Commits are atomic, so this loses only what is in flight; ffmpeg ends with us.
            #[expect(clippy::disallowed_methods, reason = "the second Ctrl-C leaves at once")]
            std::process::exit(INTERRUPTED.into());
        }
        interrupt();
        tell("egofx: stopping: what is in flight is finished; Ctrl-C again to leave at once");
    })
    .context("cannot listen for Ctrl-C")
}
