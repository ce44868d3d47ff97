//! Which coded images nothing refers to, by the headers of their NAL units (H.264 and HEVC).
//!
//! A packet is taken apart into its NAL units; they have to fill it exactly, or nothing is known of it. Not for reading files,
//! nor for decoding: of slices the header's first bytes are enough. Invariant: an image is called disposable only if the
//! standard forbids all other images to refer to it, and if its packet has nothing else that outlasts it.

/// Bytes of a parameter set or of a message that are looked at; longer ones are not understood.
const MOST_BYTES: u64 = 1024;

/// How the images of a stream are coded.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    syntax: Syntax,
    /// Bytes of the length in front of each unit.
    length_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    H264,
    Hevc,
}

/// What a packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodedImage {
    /// Its temporal sub-layer: images of lower ones do not refer to it.
    pub layer: u8,
    /// Whether images of its own sub-layer do not refer to it either.
    pub disposable: bool,
}

/// What a unit of a packet is.
enum Unit {
    Slice(CodedImage),
    /// Of no consequence for other images.
    Passing,
    /// A set of parameters, or something that is not understood.
    Lasting,
}

/// SEI messages that say something of their own image only: timing, registered user data (captions), and HEVC's digest.
const PASSING_SEI_H264: [u32; 2] = [1, 4];
const PASSING_SEI_HEVC: [u32; 3] = [1, 4, 132];

impl Coding {
    /// The codecs that are known, by ffmpeg's names.
    pub const CODECS: [&str; 2] = ["h264", "hevc"];

    /// That of a stream of `codec` in MP4 or Matroska with this `record` of its decoder's configuration (`avcC` or `hvcC`), if
    /// its images can be told apart.
    pub fn of(codec: &str, record: &[u8]) -> Option<Self> {
        let (syntax, sizes) = match (codec, record.first()?) {
            ("h264", 1) => (Syntax::H264, record.get(4)?),
            ("hevc", 1) => (Syntax::Hevc, record.get(21)?),
            _ => return None,
        };
        let coding = Self { syntax, length_bytes: u64::from(sizes & 3) + 1 };
        (syntax == Syntax::Hevc || parameter_sets(record)?.iter().all(|set| is_plain(set))).then_some(coding)
    }

    /// What a packet of `size` bytes holds, of which `read` gives bytes by their place and number. `None` if that cannot be
    /// told; then nothing is known of the stream any more, for it may have held parameters.
    pub fn image(&self, size: u64, read: &mut dyn FnMut(u64, u64) -> Option<Vec<u8>>) -> Option<CodedImage> {
        let (mut at, mut found, mut disposable): (u64, Option<CodedImage>, bool) = (0, None, true);
        while at < size {
            let length = read(at, self.length_bytes)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            at += self.length_bytes;
            if length == 0 || length > size.checked_sub(at)? {
                return None;
            }
            let start = at;
            match self.unit(length, &mut |count| read(start, count))? {
                Unit::Slice(slice) => {
                    disposable &= slice.disposable && found.is_none_or(|first| first.layer == slice.layer);
                    found.get_or_insert(slice);
                }
                Unit::Passing => {}
                Unit::Lasting => disposable = false,
            }
            at += length;
        }
        found.map(|image| CodedImage { disposable, ..image })
    }

    /// What a unit of `length` bytes is, of which `read` gives the first ones.
    fn unit(&self, length: u64, read: &mut dyn FnMut(u64) -> Option<Vec<u8>>) -> Option<Unit> {
        let head = read(length.min(2))?;
        let first = *head.first()?;
        if first & 0x80 != 0 {
            return None;
        }
        match self.syntax {
            Syntax::H264 => match (first & 31, first >> 5 & 3) {
                (1, priority) => Some(Unit::Slice(CodedImage { layer: 0, disposable: priority == 0 })),
                (2..=5, _) => Some(Unit::Slice(CodedImage { layer: 0, disposable: false })),
                (6, _) => sei(1, length, read, &PASSING_SEI_H264),
                (7, _) => is_plain(&read(length.min(MOST_BYTES))?).then_some(Unit::Lasting),
                (9 | 12, _) => Some(Unit::Passing),
                _ => Some(Unit::Lasting),
            },
            Syntax::Hevc => {
                let second = *head.get(1)?;
                let (kind, of_base) = (first >> 1, first & 1 == 0 && second >> 3 == 0);
                let layer = (second & 7).checked_sub(1)?;
                match kind {
                    _ if !of_base => Some(Unit::Lasting),
                    // TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N.
                    0..32 => Some(Unit::Slice(CodedImage { layer, disposable: kind < 10 && kind % 2 == 0 })),
                    35 | 38 => Some(Unit::Passing),
                    39 | 40 => sei(2, length, read, &PASSING_SEI_HEVC),
                    _ => Some(Unit::Lasting),
                }
            }
        }
    }
}

