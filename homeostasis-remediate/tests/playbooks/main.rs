//! The shipped playbooks: read, linted, dry-run, triggered, and run against what they mend.
//!
//! `UPDATE_PLAYBOOKS=1` writes `dry_runs.txt` and `docs/playbooks.md` anew; read the difference.
#![cfg(all(
    target_os = "linux",
    feature = "process",
    feature = "files",
    feature = "resilience",
    feature = "postgres",
    feature = "redis-actions",
    feature = "haproxy"
))]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod application;
mod clinic;
mod fake;
mod files;
mod host;
mod kubernetes;
mod network;
mod page;
mod postgres;
mod reading;
mod redis;
mod systemd;
mod triggers;
