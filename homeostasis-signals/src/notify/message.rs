//! The bodies of webhooks: what a notification looks like on its way.

use homeostasis_core::Digest;
use homeostasis_core::port::{Notification, NotificationKind};
use homeostasis_core::record::Severity;
use serde_json::json;

use super::webhook_config::WebhookFormat;

/// What stands where a text was cut.
const ELLIPSIS: char = '…';

/// One message as it is sent, the same for every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// By which a receiver knows that it has it already.
    pub(super) id: String,
    /// For the jitter of its retries.
    pub(super) seed: u64,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// `notification` in `format`, with a body of at most `max_body` bytes: what does not fit is
    /// cut off its texts, of which the title has a quarter of the room for sure.
    /// `key` is the one that a body holds by itself.
    pub(super) fn of(
        notification: &Notification,
        format: WebhookFormat,
        max_body: usize,
        key: &str,
    ) -> Self {
        let digest = Digest::of(notification);
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest.as_bytes()[..8]);
        let render = |title: &str, body: &str| match format {
            WebhookFormat::Signed => signed(notification, title, body),
            WebhookFormat::Slack => slack(notification, title, body),
            WebhookFormat::PagerDuty => pager_duty(notification, title, body, key),
        };
        let frame = render("", "").len();
        let room = max_body.saturating_sub(frame);
        let rest = room.saturating_sub(cost_of(&notification.body, format));
        let most = match format {
            WebhookFormat::PagerDuty => MAX_SUMMARY,
            _ => usize::MAX,
        };
        let title = cut(&notification.title, format, rest.max(room / 4).min(most));
        let room = room.saturating_sub(cost_of(&title, format));
        let body = cut(&notification.body, format, room);
        Self {
            id: format!("msg_{}", &digest.to_string()[..32]),
            seed: u64::from_be_bytes(seed),
            body: render(&title, &body).into_bytes(),
        }
    }
}

/// The form of Standard Webhooks: type, time and data.
fn signed(of: &Notification, title: &str, body: &str) -> String {
    json!({
        "type": "homeostasis.notification",
        "timestamp": of.at,
        "data": {
            "kind": of.kind,
            "key": of.key,
            "to": of.to,
            "incident": of.incident,
            "severity": of.severity,
            "at": of.at,
            "title": title,
            "body": body,
        },
    })
    .to_string()
}

/// Slack's `text`, in which three characters are escaped so that nobody is called by a text that
/// was quoted (`<!channel>`).
fn slack(of: &Notification, title: &str, body: &str) -> String {
    let escape = |text: &str| {
        let text = text.replace('&', "&amp;");
        text.replace('<', "&lt;").replace('>', "&gt;")
    };
    let (title, body) = (escape(title), escape(body));
    json!({ "text": format!("*{title}*\n{body}\nincident {}", of.incident) }).to_string()
}

/// The longest summary of an event of `PagerDuty`, in bytes of JSON: it takes 1024 characters.
const MAX_SUMMARY: usize = 1024;

/// The Events API v2 of `PagerDuty`: an incident is one alert, which is triggered, acknowledged and
/// resolved under one key.
///
/// Source: "Send an alert event" of its documentation
/// (<https://developer.pagerduty.com/docs/send-alert-event>).
fn pager_duty(of: &Notification, title: &str, body: &str, routing_key: &str) -> String {
    let action = match of.kind {
        NotificationKind::Acknowledged => "acknowledge",
        NotificationKind::Resolved => "resolve",
        _ => "trigger",
    };
    let severity = match of.severity {
        Severity::Sev0 => "critical",
        Severity::Sev1 => "error",
        Severity::Sev2 => "warning",
        Severity::Sev3 => "info",
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": of.incident,
    });
    if action == "trigger" {
        event["client"] = json!("homeostasis");
        event["payload"] = json!({
            "summary": title,
            "source": "homeostasis",
            "severity": severity,
            "timestamp": of.at,
            "custom_details": { "severity": of.severity, "body": body, "to": of.to, "key": of.key },
        });
    }
    event.to_string()
}

