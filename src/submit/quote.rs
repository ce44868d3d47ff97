//! Words in the languages of engines: YAML, the directives of batch scripts.
//!
//! Not for those of a shell, see [`crate::shell`]. Invariant: what the engine reads is the word that was given.

/// `text` on one line, for a comment.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `text` for YAML, whose quoted texts include those of JSON.
pub(super) fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `--name=value` for lines of batch scripts, whose words are quoted and escaped as a shell's are.
pub(super) fn directive(name: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if value.chars().all(is_plain) {
        return format!("--{name}={value}");
    }
    format!("--{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::quoted;

    #[test]
    fn words_are_quoted_where_they_have_to_be() {
        for (word, shell, directive_) in [
            ("/a/b-c.csv", "/a/b-c.csv", "--o=/a/b-c.csv"),
            ("", "''", "--o="),
            ("a b", "'a b'", "--o=\"a b\""),
            ("it's", r"'it'\''s'", "--o=\"it's\""),
            ("\"$HOME\" \\", "'\"$HOME\" \\'", r#"--o="\"$HOME\" \\""#),
            ("~", "'~'", "--o=\"~\""),
        ] {
            assert_eq!((quoted(word), directive("o", word)), (shell.to_owned(), directive_.to_owned()), "{word}");
        }
        assert_eq!(yaml("a: \"b\"\t#"), r#""a: \"b\"\t#""#);
        assert_eq!(comment("a\nb"), "a b");
    }
}
