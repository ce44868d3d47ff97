//! What the tests of learning share.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "../it/support/device.rs"]
pub mod device;
#[path = "../it/support/shapes.rs"]
pub mod shapes;

/// Held by each test from its first line to its last: libtorch's generator and its count of threads are the process's.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Threads that wait for one another spin, which on a busy machine costs more than they save.
    tch::set_num_threads(1);
    alone
}
