//! What the services suffer from, and the playbooks against it.

use homeostasis::core::ConfigError;
use homeostasis::remediate::action::ActionRegistry;
use homeostasis::remediate::playbook::{CheckRegistry, PlaybookSet};

/// An illness: what the gauge shows as a number, and a playbook's trigger as a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Illness(u8);

/// Each ends in another way: healed by steps of each class, one after another or at once, healed by
/// the second plan after the first was taken back or at once, not healed and taken back, not to be
/// taken back, healed after people said what had become of a step, or beyond every playbook.
const NAMES: [&str; 14] = [
    "drained",
    "hung",
    "jammed",
    "misrouted",
    "futile",
    "baffling",
    "flaky",
    "botched",
    "rusted",
    "mute",
    "scattered",
    "torn",
    "unheard",
    "hasty",
];

impl Illness {
    pub(crate) const COUNT: u64 = NAMES.len() as u64;

    /// The one with this number, counted round.
    pub(crate) fn nth(number: u64) -> Self {
        Self(u8::try_from(number % Self::COUNT).unwrap_or(0))
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(at).ok().map(Self)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// What the gauge shows; 0 is healthy.
    pub(crate) fn gauge(self) -> f64 {
        f64::from(self.0 + 1)
    }

    /// The illness a gauge shows.
    pub(crate) fn shown(gauge: f64) -> Option<Self> {
        (0..Self::COUNT)
            .map(Self::nth)
            .find(|illness| illness.gauge() == gauge)
    }
}

/// What the playbooks are called.
pub(crate) const PLAYBOOKS: [&str; 15] = [
    "refill",
    "restart",
    "kick",
    "reroute",
    "reset_route",
    "hope",
    "insist",
    "botch",
    "bend",
    "wait",
    "spread",
    "tear",
    "whisper",
    "rush",
    "calm_down",
];

const TEXTS: [(&str, &str); 15] = [
    (
        "drained.yaml",
        "
playbook_id: refill
name: refill
version: '1'
trigger: { cause: drained }
remediation_steps:
  - { action: look }
  - { action: set, value: high }
  - { action: order, cures: true }
",
    ),
    (
        "hung.yaml",
        "
playbook_id: restart
name: restart
version: '1'
trigger: { cause: hung }
remediation_steps:
  - { action: look }
  - { action: restart, cures: true }
",
    ),
    (
        "jammed.yaml",
        "
playbook_id: kick
name: kick
version: '1'
trigger: { cause: jammed }
remediation_steps:
  - { action: set, value: low }
  - { action: kick, cures: true }
",
    ),
    (
        "misrouted-1.yaml",
        "
playbook_id: reroute
name: a reroute
version: '1'
trigger: { cause: misrouted }
remediation_steps:
  - { action: set, value: detour }
  - { action: order, fails: first_undo, retry: { attempts: 1, backoff: 500ms, max_backoff: 1s } }
  - { action: restart, fails: before }
",
    ),
    (
        "misrouted-2.yaml",
        "
playbook_id: reset_route
name: b reset
version: '1'
trigger: { cause: misrouted }
remediation_steps:
  - { action: restart }
  - { action: kick, cures: true }
",
    ),
    (
        "futile.yaml",
        "
playbook_id: hope
name: hope
version: '1'
trigger: { cause: futile }
remediation_steps:
  - { action: set, value: hope }
  - { action: order }
",
    ),
    (
        "flaky.yaml",
        "
playbook_id: insist
name: insist
version: '1'
trigger: { cause: flaky }
remediation_steps:
  - { action: set, value: again, fails: first_before, retry: { attempts: 3, backoff: 500ms, max_backoff: 1s } }
  - { action: order, fails: first_after, retry: { attempts: 3, backoff: 500ms, max_backoff: 1s } }
  - { action: restart, cures: true, fails: first_after, retry: { attempts: 3, backoff: 500ms, max_backoff: 1s } }
",
    ),
    (
        "botched.yaml",
        "
playbook_id: botch
name: botch
version: '1'
trigger: { cause: botched }
remediation_steps:
  - { action: set, value: odd }
  - { action: kick, fails: after }
",
    ),
    (
        "rusted.yaml",
        "
playbook_id: bend
name: bend
version: '1'
trigger: { cause: rusted }
remediation_steps:
  - { action: set, value: bent }
  - { action: order, fails: undo }
  - { action: restart, fails: before }
",
    ),
    (
        "mute.yaml",
        "
playbook_id: wait
name: wait
version: '1'
trigger: { cause: mute }
remediation_steps:
  - { action: look }
  - { action: kick, fails: silent, timeout: 500ms }
  - { action: order, cures: true }
",
    ),
    (
        "scattered.yaml",
        "
playbook_id: spread
name: spread
version: '1'
trigger: { cause: scattered }
remediation_steps:
  - { action: look }
  - parallel:
      - { action: set, value: wide, fails: first_before, retry: { attempts: 3, backoff: 500ms, max_backoff: 1s } }
      - { action: order }
      - { action: restart }
  - { action: kick, cures: true }
",
    ),
    (
        "torn.yaml",
        "
playbook_id: tear
name: tear
version: '1'
trigger: { cause: torn }
remediation_steps:
  - parallel:
      - { action: set, value: torn }
      - { action: order, fails: first_undo, retry: { attempts: 1, backoff: 500ms, max_backoff: 1s } }
      - { action: restart, fails: before }
escalation: { notify: [mail, the owner] }
",
    ),
    (
        "unheard.yaml",
        "
playbook_id: whisper
name: whisper
version: '1'
trigger: { cause: unheard }
remediation_steps:
  - { action: set, value: soft }
  - parallel:
      - { action: order }
      - { action: kick, fails: hangs, timeout: 500ms }
  - { action: restart, cures: true }
",
    ),
    (
        "hasty-1.yaml",
        "
playbook_id: rush
name: a rush
version: '1'
trigger: { cause: hasty }
remediation_steps:
  - { action: kick, fails: before }
",
    ),
    (
        "hasty-2.yaml",
        "
playbook_id: calm_down
name: b calm
version: '1'
trigger: { cause: hasty }
remediation_steps:
  - { action: restart, cures: true }
",
    ),
];

/// All of them.
pub(crate) fn playbooks(actions: &ActionRegistry) -> Result<PlaybookSet, ConfigError> {
    PlaybookSet::parse(TEXTS, actions, &CheckRegistry::default())
}
