//! Which part of the work is this process's, by what the engine that started it says in the environment.
//!
//! Sources: the manual pages of `sbatch` and `srun` (array variables, `SLURM_PROCID`); Kubernetes, "Indexed Job"; AWS Batch, "Array
//! jobs"; HyperQueue, "Task arrays"; Open MPI, `mpirun(1)`; PMI. The environment is given as a function, so that nothing here
//! reads it.

use super::Shard;

/// Says how many parts there are, where the engine does not: `egofx extract --shard auto` under Kubernetes and HyperQueue.
pub const COUNT: &str = "EGOFX_SHARD_COUNT";

/// Says with which number tasks of HyperQueue begin, where that is not 1: `--array 0-7`, and jobs that its Python interface makes.
pub const FIRST: &str = "EGOFX_SHARD_FIRST";

/// A part, and which engine gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The part.
    pub shard: Shard,
    /// The engine's name and the variable that told.
    pub by: String,
}

/// Why no part was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AutoError {
    /// No engine that is known started this process.
    #[error(
        "nothing in the environment says which part is this process's; looked for {}. Give it as --shard I/N",
        ENGINES.iter().map(|engine| format!("{} ({})", engine.variable, engine.name)).collect::<Vec<_>>().join(", ")
    )]
    Nothing,
    /// Two engines say different things.
    #[error("the environment says two things: {one} and {other}. Give the part as --shard I/N")]
    Ambiguous {
        /// The first, with its part.
        one: String,
        /// The second.
        other: String,
    },
    /// A variable that is missing or no number, or that does not fit the others.
    #[error("{variable}: expected {expected}, found {}", found.as_deref().unwrap_or("nothing"))]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What would have done.
        expected: String,
        /// Its value.
        found: Option<String>,
    },
}

/// The part of this process in an environment whose variables are `of`.
///
/// Processes of a step of an array each have a part: of an array of 3 with 2 tasks, 6 parts. MPI's ranks count only where no
/// engine says more; 1 of 1 is no contradiction to what another one says, as in the allocation of Slurm that HyperQueue's workers
/// run in.
///
/// # Errors
/// [`AutoError`].
pub fn detect(of: &dyn Fn(&str) -> Option<String>) -> Result<Found, AutoError> {
    let environment = Environment { of };
    let mut found: Option<Found> = None;
    for engine in ENGINES {
        let divides = found.as_ref().is_some_and(|found| found.shard.count() > 1);
        if divides && engine.yields || environment.text(engine.variable).is_none() {
            continue;
        }
        let Some(shard) = engine.part(&environment)? else { continue };
        let by = format!("{} ({})", engine.name, engine.variable);
        match &found {
            Some(other) if divides && shard.count() > 1 && other.shard != shard => {
                let said = |found: &Found| format!("{} of {}", found.shard, found.by);
                return Err(AutoError::Ambiguous { one: said(other), other: said(&Found { shard, by }) });
            }
            Some(_) if divides || shard.count() == 1 => {}
            _ => found = Some(Found { shard, by }),
        }
    }
    found.ok_or(AutoError::Nothing)
}

/// What starts many processes of one command.
struct Engine {
    name: &'static str,
    /// The variable by which it is recognised.
    variable: &'static str,
    numbers: Numbers,
    /// Whether it counts only where no other one divides the work.
    yields: bool,
}

