//! What Node.js says of the code that ran, if told where to by `NODE_V8_COVERAGE`.
//!
//! A script is the file itself, or was made of it and has a source map.
//!
//! Sources of the formats: the protocol of the developer tools of Chrome, domain Profiler, type
//! `ScriptCoverage`; the manual of Node.js, section "`NODE_V8_COVERAGE=dir`", with its source map cache.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use serde::Deserialize;
use serde_json::Value;

use super::source_map::SourceMap;

/// What one process says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    result: Vec<Script>,
    /// By the URL of the script.
    #[serde(default)]
    source_map_cache: BTreeMap<String, CachedMap>,
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

/// The source map of a script, and how long the lines of the script are without their ends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CachedMap {
    #[serde(default)]
    line_lengths: Vec<usize>,
    #[serde(default)]
    data: Value,
}

/// Which units of one file ran, in whatever process.
#[derive(Debug)]
pub(super) struct V8Coverage<'a> {
    source: &'a str,
    /// By unit of the file, if scripts were the file itself.
    ran: Option<Vec<bool>>,
    /// By line and unit in it, both counted from 0, where scripts were made of the file.
    made_ran: BTreeMap<(usize, usize), bool>,
}

impl<'a> V8Coverage<'a> {
    /// Of a file that nobody loaded yet.
    pub(super) fn of(source: &'a str) -> Self {
        Self {
            source,
            ran: None,
            made_ran: BTreeMap::new(),
        }
    }

    /// Adds what a process said of the file at `path`; what cannot be read adds nothing.
    pub(super) fn add(&mut self, report: &str, path: &str) {
        let Ok(report) = serde_json::from_str::<Report>(report) else {
            return;
        };
        let is_file = |url: &str| {
            let encoded = url.strip_prefix("file://");
            encoded.and_then(decoded).as_deref() == Some(path)
        };
        for script in &report.result {
            let cached = report.source_map_cache.get(&script.url);
            let map = cached.and_then(|it| SourceMap::deserialize(&it.data).ok());
            if let (Some(cached), Some(map)) = (cached, map) {
                self.add_made(script, &cached.line_lengths, &map, is_file);
            } else if is_file(&script.url) {
                self.add_itself(script);
            }
        }
    }

    /// Adds a script that is the file itself.
    fn add_itself(&mut self, script: &Script) {
        let n_units = self.source.encode_utf16().count();
        // What was changed when it was loaded, without telling how, has other places.
        if script.n_units() != n_units {
            return;
        }
        let ran = self.ran.get_or_insert_with(|| vec![false; n_units]);
        let stretches = script.stretches();
        let ends = stretches.iter().skip(1).map(|next| next.0);
        for (&(start, now), end) in stretches.iter().zip(ends) {
            if let Some(units) = ran.get_mut(start..end).filter(|_| now) {
                units.fill(true);
            }
        }
    }

    /// Adds a script that was made of the file, and of others.
    fn add_made(
        &mut self,
        script: &Script,
        line_lengths: &[usize],
        map: &SourceMap,
        is_file: impl Fn(&str) -> bool,
    ) {
        let (segments, n_units) = (map.segments_of(is_file), script.n_units());
        let stretches = script.stretches();
        let begins: Vec<usize> = line_lengths
            .iter()
            .scan(0_usize, |next, length| {
                let begin = *next;
                *next = next.saturating_add(*length).saturating_add(1);
                Some(begin)
            })
            .collect();
        for segment in segments {
            let (line, column) = segment.made;
            let unit = begins.get(line).and_then(|it| it.checked_add(column));
            let Some(unit) = unit.filter(|&unit| unit < n_units) else {
                continue;
            };
            let after = stretches.partition_point(|(start, _)| *start <= unit);
            let now = after.checked_sub(1).and_then(|at| stretches.get(at));
            *self.made_ran.entry(segment.of).or_default() |= now.is_some_and(|it| it.1);
        }
    }

    /// Of `lines`, counted from 1, those that ran as a whole and those of which something did not;
    /// `None` if no process loaded the file. Lines without a letter or digit, and comments that take
    /// whole lines, are neither; nor is what no script was made of, such as types.
    pub(super) fn judge(&self, lines: &BTreeSet<u64>) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
        if self.ran.is_none() && self.made_ran.is_empty() {
            return None;
        }
        let (mut ran, mut missed) = (BTreeSet::new(), BTreeSet::new());
        let mut unit = 0;
        for (idx, line) in self.source.split_inclusive('\n').enumerate() {
            let start = unit;
            unit += line.encode_utf16().count();
            let number = u64::try_from(idx).unwrap_or(u64::MAX).saturating_add(1);
            let code = line.trim_start();
            let is_comment = ["//", "/*", "*"].iter().any(|mark| code.starts_with(mark));
            if !lines.contains(&number) || is_comment || !code.contains(char::is_alphanumeric) {
                continue;
            }
            let mut at = 0;
            let mut parts = Vec::new();
            for c in line.chars() {
                if c.is_alphanumeric() {
                    parts.extend(self.has_run((idx, at), start + at));
                }
                at += c.len_utf16();
            }
            if parts.is_empty() {
                continue;
            }
            let all_ran = parts.iter().all(|&part| part);
            if all_ran { &mut ran } else { &mut missed }.insert(number);
        }
        Some((ran, missed))
    }

    /// Whether a unit of the file ran in any process, if that is known.
    fn has_run(&self, place: (usize, usize), unit: usize) -> Option<bool> {
        let itself = self.ran.as_ref().and_then(|ran| ran.get(unit)).copied();
        let made = self.made_ran.get(&place).copied();
        match (itself, made) {
            (Some(itself), Some(made)) => Some(itself || made),
            (known, None) | (None, known) => known,
        }
    }
}

