//! GroundNLQ's form of NLQ: LMDBs of video features by clip and of token features by query, and a list of queries.
//!
//! Each value is an `.npz`: `features` of a clip, `token_features` of a query without what fills it up. Not for its
//! grid: it reckons with 30 / 1.87 frames a row. Invariant: what is written is of LMDB's format 1, which every reader
//! knows.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions};
use serde_json::json;

use super::output::split_name;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, npy};
use crate::features::{Source, TokenReader};
use crate::ids::UnitUid;
use crate::labels::nlq::{NlqQuery, nlq_queries};
use crate::store::RowKind;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "groundnlq-lmdb",
    about: "LMDB video_features/; with queries nlq_{split}.jsonl; with tokens also text_features/: GroundNLQ",
    takes: Takes { rows: &[RowKind::Window], queries: Need::Optional, tokens: Need::Optional, clips: Need::Optional },
    write,
};

/// Bytes that a value may take beside its features: headers of zip and npy, and a page that is not full.
const OVERHEAD_BYTES: u64 = 8192;
/// Room for the tree and for what is freed while it grows.
const SPARE_BYTES: u64 = 64 << 20;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let mut written = write_videos(source, output)?;
    if let Some(queries) = &job.queries {
        let (mut queries, notes) = nlq_queries(CONSUMER.name, queries)?;
        written.notes.extend(notes);
        // GroundNLQ ends where a listed clip is not in the map.
        let listed = queries.len();
        queries.retain(|asked| source.find(&UnitUid::from(asked.query.clip_uid)).is_some());
        if queries.len() < listed {
            written.notes.push(format!("{} queries about clips without features are left out", listed - queries.len()));
        }
        write_list(job, &queries, output)?;
        if let Some(tokens) = &job.tokens {
            write_texts(job, tokens, &queries, output)?;
        }
    } else if job.tokens.is_some() {
        let what = "the table of queries (--queries FILE) to name the tokens by";
        return Err(ConvertError::Needs { format: CONSUMER.name, what });
    }
    Ok(written)
}

fn write_videos(source: &Source, output: &Output) -> Result<Written, ConvertError> {
    let mut written = Written::default();
    let mut lmdb = Lmdb::create(output, "video_features", room(source))?;
    for entry in source.entries() {
        let features = source.read(entry)?;
        lmdb.put(features.unit.as_str(), "features", &features.values)?;
        written.count(features.meta.len());
    }
    lmdb.finish()?;
    Ok(written)
}

fn write_texts(job: &Job, tokens: &Source, queries: &[NlqQuery], output: &Output) -> Result<(), ConvertError> {
    let mut lmdb = Lmdb::create(output, "text_features", room(tokens) + queries.len() as u64 * OVERHEAD_BYTES)?;
    let mut reader = TokenReader::new(tokens);
    for asked in queries {
        let (video_uid, _) = job.clips.span(asked.query.clip_uid)?;
        let text = reader.read(video_uid, asked.query.id)?;
        lmdb.put(asked.query.id, "token_features", &text.sentence())?;
    }
    lmdb.finish()
}

/// Bytes that a map of all features may need.
fn room(source: &Source) -> u64 {
    let bytes = |rows: u64, dim: usize| rows * dim as u64 * size_of::<f32>() as u64 + OVERHEAD_BYTES;
    source.entries().map(|entry| bytes(entry.rows, entry.dim)).sum::<u64>() * 5 / 4 + SPARE_BYTES
}

/// The queries as GroundNLQ lists them, a file for each split.
fn write_list(job: &Job, queries: &[NlqQuery], output: &Output) -> Result<(), ConvertError> {
    let mut splits: BTreeMap<&str, Vec<&NlqQuery>> = BTreeMap::new();
    for asked in queries {
        splits.entry(asked.split).or_default().push(asked);
    }
    for (split, queries) in splits {
        let lines = queries.iter().map(|asked| line(job, asked)).collect::<Result<String, _>>()?;
        output.file(&format!("nlq_{}.jsonl", split_name(split)?), |file| file.write_all(lines.as_bytes()))?;
    }
    Ok(())
}

fn line(job: &Job, asked: &NlqQuery) -> Result<String, ConvertError> {
    let (_, span) = job.clips.span(asked.query.clip_uid)?;
    let mut record = json!({
        "query": asked.query.text,
        "query_id": asked.query.id,
        "duration": span.duration_sec(),
        "video_id": asked.query.clip_uid,
        "query_type": "nlq",
    });
    if asked.query.start_sec.is_some() {
        record["timestamps"] = json!([asked.window]);
    }
    Ok(record.to_string() + "\n")
}

/// An LMDB in the making.
struct Lmdb {
    folder: std::path::PathBuf,
    env: Env,
}

impl Lmdb {
    fn create(output: &Output, name: &str, room: u64) -> Result<Self, ConvertError> {
        let folder = output.path(name)?;
        fs::create_dir_all(&folder).map_err(ConvertError::io("create", &folder))?;
        let refused = || ConvertError::write::<heed::Error>(&folder);
        let mut options = EnvOpenOptions::new();
        options.map_size(room.next_multiple_of(1 << 20) as usize);
        // Nobody else knows this folder yet, and it is synced before it gets its name.
        // SAFETY: the file is mapped by this process alone, which changes it through this environment only.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(&folder) }.map_err(refused())?;
        Ok(Self { folder, env })
    }

    fn put(&mut self, key: &str, name: &str, features: &ndarray::Array2<f32>) -> Result<(), ConvertError> {
        let value = npy::archive(name, features).map_err(ConvertError::io("write", &self.folder))?;
        let put = || -> Result<(), heed::Error> {
            let txn = self.env.write_txn()?;
            self.env.create_databases_and_commit(txn, |unnamed, txn| {
                unnamed.create_database::<Str, Bytes>(txn, None)?.put(txn, key, &value)?;
                Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
            })?;
            Ok(())
        };
        put().map_err(ConvertError::write(&self.folder))
    }

    /// Closes it, and takes away the lock file: its form is that of one build of the library.
    fn finish(self) -> Result<(), ConvertError> {
        let Self { folder, env, .. } = self;
        env.force_sync().map_err(ConvertError::write(&folder))?;
        env.prepare_for_closing().wait();
        let lock = folder.join("lock.mdb");
        fs::remove_file(&lock).map_err(ConvertError::io("remove", &lock))
    }
}
