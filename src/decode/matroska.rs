//! Packets as a Matroska file of one track of video, a tick a frame.
//!
//! Not for files that anybody keeps: ffmpeg reads them, once and in order. Invariant: packets and their times come out of ffmpeg's
//! demuxer as they were put in.

use super::sample_table::Configuration;

/// Ticks from the time of a cluster that a block can tell.
pub(super) const MOST_TICKS: u64 = i16::MAX as u64;

/// The size of what ends with the file.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Nanoseconds of a tick.
const TICK_NS: u64 = 1_000_000;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;

/// A file in the making.
pub(super) struct Matroska {
    bytes: Vec<u8>,
}

impl Matroska {
    /// With a track that is decoded as said; `None` if Matroska has no name for its codec.
    pub fn new(configuration: &Configuration) -> Option<Self> {
        let mut bytes = element(EBML, &[element(0x4282, b"matroska"), number(0x4287, 4), number(0x4285, 2)].concat());
        bytes.extend(&SEGMENT.to_be_bytes());
        bytes.extend(UNKNOWN);
        bytes.extend(element(0x1549_a966, &number(0x2a_d7b1, TICK_NS)));
        bytes.extend(element(0x1654_ae6b, &element(0xae, &track(configuration)?)));
        Some(Self { bytes })
    }

    /// Adds packets, each with its tick, whether a decoder can start at it, and its bytes. All lie at `first` or later, by at most
    /// [`MOST_TICKS`].
    pub fn add<'p>(&mut self, first: u64, packets: impl Iterator<Item = (u64, bool, &'p [u8])>) {
        self.bytes.extend(&CLUSTER.to_be_bytes());
        self.bytes.extend(UNKNOWN);
        self.bytes.extend(number(0xe7, first));
        for (tick, is_key, packet) in packets {
            self.bytes.push(0xa3);
            self.bytes.extend(size(packet.len() + 4));
            self.bytes.push(0x81);
            self.bytes.extend(((tick - first) as i16).to_be_bytes());
            self.bytes.push(if is_key { 0x80 } else { 0 });
            self.bytes.extend(packet);
        }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn track(configuration: &Configuration) -> Option<Vec<u8>> {
    let codec: &[u8] = match &configuration.kind {
        b"avcC" => b"V_MPEG4/ISO/AVC",
        b"hvcC" => b"V_MPEGH/ISO/HEVC",
        _ => return None,
    };
    let size = [number(0xb0, configuration.width.into()), number(0xba, configuration.height.into())];
    let colours = configuration.colours.map(|([primaries, transfer, matrix], full)| {
        let range = full.map_or(0, |full| if full { 2 } else { 1 });
        let known = [(0x55b1, matrix), (0x55b9, range), (0x55ba, transfer), (0x55bb, primaries)];
        element(0x55b0, &known.map(|(id, value)| number(id, value.into())).concat())
    });
    let fields = [
        number(0xd7, 1),
        number(0x73c5, 1),
        number(0x83, 1),
        number(0x9c, 0),
        number(0x23_e383, TICK_NS),
        element(0x86, codec),
        element(0x63a2, &configuration.record),
        element(0xe0, &[&size.concat()[..], &colours.unwrap_or_default()].concat()),
    ];
    Some(fields.concat())
}

/// An element with the marker that its number has.
fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
    bytes.extend(size(body.len()));
    bytes.extend(body);
    bytes
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// In the longest form that there is.
fn size(bytes: usize) -> [u8; 8] {
    (1 << 56 | bytes as u64).to_be_bytes()
}
