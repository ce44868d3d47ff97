//! Reads stores, one unit at a time, and puts together what a page shows of them.
//!
//! Not for drawing. Invariant: of rows no more is kept than what is shown, and where they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use ndarray::{Array2, ArrayView1};

use super::against::Against;
use super::health::{At, Health};
use super::plane::Plane;
use super::set::Set;
use super::videos::{Gathered, Shown};
use super::view::{AgainstView, Map, Point, RunView, SetView, VideoLine, View};
use super::{Options, PageError};
use crate::ids::{UnitUid, VideoUid};
use crate::report::{self, RunReport};
use crate::store::{LedgerEntry, Unit, feature_sets};

/// Rows of a feature set that the plane shows, and by which it is found.
const MAP_ROWS: usize = 2000;

/// Videos that are listed in numbers.
const MOST_LINES: usize = 1000;

impl Set {
    fn view(
        &self,
        gathered: &mut Gathered,
        numbers: &HashMap<VideoUid, usize>,
        options: &Options,
    ) -> Result<SetView, PageError> {
        let entries = self.entries();
        let mut rows = SetRows::of(self, options.against.as_deref())?;
        gathered.begin(self, &entries);
        for entry in &entries {
            match self.reader.read_entry(entry) {
                Ok(unit) => {
                    rows.add(entry, &unit, numbers.get(&entry.video_uid).copied().unwrap_or_default(), gathered);
                    options.meter.done(entry.rows);
                }
                Err(error) => {
                    gathered.absent(entry.video_uid.as_str(), self, &entry.unit_uid, error.to_string());
                    rows.health.unreadable(format!("{}: {error}", entry.unit_uid));
                    options.meter.failed();
                }
            }
        }
        gathered.end(&self.name);
        let (checks, norms) = rows.health.finish();
        Ok(SetView {
            contract: self.reader.contract().clone(),
            providers: self.reader.providers()?,
            planned: self.planned.len(),
            committed: self.committed.len(),
            rows: entries.iter().map(|entry| entry.rows).sum(),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            checks,
            norms,
            map: rows.sample.map(),
            against: rows.against.map(|against| against.map_or_else(|why_not| why_not, Against::finish)),
        })
    }
}

/// What is found of the rows of a feature set while they pass.
struct SetRows {
    health: Health,
    sample: Sample,
    against: Option<Result<Against, AgainstView>>,
}

impl SetRows {
    fn of(set: &Set, against: Option<&Path>) -> Result<Self, PageError> {
        let dim = set.reader.contract().dim;
        let rows: u64 = set.committed.iter().map(|entry| entry.rows).sum();
        let against = against.map(|path| Against::open(path, &set.reader)).transpose()?;
        Ok(Self { health: Health::new(dim), sample: Sample::new(rows as usize, dim), against })
    }

    fn add(&mut self, entry: &LedgerEntry, unit: &Unit, video: usize, gathered: &mut Gathered) {
        let number = self.health.begin(entry.unit_uid.as_str(), entry.video_uid.as_str());
        for (row, (meta, values)) in unit.meta.iter().zip(unit.features.outer_iter()).enumerate() {
            let sec = f64::midpoint(meta.start_sec, meta.end_sec);
            let at = At { unit: number, row, sec: meta.start_sec };
            let values = Some(values).filter(|values| self.health.add(at, meta.missing, *values));
            self.sample.add(values, video, sec);
            gathered.row(entry, values, sec);
        }
        gathered.unit(entry, &unit.contract.feature_set, &unit.meta);
        if let Some(Ok(against)) = &mut self.against {
            against.add(entry, unit);
        }
    }
}

/// One of so many rows.
struct Sample {
    every: usize,
    seen: usize,
    dim: usize,
    values: Vec<f32>,
    points: Vec<Point>,
}

impl Sample {
    fn new(rows: usize, dim: usize) -> Self {
        Self { every: rows.div_ceil(MAP_ROWS).max(1), seen: 0, dim, values: Vec::new(), points: Vec::new() }
    }

    fn add(&mut self, row: Option<ArrayView1<f32>>, video: usize, sec: f64) {
        let is_chosen = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if let Some(row) = row.filter(|_| is_chosen) {
            self.values.extend(row);
            self.points.push(Point { x: 0.0, y: 0.0, video, sec });
        }
    }

