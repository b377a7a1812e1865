//! The weight of a dependency tree, and what may not be in it, from the text of `cargo tree --prefix depth`.

use std::collections::{BTreeMap, BTreeSet};

/// How many crates, our own included, a host gets with the default features.
pub(crate) const DEFAULT_LIMIT: usize = 60;

/// Crates that compile or generate bindings to C.
const C_BUILDERS: [&str; 6] = [
    "autotools",
    "bindgen",
    "cc",
    "cmake",
    "cxx-build",
    "nasm-rs",
];

/// Named like bindings to a C library, but hold declarations in Rust only.
const DECLARATIONS_ONLY: [&str; 2] = ["linux-raw-sys", "windows-sys"];

const TLS: [&str; 8] = [
    "aws-lc-fips-sys",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "native-tls",
    "openssl",
    "ring",
    "rustls",
];

/// Crate name -> names of the crates that bring it.
pub(crate) type Tree = BTreeMap<String, BTreeSet<String>>;

/// Reads lines such as `2tokio v1.54.1 (*)`; the number is the depth.
///
/// Anything else is a panic: a changed format must not read as an empty tree.
pub(crate) fn parse(text: &str) -> Tree {
    let mut tree = Tree::new();
    let mut path: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (depth, rest) = line.split_at(digits);
        let name = rest.split_whitespace().next().unwrap_or_default();
        let (Ok(depth), false) = (depth.parse::<usize>(), name.is_empty()) else {
            panic!("cargo tree printed {line:?}, expected a depth and a crate");
        };
        assert!(
            depth <= path.len(),
            "{line:?} is deeper than its parent by more than one"
        );
        path.truncate(depth);
        let parents = tree.entry(name.to_owned()).or_default();
        parents.extend(path.last().map(|parent| (*parent).to_owned()));
        path.push(name);
    }
    tree
}

/// One violation when the tree has more than `limit` crates.
pub(crate) fn over_limit(tree: &Tree, limit: usize) -> Vec<String> {
    if tree.len() <= limit {
        return Vec::new();
    }
    let names: Vec<&str> = tree.keys().map(String::as_str).collect();
    vec![format!(
        "the default tree has {} crates, expected at most {limit}: {}",
        tree.len(),
        names.join(" ")
    )]
}

/// Crates that compile C, or bind to a C library.
pub(crate) fn native_code(tree: &Tree) -> Vec<String> {
    matching(tree, "compiles or binds C", |name| {
        C_BUILDERS.contains(&name) || (name.ends_with("-sys") && !DECLARATIONS_ONLY.contains(&name))
    })
}

/// TLS stacks.
pub(crate) fn tls(tree: &Tree) -> Vec<String> {
    matching(tree, "is a TLS stack", |name| {
        TLS.contains(&name) || name.starts_with("openssl-") || name.starts_with("rustls-")
    })
}

/// Async runtimes and HTTP stacks.
pub(crate) fn runtimes(tree: &Tree) -> Vec<String> {
    matching(
        tree,
        "is a runtime or an HTTP stack, which core must not know",
        |name| {
            let family = name.split('-').next().unwrap_or(name);
            ["tokio", "hyper", "smol", "mio", "reqwest"].contains(&family) || name == "async-std"
        },
    )
}

fn matching(tree: &Tree, what: &str, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
    tree.iter()
        .filter(|(name, _)| is_bad(name))
        .map(|(name, parents)| {
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            format!("`{name}` {what} (brought by {})", parents.join(", "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAVY: &str = "\
0homeostasis v0.1.0 (/somewhere)
1homeostasis-core v0.1.0 (/somewhere/homeostasis-core)
2serde v1.0.229
1reqwest-like v0.1.0
2rustls v0.23.0
3ring v0.17.0
4cc v1.2.0
2openssl-sys v0.9.0
3cc v1.2.0
1rustix v1.1.0
2linux-raw-sys v0.12.0
1homeostasis-core v0.1.0 (/somewhere/homeostasis-core) (*)
2serde v1.0.229
";

    #[test]
    fn each_crate_is_counted_once_and_knows_who_brings_it() {
        let tree = parse(HEAVY);
        assert_eq!(tree.len(), 10);
        assert_eq!(
            tree["cc"],
            BTreeSet::from(["openssl-sys".to_owned(), "ring".to_owned()])
        );
        assert_eq!(tree["homeostasis"], BTreeSet::new());
        assert_eq!(
            tree["serde"],
            BTreeSet::from(["homeostasis-core".to_owned()])
        );
    }

    #[test]
    fn limit_is_inclusive() {
        let tree = parse(HEAVY);
        assert_eq!(over_limit(&tree, 10), Vec::<String>::new());
        let found = over_limit(&tree, 9);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("the default tree has 10 crates, expected at most 9"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn native_code_is_named_with_its_bringer() {
        let found = native_code(&parse(HEAVY));
        assert_eq!(
            found,
            [
                "`cc` compiles or binds C (brought by openssl-sys, ring)",
                "`openssl-sys` compiles or binds C (brought by reqwest-like)",
            ]
        );
    }

    #[test]
    fn tls_stacks_are_named() {
        let found = tls(&parse(HEAVY));
        assert_eq!(found.len(), 3, "{found:?}");
        for (line, name) in found.iter().zip(["`openssl-sys`", "`ring`", "`rustls`"]) {
            assert!(line.starts_with(name), "{line}");
        }
    }

    #[test]
    fn runtimes_below_core_are_named() {
        let found = runtimes(&parse(
            "0homeostasis-core v0.1.0\n1tokio-util v0.7.0\n2tokio v1.54.1\n1hyper v1.12.0\n",
        ));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            runtimes(&parse("0homeostasis-core v0.1.0\n1serde v1.0.0\n")),
            Vec::<String>::new()
        );
    }

    #[test]
    #[should_panic(expected = "expected a depth and a crate")]
    fn another_format_is_not_read_as_an_empty_tree() {
        parse("homeostasis v0.1.0\n");
    }
}
