//! The README's worked examples, benchmark by benchmark: from official files to what the benchmark's own code reads, with
//! the recipes as they are shipped, small videos and tiny models of random weights.

use std::fs;

use serde_json::json;

use crate::support;
use crate::support::{Workshop, checkout, python};

/// Videos `v` and `w` of four seconds at 30 fps in `V`, and the vocabulary of EgoVLPv2's kind.
fn shop() -> Workshop {
    let shop = Workshop::new();
    fs::create_dir(shop.path("V")).unwrap();
    for (name, size) in [("v", "64x48"), ("w", "48x64")] {
        shop.ffmpeg(&format!("-f lavfi -i testsrc2=s={size}:r=30 -frames:v 120 {} V/{name}.mp4", support::H264));
    }
    support::write_vocabulary(&shop, "words");
    shop.models();
    shop
}

/// `extract` by shipped recipes; `code` 0 unless the annotations say otherwise.
fn extract(shop: &Workshop, manifest: &str, recipes: &[&str]) {
    let shipped = |name: &&str| format!("-p {}/pipelines/{name}.toml ", checkout().display());
    let recipes: String = recipes.iter().map(shipped).collect();
    shop.egofx(&format!("extract -m {manifest} {recipes} --models models --tokenizer words -o features")).ends_with(0);
    shop.egofx("verify features").ends_with(0);
}

/// Opens a `.pt` as `torch.load(weights_only=True)` would, as far as names of classes go, and says what is in it.
const TORCH: &str = include_str!("../support/torch_files.py");

#[test]
fn nlq_by_egovlpv2() {
    let shop = shop();
    let query = |text: &str, start: f64| json!({"query": text, "clip_start_sec": start, "clip_end_sec": start + 0.5});
    let clip = |uid: &str, start: f64, end: f64, queries: serde_json::Value| {
        json!({"clip_uid": uid, "video_start_sec": start, "video_end_sec": end,
               "annotations": [{"annotation_uid": format!("{uid}-a"), "language_queries": queries}]})
    };
    let clips = json!([
        clip("c1", 0.0, 2.0, json!([query("Where is the cup?", 0.5), query("Did I cut it", 1.0)])),
        clip("c2", 1.5, 4.0, json!([query("Who came", 0.0)])),
    ]);
    shop.write("nlq_val.json", json!({"videos": [{"video_uid": "v", "split": "val", "clips": clips}]}).to_string());
    shop.egofx("manifest nlq --annotations nlq_val.json --videos V -o nlq.csv").ends_with(0);
    extract(&shop, "nlq.csv", &["egovlpv2_nlq_fused", "egovlpv2_nlq_tokens", "egovlpv2_nlq_dual"]);
    let tokens = "--tokens features/egovlpv2_nlq_tokens";
    shop.egofx(&format!("convert features/egovlpv2_nlq_fused --to egovlpv2-nlq {tokens} -m nlq.csv -o nlq_pt"))
        .ends_with(0);
    let program = format!(
        "{TORCH}\nimport json\nout = []\nfor i in range(3):\n    d = load(f'nlq_pt/val/feat_{{i}}.pt')\n    \
         out.append([list(d['fused_video_features'].shape), list(d['dual_text_features'].shape), d['vid'], d['query']])\n\
         print(json.dumps(out))"
    );
    let found = python(&shop, &program);
    assert_eq!(found[0], json!([[3, 32], [1, 30, 32], "c1", "where is the cup?"]));
    assert_eq!((&found[1][0], &found[2][0], &found[2][2]), (&json!([3, 32]), &json!([4, 32]), &"c2".into()));
    let fused = shop.unit("features/egovlpv2_nlq_fused", "c1-a_0");
    assert_ne!(fused.features, shop.unit("features/egovlpv2_nlq_dual", "c1").features);
}

