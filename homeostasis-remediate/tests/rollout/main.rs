//! Rollouts from order to end, by a whole healer: requests flow to two slots of one service, and it
//! sees nothing but what they answered.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]
#![allow(
    clippy::disallowed_methods,
    reason = "the world outside of the healer has tasks of its own"
)]

mod ends;
#[cfg(all(feature = "process", target_os = "linux"))]
mod hot_swap;
mod judges;
mod kills;
mod shop;
