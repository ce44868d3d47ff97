//! The expressions by which ffmpeg's `select` filter lets wanted frames pass, and only those, by which `setpts` gives frames the
//! times that we know, and by which packets are dropped that nobody needs.
//!
//! Frames are named by their timestamps, so that seeking, damage and variable rates cannot shift the choice. A grid
//! wants thousands of frames; a sum of as many comparisons would be evaluated for each decoded frame. So timestamps are
//! folded into arithmetic runs and the runs into a balanced tree of `if`s: a handful of comparisons per frame.

use std::fmt::Write;

/// `count` timestamps from `start`, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: i64,
    step: i64,
    count: i64,
}

impl Run {
    fn end(self) -> i64 {
        self.start + self.step * (self.count - 1)
    }
}

/// The expression that is 1 for exactly the given ascending timestamps. At least one is needed.
pub fn expression(pts: &[i64]) -> String {
    let mut text = String::new();
    tree(&runs(pts), &mut text);
    text
}

/// The expression that gives frame number `N` the timestamp `pts[N]`. At least one is needed.
pub fn times(pts: &[i64]) -> String {
    let mut text = String::new();
    let mut firsts = Vec::new();
    let mut next = 0;
    for run in runs(pts) {
        firsts.push((next, run));
        next += run.count;
    }
    times_tree(&firsts, &mut text);
    text
}

/// The expression that is not 0 for those of the ascending `timestamps` that are marked, 0 for the others and for all before and
/// after them, and anything for those in between. Marks of evenly spaced timestamps are bits of one number.
pub fn marks(timestamps: &[(i64, bool)]) -> String {
    // What is before the first one, and the leaves in order, each with the timestamp that it begins at.
    let mut leaves = vec![(i64::MIN, "0".to_owned())];
    let mut add = |start: i64, text: String| {
        if leaves.last().is_none_or(|(_, last)| *last != text || text != "0") {
            leaves.push((start, text));
        }
    };
    let mut rest = timestamps;
    while let Some(&(start, _)) = rest.first() {
        let is_even = |&length: &usize| length <= rest.len() && step_of(&rest[..length]).is_some();
        let length = MARKS_AT_ONCE.into_iter().find(is_even).unwrap_or(1);
        let (even, behind) = rest.split_at(length);
        add(start, bits(even));
        rest = behind;
    }
    if let Some((last, _)) = timestamps.last() {
        add(last.saturating_add(1), "0".to_owned());
    }
    let mut text = String::new();
    leaf_tree(&leaves, &mut text);
    text
}

/// As many bits as ffmpeg's floating point numbers hold, and fewer where timestamps are uneven.
const MARKS_AT_ONCE: [usize; 7] = [48, 24, 12, 6, 3, 2, 1];

/// From one of these to the next, if rounding by it gives each its number.
fn step_of(even: &[(i64, bool)]) -> Option<f64> {
    let (&(first, _), &(last, _)) = even.first().zip(even.last())?;
    let step = if even.len() > 1 { (last - first) as f64 / (even.len() - 1) as f64 } else { 1.0 };
    let is_at = |(number, (pts, _)): (usize, &(i64, bool))| ((pts - first) as f64 / step).round() == number as f64;
    even.iter().enumerate().all(is_at).then_some(step)
}

fn bits(even: &[(i64, bool)]) -> String {
    let mask = even.iter().rev().fold(0_u64, |mask, (_, is_marked)| mask << 1 | u64::from(*is_marked));
    match step_of(even) {
        Some(step) if mask > 0 => format!("bitand({mask},pow(2,round((pts-{})/{step})))", paren(even[0].0)),
        _ => "0".to_owned(),
    }
}

fn leaf_tree(leaves: &[(i64, String)], out: &mut String) {
    match leaves {
        [] => out.push('0'),
        [(_, leaf)] => out.push_str(leaf),
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            // Writing to a String cannot fail.
            let _ = write!(out, "if(lt(pts,{}),", high[0].0);
            leaf_tree(low, out);
            out.push(',');
            leaf_tree(high, out);
            out.push(')');
        }
    }
}

