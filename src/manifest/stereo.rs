//! Which videos show two eyes side by side: the further column `is_stereo`, as Ego4D's metadata and manifests have it.
//!
//! Not for what containers say of it, nor for what becomes of such frames.

use super::Video;

/// The column.
const IS_STEREO: &str = "is_stereo";

impl Video {
    /// Whether its frames show two eyes; `None` where its clips say nothing of it.
    ///
    /// # Errors
    /// A cell that is neither yes nor no, or clips that say both.
    pub fn is_stereo(&self) -> Result<Option<bool>, String> {
        let mut said = None;
        for clip in &self.clips {
            let Some(text) = clip.extra.get(IS_STEREO) else { continue };
            let is_stereo = match text.to_ascii_lowercase().as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(format!("clip {}: {IS_STEREO} is {text:?}, expected true or false", clip.uid)),
            };
            if said.is_some_and(|said| said != is_stereo) {
                let video = &self.uid;
                return Err(format!(
                    "clip {}: {IS_STEREO} is {text}, of an earlier clip of {video} it is not",
                    clip.uid
                ));
            }
            said = Some(is_stereo);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;

    fn is_stereo(rows: &str) -> Result<Option<bool>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        std::fs::write(&path, format!("video_uid,clip_uid,start_sec,end_sec,is_stereo\n{rows}")).unwrap();
        Manifest::read(&path).unwrap().videos[0].is_stereo()
    }

    #[test]
    fn a_video_is_stereo_where_its_clips_say_so() {
        for (rows, expected) in [
            ("v,a,0,1,\n", None),
            ("v,a,0,1,False\n", Some(false)),
            ("v,a,0,1,True\nv,b,1,2,\n", Some(true)),
            ("v,a,0,1,true\nv,b,1,2,1\n", Some(true)),
            ("v,a,0,1,0\n", Some(false)),
        ] {
            assert_eq!(is_stereo(rows), Ok(expected), "{rows}");
        }
    }

    #[test]
    fn what_is_neither_or_both_is_refused() {
        assert_eq!(is_stereo("v,a,0,1,left\n").unwrap_err(), "clip a: is_stereo is \"left\", expected true or false");
        let both = is_stereo("v,a,0,1,true\nv,b,1,2,false\n").unwrap_err();
        assert_eq!(both, "clip b: is_stereo is false, of an earlier clip of v it is not");
    }
}
