//! Files of features as other people keep them: one array `[rows, dim]` for each clip.
//!
//! `.pt` (a tensor, or a dict with one), `.npy`, and HDF5 with a dataset per clip or a group per clip that has a dataset
//! `features`. Not for what the rows mean. Invariant: nothing in a pickle is run, and one array is read at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hdf5::types::TypeDescriptor;
use ndarray::Array2;
use ndarray_npy::{ReadNpyError, ReadNpyExt};

use super::ImportError;
use crate::checkpoint::read_one_tensor;
use crate::ids::ClipUid;
use crate::store::hdf5::open_file;

/// Extensions of files that are looked at.
pub const EXTENSIONS: [&str; 5] = ["pt", "pth", "npy", "h5", "hdf5"];

/// Where the array of one clip lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Torch(PathBuf),
    Npy(PathBuf),
    Hdf5 { path: PathBuf, dataset: String },
}

/// The arrays of many clips.
#[derive(Debug, Default)]
pub struct FeatureFiles {
    clips: BTreeMap<ClipUid, Place>,
}

impl FeatureFiles {
    /// Lists what the files and folders `paths` hold; folders are not searched deeper, and other files in them are passed
    /// over.
    ///
    /// # Errors
    /// [`ImportError::NoFeatures`], [`ImportError::Name`], [`ImportError::Twice`], [`ImportError::Unreadable`],
    /// [`ImportError::Io`].
    pub fn open(paths: &[PathBuf]) -> Result<Self, ImportError> {
        let mut found = Self::default();
        for path in paths {
            let before = found.clips.len();
            let metadata = fs::metadata(path).map_err(ImportError::io("open", path))?;
            let files = if metadata.is_dir() { files_in(path)? } else { vec![path.clone()] };
            files.iter().try_for_each(|file| found.add(file))?;
            if found.clips.len() == before {
                let none = if metadata.is_dir() { "a folder without any" } else { "another file" };
                return Err(ImportError::NoFeatures { path: path.clone(), found: none.to_owned() });
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path) -> Result<(), ImportError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match extension(path).as_deref() {
            Some("pt" | "pth") => self.insert(&stem, Place::Torch(path.to_owned())),
            Some("npy") => self.insert(&stem, Place::Npy(path.to_owned())),
            Some("h5" | "hdf5") => {
                let datasets = datasets(path)?;
                let place = |dataset: String| Place::Hdf5 { path: path.to_owned(), dataset };
                datasets.into_iter().try_for_each(|(name, dataset)| self.insert(&name, place(dataset)))
            }
            _ => Ok(()),
        }
    }

    fn insert(&mut self, name: &str, place: Place) -> Result<(), ImportError> {
        let path = || place.path().to_owned();
        let clip_uid = ClipUid::parse(name).map_err(|cause| ImportError::Name { path: path(), cause })?;
        if let Some(first) = self.clips.get(&clip_uid) {
            return Err(ImportError::Twice { clip_uid, first: first.path().to_owned(), second: path() });
        }
        self.clips.insert(clip_uid, place);
        Ok(())
    }

    /// The clips, in order.
    pub fn clips(&self) -> impl Iterator<Item = &ClipUid> {
        self.clips.keys()
    }

    /// How many clips there are.
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Never: where nothing is found, nothing is opened.
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// The file that holds a clip.
    pub fn path(&self, clip_uid: &ClipUid) -> Option<&Path> {
        self.clips.get(clip_uid).map(Place::path)
    }

    /// The array of a clip, `[rows, dim]`, in single precision; `None` if there is no such clip.
    ///
    /// # Errors
    /// [`ImportError::Shape`], [`ImportError::Torch`], [`ImportError::Unreadable`], [`ImportError::Io`].
    pub fn read(&self, clip_uid: &ClipUid) -> Result<Option<Array2<f32>>, ImportError> {
        let Some(place) = self.clips.get(clip_uid) else { return Ok(None) };
        let array = match place {
            Place::Torch(path) => read_torch(path),
            Place::Npy(path) => read_npy(path),
            Place::Hdf5 { path, dataset } => read_hdf5(path, dataset),
        }?;
        if array.is_empty() {
            return Err(ImportError::Shape { path: place.path().to_owned(), found: array.shape().to_vec() });
        }
        Ok(Some(array))
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Torch(path) | Self::Npy(path) | Self::Hdf5 { path, .. } => path,
        }
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_ascii_lowercase())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let entries = fs::read_dir(folder).map_err(ImportError::io("list", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(ImportError::io("list", folder))?;
    paths.retain(|path| extension(path).is_some_and(|ext| EXTENSIONS.contains(&ext.as_str())) && path.is_file());
    paths.sort();
    Ok(paths)
}

fn read_torch(path: &Path) -> Result<Array2<f32>, ImportError> {
    let tensor = read_one_tensor(path)?;
    let &[rows, dim] = tensor.shape.as_slice() else {
        return Err(ImportError::Shape { path: path.to_owned(), found: tensor.shape });
    };
    let found = tensor.dtype.name();
    let values = tensor.to_f32().map_err(|_| unreadable(path, FLOATS, format!("a tensor of {found}")))?;
    Array2::from_shape_vec((rows, dim), values).map_err(|error| unreadable(path, FLOATS, error))
}

const FLOATS: &str = "floating-point numbers";
const NPY: &str = "an .npy of type f4 or f8 with two axes";
const HDF5: &str = "an HDF5 file with a dataset [rows, dim] for each clip";

fn unreadable(path: &Path, expected: &'static str, found: impl ToString) -> ImportError {
    ImportError::Unreadable { path: path.to_owned(), expected, found: found.to_string() }
}

fn read_npy(path: &Path) -> Result<Array2<f32>, ImportError> {
    let open = || File::open(path).map(BufReader::new).map_err(ImportError::io("open", path));
    match Array2::<f32>::read_npy(open()?) {
        Err(ReadNpyError::WrongDescriptor(_)) => {
            let doubles = Array2::<f64>::read_npy(open()?).map_err(|error| unreadable(path, NPY, error))?;
            Ok(doubles.mapv(|value| value as f32))
        }
        array => array.map_err(|error| unreadable(path, NPY, error)),
    }
}

/// Names of clips, and where their features lie in the file.
fn datasets(path: &Path) -> Result<Vec<(String, String)>, ImportError> {
    let list = || -> Result<Vec<(String, String)>, hdf5::Error> {
        let file = open_file(path)?;
        // One unit of a store: its name is the file's.
        if file.link_exists("features") && file.dataset("features").is_ok() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(vec![(stem, "features".to_owned())]);
        }
        let names = file.member_names()?.into_iter();
        let place = |name: String| match file.group(&name) {
            Ok(_) => (name.clone(), format!("{name}/features")),
            Err(_) => (name.clone(), name),
        };
        Ok(names.map(place).collect())
    };
    list().map_err(|error| unreadable(path, HDF5, error))
}

fn read_hdf5(path: &Path, name: &str) -> Result<Array2<f32>, ImportError> {
    let refused = |error: hdf5::Error| unreadable(path, HDF5, format!("{name}: {error}"));
    let dataset = open_file(path).and_then(|file| file.dataset(name)).map_err(refused)?;
    let shape = dataset.shape();
    if shape.len() != 2 {
        return Err(ImportError::Shape { path: path.join(name), found: shape });
    }
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()).map_err(refused)? {
        TypeDescriptor::Float(_) => dataset.read_2d::<f32>().map_err(refused),
        other => Err(unreadable(&path.join(name), FLOATS, other)),
    }
}

