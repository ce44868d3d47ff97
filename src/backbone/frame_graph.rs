//! A graph that takes frames: `uint8` as its card says, or `float32` of the same scale where frames were scaled in single
//! precision.
//!
//! Not for what it makes of them. Invariants: a row of `uint8` frames has the same bits by either way, and one session is
//! loaded at a time.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::feed::{Feed, Found};
use super::provider::{FrameShape, SessionOptions};
use super::session::GraphSession;
use super::{BackboneError, ClipBatch, FrameInput, Runtime};
use crate::pixels::Pixels;

/// What will be asked of a backbone at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Windows, at most.
    pub most: usize,
    /// Frames of each.
    pub frames: usize,
}

/// A graph whose only input is frames.
pub(super) struct FrameGraph {
    runtime: Runtime,
    graph: PathBuf,
    input: FrameInput,
    options: SessionOptions,
    shape: Option<FrameShape>,
    /// Absent if the graph could not be loaded anew.
    session: Option<GraphSession>,
    takes_floats: bool,
}

impl FrameGraph {
    /// Loads `graph` for `uint8` frames, of which as many come as `windows` says.
    ///
    /// # Errors
    /// Those of [`GraphSession::open`].
    pub fn open(
        runtime: &Runtime,
        graph: &Path,
        input: &FrameInput,
        options: SessionOptions,
        windows: Option<Windows>,
    ) -> Result<Self, BackboneError> {
        let shape = windows.map(|Windows { most, frames }| FrameShape {
            input: input.name.clone(),
            windows: most,
            frames,
            height: input.height,
            width: input.width,
        });
        let session = Some(GraphSession::open_for_frames(runtime, graph, options, shape.as_ref())?);
        let (runtime, graph, input) = (runtime.clone(), graph.to_owned(), input.clone());
        Ok(Self { runtime, graph, input, options, shape, session, takes_floats: false })
    }

    /// The session as it was opened, for `uint8` frames.
    ///
    /// # Errors
    /// Those of [`GraphSession::open`], where floats came before.
    pub fn session(&mut self) -> Result<&mut GraphSession, BackboneError> {
        self.session_for(false)
    }

    /// The output `output` for a batch: its shape and values, a row of which has the same bits in every batch.
    ///
    /// # Errors
    /// Those of [`rows_of`](Self::rows_of).
    pub fn rows(&mut self, batch: &ClipBatch, output: &str) -> Result<Found, BackboneError> {
        let [found] = self.rows_of(batch, [output])?;
        Ok(found)
    }

    /// The same of several outputs.
    ///
    /// # Errors
    /// [`BackboneError::Run`] if ONNX Runtime cannot run the graph on it; those of [`GraphSession::open_for_floats`] at the first
    /// batch of floats.
    pub fn rows_of<const N: usize>(
        &mut self,
        batch: &ClipBatch,
        outputs: [&str; N],
    ) -> Result<[Found; N], BackboneError> {
        let FrameInput { name, height, width, .. } = self.input.clone();
        let shape = vec![batch.clips, batch.frames, height as usize, width as usize, 3];
        // Going back for frames that were only cut would load the graph again and again.
        let floats = self.takes_floats || matches!(batch.pixels, Pixels::F32(_));
        let feed = match &batch.pixels {
            Pixels::U8(levels) if !floats => Feed::Bytes(&name, Cow::Borrowed(levels), shape),
            pixels => Feed::Floats(&name, pixels.floats(), shape),
        };
        self.session_for(floats)?.run_rows_of(&[feed], outputs)
    }

    fn session_for(&mut self, floats: bool) -> Result<&mut GraphSession, BackboneError> {
        let session = match self.session.take() {
            Some(session) if self.takes_floats == floats => session,
            old => {
                // Two at a time would take the weights' memory twice.
                drop(old);
                self.open_anew(floats)?
            }
        };
        self.takes_floats = floats;
        Ok(self.session.insert(session))
    }

    fn open_anew(&self, floats: bool) -> Result<GraphSession, BackboneError> {
        let Self { runtime, graph, input, options, shape, .. } = self;
        if !floats {
            return GraphSession::open_for_frames(runtime, graph, *options, shape.as_ref());
        }
        log::info!("{}: loaded anew for frames in float32", graph.display());
        GraphSession::open_for_floats(runtime, graph, &input.name, *options)
    }
}