#[test]
fn mq_for_vsgn_and_actionformer() {
    let shop = shop();
    let label = json!({"label": "wash_\"dishes\"", "primary": true, "start_time": 0.5, "end_time": 1.5});
    let clip =
        json!({"clip_uid": "c", "video_start_sec": 0.5, "video_end_sec": 3.5, "annotations": [{"labels": [label]}]});
    shop.write(
        "moments_val.json",
        json!({"videos": [{"video_uid": "w", "split": "val", "clips": [clip]}]}).to_string(),
    );
    shop.egofx("manifest mq --annotations moments_val.json --videos V -o mq.csv").ends_with(0);
    extract(&shop, "mq.csv", &["egovlpv2_mq", "egovlp_mq", "egovlp_nlq_released"]);
    shop.egofx("convert features/egovlpv2_mq --to egovlp-pt -m mq.csv -o mq_pt").ends_with(0);
    assert!(shop.path("mq_pt/clip_annotations.json").exists() && shop.path("mq_pt/moment_classes_idx.json").exists());
    shop.egofx("convert features/egovlp_mq --to actionformer-npy -m mq.csv -o mq_npy").ends_with(0);
    let program = format!(
        "{TORCH}\nimport json, numpy as np\nx = load('mq_pt/c.pt')\ny = np.load('mq_npy/c.npy')\n\
         db = json.load(open('mq_npy/ego4d_database.json'))['database']['c']\n\
         print(json.dumps([list(x.shape), list(y.shape), db['annotations'][0]['label'], db['annotations'][0]['segment']]))"
    );
    assert_eq!(python(&shop, &program), json!([[5, 16], [5, 16], "wash_\"dishes\"", [0.5, 1.5]]));
    let compared = shop.egofx("compare features/egovlp_mq features/egovlp_nlq_released").ends_with(1);
    assert!(compared.stdout.contains("zero tail") || compared.stderr.contains("zero tail"), "{compared}");
}

#[test]
fn qfvs_from_images_to_the_summary_head() {
    let shop = Workshop::new();
    support::write_vocabulary(&shop, "words");
    shop.models();
    for (name, seconds) in [("P01-moviepy", 33), ("P02-moviepy", 27)] {
        fs::create_dir_all(shop.path("V").join(name)).unwrap();
        shop.ffmpeg(&format!("-f lavfi -i testsrc2=s=64x48:r=1 -frames:v {seconds} -start_number 0 V/{name}/%04d.jpg"));
    }
    for (video, pair, shots, tags) in [
        ("P01", "Cupglass_Desk", "1\n3\n", "Cupglass,Desk\n\nDesk\nCupglass\n\nSky\n"),
        ("P02", "Book_Sky", "5\n", "Book\nSky\n\n\nBook,Sky\n"),
    ] {
        fs::create_dir_all(shop.path("Oracle_Summaries").join(video)).unwrap();
        fs::create_dir_all(shop.path("tags").join(video)).unwrap();
        shop.write(&format!("Oracle_Summaries/{video}/{pair}_oracle.txt"), shots);
        shop.write(&format!("tags/{video}/{video}.txt"), tags);
    }
    shop.egofx("manifest qfvs --annotations Oracle_Summaries --videos V -o qfvs.csv").ends_with(0);
    extract(&shop, "qfvs.csv", &["egovlpv2_qfvs", "egovlpv2_qfvs_shots", "egovlpv2_qfvs_released"]);
    assert_eq!(
        shop.committed("features/egovlpv2_qfvs"),
        ["P01_Cupglass", "P01_Cupglass_Desk", "P01_Desk", "P02_Book", "P02_Book_Sky", "P02_Sky"]
    );
    assert_eq!(shop.unit("features/egovlpv2_qfvs", "P01_Desk").features.dim(), (6, 32), "33 s are six whole shots");
    let with = "--shots features/egovlpv2_qfvs_shots --tags tags -m qfvs.csv";
    shop.egofx(&format!("convert features/egovlpv2_qfvs --to qfvs-pt {with} -o qfvs_pt")).ends_with(0);
    let program = format!(
        "{TORCH}\nimport json\nd = load('qfvs_pt/EgoVLPv2_features.pt')['1'][0]\n\
         print(json.dumps([list(d['fusedfeat_oracle_batched_list'].shape), int(d['seg_len'].sum()), \
         [int(d[k].sum()) for k in ('concept1_GT', 'concept2_GT', 'mask_GT', 'oracle_summary')]]))"
    );
    assert_eq!(python(&shop, &program), json!([[20, 200, 32], 6, [2, 2, 6, 2]]));
    // As released nothing depends on the prompt, and the crops come of the seed alone.
    let released = shop.unit_files("features")["egovlpv2_qfvs_released/units/P01.h5"].clone();
    fs::remove_dir_all(shop.path("features/egovlpv2_qfvs_released")).unwrap();
    extract(&shop, "qfvs.csv", &["egovlpv2_qfvs_released"]);
    assert_eq!(shop.unit_files("features")["egovlpv2_qfvs_released/units/P01.h5"], released);
}

