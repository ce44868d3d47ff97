//! Moments: windows of one clip that follow one another and score alike, as one answer.
//!
//! Not for ranking windows (`ranked`). Invariant: a window is of one moment at most, and a moment's score is that of its best window.

use std::collections::HashSet;

use super::error::SearchError;
use super::index::{Index, Window};
use super::ranked::Ranked;

/// How windows become moments, and how many.
///
/// A moment begins as the best window that is in none yet (of equal ones the first in the index). It grows to both sides, window by
/// window of the same clip, as long as the next one overlaps or adjoins it and scores at least `margin` below the best; a gap of half a
/// window counts as adjoining.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MomentRule {
    /// Most moments.
    pub top: usize,
    /// How far below the best window another one of its moment may score.
    pub margin: f32,
}

/// The moment of which a query was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Instant {
    /// Its video.
    pub video_uid: String,
    /// Second in it.
    pub sec: f64,
}

/// A moment that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Its video.
    pub video_uid: String,
    /// Its clip, if it is of one.
    pub clip_uid: Option<String>,
    /// Start in the video, in seconds.
    pub start_sec: f64,
    /// End, exclusive.
    pub end_sec: f64,
    /// Cosine of its best window and the query.
    pub score: f32,
    /// The middle of its best window, in seconds of the video.
    pub best_sec: f64,
    /// How many windows it has.
    pub windows: usize,
    /// The row of its best window in the index.
    pub row: usize,
}

impl Instant {
    fn is_in(&self, moment: &Moment) -> bool {
        self.video_uid == moment.video_uid && (moment.start_sec..moment.end_sec).contains(&self.sec)
    }
}

/// The best moments among `ranked` windows of `index`; moments of the video of `own` that cover its second are left out.
///
/// # Errors
/// [`SearchError::Damaged`].
pub fn moments(
    index: &Index,
    ranked: &mut Ranked,
    rule: MomentRule,
    own: Option<&Instant>,
) -> Result<Vec<Moment>, SearchError> {
    let (mut taken, mut found) = (HashSet::new(), Vec::new());
    while found.len() < rule.top {
        let Some((row, score)) = ranked.next() else { break };
        if taken.contains(&row) {
            continue;
        }
        let moment = grown(index, ranked, (row, score), rule.margin, &mut taken)?;
        if !own.is_some_and(|own| own.is_in(&moment)) {
            found.push(moment);
        }
    }
    Ok(found)
}

fn grown(
    index: &Index,
    ranked: &Ranked,
    (best, score): (usize, f32),
    margin: f32,
    taken: &mut HashSet<usize>,
) -> Result<Moment, SearchError> {
    let Window { video_uid, clip_uid, mut start_sec, mut end_sec } = index.window(best)?;
    let best_sec = 0.5 * (start_sec + end_sec);
    let windows_before = taken.len();
    taken.insert(best);
    let later: &mut dyn Iterator<Item = usize> = &mut (best + 1..index.rows());
    let earlier: &mut dyn Iterator<Item = usize> = &mut (0..best).rev();
    for side in [later, earlier] {
        for row in side {
            let (start, end) = index.times(row);
            let slack = 0.5 * (end - start);
            let is_next = index.place(row) == index.place(best) && start <= end_sec + slack && end >= start_sec - slack;
            if !is_next || taken.contains(&row) || ranked.score(row) < score - margin {
                break;
            }
            taken.insert(row);
            (start_sec, end_sec) = (start_sec.min(start), end_sec.max(end));
        }
    }
    Ok(Moment {
        video_uid: video_uid.to_owned(),
        clip_uid: Some(clip_uid).filter(|clip| !clip.is_empty()).map(str::to_owned),
        start_sec,
        end_sec,
        score,
        best_sec,
        windows: taken.len() - windows_before,
        row: best,
    })
}
