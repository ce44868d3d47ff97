//! The annotations of a task, to learn from and to validate or predict on, and their clips.
//!
//! Not for what a task makes of them.

use std::path::Path;

use egofx::benchmark::{BenchmarkError, Record, records};
use egofx::compat::Compat;
use rand_xoshiro::rand_core::Rng;

use crate::corpora::ahead::{Ahead, Plan};
use crate::corpora::choice::Choice;
use crate::corpora::error::ClipError;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::{ClipRef, Listed};
use crate::corpora::replaced::Account;
use crate::error::TrainError;
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources, Split};

const VIDEOS_ABOUT: &str = "a folder of the videos";

/// What `read` makes of the annotations to learn from and of the others; of the others alone where nothing is learnt.
///
/// # Errors
/// Neither videos nor annotations were given; what `read` says.
pub fn both<T>(
    sources: &Sources,
    about: &'static str,
    read: impl Fn(&Path) -> Result<T, TrainError>,
) -> Result<(Option<T>, T), TrainError> {
    sources.expect_videos(VIDEOS_ABOUT)?;
    if let Some(path) = sources.split(Split::Whole) {
        return Ok((None, read(path)?));
    }
    let given = |split, name| sources.split(split).ok_or(TrainError::Needed { name, about });
    Ok((Some(read(given(Split::Train, "train")?)?), read(given(Split::Validation, "val")?)?))
}

/// Who accounts for the samples of these lists.
pub fn account<'l>(listed: impl Iterator<Item = &'l Listed>) -> Account {
    let left_out = listed.flat_map(|listed| &listed.left_out);
    let left_out = left_out.map(|(count, why)| format!("{count} {why} are left out")).collect();
    Account::new(left_out, "clips could not be read, and are left out of the scores")
}

/// Annotations of both splits, each counted from 0; the first is missing where nothing is learnt.
pub struct Splits {
    train: Option<Listed>,
    eval: Listed,
    about: &'static str,
    /// Reads clips.
    pub clips: Clips,
    account: Account,
}

/// One annotation.
#[derive(Clone, Copy)]
pub struct Row<'s> {
    listed: &'s Listed,
    row: usize,
}

impl Splits {
    /// Opens the annotations of the benchmark called `name`. Without a `choice` it is the task that chooses frames, and clips
    /// cannot have been decoded beforehand.
    ///
    /// # Errors
    /// Files that are missing, or that are not what they should be.
    pub fn open(
        name: &str,
        about: &'static str,
        sources: &Sources,
        (clips, side): (&ClipSettings, i64),
        choice: Option<Choice>,
        compat: Compat,
    ) -> Result<Self, TrainError> {
        let (train, eval) = both(sources, about, |path| Listed::read(name, &[path], &sources.videos))?;
        let clips = Clips::new(clips, side, compat, sources)?;
        let clips = match (choice, sources.clip_caches.first()) {
            (Some(choice), _) => clips.with_cache(&sources.clip_caches, choice)?,
            (None, None) => clips,
            (None, Some(folder)) => {
                let expected = format!("no --clip-cache for {name}, which chooses frames by their numbers");
                return Err(TrainError::unexpected(folder, expected, "one"));
            }
        };
        let account = account(train.iter().chain([&eval]));
        Ok(Self { train, eval, about, clips, account })
    }

    fn num_train(&self) -> usize {
        self.train.as_ref().map_or(0, |listed| listed.queries.len())
    }

    /// The one fold.
    pub fn fold(&self) -> Fold {
        Fold { name: String::new(), train: (0..self.num_train()).collect(), validation: self.samples() }
    }

    /// What is validated or predicted on.
    pub fn samples(&self) -> Vec<usize> {
        (0..self.eval.queries.len()).collect()
    }

    /// What the further columns say of each sample of both splits, in the order of their numbers.
    ///
    /// # Errors
    /// [`TrainError::Annotations`] for a cell that means nothing in its column.
    pub fn records<R: Record>(&self) -> Result<[Vec<R>; 2], TrainError> {
        let of = |listed: &Listed| records::<R>(&listed.queries).map_err(BenchmarkError::from);
        Ok([self.train.as_ref().map_or(Ok(Vec::new()), of)?, of(&self.eval)?])
    }

