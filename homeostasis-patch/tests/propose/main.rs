//! Programs that fail, the candidates proposed for them, and the programs run again.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

mod budgets;
mod normalized;
mod properties;
mod python;
mod rust;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod services;
mod soundness;
mod stage;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use homeostasis_core::record::PatchCandidate;
use homeostasis_core::signal::{ErrorEvent, Frame};
use homeostasis_patch::{FilePatch, Proposal, Proposer, SourceTree, TemplateSet};

/// The proposer of the built-in templates.
fn proposer() -> &'static Proposer {
    static MADE: OnceLock<Proposer> = OnceLock::new();
    MADE.get_or_init(|| Proposer::new(TemplateSet::built_in().unwrap()))
}

fn propose(root: &Path, error: &ErrorEvent) -> Proposal {
    proposer().propose(&SourceTree::new(root), error)
}

fn frame(file: &str, line: u32, column: u32) -> Frame {
    Frame {
        file: file.to_owned(),
        line,
        column,
        in_project: true,
        ..Frame::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the programs under repair are run for real"
)]
fn run(program: &Path, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Writes the patched file over the old one in `folder`.
fn apply(folder: &Path, candidate: &PatchCandidate, source: &str) {
    let patch = FilePatch::from_candidate(candidate, source).unwrap();
    fs::write(folder.join(&candidate.path), patch.apply(source).unwrap()).unwrap();
}
