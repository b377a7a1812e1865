//! What is reported in the end: a table, `report.json`, and a page for every incident.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::BoxError;
use crate::args::ConductorOptions;
use crate::files::write_atomically;
use crate::observed::Incident;
use crate::timeline::Summary;

/// Everything, as in `report.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Every fault healed, every release ended as it should, no false heal, no acknowledged order
    /// lost.
    pub(crate) passed: bool,
    seed: u64,
    fast: bool,
    run_dir: String,
    faults: Vec<FaultReport>,
    /// Chapters this machine cannot tell, and why.
    skipped: Vec<String>,
    fault_free: FaultFree,
    orders: Orders,
}

/// One fault or release and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct FaultReport {
    pub(crate) fault: String,
    pub(crate) title: String,
    pub(crate) injected_at: String,
    pub(crate) incident: Option<String>,
    pub(crate) detected_after_ms: Option<u64>,
    /// `None` where there is none: for releases, and for what passes by itself.
    pub(crate) root_cause_expected: Option<String>,
    pub(crate) root_cause_named: Option<String>,
    pub(crate) actions: Vec<String>,
    /// Of a release: the percentages of the traffic that the new version had, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic: Option<Vec<u32>>,
    pub(crate) verdict: Option<String>,
    /// Measured from outside: customers well again, memory given back. Of a release: until it was
    /// through.
    pub(crate) recovered_after_ms: Option<u64>,
    pub(crate) requests_failed: usize,
    /// Of a release: how many there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<usize>,
    /// Of a repair: the document of the patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healing: Option<Value>,
    /// Whether it ended as it should.
    pub(crate) healed: bool,
    /// Why it does not count as that.
    pub(crate) problems: Vec<String>,
}

/// In whole milliseconds.
pub(crate) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The stretch in which nothing was wrong.
#[derive(Debug, Serialize)]
pub(crate) struct FaultFree {
    pub(crate) seconds: u64,
    #[serde(flatten)]
    pub(crate) load: Summary,
    pub(crate) false_heals: usize,
    pub(crate) problems: Vec<String>,
}

/// Orders that customers were promised, and those that are gone.
#[derive(Debug, Serialize)]
pub(crate) struct Orders {
    acknowledged: usize,
    /// `None` if the orders service could not be asked.
    lost: Option<usize>,
    lost_ids: Vec<u64>,
    problem: Option<String>,
}

impl Orders {
    /// `lost` are the acknowledged orders that are gone, or why that is not known.
    pub(crate) fn new(acknowledged: usize, lost: Result<Vec<u64>, BoxError>) -> Self {
        let (lost, lost_ids, problem) = match lost {
            Ok(ids) if ids.is_empty() => (Some(0), ids, None),
            Ok(ids) => (
                Some(ids.len()),
                ids,
                Some("acknowledged orders are lost".to_owned()),
            ),
            Err(error) => (None, Vec::new(), Some(crate::chain(error.as_ref()))),
        };
        Self {
            acknowledged,
            lost,
            lost_ids,
            problem,
        }
    }

    /// Every acknowledged order is known to be there.
    pub(crate) fn are_kept(&self) -> bool {
        self.problem.is_none()
    }
}

impl Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lost {
            Some(lost) => write!(
                f,
                "{lost} of {} acknowledged orders lost",
                self.acknowledged
            ),
            None => write!(
                f,
                "{} acknowledged orders, lost: unknown",
                self.acknowledged
            ),
        }
    }
}

impl Report {
    pub(crate) fn new(
        options: &ConductorOptions,
        run_dir: &Path,
        (faults, skipped): (Vec<FaultReport>, Vec<String>),
        fault_free: FaultFree,
        orders: Orders,
    ) -> Self {
        Self {
            passed: faults.iter().all(|fault| fault.healed)
                && fault_free.problems.is_empty()
                && orders.are_kept(),
            seed: options.seed,
            fast: options.fast,
            run_dir: run_dir.display().to_string(),
            faults,
            skipped,
            fault_free,
            orders,
        }
    }

