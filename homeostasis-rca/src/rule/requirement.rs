//! What must hold of a record and its surroundings for a rule to speak.

use homeostasis_core::condition::{Condition, Quantity, Scope, Truth, Variable};
use homeostasis_core::signal::LogRecord;
use serde::{Serialize, Serializer};

use super::Pattern;

/// One context requirement.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Requirement {
    /// A condition on the error's environment and the target's metrics.
    #[serde(serialize_with = "as_text")]
    Condition(Condition),
    /// A field of the record (or `component`, `correlation`, `level`) matches.
    Field {
        /// Its name.
        #[serde(rename = "field")]
        name: String,
        /// What it looks like.
        matches: Pattern,
    },
}

impl Requirement {
    /// Whether it holds of `record`; `metrics` are the target's. What nobody knows is unknown, and
    /// units that do not fit are as little knowledge as no value.
    ///
    /// The environment noted with the error comes before the metrics, as it is of that very moment.
    pub fn holds(&self, record: &LogRecord, metrics: &dyn Scope) -> Truth {
        match self {
            Self::Condition(condition) => {
                let values = |variable: &Variable| {
                    let noted = record.error.as_ref().and_then(|error| {
                        let noted = error.environment.get(variable.name());
                        noted.filter(|_| variable.labels().is_empty())
                    });
                    match noted {
                        Some(value) => Some(Quantity::number(*value)),
                        None => metrics.lookup(variable),
                    }
                };
                condition.evaluate(&values).unwrap_or(Truth::Unknown)
            }
            Self::Field { name, matches } => {
                let level = record.level.to_string();
                let value = match name.as_str() {
                    "component" => Some(record.component.as_ref()).filter(|name| !name.is_empty()),
                    "correlation" => record.correlation.as_deref(),
                    "level" => Some(level.as_str()),
                    field => record.fields.get(field),
                };
                value.map_or(Truth::Unknown, |value| Truth::from(matches.is_match(value)))
            }
        }
    }
}

fn as_text<S: Serializer>(condition: &Condition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(condition)
}
