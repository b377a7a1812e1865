//! How fast secrets are taken out of logs, in bytes of text a second on one thread.
//!
//! The baseline beside it is what one writes first: all expressions of the table in one alternation,
//! run over every line. It knows values only, no names of fields, and so does less.

use std::borrow::Cow;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::Rng;
use homeostasis::core::port::Redactor;
use homeostasis::signals::SecretRedactor;
use regex::Regex;

/// Lines of a log.
const LINES: usize = 10_000;

/// Lines as services write them.
const SHAPES: [&str; 8] = [
    "2025-11-22T05:20:09.{}Z  INFO http{request_id={}}: served GET /carts/{}/items status=200 took={}ms",
    "2025-11-22 05:20:09,{} DEBUG [pool-{}-thread-{}] o.a.c.s.ConnectionPool - 17 idle, {} in use",
    r#"{"ts":"2025-11-22T05:20:09.{}Z","level":"info","logger":"orders","msg":"booked","order":{},"amount":{},"items":{}}"#,
    "Nov 22 05:20:{} host-{} sshd[{}]: Accepted publickey for deploy from 10.0.0.{} port 50122 ssh2",
    "level=warn component=cache shard={} msg=\"slow lookup\" key=user:{} took={} hits={}",
    "Failed password for invalid user admin from 10.0.{}.{} port {} ssh2 (attempt {})",
    "    at com.example.orders.OrderService.book(OrderService.java:{}) ~[orders-1.{}.{}.jar:{}]",
    "GC pause (young) {}M->{}M({}M) {} ms",
];

/// Lines with a secret, `{}` in its place.
const SECRETS: [&str; 4] = [
    "login failed: user=ann password=s3cr{}t",
    "cannot reach postgres://shop:pw{}@db:5432/orders",
    "> Authorization: Bearer k7Qx{}AbCdEfGhIjKl",
    r#"{"msg":"token refreshed","access_token":"tok{}AbCdEfGh"}"#,
];

fn filled(shape: &str, rng: &mut Rng) -> String {
    let mut line = String::new();
    for (i, part) in shape.split("{}").enumerate() {
        if i > 0 {
            line.push_str(&(rng.next_u64() % 100_000).to_string());
        }
        line.push_str(part);
    }
    line
}

/// A log in which one line of `one_in` holds a secret; none with 0.
fn log(one_in: usize) -> Vec<String> {
    let mut rng = Rng::from_seed(7);
    let line = |i: usize| {
        if one_in > 0 && i.is_multiple_of(one_in) {
            filled(SECRETS[i / one_in % SECRETS.len()], &mut rng)
        } else {
            filled(SHAPES[i % SHAPES.len()], &mut rng)
        }
    };
    (0..LINES).map(line).collect()
}

fn alternation() -> Regex {
    let all: Vec<_> = SecretRedactor::expressions()
        .map(|(_, regex)| {
            regex
                .replace("(?P<secret>", "(?:")
                .replace(r"\b", r"(?-u:\b)")
        })
        .map(|regex| format!("(?:{regex})"))
        .collect();
    Regex::new(&all.join("|")).expect("the table's expressions are sound")
}

fn redaction(c: &mut Criterion) {
    let redactor = SecretRedactor::default();
    let naive = alternation();
    let mut group = c.benchmark_group("redaction");
    group.sample_size(20);
    for (name, one_in) in [
        ("without secrets", 0),
        ("one line of 100 with a secret", 100),
    ] {
        let lines = log(one_in);
        let hit = lines
            .iter()
            .filter(|line| matches!(redactor.text(line), Cow::Owned(_)));
        assert_eq!(hit.count(), LINES.checked_div(one_in).unwrap_or(0));
        let bytes: usize = lines.iter().map(String::len).sum();
        group.throughput(Throughput::BytesDecimal(bytes as u64));
        group.bench_with_input(
            BenchmarkId::new("SecretRedactor", name),
            &lines,
            |b, lines| {
                b.iter(|| {
                    lines
                        .iter()
                        .map(|line| redactor.text(line).len())
                        .sum::<usize>()
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("one alternation", name),
            &lines,
            |b, lines| {
                b.iter(|| {
                    let redacted = |line: &String| naive.replace_all(line, "[redacted]").len();
                    lines.iter().map(redacted).sum::<usize>()
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, redaction);
criterion_main!(benches);
