//! Judges a finished store: is everything there that was promised, and is it sound?
//!
//! Not for repairing anything: the next run makes units anew that are absent or changed. Invariant: it only reads, and
//! what it finds wrong with a unit is reported, not raised; an error means that it could not judge.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::ids::UnitUid;
use crate::meter::Meter;
use crate::store::{
    Contract, INDEX_FILE, LedgerEntry, Plan, RowKind, RowMeta, Stale, StoreError, StoreReader, Unit, UnitHeader,
    count_index_rows,
};

/// What to check and what to accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Compare lengths and checksums only; do not look at rows.
    pub checksums_only: bool,
    /// Rows of nothing but zeros belong to the reproduced behaviour and are not worth a warning.
    pub zero_rows_expected: bool,
    /// Rows outside of their unit belong to the reproduced behaviour: code that takes every file for 30 frames a second
    /// looks elsewhere in files of another rate.
    pub rows_outside_expected: bool,
}

impl VerifyOptions {
    /// What a store's own contract lets one expect: released code looks elsewhere in files of another rate than 30, and
    /// leaves rows of zeros.
    pub fn of(contract: &Contract) -> Self {
        let released = contract.compat == "as-released";
        Self { checksums_only: false, zero_rows_expected: released, rows_outside_expected: released }
    }
}

/// What is wrong with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It was promised and is not committed.
    Uncommitted,
    /// It was committed as another part of a video than was promised.
    Unplanned,
    /// Its file is gone.
    Absent,
    /// Its file is not, byte for byte, the one that was committed.
    Changed,
    /// Its file matches its checksum and still cannot be read.
    Unreadable,
    /// It was made under another contract than the store's.
    Contract,
    /// File and ledger disagree on which unit it is or on how many rows it has.
    Ledger,
    /// A row is out of order, outside of its unit, or ends before it begins.
    Times,
    /// A row that is not flagged missing holds NaN or an infinity.
    NotFinite,
    /// A row that is flagged missing holds numbers.
    MissingNotNan,
}

/// Something wrong with a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The unit.
    pub unit_uid: UnitUid,
    /// What kind of thing.
    pub kind: ProblemKind,
    /// What was expected and what was found.
    pub what: String,
}

/// The verdict on a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Name of the feature set.
    pub feature_set: String,
    /// Units promised.
    pub planned: usize,
    /// Units committed.
    pub committed: usize,
    /// Rows of all committed units.
    pub rows: u64,
    /// Rows whose window had to be filled up.
    pub padded: u64,
    /// Rows without features.
    pub missing: u64,
    /// Rows of nothing but zeros, as far as rows were looked at.
    pub zero_rows: u64,
    /// What makes the store unsound, by uid.
    pub problems: Vec<Problem>,
    /// What a person should know and may accept.
    pub warnings: Vec<String>,
}