/// How an engine says which part it gave.
enum Numbers {
    /// By Slurm's variables.
    Slurm,
    /// By its variable, which counts from `first`, and the number of all.
    From { first: u32, count: &'static str },
    /// The same, where whoever submits says how tasks are numbered, and 1 is only the usual beginning.
    Chosen,
}

const fn engine(name: &'static str, variable: &'static str, numbers: Numbers) -> Engine {
    Engine { name, variable, numbers, yields: false }
}

const fn ranks(name: &'static str, variable: &'static str, count: &'static str) -> Engine {
    Engine { name, variable, numbers: Numbers::From { first: 0, count }, yields: true }
}

const ENGINES: &[Engine] = &[
    engine("Slurm, an array", "SLURM_ARRAY_TASK_ID", Numbers::Slurm),
    engine("Slurm, srun", "SLURM_PROCID", Numbers::Slurm),
    engine("Kubernetes, an indexed Job", "JOB_COMPLETION_INDEX", Numbers::From { first: 0, count: COUNT }),
    engine(
        "AWS Batch, an array job",
        "AWS_BATCH_JOB_ARRAY_INDEX",
        Numbers::From { first: 0, count: "AWS_BATCH_JOB_ARRAY_SIZE" },
    ),
    engine("HyperQueue, --array 1-N", "HQ_TASK_ID", Numbers::Chosen),
    ranks("MPI, Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ranks("MPI, PMI", "PMI_RANK", "PMI_SIZE"),
];

impl Engine {
    /// The part that it gave, if it gave one.
    fn part(&self, environment: &Environment) -> Result<Option<Shard>, AutoError> {
        match self.numbers {
            Numbers::Slurm => slurm(environment),
            Numbers::From { first, count } => environment.counted(self.variable, count, first, "").map(Some),
            Numbers::Chosen => {
                let first = environment.text(FIRST).map_or(Ok(1), |_| environment.number(FIRST))?;
                let remedy = format!("; with {FIRST} they begin with another number");
                environment.counted(self.variable, COUNT, first, &remedy).map(Some)
            }
        }
    }
}

/// A task of an array, a process of a step of `srun`, or both.
fn slurm(environment: &Environment) -> Result<Option<Shard>, AutoError> {
    let (task, tasks) = match environment.text("SLURM_ARRAY_TASK_ID") {
        Some(_) => array_task(environment)?,
        None => (0, 1),
    };
    let (process, processes) = step_process(environment)?;
    let index = task.checked_mul(processes).and_then(|before| before.checked_add(process)?.checked_add(1));
    Ok(index.zip(tasks.checked_mul(processes)).and_then(|(index, count)| Shard::new(index, count)))
}

/// Which task of the array, from 0, and of how many.
fn array_task(environment: &Environment) -> Result<(u32, u32), AutoError> {
    let [id, first, last, count] =
        ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT"]
            .map(|name| environment.number(name));
    let (id, first, last, count) = (id?, first?, last?, count?);
    let step =
        environment.text("SLURM_ARRAY_TASK_STEP").map_or(Ok(1), |_| environment.number("SLURM_ARRAY_TASK_STEP"))?;
    let regular = step > 0 && first <= id && id <= last && (id - first).is_multiple_of(step);
    if !regular || u64::from((last - first) / step) + 1 != u64::from(count) {
        return Err(AutoError::Variable {
            variable: "SLURM_ARRAY_TASK_COUNT",
            expected: format!("all tasks from {first} to {last} by {step}, as of --array=1-8"),
            found: Some(format!("{count} tasks, among them {id}")),
        });
    }
    Ok(((id - first) / step, count))
}

/// Which process of the step, from 0, and of how many. A script of `sbatch` is no step, whatever the number of its tasks.
fn step_process(environment: &Environment) -> Result<(u32, u32), AutoError> {
    let tasks =
        if environment.text("SLURM_STEP_NUM_TASKS").is_some() { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" };
    let count = environment.text(tasks).map_or(Ok(1), |_| environment.number(tasks))?;
    if count == 1 {
        return Ok((0, 1));
    }
    if environment.text("SLURM_STEP_ID").is_none() {
        return Err(AutoError::Variable {
            variable: "SLURM_STEP_ID",
            expected: format!("a step of the {count} tasks that were asked for: start the command with srun"),
            found: None,
        });
    }
    Ok((environment.number("SLURM_PROCID")?, count))
}

struct Environment<'e> {
    of: &'e dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.of)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn number(&self, variable: &'static str) -> Result<u32, AutoError> {
        let found = self.text(variable);
        let number = found.as_deref().and_then(|text| text.parse().ok());
        number.ok_or(AutoError::Variable { variable, expected: "a whole number".to_owned(), found })
    }

    /// The part by a number that counts from `first`, and the number of all; `remedy` says what else there is.
    fn counted(&self, index: &'static str, count: &'static str, first: u32, remedy: &str) -> Result<Shard, AutoError> {
        let (number, all) = (self.number(index)?, self.number(count)?);
        let shard = number.checked_sub(first).and_then(|index| Shard::new(index.checked_add(1)?, all));
        let out_of_range = || AutoError::Variable {
            variable: index,
            expected: format!(
                "{first} to {}, since {count} is {all}{remedy}",
                first.saturating_add(all).saturating_sub(1)
            ),
            found: Some(number.to_string()),
        };
        shard.ok_or_else(out_of_range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(variables: &str) -> Result<String, String> {
        let of = |name: &str| {
            let set = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
            set.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).next()
        };
        detect(&of).map(|found| found.shard.to_string()).map_err(|error| error.to_string())
    }

    const ARRAY: &str =
        "SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=8 SLURM_ARRAY_TASK_COUNT=8 SLURM_ARRAY_TASK_STEP=1";

    #[test]
    fn every_engine_gives_its_part() {
        for (variables, expected) in [
            (format!("{ARRAY} SLURM_ARRAY_TASK_ID=2"), "2/8"),
            ("SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_COUNT=4".into(), "1/4"),
            (
                "SLURM_ARRAY_TASK_ID=15 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_MAX=25 SLURM_ARRAY_TASK_STEP=10 SLURM_ARRAY_TASK_COUNT=3"
                    .into(),
                "2/3",
            ),
            ("SLURM_PROCID=3 SLURM_NTASKS=4 SLURM_STEP_ID=0".into(), "4/4"),
            // A step of fewer tasks than its job.
            ("SLURM_PROCID=1 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_ID=1".into(), "2/2"),
            (format!("{ARRAY} SLURM_ARRAY_TASK_ID=2 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_STEP_ID=0 PMI_RANK=1 PMI_SIZE=2"), "4/16"),
            // In the script of an array there is no step, and one task.
            (format!("{ARRAY} SLURM_ARRAY_TASK_ID=8 SLURM_PROCID=0 SLURM_NTASKS=1"), "8/8"),
            (format!("JOB_COMPLETION_INDEX=0 {COUNT}=3"), "1/3"),
            ("AWS_BATCH_JOB_ARRAY_INDEX=9 AWS_BATCH_JOB_ARRAY_SIZE=10".into(), "10/10"),
            (format!("HQ_TASK_ID=1 {COUNT}=5"), "1/5"),
            (format!("HQ_TASK_ID=0 {COUNT}=5 {FIRST}=0"), "1/5"),
            (format!("HQ_TASK_ID=14 {COUNT}=5 {FIRST}=10"), "5/5"),
            // HyperQueue's workers in an allocation of Slurm.
            (format!("HQ_TASK_ID=4 {COUNT}=5 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_STEP_ID=0"), "4/5"),
            ("PMI_RANK=1 PMI_SIZE=7 SLURM_PROCID=0 SLURM_NTASKS=1".into(), "2/7"),
            ("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 PMI_RANK=1 PMI_SIZE=2".into(), "2/2"),
            ("PMI_RANK=0 PMI_SIZE=7".into(), "1/7"),
        ] {
            assert_eq!(part(&variables), Ok(expected.to_owned()), "{variables}");
        }
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_named() {
        for (variables, words) in [
            (String::new(), "looked for SLURM_ARRAY_TASK_ID (Slurm, an array), SLURM_PROCID"),
            ("JOB_COMPLETION_INDEX=0".into(), "EGOFX_SHARD_COUNT: expected a whole number, found nothing"),
            (format!("JOB_COMPLETION_INDEX=3 {COUNT}=3"), "expected 0 to 2, since EGOFX_SHARD_COUNT is 3, found 3"),
            (format!("HQ_TASK_ID=0 {COUNT}=3"), "expected 1 to 3, since EGOFX_SHARD_COUNT is 3; with EGOFX_SHARD_FIRST they begin"),
            (format!("HQ_TASK_ID=3 {COUNT}=3 {FIRST}=0"), "expected 0 to 2"),
            (format!("HQ_TASK_ID=3 {COUNT}=3 {FIRST}=-1"), "EGOFX_SHARD_FIRST: expected a whole number, found -1"),
            // --array=1,5,9: parts that nobody takes would be left.
            (
                "SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_STEP=1 SLURM_ARRAY_TASK_COUNT=3"
                    .into(),
                "expected all tasks from 1 to 9 by 1",
            ),
            // A script of sbatch that forgot srun: every task but one would be left.
            ("SLURM_PROCID=0 SLURM_NTASKS=4".into(), "start the command with srun"),
            (format!("{ARRAY} SLURM_ARRAY_TASK_ID=x"), "SLURM_ARRAY_TASK_ID: expected a whole number, found x"),
            (format!("JOB_COMPLETION_INDEX=4294967295 {COUNT}=3"), "expected 0 to 2, since EGOFX_SHARD_COUNT is 3"),
            (format!("HQ_TASK_ID=0 {COUNT}=4294967295"), "HQ_TASK_ID: expected 1 to"),
            (
                "SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=4294967295 SLURM_ARRAY_TASK_COUNT=2".into(),
                "all tasks from 0 to 4294967295",
            ),
            (format!("{ARRAY} SLURM_ARRAY_TASK_ID=8 SLURM_PROCID=0 SLURM_NTASKS=4294967295 SLURM_STEP_ID=0"), "nothing in"),
            (
                format!("{ARRAY} SLURM_ARRAY_TASK_ID=2 HQ_TASK_ID=3 {COUNT}=5"),
                "says two things: 2/8 of Slurm, an array (SLURM_ARRAY_TASK_ID) and 3/5 of HyperQueue",
            ),
        ] {
            let said = part(&variables).unwrap_err();
            assert!(said.contains(words), "{variables}: {said}");
        }
    }
}
