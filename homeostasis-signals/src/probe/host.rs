//! Looks at the machine the process runs on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{ConfigError, Context, Target, Violation, Violations};
use sysinfo::System;

use super::blocking::{Blocking, Stop};
use super::check::{lasting, named};
use super::probing::Probe;
use super::reading::Reading;
use crate::measurement::Measurement;

/// Which machine is looked at, and how often.
#[derive(Debug, Clone)]
pub struct HostProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Who runs on the machine: its series carry this service and instance.
    pub target: Target,
    /// Paths whose file systems are measured; default `/`.
    pub disks: Vec<PathBuf>,
    /// How often it is looked at; default 10 s.
    pub interval: Duration,
}

impl HostProbeConfig {
    /// The defaults for the machine of `target`.
    pub fn new(name: impl Into<String>, target: Target) -> Self {
        Self {
            name: name.into(),
            target,
            disks: vec![PathBuf::from("/")],
            interval: Duration::from_secs(10),
        }
    }
}

/// Looks how much of the machine is used.
///
/// It measures
/// - `host_cpu_ratio`, the share of all cores that was busy since the last look (from the second
///   look on; on Linux also what waited for a disk counts as idle), and `host_cpu_count`,
/// - `host_memory_used_ratio`, `host_memory_available_bytes` (what can be given without swapping),
///   `host_swap_used_bytes`,
/// - for each disk `host_disk_used_ratio` and `host_disk_free_bytes` for users without privileges,
///   with the label `path` (Unix),
/// - `host_load1`, the processes that ran or waited over one minute (Unix),
/// - `host_threads`, `host_open_fds`, `host_max_fds`, and of the network namespace
///   `host_tcp_connections` (established) and `host_tcp_time_wait` (Linux).
///
/// In a container memory and processors are those of the machine and not of the limits.
/// It reports *healthy*, or *degraded* with the reason if a disk cannot be measured; the detail
/// names what this system does not tell. Whether a value is too high is a detector's question.
///
/// A look reads some small files on a thread for blocking work, so it needs a tokio runtime; a file
/// system that hangs holds up one such thread, and looks are unhealthy until it comes back.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::{Context, ManualClock, Target, Timestamp};
/// use homeostasis::signals::{HostProbe, HostProbeConfig, Probe};
///
/// let probe = HostProbe::new(HostProbeConfig::new("host", Target::service("shop")?))?;
/// let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1);
/// let used = probe.probe(&cx).await.value("host_memory_used_ratio").unwrap();
/// assert!(used > 0.0 && used < 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HostProbe {
    config: HostProbeConfig,
    machine: Arc<Mutex<Machine>>,
    blocking: Blocking,
}

#[derive(Debug)]
struct Machine {
    system: System,
    /// Whether processor time was read before.
    looked: bool,
}

