//! Two towers that are fused in their upper half, as three ONNX graphs.
//!
//! Not for deciding which sentence meets which window. Invariant: the lower half of the video tower runs once for a
//! window and that of the text tower once for a sentence, however many pairs they are in; what is held of either does
//! not grow with the length of a video or the number of its sentences.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use super::feed::Feed;
use super::frame_graph::{FrameGraph, Windows};
use super::provider::SessionOptions;
use super::session::GraphSession;
use super::tensor::{MASK, TEXT_TOKENS, VIDEO_TOKENS};
use super::text::feeds;
use super::towers::FusedCards;
use super::{BackboneError, ClipBatch, PairedSentence, Runtime, Sentence};

/// Sentences whose lower half is kept: more than any clip of the benchmarks has, at a hundred kilobytes each.
const KEPT_SENTENCES: usize = 256;

/// The loaded graphs.
pub(super) struct FusedTowers {
    pub(super) cards: FusedCards,
    pub(super) lower_video: FrameGraph,
    pub(super) lower_text: GraphSession,
    pub(super) upper: GraphSession,
    sentences: HashMap<Arc<Sentence>, Arc<[f32]>>,
}

impl FusedTowers {
    pub(super) fn load(
        runtime: &Runtime,
        models: &Path,
        cards: &FusedCards,
        options: SessionOptions,
        windows: Option<Windows>,
    ) -> Result<Self, BackboneError> {
        let open = |card: &super::Card| GraphSession::open(runtime, &card.graph_path(models), options);
        Ok(Self {
            cards: cards.clone(),
            lower_video: FrameGraph::open(
                runtime,
                &cards.lower_video.graph_path(models),
                &cards.input,
                options,
                windows,
            )?,
            lower_text: open(&cards.lower_text)?,
            upper: open(&cards.upper)?,
            sentences: HashMap::new(),
        })
    }

    /// Rows of all pairs: for each sentence in turn, one row for each of its windows.
    pub(super) fn forward(
        &mut self,
        windows: &ClipBatch,
        pairs: &[PairedSentence],
    ) -> Result<Array2<f32>, BackboneError> {
        let dim = self.cards.feature.dim;
        let video = self.video_tokens(windows)?;
        let mut values = Vec::new();
        for PairedSentence { windows, sentence } in pairs {
            let text = self.text_tokens(sentence)?;
            let tokens = &video.values[windows.start * video.each..windows.end * video.each];
            values.extend(self.meet(tokens, video.each, &text, sentence)?);
        }
        let rows = values.len() / dim;
        let found = vec![values.len() as i64];
        Array2::from_shape_vec((rows, dim), values).map_err(|_| BackboneError::Shape {
            backbone: self.cards.upper.name.clone(),
            rows,
            dim,
            found,
        })
    }

    fn video_tokens(&mut self, batch: &ClipBatch) -> Result<Tokens, BackboneError> {
        let (_, values) = self.lower_video.rows(batch, VIDEO_TOKENS)?;
        Ok(Tokens { each: values.len() / batch.clips, values })
    }

    fn text_tokens(&mut self, sentence: &Arc<Sentence>) -> Result<Arc<[f32]>, BackboneError> {
        if let Some(known) = self.sentences.get(sentence) {
            return Ok(known.clone());
        }
        if self.sentences.len() == KEPT_SENTENCES {
            self.sentences.clear();
        }
        // Every sentence is run alone, so that its bits are always the same; once suffices.
        let (_, values) = self.lower_text.run_one(&feeds(std::slice::from_ref(sentence)), TEXT_TOKENS)?;
        let tokens: Arc<[f32]> = values.into();
        self.sentences.insert(sentence.clone(), tokens.clone());
        Ok(tokens)
    }

    /// The upper half of windows, whose tokens stand behind one another in `video`, with one sentence.
    fn meet(
        &mut self,
        video: &[f32],
        each: usize,
        text: &[f32],
        sentence: &Sentence,
    ) -> Result<Vec<f32>, BackboneError> {
        let (windows, dim) = (video.len() / each, self.cards.feature.dim);
        let length = sentence.ids.len();
        let width = text.len() / length;
        let feeds = [
            Feed::Floats(VIDEO_TOKENS, Cow::Borrowed(video), vec![windows, each / width, width]),
            Feed::Floats(TEXT_TOKENS, Cow::Owned(text.repeat(windows)), vec![windows, length, width]),
            Feed::Ints(MASK, Cow::Owned(sentence.mask.repeat(windows)), vec![windows, length]),
        ];
        let (found, values) = self.upper.run_rows(&feeds, &self.cards.feature.name)?;
        if values.len() != windows * dim {
            let backbone = self.cards.upper.name.clone();
            return Err(BackboneError::Shape { backbone, rows: windows, dim, found });
        }
        Ok(values)
    }
}

/// What the lower half of the video tower gives: `each` numbers for each window, `[N, width]`.
struct Tokens {
    each: usize,
    values: Vec<f32>,
}
