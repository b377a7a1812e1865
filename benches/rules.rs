//! What one error costs with few rules and with many, and what loading the shipped ones costs.
//!
//! Generated rules are of the shape of shipped ones: fixed words, one of them of this rule alone, a named
//! group and a number; common words are shared by all.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homeostasis::core::Rng;
use homeostasis::rca::{ErrorText, RuleSet};

const COMMON: [&str; 6] = [
    "connection",
    "table",
    "request",
    "could not",
    "failed",
    "error",
];

/// A word that only rule `number` has.
fn word(number: usize) -> String {
    format!("w{number:06}q")
}

/// In documents of 500 rules: one may not have more than 20,000 values.
fn rules(n: usize) -> RuleSet {
    let mut documents = Vec::new();
    for number in 0..n {
        if number % 500 == 0 {
            documents.push("rules:\n".to_owned());
        }
        let (word, common) = (word(number), COMMON[number % COMMON.len()]);
        let text = documents.last_mut().expect("the first is there");
        let _ = write!(
            text,
            "- id: made.r{number}\n  title: Made up.\n  pattern: '(?i)\\b{common} {word} of (?<name>[a-z]+) (?:at|in) [0-9]+'\n  \
             category: network\n  cause: x\n  confidence: 0.8\n  examples: ['{common} {word} of a in 1']\n"
        );
    }
    RuleSet::load(documents.iter().map(|text| ("made.yaml", text.as_str()))).expect("sound rules")
}

/// Errors of several lines; every other one is that of one of the first `n` rules, the others of none.
fn errors(n: usize) -> Vec<String> {
    let mut rng = Rng::from_seed(7);
    let mut below = |n: usize| usize::try_from(rng.below(n as u64)).unwrap_or(0);
    (0..200)
        .map(|at| {
            let number = if at % 2 == 0 { below(n) } else { 100_000 + below(1_000) };
            let (word, common) = (word(number), COMMON[number % COMMON.len()]);
            format!(
                "Traceback (most recent call last):\n  File \"/srv/app/orders.py\", line {}, in place\n    \
                 self.repository.store(order, timeout=3)\n  File \"/srv/app/store.py\", line 88, in store\n    \
                 return self.connection.execute(statement)\nshop.errors.StoreError: request 7f3a: the table or the \
                 connection {common} {word} of orders in {}",
                below(500),
                below(90_000)
            )
        })
        .collect()
}

/// The shipped rules are read once in the life of a process, so that they are timed once.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[expect(clippy::print_stderr, reason = "people read it")]
fn first_use() {
    let start = Instant::now();
    let n = RuleSet::shipped().expect("sound rules").rules().len();
    eprintln!("reading the {n} shipped rules took {:?}", start.elapsed());
}

fn one_error(c: &mut Criterion) {
    first_use();
    let mut group = c.benchmark_group("rules_one_error");
    let few = errors(600);
    group.throughput(Throughput::Elements(few.len() as u64));
    for n in [600, 6_000] {
        let rules = rules(n);
        group.bench_function(BenchmarkId::new("generated", n), |b| {
            b.iter(|| {
                let texts = few.iter().map(|error| ErrorText::of_text(error));
                texts
                    .filter(|text| black_box(rules.best(text)).is_some())
                    .count()
            });
        });
    }
    let shipped = RuleSet::shipped().expect("sound rules");
    let examples = shipped
        .rules()
        .iter()
        .flat_map(|rule| rule.examples.clone());
    let examples: Vec<String> = examples.collect();
    group.throughput(Throughput::Elements(examples.len() as u64));
    group.bench_function("shipped, its examples", |b| {
        b.iter(|| {
            let texts = examples.iter().map(|error| ErrorText::of_text(error));
            texts
                .filter(|text| black_box(shipped.best(text)).is_some())
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, one_error);
criterion_main!(benches);
