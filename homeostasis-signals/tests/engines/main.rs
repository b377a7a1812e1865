//! Probes against real engines in all their states, and against networks that misbehave.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod amqp;
mod half_open;
mod postgres;
mod redis;
