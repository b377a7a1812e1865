//! The patcher as a stage of the cycle.

use homeostasis_core::record::Diagnosis;
use homeostasis_core::stage::PatchRequest;
use homeostasis_core::testing::patcher::{conformance, incident_of};
use homeostasis_patch::TemplatePatcher;

use super::*;

#[tokio::test]
async fn the_template_patcher_keeps_the_promises_of_patchers() {
    let root = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.py"), "def f(d):\n    return d['a']\n").unwrap();
    let mut error = ErrorEvent::new("python", "KeyError", "'a'");
    error.frames.push(frame("a.py", 2, 0));
    let errors = [error];
    let incident = incident_of("orders".parse().unwrap());
    let diagnosis = Diagnosis {
        hypotheses: Vec::new(),
        abstained: None,
        chain: None,
    };
    let request = PatchRequest::new(&incident, &diagnosis, root.path()).with_errors(&errors);
    let make = || TemplatePatcher::built_in().unwrap();
    conformance(make, request, empty.path()).await;
}
