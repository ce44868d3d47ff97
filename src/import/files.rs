//! Files of features as other people keep them: one array `[rows, dim]` for each clip, or for each query.
//!
//! `.pt` of either form (a tensor or array, a dict with one, a dict of EgoVLPv2's for a query), `.npy`, `.npz`, an LMDB of
//! these (GroundNLQ's), and HDF5 with a dataset per clip or a group per clip that has a dataset `features`. Not for what the
//! rows mean. Invariant: nothing in a pickle is run, one array is read at a time, and what a folder holds besides is counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::error::EXTENSIONS;
use super::lmdb::{self, Lmdb};
use super::{ImportError, hdf5, readers};
use crate::checkpoint::Saved;
use crate::ids::ClipUid;

/// Where the array of one clip lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Torch(PathBuf),
    Npy(PathBuf),
    Npz { path: PathBuf, member: String },
    Lmdb { path: PathBuf, value: lmdb::Value },
    Hdf5 { path: PathBuf, dataset: String },
}

/// A query whose windows have met it, as EgoVLPv2's NLQ extraction describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The clip.
    pub clip_uid: ClipUid,
    /// `{annotation_uid}_{query_idx}`.
    pub id: String,
    /// Its sentence, prepared.
    pub text: String,
}

/// Where an array lies and, if it is a query's, whose it is.
#[derive(Debug)]
struct Entry {
    place: Place,
    query: Option<Query>,
}

/// The arrays of many clips, or of many queries.
#[derive(Debug, Default)]
pub struct FeatureFiles {
    entries: BTreeMap<ClipUid, Entry>,
    aside: Vec<PathBuf>,
}

impl FeatureFiles {
    /// Lists what the files and folders `paths` hold. A folder without features is searched one folder deeper, by split for
    /// instance. Of a folder other files are passed over; those that look like features and hold none, the shapes or names
    /// of the others for instance, are [`FeatureFiles::aside`].
    ///
    /// # Errors
    /// [`ImportError::NoFeatures`], [`ImportError::Name`], [`ImportError::Twice`], [`ImportError::Mixed`],
    /// [`ImportError::Torch`], [`ImportError::Unreadable`], [`ImportError::Io`].
    pub fn open(paths: &[PathBuf]) -> Result<Self, ImportError> {
        let mut found = Self::default();
        for path in paths {
            let before = found.entries.len();
            let metadata = fs::metadata(path).map_err(ImportError::io("open", path))?;
            if metadata.is_dir() {
                found.add_folder(path, true)?;
            } else {
                found.add(path, false)?;
            }
            if found.entries.len() == before {
                let none = if metadata.is_dir() { "a folder without any" } else { "another file" };
                return Err(ImportError::NoFeatures { path: path.clone(), found: none.to_owned() });
            }
        }
        found.check_kind()?;
        Ok(found)
    }

    fn add_folder(&mut self, folder: &Path, deeper: bool) -> Result<(), ImportError> {
        let map = folder.join(lmdb::FILE);
        if map.is_file() {
            return self.add_map(&map);
        }
        let listed = listed(folder)?;
        let before = self.entries.len();
        listed.iter().filter(|path| is_looked_at(path)).try_for_each(|path| self.add(path, true))?;
        if self.entries.len() == before && deeper {
            let mut folders = listed.iter().filter(|path| path.is_dir());
            folders.try_for_each(|folder| self.add_folder(folder, false))?;
        }
        Ok(())
    }

