//! Literals that every match of a pattern contains.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A pattern with more alternatives than this is cut into fewer, shorter ones or given up.
const MAX_LITERALS: usize = 128;
/// So many spellings of one run of a pattern are told apart: `(?:a|b)c` has two.
const MAX_CROSS: usize = 16;

/// Lower-case ASCII literals of which every match of `hir` contains at least one, in any case of
/// its ASCII letters; `None` if there are none.
///
/// Of several such sets the one whose shortest literal is longest, as it is the rarest in a text.
/// A letter without regard to case (`(?i)k`) counts as the letter: who searches folds `K` (Kelvin)
/// to `k` and `ſ` to `s`, the two characters beyond ASCII that such patterns match.
pub(super) fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let found = match hir.kind() {
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(parts) => of_alternation(parts),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Literal(_) | HirKind::Class(_) => exact(hir),
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    };
    found.filter(|set| shortest(set) > 0 && set.len() <= MAX_LITERALS)
}

/// The length of the shortest of `set`; 0 of an empty set.
pub(super) fn shortest(set: &[Vec<u8>]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

fn of_alternation(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(required(part)?);
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// Joins neighbors whose spellings are all known into longer literals.
fn of_sequence(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut offer = |set: Vec<Vec<u8>>| {
        let better = best.as_ref().is_none_or(|best| {
            let (new, old) = (shortest(&set), shortest(best));
            new > old || (new == old && set.len() < best.len())
        });
        if better && shortest(&set) > 0 && set.len() <= MAX_LITERALS {
            best = Some(set);
        }
    };
    let mut run: Vec<Vec<u8>> = vec![Vec::new()];
    for part in parts {
        match exact(part) {
            Some(spellings) if run.len() * spellings.len() <= MAX_CROSS => {
                run = cross(&run, &spellings);
            }
            spellings => {
                offer(std::mem::replace(&mut run, vec![Vec::new()]));
                match spellings {
                    Some(spellings) => run = spellings,
                    None => {
                        if let Some(set) = required(part) {
                            offer(set);
                        }
                    }
                }
            }
        }
    }
    offer(run);
    best
}

fn cross(heads: &[Vec<u8>], tails: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let joined = heads
        .iter()
        .flat_map(|head| tails.iter().map(move |tail| [&head[..], tail].concat()));
    let mut all: Vec<_> = joined.collect();
    all.sort();
    all.dedup();
    all
}

/// All texts that `hir` matches, if they are few; an assertion matches the empty text.
fn exact(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let found = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![folded(std::str::from_utf8(&literal.0).ok()?)],
        HirKind::Class(class) => of_class(class)?,
        HirKind::Capture(capture) => exact(&capture.sub)?,
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, Some(1)) => {
                let mut set = exact(&repetition.sub)?;
                set.push(Vec::new());
                set
            }
            (1, Some(1)) => exact(&repetition.sub)?,
            _ => return None,
        },
        HirKind::Concat(parts) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                all = cross(&all, &exact(part)?);
                if all.len() > MAX_CROSS {
                    return None;
                }
            }
            all
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(exact(part)?);
                if all.len() > MAX_LITERALS {
                    return None;
                }
            }
            all.sort();
            all.dedup();
            all
        }
    };
    (found.len() <= MAX_LITERALS).then_some(found)
}

/// The characters of a small class, folded.
fn of_class(class: &Class) -> Option<Vec<Vec<u8>>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let Class::Unicode(class) = class else {
        return None;
    };
    for range in class.ranges() {
        if range.len() > MAX_CROSS {
            return None;
        }
        for c in range.start()..=range.end() {
            found.push(folded(c.encode_utf8(&mut [0; 4])));
        }
    }
    found.sort();
    found.dedup();
    (!found.is_empty() && found.len() <= MAX_CROSS).then_some(found)
}

fn folded(text: &str) -> Vec<u8> {
    let folded = text.chars().map(|c| fold(c).unwrap_or(c));
    folded.collect::<String>().to_ascii_lowercase().into_bytes()
}

/// The ASCII letter that is the same as `c` without regard to case, for the two characters beyond
/// ASCII that have one.
pub(super) const fn fold(c: char) -> Option<char> {
    match c {
        '\u{212a}' => Some('k'),
        '\u{17f}' => Some('s'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str) -> Vec<String> {
        let hir = regex_syntax::parse(pattern).unwrap();
        let found = required(&hir).unwrap_or_default();
        let text = |literal: Vec<u8>| String::from_utf8(literal).unwrap();
        found.into_iter().map(text).collect()
    }

    #[test]
    fn the_longest_run_that_every_match_has_is_found_wherever_it_stands() {
        for (pattern, expected) in [
            ("connection refused", &["connection refused"][..]),
            (
                r"'[^']*' object has no attribute '",
                &["' object has no attribute '"],
            ),
            (
                r"^\w+: (?<name>too many clients)\b",
                &[": too many clients"],
            ),
            (r"(?:abc|abd){2,}", &["abc", "abd"]),
            ("OOMKilled|oom-kill", &["oom-kill", "oomkilled"]),
            ("Can(?:no|')t open", &["can't open", "cannot open"]),
            ("table(?:s)? missing", &["table missing", "tables missing"]),
        ] {
            assert_eq!(of(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn letters_without_regard_to_case_are_one_letter() {
        assert_eq!(of("(?i)Disk is full"), ["disk is full"]);
        assert_eq!(of("(?i)\u{17f}\u{212a}y"), ["sky"]);
        assert_eq!(of("\u{17f}tra\u{df}e"), ["stra\u{df}e"]);
    }

    #[test]
    fn a_pattern_that_needs_no_literal_has_none() {
        for pattern in [r"\d+", "(?:abc)?", "abc|", r"[a-z]+\s", "(?:abc|[^x])"] {
            assert!(of(pattern).is_empty(), "{pattern}: {:?}", of(pattern));
        }
    }
}
