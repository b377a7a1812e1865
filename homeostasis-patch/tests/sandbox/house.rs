//! A project, a sandbox in one of its two ways, and what must still stand afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homeostasis_core::testing::engine;
use homeostasis_core::{Clock, Context, ManualClock, Timestamp};
use homeostasis_patch::sandbox::{
    CopyConfig, Layer, Limits, ProjectCopy, Sandbox, SandboxCommand, SandboxConfig, SandboxReport,
};

pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The two ways a program is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Namespaces,
    Group,
}

pub(crate) const WAYS: [Way; 2] = [Way::Namespaces, Way::Group];

/// Everything of one test; removed with it.
pub(crate) struct House {
    pub way: Way,
    pub sandbox: Sandbox,
    outer: tempfile::TempDir,
    /// Stands in the command line of every program of this test.
    pub token: String,
}

impl House {
    /// `None` was told: the machine lacks what the test needs.
    pub(crate) fn new(way: Way) -> Option<Self> {
        Self::with(way, SandboxConfig::default())
    }

    pub(crate) fn with(way: Way, mut config: SandboxConfig) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        engine::find("bwrap", &["/usr/bin"])?;
        if !Path::new(PYTHON).is_file() {
            engine::missing("/usr/bin/python3 is not installed");
            return None;
        }
        if way == Way::Group {
            config.bubblewrap = Some("/nowhere/bwrap".into());
            config.minimum = [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into();
        }
        let outer = tempfile::tempdir().unwrap();
        for folder in ["project/package", "place", "victim"] {
            fs::create_dir_all(outer.path().join(folder)).unwrap();
        }
        fs::write(outer.path().join("project/app.py"), "VALUE = 1\n").unwrap();
        fs::write(outer.path().join("victim/secret"), "hunter2").unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let token = format!("sandbox-test-{}-{number}", std::process::id());
        Some(Self {
            way,
            sandbox: Sandbox::new(config).unwrap(),
            outer,
            token,
        })
    }

    /// One in which the toolchain that runs the tests is shown, read-only.
    pub(crate) fn with_toolchain() -> Option<Self> {
        // Set by cargo for the tests it runs: the real program in its toolchain.
        let Some(cargo) = std::env::var_os("CARGO").map(PathBuf::from) else {
            engine::missing("the tests were not started by cargo");
            return None;
        };
        let bin = cargo.parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        let config = SandboxConfig {
            variables: [("PATH".to_owned(), path)].into(),
            read_only: vec![bin.parent().unwrap().to_owned()],
            ..SandboxConfig::default()
        };
        Self::with(Way::Namespaces, config)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    pub(crate) fn copy(&self) -> ProjectCopy {
        let (project, place) = (self.path("project"), self.path("place"));
        ProjectCopy::make(&project, &place, &CopyConfig::default()).unwrap()
    }

    /// The program `code`, told the token, the victim folder and `more`.
    pub(crate) fn python(&self, code: &str, more: &str, limits: Limits) -> SandboxCommand {
        let victim = self.path("victim").display().to_string();
        let code = format!("{PRELUDE}\n{code}");
        SandboxCommand::new([PYTHON, "-c", &code, &self.token, &victim, more]).within(limits)
    }

    /// Runs `code` on a copy, and looks whether anything is left.
    pub(crate) async fn attack(&self, code: &str, more: &str, limits: Limits) -> SandboxReport {
        let copy = self.copy();
        let command = self.python(code, more, limits);
        let report = self.sandbox.run(&context(), &copy, &command).await.unwrap();
        assert_eq!(processes(&self.token), [0_u32; 0], "{report:?}");
        drop(copy);
        assert_eq!(fs::read_dir(self.path("place")).unwrap().count(), 0);
        let secret = fs::read_to_string(self.path("victim/secret")).unwrap();
        assert_eq!(secret, "hunter2", "{report:?}");
        report
    }

    /// Runs `code`, which must end by itself and say that nothing got out.
    pub(crate) async fn contained(&self, code: &str, more: &str) {
        let limits = Limits {
            time: Duration::from_secs(60),
            ..Limits::testing()
        };
        let report = self.attack(code, more, limits).await;
        assert!(report.ending.success(), "{:?} {report:#?}", self.way);
        assert!(report.output.ends_with("contained\n"), "{report:#?}");
        assert!(!report.output.contains("ESCAPED"), "{report:#?}");
    }
}

/// `refused(what, f)` says so if `f` works; `call` is a bare system call.
const PRELUDE: &str = r#"
import ctypes, errno, os, signal, socket, sys, time
token, victim, more = sys.argv[1:4]
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def refused(what, attempt):
    try:
        result = attempt()
    except (OSError, ValueError) as error:
        print(what, "refused:", error)
        return
    print("ESCAPED", what, result)
"#;

pub(crate) fn context() -> Context {
    let clock = ManualClock::new(Timestamp::from_secs(1_790_000_000));
    Context::new(Arc::new(clock) as Arc<dyn Clock>, 7)
}

/// The living processes with `token` in their command line, other than this one.
pub(crate) fn processes(token: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            String::from_utf8_lossy(&line)
                .contains(token)
                .then_some(pid)
        })
        .collect()
}

/// A process outside that nobody may touch.
pub(crate) struct Bystander(pub Child);

impl Bystander {
    #[expect(clippy::disallowed_methods, reason = "a test needs a real process")]
    pub(crate) fn new() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
