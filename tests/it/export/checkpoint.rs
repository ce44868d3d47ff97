//! Checkpoints, good and bad, through the library and the program.
//!
//! `egovlp_tiny.pth` was written by EgoVLP's own trainer, with random weights; of its optimiser's state ten parameters were kept.
//! The other files were made with torch 2.11:
//!
//! ```python
//! base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
//! odd = OrderedDict([
//!     ("f64", base.double()), ("f32", base), ("f16", base.half()), ("bf16", base.bfloat16()),
//!     ("i64", torch.arange(-2, 3)), ("i32", torch.arange(-2, 3).int()), ("i16", torch.arange(-2, 3).short()),
//!     ("i8", torch.arange(-2, 3).char()), ("u8", torch.arange(250, 255).byte()), ("bool", base > 1),
//!     ("transposed", base.t()), ("sliced", base[1:3, 2:5]), ("expanded", base[0].expand(3, 6)),
//!     ("scalar", torch.tensor(2.5)), ("empty", torch.zeros(0, 3)), ("parameter", torch.nn.Parameter(base[2])), ("tied", base),
//! ])
//! torch.save({"epoch": 7, "model_state_dict": odd}, "odd.tar")
//! torch.save({"state_dict": odd}, "odd_legacy.pth", _use_new_zipfile_serialization=False)
//! module = Sequential(OrderedDict(lin=Linear(3, 2), inner=Sequential(OrderedDict(norm=LayerNorm(2)))))
//! # every parameter = arange(numel).reshape(shape) / 4
//! torch.save(module, "module.pt")
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use egofx::checkpoint::{
    Checkpoint, CheckpointError, Container, Dtype, Init, ParamSpec, Tensor, TensorInfo, write_safetensors, write_torch,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::{Workshop, checkout, json, python};

fn data(name: &str) -> PathBuf {
    checkout().join("tests/data/checkpoints").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&data(name)).unwrap()
}

fn floats(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.read(name).unwrap().to_f32().unwrap()
}

/// Everything that a checkpoint holds.
fn all(checkpoint: &Checkpoint) -> BTreeMap<String, Tensor> {
    checkpoint.tensors().keys().map(|name| (name.clone(), checkpoint.read(name).unwrap())).collect()
}

fn error(path: &Path) -> CheckpointError {
    match Checkpoint::open(path) {
        Ok(checkpoint) => panic!("{} opens, with {:?}", path.display(), checkpoint.tensors()),
        Err(error) => error,
    }
}

/// A torch zip with a pickle written by hand, in protocol 0, and 24 bytes in storage 0.
fn torch_zip(shop: &Workshop, pickle: &str, method: CompressionMethod, storage: &[u8]) -> PathBuf {
    let path = shop.path("made.pth");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("archive/data.pkl", pickle.as_bytes()), ("archive/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn pickled(shop: &Workshop, entries: &str) -> PathBuf {
    torch_zip(shop, &format!("(dVstate_dict\n(d{entries}s."), CompressionMethod::Stored, &[0; 24])
}

/// An entry of a state dict: six floats, of which the tensor is a view.
fn view(name: &str, offset: i64, shape: [i64; 2], stride: [i64; 2]) -> String {
    let storage = "(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\ntQ";
    let pair = |[a, b]: [i64; 2]| format!("(I{a}\nI{b}\nt");
    let (shape, stride) = (pair(shape), pair(stride));
    format!("V{name}\nctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{shape}{stride}I00\n(dtRs")
}

fn whole(name: &str) -> String {
    view(name, 0, [2, 3], [3, 1])
}

fn safetensors(shop: &Workshop, header: &str, bytes: usize) -> PathBuf {
    let content = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; bytes]].concat();
    shop.write("made.safetensors", content)
}

