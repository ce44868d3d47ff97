//! VSGN, the detector of moments: Zhao, Thabet and Ghanem, "Video Self-Stitching Graph Network for Temporal Action
//! Localization" (ICCV 2021), as Ego4D's moment queries use it.
//!
//! A pyramid over the cells of a feature grid (`pyramid`, `graph`), a head that classifies and shifts [`anchors`]
//! (`readout`), and a last step that moves their ends (`boundary`); what it learns from ([`targets`], [`matching`],
//! [`loss`]), what it proposes ([`decode`]), and how it is trained on MQ ([`head`]). Not for suppression across classes,
//! which is `egofx::metric::postprocess`'s. Boxes are in cells, and anchors run from the finest level to the coarsest.

pub mod anchors;
mod boundary;
pub mod decode;
mod graph;
pub mod head;
mod layers;
pub mod loss;
pub mod matching;
mod model;
mod onnx;
mod pyramid;
mod readout;
mod settings;
pub mod targets;

pub use graph::neighbours;
pub use model::{Curves, Output, Vsgn, graph};
pub use settings::{Settings, SettingsError};
