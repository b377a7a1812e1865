//! What every member's `Cargo.toml` takes from the workspace.

use std::collections::BTreeSet;

use toml_edit::{DocumentMut, Item};

/// Keys of `[package]` that every member inherits.
const INHERITED: [&str; 3] = ["edition", "license", "rust-version"];

fn parse(manifest: &str) -> DocumentMut {
    manifest
        .parse()
        .unwrap_or_else(|error| panic!("not a manifest: {error}"))
}

/// `key.workspace = true`, or `key = { workspace = true }`.
fn is_inherited(item: Option<&Item>) -> bool {
    item.and_then(|item| item.get("workspace"))
        .and_then(Item::as_bool)
        == Some(true)
}

/// What the manifest of the member `name` should inherit and does not.
pub(crate) fn violations(name: &str, published: bool, manifest: &str) -> Vec<String> {
    let manifest = parse(manifest);
    let package = manifest.get("package");
    let mut found = Vec::new();
    for key in INHERITED {
        if !is_inherited(package.and_then(|package| package.get(key))) {
            found.push(format!(
                "`{name}` does not inherit package.{key}, expected `{key}.workspace = true`"
            ));
        }
    }
    if published && !is_inherited(package.and_then(|package| package.get("include"))) {
        found.push(format!(
            "`{name}` would ship its whole folder, expected `include.workspace = true`"
        ));
    }
    if !is_inherited(manifest.get("lints").map(|lints| lints as &Item)) {
        found.push(format!(
            "`{name}` has its own lints, expected `[lints] workspace = true`"
        ));
    }
    found
}

/// The third-party crates of `[workspace.dependencies]`.
pub(crate) fn workspace_dependencies(root_manifest: &str) -> BTreeSet<String> {
    let manifest = parse(root_manifest);
    let table = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(Item::as_table_like)
        .expect("the root manifest has [workspace.dependencies]");
    table
        .iter()
        .filter(|(_, dependency)| dependency.get("path").is_none())
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[package]
name = "x"
edition.workspace = true
license = { workspace = true }
rust-version.workspace = true
include.workspace = true

[lints]
workspace = true
"#;

    #[test]
    fn inheriting_manifest_passes_in_both_spellings() {
        assert_eq!(violations("x", true, GOOD), Vec::<String>::new());
    }

    #[test]
    fn each_missing_inheritance_is_named() {
        for (from, to, part) in [
            (
                "include.workspace = true",
                "include = [\"src\"]",
                "would ship its whole folder",
            ),
            (
                "include.workspace = true",
                "",
                "would ship its whole folder",
            ),
            (
                "edition.workspace = true",
                "edition = \"2024\"",
                "package.edition",
            ),
            (
                "license = { workspace = true }",
                "license = \"MIT\"",
                "package.license",
            ),
            (
                "[lints]\nworkspace = true",
                "[lints.rust]\nunsafe_code = \"allow\"",
                "has its own lints",
            ),
            ("[lints]\nworkspace = true", "", "has its own lints"),
        ] {
            let found = violations("x", true, &GOOD.replace(from, to));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains(part),
                "{} does not hold {part:?}",
                found[0]
            );
        }
    }

    #[test]
    fn unpublished_member_needs_no_include_list() {
        let manifest = GOOD.replace("include.workspace = true", "publish = false");
        assert_eq!(violations("x", false, &manifest), Vec::<String>::new());
    }

    #[test]
    fn members_are_not_third_party() {
        let found = workspace_dependencies(
            "[workspace.dependencies]\nours = { path = \"ours\", version = \"0.1\" }\nserde = \"1\"\n",
        );
        assert_eq!(found, BTreeSet::from(["serde".to_owned()]));
    }
}
