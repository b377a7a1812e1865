//! Whether a guard that reads differently lets more pass.

use super::branch::LOOP;
use super::condition::{Atom, Formula, Relation, is_literal};
use super::guard::{Consequence, Guard};
use super::identity::names_identity;
use super::words::name_words;

/// What became of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It says the same.
    Same,
    /// It may say something else: for people to look at.
    Doubtful,
    /// It lets pass what it refused, where that matters.
    Weaker,
}

/// A guard that reads differently. `is_known` tells whether a name stands elsewhere in the old text,
/// `is_once` whether it stands there only once.
pub(super) fn compared(
    was: &Guard,
    now: &Guard,
    is_known: &dyn Fn(&str) -> bool,
    is_once: &dyn Fn(&str) -> bool,
) -> Change {
    let forth = was.permits.implies(&now.permits).unwrap_or(false);
    let back = now.permits.implies(&was.permits).unwrap_or(false);
    if forth && back {
        return Change::Same;
    }
    let opposite = was.permits.negated();
    let is_inverted = now.permits.implies(&opposite) == Some(true)
        && opposite.implies(&now.permits) == Some(true);
    if is_inverted {
        let swaps = was.consequence == Consequence::Body
            && body_of(&was.otherwise) == body_of(&now.body)
            && body_of(&was.body) == body_of(&now.otherwise);
        if swaps {
            return Change::Same;
        }
    }
    let protects = was.consequence == Consequence::Error || was.before_effect;
    let matters = was.is_identity() || protects;
    let is_weaker = if is_inverted {
        matters
    } else if forth {
        is_weakening(was, now, matters)
    } else if back {
        false
    } else {
        loses_identity(was, now)
            || was.is_identity() && grants_more(was, now)
            || matters && (raises_limit(was, now) || drops_call(was, now))
            || protects && !is_mended(was, now, is_known, is_once)
    };
    if is_weaker {
        Change::Weaker
    } else {
        Change::Doubtful
    }
}

/// The new guard lets more pass than the old one.
fn is_weakening(was: &Guard, now: &Guard, matters: bool) -> bool {
    let pairs = |guard: &Guard| -> Vec<(String, String)> {
        let atoms = guard.permits.atoms();
        let mut pairs: Vec<_> = atoms.into_iter().map(Atom::sides).collect();
        pairs.sort();
        pairs.dedup();
        pairs
    };
    let (before, after) = (pairs(was), pairs(now));
    let added: Vec<&Atom> = now
        .permits
        .atoms()
        .into_iter()
        .filter(|atom| !before.contains(&atom.sides()))
        .collect();
    if !added.is_empty() {
        if added.iter().all(|atom| atom.left == LOOP) {
            return false;
        }
        // Something else passes, too.
        if was.is_identity() {
            return true;
        }
        let is_alternative = |atom: &&Atom| now.alternatives.contains(&atom.sides());
        if added.iter().all(is_alternative) {
            // A case was added before it.
            return was.before_effect;
        }
        let leaves = was.consequence != Consequence::Body;
        let is_harmless = added.iter().all(|atom| is_presence(atom, was));
        let protects = was.before_effect || was.consequence == Consequence::Error;
        return protects && (!is_harmless || !leaves);
    }
    if before == after && was.permits.lenient() == now.permits.lenient() {
        // One value more or less at the edge.
        return matters && (was.is_identity() || was.is_limit());
    }
    matters
}

/// The way out of a guard that asks the same is no longer an error.
pub(super) fn softened(was: &Guard, now: &Guard) -> Option<Change> {
    if was.consequence == Consequence::Leave && now.consequence == Consequence::Leave {
        return answered(was, now);
    }
    if was.consequence != Consequence::Error || now.consequence != Consequence::Leave {
        return None;
    }
    let is_weaker = was.is_identity() || was.before_effect || was.is_validation() || now.succeeds;
    Some(if is_weaker {
        Change::Weaker
    } else {
        Change::Doubtful
    })
}

/// Who is not permitted gets another answer.
fn answered(was: &Guard, now: &Guard) -> Option<Change> {
    if was.grants || !was.is_identity() || body_of(&was.body) == body_of(&now.body) {
        return None;
    }
    let refused = was.denies || !was.yields;
    let gives = (now.yields || now.succeeds || now.grants) && !now.denies;
    Some(if refused && gives {
        Change::Weaker
    } else {
        Change::Doubtful
    })
}

/// Without braces and semicolons around it.
pub(super) fn body_of(text: &str) -> &str {
    text.trim_start_matches("else ")
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ':' | ';'))
}