    /// A sample that is validated or predicted on.
    pub fn row(&self, sample: usize) -> Row<'_> {
        Row { listed: &self.eval, row: sample }
    }

    /// Samples to learn from.
    pub fn train_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.train.iter().flat_map(|listed| (0..listed.queries.len()).map(move |row| Row { listed, row }))
    }

    /// All clips of both splits.
    pub fn wanted(&self) -> Vec<ClipRef<'_>> {
        self.train_rows()
            .chain(self.samples().into_iter().map(|sample| self.row(sample)))
            .map(|row| row.wanted())
            .collect()
    }

    /// What `read` makes of each sample to learn from, by a generator of its own, after what `plan` says that will be decoded was
    /// read ahead. Another sample takes the place of one that cannot be read.
    ///
    /// # Errors
    /// No sample can be read, or a decoder crashed; nothing was given to learn from.
    pub fn to_learn<'s, T>(
        &'s self,
        samples: &[usize],
        draw: &mut Generator,
        plan: impl Fn(Row<'s>, Generator) -> Option<Plan>,
        read: impl Fn(&mut Ahead, Row<'s>, &mut Generator) -> Result<T, ClipError>,
    ) -> Result<Vec<(Row<'s>, T)>, TrainError> {
        let needed = TrainError::Needed { name: "train", about: self.about };
        let listed = self.train.as_ref().ok_or(needed)?;
        let base = draw.next_u64();
        let row = |row| Row { listed, row };
        let own = |sample: usize| rng::generator(base, Purpose::Sample { number: sample as u64 });
        let mut ahead: Ahead = samples.iter().filter_map(|&sample| plan(row(sample), own(sample))).collect();
        let one = |&sample: &usize| {
            let read = |sample, draw: &mut Generator| read(&mut ahead, row(sample), draw);
            let (sample, found) = self.account.replaced.or_another(sample, self.num_train(), &mut own(sample), read)?;
            Ok((row(sample), found))
        };
        samples.iter().map(one).collect()
    }

    /// What `read` makes of each sample to validate or predict on, with its number. One that cannot be read is left out, and
    /// counted.
    ///
    /// # Errors
    /// A decoder that crashed.
    pub fn to_predict<'s, T>(
        &'s self,
        samples: &[usize],
        plan: impl Fn(Row<'s>) -> Option<Plan>,
        read: impl Fn(&mut Ahead, Row<'s>) -> Result<T, ClipError>,
    ) -> Result<Vec<(usize, T)>, TrainError> {
        let mut ahead: Ahead = samples.iter().filter_map(|&sample| plan(self.row(sample))).collect();
        let one = |&sample: &usize| match read(&mut ahead, self.row(sample)) {
            Ok(found) => Some(Ok((sample, found))),
            Err(error) => self.account.unread.note(error).err().map(Err),
        };
        samples.iter().filter_map(one).collect()
    }

    /// What a person should know of the data that was opened, or read since this was last asked.
    pub fn remarks(&self) -> Vec<String> {
        [self.clips.remarks(), self.account.remarks()].concat()
    }
}

impl<'s> Row<'s> {
    /// Its name.
    pub fn id(&self) -> &'s str {
        self.listed.query(self.row).id
    }

    /// Its number in its split, from 0.
    pub fn number(&self) -> usize {
        self.row
    }

    /// A cell of a further column; empty if there is no such column.
    pub fn cell(&self, name: &str) -> &'s str {
        self.listed.cell(name, self.row)
    }

    /// Its sentence.
    pub fn text(&self) -> &'s str {
        self.listed.query(self.row).text
    }

    /// Its clip, and the video that it lies in. Every sentence is of a clip that is listed.
    pub fn wanted(&self) -> ClipRef<'s> {
        self.listed.wanted(self.listed.query(self.row).clip_uid.as_str())
    }
}
