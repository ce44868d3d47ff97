//! The graphs that the rows of a recipe come out of: one tower alone, or both with a half that they share.
//!
//! Not for running them. Invariant: the graphs of one [`Towers`] come from one checkpoint, and what one gives is what the
//! next one takes.

use std::path::Path;

use serde::Serialize;

use super::BackboneError;
use super::card::{Card, Feature, FrameInput, VideoCard};
use super::tensor::{Dim, Element, IDS, MASK, TEXT_TOKENS, Tensor, VIDEO_ATTENDED, VIDEO_TOKENS};

/// The cards of all graphs that a recipe's rows come out of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Towers {
    /// Frames in, a row for each window out.
    Video(VideoCard),
    /// Sentences in, a row for each sentence or token out.
    Text(TextCard),
    /// Frames and sentences in, a row for each pair out; the lower halves of both towers run once for each.
    Fused(Box<FusedCards>),
}

/// A card of a text graph, and the output of it that a recipe wants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextCard {
    /// The card.
    pub card: Card,
    /// The tensor that comes out and is kept.
    pub feature: Feature,
    /// Whether a row is a token; else it is a sentence.
    pub per_token: bool,
}

/// The cards of two towers that are fused in their upper half, and the output that a recipe wants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FusedCards {
    /// Frames to `video_tokens` and `video_attended` `[B, N, width]`.
    pub lower_video: Card,
    /// Where the frames go in.
    pub input: FrameInput,
    /// `ids` and `mask` to `text_tokens` `[B, L, width]`.
    pub lower_text: Card,
    /// `video_tokens`, `video_attended`, `text_tokens` and `mask` to features.
    pub upper: Card,
    /// The tensor that comes out and is kept.
    pub feature: Feature,
}

impl Towers {
    /// The card of a single graph in the folder `models`, whose output `feature` is kept: a video or a text tower, as its
    /// inputs tell.
    ///
    /// # Errors
    /// Those of [`Card::read`]; [`BackboneError::Use`] if the graph is neither, or has no such output, or one whose length
    /// depends on the frames of a window.
    pub fn single(models: &Path, name: &str, feature: &str) -> Result<Self, BackboneError> {
        Self::single_of(models, name, feature, None)
    }

    /// The same for windows of `frames` frames, on which the length of a row may depend.
    ///
    /// # Errors
    /// Those of [`single`](Self::single).
    pub fn single_of(models: &Path, name: &str, feature: &str, frames: Option<u32>) -> Result<Self, BackboneError> {
        let card = Card::read(models, name)?;
        if takes(&card, &[IDS, MASK]) {
            card.text(feature).map(Self::Text)
        } else {
            card.video(feature, frames).map(Self::Video)
        }
    }

    /// The cards `[lower_video, lower_text, upper]` in the folder `models`; `feature` is an output of the last one.
    ///
    /// # Errors
    /// Those of [`Card::read`]; [`BackboneError::Use`] if the graphs do not fit together, are of different checkpoints or
    /// precisions, or the upper one has no such output.
    pub fn fused(models: &Path, names: [&str; 3], feature: &str) -> Result<Self, BackboneError> {
        let [lower_video, lower_text, upper] = names.map(|name| Card::read(models, name));
        let (lower_video, lower_text, upper) = (lower_video?, lower_text?, upper?);
        let input = lower_video.frame_input().ok_or_else(|| lower_video.refuse("it takes no frames".into()))?;
        let taken = [VIDEO_TOKENS, VIDEO_ATTENDED, TEXT_TOKENS, MASK];
        for (card, wanted) in [(&lower_text, &[IDS, MASK][..]), (&upper, &taken)] {
            if !takes(card, wanted) {
                let (found, wanted) = (card.listed_inputs(), wanted.join(", "));
                let why = format!("it takes {found}, expected {wanted}; `egofx export` writes such graphs anew");
                return Err(card.refuse(why));
            }
        }
        let handed = [(&lower_video, VIDEO_TOKENS), (&lower_video, VIDEO_ATTENDED), (&lower_text, TEXT_TOKENS)];
        for (lower, tokens) in handed {
            fits(lower, &upper, tokens)?;
        }
        let feature = upper.row_output(feature, None)?;
        Ok(Self::Fused(Box::new(FusedCards { lower_video, input, lower_text, upper, feature })))
    }

