//! Which concepts each shot shows: `Tags.mat` as published, or JSON.
//!
//! Not for their names: the metric only counts those that two shots share. Every shot of a video has the same number of
//! concepts.

use std::fs;
use std::io;
use std::path::Path;

use matrw::MatVariable;

use super::MetricError;
use crate::benchmark::json::Pairs;
use crate::foreign::{self, Fault, Request};
use crate::metric::files;

/// The shots of a video, the concepts of each.
pub type ShotTags = Vec<Vec<bool>>;

/// The variable of `Tags.mat`.
const VARIABLE: &str = "Tags";
/// How MATLAB begins a file of version 5 to 7.
const WORDS: &[u8] = b"MATLAB 5.0 MAT-file, ";
const DAMAGED: &str = "it is damaged or something else";
/// The type of a variable that is compressed.
const COMPRESSED: u32 = 15;
/// The field of each of its videos.
const FIELD: &str = "Bin_Vecs";

/// Videos by name. A MATLAB file numbers them: the first is `P01`.
///
/// # Errors
///
/// Files of another kind or layout; shots with different numbers of concepts.
pub fn read_tags(path: &Path) -> Result<Vec<(String, ShotTags)>, MetricError> {
    let videos = if files::is_of(path, "mat") { from_matlab(path)? } else { from_json(path)? };
    for (video, shots) in &videos {
        let expected = shots.first().map_or(0, Vec::len);
        if let Some((shot, tags)) = shots.iter().enumerate().find(|(_, tags)| tags.len() != expected) {
            let found = format!("{} in shot {} of {video}", tags.len(), shot + 1);
            return Err(MetricError::unexpected(path, format!("{expected} concepts in each shot"), found));
        }
    }
    Ok(videos)
}

/// The shots of one video of a file at `path`.
///
/// # Errors
///
/// A video that is not among them.
pub fn tags_of<'t>(tags: &'t [(String, ShotTags)], video: &str, path: &Path) -> Result<&'t ShotTags, MetricError> {
    let names = || tags.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let found = tags.iter().find(|(name, _)| name == video);
    found.map(|(_, shots)| shots).ok_or_else(|| MetricError::unexpected(path, format!("tags of {video}"), names()))
}

fn from_json(path: &Path) -> Result<Vec<(String, ShotTags)>, MetricError> {
    let file: Pairs<Vec<Vec<f64>>> = files::read_json(path)?;
    let bits = |shots: Vec<Vec<f64>>| shots.into_iter().map(|tags| bits(&tags)).collect();
    Ok(file.0.into_iter().map(|(video, shots)| (video, bits(shots))).collect())
}

fn bits(tags: &[f64]) -> Vec<bool> {
    tags.iter().map(|tag| *tag > 0.0).collect()
}

/// What [`answer`] is asked for by.
pub const WHAT: &str = "tags";

/// The tags of `Tags.mat` as JSON, for a program that reads them for another ([`foreign::serve`]).
///
/// # Errors
/// What [`read_tags`] says of the file.
pub fn answer(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    foreign::expect(path, length.saturating_mul(foreign::MOST_GROWTH))?;
    let tags = parsed(path).map_err(|error| error.to_string())?;
    serde_json::to_vec(&tags).map_err(|error| error.to_string())
}

/// The reader believes how many values there are and how deep they lie, so that another process has to find out.
fn from_matlab(path: &Path) -> Result<Vec<(String, ShotTags)>, MetricError> {
    let unreadable = |cause: String| MetricError::Matlab { path: path.to_owned(), cause };
    match foreign::ask(&Request { what: WHAT, path: path.to_owned(), name: String::new() }) {
        // In its own words.
        None | Some(Err(Fault::Refused(_))) => parsed(path),
        Some(Ok(tags)) => serde_json::from_slice(&tags).map_err(|error| unreadable(error.to_string())),
        Some(Err(fault)) => Err(unreadable(fault.to_string())),
    }
}

fn parsed(path: &Path) -> Result<Vec<(String, ShotTags)>, MetricError> {
    let mut bytes = fs::read(path).map_err(|cause| MetricError::Read { path: path.to_owned(), cause })?;
    name_version(&mut bytes);
    let unreadable = |cause: &str| MetricError::Matlab { path: path.to_owned(), cause: cause.to_owned() };
    if !is_whole(&bytes) {
        return Err(unreadable(DAMAGED));
    }
    let parsed = foreign::parse(|| matrw::load_matfile_from_u8(&bytes));
    let parsed = parsed.map_err(|panicked| unreadable(&panicked.to_string()))?;
    let mut file = parsed.map_err(|error| unreadable(reason(&error)))?;
    let Some(variable) = file.take(VARIABLE) else {
        return Err(MetricError::unexpected(path, format!("a variable {VARIABLE}"), "none"));
    };
    let shots: Option<Vec<ShotTags>> = videos(&variable).into_iter().map(shots).collect();
    match shots.filter(|shots| !shots.is_empty()) {
        Some(shots) => Ok((1..).zip(shots).map(|(number, shots)| (format!("P{number:02}"), shots)).collect()),
        None => {
            let wanted = format!("a row of structures with vectors in {FIELD}");
            Err(MetricError::unexpected(path, wanted, format!("another layout of {VARIABLE}")))
        }
    }
}

/// The reader goes by the words that MATLAB begins a file with. They are free, and scipy has others: what counts is the
/// number of the version behind them.
fn name_version(bytes: &mut [u8]) {
    let is_five = matches!(bytes.get(124..128), Some([0, 1, b'I', b'M'] | [1, 0, b'M', b'I']));
    if let (true, Some(words)) = (is_five, bytes.get_mut(..WORDS.len())) {
        words.copy_from_slice(WORDS);
    }
}

