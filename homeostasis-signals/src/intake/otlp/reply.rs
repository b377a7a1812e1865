//! Answers, in the encoding of the request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::decode::{OtlpEncoding, OtlpKind};
use super::origin::OtlpOutcome;

/// The body of an answer: known, whole and short.
#[derive(Debug, Clone, Default)]
pub struct OtlpReply(Option<Bytes>);

impl Body for OtlpReply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Why a request is refused as a whole.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The answer: a `google.rpc.Status`.
    pub(super) fn reply(self, encoding: OtlpEncoding) -> Response<OtlpReply> {
        let code: u8 = match self.status {
            StatusCode::NOT_FOUND => 5,
            StatusCode::METHOD_NOT_ALLOWED => 12,
            StatusCode::REQUEST_TIMEOUT => 4,
            StatusCode::PAYLOAD_TOO_LARGE => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 3,
        };
        let body = match encoding {
            OtlpEncoding::Protobuf => {
                let mut body = vec![0x08, code];
                put_bytes(&mut body, 2, self.message.as_bytes());
                body
            }
            OtlpEncoding::Json => {
                let body = serde_json::json!({"code": code, "message": self.message});
                body.to_string().into_bytes()
            }
        };
        let mut response = reply(self.status, encoding, body);
        let headers = response.headers_mut();
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The answer to a request that was taken: an `Export…ServiceResponse`, with `partial_success` if
/// there is something to say.
pub(super) fn taken(
    kind: OtlpKind,
    encoding: OtlpEncoding,
    outcome: &OtlpOutcome,
) -> Response<OtlpReply> {
    let silent = outcome.n_rejected == 0 && outcome.message.is_empty();
    let body = match encoding {
        OtlpEncoding::Protobuf if silent => Vec::new(),
        OtlpEncoding::Protobuf => {
            let mut partial = Vec::new();
            if outcome.n_rejected > 0 {
                partial.push(0x08);
                put_varint(&mut partial, outcome.n_rejected as u64);
            }
            put_bytes(&mut partial, 2, outcome.message.as_bytes());
            let mut body = Vec::new();
            put_bytes(&mut body, 1, &partial);
            body
        }
        OtlpEncoding::Json if silent => b"{}".to_vec(),
        OtlpEncoding::Json => {
            let rejected = match kind {
                OtlpKind::Logs => "rejectedLogRecords",
                OtlpKind::Metrics => "rejectedDataPoints",
                OtlpKind::Traces => "rejectedSpans",
            };
            // By the rules of JSON for Protocol Buffers, 64-bit numbers are text.
            let body = serde_json::json!({"partialSuccess": {
                rejected: outcome.n_rejected.to_string(),
                "errorMessage": outcome.message,
            }});
            body.to_string().into_bytes()
        }
    };
    reply(StatusCode::OK, encoding, body)
}

fn reply(status: StatusCode, encoding: OtlpEncoding, body: Vec<u8>) -> Response<OtlpReply> {
    let body = OtlpReply((!body.is_empty()).then(|| body.into()));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let media = HeaderValue::from_static(encoding.content_type());
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use prost::Message as _;

    use super::*;

    #[test]
    fn partial_success_is_read_by_the_official_messages() {
        let outcome = OtlpOutcome {
            n_accepted: 1,
            n_rejected: 300,
            message: "scale = 21".to_owned(),
        };
        let reply = taken(OtlpKind::Logs, OtlpEncoding::Protobuf, &outcome);
        let body = reply.into_body().0.unwrap();
        let read = ExportLogsServiceResponse::decode(body).unwrap();
        let partial = read.partial_success.unwrap();
        assert_eq!(partial.rejected_log_records, 300);
        assert_eq!(partial.error_message, "scale = 21");
        let reply = taken(OtlpKind::Metrics, OtlpEncoding::Json, &outcome);
        let expected =
            r#"{"partialSuccess":{"errorMessage":"scale = 21","rejectedDataPoints":"300"}}"#;
        assert_eq!(reply.into_body().0.unwrap(), expected);
        let silent = taken(
            OtlpKind::Logs,
            OtlpEncoding::Protobuf,
            &OtlpOutcome::default(),
        );
        assert!(silent.body().is_end_stream());
    }
}
