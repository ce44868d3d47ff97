//! Where the packets of an MP4's video lie, by its own tables: when each is shown, and whether a decoder can start at it.
//!
//! Not for probing, which ffprobe does, nor for files in fragments. Invariant: a table is read whole or not at all; whoever uses it
//! sets it against what was probed.

use std::fs::File;
use std::iter;
use std::os::unix::fs::FileExt;

/// Bytes of a `moov` that is read: an hour has about two megabytes.
const MOST_BYTES: u64 = 256 << 20;

/// Where the boxes within a video's sample entry begin.
const ENTRY_HEAD: usize = 78;

/// What a decoder is told before the first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    /// `avcC` or `hvcC`.
    pub kind: [u8; 4],
    /// The box's contents.
    pub record: Vec<u8>,
    /// Primaries, transfer and matrix of the colours, if the container says so, and whether they have the full range, if it says that.
    pub colours: Option<([u16; 3], Option<bool>)>,
    pub width: u16,
    pub height: u16,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where it lies in the file, and its bytes.
    pub pos: u64,
    pub size: u32,
    /// When it is shown, in ticks of the track.
    pub time: i64,
    /// Whether a decoder can start at it.
    pub is_key: bool,
}

/// A track of video, its packets in the order of decoding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Track {
    pub configuration: Configuration,
    pub timescale: u32,
    pub samples: Vec<Sample>,
}

impl Track {
    /// Track `number` of `file`, counted from 0; `None` if it is no video in one piece of which all is understood.
    pub fn read(file: &File, number: u32) -> Option<Self> {
        let moov = movie(file)?;
        if find(&moov, *b"mvex").is_some() {
            return None;
        }
        let track = children(&moov).filter(|(name, _)| name == b"trak").nth(number as usize)?.1;
        let media = find(track, *b"mdia")?;
        if find(media, *b"hdlr")?.get(8..12)? != b"vide" {
            return None;
        }
        let information = find(media, *b"minf")?;
        is_self_contained(find(find(information, *b"dinf")?, *b"dref")?).filter(|&is| is)?;
        let table = find(information, *b"stbl")?;
        Some(Self {
            configuration: configuration(find(table, *b"stsd")?)?,
            timescale: timescale(find(media, *b"mdhd")?)?,
            samples: samples(table)?,
        })
    }
}

/// The contents of the file's `moov`.
fn movie(file: &File) -> Option<Vec<u8>> {
    let end = file.metadata().ok()?.len();
    let mut at = 0;
    while at < end {
        let mut head = [0; 16];
        let there = 16.min(end - at) as usize;
        file.read_exact_at(&mut head[..there], at).ok()?;
        let (skip, size) = match u64::from(be32(&head, 0)?) {
            0 => (8, end - at),
            1 => (16, be64(&head, 8)?),
            size => (8, size),
        };
        if size < skip || size > end - at {
            return None;
        }
        if &head[4..8] == b"moov" {
            let mut moov = vec![0; usize::try_from((size - skip).min(MOST_BYTES)).ok()?];
            file.read_exact_at(&mut moov, at + skip).ok()?;
            return (moov.len() as u64 == size - skip).then_some(moov);
        }
        at += size;
    }
    None
}

/// Names and contents of the boxes in `bytes`.
fn children(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    iter::from_fn(move || {
        let (skip, size) = match be32(rest, 0)? {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(be64(rest, 8)?).ok()?),
            size => (8, size as usize),
        };
        let (name, body) = (rest.get(4..8)?.try_into().ok()?, rest.get(skip..size)?);
        rest = &rest[size..];
        Some((name, body))
    })
}

fn find(bytes: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    children(bytes).find(|(found, _)| *found == name).map(|(_, body)| body)
}

/// Whether all entries of a `dref` are the file itself.
fn is_self_contained(references: &[u8]) -> Option<bool> {
    let mut entries = children(references.get(8..)?);
    Some(entries.all(|(name, body)| &name == b"url " && body.get(3).is_some_and(|flags| flags & 1 == 1)))
}

fn timescale(header: &[u8]) -> Option<u32> {
    be32(header, if *header.first()? == 1 { 20 } else { 12 })
}

/// Of the only entry of an `stsd`; none where there is more in it than we know to hand on.
fn configuration(descriptions: &[u8]) -> Option<Configuration> {
    if be32(descriptions, 4)? != 1 {
        return None;
    }
    let (name, entry) = children(descriptions.get(8..)?).next()?;
    let kind = match &name {
        b"avc1" => *b"avcC",
        b"hvc1" | b"hev1" => *b"hvcC",
        _ => return None,
    };
    let boxes = entry.get(ENTRY_HEAD..)?;
    if !children(boxes).all(|(name, _)| name == kind || matches!(&name, b"pasp" | b"colr" | b"btrt" | b"fiel")) {
        return None;
    }
    let colours = match find(boxes, *b"colr") {
        None => None,
        Some(colours) => Some(coded_colours(colours)?),
    };
    let record = find(boxes, kind)?.to_vec();
    Some(Configuration { kind, record, colours, width: be16(entry, 24)?, height: be16(entry, 26)? })
}

fn coded_colours(colours: &[u8]) -> Option<([u16; 3], Option<bool>)> {
    let numbers = [be16(colours, 4)?, be16(colours, 6)?, be16(colours, 8)?];
    match colours.get(..4)? {
        b"nclx" => Some((numbers, Some(colours.get(10)? & 0x80 != 0))),
        b"nclc" => Some((numbers, None)),
        _ => None,
    }
}

