//! What EgoVLP's and EgoVLPv2's extraction leaves and VSLNet and VSGN read: `{clip_uid}.pt`, a bare tensor `[rows, dim]`.
//!
//! Not for Ego4D's own feature sets, which are by video. `feature_shapes.json` has the rows of every clip; VSLNet leaves
//! out clips that it does not name. With MQ's labels, VSGN's two files of annotations are written too.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, vsgn};
use crate::checkpoint::{Tensor, Value};
use crate::features::Features;
use crate::ids::{ClipUid, UnitUid};
use crate::store::RowKind;
use crate::time::TimeSpan;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "egovlp-pt",
    about: "{clip_uid}.pt and feature_shapes.json: EgoVLP's and EgoVLPv2's VSLNet, VSGN; with MQ's labels also \
            clip_annotations.json and moment_classes_idx.json",
    takes: Takes { rows: &[RowKind::Window], queries: Need::Optional, tokens: Need::Unused, clips: Need::Optional },
    write,
};

/// Where the rows of every clip are listed.
pub(super) const SHAPES: &str = "feature_shapes.json";

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let (mut written, mut shapes, mut counts) = (Written::default(), Map::new(), BTreeMap::new());
    for entry in source.entries() {
        let features = source.read(entry)?;
        output.torch(&format!("{}.pt", features.unit), &tensor(&features))?;
        written.count(features.meta.len());
        shapes.insert(features.unit.to_string(), Json::from(features.meta.len()));
        counts.insert(features.unit, features.meta.len());
    }
    output.json(SHAPES, &shapes)?;
    let rows = |clip_uid: &ClipUid, span: TimeSpan| {
        let count = *counts.get(&UnitUid::from(clip_uid))?;
        Some(vsgn::Rows { count, duration_sec: span.duration_sec() })
    };
    vsgn::write(CONSUMER.name, job, output, rows, &mut written)?;
    Ok(written)
}

/// All rows as a tensor.
pub(super) fn tensor(features: &Features) -> Value {
    Value::Tensor(tensor_of(&features.values))
}

/// A tensor of the same shape.
pub(super) fn tensor_of(values: &ndarray::Array2<f32>) -> Tensor {
    let values = values.as_standard_layout();
    Tensor::from_f32(values.shape().to_vec(), values.as_slice().expect("standard layout"))
}

impl Written {
    /// One more unit, of so many rows.
    pub(super) fn count(&mut self, rows: usize) {
        self.units += 1;
        self.rows += rows as u64;
    }
}
