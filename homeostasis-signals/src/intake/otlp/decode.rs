//! Requests in either encoding.

use std::fmt;

use homeostasis_core::ErrorKind;
use serde::de::DeserializeSeed;

use super::field::{Message, Nested, Slot};
use super::message::{LogsRequest, MetricsRequest, TracesRequest};
use super::wire::Budget;

/// What a request exports: the three services of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtlpKind {
    /// `POST /v1/logs`
    Logs,
    /// `POST /v1/metrics`
    Metrics,
    /// `POST /v1/traces`
    Traces,
}

impl OtlpKind {
    /// The kind that is exported to the path `/v1/…`.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/v1/logs" => Some(Self::Logs),
            "/v1/metrics" => Some(Self::Metrics),
            "/v1/traces" => Some(Self::Traces),
            _ => None,
        }
    }
}

impl fmt::Display for OtlpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        })
    }
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl OtlpEncoding {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The encoding that a `content-type` names, parameters or not.
    pub fn of_content_type(value: &str) -> Option<Self> {
        let media = value.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::Json]
            .into_iter()
            .find(|encoding| media.eq_ignore_ascii_case(encoding.content_type()))
    }
}

/// A request that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// It is not written as its encoding demands.
    #[error("{place}: {problem}")]
    Malformed {
        /// The names of the fields down to the bad one, or line and column of JSON.
        place: String,
        /// What is there and what was expected.
        problem: String,
    },
    /// It is larger than a limit allows.
    #[error("{what} is above the limit {setting} = {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The setting of [`OtlpIntakeConfig`](super::OtlpIntakeConfig) that says so.
        setting: &'static str,
        /// Its value, in bytes.
        limit: usize,
    },
}

impl OtlpError {
    /// Sending the same again changes nothing.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Permanent
    }
}

/// A request as read.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpRequest(pub(super) Request);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Logs(LogsRequest),
    Metrics(MetricsRequest),
    Traces(TracesRequest),
}

impl OtlpRequest {
    /// Reads a request that may take `max_decoded` bytes of memory once it is read (its bytes not
    /// counted). Pure, and linear in the number of bytes.
    ///
    /// # Errors
    /// - It is not a message of this kind in this encoding: `Malformed`.
    /// - It needs more memory: `TooLarge`.
    pub fn decode(
        kind: OtlpKind,
        encoding: OtlpEncoding,
        bytes: &[u8],
        max_decoded: usize,
    ) -> Result<Self, OtlpError> {
        Ok(Self(match kind {
            OtlpKind::Logs => Request::Logs(message(encoding, bytes, max_decoded)?),
            OtlpKind::Metrics => Request::Metrics(message(encoding, bytes, max_decoded)?),
            OtlpKind::Traces => Request::Traces(message(encoding, bytes, max_decoded)?),
        }))
    }

    /// What it exports.
    pub fn kind(&self) -> OtlpKind {
        match self.0 {
            Request::Logs(_) => OtlpKind::Logs,
            Request::Metrics(_) => OtlpKind::Metrics,
            Request::Traces(_) => OtlpKind::Traces,
        }
    }
}

fn message<M: Message>(
    encoding: OtlpEncoding,
    bytes: &[u8],
    max_decoded: usize,
) -> Result<M, OtlpError> {
    let budget = Budget::new(max_decoded);
    let mut message = M::default();
    let malformed = match encoding {
        OtlpEncoding::Protobuf => {
            let Err(error) = message.merge_all(bytes, &budget) else {
                return Ok(message);
            };
            let mut place = vec!["request"];
            place.extend(error.path.iter().rev());
            OtlpError::Malformed {
                place: place.join("."),
                problem: error.problem.to_string(),
            }
        }
        OtlpEncoding::Json => {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let read = Slot::<Nested, M>::new(&mut message, &budget)
                .deserialize(&mut json)
                .and_then(|()| json.end());
            let Err(error) = read else {
                return Ok(message);
            };
            let text = error.to_string();
            let at = format!(" at line {} column {}", error.line(), error.column());
            OtlpError::Malformed {
                place: format!("line {} column {}", error.line(), error.column()),
                problem: text.strip_suffix(&at).unwrap_or(&text).to_owned(),
            }
        }
    };
    Err(if budget.is_exhausted() {
        OtlpError::TooLarge {
            what: "the request, once it is read,",
            setting: "max_decoded",
            limit: max_decoded,
        }
    } else {
        malformed
    })
}

#[cfg(test)]
mod tests;
