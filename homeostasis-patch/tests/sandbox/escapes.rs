//! What hostile code tries, in both ways of holding it.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine;
use homeostasis_patch::sandbox::{Bound, Ending, Layer, Limits, SandboxConfig};

use crate::house::{Bystander, House, WAYS, Way, processes};

const MIB: u64 = 1024 * 1024;

fn limits() -> Limits {
    Limits {
        time: Duration::from_secs(30),
        memory_bytes: 128 * MIB,
        output_bytes: MIB,
        disk_bytes: 32 * MIB,
        tasks: 32,
    }
}

#[tokio::test]
async fn escape_to_the_network_finds_nobody() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let code = r#"
def connect(address):
    with socket.socket() as s:
        s.settimeout(2)
        s.connect(address)
refused("loopback", lambda: connect(("127.0.0.1", int(more))))
refused("internet", lambda: connect(("1.1.1.1", 53)))
refused("name", lambda: socket.getaddrinfo("example.org", 80))
refused("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
refused("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
refused("vsock", lambda: socket.socket(socket.AF_VSOCK))
refused("docker", lambda: socket.socket(socket.AF_UNIX).connect("/run/docker.sock"))
print("contained")
"#;
        house.contained(code, &port).await;
        listener.set_nonblocking(true).unwrap();
        let nobody = listener.accept().unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn escape_by_writing_outside_is_refused() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
for path in [victim + "/secret", victim + "/new", "/usr/bin/new", "/etc/passwd", "/etc/new", "/new", "/dev/new",
             "/var/tmp/" + token, "/root/" + token, "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
             "/sys/fs/cgroup/new"]:
    # Opened only: on a file of the machine, what is written would stay.
    refused("write " + path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT))
refused("folder", lambda: os.mkdir("/run/" + token))
try:
    open("../outside", "w").write("x")
except OSError:
    pass
refused("hard link", lambda: os.link("/etc/ld.so.cache", "stolen"))
refused("device", lambda: os.mknod("disk", 0o600 | 0o060000, os.makedev(252, 0)))
open("app.py", "w").write("VALUE = 2\n")
open(os.environ["TMPDIR"] + "/scratch", "w").write("x")
print("contained")
"#;
        house.contained(code, "").await;
        let original = fs::read_to_string(house.path("project/app.py")).unwrap();
        assert_eq!(original, "VALUE = 1\n", "only the copy may change");
        assert!(!house.path("outside").exists() && !house.path("place/outside").exists());
    }
}

#[tokio::test]
async fn escape_by_reading_secrets_is_refused() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
for path in [victim + "/secret", "/etc/shadow", "/etc/gshadow", "/root/.bashrc", "/root/.ssh", "/home", "/var/log",
             "/proc/" + more + "/environ", "/proc/" + more + "/mem", "/proc/kcore"]:
    def read():
        if os.path.isdir(path):
            return [entry for entry in os.listdir(path) if entry != "sandbox"] or refuse()
        return open(path, "rb").read(1)
    def refuse():
        raise OSError("empty")
    refused("read " + path, read)
mine = {"HOME", "TMPDIR", "PATH", "LANG", "PWD", "LC_CTYPE"}
print("ESCAPED environment" if set(os.environ) - mine else "no variables", sorted(os.environ))
print("contained")
"#;
        let ours = std::process::id().to_string();
        house.contained(code, &ours).await;
    }
}

#[tokio::test]
async fn escape_by_a_fork_bomb_is_stopped() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        // Bounded, for the sake of the machine should it not be stopped.
        let code = "for _ in range(11): os.fork()\ntime.sleep(1000)";
        let report = house.attack(code, "", limits()).await;
        // An ordinary user's forks fail at the limit of the kernel, so that the program gives up.
        let gave_up = report.output.contains("Resource temporarily unavailable");
        let stopped = matches!(report.ending, Ending::Stopped(Bound::Tasks));
        assert!(stopped || gave_up, "{report:?}");
    }
}

#[tokio::test]
async fn escape_into_another_session_dies_with_the_program() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
if os.fork() == 0:
    for leave in (os.setsid, lambda: os.setpgid(0, 0)):
        try:
            leave()
        except OSError as error:
            print("refused", error)
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(1000)
    os._exit(0)
os.wait()
print("contained", flush=True)
"#;
        house.contained(code, "").await;
    }
}