/// How many bytes `c` takes in a body.
fn cost(c: char, format: WebhookFormat) -> usize {
    match c {
        '&' if format == WebhookFormat::Slack => 5,
        '<' | '>' if format == WebhookFormat::Slack => 4,
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

fn cost_of(text: &str, format: WebhookFormat) -> usize {
    text.chars().map(|c| cost(c, format)).sum()
}

/// As much of `text` as takes at most `room` bytes.
fn cut(text: &str, format: WebhookFormat, room: usize) -> String {
    if cost_of(text, format) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(ELLIPSIS.len_utf8());
    let fits = |c: &char| {
        let cost = cost(*c, format);
        let does = cost <= left;
        left = left.saturating_sub(cost);
        does
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    kept.push(ELLIPSIS);
    kept
}

#[cfg(test)]
mod tests {
    use homeostasis_core::record::Severity;
    use homeostasis_core::{IncidentId, Timestamp};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn notification(title: &str, body: &str) -> Notification {
        let (id, at) = (IncidentId::from_u128(7), Timestamp::from_secs(60));
        Notification::new(id, Severity::Sev1, at, title, body)
    }

    fn read(message: &Message) -> Value {
        serde_json::from_slice(&message.body).unwrap()
    }

    #[test]
    fn a_signed_body_has_a_type_a_time_and_the_whole_notification() {
        let said = notification("sev1 shop: down", "\"why\"\nwhat");
        let body = read(&Message::of(&said, WebhookFormat::Signed, 1024, ""));
        assert_eq!(body["type"], "homeostasis.notification");
        assert_eq!(body["timestamp"], "1970-01-01T00:01:00Z");
        assert_eq!(body["data"], serde_json::to_value(&said).unwrap());
        assert_eq!(body.as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_quoted_text_calls_nobody_in_slack() {
        let said = notification("<!channel> & co", "a > b");
        let body = read(&Message::of(&said, WebhookFormat::Slack, 1024, ""));
        let text = body["text"].as_str().unwrap();
        assert!(text.starts_with("*&lt;!channel&gt; &amp; co*\na &gt; b\nincident "));
        assert!(text.ends_with(&said.incident.to_string()), "{text}");
    }

    #[test]
    fn the_same_message_has_the_same_id_and_another_has_another() {
        let id =
            |title: &str| Message::of(&notification(title, ""), WebhookFormat::Signed, 1024, "").id;
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
    }

    #[test]
    fn an_incident_is_one_alert_of_pager_duty_from_its_trigger_to_its_end() {
        use NotificationKind::{Acknowledged, Call, Resolved};
        let mut said = notification(&"x".repeat(5000), "what was tried");
        let id = said.incident.to_string();
        for (kind, action) in [
            (Call, "trigger"),
            (Acknowledged, "acknowledge"),
            (Resolved, "resolve"),
        ] {
            said.kind = kind;
            let event = read(&Message::of(&said, WebhookFormat::PagerDuty, 8192, "R0"));
            assert_eq!(event["event_action"], action);
            assert_eq!(
                (&event["dedup_key"], &event["routing_key"]),
                (&json!(id), &json!("R0"))
            );
            let payload = &event["payload"];
            assert_eq!(payload.is_object(), kind == Call);
            if kind == Call {
                let summary = payload["summary"].as_str().unwrap();
                assert!(summary.chars().count() <= 1024 && summary.ends_with('…'));
                assert_eq!(payload["severity"], "error");
                assert_eq!(payload["timestamp"], "1970-01-01T00:01:00Z");
                assert_eq!(payload["custom_details"]["body"], "what was tried");
                assert!(!payload["source"].as_str().unwrap().is_empty());
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_body_too_long_or_unreadable(
            title in "(?s).{0,600}",
            body in "(?s).{0,2000}",
            max_body in 1024_usize..4096,
        ) {
            for format in [WebhookFormat::Signed, WebhookFormat::Slack, WebhookFormat::PagerDuty] {
                let said = notification(&title, &body);
                let message = Message::of(&said, format, max_body, "k");
                prop_assert!(message.body.len() <= max_body);
                read(&message);
                let whole = Message::of(&said, format, 1 << 20, "k");
                prop_assert_eq!(whole.body.len() <= max_body, message == whole);
            }
        }
    }
}
