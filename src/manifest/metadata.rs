//! `ego4d.json`, the metadata of all videos of Ego4D, to entries.
//!
//! Not for annotations of single benchmarks. Each element of `videos` is a whole video; fields that are missing, null
//! or of another type than usual are treated as absent, and simple further ones are kept as texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::columns::{self, is_reserved};
use super::error::listed;
use super::gather::{About, Entry, Notes, Parsed};
use super::{ManifestError, Place, RejectReason};
use crate::ids::VideoUid;

/// Reads `text`, the contents of `path` without byte order mark.
pub(super) fn read(path: &Path, text: &str) -> Result<Parsed, ManifestError> {
    let top: Value =
        serde_json::from_str(text).map_err(|cause| ManifestError::Json { path: path.to_owned(), cause })?;
    let Some(videos) = top.get("videos").and_then(Value::as_array) else {
        return Err(ManifestError::NoVideos { path: path.to_owned(), found: outline(&top) });
    };
    let mut parsed = Parsed::new(Place::Entry);
    for (number, video) in (1..).zip(videos) {
        parsed.notes.at(number);
        let entry = entry_of(number, video, &mut parsed.notes);
        parsed.push(number, entry.map(Some));
    }
    Ok(parsed)
}

fn outline(top: &Value) -> String {
    match top {
        Value::Object(fields) if fields.contains_key("videos") => format!("`videos` as {}", kind(&fields["videos"])),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => format!("an object with {}", listed(&fields.keys().cloned().collect::<Vec<_>>())),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn entry_of(number: u64, video: &Value, notes: &mut Notes) -> Result<Entry, RejectReason> {
    let fields = video.as_object().ok_or(RejectReason::NotObject { found: kind(video) })?;
    let uid = fields.get("video_uid").and_then(text).unwrap_or_default();
    let uid = VideoUid::parse(&uid).map_err(|cause| RejectReason::Uid { column: "video_uid", cause })?;
    let about = about(fields, notes);
    let extra = extra(fields);
    Ok(Entry { line: number, video_uid: uid, clip_uid: None, start_sec: None, end_sec: None, about, extra })
}

fn about(fields: &Map<String, Value>, notes: &mut Notes) -> About {
    let metadata = fields.get("video_metadata");
    let inner = |name: &str| metadata?.get(name).and_then(text);
    let outer = |names: &[&str]| names.iter().find_map(|name| fields.get(*name).and_then(text));
    let duration = outer(columns::DURATION_SEC).or_else(|| inner("mp4_duration_sec"));
    let frames = inner("num_frames").or_else(|| outer(columns::NUM_FRAMES));
    let fps = inner("fps").or_else(|| outer(columns::FPS));
    let mut about = About::default();
    about.parse(duration.as_deref(), frames.as_deref(), fps.as_deref(), notes);
    about
}

/// A value as the cell of a table; `None` where a cell would be empty or make no sense.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::from(text.trim())).filter(|text| !text.is_empty()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn extra(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let kept = |(name, value): (&String, &Value)| {
        let name = Some(name.trim()).filter(|name| !name.is_empty() && !is_reserved(name))?;
        let text = text(value).or_else(|| texts(value))?;
        Some((name.to_owned(), text.into_owned()))
    };
    fields.iter().filter_map(kept).collect()
}

/// Lists such as `scenarios`, as JSON.
fn texts(value: &Value) -> Option<Cow<'_, str>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().all(|item| text(item).is_some()).then(|| value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Rejected;
    use crate::time::Fps;

    fn parsed(text: &str) -> Result<Parsed, ManifestError> {
        read(Path::new("ego4d.json"), text)
    }

    #[test]
    fn fields_of_any_type_are_tolerated() {
        let text = r#"{"version": "2", "videos": [
            {"video_uid": " a ", "duration_sec": null, "split_em": null, "fps": 7, "is_stereo": false,
             "scenarios": ["Cooking", "Walk, outside"], "redacted": [{"x": 1}], "device": " GoPro ", "note": " ",
             "video_metadata": {"fps": 29.97002997, "num_frames": 300, "mp4_duration_sec": "10.5", "new": {}}},
            {"video_uid": "b", "duration_sec": 3, "video_metadata": null},
            {"video_uid": "c", "duration_sec": "long", "video_metadata": {"fps": 0, "num_frames": [1]}}]}"#;
        let parsed = parsed(text).unwrap();
        let about = &parsed.entries[0].about;
        assert_eq!((about.duration_sec, about.num_frames, about.fps), (Some(10.5), Some(300), Fps::new(30000, 1001)));
        let extra: Vec<_> = parsed.entries[0].extra.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let scenarios = r#"["Cooking","Walk, outside"]"#;
        assert_eq!(extra, [("device", "GoPro"), ("is_stereo", "false"), ("scenarios", scenarios)]);
        assert_eq!((parsed.entries[1].about.duration_sec, parsed.entries[2].about.duration_sec), (Some(3.0), None));
        assert!(parsed.rejected.is_empty());
    }

    #[test]
    fn a_bad_element_costs_only_itself() {
        let parsed = parsed(r#"{"videos": [null, {"video_uid": "../x"}, {"duration_sec": 3}, {"video_uid": "a"}]}"#);
        let parsed = parsed.unwrap();
        let texts: Vec<_> = parsed.rejected.iter().map(Rejected::to_string).collect();
        assert_eq!(texts[0], "video 1: expected an object, found null");
        assert!(texts[1].starts_with("video 2: video_uid: uid \"../x\" contains '.'"), "{texts:?}");
        assert_eq!(texts[2], "video 3: video_uid: a uid is empty");
        assert_eq!(parsed.entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn malformed_or_other_json_says_where_and_what() {
        let error = |text| parsed(text).err().unwrap().to_string();
        assert!(
            error("{\"videos\": [\n  {,\n]}").contains("at line 2 column 4"),
            "{}",
            error("{\"videos\": [\n  {,\n]}")
        );
        let expected = "ego4d.json: expected an object with an array `videos`, found";
        assert_eq!(error(r#"{"version": 1, "clips": []}"#), format!("{expected} an object with version, clips"));
        assert_eq!(error(r#"{"videos": {}}"#), format!("{expected} `videos` as an object"));
        assert_eq!(error("[]"), format!("{expected} an array"));
        assert_eq!(error("{}"), format!("{expected} an empty object"));
    }
}
