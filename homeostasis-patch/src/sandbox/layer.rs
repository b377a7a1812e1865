//! What holds a program in a sandbox.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that holds a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layer {
    /// Bubblewrap: its own users, processes, mounts, network, host name and System V objects.
    Namespaces,
    /// The kernel's file rules for one program: what it may read and write, whom it may signal.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// Limits of the kernel for each process.
    Rlimits,
    /// Limits of the kernel for all processes together.
    Cgroup,
    /// We look every 50 ms at time, memory, tasks and output, and now and then at the disk.
    Watch,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Rlimits => "rlimits",
            Self::Cgroup => "cgroup",
            Self::Watch => "watch",
        })
    }
}

/// A layer that held, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Which.
    pub layer: Layer,
    /// What it took from the program, in words.
    pub how: String,
}

/// A layer that did not hold, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotInForce {
    /// Which.
    pub layer: Layer,
    /// Why not.
    pub why: String,
}

impl fmt::Display for NotInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.why)
    }
}

/// Every layer, in force or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Those that held.
    pub in_force: Vec<InForce>,
    /// Those that did not.
    pub missing: Vec<NotInForce>,
}

impl Layers {
    /// Whether `layer` held.
    pub fn has(&self, layer: Layer) -> bool {
        self.in_force.iter().any(|held| held.layer == layer)
    }

    pub(super) fn held(&mut self, layer: Layer, how: impl Into<String>) {
        self.in_force.push(InForce {
            layer,
            how: how.into(),
        });
    }

    pub(super) fn missing(&mut self, layer: Layer, why: impl Into<String>) {
        self.missing.push(NotInForce {
            layer,
            why: why.into(),
        });
    }
}
