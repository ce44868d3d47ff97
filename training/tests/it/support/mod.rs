//! What the tests share: the device, shipped experiments made small, and small sets of videos.

pub mod device;
pub mod experiments;
pub mod graphs;
pub mod shapes;