/// Its own words would fill a screen.
fn reason(error: &matrw::MatrwError) -> &'static str {
    match error {
        matrw::MatrwError::MatFile73Error => "it has version 7.3, save it with -v7",
        _ => DAMAGED,
    }
}

/// Whether all variables are there and their checksums match: the reader stops the program where they do not.
fn is_whole(bytes: &[u8]) -> bool {
    let number: fn([u8; 4]) -> u32 = match bytes.get(126..128) {
        Some(b"IM") => u32::from_le_bytes,
        Some(b"MI") => u32::from_be_bytes,
        _ => return false,
    };
    let mut rest = &bytes[128..];
    while !rest.is_empty() {
        let Some(([kind, size], behind)) = rest.split_first_chunk::<8>().map(|(head, behind)| {
            let half = |at: usize| number([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            ([half(0), half(4)], behind)
        }) else {
            return false;
        };
        let Some((content, behind)) = behind.split_at_checked(size as usize) else { return false };
        if kind == COMPRESSED && io::copy(&mut flate2::read::ZlibDecoder::new(content), &mut io::sink()).is_err() {
            return false;
        }
        rest = behind;
    }
    true
}

/// The structures of a row of them; one alone is a row of one.
fn videos(variable: &MatVariable) -> Vec<&MatVariable> {
    match variable {
        MatVariable::StructureArray(row) => row.value.iter().collect(),
        MatVariable::CellArray(row) => row.value.iter().collect(),
        one => vec![one],
    }
}

/// A cell of vectors, or a matrix with one row for each shot.
fn shots(video: &MatVariable) -> Option<ShotTags> {
    let MatVariable::Structure(fields) = video else { return None };
    match fields.get(FIELD)? {
        MatVariable::CellArray(cells) => cells.value.iter().map(|tags| Some(bits(&numbers(tags)?))).collect(),
        matrix @ MatVariable::NumericArray(_) => {
            let (shape, values) = (matrix.dim(), numbers(matrix)?);
            let [shots, concepts] = shape[..] else { return None };
            // Its extents are the file's word, of which the values are the proof.
            if shots.checked_mul(concepts) != Some(values.len()) || concepts == 0 {
                return None;
            }
            // MATLAB goes down the columns.
            let cell = |shot: usize, concept: usize| values.get(concept * shots + shot).is_some_and(|tag| *tag > 0.0);
            let row = |shot: usize| (0..concepts).map(|concept| cell(shot, concept)).collect();
            Some((0..shots).map(row).collect())
        }
        _ => None,
    }
}

/// The values of a numeric array of one of the types that tags come in.
fn numbers(array: &MatVariable) -> Option<Vec<f64>> {
    let doubles = array.to_vec_f64();
    let bytes = || array.to_vec_u8().map(|bytes| bytes.into_iter().map(f64::from).collect());
    let logicals = || array.to_vec_bool().map(|bits| bits.into_iter().map(|bit| f64::from(u8::from(bit))).collect());
    doubles.or_else(bytes).or_else(logicals)
}

#[cfg(test)]
mod tests {
    use super::super::super::samples;
    use super::*;

    #[test]
    fn the_matlab_file_is_read_as_scipy_reads_it() {
        let found = read_tags(&samples::path("qfvs/Tags.mat")).unwrap();
        let expected = samples::json("qfvs/tags.json");
        assert_eq!(found.iter().map(|(video, _)| video.as_str()).collect::<Vec<_>>(), ["P01", "P02", "P03", "P04"]);
        for ((video, shots), expected) in found.iter().zip(expected.as_array().unwrap()) {
            let bit = |tag: &bool| u8::from(*tag);
            let shots: Vec<Vec<u8>> = shots.iter().map(|tags| tags.iter().map(bit).collect()).collect();
            assert_eq!(&serde_json::json!(shots), expected, "{video}");
        }
    }

    fn error_of(name: &str, bytes: impl AsRef<[u8]>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        read_tags(&path).unwrap_err().to_string()
    }

    #[test]
    fn damaged_and_foreign_files_are_errors() {
        let whole = fs::read(samples::path("qfvs/Tags.mat")).unwrap();
        for length in (0..whole.len()).step_by(7) {
            let text = error_of("Tags.mat", &whole[..length]);
            assert!(text.contains("Tags.mat: "), "{length}: {text}");
        }
        let mut flipped = whole.clone();
        flipped[200] ^= 1;
        assert!(error_of("Tags.mat", &flipped).ends_with(DAMAGED));
        assert!(error_of("Tags.mat", "# Created by a person\n").contains("no MATLAB file of version 5 to 7"));
        let text = error_of("Tags.mat", "MATLAB 7.3 MAT-file, ".to_owned() + &" ".repeat(103) + "\0\u{2}IM");
        assert!(text.ends_with("no MATLAB file of version 5 to 7: it has version 7.3, save it with -v7"), "{text}");
        let other = matrw::matfile!(Other: matrw::matvar!([1, 2]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Tags.mat");
        matrw::save_matfile_v7(&path.to_string_lossy(), other, false).unwrap();
        assert!(read_tags(&path).unwrap_err().to_string().ends_with("expected a variable Tags, found none"));
        let other = matrw::matfile!(Tags: matrw::matvar!([1, 2]));
        matrw::save_matfile_v7(&path.to_string_lossy(), other, true).unwrap();
        let text = read_tags(&path).unwrap_err().to_string();
        assert!(text.ends_with("with vectors in Bin_Vecs, found another layout of Tags"), "{text}");
    }

    #[test]
    fn every_shot_must_have_the_same_concepts() {
        let text = error_of("tags.json", "{\"P01\": [[0, 1], [1]]}");
        assert!(text.ends_with("expected 2 concepts in each shot, found 1 in shot 2 of P01"), "{text}");
    }
}
