//! What CLIP's tokenizer does to a sentence before it splits it: text that was decoded or escaped wrongly is repaired as ftfy does,
//! HTML is unescaped, white space becomes single blanks, and capitals go.
//!
//! Of ftfy's repairs those are here that have one answer: entities, UTF-8 that was read as Windows-1252, ligatures, widths,
//! curly quotes, control characters, composed accents. What ftfy weighs by its tables of odd sequences is not guessed:
//! [`is_doubtful`] tells of such a sentence. Source: `basic_clean` and `whitespace_clean` in `clip/simple_tokenizer.py` of
//! openai/CLIP, and ftfy 4.4.

use tokenizers::NormalizedString;

/// What cp1252 has at 0x80 to 0x9f; where it has nothing, the control character itself.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// Most rounds of repairs; each undoes one mistake.
const ROUNDS: usize = 8;

/// The sentence that is split.
pub fn cleaned(text: &str) -> String {
    let repaired = repaired(text);
    let once = htmlize::unescape(repaired.as_str()).into_owned();
    let twice = htmlize::unescape(once.as_str());
    twice.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// `ftfy.fix_text`.
fn repaired(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS {
        let next = repaired_once(&text);
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn repaired_once(text: &str) -> String {
    // A text with a tag in it is taken for HTML on purpose.
    let text = if text.contains('<') { text.into() } else { htmlize::unescape(text) };
    let text = misread(&text).unwrap_or_else(|| text.into_owned());
    let mut plain = String::with_capacity(text.len());
    text.chars().filter(|c| !is_control(*c)).for_each(|c| replace(c, &mut plain));
    composed(&plain)
}

/// The text that was encoded as UTF-8 and decoded as Windows-1252; `None` if that is not what happened.
fn misread(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Vec<u8> = text.chars().map(byte).collect::<Option<_>>()?;
    String::from_utf8(bytes).ok()
}

/// The byte that Windows-1252 or Latin-1 decodes to `c`.
fn byte(c: char) -> Option<u8> {
    let place = WINDOWS_1252.iter().position(|&other| other == c);
    place.and_then(|place| u8::try_from(0x80 + place).ok()).or_else(|| u8::try_from(u32::from(c)).ok())
}

/// Whether a repaired text still looks as if it had been decoded wrongly.
pub fn is_doubtful(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_sequence = |pair: &[char]| {
        let [lead, next] = [byte(pair[0]), byte(pair[1])];
        matches!((lead, next), (Some(0xc2..=0xf4), Some(0x80..=0xbf)))
    };
    chars.iter().any(|&c| matches!(c, '\u{80}'..='\u{9f}' | '\u{fffd}')) || chars.windows(2).any(is_sequence)
}

/// Characters that have no look.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

/// Puts what is written for `c`: ligatures taken apart, full and half widths made usual, quotes made straight.
fn replace(c: char, out: &mut String) {
    match c {
        '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        'Ĳ' => out.push_str("IJ"),
        'ĳ' => out.push_str("ij"),
        'ﬀ' => out.push_str("ff"),
        'ﬁ' => out.push_str("fi"),
        'ﬂ' => out.push_str("fl"),
        'ﬃ' => out.push_str("ffi"),
        'ﬄ' => out.push_str("ffl"),
        'ﬅ' => out.push_str("ſt"),
        'ﬆ' => out.push_str("st"),
        '\u{3000}' => out.push(' '),
        '\u{ff01}'..='\u{ffef}' => {
            let mut narrow = NormalizedString::from(c.to_string());
            out.push_str(narrow.nfkc().get());
        }
        c => out.push(c),
    }
}

fn composed(text: &str) -> String {
    let mut text = NormalizedString::from(text);
    text.nfc().get().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decoded_or_escaped_wrongly_is_repaired_and_nothing_else() {
        for (text, expected) in [
            ("  The\tKnife\n ", "the knife"),
            ("cafÃ© &amp; &lt;b&gt; &amp;amp; tea", "café & <b> & tea"),
            ("&lt;i&gt;", "<i>"),
            ("a < b &amp;amp;amp; c", "a < b &amp; c"),
            ("â€œsmartâ€\u{9d} Iâ€™m", "\"smart\" i'm"),
            ("“smart” ‘quotes’ – dash…", "\"smart\" 'quotes' – dash…"),
            ("naïve café über straße", "naïve café über straße"),
            ("e\u{301} \u{fb01}sh ＡＢ ﾅｲﾌ", "é fish ab ナイフ"),
            ("a\u{200b}b\u{feff}c\u{a0}d", "a\u{200b}bc d"),
            ("ΟΔΟΣ", "οδος"),
        ] {
            assert_eq!(cleaned(text), expected, "{text:?}");
        }
        assert!(is_doubtful(&cleaned("cafÃ© 切る")) && is_doubtful("a\u{fffd}"));
        assert!(!is_doubtful(&cleaned("café naïve – “x” 切る é")) && !is_doubtful(&cleaned("cafÃ©")));
    }
}
