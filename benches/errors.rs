//! How fast stack traces are joined and read, in bytes of text a second on one thread.
//!
//! The baseline beside it is what one writes first: an expression for the header of each language,
//! run over every line. It finds where an error begins and says nothing about it.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::Timestamp;
use homeostasis::core::port::Enricher;
use homeostasis::core::signal::{Level, LogRecord};
use homeostasis::signals::{ErrorNormalizer, TraceJoiner, TraceJoinerConfig};
use regex::RegexSet;

/// One trace of each language.
const TRACES: [(&str, &str); 5] = [
    (
        "rust",
        "thread 'main' panicked at src/orders.rs:42:17:\nindex out of bounds: the len is 3 but the index is 7\nstack backtrace:\n   0: core::panicking::panic_bounds_check\n             at /rustc/59807616e1fa/library/core/src/panicking.rs:281:5\n   1: shop::orders::book::h0123456789abcdef\n             at ./src/orders.rs:42:17\n   2: shop::main\n             at ./src/main.rs:9:5",
    ),
    (
        "python",
        "Traceback (most recent call last):\n  File \"/srv/app/orders.py\", line 42, in book\n    price = prices[sku]\n            ~~~~~~^^^^^\nKeyError: 'A-7'\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/srv/app/main.py\", line 9, in handle\n    book(order)\n  File \"/srv/app/orders.py\", line 44, in book\n    raise OrderError(sku) from error\norders.OrderError: A-7",
    ),
    (
        "java",
        "Exception in thread \"main\" java.lang.IllegalStateException: no price\n\tat com.shop.Orders.book(Orders.java:42)\n\tat com.shop.Main.main(Main.java:9)\nCaused by: java.net.ConnectException: Connection refused\n\tat java.base/sun.nio.ch.Net.pollConnect(Native Method)\n\tat com.shop.Prices.of(Prices.java:17)\n\t... 2 more",
    ),
    (
        "javascript",
        "/srv/app/orders.js:42\n    throw new OrderError(sku, { cause });\n    ^\n\nOrderError: A-7\n    at book (/srv/app/orders.js:42:11)\n    at async handle (/srv/app/main.js:9:3)\n    at node:internal/process/task_queues:95:5 {\n  [cause]: TypeError: Cannot read properties of undefined (reading 'price')\n      at priceOf (/srv/app/prices.js:17:20)\n}\n\nNode.js v20.20.2",
    ),
    (
        "go",
        "panic: runtime error: index out of range [7] with length 3\n\ngoroutine 1 [running]:\nmain.book(0x7, {0xc000012345, 0x3, 0x3})\n\t/srv/app/orders.go:42 +0x1d\nmain.main()\n\t/srv/app/main.go:9 +0x65\nexit status 2",
    ),
];

const HEADERS: [&str; 5] = [
    r"^thread '.*' panicked at ",
    r"^Traceback \(most recent call last\):",
    r"^(Exception in thread .* )?[\w.$]+(Exception|Error)(: .*)?$",
    r"^\w*Error: ",
    r"^(panic|fatal error): ",
];

/// Lines without an error, as services write them.
fn clean() -> String {
    let mut text = String::new();
    for n in 0..1000 {
        let at = format_args!("2026-11-22T05:20:09.{n:03}Z");
        let _ = writeln!(
            text,
            "{at}  INFO http{{request_id={n}}}: served GET /carts/{n} status=200"
        );
    }
    text
}

fn errors(c: &mut Criterion) {
    let normalizer = ErrorNormalizer::default();
    let naive = RegexSet::new(HEADERS).expect("the expressions are sound");
    let mut group = c.benchmark_group("errors");
    let clean = clean();
    let texts = TRACES.iter().map(|(name, text)| (*name, *text));
    for (name, text) in texts.chain([("clean", clean.as_str())]) {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("normalize", name), text, |b, text| {
            b.iter(|| {
                let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, text);
                normalizer.enrich(&mut record);
                black_box(record.error)
            });
        });
        group.bench_with_input(BenchmarkId::new("join", name), text, |b, text| {
            b.iter(|| {
                let joiner = TraceJoiner::new(TraceJoinerConfig::default());
                let mut joiner = joiner.expect("the defaults are sound");
                let mut n = 0;
                for line in text.lines() {
                    n += joiner.push(line, Timestamp::EPOCH).count();
                }
                n + joiner.flush().count()
            });
        });
        group.bench_with_input(BenchmarkId::new("naive headers", name), text, |b, text| {
            b.iter(|| text.lines().filter(|line| naive.is_match(line)).count());
        });
    }
    group.finish();
}

criterion_group!(benches, errors);
criterion_main!(benches);