    /// Writes `report.json` and the incidents' pages; `incidents` run parallel to the faults.
    pub(crate) fn write(&self, root: &Path, incidents: &[Option<Incident>]) -> io::Result<()> {
        for (fault, incident) in self.faults.iter().zip(incidents) {
            if let Some(incident) = incident {
                let page = root.join(format!("incident-{}-{}.md", fault.fault, incident.id));
                write_atomically(&page, fault.to_markdown(incident).as_bytes())?;
            }
        }
        write_atomically(&root.join("report.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// The table at the end of the story.
    pub(crate) fn to_table(&self) -> String {
        let mut rows = vec![
            [
                "fault",
                "detected after",
                "root cause named",
                "action",
                "verdict",
                "recovered after",
                "requests failed",
            ]
            .map(str::to_owned),
        ];
        rows.extend(self.faults.iter().map(|fault| {
            [
                format!("({}) {}", fault.fault, fault.title),
                seconds(fault.detected_after_ms),
                or_dash(fault.root_cause_named.as_deref()),
                or_dash(Some(fault.did().as_str())),
                or_dash(fault.verdict.as_deref()),
                seconds(fault.recovered_after_ms),
                fault.failed(),
            ]
        }));
        table(&rows)
    }

    /// One line: did it work, and if not, why.
    pub(crate) fn conclusion(&self) -> String {
        let healed = self.faults.iter().filter(|fault| fault.healed).count();
        let mut text = format!(
            "{healed} of {} chapters ended as they should; {} false heals in {} s without faults; {}",
            self.faults.len(),
            self.fault_free.false_heals,
            self.fault_free.seconds,
            self.orders,
        );
        for told in &self.skipped {
            text.push_str(&format!("\n  {told}"));
        }
        for fault in self.faults.iter().filter(|fault| !fault.healed) {
            text.push_str(&format!(
                "\n  ({}) {}",
                fault.fault,
                fault.problems.join("; ")
            ));
        }
        if !self.fault_free.problems.is_empty() {
            text.push_str(&format!(
                "\n  without faults: {}",
                self.fault_free.problems.join("; ")
            ));
        }
        if let Some(problem) = &self.orders.problem {
            text.push_str(&format!("\n  orders: {problem}"));
        }
        text
    }
}

impl FaultReport {
    /// A chapter, with what its incident says; what customers met is yet to be told.
    pub(crate) fn of(
        letter: char,
        title: &str,
        injected_at: Timestamp,
        incident: Option<&Incident>,
    ) -> Self {
        let root_cause = incident.and_then(|it| it.root_cause.as_ref());
        Self {
            fault: letter.to_string(),
            title: title.to_owned(),
            injected_at: injected_at.to_string(),
            incident: incident.map(|it| it.id.clone()),
            detected_after_ms: incident.map(|it| {
                let after = it.detected_at.duration_since(injected_at);
                u64::try_from(after.as_millis()).unwrap_or_default()
            }),
            root_cause_expected: None,
            root_cause_named: root_cause.map(ToString::to_string),
            actions: incident.map_or_else(Vec::new, |it| it.actions.clone()),
            traffic: None,
            verdict: incident.and_then(|it| it.verdict.clone()),
            recovered_after_ms: None,
            requests_failed: 0,
            requests: None,
            healing: None,
            healed: false,
            problems: Vec::new(),
        }
    }

    /// One line for the story.
    pub(crate) fn summary(&self) -> String {
        let outcome = if self.healed {
            "as it should".to_owned()
        } else {
            format!("NOT as it should: {}", self.problems.join("; "))
        };
        format!(
            "{outcome}; {} after {}, {} requests failed",
            if self.traffic.is_some() {
                "through"
            } else {
                "recovered"
            },
            seconds(self.recovered_after_ms),
            self.failed()
        )
    }

    /// What was done, in few words.
    fn did(&self) -> String {
        match &self.traffic {
            None => self.actions.join(", "),
            Some(traffic) => {
                let percents = traffic.iter().map(ToString::to_string);
                format!("traffic {} %", percents.collect::<Vec<_>>().join(" > "))
            }
        }
    }

    /// How many requests failed, and of how many if that is known.
    fn failed(&self) -> String {
        match self.requests {
            None => self.requests_failed.to_string(),
            Some(requests) => {
                let percent = 100.0 * self.requests_failed as f64 / requests.max(1) as f64;
                format!("{} of {requests} ({percent:.2} %)", self.requests_failed)
            }
        }
    }

    fn to_markdown(&self, incident: &Incident) -> String {
        let mut page = format!("# Incident {}: {}\n\n", incident.id, self.title);
        let facts = [
            ("Injected at", self.injected_at.clone()),
            ("Detected after", seconds(self.detected_after_ms)),
            (
                "Root cause named",
                or_dash(self.root_cause_named.as_deref()),
            ),
            (
                "Root cause expected",
                or_dash(self.root_cause_expected.as_deref()),
            ),
            ("Actions", or_dash(Some(self.actions.join(", ").as_str()))),
            ("Verdict", or_dash(self.verdict.as_deref())),
            ("Recovered after", seconds(self.recovered_after_ms)),
            ("Requests failed", self.failed()),
            ("Problems", or_dash(Some(self.problems.join("; ").as_str()))),
        ];
        page.push_str("| | |\n|---|---|\n");
        for (name, value) in facts {
            page.push_str(&format!("| {name} | {} |\n", value.replace('|', "\\|")));
        }
        let last = |field| {
            let mut said = incident.events.iter().rev();
            said.find_map(|event| event.text(field))
        };
        if let Some(severity) = last("severity") {
            page.push_str(&format!("\nHow bad it is: {severity}.\n"));
        }
        if let Some(chain) = last("chain") {
            // As it is: what others wrote is neither a heading nor a link there.
            page.push_str(&format!(
                "\n## How it came to that\n\n```text\n{chain}\n```\n"
            ));
        }
        if let Some(document) = &self.healing {
            page.push_str(&patched(document));
        }
        page.push_str("\n## What the healer did\n\n");
        for event in &incident.events {
            page.push_str(&format!("- {} {}\n", event.at, event.describe()));
        }
        page
    }
}

/// What a patch changed, what it passed, and what others were refused for.
fn patched(document: &Value) -> String {
    let mut page = String::new();
    for file in document["files"].as_array().into_iter().flatten() {
        let text = |field: &str| file[field].as_str().unwrap_or_default();
        let (path, diff) = (text("path"), text("diff"));
        page.push_str(&format!(
            "\n## What was changed in {path}\n\n{}\n\n```diff\n{diff}```\n",
            text("explanation")
        ));
    }
    for (field, title) in [("tests", "What it passed"), ("refused", "What was refused")] {
        let said = document[field].as_array().into_iter().flatten();
        let said: Vec<_> = said.filter_map(Value::as_str).collect();
        if !said.is_empty() {
            // As it is: programs and patches wrote it.
            let said = said.join("\n");
            page.push_str(&format!("\n## {title}\n\n```text\n{said}\n```\n"));
        }
    }
    page
}

fn seconds(millis: Option<u64>) -> String {
    millis.map_or("-".to_owned(), |millis| {
        format!("{:.1} s", millis as f64 / 1000.0)
    })
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or("-")
        .to_owned()
}

/// Columns as wide as their widest cell, a rule below the first row.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    });
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join(" | ").trim_end());
        text.push('\n');
        if number == 0 {
            text.push_str(&widths.map(|width| "-".repeat(width)).join("-+-"));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let cells = |row: [&str; 2]| row.map(str::to_owned);
        let text = table(&[cells(["a", "long name"]), cells(["wide", "b"])]);
        assert_eq!(text, "a    | long name\n-----+----------\nwide | b\n");
    }
}
