//! Bytes that are nearly a file: seeds changed by a seeded generator.
//!
//! Invariant: the same seed and the same files give the same bytes.

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What stands in the place of numbers in texts.
const NUMBERS: [&str; 24] = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "-0.0",
    "1e17",
    "1e18",
    "-1e18",
    "1e300",
    "1e-300",
    "1e999",
    "NaN",
    "Infinity",
    "null",
    "4294967295",
    "4294967296",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
];
/// What stands in the place of binary numbers.
const WORDS: [u64; 10] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];

/// One of `seeds` with one to four changes.
pub fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.pick(seeds).clone();
    for _ in 0..=rng.below(4) {
        let other = rng.pick(seeds);
        change(rng, &mut bytes, other);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(bytes.len());
    match rng.below(10) {
        0..=2 => {
            let bit = rng.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        3 => {
            let value = *rng.pick(&[0, 0xff, 0x80, 0x7f, b'{', b'[', b'(', b'"', b',', b'\n', b'-']);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        4 => bytes.truncate(at),
        5 => {
            let end = (at + 1 + rng.below(40)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let end = (at + 1 + rng.below(40)).min(bytes.len());
            let (piece, times) = (bytes[at..end].to_vec(), 1 + rng.below(50));
            bytes.splice(at..at, piece.repeat(times));
        }
        7 => {
            let from = rng.below(other.len());
            let to = (from + rng.below(200)).min(other.len());
            let end = (at + rng.below(200)).min(bytes.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        8 => number(rng, bytes, at),
        _ => {
            let (word, size) = (rng.pick(&WORDS).to_le_bytes(), *rng.pick(&[1, 2, 4, 8]));
            let end = (at + size).min(bytes.len());
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
    }
}

/// Replaces the first number behind `at`, or else the first of all.
fn number(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+');
    let behind = bytes[at..].iter().position(u8::is_ascii_digit).map(|place| at + place);
    let Some(start) = behind.or_else(|| bytes.iter().position(u8::is_ascii_digit)) else { return };
    let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
    let number = rng.pick(&NUMBERS).bytes();
    bytes.splice(start..start + length, number);
}
