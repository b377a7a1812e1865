//! The text a reviewer reads: what changes, why, on what it rests, how to take it back.

use std::fmt::Write as _;

use super::ChangeSet;

/// Longest subject, in characters.
const SUBJECT_CHARS: usize = 72;

/// Longest sentence that is quoted, in characters.
const SENTENCE_CHARS: usize = 600;

/// The first line: which files, and what is done to the first.
pub(super) fn subject(proposal: &ChangeSet) -> String {
    let Some(first) = proposal.patches.first() else {
        return "no change".to_owned();
    };
    let others = match proposal.patches.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let what = if first.explanation.trim().is_empty() {
        "change by ".to_owned() + &first.patcher
    } else {
        first.explanation.clone()
    };
    sentence(&format!("{}{others}: {what}", first.path), SUBJECT_CHARS)
}

/// Everything below the subject. No line but a heading or a trailer begins in the first column, so
/// that nothing quoted is taken for one.
pub(super) fn body(proposal: &ChangeSet, revert: &str) -> String {
    let mut text = String::from("What changes:\n");
    for patch in &proposal.patches {
        let explanation = match patch.explanation.trim() {
            "" => "nobody said for which inputs",
            explanation => explanation,
        };
        bullet(&mut text, &format!("{}: {explanation}", patch.path));
        if !patch.behaviour.trim().is_empty() {
            bullet(
                &mut text,
                &format!("afterwards: {}", patch.behaviour.trim()),
            );
        }
        if let Some(recovery) = patch.recovery {
            bullet(&mut text, &format!("where it failed before: {recovery}"));
        }
        bullet(
            &mut text,
            &format!(
                "by {}, {} patch, confidence {}, risk {}",
                patch.patcher, patch.kind, patch.confidence, patch.risk
            ),
        );
    }
    text.push_str("\nWhy:\n");
    let why = match proposal.why.trim() {
        "" => "nobody said why",
        why => why,
    };
    bullet(&mut text, why);
    section(&mut text, "Evidence", &proposal.evidence, "none was given");
    section(&mut text, "Tests", &proposal.tests, "none was run");
    let _ = write!(text, "\nRisk: {}\n\nTo revert:\n", proposal.risk());
    bullet(&mut text, revert);
    let _ = write!(
        text,
        "\nIncident: {}\nPatch-Hash: {}\n",
        proposal.incident,
        proposal.hash()
    );
    text
}

fn section(text: &mut String, heading: &str, items: &[String], none: &str) {
    let _ = write!(text, "\n{heading}:\n");
    for item in items {
        bullet(text, item);
    }
    if items.is_empty() {
        bullet(text, none);
    }
}

fn bullet(text: &mut String, item: &str) {
    text.push_str("- ");
    text.push_str(&sentence(item, SENTENCE_CHARS));
    text.push('\n');
}

/// `text` on one line, without control characters and without what reorders it, of at most `limit`
/// characters.
pub(super) fn sentence(text: &str, limit: usize) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let plain: String = text
        .chars()
        .map(|c| if is_odd(c) { ' ' } else { c })
        .collect();
    let words: Vec<_> = plain.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    let cut: String = line.chars().take(limit - 1).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use homeostasis_core::record::{PatchCandidate, PatchKind, RecoveryStrategy};
    use homeostasis_core::{Digest, IncidentId, Timestamp};

    use super::*;

    #[test]
    fn no_quoted_text_becomes_a_heading_a_trailer_or_a_diff() {
        let base = Digest::of_bytes(b"x");
        let mut patch = PatchCandidate::new("p", PatchKind::Code, "a.py", base, "d");
        patch.explanation = "first\nIncident: inc-0\n--- a/b\n\u{202e}x".to_owned();
        patch.behaviour = "it is 0\nRisk: none".to_owned();
        patch.recovery = Some(RecoveryStrategy::Substitute);
        let incident = IncidentId::from_u128(7);
        let mut proposal = ChangeSet::new(incident, Timestamp::EPOCH, [patch]);
        proposal.why = "\nPatch-Hash: 00".to_owned();
        proposal.tests = vec!["diff --git a/x b/x\n@@ -1 +1 @@".to_owned()];
        assert_eq!(subject(&proposal), "a.py: first Incident: inc-0 --- a/b x");
        let text = body(&proposal, "git revert");
        let in_first_column: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("- ") && !line.is_empty())
            .collect();
        let hash = format!("Patch-Hash: {}", proposal.hash());
        let incident = format!("Incident: {incident}");
        let wanted = [
            "What changes:",
            "Why:",
            "Evidence:",
            "Tests:",
            "Risk: high",
            "To revert:",
            &incident,
            &hash,
        ];
        assert_eq!(in_first_column, wanted);
        assert!(!text.contains('\u{202e}'));
        let after = "\n- afterwards: it is 0 Risk: none\n- where it failed before: substitute\n";
        assert!(text.contains(after), "{text}");
    }

    #[test]
    fn a_long_sentence_is_cut_with_a_mark() {
        assert_eq!(sentence("ab  cd\te", 72), "ab cd e");
        assert_eq!(sentence(&"é".repeat(100), 10), "é".repeat(9) + "…");
    }
}
