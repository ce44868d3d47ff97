//! `egofx postprocess`: from a detector's raw proposals to an MQ submission.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use egofx::compat::Compat;
use egofx::metric::{
    Coverage,
    mq::{Annotations, ClipDetections},
    postprocess::{POSTPROCESSORS, Postprocessor, Proposals, Settings, postprocess, submission_json},
};

use super::outputs::{Output, write_all};
use super::{plural, tell};

/// Make an MQ submission out of a detector's raw proposals.
///
/// Suppresses overlaps, cuts to the clip and writes both tracks. The submission is what the challenge takes and what `egofx eval mq` reads.
#[derive(Args)]
#[command(after_help = methods_help())]
pub struct PostprocessCommand {
    /// Whose post-processing; see below.
    #[arg(value_parser = POSTPROCESSORS.iter().map(|method| method.name).collect::<Vec<_>>())]
    method: String,
    /// The proposals: a folder of <clip_uid>.csv (xmin,xmax,score,label, in seconds and numbers of classes, as VSGN
    /// writes them), or JSON: {"results": {clip_uid: [{"label", "score", "segment": [start, end]}]}}.
    #[arg(long, short_alias = 'p', value_name = "PATH")]
    proposals: PathBuf,
    /// The clips, their lengths and, for the retrieval track, their labels: moments_val.json as published (or train, or
    /// the test file), or VSGN's clip_annotations.json.
    #[arg(short, long, value_name = "FILE")]
    annotations: PathBuf,
    /// The split to process, where the annotations hold several.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Names of the classes that tables number: moment_classes_idx.json.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// The submission to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Width of the Gaussian, exp(-iou^2 / sigma): the smaller, the more an overlap costs [default: the method's].
    #[arg(long, value_name = "X")]
    sigma: Option<f64>,
    /// Drop proposals whose score falls below this [default: the method's].
    #[arg(long, value_name = "X")]
    min_score: Option<f64>,
    /// How many detections of a clip to keep [default: the method's].
    #[arg(long, value_name = "N")]
    most: Option<usize>,
    /// actionformer: suppress across classes, and move each window to the mean of the proposals that overlap it by at
    /// least this; its authors take 0.95 where they vote.
    #[arg(long, value_name = "IOU")]
    voting: Option<f64>,
    /// as-released drops the last proposal of each clip, as VSGN does; fixed keeps it.
    #[arg(long, value_parser = ["as-released", "fixed"], default_value = "as-released")]
    compat: String,
    /// Write empty lists for clips without proposals, and leave out proposals of clips that are not annotated. Both are
    /// counted and printed.
    #[arg(long)]
    allow_missing: bool,
    /// Overwrite a file that holds something else.
    #[arg(long)]
    force: bool,
}

fn methods_help() -> String {
    let line = |method: &Postprocessor| {
        let Settings { sigma, min_score, most, .. } = method.defaults;
        format!("  {:<13} {}\n{:16}sigma {sigma}, min-score {min_score}, most {most}", method.name, method.about, "")
    };
    format!("Methods:\n{}", POSTPROCESSORS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

impl PostprocessCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let method = self.method()?;
        let settings = self.settings(method)?;
        let proposals = Proposals::read(&self.proposals, self.classes.as_deref())?;
        let annotations = Annotations::read(&self.annotations, self.split.as_deref())?;
        let (submission, coverage) = postprocess(method, &proposals, &annotations, &settings);
        self.check(&coverage)?;
        let text = serde_json::to_vec(&submission_json(&submission))?;
        let output = Output { path: &self.out, write: &|file| Ok(file.write_all(&text)?) };
        write_all(&[output], self.force)?;
        let count = |track: &[ClipDetections]| track.iter().map(|clip| clip.detections.len()).sum::<usize>();
        tell(format_args!(
            "{}, {}: {}, {} detected, {} retrieved in {}",
            method.name,
            settings.compat.name(),
            plural(submission.detected.len(), "clip"),
            plural(count(&submission.detected), "moment"),
            count(&submission.retrieved),
            self.out.display()
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn method(&self) -> anyhow::Result<&'static Postprocessor> {
        let found = POSTPROCESSORS.iter().find(|method| method.name == self.method);
        found.ok_or_else(|| anyhow::anyhow!("no post-processing is called {:?}", self.method))
    }

    fn settings(&self, method: &Postprocessor) -> anyhow::Result<Settings> {
        let defaults = method.defaults;
        let compat = if self.compat == Compat::Fixed.name() { Compat::Fixed } else { Compat::AsReleased };
        let sigma = self.sigma.unwrap_or(defaults.sigma);
        anyhow::ensure!(sigma > 0.0 && sigma.is_finite(), "--sigma {sigma}: expected a number above 0");
        let takes_voting = method.name == "actionformer" || self.voting.is_none();
        anyhow::ensure!(takes_voting, "--voting belongs to actionformer, not to {}", method.name);
        Ok(Settings {
            sigma,
            compat,
            min_score: self.min_score.unwrap_or(defaults.min_score),
            most: self.most.unwrap_or(defaults.most),
            voting: self.voting,
        })
    }

    fn check(&self, coverage: &Coverage) -> anyhow::Result<()> {
        if coverage.is_complete() {
            return Ok(());
        }
        let path = self.proposals.display();
        anyhow::ensure!(self.allow_missing, "{path}: {coverage}; --allow-missing processes what is there");
        tell(format_args!("egofx: incomplete: {coverage}"));
        Ok(())
    }
}