/// The test of a value the guard looks at for being there, or of an index for being inside.
fn is_presence(atom: &Atom, of: &Guard) -> bool {
    let none = |text: &str| {
        matches!(
            text,
            "None" | "null" | "nil" | "undefined" | "0" | "\"\"" | "''"
        )
    };
    let counts =
        |text: &str| text.contains("len") || text.contains("length") || text.contains("size");
    let looks = |text: &str| text.split(' ').any(|word| of.values.contains(word));
    if !looks(&atom.left) && !looks(&atom.right) {
        return false;
    }
    match atom.relation {
        Relation::Equal | Relation::Unequal | Relation::Identical | Relation::Distinct => {
            none(&atom.left) || none(&atom.right)
        }
        Relation::Less | Relation::LessOrEqual => {
            counts(&atom.left) || counts(&atom.right) || none(&atom.left) || none(&atom.right)
        }
        Relation::Holds | Relation::Fails => {
            let is_within = atom
                .left
                .split_once(" in ")
                .is_some_and(|(one, other)| looks(one) && looks(other));
            let asks = ["isinstance (", "Array . isArray (", "Number . is"];
            let is_method = [
                "is_empty",
                "isEmpty",
                "isPresent",
                "is_char_boundary",
                "contains_key",
                "containsKey",
                "hasOwnProperty",
                "is_zero",
            ]
            .iter()
            .any(|method| atom.left.contains(method));
            of.values.contains(&atom.left)
                || asks.iter().any(|call| atom.left.starts_with(call))
                || is_method
                || is_within
        }
    }
}

/// A word about permission is no longer asked about.
fn loses_identity(was: &Guard, now: &Guard) -> bool {
    let n = |guard: &Guard| {
        let words = guard.words.iter();
        words.filter(|word| names_identity(word)).count()
    };
    n(was) > n(now) || was.consequence == Consequence::Answer && now.permits.is_true()
}

/// More values are let in, a comparison is turned around, or what was denied by default is granted.
fn grants_more(was: &Guard, now: &Guard) -> bool {
    let n = |guard: &Guard, is: &dyn Fn(&str) -> bool| {
        guard.condition.split(' ').filter(|word| is(word)).count()
    };
    let is_true = |word: &str| matches!(word, "True" | "true");
    let is_text = |word: &str| word.starts_with(['"', '\'']);
    let is_all = |word: &str| matches!(word, "all" | "every");
    let is_any = |word: &str| matches!(word, "any" | "some");
    let lists = was.condition.contains('[')
        || was.words.iter().any(|word| word == "in")
        || was.condition.contains(" in ");
    let mut texts = was.body.split(' ').chain(was.condition.split(' '));
    let about_people = texts.any(|word| name_words(word).iter().any(|word| is_person(word)));
    let opposite = |a: Relation, b: Relation| {
        matches!(
            (a, b),
            (
                Relation::Equal | Relation::Identical,
                Relation::Unequal | Relation::Distinct
            ) | (
                Relation::Unequal | Relation::Distinct,
                Relation::Equal | Relation::Identical
            ) | (Relation::Holds, Relation::Fails)
                | (Relation::Fails, Relation::Holds)
        )
    };
    let turned = was.permits.atoms().iter().any(|a| {
        now.permits.atoms().iter().any(|b| {
            let shares = [&b.left, &b.right].into_iter().any(|side| {
                !side.is_empty() && !is_literal(side) && (*side == a.left || *side == a.right)
            });
            shares && opposite(a.relation, b.relation)
        })
    });
    turned
        || n(now, &is_true) > n(was, &is_true)
        || n(was, &is_all) > n(now, &is_all) && n(now, &is_any) > n(was, &is_any)
        || lists && about_people && n(now, &is_text) > n(was, &is_text)
}

fn is_person(word: &str) -> bool {
    matches!(
        word,
        "role"
            | "roles"
            | "admin"
            | "admins"
            | "user"
            | "users"
            | "permission"
            | "permissions"
            | "owner"
            | "owners"
            | "group"
            | "groups"
            | "scope"
            | "scopes"
    )
}

/// A number that bounds something is ten times as large, or more.
fn raises_limit(was: &Guard, now: &Guard) -> bool {
    let numbers = |guard: &Guard| -> Vec<(String, f64)> {
        let atoms = guard.permits.atoms();
        let found = atoms.iter().filter_map(|atom| {
            let number = |text: &str| text.replace('_', "").parse::<f64>().ok();
            match (number(&atom.left), number(&atom.right)) {
                (Some(value), None) => Some((atom.right.clone(), value)),
                (None, Some(value)) => Some((atom.left.clone(), value)),
                _ => None,
            }
        });
        found.collect()
    };
    let now = numbers(now);
    numbers(was).iter().any(|(name, value)| {
        now.iter().any(|(other, more)| {
            other == name && value.abs() > 0.0 && more.abs() >= 10.0 * value.abs()
        })
    })
}

/// `is_admin` for `is_admin()`: a function is there, whatever it would answer.
fn drops_call(was: &Guard, now: &Guard) -> bool {
    let without = |guard: &Guard| guard.condition.replace(" ( )", "");
    let n = |guard: &Guard| guard.condition.matches(" ( )").count();
    n(was) > n(now) && without(was) == without(now)
}

