//! Tests of manifests: the texts. What YAML and Kubernetes make of them is tried with their own programs.

use super::super::samples;
use super::*;

#[test]
fn a_manifest_is_an_indexed_job() {
    let job = Job { gpus: 1, folder: "/data".into(), ..samples::job() };
    let k8s = K8s {
        image: "egofx:0.1".into(),
        parallel: Some(5),
        namespace: Some("vision".into()),
        memory: Some("8Gi".into()),
        volumes: ["videos:/videos", "out:/shared/my features"].map(|volume| volume.parse().unwrap()).to_vec(),
    };
    let before = "# Made by egofx 0.1.0 for Kubernetes: 16 parts of
#   /opt/egofx extract -m 'my list.csv' -p 'it'\\''s.toml' -o /shared/features
# Submit it by: kubectl create -f THIS_FILE
apiVersion: batch/v1
kind: Job
metadata:
  name: \"egofx-extract\"
  namespace: \"vision\"
spec:
  completionMode: Indexed
  completions: 16
  parallelism: 5
  backoffLimitPerIndex: 3
  maxFailedIndexes: 16
";
    let after = "  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 50
      containers:
        - name: egofx
          image: \"egofx:0.1\"
          workingDir: \"/data\"
          command: [\"/opt/egofx\"]
          args:
            - \"extract\"
            - \"-m\"
            - \"my list.csv\"
            - \"-p\"
            - \"it's.toml\"
            - \"-o\"
            - \"/shared/features\"
            - \"--shard\"
            - \"auto\"
          env:
            - name: EGOFX_SHARD_COUNT
              value: \"16\"
          resources:
            requests:
              cpu: \"8\"
              memory: \"8Gi\"
              nvidia.com/gpu: \"1\"
            limits:
              cpu: \"8\"
              memory: \"8Gi\"
              nvidia.com/gpu: \"1\"
          volumeMounts:
            - name: volume-0
              mountPath: \"/videos\"
            - name: volume-1
              mountPath: \"/shared/my features\"
      volumes:
        - name: volume-0
          persistentVolumeClaim:
            claimName: \"videos\"
        - name: volume-1
          persistentVolumeClaim:
            claimName: \"out\"
";
    assert_eq!(manifest(&job, &k8s).unwrap(), [before, POLICY, after].concat());
}

#[test]
fn names_that_kubernetes_does_not_take_are_refused() {
    for name in ["Egofx", "-a", "a_b", ""] {
        let error = manifest(&Job { name: name.into(), ..samples::job() }, &K8s::default()).unwrap_err().to_string();
        assert!(error.ends_with("expected small letters, digits and '-', at most 63"), "{error}");
    }
    for volume in ["data", "data:relative", ":/x", "My:/x"] {
        assert!(volume.parse::<Volume>().is_err(), "{volume}");
    }
}
