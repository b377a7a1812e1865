//! The engine from signal to closed incident, under simulated time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod distrust;
mod heal;
mod recovery;
mod world;
