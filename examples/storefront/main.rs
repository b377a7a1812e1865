//! A shop that heals itself: real processes, real load, real faults, healed end to end.
//!
//! `cargo run --release --example storefront` starts three small HTTP services on loopback
//! (gateway, orders, catalog) as child processes of a fourth, the *shop*, in which Homeostasis is
//! embedded. The process you start, the *conductor*, sends load through the gateway, injects one
//! fault after another, and watches from outside whether the shop heals. Then it releases new
//! versions of a fifth program, *quotes*, whose workers stand behind a front in the shop. A sixth,
//! *labels*, is written in Python, where the machine has one, and is repaired in its source. What it saw
//! it writes to `target/storefront/report.json`; it exits with 0 only if every fault was healed and
//! every release ended as it should.
//!
//! One binary plays every part; it starts itself again with a role as its first argument:
//!
//! ```text
//! conductor ──starts──> shop (Homeostasis inside) ──starts──> gateway, orders, catalog, quotes, labels
//!     │                    └── events.jsonl ──┐                   ^
//!     ├── reads what the healer did <─────────┘                   │
//!     └── load, faults ───────────────────────────────────────────┘
//! ```
//!
//! Where to read: [`conductor`] for the story, [`faults`] for what goes wrong, [`releases`] for new
//! versions, [`repairs`] for patches of code, [`healer`] for how Homeostasis is embedded, [`front`] for how
//! requests are routed, [`desk`] for what people order, [`service`] for the shop's programs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to the person who runs it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the shop stands for foreign programs: they have their own clocks, tasks and processes"
)]
#![allow(
    clippy::format_push_string,
    reason = "pages are written once, by people for people: plain beats fast"
)]

mod args;
mod carrier;
mod chapters;
mod conductor;
mod crowd;
mod cures;
mod deployment;
mod desk;
mod faults;
mod files;
mod front;
mod healer;
mod http;
mod json_log;
mod labels;
mod load;
mod memory_watch;
mod narrator;
mod observed;
mod process;
mod releases;
mod repairs;
mod report;
mod rng;
mod self_check;
mod service;
mod shop;
mod state;
mod timeline;
mod world;

use std::process::ExitCode;

use args::Role;

/// Whatever went wrong, told once, at the edge.
type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

fn main() -> ExitCode {
    let role = match args::parse(std::env::args().skip(1)) {
        Ok(role) => role,
        Err(error) => {
            eprintln!("storefront: {error}\n\n{}", args::HELP);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("storefront: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match role {
        Role::Help => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Role::Conductor(options) => runtime.block_on(conductor::run(options)),
        Role::Shop(options) => runtime.block_on(shop::run(options)),
        Role::Service(options) => runtime.block_on(service::run(options)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("storefront: {}", chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// An error with its causes, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