#[tokio::test]
async fn escape_by_endless_output_is_stopped_and_the_end_kept() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = "while True: print('x' * 1000)";
        let report = house.attack(code, "", limits()).await;
        assert_eq!(report.ending, Ending::Stopped(Bound::Output));
        assert!(report.output_bytes > MIB && report.output.len() == 64 * 1024);
    }
}

#[tokio::test]
async fn escape_by_eating_memory_is_stopped_for_one_and_for_many() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = "held = b'x' * (1 << 30)";
        let report = house.attack(code, "", limits()).await;
        assert!(!report.ending.success(), "{report:?}");
        assert!(report.output.contains("MemoryError"), "{report:?}");
        let code = r"
for _ in range(4):
    if os.fork() == 0:
        break
held = b'x' * (48 << 20)
time.sleep(1000)
";
        let report = house.attack(code, "", limits()).await;
        assert_eq!(report.ending, Ending::Stopped(Bound::Memory), "{report:?}");
    }
    let Some(house) = House::new(Way::Namespaces) else {
        return;
    };
    let code = r#"
for place in ("/tmp", "/dev/shm", os.environ["HOME"]):
    def fill():
        with open(place + "/full", "wb") as f:
            while f.tell() < 256 << 20:
                f.write(b"x" * (1 << 20))
    refused("fill " + place, fill)
print("contained")
"#;
    house.contained(code, "").await;
}

#[tokio::test]
async fn escape_by_filling_the_disk_is_stopped() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
for i in range(10**6):
    with open(f"file{i}", "wb") as f:
        f.write(b"x" * (1 << 20))
    time.sleep(0.005)
"#;
        let report = house.attack(code, "", limits()).await;
        assert_eq!(report.ending, Ending::Stopped(Bound::Disk), "{report:?}");
        let code = r#"open("one", "wb").write(b"x" * (40 << 20))"#;
        let report = house.attack(code, "", limits()).await;
        assert!(
            !report.ending.success(),
            "one file is bounded by the kernel"
        );
    }
}

#[tokio::test]
async fn escape_by_exchanging_a_folder_for_a_link_reaches_nothing() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let copy = house.copy();
        let code = r#"
os.rmdir("package")
os.symlink(victim, "package")
refused("through a link", lambda: open("package/secret").read())
refused("through a link", lambda: open("package/new", "w"))
try:
    os.chmod(".", 0)
except PermissionError as error:
    print("without namespaces:", error)
print("contained")
"#;
        let command = house.python(code, "", limits());
        let report = house
            .sandbox
            .run(&crate::house::context(), &copy, &command)
            .await
            .unwrap();
        assert!(
            report.output.ends_with("contained\n") && !report.output.contains("ESCAPED"),
            "{report:?}"
        );
        drop(copy);
        assert_eq!(fs::read_dir(house.path("place")).unwrap().count(), 0);
        assert!(
            house.path("victim/secret").is_file(),
            "links are not followed"
        );
    }
}

#[tokio::test]
async fn escape_by_changing_what_files_are_besides_their_content_is_refused() {
    use std::os::unix::fs::MetadataExt;
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
path, me = victim + "/secret", os.getuid()
for path in (path, victim):
    refused("chmod", lambda: os.chmod(path, 0))
    refused("utime", lambda: os.utime(path, (0, 0)))
    refused("chown", lambda: os.chown(path, me, os.getgid()))
    refused("lchown", lambda: os.lchown(path, me, os.getgid()))
    refused("setxattr", lambda: os.setxattr(path, "user.x", b"1"))
    refused("removexattr", lambda: os.removexattr(path, "user.x"))
    refused("fchmodat2", lambda: call(452, -100, path.encode(), 0, 0))
    refused("setxattrat", lambda: call(463, -100, path.encode(), 0, b"user.x", 0, 0))
# A descriptor is no way around: what the system shows may be opened for reading.
system = os.open("/usr/bin", os.O_RDONLY)
refused("fchmod", lambda: os.fchmod(system, 0o755))
refused("futime", lambda: os.utime(system))
refused("fchown", lambda: os.fchown(system, -1, -1) if more == "group" else os.fchown(system, 1, 1))
print("contained")
"#;
        let more = if way == Way::Group { "group" } else { "" };
        let secret = house.path("victim/secret");
        let looks = || {
            let meta = fs::metadata(&secret).unwrap();
            let folder = fs::metadata(house.path("victim")).unwrap();
            (
                meta.mode(),
                meta.mtime(),
                meta.uid(),
                folder.mode(),
                folder.ctime(),
            )
        };
        let before = looks();
        house.contained(code, more).await;
        assert_eq!(looks(), before);
    }
}

