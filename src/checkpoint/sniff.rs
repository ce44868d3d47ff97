//! What kind of file a checkpoint is, by its first bytes.
//!
//! Not for opening it: a kind is a guess that the reader of that kind then proves. Invariant: the name of the file
//! decides nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::CheckpointError;

/// Bytes that are looked at; the mark of a tar file ends at 262.
const LOOKED_AT: u64 = 512;
/// Where a tar file says what it is.
const TAR_MARK: usize = 257;
/// The magic number that opens what `torch.save` wrote before 1.6, within a pickle of protocol 2 or later.
const LEGACY_MARK: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The longest header that safetensors allows.
pub(super) const SAFETENSORS_HEADER: u64 = 100_000_000;

/// How a checkpoint is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `torch.save` since 1.6.
    TorchZip,
    /// `torch.save` from 0.1.10 to 1.5: pickles, then storages.
    TorchLegacy,
    /// `torch.save` before 0.1.10. Not what is merely named `.tar`.
    TorchTar,
    /// safetensors.
    Safetensors,
    /// No file: random weights.
    Seeded,
}

impl Container {
    /// Name for people and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchZip => "torch zip",
            Self::TorchLegacy => "torch legacy",
            Self::TorchTar => "torch tar",
            Self::Safetensors => "safetensors",
            Self::Seeded => "seeded",
        }
    }
}

/// The kind of the file at `path`.
pub(super) fn container(path: &Path) -> Result<Container, CheckpointError> {
    let foreign = |found: String| Err(CheckpointError::NotACheckpoint { path: path.to_owned(), found });
    let metadata = fs::metadata(path).map_err(CheckpointError::io("read", path))?;
    // Asked before opening: a pipe would wait for its writer.
    if !metadata.is_file() {
        return foreign(if metadata.is_dir() { "a folder" } else { "not a regular file" }.to_owned());
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(CheckpointError::io("open", path))?;
    file.take(LOOKED_AT).read_to_end(&mut head).map_err(CheckpointError::io("read", path))?;
    of_bytes(&head).map_or_else(|| foreign(describe(&head)), Ok)
}

fn of_bytes(head: &[u8]) -> Option<Container> {
    let legacy = head.iter().take(64).copied().collect::<Vec<u8>>();
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        Some(Container::TorchZip)
    } else if safetensors_header(head).is_some_and(|length| length <= SAFETENSORS_HEADER) {
        Some(Container::Safetensors)
    } else if head.get(TAR_MARK..TAR_MARK + 5) == Some(b"ustar") {
        Some(Container::TorchTar)
    } else if legacy.windows(LEGACY_MARK.len()).any(|bytes| bytes == LEGACY_MARK) {
        Some(Container::TorchLegacy)
    } else {
        None
    }
}

/// Length of the JSON header, if `head` opens like safetensors.
fn safetensors_header(head: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*head.first_chunk::<8>()?);
    (head.get(8) == Some(&b'{')).then_some(length)
}

/// Words for a file that is no checkpoint.
fn describe(head: &[u8]) -> String {
    let text = text(head).map(|text| text.trim_start().to_ascii_lowercase());
    let text = text.as_deref();
    match text {
        _ if head.is_empty() => "an empty file".to_owned(),
        Some(text) if text.starts_with("version https://git-lfs") => {
            "a Git LFS pointer; fetch the file itself with `git lfs pull`".to_owned()
        }
        Some(text) if text.contains("<html") || text.contains("<!doctype") => {
            "an HTML page, as a download that asks for a click leaves it; fetch the file itself".to_owned()
        }
        Some(text) => format!("text ({:?})", text.chars().take(40).collect::<String>()),
        None if head[0] == 0x80 => "a pickle that torch.save did not write, which holds no tensors".to_owned(),
        None => {
            let first: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("a file that begins with the bytes {}", first.join(" "))
        }
    }
}

/// `head` as text, if it is some; the last character may be cut.
fn text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        text => text.ok()?,
    };
    (!text.chars().any(|c| c.is_control() && !c.is_whitespace())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_checkpoint_is_said_in_words() {
        let said = |bytes: &[u8]| {
            assert_eq!(of_bytes(bytes), None);
            describe(bytes)
        };
        assert_eq!(said(b""), "an empty file");
        assert!(said(b"\n<!DOCTYPE html>\n<html><head><title>Google Drive").starts_with("an HTML page"));
        assert!(said(b"version https://git-lfs.github.com/spec/v1\noid sha256:00").contains("git lfs pull"));
        assert_eq!(said(b"404: Not Found"), "text (\"404: not found\")");
        assert!(said(b"\x80\x02}q\x00.").starts_with("a pickle"));
        assert_eq!(
            said(b"\x1f\x8b\x08\x00\xff\xff\xff\xff\xff"),
            "a file that begins with the bytes 1f 8b 08 00 ff ff ff ff"
        );
    }

    #[test]
    fn a_text_cut_within_a_character_is_text() {
        let text = "ä".repeat(40);
        assert!(describe(&text.as_bytes()[..61]).starts_with("text"));
    }

    #[test]
    fn a_header_whose_length_looks_like_a_pickle_is_safetensors() {
        assert_eq!(of_bytes(b"\x80\x00\x00\x00\x00\x00\x00\x00{\"a\":"), Some(Container::Safetensors));
        assert_eq!(of_bytes(b"\x80\x00\x00\x00\x00\x00\x00\x01{\"a\":"), None, "longer than any header may be");
    }
}
