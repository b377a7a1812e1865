//! What we promise of every crate that a host gets from us: a permissive license, and the oldest compiler it builds with.

use super::Package;

/// Licenses that let a host embed us in a closed product. The same list is in `deny.toml`.
const WELCOME: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages whose license expression leaves no welcome choice, or that state none.
pub(crate) fn unwelcome_licenses(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(is_welcome))
        .map(|package| {
            let license = package.license.as_deref().unwrap_or("none");
            format!(
                "`{}` is licensed {license:?}, expected one of {WELCOME:?}",
                package.name
            )
        })
        .collect()
}

/// Every part joined by `AND` must offer a welcome alternative; the old spelling `A/B` is `A OR B`.
///
/// Understands alternatives in parentheses joined by `AND`, the form crates use; a deeper expression is refused.
fn is_welcome(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim();
        let part = part
            .strip_prefix('(')
            .and_then(|inner| inner.strip_suffix(')'))
            .unwrap_or(part);
        part.replace('/', " OR ")
            .split(" OR ")
            .any(|choice| WELCOME.contains(&choice.trim()))
    })
}

/// Packages that ask for a newer compiler than `promised`; one that states none is taken at its word.
pub(crate) fn newer_compiler(packages: &[Package], promised: &str) -> Vec<String> {
    let limit = numbers(promised);
    packages
        .iter()
        .filter_map(|package| {
            let asked = package.rust_version.as_deref()?;
            (numbers(asked) > limit).then(|| {
                format!(
                    "`{}` asks for Rust {asked}, we promise {promised}",
                    package.name
                )
            })
        })
        .collect()
}

fn numbers(version: &str) -> (u64, u64, u64) {
    let mut parts = version.split('.').map(|part| {
        part.parse()
            .unwrap_or_else(|_| panic!("{version:?} is not a version of Rust"))
    });
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn package(license: Option<&str>, rust_version: Option<&str>) -> Package {
        Package {
            name: "x".to_owned(),
            manifest_path: PathBuf::from("Cargo.toml"),
            dependencies: Vec::new(),
            publish: None,
            license: license.map(str::to_owned),
            rust_version: rust_version.map(str::to_owned),
        }
    }

    #[test]
    fn licenses_are_read_by_their_alternatives() {
        for welcome in [
            "MIT",
            "MIT/Apache-2.0",
            "Unlicense OR MIT",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert_eq!(
                unwelcome_licenses(&[package(Some(welcome), None)]),
                Vec::<String>::new()
            );
        }
        for refused in [
            Some("GPL-3.0-only"),
            Some("MIT AND MPL-2.0"),
            Some("(MIT OR ISC) AND AGPL-3.0"),
            Some(""),
            None,
        ] {
            let found = unwelcome_licenses(&[package(refused, None)]);
            assert_eq!(found.len(), 1, "{refused:?} was accepted");
        }
    }

    #[test]
    fn newer_compiler_is_named_and_equal_is_fine() {
        for fine in [
            None,
            Some("1.90"),
            Some("1.90.0"),
            Some("1.9"),
            Some("1.71"),
        ] {
            assert_eq!(
                newer_compiler(&[package(None, fine)], "1.90"),
                Vec::<String>::new()
            );
        }
        for newer in ["1.90.1", "1.95", "2.0"] {
            let found = newer_compiler(&[package(None, Some(newer))], "1.90");
            assert_eq!(
                found,
                [format!("`x` asks for Rust {newer}, we promise 1.90")]
            );
        }
    }
}
