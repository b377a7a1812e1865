//! Whose signals they are: resource and scope.

use homeostasis_core::signal::{ErrorEvent, Fields};
use homeostasis_core::{Digest, Target, Timestamp};

use super::any_value::{AnyValue, cut};
use super::config::OtlpIntakeConfig;
use super::message::{KeyValue, Resource, Scope};

/// The longest name of a service or an instance, in characters.
const MAX_NAME: usize = 128;
/// The most bytes of the name of a scope, and of the value of a label.
pub(super) const MAX_LABEL: usize = 256;

/// How much of a request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OtlpOutcome {
    /// How many log records, spans or data points were taken.
    pub n_accepted: usize,
    /// How many were refused.
    pub n_rejected: usize,
    /// Why the first was refused, or what was dropped of those taken; empty if nothing was.
    pub message: String,
}

impl OtlpOutcome {
    pub(super) fn add(&mut self, item: Result<(), String>) {
        match item {
            Ok(()) => self.n_accepted += 1,
            Err(reason) => self.refuse(1, || reason),
        }
    }

    pub(super) fn refuse(&mut self, n_items: usize, reason: impl FnOnce() -> String) {
        // The reason of a refusal goes before a remark on what was dropped.
        if self.n_rejected == 0 {
            self.message = reason();
        }
        self.n_rejected += n_items;
    }

    pub(super) fn remark(&mut self, text: impl FnOnce() -> String) {
        if self.message.is_empty() {
            self.message = text();
        }
    }
}

/// What all items of one resource and scope share.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) target: Option<Target>,
    /// The language of the program, as error records name it.
    language: String,
    /// The name of the instrumentation scope, cut.
    pub(super) component: String,
    /// The attributes of resource and scope that are kept.
    pub(super) kept: Vec<(String, String)>,
    /// Tells resources apart.
    pub(super) source: Digest,
    /// Tells scopes apart.
    pub(super) scope: Digest,
}

impl Origin {
    /// The origin of a resource.
    pub(super) fn new(resource: Resource, config: &OtlpIntakeConfig) -> Self {
        let mut attributes: Vec<(String, String)> = resource
            .attributes
            .into_iter()
            .take(config.max_attributes)
            .map(|entry| (entry.key, cut(entry.value.into_text(), config.max_text)))
            .collect();
        attributes.sort();
        let of = |name: &str| {
            attributes
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| value.as_str())
        };
        let target =
            of("service.name").and_then(|service| match of("service.instance.id").map(name_of) {
                Some(instance) => Target::instance(name_of(service), instance).ok(),
                None => Target::service(name_of(service)).ok(),
            });
        let language = match of("telemetry.sdk.language").unwrap_or_default() {
            "nodejs" | "webjs" => "javascript".to_owned(),
            language => name_of(language),
        };
        let source = digest(
            None,
            attributes.iter().flat_map(|(key, value)| [key, value]),
        );
        attributes.retain(|(key, _)| config.keep_attributes.contains(key));
        Self {
            target: target.or_else(|| config.target.clone()),
            language,
            component: String::new(),
            kept: attributes,
            source,
            scope: source,
        }
    }

    /// The origin of one of its scopes, given what the resource alone keeps.
    pub(super) fn enter(&mut self, scope: Scope, n_of_resource: usize, config: &OtlpIntakeConfig) {
        self.kept.truncate(n_of_resource);
        // Once for all metrics of the scope, however long its name.
        self.scope = digest(Some(self.source), [&scope.name]);
        self.component = cut(scope.name, MAX_LABEL);
        let kept = scope
            .attributes
            .into_iter()
            .take(config.max_attributes)
            .filter(|entry| config.keep_attributes.contains(&entry.key))
            .map(|entry| (entry.key, cut(entry.value.into_text(), config.max_text)));
        self.kept.extend(kept);
    }

    /// Takes the room that `n_items` need for their copies of what they share.
    ///
    /// Without it a small request could become a large one: one long text and many empty items.
    ///
    /// # Errors
    /// There is less room.
    pub(super) fn charge(
        &self,
        n_items: usize,
        room: &mut usize,
        config: &OtlpIntakeConfig,
    ) -> Result<(), String> {
        let kept = self.kept.iter();
        let text: usize = kept.map(|(key, value)| key.len() + value.len()).sum();
        let needed = n_items.saturating_mul(text + self.component.len() + self.language.len());
        *room = room.checked_sub(needed).ok_or_else(|| {
            let limit = config.max_decoded;
            format!("copies of resource and scope are above the limit max_decoded = {limit}")
        })?;
        Ok(())
    }

    /// The fields of an item: what is kept of the origin, and its own attributes, which win.
    ///
    /// # Errors
    /// A value is deeper than allowed.
    pub(super) fn fields(
        &self,
        attributes: Vec<KeyValue>,
        config: &OtlpIntakeConfig,
        outcome: &mut OtlpOutcome,
    ) -> Result<Fields, String> {
        let n = attributes.len();
        if n > config.max_attributes {
            outcome
                .remark(|| format!("{n} attributes, expected at most {}", config.max_attributes));
        }
        let mut fields = Fields::with_capacity(self.kept.len() + n.min(config.max_attributes));
        fields.extend(self.kept.iter().cloned());
        for entry in attributes.into_iter().take(config.max_attributes) {
            let value = text_within(entry.value, &entry.key, config)?;
            fields.insert(entry.key, value);
        }
        Ok(fields)
    }

    /// The error that attributes named `exception.…` describe.
    pub(super) fn error(&self, fields: &Fields) -> Option<Box<ErrorEvent>> {
        let kind = fields.get("exception.type").unwrap_or_default();
        let message = fields.get("exception.message").unwrap_or_default();
        (!kind.is_empty() || !message.is_empty())
            .then(|| Box::new(ErrorEvent::new(&self.language, kind, message)))
    }
}

/// A value as text, if it is not too deep.
pub(super) fn text_within(
    value: AnyValue,
    name: &str,
    config: &OtlpIntakeConfig,
) -> Result<String, String> {
    if value.fits(config.max_value_depth) {
        Ok(cut(value.into_text(), config.max_text))
    } else {
        Err(format!(
            "{name} is nested, expected at most {} levels",
            config.max_value_depth
        ))
    }
}

/// A time of OTLP; 0 is none.
pub(super) fn time(nanos: u64, name: &str) -> Result<Option<Timestamp>, String> {
    let nanos_signed = i64::try_from(nanos)
        .map_err(|_| format!("{name} = {nanos}, expected a time before 2262"))?;
    Ok((nanos != 0).then(|| Timestamp::from_nanos(nanos_signed)))
}

/// Tells apart what is named by these texts, below `parent`.
pub(super) fn digest<T: AsRef<str>>(
    parent: Option<Digest>,
    texts: impl IntoIterator<Item = T>,
) -> Digest {
    let mut bytes = parent.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec());
    for text in texts {
        // The length keeps `ab`, `c` and `a`, `bc` apart.
        bytes.extend(text.as_ref().len().to_le_bytes());
        bytes.extend(text.as_ref().as_bytes());
    }
    Digest::of_bytes(&bytes)
}

/// A name that a target can have: `unknown_service:/usr/bin/java` has a slash.
fn name_of(text: &str) -> String {
    let name: String = text
        .chars()
        .take(MAX_NAME)
        .map(|c| if c == '/' || c.is_control() { '_' } else { c })
        .collect();
    name.trim().to_owned()
}
