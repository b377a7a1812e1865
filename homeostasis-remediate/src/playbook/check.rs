//! Named pre-conditions a host can answer, such as `writable_filesystem`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::condition::Truth;
use homeostasis_core::{ConfigError, Context, Target};

use crate::action::is_name;

/// Answers a named pre-condition. It changes nothing.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `PreCheck` with `#[async_trait]`")]
pub trait PreCheck: fmt::Debug + Send + Sync {
    /// What playbooks call it.
    fn name(&self) -> &str;

    /// Whether it holds for `target`; what cannot be found out is [`Truth::Unknown`], and unknown
    /// is not met.
    async fn check(&self, cx: &Context, target: &Target) -> Truth;
}

const _: fn(&dyn PreCheck) = |_| {};

struct FromFn<F> {
    name: String,
    check: F,
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreCheck").field(&self.name).finish()
    }
}

#[async_trait]
impl<F: Fn(&Context, &Target) -> Truth + Send + Sync> PreCheck for FromFn<F> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self, cx: &Context, target: &Target) -> Truth {
        (self.check)(cx, target)
    }
}

/// The named pre-conditions a host can answer. A playbook that names another one does not load.
///
/// ```
/// use homeostasis::core::condition::Truth;
/// use homeostasis::remediate::playbook::CheckRegistry;
/// let mut checks = CheckRegistry::default();
/// checks.register_fn("no_active_backups", |_, _| Truth::True)?;
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CheckRegistry {
    checks: BTreeMap<String, Arc<dyn PreCheck>>,
}

impl CheckRegistry {
    /// Adds a check.
    ///
    /// # Errors
    /// If its name is taken or not a plain word.
    pub fn register(&mut self, check: impl PreCheck + 'static) -> Result<(), ConfigError> {
        let name = check.name().to_owned();
        if !is_name(&name) || self.checks.contains_key(&name) {
            let expected = "a new name of letters, digits, `.`, `_` and `-`";
            return Err(ConfigError::single("checks", format!("{name:?}"), expected));
        }
        self.checks.insert(name, Arc::new(check));
        Ok(())
    }

    /// Adds a function as a check; it must return at once.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn register_fn(
        &mut self,
        name: impl Into<String>,
        check: impl Fn(&Context, &Target) -> Truth + Send + Sync + 'static,
    ) -> Result<(), ConfigError> {
        self.register(FromFn {
            name: name.into(),
            check,
        })
    }

    /// The check called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn PreCheck>> {
        self.checks.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.checks.keys().map(String::as_str)
    }
}
