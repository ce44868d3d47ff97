//! Scores predictions as `egofx eval nlq` does, and picks one number out of the report.
//!
//!     cargo run --release --example score_predictions -- nlq_predictions.json nlq_val.json
//!
//! `egofx::metric::EVALUATORS` has one evaluator for each benchmark, with the files that it asks for.

use std::error::Error;
use std::path::Path;

use egofx::metric::{EVALUATORS, Inputs, Report};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(predictions), Some(annotations)) = (arguments.next(), arguments.next()) else {
        return Err("usage: score_predictions PREDICTIONS ANNOTATIONS".into());
    };
    let report = scored(Path::new(&predictions), Path::new(&annotations))?;
    for (name, value) in report.scores() {
        println!("{name:<20} {value:.4}");
    }
    println!("R@1 at IoU 0.3 is {:.2} %", 100.0 * report.score("R@1 IoU>0.3"));
    Ok(())
}

/// The report of NLQ's evaluator, as released; predictions may leave queries out.
///
/// # Errors
/// A file that cannot be read, or that is not what the evaluator reads.
pub fn scored(predictions: &Path, annotations: &Path) -> Result<Report, Box<dyn Error>> {
    let nlq = EVALUATORS.iter().find(|evaluator| evaluator.name == "nlq").ok_or("no evaluator of NLQ")?;
    let mut inputs = Inputs::default().file("predictions", predictions).file("annotations", annotations);
    inputs.allow_missing = true;
    Ok((nlq.evaluate)(&inputs)?)
}
