//! Kubernetes: an indexed Job with a pod for each part.
//!
//! Sources: Kubernetes' documentation of Jobs ("Indexed Job", "Backoff limit per index", "Pod failure policy"), 1.29 and later. A pod that
//! was preempted or drained, or ended with 75, is made anew and does not count; one that was killed counts for its index only.

use std::str::FromStr;

use super::quote::yaml;
use super::{Job, SubmitError};

/// How long beyond `--grace` a pod may take to end before it is killed, in seconds.
const MARGIN_SEC: u64 = 30;

/// What is asked of Kubernetes.
#[derive(Debug, Clone, Default)]
pub struct K8s {
    /// The image that has the program.
    pub image: String,
    /// Pods that run at the same time, at most.
    pub parallel: Option<u32>,
    /// The namespace.
    pub namespace: Option<String>,
    /// Memory of a pod, `8Gi`.
    pub memory: Option<String>,
    /// Claims of volumes and where the pods find them.
    pub volumes: Vec<Volume>,
}

/// A claim of a volume, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The name of the PersistentVolumeClaim.
    pub claim: String,
    /// The folder in the pods.
    pub path: String,
}

impl FromStr for Volume {
    type Err = SubmitError;

    fn from_str(text: &str) -> Result<Self, SubmitError> {
        match text.split_once(':') {
            Some((claim, path)) if is_name(claim) && path.starts_with('/') => {
                Ok(Self { claim: claim.to_owned(), path: path.to_owned() })
            }
            _ => Err(SubmitError::Form {
                what: "--volume",
                found: text.to_owned(),
                expected: "CLAIM:/path, the name of a PersistentVolumeClaim and a folder",
            }),
        }
    }
}

/// Whether Kubernetes takes `text` for the name of something.
fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The manifest of the Job, as YAML.
///
/// # Errors
/// [`SubmitError::Form`]: a name that Kubernetes does not take.
pub fn manifest(job: &Job, k8s: &K8s) -> Result<String, SubmitError> {
    if !is_name(&job.name) {
        return Err(SubmitError::Form {
            what: "--name",
            found: job.name.clone(),
            expected: "small letters, digits and '-', at most 63",
        });
    }
    let count = job.parts.count;
    let [name, image, folder] = [&job.name, &k8s.image, &job.folder].map(|text| yaml(text));
    let namespace = k8s.namespace.iter().map(|namespace| format!("  namespace: {}\n", yaml(namespace)));
    let arguments =
        job.command[1..].iter().map(|word| yaml(word)).chain(["\"--shard\"", "\"auto\""].map(str::to_owned));
    Ok([
        job.heading("Kubernetes", &["Submit it by: kubectl create -f THIS_FILE".to_owned()]),
        format!("apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n"),
        namespace.collect(),
        "spec:\n  completionMode: Indexed\n".to_owned(),
        format!("  completions: {count}\n  parallelism: {}\n", k8s.parallel.unwrap_or(count).min(count)),
        format!("  backoffLimitPerIndex: {}\n  maxFailedIndexes: {count}\n", job.retries),
        POLICY.to_owned(),
        "  template:\n    spec:\n      restartPolicy: Never\n".to_owned(),
        format!("      terminationGracePeriodSeconds: {}\n", job.grace_sec + MARGIN_SEC),
        format!("      containers:\n        - name: egofx\n          image: {image}\n          workingDir: {folder}\n"),
        format!("          command: [{}]\n          args:\n", yaml(&job.command[0])),
        arguments.map(|word| format!("            - {word}\n")).collect(),
        format!("          env:\n            - name: EGOFX_SHARD_COUNT\n              value: \"{count}\"\n"),
        resources(job, k8s),
        mounts(&k8s.volumes),
    ]
    .concat())
}

/// What becomes of pods that do not end with 0.
const POLICY: &str = "  podFailurePolicy:
    rules:
      # Preempted, drained or evicted: made anew, however often.
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
      # Stopped by SIGTERM or SIGUSR1: the same.
      - action: Ignore
        onExitCodes:
          containerName: egofx
          operator: In
          values: [75]
      # Failed, or asked for what cannot be: not tried again.
      - action: FailIndex
        onExitCodes:
          containerName: egofx
          operator: In
          values: [1, 2, 130]
";

/// What a pod is given: as much as it asks for, and no more, so that it is not the first to be evicted.
fn resources(job: &Job, k8s: &K8s) -> String {
    let gpus = (job.gpus > 0).then(|| ("nvidia.com/gpu", job.gpus.to_string()));
    let cpus = job.cpus.map(|cpus| ("cpu", cpus.to_string()));
    let memory = k8s.memory.clone().map(|memory| ("memory", memory));
    let lines = cpus.into_iter().chain(memory).chain(gpus);
    let lines: String = lines.map(|(what, much)| format!("              {what}: {}\n", yaml(&much))).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("          resources:\n            requests:\n{lines}            limits:\n{lines}")
}

fn mounts(volumes: &[Volume]) -> String {
    if volumes.is_empty() {
        return String::new();
    }
    let mount = |(number, volume): (usize, &Volume)| {
        format!("            - name: volume-{number}\n              mountPath: {}\n", yaml(&volume.path))
    };
    let claim = |(number, volume): (usize, &Volume)| {
        let claim = yaml(&volume.claim);
        format!("        - name: volume-{number}\n          persistentVolumeClaim:\n            claimName: {claim}\n")
    };
    let mounts: String = volumes.iter().enumerate().map(mount).collect();
    let claims: String = volumes.iter().enumerate().map(claim).collect();
    format!("          volumeMounts:\n{mounts}      volumes:\n{claims}")
}

#[cfg(test)]
mod tests;
