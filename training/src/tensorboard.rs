//! Scalars for TensorBoard: an event file in TensorFlow's format.
//!
//! An event file is a sequence of TFRecords, each an `Event` in protocol buffers. The messages below hold the fields that
//! scalars need, with the numbers of TensorFlow's `event.proto` and `summary.proto`; readers take absent fields as unset.
//! Event files are only ever added to: TensorBoard reads those of one folder as one run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// What the first event says of the file, as TensorFlow's `EventsWriter` does.
const FILE_VERSION: &str = "brain.Event:2";

/// Writes scalars to one event file.
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

/// The content of an [`Event`].
#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

/// `tensorflow.Summary.Value`, of the kind that is a number.
#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional on the wire, so that a zero is written and not left out.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl EventWriter {
    /// A new event file in `folder`: `events.out.tfevents.<seconds since 1970>.<host>.<process>`, by whose name TensorBoard
    /// finds it and orders it among others.
    ///
    /// # Errors
    /// The file cannot be made or written to.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let host =
            hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| "localhost".into());
        let name = format!("events.out.tfevents.{:010}.{host}.{}", wall_time() as u64, std::process::id());
        let path = folder.join(name);
        let file = BufWriter::new(File::options().create(true).append(true).open(&path)?);
        let mut writer = Self { path, file };
        writer.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `value` of `tag` (`train/loss`) at `step`; TensorBoard shows it at its next reading.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> io::Result<()> {
        let value = vec![SummaryValue { tag: tag.to_owned(), simple_value: Some(value) }];
        self.write(i64::try_from(step).unwrap_or(i64::MAX), What::Summary(Summary { value }))
    }

    fn write(&mut self, step: i64, what: What) -> io::Result<()> {
        let event = Event { wall_time: wall_time(), step, what: Some(what) };
        self.file.write_all(&record(&event.encode_to_vec()))?;
        self.file.flush()
    }
}

/// A TFRecord (TensorFlow, `record_writer.h`): length as u64, its checksum, the data, their checksum; all little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc32c(&length).to_le_bytes(), data, &masked_crc32c(data).to_le_bytes()].concat()
}

/// CRC-32C, rotated and offset so that a checksum of data with checksums in it stays a good one (TensorFlow, `crc32c.h`).
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tensorboard.summary.writer` writes for scalar ("val/R1@0.3", 0.5) at step 7 and second 1.5, byte by byte.
    #[test]
    fn a_record_is_tensorflows() {
        let value = vec![SummaryValue { tag: "val/R1@0.3".into(), simple_value: Some(0.5) }];
        let event = Event { wall_time: 1.5, step: 7, what: Some(What::Summary(Summary { value })) };
        let golden = "200000000000000029eda95009000000000000f83f10072a130a110a0a76616c2f523140302e33150000003f42401f8e";
        let found: String = record(&event.encode_to_vec()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, golden);
    }

    #[test]
    fn a_zero_is_a_value_and_a_second_writer_adds_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.scalar("train/loss", 1, 0.0).unwrap();
        let bytes = std::fs::read(writer.path()).unwrap();
        let mut events = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            events.push(Event::decode(&rest[12..12 + length]).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        let value = vec![SummaryValue { tag: "train/loss".into(), simple_value: Some(0.0) }];
        assert_eq!((events[1].step, &events[1].what), (1, &Some(What::Summary(Summary { value }))));
        assert_eq!(events.len(), 2);
    }
}
