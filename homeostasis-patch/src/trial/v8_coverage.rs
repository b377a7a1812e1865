//! What Node.js says of the code that ran, if told where to by `NODE_V8_COVERAGE`.
//!
//! Source of the format: the protocol of the developer tools of Chrome, domain Profiler, type `ScriptCoverage`.

use std::collections::BTreeSet;

use serde::Deserialize;

/// What one process says.
#[derive(Debug, Deserialize)]
struct Report {
    result: Vec<Script>,
}

#[derive(Debug, Deserialize)]
struct Script {
    url: String,
    functions: Vec<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    ranges: Vec<Range>,
}

/// Of UTF-16 units, the end not included; a range within another counts instead of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    start_offset: usize,
    end_offset: usize,
    count: u64,
}

/// Which units of one file ran, in whatever process.
#[derive(Debug)]
pub(super) struct V8Coverage<'a> {
    source: &'a str,
    ran: Vec<bool>,
    was_loaded: bool,
}

impl<'a> V8Coverage<'a> {
    /// Of a file that nobody loaded yet.
    pub(super) fn of(source: &'a str) -> Self {
        Self {
            source,
            ran: vec![false; source.encode_utf16().count()],
            was_loaded: false,
        }
    }

    /// Adds what a process said of the file at `path`; what cannot be read adds nothing.
    pub(super) fn add(&mut self, report: &str, path: &str) {
        let Ok(report) = serde_json::from_str::<Report>(report) else {
            return;
        };
        let of_file = |script: &&Script| {
            let encoded = script.url.strip_prefix("file://");
            encoded.and_then(decoded).as_deref() == Some(path)
        };
        for script in report.result.iter().filter(of_file) {
            let mut ranges: Vec<&Range> = script.functions.iter().flat_map(|f| &f.ranges).collect();
            // The outer ones first, so that the inner ones are painted over them.
            ranges.sort_by_key(|range| (range.start_offset, usize::MAX - range.end_offset));
            let mut counts = vec![false; self.ran.len()];
            for range in ranges {
                let end = range.end_offset.min(counts.len());
                if let Some(units) = counts.get_mut(range.start_offset..end) {
                    units.fill(range.count > 0);
                }
            }
            for (ran, now) in self.ran.iter_mut().zip(counts) {
                *ran |= now;
            }
            self.was_loaded = true;
        }
    }

    /// Of `lines`, counted from 1, those that ran as a whole and those of which something did not;
    /// `None` if no process loaded the file. Lines without a letter or digit, and comments that take
    /// whole lines, are neither.
    pub(super) fn judge(&self, lines: &BTreeSet<u64>) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
        if !self.was_loaded {
            return None;
        }
        let (mut ran, mut missed) = (BTreeSet::new(), BTreeSet::new());
        let mut unit = 0;
        for (number, line) in (1..).zip(self.source.split_inclusive('\n')) {
            let start = unit;
            unit += line.encode_utf16().count();
            let code = line.trim_start();
            let is_comment = ["//", "/*", "*"].iter().any(|mark| code.starts_with(mark));
            if !lines.contains(&number) || is_comment || !code.contains(char::is_alphanumeric) {
                continue;
            }
            let mut at = start;
            let all_ran = line.chars().all(|c| {
                let covered = !c.is_alphanumeric() || self.ran.get(at) == Some(&true);
                at += c.len_utf16();
                covered
            });
            if all_ran { &mut ran } else { &mut missed }.insert(number);
        }
        Some((ran, missed))
    }
}

/// A path without percent signs.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "'use strict';\n// é comment 🦀\nfunction price(item) {\n  if (!('price' in item)) {\n    return 0;\n  }\n  return item.price * 2;\n}\n";

    fn report(url: &str, ranges: &str) -> String {
        format!(
            r#"{{"result":[{{"scriptId":"1","url":"{url}","functions":[{{"functionName":"","ranges":[{ranges}],"isBlockCoverage":true}}]}}]}}"#
        )
    }

    fn range(from: &str, to: &str, count: u64) -> String {
        let unit = |text: &str| {
            let at = SOURCE.find(text).unwrap();
            SOURCE[..at].encode_utf16().count()
        };
        let (start, end) = (unit(from), unit(to));
        format!(r#"{{"startOffset":{start},"endOffset":{end},"count":{count}}}"#)
    }

    #[test]
    fn lines_of_inner_ranges_that_did_not_run_are_missed_in_utf16_units() {
        let all: BTreeSet<u64> = (1..=9).collect();
        let mut coverage = V8Coverage::of(SOURCE);
        assert_eq!(coverage.judge(&all), None);
        coverage.add("no json", "/p/a b.js");
        coverage.add(
            &report("file:///p/other.js", &range("'use", "}\n", 1)),
            "/p/a b.js",
        );
        assert_eq!(coverage.judge(&all), None);
        let whole = format!(
            r#"{{"startOffset":0,"endOffset":{},"count":1}}"#,
            SOURCE.encode_utf16().count()
        );
        let took_guard = format!("{},{whole}", range("return item", "}\n", 0));
        // The order of ranges does not matter, the inner one counts.
        coverage.add(&report("file:///p/a%20b.js", &took_guard), "/p/a b.js");
        let (ran, missed) = coverage.judge(&all).unwrap();
        assert_eq!(
            ran,
            [1, 3, 4, 5, 7].into(),
            "the range ends at the first brace"
        );
        assert_eq!(missed, [].into());

        let mut coverage = V8Coverage::of(SOURCE);
        let without = format!("{whole},{}", range("{\n    return 0", "  }\n  return", 0));
        coverage.add(&report("file:///p/a%20b.js", &without), "/p/a b.js");
        let (ran, missed) = coverage.judge(&all).unwrap();
        assert_eq!((ran, missed), ([1, 3, 4, 7].into(), [5].into()));
        // Another process ran the rest.
        coverage.add(&report("file:///p/a%20b.js", &whole), "/p/a b.js");
        assert_eq!(coverage.judge(&all).unwrap().1, [].into());
        let wild = r#"{"startOffset":7,"endOffset":3,"count":0},{"startOffset":99999,"endOffset":999999,"count":0}"#;
        coverage.add(&report("file:///p/a%20b.js", wild), "/p/a b.js");
        assert_eq!(decoded("/a%2"), None);
    }
}
