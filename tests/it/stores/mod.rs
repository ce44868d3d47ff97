//! Feature stores: readers, damage, interrupted writes, conversion and import.

mod convert;
mod durable;
mod hostile;
mod import;
mod joins;
mod package;
mod readers;
mod schema2;
mod sync;
