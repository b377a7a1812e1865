//! What is allowed but probably not meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use homeostasis_core::document::Parser;

use super::definition::Playbook;
use super::lint_rules;
use crate::action::ActionRegistry;

macro_rules! lint_rules {
    ($($(#[$doc:meta])* $rule:ident = $name:literal, $mend:literal;)+) => {
        /// Which rule found something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum LintRule {
            $($(#[$doc])* $rule,)+
        }

        impl LintRule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule),+];

            /// The rule's name, in reports and in `lint.allow`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }

            /// How to mend what it finds.
            pub fn mend(self) -> &'static str {
                match self {
                    $(Self::$rule => $mend,)+
                }
            }
        }
    };
}

lint_rules! {
    /// A step cannot be taken back and nobody is asked.
    IrreversibleWithoutApproval = "irreversible-without-approval",
        "set `safety.require_approval`, or pre-approve it knowingly in the policy";
    /// Nothing says how success is recognized.
    MissingVerification = "missing-verification",
        "say in `verification` what must hold afterwards";
    /// It may apply to, or reach, more than its author may think.
    UnboundedTarget = "unbounded-target",
        "name the service, the path or the thing that is meant, or say in `safety.blast_radius` how far it may reach";
    /// A step starts after the permit has ended in the worst case.
    UnreachableStep = "unreachable-step",
        "shorten `timeout` and `retry` of the steps before it, or make it a playbook of its own";
    /// All steps together may take longer than a run may.
    TimeoutsBeyondPermit = "timeouts-beyond-permit",
        "shorten `timeout` and `retry`, or run steps that do not need each other in `parallel`";
    /// `rollback.available` promises what a step cannot do.
    RollbackPromised = "rollback-promised",
        "set `rollback.available: false` with a reason, or use an action that can be taken back";
    /// `rollback.available` promises an undo that does nothing.
    EmptyRollback = "empty-rollback",
        "leave `rollback` out: no step captures anything that could be put back";
    /// Retries of an opaque step never happen once it may have begun.
    RetriedOpaqueStep = "retried-opaque-step",
        "leave `retry` out, or use an action that is idempotent, keyed or probeable";
    /// The watch ends before the condition can have held as often as asked.
    WatchTooShort = "watch-too-short",
        "make `verification.watch` longer, or ask for fewer looks in `consecutive`";
    /// A condition contradicts itself.
    ImpossibleCondition = "impossible-condition",
        "correct the bounds: no value fulfils it";
    /// Success may be declared while the trigger still holds.
    VerifiedWhileIll = "verified-while-ill",
        "let `verification.check` exclude what `trigger.condition` says";
    /// A parameter takes a capture that no rule of this cause gives.
    UnknownCapture = "unknown-capture",
        "use a group that a rule of this cause has, or add one to the rule";
    /// The trigger waits for a cause that nothing names.
    UnknownCause = "unknown-cause",
        "use a cause that a rule or an analyzer names";
    /// The registry has no such action.
    UnregisteredName = "unregistered-name",
        "register it with the host, or correct the name";
    /// Steps that begin at once touch the same target.
    ParallelSameTarget = "parallel-same-target",
        "put them one after another, or name different targets";
    /// `lint.allow` names a rule that finds nothing here.
    NeedlessAllow = "needless-allow",
        "remove the name from `lint.allow`";
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// Which rule.
    pub rule: LintRule,
    /// Where in the playbook.
    pub path: String,
    /// The line and the column of that place, from 1; of what it is missing from, if it is missing.
    pub place: (u32, u32),
    /// What is suspicious, and why; [`LintRule::mend`] says what to do about it.
    pub message: String,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.place;
        write!(
            f,
            "{line}:{column}: {}: {}; {} [{}]",
            self.path,
            self.message,
            self.rule.mend(),
            self.rule.name()
        )
    }
}

/// What a linter knows beside the playbook.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LintFacts<'a> {
    /// The actions of the host.
    pub actions: &'a ActionRegistry,
    /// How long a run may take, as the gate's policy says.
    pub permit_ttl: Duration,
    /// What each cause that rules and analyzers name captures from logs; `None` if that is not known.
    pub causes: Option<&'a BTreeMap<String, BTreeSet<String>>>,
}

impl<'a> LintFacts<'a> {
    /// The actions of the host and the time its policy gives a run; nothing is known of causes.
    pub fn new(actions: &'a ActionRegistry, permit_ttl: Duration) -> Self {
        Self {
            actions,
            permit_ttl,
            causes: None,
        }
    }

    /// The same with the causes that are named, each with the groups that rules capture of it.
    pub fn knowing_causes(mut self, causes: &'a BTreeMap<String, BTreeSet<String>>) -> Self {
        self.causes = Some(causes);
        self
    }
}

impl Playbook {
    /// What is allowed but probably not meant, in the order of the text; rules that the playbook
    /// allows in `lint.allow` are left out. `permit_ttl` is how long a run may take, as the gate's
    /// policy says.
    pub fn lint(&self, actions: &ActionRegistry, permit_ttl: Duration) -> Vec<Lint> {
        self.lint_knowing(&LintFacts::new(actions, permit_ttl))
    }

    /// The same with more that is known.
    pub fn lint_knowing(&self, facts: &LintFacts<'_>) -> Vec<Lint> {
        let mut found = lint_rules::Found::default();
        lint_rules::all(self, facts, &mut found);
        let mut needed = BTreeSet::new();
        found.0.retain(|(rule, ..)| {
            let is_allowed = self.allowed().contains(rule);
            if is_allowed {
                needed.insert(*rule);
            }
            !is_allowed
        });
        for rule in self.allowed().iter().filter(|rule| !needed.contains(rule)) {
            let message = format!("`{}` finds nothing here", rule.name());
            found.add(LintRule::NeedlessAllow, "lint.allow", message);
        }
        let node = Parser::new().parse(self.text()).ok();
        let mut lints: Vec<_> = found
            .0
            .into_iter()
            .map(|(rule, path, message)| Lint {
                rule,
                place: node.as_ref().map_or((1, 1), |node| place(node, &path)),
                path,
                message,
            })
            .collect();
        lints.sort_by_key(|lint| lint.place);
        lints
    }
}

/// The place of the deepest part of `path` that was written.
fn place(node: &homeostasis_core::document::Node, path: &str) -> (u32, u32) {
    let mut node = node;
    for token in path
        .split(['.', '['])
        .map(|token| token.trim_end_matches(']'))
    {
        let next = match token.parse::<usize>() {
            Ok(idx) => node.as_sequence().and_then(|items| items.get(idx)),
            Err(_) => node.as_mapping().and_then(|fields| fields.get(token)),
        };
        let Some(next) = next else { break };
        node = next;
    }
    (node.span().line, node.span().column)
}