impl VerifyReport {
    /// Whether everything promised is there and no problem was found.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks every unit that was promised or committed.
///
/// An error if ledgers or plan are damaged ([`StoreError::Ledger`]) or the device fails; everything else is in the
/// report.
pub fn verify(store: &StoreReader, options: VerifyOptions) -> Result<VerifyReport, StoreError> {
    verify_metered(store, options, &Meter::default())
}

/// [`verify`], counting units and rows on `meter`.
pub fn verify_metered(store: &StoreReader, options: VerifyOptions, meter: &Meter) -> Result<VerifyReport, StoreError> {
    let mut report = judge(store, options, |_| true, Some(meter))?;
    let committed = store.committed()?;
    report.warn_strays(store, committed.iter().map(|entry| entry.file.as_str()).collect())?;
    report.warn_index(store)?;
    Ok(report)
}

/// Checks only the units of which `chosen` is true: those of one run or shard, while others may still be at work.
pub fn verify_some(
    store: &StoreReader,
    options: VerifyOptions,
    chosen: impl Fn(&UnitUid) -> bool,
) -> Result<VerifyReport, StoreError> {
    judge(store, options, chosen, None)
}

fn judge(
    store: &StoreReader,
    options: VerifyOptions,
    chosen: impl Fn(&UnitUid) -> bool,
    meter: Option<&Meter>,
) -> Result<VerifyReport, StoreError> {
    let (planned, committed) = (store.planned()?, store.committed()?);
    let entries: Vec<&LedgerEntry> = committed.iter().filter(|entry| chosen(&entry.unit_uid)).collect();
    let promised: Vec<&UnitUid> = planned.keys().filter(|uid| chosen(uid)).collect();
    let sum = |value: fn(&LedgerEntry) -> u64| entries.iter().map(|&entry| value(entry)).sum();
    let mut report = VerifyReport {
        feature_set: store.contract().feature_set.clone(),
        planned: promised.len(),
        committed: entries.len(),
        rows: sum(|entry| entry.rows),
        padded: sum(|entry| entry.padded_rows),
        missing: sum(|entry| entry.missing_rows),
        zero_rows: 0,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    for uid in promised.into_iter().filter(|uid| committed.get(uid).is_none()) {
        report.add(uid, ProblemKind::Uncommitted, "it was promised and is not committed");
    }
    if let Some(meter) = meter {
        meter.expect(entries.len());
    }
    for entry in entries {
        let known = report.problems.len();
        report.check_plan(&planned, entry);
        report.check_unit(store, options, entry)?;
        if let Some(meter) = meter {
            report.count(meter, entry, known);
        }
    }
    report.warn_zero_rows(options);
    report.problems.sort_by(|a, b| (&a.unit_uid, a.kind).cmp(&(&b.unit_uid, b.kind)));
    Ok(report)
}

impl VerifyReport {
    fn add(&mut self, unit_uid: &UnitUid, kind: ProblemKind, what: impl Into<String>) {
        self.problems.push(Problem { unit_uid: unit_uid.clone(), kind, what: what.into() });
    }

    /// Counts a unit that has been judged, and says so; `known` problems were known before.
    fn count(&self, meter: &Meter, entry: &LedgerEntry, known: usize) {
        let (set, unit_uid) = (&self.feature_set, &entry.unit_uid);
        match self.problems.get(known) {
            Some(problem) => {
                log::info!("{set} {unit_uid}: {}", problem.what);
                meter.failed();
            }
            None => {
                log::info!("{set} {unit_uid}: sound, {} rows", entry.rows);
                meter.done(entry.rows);
            }
        }
    }

    fn check_plan(&mut self, planned: &Plan, entry: &LedgerEntry) {
        let Some(promised) = planned.get(&entry.unit_uid) else {
            self.warnings.push(format!("unit {} is committed and was never promised", entry.unit_uid));
            return;
        };
        if (&promised.video_uid, promised.span) != (&entry.video_uid, entry.span) {
            let what = format!("it was promised as {}, committed as another part or video", promised.describe());
            self.add(&entry.unit_uid, ProblemKind::Unplanned, what);
        }
    }

    fn check_unit(
        &mut self,
        store: &StoreReader,
        options: VerifyOptions,
        entry: &LedgerEntry,
    ) -> Result<(), StoreError> {
        if let Some(stale) = store.check_committed(entry)? {
            self.add(&entry.unit_uid, kind_of(&stale), stale.to_string());
            return Ok(());
        }
        if options.checksums_only {
            return Ok(());
        }
        match store.read_file(entry) {
            Ok(unit) => self.check_content(store, options, entry, &unit),
            Err(error @ StoreError::Corrupt { .. }) => {
                self.add(&entry.unit_uid, ProblemKind::Unreadable, error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_content(&mut self, store: &StoreReader, options: VerifyOptions, entry: &LedgerEntry, unit: &Unit) {
        let checks = [
            (ProblemKind::Contract, contract_problem(store, unit)),
            (ProblemKind::Ledger, ledger_problem(entry, unit)),
            (ProblemKind::Times, times_problem(options, unit).or_else(|| order_problem(unit))),
            (ProblemKind::NotFinite, value_problem(unit, false, |value| value.is_finite())),
            (ProblemKind::MissingNotNan, value_problem(unit, true, f32::is_nan)),
        ];
        for (kind, problem) in checks {
            if let Some(what) = problem {
                self.add(&entry.unit_uid, kind, what);
            }
        }
        self.zero_rows += unit.features.outer_iter().filter(|row| row.iter().all(|&value| value == 0.0)).count() as u64;
    }

    fn warn_zero_rows(&mut self, options: VerifyOptions) {
        if self.zero_rows > 0 && !options.zero_rows_expected {
            self.warnings.push(format!("{} rows hold nothing but zeros", self.zero_rows));
        }
    }

    fn warn_strays(&mut self, store: &StoreReader, known: BTreeSet<&str>) -> Result<(), StoreError> {
        let orphans = store.unit_files()?.into_iter().filter(|file| !known.contains(file.as_str()));
        self.warnings.extend(orphans.map(|file| format!("{file} is in no ledger; no reader counts it")));
        let leftovers = store.temporary_files()?.into_iter();
        self.warnings.extend(leftovers.map(|file| format!("{file} belongs to a run that is live or was killed")));
        Ok(())
    }

    fn warn_index(&mut self, store: &StoreReader) -> Result<(), StoreError> {
        let path = store.path().join(INDEX_FILE);
        let listed = match count_index_rows(&path) {
            Ok(listed) if listed == self.committed as u64 => return Ok(()),
            Ok(listed) => format!("lists {listed} units"),
            Err(StoreError::Corrupt { why, .. }) => format!("is damaged ({why})"),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => "is absent".into(),
            Err(error) => return Err(error),
        };
        self.warnings.push(format!(
            "{INDEX_FILE} {listed}, expected {} units; a run that finishes writes it anew",
            self.committed
        ));
        Ok(())
    }
}

fn kind_of(stale: &Stale) -> ProblemKind {
    match stale {
        Stale::Fingerprint { .. } => ProblemKind::Contract,
        Stale::Absent { .. } => ProblemKind::Absent,
        Stale::Length { .. } | Stale::Checksum { .. } => ProblemKind::Changed,
    }
}

fn contract_problem(store: &StoreReader, unit: &Unit) -> Option<String> {
    let (expected, found) = (store.contract(), &unit.contract);
    if found != expected {
        let stored = serde_json::to_value(found).unwrap_or_default();
        return expected.first_difference(&stored).map(|difference| {
            let found = difference.stored;
            format!("its file has {} = {found}, expected {}", difference.field, difference.wanted)
        });
    }
    let (dim, columns) = (expected.dim, unit.features.ncols());
    (columns != dim).then(|| format!("its rows have {columns} features, expected {dim}"))
}

fn ledger_problem(entry: &LedgerEntry, unit: &Unit) -> Option<String> {
    let header = &unit.header;
    if (&header.unit_uid, &header.video_uid) != (&entry.unit_uid, &entry.video_uid) {
        let (clip, video) = (&header.unit_uid, &header.video_uid);
        return Some(format!("its file holds unit {clip} of video {video}, expected video {}", entry.video_uid));
    }
    if header.span != entry.span {
        return Some(format!("its file covers {:?}, the ledger says {:?}", header.span, entry.span));
    }
    let count = |flag: fn(&RowMeta) -> bool| unit.meta.iter().filter(|row| flag(row)).count() as u64;
    let counts = [
        ("rows by its header", header.rows, entry.rows),
        ("rows", unit.meta.len() as u64, entry.rows),
        ("padded rows", count(|row| row.padded), entry.padded_rows),
        ("missing rows", count(|row| row.missing), entry.missing_rows),
    ];
    let (what, found, expected) = counts.into_iter().find(|(_, found, expected)| found != expected)?;
    Some(format!("its file has {found} {what}, the ledger says {expected}"))
}

fn times_problem(options: VerifyOptions, unit: &Unit) -> Option<String> {
    let last_frame = unit.meta.iter().filter(|row| !row.missing).map(|row| row.last_frame).max();
    let (row, why) = unit.meta.iter().enumerate().find_map(|(i, row)| {
        let is_last = last_frame.is_none_or(|last| row.last_frame >= last);
        let outside = || outside_problem(&unit.header, row, is_last).filter(|_| !options.rows_outside_expected);
        Some((i, row_problem(&unit.header, row).or_else(outside)?))
    })?;
    Some(format!("{} {why}", described(row, &unit.meta[row])))
}

/// Windows follow one another in time; clips and sentences may overlap as they like.
fn order_problem(unit: &Unit) -> Option<String> {
    if !matches!(unit.contract.row_kind, RowKind::Window | RowKind::FusedWindow) {
        return None;
    }
    // Frames are not compared: released code takes the frame before the first one for the last one.
    let ordered = |pair: &[RowMeta]| pair[0].start_sec <= pair[1].start_sec && pair[0].end_sec <= pair[1].end_sec;
    let row = 1 + unit.meta.windows(2).position(|pair| !ordered(pair))?;
    Some(format!("{} begins or ends before the row that precedes it", described(row, &unit.meta[row])))
}

fn described(row: usize, meta: &RowMeta) -> String {
    let RowMeta { first_frame, last_frame, start_sec, end_sec, .. } = meta;
    format!("row {row} ([{start_sec}, {end_sec}) s, frames {first_frame}..={last_frame})")
}

fn row_problem(header: &UnitHeader, row: &RowMeta) -> Option<String> {
    if !(row.start_sec.is_finite() && row.end_sec.is_finite() && row.start_sec <= row.end_sec) {
        return Some("ends before it begins".to_owned());
    }
    if row.first_frame > row.last_frame {
        return Some("has its last frame before its first".to_owned());
    }
    // A missing row may be missing because it lies past the end of the file.
    if !row.missing && header.source_frames > 0 && row.last_frame >= header.source_frames {
        return Some(format!("is outside of the video, which has {} frames", header.source_frames));
    }
    None
}

/// `is_last`: the row ends with the last frame of the unit.
fn outside_problem(header: &UnitHeader, row: &RowMeta, is_last: bool) -> Option<String> {
    let span = header.span?;
    // Clips are cut between frames, so a row may stick out by a frame on either side; a filled-up one by its padding. The
    // last frame may be shown for any time: where rates vary, a pause begins inside of a clip and ends long after it.
    let slack = 1.5 / header.source_fps;
    let ends_inside = row.padded || is_last || row.end_sec <= span.end_sec + slack;
    let inside = row.start_sec >= span.start_sec - slack && row.start_sec < span.end_sec + slack && ends_inside;
    (!inside).then(|| format!("is outside of the unit, which covers [{}, {}) s", span.start_sec, span.end_sec))
}

fn value_problem(unit: &Unit, missing: bool, sound: fn(f32) -> bool) -> Option<String> {
    let rows = unit.meta.iter().zip(unit.features.outer_iter()).enumerate();
    rows.filter(|(_, (meta, _))| meta.missing == missing).find_map(|(row, (_, features))| {
        let column = features.iter().position(|&value| !sound(value))?;
        let expected = if missing { "NaN, for the row is flagged missing" } else { "a finite number" };
        Some(format!("row {row} feature {column} is {}, expected {expected}", features[column]))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::store::samples::{self, DIM};
    use crate::store::{Dtype, FORMATS, RowBlock, Store};
    use crate::time::TimeSpan;

    fn check(store: &Store) -> VerifyReport {
        verify(&StoreReader::open(store.path()).unwrap(), VerifyOptions::default()).unwrap()
    }

    fn kinds(report: &VerifyReport) -> Vec<(&str, ProblemKind)> {
        report.problems.iter().map(|problem| (problem.unit_uid.as_str(), problem.kind)).collect()
    }

    /// Replaces `from` in the ledger of the only shard.
    fn edit_ledger(store: &Store, from: &str, to: &str) {
        let path = store.path().join("ledger/1-of-1.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Puts the file `written` in place of unit `a`, and makes the ledger agree with it.
    fn smuggle(store: &Store, written: &Path) {
        let (path, bytes) = (store.path().join("units/a.h5"), fs::read(written).unwrap());
        let entry = store.committed().unwrap().iter().next().unwrap().clone();
        fs::write(path, &bytes).unwrap();
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        edit_ledger(store, &entry.sha256, &sha256);
        edit_ledger(store, &format!("\"bytes\":{}", entry.bytes), &format!("\"bytes\":{}", bytes.len()));
    }

    /// A store whose unit `a` holds what `change` makes of it, with a ledger that agrees.
    fn with_rows(change: impl Fn(&mut RowBlock, &mut UnitHeader)) -> VerifyReport {
        let (out, store) = samples::store("hdf5", &["a"]);
        let (mut block, mut header) = (samples::whole(), samples::header("a", 6));
        change(&mut block, &mut header);
        let written = out.path().join("other.h5");
        let mut sink = (FORMATS[0].create)(&written, store.contract(), &header).unwrap();
        sink.append(&block).unwrap();
        sink.finish().unwrap();
        smuggle(&store, &written);
        check(&store)
    }

    #[test]
    fn a_finished_store_is_sound_in_every_format() {
        for format in FORMATS {
            let (_out, store) = samples::store(format.name, &["b", "a"]);
            store.finish().unwrap();
            let report = check(&store);
            assert!(report.is_sound() && report.warnings.is_empty(), "{report:?}");
            assert_eq!((report.planned, report.committed, report.rows), (2, 2, 12));
            assert_eq!((report.padded, report.missing, report.zero_rows), (2, 2, 0));
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!((&json["feature_set"], &json["rows"]), (&"sample".into(), &12.into()));
        }
    }

    #[test]
    fn a_promised_unit_that_is_not_there_is_a_problem() {
        let (_out, store) = samples::store("hdf5", &["b"]);
        store.promise(&[samples::planned("c"), samples::planned("a")]).unwrap();
        let report = check(&store);
        assert_eq!(kinds(&report), [("a", ProblemKind::Uncommitted), ("c", ProblemKind::Uncommitted)]);
    }

    #[test]
    fn flipped_truncated_deleted_and_swapped_files_are_problems() {
        for format in FORMATS {
            let (_out, store) = samples::store(format.name, &["a", "b", "c", "d", "e"]);
            let path = |uid: &str| store.path().join(format!("units/{uid}.{}", format.extension));
            let mut bytes = fs::read(path("a")).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path("a"), &bytes).unwrap();
            fs::write(path("b"), &fs::read(path("b")).unwrap()[..middle]).unwrap();
            fs::remove_file(path("c")).unwrap();
            fs::copy(path("e"), path("d")).unwrap();
            let report = check(&store);
            use ProblemKind::{Absent, Changed};
            assert_eq!(kinds(&report), [("a", Changed), ("b", Changed), ("c", Absent), ("d", Changed)]);
            let options = VerifyOptions { checksums_only: true, ..VerifyOptions::default() };
            let quick = verify(&StoreReader::open(store.path()).unwrap(), options).unwrap();
            assert_eq!(quick.problems, report.problems);
        }
    }

    #[test]
    fn a_foreign_file_is_found_even_if_the_ledger_agrees_with_it() {
        let (out, store) = samples::store("hdf5", &["a", "b"]);
        fs::copy(store.path().join("units/b.h5"), out.path().join("copy.h5")).unwrap();
        smuggle(&store, &out.path().join("copy.h5"));
        assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Ledger)]);

        let (out, store) = samples::store("hdf5", &["a"]);
        smuggle(&store, &samples::write_unit(out.path(), &FORMATS[0], Dtype::F16));
        let report = check(&store);
        assert_eq!(kinds(&report), [("a", ProblemKind::Contract)]);
        assert_eq!(report.problems[0].what, "its file has dtype = f16, expected f32");

        let rubbish = out.path().join("rubbish");
        fs::write(&rubbish, "rubbish").unwrap();
        smuggle(&store, &rubbish);
        assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Unreadable)]);
    }

    #[test]
    fn an_edited_ledger_is_found() {
        for (from, to, kind) in [
            ("\"rows\":6", "\"rows\":7", ProblemKind::Ledger),
            ("\"padded_rows\":1", "\"padded_rows\":0", ProblemKind::Ledger),
            ("\"fingerprint\":\"f0", "\"fingerprint\":\"f1", ProblemKind::Contract),
            ("\"sha256\":\"", "\"sha256\":\"0", ProblemKind::Changed),
        ] {
            let (_out, store) = samples::store("hdf5", &["a"]);
            edit_ledger(&store, from, to);
            assert_eq!(kinds(&check(&store)), [("a", kind)], "{from}");
        }
        let (_out, store) = samples::store("hdf5", &["a"]);
        edit_ledger(&store, "\"video_uid\":\"v\"", "\"video_uid\":\"w\"");
        assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Unplanned), ("a", ProblemKind::Ledger)]);
        edit_ledger(&store, "\"rows\":6", "\"rows\":six");
        let error = verify(&StoreReader::open(store.path()).unwrap(), VerifyOptions::default()).unwrap_err();
        assert!(matches!(error, StoreError::Ledger { line: 1, .. }), "{error}");
    }

