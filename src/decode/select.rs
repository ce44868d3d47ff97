//! The expressions by which ffmpeg's `select` filter lets wanted frames pass, and only those, and by which `setpts` gives
//! frames the times that we know.
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
