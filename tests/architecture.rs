//! The shape of the workspace, checked from what cargo itself says about it: which crate may depend on which, how heavy
//! the default tree is and what may not be in it, what every manifest inherits, and that no dependency is unexplained.
//!
//! Each check is a pure function over parsed data with a violating fixture beside it (`tests/architecture/`), so that a
//! check that stopped checking fails too; this file runs them over the real workspace.

#[path = "architecture/arrows.rs"]
mod arrows;
#[path = "architecture/ledger.rs"]
mod ledger;
#[path = "architecture/manifest.rs"]
mod manifest;
#[path = "architecture/promises.rs"]
mod promises;
#[path = "architecture/tree.rs"]
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What `cargo metadata` says, as far as we ask.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// One package of the workspace or of its tree.
#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    /// `None`: may go to any registry; an empty list: `publish = false`.
    #[serde(default)]
    publish: Option<Vec<String>>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    rust_version: Option<String>,
}

impl Package {
    fn is_published(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `None` is a normal dependency; otherwise `dev` or `build`.
    kind: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    path: Option<PathBuf>,
    /// The version requirement; `*` when the manifest gives none.
    req: String,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the rule keeps programs inside the runner; a test asks cargo about its own workspace"
)]
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = std::process::Command::new(&program)
        .args(arguments)
        .current_dir(root())
        // Colors would end up in the names.
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
    assert!(
        output.status.success(),
        "cargo {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The members as their manifests declare them; needs neither network nor cache.
fn members() -> Vec<Package> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Metadata =
        serde_json::from_str(&text).expect("cargo metadata prints its format 1");
    assert!(metadata.packages.len() > 1, "the workspace has members");
    metadata.packages
}

/// Every package of the lock file that this platform builds.
fn all_packages() -> Vec<Package> {
    let version = cargo(&["--version", "--verbose"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("cargo --version --verbose names the host");
    let text = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]);
    let metadata: Metadata =
        serde_json::from_str(&text).expect("cargo metadata prints its format 1");
    metadata.packages
}

/// The tree of one member, each crate with the crates that bring it.
fn tree_of(member: &str, edges: &str, more: &[&str]) -> tree::Tree {
    let mut arguments = vec![
        "tree",
        "-p",
        member,
        "-e",
        edges,
        "--prefix",
        "depth",
        "--charset",
        "ascii",
    ];
    arguments.extend_from_slice(more);
    let parsed = tree::parse(&cargo(&arguments));
    assert!(
        parsed.contains_key(member),
        "the tree of {member} holds {member}"
    );
    parsed
}

#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
}

#[test]
fn every_arrow_between_members_is_in_the_picture() {
    assert_none(&arrows::violations(&members()));
}

#[test]
fn default_tree_stays_within_its_limit() {
    let normal = tree_of("homeostasis", "normal", &[]);
    assert!(
        normal.contains_key("homeostasis-core"),
        "the default tree holds our own crates"
    );
    assert_none(&tree::over_limit(&normal, tree::DEFAULT_LIMIT));
}

#[test]
fn default_tree_compiles_no_c_and_speaks_no_tls() {
    let built = tree_of("homeostasis", "normal,build", &[]);
    assert_none(&tree::native_code(&built));
    assert_none(&tree::tls(&built));
}

#[test]
fn core_knows_neither_runtime_nor_http() {
    let core = tree_of("homeostasis-core", "normal", &["--all-features"]);
    assert_none(&tree::runtimes(&core));
}

#[test]
fn every_manifest_inherits_what_the_workspace_promises() {
    let violations: Vec<String> = members()
        .iter()
        .flat_map(|member| {
            manifest::violations(
                &member.name,
                member.is_published(),
                &read(&member.manifest_path),
            )
        })
        .collect();
    assert_none(&violations);
}

#[test]
fn every_published_member_carries_its_licenses_and_changelog() {
    for member in members().iter().filter(|member| member.is_published()) {
        let folder = member
            .manifest_path
            .parent()
            .expect("a manifest is in a folder");
        for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert_eq!(
                read(&folder.join(name)),
                read(&root().join(name)),
                "{} of {}",
                name,
                member.name
            );
        }
        let changelog = read(&folder.join("CHANGELOG.md"));
        assert!(
            changelog.contains("## [Unreleased]"),
            "CHANGELOG.md of {} has no Unreleased section",
            member.name
        );
        assert!(
            changelog.contains(&member.name),
            "CHANGELOG.md of {} does not name its crate",
            member.name
        );
    }
}

#[test]
fn every_dependency_is_explained_and_no_explanation_is_stale() {
    let ledger = ledger::named(&read(&root().join("docs/dependencies.md")));
    assert_none(&ledger::unexplained(&members(), &ledger));
    let declared = manifest::workspace_dependencies(&read(&root().join("Cargo.toml")));
    assert_none(&ledger::stale(&declared, &ledger));
}

#[test]
fn shipped_tree_is_permissive_and_builds_with_the_promised_compiler() {
    let shipped = tree_of("homeostasis", "normal,build", &["--features", "full"]);
    let packages: Vec<Package> = all_packages()
        .into_iter()
        .filter(|package| shipped.contains_key(&package.name))
        .collect();
    assert!(
        packages.len() >= shipped.len(),
        "metadata knows every crate of the tree"
    );
    let promised = members()
        .into_iter()
        .find(|member| member.name == "homeostasis")
        .and_then(|facade| facade.rust_version)
        .expect("the facade states its rust-version");
    assert_none(&promises::newer_compiler(&packages, &promised));
    assert_none(&promises::unwelcome_licenses(&packages));
}
