//! Which rows can be compared with which, and with sentences: read off the contracts of stores.
//!
//! Not for finding models (`sentences`). Invariant: rows are of one space only if one checkpoint gave them by one output.

use super::error::{SearchError, short};
use crate::recipe::{Body, SHIPPED};
use crate::store::{Contract, StoreReader};

/// The output of a video tower that is compared with sentences.
const PROJECTED: &str = "embedding";
/// Digits of a sha256.
const SHA256: usize = 64;

/// What rows are, as far as it decides whether they can be compared.
#[derive(Debug, PartialEq)]
struct Space<'c> {
    checkpoint_sha256: &'c str,
    feature: Option<String>,
    dim: usize,
    /// Where nothing else is known.
    fingerprint: Option<&'c str>,
}

impl<'c> Space<'c> {
    fn of(contract: &'c Contract) -> Self {
        let feature = body(contract).map(|body| body.feature).filter(|_| is_known(contract));
        let fingerprint = feature.is_none().then_some(contract.fingerprint.as_str());
        Self { checkpoint_sha256: &contract.checkpoint_sha256, feature, dim: contract.dim, fingerprint }
    }

    fn describe(&self, contract: &Contract) -> String {
        let feature = self.feature.as_deref().map_or("features".to_owned(), |feature| format!("{feature:?}"));
        let (dim, checkpoint) = (self.dim, &contract.checkpoint);
        format!("{feature} of {dim} values of {checkpoint} (sha256 {})", short(self.checkpoint_sha256))
    }
}

fn body(contract: &Contract) -> Option<Body> {
    toml::from_str(&contract.recipe).ok()
}

/// Whether it is on record which checkpoint gave the rows.
fn is_known(contract: &Contract) -> bool {
    contract.checkpoint_sha256.len() == SHA256
}

/// That the rows of all `stores` can be ranked together.
///
/// # Errors
/// [`SearchError::Spaces`], which names the first two that differ.
pub fn expect_one_space(stores: &[StoreReader]) -> Result<(), SearchError> {
    let Some((first, others)) = stores.split_first() else { return Ok(()) };
    let space = Space::of(first.contract());
    let Some(other) = others.iter().find(|other| Space::of(other.contract()) != space) else { return Ok(()) };
    Err(SearchError::Spaces {
        first: first.path().to_owned(),
        one: space.describe(first.contract()),
        second: other.path().to_owned(),
        another: Space::of(other.contract()).describe(other.contract()),
    })
}

/// That the rows of `store` are what its checkpoint compares with sentences.
///
/// # Errors
/// [`SearchError::NotOfText`], which says why not and names recipes whose rows are.
pub fn expect_text_space(store: &StoreReader) -> Result<(), SearchError> {
    let contract = store.contract();
    let refuse =
        |why: String, remedy: String| Err(SearchError::NotOfText { path: store.path().to_owned(), why, remedy });
    if !is_known(contract) {
        let why = format!("they were imported, and no record says which checkpoint of {} gave them", contract.backbone);
        return refuse(why, "extract them with `egofx extract`, or search by a moment: --like VIDEO@SECOND".to_owned());
    }
    match body(contract).map(|body| body.feature) {
        Some(feature) if feature == PROJECTED => Ok(()),
        Some(feature) => {
            let why = format!(
                "they are {feature:?} of {}, which is not projected into the space of sentences",
                contract.backbone
            );
            refuse(why, format!("extract with a recipe of feature = {PROJECTED:?}{}", recipes(&contract.backbone)))
        }
        None => refuse("their recipe cannot be read".to_owned(), "extract them anew".to_owned()),
    }
}

/// Recipes of the program with the projected rows of that model, for people.
fn recipes(backbone: &str) -> String {
    // Of LaViLa's several models each has a name of two words.
    let words = |backbone: &str| if backbone.starts_with("lavila") { 2 } else { 1 };
    let model = |backbone: &str| backbone.split('_').take(words(backbone)).collect::<Vec<_>>().join("_");
    let would_do = |text: &str| {
        let body: Option<Body> = toml::from_str(text).ok();
        body.is_some_and(|body| body.feature == PROJECTED && model(&body.backbone) == model(backbone))
    };
    let names: Vec<&str> = SHIPPED.iter().filter(|one| would_do(one.text)).map(|one| one.name).collect();
    if names.is_empty() { String::new() } else { format!(": -p {}", names.join(", -p ")) }
}
