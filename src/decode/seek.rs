//! Where decoding starts in the middle of a file.
//!
//! Not for seeking. Invariant: the frames of the file that are decoded before the mark are nobody's.

use super::VideoInfo;

/// A complaint is printed when a packet is decoded, up to this many frames before its image comes out (frame threads
/// and reordering). So harm may begin that much later than the complaint, and last until the key frame after.
pub const COMPLAINT_LEAD_FRAMES: u64 = 48;

/// Where decoding starts in the middle of a file.
///
/// Mostly the key frame before the wanted ones is the place. Some containers land behind it, and a decoder that starts at
/// an open GOP complains of frames that refer to earlier ones, while nobody can tell which frames a complaint concerns:
/// then it starts some key frames earlier, and complaints count from `mark` on only; what they mean before it is past
/// when the last key frame before the wanted ones comes.
#[derive(Debug, Clone, Copy)]
pub struct SeekPoint {
    /// The key frame that is sought. Containers without an index land up to a key frame later.
    pub target: u64,
    /// A key frame that comes first, unless the seek landed behind it.
    pub mark: u64,
    /// Whether complaints before the mark are known to be past before the wanted frames come.
    pub far: bool,
}

impl SeekPoint {
    /// Where to start, the last one first; the first frame of the file is what is left when none of them will do.
    pub fn before(wanted: u64, video: &VideoInfo) -> Vec<Self> {
        if video.counted {
            return Vec::new();
        }
        let key = video.keyframe_before(wanted);
        let near = Self { target: key, mark: key, far: false };
        let far = key.checked_sub(COMPLAINT_LEAD_FRAMES).map(|index| video.keyframe_before(index)).and_then(|mark| {
            let target = video.keyframe_before(mark.checked_sub(1)?);
            Some(Self { target, mark, far: true })
        });
        far.into_iter().chain([near]).filter(|seek_point| seek_point.target > 0).collect()
    }
}
