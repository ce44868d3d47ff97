//! Feature sets side by side: what `--join` gives in every form is what NumPy concatenates, and what differs is said.

use std::fs;

use egofx::features::{FeatureError, JoinRows, JoinRule, JoinUnits, Joined, Missing, Resample, RowRule, Source};
use egofx::ids::UnitUid;
use egofx::store::RowKind;
use serde_json::json;

use super::convert::{BITS, SENTENCES, nlq, run_python};
use crate::support::stores::{Made, contract, store, value};
use crate::support::{Workshop, json as parsed};

/// Stores beside those of `nlq`, of the same units and other widths.
fn twice() -> Workshop {
    let shop = nlq();
    for (name, kind, dim, rate) in [
        ("windows", RowKind::Window, 3, 1.87),
        ("fused", RowKind::FusedWindow, 2, 1.87),
        ("tokens", RowKind::Token, 7, 0.0),
    ] {
        let source = Source::open(&shop.path("out").join(name), RowRule::default()).unwrap();
        let made = |unit: &str| {
            let features = source.read(source.find(&UnitUid::parse(unit).unwrap()).unwrap()).unwrap();
            Made {
                unit: unit.to_owned(),
                video: features.video_uid.to_string(),
                clip: features.clip_uid.map(|uid| uid.to_string()),
                query: features.query_id,
                span: features.span.map(|span| (span.start_sec, span.end_sec)),
                rows: features
                    .meta
                    .iter()
                    .map(|row| (row.query_id.as_deref().map(str::to_owned), row.padded))
                    .collect(),
                missing: vec![],
            }
        };
        let units: Vec<Made> = source.entries().map(|entry| made(entry.unit_uid.as_str())).collect();
        store(&shop.path("out"), &contract(&format!("{name}2"), kind, dim, rate), &units);
    }
    shop
}

