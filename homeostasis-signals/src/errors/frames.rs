//! Frames: paths in one form, and whose code it is.

use std::borrow::Cow;
use std::sync::LazyLock;

use homeostasis_core::signal::Frame;
use regex::Regex;

use super::language::Language;
use super::line_shape::regex;

/// Packages of Java that applications use and do not write.
const JAVA_LIBRARIES: &[&str] = &[
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "com.sun.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "groovy.",
    "clojure.",
    "org.codehaus.",
    "org.springframework.",
    "org.apache.",
    "org.hibernate.",
    "org.eclipse.",
    "org.jboss.",
    "org.junit.",
    "junit.",
    "org.mockito.",
    "org.gradle.",
    "org.slf4j.",
    "org.postgresql.",
    "com.mysql.",
    "com.google.",
    "com.fasterxml.",
    "com.zaxxer.",
    "ch.qos.",
    "io.netty.",
    "io.vertx.",
    "io.quarkus.",
    "io.micronaut.",
    "io.reactivex.",
    "reactor.",
    "okhttp3.",
    "retrofit2.",
];

/// The first elements of the import paths of Go's standard library.
const GO_STANDARD: &[&str] = &[
    "archive",
    "arena",
    "bufio",
    "builtin",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "slices",
    "sort",
    "strconv",
    "strings",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "unicode",
    "unique",
    "unsafe",
];

/// The crates of Rust's standard library, as symbols begin.
const RUST_STANDARD: &[&str] = &["std", "core", "alloc", "test", "proc_macro", "__rustc"];

/// Where the standard library of Go lies, with the first element of the import path.
static GOROOT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"/go(?:-?\d[\d.]*)?(?:/\d[\d.]*/\w+)?/src/([^/.]+)(?:/|$)"));

/// The hash in the path of Rust's own sources, which changes with every compiler.
static RUSTC_HASH: LazyLock<Regex> = LazyLock::new(|| regex(r"^/rustc/[0-9A-Za-z.-]+/"));

/// Python's standard library, wherever it is installed.
static PYTHON_LIBRARY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)/lib(?:64)?/python\d|/python\d[\d.]*/lib/|/python\d+\.zip/"));

/// What belongs to the project.
#[derive(Debug, Clone, Default)]
pub(super) struct Project {
    /// In one form, without a slash at the end.
    roots: Vec<String>,
    packages: Vec<String>,
}

impl Project {
    pub(super) fn new(roots: &[String], packages: &[String]) -> Self {
        Self {
            roots: roots
                .iter()
                .map(|root| normal_path(root).trim_end_matches('/').to_owned())
                .collect(),
            packages: packages.to_vec(),
        }
    }

    /// A frame with its path in one form: relative to the root of the project where it lies in it.
    pub(super) fn frame(
        &self,
        language: Language,
        function: &str,
        file: &str,
        line: u32,
        column: u32,
    ) -> Frame {
        let path = normal_path(file);
        let in_project = self.owns(language, function, &path);
        let file = self.below_root(&path).unwrap_or(&path).to_owned();
        Frame {
            function: function.to_owned(),
            file,
            line,
            column,
            in_project,
        }
    }

    fn below_root<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.roots
            .iter()
            .find_map(|root| path.strip_prefix(root.as_str())?.strip_prefix('/'))
    }

    fn owns(&self, language: Language, function: &str, path: &str) -> bool {
        if path.is_empty() && function.is_empty() {
            return false;
        }
        if self
            .packages
            .iter()
            .any(|package| names(package, function) || installed(package, path))
        {
            return true;
        }
        if is_foreign(path) || is_foreign_function(language, function, path) {
            return false;
        }
        if self.below_root(path).is_some() {
            return true;
        }
        // Java's frames carry no directories, so that only packages can decide.
        let by_name = language == Language::Java || path.is_empty();
        let decided = if by_name {
            !self.packages.is_empty()
        } else {
            !self.roots.is_empty() && is_absolute(path)
        };
        !decided
    }
}

