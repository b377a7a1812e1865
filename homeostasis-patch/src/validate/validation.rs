//! The answer of the validator.

use std::fmt;

use homeostasis_core::record::RiskLevel;
use serde::{Deserialize, Serialize};

use super::RefusalReason;

/// Which of the two texts a line is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextSide {
    /// The text before the change: what is told is gone.
    Old,
    /// The text after the change.
    New,
}

/// One thing that must not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// The file.
    pub file: String,
    /// The 1-based line; 0 when the file as a whole is meant.
    pub line: usize,
    /// Which text the line is counted in.
    pub side: TextSide,
    /// The offending text, at most 80 characters; of a secret its first four.
    pub text: String,
    /// What would have been accepted.
    pub expected: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, file, line) = (self.reason, &self.file, self.line);
        match (self.side, line) {
            (_, 0) => write!(f, "{file}: ")?,
            (TextSide::Old, _) => write!(f, "{file}:{line} (before): ")?,
            (TextSide::New, _) => write!(f, "{file}:{line}: ")?,
        }
        write!(f, "{reason}: {:?}, expected {}", self.text, self.expected)
    }
}

/// What raises the risk of a change without forbidding it. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flag {
    /// A program is changed, not a setting: 1 point.
    Code,
    /// More than ten lines are added or removed: 1 point.
    ManyLines,
    /// A default value in code about money, identity, keys or indexes: 3 points.
    SensitiveDefault,
    /// `unwrap_or_default` and its like: 2 points.
    DefaultValue,
    /// Arithmetic that wraps: 3 points.
    WrappingArithmetic,
    /// A poisoned lock is used all the same: 3 points.
    PoisonIgnored,
    /// What others call looks different: 3 points.
    PublicSignature,
    /// How often a loop runs: 2 points.
    LoopBounds,
    /// In a function with unsafe code or a call that would be refused if it were new: 3 points.
    NearDanger,
    /// Threads, locks, atomics, tasks: 2 points.
    Concurrency,
    /// An error is answered by a value or an early end: 1 point.
    ErrorAnswered,
    /// A check reads differently: 2 points.
    ChangedCheck,
    /// A name is looked up at run time on a value of the program: 2 points.
    DynamicName,
    /// A setting about time limits: 1 point.
    TimeLimit,
    /// A setting names another host of a domain it named before, or of the inner network: 3 points.
    NewHost,
    /// A credential goes into the text of an error or a log: 3 points.
    Disclosure,
    /// More time or memory: a limit on tries taken away, an endless loop, a long sleep, a huge
    /// allocation, a pattern that backtracks: 3 points.
    ResourceUse,
}

impl Flag {
    /// What it adds to the score.
    pub const fn points(self) -> u32 {
        match self {
            Self::Code | Self::ManyLines | Self::ErrorAnswered | Self::TimeLimit => 1,
            Self::DefaultValue
            | Self::LoopBounds
            | Self::Concurrency
            | Self::ChangedCheck
            | Self::DynamicName => 2,
            Self::SensitiveDefault
            | Self::WrappingArithmetic
            | Self::PoisonIgnored
            | Self::PublicSignature
            | Self::NearDanger
            | Self::NewHost
            | Self::Disclosure
            | Self::ResourceUse => 3,
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "code",
            Self::ManyLines => "many_lines",
            Self::SensitiveDefault => "sensitive_default",
            Self::DefaultValue => "default_value",
            Self::WrappingArithmetic => "wrapping_arithmetic",
            Self::PoisonIgnored => "poison_ignored",
            Self::PublicSignature => "public_signature",
            Self::LoopBounds => "loop_bounds",
            Self::NearDanger => "near_danger",
            Self::Concurrency => "concurrency",
            Self::ErrorAnswered => "error_answered",
            Self::ChangedCheck => "changed_check",
            Self::DynamicName => "dynamic_name",
            Self::TimeLimit => "time_limit",
            Self::NewHost => "new_host",
            Self::Disclosure => "disclosure",
            Self::ResourceUse => "resource_use",
        })
    }
}

/// One term of the risk score: each flag counts once, however often it is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RiskFactor {
    /// What was found.
    pub flag: Flag,
    /// What it adds.
    pub points: u32,
    /// The 1-based line of the first place; 0 when the change as a whole is meant.
    pub line: usize,
    /// Which text the line is counted in.
    pub side: TextSide,
    /// The text there, at most 80 characters.
    pub text: String,
}

/// What the validator found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
#[non_exhaustive]
pub struct Validation {
    /// The file.
    pub file: String,
    /// What forbids the change, in the order of [`RefusalReason`], then by line.
    pub refusals: Vec<Refusal>,
    /// What the risk is made of.
    pub factors: Vec<RiskFactor>,
    /// The sum of the points.
    pub score: u32,
    /// The class of the score.
    pub risk: RiskLevel,
    /// How many lines are added.
    pub n_added: usize,
    /// How many lines are removed.
    pub n_removed: usize,
    /// How many hunks the change has, with three lines of context.
    pub n_hunks: usize,
}

impl Validation {
    /// Nothing forbids the change.
    pub fn is_accepted(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Whether it is refused for `reason`, maybe among others.
    pub fn is_refused_for(&self, reason: RefusalReason) -> bool {
        self.refusals.iter().any(|refusal| refusal.reason == reason)
    }
}

/// The risk with its arithmetic, then one line for each refusal.
impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match self.refusals.len() {
            0 => f.write_str("accepted")?,
            1 => f.write_str("refused for 1 reason")?,
            n => write!(f, "refused for {n} reasons")?,
        }
        write!(f, ", risk {} ({}", self.risk, self.score)?;
        for (idx, factor) in self.factors.iter().enumerate() {
            let sign = if idx == 0 { " = " } else { " + " };
            write!(f, "{sign}{} {}", factor.points, factor.flag)?;
        }
        f.write_str(")")?;
        for refusal in &self.refusals {
            write!(f, "\n{refusal}")?;
        }
        Ok(())
    }
}

/// At most 80 characters on one line.
pub(super) fn shortened(text: &str) -> String {
    let mut words = String::new();
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().take(80));
        if words.len() > 400 {
            break;
        }
    }
    if words.chars().count() <= 80 {
        return words;
    }
    let mut cut: String = words.chars().take(79).collect();
    cut.push('…');
    cut
}
