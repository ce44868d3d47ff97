//! The recipes of `pipelines/`, which are part of the program and known by name.
//!
//! What a recipe is for stands in the comment that it begins with; nothing of it is said again here. To ship another one, put
//! its file into `pipelines/` and its name into [`SHIPPED`].

/// A recipe in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, which is that of the feature set and of the file in `pipelines/`.
    pub name: &'static str,
    /// The benchmark that its rows are for.
    pub task: &'static str,
    /// The file, comments included.
    pub text: &'static str,
}

/// A line for each name: the file in `pipelines/` becomes part of the program.
macro_rules! shipped {
    ($(($name:literal, $task:literal),)*) => {
        &[$(Shipped { name: $name, task: $task, text: include_str!(concat!("../../pipelines/", $name, ".toml")) },)*]
    };
}

/// All of them, by name.
pub const SHIPPED: &[Shipped] = shipped![
    ("demo", "trial"),
    ("demo_dense", "trial"),
    ("ego4d_template", "template"),
    ("egovlp_charades", "Charades-Ego"),
    ("egovlp_charades_text", "Charades-Ego"),
    ("egovlp_epic", "EPIC-KITCHENS"),
    ("egovlp_epic_released", "EPIC-KITCHENS"),
    ("egovlp_epic_text", "EPIC-KITCHENS"),
    ("egovlp_mcq", "EgoMCQ"),
    ("egovlp_mcq_text", "EgoMCQ"),
    ("egovlp_mq", "MQ"),
    ("egovlp_nlq", "NLQ"),
    ("egovlp_nlq_released", "NLQ"),
    ("egovlp_nlq_snag", "NLQ"),
    ("egovlp_nlq_snag_tokens", "NLQ"),
    ("egovlp_nlq_text", "NLQ"),
    ("egovlp_nlq_tokens", "NLQ"),
    ("egovlp_nlq_tokens_released", "NLQ"),
    ("egovlp_oscc", "OSCC, PNR"),
    ("egovlpv2_charades", "Charades-Ego"),
    ("egovlpv2_charades_text", "Charades-Ego"),
    ("egovlpv2_egotaskqa", "EgoTaskQA"),
    ("egovlpv2_epic", "EPIC-KITCHENS"),
    ("egovlpv2_epic_text", "EPIC-KITCHENS"),
    ("egovlpv2_mcq", "EgoMCQ"),
    ("egovlpv2_mcq_match", "EgoMCQ"),
    ("egovlpv2_mcq_text", "EgoMCQ"),
    ("egovlpv2_mq", "MQ"),
    ("egovlpv2_nlq_dual", "NLQ"),
    ("egovlpv2_nlq_fused", "NLQ"),
    ("egovlpv2_nlq_tokens", "NLQ"),
    ("egovlpv2_qfvs", "QFVS"),
    ("egovlpv2_qfvs_released", "QFVS"),
    ("egovlpv2_qfvs_released_shots", "QFVS"),
    ("egovlpv2_qfvs_shots", "QFVS"),
    ("lavila_base_charades", "Charades-Ego"),
    ("lavila_base_charades_text", "Charades-Ego"),
    ("lavila_base_epic", "EPIC-KITCHENS"),
    ("lavila_base_epic_text", "EPIC-KITCHENS"),
    ("lavila_base_mcq", "EgoMCQ"),
    ("lavila_base_mcq_text", "EgoMCQ"),
    ("lavila_base_nlq", "NLQ"),
    ("lavila_base_nlq_text", "NLQ"),
    ("lavila_large_charades", "Charades-Ego"),
    ("lavila_large_charades_text", "Charades-Ego"),
    ("lavila_large_epic", "EPIC-KITCHENS"),
    ("lavila_large_epic_text", "EPIC-KITCHENS"),
    ("lavila_large_mcq", "EgoMCQ"),
    ("lavila_large_mcq_text", "EgoMCQ"),
    ("lavila_large_nlq", "NLQ"),
    ("lavila_large_nlq_text", "NLQ"),
    ("slowfast8x8_r101_k400", "NLQ, MQ"),
];

impl Shipped {
    /// The recipe of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }

    /// Names that a person who wrote `name` may have meant, the nearest first: few edits away, or a part of one another.
    pub fn near(name: &str) -> Vec<&'static str> {
        let wanted = name.to_ascii_lowercase().replace('-', "_");
        let mut found: Vec<(usize, &str)> = SHIPPED.iter().map(|one| (edits(&wanted, one.name), one.name)).collect();
        let is_part = |name: &str| wanted.len() >= 3 && (name.contains(&wanted) || wanted.contains(name));
        found.retain(|(edits, name)| *edits <= 1 + wanted.len() / 4 || is_part(name));
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name).take(MOST_NEAR).collect()
    }

    /// What it computes: the comment that it begins with, as one line.
    pub fn about(&self) -> String {
        let comment = self.text.lines().take_while(|line| line.starts_with('#'));
        comment.map(|line| line.trim_start_matches('#').trim()).collect::<Vec<_>>().join(" ")
    }
}

/// Most names that are suggested.
const MOST_NEAR: usize = 6;

/// Characters to insert, leave out or replace, and neighbours to exchange, to make one of the other (the distance of optimal
/// string alignment).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Recipe;
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_program_and_says_what_it_is_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(SHIPPED.iter().map(|one| one.name).collect::<Vec<_>>(), files);
        for shipped in SHIPPED {
            let recipe = Recipe::parse(Path::new(shipped.name), shipped.text).unwrap();
            assert!(recipe.body.output.dim.is_some(), "{}: output.dim", shipped.name);
            assert!(shipped.about().ends_with('.') && shipped.about().len() > 30, "{}", shipped.about());
        }
    }

    #[test]
    fn names_that_are_near_are_suggested() {
        assert_eq!(Shipped::near("egovlp-nlq")[0], "egovlp_nlq");
        assert_eq!(Shipped::near("egovlpv2_nql_fused")[0], "egovlpv2_nlq_fused");
        assert!(Shipped::near("charades").contains(&"egovlpv2_charades"));
        assert_eq!(Shipped::near("slowfast"), ["slowfast8x8_r101_k400"]);
        assert!(Shipped::near("omnivore").is_empty());
        assert_eq!(Shipped::near("egovlp_nql")[0], "egovlp_nlq", "two letters exchanged");
        assert_eq!(
            (edits("", "abc"), edits("abc", "abd"), edits("kitten", "sitting"), edits("ab", "ba")),
            (3, 1, 3, 1)
        );
    }
}
