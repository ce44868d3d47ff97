//! Names of videos, clips and units, and the numbers of a run's feature sets and tasks.
//!
//! A uid comes from somebody's file and later becomes part of a file name, so it is parsed once, here, into a type
//! that cannot hold a path. Not for paths: where a video lies is the manifest's business.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest uid accepted, in bytes: file names may have 255, and a store appends an extension.
pub const MAX_UID_BYTES: usize = 128;

/// Why a text is not a uid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("a uid is empty")]
    Empty,
    /// More than [`MAX_UID_BYTES`] bytes.
    #[error("uid {name:?} has {bytes} bytes, at most {MAX_UID_BYTES} are allowed")]
    TooLong {
        /// The beginning of the text.
        name: String,
        /// Its whole length.
        bytes: usize,
    },
    /// A character that has no place in a file name, a path separator for instance.
    #[error("uid {name:?} contains {found:?}; letters, digits, '-', '_' and '.' are allowed, and '.' not first")]
    Forbidden {
        /// The text.
        name: String,
        /// The first offending character.
        found: char,
    },
}

fn check(name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty);
    }
    if name.len() > MAX_UID_BYTES {
        return Err(IdError::TooLong { name: name.chars().take(24).collect(), bytes: name.len() });
    }
    let forbidden = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let leading_dot = name.starts_with('.').then_some('.');
    match leading_dot.or_else(|| name.chars().find(forbidden)) {
        Some(found) => Err(IdError::Forbidden { name: name.to_owned(), found }),
        None => Ok(()),
    }
}

/// A uid for something that has the name `name`: the name itself where it is one, else what of it a uid may have and eight
/// digits of its sha256, so that names which differ have uids that differ. Names of hidden files stay as they are: they are
/// nobody's videos.
pub fn uid_for(name: &str) -> String {
    if check(name).is_ok() || name.is_empty() || name.starts_with('.') {
        return name.to_owned();
    }
    let mut safe = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => safe.push(c),
            _ if safe.is_empty() || safe.ends_with('_') => {}
            _ => safe.push('_'),
        }
    }
    safe.truncate(MAX_UID_BYTES - 9);
    let digits: String = Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let safe = safe.trim_matches(['_', '.', '-']);
    if safe.is_empty() { format!("video-{digits}") } else { format!("{safe}-{digits}") }
}

macro_rules! uid {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The uid of ", $what, ": parsed, never a path, cheap to clone.")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts ASCII letters, digits, `-`, `_` and `.` (not first); anything else is an [`IdError`].
            ///
            /// # Errors
            /// [`IdError`] says which character or length could not be in the name of a file.
            pub fn parse(name: &str) -> Result<Self, IdError> {
                check(name).map(|()| Self(name.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(name: String) -> Result<Self, IdError> {
                Self::parse(&name)
            }
        }

        impl From<$name> for String {
            fn from(uid: $name) -> String {
                uid.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

uid!(VideoUid, "a video");
uid!(ClipUid, "a clip, which may be a whole video");
uid!(UnitUid, "a unit of a feature set, and the name of its file: a clip, a video or a query");

impl From<&VideoUid> for ClipUid {
    /// A whole video is a clip that bears its video's name.
    fn from(video_uid: &VideoUid) -> Self {
        Self(video_uid.0.clone())
    }
}

impl From<&VideoUid> for UnitUid {
    /// A unit that holds something of all of a video.
    fn from(video_uid: &VideoUid) -> Self {
        Self(video_uid.0.clone())
    }
}

impl From<&ClipUid> for UnitUid {
    /// A unit that holds the windows of a clip.
    fn from(clip_uid: &ClipUid) -> Self {
        Self(clip_uid.0.clone())
    }
}

macro_rules! position {
    ($name:ident, $what:literal) => {
        #[doc = concat!("Which of ", $what, ", by its place among them: of one run, and never kept.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(usize);

        impl $name {
            /// The one at `place`, counted from 0.
            pub const fn new(place: usize) -> Self {
                Self(place)
            }

            /// Its place, counted from 0.
            pub const fn place(self) -> usize {
                self.0
            }
        }
    };
}

position!(SetId, "a run's feature sets");
position!(TaskId, "a plan's tasks");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_ego4d_and_plain_names_are_accepted() {
        for name in ["001e3e4e-2743-47fc-8564-d5efd11f9e90", "P01_01", "a", "clip.0-480"] {
            assert_eq!(VideoUid::parse(name).map(|uid| uid.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn any_name_of_a_file_has_a_uid_of_its_own() {
        for name in ["GX010123", "VID_20240101_120000", "PXL_20240101.TS", "0"] {
            assert_eq!(uid_for(name), name);
        }
        assert_eq!(uid_for("my video, take 2: 50% off"), "my_video_take_2_50_off-c62a42ac");
        let long = "x".repeat(300);
        let odd = ["my video", "my_video", "my  video", "видео", "影片", "a:b", "a%b", "a,b", "é", " ", long.as_str()];
        let mut uids: Vec<VideoUid> = odd.iter().map(|name| VideoUid::parse(&uid_for(name)).unwrap()).collect();
        assert!(uid_for("影片").starts_with("video-") && uid_for("Screen Recording 2024-01-01 at 10.00.00").len() < 60);
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), odd.len(), "{uids:?}");
        assert_eq!(uid_for(".hidden"), ".hidden");
    }

    #[test]
    fn paths_and_hidden_names_are_refused() {
        for name in ["../../x", "a/b", "a\\b", "..", ".hidden", "a b", "ü", "a\0"] {
            assert!(matches!(ClipUid::parse(name), Err(IdError::Forbidden { .. })), "{name:?}");
        }
        assert_eq!(VideoUid::parse(""), Err(IdError::Empty));
        assert!(matches!(VideoUid::parse(&"x".repeat(129)), Err(IdError::TooLong { bytes: 129, .. })));
    }
}