#[test]
fn epic_kitchens_retrieval_by_egovlpv2() {
    let shop = shop();
    let head = "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,\
                stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n";
    let row = |id: &str, video: &str, start: &str, stop: &str, text: &str, classes: (u8, u8)| {
        let (verb, noun) = classes;
        format!("{id},P01,{video},00:00:01,{start},{stop},1,2,{text},x,{verb},x,{noun},['x'],[{noun}]\n")
    };
    // Not in order of time, so that the rows of a video are not those of the table.
    let rows = [
        row("w_1", "w", "00:00:02.00", "00:00:03.50", "open door", (3, 3)),
        row("v_0", "v", "00:00:00.50", "00:00:02.00", "take cup", (0, 2)),
        row("w_0", "w", "00:00:00.10", "00:00:01.00", "put pan", (1, 5)),
    ];
    shop.write("EPIC_100_retrieval_test.csv", head.to_owned() + &rows.concat());
    shop.write(
        "EPIC_100_retrieval_test_sentence.csv",
        "narration_id,narration\nw_1,open door\nv_0,take cup\nw_0,put pan\n",
    );
    shop.egofx("manifest epic --annotations EPIC_100_retrieval_test.csv --videos V -o epic.csv").ends_with(0);
    extract(&shop, "epic.csv", &["egovlpv2_epic", "egovlpv2_epic_text"]);
    shop.egofx("similarity --video features/egovlpv2_epic --text features/egovlpv2_epic_text -o epic").ends_with(0);
    let names = |file: &str| fs::read_to_string(shop.path(file)).unwrap();
    assert_eq!(names("epic/clip_ids.txt"), "v_0\nw_0\nw_1\n");
    assert_eq!(names("epic/clip_ids.txt"), names("epic/query_ids.txt"), "columns in the order of rows");
    let given =
        "--clip-ids epic/clip_ids.txt -a EPIC_100_retrieval_test.csv --sentences EPIC_100_retrieval_test_sentence.csv";
    let scored = shop.egofx(&format!("eval mir -p epic/similarity.npy {given} --json")).ends_with(0);
    assert!(scored.stdout.contains("nDCG") || scored.stdout.contains("ndcg"), "{scored}");
}

#[test]
fn charades_ego_by_egovlpv2() {
    let shop = shop();
    shop.write("CharadesEgo_v1_test_only1st.csv", "id,length,actions\nv,4.0,c000 0.5 2.0;c001 1.0 3.0\nw,4.0,\n");
    let classes: String = (0..157).map(|class| format!("c{class:03} Doing {class}\n")).collect();
    shop.write("Charades_v1_classes.txt", classes);
    shop.egofx("manifest charades --annotations CharadesEgo_v1_test_only1st.csv --videos V -o charades.csv")
        .ends_with(0);
    shop.egofx("manifest charades --annotations Charades_v1_classes.txt -o classes.csv").ends_with(0);
    extract(&shop, "charades.csv", &["egovlpv2_charades"]);
    extract(&shop, "classes.csv", &["egovlpv2_charades_text"]);
    let stores = "--video features/egovlpv2_charades --text features/egovlpv2_charades_text";
    shop.egofx(&format!("similarity {stores} -o charades")).ends_with(0);
    let given = "--video-ids charades/clip_ids.txt -a CharadesEgo_v1_test_only1st.csv";
    let scored = shop.egofx(&format!("eval charades -p charades/similarity.npy {given}")).ends_with(0);
    assert!(scored.stdout.contains("mAP"), "{scored}");
}