/// Whether all messages behind the `header` bytes of an SEI unit are among `passing`.
fn sei(header: usize, length: u64, read: &mut dyn FnMut(u64) -> Option<Vec<u8>>, passing: &[u32]) -> Option<Unit> {
    if length > MOST_BYTES {
        return Some(Unit::Lasting);
    }
    let messages = unescaped(read(length)?.get(header..)?);
    let known = messages_of(&messages).is_some_and(|kinds| kinds.iter().all(|kind| passing.contains(kind)));
    Some(if known { Unit::Passing } else { Unit::Lasting })
}

/// The types of the messages in an SEI unit; `None` if they do not fill it.
fn messages_of(mut bytes: &[u8]) -> Option<Vec<u32>> {
    let mut kinds = Vec::new();
    // What ends the unit is a bit that is set and zeros.
    while bytes != [0x80] {
        let mut number = || {
            let large = bytes.iter().take_while(|&&byte| byte == 0xff).count();
            let number = 255 * u32::try_from(large).ok()? + u32::from(*bytes.get(large)?);
            bytes = &bytes[large + 1..];
            Some(number)
        };
        let (kind, size) = (number()?, number()?);
        bytes = bytes.get(size as usize..)?;
        kinds.push(kind);
    }
    Some(kinds)
}

/// The bytes of a unit without those that keep start codes out of it.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// The sequence parameter sets in an `avcC` record.
fn parameter_sets(record: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = record.get(6..)?;
    let mut sets = Vec::new();
    for _ in 0..record[5] & 31 {
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        sets.push(rest.get(2..2 + length)?);
        rest = &rest[2 + length..];
    }
    Some(sets)
}

/// Whether a sequence parameter set of H.264 is known to be one of whole frames without gaps in their numbers: fields are halves
/// of an image in packets of their own, and where numbers may have gaps a decoder makes images up for those.
fn is_plain(set: &[u8]) -> bool {
    progressive_without_gaps(set).unwrap_or(false)
}

/// Reads an SPS (ITU-T H.264, 7.3.2.1.1) as far as `frame_mbs_only_flag`.
fn progressive_without_gaps(set: &[u8]) -> Option<bool> {
    let set = unescaped(set.get(1..)?);
    let profile = *set.first()?;
    let mut bits = Bits { bytes: &set, at: 24 };
    bits.number()?; // seq_parameter_set_id
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = bits.number()?;
        if chroma == 3 {
            bits.bit()?;
        }
        bits.numbers(2)?; // depths of brightness and colour
        bits.bit()?;
        if bits.bit()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    bits.scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.number()?; // log2_max_frame_num_minus4
    match bits.number()? {
        0 => _ = bits.number()?,
        1 => {
            bits.bit()?;
            bits.numbers(2)?;
            let offsets = bits.number()?;
            bits.numbers(offsets)?;
        }
        _ => {}
    }
    bits.number()?; // max_num_ref_frames
    let may_have_gaps = bits.bit()?;
    bits.numbers(2)?; // width and height
    let whole_frames = bits.bit()?;
    Some(whole_frames && !may_have_gaps)
}

