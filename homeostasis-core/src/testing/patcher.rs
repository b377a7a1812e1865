//! What every patcher promises, checked on one that is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::cycle::{Incident, replay};
use crate::digest::Digest;
use crate::id::{IncidentId, NodeId, TenantId};
use crate::record::{
    Anomaly, BlastRadius, EventKind, HealEvent, PatchCandidate, SCHEMA_VERSION, Severity, Subject,
};
use crate::rng::Rng;
use crate::stage::{PatchError, PatchRequest, Patcher};
use crate::target::Target;
use crate::time::{ManualClock, Timestamp};

const MAX_CANDIDATES: usize = 20;

/// Runs the suite of the [`Patcher`] contract.
///
/// `make` makes the patcher anew; `request` is one for which it proposes something; `empty` is
/// an empty folder, which stands for a project in which nothing is found.
///
/// - Two calls, and two patchers, propose the same for the same request.
/// - Candidates break no post-condition, are at most 20, all different, and carry its name.
/// - Each is bound to the digest of the file it names, as it stands below the root.
/// - Nothing below the root is written: names, kinds, permissions, contents and times stay.
/// - On the empty root it writes nothing, binds nothing to files that are not there, and fails, if
///   it does, with an error that does not ask to be tried again.
///
/// # Panics
/// If a promise is broken, naming it; or if `request` leads to no candidate, or `empty` is not
/// empty: the suite would prove nothing.
pub async fn conformance<P: Patcher>(
    make: impl Fn() -> P,
    request: PatchRequest<'_>,
    empty: &Path,
) {
    let cx = context();
    let patcher = make();
    let name = patcher.name().to_owned();
    assert!(!name.trim().is_empty(), "a patcher without a name");

    let before = tree(request.root);
    let first = expect(&name, patcher.propose(&cx, request).await);
    let second = expect(&name, patcher.propose(&cx, request).await);
    let anew = expect(&name, make().propose(&context(), request).await);
    assert_eq!(before, tree(request.root), "{name} wrote below the root");
    assert_eq!(
        first, second,
        "{name} proposes another thing when asked again"
    );
    assert_eq!(first, anew, "{name} made anew proposes another thing");
    assert!(
        !first.is_empty(),
        "{name} proposes nothing, give a request that it treats"
    );
    check(&name, &first, request.root);
    assert_eq!(patcher.name(), name, "the name of {name} changed");

    assert!(tree(empty).is_empty(), "{} is not empty", empty.display());
    let request =
        PatchRequest::new(request.incident, request.diagnosis, empty).with_errors(request.errors);
    match patcher.propose(&cx, request).await {
        Ok(candidates) => check(&name, &candidates, empty),
        Err(error) => assert!(
            !error.kind().is_retryable(),
            "{name} asks to be tried again on an empty root: {}",
            error.report()
        ),
    }
    assert!(tree(empty).is_empty(), "{name} wrote below an empty root");
}

/// An incident of `target` that was just opened, for requests in tests.
///
/// # Panics
/// Never: the one event it replays may open an incident.
pub fn incident_of(target: Target) -> Incident {
    let at = Timestamp::from_secs(1_000);
    let subject = Subject::Condition("test".to_owned());
    let event = HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: IncidentId::new(at, &mut Rng::from_seed(1)),
        seq: 0,
        at,
        node: NodeId::default(),
        kind: EventKind::Opened {
            tenant: TenantId::default(),
            anomaly: Box::new(Anomaly::new("test", target, subject, at)),
            severity: Severity::Sev2,
            radius: BlastRadius::UNKNOWN,
            score: None,
        },
    };
    replay(&[event])
        .expect("an incident may be opened")
        .expect("one event was replayed")
}

fn context() -> Context {
    Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(1_000))), 7)
}

fn expect(name: &str, proposed: Result<Vec<PatchCandidate>, PatchError>) -> Vec<PatchCandidate> {
    proposed.unwrap_or_else(|error| panic!("{name} failed: {}", error.report()))
}