#[tokio::test]
async fn escape_by_memory_that_nobody_maps_is_refused() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
refused("memory file", lambda: os.memfd_create("x"))
refused("secret memory", lambda: call(447, 0))
libc.shmat.restype = ctypes.c_void_p
def keep():
    identity = libc.shmget(0, ctypes.c_size_t(64 << 20), 0o1600)
    if identity < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    at = libc.shmat(identity, None, 0)
    ctypes.memset(at, 1, 64 << 20)
    libc.shmdt(ctypes.c_void_p(at))
    return "64 MiB held by nobody"
refused("System V memory", keep)
def queue():
    if libc.msgget(0, 0o1600) < 0:
        raise OSError(ctypes.get_errno(), "msgget")
refused("System V messages", queue)
print("contained")
"#;
        house.contained(code, "").await;
    }
}

#[tokio::test]
async fn escape_into_folders_deeper_than_any_path_is_stopped_and_removed() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
name = "d" * 200
for _ in range(3000):
    os.mkdir(name)
    os.chdir(name)
for i in range(200):
    with open(f"file{i}", "wb") as f:
        f.write(b"x" * (1 << 20))
    time.sleep(0.02)
time.sleep(20)
"#;
        let roomy = Limits {
            disk_bytes: 2 * 1024 * MIB,
            ..limits()
        };
        // What is written lies where no path reaches, so the depth itself is the bound.
        let report = house.attack(code, "", roomy).await;
        assert_eq!(report.ending, Ending::Stopped(Bound::Disk), "{report:?}");
    }
}

/// Landlock knows of truncation from Linux 6.2 on only: without namespaces the filter must refuse it by
/// path, also that of a file that is opened for reading.
#[tokio::test]
async fn escape_by_truncating_what_may_only_be_read_is_refused() {
    for way in WAYS {
        let shown = tempfile::tempdir().unwrap();
        let file = shown.path().join("library");
        fs::write(&file, "code").unwrap();
        fs::set_permissions(shown.path(), PermissionsExt::from_mode(0o777)).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        let config = SandboxConfig {
            read_only: vec![shown.path().to_owned()],
            ..SandboxConfig::default()
        };
        let Some(house) = House::with(way, config) else {
            return;
        };
        let code = r#"
path, group = more.rsplit(" ", 1)
assert open(path).read() == "code"
for path in [path] + (["app.py"] if group == "Group" else []):
    refused("truncate " + path, lambda: os.truncate(path, 1))
    for mode in (os.O_RDONLY, 3):
        refused("open to truncate " + path, lambda: os.open(path, mode | os.O_TRUNC))
        refused("open to truncate " + path, lambda: call(257, -100, path.encode(), mode | os.O_TRUNC, 0))
# What a test does.
os.ftruncate(os.open("app.py", os.O_WRONLY), 3)
open("app.py", "w").write("VALUE = 2\n")
print("contained")
"#;
        house
            .contained(code, &format!("{} {way:?}", file.display()))
            .await;
        assert_eq!(fs::read_to_string(&file).unwrap(), "code");
    }
}

#[tokio::test]
async fn escape_by_making_devices_is_refused_and_pipes_are_made() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        // Device 0:0 is one that needs no privilege.
        let code = r#"
for number in (os.makedev(0, 0), os.makedev(1, 1), os.makedev(252, 0)):
    for kind in (0o020000, 0o060000):
        refused("device", lambda: os.mknod("device", kind | 0o600, number))
        refused("device", lambda: call(133, b"device", kind | 0o600, number))
os.mkfifo("pipe")
os.mknod("plain", 0o100600)
print("contained")
"#;
        house.contained(code, "").await;
    }
}

/// A process whose first thread ended is a zombie to the process table, and lives.
#[tokio::test]
async fn escape_behind_a_first_thread_that_ended_is_counted_and_ended() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
import platform, threading
leave = {"x86_64": 60, "aarch64": 93}[platform.machine()]
def eat():
    held = b'x' * (48 << 20)
    print("holds", len(held), flush=True)
    time.sleep(1000)
for _ in range(4):
    if os.fork() == 0:
        threading.Thread(target=eat).start()
        call(leave, 0)
for _ in range(4):
    os.wait()
