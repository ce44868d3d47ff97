//! The `egofx` program: parses the command line, runs one command, ends with its exit code.
//!
//! Not for doing anything itself. Exit codes: 0 all is well; 1 something failed, units or a device; 2 bad arguments, recipe or
//! environment, before any decoding; 75 stopped by a scheduler, to be given again; 130 interrupted. Files of others that C code
//! reads are read by processes of the same program, see `foreign`.

mod cli;

use std::path::Path;
use std::process::ExitCode;

use egofx::foreign;

fn main() -> ExitCode {
    share_one_heap();
    if foreign::is_asked(std::env::args_os()) {
        return cli::read_foreign();
    }
    // Not the program's path, at which another version may lie by then.
    foreign::isolate(Path::new("/proc/self/exe"));
    let cli = cli::Cli::read();
    if cli.is_export() {
        give_large_blocks_back();
    }
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(cli::code_of(&error))
        }
    }
}

/// glibc gives each thread a heap of its own, and what one thread frees stays in the heap of the one that took it: memory
/// would grow with the length of a video. Our threads allocate rarely enough to share one.
fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, and the option only sets a limit.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// A block that was freed makes glibc keep ever larger ones. A graph that is run once, as `egofx export` runs it, leaves nothing
/// that would be taken again, and its weights come behind: what frames took at first would be held beside them.
fn give_large_blocks_back() {
    const LARGE: i32 = 1 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, and the option only sets a limit.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
