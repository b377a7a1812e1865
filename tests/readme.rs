//! The README and the how-to of detectors show the code that runs.

#[test]
fn the_code_in_the_readme_is_the_example() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/embed.rs");
    let code = &example[example.find("use std::sync::Arc;").unwrap()..];
    assert!(
        readme.contains(code.trim_end()),
        "README.md and examples/embed.rs differ"
    );
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = include_str!("../README.md");
    for command in [
        "cargo run --release --example storefront\n",
        "cargo test --workspace --all-features\n",
    ] {
        assert!(readme.contains(command), "{command}");
    }
}

/// The plug-in of an example, without its module around it.
fn plug_in(example: &str) -> String {
    let (_, rest) = example.split_once("\nmod my_plugin {\n").unwrap();
    let (code, _) = rest.split_once("\n}\n").unwrap();
    let lines = code
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_code_in_the_how_to_of_detectors_is_the_examples() {
    let page = include_str!("../docs/how-to/add-a-detector.md");
    for (name, example) in [
        (
            "custom_kernel",
            include_str!("../examples/custom_kernel.rs"),
        ),
        (
            "custom_detector",
            include_str!("../examples/custom_detector.rs"),
        ),
    ] {
        assert!(
            page.contains(&plug_in(example)),
            "docs/how-to/add-a-detector.md and examples/{name}.rs differ"
        );
    }
}
