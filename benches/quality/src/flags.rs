//! The options of a suite: `--name value` and `--name`, each at most once.

use std::path::PathBuf;
use std::str::FromStr;

/// What was given.
#[derive(Debug)]
pub(crate) struct Flags {
    values: Vec<(&'static str, String)>,
    switches: Vec<&'static str>,
}

impl Flags {
    /// Reads all of `args`: options with a value named in `with_value`, and those without in `switches`.
    pub(crate) fn read(
        mut args: impl Iterator<Item = String>,
        with_value: &[&'static str],
        switches: &[&'static str],
    ) -> Result<Self, String> {
        let mut flags = Self {
            values: Vec::new(),
            switches: Vec::new(),
        };
        while let Some(option) = args.next() {
            let is_it = |name: &&&'static str| **name == option;
            if let Some(name) = with_value.iter().find(is_it) {
                let Some(text) = args.next() else {
                    return Err(format!("{name} without a value, expected one"));
                };
                if flags.values.iter().any(|(given, _)| given == name) {
                    return Err(format!("{name} {text}, but it is given already"));
                }
                flags.values.push((name, text));
            } else if let Some(name) = switches.iter().find(is_it) {
                flags.switches.push(name);
            } else {
                let known: Vec<_> = with_value.iter().chain(switches).copied().collect();
                let known = match known.split_last() {
                    None => "none".to_owned(),
                    Some((last, [])) => (*last).to_owned(),
                    Some((last, others)) => format!("{} or {last}", others.join(", ")),
                };
                return Err(format!("option {option:?}, expected {known}"));
            }
        }
        Ok(flags)
    }

    /// Whether the switch is given.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }

    /// The value of `name`, if it is given: what `expected` says in words and `accepts` checks.
    pub(crate) fn value<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
        accepts: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, String> {
        let Some((_, text)) = self.values.iter().find(|(given, _)| *given == name) else {
            return Ok(None);
        };
        match text.parse().ok().filter(accepts) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{name} = {text:?}, expected {expected}")),
        }
    }

    /// The folder that must be given.
    pub(crate) fn data(&self) -> Result<PathBuf, String> {
        let folder = self.value("--data", "a folder", |_| true)?;
        folder.ok_or_else(|| "--data is missing, expected a folder".to_owned())
    }

    /// The folder that may be given.
    pub(crate) fn out(&self) -> Result<Option<PathBuf>, String> {
        self.value("--out", "a folder", |_| true)
    }
}
