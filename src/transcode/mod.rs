//! Videos made smaller or cut into chunks: encoded by ffmpeg, proved against their sources, and put in place whole.
//!
//! Not needed for feature extraction, which reads original files; it is for training code that wants files as EgoVLP's
//! scripts made them. Invariant: a name under which anybody looks points to a complete output whose frames have been
//! counted and timed against the source's packets, and which a record describes.

mod batch;
mod commit;
mod cut;
mod encoding;
mod error;
mod proof;
mod record;
mod sharing;
mod size;
mod task;

pub use batch::{Control, Counters, Failure, Report, SharedReport, check_settings, run, run_shared};
pub use cut::{Cut, cuts};
pub use encoding::{AUDIO, Audio, PRESETS, Settings};
pub use error::TranscodeError;
pub use record::{ChunkFile, Record};
pub use sharing::parts;
pub use size::Size;
pub use task::{Outcome, Standing, Task, Transcoder, Watch, tasks, tasks_of_all};
