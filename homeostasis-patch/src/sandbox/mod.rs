//! Runs a program on a copy of a project, walled in, and says how it ended and what held it.
//!
//! [`ProjectCopy`] is the copy, [`Sandbox`] the place where programs run on it, [`SandboxReport`] what
//! came of one.
//! Two ways hold a program: bubblewrap puts it into namespaces of its own, where only the copy can be
//! written and the network does not exist; where the machine refuses namespaces, landlock and seccomp
//! take files, sockets and sessions away from an ordinary child.
//! Every report names the [`Layer`]s that were in force and those that were not, with why; a sandbox
//! whose configured minimum does not hold refuses.

mod bubblewrap;
mod cgroup;
mod config;
mod copy_folder;
mod environment;
mod error;
mod guard;
mod layer;
mod output;
mod process_tree;
mod project_copy;
mod remove_tree;
mod report;
mod run;
mod runner;
mod seccomp;
mod tree_digest;
mod usage;
mod walls;

pub use config::{Limits, SandboxConfig};
pub use copy_folder::sweep;
pub use environment::{Difference, Environment};
pub use error::SandboxError;
pub use layer::{InForce, Layer, Layers, NotInForce};
pub use project_copy::{CopyConfig, ProjectCopy};
pub use report::{Bound, Ending, SandboxReport};
pub use run::SandboxCommand;
pub use runner::Sandbox;
pub(crate) use runner::on_thread;
