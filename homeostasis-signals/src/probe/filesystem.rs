//! Writes to a directory and reads it back.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::{Clock, ConfigError, Context, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::blocking::{Blocking, Stop};
use super::check::{Check, Finding, checks};
use super::probing::Probe;
use super::reading::Reading;

/// What is written at once.
const BLOCK: usize = 4096;
/// What a killed run left behind is removed when it is older than this.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Which directory is written to, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesystemProbeConfig {
    /// What the probe is called; it becomes part of the name of its file.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// The directory; it must exist.
    pub directory: PathBuf,
    /// How many blocks of 4 KiB are written, each made durable; default 32, 1 to 1000.
    #[serde(default = "FilesystemProbeConfig::default_operations")]
    pub operations: u32,
    /// Fewer durable writes per second mean degraded; default 100. 0 asks for none.
    #[serde(default = "FilesystemProbeConfig::default_min_iops")]
    pub min_iops: f64,
    /// Fewer free bytes mean unhealthy; default 1 GB. 0 asks for none.
    #[serde(default = "FilesystemProbeConfig::default_min_free_bytes")]
    pub min_free_bytes: u64,
    /// How often it is asked; default 30 s.
    #[serde(
        default = "FilesystemProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take; default 5 s.
    #[serde(
        default = "FilesystemProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl FilesystemProbeConfig {
    /// The defaults for `directory` of `target`.
    pub fn new(name: impl Into<String>, target: Target, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            target,
            directory: directory.into(),
            operations: Self::default_operations(),
            min_iops: Self::default_min_iops(),
            min_free_bytes: Self::default_min_free_bytes(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    fn default_operations() -> u32 {
        32
    }

    fn default_min_iops() -> f64 {
        100.0
    }

    fn default_min_free_bytes() -> u64 {
        1_000_000_000
    }

    fn default_interval() -> Duration {
        Duration::from_secs(30)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }
}

/// Writes a file, makes it durable, reads it back, compares it and removes it.
///
/// It measures `up`, `probe_latency_seconds`, `filesystem_write_iops` (durable writes of 4 KiB per
/// second) and `filesystem_free_bytes`, all with the label `check`, and reports
/// - *healthy:* what was written came back, fast enough;
/// - *degraded:* the same with fewer than `min_iops`;
/// - *unhealthy:* anything else. The detail begins with `missing`, `permission denied`,
///   `read-only`, `full`, `wrong content`, `too little space`, `hangs`, `timeout`, or else names
///   the operation that failed.
///
/// The file `.homeostasis-<name>-<16 random digits>` is made anew in every round, so that any number
/// of processes may share the directory, and never opened through a link. What killed runs left
/// behind is removed in the first round, if it is more than an hour old.
/// The work runs on a thread for blocking work, of which a disk that hangs costs one in all.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{FilesystemProbe, FilesystemProbeConfig};
///
/// let mut config = FilesystemProbeConfig::new("data", Target::service("shop")?, "/var/lib/shop");
/// config.operations = 0;
/// let error = FilesystemProbe::new(config).unwrap_err();
/// assert!(error.to_string().starts_with("operations = 0, expected 1 to 1000"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct FilesystemProbe {
    config: FilesystemProbeConfig,
    blocking: Blocking,
    /// Whether nobody has cleaned up yet.
    is_first: Arc<AtomicBool>,
}

/// What one round measured.
#[derive(Debug, Clone, Copy)]
struct Round {
    iops: f64,
    free_bytes: u64,
}

impl FilesystemProbe {
    /// A probe of a directory.
    ///
    /// # Errors
    /// - The name is empty, longer than 64 bytes, or not made of letters, digits, `-`, `_`, `.`.
    /// - `operations` is not in `1..=1000`, or `min_iops` is negative or not finite.
    /// - The directory is empty, or a duration is zero.
    pub fn new(config: FilesystemProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if config.name.len() > 64 || !config.name.chars().all(is_plain) {
            let expected = "at most 64 letters, digits, '-', '_', '.': it names a file";
            wrong.push(Violation::new(
                "name",
                format!("{:?}", config.name),
                expected,
            ));
        }
        if config.directory.as_os_str().is_empty() {
            wrong.push(Violation::new("directory", "\"\"", "a path"));
        }
        if !(1..=1000).contains(&config.operations) {
            wrong.push(Violation::new("operations", config.operations, "1 to 1000"));
        }
        if !(config.min_iops.is_finite() && config.min_iops >= 0.0) {
            wrong.push(Violation::new("min_iops", config.min_iops, "0 or more"));
        }
        wrong.into_result(Self {
            config,
            blocking: Blocking::default(),
            is_first: Arc::new(AtomicBool::new(true)),
        })
    }

