//! Strict loading: which stored tensor each tensor of a network is taken from, and everything that does not fit.
//!
//! Not for reading values. A state dict is loaded whole or not at all: every tensor that is expected is there in its
//! shape, and every tensor that is there is expected, or named in its format's list of what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::format::CheckpointFormat;
use super::shapes::is_temporal_embedding;
use crate::checkpoint::{ParamSpec, TensorInfo};

/// Most names that a message lists; the rest are counted.
const LISTED: usize = 12;

/// Where the tensors of a file differ from those of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Differences {
    /// Expected, not found.
    pub missing: Vec<String>,
    /// Found, not expected.
    pub unknown: Vec<String>,
    /// Found with another shape: name, shape found, shape expected.
    pub shapes: Vec<String>,
}

/// Where the tensors of a network come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// The names in the file of those that are taken from it, by their names in the network.
    pub sources: BTreeMap<String, String>,
    /// Tensors of the network that keep what they have.
    pub kept: Vec<String>,
    /// Tensors of the file that are left out.
    pub left_out: Vec<String>,
    /// What does not fit; nothing may be loaded unless it is empty.
    pub differences: Differences,
}

/// Where the tensors of a state dict are not those of `parameters`; `buffers` may be there too.
pub fn strict_differences(
    stored: &BTreeMap<String, TensorInfo>,
    parameters: &[ParamSpec],
    buffers: &'static [&'static str],
) -> Differences {
    let expected: Vec<(&str, &[usize])> = parameters.iter().map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
    CheckpointFormat::state_dict(buffers).matched(stored, &expected, &[]).differences
}

impl CheckpointFormat {
    /// Which of the `stored` tensors each `expected` one, by name and shape, is taken from. Those whose names begin
    /// with one of `fresh` keep what they have, whatever the file has under such names.
    pub fn matched(
        &self,
        stored: &BTreeMap<String, TensorInfo>,
        expected: &[(&str, &[usize])],
        fresh: &[&str],
    ) -> Matched {
        let is_fresh = |name: &str| fresh.iter().any(|prefix| name.starts_with(prefix));
        let names: BTreeSet<&str> = expected.iter().map(|(name, _)| *name).collect();
        let mut matched = Matched::default();
        for (name, stored) in self.names(stored) {
            let inside = self.name_in_network(&name);
            if self.leaves_out(&name) || is_fresh(&inside) {
                matched.left_out.push(stored);
            } else if names.contains(inside.as_str()) {
                matched.sources.insert(inside, stored);
            } else {
                matched.differences.unknown.push(stored);
            }
        }
        for (name, shape) in expected {
            match matched.sources.get(*name) {
                Some(source) => matched.differences.shapes.extend(self.misfit(name, &stored[source].shape, shape)),
                None if is_fresh(name) || !self.has(name) => matched.kept.push((*name).to_owned()),
                None => matched.differences.missing.push((*name).to_owned()),
            }
        }
        matched
    }

    /// What is wrong with a tensor of shape `found` as the network's `name` of shape `expected`. Where there is a rule
    /// for it, a temporal table may have another number of rows.
    fn misfit(&self, name: &str, found: &[usize], expected: &[usize]) -> Option<String> {
        let fits = if self.temporal.is_some() && is_temporal_embedding(name) {
            matches!((found, expected), ([1, rows, dim], [_, _, wanted]) if *rows > 0 && dim == wanted)
        } else {
            found == expected
        };
        (!fits).then(|| format!("{name} is {found:?}, expected {expected:?}"))
    }
}

impl Differences {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("missing", &self.missing), ("unknown", &self.unknown), ("of another shape", &self.shapes)];
        for (what, names) in kinds.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "\n  {} {what}: {}", names.len(), listed(names))?;
        }
        Ok(())
    }
}

