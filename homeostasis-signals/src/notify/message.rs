//! The bodies of webhooks: what a notification looks like on its way.

use homeostasis_core::Digest;
use homeostasis_core::port::Notification;
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
    pub(super) fn of(notification: &Notification, format: WebhookFormat, max_body: usize) -> Self {
        let digest = Digest::of(notification);
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest.as_bytes()[..8]);
        let render = match format {
            WebhookFormat::Signed => signed,
            WebhookFormat::Slack => slack,
        };
        let frame = render(notification, "", "").len();
        let room = max_body.saturating_sub(frame);
        let rest = room.saturating_sub(cost_of(&notification.body, format));
        let title = cut(&notification.title, format, rest.max(room / 4));
        let room = room.saturating_sub(cost_of(&title, format));
        let body = cut(&notification.body, format, room);
        Self {
            id: format!("msg_{}", &digest.to_string()[..32]),
            seed: u64::from_be_bytes(seed),
            body: render(notification, &title, &body).into_bytes(),
        }
    }
}

/// The form of Standard Webhooks: type, time and data.
fn signed(of: &Notification, title: &str, body: &str) -> String {
    json!({
        "type": "homeostasis.notification",
        "timestamp": of.at,
        "data": {
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
        let body = read(&Message::of(&said, WebhookFormat::Signed, 1024));
        assert_eq!(body["type"], "homeostasis.notification");
        assert_eq!(body["timestamp"], "1970-01-01T00:01:00Z");
        assert_eq!(body["data"], serde_json::to_value(&said).unwrap());
        assert_eq!(body.as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_quoted_text_calls_nobody_in_slack() {
        let said = notification("<!channel> & co", "a > b");
        let body = read(&Message::of(&said, WebhookFormat::Slack, 1024));
        let text = body["text"].as_str().unwrap();
        assert!(text.starts_with("*&lt;!channel&gt; &amp; co*\na &gt; b\nincident "));
        assert!(text.ends_with(&said.incident.to_string()), "{text}");
    }

    #[test]
    fn the_same_message_has_the_same_id_and_another_has_another() {
        let id =
            |title: &str| Message::of(&notification(title, ""), WebhookFormat::Signed, 1024).id;
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_body_too_long_or_unreadable(
            title in "(?s).{0,600}",
            body in "(?s).{0,2000}",
            max_body in 1024_usize..4096,
        ) {
            for format in [WebhookFormat::Signed, WebhookFormat::Slack] {
                let said = notification(&title, &body);
                let message = Message::of(&said, format, max_body);
                prop_assert!(message.body.len() <= max_body);
                read(&message);
                let whole = Message::of(&said, format, 1 << 20);
                prop_assert_eq!(whole.body.len() <= max_body, message == whole);
            }
        }
    }
}
