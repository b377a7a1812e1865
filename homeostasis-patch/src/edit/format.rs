//! The configuration languages that can be edited.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A configuration language, told by the file's extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2, one document per file.
    Yaml,
    /// JSON; comments (`//`, `/* */`) and trailing commas are read and kept, never introduced.
    Json,
}

impl Format {
    /// The format of a file by its extension (`toml`, `yaml`, `yml`, `json`, `jsonc`), ASCII case
    /// ignored; `None` for any other.
    #[must_use]
    pub fn from_path(path: impl AsRef<Path>) -> Option<Self> {
        let extension = path.as_ref().extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" | "jsonc" => Some(Self::Json),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_told_by_the_last_extension() {
        assert_eq!(Format::from_path("conf/app.toml"), Some(Format::Toml));
        assert_eq!(Format::from_path("app.YML"), Some(Format::Yaml));
        assert_eq!(Format::from_path("a.yaml.jsonc"), Some(Format::Json));
        assert_eq!(Format::from_path("app.ini"), None);
        assert_eq!(Format::from_path(".toml"), None);
    }
}
