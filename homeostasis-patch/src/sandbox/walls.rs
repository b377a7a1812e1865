//! What a thread takes from itself and from every child it starts afterwards.
//!
//! Landlock and seccomp bind the thread that asks for them, so they are asked for on a thread that serves
//! one program and ends with it.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::BpfProgram;

use super::bubblewrap::{ETC, SYSTEM};

/// Devices everybody may use.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Takes signals to processes outside and their abstract sockets away. Files stay as they are: a thread
/// with rules for files may not mount, and `bwrap` must.
pub(super) fn scopes() -> Result<String, String> {
    let ruleset = || -> Result<_, RulesetError> {
        Ruleset::default()
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .restrict_self()
    };
    match ruleset().map_err(|error| error.to_string())?.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel lacks scopes (Linux 6.12)".to_owned()),
        _ => Ok("no signals and no abstract sockets outward".to_owned()),
    }
}

/// Leaves the system and `readable` to be read, `writable` (but for new devices) and some devices to be
/// written, nothing else;
/// and takes TCP, signals and abstract sockets away where the kernel can.
pub(super) fn files(readable: &[PathBuf], writable: &[PathBuf]) -> Result<String, String> {
    let all = AccessFs::from_all(ABI::V6);
    let read = AccessFs::from_read(ABI::V6);
    // Nobody makes a way to the disk, whatever capabilities it has.
    let devices: BitFlags<AccessFs> = AccessFs::MakeBlock | AccessFs::MakeChar;
    let write = all & !devices;
    let system = SYSTEM.iter().chain(&ETC).map(Path::new);
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
    let ruleset = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(all)?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(system, read))?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(writable, write))?
            .add_rules(path_beneath_rules(DEVICES, device))?
            .restrict_self()
    };
    match ruleset().map_err(|error| error.to_string())?.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel lacks landlock".to_owned()),
        RulesetStatus::PartiallyEnforced => {
            Ok("files only: this kernel cannot hold back TCP, signals or both".to_owned())
        }
        RulesetStatus::FullyEnforced => {
            Ok("files, TCP, signals and abstract sockets outward".to_owned())
        }
    }
}

/// Loads the filters.
pub(super) fn filter(programs: &[BpfProgram]) -> Result<(), String> {
    programs
        .iter()
        .try_for_each(|program| seccompiler::apply_filter(program))
        .map_err(|error| error.to_string())
}