    #[test]
    fn rows_with_wrong_values_are_problems() {
        let report = with_rows(|block, _| block.features[[2, 1]] = f32::NAN);
        assert_eq!(kinds(&report), [("a", ProblemKind::NotFinite)]);
        assert_eq!(report.problems[0].what, "row 2 feature 1 is NaN, expected a finite number");
        let report = with_rows(|block, _| block.features[[5, 0]] = f32::INFINITY);
        assert_eq!(kinds(&report), [("a", ProblemKind::NotFinite)]);
        let report = with_rows(|block, _| block.features[[3, 2]] = 1.0);
        assert_eq!(kinds(&report), [("a", ProblemKind::MissingNotNan)]);
    }

    #[test]
    fn rows_with_wrong_times_are_problems() {
        let changes: [fn(&mut RowBlock, &mut UnitHeader); 9] = [
            |block, _| block.meta.swap(1, 2),
            |block, _| block.meta[2].end_sec = 0.0,
            |block, _| block.meta[2].start_sec = f64::NAN,
            |block, _| block.meta[2].last_frame = 31,
            |block, _| block.meta[0].first_frame = 99,
            |_, header| header.source_frames = 90,
            |block, _| block.meta[4].end_sec = 0.0,
            // From here on all is well: a whole video has no end that a row could pass, ...
            |block, _| block.meta[5].end_sec = 99.0,
            // ... and a missing row may lie past the end of the file.
            |block, _| block.meta[3].last_frame = 5000,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let report = with_rows(change);
            let expected: &[_] = if index >= 7 { &[] } else { &[("a", ProblemKind::Times)] };
            assert_eq!(kinds(&report), expected, "{index}: {:?}", report.problems);
        }
    }