#[test]
fn joined_rows_are_those_of_both_sets_side_by_side_in_every_form() {
    let shop = twice();
    let videos = [Made::windows("vid-aaaa", "vid-aaaa", None, 1801), Made::windows("vid-bbbb", "vid-bbbb", None, 410)];
    store(&shop.path("out"), &contract("whole", RowKind::Window, 3, 1.875), &videos);
    store(&shop.path("out"), &contract("whole2", RowKind::Window, 4, 1.875), &videos);
    let convert = |set: &str, format: &str, more: &str| {
        for (what, out) in [
            (format!("out/{set}"), "one"),
            (format!("out/{set}2"), "two"),
            (format!("out/{set} --join out/{set}2"), "both"),
        ] {
            shop.egofx(&format!("convert {what} --to {format} -o {out}/{format} {more}")).ends_with(0);
        }
    };
    convert("windows", "egovlp-pt", "");
    convert("windows", "actionformer-npy", "");
    convert("windows", "groundnlq-lmdb", "");
    convert("windows", "hdf5", "");
    convert("windows", "parquet", "");
    convert("whole", "ego4d-pt", "-m nlq.csv");
    convert("fused", "egovlpv2-nlq", "--tokens out/tokens --queries nlq.queries.csv -m nlq.csv");
    convert("tokens", "egovlp-text-pt", "--queries nlq.queries.csv");
    convert("tokens", "egovlp-text-npy", "--queries nlq.queries.csv");
    for of in ["one", "two", "both"] {
        let imported = format!("import {of}/groundnlq-lmdb/video_features --as {of}_lmdb -o lmdb --backbone made-up");
        shop.egofx(&format!("{imported} --rows-per-sec 1.87 --window-frames 4")).ends_with(0);
    }
    let program = format!(
        "{BITS}{SENTENCES}import h5py, pandas, os, glob\n\
         def pt(form, name): return [load(f'{{o}}/{{form}}/{{name}}') for o in ('one', 'two', 'both')]\n\
         seen = {{}}\n\
         def check(form, three):\n\
         \x20   one, two, both = three\n\
         \x20   assert bits(np.concatenate([one, two], axis=1)) == bits(both), form\n\
         \x20   seen[form] = seen.get(form, 0) + 1\n\
         for clip in ('clip-0001', 'clip-0002', 'clip-0003'):\n\
         \x20   check('egovlp-pt', pt('egovlp-pt', clip + '.pt'))\n\
         \x20   check('actionformer-npy', [np.load(f'{{o}}/actionformer-npy/{{clip}}.npy') for o in ('one', 'two', 'both')])\n\
         \x20   check('groundnlq-lmdb', [h5py.File(f'lmdb/{{o}}_lmdb/units/{{clip}}.h5')['features'][:] for o in ('one', 'two', 'both')])\n\
         \x20   check('hdf5', [h5py.File(f'{{o}}/hdf5/features.h5')[clip]['features'][:] for o in ('one', 'two', 'both')])\n\
         \x20   frames = [pandas.read_parquet(f'{{o}}/parquet/features.parquet') for o in ('one', 'two', 'both')]\n\
         \x20   check('parquet', [np.stack(f[f['unit_uid'] == clip]['features']) for f in frames])\n\
         \x20   check('ego4d-pt', pt('ego4d-pt', 'clips/' + clip + '.pt'))\n\
         for video in ('vid-aaaa', 'vid-bbbb'): check('ego4d-pt', pt('ego4d-pt', video + '.pt'))\n\
         for path in glob.glob('both/egovlpv2-nlq/val/*.pt'):\n\
         \x20   dicts = pt('egovlpv2-nlq', 'val/' + os.path.basename(path))\n\
         \x20   check('egovlpv2-nlq', [d['fused_video_features'] for d in dicts])\n\
         \x20   assert bits(dicts[0]['dual_text_features']) == bits(dicts[2]['dual_text_features'])\n\
         texts = pt('egovlp-text-pt', 'val/sentence.pt')\n\
         npys = [sentences(f'{{o}}/egovlp-text-npy/val/sentence.npy') for o in ('one', 'two', 'both')]\n\
         for text in texts[2]:\n\
         \x20   check('egovlp-text-pt', [d[text] for d in texts])\n\
         \x20   check('egovlp-text-npy', [d[text] for d in npys])\n\
         h = h5py.File('both/hdf5/features.h5')\n\
         in_file = [c['contract']['feature_set'] for c in json.loads(h.attrs['joined'])]\n\
         meta = json.load(open('both/egovlp-pt/egofx.json'))['source']\n\
         import pyarrow.parquet\n\
         kept = json.loads(pyarrow.parquet.read_metadata('both/parquet/features.parquet').metadata[b'joined'])\n\
         assert [c['columns'] for c in kept] == [[0, 5], [5, 8]]\n\
         print(json.dumps([seen, in_file, [[c['path'], c['columns'], c['contract']['dim']] for c in meta['joined']], meta['contract']['feature_set'], meta['contract']['dim'], meta['join']]))"
    );
    let found = run_python(&shop, &program);
    let seen = json!({
        "egovlp-pt": 3, "actionformer-npy": 3, "groundnlq-lmdb": 3, "hdf5": 3, "parquet": 3, "ego4d-pt": 5,
        "egovlpv2-nlq": 8, "egovlp-text-pt": 8, "egovlp-text-npy": 8,
    });
    assert_eq!(found[0], seen);
    assert_eq!(found[1], json!(["windows", "windows2"]));
    assert_eq!(found[2], json!([["out/windows", [0, 5], 5], ["out/windows2", [5, 8], 3]]));
    assert_eq!((&found[3], &found[4]), (&json!("windows+windows2"), &json!(8)));
    assert_eq!(found[5], json!({"rows": "refuse", "units": "same"}));
}

#[test]
fn shots_of_qfvs_are_joined_too() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path("oracle/P01")).unwrap();
    shop.write("oracle/P01/Cupglass_Desk_oracle.txt", "1\n3\n12\n");
    shop.egofx("manifest qfvs --annotations oracle -o qfvs.csv").ends_with(0);
    let video = [Made::windows("P01", "P01", None, 12)];
    store(&shop.path("out"), &contract("shots", RowKind::Window, 4, 0.2), &video);
    store(&shop.path("out"), &contract("others", RowKind::Window, 3, 0.2), &video);
    for (what, out) in [("out/shots", "one"), ("out/others", "two"), ("--join out/shots out/others", "both")] {
        shop.egofx(&format!("convert --to qfvs-pt --shots out/shots -m qfvs.csv -o {out} {what}")).ends_with(0);
    }
    let program = "one, two, both = (load(o + '/EgoVLPv2_features.pt')['1'][0]['fusedfeat_oracle_batched_list'] for o in ('one', 'two', 'both'))\n\
        print(json.dumps([both.shape, bool((np.concatenate([one, two], axis=2) == both).all())]))";
    assert_eq!(run_python(&shop, program), json!([[20, 200, 7], true]));
}

