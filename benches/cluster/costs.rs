//! What claims, plans and stores cost, and how that grows with units and parts.
//!
//! Stores are written by the real writer, each unit synced as in a run, and kept. What is read is in the cache of files: these are the
//! program's costs, not a disk's.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egofx::claims::Claims;
use egofx::ids::UnitUid;
use egofx::manifest::Manifest;
use egofx::ndarray::Array2;
use egofx::plan::{Plan, Wanted};
use egofx::shard::Shard;
use egofx::status::StoreStatus;
use egofx::store::{PlannedUnit, RowBlock, RowMeta, Store, StoreReader};
use egofx::verify::{VerifyOptions, verify};
use rayon::prelude::*;

use crate::support::{Fallible, Spread, head, inputs, row, scratch, show, stores, timed};
use crate::{LARGEST, ego4d};

/// Units of the smallest store, to which the others are compared.
const SMALLEST: usize = 1000;
/// Parts of stores whose units are many.
const PARTS: u32 = 16;
const DIM: usize = 4;
const ROUNDS: usize = 5;
/// How often what takes microseconds is done for one measurement.
const TIMES: usize = 100;
/// Claims asked for in a row.
const CLAIMS: usize = 500;
const LIMIT: Duration = Duration::from_secs(3600);

/// Prints all of them, for stores of up to `largest` units.
pub fn measure(largest: usize) -> Fallible {
    claims()?;
    looks()?;
    let sizes = std::iter::successors(Some(SMALLEST), |units| Some(units * 10)).take_while(|units| *units <= largest);
    growth(&sizes.collect::<Vec<_>>())
}

/// Claims of one worker beside those of others.
fn claims() -> Fallible {
    head("Claims on this file system, by one worker");
    let mut alone = f64::NAN;
    for others in [0, 1000, 10_000] {
        let folder = scratch("claims")?;
        let other = Claims::open(&folder, LIMIT, false)?;
        for name in 0..others {
            other.take(&format!("other-{name}"), false)?;
        }
        let (worker, begun) = (Claims::open(&folder, LIMIT, false)?, Instant::now());
        let (mut taken, mut files) = (Spread::default(), Spread::default());
        for _ in 0..ROUNDS {
            taken.push(seconds(|| take_and_give_back(&worker))?);
            files.push(seconds(|| synced_files(&folder))?);
        }
        let rate = CLAIMS as f64 / taken.median();
        alone = if others == 0 { taken.median() } else { alone };
        row(&format!("taken and given back per second, beside {others} of others"), &format!("{rate:.0}"), "");
        let over_files = format!("{:.2}", taken.median() / files.median());
        row("  over creating, syncing and removing as many files", &over_files, &taken.range(3));
        row("  over that beside none", &format!("{:.2}", taken.median() / alone), "");
        if others > 0 {
            let hands = |name| worker.hands(&format!("other-{name}"), begun);
            let read = seconds(|| Ok((0..CLAIMS).map(hands).max()))?;
            row("  reading one over taking one and giving it back", &format!("{:.3}", read / taken.median()), "n=1");
        }
    }
    Ok(())
}

fn take_and_give_back(worker: &Claims) -> Fallible {
    for i in 0..CLAIMS {
        let name = format!("own-{i}");
        worker.take(&name, false)?;
        worker.give_back(&name, false);
    }
    Ok(())
}