    #[test]
    fn rows_lie_inside_of_their_unit() {
        let mut unit = samples::unit("hdf5", Dtype::F32);
        unit.header.span = TimeSpan::new(0.5, 3.0);
        let row = |start_sec, end_sec, padded| RowMeta {
            first_frame: 0,
            last_frame: 15,
            start_sec,
            end_sec,
            padded,
            ..RowMeta::default()
        };
        for (start, end, padded, sound) in [
            (0.5, 1.0, false, true),
            (0.47, 1.0, false, true),
            (0.3, 1.0, false, false),
            (2.5, 3.04, false, true),
            (2.5, 3.2, false, false),
            (2.5, 3.2, true, true),
            (3.2, 3.4, true, false),
        ] {
            // Another row ends with a later frame.
            let last = RowMeta { last_frame: 16, ..row(2.9, 3.0, false) };
            unit.meta = vec![row(start, end, padded), last];
            let lenient = VerifyOptions { rows_outside_expected: true, ..VerifyOptions::default() };
            assert_eq!(times_problem(lenient, &unit), None);
            let found = times_problem(VerifyOptions::default(), &unit);
            assert_eq!(found.is_none(), sound, "{start} {end} {padded}: {found:?}");
        }
        // The last frame begins inside, and is shown until long after the unit's end.
        unit.meta = vec![row(2.5, 2.9, false), RowMeta { last_frame: 16, ..row(2.9, 9.0, false) }];
        assert_eq!(times_problem(VerifyOptions::default(), &unit), None);
        unit.meta[1].start_sec = 3.2;
        assert!(times_problem(VerifyOptions::default(), &unit).is_some());
    }

