//! `egofx convert`: what comes out is what other people's code reads, read here with Python and its own rules.

use std::fs;
use std::path::Path;

use egofx::store::RowKind;
use serde_json::{Value, json};

use crate::support;
use crate::support::stores;
use crate::support::stores::{Made, contract, store};
use crate::support::{Workshop, checkout, python};

/// What the Python programs begin with.
const TORCH_FILES: &str = include_str!("../support/torch_files.py");

pub(super) fn run_python(shop: &Workshop, program: &str) -> Value {
    shop.write("torch_files.py", TORCH_FILES);
    let path =
        "import json, sys; sys.path.insert(0, '.'); import numpy as np; from torch_files import load, structure\n";
    python(shop, &(path.to_owned() + program))
}

/// Rows of a unit as Python prints them: bits of single precision.
fn rows(unit: &str, rows: usize, dim: usize) -> Value {
    let values = stores::values(unit, rows, dim);
    json!(values.outer_iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect::<Vec<Vec<u32>>>())
}

/// The same, row by row.
fn rows_of(unit: &str, count: usize, dim: usize) -> Vec<Value> {
    rows(unit, count, dim).as_array().unwrap().clone()
}

/// In Python: the bits of an array of single precision.
pub(super) const BITS: &str = "bits = lambda a: np.ascontiguousarray(a).view('<u4').tolist()\n";

/// Windows of three clips of the golden annotations, their fused windows and tokens, and the tables.
pub(super) fn nlq() -> Workshop {
    let shop = Workshop::new();
    let annotations = checkout().join("tests/data/annotations/nlq_golden.json");
    let run = shop.egofx(&format!("manifest nlq --annotations {} -o nlq.csv --json", annotations.display()));
    run.ends_with(0).says(&["queries without a text"]);
    let clips = [
        Made::windows("clip-0001", "vid-aaaa", Some((0.0, 480.0)), 897),
        Made::windows("clip-0002", "vid-aaaa", Some((480.0021, 960.0021)), 10),
        Made::windows("clip-0003", "vid-bbbb", Some((0.0, 216.4333)), 100),
    ];
    store(&shop.path("out"), &contract("windows", RowKind::Window, 5, 1.87), &clips);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let of = |clip: &str| clips.iter().find(|made| made.unit == clip).unwrap().clone();
    let fused = queries.iter().map(|query| of(query.clip_uid.as_str()).fused(query.id));
    store(&shop.path("out"), &contract("fused", RowKind::FusedWindow, 6, 1.87), &fused.collect::<Vec<_>>());
    let tokens = ["vid-aaaa", "vid-bbbb"].map(|video| {
        let about = queries.iter().filter(|query| of(query.clip_uid.as_str()).video == video);
        let tokens = about.flat_map(|query| (0..8).map(move |token| (Some(query.id.to_owned()), token >= 6)));
        Made { clip: None, span: None, rows: tokens.collect(), ..Made::windows(video, video, None, 0) }
    });
    store(&shop.path("out"), &contract("tokens", RowKind::Token, 4, 0.0), &tokens);
    shop
}

#[test]
fn a_clip_goes_from_video_to_a_tensor() {
    let shop = Workshop::with_recipe();
    shop.clip("v.mp4", 100);
    shop.manifest(&["v.mp4"]);
    shop.extract("out", "").ends_with(0);
    // The contract's 3.75 rows a second are those of 30 frames a second; this clip has 25.
    let refused = shop.egofx("convert out/rows --to egovlp-pt -o pt").ends_with(2);
    refused.says(&["unit v: row 6 begins at 1.92 s, and 3.75 rows a second put it at 1.60 s"]);
    let run = shop.egofx("convert out/rows --to egovlp-pt -o pt --json --allow-drift").ends_with(0);
    let said = support::json(&run.stdout);
    assert_eq!((&said["written"]["units"], &said["written"]["rows"]), (&json!(1), &json!(13)), "{run}");
    assert_eq!(said["source"]["contract"]["feature_set"], "rows");
    assert!(said["source"]["contract"]["fingerprint"].as_str().is_some_and(|text| text.len() == 64));
    let found = run_python(
        &shop,
        &format!(
            "{BITS}import h5py\nt = load('pt/v.pt'); h = h5py.File('out/rows/units/v.h5')['features'][:]\n\
             assert structure(t) == structure(load('{}')) == '<f4[2]', structure(t)\n\
             print(json.dumps([bits(t) == bits(h), list(t.shape), json.load(open('pt/feature_shapes.json'))]))",
            checkout().join("tests/data/convert/egovlp_clip.pt").display()
        ),
    );
    assert_eq!(found, json!([true, [13, 32], {"v": 13}]));
}

#[test]
fn egovlp_files_hold_the_rows_and_its_zero_tail_only_when_asked_for() {
    let shop = nlq();
    shop.egofx("convert out/windows --to egovlp-pt -o pt").ends_with(0);
    shop.egofx("convert out/windows --to egovlp-pt -o zero --zero-tail").ends_with(0);
    let program = format!(
        "{BITS}a, b = load('pt/clip-0001.pt'), load('zero/clip-0001.pt')\n\
         assert (a[:896] == b[:896]).all() and not b[896:].any() and a[896].any()\n\
         meta = json.load(open('zero/egofx.json'))\n\
         assert meta['options']['zero_tail'] is True and meta['format'] == 'egovlp-pt'\n\
         print(json.dumps([bits(load('pt/clip-0003.pt')), json.load(open('pt/feature_shapes.json'))]))"
    );
    let found = run_python(&shop, &program);
    assert_eq!(found[0], rows("clip-0003", 100, 5));
    assert_eq!(found[1], json!({"clip-0001": 897, "clip-0002": 10, "clip-0003": 100}));
}