/// Bits of a parameter set, the highest of each byte first.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        self.at += 1;
        Some(byte >> (7 - (self.at - 1) % 8) & 1 == 1)
    }

    /// An Exp-Golomb code, as an unsigned number.
    fn number(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
        }
        let mut number: u64 = 1;
        for _ in 0..zeros {
            number = number.checked_mul(2)? | u64::from(self.bit()?);
        }
        u32::try_from(number - 1).ok()
    }

    /// A code as a signed number.
    fn signed(&mut self) -> Option<i64> {
        let number = i64::from(self.number()?);
        Some(if number % 2 == 1 { (number + 1) / 2 } else { -number / 2 })
    }

    /// Passes over `count` codes.
    fn numbers(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }

    fn scaling_list(&mut self, size: usize) -> Option<()> {
        let (mut last, mut next) = (8, 8);
        for _ in 0..size {
            if next != 0 {
                next = (last + self.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264's SPS of a progressive video of 454x256, as it stands in `avcC`.
    const SPS: [u8; 26] = [
        0x67, 0x64, 0x00, 0x15, 0xac, 0xd9, 0x41, 0xd0, 0x87, 0x9b, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
        0x00, 0x03, 0x00, 0xf0, 0x3c, 0x58, 0xb6, 0x58,
    ];

    /// An SPS of the baseline profile, of which `gaps` and `whole_frames` are as said.
    fn sps(gaps: bool, whole_frames: bool) -> Vec<u8> {
        // Four codes of 0, two references, and 20 by 11 macroblocks.
        let mut bits = format!("1111011{}000010101{}{}1", u8::from(gaps), "0001100", u8::from(whole_frames));
        bits.extend(std::iter::repeat_n('0', 8 - bits.len() % 8));
        let bytes = (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).unwrap());
        [0x67, 66, 0, 30].into_iter().chain(bytes).collect()
    }

    fn avcc(set: &[u8]) -> Vec<u8> {
        let length = u8::try_from(set.len()).unwrap();
        [&[1, 100, 0, 21, 0xff, 0xe1, 0, length], set, &[0]].concat()
    }

    fn image(coding: &Coding, units: &[&[u8]]) -> Option<CodedImage> {
        let packet: Vec<u8> =
            units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), *unit].concat()).collect();
        read_all(coding, &packet)
    }

    fn read_all(coding: &Coding, packet: &[u8]) -> Option<CodedImage> {
        let mut read = |at: u64, count: u64| Some(packet.get(at as usize..(at + count) as usize)?.to_vec());
        coding.image(packet.len() as u64, &mut read)
    }

    #[test]
    fn only_whole_frames_without_gaps_are_understood() {
        assert_eq!(progressive_without_gaps(&SPS), Some(true));
        for (gaps, whole_frames) in [(false, true), (true, true), (false, false), (true, false)] {
            let coding = Coding::of("h264", &avcc(&sps(gaps, whole_frames)));
            assert_eq!(coding.is_some(), whole_frames && !gaps, "{gaps} {whole_frames}");
        }
        assert!(Coding::of("h264", &avcc(&SPS[..6])).is_none(), "cut short");
        assert!(Coding::of("h264", &[0, 0, 0, 1, 0x67, 100]).is_none(), "start codes");
        assert!(Coding::of("vp9", &avcc(&SPS)).is_none());
    }

    #[test]
    fn every_slice_of_an_image_has_to_be_disposable() {
        let coding = Coding::of("h264", &avcc(&SPS)).unwrap();
        let disposable = |units: &[&[u8]]| image(&coding, units).map(|image| image.disposable);
        let (free, kept) = ([0x01, 0xaa, 0xbb], [0x41, 0xaa, 0xbb]);
        assert_eq!(disposable(&[&free]), Some(true));
        assert_eq!(disposable(&[&[0x09, 0xf0], &[0x06, 1, 1, 0, 0x80], &free, &free, &[0x0c, 0xff, 0x80]]), Some(true));
        for units in [
            &[&kept[..]][..],
            &[&free, &kept],
            &[&[0x65, 1]],
            &[&[0x02, 1]],
            &[&free, &[0x68, 1]],
            &[&SPS, &free],
            &[&[0x0a], &free],
            &[&[0x14, 1], &free],
        ] {
            assert_eq!(disposable(units), Some(false), "{units:?}");
        }
        // A recovery point, and a message that does not fit.
        for message in [&[0x06, 6, 1, 0xc4, 0x80][..], &[0x06, 1, 9, 0, 0x80], &[0x06, 1, 1, 0]] {
            assert_eq!(disposable(&[message, &free]), Some(false), "{message:?}");
        }
        assert_eq!(disposable(&[&sps(true, true), &free]), None, "nothing holds any more");
        assert_eq!(disposable(&[&[0x09, 0xf0]]), None, "no image");
        assert_eq!(disposable(&[&[0x81, 1]]), None, "a bit that is never set");
        assert_eq!(read_all(&coding, &[0, 0, 0, 9, 1, 2, 3]), None, "longer than its packet");
        assert_eq!(read_all(&coding, &[0, 0, 0, 2, 1, 2, 0, 0]), None, "something behind the last unit");
    }

    #[test]
    fn sub_layers_of_hevc_are_told_apart() {
        let mut record = [0; 23];
        (record[0], record[21]) = (1, 3);
        let coding = Coding::of("hevc", &record).unwrap();
        let of = |head: [u8; 2]| image(&coding, &[&[head[0], head[1], 7]]).unwrap();
        assert_eq!(of([0, 1]), CodedImage { layer: 0, disposable: true }, "TRAIL_N");
        assert_eq!(of([2, 1]), CodedImage { layer: 0, disposable: false }, "TRAIL_R");
        assert_eq!(of([8 << 1, 3]), CodedImage { layer: 2, disposable: true }, "RASL_N");
        assert_eq!(of([10 << 1, 1]), CodedImage { layer: 0, disposable: false }, "reserved");
        assert_eq!(of([19 << 1, 1]), CodedImage { layer: 0, disposable: false }, "IDR");
        let both = image(&coding, &[&[0, 1, 7], &[0, 8 | 1, 7]]);
        assert_eq!(both.map(|image| image.disposable), Some(false), "a second view");
        let timed = image(&coding, &[&[39 << 1, 1, 1, 1, 0, 0x80], &[0, 1, 7], &[40 << 1, 1, 132, 2, 7, 7, 0x80]]);
        assert_eq!(timed.map(|image| image.disposable), Some(true));
        assert_eq!(image(&coding, &[&[0, 0, 7]]), None, "a layer below the lowest");
    }
}
