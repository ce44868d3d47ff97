//! What is done to the Markdown of a page before it becomes HTML: equations and links into the repository.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use mdbook_preprocessor::book::{Book, BookItem};
use mdbook_preprocessor::errors::Result;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use pulldown_cmark::{Event, Options, Parser, Tag};
use pulldown_latex::config::{DisplayMode, RenderConfig};
use pulldown_latex::{Storage, mathml};

/// Rewrites every page of the book.
pub struct Pages {
    /// The project's folder.
    pub project: PathBuf,
    /// Where its files are shown, without a slash at its end.
    pub repository: String,
}

impl Preprocessor for Pages {
    fn name(&self) -> &str {
        "pages"
    }

    fn run(&self, context: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let source = context.root.join(&context.config.book.src);
        let mut outcome = Ok(());
        book.for_each_mut(|item| {
            let BookItem::Chapter(chapter) = item else { return };
            let Some(path) = chapter.source_path.clone() else { return };
            match self.rewritten(&chapter.content, &source.join(&path)) {
                Ok(text) => chapter.content = text,
                Err(error) if outcome.is_ok() => outcome = Err(error.context(path.display().to_string())),
                Err(_) => {}
            }
        });
        outcome.map(|()| book)
    }
}

impl Pages {
    /// The text of `page`, with its equations as MathML and its links to files outside of the book as links to the repository.
    fn rewritten(&self, text: &str, page: &Path) -> anyhow::Result<String> {
        let options = Options::ENABLE_MATH | Options::ENABLE_TABLES;
        let mut changes: Vec<(Range<usize>, String)> = Vec::new();
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::InlineMath(latex) => changes.push((range, math(&latex, DisplayMode::Inline)?)),
                Event::DisplayMath(latex) => changes.push((range, math(&latex, DisplayMode::Block)?)),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    if let Some(target) = self.target(&dest_url, page)? {
                        let whole = text[range.clone()].replace(&format!("]({dest_url})"), &format!("]({target})"));
                        changes.push((range, whole));
                    }
                }
                _ => {}
            }
        }
        Ok(applied(text, changes))
    }

    /// Where a link out of the book leads; `None` if it stays as it is.
    fn target(&self, link: &str, page: &Path) -> anyhow::Result<Option<String>> {
        if link.contains("://") || link.starts_with('#') {
            return Ok(None);
        }
        let (file, anchor) =
            link.split_once('#').map_or((link, String::new()), |(file, anchor)| (file, format!("#{anchor}")));
        let folder = page.parent().context("a page lies in a folder")?;
        let path = without_dots(&folder.join(file));
        if path.starts_with(self.project.join("docs/book/src")) {
            return Ok(None); // Checked in the HTML.
        }
        let Ok(inside) = path.strip_prefix(&self.project) else { bail!("{link} leaves the project") };
        if !path.exists() {
            bail!("{link}: there is no {}", inside.display());
        }
        let is_picture = inside.extension().is_some_and(|extension| extension == "svg");
        let kind = if path.is_dir() { "tree" } else { "blob" };
        let place = format!("{}/{kind}/main/{}{anchor}", self.repository, inside.display());
        Ok(Some(if is_picture { inlined(&path)? } else { place }))
    }
}

/// A picture that lies outside of the book, as a link that needs no file.
fn inlined(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let escaped = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { percent(c) };
    Ok(format!("data:image/svg+xml,{}", text.chars().map(escaped).collect::<String>()))
}

fn percent(c: char) -> String {
    c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// `path` without `.` and `..`.
pub fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// LaTeX as one line of MathML: a blank line would end it in Markdown.
fn math(latex: &str, display_mode: DisplayMode) -> anyhow::Result<String> {
    let storage = Storage::new();
    let events: Vec<_> = pulldown_latex::Parser::new(latex, &storage).collect();
    if let Some(error) = events.iter().find_map(|event| event.as_ref().err()) {
        bail!("the equation {latex:?}: {error}");
    }
    let mut text = String::new();
    mathml::push_mathml(&mut text, events.into_iter(), RenderConfig { display_mode, ..RenderConfig::default() })?;
    Ok(text.replace('\n', " "))
}

/// `text` with ranges replaced, which do not overlap: of a link within a link the outer one counts.
fn applied(text: &str, changes: Vec<(Range<usize>, String)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for (range, replacement) in changes {
        if range.start < end {
            continue;
        }
        out.push_str(&text[end..range.start]);
        out.push_str(&replacement);
        end = range.end;
    }
    out + &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_become_mathml_and_what_is_no_latex_fails() {
        let text = math(r"\frac{1}{N} \sum_{i} x_i", DisplayMode::Block).unwrap();
        assert!(text.starts_with("<math") && text.contains("<mfrac>") && !text.contains('\n'), "{text}");
        assert!(math(r"\frac{1", DisplayMode::Inline).is_err());
    }

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").canonicalize().unwrap();
        let page = project.join("docs/book/src/models.md");
        let pages = Pages { project, repository: "https://example.org/r".into() };
        let link = |to: &str| pages.rewritten(&format!("See [this]({to}), $x$."), &page);
        assert!(link("../../../Cargo.toml").unwrap().contains("(https://example.org/r/blob/main/Cargo.toml)"));
        assert!(link("../../../src").unwrap().contains("/tree/main/src)"));
        assert!(link("concepts/words.md#x").unwrap().contains("(concepts/words.md#x)"));
        assert!(link("../../../no-such-file").is_err() && link("../../../../..").is_err());
    }
}