#[test]
fn the_trainers_container_gives_the_weights_and_leaves_the_optimizer_alone() {
    let checkpoint = open("egovlp_tiny.pth");
    let about = checkpoint.about();
    assert_eq!((about.container, about.key, about.prefix_removed), (Container::TorchZip, Some("state_dict"), true));
    assert_eq!((about.tensors_aside, about.epoch), (2 * 10, Some(1)));
    assert_eq!(about.arch.as_deref(), Some("DistributedDataParallel"));
    assert!(about.not_tensors.is_empty(), "{:?}", about.not_tensors);
    assert_eq!((checkpoint.name(), checkpoint.tensors().len()), ("egovlp_tiny.pth", 327));
    let info = TensorInfo { dtype: Dtype::F32, shape: vec![32, 3, 16, 16] };
    assert_eq!(checkpoint.tensors()["video_model.patch_embed.proj.weight"], info);
    let (_, sum) = egofx::digest::file(&data("egovlp_tiny.pth")).unwrap();
    assert_eq!(checkpoint.sha256().unwrap(), sum);
    let absent = checkpoint.read("module.video_model.cls_token").unwrap_err().to_string();
    assert_eq!(absent, "egovlp_tiny.pth holds no tensor \"module.video_model.cls_token\"");
}

#[test]
fn tensors_of_every_type_and_layout_come_out_contiguous() {
    for name in ["odd.tar", "odd_legacy.pth"] {
        let checkpoint = open(name);
        let base: Vec<f32> = (0..24u8).map(|i| f32::from(i) / 8.0).collect();
        for float in ["f64", "f32", "f16", "bf16", "tied"] {
            assert_eq!(floats(&checkpoint, float), base, "{name} {float}");
        }
        let picked = |picks: &[usize]| picks.iter().map(|&i| base[i]).collect::<Vec<_>>();
        let transposed: Vec<usize> = (0..6).flat_map(|column| (0..4).map(move |row| row * 6 + column)).collect();
        assert_eq!(floats(&checkpoint, "transposed"), picked(&transposed));
        assert_eq!(floats(&checkpoint, "sliced"), picked(&[8, 9, 10, 14, 15, 16]));
        assert_eq!(floats(&checkpoint, "expanded"), [&base[..6]; 3].concat());
        assert_eq!(floats(&checkpoint, "parameter"), base[12..18]);
        assert_eq!((floats(&checkpoint, "scalar"), checkpoint.read("scalar").unwrap().shape), (vec![2.5], vec![]));
        assert_eq!(checkpoint.read("empty").unwrap(), Tensor::from_f32(vec![0, 3], &[]));
        let bytes = |name: &str| checkpoint.read(name).unwrap().bytes;
        assert_eq!(bytes("i64"), (-2..3i64).flat_map(i64::to_le_bytes).collect::<Vec<_>>());
        assert_eq!(bytes("i32"), (-2..3i32).flat_map(i32::to_le_bytes).collect::<Vec<_>>());
        assert_eq!(bytes("i16"), (-2..3i16).flat_map(i16::to_le_bytes).collect::<Vec<_>>());
        assert_eq!((bytes("i8"), bytes("u8")), (vec![254, 255, 0, 1, 2], vec![250, 251, 252, 253, 254]));
        assert_eq!(bytes("bool"), base.iter().map(|&v| u8::from(v > 1.0)).collect::<Vec<_>>());
    }
    let (tar, legacy) = (open("odd.tar"), open("odd_legacy.pth"));
    assert_eq!((tar.about().key, tar.about().epoch), (Some("model_state_dict"), Some(7)));
    assert_eq!(legacy.about().container, Container::TorchLegacy);
    assert_eq!(all(&tar), all(&legacy));
}

