//! Converts a PyTorch checkpoint to safetensors, under the same names. Nothing in the pickle is executed.
//!
//!     cargo run --release --example convert_checkpoint -- EgoVLPv2.pth EgoVLPv2.safetensors
//!
//! `egofx checkpoint convert` does the same and takes care of files that exist already.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use egofx::checkpoint::{Checkpoint, write_safetensors};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: convert_checkpoint INPUT OUTPUT.safetensors".into());
    };
    let tensors = converted(Path::new(&input), Path::new(&output))?;
    println!("{tensors} tensors");
    Ok(())
}

/// Writes `output` and gives the number of its tensors. Names and shapes are read at once, values one tensor at a time.
///
/// # Errors
/// A checkpoint that cannot be read, or a file that cannot be written.
pub fn converted(input: &Path, output: &Path) -> Result<usize, Box<dyn Error>> {
    let checkpoint = Checkpoint::open(input)?;
    // `format` is what loaders for PyTorch look for.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(output, checkpoint.tensors(), &mut |name| checkpoint.read(name), &metadata)?;
    Ok(checkpoint.tensors().len())
}
