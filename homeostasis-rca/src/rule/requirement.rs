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

#[cfg(test)]
mod tests {
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{ErrorEvent, Level};

    use super::*;

    fn nothing(_: &Variable) -> Option<Quantity> {
        None
    }

    #[test]
    fn a_field_that_is_absent_is_unknown_and_another_value_is_false() {
        let requirement = Requirement::Field {
            name: "component".to_owned(),
            matches: Pattern::parse("^sqlx").unwrap(),
        };
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, "x");
        assert_eq!(requirement.holds(&record, &nothing), Truth::Unknown);
        record.component = "sqlx::pool".into();
        assert_eq!(requirement.holds(&record, &nothing), Truth::True);
        record.component = "hyper".into();
        assert_eq!(requirement.holds(&record, &nothing), Truth::False);
    }

    #[test]
    fn what_was_noted_with_the_error_comes_before_the_metrics() {
        let requirement = Requirement::Condition(Condition::parse("open_fds > 900").unwrap());
        let metrics = |_: &Variable| Some(Quantity::number(10.0));
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, "x");
        assert_eq!(requirement.holds(&record, &metrics), Truth::False);
        let mut error = ErrorEvent::new("rust", "Io", "too many open files");
        error.environment.insert("open_fds".to_owned(), 1_000.0);
        record.error = Some(Box::new(error));
        assert_eq!(requirement.holds(&record, &metrics), Truth::True);
        assert_eq!(
            requirement.holds(
                &LogRecord::new(Timestamp::EPOCH, Level::Error, "x"),
                &nothing
            ),
            Truth::Unknown
        );
    }
}