"#;
        let short = Limits {
            time: Duration::from_secs(10),
            ..limits()
        };
        let report = house.attack(code, "", short).await;
        assert_eq!(report.ending, Ending::Stopped(Bound::Memory), "{report:?}");
    }
}

#[tokio::test]
async fn escape_to_processes_outside_is_refused() {
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let mut bystander = Bystander::new();
        let code = r#"
pid = int(more)
refused("kill", lambda: os.kill(pid, signal.SIGKILL))
refused("stop", lambda: os.kill(pid, signal.SIGSTOP))
refused("pidfd", lambda: os.close(os.pidfd_open(pid)) or signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL))
refused("ptrace attach", lambda: call(101, 16, pid, 0, 0))
refused("ptrace traceme", lambda: call(101, 0, 0, 0, 0))
refused("process_vm_readv", lambda: call(310, pid, 0, 0, 0, 0, 0))
refused("limits", lambda: __import__("resource").prlimit(pid, 7, (0, 0)))
print("contained")
"#;
        let pid = bystander.0.id().to_string();
        house.contained(code, &pid).await;
        assert!(bystander.lives());
    }
}

#[tokio::test]
async fn escape_through_the_kernel_is_refused() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for way in WAYS {
        let Some(house) = House::new(way) else { return };
        let code = r#"
null = ctypes.c_char_p(None)
refused("mount", lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, null))
refused("umount", lambda: call(166, b"/proc", 2))
refused("chroot", lambda: call(161, b"."))
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000)):
    refused("unshare " + name, lambda: call(272, flag))
    refused("clone " + name, lambda: call(56, flag | 17, 0, 0, 0, 0))
refused("setns", lambda: call(308, os.open("/proc/self/ns/net", os.O_RDONLY), 0))
refused("keyctl", lambda: call(250, 0, -3, 0, 0, 0))
refused("add_key", lambda: call(248, b"user", b"name", b"secret", 6, -3))
refused("bpf", lambda: call(321, 0, 0, 0))
refused("io_uring", lambda: call(425, 8, b"\0" * 120))
refused("userfaultfd", lambda: call(323, 0))
refused("perf", lambda: call(298, b"\0" * 128, 0, -1, -1, 0))
refused("clone3", lambda: call(435, b"\0" * 88, 88))
refused("second numbering", lambda: call(39 | 0x40000000))
refused("hostname", lambda: call(170, b"x", 1))
refused("iopl", lambda: call(172, 0))
refused("ioperm", lambda: call(173, 0x80, 1, 0))
refused("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
refused("become root again", lambda: os.setuid(0) if os.getuid() else os.setuid(1))
print("contained")
"#;
        house.contained(code, "").await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests run again as another user"
)]
#[tokio::test]
async fn every_escape_fails_for_an_ordinary_user_too() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    if !is_root {
        engine::missing("not root: the other tests ran as an ordinary user already");
        return;
    }
    let Some(setpriv) = engine::find("setpriv", &["/usr/bin"]) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let test = home.path().join("escapes");
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
    let output = Command::new(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&test)
        .args(["escapes::escape_", "--test-threads=2"])
        .env("TMPDIR", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let ran = said.matches("... ok").count();
    assert!(ran >= 10, "{said}");
}

#[tokio::test]
async fn control_groups_bound_all_processes_where_the_host_has_one() {
    let parent = std::path::Path::new("/sys/fs/cgroup/pids");
    let ours = parent.join(format!("homeostasis-test-{}", std::process::id()));
    if fs::create_dir(&ours).is_err() {
        // Not every machine that runs the suite lets a test have one.
        return;
    }
    let config = SandboxConfig {
        cgroups: vec![ours.clone()],
        ..SandboxConfig::default()
    };
    if let Some(house) = House::with(Way::Namespaces, config) {
        let code = r#"
children = 0
try:
    while children < 200:
        if os.fork() == 0:
            time.sleep(20)
        children += 1
except OSError as error:
    print("refused after", children, error)
print("contained")
"#;
        let roomy = Limits {
            tasks: 30,
            ..limits()
        };
        let report = house.attack(code, "", roomy).await;
        assert!(report.layers.has(Layer::Cgroup), "{:?}", report.layers);
        assert!(
            report.output.contains("refused after")
                || report.ending == Ending::Stopped(Bound::Tasks),
            "{report:?}"
        );
        assert_eq!(processes(&house.token), [0_u32; 0]);
    }
    // Empty again: the group of the program is gone.
    fs::remove_dir(&ours).unwrap();
}
