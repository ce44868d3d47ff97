//! What the tests share: the device that they run on.

use std::sync::OnceLock;

use tch::Device;

use egofx_train::device::{Choice, find};

/// The CPU, or what `EGOFX_TRAIN_DEVICE` names (`cuda`), which must be there then: `make gpu-check` runs the same tests so.
pub fn device() -> Device {
    static FOUND: OnceLock<Device> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let named = std::env::var("EGOFX_TRAIN_DEVICE").unwrap_or("cpu".to_owned());
        find(named.parse::<Choice>().unwrap()).unwrap().device
    })
}
