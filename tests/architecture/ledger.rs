//! `docs/dependencies.md` against the manifests: nothing is used unexplained, and nothing is explained that is not used.

use std::collections::BTreeSet;

use super::Package;

/// The crates that the tables of the document name in their first column, in backticks.
pub(crate) fn named(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Normal and build dependencies of members that the document does not name.
pub(crate) fn unexplained(members: &[Package], ledger: &BTreeSet<String>) -> Vec<String> {
    let ours: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut found = Vec::new();
    for member in members {
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| !dependency.is_dev())
        {
            let name = dependency.name.as_str();
            if !ours.contains(name) && !ledger.contains(name) {
                found.push(format!(
                    "`{}` depends on `{name}`, which docs/dependencies.md does not explain",
                    member.name
                ));
            }
        }
    }
    found
}

/// Differences between `[workspace.dependencies]` and the document, in both directions.
pub(crate) fn stale(declared: &BTreeSet<String>, ledger: &BTreeSet<String>) -> Vec<String> {
    let gone = ledger.difference(declared).map(|name| {
        format!(
            "docs/dependencies.md explains `{name}`, which [workspace.dependencies] does not have"
        )
    });
    let new = declared.difference(ledger).map(|name| {
        format!(
            "[workspace.dependencies] has `{name}`, which docs/dependencies.md does not explain"
        )
    });
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dependency;
    use std::path::PathBuf;

    const DOCUMENT: &str = "\
# Dependencies

| crate | why |
|---|---|
| `serde` | data; replaces `nothing` |

Text about `tokio` explains nothing.
";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn member(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::from("Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                    optional: false,
                    path: None,
                    req: "^1".to_owned(),
                })
                .collect(),
            publish: None,
            license: None,
            rust_version: None,
        }
    }

    #[test]
    fn only_the_first_column_of_a_table_explains() {
        assert_eq!(named(DOCUMENT), set(&["serde"]));
    }

    #[test]
    fn unexplained_normal_and_build_dependencies_are_named() {
        let members = [
            member(
                "a",
                &[
                    ("serde", None),
                    ("tokio", None),
                    ("cc", Some("build")),
                    ("proptest", Some("dev")),
                ],
            ),
            member("b", &[("a", None)]),
        ];
        let found = unexplained(&members, &named(DOCUMENT));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`a` depends on `tokio`"));
        assert!(found[1].contains("`a` depends on `cc`"));
    }

    #[test]
    fn differences_are_named_in_both_directions() {
        let found = stale(&set(&["regex", "serde"]), &set(&["serde", "tokio"]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("explains `tokio`"));
        assert!(found[1].contains("has `regex`"));
    }
}