/// Whether `function` is qualified by `package`.
fn names(package: &str, function: &str) -> bool {
    function
        .trim_start_matches(['<', '&', '*'])
        .strip_prefix(package)
        .is_some_and(|rest| {
            package.ends_with(['.', ':', '/']) || rest.starts_with(['.', ':', '/', '$'])
        })
}

/// Whether `path` lies in the installed package `package` of Python or Node.
fn installed(package: &str, path: &str) -> bool {
    ["/site-packages/", "/dist-packages/", "/node_modules/"]
        .iter()
        .filter_map(|folder| path.rsplit_once(folder))
        .filter_map(|(_, rest)| rest.strip_prefix(package))
        .any(|rest| rest.starts_with(['/', '.']))
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') || path.as_bytes().get(1) == Some(&b':')
}

/// A path in one form: forward slashes, without URL scheme, `./`, query and compiler hash.
pub(super) fn normal_path(file: &str) -> String {
    let mut path = Cow::Borrowed(file.trim());
    if path.contains('\\') {
        path = Cow::Owned(path.replace('\\', "/"));
    }
    let mut rest: &str = &path;
    if let Some(url) = rest.strip_prefix("file://") {
        rest = url;
        // `file:///C:/x` is `C:/x`.
        if url.as_bytes().get(2) == Some(&b':') {
            rest = url.get(1..).unwrap_or(url);
        }
    } else if let Some(url) = rest
        .strip_prefix("webpack-internal:///")
        .or_else(|| rest.strip_prefix("webpack:///"))
    {
        rest = url;
    } else if let Some(url) = rest.strip_prefix("webpack://") {
        rest = url.split_once('/').map_or(url, |(_, inner)| inner);
    }
    if rest.len() < path.len() {
        rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    }
    while let Some(inner) = rest.strip_prefix("./") {
        rest = inner;
    }
    RUSTC_HASH.replace(rest, "/rustc/").into_owned()
}

/// Whether a path in one form belongs to a language, a runtime or a dependency.
pub(super) fn is_foreign(path: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "/rustc/",
        "node:",
        "internal/",
        "<frozen ",
        "<__array_function__",
    ];
    const PARTS: &[&str] = &[
        "/.cargo/registry/",
        "/.cargo/git/",
        "/rustlib/src/",
        "/site-packages/",
        "/dist-packages/",
        "/pkg/mod/",
        "/vendor/",
        "node_modules/",
    ];
    matches!(path, "<anonymous>" | "native")
        || BEGINNINGS
            .iter()
            .any(|beginning| path.starts_with(beginning))
        || PARTS.iter().any(|part| path.contains(part))
        || PYTHON_LIBRARY.is_match(path)
}

