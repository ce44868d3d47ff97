//! Batches made ahead of the steps that take them, on threads of their own.
//!
//! Not for what is in a batch. Batches come in the order in which they were asked for, however many threads make them, and
//! at most `AHEAD` of them wait for each thread, so that memory does not depend on the length of an epoch.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::TrainError;

/// Batches that may be ready or in the making for each thread: one is taken while the next is made.
const AHEAD: usize = 2;

/// How long a loop ran and how much of that it waited for batches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waited {
    /// Time in the loop.
    pub total: Duration,
    /// Time without a batch.
    pub waiting: Duration,
}

impl Waited {
    /// The share of the time that was spent waiting, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.total.is_zero() { 0.0 } else { self.waiting.as_secs_f64() / self.total.as_secs_f64() }
    }
}

/// A batch to make, and where it goes.
struct Order<B> {
    number: usize,
    reply: Sender<Result<B, TrainError>>,
}

/// Calls `take` with batches 0 to `count - 1`, in this order, each made by `make` on one of `threads` threads, and with how long
/// it was waited for; until `take` breaks off.
///
/// # Errors
/// The first error of `make` or `take`; nothing more is made then.
pub fn each<B: Send>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<B, TrainError> + Sync,
    mut take: impl FnMut(usize, B, Duration) -> Result<ControlFlow<()>, TrainError>,
) -> Result<(), TrainError> {
    let depth = threads.max(1) * AHEAD;
    thread::scope(|scope| {
        // As many orders as there may be batches: asking never waits.
        let (orders, taken) = bounded::<Order<B>>(depth);
        for _ in 0..threads.max(1) {
            let (taken, make) = (taken.clone(), &make);
            scope.spawn(move || serve(&taken, make));
        }
        let mut pending = std::collections::VecDeque::with_capacity(depth);
        let mut asked = 0;
        for number in 0..count {
            while asked < count && pending.len() < depth {
                let (reply, answer) = bounded(1);
                // The threads outlive this loop.
                let _ = orders.send(Order { number: asked, reply });
                pending.push_back(answer);
                asked += 1;
            }
            let since = Instant::now();
            let batch = answer(pending.pop_front())?;
            if take(number, batch, since.elapsed())?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

fn serve<B>(orders: &Receiver<Order<B>>, make: &impl Fn(usize) -> Result<B, TrainError>) {
    for Order { number, reply } in orders {
        // Nobody listens any more once the loop has ended early.
        if reply.send(make(number)).is_err() {
            return;
        }
    }
}

/// The batch; a thread that panicked while it made it has hung up.
fn answer<B>(pending: Option<Receiver<Result<B, TrainError>>>) -> Result<B, TrainError> {
    let hung_up = || TrainError::Io {
        action: "make",
        path: "a batch".into(),
        cause: std::io::Error::other("the thread that made it has ended"),
    };
    pending.and_then(|answer| answer.recv().ok()).ok_or_else(hung_up)?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn batches_come_in_order_and_never_far_ahead() {
        let (made, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let make = |number: usize| {
            let ahead = made.fetch_add(1, Ordering::SeqCst) + 1 - taken.load(Ordering::SeqCst).min(number);
            assert!(ahead <= 3 * AHEAD + 1, "{ahead} batches at once");
            // Later batches are ready sooner.
            thread::sleep(Duration::from_micros(300 - 10 * (number as u64 % 30)));
            Ok(number)
        };
        let mut found = Vec::new();
        each(40, 3, make, |number, batch, _| {
            taken.fetch_add(1, Ordering::SeqCst);
            found.push((number, batch));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(found, (0..40).map(|number| (number, number)).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_ends_the_loop_on_either_side() {
        let error = || TrainError::Needed { name: "x", about: "y" };
        let mut seen = 0;
        let made = each(
            9,
            2,
            |number| if number == 3 { Err(error()) } else { Ok(()) },
            |_, (), _| {
                seen += 1;
                Ok(ControlFlow::Continue(()))
            },
        );
        assert_eq!((made.unwrap_err().to_string(), seen), (error().to_string(), 3));
        let taken = each(
            9,
            2,
            |_| Ok(()),
            |number, (), _| if number == 2 { Err(error()) } else { Ok(ControlFlow::Continue(())) },
        );
        assert_eq!(taken.unwrap_err().to_string(), error().to_string());
        each(0, 2, |_| Ok(()), |_, (), _| Ok(ControlFlow::Continue(()))).unwrap();
    }

    #[test]
    fn nothing_more_is_made_once_it_was_broken_off() {
        let (made, mut seen) = (AtomicUsize::new(0), 0);
        let make = |_| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let take = |number, (), _| {
            seen += 1;
            Ok(if number == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        each(1000, 2, make, take).unwrap();
        assert_eq!(seen, 3);
        assert!(made.into_inner() <= 3 + 2 * AHEAD);
    }
}
