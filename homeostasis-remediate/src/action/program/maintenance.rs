//! `flush_dns_cache` and `clean_package_cache`: caches of the system that fill up again.

use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value};

use super::tool::{Argv, Tool, ToolAction, Verb, argv};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem};

/// Always the same arguments, and no state to ask for.
#[derive(Debug)]
struct Always(Argv);

impl Verb for Always {
    fn problems(&self, _: &Map<String, Value>) -> Vec<ArgumentProblem> {
        Vec::new()
    }

    fn doing(&self, _: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        Ok(vec![self.0.clone()])
    }
}

fn spec(description: &str) -> ActionSpec {
    ActionSpec::new(description)
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Low)
        .with_inverse(Inverse::Nothing)
}

/// `flush_dns_cache`: `resolvectl flush-caches`, the cache of names of systemd-resolved.
///
/// No parameters. Idempotent, low risk; the cache fills again, there is nothing to take back.
pub fn flush_dns_cache(resolvectl: &Tool) -> ToolAction {
    let verb = Always(argv(["flush-caches"]));
    ToolAction::new(
        "flush_dns_cache",
        spec("forget cached names"),
        resolvectl,
        verb,
    )
}

/// Whose cache of packages it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackageCache {
    /// Of `apt-get`: Debian, Ubuntu.
    Apt,
    /// Of `dnf`: Fedora, RHEL.
    Dnf,
}

impl PackageCache {
    /// The first of `apt-get` and `dnf` that this machine has.
    pub fn find() -> Option<(Self, Tool)> {
        let known = [(Self::Apt, "apt-get"), (Self::Dnf, "dnf")];
        let mut known = known
            .map(|(cache, name)| (cache, Tool::find(name)))
            .into_iter();
        known.find(|(_, tool)| tool.is_there())
    }

    /// `clean_package_cache`: `apt-get clean` or `dnf clean all` through `tool`.
    ///
    /// No parameters. Idempotent, low risk; packages can be fetched again. It fails, and may be
    /// tried again, while a package is being installed.
    pub fn clean(self, tool: &Tool) -> ToolAction {
        let verb = Always(match self {
            Self::Apt => argv(["clean"]),
            Self::Dnf => argv(["clean", "all"]),
        });
        let spec = spec("delete packages that were installed already");
        ToolAction::new("clean_package_cache", spec, tool, verb)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::testing::engine;
    use serde_json::json;

    use super::super::testing::{Fake, perform, refusal};
    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn the_arguments_are_exactly_these() {
        let fake = Fake::new("exit 0", &[]);
        for (action, expected) in [
            (flush_dns_cache(&fake.tool()), "flush-caches"),
            (PackageCache::Apt.clean(&fake.tool()), "clean"),
            (PackageCache::Dnf.clean(&fake.tool()), "clean all"),
        ] {
            laws::repeat_and_undo(&action, &json!({}), || ()).await;
            let calls: Vec<_> = fake.calls().iter().map(|args| args.join(" ")).collect();
            assert_eq!(calls, [expected; 2]);
        }
        let failing = Fake::new("echo 'Could not get lock' >&2; exit 100", &[]);
        let said = refusal(perform(&PackageCache::Apt.clean(&failing.tool()), &json!({})).await);
        assert!(said.contains("Could not get lock"), "{said}");
        let absent = PackageCache::Dnf.clean(&Tool::at("/nowhere/dnf").unwrap());
        assert!(refusal(perform(&absent, &json!({})).await).contains("/nowhere/dnf"));
    }

    #[tokio::test]
    async fn the_real_apt_empties_a_cache() {
        let Some(path) = engine::find("apt-get", &["/usr/bin"]) else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let archives = dir.path().join("archives");
        std::fs::create_dir_all(archives.join("partial")).unwrap();
        let package = archives.join("homeostasis-test_1.0_all.deb");
        std::fs::write(&package, "no package").unwrap();
        let cache = format!("Dir::Cache={}", dir.path().display());
        let tool = Tool::at(path).unwrap().arg("-o").arg(cache);
        perform(&PackageCache::Apt.clean(&tool), &json!({}))
            .await
            .unwrap();
        assert!(!package.exists() && archives.exists());
    }
}
