//! Characters that deceive the reader of a patch.

use super::RefusalReason::{ConfusableCharacter, HiddenCharacter};
use super::fact::{Fact, Sense};

/// Letters of other scripts that look like Latin ones.
const LOOKALIKES: &str = "аеорсухіјѕһԁԛԝӏкмтвнѵгпАВЕКМНОРСТХІЈЅԌҮ\
    ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοινκρυϲϳ\
    ɑɡıȷꞌꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓤꓥꓦꓧꓨꓩꓪꓫꓬꓮꓰꓲꓳꓴꓵ\
    օԱսհոցաԼՕՍ";

/// Facts about every deceiving character, in code, strings and comments alike. `decodes_escapes`
/// says that `\u0041` is an `A` anywhere in the text (Java).
pub(super) fn facts(text: &str, decodes_escapes: bool) -> Vec<Fact> {
    let mut found = Vec::new();
    for (idx, line) in text.split('\n').enumerate() {
        let number = idx + 1;
        if !line.is_ascii() || line.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            characters(line, number, idx == 0, &mut found);
        }
        if decodes_escapes && line.contains("\\u") {
            escapes(line, number, &mut found);
        }
    }
    found
}

fn characters(line: &str, number: usize, is_first: bool, found: &mut Vec<Fact>) {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut before = if is_first { None } else { Some('\n') };
    for c in line.chars() {
        if is_hidden(c, before) {
            let name = format!("U+{:04X}", u32::from(c));
            found.push(Fact::new(
                Sense::Forbidden(HiddenCharacter),
                name.clone(),
                number,
                &name,
            ));
        }
        before = Some(c);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    for word in line
        .split(|c: char| !is_part(c))
        .filter(|word| !word.is_ascii() && is_confusable(word))
    {
        let odd: Vec<_> = word
            .chars()
            .filter(|c| !c.is_ascii())
            .map(|c| format!("U+{:04X}", u32::from(c)))
            .collect();
        let text = format!("{word}: {}", odd.join(" "));
        found.push(Fact::new(
            Sense::Forbidden(ConfusableCharacter),
            word,
            number,
            &text,
        ));
    }
}

fn is_hidden(c: char, before: Option<char>) -> bool {
    match c {
        '\t' | '\u{c}' => false,
        // A byte order mark may begin a file.
        '\u{feff}' => before.is_some(),
        // Parts of an emoji are joined so.
        '\u{200d}' | '\u{fe0f}' => !before.is_some_and(|b| {
            u32::from(b) >= 0x1f000 || b == '\u{fe0f}' || ('\u{2190}'..='\u{2bff}').contains(&b)
        }),
        '\u{fe00}'..='\u{fe0e}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => c.is_control(),
    }
}

/// The word mixes look-alikes with Latin letters, is made of look-alikes only, or has letters that
/// compilers take for others.
fn is_confusable(word: &str) -> bool {
    let is_twin = |c: char| LOOKALIKES.contains(c);
    let has_latin = word.chars().any(|c| c.is_ascii_alphabetic());
    let has_twin = word.chars().any(is_twin);
    let mathematical = word
        .chars()
        .any(|c| matches!(u32::from(c), 0x1d400..=0x1d7ff));
    let styled = has_styled_letters(word);
    // A single letter is a sign of physics; a word of such letters is a disguise.
    let only_twins = word.chars().count() > 2
        && word
            .chars()
            .all(|c| is_twin(c) || c == '_' || c.is_ascii_digit());
    mathematical || styled && has_latin || has_twin && has_latin || only_twins
}

/// Letters that compilers may read as plain ones: bold, full-width, in circles.
pub(super) fn has_styled_letters(word: &str) -> bool {
    let is_styled = |c: char| {
        matches!(
            u32::from(c),
            0x1d400..=0x1d7ff | 0xff01..=0xff5e | 0x24b6..=0x24e9 | 0x1f130..=0x1f189 | 0xfb00..=0xfb06 | 0x2160..=0x217f
        )
    };
    word.chars().any(is_styled)
}

/// `\u0041` for a character that could be written plainly.
fn escapes(line: &str, number: usize, found: &mut Vec<Fact>) {
    for (at, _) in line.match_indices("\\u") {
        let n_before = line[..at].bytes().rev().take_while(|b| *b == b'\\').count();
        let code = line[at + 1..].trim_start_matches('u');
        let code = u32::from_str_radix(code.get(..4).unwrap_or_default(), 16);
        if n_before % 2 == 0 && code.is_ok_and(|code| code < 0x7f) {
            let text = line.get(at..(at + 6).min(line.len())).unwrap_or("\\u");
            found.push(Fact::new(
                Sense::Forbidden(HiddenCharacter),
                text,
                number,
                text,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        facts(text, false)
            .into_iter()
            .map(|fact| fact.key)
            .collect()
    }

    #[test]
    fn natural_text_of_any_script_passes() {
        for text in [
            "Grüße, señor, naïve",
            "// привет мир",
            "日本語のコメント",
            "5 μs, 3 Ω, Δt",
            "ok ✅ 👨\u{200d}👩 ⚠\u{fe0f}",
            "עברית",
            "a\tb\r\nc",
            "\u{feff}x",
            "λ = 3",
            "это ошибка",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn what_deceives_is_named() {
        assert_eq!(found("a\u{200b}b"), ["U+200B"]);
        assert_eq!(found("x = 1 \u{202e}"), ["U+202E"]);
        assert_eq!(found("p\u{430}ypal"), ["p\u{430}ypal"]);
        assert_eq!(found("\u{ff45}val"), ["\u{ff45}val"]);
        assert_eq!(found("a\u{feff}"), ["U+FEFF"]);
        assert_eq!(facts("\\u0052 \\\\u0052 \\uu0041", true).len(), 2);
    }
}
