//! Where a configuration comes from: text, variables, and the overlay of an environment.

use std::path::Path;

use homeostasis_core::ConfigError;
use homeostasis_core::document::{Node, Parser, Value};

use crate::config::{Config, decode};

/// The text of a configuration and what it is read with.
///
/// The section `environments` holds overlays by name; the chosen one is laid over the rest, later
/// wins. `${NAME}` and `${NAME:-default}` in values are filled in from the given variables.
///
/// ```
/// use homeostasis::{ConfigSource, core::Mode};
/// let text = "
/// mode: observe
/// store: ${DATA:-.}/journal.redb
/// environments:
///   production: { mode: auto }
/// ";
/// let config = ConfigSource::new(text)
///     .environment("production")
///     .variables(|name| (name == "DATA").then(|| "/var/lib/shop".to_owned()))
///     .read()?;
/// assert_eq!(config.mode, Mode::Auto);
/// assert_eq!(config.store.unwrap().to_str(), Some("/var/lib/shop/journal.redb"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct ConfigSource<'a> {
    text: &'a str,
    name: Option<String>,
    environment: Option<String>,
    variables: Option<Lookup<'a>>,
}

/// Where `${NAME}` is looked up.
type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

impl std::fmt::Debug for ConfigSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSource")
            .field("name", &self.name)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl<'a> ConfigSource<'a> {
    /// A source without a name, an environment and variables.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            name: None,
            environment: None,
            variables: None,
        }
    }

    /// The name of the file, for messages.
    pub fn named(mut self, name: impl AsRef<Path>) -> Self {
        self.name = Some(name.as_ref().display().to_string());
        self
    }

    /// Which overlay is laid over the rest; it must exist.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = Some(name.into());
        self
    }

    /// Where `${NAME}` is looked up, for instance `|name| std::env::var(name).ok()`.
    pub fn variables(mut self, lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        self.variables = Some(Box::new(lookup));
        self
    }

    /// Reads it.
    ///
    /// # Errors
    /// All violations at once, each with file, line, value and what was expected.
    pub fn read(self) -> Result<Config, ConfigError> {
        let mut parser = Parser::new();
        if let Some(name) = &self.name {
            parser = parser.source(name);
        }
        if let Some(lookup) = &self.variables {
            parser = parser.variables(lookup);
        }
        let tree = parser.parse(self.text)?;
        let tree = match &self.environment {
            None => tree,
            Some(environment) => overlaid(tree, environment)?,
        };
        let mut config = decode::decode(&tree)?;
        if let Some(environment) = self.environment {
            config.environment = environment;
        }
        Ok(config)
    }
}

fn overlaid(tree: Node, environment: &str) -> Result<Node, ConfigError> {
    let environments = tree
        .as_mapping()
        .and_then(|mapping| mapping.get("environments"));
    let overlay = environments
        .and_then(Node::as_mapping)
        .and_then(|overlays| overlays.get(environment))
        .cloned();
    match overlay {
        Some(overlay) if !matches!(overlay.value(), Value::Null) => Ok(tree.overlay(overlay)),
        Some(_) => Ok(tree),
        None => {
            let path = format!("environments.{environment}");
            let expected = "an overlay for the chosen environment";
            Err(match environments {
                Some(node) => node.violation(path, expected).into(),
                None => tree.violation(path, expected).into(),
            })
        }
    }
}
