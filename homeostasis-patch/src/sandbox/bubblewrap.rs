//! The command line of `bwrap`: what a program sees of the machine.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::SandboxConfig;
use super::copy_folder::HOME;
use super::project_copy::ProjectCopy;

/// Where `bwrap` is looked for.
const PLACES: [&str; 3] = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];

/// What of the system a program may read: programs and libraries.
pub(super) const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// What of `/etc` it may read: how libraries are found, certificates, time zone; no accounts, no secrets.
pub(super) const ETC: [&str; 12] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/java-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/timezone",
];

/// Namespaces that every call makes, and what dies with us.
const WALLS: [&str; 14] = [
    "--unshare-user",
    "--unshare-pid",
    "--as-pid-1",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--hostname",
    "sandbox",
];

/// Where `bwrap` is and that this machine lets it work, or why not.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the runner of sandboxed programs"
)]
pub(super) fn find(config: &SandboxConfig) -> Result<PathBuf, String> {
    let program = match &config.bubblewrap {
        Some(path) => path.clone(),
        None => PLACES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
            .ok_or_else(|| format!("bwrap is in none of {}", PLACES.join(", ")))?,
    };
    let mut arguments = Arguments::default();
    arguments.walls();
    arguments.system();
    arguments.add([
        "--proc", "/proc", "--dev", "/dev", "--", "/bin/sh", "-c", ":",
    ]);
    let tried = Command::new(&program)
        .args(arguments.0)
        .env_clear()
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if tried.status.success() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    Err(format!(
        "{} does not work here: {}",
        program.display(),
        said.trim()
    ))
}

/// The arguments that show `project` as it stands, up to and without the program.
///
/// `seccomp` are the numbers of the descriptors with filters, `status` the one for what happens.
pub(super) fn arguments(
    config: &SandboxConfig,
    project: &ProjectCopy,
    folder: &Path,
    seccomp: &[i32],
    status: i32,
) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.walls();
    arguments.system();
    for path in ETC {
        arguments.add(["--ro-bind-try", path, path]);
    }
    for name in ["passwd", "group", "hosts"] {
        let place = Path::new("/etc").join(name);
        arguments.pair("--ro-bind", &project.beside().join(name), &place);
    }
    arguments.add(["--proc", "/proc", "--dev", "/dev"]);
    for place in ["/dev/shm", "/tmp", HOME] {
        let size = config.scratch_bytes.to_string();
        arguments.add(["--size", size.as_str(), "--tmpfs", place]);
    }
    for path in &config.read_only {
        arguments.pair("--ro-bind-try", path, path);
    }
    let source = project.source();
    arguments.pair("--bind", &project.path(), source);
    for name in project.read_only() {
        let path = source.join(name);
        arguments.pair("--ro-bind", &path, &path);
    }
    // Root of the machine owns `/proc/sys` in any namespace, and needs no capability to write there; the
    // others are file systems in memory without a size of their own.
    for place in ["/proc", "/dev", "/"] {
        arguments.add(["--remount-ro", place]);
    }
    arguments.add(["--chdir"]);
    arguments.0.push(source.join(folder).into());
    for descriptor in seccomp {
        arguments.add(["--add-seccomp-fd", descriptor.to_string().as_str()]);
    }
    arguments.add(["--json-status-fd", status.to_string().as_str(), "--"]);
    arguments.0
}

#[derive(Debug, Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) {
        self.0.extend(arguments.into_iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, from: &Path, to: &Path) {
        self.0
            .extend([OsString::from(option), from.into(), to.into()]);
    }

    fn walls(&mut self) {
        self.add(WALLS);
    }

    /// The folders of the system, links as links.
    fn system(&mut self) {
        for path in SYSTEM {
            match fs::read_link(path) {
                Ok(target) => self.pair("--symlink", &target, Path::new(path)),
                Err(_) => self.add(["--ro-bind-try", path, path]),
            }
        }
    }
}
