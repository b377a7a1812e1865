//! The validator on two texts of some language or format, and on their difference.
#![no_main]

use homeostasis::patch::{PatchValidator, UnifiedDiff};
use libfuzzer_sys::fuzz_target;

const PATHS: &[&str] = &[
    "a.rs", "a.py", "a.js", "a.ts", "A.tsx", "a.go", "A.java", "a.toml", "a.yaml", "a.json", "a.txt",
];

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let path = PATHS[usize::from(*first) % PATHS.len()];
    let text = homeostasis_fuzz::text(rest, homeostasis_fuzz::PATCHED);
    // Both texts share most lines, as a change and its source do.
    let (old, new): (Vec<_>, Vec<_>) = text
        .lines()
        .map(|line| match line.as_bytes().first() {
            Some(b'-') => (Some(&line[1..]), None),
            Some(b'+') => (None, Some(&line[1..])),
            _ => (Some(line), Some(line)),
        })
        .unzip();
    let whole = |lines: Vec<Option<&str>>| {
        let lines = lines.into_iter().flatten().map(|line| format!("{line}\n"));
        lines.collect::<String>()
    };
    let (old, new) = (whole(old), whole(new));
    let validator = PatchValidator::default();
    let found = validator.validate(path, &old, &new);
    assert_eq!(found, validator.validate(path, &old, &new), "asked twice");
    assert_eq!(found.file, path);
    let points: u32 = found.factors.iter().map(|factor| factor.points).sum();
    assert_eq!(points, found.score);
    let (n_old, n_new) = (old.lines().count(), new.lines().count());
    for refusal in &found.refusals {
        assert!(refusal.text.chars().count() <= 80, "{refusal}");
        assert!(refusal.line <= n_old.max(n_new) + 1, "{refusal}");
    }
    let same = validator.validate(path, &old, &old);
    assert!(!same.is_accepted(), "nothing changed");
    if let Ok(diff) = UnifiedDiff::between(path, Some(&old), Some(&new), 3) {
        assert_eq!(diff.apply(&old).as_deref(), Ok(new.as_str()));
    }
});