/// Two sets of other clips, lengths and rates.
fn unequal() -> Workshop {
    let shop = Workshop::new();
    let clip = |name: &str, rows| Made::windows(name, "v", Some((10.0, 20.0)), rows);
    let one = [clip("a", 10), clip("b", 11), clip("c", 10), clip("only-left", 10)];
    store(&shop.path("out"), &contract("one", RowKind::Window, 2, 1.0), &one);
    let two = [clip("a", 10), clip("b", 10), clip("c", 11), clip("r1", 10), clip("r2", 10)];
    store(&shop.path("out"), &contract("two", RowKind::Window, 3, 1.0), &two);
    store(
        &shop.path("out"),
        &contract("fast", RowKind::Window, 3, 3.0),
        &[clip("a", 30), clip("b", 30), clip("c", 30)],
    );
    shop
}

#[test]
fn what_differs_is_listed_and_refused_unless_the_rule_covers_it() {
    let shop = unequal();
    let refused = shop.egofx("convert out/one --join out/two --to hdf5 -o no").ends_with(2);
    refused.says(&[
        "cannot join out/one and out/two:",
        "lengths: 2 units have other numbers of rows in two (b: 11 and 10, c: 10 and 11); --join-rows truncate, pad or resample",
        "units: 1 only in one (only-left), 2 only in two (r1, r2); --join-units common leaves them out",
    ]);
    shop.egofx("convert out/one --join out/two --to hdf5 -o no --join-rows pad")
        .ends_with(2)
        .says(&["units: 1 only in one"]);
    let refused = shop.egofx("convert out/one --join out/fast --to hdf5 -o no --join-rows pad --join-units common");
    refused
        .ends_with(2)
        .says(&["rates: 1 rows a second, and in fast 3; --join-rows resample puts rows together by their times"]);
    assert!(!shop.path("no").exists());
    let command = "convert out/one --join out/two --to actionformer-npy --join-units common --json";
    let cut = shop.egofx(&format!("{command} --join-rows truncate -o cut")).ends_with(0);
    let cut = cut.says(&[
        "note: joined: units: 1 only in one (only-left), 2 only in two (r1, r2)",
        "note: joined: lengths: 2 units",
    ]);
    let said = parsed(&cut.stdout);
    assert_eq!(said["source"]["join"], json!({"rows": "truncate", "units": "common"}));
    assert_eq!((&said["source"]["units"], &said["written"]["rows"]), (&json!(3), &json!(30)));
    shop.egofx(&format!("{command} --join-rows pad -o pad")).ends_with(0);
    for name in ["one", "two", "fast"] {
        shop.egofx(&format!("convert out/{name} --to actionformer-npy -o {name}_npy")).ends_with(0);
    }
    shop.egofx(
        "convert out/one --join out/fast --to actionformer-npy -o onto --join-rows resample --join-units common",
    )
    .ends_with(0);
    shop.egofx(
        "convert out/fast --join out/one --to actionformer-npy -o back --join-rows resample --join-units common",
    )
    .ends_with(0);
    let program = format!(
        "{BITS}r = lambda d, u: np.load(f'{{d}}/{{u}}.npy')\n\
         z = lambda x, n: np.pad(x, ((0, n - len(x)), (0, 0)))\n\
         out = []\n\
         for u in 'abc':\n\
         \x20   one, two, fast = (r(d + '_npy', u) for d in ('one', 'two', 'fast'))\n\
         \x20   n, m = min(len(one), len(two)), max(len(one), len(two))\n\
         \x20   assert bits(np.concatenate([one[:n], two[:n]], 1)) == bits(r('cut', u)), u\n\
         \x20   assert bits(np.concatenate([z(one, m), z(two, m)], 1)) == bits(r('pad', u)), u\n\
         \x20   middles = 10 + (np.arange(30) + .5) / 3; last = lambda i: fast[min(int((i + .5) * 3), 29)]\n\
         \x20   own = [fast[(middles >= 10 + i) & (middles < 11 + i)] for i in range(len(one))]\n\
         \x20   onto = np.stack([x.mean(0) if len(x) else last(i) for i, x in enumerate(own)])\n\
         \x20   assert np.allclose(r('onto', u), np.concatenate([one, onto], 1), atol=1e-6), u\n\
         \x20   there = np.minimum(((np.arange(30) + .5) / 3).astype(int), len(one) - 1)\n\
         \x20   back = r('back', u)\n\
         \x20   assert bits(back[:, :3]) == bits(fast) and len(back) == 30\n\
         \x20   alone = [[j for j in range(len(one)) if i / 3 <= j + .5 < (i + 1) / 3] for i in range(30)]\n\
         \x20   assert bits(back[:, 3:]) == bits(np.stack([one[a[0]] if a else one[there[i]] for i, a in enumerate(alone)])), u\n\
         \x20   out.append([len(r('cut', u)), len(r('pad', u)), len(r('onto', u))])\n\
         print(json.dumps(out))"
    );
    assert_eq!(run_python(&shop, &program), json!([[10, 10, 10], [10, 11, 11], [10, 11, 10]]));
    shop.egofx("convert --join out/one --to hdf5 -o no")
        .ends_with(2)
        .says(&["expected two feature sets or more, found one"]);
    shop.egofx("convert out/one --join out/two --to hdf5 --zero-tail -o no")
        .ends_with(2)
        .says(&["cannot be used with"]);
    let vslnet =
        shop.egofx("convert out/one --join out/two --to vslnet-json --join-units common --join-rows pad -o no");
    vslnet.ends_with(2).says(&["vslnet-json takes no features, so there is nothing to join: leave --join out"]);
}

