//! Reads pages in the Prometheus text format (0.0.4 and 1.0) and in `OpenMetrics` 1.0.

use std::collections::HashMap;
use std::fmt;

use homeostasis_core::Timestamp;
use homeostasis_core::signal::Labels;

/// The most problems that are kept of one page; further ones are only counted.
const MAX_PROBLEMS: usize = 100;
/// The most bytes of a bad line that a problem quotes.
const MAX_QUOTE: usize = 80;

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only goes up, until its process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative counts of observations by upper bound.
    Histogram,
    /// A histogram of present values: its buckets go up and down.
    GaugeHistogram,
    /// Quantiles that the source computed.
    Summary,
    /// Facts as labels; its value is 1.
    Info,
    /// Which of several states holds.
    StateSet,
    /// The page does not say.
    #[default]
    Unknown,
}

impl MetricKind {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// The endings that samples of such a family add to its name.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Summary => &["_count", "_sum", "_created"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        }
    }
}

/// One line of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The name on the line, which may carry a suffix of its family: `_bucket`, `_total` …
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its value; may be NaN or infinite.
    pub value: f64,
    /// The time the source gave, if it gave one.
    pub at: Option<Timestamp>,
}

/// A metric and its points, in the order of the page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// The name, without the suffixes of its points.
    pub name: String,
    /// What kind of metric it is.
    pub kind: MetricKind,
    /// What the page says it means.
    pub help: String,
    /// Its points; empty when the page declares it and has none yet.
    pub points: Vec<Point>,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageProblem {
    /// Counted from 1.
    pub line: usize,
    /// The line, cut to 80 bytes.
    pub text: String,
    /// What was expected where reading stopped.
    pub expected: String,
}

impl fmt::Display for PageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: {:?}, expected {}",
            self.line, self.text, self.expected
        )
    }
}

/// A page as read: what was good, and what was not.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Exposition {
    /// The families in the order of their first line.
    pub families: Vec<Family>,
    /// The first bad lines, at most 100.
    pub problems: Vec<PageProblem>,
    /// How many lines were bad.
    pub n_problems: usize,
}

impl Exposition {
    /// The families of a page that is good as a whole.
    ///
    /// # Errors
    /// The bad lines (the first 100), if there is any.
    pub fn into_result(self) -> Result<Vec<Family>, Vec<PageProblem>> {
        if self.problems.is_empty() {
            Ok(self.families)
        } else {
            Err(self.problems)
        }
    }

    /// The number of points in all families.
    pub fn n_points(&self) -> usize {
        self.families.iter().map(|family| family.points.len()).sum()
    }
}

/// Reads a page in the Prometheus text format or in `OpenMetrics`.
///
/// The two differ in what times mean (milliseconds and seconds); a page is `OpenMetrics` if it has
/// the line `# EOF`, which that format demands, and nothing after that line is read.
/// Names in quotes (`{"http.requests", route="/"}`) are read in both.
/// A bad line is reported and costs only itself; exemplars and `_created` lines are read past and
/// dropped. Linear in the length of the page.
///
/// Source: *Prometheus exposition formats*, text format 0.0.4 with the escaping of names of 1.0;
/// *`OpenMetrics`* 1.0.0, section "Text format". Deviation: the order of families, the presence of
/// units and that a family stands together are not checked.
///
/// # Examples
/// ```
/// use homeostasis::signals::parse_exposition;
///
/// let page = parse_exposition("# TYPE jobs gauge\njobs{queue=\"mail\"} 3\njobs{queue= 4\n");
/// assert_eq!(page.families[0].points[0].value, 3.0);
/// assert_eq!(page.problems[0].line, 3);
/// ```
pub fn parse_exposition(text: &str) -> Exposition {
    let mut page = Page {
        seconds: text.lines().any(is_eof),
        ..Page::default()
    };
    for (index, line) in text.lines().enumerate() {
        if page.seconds && is_eof(line) {
            break;
        }
        if let Err(expected) = page.line(line.trim()) {
            page.out.n_problems += 1;
            if page.out.problems.len() < MAX_PROBLEMS {
                page.out.problems.push(PageProblem {
                    line: index + 1,
                    text: quote(line),
                    expected: expected.to_owned(),
                });
            }
        }
    }
    page.out
}

fn is_eof(line: &str) -> bool {
    line.trim_end() == "# EOF"
}

fn quote(line: &str) -> String {
    let end = (0..=MAX_QUOTE.min(line.len()))
        .rev()
        .find(|at| line.is_char_boundary(*at))
        .unwrap_or(0);
    let ellipsis = if end < line.len() { "…" } else { "" };
    format!("{}{ellipsis}", &line[..end])
}

type LineResult<T> = Result<T, &'static str>;

#[derive(Debug, Default)]
struct Page {
    out: Exposition,
    index: HashMap<String, usize>,
    /// Times are seconds (`OpenMetrics`) and not milliseconds.
    seconds: bool,
}