    fn judge(&self, round: Round) -> Finding {
        let (wanted, least) = (self.config.min_iops, self.config.min_free_bytes);
        let Round { iops, free_bytes } = round;
        if free_bytes < least {
            return Finding::unhealthy(format!(
                "too little space: {free_bytes} bytes free, expected {least}"
            ));
        }
        if iops < wanted {
            return Finding::degraded(format!("{iops:.0} writes per second, expected {wanted}"));
        }
        Finding::healthy(format!("{iops:.0} writes per second"))
    }
}

/// The file of one round; removed when the round ends, however it ends.
struct ProbeFile(PathBuf);

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // If this fails, the next round says why or the next but one cleans up.
        let _ = fs::remove_file(&self.0);
    }
}

/// Creates a file that nobody has; a link in its place is an error.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A name that no other round draws, whatever process of whatever machine it runs in. Process ids
/// and the seeds of contexts repeat between containers: this is the system's own chance.
fn unique(prefix: &str) -> String {
    let chance = RandomState::new().build_hasher().finish();
    format!("{prefix}{chance:016x}")
}

fn round(
    config: &FilesystemProbeConfig,
    clock: &dyn Clock,
    is_first: &AtomicBool,
    stop: &Stop,
) -> Result<Round, String> {
    let prefix = format!(".homeostasis-{}-", config.name);
    let path = config.directory.join(unique(&prefix));
    let failed = |what: &str| {
        let directory = config.directory.clone();
        let what = what.to_owned();
        move |error: io::Error| name_of(&error, &what, &directory)
    };
    let free_bytes = free_bytes(&config.directory).map_err(failed("asking for free space"))?;
    let mut file = create(&path).map_err(failed("creating a file"))?;
    let file_of_round = ProbeFile(path);
    let started = clock.now();
    let mut done = 0_u32;
    for n in 0..config.operations {
        if stop.is_asked() {
            return Err("stopped".to_owned());
        }
        file.write_all(&block(n)).map_err(failed("writing"))?;
        file.sync_data().map_err(failed("making a write durable"))?;
        done += 1;
    }
    let took = clock.now().since(started).as_secs_f64();
    drop(file);
    let mut file = File::open(&file_of_round.0).map_err(failed("opening the file again"))?;
    let mut read = vec![0; BLOCK];
    for n in 0..config.operations {
        file.read_exact(&mut read).map_err(failed("reading"))?;
        if read != block(n) {
            return Err(format!("wrong content: block {n} is not what was written"));
        }
    }
    if is_first.load(Ordering::Relaxed) {
        let modified = file.metadata().and_then(|of| of.modified());
        let now = modified.map_err(failed("asking for a time"))?;
        remove_left_behind(config, &prefix, now, stop);
        is_first.store(stop.is_asked(), Ordering::Relaxed);
    }
    Ok(Round {
        iops: f64::from(done) / took.max(1e-9),
        free_bytes,
    })
}

/// A block that tells its number, so that swapped and stale blocks are seen.
fn block(n: u32) -> Vec<u8> {
    n.wrapping_add(1)
        .wrapping_mul(0x9E37_79B9)
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(BLOCK)
        .collect()
}

/// Removes files of killed runs. Their age is told by the file system's own clock, through `now`,
/// the time of a file just written.
fn remove_left_behind(
    config: &FilesystemProbeConfig,
    prefix: &str,
    now: std::time::SystemTime,
    stop: &Stop,
) {
    let Ok(entries) = fs::read_dir(&config.directory) else {
        return;
    };
    for entry in entries.flatten().take_while(|_| !stop.is_asked()) {
        let is_ours = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(prefix))
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_old = || {
            let modified = entry.metadata().ok()?.modified().ok()?;
            now.duration_since(modified).ok()
        };
        if is_ours && is_old().is_some_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let of = rustix::fs::statvfs(directory)?;
    Ok(of.f_bavail.saturating_mul(of.f_frsize))
}

