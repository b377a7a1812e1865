//! The servers that playbooks may name: what the actions of all engines have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::{ConfigError, Target, Violations};
use serde_json::{Map, Value};

use super::flag::new_name;
use super::{ActionCall, ActionError, ArgumentProblem, Param, ParamKind, unknown_name};

/// Where a server is, as the host configured it.
pub(super) trait ServerConfig {
    /// The parameter that names one.
    const PARAM: &'static str;
    /// What names one, for people.
    const DOC: &'static str;
    /// What is expected where none of that name is registered.
    const EXPECTED: &'static str;
    /// Under which path they stand in errors.
    const PATH: &'static str;

    /// Whom an action on it affects.
    fn target(&self) -> &Target;

    /// What is wrong with it; `path` is where it stands.
    fn violations(&self, path: &str) -> Violations;
}

/// Servers by name; clones share the configurations.
#[derive(Debug)]
pub(super) struct Servers<C>(BTreeMap<String, Arc<C>>);

impl<C> Clone for Servers<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Default for Servers<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<C: ServerConfig> Servers<C> {
    /// Adds one.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, or the configuration is wrong.
    pub(super) fn add(&mut self, name: String, config: C) -> Result<(), ConfigError> {
        let name = new_name(C::PATH, name, &self.0)?;
        let path = format!("{}.{name}", C::PATH);
        config.violations(&path).into_result(())?;
        self.0.insert(name, Arc::new(config));
        Ok(())
    }

    /// The parameter that names one.
    pub(super) fn param() -> Param {
        Param::required(C::PARAM, ParamKind::Name, C::DOC)
    }

    /// What is wrong with the argument that names one.
    pub(super) fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, C::PARAM, self.0.keys())
    }

    /// Whom an action on the named one affects; `target` if it names none.
    pub(super) fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.named(args)
            .map_or_else(|| target.clone(), |server| server.target().clone())
    }

    /// The one that the arguments name.
    pub(super) fn named(&self, args: &Map<String, Value>) -> Option<&Arc<C>> {
        self.0.get(args.get(C::PARAM)?.as_str()?)
    }

    /// The one that a call names.
    ///
    /// # Errors
    /// If it names none that is registered.
    pub(super) fn of(&self, call: &ActionCall<'_>) -> Result<&Arc<C>, ActionError> {
        self.named(call.args)
            .ok_or_else(|| ActionError::argument(C::PARAM, C::EXPECTED))
    }
}
