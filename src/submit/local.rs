//! This machine: a script that runs the parts as processes.
//!
//! Not for running them. `local.sh` is the part of the script that is always the same: it begins a part again that was killed or
//! stopped by somebody else, a bounded number of times, and hands on the signals that it gets itself.

use super::Job;
use crate::shell::quoted;

const BODY: &str = include_str!("local.sh");

/// The script; of the parts, at most `parallel` run at the same time.
pub fn script(job: &Job, parallel: Option<u32>) -> String {
    let heading = job.heading("this machine", &["Run it by: bash THIS_FILE".to_owned()]);
    let parts = job.parts.list();
    let at_once = parallel.map_or(parts.len(), |parallel| parallel as usize);
    let list: Vec<String> = parts.iter().map(u32::to_string).collect();
    let settings = job.settings(&format!("parts=({}) at_once={at_once}\nlogs={}\n", list.join(" "), quoted(&job.logs)));
    format!("#!/bin/bash\n{heading}{settings}{BODY}")
}

#[cfg(test)]
mod tests {
    use super::super::{Parts, samples};
    use super::*;

    #[test]
    fn a_script_lists_its_parts() {
        let job = Job { parts: Parts::only(4, [1, 3]), ..samples::job() };
        let expected = "#!/bin/bash\n# Made by egofx 0.1.0 for this machine: 4 parts, of which 1,3 of\n\
            #   /opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features\n# Run it by: bash THIS_FILE\n\n\
            set -u\nof=4 retries=3\nparts=(1 3) at_once=2\nlogs=/shared/features/logs\n\
            command=(/opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features)\n\
            cd -- '/home/me/a \"b\" $c' || exit 2\n\n";
        assert_eq!(script(&job, None).strip_suffix(BODY).unwrap(), expected);
        assert!(script(&job, Some(1)).contains(" at_once=1\n"));
    }
}