fn name_of(error: &io::Error, what: &str, directory: &Path) -> String {
    let name = match error.kind() {
        io::ErrorKind::NotFound => "missing",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::ReadOnlyFilesystem => "read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "full",
        io::ErrorKind::NotADirectory => "not a directory",
        _ => return format!("{what} in {} failed: {error}", directory.display()),
    };
    format!("{name}: {what} in {}: {error}", directory.display())
}

#[async_trait]
impl Probe for FilesystemProbe {
    checks!(Deep);

    async fn probe(&self, cx: &Context) -> Reading {
        let started = cx.now();
        let (config, clock) = (self.config.clone(), Arc::clone(cx.clock()));
        let is_first = Arc::clone(&self.is_first);
        let done = self
            .blocking
            .run(move |stop| round(&config, &*clock, &is_first, stop))
            .await
            .and_then(|round| round);
        let at = cx.now();
        let check = self.config.check();
        match done {
            Err(why) => check.silent(started, at, Finding::unhealthy(why)),
            Ok(round) => check
                .answered(started, at, self.judge(round))
                .measured(check.measure("filesystem_write_iops", at, round.iops))
                .measured(check.measure("filesystem_free_bytes", at, round.free_bytes as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use homeostasis_core::signal::HealthState;

    use super::super::ask;
    use super::*;
    use crate::testing::{PATIENT, WallClock};

    async fn read(directory: &Path, change: fn(&mut FilesystemProbeConfig)) -> Reading {
        let target = Target::service("shop").unwrap();
        let mut config = FilesystemProbeConfig::new("data", target, directory);
        config.timeout = PATIENT;
        config.min_iops = 0.0;
        config.min_free_bytes = 0;
        change(&mut config);
        let probe = FilesystemProbe::new(config).unwrap();
        ask(&probe, &Context::new(Arc::new(WallClock), 1)).await
    }

    fn told(reading: &Reading) -> (HealthState, String) {
        let report = reading.reports().next().unwrap();
        (report.state, report.detail.clone())
    }

    #[tokio::test]
    async fn a_directory_that_keeps_what_is_written_is_healthy_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let reading = read(directory.path(), |_| {}).await;
        assert_eq!(told(&reading).0, HealthState::Healthy, "{reading:?}");
        assert!(reading.value("filesystem_write_iops").unwrap() > 0.0);
        assert!(reading.value("filesystem_free_bytes").unwrap() > 0.0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn too_slow_is_degraded_and_too_full_is_unhealthy() {
        let directory = tempfile::tempdir().unwrap();
        let slow = read(directory.path(), |config| config.min_iops = 1e12).await;
        assert_eq!(told(&slow).0, HealthState::Degraded);
        let full = read(directory.path(), |config| config.min_free_bytes = u64::MAX).await;
        let (state, detail) = told(&full);
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.starts_with("too little space"), "{detail}");
    }

    #[tokio::test]
    async fn a_missing_directory_and_a_file_in_its_place_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let (state, detail) = told(&read(&directory.path().join("gone"), |_| {}).await);
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.starts_with("missing"), "{detail}");
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let (_, detail) = told(&read(&file, |_| {}).await);
        assert!(detail.starts_with("not a directory"), "{detail}");
    }

    #[tokio::test]
    async fn a_full_device_is_named() {
        // A real device that has no space, reached as a file system would report it.
        let error = File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .write_all(b"x");
        let words = name_of(&error.unwrap_err(), "writing", Path::new("/data"));
        assert!(words.starts_with("full: writing in /data"), "{words}");
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_the_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let link = directory.path().join(unique(".homeostasis-data-"));
        symlink(&victim, &link).unwrap();
        let error = create(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn probes_of_the_same_name_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let rounds = || async {
            for _ in 0..50 {
                let reading = read(directory.path(), |config| config.operations = 4).await;
                assert_eq!(told(&reading).0, HealthState::Healthy, "{reading:?}");
            }
        };
        tokio::join!(rounds(), rounds(), rounds());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_run_left_behind_goes_after_an_hour_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let file = File::create(directory.path().join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            let then: SystemTime = now - Duration::from_secs(age);
            file.set_modified(then).unwrap();
        };
        make(".homeostasis-data-1", 4000);
        make(".homeostasis-data-00c0ffee00c0ffee", 4000);
        make(".homeostasis-data-2", 100);
        make(".homeostasis-data-old", 4000);
        make("orders", 4000);
        read(directory.path(), |_| {}).await;
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected = [".homeostasis-data-2", ".homeostasis-data-old", "orders"];
        assert_eq!(left, expected);
    }
}
