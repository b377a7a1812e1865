//! Credentials that playbooks name and never hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::{BoxError, Context, ErrorKind, Secret, Violation, Violations};
use serde_json::{Map, Value};

use super::spec::origin_of;
use crate::action::{ActionError, ArgumentProblem, is_name};

/// Where a secret comes from at the moment it is used: a fixed [`Secret`], or a store of secrets
/// of the host, whose secrets change and expire.
///
/// It is asked for every request, within the time of the step. What it says when it fails is
/// journaled, so it must hold no secret.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `SecretSource` with `#[async_trait]`")]
pub trait SecretSource: fmt::Debug + Send + Sync {
    /// The secret as it is now.
    async fn secret(&self, cx: &Context) -> Result<Secret, BoxError>;
}

const _: fn(&dyn SecretSource) = |_| {};

#[async_trait]
impl SecretSource for Secret {
    async fn secret(&self, _: &Context) -> Result<Secret, BoxError> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<T: SecretSource + ?Sized> SecretSource for Arc<T> {
    async fn secret(&self, cx: &Context) -> Result<Secret, BoxError> {
        (**self).secret(cx).await
    }
}

/// One header whose value is secret, and where it may be sent.
///
/// ```
/// use homeostasis::core::Secret;
/// use homeostasis::remediate::action::Credential;
///
/// let gateway = Credential::bearer(Secret::new("k7Q…")).for_origin("https://gateway:8443");
/// assert!(!format!("{gateway:?}").contains("k7Q"));
/// ```
#[derive(Debug, Clone)]
pub struct Credential {
    header: Cow<'static, str>,
    form: Form,
    source: Arc<dyn SecretSource>,
    origins: Vec<String>,
}

/// How the secret becomes the value of the header.
#[derive(Debug, Clone)]
enum Form {
    Bearer,
    Basic(String),
    Bare,
}

impl Credential {
    /// `authorization: Bearer …` (RFC 6750).
    pub fn bearer(token: impl SecretSource + 'static) -> Self {
        Self::of("authorization".into(), Form::Bearer, token)
    }

    /// `authorization: Basic …` (RFC 7617): `user`, which has no colon, and a password.
    pub fn basic(user: impl Into<String>, password: impl SecretSource + 'static) -> Self {
        Self::of("authorization".into(), Form::Basic(user.into()), password)
    }

    /// The header `name` with the secret as its whole value.
    pub fn header(name: impl Into<String>, value: impl SecretSource + 'static) -> Self {
        Self::of(name.into().into(), Form::Bare, value)
    }

    /// The same, also for requests to `origin`, such as `https://gateway:8443`: a credential goes
    /// nowhere else, whatever a playbook says.
    pub fn for_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    fn of(header: Cow<'static, str>, form: Form, source: impl SecretSource + 'static) -> Self {
        Self {
            header,
            form,
            source: Arc::new(source),
            origins: Vec::new(),
        }
    }

    fn goes_to(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }
}

/// The credentials of an action, by name.
#[derive(Debug, Default)]
pub(super) struct Credentials(BTreeMap<String, Credential>);

impl Credentials {
    /// Adds a credential that may go to some of the origins that the action may talk to.
    pub(super) fn add(
        &mut self,
        name: String,
        mut credential: Credential,
        allowed: &BTreeSet<String>,
        wrong: &mut Violations,
    ) {
        let path = format!("http_request.credentials.{name}");
        let mut refuse = |field: &str, value: &str, expected: &str| {
            let path = format!("{path}{field}");
            wrong.push(Violation::new(path, format!("{value:?}"), expected));
        };
        if !is_name(&name) || self.0.contains_key(&name) {
            let expected = "a new name of letters, digits, `.`, `_` and `-`";
            refuse("", &name, expected);
        }
        if !is_token(&credential.header) {
            refuse(".header", &credential.header, "the name of a header");
        }
        if let Form::Basic(user) = &credential.form
            && (user.contains(':') || user.chars().any(char::is_control))
        {
            refuse(".user", user, "a user name without colon");
        }
        if credential.origins.is_empty() {
            wrong.push(Violation::new(
                format!("{path}.origins"),
                "",
                "an origin it may be sent to",
            ));
        }
        for origin in &mut credential.origins {
            let read = origin_of(origin);
            match read.filter(|read| allowed.contains(read)) {
                Some(read) if origin.trim_end_matches('/').eq_ignore_ascii_case(&read) => {
                    *origin = read;
                }
                _ => {
                    let listed: Vec<_> = allowed.iter().map(String::as_str).collect();
                    let expected = format!("an origin of the action: {}", listed.join(", "));
                    let path = format!("{path}.origins");
                    wrong.push(Violation::new(path, format!("{origin:?}"), expected));
                }
            }
        }
        self.0.insert(name, credential);
    }