/// Values by metric and, of disks, path.
type Values = Vec<(&'static str, Option<PathBuf>, f64)>;

/// What a look gives.
#[derive(Debug, Default)]
struct Seen {
    values: Values,
    /// Disks that could not be measured, and why.
    problems: Vec<String>,
    /// What this system does not tell.
    untold: Vec<&'static str>,
}

impl HostProbe {
    /// A probe.
    ///
    /// # Errors
    /// - The name is empty.
    /// - The path of a disk is empty.
    /// - The interval is zero.
    pub fn new(config: HostProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        named(&mut wrong, &config.name);
        for (n, path) in config.disks.iter().enumerate() {
            if path.as_os_str().is_empty() {
                let place = format!("disks[{n}]");
                wrong.push(Violation::new(place, "\"\"", "a path on the file system"));
            }
        }
        lasting(&mut wrong, "interval", config.interval);
        wrong.into_result(Self {
            config,
            machine: Arc::new(Mutex::new(Machine {
                system: System::new(),
                looked: false,
            })),
            blocking: Blocking::default(),
        })
    }
}

impl Machine {
    fn look(&mut self, disks: &[PathBuf], stop: &Stop) -> Seen {
        self.system.refresh_memory();
        self.system.refresh_cpu_usage();
        let mut seen = Seen::default();
        if self.looked {
            seen.value(
                "host_cpu_ratio",
                f64::from(self.system.global_cpu_usage()) / 100.0,
            );
        }
        self.looked = true;
        seen.value("host_cpu_count", self.system.cpus().len() as f64);
        let (total, available) = (self.system.total_memory(), self.system.available_memory());
        if total > 0 {
            let used = total.saturating_sub(available) as f64 / total as f64;
            seen.value("host_memory_used_ratio", used);
            seen.value("host_memory_available_bytes", available as f64);
            seen.value("host_swap_used_bytes", self.system.used_swap() as f64);
        }
        // A disk may hang until nobody waits for the others any more.
        for disk in disks.iter().take_while(|_| !stop.is_asked()) {
            seen.disk(disk);
        }
        if cfg!(unix) {
            seen.value("host_load1", System::load_average().one);
        } else {
            seen.untold.push("host_load1");
        }
        seen.kernel();
        seen
    }
}

impl Seen {
    fn value(&mut self, metric: &'static str, value: f64) {
        self.values.push((metric, None, value));
    }

    #[cfg(unix)]
    fn disk(&mut self, path: &Path) {
        match rustix::fs::statvfs(path) {
            Ok(of) if of.f_blocks > 0 => {
                let free = of.f_bavail as f64;
                // As `df` does: what only root may still use counts as neither used nor free.
                let used = of.f_blocks.saturating_sub(of.f_bfree) as f64;
                let free_bytes = free * of.f_frsize as f64;
                let used_ratio = used / (used + free).max(1.0);
                for (metric, value) in [
                    ("host_disk_used_ratio", used_ratio),
                    ("host_disk_free_bytes", free_bytes),
                ] {
                    self.values.push((metric, Some(path.to_owned()), value));
                }
            }
            Ok(_) => self.problems.push(format!(
                "disk {}: a file system without blocks",
                path.display()
            )),
            Err(error) => self
                .problems
                .push(format!("disk {}: {error}", path.display())),
        }
    }

    #[cfg(not(unix))]
    fn disk(&mut self, _: &Path) {
        self.untold.push("host_disk_used_ratio");
    }

    /// What only Linux tells, each in a file of a line or two.
    fn kernel(&mut self) {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let threads = read("/proc/loadavg");
        let files = read("/proc/sys/fs/file-nr");
        let sockets = read("/proc/net/sockstat");
        let counters = read("/proc/net/snmp");
        for (metric, value) in [
            ("host_threads", n_threads(&threads)),
            ("host_open_fds", nth_number(&files, 0)),
            ("host_max_fds", nth_number(&files, 2)),
            ("host_tcp_connections", snmp_tcp(&counters, "CurrEstab")),
            ("host_tcp_time_wait", sockstat_tcp(&sockets, "tw")),
        ] {
            match value {
                Some(value) => self.value(metric, value),
                None => self.untold.push(metric),
            }
        }
    }
}

fn nth_number(text: &str, n: usize) -> Option<f64> {
    text.split_whitespace().nth(n)?.parse().ok()
}

/// All threads of `0.20 0.18 0.12 1/80 11206`.
fn n_threads(loadavg: &str) -> Option<f64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// The number after `name` in the line `TCP: inuse 7 orphan 1 tw 380 alloc 7 mem 108`.
fn sockstat_tcp(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// The number under `name` in the two lines of `Tcp:`, names first.
fn snmp_tcp(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|word| word == name)?;
    nth_number(values, place)
}

#[async_trait]
impl Probe for HostProbe {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.config.target)
    }

    fn interval(&self) -> Duration {
        self.config.interval
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let (at, target) = (cx.now(), &self.config.target);
        let (machine, disks) = (Arc::clone(&self.machine), self.config.disks.clone());
        let seen = self.blocking.run(move |stop| {
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.look(&disks, stop)
        });
        let report = |state| HealthReport::new(at, target.clone(), self.name(), state);
        let seen = match seen.await {
            Ok(seen) => seen,
            Err(reason) => {
                return Reading::default().reporting(report(HealthState::Unhealthy).saying(reason));
            }
        };
        let mut reading = Reading::default();
        for (metric, path, value) in seen.values {
            let measurement = Measurement::of(target, metric, at, value);
            reading.measurements.push(match path {
                Some(path) => measurement.with("path", path.display().to_string()),
                None => measurement,
            });
        }
        let mut detail = seen.problems;
        let state = if detail.is_empty() {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        };
        if !seen.untold.is_empty() {
            detail.push(format!(
                "this system does not tell {}",
                seen.untold.join(", ")
            ));
        }
        reading.reporting(report(state).saying(detail.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;

    fn config(disks: &[&Path]) -> HostProbeConfig {
        HostProbeConfig {
            disks: disks.iter().map(PathBuf::from).collect(),
            ..HostProbeConfig::new("host", Target::service("shop").unwrap())
        }
    }

    #[tokio::test]
    async fn the_machine_is_measured_and_a_disk_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let probe = HostProbe::new(config(&[directory.path(), &missing])).unwrap();
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(1))), 1);
        let reading = probe.probe(&cx).await;
        let report = reading.reports().next().unwrap();
        assert_eq!(reading.value("host_cpu_ratio"), None);
        let value = |metric| reading.value(metric).unwrap();
        assert!(value("host_cpu_count") >= 1.0);
        assert!((0.01..1.0).contains(&value("host_memory_used_ratio")));
        assert!(value("host_memory_available_bytes") > 1e6);
        if cfg!(unix) {
            assert_eq!(report.state, HealthState::Degraded);
            assert!(report.detail.starts_with("disk ") && report.detail.contains("missing"));
            assert!((0.0..=1.0).contains(&value("host_disk_used_ratio")));
            let disks = reading.measurements.iter();
            let disks = disks.filter(|m| m.key.metric == "host_disk_free_bytes");
            let paths: Vec<_> = disks.map(|m| m.key.labels["path"].clone()).collect();
            assert_eq!(paths, [directory.path().display().to_string()]);
            assert!(value("host_load1") >= 0.0);
        }
        if cfg!(target_os = "linux") {
            assert!(value("host_threads") > 1.0);
            assert!(value("host_open_fds") > 1.0 && value("host_max_fds") > value("host_open_fds"));
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let streams: Vec<_> = (0..20)
                .map(|_| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap())
                .collect();
            let reading = probe.probe(&cx).await;
            assert!(reading.value("host_tcp_connections").unwrap() >= 40.0);
            assert!(reading.value("host_tcp_time_wait").unwrap() >= 0.0);
            drop(streams);
            assert!(
                !report.detail.contains("does not tell"),
                "{}",
                report.detail
            );
        }
        // The second look has an interval.
        tokio::time::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await;
        let ratio = probe.probe(&cx).await.value("host_cpu_ratio").unwrap();
        assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_kernel_s_lines_are_read_and_broken_ones_are_not() {
        assert_eq!(n_threads("0.20 0.18 0.12 1/80 11206\n"), Some(80.0));
        assert_eq!(n_threads("0.20 0.18"), None);
        assert_eq!(
            nth_number("1248\t0\t9223372036854775807\n", 0),
            Some(1248.0)
        );
        let text =
            "sockets: used 34\nTCP: inuse 7 orphan 1 tw 380 alloc 7 mem 108\nUDP: inuse 5 mem 0\n";
        assert_eq!(sockstat_tcp(text, "inuse"), Some(7.0));
        assert_eq!(sockstat_tcp(text, "tw"), Some(380.0));
        assert_eq!(sockstat_tcp(text, "gone"), None);
        assert_eq!(sockstat_tcp("", "tw"), None);
        let text = "Ip: A B\nIp: 1 2\nTcp: MaxConn CurrEstab InSegs\nTcp: -1 12 5\n";
        assert_eq!(snmp_tcp(text, "CurrEstab"), Some(12.0));
        assert_eq!(snmp_tcp(text, "MaxConn"), Some(-1.0));
        assert_eq!(snmp_tcp(text, "B"), None);
        assert_eq!(snmp_tcp("Tcp: CurrEstab\n", "CurrEstab"), None);
    }

    #[test]
    fn all_that_is_wrong_with_a_configuration_is_said_at_once() {
        let mut wrong = config(&[Path::new("/"), Path::new("")]);
        wrong.name.clear();
        wrong.interval = Duration::ZERO;
        let error = HostProbe::new(wrong).unwrap_err().to_string();
        for part in ["name", "disks[1]", "interval"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
