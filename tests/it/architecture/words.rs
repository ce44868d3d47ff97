//! Words of the project's own that gave way to the field's, and may not come back as names or keys.
//!
//! Comments may use them in their plain sense; a serde alias that keeps an old file readable stands on a line of its own
//! with `alias`.

use super::{body, sources};

/// What was once used, and what stands for it.
const GONE: &[(&str, &str)] = &[
    ("Wish", "WindowRequest"),
    ("wishes", "requests"),
    ("Fate", "WindowOutcomes"),
    ("Landing", "SeekPoint"),
    ("landings", "seek_points"),
    ("Dice", "Uniform"),
    ("dice", "uniform"),
    ("Stretch", "ClipInterval, Segment, Extent"),
    ("stretches", "segments, intervals"),
    ("Pictures", "ImageSequence"),
    ("PictureStream", "ImageStream"),
    ("pictures", "images, frames"),
    ("picture", "image, frame"),
    ("Pieces", "ChunkLength"),
    ("pieces", "chunks"),
    ("EGOCLIP_PIECES", "EGOCLIP_CHUNKS"),
    ("Questions", "TextInputs"),
    ("Reading", "TextInput"),
    ("readings", "text_tasks"),
    ("TextRule", "TokenizationRule"),
    ("Asked", "NlqQuery, PairedSentence"),
    ("asked_of", "clips_of"),
    ("frames_in", "rows_in"),
    ("Judge", "Validator"),
    ("sister", "counterpart"),
    ("Arithmetic", "GraphPrecision"),
    ("Behaviour", "Compat"),
    ("behaviour", "compat"),
    ("made_up", "synthetic"),
    ("made-up", "synthetic"),
    ("hidden_words", "mlm"),
    ("looks", "attention_maps"),
    ("forget_gradients", "zero_grad"),
];

/// Names in code, and words in strings of one word, without comments and lines that keep an old name readable.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains("alias"));
    let code = code.map(|line| line.split(" // ").next().unwrap_or(line));
    code.flat_map(|line| {
        // Every second part stands between quotation marks: of these only keys count, and no messages.
        let parts = line.split('"').enumerate().filter(|(i, part)| i % 2 == 0 || !part.contains(' '));
        parts.flat_map(|(_, part)| part.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')))
    })
}

#[test]
fn words_that_are_gone_stay_away() {
    for (path, text) in sources() {
        for name in names(body(&text)) {
            if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == name) {
                panic!("{}: {name} is {instead} now", path.display());
            }
        }
    }
}

#[test]
fn names_are_told_from_comments_and_messages() {
    let text =
        "let wishes = \"dice\"; // landings\n    // Wish\n#[serde(alias = \"pieces\")]\nsay(\"no pictures here\");\n";
    let found: Vec<&str> = names(text).filter(|name| !name.is_empty()).collect();
    assert_eq!(found, ["let", "wishes", "dice", "say"]);
}
