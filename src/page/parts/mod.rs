//! The parts of a page, one file each.
//!
//! Not for reading stores. Invariant: what is drawn is also said: in a label, a caption or a table.

mod checks;
mod map;
mod run;
mod scores;
mod timeline;
mod videos;

pub(super) use checks::checks;
pub(super) use map::map;
pub(super) use run::run;
pub(super) use scores::scores;
pub(super) use videos::videos;

/// `1 row`, `2 rows`.
fn plural(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{} {thing}s", grouped(count)) }
}

/// `12 345`, with a space that no line breaks at.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MiB`.
fn bytes(count: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let steps = (0..units.len() - 1).take_while(|step| count >= 1024_u64.pow(*step as u32 + 1)).count();
    if steps == 0 {
        return format!("{count} bytes");
    }
    format!("{:.1} {}", count as f64 / 1024_f64.powi(steps as i32), units[steps])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!((plural(1, "row"), plural(2, "row")), ("1 row".into(), "2 rows".into()));
        assert_eq!([0, 1023, 1024, 1 << 21].map(bytes), ["0 bytes", "1023 bytes", "1.0 KiB", "2.0 MiB"]);
    }
}