#[cfg(test)]
mod tests {
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
        let file = hdf5::File::create(at("many.h5")).unwrap();
        file.new_dataset_builder().with_data(values().view()).create("flat").unwrap();
        file.create_group("grouped")
            .unwrap()
            .new_dataset_builder()
            .with_data(values().mapv(f64::from).view())
            .create("features")
            .unwrap();
        file.close().unwrap();
        fs::write(at("feature_shapes.json"), "{}").unwrap();
        let files = FeatureFiles::open(&[folder.path().to_owned()]).unwrap();
        let names: Vec<&str> = files.clips().map(ClipUid::as_str).collect();
        assert_eq!(names, ["bare", "dict", "flat", "fortran", "grouped", "single"]);
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
        refused(&["empty"], "expected .pt, .pth, .npy, .h5, .hdf5 or a folder with such, found a folder without any");
        fs::write(at("x.txt"), "").unwrap();
        refused(&["x.txt"], "found another file");
        refused(&["absent"], "cannot open");
        fs::write(at("bad name.npy"), "").unwrap();
        refused(&["bad name.npy"], "its name cannot be a clip's: uid \"bad name\" contains ' '");
        fs::write(at("a.npy"), "not numpy").unwrap();
        refused(&["a.npy"], "expected an .npy of type f4 or f8 with two axes, found");
        Array1::<f32>::zeros(3).write_npy(File::create(at("one.npy")).unwrap()).unwrap();
        refused(&["one.npy"], "expected an .npy of type f4 or f8 with two axes");
        torch(&at("cube.pt"), &Value::Tensor(Tensor::from_f32(vec![1, 1, 2], &[0.0, 1.0])));
        refused(&["cube.pt"], "expected an array [rows, dim] with at least one row, found shape [1, 1, 2]");
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
