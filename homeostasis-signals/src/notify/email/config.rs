//! What a host says about its mail.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis_core::{ConfigError, Secret, Violation, Violations};
use serde::Deserialize;

/// How the way to the server is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmailSecurity {
    /// TLS after the command `STARTTLS`, or no mail.
    #[default]
    StartTls,
    /// None: everybody on the way reads the mails. No password is sent then, but to this machine.
    Plain,
}

/// Who the server knows us as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailLogin {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Through which server mails go, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// What it is called in errors.
    pub name: String,
    /// The server's name or address.
    pub server: String,
    /// Its port; default 587, that of submission.
    #[serde(default = "EmailConfig::default_port")]
    pub port: u16,
    /// How the way there is protected; default `start_tls`.
    #[serde(default)]
    pub security: EmailSecurity,
    /// User and password, for `AUTH PLAIN`; default none.
    #[serde(default)]
    pub login: Option<EmailLogin>,
    /// The address mails come from.
    pub from: String,
    /// Who gets what is for nobody that `people` knows; at least one address.
    pub to: Vec<String>,
    /// The addresses of people and roles, under the names by which policies call them.
    #[serde(default)]
    pub people: BTreeMap<String, Vec<String>>,
    /// The name this machine gives itself in `EHLO`; default `localhost`.
    #[serde(default = "EmailConfig::default_hello")]
    pub hello: String,
    /// Whether mails also say that an incident was acknowledged and that it is over; default no.
    #[serde(default)]
    pub updates: bool,
    /// How long one delivery may take in all; default 20 s, 100 ms to 5 m. Keep it below the
    /// deadline the engine gives a notifier, `engine.stage_deadline` (30 s).
    #[serde(default = "EmailConfig::default_within", with = "crate::duration_text")]
    pub within: Duration,
}

impl EmailConfig {
    /// The defaults, for mails from `from` to `to` through `server`.
    pub fn new(
        name: impl Into<String>,
        server: impl Into<String>,
        from: impl Into<String>,
        to: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            name: name.into(),
            server: server.into(),
            port: Self::default_port(),
            security: EmailSecurity::default(),
            login: None,
            from: from.into(),
            to: to.into_iter().map(Into::into).collect(),
            people: BTreeMap::new(),
            hello: Self::default_hello(),
            updates: false,
            within: Self::default_within(),
        }
    }

    /// Whether mails can be sent so.
    ///
    /// # Errors
    /// - The name or the server is empty, `hello` is no name of a machine.
    /// - An address is not `local@domain` of visible ASCII characters without quotes, brackets,
    ///   commas, colons and semicolons, at most 254 long; there is none in `to`; a name of `people`
    ///   has none.
    /// - A password would go in the clear to another machine; user or password is empty or holds a
    ///   NUL.
    /// - `within` is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Violations::new();
        let mut expect = |holds: bool, path: &str, value: &str, expected: &str| {
            if !holds {
                wrong.push(Violation::new(path, format!("{value:?}"), expected));
            }
        };
        let address = "an address such as ops@shop.example";
        expect(!self.name.is_empty(), "name", &self.name, "a name");
        expect(
            is_host(&self.server),
            "server",
            &self.server,
            "the name of a machine",
        );
        expect(
            is_host(&self.hello),
            "hello",
            &self.hello,
            "the name of a machine",
        );
        expect(is_address(&self.from), "from", &self.from, address);
        expect(!self.to.is_empty(), "to", "", address);
        for (i, to) in self.to.iter().enumerate() {
            expect(is_address(to), &format!("to[{i}]"), to, address);
        }
        for (name, addresses) in &self.people {
            expect(
                !addresses.is_empty(),
                &format!("people.{name}"),
                "",
                address,
            );
            for (i, to) in addresses.iter().enumerate() {
                expect(is_address(to), &format!("people.{name}[{i}]"), to, address);
            }
        }
        if let Some(EmailLogin { user, password }) = &self.login {
            let is_word = |word: &str| !word.is_empty() && !word.contains('\0');
            expect(is_word(user), "login.user", user, "a user");
            expect(
                is_word(password.expose()),
                "login.password",
                "***",
                "a password",
            );
            let is_near = ["localhost", "127.0.0.1", "::1"].contains(&self.server.as_str());
            let is_kept = self.security == EmailSecurity::StartTls || is_near;
            let expected = "start_tls, since there is a password";
            expect(is_kept, "security", "plain", expected);
        }
        let range = Duration::from_millis(100)..=Duration::from_secs(300);
        let within = format!("{:?}", self.within);
        expect(
            range.contains(&self.within),
            "within",
            &within,
            "100ms to 5m",
        );
        wrong.into_result(())
    }

    fn default_port() -> u16 {
        587
    }

    fn default_hello() -> String {
        "localhost".to_owned()
    }

    fn default_within() -> Duration {
        Duration::from_secs(20)
    }
}

/// What no part of an address may hold: it would end it, or begin another one.
const SPECIAL: &str = "<>()[]\\,;:\"@ ";

fn is_address(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_graphic() && !SPECIAL.contains(c))
    };
    let parts = text.rsplit_once('@');
    text.len() <= 254 && parts.is_some_and(|(local, domain)| is_part(local) && is_host(domain))
}

fn is_host(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    (1..=253).contains(&text.len()) && !text.starts_with(['.', '-']) && text.chars().all(is_known)
}
