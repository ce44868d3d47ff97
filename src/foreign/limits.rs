//! What a process that reads a foreign file may use: memory and processor time by the length of the file.
//!
//! Not for the processes that read our own files, which are told by their hashes: there nothing is limited. Invariant: no
//! limit grows because a file says so, unless its length allows for what it says.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, mem, ptr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bytes that one byte of a file can stand for: the most that deflate makes of one, 1032, rounded up.
pub const MOST_GROWTH: u64 = 1040;
/// Memory for the reader itself, in bytes: libhdf5's cache of what it has seen of a file grows to half of that.
const OWN_BYTES: u64 = 64 << 20;
/// Memory for what a file lists, for each of its bytes.
const BYTES_PER_BYTE: u64 = 4;
/// Time for the reader itself, in microseconds.
const OWN_MICROS: u64 = 500_000;
/// Bytes that are read in a microsecond at the least: four million in a second, if all of them are names.
const BYTES_PER_MICRO: u64 = 4;

/// Whether this process serves foreign files, so that its limits follow what it reads.
static IS_LIMITED: AtomicBool = AtomicBool::new(false);

/// From here on this process reads foreign files. It leaves no core behind.
pub(super) fn begin() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    IS_LIMITED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Takes the limits of one request about a file of so many bytes: what `expect` has granted before is taken back.
pub(super) fn renew(file_bytes: u64) -> io::Result<()> {
    let used = used_bytes()?;
    limit_memory(used.saturating_add(OWN_BYTES).saturating_add(file_bytes.saturating_mul(BYTES_PER_BYTE)))?;
    limit_time(OWN_MICROS.saturating_add(file_bytes / BYTES_PER_MICRO))
}

/// No limit of time, between requests.
pub(super) fn rest() -> io::Result<()> {
    limit_time(0)
}

/// To be called before `bytes` are read out of the file at `path`: whether it is long enough to hold them at all, however
/// they are packed. A process with limits gets the memory and the time for them.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn expect(path: &Path, bytes: u64) -> Result<(), String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > length.saturating_mul(MOST_GROWTH) {
        return Err(format!("an array of {bytes} bytes in a file of {length}"));
    }
    if IS_LIMITED.load(Ordering::Relaxed) {
        // As they are read, converted, and packed for the other side.
        let more = || -> io::Result<()> {
            let used = used_bytes()?;
            limit_memory(
                used.saturating_add(OWN_BYTES).saturating_add(length.max(bytes).saturating_mul(BYTES_PER_BYTE)),
            )?;
            limit_time(OWN_MICROS.saturating_add(length.max(bytes) / BYTES_PER_MICRO))
        };
        more().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Memory that this process has mapped, in bytes.
fn used_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let kib: u64 = line.and_then(|kib| kib.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(kib.saturating_mul(1024))
}

fn limit_memory(bytes: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::As).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    Ok(setrlimit(Resource::As, Rlimit { current, maximum })?)
}

/// A timer of the processor time from now on, 0 for none; when it runs out the process dies of SIGPROF.
fn limit_time(micros: u64) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    };
    // SAFETY: a structure of numbers.
    let never: libc::timeval = unsafe { mem::zeroed() };
    let timer = libc::itimerval { it_interval: never, it_value: time };
    // SAFETY: the timer lives through the call, and no old one is asked for.
    match unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_file_can_hold_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [0; 10]).unwrap();
        assert_eq!(expect(file.path(), 10 * MOST_GROWTH), Ok(()));
        let error = expect(file.path(), 10 * MOST_GROWTH + 1).unwrap_err();
        assert_eq!(error, "an array of 10401 bytes in a file of 10");
    }
}
