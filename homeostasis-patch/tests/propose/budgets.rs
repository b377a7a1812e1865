//! Proposing has bounds, and says which ended and why there is nothing.

use std::time::Duration;

use homeostasis_core::{BoxFuture, Clock, ManualClock, Timestamp};
use homeostasis_patch::ProposalBudget;

use super::*;

fn world(source: &str) -> (tempfile::TempDir, ErrorEvent) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.py"), source).unwrap();
    let mut error = ErrorEvent::new("python", "KeyError", "'tax'");
    error.frames.push(frame("a.py", 2, 0));
    (root, error)
}

fn within(root: &Path, error: &ErrorEvent, budget: ProposalBudget) -> Proposal {
    let proposer = Proposer::new(TemplateSet::built_in().unwrap());
    let proposer = proposer.within(budget).unwrap();
    proposer.propose(&SourceTree::new(root), error)
}

const SOURCE: &str = "def f(o):\n    return 2 + o['tax']\n";

/// Ten seconds pass whenever it is looked at.
#[derive(Debug)]
struct Slow(ManualClock);

impl Clock for Slow {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_secs(10));
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }
}

#[test]
fn each_part_of_the_budget_ends_and_is_named() {
    let (root, error) = world(SOURCE);
    let whole = within(root.path(), &error, ProposalBudget::default());
    assert_eq!((whole.ended, whole.reason), (None, None));
    assert!(!whole.candidates.is_empty());

    let one = ProposalBudget {
        changes: 1,
        ..ProposalBudget::default()
    };
    let found = within(root.path(), &error, one);
    assert_eq!(found.candidates.len(), 1, "what was found is proposed");
    let ended = found.ended.unwrap();
    assert_eq!(ended, "the budget of 1 changes ended at a.py:2");

    let (long_root, _) = world(&format!("{SOURCE}{}", "x = 1\n".repeat(1000)));
    for (budget, what) in [
        (
            ProposalBudget {
                bytes: 1024,
                ..ProposalBudget::default()
            },
            "1024 bytes of source",
        ),
        (
            ProposalBudget {
                nodes: 1000,
                ..ProposalBudget::default()
            },
            "1000 nodes of syntax",
        ),
    ] {
        let found = within(long_root.path(), &error, budget);
        assert!(found.candidates.is_empty());
        let ended = found.ended.unwrap();
        assert_eq!(ended, format!("the budget of {what} ended at a.py:2"));
        assert_eq!(found.reason, Some(ended), "it is why there is nothing");
    }

    let clock = Slow(ManualClock::new(Timestamp::EPOCH));
    let found = proposer().propose_timed(&SourceTree::new(root.path()), &error, &clock);
    let ended = found.ended.unwrap();
    assert_eq!(ended, "the budget of 10s ended at a.py:2");

    let wrong = ProposalBudget {
        frames: 0,
        ..ProposalBudget::default()
    };
    let proposer = Proposer::new(TemplateSet::built_in().unwrap());
    let said = proposer.within(wrong).unwrap_err().to_string();
    assert!(said.contains("propose.budget.frames = 0"), "{said}");
}

#[test]
fn where_there_is_nothing_a_reason_says_why() {
    let (root, error) = world(SOURCE);
    let reason = |change: fn(&mut ErrorEvent)| {
        let mut error = error.clone();
        change(&mut error);
        let found = propose(root.path(), &error);
        assert!(found.candidates.is_empty());
        found.reason.unwrap()
    };
    assert_eq!(
        reason(|error| error.kind = "shop.NoSuchThing".to_owned()),
        "no template of Python knows shop.NoSuchThing"
    );
    assert_eq!(
        reason(|error| error.frames.clear()),
        "none of the 0 frames of KeyError lies in a source of the project"
    );
    assert!(reason(|error| error.frames[0].line = 99).contains("has no line 99"));
    assert!(
        reason(|error| error.frames[0].line = 1).contains("fits none of the 1 places"),
        "the line of `def` reads no key"
    );
    assert!(reason(|error| error.kind = "RecursionError".to_owned()).contains("meaning"));
}
