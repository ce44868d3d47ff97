//! What a graph is given, and what is taken of what it gives: values with names and shapes.
//!
//! Not for running it. Invariant: there are as many values as the shape says.

use std::borrow::Cow;

use ort::session::SessionOutputs;

/// Shape and values of one output.
pub type Found = (Vec<i64>, Vec<f32>);

/// A named input: its values and its shape.
#[derive(Debug, Clone)]
pub enum Feed<'n> {
    /// `uint8`.
    Bytes(&'n str, Cow<'n, [u8]>, Vec<usize>),
    /// `int64`.
    Ints(&'n str, Cow<'n, [i64]>, Vec<usize>),
    /// `float32`.
    Floats(&'n str, Cow<'n, [f32]>, Vec<usize>),
}

impl Feed<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Bytes(_, _, shape) | Self::Ints(_, _, shape) | Self::Floats(_, _, shape) => shape,
        }
    }

    /// Two times the values, behind one another along the first dimension.
    pub(super) fn twice(&self) -> Self {
        let mut doubled = self.shape().to_vec();
        if let Some(first) = doubled.first_mut() {
            *first *= 2;
        }
        match self {
            Self::Bytes(name, values, _) => Self::Bytes(name, values.repeat(2).into(), doubled),
            Self::Ints(name, values, _) => Self::Ints(name, values.repeat(2).into(), doubled),
            Self::Floats(name, values, _) => Self::Floats(name, values.repeat(2).into(), doubled),
        }
    }
}

/// Shapes and values of the outputs of those names.
pub(super) fn found<const N: usize>(outputs: &SessionOutputs, names: [&str; N]) -> ort::Result<[Found; N]> {
    let mut found = [const { (Vec::new(), Vec::new()) }; N];
    for (name, found) in names.iter().zip(&mut found) {
        let output = outputs.get(name).ok_or_else(|| ort::Error::new(format!("the graph has no output {name:?}")))?;
        let (shape, values) = output.try_extract_tensor::<f32>()?;
        *found = (shape.to_vec(), values.to_vec());
    }
    Ok(found)
}
