//! What holds for every candidate, whatever the text and the place.

use homeostasis_patch::UnifiedDiff;
use proptest::prelude::*;

use super::*;

const PYTHON: &str = "\
import json

RATES = {'eur': 1.0}

def total(orders, rates, out):
    seen = []
    for i, o in enumerate(orders):
        price = o['price'] * rates[o['currency']]
        if price / o['count'] > 10:
            seen.append(orders[i + 1].name)
        out += float(o['tax'])
    first, second = seen
    return json.loads(seen[0])[second] or first.strip()
";

const RUST: &str = "\
use std::cell::RefCell;

fn total(v: &[usize], s: &str, c: &RefCell<usize>) -> Result<usize, String> {
    let mut n = 0;
    for i in 0..=v.len() {
        n += v[i] - 1;
        println!(\"{} {}\", v[i + 1], &s[..i]);
        *c.borrow_mut() += n / (v[i] % 3);
    }
    let parsed: usize = s.parse().unwrap();
    let first = v.first().unwrap();
    Ok(parsed * first + s.find('x').expect(\"an x\"))
}
";

fn errors() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    prop::sample::select(vec![
        ("python", "KeyError", "'price'"),
        ("python", "IndexError", "list index out of range"),
        (
            "python",
            "AttributeError",
            "'NoneType' object has no attribute 'strip'",
        ),
        (
            "python",
            "TypeError",
            "'NoneType' object is not subscriptable",
        ),
        (
            "python",
            "TypeError",
            "unsupported operand type(s) for *: 'NoneType' and 'int'",
        ),
        ("python", "ZeroDivisionError", "division by zero"),
        (
            "python",
            "ValueError",
            "could not convert string to float: 'x'",
        ),
        (
            "python",
            "ValueError",
            "too many values to unpack (expected 2)",
        ),
        ("python", "NameError", "name 'ordres' is not defined"),
        (
            "python",
            "UnboundLocalError",
            "cannot access local variable 'out'",
        ),
        (
            "python",
            "JSONDecodeError",
            "Expecting value: line 1 column 1 (char 0)",
        ),
        (
            "rust",
            "panic",
            "index out of bounds: the len is 3 but the index is 3",
        ),
        ("rust", "panic", "attempt to subtract with overflow"),
        ("rust", "panic", "attempt to add with overflow"),
        ("rust", "panic", "attempt to multiply with overflow"),
        ("rust", "panic", "attempt to divide by zero"),
        (
            "rust",
            "panic",
            "called `Option::unwrap()` on a `None` value",
        ),
        (
            "rust",
            "panic",
            "called `Result::unwrap()` on an `Err` value: E",
        ),
        ("rust", "panic", "byte index 1 is not a char boundary"),
        ("rust", "panic", "RefCell already borrowed"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Also on texts that lines were cut out of, which do not parse.
    #[test]
    fn every_candidate_applies_to_its_text_and_reverts_and_they_are_ranked_and_different(
        (language, kind, message) in errors(),
        line in 1_u32..16,
        column in 0_u32..60,
        cut in prop::option::of(0_usize..14),
    ) {
        let (name, text) = if language == "rust" { ("a.rs", RUST) } else { ("a.py", PYTHON) };
        let kept = text.split_inclusive('\n').enumerate().filter(|(nth, _)| Some(*nth) != cut);
        let source: String = kept.map(|(_, line)| line).collect();
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(name), &source).unwrap();
        let mut error = ErrorEvent::new(language, kind, message);
        error.frames.push(frame(name, line, column));
        let proposal = propose(root.path(), &error);
        prop_assert!(proposal.candidates.len() <= 20);
        let mut texts = Vec::new();
        for candidate in &proposal.candidates {
            prop_assert!(candidate.violation().is_none());
            prop_assert!(!candidate.template.is_empty());
            prop_assert!(!candidate.behaviour.is_empty() && !candidate.behaviour.contains('$'));
            let patch = FilePatch::from_candidate(candidate, &source).unwrap();
            let new = patch.apply(&source).unwrap();
            prop_assert_eq!(patch.inverted().apply(&new).unwrap(), source.clone());
            let diff: UnifiedDiff = candidate.diff.parse().unwrap();
            prop_assert!(!diff.is_empty());
            prop_assert!(!texts.contains(&new), "twice: {}", candidate.diff);
            texts.push(new);
        }
        let ranks: Vec<_> = proposal.candidates.iter().map(|c| c.confidence).collect();
        prop_assert!(ranks.is_sorted_by(|a, b| a >= b), "{ranks:?}");
    }
}
