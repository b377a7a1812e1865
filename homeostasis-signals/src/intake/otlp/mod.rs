//! What OpenTelemetry SDKs and collectors export: OTLP/HTTP 1.x.
//!
//! [`OtlpIntake`] becomes a route of the host. Everything it takes turns into the same signals
//! that other sources give:
//!
//! | in OTLP | here |
//! |---|---|
//! | resource `service.name`, `service.instance.id` | target, and the labels `service` and `instance` of series |
//! | other attributes of resource and scope | labels of series and fields of records, if `keep_attributes` names them |
//! | name of the scope | component of log records, field `otel.scope.name` of spans |
//! | `LogRecord` severity number 1–24 | level, in steps of four; without a number its text, or else info |
//! | body | message: text as it is, all else as JSON; without one, the event's name or the exception's message |
//! | attributes | fields, as text: numbers and structures as JSON, bytes in Base64 |
//! | trace id | correlation of log records, trace of spans |
//! | span id | field `span_id` of log records, 16 hexadecimal digits; as number in spans |
//! | attributes `exception.type`, `.message` | error event; the language is that of the SDK; `exception.stacktrace` stays a field |
//! | span: status, parent, kind, status message | status and parent; fields `span.kind` and `status.message` |
//! | span events | log records: an exception at level error, all else at info |
//! | gauge, sum that may fall (cumulative) | series of the same name |
//! | monotonic sum `x` | `x_rate`, per second since the last point, or over the interval of a delta |
//! | histogram, exponential histogram `x` | `x_p50`, `x_p95`, `x_p99` of what came since the last point |
//! | summary `x` | the same, of the quantiles 0.5, 0.95 and 0.99 it has |
//! | time 0 | now |
//!
//! Names become those of Prometheus, so that a service is called the same whether it is scraped or
//! exports: `http.server.duration` in `s` gives `http_server_duration_p95_seconds`. Points that
//! differ only in attributes that are not kept are added up (the largest counts for a summary).
//! A restart shows in a later start time or a smaller value, and the series has then grown from 0.
//! The first point of a series gives no rate, unless its source was seen before it began. A point
//! without recorded value ends its series.
//!
//! Refused, and told in `partial_success`: spans without valid ids, times after 2262, delta sums
//! that may fall or lack an interval, histograms whose buckets contradict each other, values nested
//! too deep, and what is beyond the limits of [`OtlpIntakeConfig`].
//! Links, exemplars, trace state, flags and dropped counts are not used.

mod any_value;
mod config;
mod decode;
mod exponential;
mod field;
mod logs;
mod message;
mod metrics;
mod origin;
mod reply;
mod service;
mod traces;
mod wire;

pub use config::OtlpIntakeConfig;
pub use decode::{OtlpEncoding, OtlpError, OtlpKind, OtlpRequest};
pub use origin::OtlpOutcome;
pub use reply::OtlpReply;
pub use service::{OtlpIntake, OtlpStats};
