//! Every file that the page on architecture names exists.

use std::path::Path;

#[test]
fn every_file_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = include_str!("../docs/architecture.md");
    let paths: Vec<_> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains('/') && !code.contains(['*', ' ', ':']))
        .collect();
    assert!(paths.len() > 30, "the page names files in backticks");
    let bases = [
        "",
        "src/engine",
        "homeostasis-core/src",
        "homeostasis-rca",
        "src",
    ];
    let missing: Vec<_> = paths
        .into_iter()
        .filter(|path| !bases.iter().any(|base| root.join(base).join(path).exists()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md names files that do not exist: {missing:?}"
    );
}
