//! Rollouts from order to end, under simulated time: requests flow to two slots of one service, and
//! the healer sees nothing but what they answered.

#![cfg(feature = "remediate")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod rollout {
    mod ends;
    #[cfg(all(feature = "process", target_os = "linux"))]
    mod hot_swap;
    mod kills;
    mod shop;
}
