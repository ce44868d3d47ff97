//! How processes that train together are told of each other: by torchrun, by Slurm, or by plain variables.
//!
//! Not for joining them. Variables are looked for in this order: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`,
//! `MASTER_PORT`, which torchrun sets and people can; those of an `srun`; neither, which is a process on its own.

use crate::native::Rendezvous;

/// The port of a store if Slurm gives none: this, and the job's number below ten thousand.
const FIRST_PORT: u64 = 15_000;
/// Seconds that a call waits for the other ranks, as in torch.
pub const TIMEOUT_S: u32 = 1800;

/// This process among those that were launched together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Where they meet.
    pub rendezvous: Rendezvous,
    /// Its number on its machine, from 0.
    pub local_rank: u32,
    /// How many there are on its machine.
    pub local_size: u32,
    /// What launched it, for people.
    pub by: &'static str,
}

/// Reads the launch out of the environment; `None` for a process on its own.
///
/// # Errors
/// A variable that is missing beside others, or is no number; names it.
pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Launch>, String> {
    if variable("RANK").is_some() || variable("WORLD_SIZE").is_some() {
        return by_variables(&variable).map(Some);
    }
    // A shell within a job has the job's variables, but only a step has a number for each of its processes.
    let in_step = variable("SLURM_PROCID").is_some() && variable("SLURM_STEP_ID").is_some();
    let tasks = variable("SLURM_STEP_NUM_TASKS").or_else(|| variable("SLURM_NTASKS"));
    match tasks.filter(|tasks| in_step && tasks != "1") {
        Some(tasks) => by_slurm(&variable, &tasks).map(Some),
        None => Ok(None),
    }
}

fn by_variables(variable: &impl Fn(&str) -> Option<String>) -> Result<Launch, String> {
    let number = |name: &str| number(variable, name);
    let (rank, size) = (number("RANK")?, number("WORLD_SIZE")?);
    if rank >= size {
        return Err(format!("RANK is {rank}, expected less than WORLD_SIZE, which is {size}"));
    }
    // torchrun keeps the store itself; without it rank 0 does.
    let by_torchrun = variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True");
    let rendezvous = Rendezvous {
        rank,
        size,
        host: variable("MASTER_ADDR").unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: u16::try_from(number("MASTER_PORT")?).map_err(|_| "MASTER_PORT is above 65535".to_owned())?,
        serves: rank == 0 && !by_torchrun,
        timeout_s: timeout(variable)?,
        // After a restart the store still holds what the processes before said.
        prefix: format!("egofx-train/{}", variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_default()),
    };
    let local_rank = if variable("LOCAL_RANK").is_some() { number("LOCAL_RANK")? } else { rank };
    let local_size = if variable("LOCAL_WORLD_SIZE").is_some() { number("LOCAL_WORLD_SIZE")? } else { size };
    let by = if by_torchrun { "torchrun" } else { "RANK and WORLD_SIZE" };
    Ok(Launch { rendezvous, local_rank, local_size, by })
}

fn by_slurm(variable: &impl Fn(&str) -> Option<String>, tasks: &str) -> Result<Launch, String> {
    let size = tasks.parse().map_err(|_| format!("SLURM_NTASKS is {tasks:?}, expected a number"))?;
    let rank = number(variable, "SLURM_PROCID")?;
    let nodes = variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_JOB_NODELIST"));
    let host = match variable("MASTER_ADDR") {
        Some(host) => host,
        None => nodes.as_deref().and_then(first_host).ok_or("SLURM_JOB_NODELIST names no host")?,
    };
    let port = match variable("MASTER_PORT") {
        Some(_) => u64::from(number(variable, "MASTER_PORT")?),
        None => {
            let job = u64::from(number(variable, "SLURM_JOB_ID")?);
            FIRST_PORT + job % 10_000
        }
    };
    let rendezvous = Rendezvous {
        rank,
        size,
        host,
        port: u16::try_from(port).map_err(|_| "MASTER_PORT is above 65535".to_owned())?,
        serves: rank == 0,
        timeout_s: timeout(variable)?,
        // Steps of one job may follow one another at the same port.
        prefix: format!("egofx-train/{}", variable("SLURM_STEP_ID").unwrap_or_default()),
    };
    // `2` or `2(x3),1`: as many on each of the first machines.
    let by_machine = variable("SLURM_STEP_TASKS_PER_NODE").unwrap_or_default();
    let local_size = by_machine.split(['(', ',']).next().and_then(|count| count.parse().ok()).unwrap_or(size);
    Ok(Launch { rendezvous, local_rank: number(variable, "SLURM_LOCALID")?, local_size, by: "Slurm" })
}

