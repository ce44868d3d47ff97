//! Seconds for people.

/// `1:02:03`, `2:03`, `0:02.5`: tenths where they are not 0 and hours where there are some.
pub fn clock(sec: f64) -> String {
    if !sec.is_finite() {
        return "?".into();
    }
    let tenths = (sec.abs() * 10.0).round() as u64;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    let sign = if sec < 0.0 && tenths > 0 { "-" } else { "" };
    let fraction = if tenth > 0 { format!(".{tenth}") } else { String::new() };
    if hours > 0 {
        return format!("{sign}{hours}:{minutes:02}:{seconds:02}{fraction}");
    }
    format!("{sign}{minutes}:{seconds:02}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_clocks_write_them() {
        for (sec, text) in
            [(0.0, "0:00"), (2.54, "0:02.5"), (59.97, "1:00"), (3723.0, "1:02:03"), (-1.0, "-0:01"), (f64::NAN, "?")]
        {
            assert_eq!(clock(sec), text);
        }
    }
}