    /// The graph that gives the rows.
    pub fn last(&self) -> &Card {
        match self {
            Self::Video(video) => &video.card,
            Self::Text(text) => &text.card,
            Self::Fused(fused) => &fused.upper,
        }
    }

    /// All graphs.
    pub fn cards(&self) -> Vec<&Card> {
        match self {
            Self::Video(video) => vec![&video.card],
            Self::Text(text) => vec![&text.card],
            Self::Fused(fused) => vec![&fused.lower_video, &fused.lower_text, &fused.upper],
        }
    }

    /// The tensor that is kept.
    pub fn feature(&self) -> &Feature {
        match self {
            Self::Video(video) => &video.feature,
            Self::Text(text) => &text.feature,
            Self::Fused(fused) => &fused.feature,
        }
    }

    /// Where frames go in, if they do.
    pub fn frames(&self) -> Option<&FrameInput> {
        match self {
            Self::Video(video) => Some(&video.input),
            Self::Text(_) => None,
            Self::Fused(fused) => Some(&fused.input),
        }
    }

    /// Whether sentences go in.
    pub fn takes_sentences(&self) -> bool {
        !matches!(self, Self::Video(_))
    }
}

impl Card {
    /// The card as one of a text graph whose output `feature` is kept.
    ///
    /// # Errors
    /// [`BackboneError::Use`] if it has no such output of `[B, dim]` or `[B, L, dim]`.
    pub fn text(self, feature: &str) -> Result<TextCard, BackboneError> {
        let output = self.outputs.iter().find(|tensor| tensor.name == feature);
        let (dim, per_token) = match output.map(|tensor| tensor.shape.as_slice()) {
            Some([Dim::Named(_), Dim::Fixed(dim)]) => (*dim, false),
            Some([Dim::Named(_), Dim::Named(_), Dim::Fixed(dim)]) => (*dim, true),
            _ => {
                let outputs = self.listed_outputs();
                return Err(self.refuse(format!("it has no output {feature:?} of sentences or tokens ({outputs})")));
            }
        };
        Ok(TextCard { card: self, feature: Feature { name: feature.to_owned(), dim: dim as usize }, per_token })
    }
}

/// Whether these are the graph's inputs, in any order.
fn takes(card: &Card, names: &[&str]) -> bool {
    let has = |name: &&str| card.inputs.iter().any(|input| input.name == *name && input.dtype != Element::Uint8);
    card.inputs.len() == names.len() && names.iter().all(has)
}

/// That `lower` gives the `tokens` that `upper` takes, and that both are halves of one model.
fn fits(lower: &Card, upper: &Card, tokens: &str) -> Result<(), BackboneError> {
    let named = |tensors: &[Tensor]| tensors.iter().find(|tensor| tensor.name == tokens).cloned();
    let (given, taken) = (named(&lower.outputs), named(&upper.inputs));
    if given.is_none() || given != taken {
        let shown = |tensor: Option<Tensor>| tensor.map_or_else(|| format!("no {tokens}"), |tensor| tensor.to_string());
        return Err(lower.refuse(format!("it gives {}, {} takes {}", shown(given), upper.name, shown(taken))));
    }
    if (&lower.checkpoint_sha256, &lower.precision) != (&upper.checkpoint_sha256, &upper.precision) {
        let of = |card: &Card| format!("{} in {}", card.checkpoint, card.precision.name());
        return Err(lower.refuse(format!("it is of {}, {} of {}", of(lower), upper.name, of(upper))));
    }
    Ok(())
}