fn timeout(variable: &impl Fn(&str) -> Option<String>) -> Result<u32, String> {
    if variable("EGOFX_TRAIN_TIMEOUT_S").is_some() { number(variable, "EGOFX_TRAIN_TIMEOUT_S") } else { Ok(TIMEOUT_S) }
}

fn number(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Result<u32, String> {
    let text =
        variable(name).ok_or_else(|| format!("{name} is not set, beside others that launch several processes"))?;
    text.parse().map_err(|_| format!("{name} is {text:?}, expected a number"))
}

/// The first host of a list as Slurm abbreviates it: `a1`, `a1,b2`, `a[3-5,7],b`, `a[01-04]x`.
fn first_host(list: &str) -> Option<String> {
    let first_comma = list.find(',').unwrap_or(list.len());
    let host = match list.find('[').filter(|&open| open < first_comma) {
        None => list[..first_comma].to_owned(),
        Some(open) => {
            let close = open + list[open..].find(']')?;
            let first = list[open + 1..close].split([',', '-']).next()?;
            let rest = list[close + 1..].split(',').next()?;
            format!("{}{first}{rest}", &list[..open])
        }
    };
    Some(host).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'v>(variables: &'v [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'v {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn torchrun_keeps_the_store_and_plain_variables_leave_it_to_rank_0() {
        let plain = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "29500"), ("LOCAL_RANK", "0")];
        let launch = find(with(&plain)).unwrap().unwrap();
        assert_eq!(
            (launch.rendezvous.host.as_str(), launch.rendezvous.serves, launch.by),
            ("127.0.0.1", true, "RANK and WORLD_SIZE")
        );
        let torchrun =
            [&plain[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RESTART_COUNT", "3")]].concat();
        let launch = find(with(&torchrun)).unwrap().unwrap();
        assert_eq!(
            (launch.rendezvous.serves, launch.rendezvous.prefix.as_str(), launch.by),
            (false, "egofx-train/3", "torchrun")
        );
    }

    #[test]
    fn a_step_of_slurm_is_a_launch_and_a_shell_in_a_job_is_none() {
        let job = [("SLURM_JOB_ID", "123456"), ("SLURM_NTASKS", "8"), ("SLURM_JOB_NODELIST", "gpu[07-09,12],old1")];
        let shell = [&job[..], &[("SLURM_PROCID", "0")]].concat();
        assert_eq!(find(with(&shell)).unwrap(), None);
        let own = [("SLURM_PROCID", "5"), ("SLURM_LOCALID", "1"), ("SLURM_STEP_ID", "2")];
        let step = [&job[..], &own, &[("SLURM_STEP_TASKS_PER_NODE", "3(x2),2")]].concat();
        let launch = find(with(&step)).unwrap().unwrap();
        assert_eq!((launch.rendezvous.rank, launch.rendezvous.size), (5, 8));
        assert_eq!((launch.local_rank, launch.local_size), (1, 3));
        assert_eq!(
            (launch.rendezvous.host.as_str(), launch.rendezvous.port, launch.rendezvous.serves),
            ("gpu07", 18456, false)
        );
        assert_eq!(launch.rendezvous.prefix, "egofx-train/2");
    }

    #[test]
    fn hosts_are_read_out_of_slurms_abbreviations() {
        for (list, host) in
            [("a1", "a1"), ("a1,b2", "a1"), ("a[3-5,7],b", "a3"), ("a[01-04]x,b", "a01x"), ("n,a[1-2]", "n")]
        {
            assert_eq!(first_host(list).as_deref(), Some(host), "{list}");
        }
        assert_eq!(first_host(""), None);
    }

    #[test]
    fn what_is_missing_or_no_number_is_named() {
        let error = |variables: &[(&str, &str)]| find(with(variables)).unwrap_err();
        assert_eq!(error(&[("RANK", "0")]), "WORLD_SIZE is not set, beside others that launch several processes");
        assert_eq!(error(&[("RANK", "x"), ("WORLD_SIZE", "2")]), "RANK is \"x\", expected a number");
        assert_eq!(
            error(&[("RANK", "2"), ("WORLD_SIZE", "2")]),
            "RANK is 2, expected less than WORLD_SIZE, which is 2"
        );
        assert_eq!(find(with(&[])).unwrap(), None);
    }
}
