//! Programs that try to get out of the sandbox, as whoever runs the tests and as an ordinary user.
#![cfg(all(feature = "sandbox", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests are not tests to the lint"
)]

mod escapes;
mod house;
mod lives;
mod trials;
