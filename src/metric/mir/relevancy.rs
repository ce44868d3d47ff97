//! How relevant a caption is to a clip, by what is done to what.
//!
//! The relevancy matrix of JPoSE, which the annotations do not include. Not for words: two captions are equal where
//! their verb and noun classes are.

use std::collections::BTreeSet;

use ndarray::Array2;
use rayon::prelude::*;

use super::Caption;

/// The matrix `[clips, sentences]`: half for the same verb class, and half of the overlap (intersection over union) of
/// the noun classes. Where neither has nouns, they do not overlap.
pub fn relevancy(clips: &[Caption], sentences: &[Caption]) -> Array2<f64> {
    let sets = |captions: &[Caption]| -> Vec<BTreeSet<u32>> {
        captions.iter().map(|caption| caption.noun_classes.iter().copied().collect()).collect()
    };
    let (clip_nouns, sentence_nouns) = (sets(clips), sets(sentences));
    let cell = &|clip: usize, sentence: usize| {
        let verb = f64::from(u8::from(clips[clip].verb_class == sentences[sentence].verb_class));
        f64::midpoint(verb, overlap(&clip_nouns[clip], &sentence_nouns[sentence]))
    };
    let rows = (0..clips.len()).into_par_iter();
    let cells: Vec<f64> =
        rows.flat_map_iter(|clip| (0..sentences.len()).map(move |sentence| cell(clip, sentence))).collect();
    Array2::from_shape_vec((clips.len(), sentences.len()), cells).expect("there is a cell for each pair")
}

fn overlap(a: &BTreeSet<u32>, b: &BTreeSet<u32>) -> f64 {
    let both = a.intersection(b).count();
    let any = a.len() + b.len() - both;
    if any == 0 { 0.0 } else { both as f64 / any as f64 }
}
