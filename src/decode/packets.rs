//! The packets of an MP4 that a decoder needs for some frames, as files of their own: from key frame to last wanted frame.
//!
//! Not for decoding. Invariants: the file's own table agrees with what was probed, frame by frame, or there are no packets; each
//! gop begins with an image that empties the decoder (IDR), and holds no sets of parameters, so that it is decoded to the same
//! pixels whatever was decoded before it with the same configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::VideoInfo;
use super::matroska::MOST_TICKS;
use super::sample_table::{Configuration, Sample, Track};

/// Most bytes of the packets for one clip: where key frames lie so far apart, ffmpeg reads the file itself.
const MOST_BYTES: u64 = 64 << 20;

/// A packet, and the frame that it is.
pub(super) struct Packet {
    pub index: u64,
    pub is_key: bool,
    pub bytes: Vec<u8>,
}

/// What is decoded for the frames that are wanted of a group of images.
pub(super) struct Gop {
    /// The key frame that it begins with.
    pub key: u64,
    /// In the order of decoding.
    pub packets: Vec<Packet>,
}

impl Gop {
    /// The frames that come out of it, in the order in which they are shown.
    pub fn shown(&self) -> Vec<u64> {
        let mut shown: Vec<u64> = self.packets.iter().map(|packet| packet.index).collect();
        shown.sort_unstable();
        shown
    }
}

/// What a decoder needs for the frames of `wanted`, ascending, of a video in one file; `None` if that cannot be told for certain.
pub(super) fn of(video: &VideoInfo, wanted: &[u64]) -> Option<(Configuration, Vec<Gop>)> {
    let is_plain = video.chunks.is_empty() && video.images.is_none() && !video.counted && video.rotation == 0;
    if !is_plain || !video.lost.is_empty() || video.damage.is_some() {
        return None;
    }
    let file = File::open(&video.path).ok()?;
    let track = Track::read(&file, video.stream)?;
    let order = Order::of(&track, video)?;
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    wanted.iter().for_each(|&index| by_key.entry(video.keyframe_before(index)).or_default().push(index));
    let mut room = MOST_BYTES;
    let gop = |(key, wanted): (u64, Vec<u64>)| order.gop(&file, video, key, &wanted, &mut room);
    let gops = by_key.into_iter().map(gop).collect::<Option<_>>()?;
    Some((track.configuration, gops))
}

/// The packets of a track, and the frames that they are.
struct Order<'t> {
    track: &'t Track,
    /// The frame of each packet, and the packet of each frame.
    frames: Vec<u64>,
    packets: Vec<usize>,
}

impl<'t> Order<'t> {
    /// If the track has the frames that were probed, at the same times but for one shift, and the same key frames.
    fn of(track: &'t Track, video: &VideoInfo) -> Option<Self> {
        let (samples, line) = (&track.samples, &video.timeline);
        if samples.len() as u64 != line.frames() || (line.base().num, line.base().den) != (1, track.timescale) {
            return None;
        }
        let mut packets: Vec<usize> = (0..samples.len()).collect();
        packets.sort_by_key(|&at| samples[at].time);
        let shift = line.pts(0)? - samples[*packets.first()?].time;
        let mut frames = vec![0; packets.len()];
        let mut keys = video.keyframes.iter().copied().peekable();
        for (&at, index) in packets.iter().zip(0..) {
            let Sample { time, is_key, .. } = samples[at];
            if line.pts(index)? != time + shift || is_key != keys.next_if_eq(&index).is_some() {
                return None;
            }
            frames[at] = index;
        }
        Some(Self { track, frames, packets })
    }

    /// From the key frame `key` to the last one of `wanted`, without what nobody wants and nothing refers to; takes its bytes from
    /// the `room` that there is.
    fn gop(&self, file: &File, video: &VideoInfo, key: u64, wanted: &[u64], room: &mut u64) -> Option<Gop> {
        let packet_of = |index: u64| self.packets.get(usize::try_from(index).ok()?).copied();
        let first = packet_of(key)?;
        let last = wanted.iter().filter_map(|&index| packet_of(index)).max()?;
        let syntax = Syntax::of(&self.track.configuration)?;
        let mut packets = Vec::new();
        for at in first..=last {
            let index = self.frames[at];
            if index < key || index - key > MOST_TICKS {
                return None;
            }
            if video.disposable.contains(index) && wanted.binary_search(&index).is_err() {
                continue;
            }
            let Sample { pos, size, is_key, .. } = self.track.samples[at];
            *room = room.checked_sub(size.into())?;
            // Of a table that lies, no memory is taken.
            if pos.checked_add(size.into())? > video.bytes {
                return None;
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, pos).ok()?;
            let is_fit = if at == first { syntax.begins(&bytes) } else { syntax.goes_on(&bytes) };
            is_fit.filter(|&is_fit| is_fit)?;
            packets.push(Packet { index, is_key, bytes });
        }
        Some(Gop { key, packets })
    }
}

/// How packets are made of units.
struct Syntax {
    is_h264: bool,
    length_bytes: usize,
}

impl Syntax {
    fn of(configuration: &Configuration) -> Option<Self> {
        let is_h264 = &configuration.kind == b"avcC";
        let sizes = configuration.record.get(if is_h264 { 4 } else { 21 })?;
        // Of 4:4:4 a decoder reads according to the x264 that a message names, if there has been one, in whichever clip.
        if is_h264 && matches!(configuration.record.get(1)?, 44 | 244) {
            return None;
        }
        Some(Self { is_h264, length_bytes: usize::from(sizes & 3) + 1 })
    }

    /// Whether the packet empties the decoder, whose first slice it holds; `None` if it is not understood.
    fn begins(&self, packet: &[u8]) -> Option<bool> {
        let is_slice = |kind: &u8| if self.is_h264 { (1..=5).contains(kind) } else { *kind < 32 };
        let empties = |kind: u8| if self.is_h264 { kind == 5 } else { kind == 19 || kind == 20 };
        let kinds = self.kinds(packet)?;
        let mut slices = kinds.iter().filter(|kind| is_slice(kind)).peekable();
        Some(slices.peek().is_some() && slices.all(|&kind| empties(kind)) && self.goes_on(packet)?)
    }

    /// Whether the packet holds nothing that outlasts the next one that empties the decoder.
    fn goes_on(&self, packet: &[u8]) -> Option<bool> {
        let is_parameters =
            |kind: &u8| if self.is_h264 { matches!(kind, 7 | 8 | 13 | 15) } else { (32..35).contains(kind) };
        Some(!self.kinds(packet)?.iter().any(is_parameters))
    }

    /// The types of its units.
    fn kinds(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (mut rest, mut kinds) = (packet, Vec::new());
        while !rest.is_empty() {
            let (length, units) = rest.split_at_checked(self.length_bytes)?;
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let (unit, behind) = units.split_at_checked(length)?;
            let first = *unit.first()?;
            kinds.push(if self.is_h264 { first & 31 } else { first >> 1 & 63 });
            rest = behind;
        }
        Some(kinds)
    }
}
