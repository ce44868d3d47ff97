//! Files that are not ours, and libraries that trust them: what keeps a malformed file from ending the program.
//!
//! A parser in Rust that gives up by a panic is made to give an error ([`parse`]). What C code makes of a file is found out
//! by a process of its own, under limits ([`ask`]). Not for judging what a file says. Invariant: whatever a file holds, its
//! reader comes back with a value or with words.

mod child;
mod limits;

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

pub use child::{ARGUMENT, Fault, Request, ask, is_asked, isolate, serve};
pub use limits::{MOST_GROWTH, expect};

/// A library gave up on a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage that its reader does not expect ({0})")]
pub struct Panicked(String);

impl Panicked {
    /// What it said.
    pub fn words(&self) -> &str {
        &self.0
    }
}

thread_local! {
    /// Whether this thread's panics are caught and told by [`parse`].
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, a parser of foreign bytes; a panic in it is an error, and nothing of it goes to stderr.
///
/// For parsers that keep nothing between calls: what `read` has changed outside of itself is not put right.
///
/// # Errors
/// [`Panicked`], with the words of the panic.
pub fn parse<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    hush();
    let outer = IS_CAUGHT.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(read));
    IS_CAUGHT.set(outer);
    done.map_err(|payload| Panicked(words(&*payload)))
}

/// Panics of threads within [`parse`] are not printed, others as before.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                before(panic);
            }
        }));
    });
}

/// The first line of what a panic says.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next()).unwrap_or("no words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(parse(|| 7), Ok(7));
        let at = [0_u8; 3];
        let error = parse(|| at[std::hint::black_box(5)]).unwrap_err();
        assert!(error.to_string().contains("index out of bounds"), "{error}");
        let inner = parse(|| parse(|| panic!("inner {}", 1)).map_err(|error| error.to_string()));
        assert_eq!(inner.unwrap(), Err::<(), _>("damage that its reader does not expect (inner 1)".to_owned()));
        assert!(!IS_CAUGHT.get());
    }
}
