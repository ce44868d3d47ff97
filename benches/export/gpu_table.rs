//! The table of `make gpu-check`, out of measured numbers.
//!
//! Not for measuring. Invariant: what was not measured is a dash, never a number. Tested with the root package's tests.

/// What was measured of one way to run the tower.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Who ran it.
    pub provider: String,
    /// In which arithmetic.
    pub precision: String,
    /// Seconds that a window takes, in the middle of the rounds.
    pub window_sec: f64,
    /// What a large matrix product reaches in that arithmetic on the same card, in operations a second.
    pub dense: Option<f64>,
    /// Lowest cosine between a row and the reference's.
    pub cosine: Option<f64>,
    /// Frames a second that decoding went through in a whole run.
    pub decode_rate: Option<f64>,
    /// Seconds of video that a whole run went through in a second.
    pub real_time: Option<f64>,
}

/// The table, as Markdown; a window takes `operations`.
pub fn table(lines: &[Line], operations: f64) -> String {
    let head = "| provider | precision | windows/s | share of dense | cosine | decoded frames/s | times real time |\n\
                |---|---|---|---|---|---|---|\n";
    let row = |line: &Line| {
        let cell = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        let rate = 1.0 / line.window_sec;
        let share = line.dense.map_or("-".to_owned(), |dense| format!("{:.0} %", 100.0 * rate * operations / dense));
        format!(
            "| {} | {} | {rate:.2} | {share} | {} | {} | {} |\n",
            line.provider,
            line.precision,
            cell(line.cosine, 6),
            cell(line.decode_rate, 0),
            cell(line.real_time, 1)
        )
    };
    head.to_owned() + &lines.iter().map(row).collect::<String>()
}
