//! Egocentric video in, verified benchmark features out.
//!
//! A [`manifest`] says which videos and clips there are ([`queries`]: what is asked about them), a [`recipe`] how their
//! features are computed, and a [`feature_set`] is a recipe with all that was opened for it. [`plan`] sets manifest
//! and feature sets against each other and against what is already in the [`store`]; [`audit`] says beforehand what is
//! wrong with a video; [`decode`] turns each video into frames, once ([`frames`] writes single ones as images); [`sample`] cuts them into clips by the
//! arithmetic of [`grid`]; [`batch`] packs clips of many videos; a [`backbone`] maps them to rows; [`store`] makes the
//! rows durable; [`verify`] proves that they are what was planned. [`pipeline`] connects the stages. A [`checkpoint`]
//! becomes a backbone by [`export`], which reads off [`arch`] what each backbone is made of, and [`text`] turns
//! sentences into what a text tower takes.
//!
//! Around that: [`transcode`] makes smaller copies or chunk files of videos; [`features`] and
//! [`labels`] are how training and [`convert`] read stores, which are handed to other people's code;
//! [`import`] takes theirs, [`compare`] tells how two differ; [`qfvs`] cuts rows of shots into segments, [`retrieval`]
//! sets clips against sentences, [`search`] finds moments, [`heads`] predict on rows by graphs of their own, and [`metric`]
//! scores what they make of the rows by the official evaluators; [`page`] shows a store in a browser, with [`thumbnails`] of its videos;
//! [`submit`] says to Slurm and its like how a run is done on many machines. The modules below stand in the order of the data, in groups; `cli` is in the binary, and nothing imports it.
//!
//! Features of the package, all of them on by default: `onnx` runs models, `export` makes their graphs, `convert` hands
//! features to and from others' code, `objects` reads videos from object storage, `cli` is the program. Annotations, decoding, stores, text and scores need none.

// Ground: used from everywhere, and using nothing above.
pub mod child;
pub mod claims;
pub mod compat;
pub mod digest;
pub mod durable;
pub mod foreign;
pub mod ids;
pub mod measure;
pub mod meter;
pub mod npy;
pub mod pixels;
pub mod places;
pub mod shard;
pub mod shell;
pub mod stop;
pub mod time;
pub mod url;

// What there is: videos, clips and queries, and the official files that list them.
pub mod benchmark;
pub mod manifest;
pub mod queries;

// Frames: which of them make a row, and how they are had.
pub mod audit;
pub mod decode;
pub mod frames;
pub mod grid;
pub mod probes;
pub mod sample;
pub mod thumbnails;

// Models: checkpoints, text, graphs and what runs them.
pub mod arch;
#[cfg(feature = "onnx")]
pub mod backbone;
#[cfg(feature = "onnx")]
pub mod batch;
pub mod checkpoint;
#[cfg(feature = "export")]
pub mod export;
pub mod text;

// Rows: what is wanted, where it is kept, and the pipeline between.
#[cfg(feature = "onnx")]
pub mod feature_set;
#[cfg(feature = "onnx")]
pub mod pipeline;
#[cfg(feature = "onnx")]
pub mod plan;
#[cfg(feature = "onnx")]
pub mod recipe;
pub mod report;
pub mod status;
pub mod store;
pub mod verify;

// What lies in object storage: videos on their way to the decoders, and copies of stores.
#[cfg(feature = "objects")]
pub mod objects;

// Smaller copies and chunk files of videos.
pub mod transcode;

// Runs on other machines: what their engines take.
pub mod submit;

// Features for others' code, and theirs for ours.
pub mod compare;
#[cfg(feature = "convert")]
pub mod convert;
pub mod features;
#[cfg(feature = "convert")]
pub mod import;
pub mod labels;
pub mod qfvs;

// Scores.
pub mod metric;
pub mod retrieval;

// Heads: predictions out of rows.
#[cfg(feature = "onnx")]
pub mod heads;

// Search: moments that a sentence is like.
#[cfg(feature = "onnx")]
pub mod search;

// What people look at.
pub mod page;

pub use ndarray;
