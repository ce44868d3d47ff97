//! VSGN, the detector of moments: Zhao, Thabet and Ghanem, "Video Self-Stitching Graph Network for Temporal Action
//! Localization" (ICCV 2021), as Ego4D's moment queries use it.
//!
//! A pyramid over the cells of a feature grid ([`pyramid`], [`graph`]), a head that classifies and shifts [`anchors`]
//! ([`head`]), and a last step that moves their ends ([`boundary`]); what it learns from ([`targets`], [`matching`],
//! [`loss`]) and what it proposes ([`decode`]). Not for suppression across classes, which is
//! `egofx::metric::postprocess`'s. Boxes are in cells, and anchors run from the finest level to the coarsest.

pub mod anchors;
mod boundary;
pub mod decode;
mod graph;
mod head;
mod layers;
pub mod loss;
pub mod matching;
mod model;
mod pyramid;
pub mod targets;

pub use graph::neighbours;
pub use model::{Curves, Output, Settings, SettingsError, Vsgn};
