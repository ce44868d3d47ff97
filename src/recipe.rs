//! Recipes: `pipelines/<feature-set>.toml`, everything that decides a number in the output and nothing that does not.
//!
//! Parsed strictly, because a misspelt key would otherwise change features silently. Not for devices, batch sizes,
//! workers or paths: those are flags. Invariant: two runs with equal fingerprints compute equal rows.

mod shipped;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use shipped::{SHIPPED, Shipped};

use crate::backbone::{Card, Precision, Towers};
use crate::compat::Compat;
use crate::decode::Transform;
use crate::digest;
use crate::grid::{Grid, Pace};
use crate::ids::{ClipUid, IdError};
use crate::store::{Contract, Dtype, FORMATS, RowKind, SCHEMA_VERSION};
use crate::text::{Preparation, TextError, TextModel, TokenizationRule};

/// Why a recipe is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Neither a recipe of the program nor a path.
    #[error(
        "no recipe is called {name:?}{}; `egofx recipes` lists them, and a file is given as a path: ./{name} or {name}.toml",
        if near.is_empty() { String::new() } else { format!(" (near: {})", near.join(", ")) }
    )]
    Unknown {
        /// The name given.
        name: String,
        /// Names that may have been meant.
        near: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("recipe {}: {source}{}", path.display(), by_name(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown or missing key, or an unknown name; the message lists the valid ones.
    #[error("recipe {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: Box<toml::de::Error>,
    },
    /// A value that no backbone or video can satisfy.
    #[error("recipe {}: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        why: String,
    },
    /// A rule for sentences that there is not; the message lists the valid ones.
    #[error("recipe {}: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        source: TextError,
    },
    /// The file's name is the feature set's name, and it cannot be one.
    #[error("recipe {}: the file's name is to name a feature set: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: IdError,
    },
}

/// For a file that is not there: that the program has a recipe of its name.
fn by_name(path: &Path) -> String {
    let shipped = path.file_stem().and_then(|stem| Shipped::find(stem.to_str()?)).filter(|_| !path.exists());
    shipped.map(|shipped| format!("; the program has one of that name: -p {}", shipped.name)).unwrap_or_default()
}

/// A validated recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// The feature set, from the file's name.
    pub name: String,
    /// The rest, as written.
    #[serde(flatten)]
    pub body: Body,
    /// How sentences are read, if they are.
    #[serde(skip)]
    rule: Option<&'static TokenizationRule>,
    /// The schema of the store that its rows go to, which decides how its grid follows time.
    #[serde(skip)]
    schema: u32,
}

/// The keys of a recipe file. None has a default, but for those that version 0.1 did not know: without `output.dim` the width is
/// not checked, without `reader` and `prepare` frames are what that version made. `grid` and `transform` say what is seen, `text`
/// what is read; a recipe has one of the two, or both and `fusion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The model card, `onnx/<backbone>.toml`; of fused towers, that of their upper half.
    pub backbone: String,
    /// The graph's output that becomes the row.
    pub feature: String,
    /// Whether faults of the original code are reproduced.
    pub compat: Compat,
    /// Which frames make a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// What becomes of a frame before it reaches the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// How a sentence is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextInput>,
    /// The lower halves of fused towers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// How rows are kept.
    pub output: Output,
}

/// What is seen of a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frames {
    /// Which frames make a row.
    pub grid: Grid,
    /// What becomes of a frame before it reaches the graph.
    pub transform: Transform,
    /// What the grid is even in.
    pub pace: Pace,
}

/// How sentences become tokens: a line of [`RULES`](crate::text::RULES).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInput {
    /// The model whose vocabulary it is, `egovlp`, `egovlpv2` or `lavila`.
    pub model: String,
    /// The stage of the original code whose lengths count.
    pub rule: String,
}

/// The model cards of the lower halves of two fused towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fusion {
    /// Frames to tokens.
    pub lower_video: String,
    /// Sentences to tokens.
    pub lower_text: String,
}

/// How rows are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Features per row that the graph has to give: the same names stand for graphs of several checkpoints, and a row of
    /// another width is of another one. Without it they are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// A name in [`FORMATS`].
    pub format: String,
    /// Element type on disk.
    pub dtype: Dtype,
}

impl Recipe {
    /// The recipe that a person names: a file if it is given as a path (with a `/`, or ending in `.toml`), else the
    /// program's own of that name, else a file after all.
    ///
    /// # Errors
    /// [`RecipeError::Unknown`] with the names that are near, and those of [`Recipe::read`].
    pub fn find(given: &Path) -> Result<Self, RecipeError> {
        let is_path = given.components().count() != 1 || given.extension().is_some_and(|ext| ext == "toml");
        let name = given.to_string_lossy();
        match Shipped::find(&name).filter(|_| !is_path && !name.contains('/')) {
            Some(shipped) => Self::parse(given, shipped.text),
            None if is_path || given.exists() => Self::read(given),
            None => Err(RecipeError::Unknown { near: Shipped::near(&name), name: name.into_owned() }),
        }
    }

