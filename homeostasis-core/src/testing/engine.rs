//! Real programs that tests talk to: finding, starting, stopping them.
//!
//! A machine may lack the program. Then the test says so by name and passes, unless
//! `HOMEOSTASIS_REQUIRE_ENGINES=1` is set (CI sets it): then it fails.
//!
//! Everything here panics with a sentence when the machine does not play along: it is for tests.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Above those of well-known services.
const FIRST_PORT: u32 = 10_000;

/// The program called `name`: on the `PATH`, or else in the first of `places` that has it.
///
/// A component `*` in a place stands for any folder, the last in order first:
/// `/usr/lib/postgresql/*/bin`. `None` was told as `SKIPPED <test>: <name> is not installed` on
/// standard error; the test's name is that of its thread.
///
/// # Panics
/// The program is missing and `HOMEOSTASIS_REQUIRE_ENGINES` is `1`.
///
/// # Examples
/// ```
/// use homeostasis::core::testing::engine;
/// let Some(shell) = engine::find("sh", &["/bin"]) else { return };
/// assert!(shell.is_absolute());
/// ```
pub fn find(name: &str, places: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(places.iter().flat_map(|place| expand(Path::new(place))))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        missing(&format!("{name} is not installed"));
    }
    found
}

/// Tells that this test is skipped because of `what` (`module opentelemetry is not installed`).
///
/// # Panics
/// `HOMEOSTASIS_REQUIRE_ENGINES` is `1`.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn missing(what: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    let required = std::env::var_os("HOMEOSTASIS_REQUIRE_ENGINES");
    assert!(
        required.as_deref() != Some(OsStr::new("1")),
        "{test}: {what}, and HOMEOSTASIS_REQUIRE_ENGINES=1 requires it"
    );
    eprintln!("SKIPPED {test}: {what}");
}

/// The folders that `place` names, the last in order first where it has a `*`.
fn expand(place: &Path) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::new()];
    for component in place.components() {
        if component.as_os_str() != "*" {
            for folder in &mut folders {
                folder.push(component);
            }
            continue;
        }
        folders = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        folders.sort_by(|a, b| b.cmp(a));
    }
    folders
}

/// A port of the loopback on which nobody listens, and that nobody is given by chance.
///
/// It is below those that the system hands out to whoever asks for any port or connects, so it
/// stays free until somebody asks for it by number; this process is not told it again.
///
/// # Panics
/// The machine has none.
pub fn free_port() -> u16 {
    static N_TOLD: AtomicU32 = AtomicU32::new(0);
    // Where Linux begins to hand out, unless it is told otherwise; elsewhere it is higher.
    let handed_out = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768);
    let ports = FIRST_PORT..u32::max(handed_out, FIRST_PORT + 1000);
    // Processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(61);
    for _ in ports.clone() {
        let step = start.wrapping_add(N_TOLD.fetch_add(1, Ordering::Relaxed));
        let port = ports.start + step % (ports.end - ports.start);
        let port = u16::try_from(port).expect("below 65536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {ports:?} is free");
}

/// A new empty folder that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A folder in the system's folder for temporary files.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("homeostasis-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self { path },
                // Left behind by a killed process that had our number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running program and everything it started; killed when this is dropped.
///
/// It leads a process group of its own, so its children are stopped and killed with it. What it
/// prints goes to a file and into the message of [`Engine::wait_until`] when that fails.
///
/// # Examples
/// ```
/// use std::process::Command;
/// use std::time::Duration;
/// use homeostasis::core::testing::engine::{self, Engine, Scratch};
///
/// let Some(shell) = engine::find("sh", &["/bin"]) else { return };
/// let scratch = Scratch::new();
/// let made = scratch.path().join("made");
/// let mut command = Command::new(shell);
/// command.args(["-c", "touch \"$0\"; sleep 600"]).arg(&made);
/// let mut engine = Engine::start(command);
/// engine.wait_until("the file", Duration::from_secs(30), || made.exists());
/// ```
pub struct Engine {
    name: String,
    child: Child,
    killed: bool,
    scratch: Scratch,
}