fn check(name: &str, candidates: &[PatchCandidate], root: &Path) {
    let n_candidates = candidates.len();
    assert!(
        n_candidates <= MAX_CANDIDATES,
        "{name} proposes {n_candidates} candidates, expected at most {MAX_CANDIDATES}"
    );
    for (idx, candidate) in candidates.iter().enumerate() {
        let violation = candidate.violation();
        assert!(
            violation.is_none(),
            "candidate {idx} of {name}: {violation:?}"
        );
        assert_eq!(
            candidate.patcher, name,
            "candidate {idx} carries another name"
        );
        assert!(
            candidates[..idx]
                .iter()
                .all(|c| c.hash() != candidate.hash()),
            "candidate {idx} of {name} is proposed twice"
        );
        // A file that is to be made has the empty text as its base.
        let present = fs::read(root.join(&candidate.path)).unwrap_or_default();
        assert_eq!(
            candidate.base,
            Digest::of_bytes(&present),
            "candidate {idx} of {name} is bound to another text than that of {:?}",
            candidate.path
        );
    }
}

/// Everything below `root`: what it is, in words, and what it holds.
fn tree(root: &Path) -> BTreeMap<PathBuf, (String, Digest)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|e| panic!("reading {}: {e}", folder.display()));
        for entry in entries {
            let at = entry
                .unwrap_or_else(|e| panic!("reading {}: {e}", folder.display()))
                .path();
            let metadata = fs::symlink_metadata(&at)
                .unwrap_or_else(|e| panic!("looking at {}: {e}", at.display()));
            let content = if metadata.is_dir() {
                open.push(at.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                let to = fs::read_link(&at).unwrap_or_default();
                to.to_string_lossy().into_owned().into_bytes()
            } else if metadata.is_file() {
                fs::read(&at).unwrap_or_else(|e| panic!("reading {}: {e}", at.display()))
            } else {
                Vec::new()
            };
            let kind = format!(
                "{:?} {:?} {:?}",
                metadata.file_type(),
                metadata.permissions(),
                metadata.modified().ok()
            );
            found.insert(at, (kind, Digest::of_bytes(&content)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::record::{Diagnosis, PatchKind};

    /// Proposes `n_candidates` for `a.toml`, and breaks one promise if told to.
    #[derive(Debug, Default)]
    struct Scripted {
        n_candidates: usize,
        n_calls: std::sync::atomic::AtomicUsize,
        writes: bool,
        forgets: bool,
        escapes: bool,
    }

    #[async_trait]
    impl Patcher for Scripted {
        // The trait gives names that may be computed.
        #[allow(clippy::unnecessary_literal_bound)]
        fn name(&self) -> &str {
            "scripted"
        }

        async fn propose(
            &self,
            _: &Context,
            request: PatchRequest<'_>,
        ) -> Result<Vec<PatchCandidate>, PatchError> {
            let n_calls = self
                .n_calls
                .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let Ok(text) = fs::read(request.root.join("a.toml")) else {
                return Ok(Vec::new());
            };
            if self.writes {
                fs::write(request.root.join("new"), "x").unwrap();
            }
            let salt = if self.forgets { n_calls } else { 0 };
            let path = if self.escapes { "../a.toml" } else { "a.toml" };
            let kind = PatchKind::Configuration;
            let base = Digest::of_bytes(&text);
            Ok((0..self.n_candidates)
                .map(|n| PatchCandidate::new("scripted", kind, path, base, format!("{n} {salt}")))
                .collect())
        }
    }

    async fn run(make: impl Fn() -> Scripted) {
        let (root, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(root.path().join("a.toml"), "a = 1\n").unwrap();
        let incident = incident_of(Target::service("orders").unwrap());
        let diagnosis = Diagnosis::default();
        let request = PatchRequest::new(&incident, &diagnosis, root.path());
        conformance(make, request, empty.path()).await;
    }

    fn sound() -> Scripted {
        Scripted {
            n_candidates: 20,
            ..Scripted::default()
        }
    }

    #[tokio::test]
    async fn sound_patcher_passes() {
        run(sound).await;
    }

    #[tokio::test]
    #[should_panic(expected = "expected at most 20")]
    async fn patcher_that_floods_is_caught() {
        run(|| Scripted {
            n_candidates: 21,
            ..sound()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "wrote below the root")]
    async fn patcher_that_writes_is_caught() {
        run(|| Scripted {
            writes: true,
            ..sound()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "another thing when asked again")]
    async fn patcher_that_changes_its_mind_is_caught() {
        run(|| Scripted {
            forgets: true,
            ..sound()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "expected one inside the project")]
    async fn patcher_that_leaves_the_project_is_caught() {
        run(|| Scripted {
            escapes: true,
            ..sound()
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "proposes nothing")]
    async fn suite_that_would_prove_nothing_fails() {
        run(Scripted::default).await;
    }
}
