//! HyperQueue: a script whose task array has a task for each part.
//!
//! Source: HyperQueue's documentation of jobs, task arrays, resources, directives and failures (0.19 and later). HyperQueue counts a
//! task whose worker is lost as crashed and calls it again; one that ends with another code than 0 has failed for good. `hyperqueue.sh`
//! therefore waits for the end of its worker when a run was stopped.

use super::quote::directive;
use super::{Job, SubmitError};
use crate::shell::quoted;

const BODY: &str = include_str!("hyperqueue.sh");

/// How often a part may lose its worker. Workers come and go with their allocations, so that this is no sign of a fault.
const MOST_CRASHES: u32 = 1000;

/// The script; `options` are further ones of `hq submit`.
///
/// # Errors
/// [`SubmitError`].
pub fn script(job: &Job, options: &[String]) -> Result<String, SubmitError> {
    let heading = job.heading("HyperQueue", &["Submit it by: hq submit --directives=file THIS_FILE.sh".to_owned()]);
    let mut lines = vec![
        directive("name", &job.name),
        directive("array", &job.parts.to_string()),
        directive("crash-limit", &MOST_CRASHES.to_string()),
        // Each part has a log of its own, to which it adds when it is called again.
        "--stdout=none".to_owned(),
        "--stderr=none".to_owned(),
    ];
    lines.extend(job.cpus.map(|cpus| directive("cpus", &cpus.to_string())));
    lines.extend((job.gpus > 0).then(|| format!("--resource gpus/nvidia={}", job.gpus)));
    for option in options {
        lines.push(passed_on(option)?);
    }
    if let Some(text) = lines.iter().find(|line| line.contains(['\n', '\r', '\0'])) {
        let text = text.clone();
        return Err(SubmitError::Text { what: "the option", text, found: "a line break", engine: "HyperQueue" });
    }
    let directives: String = lines.iter().map(|line| format!("#HQ {line}\n")).collect();
    let settings = job.settings(&format!("logs={}\n", quoted(&job.logs)));
    Ok(format!("#!/bin/bash\n{directives}{heading}{settings}{BODY}"))
}

fn passed_on(option: &str) -> Result<String, SubmitError> {
    let text = if option.starts_with('-') { option.to_owned() } else { format!("--{option}") };
    let name = text.split([' ', '=']).next().unwrap_or_default();
    let instead = match name {
        "--array" => "--shards says how many parts there are",
        "--crash-limit" => "a part may lose its worker as often as it does",
        _ => return Ok(text),
    };
    Err(SubmitError::Owned { option: name.to_owned(), instead })
}

#[cfg(test)]
mod tests {
    use super::super::{Parts, samples};
    use super::*;

    #[test]
    fn a_script_has_a_task_for_each_part() {
        let mut job = Job { parts: Parts::only(16, [2, 5, 6]), gpus: 1, ..samples::job() };
        let text = script(&job, &["--priority=3".into(), "max-fails 4".into()]).unwrap();
        let expected = "#!/bin/bash\n#HQ --name=egofx-extract\n#HQ --array=2,5-6\n#HQ --crash-limit=1000\n#HQ --stdout=none\n\
            #HQ --stderr=none\n#HQ --cpus=8\n#HQ --resource gpus/nvidia=1\n#HQ --priority=3\n#HQ --max-fails 4\n\
            # Made by egofx 0.1.0 for HyperQueue: 16 parts, of which 2,5-6 of\n\
            #   /opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features\n\
            # Submit it by: hq submit --directives=file THIS_FILE.sh\n\nset -u\nof=16 retries=3\nlogs=/shared/features/logs\n\
            command=(/opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features)\n\
            cd -- '/home/me/a \"b\" $c' || exit 2\n\n";
        assert_eq!(text.strip_suffix(BODY).unwrap(), expected);
        job.name = "a\nb".into();
        assert!(
            script(&job, &[]).unwrap_err().to_string().contains("has a line break, which HyperQueue cannot be given")
        );
        let owned = script(&samples::job(), &["array 1-3".into()]).unwrap_err().to_string();
        assert_eq!(owned, "--array: the script depends on its own; --shards says how many parts there are");
    }
}
