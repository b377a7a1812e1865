//! What a host says about a webhook.

use std::time::Duration;

use homeostasis_core::{ConfigError, Secret, Violation, Violations};
use serde::Deserialize;

use super::signature::SigningKey;
use crate::http::is_sendable;

/// The longest body of a message, in bytes.
const BODY: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 20;

/// The longest time a delivery may take in all.
const LONGEST: Duration = Duration::from_secs(300);

/// What the receiver understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WebhookFormat {
    /// JSON signed as [Standard Webhooks](https://www.standardwebhooks.com) describes it; see
    /// [`Webhook`](super::Webhook).
    #[default]
    Signed,
    /// `{"text": "…"}`, as incoming webhooks of Slack, Mattermost and Rocket.Chat take it. Nothing
    /// is signed: whoever knows the URL may post.
    Slack,
    /// The Events API v2 of `PagerDuty` at [`PAGER_DUTY`](WebhookConfig::PAGER_DUTY): each incident is
    /// one alert, which is triggered, acknowledged and resolved. The one secret is the integration
    /// key; it is sent in the body.
    PagerDuty,
}

/// Where messages are sent, how, and for how long it is tried.
///
/// It is read and never written: the URL is as secret as a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What it is called in errors, which never tell the URL.
    pub name: String,
    /// Absolute, `https://` or `http://`, without user name. **Warning:** with `http://` everybody
    /// on the way reads the URL and the messages.
    pub url: Secret,
    /// What the receiver understands; default `signed`.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Keys for the signature, each `whsec_` and the base64 of 24 to 64 random bytes: one, or two
    /// while the receiver changes from one to the other. At least one for `signed`, none for
    /// `slack`, one integration key of 32 letters and digits for `pager_duty`; default none.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Whether it is also told that an incident was acknowledged and that it is over; default yes.
    /// `pager_duty` always is.
    #[serde(default = "WebhookConfig::default_updates")]
    pub updates: bool,
    /// How long one attempt may take; default 5 s, at most `within`.
    #[serde(
        default = "WebhookConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
    /// How often it is tried at most; default 3, 1 to 10.
    #[serde(default = "WebhookConfig::default_attempts")]
    pub attempts: u32,
    /// How long all attempts may take together with the waits between them; default 20 s, at most
    /// 5 m. Keep it below the deadline the engine gives a notifier, `engine.stage_deadline` (30 s):
    /// what takes longer is cut off there.
    #[serde(
        default = "WebhookConfig::default_within",
        with = "crate::duration_text"
    )]
    pub within: Duration,
    /// How many bytes of JSON a message may have, 1 KiB to 1 MiB; default 32 KiB. Longer texts are
    /// cut and end with `…`.
    #[serde(default = "WebhookConfig::default_max_body")]
    pub max_body: usize,
}

impl WebhookConfig {
    /// Where `PagerDuty` takes events of its service regions but the European one.
    pub const PAGER_DUTY: &'static str = "https://events.pagerduty.com/v2/enqueue";