    #[test]
    fn what_does_no_harm_is_a_warning() {
        let (_out, mut store) = samples::store("hdf5", &["a"]);
        let mut unit = store.begin(samples::header("b", 6)).unwrap();
        let block = samples::block(0, 6);
        unit.append(&RowBlock { features: ndarray::Array2::zeros((6, DIM)), ..block }).unwrap();
        store.commit(unit).unwrap();
        fs::write(store.path().join("units/z.h5"), "").unwrap();
        fs::write(store.path().join("tmp/1-of-1/y.h5"), "").unwrap();
        let report = check(&store);
        assert!(report.is_sound());
        assert_eq!(report.zero_rows, 6);
        assert_eq!(
            report.warnings,
            [
                "unit b is committed and was never promised",
                "6 rows hold nothing but zeros",
                "units/z.h5 is in no ledger; no reader counts it",
                "tmp/1-of-1/y.h5 belongs to a run that is live or was killed",
                "index.parquet is absent, expected 2 units; a run that finishes writes it anew",
            ]
        );
        let options = VerifyOptions { zero_rows_expected: true, ..VerifyOptions::default() };
        let lenient = verify(&StoreReader::open(store.path()).unwrap(), options).unwrap();
        assert_eq!(lenient.warnings.len(), 4);
        fs::write(store.path().join(INDEX_FILE), "rubbish").unwrap();
        assert!(check(&store).warnings[4].starts_with("index.parquet is damaged"));
        samples::commit(&mut store, "c");
        store.finish().unwrap();
        samples::commit(&mut store, "d");
        let last = check(&store).warnings.pop().unwrap();
        assert!(last.starts_with("index.parquet lists 3 units, expected 4 units"), "{last}");
    }
}
