//! What binds a program to the life of its service.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::SandboxError;
use super::process_tree::members;

/// How long a sandbox may take to be made, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the program only when told, and waits for it. `bwrap` binds its life to ours some time after it began, so a
/// program must not begin before, or it could outlive a service that was killed meanwhile.
///
/// As the first process of the namespace it buries orphans, and as a child that `bwrap` waits for it
/// makes their CPU time ours to read. What it says itself of a program killed by a signal goes nowhere.
pub(super) const GATE: &str = concat!(
    "echo ready >&0; read go || exit; ",
    "exec 3>&2 2>/dev/null </dev/null; ",
    r#""$@" 2>&3 3>&-; exit $?"#,
);

/// Waits until the program stands at the gate and lets it through; nobody comes if `bwrap` failed.
pub(super) fn open_gate(mut gate: UnixStream) -> io::Result<()> {
    gate.set_read_timeout(Some(PATIENCE))?;
    let mut ready = [0; 6];
    match gate.read_exact(&mut ready) {
        Ok(()) => gate.write_all(b"go\n"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

/// Leads the process group of a program, or of the `bwrap` that makes its namespaces, and ends the group
/// when we are gone.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the runner of sandboxed programs"
    )]
    pub(super) fn start() -> Result<Self, SandboxError> {
        // Reads from a pipe that nobody writes to and that closes when we die.
        Command::new("/bin/sh")
            .args(["-c", "read _; kill -KILL 0"])
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .map_err(SandboxError::start("start the guard of the process group"))
    }

    /// The number of the group, as that of the process.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The number of the group.
    pub(super) fn group(&self) -> Result<i32, SandboxError> {
        i32::try_from(self.0.id())
            .map_err(io::Error::other)
            .map_err(SandboxError::start("name the process group"))
    }

    /// Kills the whole group and waits until it is empty, a moment at most.
    pub(super) fn kill(&mut self) {
        let id = self.0.id();
        let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
            return;
        };
        for _ in 0..500 {
            // Not yet waited for, so the number still names our group.
            let _ = kill_process_group(group, Signal::KILL);
            if members(id).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}