/// The packets of a sample table.
fn samples(table: &[u8]) -> Option<Vec<Sample>> {
    let sizes = sizes(find(table, *b"stsz")?)?;
    let mut samples: Vec<Sample> =
        sizes.into_iter().map(|size| Sample { pos: 0, size, time: 0, is_key: false }).collect();
    put_times(&mut samples, find(table, *b"stts")?, find(table, *b"ctts"))?;
    put_places(&mut samples, table)?;
    match find(table, *b"stss") {
        None => samples.iter_mut().for_each(|sample| sample.is_key = true),
        Some(keys) => {
            for number in entries(keys, 4)? {
                samples.get_mut((be32(number, 0)? as usize).checked_sub(1)?)?.is_key = true;
            }
        }
    }
    Some(samples)
}

fn sizes(sizes: &[u8]) -> Option<Vec<u32>> {
    let (size, count) = (be32(sizes, 4)?, be32(sizes, 8)? as usize);
    let sizes = sizes.get(12..12 + 4 * count)?;
    // Packets of one size are no coded video.
    (size == 0).then(|| sizes.chunks_exact(4).filter_map(|size| be32(size, 0)).collect())
}

fn put_times(samples: &mut [Sample], decoded: &[u8], shifts: Option<&[u8]>) -> Option<()> {
    let (mut next, mut time) = (samples.iter_mut(), 0);
    for run in entries(decoded, 8)? {
        for sample in next.by_ref().take(be32(run, 0)? as usize) {
            sample.time = time;
            time += i64::from(be32(run, 4)?);
        }
    }
    if next.next().is_some() {
        return None;
    }
    let Some(shifts) = shifts else { return Some(()) };
    let mut next = samples.iter_mut();
    for run in entries(shifts, 8)? {
        let shift = i64::from(be32(run, 4)?.cast_signed());
        next.by_ref().take(be32(run, 0)? as usize).for_each(|sample| sample.time += shift);
    }
    Some(())
}

/// By the runs of chunks of `stsc` and the places of chunks in `stco` or `co64`.
fn put_places(samples: &mut [Sample], table: &[u8]) -> Option<()> {
    let chunks: Vec<u64> = match (find(table, *b"stco"), find(table, *b"co64")) {
        (Some(places), _) => entries(places, 4)?.filter_map(|place| be32(place, 0).map(u64::from)).collect(),
        (None, places) => entries(places?, 8)?.filter_map(|place| be64(place, 0)).collect(),
    };
    let runs: Vec<(usize, usize)> = entries(find(table, *b"stsc")?, 12)?
        .map(|run| Some(((be32(run, 0)? as usize).checked_sub(1)?, be32(run, 4)? as usize)))
        .collect::<Option<_>>()?;
    let mut next = samples.iter_mut();
    for (at, &(first, of_each)) in runs.iter().enumerate() {
        let end = runs.get(at + 1).map_or(chunks.len(), |run| run.0);
        for &chunk in chunks.get(first..end)? {
            let mut pos = chunk;
            for sample in next.by_ref().take(of_each) {
                sample.pos = pos;
                pos = pos.checked_add(u64::from(sample.size))?;
            }
        }
    }
    next.next().is_none().then_some(())
}

/// The entries of `size` bytes of a box with their number.
fn entries(body: &[u8], size: usize) -> Option<std::slice::ChunksExact<'_, u8>> {
    let count = be32(body, 4)? as usize;
    Some(body.get(8..8 + count.checked_mul(size)?)?.chunks_exact(size))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn data(name: &str) -> Vec<u8> {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/media").join(name)).unwrap()
    }

    fn read(bytes: &[u8]) -> Option<Track> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        fs::write(&path, bytes).unwrap();
        Track::read(&File::open(path).unwrap(), 0)
    }

    #[test]
    fn a_real_file_s_packets_fill_what_they_lie_in() {
        let bytes = data("nasa_13013.mp4");
        let track = read(&bytes).unwrap();
        assert_eq!((&track.configuration.kind, track.samples[0].is_key), (b"avcC", true));
        for pair in track.samples.windows(2) {
            assert!(pair[0].pos + u64::from(pair[0].size) <= pair[1].pos);
        }
        for sample in &track.samples {
            let packet = &bytes[sample.pos as usize..][..sample.size as usize];
            let first = u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize;
            assert!(first > 0 && first + 4 <= packet.len(), "a unit with its length");
        }
    }

    #[test]
    fn tables_that_lie_are_refused_or_read_and_never_worse() {
        let bytes = data("nasa_13013.mp4");
        let at = bytes.windows(4).position(|name| name == b"moov").unwrap();
        let end = bytes.windows(4).rposition(|name| name == b"stco").unwrap() + 64;
        let mut seed: u64 = 7;
        let mut draw = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut refused = 0;
        for _ in 0..400 {
            let mut harmed = bytes.clone();
            for _ in 0..=draw(3) {
                harmed[at + draw(end - at)] = [0, 1, 0x7f, 0x80, 0xff][draw(5)];
            }
            harmed.truncate(if draw(8) == 0 { draw(bytes.len()) } else { bytes.len() });
            refused += usize::from(read(&harmed).is_none());
        }
        assert!(refused > 20, "{refused} of 400");
    }
}
