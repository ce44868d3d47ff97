//! CSV to entries: our own manifests and those of Ego4D.
//!
//! Not for grouping rows into videos. One bad row never costs another one, and each keeps the number of its line as an
//! editor shows it.

use std::path::{Path, PathBuf};

use csv::StringRecord;

use super::columns::Header;
use super::gather::{About, Entry, Notes, Parsed};
use super::{ManifestError, Place, RejectReason};
use crate::ids::{ClipUid, VideoUid};
use crate::url;

/// Reads `text`, the contents of `path` without byte order mark.
pub(super) fn read(path: &Path, text: &str) -> Result<Parsed, ManifestError> {
    let folder = folder_of(path)?;
    let error = |cause| ManifestError::Csv { path: path.to_owned(), cause };
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = Header::new(path, reader.headers().map_err(error)?)?;
    let mut parsed = Parsed::new(Place::Line);
    for name in header.repeated() {
        parsed.notes.say(format_args!("column {name} occurs again, the first one counts"));
    }
    let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(error)? {
        let begin = record.position().map_or(0, csv::Position::byte) as usize;
        let line = lines.of(begin);
        parsed.notes.at(line);
        let end = reader.position().byte() as usize;
        let entry = match end == text.len() && is_unclosed(&text.as_bytes()[begin..end]) {
            true => Err(RejectReason::UnclosedQuote),
            false => entry_of(&header, &record, line, &folder, &mut parsed.notes),
        };
        parsed.push(line, entry);
    }
    Ok(parsed)
}

/// Absolute, so that a manifest means the same files wherever it is written to.
fn folder_of(path: &Path) -> Result<PathBuf, ManifestError> {
    let absolute = std::path::absolute(path).map_err(|cause| ManifestError::Read { path: path.to_owned(), cause })?;
    Ok(absolute.parent().map(Path::to_owned).unwrap_or(absolute))
}

/// Counts lines up to a byte. The csv reader's own count lags behind where lines are blank or end in CR LF.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line, from 1, of the first byte from `begin` on that does not end one; `begin` may only grow.
    fn of(&mut self, begin: usize) -> u64 {
        let rest = self.text[begin..].iter();
        let begin = begin + rest.take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let ends = |at: &usize| match self.text[*at] {
            b'\n' => true,
            b'\r' => self.text.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        self.line += (self.at..begin).filter(ends).count() as u64;
        self.at = begin;
        self.line
    }
}

/// Whether a quote swallowed the lines up to the end of the file, given the last row: in sound rows quotes come in
/// pairs, and only a pair can hold a line end.
fn is_unclosed(row: &[u8]) -> bool {
    let row = row.trim_ascii();
    row.contains(&b'\n') && row.iter().filter(|&&byte| byte == b'"').count() % 2 == 1
}

fn entry_of(
    header: &Header,
    record: &StringRecord,
    line: u64,
    folder: &Path,
    notes: &mut Notes,
) -> Result<Option<Entry>, RejectReason> {
    if record.iter().all(str::is_empty) {
        return Ok(None);
    }
    if record.len() != header.names.len() {
        return Err(RejectReason::Columns { found: record.len(), expected: header.names.len() });
    }
    let extra = header.extra(record);
    // Ego4D's manifests of files list annotations and the like beside videos.
    if let ("file_uid", Some(kind @ ("file" | "json"))) = (header.uid_name, extra.get("type").map(String::as_str)) {
        return Err(RejectReason::NotVideo { kind: kind.to_owned() });
    }
    let (video_uid, clip_uid) = uids(header, record)?;
    let start_sec = header.start_sec.cell(record).map(|text| number("start_sec", text)).transpose()?;
    let end_sec = header.end_sec.cell(record).map(|text| number("end_sec", text)).transpose()?;
    let about = about(header, record, folder, notes);
    Ok(Some(Entry { line, video_uid, clip_uid, start_sec, end_sec, about, extra }))
}

fn uids(header: &Header, record: &StringRecord) -> Result<(VideoUid, Option<ClipUid>), RejectReason> {
    let video_uid = VideoUid::parse(header.video_uid.cell(record).unwrap_or_default())
        .map_err(|cause| RejectReason::Uid { column: header.uid_name, cause })?;
    let clip_uid = header.clip_uid.cell(record).map(ClipUid::parse).transpose();
    Ok((video_uid, clip_uid.map_err(|cause| RejectReason::Uid { column: "clip_uid", cause })?))
}

fn number(column: &'static str, text: &str) -> Result<f64, RejectReason> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| RejectReason::Number { column, text: text.to_owned() })
}

