//! The actions a host allows, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::ConfigError;

use crate::action::{Action, is_name};

/// The actions a host allows. Playbooks can call these and nothing else.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::{ActionRegistry, SetFlag};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// let fallback = Arc::new(AtomicBool::new(false));
/// let (read, write) = (Arc::clone(&fallback), fallback);
/// let set_flag = SetFlag::default().flag(
///     "catalog_fallback",
///     Target::service("gateway")?,
///     move || read.load(Ordering::SeqCst),
///     move |on| write.store(on, Ordering::SeqCst),
/// )?;
/// let mut actions = ActionRegistry::default();
/// actions.register(set_flag)?;
/// assert!(actions.get("set_flag").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ActionRegistry {
    actions: BTreeMap<String, Arc<dyn Action>>,
}

impl ActionRegistry {
    /// Adds an action.
    ///
    /// # Errors
    /// If its name is taken or not a plain word, or two of its parameters have one name.
    pub fn register(&mut self, action: impl Action + 'static) -> Result<(), ConfigError> {
        let name = action.name().to_owned();
        if !is_name(&name) {
            return Err(ConfigError::single(
                "actions",
                format!("{name:?}"),
                "a name of letters, digits, `.`, `_` and `-`",
            ));
        }
        let params = &action.spec().params;
        for (idx, param) in params.iter().enumerate() {
            if params[..idx]
                .iter()
                .any(|earlier| earlier.name == param.name)
            {
                return Err(ConfigError::single(
                    format!("actions.{name}"),
                    format!("{:?}", param.name),
                    "each parameter once",
                ));
            }
        }
        if self.actions.contains_key(&name) {
            return Err(ConfigError::single(
                "actions",
                format!("{name:?}"),
                "each action once",
            ));
        }
        self.actions.insert(name, Arc::new(action));
        Ok(())
    }

    /// The action called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Action>> {
        self.actions.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.actions.keys().map(String::as_str)
    }
}
