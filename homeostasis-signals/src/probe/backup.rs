//! Looks at the newest backup.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::blocking::{Blocking, Stop};
use super::check::{Check, Finding, checks, lasting};
use super::probing::Probe;
use super::reading::Reading;

/// How the content of a backup is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupChecksum {
    /// Not at all.
    None,
    /// Against a file beside it with `.sha256` at the end of its name, as `sha256sum` writes it.
    #[default]
    Sidecar,
    /// Against this SHA-256, 64 hexadecimal digits.
    Sha256(String),
}

/// Which backups are looked at, and what is expected of the newest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// The folder of the backups, links in it are not followed.
    pub directory: PathBuf,
    /// How the names of backups begin; default anyhow.
    #[serde(default)]
    pub prefix: String,
    /// How they end; default anyhow. Files that end in `.sha256` are never backups.
    #[serde(default)]
    pub suffix: String,
    /// An older one is unhealthy; default 26 h: a day, and time to write it.
    #[serde(
        default = "BackupProbeConfig::default_max_age",
        with = "crate::duration_text"
    )]
    pub max_age: Duration,
    /// A smaller one is unhealthy; default 1.
    #[serde(default = "BackupProbeConfig::default_min_bytes")]
    pub min_bytes: u64,
    /// How its content is checked; default against a file beside it.
    #[serde(default)]
    pub checksum: BackupChecksum,
    /// How often it is asked; default 15 min.
    #[serde(
        default = "BackupProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take, with reading all of the backup; default 30 s.
    #[serde(
        default = "BackupProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl BackupProbeConfig {
    /// The defaults for the backups of `target` in `directory`.
    pub fn new(name: impl Into<String>, target: Target, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            target,
            directory: directory.into(),
            prefix: String::new(),
            suffix: String::new(),
            max_age: Self::default_max_age(),
            min_bytes: Self::default_min_bytes(),
            checksum: BackupChecksum::default(),
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

    fn default_max_age() -> Duration {
        Duration::from_secs(26 * 3600)
    }

    fn default_min_bytes() -> u64 {
        1
    }

    fn default_interval() -> Duration {
        Duration::from_secs(15 * 60)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(30)
    }
}

/// Looks at the newest backup in a folder: that there is one, its age, its size, its checksum.
///
/// It measures `up`, `probe_latency_seconds`, `backup_age_seconds` and `backup_size_bytes`, all
/// with the label `check`, and reports *healthy* or *unhealthy*; the detail then begins with
/// `missing`, `too old`, `too small`, `checksum`, `hangs`, `timeout`, or says what could not be
/// read. A backup dated in the future has the age 0.
/// With [`BackupChecksum::Sidecar`] a backup counts once its checksum is there: one that is still
/// being written does not hide the one before, whose age is judged.
///
/// All of the backup is read for its checksum (O(size) time, constant memory, on a thread for
/// blocking work): give it the time, or check the content where the backup is made.
/// Whether it can be restored only a restore tells: give that to an [`FnProbe`](super::FnProbe).
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{BackupChecksum, BackupProbe, BackupProbeConfig};
///
/// let mut config = BackupProbeConfig::new("nightly", Target::service("shop")?, "/var/backups/shop");
/// config.suffix = ".dump".to_owned();
/// config.checksum = BackupChecksum::Sha256("abc".to_owned());
/// let error = BackupProbe::new(config).unwrap_err();
/// assert!(error.to_string().contains("64 hexadecimal digits"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct BackupProbe {
    config: BackupProbeConfig,
    blocking: Blocking,
}

/// The newest backup.
#[derive(Debug)]
struct Newest {
    path: PathBuf,
    size: u64,
    age: Duration,
    /// What is wrong with its content.
    content: Option<String>,
}

impl BackupProbe {
    /// A probe of the newest backup.
    ///
    /// # Errors
    /// - The name or the directory is empty.
    /// - A duration is zero.
    /// - The checksum is not 64 hexadecimal digits.
    pub fn new(config: BackupProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        lasting(&mut wrong, "max_age", config.max_age);
        if config.directory.as_os_str().is_empty() {
            wrong.push(Violation::new("directory", "\"\"", "a path"));
        }
        if let BackupChecksum::Sha256(digits) = &config.checksum
            && !is_sha256(digits)
        {
            let found = format!("{digits:?}");
            wrong.push(Violation::new("checksum", found, "64 hexadecimal digits"));
        }
        wrong.into_result(Self {
            config,
            blocking: Blocking::default(),
        })
    }