/// The first of `names`, and how many more there are.
pub fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{EGOVLP, EGOVLPV2, VIT};
    use crate::checkpoint::Dtype;

    fn stored(tensors: &[(&str, &[usize])]) -> BTreeMap<String, TensorInfo> {
        let info = |shape: &[usize]| TensorInfo { dtype: Dtype::F32, shape: shape.to_vec() };
        tensors.iter().map(|(name, shape)| ((*name).to_owned(), info(shape))).collect()
    }

    const TABLE: &str = "video_model.temporal_embed";

    #[test]
    fn a_temporal_table_may_be_of_another_length_and_of_nothing_else() {
        let misfits = |found: &[usize]| EGOVLP.matched(&stored(&[(TABLE, found)]), &[(TABLE, &[1, 16, 8])], &[]);
        assert!(misfits(&[1, 4, 8]).differences.is_empty() && misfits(&[1, 32, 8]).differences.is_empty());
        for found in [&[1, 4, 9][..], &[1, 0, 8], &[2, 4, 8], &[4, 8]] {
            let shapes = misfits(found).differences.shapes;
            assert_eq!(shapes, [format!("{TABLE} is {found:?}, expected [1, 16, 8]")]);
        }
        let plain = CheckpointFormat::state_dict(&[]);
        assert_eq!(
            plain.matched(&stored(&[(TABLE, &[1, 4, 8])]), &[(TABLE, &[1, 16, 8])], &[]).differences.shapes.len(),
            1
        );
    }

    #[test]
    fn every_name_is_matched_kept_left_out_or_a_difference() {
        let file = stored(&[("patch_embed.proj.bias", &[8]), ("head.bias", &[3]), ("odd", &[1]), ("norm.bias", &[9])]);
        let expected: &[(&str, &[usize])] = &[
            ("video_model.patch_embed.proj.bias", &[8]),
            ("video_model.norm.bias", &[8]),
            ("video_model.norm.weight", &[8]),
            ("video_model.blocks.0.timeattn.qkv.bias", &[24]),
            ("vid_proj.0.bias", &[4]),
        ];
        let matched = VIT.matched(&file, expected, &[]);
        assert_eq!(matched.sources["video_model.patch_embed.proj.bias"], "patch_embed.proj.bias");
        assert_eq!(matched.left_out, ["head.bias"]);
        assert_eq!(matched.kept, ["video_model.blocks.0.timeattn.qkv.bias", "vid_proj.0.bias"]);
        let Differences { missing, unknown, shapes } = matched.differences;
        assert_eq!(missing, ["video_model.norm.weight"]);
        assert_eq!(unknown, ["odd"]);
        assert_eq!(shapes, ["video_model.norm.bias is [9], expected [8]"]);
    }

    #[test]
    fn a_run_of_egofx_train_is_read_past_its_optimiser_running_means_first() {
        let expected: &[(&str, &[usize])] = &[("cls_token", &[1])];
        let run = stored(&[("model.cls_token", &[1]), ("optimizer.mean.cls_token", &[1])]);
        assert_eq!(EGOVLPV2.matched(&run, expected, &[]).sources["cls_token"], "model.cls_token");
        let run = stored(&[("model.cls_token", &[1]), ("ema.cls_token", &[1])]);
        let matched = EGOVLPV2.matched(&run, expected, &[]);
        assert!(matched.differences.is_empty());
        assert_eq!(matched.sources["cls_token"], "ema.cls_token");
    }

    #[test]
    fn buffers_are_known_by_their_whole_names() {
        let differences = |name: &str| strict_differences(&stored(&[(name, &[1, 512])]), &[], &["ids"]);
        assert!(differences("ids").is_empty());
        assert_eq!(differences("ids_too").unknown, ["ids_too"]);
        let ends = |name: &str| strict_differences(&stored(&[(name, &[])]), &[], &[".count"]).unknown;
        assert!(ends("norm.count").is_empty() && ends("norm.counter") == ["norm.counter"]);
    }
}
