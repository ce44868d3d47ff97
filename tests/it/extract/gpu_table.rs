//! The table that `make gpu-check` prints, out of numbers as they are measured; the measuring itself needs a GPU.

#[path = "../../../benches/export/gpu_table.rs"]
mod printed;

use printed::{Line, table};

#[test]
fn the_table_has_what_was_measured_and_a_dash_for_what_was_not() {
    let cpu = Line { provider: "cpu".into(), precision: "fp32".into(), window_sec: 0.5, ..Line::default() };
    let cuda = Line {
        provider: "cuda".into(),
        precision: "fp16".into(),
        window_sec: 1e-3,
        dense: Some(740e12),
        cosine: Some(0.9999871),
        decode_rate: Some(1234.4),
        real_time: Some(41.26),
    };
    let printed = table(&[cpu, cuda], 185e9);
    let rows: Vec<&str> = printed.lines().collect();
    assert_eq!(rows[2], "| cpu | fp32 | 2.00 | - | - | - | - |");
    assert_eq!(rows[3], "| cuda | fp16 | 1000.00 | 25 % | 0.999987 | 1234 | 41.3 |");
    assert!(rows.iter().all(|row| row.matches('|').count() == 8), "{printed}");
}