    fn judge(&self, newest: &Newest) -> Finding {
        let Newest { size, age, .. } = *newest;
        let (path, config) = (newest.path.display(), &self.config);
        if age > config.max_age {
            let wanted = config.max_age;
            return Finding::unhealthy(format!("too old: {path} of {age:?}, at most {wanted:?}"));
        }
        if size < config.min_bytes {
            let wanted = config.min_bytes;
            let detail = format!("too small: {path} has {size} bytes, expected {wanted}");
            return Finding::unhealthy(detail);
        }
        match &newest.content {
            Some(why) => Finding::unhealthy(why.clone()),
            None => Finding::healthy(format!("{path}: {size} bytes, {age:?} old")),
        }
    }
}

/// A file that may be the newest backup: those that are complete come last in the order, and of them
/// the newest. One that is being written has no checksum yet, and does not hide the one before.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    is_complete: bool,
    modified: SystemTime,
    size: u64,
    path: PathBuf,
}

/// The file of the checksum of `backup`.
fn sidecar(backup: &Path) -> PathBuf {
    let mut beside = backup.as_os_str().to_owned();
    beside.push(".sha256");
    PathBuf::from(beside)
}

/// Whether there is something in the file at `path`: one that is about to be written is empty.
fn has_text(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.len() > 0)
}

fn look(config: &BackupProbeConfig, now: Timestamp, stop: &Stop) -> Result<Newest, String> {
    let directory = config.directory.display();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("missing: {directory}: {error}"),
        io::ErrorKind::PermissionDenied => format!("permission denied: {directory}: {error}"),
        _ => format!("{directory} cannot be read: {error}"),
    };
    let needs_sidecar = config.checksum == BackupChecksum::Sidecar;
    let mut newest: Option<Candidate> = None;
    for entry in fs::read_dir(&config.directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_backup = name.starts_with(&config.prefix)
            && name.ends_with(&config.suffix)
            && !name.ends_with(".sha256");
        if !is_backup {
            continue;
        }
        // `DirEntry::metadata` does not follow links.
        let about = match entry.metadata() {
            Ok(about) if about.is_file() => about,
            Ok(_) => continue,
            // Renamed or removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let path = entry.path();
        let found = Candidate {
            is_complete: !needs_sidecar || has_text(&sidecar(&path)),
            modified: about.modified().map_err(failed)?,
            size: about.len(),
            path,
        };
        if newest.as_ref().is_none_or(|best| found > *best) {
            newest = Some(found);
        }
    }
    let Some(Candidate {
        modified,
        size,
        path,
        ..
    }) = newest
    else {
        let (prefix, suffix) = (&config.prefix, &config.suffix);
        return Err(format!("missing: no file {prefix}*{suffix} in {directory}"));
    };
    let since_epoch = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Newest {
        age: now.since(Timestamp::EPOCH + since_epoch),
        content: content(&config.checksum, &path, stop).err(),
        path,
        size,
    })
}

/// Compares the content with its checksum.
fn content(checksum: &BackupChecksum, path: &Path, stop: &Stop) -> Result<(), String> {
    let wanted = match checksum {
        BackupChecksum::None => return Ok(()),
        BackupChecksum::Sha256(digits) => digits.clone(),
        BackupChecksum::Sidecar => {
            let beside = sidecar(path);
            let text = read_start(&beside)
                .map_err(|error| format!("checksum: {}: {error}", beside.display()))?;
            let digits = text.split_whitespace().next().unwrap_or_default();
            if !is_sha256(digits) {
                return Err(format!(
                    "checksum: {} begins with {:?}, expected 64 hexadecimal digits",
                    beside.display(),
                    digits.chars().take(80).collect::<String>()
                ));
            }
            digits.to_owned()
        }
    };
    let found = sha256(path, stop).map_err(|error| format!("checksum: {error}"))?;
    if found.eq_ignore_ascii_case(&wanted) {
        return Ok(());
    }
    Err(format!(
        "checksum: {} has {found}, expected {wanted}",
        path.display()
    ))
}

/// The first 4 KiB of a small text.
fn read_start(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sha256(path: &Path, stop: &Stop) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut chunk) = (hmac_sha256::Hash::new(), vec![0; 256 * 1024]);
    loop {
        if stop.is_asked() {
            return Err(io::Error::other("stopped"));
        }
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        }))
}

#[async_trait]
impl Probe for BackupProbe {
    checks!(Comprehensive);

