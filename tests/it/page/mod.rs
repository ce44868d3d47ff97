//! `egofx report`: what it says of a store, and how that looks in a browser.

mod browser;
mod content;

use std::fs;

use egofx::ids::{UnitUid, VideoUid};
use egofx::store::{Contract, PlannedUnit, RowKind};
use egofx::time::TimeSpan;

use crate::support::stores::{Made, contract, opened, store};
use crate::support::{Workshop, json};

/// What nobody may take for a tag.
const HOSTILE: &str = "</script><script>window.hurt=1</script><img src=x onerror=\"window.hurt=1\">";

/// The sample store, `features/rows`: videos `v0` ... of 20 s with a clip each, and a second clip in the middle of `v0`; `v1` lacks two
/// rows; of `v2` a unit has failed, of `v3` one is not there yet.
fn sample(shop: &Workshop, videos: usize) -> Contract {
    let contract = Contract {
        backbone: HOSTILE.into(),
        recipe: format!("a = 1 # {HOSTILE}\n"),
        ..contract("rows", RowKind::Window, 16, 2.0)
    };
    let mut made: Vec<Made> =
        (0..videos).map(|at| Made::windows(&format!("c{at}"), &format!("v{at}"), Some((0.0, 20.0)), 40)).collect();
    made[0].rows[39].1 = true;
    made[1].missing = vec![10, 11];
    made.push(Made::windows("c0-middle", "v0", Some((5.0, 10.0)), 10));
    store(&shop.path("features"), &contract, &made);
    let store = opened(&shop.path("features"), &contract);
    let open = |unit: &str, video: &str| PlannedUnit {
        unit_uid: UnitUid::parse(unit).unwrap(),
        video_uid: VideoUid::parse(video).unwrap(),
        span: TimeSpan::new(2.0, 8.0),
        content_sha256: None,
    };
    store.promise(&[open("c2-failed", "v2"), open("c3-later", "v3")]).unwrap();
    let failure =
        serde_json::json!({"feature_set": "rows", "unit_uid": "c2-failed", "video_uid": "v2", "why": HOSTILE});
    let report = serde_json::json!({
        "feature_sets": ["rows"], "device": {"taken": "cpu"}, "elapsed_sec": 10.0, "video_sec": 60.0, "rows": 130,
        "frames_decoded": 520, "stages": [{"stage": "decode", "threads": 1, "busy_sec": 9.0, "busy_share": 0.9}],
        "failures": [failure], "exit_code": 1,
    });
    fs::write(shop.path("features/report.json"), report.to_string()).unwrap();
    contract
}

/// What `egofx report --json` says.
fn said(shop: &Workshop, arguments: &str) -> serde_json::Value {
    json(&shop.egofx(&format!("report --json {arguments}")).ends_with(0).stdout)
}