#[test]
fn oscc_and_egotaskqa_in_one_table() {
    let shop = shop();
    let clip = |uid: &str, video: &str, start: u32, changes: bool| {
        json!({"unique_id": uid, "video_uid": video, "parent_start_sec": f64::from(start) / 30.0,
               "parent_end_sec": f64::from(start + 60) / 30.0, "parent_start_frame": start, "parent_end_frame": start + 60,
               "state_change": changes})
    };
    let clips = json!([clip("b", "v", 30, true), clip("a", "v", 0, false), clip("c", "w", 60, true)]);
    shop.write("fho_oscc-pnr_val.json", json!({"clips": clips}).to_string());
    shop.egofx("manifest oscc --annotations fho_oscc-pnr_val.json --videos V -o oscc.csv").ends_with(0);
    extract(&shop, "oscc.csv", &["egovlp_oscc"]);
    shop.egofx("convert features/egovlp_oscc --to parquet -o oscc").ends_with(0);

    fs::create_dir(shop.path("Q")).unwrap();
    for (from, to) in [("v", "v|1|0|4"), ("w", "w|1|0|4")] {
        fs::copy(shop.path(&format!("V/{from}.mp4")), shop.path(&format!("Q/{to}.mp4"))).unwrap();
    }
    let ask = |id: u32, interval: &str, text: &str| {
        json!({"question_id": id, "interval": interval, "question": text, "answer": "cup", "answer_encode": 2, "type": [],
               "category": [], "semantic": "object", "structural": "query", "reference": "direct", "reasoning_type": "query"})
    };
    let questions =
        json!([ask(0, "v|1|0|4", "What is it"), ask(1, "w|1|0|4", "What now"), ask(2, "v|1|0|4", "And then")]);
    shop.write("formatted_train_qas_encode.json", questions.to_string());
    shop.egofx("manifest egotaskqa --annotations formatted_train_qas_encode.json --videos Q -o qa.csv").ends_with(0);
    extract(&shop, "qa.csv", &["egovlpv2_egotaskqa"]);
    shop.egofx("convert features/egovlpv2_egotaskqa --to parquet -o qa").ends_with(0);
    let program = "import json, pandas as pd\no = pd.read_parquet('oscc/features.parquet')\nq = pd.read_parquet('qa/features.parquet')\n\
                   print(json.dumps([list(o['clip_uid']), len(o['features'][0]), list(q['query_id']), len(q['features'][0])]))";
    let found = python(&shop, program);
    assert_eq!(found, json!([["a", "b", "c"], 32, ["train_0", "train_2", "train_1"], 32]));
}

/// The checkpoint that the golden data were made with, and a bundled clip, through every command.
#[test]
fn a_golden_checkpoint_and_a_bundled_clip_go_through_the_whole_tool() {
    let shop = Workshop::new();
    let data = checkout().join("tests/data");
    let checkpoint = data.join("checkpoints/egovlp_tiny.pth");
    shop.egofx(&format!("export {} --head-size 16 --out golden", checkpoint.display())).ends_with(0);
    shop.egofx("export --check --out golden").ends_with(0);
    let card = fs::read_to_string(shop.path("golden/egovlp_video.toml")).unwrap();
    let card: toml::Value = toml::from_str(&card).unwrap();
    let side = card["inputs"][0]["shape"][2].as_integer().unwrap();
    let shipped = fs::read_to_string(checkout().join("pipelines/egovlp_nlq.toml")).unwrap();
    let shipped = shipped.replace("dim = 256", "dim = 8").replace("= 256", &format!("= {side}"));
    shop.write("egovlp_nlq.toml", shipped);
    fs::create_dir(shop.path("V")).unwrap();
    fs::copy(data.join("media/nasa_13013.mp4"), shop.path("V/nasa_13013.mp4")).unwrap();
    shop.egofx("manifest folder --videos V -o all.csv").ends_with(0);
    shop.egofx("audit -m all.csv").ends_with(0);
    shop.egofx("extract -m all.csv -p egovlp_nlq.toml --models golden -o features").ends_with(0);
    shop.egofx("verify features").ends_with(0);
    for format in ["egovlp-pt", "hdf5", "parquet"] {
        shop.egofx(&format!("convert features/egovlp_nlq --to {format} -o {format}")).ends_with(0);
    }
    let program = format!(
        "{TORCH}\nimport json, h5py, numpy as np, pandas as pd\nx = load('egovlp-pt/nasa_13013.pt')\n\
         y = h5py.File('hdf5/features.h5')['nasa_13013']['features'][:]\n\
         z = np.stack(pd.read_parquet('parquet/features.parquet')['features'])\n\
         s = h5py.File('features/egovlp_nlq/features.h5')['nasa_13013']['features'][:]\n\
         print(json.dumps([list(x.shape), [bool((s == v).all()) for v in (x, y, z)], json.load(open('egovlp-pt/feature_shapes.json'))]))"
    );
    let rows = shop.unit("features/egovlp_nlq", "nasa_13013").features.nrows();
    assert!(rows > 20, "{rows}");
    assert_eq!(python(&shop, &program), json!([[rows, 8], [true, true, true], {"nasa_13013": rows}]));
    let compared = shop.egofx("compare features/egovlp_nlq egovlp-pt").ends_with(0);
    assert!(compared.stdout.contains("max abs 0.000e0"), "{compared}");
}