#[test]
fn vslnet_gets_the_annotations_that_its_own_preparation_writes() {
    let shop = nlq();
    let run = shop.egofx("convert --to vslnet-json --queries nlq.queries.csv -m nlq.csv -o json").ends_with(0);
    run.says(&["no queries for train.json, test.json"]);
    let written: Value = support::json(&fs::read_to_string(shop.path("json/val.json")).unwrap());
    let golden = fs::read_to_string(checkout().join("tests/data/annotations/nlq_converted.json")).unwrap();
    assert_eq!(written, support::json(&golden));
    let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&written), order(&support::json(&golden)));
    shop.egofx("convert --to vslnet-json -m nlq.csv -o beside").ends_with(0);
    assert_eq!(fs::read(shop.path("json/val.json")).unwrap(), fs::read(shop.path("beside/val.json")).unwrap());
    // Without a manifest, where the clips lie stands in the feature set.
    shop.egofx("convert out/windows --to vslnet-json --queries nlq.queries.csv -o again").ends_with(0);
    assert_eq!(fs::read(shop.path("json/val.json")).unwrap(), fs::read(shop.path("again/val.json")).unwrap());
    let run = shop.egofx("convert --to vslnet-json --queries nlq.queries.csv -o nowhere").ends_with(2);
    run.says(&["clip clip-0001: expected its start and end in the video, found none in no manifest (-m FILE)"]);
}

#[test]
fn egovlpv2_gets_a_dict_per_query_with_the_types_of_the_original() {
    let shop = nlq();
    let command = "convert out/fused --to egovlpv2-nlq --tokens out/tokens --queries nlq.queries.csv -o v2";
    shop.egofx(command).ends_with(0);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let program = format!(
        "{BITS}original = load('{}')\n\
         import os\n\
         names = sorted(os.listdir('v2/val'), key=lambda name: int(name[5:-3]))\n\
         out = []\n\
         for name in names:\n\
         \x20   d = load('v2/val/' + name)\n\
         \x20   assert structure(d) == structure(original) and list(d) == list(original), structure(d)\n\
         \x20   plain = {{k: v.item() if getattr(v, 'shape', 1) == () else v for k, v in d.items() if not k.endswith('features')}}\n\
         \x20   plain['text_token'] = plain['text_token']['attention_mask'].tolist()\n\
         \x20   out.append(dict(plain, video=bits(d['fused_video_features']), text=bits(d['dual_text_features'])))\n\
         print(json.dumps(out))",
        checkout().join("tests/data/convert/egovlpv2_feat_0.pt").display()
    );
    let found = run_python(&shop, &program);
    assert_eq!(found.as_array().unwrap().len(), queries.len());
    for (number, (query, dict)) in queries.iter().zip(found.as_array().unwrap()).enumerate() {
        assert_eq!(dict["sample_id"], number);
        assert_eq!(dict["vid"], query.clip_uid.as_str());
        let count = dict["video"].as_array().unwrap().len();
        assert_eq!(dict["video"], rows(query.id, count, 6));
        assert_eq!(dict["v_len"], count.min(256));
        assert_eq!(dict["text_token"], json!([[1, 1, 1, 1, 1, 1, 0, 0]]));
        assert_eq!(dict["text"][0].as_array().unwrap().len(), 8);
    }
    let first = &found[0];
    let labels = ["s_time", "e_time", "duration", "s_ind", "e_ind"].map(|name| first[name].as_f64().unwrap());
    assert_eq!(labels, [9.6, 13.866666666666667, 480.0, 5.0, 6.0], "as the original reckons them");
    assert_eq!(first["query"], "where was the cup before i wiped the table?");
    let text = stores::values("vid-aaaa", 16, 4);
    let second: Vec<u32> = text.row(8).iter().map(|value| value.to_bits()).collect();
    assert_eq!(found[1]["text"][0][0], json!(second), "the tokens of the second query follow those of the first");
}

#[test]
fn ego4d_gets_whole_videos_and_the_cut_of_its_own_baseline() {
    let shop = nlq();
    let videos = [Made::windows("vid-aaaa", "vid-aaaa", None, 1801), Made::windows("vid-bbbb", "vid-bbbb", None, 300)];
    store(&shop.path("out"), &contract("slowfast", RowKind::Window, 3, 1.875), &videos);
    shop.egofx("convert out/slowfast --to ego4d-pt -m nlq.csv -o ego4d").ends_with(0).says(&["3 clips cut out"]);
    let program = format!(
        "{BITS}a = load('ego4d/vid-aaaa.pt')\n\
         parts = {{name: load('ego4d/clips/' + name + '.pt') for name in ('clip-0001', 'clip-0002', 'clip-0003')}}\n\
         assert bits(parts['clip-0001']) == bits(a[:901]) and bits(parts['clip-0002']) == bits(a[900:1801])\n\
         print(json.dumps([len(a), json.load(open('ego4d/clips/feature_shapes.json'))]))"
    );
    // 216.4333 s of 1.875 rows: up to row 405, of 300 that there are.
    assert_eq!(run_python(&shop, &program), json!([1801, {"clip-0001": 901, "clip-0002": 901, "clip-0003": 300}]));
    let run = shop.egofx("convert out/windows --to ego4d-pt -o clips").ends_with(2);
    run.says(&["ego4d-pt takes whole videos, unit clip-0001 is a part of one"]);
}