fn joined(shop: &Workshop, one: &str, two: &str, rows: JoinRows, rule: RowRule) -> Result<Source, FeatureError> {
    let stores = vec![shop.path("out").join(two)];
    let joined = Joined { stores, rule: JoinRule { rows, units: JoinUnits::Common } };
    Source::open_joined(&shop.path("out").join(one), &joined, rule)
}

/// The first and the last column of a unit's rows.
fn ends(source: &Source, unit: &str) -> Vec<[f32; 2]> {
    let features = source.read(source.find(&UnitUid::parse(unit).unwrap()).unwrap()).unwrap();
    assert_eq!(features.values.ncols(), source.contract().dim);
    features.values.outer_iter().map(|row| [row[0], row[row.len() - 1]]).collect()
}

#[test]
fn clips_find_their_place_in_whole_videos_and_queries_in_their_clips() {
    let shop = Workshop::new();
    let clip = Made::windows("c", "v", Some((10.0, 14.0)), 4);
    store(&shop.path("out"), &contract("clips", RowKind::Window, 2, 1.0), std::slice::from_ref(&clip));
    let asked = [clip.clone().fused("q1"), clip.fused("q2")];
    store(&shop.path("out"), &contract("asked", RowKind::FusedWindow, 2, 1.0), &asked);
    store(&shop.path("out"), &contract("videos", RowKind::Window, 1, 0.5), &[Made::windows("v", "v", None, 30)]);
    store(&shop.path("out"), &contract("short", RowKind::Window, 1, 0.5), &[Made::windows("v", "v", None, 4)]);
    let open = |one, two, rows| joined(&shop, one, two, rows, RowRule::default());
    let source = open("clips", "videos", JoinRows::Resample).unwrap();
    let expected: Vec<[f32; 2]> = (0..4).map(|row| [value("c", row, 0), value("v", (10 + row) / 2, 0)]).collect();
    assert_eq!(ends(&source, "c"), expected, "rows of two seconds of the video, those of seconds 10 to 14");
    let source = open("asked", "videos", JoinRows::Resample).unwrap();
    let of_query = |row| [value("q2", row, 0), value("v", (10 + row) / 2, 0)];
    assert_eq!(ends(&source, "q2"), (0..4).map(of_query).collect::<Vec<_>>());
    let source = open("asked", "clips", JoinRows::Resample).unwrap();
    assert_eq!(ends(&source, "q1"), (0..4).map(|row| [value("q1", row, 0), value("c", row, 1)]).collect::<Vec<_>>());
    assert_eq!(source.find_query("q1").unwrap().unwrap().dim, 4);
    let why = open("asked", "clips", JoinRows::Pad).err().unwrap().to_string();
    assert!(why.contains("--join-rows resample joins those of a query with those of its clip"), "{why}");
    let source = open("clips", "short", JoinRows::Resample).unwrap();
    let why = source.read(source.entries().next().unwrap()).err().unwrap().to_string();
    let said = "row 1 of the former is at 11.50 s, and the rows of the latter go from 0.00 s to 8.00 s";
    assert!(why.contains(said) || why.contains("row 0 of the former is at 10.50 s"), "{why}");
}