/// What looks like a repair of the condition itself: it asks the same of a value that may be
/// missing, or a misspelled name is spelled right.
fn is_mended(
    was: &Guard,
    now: &Guard,
    is_known: &dyn Fn(&str) -> bool,
    is_once: &dyn Fn(&str) -> bool,
) -> bool {
    if drops_call(was, now) {
        return false;
    }
    let plain = |formula: &Formula| formula.rewritten(&without_care);
    let is_as_strict = plain(&now.permits).implies(&plain(&was.permits)) == Some(true);
    let has_default = was.is_identity() && now.condition.contains(". get (");
    if is_as_strict && !(has_default && now.condition.contains(',')) {
        return true;
    }
    let (before, after): (Vec<_>, Vec<_>) = (
        was.condition.split(' ').collect(),
        now.condition.split(' ').collect(),
    );
    let mut differing = before.iter().zip(&after).filter(|(a, b)| a != b);
    let (Some((old, new)), None) = (differing.next(), differing.next()) else {
        return false;
    };
    before.len() == after.len()
        && !was.is_identity()
        && is_once(old)
        && is_known(new)
        && is_one_slip(old, new)
}

/// `d.get(k, 0)` as `d[k]`, `a?.b` as `a.b`, `a.saturating_sub(b)` as `a - b`, `Some(&0)` as `0`.
fn without_care(text: &str) -> String {
    let tokens: Vec<&str> = text.split(' ').collect();
    let mut found: Vec<&str> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    // Where a bracket that was rewritten closes, and what stands there instead.
    let mut closes: Vec<(usize, &str)> = Vec::new();
    while let Some(token) = tokens.get(at) {
        if let Some(n) = closes.iter().position(|(close, _)| *close == at) {
            let (_, instead) = closes.swap_remove(n);
            if !instead.is_empty() {
                found.push(instead);
            }
            at += 1;
            continue;
        }
        let next = |n: usize| tokens.get(at + n).copied().unwrap_or_default();
        let sign = match next(1) {
            "saturating_sub" | "checked_sub" => "-",
            "saturating_add" | "checked_add" => "+",
            "saturating_mul" | "checked_mul" => "*",
            _ => "",
        };
        match *token {
            "?." => {
                if next(1) != "[" {
                    found.push(".");
                }
                at += 1;
            }
            "." if next(1) == "get" && next(2) == "(" => {
                let (comma, close) = argument(&tokens, at + 2);
                found.push("[");
                at += 3;
                if let Some(comma) = comma {
                    found.extend(&tokens[at..comma]);
                    found.push("]");
                    at = close + 1;
                } else {
                    closes.push((close, "]"));
                }
            }
            "." if !sign.is_empty() && next(2) == "(" => {
                found.push(sign);
                closes.push((argument(&tokens, at + 2).1, ""));
                at += 3;
            }
            "Some" if next(1) == "(" => {
                closes.push((argument(&tokens, at + 1).1, ""));
                at += if next(2) == "&" { 3 } else { 2 };
            }
            other => {
                found.push(other);
                at += 1;
            }
        }
    }
    found.join(" ")
}

/// The first comma of the arguments that open at a token, and where they close.
fn argument(tokens: &[&str], open: usize) -> (Option<usize>, usize) {
    let (mut depth, mut comma) = (0_usize, None);
    for (idx, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (comma, idx);
                }
            }
            "," if depth == 1 && comma.is_none() => comma = Some(idx),
            _ => {}
        }
    }
    (comma, tokens.len())
}

/// One letter more, less, other, or two of them exchanged; of names of three letters and more.
fn is_one_slip(one: &str, two: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let is_name = |name: &[char]| {
        name.len() >= 3
            && name.iter().all(|c| c.is_alphanumeric() || *c == '_')
            && !name[0].is_numeric()
    };
    if !is_name(&a) || !is_name(&b) {
        return false;
    }
    let n_head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[n_head..], &b[n_head..]);
    let n_tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&a[..a.len() - n_tail], &b[..b.len() - n_tail]);
    match (a, b) {
        ([] | [_], [_]) | ([_], []) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn careful_access_is_read_as_plain_access() {
        for (text, plain) in [
            ("d . get ( k , 0 )", "d [ k ]"),
            ("d . get ( k ) . x", "d [ k ] . x"),
            ("a ?. b ?. [ 0 ]", "a . b [ 0 ]"),
            ("a . saturating_sub ( b . get ( i ) )", "a - b [ i ]"),
            ("Some ( & 0 )", "0"),
            ("f ( a , b )", "f ( a , b )"),
            ("d . get ( k", "d [ k"),
        ] {
            assert_eq!(without_care(text), plain);
        }
    }

    #[test]
    fn one_slip_of_the_pen_is_known() {
        for (one, two) in [
            ("LIMT", "LIMIT"),
            ("limiit", "limit"),
            ("lmiit", "limit"),
            ("limlt", "limit"),
        ] {
            assert!(is_one_slip(one, two), "{one}");
            assert!(is_one_slip(two, one), "{two}");
        }
        for (one, two) in [
            ("min", "max"),
            ("a", "b"),
            ("10", "100"),
            ("limit", "limit"),
            ("max_a", "max_bcd"),
        ] {
            assert!(!is_one_slip(one, two), "{one}");
        }
    }
}
