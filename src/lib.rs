//! Egocentric video in, verified benchmark features out.
//!
//! A [`manifest`] says which videos and clips there are ([`queries`]: what is asked about them), a [`recipe`] how their
//! features are computed. [`plan`] sets one against the other and against what is already in the [`store`]; [`audit`]
//! says beforehand what is wrong with a video; [`decode`] turns each video into frames, once; [`sample`] cuts them into
//! clips by the arithmetic of [`grid`]; [`batch`] packs clips of many videos; a [`backbone`] maps them to rows; [`store`]
//! makes the rows durable; [`verify`] proves that they are what was planned. [`pipeline`] connects the stages. A
//! [`checkpoint`] becomes a backbone by [`export`], and [`text`] turns sentences into what a text tower takes.
//!
//! Around that: [`transcode`] makes smaller files or pieces of videos; [`convert`] hands stores to other people's code,
//! [`import`] takes theirs, [`compare`] tells how two differ; [`qfvs`] cuts rows of shots into segments, [`retrieval`]
//! sets clips against sentences, and [`metric`] scores what heads make of the rows by the official evaluators. The
//! modules below stand in the order of the data; `cli` is in the binary, and nothing imports it.

pub mod child;
pub mod compat;
pub mod digest;
pub mod foreign;
pub mod ids;
pub mod meter;
pub mod npy;
pub mod pixels;
pub mod places;
pub mod shard;
pub mod time;

pub mod manifest;

pub mod queries;

pub mod benchmark;

pub mod recipe;

pub mod grid;

pub mod plan;

pub mod decode;

pub mod audit;

pub mod sample;

pub mod batch;

pub mod backbone;

pub mod checkpoint;

pub mod durable;

pub mod export;
pub mod text;

pub mod store;

pub mod pipeline;

pub mod verify;

pub mod features;

pub mod labels;

pub mod convert;

pub mod import;

pub mod compare;

pub mod transcode;

pub mod qfvs;

pub mod retrieval;

pub mod metric;

pub use ndarray;
