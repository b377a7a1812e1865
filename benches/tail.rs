//! How fast logs are followed, in bytes of log per second on one thread.
//!
//! `tail` is the whole way: a file is opened, split into lines, joined, understood and made into
//! records; `lines` is the understanding alone. The baseline is `split`: the same bytes split into
//! lines and checked for UTF-8, which nothing that makes records can beat.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::{
    LineFormat, LogLines, LogLinesConfig, LogTail, LogTailConfig, PatternPreset, StartAt,
};

const N_LINES: u32 = 10_000;

/// The same story in each format.
fn logs() -> [(&'static str, LineFormat, String); 5] {
    let mut logs = [
        ("json", LineFormat::Json, String::new()),
        ("logfmt", LineFormat::Logfmt, String::new()),
        (
            "pattern",
            LineFormat::Preset(PatternPreset::AccessLog),
            String::new(),
        ),
        ("plain", LineFormat::Plain, String::new()),
        ("auto", LineFormat::Auto, String::new()),
    ];
    for n in 0..N_LINES {
        let (second, ms) = (n / 100 % 60, n % 1000);
        let at = format!("2026-11-22T01:00:{second:02}.{ms:03}Z");
        let lines = [
            format!(
                r#"{{"ts":"{at}","level":"info","msg":"order accepted","service":"shop","request_id":"r-{n}","order":{n},"took_ms":{ms}}}"#
            ),
            format!(
                r#"ts={at} level=info msg="order accepted" service=shop request_id=r-{n} order={n} took_ms={ms}"#
            ),
            format!(
                r#"203.0.113.9 - - [22/Nov/2026:01:00:{second:02} +0000] "POST /orders/{n} HTTP/1.1" 200 {ms} "-" "curl/8.5""#
            ),
            format!("{at} INFO [main] shop.Orders - order {n} accepted, took {ms} ms"),
            format!("{at} INFO [main] shop.Orders - order {n} accepted, took {ms} ms"),
        ];
        for ((.., log), line) in logs.iter_mut().zip(lines) {
            writeln!(log, "{line}").expect("a String takes everything");
        }
    }
    logs
}

fn bytes(log: &str) -> Throughput {
    Throughput::Bytes(u64::try_from(log.len()).expect("a small file"))
}

fn lines_alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines");
    for (name, format, log) in logs() {
        let config = LogLinesConfig {
            format,
            ..LogLinesConfig::default()
        };
        let lines = LogLines::new(config).expect("a valid configuration");
        group.throughput(bytes(&log));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                log.lines()
                    .filter_map(|line| lines.read(line, Timestamp::EPOCH))
                    .count()
            });
        });
    }
    group.finish();
}

fn whole_tail(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let mut group = c.benchmark_group("tail");
    for (name, format, log) in logs() {
        let path: PathBuf = directory.path().join(name);
        std::fs::write(&path, &log).expect("a file");
        group.throughput(bytes(&log));
        let config = LogTailConfig {
            start_at: StartAt::Beginning,
            max_poll_bytes: 16 << 20,
            lines: LogLinesConfig {
                format,
                ..LogLinesConfig::default()
            },
            ..LogTailConfig::new(&path)
        };
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
                let tail = LogTail::new(config.clone(), clock).expect("a valid configuration");
                runtime.block_on(tail.read()).expect("a file").signals.len()
            });
        });
    }
    let (_, _, log) = &logs()[0];
    let path = directory.path().join("json");
    group.throughput(bytes(log));
    group.bench_function("baseline: split", |b| {
        b.iter(|| {
            let bytes = std::fs::read(&path).expect("a file");
            bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| std::str::from_utf8(line).is_ok())
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, lines_alone, whole_tail);
criterion_main!(benches);
