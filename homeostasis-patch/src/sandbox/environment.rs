//! Whether a sandbox is like the service whose fault it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::{Deserialize, Serialize};

/// Names of variables that differ between any two processes and change nothing.
const PERSONAL: [&str; 12] = [
    "HOME",
    "HOSTNAME",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PWD",
    "SHELL",
    "SHLVL",
    "TERM",
    "TMPDIR",
    "_",
];

/// What a process finds around it that may change what it does. Values of variables are not kept, but for
/// locale and time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// What the interpreter or compiler says of its version, such as `Python 3.11.7`; `None`: not known.
    pub interpreter: Option<String>,
    /// The names of its variables.
    pub variables: BTreeSet<String>,
    /// `LC_ALL`, else `LC_CTYPE`, else `LANG`, else `C`.
    pub locale: String,
    /// `TZ`, else what the machine says, else `UTC`.
    pub time_zone: String,
    /// As `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
}

/// One thing in which a sandbox is unlike the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What differs: `interpreter`, `locale`, `time_zone`, `architecture` or `variable NAME`.
    pub what: String,
    /// What the service has.
    pub service: String,
    /// What the sandbox has.
    pub sandbox: String,
}

impl Environment {
    /// From variables and what a machine says of itself.
    pub fn new(
        variables: &BTreeMap<String, String>,
        interpreter: Option<String>,
        machine_time_zone: Option<String>,
    ) -> Self {
        let first = |names: &[&str], default: &str| {
            names
                .iter()
                .find_map(|name| {
                    variables
                        .get(*name)
                        .filter(|value| !value.is_empty())
                        .cloned()
                })
                .unwrap_or_else(|| default.to_owned())
        };
        let machine = machine_time_zone.unwrap_or_else(|| "UTC".to_owned());
        Self {
            interpreter,
            variables: variables.keys().cloned().collect(),
            locale: first(&["LC_ALL", "LC_CTYPE", "LANG"], "C"),
            time_zone: first(&["TZ"], &machine),
            architecture: std::env::consts::ARCH.to_owned(),
        }
    }

    /// Of the process `pid` on this machine; its interpreter is not known from outside.
    ///
    /// `None`: there is no such process, or its variables are not ours to read.
    pub fn of_process(pid: u32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let variables = text
            .split('\0')
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Self::new(&variables, None, machine_time_zone()))
    }

    /// In what `sandbox` is unlike this environment of the service.
    ///
    /// A version that one side does not know is no difference; variables that are personal to a login
    /// are none, and neither is one that only the sandbox has.
    pub fn differences(&self, sandbox: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, service: &str, sandbox: &str| {
            if service != sandbox {
                differences.push(Difference {
                    what: what.to_owned(),
                    service: service.to_owned(),
                    sandbox: sandbox.to_owned(),
                });
            }
        };
        if let (Some(service), Some(sandbox)) = (&self.interpreter, &sandbox.interpreter) {
            compare("interpreter", service, sandbox);
        }
        compare("locale", &self.locale, &sandbox.locale);
        compare("time_zone", &self.time_zone, &sandbox.time_zone);
        compare("architecture", &self.architecture, &sandbox.architecture);
        for name in self.variables.difference(&sandbox.variables) {
            if !PERSONAL.contains(&name.as_str()) {
                compare(&format!("variable {name}"), "set", "not set");
            }
        }
        differences
    }
}

/// The zone `/etc/localtime` leads to, or `/etc/timezone` names.
pub(super) fn machine_time_zone() -> Option<String> {
    let link = fs::read_link("/etc/localtime").ok();
    let linked = link.as_ref().and_then(|target| {
        let (_, zone) = target.to_str()?.split_once("zoneinfo/")?;
        Some(zone.to_owned())
    });
    let named = || Some(fs::read_to_string("/etc/timezone").ok()?.trim().to_owned());
    linked.or_else(named).map(|zone| match zone.as_str() {
        "Etc/UTC" | "UCT" | "Etc/UCT" | "Zulu" => "UTC".to_owned(),
        _ => zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)], version: &str) -> Environment {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Environment::new(&variables, Some(version.to_owned()), None)
    }

    #[test]
    fn what_differs_is_named_and_secrets_are_not_kept() {
        let service = environment(
            &[
                ("LANG", "de_DE.UTF-8"),
                ("TZ", "Europe/Berlin"),
                ("DB_PASSWORD", "hunter2"),
                ("SHLVL", "3"),
            ],
            "Python 3.11.7",
        );
        let sandbox = environment(&[("LANG", "C.UTF-8"), ("EXTRA", "1")], "Python 3.12.1");
        let named: Vec<String> = service
            .differences(&sandbox)
            .into_iter()
            .map(|difference| difference.what)
            .collect();
        assert_eq!(
            named,
            [
                "interpreter",
                "locale",
                "time_zone",
                "variable DB_PASSWORD",
                "variable TZ"
            ]
        );
        assert!(!serde_json::to_string(&service).unwrap().contains("hunter2"));
        assert!(service.differences(&service).is_empty());
    }

    #[test]
    fn the_variables_of_a_living_process_are_read_by_name() {
        let ours = Environment::of_process(std::process::id()).unwrap();
        assert!(ours.variables.contains("PATH"), "{ours:?}");
        assert_eq!(Environment::of_process(u32::MAX), None);
    }
}