#[test]
fn actionformer_gets_arrays_and_a_database() {
    let shop = Workshop::new();
    let annotations = checkout().join("tests/data/annotations/mq_golden.json");
    shop.egofx(&format!("manifest mq --annotations {} -o mq.csv", annotations.display()));
    let manifest = egofx::manifest::Manifest::read(&shop.path("mq.csv")).unwrap();
    let units: Vec<Made> = manifest
        .videos
        .iter()
        .flat_map(|video| video.clips.iter().map(move |clip| (video, clip)))
        .map(|(video, clip)| {
            let span = clip.span.map(|span| (span.start_sec, span.end_sec));
            Made::windows(clip.uid.as_str(), video.uid.as_str(), span, 20)
        })
        .collect();
    store(&shop.path("out"), &contract("mq", RowKind::Window, 3, 1.87), &units[1..]);
    let run = shop.egofx("convert out --to actionformer-npy --queries mq.queries.csv -m mq.csv -o af").ends_with(0);
    run.says(&["1 clips with queries have no features and are left out"]);
    let program = format!(
        "{BITS}import glob, os\n\
         arrays = {{os.path.basename(p)[:-4]: bits(np.load(p)) for p in glob.glob('af/*.npy')}}\n\
         db = json.load(open('af/ego4d_database.json'))['database']\n\
         print(json.dumps([arrays, db, json.load(open('af/classes.json'))]))"
    );
    let found = run_python(&shop, &program);
    let names: Vec<&str> = units[1..].iter().map(|made| made.unit.as_str()).collect();
    for name in &names {
        assert_eq!(found[0][name], rows(name, 20, 3));
    }
    let database = found[1].as_object().unwrap();
    assert!(!database.contains_key(&units[0].unit) && !database.is_empty());
    for record in database.values() {
        assert_eq!((&record["fps"], &record["subset"]), (&json!(30.0), &json!("validation")));
        assert!(record["duration"].as_f64().is_some_and(|sec| sec > 0.0));
        for moment in record["annotations"].as_array().unwrap() {
            assert_eq!(found[2][moment["label"].as_str().unwrap()], moment["label_id"]);
            assert!(moment["segment"][1].as_f64() > moment["segment"][0].as_f64());
        }
    }
    shop.write("classes.json", r#"{"Background": 0, "use_phone": 1}"#);
    let command = "convert out --to actionformer-npy --queries mq.queries.csv -m mq.csv --classes classes.json -o af2";
    shop.egofx(command).ends_with(2).says(&["classes.json: no class is called"]);
    assert!(!shop.path("af2").exists());
}

/// MQ's labels of three splits, and windows of their clips.
fn mq() -> Workshop {
    let shop = Workshop::new();
    let label = |name: &str, primary: Value, start: f64, end: f64| json!({"label": name, "primary": primary, "start_time": start, "end_time": end});
    let clip = |uid: &str, start: f64, labels: Value| json!({"clip_uid": uid, "video_start_sec": start, "video_end_sec": start + 480.0, "annotations": [{"labels": labels}]});
    let file = |split: &str, video: &str, clips: Value| {
        let videos = json!({"videos": [{"video_uid": video, "split": split, "clips": clips}]});
        shop.write(&format!("moments_{split}.json"), videos.to_string());
    };
    let train = json!([
        clip(
            "t1",
            0.0,
            json!([label("use_phone", json!(true), 1.0, 9.5), label("\"cut_/_chop\"", json!(true), 20.0, 20.0)])
        ),
        clip(
            "t2",
            480.0,
            json!([label("read_book", json!(false), 1.0, 2.0), label("read_book", Value::Null, 3.0, 4.0)])
        ),
    ]);
    file("train", "v1", train);
    file("val", "v2", json!([clip("c1", 5.0, json!([label("read_book", json!(true), 2.0, 30.0)]))]));
    file("test", "v3", json!([clip("x1", 0.0, json!([]))]));
    let files = ["train", "val", "test"].map(|split| format!("--annotations moments_{split}.json")).join(" ");
    shop.egofx(&format!("manifest mq {files} -o mq.csv")).ends_with(0);
    let clips = [("t1", "v1", 0.0), ("t2", "v1", 480.0), ("c1", "v2", 5.0), ("x1", "v3", 0.0)];
    let made: Vec<Made> = clips
        .iter()
        .map(|(clip, video, start)| Made::windows(clip, video, Some((*start, start + 480.0)), 900))
        .collect();
    store(&shop.path("out"), &contract("mq", RowKind::Window, 3, 1.875), &made);
    shop
}

/// What ActionFormer's reader keeps of the database for the `train_split` and `val_split` of its Ego4D configurations.
#[test]
fn actionformers_configurations_find_their_splits() {
    let shop = mq();
    let run = shop.egofx("convert out/mq --to actionformer-npy -m mq.csv -o af").ends_with(0);
    run.says(&["2 labels that are not primary", "1 labels without a window that holds something", "2 classes occur"]);
    let program = "import os\n\
        db = json.load(open('af/ego4d_database.json'))['database']\n\
        def loaded(split):\n\
        \x20   found = {k: v for k, v in db.items() if v['subset'].lower() in split and os.path.exists(f'af/{k}.npy')}\n\
        \x20   return {k: [[a['segment'], a['label_id']] for a in v['annotations']] for k, v in found.items()}\n\
        print(json.dumps([loaded(['training']), loaded(['validation']), loaded(['test'])]))";
    let found = run_python(&shop, program);
    assert_eq!(found, json!([{"t1": [[[1.0, 9.5], 1]]}, {"c1": [[[2.0, 30.0], 0]]}, {"x1": []}]));
}

/// What VSGN's reader takes: clips by `subset`, which it looks for in "train" and in "validation", and classes by number.
#[test]
fn vsgn_gets_its_annotations_and_classes() {
    let shop = mq();
    let run = shop.egofx("convert out/mq --to egovlp-pt -m mq.csv -o pt").ends_with(0);
    run.says(&["1 clips without a primary label are left out of clip_annotations.json"]);
    let read = "def read(folder):\n\
        \x20   clips = json.load(open(folder + '/clip_annotations.json')); classes = json.load(open(folder + '/moment_classes_idx.json'))\n\
        \x20   out = {}\n\
        \x20   for split in ('train', 'validation', 'test'):\n\
        \x20       for name, info in clips.items():\n\
        \x20           if info['subset'] in split:\n\
        \x20               rows = len(load(folder + '/' + (info['clip_id'] if folder == 'pt' else info['video_id']) + '.pt'))\n\
        \x20               boxes = [[a['start_time'], a['end_time'], classes[a['label']]] for a in info['annotations']]\n\
        \x20               out.setdefault(split, {})[name] = [rows, info['fps'], info['parent_end_sec'] - info['parent_start_sec'], boxes]\n\
        \x20   return [out, classes]\n";
    let found = run_python(&shop, &format!("{read}print(json.dumps(read('pt')))"));
    let classes = json!({"Background": 0, "\"cut_/_chop\"": 1, "read_book": 2, "use_phone": 3});
    let boxes = json!({
        "train": {"t1": [900, 1.875, 480.0, [[1.0, 9.5, 3], [20.0, 20.0, 1]]]},
        "validation": {"c1": [900, 1.875, 480.0, [[2.0, 30.0, 2]]]},
        "test": {"x1": [900, 1.875, 480.0, []]},
    });
    assert_eq!(found, json!([boxes, classes]));
    // Ego4D's own takes whole videos, and cuts clips out of them by their rate.
    let videos = [("v1", 1800), ("v2", 1000), ("v3", 900)].map(|(video, rows)| Made::windows(video, video, None, rows));
    store(&shop.path("out"), &contract("slowfast", RowKind::Window, 3, 1.875), &videos);
    shop.egofx("convert out/slowfast --to ego4d-pt -m mq.csv -o ego4d").ends_with(0);
    let found = run_python(&shop, &format!("{read}print(json.dumps(read('ego4d')))"));
    assert_eq!((&found[0]["train"]["t1"][0], &found[0]["train"]["t1"][1]), (&json!(1800), &json!(1.875)));
    assert_eq!(found[1], classes);
    // Classes as somebody has numbered them, and a table that is not of MQ.
    shop.write("idx.json", r#"{"Background": 0, "use_phone": 1, "read_book": 2, "\"cut_/_chop\"": 3, "wash": 4}"#);
    shop.egofx("convert out/mq --to egovlp-pt -m mq.csv --classes idx.json -o numbered").ends_with(0);
    let classes = support::json(&fs::read_to_string(shop.path("numbered/moment_classes_idx.json")).unwrap());
    assert_eq!(classes, support::json(&fs::read_to_string(shop.path("idx.json")).unwrap()));
    let nlq = nlq();
    nlq.egofx("convert out/windows --to egovlp-pt -m nlq.csv -o pt").ends_with(0);
    assert!(!nlq.path("pt/clip_annotations.json").exists());
}

#[test]
fn groundnlq_gets_maps_of_arrays_by_clip_and_by_query() {
    let shop = nlq();
    let command =
        "convert out/windows --to groundnlq-lmdb --tokens out/tokens --queries nlq.queries.csv -m nlq.csv -o g";
    shop.egofx(command).ends_with(0);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let get = |map: &str, key: &str| -> Vec<u8> {
        let folder = shop.path("g").join(map);
        assert!(!folder.join("lock.mdb").exists());
        // SAFETY: nothing else has this map open.
        let env = unsafe { heed::EnvOpenOptions::new().open(&folder) }.unwrap();
        let mut value = None;
        let read = env.open_databases_and_commit(env.read_txn().unwrap(), |unnamed, txn| {
            let values = unnamed.open_database::<heed::types::Str, heed::types::Bytes>(txn, None)?.unwrap();
            value = values.get(txn, key)?.map(<[u8]>::to_owned);
            Ok::<_, heed::Error>(heed::CommitOrAbort::<(), ()>::Commit(()))
        });
        read.unwrap();
        env.prepare_for_closing().wait();
        fs::remove_file(folder.join("lock.mdb")).unwrap();
        value.unwrap()
    };
    let header = fs::read(shop.path("g/video_features/data.mdb")).unwrap();
    // Magic and version of the meta page, behind the page's own header of 16 bytes.
    assert_eq!(header[16..24], [0xde, 0xc0, 0xef, 0xbe, 1, 0, 0, 0], "LMDB's format 1");
    shop.write("clip.npz", get("video_features", "clip-0003"));
    shop.write("query.npz", get("text_features", queries.get(1).unwrap().id));
    let program = format!(
        "{BITS}v = np.load('clip.npz')['features']; q = np.load('query.npz')['token_features']\n\
         lines = [json.loads(line) for line in open('g/nlq_val.jsonl')]\n\
         print(json.dumps([bits(v), q.shape, bits(q)[0], lines]))"
    );
    let found = run_python(&shop, &program);
    assert_eq!(found[0], rows("clip-0003", 100, 5));
    assert_eq!(found[1], json!([6, 4]), "without what only fills up");
    let second: Vec<u32> = stores::values("vid-aaaa", 16, 4).row(8).iter().map(|value| value.to_bits()).collect();
    assert_eq!(found[2], json!(second));
    assert_eq!(found[3].as_array().unwrap().len(), queries.len());
    assert_eq!(
        found[3][0],
        json!({"query": "Where was the cup before I wiped the table?", "query_id": "ann-01_0", "duration": 480.0,
               "video_id": "clip-0001", "query_type": "nlq", "timestamps": [[10.0, 14.0]]})
    );
}

#[test]
fn snag_gets_arrays_by_clip_and_by_query_and_annotations_of_both() {
    let shop = nlq();
    let command = "convert out/windows --to snag --tokens out/tokens --queries nlq.queries.csv -m nlq.csv -o s";
    shop.egofx(command).ends_with(0);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let program = format!(
        "{BITS}v = np.load('s/video/clip-0003.npy'); q = np.load('s/text/{}.npy')\n\
         print(json.dumps([bits(v), q.shape, bits(q)[0], json.load(open('s/annotations.json'))]))",
        queries.get(1).unwrap().id
    );
    let found = run_python(&shop, &program);
    assert_eq!(found[0], rows("clip-0003", 100, 5));
    assert_eq!(found[1], json!([6, 4]), "without what only fills up");
    let second: Vec<u32> = stores::values("vid-aaaa", 16, 4).row(8).iter().map(|value| value.to_bits()).collect();
    assert_eq!(found[2], json!(second));
    let clip = &found[3]["val"]["clip-0001"];
    let about = ["fps", "num_frames", "num_clips", "duration"].map(|key| clip[key].as_f64().unwrap());
    assert_eq!(about, [30.0, 14400.0, 897.0, 480.0]);
    assert_eq!(
        clip["annotations"][0],
        json!({"segment": [10.0, 14.0], "sentence": "Where was the cup before I wiped the table?", "sentence_id": "ann-01_0"})
    );
    let clips = found[3]["val"].as_object().unwrap();
    let listed: usize = clips.values().map(|clip| clip["annotations"].as_array().unwrap().len()).sum();
    assert_eq!(listed, queries.iter().filter(|query| query.start_sec.is_some()).count());
    shop.egofx("convert out/windows --to snag --tokens out/tokens -o t").ends_with(2).says(&["--queries FILE"]);
}

#[test]
fn a_clip_without_features_is_said_and_left_out_of_groundnlqs_list() {
    let shop = nlq();
    let one = [Made::windows("clip-0003", "vid-bbbb", Some((0.0, 216.4333)), 100)];
    store(&shop.path("few"), &contract("windows", RowKind::Window, 5, 1.87), &one);
    let run = shop.egofx("convert few --to groundnlq-lmdb --queries nlq.queries.csv -m nlq.csv -o g").ends_with(0);
    run.says(&["note: 6 queries about clips without features are left out"]);
    assert_eq!(fs::read_to_string(shop.path("g/nlq_val.jsonl")).unwrap().lines().count(), 2);
}

/// Reads `sentence.npy` without torch: the old form of `torch.save` that lies in it, and no other name than the original's.
pub(super) const SENTENCES: &str = r#"
import io, pickle
class Legacy(pickle.Unpickler):
    def find_class(self, module, name):
        assert module == "torch" and name == "FloatStorage", (module, name)
        return name
    def persistent_load(self, reference):
        return reference
def load_from_bytes(data):
    file = io.BytesIO(data)
    magic, version, system = (pickle.load(file) for _ in range(3))
    assert (magic, version, system["little_endian"]) == (0x1950A86A20F9469CFC6C, 1001, True)
    kind, storage, key, location, count, view = Legacy(file).load()
    assert (kind, location, view, pickle.load(file)) == ("storage", "cpu", None, [key])
    assert int.from_bytes(file.read(8), "little") == count
    values = np.frombuffer(file.read(), "<f4")
    assert len(values) == count
    return values
class Names(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return load_from_bytes
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            from torch_files import rebuild
            return rebuild
        allowed = [("collections", "OrderedDict"), ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct")]
        assert (module, name) in allowed, (module, name)
        return super().find_class(module, name)
def sentences(path):
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        assert (shape, dtype) == ((), np.dtype("O"))
        array = Names(file).load()
    assert array.shape == () and array.dtype == object
    return array.item()
"#;

#[test]
fn sentences_and_their_tokens_are_a_dict() {
    let shop = nlq();
    for format in ["egovlp-text-pt", "egovlp-text-npy"] {
        shop.egofx(&format!("convert out/tokens --to {format} --queries nlq.queries.csv -o {format}")).ends_with(0);
    }
    let program = format!(
        "{BITS}{SENTENCES}d, n = load('egovlp-text-pt/val/sentence.pt'), sentences('egovlp-text-npy/val/sentence.npy')\n\
         assert list(d) == list(n) and all(bits(d[k]) == bits(n[k]) for k in d)\n\
         o = sentences('{}'); assert structure(o) == {{k: '<f4[2]' for k in o}} and set(structure(n).values()) == {{'<f4[2]'}}\n\
         print(json.dumps([list(d), {{k: bits(v)[0] for k, v in d.items()}}, {{str(v.shape) for v in d.values()}} == {{'(4, 4)'}}]))",
        checkout().join("tests/data/convert/egovlp_sentences.npy").display()
    );
    let found = run_python(&shop, &program);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    assert_eq!(found[0], json!(queries.iter().map(|query| query.text).collect::<Vec<_>>()));
    let first: Vec<u32> = stores::values("vid-aaaa", 2, 4).row(1).iter().map(|value| value.to_bits()).collect();
    assert_eq!(found[1][queries.get(0).unwrap().text], json!(first), "without the tower's own first token");
    assert_eq!(found[2], true, "eight tokens, two of them filling up, two the tower's own");
}

#[test]
fn of_a_sentence_that_occurs_twice_the_first_counts() {
    let shop = Workshop::new();
    let rows = ["q_0", "q_1", "q_2"].map(|id| (Some(id.to_owned()), false)).to_vec();
    let unit = Made { clip: None, rows, ..Made::windows("v", "v", None, 0) };
    store(&shop.path("out"), &contract("pooled", RowKind::Query, 4, 0.0), &[unit]);
    let table = "query_id,clip_uid,text,start_sec,end_sec\nq_0,v,What?,,\nq_1,v,Where?,,\nq_2,v,What?,,\n";
    shop.write("q.csv", table);
    let run = shop.egofx("convert out --to egovlp-text-npy --queries q.csv -o npy").ends_with(0);
    run.says(&["note: 1 queries with the sentence of an earlier one"]);
    let program = format!(
        "{BITS}{SENTENCES}print(json.dumps({{k: bits(v) for k, v in sentences('npy/all/sentence.npy').items()}}))"
    );
    let bits = rows_of("v", 3, 4);
    assert_eq!(run_python(&shop, &program), json!({"What?": [bits[0]], "Where?": [bits[1]]}));
    shop.write("q.csv", format!("{table}q_3,v,Who?,,\n"));
    let run = shop.egofx("convert out --to egovlp-text-npy --queries q.csv -o more").ends_with(2);
    run.says(&["no features of query \"q_3\""]);
}

/// From a video and sentences by a tiny EgoVLPv2 to what its own head is trained on.
#[test]
fn fused_features_go_from_video_to_the_dicts_of_egovlpv2() {
    let shop = Workshop::new();
    shop.clip("v.mp4", 60);
    shop.write("all.csv", "video_uid,path,clip_uid,start_sec,end_sec\nv,v.mp4,c1,0,1.2\nv,v.mp4,c2,0.8,2.4\n");
    let head = "query_id,clip_uid,text,start_sec,end_sec,split,annotation_uid,query_idx\n";
    let rows =
        "a_0,c1,Where is the cup?,0,1,train,a,0\na_1,c2,  Did I wash it? ,,,test,a,1\nb_0,c2,Who,0.5,1.5,train,b,0\n";
    shop.write("all.queries.csv", format!("{head}{rows}"));
    let specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"].map(str::to_owned);
    let bytes = ('!'..='~').map(String::from).chain(["\u{120}".to_owned()]);
    let words: serde_json::Map<String, Value> =
        specials.into_iter().chain(bytes).enumerate().map(|(id, word)| (word, json!(id))).collect();
    fs::create_dir(shop.path("words")).unwrap();
    shop.write("words/vocab.json", Value::Object(words).to_string());
    shop.write("words/merges.txt", "#version: 0.2\n");
    shop.models();
    let frames = "[grid]\nkind = \"egovlp\"\nframes = 4\n[transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n";
    let text = "[text]\nmodel = \"egovlpv2\"\nrule = \"nlq\"\n";
    let fusion = "[fusion]\nlower_video = \"egovlpv2_lower_video\"\nlower_text = \"egovlpv2_lower_text\"\n";
    let recipe = |name: &str, backbone: &str, feature: &str, tables: &str| {
        let head = format!("backbone = \"{backbone}\"\nfeature = \"{feature}\"\ncompat = \"fixed\"\n");
        shop.write(&format!("{name}.toml"), format!("{head}{tables}[output]\nformat = \"hdf5\"\ndtype = \"f32\"\n"));
    };
    recipe("fused", "egovlpv2_upper", "class", &format!("{frames}{text}{fusion}"));
    recipe("tokens", "egovlpv2_text", "hidden", text);
    let run = shop.egofx("extract -m all.csv -p fused.toml -p tokens.toml --models models --tokenizer words -o out");
    run.ends_with(0);
    let convert = "convert out/fused --to egovlpv2-nlq --tokens out/tokens --queries all.queries.csv -m all.csv -o v2";
    shop.egofx(convert).ends_with(0);
    let program = format!(
        "{BITS}import h5py\noriginal = load('{}')\nout = []\n\
         for name, query, video in (('train/feat_0', 'a_0', 0), ('train/feat_1', 'b_0', 2), ('test/feat_0', 'a_1', 1)):\n\
         \x20   d = load('v2/' + name + '.pt')\n\
         \x20   assert structure(d) == structure(original)\n\
         \x20   fused = h5py.File('out/fused/units/' + query + '.h5'); tokens = h5py.File('out/tokens/units/v.h5')\n\
         \x20   own = tokens['query_id'][:] == query.encode()\n\
         \x20   assert bits(d['fused_video_features']) == bits(fused['features'][:])\n\
         \x20   assert bits(d['dual_text_features'][0]) == bits(tokens['features'][:][own])\n\
         \x20   assert d['text_token']['attention_mask'][0].tolist() == (1 - tokens['padded'][:][own]).tolist()\n\
         \x20   out.append([d['query'], d['s_ind'].item(), d['e_ind'].item(), d['v_len'].item(), list(d['dual_text_features'].shape[:2])])\n\
         print(json.dumps(out))",
        checkout().join("tests/data/convert/egovlpv2_feat_0.pt").display()
    );
    let found = run_python(&shop, &program);
    let texts: Vec<&Value> = found.as_array().unwrap().iter().map(|dict| &dict[0]).collect();
    assert_eq!(json!(texts), json!(["where is the cup?", "who?", "did i wash it?"]));
    assert!(found.as_array().unwrap().iter().all(|dict| dict[4] == json!([1, 30])), "{found}");
    assert_eq!((&found[2][1], &found[2][2]), (&json!(0), &json!(0)), "a query without a window is at the beginning");
}

#[test]
fn qfvs_gets_packed_shots_for_each_pair_of_concepts() {
    let shop = Workshop::new();
    for folder in ["oracle/P01", "oracle/P03", "tags/P01", "tags/P03"] {
        fs::create_dir_all(shop.path(folder)).unwrap();
    }
    shop.write("oracle/P01/Cupglass_Desk_oracle.txt", "1\n3\n12\n");
    shop.write("oracle/P01/Desk_Sky_oracle.txt", "2\n");
    shop.write("oracle/P03/Desk_Sky_oracle.txt", "5\n");
    let tags = |shots: usize| {
        (0..shots).map(|shot| if shot % 3 == 0 { "Desk,Hat\n" } else { "Cupglass\n" }).collect::<String>()
    };
    shop.write("tags/P01/P01.txt", tags(12));
    shop.write("tags/P03/P03.txt", tags(8));
    shop.egofx("manifest qfvs --annotations oracle -o qfvs.csv").ends_with(0);
    let videos = [Made::windows("P01", "P01", None, 12), Made::windows("P03", "P03", None, 8)];
    store(&shop.path("out"), &contract("shots", RowKind::Window, 4, 0.2), &videos);
    let queries = egofx::queries::Queries::read(&shop.path("qfvs.queries.csv")).unwrap();
    let fused = queries.iter().map(|query| {
        let video = videos.iter().find(|made| made.unit == query.clip_uid.as_str()).unwrap();
        video.clone().fused(query.id)
    });
    store(&shop.path("out"), &contract("fused", RowKind::FusedWindow, 6, 0.2), &fused.collect::<Vec<_>>());
    let command = "convert out/fused --to qfvs-pt --shots out/shots --tags tags -m qfvs.csv -o pt";
    shop.egofx(command).ends_with(0);
    let program = format!(
        "{BITS}d = load('pt/EgoVLPv2_features.pt')\n\
         types = {{'seg_len': '<i4[1]', 'concept1_GT': '<f4[1]', 'concept2_GT': '<f4[1]', 'mask_GT': '|b1[1]', 'oracle_summary': '<f4[1]'}}\n\
         types |= {{f'fusedfeat_{{n}}_batched_list': '<f4[3]' for n in ('concept1', 'concept2', 'oracle')}}\n\
         assert list(d) == ['1', '2', '3', '4'] and d['2'] == d['4'] == []\n\
         out = []\n\
         for entry in d['1'] + d['3']:\n\
         \x20   assert structure(entry) == types, structure(entry)\n\
         \x20   flat = lambda a: np.concatenate([a[i, :n] for i, n in enumerate(entry['seg_len'])])\n\
         \x20   parts = [entry[f'fusedfeat_{{n}}_batched_list'] for n in ('concept1', 'concept2', 'oracle')]\n\
         \x20   assert all(p.shape == (20, 200, 6) and (p != 0).any(axis=2).sum() == entry['seg_len'].sum() for p in parts)\n\
         \x20   marks = [np.flatnonzero(entry[n]).tolist() for n in ('concept1_GT', 'concept2_GT', 'mask_GT', 'oracle_summary')]\n\
         \x20   assert all(len(entry[n]) == 4000 for n in ('concept1_GT', 'mask_GT', 'oracle_summary'))\n\
         \x20   out.append([marks, [bits(flat(p)) for p in parts]])\n\
         print(json.dumps([out, len(d['1'])]))"
    );
    let found = run_python(&shop, &program);
    assert_eq!(found[1], 2);
    let (desk, cup): (Vec<usize>, Vec<usize>) = (0..12).partition(|shot| shot % 3 == 0);
    let all: Vec<usize> = (0..12).collect();
    assert_eq!(found[0][0][0], json!([cup, desk, all, [0, 2, 11]]));
    assert_eq!(found[0][2][0], json!([[0, 3, 6], [], [0, 1, 2, 3, 4, 5, 6, 7], [4]]));
    for (at, prompts) in
        [(0, ["P01_Cupglass", "P01_Desk", "P01_Cupglass_Desk"]), (1, ["P01_Desk", "P01_Sky", "P01_Desk_Sky"])]
    {
        assert_eq!(found[0][at][1], json!(prompts.map(|prompt| rows(prompt, 12, 6))), "{prompts:?}");
    }
    let refused = |flags: &str, words: &str| {
        let run = shop.egofx(&format!("convert out/fused --to qfvs-pt -m qfvs.csv -o never {flags}")).ends_with(2);
        run.says(&[words]);
        assert!(!shop.path("never").exists());
    };
    refused("--tags tags", "qfvs-pt needs a feature set of shots (--shots DIR)");
    let released = "convert out/shots --to qfvs-pt --shots out/shots -m qfvs.csv -o released";
    shop.egofx(released).ends_with(0).says(&["without --tags, concept1_GT and concept2_GT are zeros"]);
    let program = format!(
        "{BITS}d = load('released/EgoVLPv2_features.pt')['3'][0]; p = d['fusedfeat_oracle_batched_list']\n\
         assert not d['concept1_GT'].any() and d['mask_GT'].sum() == 8\n\
         print(json.dumps([bits(p[0, :1]), bool((p == d['fusedfeat_concept1_batched_list']).all())]))"
    );
    assert_eq!(run_python(&shop, &program), json!([rows("P03", 1, 4), true]), "one row for all prompts");
    shop.write("tags/P03/P03.txt", tags(9));
    refused("--shots out/shots --tags tags", "video P03: tags/P03/P03.txt lists 9 shots, expected 8");
    fs::remove_file(shop.path("tags/P03/P03.txt")).unwrap();
    refused("--shots out/shots --tags tags", "cannot read tags/P03/P03.txt");
}

#[test]
fn single_files_open_in_h5py_and_pandas() {
    let shop = nlq();
    for set in ["windows", "fused", "tokens"] {
        shop.egofx(&format!("convert out/{set} --to hdf5 -o {set}_h5")).ends_with(0);
        shop.egofx(&format!("convert out/{set} --to parquet -o {set}_pq")).ends_with(0);
    }
    let program = format!(
        "{BITS}import h5py, pandas\n\
         out = {{}}\n\
         for kind in ('windows', 'fused', 'tokens'):\n\
         \x20   h = h5py.File(kind + '_h5/features.h5'); p = pandas.read_parquet(kind + '_pq/features.parquet')\n\
         \x20   assert h.attrs['feature_set'] == kind, dict(h.attrs)\n\
         \x20   for name, group in h.items():\n\
         \x20       part = p[p['unit_uid'] == name]\n\
         \x20       assert bits(np.stack(part['features'])) == bits(group['features'][:]), name\n\
         \x20       assert (part['start_sec'].to_numpy() == group['start_sec'][:]).all() and (part['row'].to_numpy() == np.arange(len(part))).all()\n\
         \x20       assert group.attrs['video_uid'] == part['video_uid'].iloc[0]\n\
         \x20       if kind == 'tokens': assert part['query_id'].tolist() == [q.decode() for q in group['query_id'][:]]\n\
         \x20   out[kind] = len(h)\n\
         print(json.dumps([out, bits(h5py.File('windows_h5/features.h5')['clip-0003/features'][:])]))"
    );
    let found = run_python(&shop, &program);
    assert_eq!(found[0], json!({"windows": 3, "fused": 8, "tokens": 2}));
    assert_eq!(found[1], rows("clip-0003", 100, 5));
}

#[test]
fn another_grid_comes_only_when_asked_for_and_is_said() {
    let shop = nlq();
    shop.egofx("convert out/windows --to actionformer-npy -o fewer --resample-rows 128").ends_with(0);
    shop.egofx("convert out/windows --to actionformer-npy -o ego4d --resample-rows-per-sec 1.875").ends_with(0);
    let program = "f, e = np.load('fewer/clip-0001.npy'), np.load('ego4d/clip-0001.npy')\n\
        meta = [json.load(open(d + '/egofx.json')) for d in ('fewer', 'ego4d')]\n\
        print(json.dumps([f.shape, e.shape, len(np.load('fewer/clip-0003.npy')), f[0].tolist(), [m['options']['resample'] for m in meta], [m['source']['rows_per_sec'] for m in meta]]))";
    let found = run_python(&shop, program);
    assert_eq!((&found[0], &found[1], &found[2]), (&json!([128, 5]), &json!([899, 5]), &json!(100)));
    let mean: f32 = (0..7).map(|row| stores::value("clip-0001", row, 0)).sum::<f32>() / 7.0;
    assert!((found[3][0].as_f64().unwrap() - f64::from(mean)).abs() < 1e-5, "rows 0 to 6 of 897 make row 0 of 128");
    assert_eq!(found[4], json!([{"rows": 128}, {"rows_per_sec": 1.875}]));
    assert_eq!(found[5], json!([1.87, 1.875]));
    let run = shop.egofx("convert out/tokens --to hdf5 -o never --resample-rows 4").ends_with(2);
    run.says(&["only windows can be resampled, its rows are of kind token"]);
}

#[test]
fn rows_without_features_pass_only_by_a_rule() {
    let shop = Workshop::new();
    let gap = Made { missing: vec![1], ..Made::windows("a", "v", Some((0.0, 9.0)), 4) };
    store(&shop.path("out"), &contract("gap", RowKind::Window, 2, 1.0), &[gap]);
    let run = shop.egofx("convert out --to actionformer-npy -o npy").ends_with(2);
    run.says(&["unit a: 1 of 4 rows have no features (the first is row 1)", "--missing zero, nan or drop"]);
    assert!(!shop.path("npy").exists());
    for rule in ["zero", "nan", "drop"] {
        shop.egofx(&format!("convert out --to actionformer-npy -o {rule} --missing {rule}")).ends_with(0);
    }
    let program = "z, n, d = (np.load(r + '/a.npy') for r in ('zero', 'nan', 'drop'))\n\
        print(json.dumps([z[1].tolist(), bool(np.isnan(n[1]).all()), bool((d == z[[0, 2, 3]]).all()), json.load(open('drop/egofx.json'))['options']['missing']]))";
    assert_eq!(run_python(&shop, program), json!([[0.0, 0.0], true, true, "drop"]));
}

#[test]
fn what_is_there_stays_there() {
    let shop = nlq();
    let convert = |flags: &str| shop.egofx(&format!("convert out/windows --to egovlp-pt -o pt {flags}"));
    convert("").ends_with(0);
    convert("").ends_with(2).says(&["pt exists already; --force replaces what `egofx convert` wrote there"]);
    shop.write("pt/stale.pt", "");
    convert("--force").ends_with(0);
    assert!(!shop.path("pt/stale.pt").exists());
    fs::create_dir(shop.path("mine")).unwrap();
    shop.write("mine/thesis.tex", "years of work");
    let run = shop.egofx("convert out/windows --to egovlp-pt -o mine --force").ends_with(2);
    run.says(&["mine exists and holds no egofx.json, so that --force does not replace it"]);
    assert!(shop.path("mine/thesis.tex").exists());
    // A conversion that fails leaves neither half a folder nor a temporary one, and the former one alone.
    let unit = shop.path("out/windows/units/clip-0002.h5");
    let bytes = fs::read(&unit).unwrap();
    fs::write(&unit, &bytes[..bytes.len() - 1]).unwrap();
    convert("--force").ends_with(2).says(&["clip-0002.h5 is not the file that was committed"]);
    assert!(shop.path("pt/clip-0001.pt").exists());
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(!names(&shop.path("")).any(|name| name.starts_with(".pt")), "no temporary folder stays");
}

#[test]
fn inputs_that_do_not_fit_are_named_with_what_was_expected() {
    let shop = nlq();
    let refused = |arguments: &str, words: &[&str]| {
        shop.egofx(&format!("convert {arguments} -o never")).ends_with(2).says(words);
        assert!(!shop.path("never").exists(), "{arguments}");
    };
    refused("out --to hdf5", &["out: expected one feature set, found fused, tokens, windows; name its folder"]);
    refused("lists --to hdf5", &["cannot list lists"]);
    refused("out/windows --to egovlp", &["invalid value 'egovlp'", "egovlp-pt"]);
    refused("--to hdf5", &["hdf5 needs a feature set"]);
    refused("out/windows --to egovlpv2-nlq", &["takes a store whose rows are of kind fused-window, found window"]);
    refused("out/fused --to egovlpv2-nlq", &["egovlpv2-nlq needs a feature set of tokens (--tokens DIR)"]);
    refused("out/fused --to egovlpv2-nlq --tokens out/tokens", &["needs the table of queries (--queries FILE)"]);
    refused("out/windows --to groundnlq-lmdb --tokens out/fused", &["rows are of kind token, found fused-window"]);
    shop.write("q.csv", "query_id,clip_uid,text,start_sec,end_sec\nq,clip-0001,t,1,2\n");
    refused("out/windows --to vslnet-json --queries q.csv", &["with the column \"split\", found"]);
    shop.write(
        "q.csv",
        "query_id,clip_uid,text,start_sec,end_sec,split,annotation_uid,query_idx\nq,clip-0001,t,1,2,val,a,x\n",
    );
    refused(
        "out/windows --to vslnet-json --queries q.csv",
        &["query \"q\": query_idx: expected a whole number, found \"x\""],
    );
    shop.write(
        "q.csv",
        "query_id,clip_uid,text,start_sec,end_sec,split,annotation_uid,query_idx\nq,clip-0001,t,1,2,../up,a,0\n",
    );
    refused("out/windows --to vslnet-json --queries q.csv", &["split \"../up\" cannot be the name of a file"]);
    shop.write(
        "q.csv",
        "query_id,clip_uid,text,start_sec,end_sec,split,annotation_uid,query_idx\nq,clip-0001,t,1,2,val,a,0\n",
    );
    refused(
        "out/fused --to egovlpv2-nlq --tokens out/tokens -m nlq.csv --queries q.csv",
        &["out/fused: no features of query \"q\""],
    );
    refused("out/windows --to hdf5 --resample-fps 0", &["expected a positive number, found 0"]);
}
