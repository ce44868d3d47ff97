//! What `egofx eval` says of predictions, by the command that `egofx-train predict` prints.

use egofx::compat::Compat;
use egofx::metric::{EVALUATORS, Inputs, Report};

/// The report of a printed command. Without its `--compat` it is the same, for the note beside the predictions says that too.
pub fn by_command(words: &[String]) -> Report {
    assert_eq!(words[..2], ["egofx", "eval"]);
    let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == words[2]).unwrap();
    let (mut inputs, mut compat) = (Inputs::default(), None);
    let mut rest = words[3..].iter();
    while let Some(word) = rest.next() {
        let name = word.strip_prefix("--").unwrap();
        if name == "allow-missing" {
            inputs.allow_missing = true;
            continue;
        }
        let value = rest.next().unwrap();
        match name {
            "compat" => compat = [Compat::AsReleased, Compat::Fixed].into_iter().find(|compat| compat.name() == value),
            _ => {
                assert!(evaluator.inputs.iter().any(|input| input.name == name), "{}: {word}", evaluator.name);
                inputs = inputs.file(name, value);
            }
        }
    }
    assert_eq!(compat.is_some(), evaluator.fixes.is_some(), "{words:?}");
    let report = |compat| (evaluator.evaluate)(&inputs.clone().completed(evaluator, compat).unwrap()).unwrap();
    let (asked, noted) = (report(compat), report(None));
    // NaN is no number, and is not equal to itself.
    let scores = |report: &Report| report.scores().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>();
    assert_eq!(scores(&asked), scores(&noted));
    noted
}
