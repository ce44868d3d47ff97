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
use super::tensor::{MASK, TEXT_TOKENS, VIDEO_ATTENDED, VIDEO_TOKENS};
use super::text::feeds;
use super::towers::FusedCards;
use super::{BackboneError, ClipBatch, PairedSentence, Runtime, Sentence};

/// Bytes of the lower halves of sentences that are kept: those of 360 sentences of 30 tokens, more than any clip of the
/// benchmarks has.
const KEPT_BYTES: usize = 32 << 20;
/// Rows of a run of the upper half, if so many wait: one row would be [run twice over](GraphSession::run_rows).
const LEAST_ROWS: usize = 2;

/// The loaded graphs.
pub(super) struct FusedTowers {
    pub(super) cards: FusedCards,
    pub(super) lower_video: FrameGraph,
    pub(super) lower_text: GraphSession,
    pub(super) upper: GraphSession,
    sentences: HashMap<Arc<Sentence>, Arc<[f32]>>,
    kept_bytes: usize,
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
            kept_bytes: 0,
        })
    }

    /// Rows of all pairs: for each sentence in turn, one row for each of its windows.
    pub(super) fn forward(
        &mut self,
        windows: &ClipBatch,
        pairs: &[PairedSentence],
    ) -> Result<Array2<f32>, BackboneError> {
        let dim = self.cards.feature.dim;
        let video = self.video_states(windows)?;
        let mut values = Vec::new();
        for pairs in together(pairs, windows.clips.max(LEAST_ROWS)) {
            values.extend(self.meet(&video, pairs)?);
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

    fn video_states(&mut self, batch: &ClipBatch) -> Result<VideoStates, BackboneError> {
        let [tokens, attended] = self.lower_video.rows_of(batch, [VIDEO_TOKENS, VIDEO_ATTENDED])?;
        Ok(VideoStates { each: tokens.1.len() / batch.clips, tokens: tokens.1, attended: attended.1 })
    }

    fn text_tokens(&mut self, sentence: &Arc<Sentence>) -> Result<Arc<[f32]>, BackboneError> {
        if let Some(known) = self.sentences.get(sentence) {
            return Ok(known.clone());
        }
        // Every sentence is run alone, so that its bits are always the same; once suffices.
        let (_, values) = self.lower_text.run_one(&feeds(std::slice::from_ref(sentence)), TEXT_TOKENS)?;
        let tokens: Arc<[f32]> = values.into();
        if self.kept_bytes + size_of_val(&*tokens) > KEPT_BYTES {
            self.sentences.clear();
            self.kept_bytes = 0;
        }
        self.kept_bytes += size_of_val(&*tokens);
        self.sentences.insert(sentence.clone(), tokens.clone());
        Ok(tokens)
    }

    /// The upper half of `pairs`, whose sentences are equally long: a row for each window of each.
    fn meet(&mut self, video: &VideoStates, pairs: &[PairedSentence]) -> Result<Vec<f32>, BackboneError> {
        let (mut text, mut mask) = (Vec::new(), Vec::new());
        for PairedSentence { windows, sentence } in pairs {
            text.extend(self.text_tokens(sentence)?.repeat(windows.len()));
            mask.extend(sentence.mask.repeat(windows.len()));
        }
        let (rows, dim) = (num_rows(pairs), self.cards.feature.dim);
        let length = mask.len() / rows;
        let width = text.len() / mask.len();
        let shape = vec![rows, video.each / width, width];
        let feeds = [
            Feed::Floats(VIDEO_TOKENS, video.of(&video.tokens, pairs), shape.clone()),
            Feed::Floats(VIDEO_ATTENDED, video.of(&video.attended, pairs), shape),
            Feed::Floats(TEXT_TOKENS, text.into(), vec![rows, length, width]),
            Feed::Ints(MASK, mask.into(), vec![rows, length]),
        ];
        let (found, values) = self.upper.run_rows(&feeds, &self.cards.feature.name)?;
        if values.len() != rows * dim {
            let backbone = self.cards.upper.name.clone();
            return Err(BackboneError::Shape { backbone, rows, dim, found });
        }
        Ok(values)
    }
}

/// `pairs` in their order, in parts of equally long sentences and at most `limit` rows, or of one sentence.
fn together(pairs: &[PairedSentence], limit: usize) -> Vec<&[PairedSentence]> {
    let (mut parts, mut from) = (Vec::new(), 0);
    while from < pairs.len() {
        let length = pairs[from].sentence.ids.len();
        let mut to = from + 1;
        while to < pairs.len() && pairs[to].sentence.ids.len() == length && num_rows(&pairs[from..=to]) <= limit {
            to += 1;
        }
        parts.push(&pairs[from..to]);
        from = to;
    }
    parts
}

fn num_rows(pairs: &[PairedSentence]) -> usize {
    pairs.iter().map(|pair| pair.windows.len()).sum()
}

/// What the lower half of the video tower gives: `each` numbers of either kind for each window, `[N, width]`.
struct VideoStates {
    each: usize,
    tokens: Vec<f32>,
    attended: Vec<f32>,
}

impl VideoStates {
    /// Those of `states` that the windows of `pairs` have, in the order of rows.
    fn of<'v>(&self, states: &'v [f32], pairs: &[PairedSentence]) -> Cow<'v, [f32]> {
        let of = |pair: &PairedSentence| &states[pair.windows.start * self.each..pair.windows.end * self.each];
        match pairs {
            [only] => Cow::Borrowed(of(only)),
            _ => Cow::Owned(pairs.iter().flat_map(of).copied().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(windows: std::ops::Range<usize>, length: usize) -> PairedSentence {
        PairedSentence { windows, sentence: Arc::new(Sentence { ids: vec![5; length], mask: vec![1; length] }) }
    }

    #[test]
    fn sentences_meet_windows_together_where_they_are_equally_long_and_few() {
        let sizes = |pairs: &[PairedSentence], limit| {
            let parts = together(pairs, limit);
            let order: Vec<usize> = parts.iter().flat_map(|part| part.iter().map(|p| p.sentence.ids.len())).collect();
            assert_eq!(order, pairs.iter().map(|pair| pair.sentence.ids.len()).collect::<Vec<_>>());
            parts.into_iter().map(num_rows).collect::<Vec<_>>()
        };
        let alone: Vec<PairedSentence> = (0..5).map(|_| pair(0..1, 30)).collect();
        assert_eq!(sizes(&alone, 2), [2, 2, 1]);
        assert_eq!(sizes(&[pair(0..2, 30), pair(0..2, 30)], 2), [2, 2]);
        assert_eq!(sizes(&[pair(0..1, 7), pair(0..1, 8), pair(1..2, 8)], 2), [1, 2]);
        assert_eq!(sizes(&[pair(0..3, 7), pair(3..4, 7)], 2), [3, 1]);
        assert_eq!(sizes(&[], 2), [0; 0]);
    }
}
