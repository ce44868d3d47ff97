//! Exported graphs of lower precision and the files of all: what ONNX's own checker says, what is the same on every export,
//! and how near lower precisions are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use egofx::backbone::{Card, GraphPrecision};
use egofx::checkpoint::{Dtype, Tensor};
use egofx::export::MODELS;
use egofx::export::onnx::{DataType, IR_VERSION, ModelProto, OPSET};
use prost::Message;

use crate::support::graphs::{
    batch, cosine, egovlp, egovlpv2, exported_into, made, max_abs, rows_do_not_depend_on_their_batch, session, shared,
    slowfast, slowfast_into, usual,
};
use crate::support::{Workshop, python};

/// Graphs of all tiny models in every precision, made once.
static EXPORTED: LazyLock<PathBuf> = LazyLock::new(|| {
    let (folder, work) = (shared("export_precisions"), tempfile::tempdir().unwrap());
    for checkpoint in [egovlp(), egovlpv2(work.path())] {
        exported_into(&checkpoint, &folder, false, &[GraphPrecision::Fp16, GraphPrecision::Int8]);
    }
    slowfast_into(&slowfast(), 96, &folder, false, &[GraphPrecision::Fp16, GraphPrecision::Int8]);
    folder
});

/// Half precision is for GPUs: the CPU's kernels round a number by its place in the batch. Measured: 2e-3 on outputs of
/// unit size, two units in the last place.
#[test]
fn a_row_has_the_same_bits_in_every_batch_but_for_half_precision() {
    for name in Card::names(&EXPORTED).iter().filter(|name| name.ends_with("_int8")) {
        rows_do_not_depend_on_their_batch(&EXPORTED, name, 0.0);
    }
    rows_do_not_depend_on_their_batch(&EXPORTED, "egovlp_video_fp16", 5e-3);
}

#[test]
fn onnx_itself_accepts_every_graph() {
    let shop = Workshop::new();
    std::os::unix::fs::symlink(&*EXPORTED, shop.path("graphs")).unwrap();
    let program = r#"
import glob, json, os, onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
found = {}
for path in sorted(glob.glob("graphs/*.onnx")):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    files = set()
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            size = os.path.getsize("graphs/" + info.location)
            assert info.offset + info.length <= size, (path, tensor.name)
            assert info.offset % (4096 if info.length >= 65536 else 64) == 0, (path, tensor.name)
            files.add(info.location)
        else:
            assert len(tensor.raw_data) <= 65536, (path, tensor.name, len(tensor.raw_data))
    for value in list(model.graph.input) + list(model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            assert dim.dim_value > 0 or dim.dim_param in ("B", "F", "L", "N"), (path, value.name, dim)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) and all(names), path
    opsets = {o.domain: o.version for o in model.opset_import}
    found[os.path.basename(path)] = [model.ir_version, opsets.pop(""), sorted(opsets), sorted(files)]
print(json.dumps(found))
"#;
    let found = python(&shop, program);
    let graphs = found.as_object().unwrap();
    assert_eq!(graphs.len(), 3 * (2 + 8 + 1));
    for (name, facts) in graphs {
        let model = MODELS.iter().rfind(|model| name.starts_with(model.name)).unwrap().name;
        let suffix = ["_fp16", "_int8"].into_iter().find(|s| name.contains(s));
        let weights = format!("{model}{}.weights", suffix.unwrap_or_default());
        assert_eq!((&facts[0], &facts[1]), (&IR_VERSION.into(), &OPSET.into()), "{name}");
        assert_eq!((&facts[2], &facts[3]), (&serde_json::json!([]), &serde_json::json!([weights])), "{name}");
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes_and_one_file_of_weights() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    folders.iter().for_each(|folder| exported_into(&egovlp(), folder.path(), false, &[GraphPrecision::Fp16]));
    let [first, second] = folders.map(|folder| files(folder.path()));
    assert!(first == second);
    let weights: Vec<_> = first.keys().filter(|name| name.ends_with(".weights")).collect();
    assert_eq!(weights, ["egovlp.weights", "egovlp_fp16.weights"]);
    assert_eq!(first.len(), 2 + 2 * 2 * 2, "{:?}", first.keys());
}

/// Element types of the weights that a graph has outside of its file.
fn stored(folder: &Path, graph: &str) -> BTreeSet<DataType> {
    let bytes = fs::read(folder.join(format!("{graph}.onnx"))).unwrap();
    let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let outside = graph.initializer.iter().filter(|tensor| !tensor.external_data.is_empty());
    outside.map(|tensor| DataType::try_from(tensor.data_type()).unwrap()).collect()
}

#[test]
fn a_checkpoint_of_half_precision_stays_half_and_computes_nearly_the_same() {
    let base = egovlp();
    for (dtype, stored_as, widest) in [(Dtype::F16, DataType::Float16, 2e-3), (Dtype::Bf16, DataType::Bfloat16, 2e-2)] {
        let folder = tempfile::tempdir().unwrap();
        let half = made(folder.path(), &base, |name| Some(halved(base.read(name).unwrap(), dtype)));
        exported_into(&half, folder.path(), false, &[]);
        let bytes = |folder: &Path| fs::metadata(folder.join("egovlp.weights")).unwrap().len();
        assert!(bytes(folder.path()) < bytes(&EXPORTED) * 6 / 10);
        for name in ["egovlp_video", "egovlp_text"] {
            assert_eq!(stored(folder.path(), name), BTreeSet::from([stored_as]), "{name}");
            let feeds = batch(&Card::read(folder.path(), name).unwrap(), &[0, 1], usual);
            let [found, expected] = [folder.path(), &EXPORTED].map(|folder| session(folder, name).run(&feeds).unwrap());
            for (output, expected) in found.iter().zip(&expected) {
                let (off, cosine) = (max_abs(&output.1, &expected.1), cosine(&output.1, &expected.1));
                println!("{name} {} of {dtype}: max abs {off:.1e}, cosine {cosine:.7}", output.0);
                let scale = expected.1.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
                assert!(off <= widest * scale && cosine >= 0.9999, "{name} {}: {off:e} {cosine}", output.0);
            }
        }
    }
}

fn halved(tensor: Tensor, dtype: Dtype) -> Tensor {
    let values = tensor.to_f32().unwrap();
    let bits = |v: f32| match dtype {
        Dtype::F16 => half::f16::from_f32(v).to_bits(),
        _ => half::bf16::from_f32(v).to_bits(),
    };
    Tensor { dtype, shape: tensor.shape, bytes: values.into_iter().flat_map(|v| bits(v).to_le_bytes()).collect() }
}