fn synced_files(folder: &Path) -> Fallible {
    for i in 0..CLAIMS {
        let path = folder.join(format!("{i}.plain"));
        let mut file = File::create_new(&path)?;
        file.write_all(&[b'x'; 300])?;
        file.sync_all()?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// What a run that shares its work asks a store of many parts.
fn looks() -> Fallible {
    head("A run that shares: 1,000 units in so many parts, nothing new; processor time");
    let mut of_one = [f64::NAN; 4];
    for parts in [1, 10, 100, 1000] {
        let (out, part) = (built(SMALLEST, parts)?, Shard::new(1, parts).ok_or("a part")?);
        let open = repeated(|| Ok(Store::open(&out, &contract(), part)?))?;
        let status = repeated(|| Ok(StoreStatus::read(&out.join(contract().feature_set))?))?;
        let store = Store::open(&out, &contract(), part)?;
        let (mut watch, absent) = (store.watch(), UnitUid::parse("absent")?);
        watch.look()?;
        let look: Spread = repeated(|| (0..TIMES).try_for_each(|_| Ok(watch.look()?)))?;
        let ask: Spread = repeated(|| Ok((0..TIMES).filter(|_| watch.has_file_of(&[&absent])).count()))?;
        let medians = [&look, &ask, &open, &status].map(Spread::median);
        if parts == 1 {
            of_one = medians;
        }
        for (place, what) in [
            format!("{parts} parts: a look at all ledgers, over that of one part"),
            "  whether a unit has a file".to_owned(),
            "  opening the store for a run".to_owned(),
            "  status".to_owned(),
        ]
        .iter()
        .enumerate()
        {
            row(what, &format!("{:.1}", medians[place] / of_one[place]), "");
        }
        row("  a look over that question", &format!("{:.1}", look.median() / ask.median()), "");
    }
    Ok(())
}

/// A cost of a store, by its name.
type Cost = (&'static str, Spread);

fn growth(sizes: &[usize]) -> Fallible {
    head("Growth with the units of a store in 16 parts: processor time per unit over that of 1,000 units, at most 1.5");
    let mut smallest: Vec<Cost> = Vec::new();
    for &units in sizes {
        let costs = costs(units)?;
        if units == SMALLEST {
            for (name, spread) in &costs {
                show(&format!("{units} units: {name}"), spread, 4, " s");
            }
            smallest = costs;
            continue;
        }
        for ((name, spread), (_, first)) in costs.iter().zip(&smallest) {
            let per_unit = spread.median() / first.median() * SMALLEST as f64 / units as f64;
            let seconds = format!("{:.3} s, {}", spread.median(), spread.range(3));
            row(&format!("{units} units: {name}"), &format!("{per_unit:.2}"), &seconds);
        }
    }
    Ok(())
}

/// Of a store of so many units.
fn costs(units: usize) -> Fallible<Vec<Cost>> {
    let out = built(units, PARTS)?;
    let (path, contract) = (out.join(&contract().feature_set), contract());
    let part = Shard::new(1, PARTS).ok_or("a part")?;
    let (sets, csv) = (ego4d::feature_sets()?, out.join("all.csv"));
    ego4d::manifest(&vec![60.0; units])?.write_csv(File::create(&csv)?)?;
    let promised: Vec<PlannedUnit> = StoreReader::open(&path)?.planned()?.into_values().collect();
    let committed = StoreReader::open(&path)?.committed()?;
    let done: BTreeSet<UnitUid> = committed.iter().map(|entry| entry.unit_uid.clone()).collect();
    let plan = || {
        let manifest = Manifest::read(&csv)?;
        let wanted = Wanted { manifest: &manifest, queries: None, sets: &sets, limit: None };
        Ok(Plan::with_others(wanted, part, |_, uid| !done.contains(uid))?)
    };
    let open = || {
        let store = Store::open(&out, &contract, part)?;
        store.promise(&promised)?;
        Ok(store.committed()?)
    };
    let store = Store::open(&out, &contract, part)?;
    let first_look = || Ok(store.watch().look()?);
    let finish = || Ok(store.finish()?);
    let status = || Ok(StoreStatus::read(&path)?);
    let verify = || -> Fallible {
        let reader = StoreReader::open(&path)?;
        let report = verify(&reader, VerifyOptions::of(reader.contract()))?;
        if report.is_sound() { Ok(()) } else { Err(format!("{}: {:?}", path.display(), report.problems[0]).into()) }
    };
    let verified = if units > LARGEST { std::iter::once(cpu_seconds(verify)?).collect() } else { repeated(verify)? };
    let mut costs = vec![
        ("plan: reading the manifest, planning", repeated(plan)?),
        ("status", repeated(status)?),
        ("a run's first look at the ledgers", repeated(first_look)?),
        ("the end of a run: index and master file", repeated(finish)?),
        ("verify", verified),
    ];
    drop(store);
    costs.insert(1, ("opening for a run: ledgers, promise", repeated(open)?));
    Ok(costs)
}

/// Seconds of the processor: other work on the machine is not in them.
fn repeated<T>(mut work: impl FnMut() -> Fallible<T>) -> Fallible<Spread> {
    (0..ROUNDS).map(|_| cpu_seconds(&mut work)).collect()
}

fn cpu_seconds<T>(work: impl FnOnce() -> Fallible<T>) -> Fallible<f64> {
    let (done, cost) = timed(work);
    black_box(done?);
    Ok(cost.cpu)
}

fn seconds<T>(work: impl FnOnce() -> Fallible<T>) -> Fallible<f64> {
    let begun = Instant::now();
    black_box(work()?);
    Ok(begun.elapsed().as_secs_f64())
}

fn contract() -> egofx::store::Contract {
    stores::contract("cluster", DIM)
}

/// A folder with a store of so many units in so many parts, made once.
fn built(units: usize, parts: u32) -> Fallible<PathBuf> {
    let out = inputs::folder().join(format!("cluster_{units}_{parts}"));
    if out.is_dir() {
        return Ok(out);
    }
    eprintln!("making {}", out.display());
    let unfinished = scratch("cluster")?;
    (1..=parts).into_par_iter().try_for_each(|index| {
        let shard = Shard::new(index, parts).ok_or("an index from 1 to the count")?;
        part(&unfinished, units, shard).map_err(|error| error.to_string())
    })?;
    let first = Store::open(&unfinished, &contract(), Shard::new(1, parts).ok_or("a part")?)?;
    first.finish()?;
    drop(first);
    fs::rename(unfinished, &out)?;
    Ok(out)
}

/// Writes one part.
fn part(out: &Path, units: usize, shard: Shard) -> Fallible {
    let mut store = Store::open(out, &contract(), shard)?;
    let numbers = || (shard.index() as usize - 1..units).step_by(shard.count() as usize);
    let headers = numbers().map(|number| stores::header(&format!("video-{number:06}"), 1));
    let headers = headers.collect::<Fallible<Vec<_>>>()?;
    let promise = headers.iter().map(|header| PlannedUnit {
        unit_uid: header.unit_uid.clone(),
        video_uid: header.video_uid.clone(),
        span: None,
        content_sha256: None,
    });
    store.promise(&promise.collect::<Vec<_>>())?;
    for header in headers {
        let mut unit = store.begin(header)?;
        let meta = vec![RowMeta { last_frame: 15, end_sec: 0.5, ..RowMeta::default() }];
        unit.append(&RowBlock { first_row: 0, meta, features: Array2::ones((1, DIM)) })?;
        store.commit(unit)?;
    }
    Ok(())
}