    /// Reads and checks `path`; its file stem names the feature set.
    ///
    /// # Errors
    /// All of [`RecipeError`] but [`RecipeError::Unknown`].
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let io = |source| RecipeError::Io { path: path.to_owned(), source };
        Self::parse(path, &fs::read_to_string(path).map_err(io)?)
    }

    /// Checks the `text` of a recipe that the stem of `path` names.
    fn parse(path: &Path, text: &str) -> Result<Self, RecipeError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = ClipUid::parse(&stem).map_err(|source| RecipeError::Name { path: path.to_owned(), source })?;
        let parse = |source| RecipeError::Parse { path: path.to_owned(), source: Box::new(source) };
        let body: Body = toml::from_str(text).map_err(parse)?;
        body.check().map_err(|why| RecipeError::Value { path: path.to_owned(), why })?;
        let rule = body.text.as_ref().map(TextInput::find).transpose();
        let rule = rule.map_err(|source| RecipeError::Text { path: path.to_owned(), source })?;
        Ok(Self { name: name.to_string(), body, rule, schema: SCHEMA_VERSION })
    }

    /// The same recipe for a store of this schema: one that was begun under an older one is gone on with as it was begun,
    /// names, fingerprint and grid alike.
    pub fn under(self, schema: u32) -> Self {
        Self { schema, ..self }
    }

    /// What is seen, if something is.
    pub fn frames(&self) -> Option<Frames> {
        Some(Frames { grid: self.body.grid?, transform: self.body.transform?, pace: self.pace() })
    }

    /// Schema 2 had no other.
    fn pace(&self) -> Pace {
        if self.schema == 2 { Pace::Frames } else { Pace::Clock }
    }

    /// How sentences are read, if they are.
    pub fn rule(&self) -> Option<&'static TokenizationRule> {
        self.rule
    }

    /// What a row of it stands for, out of these towers.
    pub fn row_kind(&self, towers: &Towers) -> RowKind {
        let alone = self.body.grid.is_some_and(|grid| grid.is_single());
        match towers {
            Towers::Video(_) if alone => RowKind::Clip,
            Towers::Video(_) => RowKind::Window,
            Towers::Text(text) if text.per_token => RowKind::Token,
            Towers::Text(_) => RowKind::Query,
            Towers::Fused(_) if alone => RowKind::Pair,
            Towers::Fused(_) => RowKind::FusedWindow,
        }
    }

    /// The hash of everything that decides a row: recipe, cards, graphs, precision, the vocabulary (its hash) and the schema
    /// of the store.
    pub fn fingerprint(&self, towers: &Towers, precision: Precision, vocabulary: Option<&str>) -> String {
        let mut parts = serde_json::json!({
            "schema": self.schema, "recipe": self, "cards": self.cards(towers), "precision": precision.name(),
            "vocabulary": vocabulary,
        });
        // A rule of the same name once read these sentences without their question mark: other rows.
        if let Some(rule) = self.rule.filter(|rule| rule.preparation == Preparation::Question) {
            parts["sentences"] = rule.preparation.name().into();
        }
        // Filters of the same name once rounded what they scaled: other rows.
        if self.body.transform.is_some_and(Transform::scales_floats) {
            parts["scaled"] = "float32".into();
        }
        digest::text(&parts.to_string())
    }

    /// The cards as they are hashed: schema 2 calls their precision `arithmetic`.
    fn cards(&self, towers: &Towers) -> Vec<serde_json::Value> {
        let named = |card: &Card| {
            let card = serde_json::to_value(card).expect("a derived Serialize of plain data");
            let serde_json::Value::Object(fields) = card else { return card };
            let name = |name: String| if self.schema == 2 && name == "precision" { "arithmetic".into() } else { name };
            fields.into_iter().map(|(key, value)| (name(key), value)).collect()
        };
        towers.cards().into_iter().map(named).collect()
    }

    /// What identifies the store that the recipe's rows go to.
    ///
    /// # Errors
    /// Only if the recipe cannot be written as TOML again, which one that was read always can.
    pub fn contract(
        &self,
        towers: &Towers,
        precision: Precision,
        vocabulary: Option<&str>,
    ) -> Result<Contract, toml::ser::Error> {
        let (body, card) = (&self.body, towers.last());
        let row_kind = self.row_kind(towers);
        let grid = body.grid.map(|grid| grid.to_string());
        let reading = body.text.as_ref().map(|text| format!("{} text, rule {}", text.model, text.rule));
        let follows = matches!(row_kind, RowKind::Window | RowKind::FusedWindow);
        Ok(Contract {
            schema_version: self.schema,
            feature_set: self.name.clone(),
            backbone: card.name.clone(),
            onnx_sha256: card.sha256.clone(),
            precision: precision.name().to_owned(),
            dim: towers.feature().dim,
            dtype: body.output.dtype,
            row_kind,
            format: body.output.format.clone(),
            grid: grid.into_iter().chain(reading).collect::<Vec<_>>().join("; "),
            rows_per_sec: body.grid.filter(|_| follows).map_or(0.0, |grid| grid.rows_per_sec(30.0)),
            window_frames: body.grid.map_or(0, |grid| grid.frames()),
            compat: body.compat.name().to_owned(),
            measure: card.measure,
            checkpoint: card.checkpoint.clone(),
            checkpoint_sha256: card.checkpoint_sha256.clone(),
            recipe: toml::to_string(body)?,
            fingerprint: self.fingerprint(towers, precision, vocabulary),
        })
    }
}

