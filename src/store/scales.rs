//! Dimension scales: they name the axes of HDF5 datasets, so that netCDF's readers, xarray among them, open a unit.
//!
//! The scale `row` numbers the rows from 0, `feature` the features of a row; every other dataset refers to those of its axes.
//! Not for values. Written by the format's rules (`H5DSset_scale`, `H5DSattach_scale`), since the library's own functions
//! are in a part of it that need not be installed. Invariant: called once for a group, when all of its datasets are there.

use std::ffi::c_void;

use ::hdf5::globals::H5T_C_S1;
use ::hdf5::types::VarLenArray;
use ::hdf5::{Dataset, Group, H5Type, ObjectReference1};
use hdf5_sys::h5a::{H5Aclose, H5Acreate2, H5Awrite};
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_class_t, H5Sclose, H5Screate};
use hdf5_sys::h5t::{H5Tclose, H5Tcopy, H5Tset_size};
use ndarray::Array1;

/// Names of the scales, by axis.
const NAMES: [&str; 2] = ["row", "feature"];

/// An entry of a scale's attribute `REFERENCE_LIST`: a dataset and which of its axes.
#[derive(Clone, Copy, H5Type)]
#[repr(C)]
struct Use {
    dataset: ObjectReference1,
    dimension: u32,
}

/// Adds the scales for axes of these `lengths`, `[rows, dim]`, to `group`, and attaches them to its datasets. They are given
/// back to be kept until the file is flushed: a dataset that is closed before writes its rest where errors reach nobody.
///
/// # Errors
/// The library's.
pub(crate) fn add(group: &Group, lengths: [usize; 2]) -> ::hdf5::Result<[Dataset; 2]> {
    let mut names = group.member_names()?;
    names.sort();
    let numbers: Array1<i64> = (0..lengths[0] as i64).collect();
    let row = group.new_dataset_builder().obj_track_times(false).with_data(numbers.view()).create(NAMES[0])?;
    let numbers: Array1<i32> = (0..lengths[1] as i32).collect();
    let feature = group.new_dataset_builder().obj_track_times(false).with_data(numbers.view()).create(NAMES[1])?;
    let references = [reference(group, NAMES[0])?, reference(group, NAMES[1])?];
    let mut uses: [Vec<Use>; 2] = [Vec::new(), Vec::new()];
    for name in names {
        let dataset = group.dataset(&name)?;
        let axes = dataset.ndim().min(NAMES.len());
        for (axis, uses) in uses[..axes].iter_mut().enumerate() {
            uses.push(Use { dataset: reference(group, &name)?, dimension: axis as u32 });
        }
        let scales: Array1<_> = references[..axes].iter().map(|one| VarLenArray::from_slice(&[*one])).collect();
        dataset.new_attr_builder().with_data(scales.view()).create("DIMENSION_LIST")?;
    }
    let made = [row, feature];
    for ((scale, name), uses) in made.iter().zip(NAMES).zip(uses) {
        write_text(scale, c"CLASS", "DIMENSION_SCALE")?;
        write_text(scale, c"NAME", name)?;
        scale.new_attr_builder().with_data(Array1::from(uses).view()).create("REFERENCE_LIST")?;
    }
    Ok(made)
}

fn reference(group: &Group, name: &str) -> ::hdf5::Result<ObjectReference1> {
    group.reference(name)
}

/// Writes an attribute of fixed length that ends in a zero byte: no other kind of text makes a dataset a scale, and the
/// bindings know none that does.
fn write_text(at: &Dataset, name: &std::ffi::CStr, text: &str) -> ::hdf5::Result<()> {
    let bytes = [text.as_bytes(), &[0]].concat();
    // The bindings' own lock: the library is not to be entered twice at a time.
    ::hdf5::sync::sync(|| {
        // SAFETY: `at` keeps its identifier open, `name` and `bytes` outlive the calls, `bytes` is as long as the type says,
        // and an identifier that could not be had is negative, which every function here refuses.
        let written = unsafe {
            let kind = H5Tcopy(*H5T_C_S1);
            let space = H5Screate(H5S_class_t::H5S_SCALAR);
            let sized = H5Tset_size(kind, bytes.len());
            let attribute = H5Acreate2(at.id(), name.as_ptr(), kind, space, H5P_DEFAULT, H5P_DEFAULT);
            let written = H5Awrite(attribute, kind, bytes.as_ptr().cast::<c_void>());
            [H5Aclose(attribute), H5Sclose(space), H5Tclose(kind), sized, written]
        };
        if written.iter().all(|&code| code >= 0) {
            Ok(())
        } else {
            Err(format!("cannot write {name:?} of a scale").into())
        }
    })
}
