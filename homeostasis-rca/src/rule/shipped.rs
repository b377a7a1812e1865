//! The rules that come with the crate.

use std::sync::OnceLock;

use homeostasis_core::ConfigError;

use super::document::Trust;
use super::set::RuleSet;

/// Every file of `rules/`, by name; a test holds the list against the folder.
#[rustfmt::skip]
pub(super) const FILES: &[(&str, &str)] = &[
    ("application.yaml", include_str!("../../rules/application.yaml")),
    ("dns.yaml", include_str!("../../rules/dns.yaml")),
    ("docker.yaml", include_str!("../../rules/docker.yaml")),
    ("go.yaml", include_str!("../../rules/go.yaml")),
    ("grpc.yaml", include_str!("../../rules/grpc.yaml")),
    ("haproxy.yaml", include_str!("../../rules/haproxy.yaml")),
    ("http.yaml", include_str!("../../rules/http.yaml")),
    ("java.yaml", include_str!("../../rules/java.yaml")),
    ("javascript.yaml", include_str!("../../rules/javascript.yaml")),
    ("kafka.yaml", include_str!("../../rules/kafka.yaml")),
    ("kubernetes.yaml", include_str!("../../rules/kubernetes.yaml")),
    ("linux.yaml", include_str!("../../rules/linux.yaml")),
    ("mongodb.yaml", include_str!("../../rules/mongodb.yaml")),
    ("mysql.yaml", include_str!("../../rules/mysql.yaml")),
    ("network.yaml", include_str!("../../rules/network.yaml")),
    ("nginx.yaml", include_str!("../../rules/nginx.yaml")),
    ("postgresql.yaml", include_str!("../../rules/postgresql.yaml")),
    ("python.yaml", include_str!("../../rules/python.yaml")),
    ("python_library.yaml", include_str!("../../rules/python_library.yaml")),
    ("rabbitmq.yaml", include_str!("../../rules/rabbitmq.yaml")),
    ("redis.yaml", include_str!("../../rules/redis.yaml")),
    ("resources.yaml", include_str!("../../rules/resources.yaml")),
    ("rust.yaml", include_str!("../../rules/rust.yaml")),
    ("rust_crates.yaml", include_str!("../../rules/rust_crates.yaml")),
    ("rust_library.yaml", include_str!("../../rules/rust_library.yaml")),
    ("sqlite.yaml", include_str!("../../rules/sqlite.yaml")),
    ("systemd.yaml", include_str!("../../rules/systemd.yaml")),
    ("tls.yaml", include_str!("../../rules/tls.yaml")),
];

/// Read once, when it is first asked for.
pub(super) fn shipped() -> Result<RuleSet, ConfigError> {
    static SHIPPED: OnceLock<Result<RuleSet, ConfigError>> = OnceLock::new();
    SHIPPED
        .get_or_init(|| RuleSet::read(FILES.iter().copied(), Trust::Tested))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
    }

    #[test]
    fn every_file_of_the_folder_is_shipped_and_nothing_else() {
        let entries = std::fs::read_dir(folder()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut there: Vec<String> = names.filter(|name| name != "README.md").collect();
        there.sort();
        let listed: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            listed,
            there,
            "FILES in {} is not the folder, sorted",
            file!()
        );
    }

    #[test]
    fn shipped_rules_load_with_their_examples_tried() {
        let tested = RuleSet::load(FILES.iter().copied()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            tested.rules().len(),
            RuleSet::shipped().unwrap().rules().len()
        );
    }

    #[test]
    fn shipped_rules_are_told_apart_by_examples_and_named_by_their_file() {
        let mut wrong = Vec::new();
        for (file, text) in FILES {
            let set = RuleSet::read([(*file, *text)], Trust::Tested).unwrap();
            let system = file.trim_end_matches(".yaml");
            for rule in set.rules() {
                let id = &rule.id;
                // The oldest three files hold what no single system owns.
                let is_general = ["application", "network", "resources"].contains(&system);
                if !is_general && !id.starts_with(&format!("{system}.")) {
                    wrong.push(format!("{file}: {id} does not begin with `{system}.`"));
                }
                if rule.counter_examples.is_empty() {
                    wrong.push(format!("{file}: {id} has no counter-example"));
                }
                if rule.fallback && rule.confidence.get() > 0.75 {
                    wrong.push(format!("{file}: {id} is a fallback and surer than 0.75"));
                }
                if rule.examples.len() < 2 {
                    wrong.push(format!("{file}: {id} has fewer than two examples"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
