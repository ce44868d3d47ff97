//! The heads against what their authors' code computed, stage by stage; golden data is in `tests/data/<head>/`.

mod actionformer;
mod opentad;
mod qfvs;
mod snag;
mod vsgn;
mod vslnet;