    async fn probe(&self, cx: &Context) -> Reading {
        let (started, config) = (cx.now(), self.config.clone());
        let looked = self
            .blocking
            .run(move |stop| look(&config, started, stop))
            .await
            .and_then(|newest| newest);
        let at = cx.now();
        let check = self.config.check();
        match looked {
            Err(why) => check.silent(started, at, Finding::unhealthy(why)),
            Ok(newest) => check
                .answered(started, at, self.judge(&newest))
                .measured(check.measure("backup_age_seconds", at, newest.age.as_secs_f64()))
                .measured(check.measure("backup_size_bytes", at, newest.size as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::signal::HealthState;

    use super::super::ask;
    use super::*;
    use crate::testing::WallClock;

    /// Of the three letters `abc`, as FIPS 180-4 gives it.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    async fn found(directory: &Path, checksum: BackupChecksum) -> (HealthState, String) {
        let target = Target::service("shop").unwrap();
        let mut config = BackupProbeConfig::new("nightly", target, directory);
        config.suffix = ".dump".to_owned();
        config.checksum = checksum;
        let probe = BackupProbe::new(config).unwrap();
        let reading = ask(&probe, &Context::new(Arc::new(WallClock), 1)).await;
        let report = reading.reports().next().unwrap();
        (report.state, report.detail.clone())
    }

    fn backup(directory: &Path, name: &str, text: &str, age: Duration) {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - age).unwrap();
    }

    #[tokio::test]
    async fn the_newest_backup_counts_and_its_checksum_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        backup(folder.path(), "a.dump", "old and broken", hour * 50);
        backup(folder.path(), "b.dump", "abc", hour);
        backup(
            folder.path(),
            "c.txt",
            "newer, but no backup",
            Duration::ZERO,
        );
        let sum = format!("{ABC}  b.dump\n");
        fs::write(folder.path().join("b.dump.sha256"), sum).unwrap();
        let (state, detail) = found(folder.path(), BackupChecksum::Sidecar).await;
        assert_eq!(state, HealthState::Healthy, "{detail}");
        assert!(detail.contains("b.dump: 3 bytes"), "{detail}");

        backup(folder.path(), "b.dump", "abd", hour);
        let (state, detail) = found(folder.path(), BackupChecksum::Sha256(ABC.to_owned())).await;
        assert_eq!(state, HealthState::Unhealthy);
        assert!(
            detail.starts_with("checksum: ") && detail.contains(ABC),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn a_backup_that_is_being_written_does_not_hide_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        backup(folder.path(), "a.dump", "abc", hour);
        fs::write(folder.path().join("a.dump.sha256"), ABC).unwrap();
        backup(folder.path(), "b.dump", "ab", Duration::ZERO);
        fs::write(folder.path().join("b.dump.sha256"), "").unwrap();
        let (state, detail) = found(folder.path(), BackupChecksum::Sidecar).await;
        assert_eq!(state, HealthState::Healthy, "{detail}");
        assert!(detail.contains("a.dump: 3 bytes"), "{detail}");
        backup(folder.path(), "a.dump", "abc", hour * 27);
        let (_, detail) = found(folder.path(), BackupChecksum::Sidecar).await;
        assert!(detail.starts_with("too old"), "{detail}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_that_come_and_go_meanwhile_are_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        backup(folder.path(), "a.dump", "abc", Duration::ZERO);
        let (path, stop) = (folder.path().to_owned(), Stop::default());
        let stopped = stop.clone();
        let churn = std::thread::spawn(move || {
            while !stopped.is_asked() {
                for name in ["x.tmp", "y.tmp", "y.dump"] {
                    let file = path.join(name);
                    fs::write(&file, "half").unwrap();
                    fs::remove_file(&file).unwrap();
                }
            }
        });
        for _ in 0..2000 {
            let target = Target::service("shop").unwrap();
            let mut config = BackupProbeConfig::new("nightly", target, folder.path());
            config.suffix = ".dump".to_owned();
            config.checksum = BackupChecksum::None;
            let looked = look(&config, Timestamp::EPOCH, &Stop::default());
            assert!(looked.is_ok(), "{looked:?}");
        }
        stop.ask();
        churn.join().unwrap();
    }

    #[tokio::test]
    async fn no_backup_an_old_one_an_empty_one_and_a_lost_checksum_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (state, detail) = found(folder.path(), BackupChecksum::None).await;
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.starts_with("missing: no file *.dump"), "{detail}");
        backup(folder.path(), "a.dump", "", Duration::from_secs(27 * 3600));
        let (_, detail) = found(folder.path(), BackupChecksum::None).await;
        assert!(detail.starts_with("too old"), "{detail}");
        backup(folder.path(), "a.dump", "", Duration::ZERO);
        let (_, detail) = found(folder.path(), BackupChecksum::None).await;
        assert!(detail.starts_with("too small"), "{detail}");
        backup(folder.path(), "a.dump", "abc", Duration::ZERO);
        let (_, detail) = found(folder.path(), BackupChecksum::Sidecar).await;
        assert!(detail.starts_with("checksum: "), "{detail}");
        let (_, detail) = found(&folder.path().join("gone"), BackupChecksum::None).await;
        assert!(detail.starts_with("missing"), "{detail}");
    }
}
