//! Variables and where their values come from.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::quantity::{Quantity, write_text};

/// A variable of a condition: a name and labels that select, such as `error_rate{service="gateway"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variable {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl Variable {
    /// The name, without labels.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels, by name.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (idx, (name, value)) in self.labels.iter().enumerate() {
            f.write_str(if idx > 0 { ", " } else { "" })?;
            write!(f, "{name}=")?;
            write_text(value, f)?;
        }
        f.write_str("}")
    }
}

/// Where a condition finds the values of its variables.
///
/// Closures are scopes, and so is a map from names, which gives no value to a variable with labels.
pub trait Scope {
    /// The value of `variable`; `None` when it is not known, which is never taken for false or zero.
    fn lookup(&self, variable: &Variable) -> Option<Quantity>;
}

impl<F: Fn(&Variable) -> Option<Quantity>> Scope for F {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        self(variable)
    }
}

impl<S: std::hash::BuildHasher> Scope for HashMap<String, Quantity, S> {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        variable
            .labels
            .is_empty()
            .then(|| self.get(&variable.name).cloned())
            .flatten()
    }
}

impl Scope for BTreeMap<String, Quantity> {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        variable
            .labels
            .is_empty()
            .then(|| self.get(&variable.name).cloned())
            .flatten()
    }
}
