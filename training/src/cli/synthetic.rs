//! `egofx-train synthetic`: a synthetic benchmark that can be learnt.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use egofx::decode::Tools;
use egofx::places::bases;
use egofx_train::synthetic::{Mq, Nlq, Qfvs, ShapesDataset};

use super::tell;

/// Write a synthetic benchmark that can be learnt: stores, and annotations in the official schema. To try the commands without
/// a data set, and to see that training works on a machine. training/configs/synthetic_*.toml are experiments for it.
/// `shapes` makes videos of coloured shapes that move, with the annotations of all that backbones are trained and tuned on.
#[derive(Args)]
pub struct Synthetic {
    /// The benchmark.
    task: Task,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Everything depends on it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give each query, clip or summary the truth of another one: nothing is left to learn, and scores must stay at
    /// chance.
    #[arg(long)]
    shuffled: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// What a shapes dataset can be asked for; what is not given stays as [`ShapesDataset::small`] has it.
#[derive(Args)]
#[command(next_help_heading = "For shapes")]
struct Sizes {
    /// Width and height of the videos in pixels. Without it 64.
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Videos of EgoClip. Without it 160.
    #[arg(long, value_name = "N")]
    videos: Option<usize>,
    /// Videos that EgoMCQ asks about. Without it 24.
    #[arg(long, value_name = "N")]
    val_videos: Option<usize>,
    /// Narrated clips in each video, one every two seconds. Without it 15.
    #[arg(long, value_name = "N")]
    clips_per_video: Option<usize>,
    /// Questions of EgoMCQ, of either type. Without it 200.
    #[arg(long, value_name = "N")]
    questions: Option<usize>,
    /// Clips of OSCC and PNR to learn from, two thirds of them with a change, and to validate on. Without it 180,60.
    #[arg(long, value_name = "N,N", value_delimiter = ',', num_args = 1)]
    changes: Option<Vec<usize>>,
    /// Colours, shapes and motions that there are: at most 6,6,8. Without it 4,3,4.
    #[arg(long, value_name = "C,S,M", value_delimiter = ',', num_args = 1)]
    kinds: Option<Vec<usize>>,
    /// The ffmpeg that encodes. Without it that of `make setup`, else that of the PATH.
    #[arg(long, value_name = "FILE")]
    ffmpeg: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Task {
    Nlq,
    Mq,
    Qfvs,
    #[value(alias = "world")]
    Shapes,
}

impl Synthetic {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { task, ref out, seed, shuffled, ref sizes } = self;
        if task != Task::Shapes && sizes.are_given() {
            bail!("sizes and --ffmpeg are for shapes; the other benchmarks have one size and no videos");
        }
        match task {
            Task::Nlq => drop(Nlq::small(seed, shuffled).write(out)?),
            Task::Mq => drop(Mq::small(seed, shuffled).write(out)?),
            Task::Qfvs => drop(Qfvs::small(seed, shuffled).write(out)?),
            Task::Shapes => drop(sizes.applied(ShapesDataset::small(seed, shuffled))?.write(out, &sizes.tools()?)?),
        }
        tell(format_args!("{}: a synthetic benchmark of seed {seed}", out.display()));
        Ok(())
    }
}

impl Sizes {
    fn are_given(&self) -> bool {
        let numbers = [self.side, self.videos, self.val_videos, self.clips_per_video, self.questions];
        let lists = [&self.changes, &self.kinds];
        numbers.iter().any(Option::is_some) || lists.iter().any(|list| list.is_some()) || self.ffmpeg.is_some()
    }

    fn applied(&self, mut dataset: ShapesDataset) -> anyhow::Result<ShapesDataset> {
        let set = |given: Option<usize>, size: &mut usize| *size = given.unwrap_or(*size);
        set(self.side, &mut dataset.side);
        set(self.videos, &mut dataset.videos[0]);
        set(self.val_videos, &mut dataset.videos[1]);
        set(self.clips_per_video, &mut dataset.clips_per_video);
        set(self.questions, &mut dataset.questions);
        match self.changes.as_deref() {
            None => {}
            Some(&[train, val]) => dataset.changes = [train, val],
            Some(changes) => {
                bail!("--changes has {} numbers, expected 2: to learn from, to validate on", changes.len())
            }
        }
        match self.kinds.as_deref() {
            None => {}
            Some(&[colours, shapes, motions]) => {
                (dataset.colours, dataset.shapes, dataset.motions) = (colours, shapes, motions);
            }
            Some(kinds) => bail!("--kinds has {} numbers, expected 3: colours, shapes, motions", kinds.len()),
        }
        Ok(dataset)
    }

    fn tools(&self) -> anyhow::Result<Tools> {
        Ok(Tools::find(self.ffmpeg.as_deref(), None, &bases())?)
    }
}