fn is_foreign_function(language: Language, function: &str, path: &str) -> bool {
    match language {
        Language::Java => JAVA_LIBRARIES
            .iter()
            .any(|package| function.starts_with(package)),
        // With a path the path decides; optimized programs have none.
        Language::Rust if path.is_empty() => {
            let root = function.trim_start_matches(['<', '&', '*']);
            root.split_once("::")
                .is_none_or(|(root, _)| RUST_STANDARD.contains(&root))
        }
        Language::Go => {
            // Programs built with `-trimpath` have no directories.
            let root = function.split(['/', '.']).next().unwrap_or_default();
            path.contains("@v")
                || GOROOT.is_match(path)
                || (!is_absolute(path) && GO_STANDARD.contains(&root))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (file, expected) in [
            ("./src/main.rs", "src/main.rs"),
            (r"C:\app\main.py", "C:/app/main.py"),
            ("file:///srv/app.mjs", "/srv/app.mjs"),
            ("file:///C:/app.mjs", "C:/app.mjs"),
            ("webpack:///./src/a.js?1a2b", "src/a.js"),
            ("webpack://shop/./src/a.js", "src/a.js"),
            ("webpack-internal:///./src/a.js", "src/a.js"),
            (
                "/rustc/0123abc/library/core/src/panic.rs",
                "/rustc/library/core/src/panic.rs",
            ),
            (
                r"/rustc/0123abc\library\std\src\rt.rs",
                "/rustc/library/std/src/rt.rs",
            ),
            ("", ""),
            ("file://", ""),
        ] {
            assert_eq!(normal_path(file), expected, "{file}");
        }
    }

    #[test]
    fn libraries_are_told_from_the_project_without_configuration() {
        let project = Project::default();
        let own =
            |language, function, file| project.frame(language, function, file, 1, 0).in_project;
        for (language, function, file) in [
            (Language::Python, "f", "/srv/app/a.py"),
            (Language::Python, "<module>", "<string>"),
            (Language::Rust, "shop::f", "./src/main.rs"),
            (Language::Rust, "<shop::A as core::fmt::Debug>::fmt", ""),
            (Language::Java, "shop.A.f", "A.java"),
            (Language::JavaScript, "f", "file:///srv/app.mjs"),
            (Language::Go, "main.f", "/srv/main.go"),
            (
                Language::Go,
                "github.com/me/app.f",
                "/root/go/src/github.com/me/app/a.go",
            ),
        ] {
            assert!(own(language, function, file), "{function} {file}");
        }
        for (language, function, file) in [
            (Language::Python, "f", "/usr/lib/python3.11/json/decoder.py"),
            (Language::Python, "f", r"C:\Python311\Lib\json\decoder.py"),
            (
                Language::Python,
                "f",
                "/venv/lib/python3.11/site-packages/x/a.py",
            ),
            (Language::Python, "f", "<frozen importlib._bootstrap>"),
            (
                Language::Rust,
                "core::panicking::panic",
                "/rustc/0a/library/core/src/panicking.rs",
            ),
            (
                Language::Rust,
                "f",
                "/root/.cargo/registry/src/i/x-1.0.0/src/lib.rs",
            ),
            (Language::Rust, "<alloc::vec::Vec<T> as X>::f", ""),
            (Language::Rust, "main", ""),
            (Language::Java, "java.util.ArrayList.get", "ArrayList.java"),
            (
                Language::JavaScript,
                "f",
                "node:internal/process/task_queues",
            ),
            (Language::JavaScript, "f", "/srv/node_modules/x/a.js"),
            (Language::JavaScript, "Array.map", "<anonymous>"),
            (
                Language::Go,
                "runtime.gopanic",
                "/usr/lib/go-1.19/src/runtime/panic.go",
            ),
            (
                Language::Go,
                "runtime.gopanic",
                "/opt/hostedtoolcache/go/1.21.0/x64/src/runtime/panic.go",
            ),
            (Language::Go, "net/http.(*conn).serve", "net/http/server.go"),
            (Language::Go, "x.f", "/root/go/pkg/mod/x.y/z@v1.0.0/a.go"),
        ] {
            assert!(!own(language, function, file), "{function} {file}");
        }
    }

    #[test]
    fn roots_and_packages_say_what_the_project_is() {
        let project = Project::new(
            &["/srv/app/".to_owned(), r"C:\app".to_owned()],
            &["com.shop".to_owned(), "billing".to_owned()],
        );
        let frame = |language, function, file| project.frame(language, function, file, 1, 0);
        let own = frame(Language::Python, "f", "/srv/app/a.py");
        assert_eq!((own.file.as_str(), own.in_project), ("a.py", true));
        assert_eq!(
            frame(Language::Python, "f", r"C:\app\x\a.py").file,
            "x/a.py"
        );
        assert!(!frame(Language::Python, "f", "/srv/apples/a.py").in_project);
        assert!(frame(Language::Python, "f", "/v/site-packages/billing/a.py").in_project);
        assert!(!frame(Language::Python, "f", "/v/site-packages/billings/a.py").in_project);
        assert!(frame(Language::Java, "com.shop.A.f", "A.java").in_project);
        assert!(!frame(Language::Java, "com.shopping.A.f", "A.java").in_project);
        assert!(frame(Language::Rust, "<billing::A>::f", "").in_project);
    }
}
