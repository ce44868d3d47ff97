//! What a book may not have: pages that nothing lists, links that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mdbook_preprocessor::book::Book;
use pulldown_cmark::{Event, Parser, Tag};

use crate::pages::without_dots;

/// Files in `folder` and below it with the `extension`.
fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Pages in `source` that the summary of `book` does not list.
pub fn unlisted_pages(source: &Path, book: &Book) -> anyhow::Result<Vec<String>> {
    let chapters = book.chapters().filter_map(|chapter| chapter.source_path.as_ref());
    let listed: BTreeSet<PathBuf> = chapters.map(|path| source.join(path)).collect();
    let pages = files(source, "md")?.into_iter().filter(|page| !page.ends_with("SUMMARY.md") && !listed.contains(page));
    Ok(pages.map(|page| format!("{}: not in SUMMARY.md", page.display())).collect())
}

/// Links of the HTML in `folder` to files or anchors that are not there.
pub fn dead_links(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for page in files(folder, "html")? {
        let text = fs::read_to_string(&page)?;
        pages.insert(page, text);
    }
    let mut faults = Vec::new();
    for (page, text) in &pages {
        // Its links are relative to the root of a server.
        if page.ends_with("404.html") {
            continue;
        }
        for link in attributes(text, "href").chain(attributes(text, "src")) {
            if let Some(fault) = fault(link, page, &pages) {
                faults.push(format!("{}: {link}: {fault}", page.display()));
            }
        }
    }
    Ok(faults)
}

fn fault(link: &str, page: &Path, pages: &BTreeMap<PathBuf, String>) -> Option<String> {
    if link.contains("://") || link.starts_with("data:") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.to_owned() } else { without_dots(&page.parent()?.join(file)) };
    if !target.exists() {
        return Some(format!("there is no {}", target.display()));
    }
    let text = pages.get(&target)?;
    let anchor = anchor.filter(|anchor| !anchor.is_empty())?;
    (!attributes(text, "id").any(|id| id == anchor)).then(|| format!("there is no #{anchor}"))
}

/// The values of an attribute in HTML, in the form that mdBook writes.
fn attributes<'t>(html: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let start = format!(" {name}=\"");
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(start.as_str())?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some(value)
    })
}

/// Links of a page outside of the book to files that are not there.
pub fn dead_links_of_page(page: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let folder = page.parent().context("a page lies in a folder")?;
    let links = Parser::new(&text).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    });
    let relative = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let dead = relative.filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists());
    Ok(dead.map(|link| format!("{}: there is no {link}", page.display())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_anchors_are_found() {
        let folder = Path::new("/book");
        let text = r##"<a href="b.html#here">x</a> <h2 id="here">"##;
        let pages = BTreeMap::from([(folder.join("a.html"), text.to_owned())]);
        let found = |link: &str| fault(link, &folder.join("a.html"), &pages);
        assert_eq!(found("https://example.org/nothing"), None);
        assert!(found("b.html").unwrap().contains("/book/b.html"));
        assert_eq!(attributes(text, "href").collect::<Vec<_>>(), ["b.html#here"]);
        assert_eq!(attributes(text, "id").collect::<Vec<_>>(), ["here"]);
    }
}