#[test]
fn a_whole_pickled_module_is_its_state_dict() {
    let checkpoint = open("module.pt");
    assert_eq!(checkpoint.about().key, None);
    let names: Vec<&String> = checkpoint.tensors().keys().collect();
    assert_eq!(names, ["inner.norm.bias", "inner.norm.weight", "lin.bias", "lin.weight"]);
    assert_eq!(floats(&checkpoint, "lin.weight"), [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
}

#[test]
fn conversion_there_and_back_changes_no_bit() {
    let shop = Workshop::new();
    for (name, prefix) in [("egovlp_tiny.pth", "--prefix module."), ("odd.tar", "")] {
        let original = data(name).display().to_string();
        shop.egofx(&format!("checkpoint convert {original} a.safetensors --force")).ends_with(0);
        shop.egofx(&format!("checkpoint convert a.safetensors b.pth --force {prefix}")).ends_with(0);
        let expected = all(&open(name));
        for made in ["a.safetensors", "b.pth"] {
            assert!(all(&Checkpoint::open(&shop.path(made)).unwrap()) == expected, "{name} {made}");
        }
        let back = Checkpoint::open(&shop.path("b.pth")).unwrap();
        assert_eq!(back.about().prefix_removed, !prefix.is_empty());
        assert_eq!(shop.leftovers("."), [] as [PathBuf; 0]);
    }
}

/// Reads .pth and safetensors with nothing but Python's own pickle, zipfile and json, and NumPy. The pickle may name only
/// what `torch.load(weights_only=True)` allows, and the trainer's own classes in the trainer's own file.
const READERS: &str = r#"
import collections, hashlib, json, pickle, struct, sys, zipfile
import numpy as np
DTYPES = dict(DoubleStorage="<f8", FloatStorage="<f4", HalfStorage="<f2", BFloat16Storage="<u2", LongStorage="<i8",
              IntStorage="<i4", ShortStorage="<i2", CharStorage="<i1", ByteStorage="<u1", BoolStorage="<u1")
def rebuild(storage, offset, shape, stride, requires_grad, hooks, metadata=None):
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
class Anything:
    def __init__(self, *arguments): pass
    def __setstate__(self, state): pass
def pth(path, others=()):
    archive = zipfile.ZipFile(path)
    root = archive.namelist()[0].split("/")[0]
    assert archive.testzip() is None
    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"): return collections.OrderedDict
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"): return rebuild
            if module == "torch" and name in DTYPES: return name
            if module in others: return Anything
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        def persistent_load(self, pid):
            kind, dtype, key, location, count = pid
            storage = np.frombuffer(archive.read(f"{root}/data/{key}"), DTYPES[dtype])
            assert kind == "storage" and len(storage) == count, pid
            return storage
    return archive, Reader(archive.open(f"{root}/data.pkl")).load()
def safetensors(path):
    data = open(path, "rb").read()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    return header.pop("__metadata__"), {name: data[8 + size:][slice(*entry["data_offsets"])] for name, entry in header.items()}
"#;

#[test]
fn what_is_written_is_what_python_reads_in_the_original() {
    let shop = Workshop::new();
    let original = data("egovlp_tiny.pth").display().to_string();
    shop.egofx(&format!("checkpoint convert {original} a.safetensors")).ends_with(0);
    let program = READERS.to_owned()
        + &format!(
            r#"
path = {original:?}
_, trained = pth(path, others=("parse_config", "argparse", "pathlib"))
weights = {{name[7:]: value for name, value in trained["state_dict"].items()}}
metadata, written = safetensors("a.safetensors")
assert written.keys() == weights.keys()
assert all(written[name] == value.tobytes() for name, value in weights.items())
assert metadata == dict(format="pt", source="egovlp_tiny.pth", epoch="1",
    source_sha256=hashlib.sha256(open(path, "rb").read()).hexdigest()), metadata
print(len(written))
"#
        );
    assert_eq!(python(&shop, &program), 327);
}

#[test]
fn a_written_pth_names_only_what_a_careful_loader_allows() {
    let shop = Workshop::new();
    let odd = data("odd.tar").display().to_string();
    shop.egofx(&format!("checkpoint convert {odd} a.pth --prefix module.")).ends_with(0);
    let program = READERS.to_owned()
        + r#"
archive, loaded = pth("a.pth")
assert list(loaded) == ["state_dict"] and type(loaded["state_dict"]) is collections.OrderedDict
assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"
for entry in archive.infolist():
    assert entry.compress_type == zipfile.ZIP_STORED
    with open("a.pth", "rb") as file:
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        assert (entry.header_offset + 30 + name + extra) % 64 == 0, entry
print(json.dumps({name: [list(value.shape), value.tobytes().hex()] for name, value in loaded["state_dict"].items()}))
"#;
    let found = python(&shop, &program);
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = all(&open("odd.tar")).into_iter();
    let expected: serde_json::Map<String, serde_json::Value> = expected
        .map(|(name, tensor)| (format!("module.{name}"), serde_json::json!([tensor.shape, hex(tensor.bytes)])))
        .collect();
    assert_eq!(found.as_object().unwrap(), &expected);
}

#[test]
fn code_in_a_pickle_is_not_run() {
    let shop = Workshop::new();
    let mark = shop.path("owned");
    let call = |module: &str| format!("Vcode\nc{module}\nsystem\n(Vtouch {}\ntRs", mark.display());
    for module in ["posix", "os", "nt"] {
        let checkpoint = Checkpoint::open(&pickled(&shop, &(call(module) + &whole("w")))).unwrap();
        assert_eq!(checkpoint.about().not_tensors, ["code"]);
        assert_eq!(checkpoint.tensors().keys().collect::<Vec<_>>(), ["w"]);
        assert_eq!(floats(&checkpoint, "w"), [0.0; 6]);
    }
    // A call that takes a tensor and gives something else in its place.
    let swapped = whole("w").replace("ctorch._utils\n_rebuild_tensor_v2", "cbuiltins\neval");
    let said = error(&pickled(&shop, &swapped)).to_string();
    assert!(said.contains("made.pth is damaged") && said.contains("builtins.eval"), "{said}");
    assert!(!mark.exists());
}

#[test]
fn a_tensor_outside_of_its_storage_is_refused() {
    let shop = Workshop::new();
    for (offset, shape, stride) in [
        (4, [2, 3], [3, 1]),
        (0, [2, 3], [4, 1]),
        (0, [3, 3], [3, 1]),
        (-1, [2, 3], [3, 1]),
        (0, [-2, 3], [3, 1]),
        (0, [2, 3], [-3, 1]),
        (0, [i64::MAX, i64::MAX], [1, 1]),
        (i64::MAX, [2, 3], [3, 1]),
        (0, [2, 3], [i64::MAX, 1]),
    ] {
        let made = pickled(&shop, &view("w", offset, shape, stride));
        let said = error(&made).to_string();
        assert!(said.contains("made.pth is damaged: "), "{offset} {shape:?} {stride:?}: {said}");
    }
    // The pickle promises six floats, the archive has five: known when the tensor is read.
    let short = format!("(dVstate_dict\n(d{}s.", whole("w"));
    let checkpoint = Checkpoint::open(&torch_zip(&shop, &short, CompressionMethod::Stored, &[0; 20])).unwrap();
    let said = checkpoint.read("w").unwrap_err().to_string();
    assert!(said.contains("made.pth is damaged: tensor 'state_dict.w'"), "{said}");
}

#[test]
fn what_would_not_fit_into_memory_is_refused_before_it_is_read() {
    let shop = Workshop::new();
    let refused = |path: &Path| {
        let error = error(path);
        assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error}");
        error.to_string()
    };
    let pickle = format!("(dVstate_dict\n(d{}s.", whole("w"));
    let bomb = torch_zip(&shop, &pickle, CompressionMethod::Deflated, &vec![0; 40 << 20]);
    assert!(refused(&bomb).contains("its zip entries, decompressed, would take 419"));
    let view = pickled(&shop, &view("w", 0, [1 << 15, 1 << 15], [0, 0]));
    assert!(refused(&view).contains("its tensors would take 4294967296 bytes, expected at most 671"));
    // The last entry of the directory claims 2 GB, stored.
    let mut bytes = fs::read(pickled(&shop, &whole("w"))).unwrap();
    let last = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[last + 20..last + 28].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    assert!(refused(&shop.write("made.pth", bytes)).contains("its zip entries would take 2147"));
}

#[test]
fn a_repacked_zip_that_is_compressed_is_read() {
    let shop = Workshop::new();
    let pickle = format!("(dVstate_dict\n(d{}s.", whole("w"));
    let made = torch_zip(&shop, &pickle, CompressionMethod::Deflated, &[0; 24]);
    assert_eq!(floats(&Checkpoint::open(&made).unwrap(), "w"), [0.0; 6]);
}

#[test]
fn names_of_which_only_some_have_the_prefix_are_an_error() {
    let shop = Workshop::new();
    let said = error(&pickled(&shop, &(whole("module.a") + &whole("b")))).to_string();
    assert!(
        said.ends_with("\"module.a\" begins with \"module.\", \"b\" does not; expected all names or none"),
        "{said}"
    );
}

#[test]
fn weights_are_found_where_trainers_put_them() {
    let shop = Workshop::new();
    let found = |pickle: String| {
        let made = torch_zip(&shop, &pickle, CompressionMethod::Stored, &[0; 24]);
        let checkpoint = Checkpoint::open(&made).unwrap();
        let names = checkpoint.tensors().keys().cloned().collect::<Vec<_>>().join(" ");
        (checkpoint.about().key.unwrap_or("-"), names, checkpoint.about().tensors_aside)
    };
    let under = |key: &str, name: &str| format!("V{key}\n(d{}s", whole(name));
    let is = |key: &'static str, names: &str, aside: usize| (key, names.to_owned(), aside);
    assert_eq!(found(format!("(d{}{}.", under("model", "a"), under("state_dict", "b"))), is("state_dict", "b", 1));
    let both = under("state_dict", "a") + &under("state_dict_ema", "b");
    assert_eq!(found(format!("(d{both}.")), is("state_dict_ema", "b", 1));
    assert_eq!(found(format!("(d{}VX\nI1\ns{}.", under("model", "a"), under("ema", "b"))), is("model", "a", 1));
    assert_eq!(found(format!("(d{}.", under("model_state_dict", "a"))), is("model_state_dict", "a", 0));
    for key in ["model_state", "trunk"] {
        assert_eq!(found(format!("(d{}VX\nI1\ns.", under(key, "a"))), is(key, "a", 0));
    }
    let both = under("model", "a") + &under("model_ema", "b");
    assert_eq!(found(format!("(d{both}.")), is("model_ema", "b", 1));
    assert_eq!(found(format!("(d{}{}.", whole("a"), whole("b"))), is("-", "a b", 0));
    assert_eq!(found(format!("(d{}Vlr\nF0.5\ns{}.", whole("a"), under("ema", "b"))), is("-", "a", 1));
    // A module with a part that is called model.
    assert_eq!(found(format!("(d{}{}.", under("model", "a"), under("head", "b"))), is("-", "head.b model.a", 0));
    assert_eq!(found(format!("(d{}{}.", under("trunk", "a"), under("head", "b"))), is("-", "head.b trunk.a", 0));
}

#[test]
fn files_that_are_no_checkpoint_are_named_with_what_they_are() {
    let shop = Workshop::new();
    let torch = fs::read(data("egovlp_tiny.pth")).unwrap();
    let legacy = fs::read(data("odd_legacy.pth")).unwrap();
    let refused = |name: &str, words: &[&str]| {
        let shown = shop.egofx(&format!("checkpoint {name}")).ends_with(2).says(&[name]).says(words);
        assert_eq!(shown.stdout, "");
    };
    fs::create_dir(shop.path("folder.pth")).unwrap();
    shop.write("empty.pth", "");
    shop.write("page.pth", "<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>");
    shop.write("pointer.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    shop.write("text.pth", "404: Not Found");
    shop.write("cut.pth", &torch[..torch.len() / 2]);
    shop.write("cut_legacy.pth", &legacy[..legacy.len() - 9]);
    shop.write("plain.pkl", b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.");
    refused("nowhere.pth", &["cannot read nowhere.pth: No such file"]);
    refused("folder.pth", &["expected a checkpoint (torch.save or safetensors), found a folder"]);
    refused("empty.pth", &["found an empty file"]);
    refused("page.pth", &["found an HTML page", "fetch the file itself"]);
    refused("pointer.pth", &["found a Git LFS pointer"]);
    refused("text.pth", &["found text (\"404: not found\")"]);
    refused(
        "cut.pth",
        &["is cut short", "a zip with its directory at the end", &format!("found {} bytes", torch.len() / 2)],
    );
    refused("cut_legacy.pth", &["is damaged", "extends beyond the end of the file"]);
    refused("plain.pkl", &["found a pickle that torch.save did not write"]);
    let mut zip = ZipWriter::new(File::create(shop.path("other.zip")).unwrap());
    zip.start_file("a.txt", SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
    zip.finish().unwrap();
    refused("other.zip", &["found a zip archive without data.pkl"]);
    torch_zip(&shop, "(lI1\na.", CompressionMethod::Stored, &[]);
    refused("made.pth", &["found one value that torch.save wrote, which is not a dict"]);
    pickled(&shop, "Vepoch\nI3\ns");
    refused(
        "made.pth",
        &[
            "no tensors in state_dict_ema, model_ema, state_dict, model_state_dict, model_state, model, trunk or at the top (found: \"state_dict\")",
        ],
    );
}

#[test]
fn safetensors_that_contradict_themselves_are_refused() {
    let shop = Workshop::new();
    let entry = |name: &str, dtype: &str, start: usize, end: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":[2],"data_offsets":[{start},{end}]}}"#)
    };
    let (first, second) = (entry("a", "F32", 0, 8), entry("b", "F32", 8, 16));
    let whole = format!("{{{first},{second}}}");
    assert_eq!(Checkpoint::open(&safetensors(&shop, &whole, 16)).unwrap().tensors().len(), 2);
    let overlapping = format!("{{{first},{}}}", entry("b", "F32", 4, 12));
    let gap = format!("{{{first},{}}}", entry("b", "F32", 12, 20));
    let wrong_size = format!("{{{}}}", entry("a", "F32", 0, 12));
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
    for (header, bytes, words) in [
        (overlapping.as_str(), 12, "is damaged: its header: "),
        (gap.as_str(), 20, "is damaged: its header: "),
        (wrong_size.as_str(), 12, "is damaged: its header: "),
        (huge, 8, "is damaged: its header: "),
        (r#"{"a":"#, 8, "is damaged: its header: "),
        (whole.as_str(), 15, "is cut short: expected "),
        (whole.as_str(), 17, "is damaged: its header accounts for "),
        (&format!("{{{}}}", entry("a", "U16", 0, 4)), 4, "tensor \"a\" is u16, expected f64, f32, "),
        (r#"{"__metadata__":{"format":"pt"}}"#, 0, "no tensors"),
    ] {
        let made = safetensors(&shop, header, bytes);
        let said = error(&made).to_string();
        assert!(said.contains(&made.display().to_string()) && said.contains(words), "{header}: {said}");
    }
    let mut long = 5000u64.to_le_bytes().to_vec();
    long.extend(b"{\"a\":");
    let said = error(&shop.write("made.safetensors", long)).to_string();
    assert!(said.contains("expected a header of 5000 bytes, found 13 bytes"), "{said}");
}

/// Damage must be an error, or harmless; it must not be a panic, and must not take a large memory.
#[test]
fn no_damaged_byte_and_no_cut_brings_the_reader_down() {
    let shop = Workshop::new();
    let convert =
        |to: &str| shop.egofx(&format!("checkpoint convert {} {to}", data("module.pt").display())).ends_with(0);
    convert("small.pth");
    convert("small.safetensors");
    for path in [shop.path("small.pth"), shop.path("small.safetensors"), data("odd_legacy.pth")] {
        let bytes = fs::read(&path).unwrap();
        let survives = |content: &[u8]| {
            let Ok(checkpoint) = Checkpoint::open(&shop.write("damaged", content)) else { return };
            checkpoint.tensors().keys().for_each(|name| drop(checkpoint.read(name)));
        };
        (0..bytes.len()).step_by(7).for_each(|length| survives(&bytes[..length]));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] = if place % 2 == 0 { 0xff } else { bytes[place] ^ 0x10 };
            survives(&damaged);
        }
    }
}

#[test]
fn seeded_weights_are_made_when_they_are_read() {
    let parameter = |name: &str, shape: &[usize], mean| {
        let init = Init { mean, std: 0.02 };
        ParamSpec { name: name.into(), shape: shape.into(), init }
    };
    let make =
        |seed| Checkpoint::seeded("random", seed, vec![parameter("w", &[3, 4], 0.0), parameter("norm", &[4], 1.0)]);
    let checkpoint = make(1);
    assert_eq!((checkpoint.name(), checkpoint.about().container), ("random", Container::Seeded));
    assert_eq!(checkpoint.tensors()["w"], TensorInfo { dtype: Dtype::F32, shape: vec![3, 4] });
    assert!(floats(&checkpoint, "w").iter().all(|value| value.abs() < 0.035));
    assert!(floats(&checkpoint, "norm").iter().all(|value| (value - 1.0).abs() < 0.035));
    assert!(all(&checkpoint) == all(&make(1)) && all(&checkpoint) != all(&make(2)));
    assert!(
        checkpoint.sha256().unwrap() == make(1).sha256().unwrap()
            && checkpoint.sha256().unwrap() != make(2).sha256().unwrap()
    );
    assert!(matches!(checkpoint.read("x"), Err(CheckpointError::NoTensor { .. })));
}

#[test]
fn a_writer_that_fails_leaves_what_was_there() {
    let shop = Workshop::new();
    let source = open("module.pt");
    let path = shop.write("kept.pth", "before");
    let mut failing = |name: &str| match name {
        "lin.weight" => Err(CheckpointError::NotFloat { found: "nothing" }),
        _ => source.read(name),
    };
    assert!(write_torch(&path, source.tensors(), &mut failing, "").is_err());
    assert!(write_safetensors(&path, source.tensors(), &mut failing, &BTreeMap::new()).is_err());
    let mut other = |_: &str| Ok(Tensor::from_f32(vec![1], &[0.0]));
    let said = write_torch(&path, source.tensors(), &mut other, "").unwrap_err().to_string();
    assert_eq!(said, "tensor \"inner.norm.bias\": 8 bytes were announced, 4 came");
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(shop.leftovers("."), [] as [PathBuf; 0]);
}

#[test]
fn the_same_weights_are_written_as_the_same_bytes() {
    let shop = Workshop::new();
    for name in ["a.pth", "b.pth", "a.safetensors", "b.safetensors"] {
        shop.egofx(&format!("checkpoint convert {} {name}", data("odd.tar").display())).ends_with(0);
    }
    let bytes = |name: &str| fs::read(shop.path(name)).unwrap();
    assert!(bytes("a.pth") == bytes("b.pth") && bytes("a.safetensors") == bytes("b.safetensors"));
}

#[test]
fn the_command_shows_a_checkpoint_to_people_and_machines() {
    let shop = Workshop::new();
    let path = data("egovlp_tiny.pth").display().to_string();
    let shown = shop.egofx(&format!("checkpoint {path}")).ends_with(0).stdout;
    for line in
        ["container                    torch zip\n", "epoch                        1\n", "and 307 more tensors; --all"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(
        shop.egofx(&format!("checkpoint {path} --all")).ends_with(0).stdout.lines().count(),
        shown.lines().count() + 306
    );
    let machine = json(&shop.egofx(&format!("checkpoint {path} --json")).ends_with(0).stdout);
    assert_eq!((&machine["tensor_count"], &machine["parameters"]), (&327.into(), &238_896.into()));
    assert_eq!((&machine["dtypes"]["f32"], machine["tensors"].as_array().unwrap().len()), (&327.into(), 327));
    let last = &machine["tensors"][326];
    assert_eq!((last["dtype"].as_str(), last["name"].as_str()), (Some("f32"), Some("video_model.temporal_embed")));
}

/// The checkpoint `name` with other tensors: `drop` is left out, `add` is put in.
fn altered(shop: &Workshop, name: &str, drop: &[&str], add: &[(&str, Tensor)]) -> PathBuf {
    let mut tensors = all(&open(name));
    drop.iter().for_each(|name| assert!(tensors.remove(*name).is_some(), "{name}"));
    tensors.extend(add.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())));
    let info = |(name, t): (&String, &Tensor)| (name.clone(), TensorInfo { dtype: t.dtype, shape: t.shape.clone() });
    let path = shop.path("altered.safetensors");
    write_safetensors(&path, &tensors.iter().map(info).collect(), &mut |n| Ok(tensors[n].clone()), &BTreeMap::new())
        .unwrap();
    path
}

#[test]
fn the_command_says_of_which_model_a_checkpoint_is_and_what_does_not_fit() {
    let shop = Workshop::new();
    let shown = |path: &Path| {
        let path = path.display();
        let machine = json(&shop.egofx(&format!("checkpoint {path} --json")).ends_with(0).stdout);
        (shop.egofx(&format!("checkpoint {path}")).ends_with(0).stdout, machine)
    };
    for (file, name) in [("egovlp_tiny.pth", "egovlp"), ("egovlpv2_tiny_smallproj.pth", "egovlpv2")] {
        let (text, machine) = shown(&data(file));
        assert!(text.contains(&format!("model                        {name}: EgoVLP")), "{text}");
        assert!(text.contains("every tensor is there"), "{text}");
        assert_eq!((&machine["model"]["name"], &machine["model"]["fits"]), (&name.into(), &true.into()));
    }
    let wide = Tensor::from_f32(vec![33], &[0.0; 33]);
    let drop = ["video_model.norm.weight", "video_model.norm.bias"];
    let add = [("video_model.norm.bias", wide.clone()), ("optimizer.step", wide)];
    let (text, machine) = shown(&altered(&shop, "egovlp_tiny.pth", &drop, &add));
    let said = "egovlp, which it does not fit:\n  1 missing: video_model.norm.weight\n  1 unknown: optimizer.step\n  \
                1 of another shape: video_model.norm.bias is [33], expected [32]\n";
    assert!(text.contains(said), "{text}");
    let expected = serde_json::json!({
        "name": "egovlp", "about": "EgoVLP (NeurIPS 2022, github.com/showlab/EgoVLP)", "fits": false, "fault": null,
        "missing": ["video_model.norm.weight"], "unknown": ["optimizer.step"],
        "shapes": ["video_model.norm.bias is [33], expected [32]"],
    });
    assert_eq!(machine["model"], expected);
}

#[test]
fn a_checkpoint_of_no_known_model_or_without_sizes_is_listed_all_the_same() {
    let shop = Workshop::new();
    let odd = data("odd.tar").display().to_string();
    let text = shop.egofx(&format!("checkpoint {odd}")).ends_with(0).stdout;
    assert!(
        text.contains(
            "model                        none that egofx exports (egovlp, egovlpv2, lavila, slowfast8x8_r101)\n"
        ),
        "{text}"
    );
    assert!(text.contains("\nbf16 "), "{text}");
    let machine = json(&shop.egofx(&format!("checkpoint {odd} --json")).ends_with(0).stdout);
    assert_eq!((&machine["model"], &machine["known_models"][1]), (&serde_json::Value::Null, &"egovlpv2".into()));
    let path = altered(&shop, "egovlp_tiny.pth", &["video_model.pos_embed"], &[]);
    let fault =
        "altered.safetensors is no egovlp checkpoint: video_model.pos_embed is missing, from which its sizes are read";
    let text = shop.egofx(&format!("checkpoint {}", path.display())).ends_with(0).stdout;
    assert!(text.contains(&format!("egovlp, which it does not fit:\n  {fault}\n")), "{text}");
    let machine = json(&shop.egofx(&format!("checkpoint {} --json", path.display())).ends_with(0).stdout);
    assert_eq!((&machine["model"]["fault"], &machine["model"]["fits"]), (&fault.into(), &false.into()));
}

#[test]
fn conversion_overwrites_nothing_unasked_and_wants_a_known_name() {
    let shop = Workshop::new();
    let odd = data("odd.tar").display().to_string();
    shop.egofx(&format!("checkpoint convert {odd} a.pt")).ends_with(0).says(&["a.pt: 17 tensors"]);
    shop.egofx(&format!("checkpoint convert {odd} a.pt"))
        .ends_with(2)
        .says(&["a.pt exists already; --force overwrites it"]);
    shop.egofx(&format!("checkpoint convert {odd} a.pt --force")).ends_with(0);
    shop.egofx(&format!("checkpoint convert {odd} a.bin"))
        .ends_with(2)
        .says(&["expected a name that ends with .safetensors"]);
    shop.egofx(&format!("checkpoint convert {odd} a.safetensors --prefix module."))
        .ends_with(2)
        .says(&["--prefix is for .pth"]);
    shop.egofx("checkpoint convert nowhere.pth b.pt").ends_with(2).says(&["nowhere.pth"]);
    assert!(!shop.path("b.pt").exists());
}