impl Page {
    fn line(&mut self, line: &str) -> LineResult<()> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            return self.comment(comment.trim_start());
        }
        let point = self.point(line)?;
        if point.name.ends_with("_created")
            && self
                .base_of(&point.name)
                .is_some_and(|family| self.out.families[family].name != point.name)
        {
            return Ok(());
        }
        let family = self
            .base_of(&point.name)
            .unwrap_or_else(|| self.family(&point.name));
        self.out.families[family].points.push(point);
        Ok(())
    }

    /// `TYPE name kind`, `HELP name text`, or words for people.
    fn comment(&mut self, comment: &str) -> LineResult<()> {
        let (word, rest) = comment
            .split_once(char::is_whitespace)
            .unwrap_or((comment, ""));
        if word != "TYPE" && word != "HELP" {
            return Ok(());
        }
        let mut cursor = Cursor(rest.trim_start());
        let name = if cursor.0.starts_with('"') {
            cursor.quoted()?
        } else {
            cursor
                .word(|c| !c.is_whitespace())
                .ok_or("the name of a metric after TYPE or HELP")?
                .to_owned()
        };
        let rest = cursor.0.trim();
        if word == "HELP" {
            let family = self.family(&name);
            self.out.families[family].help = unescape(rest);
            return Ok(());
        }
        let kind = MetricKind::read(rest).ok_or(
            "counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown",
        )?;
        let family = self.family(&name);
        if !self.out.families[family].points.is_empty() {
            return Err("the TYPE of a metric once, before its first sample");
        }
        self.out.families[family].kind = kind;
        Ok(())
    }

    fn point(&self, line: &str) -> LineResult<Point> {
        let mut cursor = Cursor(line);
        let mut name = cursor
            .word(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.')
            .filter(|name| !name.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
            .map(str::to_owned);
        cursor.blanks();
        let mut labels = Labels::new();
        if cursor.eat('{') {
            loop {
                cursor.blanks();
                if cursor.eat('}') {
                    break;
                }
                let quoted = cursor.0.starts_with('"');
                let label = if quoted {
                    cursor.quoted()?
                } else {
                    cursor
                        .word(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == ':')
                        .ok_or("the name of a label or }")?
                        .to_owned()
                };
                cursor.blanks();
                if cursor.eat('=') {
                    cursor.blanks();
                    let value = cursor.quoted()?;
                    if labels.insert(label, value).is_some() {
                        return Err("each label once");
                    }
                } else if quoted && name.is_none() && labels.is_empty() {
                    name = Some(label);
                } else {
                    return Err("= after the name of a label");
                }
                cursor.blanks();
                if !cursor.eat(',') && !cursor.0.starts_with('}') {
                    return Err(", or } after a label");
                }
            }
        }
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or("the name of a metric")?;
        let rest = cursor.0;
        // What follows ` # ` on a line of samples is an exemplar.
        let rest = rest.split_once(" # ").map_or(rest, |(sample, _)| sample);
        let mut words = rest.split_whitespace();
        let value = words
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .ok_or("a number after the labels")?;
        let at = words.next().map(|word| self.time(word)).transpose()?;
        if words.next().is_some() {
            return Err("the end of the line after value and time");
        }
        Ok(Point {
            name,
            labels,
            value,
            at,
        })
    }

    fn time(&self, word: &str) -> LineResult<Timestamp> {
        const EXPECTED: &str = "a time in milliseconds (Prometheus) or seconds (OpenMetrics)";
        if self.seconds {
            word.parse::<f64>().ok().and_then(seconds).ok_or(EXPECTED)
        } else {
            word.parse::<i64>()
                .map(Timestamp::from_millis)
                .map_err(|_| EXPECTED)
        }
    }

    /// The declared family that a name on a sample line belongs to.
    fn base_of(&self, name: &str) -> Option<usize> {
        if let Some(family) = self.index.get(name) {
            return Some(*family);
        }
        let at = name.rfind('_')?;
        let (base, suffix) = name.split_at(at);
        self.index
            .get(base)
            .copied()
            .filter(|family| self.out.families[*family].kind.suffixes().contains(&suffix))
    }

    fn family(&mut self, name: &str) -> usize {
        if let Some(family) = self.index.get(name) {
            return *family;
        }
        self.out.families.push(Family {
            name: name.to_owned(),
            ..Family::default()
        });
        let family = self.out.families.len() - 1;
        self.index.insert(name.to_owned(), family);
        family
    }
}

/// Seconds since the epoch as an instant; `None` outside its range.
fn seconds(value: f64) -> Option<Timestamp> {
    let magnitude = std::time::Duration::try_from_secs_f64(value.abs()).ok()?;
    let nanos = i64::try_from(magnitude.as_nanos()).ok()?;
    Some(Timestamp::from_nanos(if value < 0.0 {
        -nanos
    } else {
        nanos
    }))
}

/// The rest of a line.
#[derive(Debug)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn eat(&mut self, expected: char) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// The characters up to the first that is not `part`; `None` if that is the first of all.
    fn word(&mut self, part: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.0.find(|c| !part(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Text in quotes, unescaped.
    fn quoted(&mut self) -> LineResult<String> {
        const EXPECTED: &str = "text in double quotes";
        let body = self.0.strip_prefix('"').ok_or(EXPECTED)?;
        let mut escaped = false;
        let end = body
            .find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            })
            .ok_or(EXPECTED)?;
        self.0 = &body[end + 1..];
        Ok(unescape(&body[..end]))
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stays, as the format demands.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some(c @ ('\\' | '"')) => out.push(c),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = r#"
# A comment for people.
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200",} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
{"http.server.duration", "http.route"="/a b"} NaN
"#;

    fn family<'a>(page: &'a Exposition, name: &str) -> &'a Family {
        page.families
            .iter()
            .find(|family| family.name == name)
            .unwrap()
    }

    #[test]
    fn a_prometheus_page_is_read_with_types_times_and_escapes() {
        let page = parse_exposition(PAGE);
        assert_eq!(page.problems, []);
        let requests = family(&page, "http_requests_total");
        assert_eq!(requests.kind, MetricKind::Counter);
        assert_eq!(requests.points[1].labels["code"], "400");
        assert_eq!(
            requests.points[0].at,
            Some(Timestamp::from_millis(1_395_066_363_000))
        );
        let file = &family(&page, "msdos_file_access_time_seconds").points[0];
        assert_eq!(file.labels["path"], r"C:\DIR\FILE.TXT");
        assert_eq!(file.labels["error"], "Cannot find file:\n\"FILE.TXT\"");
        assert_eq!(
            family(&page, "something_weird").points[0].value,
            f64::INFINITY
        );
        let histogram = family(&page, "http_request_duration_seconds");
        assert_eq!(
            (histogram.kind, histogram.points.len()),
            (MetricKind::Histogram, 4)
        );
        let dotted = &family(&page, "http.server.duration").points[0];
        assert!(dotted.value.is_nan() && dotted.labels["http.route"] == "/a b");
    }

    #[test]
    fn an_openmetrics_page_has_times_in_seconds_exemplars_and_an_end() {
        let page = parse_exposition(concat!(
            "# TYPE foo counter\n# UNIT foo seconds\n",
            "foo_total{a=\"b\"} 17.0 1520879607.789 # {trace_id=\"x # y\"} 0.5\n",
            "foo_created{a=\"b\"} 1520430000.123\n# EOF\nnot read at all {{{\n",
        ));
        assert_eq!(page.problems, []);
        let foo = family(&page, "foo");
        assert_eq!(foo.points.len(), 1);
        assert_eq!(foo.points[0].name, "foo_total");
        assert_eq!(foo.points[0].at.unwrap().as_millis(), 1_520_879_607_789);
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_are_kept() {
        let page = parse_exposition(
            "a 1\nb{x=\"1\" 2\nc two\nd{x=1} 2\n1e 5\ne 1 2 3\nf{x=\"1\",x=\"2\"} 1\n# TYPE a counter\n# TYPE g weird\nh 2\n",
        );
        let lines: Vec<usize> = page.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(
            page.problems[1].to_string(),
            "line 3: \"c two\", expected a number after the labels"
        );
        assert_eq!(page.n_points(), 2);
        assert!(page.into_result().is_err());
    }

    #[test]
    fn problems_are_bounded_and_counted() {
        let page = parse_exposition(&"x y\n".repeat(1000));
        assert_eq!((page.problems.len(), page.n_problems), (MAX_PROBLEMS, 1000));
    }

    fn text_of(family: &str, labels: &Labels, value: f64) -> String {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| {
                let value = value
                    .replace('\\', r"\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        format!("{family}{{{}}} {value}\n", labels.join(","))
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|(#|\\{|\\}|\"|\\\\|=|,|_total| |\n|a|1|# TYPE |# EOF|é)*") {
            let page = parse_exposition(&text);
            prop_assert!(page.problems.len() <= page.n_problems);
        }

        #[test]
        fn what_is_written_by_the_rules_reads_back(
            name in "[a-z_][a-z0-9_]{0,8}",
            labels in proptest::collection::btree_map("[a-z][a-z0-9_]{0,5}", "[^\r\n\u{85}\u{2028}]{0,12}|a\nb", 0..4),
            value in proptest::num::f64::NORMAL | proptest::num::f64::INFINITE,
        ) {
            let page = parse_exposition(&text_of(&name, &labels, value));
            prop_assert_eq!(&page.problems, &[]);
            let point = &page.families[0].points[0];
            prop_assert_eq!(&point.labels, &labels);
            prop_assert_eq!(point.value, value);
        }
    }
}
