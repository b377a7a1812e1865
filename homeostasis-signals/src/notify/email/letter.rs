//! One mail as it is handed over (RFC 5322, MIME).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostasis_core::port::{Notification, NotificationKind};
use homeostasis_core::{Digest, Timestamp};

use super::config::EmailConfig;

/// The longest subject and the longest body, in bytes.
const MAX_SUBJECT: usize = 500;
const MAX_BODY: usize = 32 << 10;

/// How many bytes of text one encoded word of a header holds: 60 characters in all, so that the line
/// with the header's name keeps below 76 (RFC 2047 section 2).
const WORD: usize = 36;

/// A mail and whom it is for.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) to: BTreeSet<String>,
    /// Headers and body, each line ended with CR LF, none beginning with a dot.
    pub(super) text: String,
}

impl Letter {
    pub(super) fn of(notification: &Notification, config: &EmailConfig, now: Timestamp) -> Self {
        let named = notification
            .to
            .iter()
            .filter_map(|name| config.people.get(name));
        let mut to: BTreeSet<String> = named.flatten().cloned().collect();
        if to.is_empty() {
            to.extend(config.to.iter().cloned());
        }
        let domain = config.from.rsplit_once('@').map_or("localhost", |it| it.1);
        let id = &Digest::of(notification).to_string()[..32];
        let date = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
        let date = jiff::fmt::rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC));
        let mut text = String::new();
        let mut header = |name: &str, value: &str| {
            let _ = write!(text, "{name}: {value}\r\n");
        };
        header("From", &config.from);
        header("To", &to.iter().cloned().collect::<Vec<_>>().join(",\r\n "));
        let about = match notification.kind {
            NotificationKind::Acknowledged => "[acknowledged] ",
            NotificationKind::Resolved => "[resolved] ",
            _ => "",
        };
        let title = cut(&notification.title, MAX_SUBJECT);
        header("Subject", &encoded(&format!("{about}{title}")));
        header("Date", &date.unwrap_or_default());
        header("Message-ID", &format!("<{id}.homeostasis@{domain}>"));
        // Mails about one incident are one thread.
        let thread = format!("<{}.homeostasis@{domain}>", notification.incident);
        header("In-Reply-To", &thread);
        header("References", &thread);
        header("Auto-Submitted", "auto-generated");
        header("MIME-Version", "1.0");
        header("Content-Type", "text/plain; charset=utf-8");
        header("Content-Transfer-Encoding", "base64");
        text.push_str("\r\n");
        let body = format!(
            "{}\n\n{}\n\nincident {}\nseverity {}\n",
            title,
            cut(&notification.body, MAX_BODY),
            notification.incident,
            notification.severity
        );
        for line in STANDARD.encode(body).as_bytes().chunks(76) {
            // Base64 is ASCII.
            text.push_str(&String::from_utf8_lossy(line));
            text.push_str("\r\n");
        }
        Self { to, text }
    }
}

/// The last place of at most `most` bytes between two characters.
fn boundary(text: &str, most: usize) -> usize {
    let most = most.min(text.len());
    (0..=most)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..boundary(text, most)]
}

/// A text as words of a header, whatever it holds: what is not plain is encoded, and what would end
/// a line is a space.
fn encoded(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let is_plain = text.len() <= 60 && text.chars().all(|c| c.is_ascii() && c != '=');
    if is_plain {
        return text;
    }
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(boundary(rest, WORD));
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    words.join("\r\n ")
}
