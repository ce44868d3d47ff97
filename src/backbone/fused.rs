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

use super::session::{Feed, GraphSession, SessionOptions};
use super::text::feeds;
use super::towers::{FusedCards, MASK, TEXT_TOKENS, VIDEO_TOKENS};
use super::{Asked, BackboneError, ClipBatch, Provider, Runtime, Sentence};

/// Sentences whose lower half is kept: more than any clip of the benchmarks has, at a hundred kilobytes each.
const KEPT_SENTENCES: usize = 256;

/// The loaded graphs.
pub(super) struct FusedTowers {
    pub(super) cards: FusedCards,
    pub(super) lower_video: GraphSession,
    pub(super) lower_text: GraphSession,
    pub(super) upper: GraphSession,
    provider: Provider,
    sentences: HashMap<Arc<Sentence>, Arc<[f32]>>,
}

impl FusedTowers {
    pub(super) fn load(
        runtime: &Runtime,
        models: &Path,
        cards: &FusedCards,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        let open = |card: &super::Card| GraphSession::open(runtime, &card.graph_path(models), options);
        Ok(Self {
            cards: cards.clone(),
            lower_video: open(&cards.lower_video)?,
            lower_text: open(&cards.lower_text)?,
            upper: open(&cards.upper)?,
            provider: options.device.provider,
            sentences: HashMap::new(),
        })
    }

    /// Rows of all pairs: for each sentence in turn, one row for each of its windows.
    pub(super) fn forward(&mut self, windows: &ClipBatch, asked: &[Asked]) -> Result<Array2<f32>, BackboneError> {
        let dim = self.cards.feature.dim;
        let video = self.video_tokens(windows)?;
        let mut values = Vec::new();
        for Asked { windows, sentence } in asked {
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
        let input = &self.cards.input;
        let alone = batch.clips == 1 && self.provider == Provider::Cpu;
        // See `OnnxBackbone`: a matrix of one row takes another path through the CPU's kernels.
        let twice = if alone { batch.pixels.repeat(2) } else { Vec::new() };
        let pixels = if alone { &twice } else { &batch.pixels };
        let clips = if alone { 2 } else { batch.clips };
        let shape = vec![clips, batch.frames, input.height as usize, input.width as usize, 3];
        let feed = Feed::Bytes(&input.name, Cow::Borrowed(pixels), shape);
        let (_, values) = self.lower_video.run_one(&[feed], VIDEO_TOKENS)?;
        Ok(Tokens { each: values.len() / clips, values })
    }

    fn text_tokens(&mut self, sentence: &Arc<Sentence>) -> Result<Arc<[f32]>, BackboneError> {
        if let Some(known) = self.sentences.get(sentence) {
            return Ok(known.clone());
        }
        if self.sentences.len() == KEPT_SENTENCES {
            self.sentences.clear();
        }
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
        let alone = windows == 1 && self.provider == Provider::Cpu;
        let (video, pairs) = if alone { (Cow::Owned(video.repeat(2)), 2) } else { (Cow::Borrowed(video), windows) };
        let length = sentence.ids.len();
        let width = text.len() / length;
        let feeds = [
            Feed::Floats(VIDEO_TOKENS, video, vec![pairs, each / width, width]),
            Feed::Floats(TEXT_TOKENS, Cow::Owned(text.repeat(pairs)), vec![pairs, length, width]),
            Feed::Ints(MASK, Cow::Owned(sentence.mask.repeat(pairs)), vec![pairs, length]),
        ];
        let (found, mut values) = self.upper.run_one(&feeds, &self.cards.feature.name)?;
        if values.len() != pairs * dim {
            let backbone = self.cards.upper.name.clone();
            return Err(BackboneError::Shape { backbone, rows: pairs, dim, found });
        }
        values.truncate(windows * dim);
        Ok(values)
    }
}

/// What the lower half of the video tower gives: `each` numbers for each window, `[N, width]`.
struct Tokens {
    each: usize,
    values: Vec<f32>,
}
