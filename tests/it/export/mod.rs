//! Checkpoints and graphs: reading, exporting, and their values against those of the original code.

mod checkpoint;
mod command;
mod fidelity;
mod golden;
mod graphs;
mod lavila;
mod pixels;
mod precisions;
mod slowfast;
mod tokens;
