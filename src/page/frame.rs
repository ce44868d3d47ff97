//! What stands around the content of a page that is one file.
//!
//! Not for what is on it. Invariant: a browser does with a page what its policy says, and the policies of this program let it load
//! nothing, from nowhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The head of a page.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'f> {
    /// Its title.
    pub title: &'f str,
    /// What a browser may do with it, as a Content-Security-Policy.
    pub policy: &'f str,
    /// Its style sheet, which ends no element.
    pub style: &'f str,
    /// What else is said of it: names and values.
    pub meta: &'f [(&'f str, &'f str)],
}

impl Frame<'_> {
    /// The page with this content.
    pub fn around(&self, content: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(self.policy);
                    @for (name, value) in self.meta { meta name=(name) content=(value); }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(self.style)) }
                }
                body { (content) }
            }
        };
        page.into_string()
    }
}