impl Body {
    fn check(&self) -> Result<(), String> {
        self.check_parts()?;
        self.grid.map_or(Ok(()), |grid| grid.validate())?;
        self.transform.map_or(Ok(()), Transform::check)?;
        if self.output.dim == Some(0) {
            return Err("output.dim is 0, expected the number of features in a row".into());
        }
        let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        if !known.contains(&self.output.format.as_str()) {
            return Err(format!("output.format is {:?}, expected one of {}", self.output.format, known.join(", ")));
        }
        Ok(())
    }
}

impl Body {
    /// That the recipe says what is seen, what is read, or both and how they meet.
    fn check_parts(&self) -> Result<(), String> {
        let parts = [
            ("grid", self.grid.is_some()),
            ("transform", self.transform.is_some()),
            ("text", self.text.is_some()),
            ("fusion", self.fusion.is_some()),
        ];
        match parts.map(|(_, there)| there) {
            [true, true, false, false] | [false, false, true, false] | [true, true, true, true] => Ok(()),
            _ => {
                let found: Vec<&str> = parts.into_iter().filter(|part| part.1).map(|part| part.0).collect();
                let found = if found.is_empty() { "none of them".to_owned() } else { found.join(", ") };
                Err(format!(
                    "expected the tables grid and transform (frames), text (sentences), or these and fusion (both), \
                     found {found}"
                ))
            }
        }
    }
}

impl TextInput {
    fn find(&self) -> Result<&'static TokenizationRule, TextError> {
        TokenizationRule::find(&self.rule, self.model.parse::<TextModel>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
backbone = "tiny"
feature = "embedding"
compat = "fixed"
[grid]
kind = "egovlp"
frames = 4
[transform]
short_side = 256
crop = 256
filter = "bilinear"
channels = "rgb"
[output]
format = "hdf5"
dtype = "f32"
"#;

    fn read(text: &str) -> Result<Recipe, RecipeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.toml");
        fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    fn refusal(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        read(&GOOD.replace(from, to)).unwrap_err().to_string()
    }

    #[test]
    fn a_complete_recipe_is_read_and_named_by_its_file() {
        let recipe = read(GOOD).unwrap();
        assert_eq!((recipe.name.as_str(), recipe.body.grid), ("set", Some(Grid::Egovlp { frames: 4 })));
    }

    #[test]
    fn a_dim_is_kept_where_it_is_given_and_leaves_no_trace_where_it_is_not() {
        let body = |recipe: Recipe| toml::to_string(&recipe.body).unwrap();
        let without = body(read(GOOD).unwrap());
        assert!(!without.contains("dim"), "{without}");
        let with = read(&GOOD.replace("[output]", "[output]\ndim = 256")).unwrap();
        assert_eq!(with.body.output.dim, Some(256));
        assert_eq!(body(with).replace("dim = 256\n", ""), without);
        assert!(refusal("[output]", "[output]\ndim = 0").contains("output.dim is 0"));
        assert!(refusal("[output]", "[output]\ndim = \"256\"").contains("dim"));
    }

    #[test]
    fn a_recipe_is_found_by_name_and_a_file_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egovlp_nlq.toml");
        let named = |given: &Path| Recipe::find(given).map(|recipe| (recipe.name.clone(), recipe.body.output.dim));
        assert_eq!(named(Path::new("egovlp_nlq")).unwrap(), ("egovlp_nlq".into(), Some(256)));
        let words = named(&path).unwrap_err().to_string();
        assert!(words.ends_with("; the program has one of that name: -p egovlp_nlq"), "{words}");
        fs::write(&path, GOOD).unwrap();
        assert_eq!(named(&path).unwrap(), ("egovlp_nlq".into(), None), "a file wins where a path is given");
        let words = named(Path::new("egovlp_nql")).unwrap_err().to_string();
        assert!(words.starts_with("no recipe is called \"egovlp_nql\" (near: egovlp_nlq, "), "{words}");
        assert!(named(Path::new("absent.toml")).unwrap_err().to_string().contains("absent.toml: No such file"));
    }