fn about(header: &Header, record: &StringRecord, folder: &Path, notes: &mut Notes) -> About {
    let cell = |column: &super::columns::Column| column.cell(record);
    let place = |path| if url::is_url(path) { header.has_urls.then(|| path.into()) } else { Some(folder.join(path)) };
    let path = cell(&header.path).and_then(place);
    let mut about = About { path, ..About::default() };
    about.parse(cell(&header.duration_sec), cell(&header.num_frames), cell(&header.fps), notes);
    about
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Rejected;

    fn parsed(text: &str) -> Parsed {
        read(Path::new("/data/m.csv"), text).unwrap()
    }

    fn rejected(text: &str) -> Vec<String> {
        parsed(text).rejected.iter().map(Rejected::to_string).collect()
    }

    fn lines(text: &str) -> Vec<u64> {
        parsed(text).entries.iter().map(|entry| entry.line).collect()
    }

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        assert_eq!(lines("video_uid\na\nb\n"), [2, 3]);
        assert_eq!(lines("video_uid\r\na\r\nb\r\n"), [2, 3]);
        assert_eq!(lines("\n\nvideo_uid\n\na\n\n\nb"), [5, 8]);
        assert_eq!(lines("video_uid\r\n\r\na\r\n\r\nb"), [3, 5]);
        assert_eq!(lines("video_uid,note\na,\"1\n2\n3\"\nb,\n"), [2, 5]);
        assert_eq!(lines("video_uid,\"no\r\nte\"\r\na,\r\nb,\r\n"), [3, 4]);
        assert_eq!(lines("video_uid\ra\rb"), [2, 3]);
    }

    #[test]
    fn rows_of_another_length_are_rejected() {
        let texts = rejected("video_uid,a,b\nv\nv,1,2,3\nw,1,2\n");
        let text = |line, found| format!("line {line}: found {found} columns, expected 3 as in the header");
        assert_eq!(texts, [text(2, 1), text(3, 4)]);
    }

    #[test]
    fn blank_rows_are_nothing() {
        let parsed = parsed("video_uid,a\n,\n   \nv,\n , \n");
        assert_eq!((parsed.entries.len(), parsed.rejected.len()), (1, 0));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_rejected_where_it_opens() {
        let texts = rejected("video_uid,note\nv,\"fine \"\"so\"\" far\nand on\"\nw,\"open\nx,\ny,\n");
        assert_eq!(texts, ["line 4: a quote opens here and is not closed before the end of the file"]);
        assert!(rejected("video_uid,note,more\nv,a 5\" screen,\"1\n2\"\nw,,\n").is_empty());
        assert!(rejected("video_uid,note\nv,a 5\" screen\nw,\n").is_empty());
    }

    #[test]
    fn uids_and_numbers_name_column_and_text() {
        let texts =
            rejected("video_uid,clip_uid,start_sec,end_sec\n../../x,,,\na/b,,,\n,c,,\nv,a b,,\nv,,1,x5\nv,,inf,2");
        let allowed = "letters, digits, '-', '_' and '.' are allowed, and '.' not first";
        assert_eq!(texts[0], format!("line 2: video_uid: uid \"../../x\" contains '.'; {allowed}"));
        assert_eq!(texts[1], format!("line 3: video_uid: uid \"a/b\" contains '/'; {allowed}"));
        assert_eq!(texts[2], "line 4: video_uid: a uid is empty");
        assert_eq!(texts[3], format!("line 5: clip_uid: uid \"a b\" contains ' '; {allowed}"));
        assert_eq!(texts[4], "line 6: end_sec \"x5\" is not a finite number");
        assert_eq!(texts[5], "line 7: start_sec \"inf\" is not a finite number");
    }

    #[test]
    fn paths_are_absolute_and_urls_are_kept() {
        let parsed = parsed("video_uid,path\na,clips/a.mp4\nb,/x/b.mp4\nc,s3://bucket/c.mp4\nd,\n");
        let paths: Vec<_> = parsed.entries.iter().map(|entry| entry.about.path.as_deref()).collect();
        assert_eq!(
            paths,
            [
                Some(Path::new("/data/clips/a.mp4")),
                Some(Path::new("/x/b.mp4")),
                Some(Path::new("s3://bucket/c.mp4")),
                None
            ]
        );
        assert!(folder_of(Path::new("m.csv")).unwrap().is_absolute());
    }

    #[test]
    fn file_manifests_list_videos_and_other_files() {
        assert_eq!(rejected("file_uid,type\na,video\nb,json\n"), ["line 3: type \"json\" is not a video"]);
        assert!(rejected("video_uid,type\na,json\n").is_empty());
    }
}
