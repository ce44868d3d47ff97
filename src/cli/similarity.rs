//! `egofx similarity`: the cosines of clips and sentences as one matrix.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ndarray_npy::WriteNpyExt;

use egofx::retrieval::similarity;
use egofx::store::StoreReader;

use super::outputs::{Output, write_all};
use super::{plural, say, tell};

/// Compare every clip with every sentence, for retrieval and zero-shot classes.
///
/// For EPIC-KITCHENS MIR and Charades-Ego. Writes three files into the folder: similarity.npy, cosines [clips, sentences] in single precision; clip_ids.txt and
/// query_ids.txt, what its rows and columns are, one name a line. Where the sentences bear the names of the clips, as in
/// EPIC-KITCHENS, columns stand in the order of rows.
#[derive(Args)]
pub struct Similarity {
    /// A feature set with a row for each clip, features/egovlp_epic for instance.
    #[arg(long, value_name = "STORE")]
    video: PathBuf,
    /// A feature set with a row for each sentence, of the same model: features/egovlp_epic_text.
    #[arg(long, value_name = "STORE")]
    text: PathBuf,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Overwrite files that hold something else.
    #[arg(long)]
    force: bool,
}

impl Similarity {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = ["similarity.npy", "clip_ids.txt", "query_ids.txt"].map(|name| self.out.join(name));
        let (clips, queries, cosines) = similarity(&StoreReader::open(&self.video)?, &StoreReader::open(&self.text)?)?;
        let [matrix, rows, columns] = &files;
        let [clip_ids, query_ids] = [&clips.names, &queries.names].map(|names| names.join("\n") + "\n");
        let outputs = [
            Output { path: matrix, write: &|file| Ok(cosines.as_standard_layout().write_npy(file)?) },
            Output { path: rows, write: &|file| Ok(file.write_all(clip_ids.as_bytes())?) },
            Output { path: columns, write: &|file| Ok(file.write_all(query_ids.as_bytes())?) },
        ];
        write_all(&outputs, self.force)?;
        tell(format_args!("{} by {}", plural(clips.names.len(), "clip"), plural(queries.names.len(), "sentence")));
        say(&format!("{}\n", matrix.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