    const SENTENCES: &str = "[text]\nmodel = \"egovlpv2\"\nrule = \"nlq\"\n";

    #[test]
    fn a_recipe_sees_or_reads_or_does_both_by_fusion() {
        let frames = &GOOD[GOOD.find("[grid]").unwrap()..GOOD.find("[output]").unwrap()];
        let read_only = GOOD.replace(frames, SENTENCES);
        let recipe = read(&read_only).unwrap();
        assert_eq!((recipe.frames(), recipe.rule().map(|rule| rule.max_length)), (None, Some(30)));
        let fusion = "[fusion]\nlower_video = \"a\"\nlower_text = \"b\"\n";
        let both = GOOD.replace("[output]", &format!("{SENTENCES}{fusion}[output]"));
        assert!(read(&both).unwrap().frames().is_some());
        for (text, found) in [
            (GOOD.replace(frames, ""), "found none of them"),
            (GOOD.replace("[output]", &format!("{SENTENCES}[output]")), "found grid, transform, text"),
            (read_only.replace("[output]", &format!("{fusion}[output]")), "found text, fusion"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
        let error = read(&read_only.replace("\"nlq\"", "\"mq\"")).unwrap_err().to_string();
        assert!(error.contains("no rule of egovlpv2 is called \"mq\""), "{error}");
    }

    /// Only what changed its meaning has another fingerprint than in the versions that rounded whatever they scaled.
    #[test]
    fn scaling_in_single_precision_is_told_by_the_fingerprint_and_nothing_else_is() {
        let towers = Towers::single(Path::new("onnx"), "tiny", "embedding").unwrap();
        let is_as_before = |recipe: &Recipe| {
            let parts = serde_json::json!({
                "schema": SCHEMA_VERSION, "recipe": recipe, "cards": towers.cards(), "precision": "fp32", "vocabulary": null,
            });
            recipe.fingerprint(&towers, Precision::Fp32, None) == digest::text(&parts.to_string())
        };
        let decord = GOOD.replace("channels", "reader = \"decord\"\nchannels");
        let aliased = |text: &str| read(&text.replace("\"bilinear\"", "\"bilinear-aliased\"")).unwrap();
        for recipe in [read(GOOD).unwrap(), read(&decord).unwrap(), aliased(GOOD)] {
            assert!(is_as_before(&recipe) && !recipe.body.transform.unwrap().scales_floats(), "{recipe:?}");
        }
        let floats = aliased(&decord);
        assert!(!is_as_before(&floats) && floats.body.transform.unwrap().scales_floats());
        assert!(!is_as_before(&floats.under(2)), "a store of schema 2 was made by rounding too");
    }

    #[test]
    fn a_seed_draws_random_crops_and_is_written_as_read() {
        let random = read(&GOOD.replace("short_side = 256", "seed = 7")).unwrap();
        assert_eq!(random.body.transform.unwrap().place, crate::decode::Place::Random { seed: 7 });
        let again: Body = toml::from_str(&toml::to_string(&random.body).unwrap()).unwrap();
        assert_eq!(again, random.body);
    }

    #[test]
    fn unknown_missing_and_misspelt_keys_are_refused_with_the_valid_names() {
        assert!(refusal("crop = 256", "crops = 256").contains("short_side"));
        assert!(refusal("bilinear", "bilinar").contains("`bilinear`, `bicubic`, `area`"));
        assert!(
            refusal("kind = \"egovlp\"", "kind = \"slowfast\"")
                .contains("`egovlp`, `egovlpv2`, `ego4d`, `uniform`, `egoclip`, `segments`, `keyframes`")
        );
        assert!(refusal("compat = \"fixed\"\n", "").contains("compat"));
        assert!(refusal("channels = \"rgb\"\n", "").contains("channels"));
        assert!(
            refusal("\"rgb\"", "\"grb\"").contains("`rgb`, `bgr`")
                || refusal("\"rgb\"", "\"grb\"").contains("`rgb` or `bgr`")
        );
        assert!(refusal("hdf5", "zarr").contains("expected one of hdf5, parquet"));
        assert!(refusal("crop = 256", "crop = 300").contains("expected 1 to short_side (256)"));
        assert!(refusal("frames = 4", "frames = 0").contains("at least 1"));
        assert!(refusal("short_side = 256\n", "").contains("expected short_side (a centred crop) or seed"));
        assert!(refusal("short_side = 256", "short_side = 256\nseed = 1").contains("one of the two"));
        assert!(refusal("short_side = 256", "seed = -1").contains("seed"));
        assert!(refusal("frames = 4", "frames = 4\nstride = 2").contains("stride"));
    }
}