fn times_tree(runs: &[(i64, Run)], out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match runs {
        [] => write!(out, "0"),
        [(first, Run { start, step, .. })] => write!(out, "{}+(N-{first})*{step}", paren(*start)),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let _ = write!(out, "if(lt(N,{}),", high[0].0);
            times_tree(low, out);
            out.push(',');
            times_tree(high, out);
            write!(out, ")")
        }
    };
}

fn runs(pts: &[i64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &p in pts {
        match runs.last_mut() {
            Some(run) if run.count == 1 => (run.step, run.count) = (p - run.start, 2),
            Some(run) if p - run.end() == run.step => run.count += 1,
            _ => runs.push(Run { start: p, step: 1, count: 1 }),
        }
    }
    runs
}

fn tree(runs: &[Run], out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match runs {
        [] => write!(out, "0"),
        [Run { start, count: 1, .. }] => write!(out, "eq(pts,{start})"),
        [run] => {
            write!(out, "between(pts,{},{})*not(mod(pts-{},{}))", run.start, run.end(), paren(run.start), run.step)
        }
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let _ = write!(out, "if(lt(pts,{}),", high[0].start);
            tree(low, out);
            out.push(',');
            tree(high, out);
            write!(out, ")")
        }
    };
}

/// `a--3` is no expression of ffmpeg's, `a-(-3)` is.
fn paren(n: i64) -> String {
    if n < 0 { format!("({n})") } else { n.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_spacing_is_one_run() {
        let pts: Vec<i64> = (0..1000).map(|i| 512 * 4 * i + 512).collect();
        assert_eq!(expression(&pts), "between(pts,512,2046464)*not(mod(pts-512,2048))");
        assert_eq!(expression(&[7]), "eq(pts,7)");
        assert_eq!(expression(&[-1024, -512]), "between(pts,-1024,-512)*not(mod(pts-(-1024),512))");
    }

    #[test]
    fn uneven_spacing_is_a_shallow_tree() {
        assert_eq!(
            expression(&[0, 1, 2, 10, 20, 30, 31]),
            "if(lt(pts,10),between(pts,0,2)*not(mod(pts-0,1)),if(lt(pts,31),between(pts,10,30)*not(mod(pts-10,10)),eq(pts,31)))"
        );
        let jitter: Vec<i64> = (0..4000).map(|i| i * 133 + i % 3).collect();
        let depth = expression(&jitter).split("between").next().unwrap().matches("if(").count();
        assert!(depth <= 13, "{depth} comparisons deep");
    }

    #[test]
    fn marks_are_bits() {
        let of = |count: i64, step: i64, is_marked: fn(i64) -> bool| -> Vec<(i64, bool)> {
            (0..count).map(|i| (step * i - 1024, is_marked(i))).collect()
        };
        assert_eq!(
            marks(&of(3, 512, |i| i != 1)),
            "if(lt(pts,-1024),0,if(lt(pts,1),bitand(5,pow(2,round((pts-(-1024))/512))),0))"
        );
        assert_eq!(marks(&of(500, 512, |_| false)), "0");
        assert_eq!(marks(&[]), "0");
        assert_eq!(marks(&[(7, true)]), "if(lt(pts,7),0,if(lt(pts,8),bitand(1,pow(2,round((pts-7)/1))),0))");
        // Rounded to milliseconds; an hour of frames in a regular order.
        let hour: Vec<(i64, bool)> = (0..108_000).map(|i| ((i * 100 + 1) / 3, i % 4 % 2 == 1)).collect();
        let text = marks(&hour);
        assert!(text.len() < 300_000 && text.matches("bitand").count() == 2250, "{}", text.len());
    }

    #[test]
    fn numbers_are_given_times_run_by_run() {
        assert_eq!(times(&[0, 40, 80, 120]), "0+(N-0)*40");
        assert_eq!(times(&[-40, 0, 40, 160, 200]), "if(lt(N,3),(-40)+(N-0)*40,160+(N-3)*40)");
    }

    #[test]
    fn the_runs_hold_every_timestamp_once() {
        let pts: Vec<i64> = (0..500).map(|i| i * i % 7 + i * 9).collect();
        let spread: Vec<i64> = runs(&pts).iter().flat_map(|r| (0..r.count).map(|k| r.start + k * r.step)).collect();
        assert_eq!(spread, pts);
    }
}
