//! The README shows the code that runs.

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
