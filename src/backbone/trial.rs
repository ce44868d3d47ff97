//! Whether a provider works at all: a sum of two numbers, computed by it.
//!
//! Not for judging a model's rows. Invariant: the graph is made here and needs no file.

use std::borrow::Cow;
use std::path::Path;

use super::feed::Feed;
use super::provider::SessionOptions;
use super::session::GraphSession;
use super::{BackboneError, Runtime};

/// What messages call the graph.
const NAME: &str = "a sum of two numbers";

/// Loads a graph of one operator on the device of `options`, and runs it.
///
/// # Errors
/// [`BackboneError::Device`], [`BackboneError::Load`], [`BackboneError::Run`]: what is wrong with the provider or its device.
pub fn try_provider(runtime: &Runtime, options: SessionOptions) -> Result<(), BackboneError> {
    let mut session = GraphSession::open_bytes(runtime, &graph(), Path::new(NAME), options)?;
    let (_, sum) = session.run_one(&[Feed::Floats("x", Cow::Borrowed(&[1.5, 2.0]), vec![2])], "y")?;
    if sum == [3.0, 4.0] {
        return Ok(());
    }
    let why = format!("it gave {sum:?} for 1.5 + 1.5 and 2 + 2 on {}", options.device);
    Err(BackboneError::Run { backbone: NAME.to_owned(), why })
}

/// `y = x + x` for two numbers, as an ONNX file.
fn graph() -> Vec<u8> {
    let dim = bytes(1, &number(1, 2));
    let tensor = [number(1, 1), bytes(2, &dim)].concat();
    let outlet = |name: &str| [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat();
    let node = [bytes(1, b"x"), bytes(1, b"x"), bytes(2, b"y"), bytes(4, b"Add")].concat();
    let graph = [bytes(1, &node), bytes(2, b"sum"), bytes(11, &outlet("x")), bytes(12, &outlet("y"))].concat();
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

/// A field of protobuf that is a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// A field of protobuf that is a text or a message of fewer than 128 bytes.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2, content.len() as u8], content].concat()
}