    /// Adds a file; one of a folder may hold no features.
    fn add(&mut self, path: &Path, of_folder: bool) -> Result<(), ImportError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let before = self.entries.len();
        match extension(path).as_deref() {
            _ if of_folder && is_hidden(path) => {}
            Some("pt" | "pth") => self.add_torch(path, &stem, of_folder)?,
            Some("npy") if of_folder && !holds_rows(path)? => {}
            Some("npy") => self.insert(&stem, Place::Npy(path.to_owned()), None)?,
            Some("npz") => self.add_archive(path, &stem, of_folder)?,
            Some("mdb") => self.add_map(path)?,
            Some("h5" | "hdf5") => {
                for (name, dataset) in hdf5::datasets(path)? {
                    self.insert(&name, Place::Hdf5 { path: path.to_owned(), dataset }, None)?;
                }
            }
            _ => {}
        }
        if self.entries.len() == before && of_folder {
            self.aside.push(path.to_owned());
        }
        Ok(())
    }

    /// A tensor, or a dict that says which query it is about.
    fn add_torch(&mut self, path: &Path, stem: &str, of_folder: bool) -> Result<(), ImportError> {
        let place = || Place::Torch(path.to_owned());
        // Files of other kinds have their say when they are read.
        let Some(saved) = Saved::open(path)? else { return self.insert(stem, place(), None) };
        if let Some(query) = query(&saved, path)? {
            let name = self.query_name(&query);
            return self.insert(&name, place(), Some(query));
        }
        let has_rows = saved.arrays().iter().any(|(_, info)| info.dtype.is_float() && readers::is_of_rows(&info.shape));
        if has_rows || !of_folder { self.insert(stem, place(), None) } else { Ok(()) }
    }

    /// The name of a query's unit; as in the tables of `egofx manifest nlq`, an id that occurs under another clip too gets
    /// the clip's name behind it.
    fn query_name(&self, query: &Query) -> String {
        let known = ClipUid::parse(&query.id).ok().and_then(|id| self.entries.get(&id)?.query.as_ref());
        match known {
            Some(first) if first.clip_uid != query.clip_uid => format!("{}_{}", query.id, query.clip_uid),
            _ => query.id.clone(),
        }
    }

    /// One array that bears the file's name, or several with names of their own.
    fn add_archive(&mut self, path: &Path, stem: &str, of_folder: bool) -> Result<(), ImportError> {
        let members = readers::npz_members(path)?;
        let place = |member: &str| Place::Npz { path: path.to_owned(), member: member.to_owned() };
        match &members[..] {
            [] if !of_folder => Err(readers::unreadable(path, "an .npz with an array [rows, dim]", "none")),
            [member] => self.insert(stem, place(member), None),
            members => members.iter().try_for_each(|member| self.insert(member, place(member), None)),
        }
    }

    fn add_map(&mut self, path: &Path) -> Result<(), ImportError> {
        let listed = Lmdb::list(path).map_err(|why| readers::unreadable(path, "an LMDB of features", why))?;
        listed.into_iter().try_for_each(|(key, value)| {
            let place = Place::Lmdb { path: path.to_owned(), value };
            self.insert(&String::from_utf8_lossy(&key), place, None)
        })
    }

    fn insert(&mut self, name: &str, place: Place, query: Option<Query>) -> Result<(), ImportError> {
        let path = || place.path().to_owned();
        let clip_uid = ClipUid::parse(name).map_err(|cause| ImportError::Name { path: path(), cause })?;
        if let Some(first) = self.entries.get(&clip_uid) {
            return Err(ImportError::Twice { clip_uid, first: first.place.path().to_owned(), second: path() });
        }
        self.entries.insert(clip_uid, Entry { place, query });
        Ok(())
    }

    /// Arrays of clips and arrays of queries are no one set.
    fn check_kind(&self) -> Result<(), ImportError> {
        let first = |of_query: bool| self.entries.values().find(|entry| entry.query.is_some() == of_query);
        match (first(true), first(false)) {
            (Some(query), Some(clip)) => {
                Err(ImportError::Mixed { query: query.place.path().to_owned(), clip: clip.place.path().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Files of the folders that look like features and hold none.
    pub fn aside(&self) -> &[PathBuf] {
        &self.aside
    }

    /// Whether each array is a query's, of whose clip the windows have met it.
    pub fn are_of_queries(&self) -> bool {
        self.entries.values().any(|entry| entry.query.is_some())
    }

    /// The query that an array has met.
    pub fn query(&self, name: &ClipUid) -> Option<&Query> {
        self.entries.get(name)?.query.as_ref()
    }

    /// The names of clips, or of queries, in order.
    pub fn clips(&self) -> impl Iterator<Item = &ClipUid> {
        self.entries.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: where nothing is found, nothing is opened.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file that holds an array.
    pub fn path(&self, name: &ClipUid) -> Option<&Path> {
        self.entries.get(name).map(|entry| entry.place.path())
    }

    /// The array of a clip or query, `[rows, dim]`, in single precision; `None` if there is no such one.
    ///
    /// # Errors
    /// [`ImportError::Shape`], [`ImportError::Torch`], [`ImportError::Unreadable`], [`ImportError::Io`].
    pub fn read(&self, name: &ClipUid) -> Result<Option<Array2<f32>>, ImportError> {
        let Some(Entry { place, .. }) = self.entries.get(name) else { return Ok(None) };
        match place {
            Place::Torch(path) => readers::torch(path),
            Place::Npy(path) => readers::npy(path),
            Place::Npz { path, member } => readers::npz(path, member),
            Place::Lmdb { path, value } => {
                let bytes = lmdb::read(path, *value).map_err(ImportError::io("read", path))?;
                readers::value(&path.join(name.as_str()), &bytes)
            }
            Place::Hdf5 { path, dataset } => hdf5::array(path, dataset),
        }
        .map(Some)
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Torch(path) | Self::Npy(path) => path,
            Self::Npz { path, .. } | Self::Lmdb { path, .. } | Self::Hdf5 { path, .. } => path,
        }
    }
}

/// The query of a dict that EgoVLPv2's NLQ extraction wrote; `None` for other files.
fn query(saved: &Saved, path: &Path) -> Result<Option<Query>, ImportError> {
    let words = ["vid", "annotation_uid", "query"].map(|name| saved.text(name));
    let ([Some(clip), Some(annotation), Some(text)], Some(index)) = (words, saved.int("query_idx")) else {
        return Ok(None);
    };
    let clip_uid = ClipUid::parse(clip).map_err(|cause| ImportError::Name { path: path.to_owned(), cause })?;
    Ok(Some(Query { clip_uid, id: format!("{annotation}_{index}"), text: text.to_owned() }))
}

/// Whether an `.npy` has an array of rows.
fn holds_rows(path: &Path) -> Result<bool, ImportError> {
    let header = readers::npy_header(path)?;
    Ok(header.is_float() && readers::is_of_rows(&header.shape))
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_ascii_lowercase())
}

/// What file managers and copying programs leave behind.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_looked_at(path: &Path) -> bool {
    extension(path).is_some_and(|ext| EXTENSIONS.contains(&ext.as_str())) && path.is_file()
}

/// What a folder has, in order.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let entries = fs::read_dir(folder).map_err(ImportError::io("list", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(ImportError::io("list", folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ndarray::{Array1, array};
    use ndarray_npy::WriteNpyExt;

    use super::*;
    use crate::checkpoint::{Tensor, Value, none_announced, write_torch_value};

    fn values() -> Array2<f32> {
        array![[1.0, -2.5], [0.0, 1e-3], [7.0, 8.0]]
    }

    fn torch(path: &Path, value: &Value) {
        write_torch_value(File::create(path).unwrap(), value, none_announced).unwrap();
    }

    fn read(files: &FeatureFiles, name: &str) -> Result<Option<Array2<f32>>, ImportError> {
        files.read(&ClipUid::parse(name).unwrap())
    }

    #[test]
    fn every_kind_of_file_gives_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let flat: Vec<f32> = values().iter().copied().collect();
        let tensor = || Value::Tensor(Tensor::from_f32(vec![3, 2], &flat));
        torch(&at("bare.pt"), &tensor());
        torch(&at("dict.pth"), &Value::Dict(vec![("features".into(), tensor()), ("fps".into(), Value::Float(1.87))]));
        values().write_npy(File::create(at("single.npy")).unwrap()).unwrap();
        values()
            .mapv(f64::from)
            .reversed_axes()
            .as_standard_layout()
            .reversed_axes()
            .write_npy(File::create(at("fortran.npy")).unwrap())
            .unwrap();
        let file = ::hdf5::File::create(at("many.h5")).unwrap();
        file.new_dataset_builder().with_data(values().view()).create("flat").unwrap();
        file.create_group("grouped")
            .unwrap()
            .new_dataset_builder()
            .with_data(values().mapv(f64::from).view())
            .create("features")
            .unwrap();
        file.close().unwrap();
        let batch = |shape: &[usize]| Value::Tensor(Tensor::from_f32(shape.to_vec(), &flat));
        torch(&at("batch.pt"), &batch(&[1, 3, 2]));
        torch(&at("kept.pt"), &batch(&[3, 1, 1, 2]));
        fs::write(at("feature_shapes.json"), "{}").unwrap();
        fs::write(at("._bare.pt"), "of a file manager").unwrap();
        Array1::<f32>::zeros(3).write_npy(File::create(at("times.npy")).unwrap()).unwrap();
        torch(&at("classes.pt"), &Value::Dict(vec![("put".into(), Value::Int(1))]));
        let files = FeatureFiles::open(&[folder.path().to_owned()]).unwrap();
        let names: Vec<&str> = files.clips().map(ClipUid::as_str).collect();
        assert_eq!(names, ["bare", "batch", "dict", "flat", "fortran", "grouped", "kept", "single"]);
        let aside: Vec<&str> = files.aside().iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(aside, ["._bare.pt", "classes.pt", "times.npy"], "they are counted");
        for name in names {
            assert_eq!(read(&files, name).unwrap().unwrap(), values(), "{name}");
        }
        assert!(read(&files, "absent").unwrap().is_none());
    }

    #[test]
    fn what_holds_no_features_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |paths: &[&str], words: &str| {
            let paths: Vec<PathBuf> = paths.iter().map(|name| at(name)).collect();
            let read = FeatureFiles::open(&paths).and_then(|files| {
                let clips: Vec<ClipUid> = files.clips().cloned().collect();
                clips.iter().try_for_each(|clip| files.read(clip).map(drop))
            });
            let error = read.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
        };
        fs::create_dir(at("empty")).unwrap();
        refused(
            &["empty"],
            "expected .pt, .pth, .npy, .npz, .h5, .hdf5 or a folder with such, found a folder without any",
        );
        fs::write(at("x.txt"), "").unwrap();
        refused(&["x.txt"], "found another file");
        refused(&["absent"], "cannot open");
        fs::write(at("bad name.npy"), "").unwrap();
        refused(&["bad name.npy"], "its name cannot be a clip's: uid \"bad name\" contains ' '");
        fs::write(at("a.npy"), "not numpy").unwrap();
        refused(&["a.npy"], "expected an .npy of type f2, f4 or f8 with two axes, found");
        Array1::<f32>::zeros(3).write_npy(File::create(at("one.npy")).unwrap()).unwrap();
        refused(&["one.npy"], "expected an .npy of type f2, f4 or f8 with two axes");
        torch(&at("cube.pt"), &Value::Tensor(Tensor::from_f32(vec![2, 1, 2, 2], &[0.0; 8])));
        refused(&["cube.pt"], "expected an array [rows, dim] with at least one row, found shape [2, 1, 2, 2]");
        torch(&at("ints.pt"), &Value::Tensor(Tensor::from_i64(vec![1, 1], &[7])));
        refused(&["ints.pt"], "expected floating-point numbers, found a tensor of i64");
        torch(&at("none.pt"), &Value::Tensor(Tensor::from_f32(vec![0, 2], &[])));
        refused(&["none.pt"], "found shape [0, 2]");
        fs::write(at("b.h5"), "not hdf5").unwrap();
        refused(&["b.h5"], "expected an HDF5 file with a dataset [rows, dim] for each clip");
        values().write_npy(File::create(at("cube.npy")).unwrap()).unwrap();
        refused(&["cube.pt", "cube.npy"], "clip cube lies in");
    }
}
