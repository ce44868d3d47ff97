//! Videos whose frames show two eyes side by side: a recipe may see the left one alone, where the manifest says which they are.

use crate::support::{DENSE, Workshop, row_bits};

const LOSSLESS: &str = "-frames:v 20 -c:v ffv1 -pix_fmt bgr0";

/// `one.mkv`, and `two.mkv`, which has it on its left and another picture on its right.
fn shop() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.ffmpeg(&format!("-f lavfi -i testsrc2=s=64x48:r=25 {LOSSLESS} one.mkv"));
    let beside = "[0]split[a][b];[b]negate[c];[a][c]hstack";
    shop.ffmpeg(&format!("-f lavfi -i testsrc2=s=64x48:r=25 -filter_complex {beside} {LOSSLESS} two.mkv"));
    shop.recipe("halves", DENSE, "hdf5", "f32");
    let text = std::fs::read_to_string(shop.path("halves.toml")).unwrap();
    shop.write("halves.toml", text.replace("channels", "reader = \"pyav\"\nstereo = \"left-half\"\nchannels"));
    shop.write("wholes.toml", text.replace("channels", "reader = \"pyav\"\nchannels"));
    shop
}

fn manifest(shop: &Workshop, [one, two]: [&str; 2]) {
    shop.write("all.csv", format!("video_uid,path,is_stereo\none,one.mkv,{one}\ntwo,two.mkv,{two}\n"));
}

#[test]
fn the_left_half_of_a_stereo_video_makes_the_rows_of_the_video_that_it_is() {
    let shop = shop();
    manifest(&shop, ["false", "True"]);
    let extract = |recipes: &str, out: &str| shop.egofx(&format!("extract -m all.csv {recipes} -o {out}"));
    extract("-p halves.toml -p wholes.toml", "out").ends_with(0);
    let unit = |set: &str, uid: &str| shop.unit(&format!("out/{set}"), uid);
    assert_eq!(row_bits(&unit("halves", "two")), row_bits(&unit("halves", "one")));
    assert_eq!(row_bits(&unit("wholes", "one")), row_bits(&unit("halves", "one")));
    assert_ne!(row_bits(&unit("wholes", "two")), row_bits(&unit("wholes", "one")));
    let is_told = |uid: &str| unit("halves", uid).header.notes.iter().any(|note| note.starts_with("the left half"));
    assert!(is_told("two") && !is_told("one"));
    shop.egofx("verify out").ends_with(0);
    // Rows of the one are no rows of the other.
    manifest(&shop, ["false", ""]);
    extract("-p halves.toml", "out").ends_with(2).says(&["unit two was planned as"]);
    extract("-p wholes.toml", "out").ends_with(0);
}

/// Nothing says which videos are stereo: all of them are seen whole, and people are told.
#[test]
fn a_manifest_without_the_column_is_told_of_and_so_is_what_a_header_says() {
    let shop = shop();
    shop.ffmpeg("-i two.mkv -c copy -metadata:s:v:0 stereo_mode=left_right three.mkv");
    shop.write("all.csv", "video_uid,path\none,one.mkv\nthree,three.mkv\n");
    let words = "recipe halves sees the left half of stereo videos, and no clip of all says in a column is_stereo";
    shop.egofx("extract -m all.csv -p halves.toml -p wholes.toml -o out").ends_with(0).says(&[words]);
    let unit = |set: &str, uid: &str| shop.unit(&format!("out/{set}"), uid);
    assert_eq!(row_bits(&unit("halves", "three")), row_bits(&unit("wholes", "three")));
    let is_told = |set: &str, uid: &str| unit(set, uid).header.notes.iter().any(|note| note.contains("(side by side)"));
    assert!(is_told("halves", "three") && !is_told("wholes", "three") && !is_told("halves", "one"));
}

#[test]
fn a_manifest_that_does_not_tell_which_videos_are_stereo_is_refused_where_it_counts() {
    let shop = shop();
    manifest(&shop, ["no", "yes"]);
    let words =
        "recipe halves sees the left half of stereo videos: clip one: is_stereo is \"no\", expected true or false";
    shop.egofx("extract -m all.csv -p halves.toml -o never").ends_with(2).says(&[words]);
    assert!(!shop.path("never").exists());
    shop.egofx("extract -m all.csv -p wholes.toml -o out").ends_with(0);
    let text = std::fs::read_to_string(shop.path("halves.toml")).unwrap();
    shop.write("halves.toml", text.replace("reader = \"pyav\"\n", ""));
    shop.egofx("extract -m all.csv -p halves.toml -o never")
        .ends_with(2)
        .says(&["expected a transform.reader beside it"]);
}
