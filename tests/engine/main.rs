//! The engine from signal to closed incident, under simulated time.

mod distrust;
mod heal;
mod recovery;
mod world;