    fn map(mut self) -> Map {
        let shape = (self.points.len(), self.dim);
        let rows = Array2::from_shape_vec(shape, self.values).unwrap_or_else(|_| Array2::zeros((0, self.dim)));
        let plane = Plane::of(rows);
        for (point, place) in self.points.iter_mut().zip(plane.places.outer_iter()) {
            (point.x, point.y) = (place[0], place[1]);
        }
        Map { points: self.points, every: self.every, explained: plane.explained }
    }
}

/// All of a page.
///
/// # Errors
/// [`PageError`].
pub(super) fn view(path: &Path, options: &Options) -> Result<View, PageError> {
    let sets = feature_sets(path)?.iter().map(|path| Set::open(path)).collect::<Result<Vec<_>, _>>()?;
    if sets.is_empty() {
        return Err(PageError::NoStore(path.to_owned()));
    }
    options.meter.expect(sets.iter().map(|set| set.committed.len()).sum());
    let run = run_of(&sets);
    let mut lines = lines(&sets);
    let shown = choose(&mut lines, options.detailed);
    let numbers = lines.iter().enumerate().filter_map(|(at, line)| Some((VideoUid::parse(&line.video_uid).ok()?, at)));
    let numbers: HashMap<VideoUid, usize> = numbers.collect();
    let mut gathered = Gathered::new(&shown, sets.len());
    let views = sets.iter().map(|set| set.view(&mut gathered, &numbers, options)).collect::<Result<Vec<_>, _>>()?;
    sets.iter().for_each(|set| gathered.waiting(set, run.as_ref()));
    let Shown { videos, scores, notes } = gathered.finish(&sets, options)?;
    Ok(View {
        path: path.display().to_string(),
        egofx_version: env!("CARGO_PKG_VERSION"),
        run: run.map(RunView::from),
        sets: views,
        videos,
        all_videos: lines.len(),
        names: lines.iter().map(|line| line.video_uid.clone()).collect(),
        lines: lines.into_iter().take(MOST_LINES).collect(),
        scores,
        notes,
    })
}

/// The report of the run, which lies beside the stores, if it is of one of them.
fn run_of(sets: &[Set]) -> Option<RunReport> {
    let run = report::read_whole(sets.first()?.reader.path().parent()?)?;
    run.feature_sets.iter().any(|name| sets.iter().any(|set| set.name == *name)).then_some(run)
}

/// All videos in numbers, in the order of their names.
fn lines(sets: &[Set]) -> Vec<VideoLine> {
    let mut lines: BTreeMap<&VideoUid, VideoLine> = BTreeMap::new();
    for set in sets {
        let planned = set.planned.iter().map(|(uid, unit)| (uid, &unit.video_uid));
        let committed = set.committed.iter().map(|entry| (&entry.unit_uid, &entry.video_uid));
        let units: BTreeSet<(&UnitUid, &VideoUid)> = planned.chain(committed).collect();
        for (uid, video) in units {
            let line = lines.entry(video).or_insert_with(|| line(video));
            let entry = set.committed.get(uid);
            line.planned += 1;
            line.committed += usize::from(entry.is_some());
            line.rows += entry.map_or(0, |entry| entry.rows);
            line.padded += entry.map_or(0, |entry| entry.padded_rows);
            line.missing += entry.map_or(0, |entry| entry.missing_rows);
        }
    }
    lines.into_values().collect()
}

fn line(video: &VideoUid) -> VideoLine {
    let video_uid = video.to_string();
    VideoLine { video_uid, committed: 0, planned: 0, rows: 0, padded: 0, missing: 0, shown: None }
}

/// The videos that are shown in detail: first those of which something is missing. Gives their names, in order.
fn choose(lines: &mut [VideoLine], most: usize) -> Vec<String> {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|&at| lines[at].missing == 0 && lines[at].committed == lines[at].planned);
    let mut chosen: Vec<usize> = order.into_iter().take(most).collect();
    chosen.sort_unstable();
    for (place, &at) in chosen.iter().enumerate() {
        lines[at].shown = Some(place);
    }
    chosen.into_iter().map(|at| lines[at].video_uid.clone()).collect()
}