impl Engine {
    /// Starts `command`; its standard input is empty.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command) -> Self {
        let scratch = Scratch::new();
        let name = command.get_program().to_string_lossy().into_owned();
        let log = File::create(scratch.path().join("log")).expect("a file for its output");
        let same = log.try_clone().expect("a second handle");
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(same)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name,
            child,
            killed: false,
            scratch,
        }
    }

    /// The id of its first process, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.scratch.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `ready`, which `what` names.
    ///
    /// # Panics
    /// It is not ready within `limit`, or its first process ended before; the message has its output.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
        let mut left = limit;
        while !ready() {
            let ended = self.child.try_wait().expect("its state");
            let late = left.is_zero().then(|| format!("within {limit:?}"));
            if let Some(why) = ended.map(|status| format!("but {status}")).or(late) {
                panic!(
                    "{}: no {what} {why}; it printed:\n{}",
                    self.name,
                    self.output()
                );
            }
            thread::sleep(POLL);
            left = left.saturating_sub(POLL);
        }
    }

    /// Waits until something accepts connections on `port` of the loopback.
    ///
    /// # Panics
    /// As [`Engine::wait_until`].
    pub fn wait_for_port(&mut self, port: u16, limit: Duration) {
        self.wait_until(&format!("listener on port {port}"), limit, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
    }

    /// Stops the whole group where it stands (`SIGSTOP`): its sockets stay open and silent.
    ///
    /// On Linux it stands when this returns: on a busy machine a signalled thread goes on for a while.
    ///
    /// # Panics
    /// As [`signal`](Self::signal), or it does not stand within half a minute.
    pub fn pause(&self) {
        self.signal("STOP");
        for _ in 0..3000 {
            let group = processes(|stat| stat.group == self.child.id());
            if !any_thread(&group, |state| !matches!(state, "T" | "t" | "Z" | "X")) {
                return;
            }
            thread::sleep(POLL);
        }
        panic!("{}: it does not stop", self.name);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends the whole group the signal of this name (`TERM`).
    ///
    /// # Panics
    /// There is no such signal or no such group any more.
    pub fn signal(&self, name: &str) {
        assert!(
            self.send(name, &[]),
            "{}: signal {name} was not sent",
            self.name
        );
    }

    /// Kills the group and waits for its first process; repeating it changes nothing.
    ///
    /// On Linux also what has left the group, as servers let their workers do, and it waits for all of
    /// them: what they held is free again when this returns.
    pub fn kill(&mut self) {
        // Also when the first process has ended: its children may not have. Once only, because an
        // empty group's id may become another's.
        if !std::mem::replace(&mut self.killed, true) {
            let family = family(self.child.id());
            self.send("KILL", &family);
            let _ = self.child.kill();
            let _ = self.child.wait();
            for _ in 0..3000 {
                if !any_thread(&family, |state| !matches!(state, "Z" | "X")) {
                    return;
                }
                thread::sleep(POLL);
            }
        }
    }

    /// Through the shell: the standard library can signal no group.
    #[expect(clippy::disallowed_methods, reason = "test support runs real programs")]
    fn send(&self, signal: &str, others: &[u32]) -> bool {
        let mut script = format!("kill -s {signal} -- -{}", self.child.id());
        for id in others {
            script.push(' ');
            script.push_str(&id.to_string());
        }
        Command::new("/bin/sh")
            .args(["-c", &script])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// What `/proc` tells of a process or a thread.
struct Stat {
    state: String,
    parent: u32,
    group: u32,
}

impl Stat {
    /// Of a folder with a file `stat`.
    fn of(folder: &Path) -> Option<Self> {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name in parentheses may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some(Self {
            state: fields.next()?.to_owned(),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

/// Such processes; none where there is no `/proc`.
fn processes(mut is_such: impl FnMut(&Stat) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            Stat::of(&Path::new("/proc").join(id.to_string())).is_some_and(|stat| is_such(&stat))
        })
        .collect()
}

/// The processes of the group that `first` leads, and all that they started.
fn family(first: u32) -> Vec<u32> {
    let mut family = processes(|stat| stat.group == first);
    loop {
        let children = processes(|stat| family.contains(&stat.parent));
        let n_before = family.len();
        for child in children {
            if !family.contains(&child) {
                family.push(child);
            }
        }
        if family.len() == n_before {
            return family;
        }
    }
}

/// Whether a thread of these processes is in such a state.
fn any_thread(processes: &[u32], is_such: impl Fn(&str) -> bool) -> bool {
    let threads = |id: &u32| fs::read_dir(format!("/proc/{id}/task"));
    processes
        .iter()
        .filter_map(|id| threads(id).ok())
        .flatten()
        .flatten()
        .filter_map(|thread| Stat::of(&thread.path()))
        .any(|stat| is_such(&stat.state))
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.name)
            .field("id", &self.child.id())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "test support runs real programs")]
    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn state_of(id: &str) -> Option<String> {
        Some(Stat::of(&Path::new("/proc").join(id))?.state)
    }

    #[test]
    fn programs_are_found_on_the_path_and_in_places_with_a_star() {
        assert!(find("sh", &[]).is_some());
        let scratch = Scratch::new();
        for version in ["14", "15"] {
            let bin = scratch.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("no-such-engine-elsewhere"), "").unwrap();
        }
        let place = format!("{}/*/bin", scratch.path().display());
        let found = find("no-such-engine-elsewhere", &["/nowhere/*/bin", &place]);
        assert_eq!(
            found.unwrap(),
            scratch.path().join("15/bin/no-such-engine-elsewhere")
        );
    }

    #[test]
    fn a_free_port_is_told_once_and_handed_out_to_nobody() {
        let told: Vec<_> = (0..50).map(|_| free_port()).collect();
        let distinct: std::collections::BTreeSet<_> = told.iter().collect();
        assert_eq!(distinct.len(), told.len());
        let by_chance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let highest = told.iter().max().unwrap();
        assert!(by_chance.local_addr().unwrap().port() > *highest);
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, told[0])).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_scratch_folder_goes_with_its_content() {
        let (a, b) = (Scratch::new(), Scratch::new());
        assert_ne!(a.path(), b.path());
        fs::write(a.path().join("x"), "x").unwrap();
        let path = a.path().to_owned();
        drop(a);
        assert!(!path.exists() && b.path().is_dir());
    }

    #[test]
    fn children_are_paused_and_killed_with_their_engine() {
        // The first leaves the group.
        let many =
            "setsid sleep 600 & echo $!; for i in $(seq 49); do sleep 600 & echo $!; done; wait";
        let mut engine = Engine::start(shell(many));
        let limit = Duration::from_secs(30);
        let log = engine.scratch.path().join("log");
        engine.wait_until("children", limit, || {
            fs::read_to_string(&log).is_ok_and(|text| text.matches('\n').count() == 50)
        });
        let output = engine.output();
        let children: Vec<_> = output.lines().collect();
        engine.pause();
        if cfg!(target_os = "linux") {
            for child in &children[1..] {
                assert_eq!(state_of(child).as_deref(), Some("T"));
            }
        }
        engine.resume();
        let sleeps = |child: &&str| state_of(child).as_deref() == Some("S");
        engine.wait_until("sleep", limit, || children.iter().all(sleeps));
        engine.kill();
        engine.kill();
        // Gone, or a zombie that nobody waits for in a container without init.
        for child in &children {
            let state = state_of(child);
            let is_gone = state.as_deref().is_none_or(|s| s == "Z" || s == "X");
            assert!(is_gone, "{child} outlived its engine: {state:?}");
        }
    }

    #[test]
    #[should_panic(expected = "no socket but exit status: 3; it printed:\nout of luck")]
    fn an_engine_that_ends_early_is_told_with_its_output() {
        let mut engine = Engine::start(shell("echo out of luck; exit 3"));
        engine.wait_until("socket", Duration::from_secs(30), || false);
    }
}
