//! The languages whose syntax is understood.

use std::fmt;
use std::path::Path;

use ast_grep_language::SupportLang;
use serde::{Deserialize, Serialize};

/// A language whose source can be parsed, searched and changed.
///
/// ```
/// use homeostasis::patch::Language;
///
/// assert_eq!(Language::from_path("src/cart.rs".as_ref()), Some(Language::Rust));
/// assert_eq!(Language::from_path("README.md".as_ref()), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Language {
    /// Rust: `.rs`.
    Rust,
    /// Python 3: `.py`, `.pyi`.
    Python,
    /// JavaScript: `.js`, `.mjs`, `.cjs`, `.jsx`.
    JavaScript,
    /// TypeScript: `.ts`, `.mts`, `.cts`.
    TypeScript,
    /// TypeScript with elements: `.tsx`.
    Tsx,
    /// Go: `.go`.
    Go,
    /// Java: `.java`.
    Java,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 7] = [
        Self::Rust,
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::Tsx,
        Self::Go,
        Self::Java,
    ];

    /// The language a file is written in, by its extension (ASCII case does not matter).
    pub fn from_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "rs" => Self::Rust,
            "py" | "pyi" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "go" => Self::Go,
            "java" => Self::Java,
            _ => return None,
        })
    }

    /// The name an [`ErrorEvent`](homeostasis_core::signal::ErrorEvent) uses: `TypeScript` is
    /// reported as `JavaScript`.
    pub const fn of_errors(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript | Self::TypeScript | Self::Tsx => "javascript",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    pub(crate) const fn grammar(self) -> SupportLang {
        match self {
            Self::Rust => SupportLang::Rust,
            Self::Python => SupportLang::Python,
            Self::JavaScript => SupportLang::JavaScript,
            Self::TypeScript => SupportLang::TypeScript,
            Self::Tsx => SupportLang::Tsx,
            Self::Go => SupportLang::Go,
            Self::Java => SupportLang::Java,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Tsx => "TypeScript with elements",
            Self::Go => "Go",
            Self::Java => "Java",
        })
    }
}
