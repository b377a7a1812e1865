//! The picture of the design, as data: core below, peers beside each other, the facade above them, plug-ins on core.

use std::collections::BTreeSet;

use super::{Dependency, Package};

/// Peers depend on core and never on each other.
const PEERS: [&str; 9] = [
    "homeostasis-dashboard",
    "homeostasis-detect",
    "homeostasis-learn",
    "homeostasis-patch",
    "homeostasis-rca",
    "homeostasis-remediate",
    "homeostasis-signals",
    "homeostasis-store",
    "homeostasis-verify",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Core,
    Peer,
    Facade,
    /// Uses the facade as a stranger would, and is not published.
    Outside,
}

fn layer(name: &str) -> Option<Layer> {
    match name {
        "homeostasis-core" => Some(Layer::Core),
        "homeostasis" => Some(Layer::Facade),
        "homeostasis-quality" => Some(Layer::Outside),
        peer if PEERS.contains(&peer) => Some(Layer::Peer),
        _ => None,
    }
}

/// Every arrow between members that the picture does not have, and every member that it does not know.
pub(crate) fn violations(members: &[Package]) -> Vec<String> {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut found = Vec::new();
    for member in members {
        let Some(from) = layer(&member.name) else {
            found.push(format!(
                "`{}` is not in the picture: give it a layer here and an ADR",
                member.name
            ));
            continue;
        };
        if from == Layer::Outside && member.is_published() {
            found.push(format!(
                "`{}` is outside the picture and so must say `publish = false`",
                member.name
            ));
        }
        for dependency in &member.dependencies {
            if !names.contains(dependency.name.as_str()) {
                continue;
            }
            if let Some(reason) = refusal(from, dependency) {
                let kind = dependency.kind.as_deref().unwrap_or("normal");
                found.push(format!(
                    "`{}` -> `{}` ({kind}): {reason}",
                    member.name, dependency.name
                ));
            }
        }
    }
    found
}

fn refusal(from: Layer, dependency: &Dependency) -> Option<&'static str> {
    let to = layer(&dependency.name)?;
    match (from, to) {
        (Layer::Outside, _) | (Layer::Peer | Layer::Facade, Layer::Core) => None,
        (_, Layer::Outside) => Some("nothing depends on an unpublished member"),
        (_, Layer::Facade) if !dependency.is_dev() => {
            Some("the facade is on top: only its own users depend on it")
        }
        (_, Layer::Facade) if dependency.path.is_none() || dependency.req != "*" => Some(
            "a development dependency on the facade is by path without a version, so that publishing strips it",
        ),
        (_, Layer::Facade) => None,
        (Layer::Core, _) => Some("core depends on no sibling"),
        (Layer::Peer, Layer::Peer) => {
            Some("peers share ports of core and have no arrow between them")
        }
        (Layer::Facade, Layer::Peer) if dependency.is_dev() || dependency.optional => None,
        (Layer::Facade, Layer::Peer) => {
            Some("every arrow of the facade but the one to core is an optional feature")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn member(name: &str, dependencies: &[Dependency]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::from(name).join("Cargo.toml"),
            dependencies: dependencies.to_vec(),
            publish: if name == "homeostasis-quality" {
                Some(Vec::new())
            } else {
                None
            },
            license: None,
            rust_version: None,
        }
    }

    fn normal(name: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            kind: None,
            optional: false,
            path: Some(PathBuf::from(name)),
            req: "^0.1.0".to_owned(),
        }
    }

    fn dev(name: &str, req: &str) -> Dependency {
        Dependency {
            kind: Some("dev".to_owned()),
            req: req.to_owned(),
            ..normal(name)
        }
    }

    fn workspace(member_under_test: Package) -> Vec<Package> {
        let mut members: Vec<Package> = [
            "homeostasis",
            "homeostasis-core",
            "homeostasis-detect",
            "homeostasis-store",
            "homeostasis-quality",
        ]
        .iter()
        .filter(|name| **name != member_under_test.name)
        .map(|name| member(name, &[]))
        .collect();
        members.push(member_under_test);
        members
    }

    #[track_caller]
    fn check(from: &str, dependency: Dependency, expected: Option<&str>) {
        let found = violations(&workspace(member(from, &[dependency])));
        match expected {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(part) => {
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(
                    found[0].contains(part),
                    "{} does not hold {part:?}",
                    found[0]
                );
            }
        }
    }

    #[test]
    fn arrows_of_the_picture_pass() {
        check("homeostasis-detect", normal("homeostasis-core"), None);
        check("homeostasis", normal("homeostasis-core"), None);
        check(
            "homeostasis",
            Dependency {
                optional: true,
                ..normal("homeostasis-store")
            },
            None,
        );
        check("homeostasis-core", dev("homeostasis", "*"), None);
        check(
            "homeostasis-detect",
            dev("homeostasis-core", "^0.1.0"),
            None,
        );
        check("homeostasis-quality", normal("homeostasis"), None);
    }

    #[test]
    fn arrows_that_are_not_in_the_picture_are_named() {
        check(
            "homeostasis-core",
            normal("homeostasis-detect"),
            Some("core depends on no sibling"),
        );
        check(
            "homeostasis-core",
            dev("homeostasis-store", "^0.1.0"),
            Some("core depends on no sibling"),
        );
        check(
            "homeostasis-detect",
            normal("homeostasis-store"),
            Some("`homeostasis-detect` -> `homeostasis-store` (normal)"),
        );
        check(
            "homeostasis-detect",
            dev("homeostasis-store", "*"),
            Some("peers share ports"),
        );
        check(
            "homeostasis-detect",
            normal("homeostasis"),
            Some("the facade is on top"),
        );
        check(
            "homeostasis-detect",
            dev("homeostasis", "^0.1.0"),
            Some("by path without a version"),
        );
        check(
            "homeostasis",
            normal("homeostasis-detect"),
            Some("optional feature"),
        );
        check(
            "homeostasis",
            normal("homeostasis-quality"),
            Some("unpublished"),
        );
    }

    #[test]
    fn unknown_member_and_published_outsider_are_named() {
        let found = violations(&workspace(member("homeostasis-extra", &[])));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`homeostasis-extra` is not in the picture"));

        let published = Package {
            publish: None,
            ..member("homeostasis-quality", &[])
        };
        let found = violations(&workspace(published));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("publish = false"));
    }
}
