//! Programs that try to get out of the sandbox, as whoever runs the tests and as an ordinary user.
#![cfg(all(feature = "sandbox", target_os = "linux"))]

mod escapes;
mod house;
mod lives;
mod trials;
