//! `crash`: a real healer in a real child process is killed again and again, and again while it
//! recovers; then its journal and the world it acted on must agree.
//!
//! ```text
//! parent (drill) ── starts, kills ──> child: engine + playbooks + people + RedbStore
//!        │  <── what became durable, line by line ──┘      │ effects
//!        v                                                 v
//!      check  <────────────── journal.redb ─────────  effects.log per service
//! ```

mod actions;
mod check;
mod child;
mod clock;
mod drill;
mod life;
mod people;
mod playbooks;
mod protocol;
mod remote;
mod report;
mod stage;
mod stages;
mod stops;
mod witness;
mod world;

pub(crate) use child::{ChildOptions, Mode, serve};
pub(crate) use report::{Options, run};