#[test]
fn clips_of_one_name_at_other_places_are_no_pair_and_files_of_clips_begin_at_zero() {
    let shop = Workshop::new();
    let at = |video: &str, start: f64| Made::windows("c", video, Some((start, start + 4.0)), 4);
    let cut = Made::windows("c", "c", None, 4);
    for (name, made) in [("here", at("v", 10.0)), ("there", at("v", 30.0)), ("other", at("w", 10.0)), ("file", cut)] {
        store(&shop.path("out"), &contract(name, RowKind::Window, 2, 1.0), &[made]);
    }
    for (name, rows) in [("there", JoinRows::Truncate), ("other", JoinRows::Truncate), ("other", JoinRows::Resample)] {
        let why = joined(&shop, "here", name, rows, RowRule::default()).err().unwrap().to_string();
        assert!(why.contains(&format!("places: 1 clips lie elsewhere in {name} (c: v 10.00 to 14.00 s and ")), "{why}");
    }
    for rows in [JoinRows::Refuse, JoinRows::Resample] {
        let source = joined(&shop, "here", "file", rows, RowRule::default()).unwrap();
        assert_eq!(ends(&source, "c"), (0..4).map(|row| [value("c", row, 0), value("c", row, 1)]).collect::<Vec<_>>());
    }
}

#[test]
fn rows_without_features_are_treated_set_by_set_and_dropped_together() {
    let shop = Workshop::new();
    let clip = |missing: &[usize]| Made { missing: missing.to_vec(), ..Made::windows("c", "v", Some((0.0, 5.0)), 5) };
    store(&shop.path("out"), &contract("one", RowKind::Window, 1, 1.0), &[clip(&[1])]);
    store(&shop.path("out"), &contract("two", RowKind::Window, 1, 1.0), &[clip(&[3])]);
    let read = |missing| {
        let source = joined(&shop, "one", "two", JoinRows::Refuse, RowRule { missing, ..RowRule::default() }).unwrap();
        ends(&source, "c")
    };
    let of = |row| value("c", row, 0);
    let all: Vec<[f32; 2]> = (0..5).map(|row| [of(row), of(row)]).collect();
    let mut zeros = all.clone();
    (zeros[1][0], zeros[3][1]) = (0.0, 0.0);
    assert_eq!(read(Missing::Zero), zeros);
    assert_eq!(read(Missing::Drop), [all[0], all[2], all[4]]);
    let nan = read(Missing::Nan);
    assert!(nan[1][0].is_nan() && nan[1][1] == of(1) && nan[3][0] == of(3) && nan[3][1].is_nan());
    let source = joined(&shop, "one", "two", JoinRows::Refuse, RowRule::default()).unwrap();
    let why = source.read(source.entries().next().unwrap()).err().unwrap().to_string();
    assert!(why.starts_with("unit c: 1 of 5 rows have no features (the first is row 1)"), "{why}");
    let resample = Some(Resample::Rows(2));
    let fewer = joined(
        &shop,
        "one",
        "two",
        JoinRows::Refuse,
        RowRule { missing: Missing::Zero, resample, ..RowRule::default() },
    );
    assert_eq!(ends(&fewer.unwrap(), "c").len(), 2);
}

#[test]
fn tokens_of_other_sentences_are_not_put_side_by_side() {
    let shop = Workshop::new();
    let unit = |ids: [&str; 3]| Made {
        clip: None,
        rows: ids.map(|id| (Some(id.to_owned()), false)).to_vec(),
        ..Made::windows("v", "v", None, 0)
    };
    store(&shop.path("out"), &contract("one", RowKind::Token, 2, 0.0), &[unit(["q1", "q1", "q2"])]);
    store(&shop.path("out"), &contract("two", RowKind::Token, 2, 0.0), &[unit(["q1", "q2", "q2"])]);
    let source = joined(&shop, "one", "two", JoinRows::Pad, RowRule::default()).unwrap();
    let why = source.read(source.entries().next().unwrap()).err().unwrap().to_string();
    assert!(why.contains("row 1 is of query \"q1\" in the former, of \"q2\" in the latter"), "{why}");
}
