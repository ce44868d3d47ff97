//! EgoClip: millions of narrations in columns, and which of them are of one scene.
//!
//! Not for its file, which the root library reads. Numbers are kept as numbers, so that a step costs no parsing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use egofx::benchmark::egoclip::Narration;
use egofx::benchmark::{BenchmarkError, record};
use egofx::compat::Compat;

use super::listed::ClipRef;
use super::listed::{Clip, Listed};
use crate::error::TrainError;
use crate::rng::Generator;
use crate::rng::below;

/// Narrations by row.
pub struct Narrations {
    listed: Listed,
    videos: Vec<u32>,
    times: Vec<f64>,
    verbs: Lists,
    nouns: Lists,
}

/// Short lists of small numbers, one behind the other.
#[derive(Default)]
struct Lists {
    values: Vec<u16>,
    ends: Vec<u32>,
}

impl Lists {
    fn push(&mut self, list: &[u16]) {
        self.values.extend_from_slice(list);
        self.ends.push(self.values.len() as u32);
    }

    fn get(&self, row: usize) -> Vec<i64> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.values[start..self.ends[row] as usize].iter().map(|&value| i64::from(value)).collect()
    }
}

impl Narrations {
    /// Reads `egoclip.csv`, without narrations whose videos are in none of the folders.
    ///
    /// # Errors
    /// [`TrainError::Annotations`].
    pub fn read(path: &Path, videos: &[PathBuf]) -> Result<Self, TrainError> {
        let listed = Listed::read("egoclip", &[path], videos)?;
        let of = |row: usize| listed.clip(listed.query(row).clip_uid.as_str()).map_or(u32::MAX, |clip| clip.video);
        let videos = (0..listed.queries.len()).map(of).collect();
        let (mut times, mut verbs, mut nouns) = (Vec::new(), Lists::default(), Lists::default());
        for row in 0..listed.queries.len() {
            let narration: Narration = record(&listed.queries, row).map_err(BenchmarkError::from)?;
            times.push(narration.time_sec.unwrap_or(f64::NAN));
            verbs.push(&narration.verbs);
            nouns.push(&narration.nouns);
        }
        Ok(Self { videos, times, verbs, nouns, listed })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.videos.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.videos.is_empty()
    }

    /// What was left out: how many, and why.
    pub fn left_out(&self) -> &[(usize, String)] {
        &self.listed.left_out
    }

    /// The sentence.
    pub fn text(&self, row: usize) -> &str {
        self.listed.query(row).text
    }

    /// Numbers of its verbs, below 118.
    pub fn verbs(&self, row: usize) -> Vec<i64> {
        self.verbs.get(row)
    }

    /// Numbers of its nouns, below 582.
    pub fn nouns(&self, row: usize) -> Vec<i64> {
        self.nouns.get(row)
    }

    /// Its clip.
    pub fn wanted(&self, row: usize) -> ClipRef<'_> {
        let query = self.listed.query(row);
        let span = query.start_sec.zip(query.end_sec).map(|(start, end)| [start, end]);
        let video = self.videos[row];
        ClipRef { path: &self.listed.videos[video as usize], clip: Clip { video, span } }
    }

    /// Sorts narrations into scenes: those of one video whose times fall into the same stretch of `window_sec` seconds.
    pub fn scenes(&self, window_sec: f64) -> Scenes {
        let mut scenes: HashMap<(u32, i64), Vec<u32>> = HashMap::new();
        let place = |row: usize| (self.videos[row], (self.times[row] / window_sec).floor() as i64);
        for row in 0..self.len() {
            scenes.entry(place(row)).or_default().push(row as u32);
        }
        let mut of_row = vec![0; self.len()];
        let mut rows: Vec<Vec<u32>> = scenes.into_values().collect();
        // A map has no order of its own.
        rows.sort_unstable();
        for (scene, number) in rows.iter().zip(0u32..) {
            scene.iter().for_each(|&row| of_row[row as usize] = number);
        }
        Scenes { of_row, rows }
    }
}

/// Which narrations are of one scene.
pub struct Scenes {
    of_row: Vec<u32>,
    rows: Vec<Vec<u32>>,
}

impl Scenes {
    /// A narration of the scene of `row`, any of them alike. As released that may be the row itself; `fixed` gives another
    /// one where there is any.
    pub fn negative(&self, row: usize, compat: Compat, draw: &mut Generator) -> usize {
        let scene = &self.rows[self.of_row[row] as usize];
        if compat == Compat::AsReleased || scene.len() == 1 {
            return scene[below(draw, scene.len())] as usize;
        }
        // The last one stands in for the row itself.
        let drawn = scene[below(draw, scene.len() - 1)] as usize;
        if drawn == row { scene[scene.len() - 1] as usize } else { drawn }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::{Purpose, generator};

    fn narrations(lines: &[(&str, f64)]) -> Narrations {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egoclip.csv");
        let header = "clip_idx\tvideo_uid\tvideo_dur\tnarration_source\tnarration_ind\tnarration_time\tclip_start\t\
                      clip_end\tclip_text\ttag_verb\ttag_noun\n";
        let line = |(row, (video, time)): (usize, &(&str, f64))| {
            let end = time + 1.0;
            format!("{row}\t{video}\t600\tnarration_pass_1\t{row}\t{time}\t{time}\t{end}\t#C C {row}\t[{row}, 7]\t[]\n")
        };
        let text: String = lines.iter().enumerate().map(line).collect();
        std::fs::write(&path, header.to_owned() + &text).unwrap();
        Narrations::read(&path, &[]).unwrap()
    }

    #[test]
    fn columns_are_those_of_the_file() {
        let found = narrations(&[("a", 1.0), ("b", 2.5)]);
        assert_eq!((found.len(), found.text(1)), (2, "#C C 1"));
        assert_eq!((found.verbs(1), found.nouns(1)), (vec![1, 7], vec![]));
        assert_eq!(found.wanted(1).clip, Clip { video: 1, span: Some([2.5, 3.5]) });
    }

    #[test]
    fn negatives_are_of_the_same_minute_of_the_same_video() {
        let found = narrations(&[("a", 1.0), ("a", 59.9), ("a", 60.0), ("b", 1.0), ("a", 30.0)]);
        let scenes = found.scenes(60.0);
        let mut draw = generator(1, Purpose::Weights);
        let mut drawn =
            |row, compat| -> BTreeSet<usize> { (0..60).map(|_| scenes.negative(row, compat, &mut draw)).collect() };
        assert_eq!(drawn(0, Compat::AsReleased), [0, 1, 4].into(), "as released a row may be its own negative");
        assert_eq!(drawn(0, Compat::Fixed), [1, 4].into());
        assert_eq!(drawn(4, Compat::Fixed), [0, 1].into());
        assert_eq!(drawn(3, Compat::Fixed), [3].into());
        assert_eq!(drawn(2, Compat::AsReleased), [2].into());
    }
}
