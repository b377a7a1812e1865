//! Playbooks to pick from: whole but for what only the host knows.

mod not_recovered;
mod pick;
mod shipped;
mod template;
#[cfg(test)]
mod tests;

use homeostasis_core::{ConfigError, Violation, Violations};

pub use not_recovered::NotRecovered;
pub use pick::PlaybookPick;
pub use template::{PlaybookParameter, PlaybookTemplate};

/// Playbooks to pick from, by name and by category. Nothing of it is active unless it is picked.
///
/// A template is a playbook whose `metadata.parameters` says what the host must set; such a parameter
/// stands in it as `${host.NAME}`. Whatever has a default need not be set.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::playbook::PlaybookLibrary;
///
/// let library = PlaybookLibrary::shipped()?;
/// let texts = library
///     .pick("turn_off_feature")?
///     .with("service", "shop")
///     .with("flag", "new_checkout")
///     .texts()?;
/// assert!(texts[0].1.contains("flag: \"new_checkout\""));
///
/// // What is not set is named, with what it means.
/// let refusal = library.pick("turn_off_feature")?.with("service", "shop").texts().unwrap_err();
/// assert!(refusal.to_string().contains("turn_off_feature.flag is missing, expected the switch"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PlaybookLibrary {
    /// By category, then name.
    templates: Vec<PlaybookTemplate>,
}

impl PlaybookLibrary {
    /// The playbooks that come with the crate, read when they are first asked for.
    ///
    /// # Errors
    /// Never, as long as the crate's own tests pass.
    pub fn shipped() -> Result<&'static Self, ConfigError> {
        shipped::shipped()
    }

    /// A library of the host's own, from `(source, text)` pairs.
    ///
    /// # Errors
    /// Every text that is no template, each with its place, and every name that occurs twice.
    pub fn read<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let (mut templates, mut violations) = (Vec::<PlaybookTemplate>::new(), Violations::new());
        for (source, text) in texts {
            let Some(read) = violations.absorb(PlaybookTemplate::read(source, text)) else {
                continue;
            };
            match templates.iter().find(|other| other.name() == read.name()) {
                None => templates.push(read),
                Some(other) => {
                    let expected = format!("a name of its own; {} has the same", other.source());
                    let twice = Violation::new("playbook_id", read.name(), expected);
                    violations.push(twice.in_source(source));
                }
            }
        }
        templates.sort_by(|a, b| (a.category(), a.name()).cmp(&(b.category(), b.name())));
        violations.into_result(Self { templates })
    }

    /// All templates, by category and name.
    pub fn iter(&self) -> impl Iterator<Item = &PlaybookTemplate> {
        self.templates.iter()
    }

    /// The template of this name.
    pub fn get(&self, name: &str) -> Option<&PlaybookTemplate> {
        self.iter().find(|template| template.name() == name)
    }

    /// One playbook.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn pick(&self, name: &str) -> Result<PlaybookPick, ConfigError> {
        self.picked("playbook", name, PlaybookTemplate::name)
    }

    /// Every playbook of a category.
    ///
    /// # Errors
    /// If there is no such category.
    pub fn pick_category(&self, category: &str) -> Result<PlaybookPick, ConfigError> {
        self.picked("category", category, PlaybookTemplate::category)
    }

    fn picked(
        &self,
        what: &str,
        wanted: &str,
        key: fn(&PlaybookTemplate) -> &str,
    ) -> Result<PlaybookPick, ConfigError> {
        let picked: Vec<_> = self
            .iter()
            .filter(|it| key(it) == wanted)
            .cloned()
            .collect();
        if picked.is_empty() {
            let mut known: Vec<_> = self.iter().map(key).collect();
            known.dedup();
            let expected = format!("one of {}", known.join(", "));
            return Err(ConfigError::single(what, format!("{wanted:?}"), expected));
        }
        Ok(PlaybookPick::new(picked))
    }
}
