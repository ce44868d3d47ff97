//! Builds the book and checks it: `egofx-book PROJECT` reads `PROJECT/docs/book` and writes `PROJECT/target/book`.
//!
//! Equations between dollar signs become MathML, links to files of the project become links to its repository. Invariant: a
//! link without a target, a page that is not in the summary or an equation that is not LaTeX fails the build.

mod checks;
mod pages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use mdbook_driver::MDBook;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("egofx-book: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> anyhow::Result<()> {
    let project = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let project = project.canonicalize().with_context(|| format!("no folder {}", project.display()))?;
    let mut book = MDBook::load(project.join("docs/book"))?;
    let repository =
        book.config.get::<String>("output.html.git-repository-url")?.context("book.toml names no repository")?;
    book.with_preprocessor(pages::Pages { project: project.clone(), repository });
    book.build()?;

    let source = book.source_dir();
    let mut faults = checks::unlisted_pages(&source, &book.book)?;
    faults.extend(checks::dead_links(&book.build_dir_for("html"))?);
    for page in ["README.md", "CONTRIBUTING.md", "training/README.md"] {
        faults.extend(checks::dead_links_of_page(&project.join(page))?);
    }
    ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    println!("{}", book.build_dir_for("html").join("index.html").display());
    Ok(())
}
