//! Probes against real engines in all their states, and against networks that misbehave.
#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod amqp;
mod half_open;
mod postgres;
mod redis;