    /// The defaults for posting to `url`, without a key yet.
    pub fn new(name: impl Into<String>, url: impl Into<Secret>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            format: WebhookFormat::Signed,
            secrets: Vec::new(),
            updates: Self::default_updates(),
            timeout: Self::default_timeout(),
            attempts: Self::default_attempts(),
            within: Self::default_within(),
            max_body: Self::default_max_body(),
        }
    }

    /// The keys, if everything is right.
    pub(super) fn check(&self) -> Result<Vec<SigningKey>, ConfigError> {
        let mut wrong = Violations::new();
        let mut expect = |holds: bool, path: &str, value: String, expected: &str| {
            if !holds {
                wrong.push(Violation::new(path, value, expected));
            }
        };
        let hidden = || format!("{:?}", self.url);
        expect(!self.name.is_empty(), "name", "\"\"".to_owned(), "a name");
        let expected = "an absolute http or https URL without user name";
        expect(is_sendable(self.url.expose()), "url", hidden(), expected);
        let mut keys = Vec::new();
        let is_pager = self.format == WebhookFormat::PagerDuty;
        for (i, secret) in self.secrets.iter().enumerate().filter(|_| !is_pager) {
            let key = SigningKey::read(secret);
            let expected = "`whsec_` and the base64 of 24 to 64 bytes";
            expect(key.is_some(), &format!("secrets[{i}]"), hidden(), expected);
            keys.extend(key);
        }
        let (n_secrets, given) = (self.secrets.len(), format!("{} given", self.secrets.len()));
        match self.format {
            WebhookFormat::Signed => expect(n_secrets > 0, "secrets", given, "a key to sign with"),
            WebhookFormat::PagerDuty => {
                let key = self.own_key();
                let is_key = key.len() == 32 && key.bytes().all(|it| it.is_ascii_alphanumeric());
                let expected = "one integration key of 32 letters and digits";
                expect(n_secrets == 1 && is_key, "secrets", given, expected);
            }
            WebhookFormat::Slack => {
                expect(n_secrets == 0, "secrets", given, "none: Slack checks none");
            }
        }
        let (timeout, within) = (self.timeout, self.within);
        let is_within = !timeout.is_zero() && timeout <= within;
        let expected = "more than 0s and at most `within`";
        expect(is_within, "timeout", format!("{timeout:?}"), expected);
        let is_bounded = !within.is_zero() && within <= LONGEST;
        let expected = "more than 0s and at most 5m";
        expect(is_bounded, "within", format!("{within:?}"), expected);
        let (attempts, max_body) = (self.attempts, self.max_body);
        let is_known = (1..=10).contains(&attempts);
        expect(is_known, "attempts", attempts.to_string(), "1 to 10");
        let expected = "1024 to 1048576 bytes";
        let is_known = BODY.contains(&max_body);
        expect(is_known, "max_body", max_body.to_string(), expected);
        wrong.into_result(keys)
    }

    /// The key that a body holds by itself; empty if there is none.
    pub(super) fn own_key(&self) -> &str {
        let key = self
            .secrets
            .first()
            .filter(|_| self.format == WebhookFormat::PagerDuty);
        key.map_or("", Secret::expose)
    }

    fn default_updates() -> bool {
        true
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn default_attempts() -> u32 {
        3
    }

    fn default_within() -> Duration {
        Duration::from_secs(20)
    }

    fn default_max_body() -> usize {
        32 << 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn paths(config: &WebhookConfig) -> Vec<String> {
        let Err(error) = config.check() else {
            return Vec::new();
        };
        let text = error.to_string();
        assert!(
            !text.contains("T0/B0") && !text.contains("whsec_x"),
            "{text}"
        );
        error.violations().iter().map(|v| v.path.clone()).collect()
    }

    #[test]
    fn a_configuration_is_read_with_its_defaults_and_shows_no_secret() {
        let text = serde_json::json!({
            "name": "pager", "url": "https://pager/T0/B0", "secrets": [KEY],
        });
        let config: WebhookConfig = serde_json::from_value(text).unwrap();
        let mut expected = WebhookConfig::new("pager", "https://pager/T0/B0");
        expected.secrets.push(KEY.into());
        assert_eq!(config, expected);
        assert_eq!(paths(&config), [""; 0]);
        let shown = format!("{config:?}");
        assert!(!shown.contains("T0") && !shown.contains("MfKQ"), "{shown}");
    }

    #[test]
    fn every_wrong_setting_is_named_and_no_secret_repeated() {
        let config = WebhookConfig {
            secrets: vec![KEY.into(), "whsec_x".into()],
            timeout: Duration::from_secs(9),
            attempts: 0,
            within: Duration::ZERO,
            max_body: 100,
            ..WebhookConfig::new("", "https//pager/T0/B0")
        };
        let all = [
            "name",
            "url",
            "secrets[1]",
            "timeout",
            "within",
            "attempts",
            "max_body",
        ];
        assert_eq!(paths(&config), all);
        for url in [
            "http://ann:pw@pager/T0/B0",
            "ftp://pager/T0/B0",
            "http://pager:x/T0/B0",
        ] {
            let mut config = WebhookConfig::new("pager", url);
            assert_eq!(paths(&config), ["url", "secrets"], "{url}");
            config.format = WebhookFormat::Slack;
            assert_eq!(paths(&config), ["url"], "{url}");
            config.secrets.push(KEY.into());
            assert_eq!(paths(&config), ["url", "secrets"], "{url}");
        }
        let mut config = WebhookConfig::new("pager", WebhookConfig::PAGER_DUTY);
        config.format = WebhookFormat::PagerDuty;
        assert_eq!(paths(&config), ["secrets"]);
        config.secrets.push(KEY.into());
        assert_eq!(paths(&config), ["secrets"]);
        config.secrets[0] = "R0123456789abcdefR0123456789abcd".into();
        assert_eq!(paths(&config), [""; 0]);
        config
            .secrets
            .push("R0123456789abcdefR0123456789abcd".into());
        assert_eq!(paths(&config), ["secrets"]);
    }
}