impl Script {
    fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.functions.iter().flat_map(|function| &function.ranges)
    }

    /// How long it is: a function around all others is told of, too.
    fn n_units(&self) -> usize {
        let ends = self.ranges().map(|range| range.end_offset);
        ends.max().unwrap_or(0)
    }

    /// Where something else begins to hold, in order, and whether it ran from there on.
    fn stretches(&self) -> Vec<(usize, bool)> {
        let mut ranges: Vec<&Range> = self
            .ranges()
            .filter(|range| range.start_offset < range.end_offset)
            .collect();
        // Of those around a unit the last one counts: the innermost.
        ranges.sort_by_key(|range| (range.start_offset, usize::MAX - range.end_offset));
        let edges = ranges
            .iter()
            .flat_map(|it| [it.start_offset, it.end_offset]);
        let edges: BTreeSet<usize> = edges.collect();
        let mut begun = ranges.iter().enumerate().peekable();
        let mut open = BinaryHeap::new();
        let mut stretches = Vec::with_capacity(edges.len());
        for edge in edges {
            while let Some((idx, _)) = begun.next_if(|(_, range)| range.start_offset <= edge) {
                open.push(idx);
            }
            let of = |idx: usize| ranges.get(idx);
            while open
                .peek()
                .is_some_and(|&idx| of(idx).is_some_and(|it| it.end_offset <= edge))
            {
                open.pop();
            }
            let inner = open.peek().and_then(|&idx| of(idx));
            stretches.push((edge, inner.is_some_and(|range| range.count > 0)));
        }
        stretches
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

    #[test]
    fn what_was_changed_when_it_was_loaded_is_not_measured() {
        let mut coverage = V8Coverage::of(SOURCE);
        let longer = r#"{"startOffset":0,"endOffset":4000,"count":1}"#;
        coverage.add(&report("file:///p/a.js", longer), "/p/a.js");
        assert_eq!(coverage.judge(&(1..=9).collect()), None);
    }

    /// `tsc` made `dist/shop.js` of it, as here.
    const TYPED: &str = "interface Item {\n    price?: number;\n}\n\nexport function price(item: Item): number {\n    if (item.price === undefined) {\n        return 0;\n    }\n    return item.price * 2;\n}\n";
    const LENGTHS: &str = "[13,62,22,22,35,17,5,26,1,32]";
    const MAPPINGS: &str = ";;AAIA,sBAKC;AALD,SAAgB,KAAK,CAAC,IAAU;IAC5B,IAAI,IAAI,CAAC,KAAK,KAAK,SAAS,EAAE,CAAC;QAC3B,OAAO,CAAC,CAAC;IACb,CAAC;IACD,OAAO,IAAI,CAAC,KAAK,GAAG,CAAC,CAAC;AAC1B,CAAC";

    fn typed(source: &str, missed: &str) -> String {
        format!(
            r#"{{"result":[{{"url":"file:///p/dist/shop.js","functions":[{{"ranges":[{{"startOffset":0,"endOffset":244,"count":1}}{missed}]}}]}}],
            "source-map-cache":{{"file:///p/dist/shop.js":{{"lineLengths":{LENGTHS},"data":{{"version":3,"sources":["{source}"],"mappings":"{MAPPINGS}"}}}}}}}}"#
        )
    }

    #[test]
    fn lines_of_what_a_script_was_made_of_are_told_by_its_map() {
        let all: BTreeSet<u64> = (1..=11).collect();
        let of = |reports: &[String]| {
            let mut coverage = V8Coverage::of(TYPED);
            for report in reports {
                coverage.add(report, "/p/src/shop.ts");
            }
            coverage.judge(&all)
        };
        let source = "file:///p/src/shop.ts";
        // The guard is not taken: from its brace to the brace that ends it.
        let without = typed(source, r#",{"startOffset":157,"endOffset":182,"count":0}"#);
        let (ran, missed) = of(std::slice::from_ref(&without)).unwrap();
        assert_eq!(
            (ran, missed),
            ([5, 6, 9].into(), [7].into()),
            "types are neither"
        );
        let (ran, missed) = of(&[without, typed(source, "")]).unwrap();
        assert_eq!((ran, missed), ([5, 6, 7, 9].into(), [].into()));
        assert_eq!(of(&[typed("file:///p/src/other.ts", "")]), None);
    }

    #[test]
    fn ranges_beside_each_other_and_many_within_each_other_are_painted_once() {
        let range = |start, end, count| Range {
            start_offset: start,
            end_offset: end,
            count,
        };
        let mut ranges = vec![range(0, 400_000, 1), range(5, 5, 0), range(9, 7, 0)];
        for depth in 1..100_000 {
            ranges.push(range(
                depth,
                400_000 - depth,
                u64::try_from(depth % 2).unwrap(),
            ));
        }
        let script = Script {
            url: String::new(),
            functions: vec![Function { ranges }],
        };
        let stretches = script.stretches();
        assert_eq!(stretches[..3], [(0, true), (1, true), (2, false)]);
        assert_eq!(stretches.last(), Some(&(400_000, false)));
    }
}