    /// What is wrong with the arguments of a step that names a credential.
    pub(super) fn check(&self, args: &Map<String, Value>, problems: &mut Vec<ArgumentProblem>) {
        let Some(name) = args.get(PARAM).and_then(Value::as_str) else {
            return;
        };
        let Some(credential) = self.0.get(name) else {
            let listed: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
            let expected = if listed.is_empty() {
                "the name of a credential of the action; it has none".to_owned()
            } else {
                format!("one of {}", listed.join(", "))
            };
            problems.push(ArgumentProblem::new(format!("/{PARAM}"), expected));
            return;
        };
        let url = args.get("url").and_then(Value::as_str).unwrap_or_default();
        if origin_of(url).is_some_and(|origin| !credential.goes_to(&origin)) {
            let origins = credential.origins.join(", ");
            let expected = format!("an origin to which `{name}` may be sent: {origins}");
            problems.push(ArgumentProblem::new("/url", expected));
        }
        let headers = args.get("headers").and_then(Value::as_object);
        let given = headers.into_iter().flatten().map(|(header, _)| header);
        let expected = || format!("another header: `{name}` sends this one");
        for header in given.filter(|given| given.eq_ignore_ascii_case(&credential.header)) {
            let pointer = format!("/headers/{header}");
            problems.push(ArgumentProblem::new(pointer, expected()));
        }
        let key = args.get("idempotency_header").and_then(Value::as_str);
        if key.is_some_and(|given| given.eq_ignore_ascii_case(&credential.header)) {
            problems.push(ArgumentProblem::new("/idempotency_header", expected()));
        }
    }

    /// The header that a request to `url` carries, if its step names a credential.
    pub(super) async fn grant(
        &self,
        cx: &Context,
        args: &Map<String, Value>,
        url: &str,
    ) -> Result<Option<Grant>, ActionError> {
        let Some(name) = args.get(PARAM).and_then(Value::as_str) else {
            return Ok(None);
        };
        let goes = |credential: &&Credential| {
            origin_of(url).is_some_and(|origin| credential.goes_to(&origin))
        };
        let Some(credential) = self.0.get(name).filter(goes) else {
            return Err(ActionError::Denied {
                reason: format!("no credential `{name}` may be sent to {url}"),
            });
        };
        let what = || format!("reading the credential `{name}`");
        let secret = credential.source.secret(cx).await;
        let secret =
            secret.map_err(|error| ActionError::not_begun(what(), ErrorKind::Transient, error))?;
        let told = secret.expose();
        if told.is_empty() || told.chars().any(char::is_control) {
            let expected = "expected one line of text that is not empty";
            return Err(ActionError::invalid(what(), expected));
        }
        let mut hidden = vec![secret.clone()];
        let value = match &credential.form {
            Form::Bearer => format!("Bearer {told}"),
            Form::Bare => told.to_owned(),
            Form::Basic(user) => {
                let encoded = base64(format!("{user}:{told}").as_bytes());
                hidden.push(Secret::new(&encoded));
                format!("Basic {encoded}")
            }
        };
        Ok(Some(Grant {
            header: credential.header.clone().into_owned(),
            value,
            hidden,
        }))
    }
}

/// The parameter that names a credential. Its name says that its value is no secret, so that
/// redaction leaves it alone.
pub(super) const PARAM: &str = "credential_name";

/// A credential as one request carries it.
pub(super) struct Grant {
    pub(super) header: String,
    pub(super) value: String,
    hidden: Vec<Secret>,
}

impl Grant {
    /// `text` without what it repeats of the secret.
    pub(super) fn hide(&self, text: &str) -> String {
        let hide = |text: String, secret: &Secret| secret.hide_in(&text);
        self.hidden.iter().fold(text.to_owned(), hide)
    }
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(is_sign)
}

/// Base64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[letter])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
