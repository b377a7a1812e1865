//! The same error, seen again: one short text for all its occurrences.

use std::collections::HashSet;
use std::sync::LazyLock;

use homeostasis_core::Digest;
use homeostasis_core::signal::{ErrorEvent, Frame};
use regex::Regex;

use super::line_shape::regex;
use super::template::template;

/// How many different frames count.
const MAX_FRAMES: usize = 16;
/// How many of the innermost count where none is of the project.
const FOREIGN_FRAMES: usize = 3;

/// What compilers number: closures, lambdas, anonymous classes, hashes of symbols.
static NUMBERING: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"::h[0-9a-f]{16}\b|/?0x[0-9a-f]+|[$#]\d+|\.(?:func|gowrap)\d+(?:\.\d+)*|\[[0-9a-f]{8,16}\]",
    )
});

/// The hash that bundlers put into the names of files.
static BUNDLE_HASH: LazyLock<Regex> = LazyLock::new(|| regex(r"[.-][0-9a-f]{6,32}\b"));

/// 16 hexadecimal digits that all occurrences of an error share.
///
/// They are the beginning of the SHA-256 of language, kind and message of the error and of its
/// [root](ErrorEvent::root), and of the different functions and file names of its frames in the
/// project (the first 16, or the 3 innermost of all if there are none).
/// Not counted: line numbers, directories, repetitions by recursion, what compilers number
/// (closures, lambdas, symbol hashes), and of the message all but the first line and everything in
/// it that varies (numbers, ids, addresses, times, paths).
/// The same in all runs and on all platforms; cost is linear in the size of the error.
///
/// ```
/// use homeostasis::core::signal::ErrorEvent;
/// use homeostasis::signals::error_fingerprint;
/// let error = |message| error_fingerprint(&ErrorEvent::new("python", "KeyError", message));
/// assert_eq!(error("order 7"), error("order 8"));
/// assert_ne!(error("order 7"), error("customer 7"));
/// ```
pub fn error_fingerprint(error: &ErrorEvent) -> String {
    let mut text = String::from("1");
    describe(error, &mut text);
    let root = error.root();
    if !std::ptr::eq(root, error) {
        describe(root, &mut text);
    }
    let mut digits = Digest::of_bytes(text.as_bytes()).to_string();
    digits.truncate(16);
    digits
}

/// Fields end with a character that none of them holds.
fn describe(error: &ErrorEvent, text: &mut String) {
    let mut field = |value: &str| {
        text.push('\0');
        text.push_str(value);
    };
    field(&error.language);
    field(&error.kind);
    field(&template(&error.message));
    let mut own = error
        .frames
        .iter()
        .filter(|frame| frame.in_project)
        .peekable();
    let mut seen = HashSet::new();
    let mut count = |frame: &Frame| {
        let file = frame.file.rsplit(['/', '\\']).next().unwrap_or_default();
        let frame = format!(
            "{}\u{1}{}",
            NUMBERING.replace_all(&frame.function, ""),
            BUNDLE_HASH.replace_all(file, "")
        );
        if seen.len() < MAX_FRAMES && !seen.contains(&frame) {
            field(&frame);
            seen.insert(frame);
        }
    };
    if own.peek().is_some() {
        own.for_each(&mut count);
    } else {
        error.frames.iter().take(FOREIGN_FRAMES).for_each(count);
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::CauseRelation;
    use proptest::prelude::*;

    use super::*;

    fn error(kind: &str, message: String, function: &str, file: &str, line: u32) -> ErrorEvent {
        let mut error = ErrorEvent::new("rust", kind, message);
        error.frames.push(Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
            column: line,
            in_project: true,
        });
        error
    }

    /// Stored fingerprints must still be found after an upgrade. The values are Python's `hashlib`'s.
    #[test]
    fn fingerprints_stay_what_they_are() {
        let root = error(
            "error",
            "connection to 10.0.0.7:5432 refused".into(),
            "db::open",
            "src/db.rs",
            3,
        );
        let event = error(
            "panic",
            "order 7 lost".into(),
            "shop::book",
            "src/shop.rs",
            9,
        )
        .because(CauseRelation::CausedBy, root);
        assert_eq!(error_fingerprint(&event), "b16399dfdd63e85c");
        assert_eq!(
            error_fingerprint(&ErrorEvent::default()),
            "60864aae26451939"
        );
    }

    #[test]
    fn recursion_and_numbering_do_not_count() {
        let mut deep = error("panic", "no".into(), "shop::f", "src/a.rs", 1);
        let once = error_fingerprint(&deep);
        for line in 2..90 {
            let frame = Frame {
                line,
                ..deep.frames[0].clone()
            };
            deep.frames.push(frame);
        }
        assert_eq!(error_fingerprint(&deep), once);
        let of = |function: &str, file: &str| {
            error_fingerprint(&error("E", "no".into(), function, file, 1))
        };
        assert_eq!(of("A.lambda$f$0", "A.java"), of("A.lambda$f$12", "A.java"));
        assert_eq!(
            of("A$$Lambda$14/0x0012.run", ""),
            of("A$$Lambda$9/0x00ab.run", "")
        );
        assert_eq!(of("main.f.func1", "a.go"), of("main.f.func2.1", "a.go"));
        assert_eq!(of("a::f::{{closure}}#0", ""), of("a::f::{{closure}}#3", ""));
        assert_eq!(
            of("f", "dist/main.3f2a1b9c.js"),
            of("f", "/srv/dist/main.77aa00ff.js")
        );
        assert_ne!(of("f", "a.js"), of("g", "a.js"));
        assert_ne!(of("f", "a.js"), of("f", "b.js"));
    }

    proptest! {
        #[test]
        fn lines_addresses_and_ids_do_not_count_but_kind_and_function_do(
            line in 1_u32..9999,
            address in any::<u64>(),
            id in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
            n in any::<i64>(),
            folder in "[a-z]{1,9}",
            kind in "[A-Z][a-z]{1,8}Error",
            function in "[a-z]{1,8}::[a-z]{1,8}",
        ) {
            let at = |address: u64, id: &str, n: i64, folder: &str| format!("object {address:#x} of '{id}' has {n} in /tmp/{folder}/x");
            let one = error("KeyError", at(1, "1-2", 3, "x"), "shop::book", "src/shop.rs", 1);
            let two = error("KeyError", at(address, &id, n, &folder), "shop::book", "/srv/src/shop.rs", line);
            prop_assert_eq!(error_fingerprint(&one), error_fingerprint(&two));
            let kinds = error(&kind, one.message.clone(), "shop::book", "src/shop.rs", 1);
            prop_assert_eq!(kind == "KeyError", error_fingerprint(&kinds) == error_fingerprint(&one));
            let functions = error("KeyError", one.message.clone(), &function, "src/shop.rs", 1);
            prop_assert_eq!(function == "shop::book", error_fingerprint(&functions) == error_fingerprint(&one));
        }
    }
}
