//! A warning in the program's own log where a patch leaves out what would have failed.
//!
//! What a patch leaves out should not become silence. So where the file has a log that the place can reach,
//! by a name that is known to stand for one, the way out is told there: the function and the kind of error,
//! never a value, which may be a secret. A file without a log gets none.

use super::grammar::{function_of, is_function};
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// Calls of these names on a log write to it.
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "warn",
    "warning",
    "error",
    "exception",
    "critical",
    "log",
];

/// The statement that tells that the function around a node left out what would have failed; `None` where no
/// log is known.
pub(crate) fn report(site: &Site<'_>, node: &SyntaxNode<'_>) -> Option<String> {
    let function = function_of(node)?;
    let around = std::iter::once(function.clone()).chain(function.ancestors());
    let name = around
        .filter(is_function)
        .find_map(|function| function.field("name"))?;
    let name = site.text_of(&name);
    let kind = site.error.kind.rsplit(['.', ':']).next()?;
    let is_plain = |word: &str| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !word.is_empty() && word.chars().all(is_of_name)
    };
    if !is_plain(name) || !is_plain(kind) {
        return None;
    }
    let said = format!("\"{name}: {kind} avoided\"");
    let place = Place {
        site,
        root: site.root(),
        function,
    };
    match site.language {
        Language::Python => Some(format!("{}.warning({said})", place.python()?)),
        Language::Rust => Some(format!("{}::warn!({said});", place.rust()?)),
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            Some(format!("{}.warn({said});", place.javascript()?))
        }
        Language::Go => Some(format!("{}({said})", place.go()?)),
        Language::Java => Some(format!("{}({said});", place.java()?)),
    }
}

/// Where it would be told.
struct Place<'s, 'r, 't> {
    site: &'s Site<'s>,
    root: SyntaxNode<'r>,
    function: SyntaxNode<'t>,
}

impl Place<'_, '_, '_> {
    /// `logger`, that the module makes, or what the function or `logging` itself is told by already.
    fn python(&self) -> Option<String> {
        let made = self.root.children().find_map(|statement| {
            let assignment = statement.child(0).filter(|it| it.kind() == "assignment")?;
            let (name, value) = (assignment.field("left")?, assignment.field("right")?);
            let value = self.text(&value);
            let makes = ["getLogger(", "get_logger("];
            let is_log = makes.iter().any(|maker| {
                let before = value.split(maker).next().unwrap_or(value);
                value.contains(maker) && matches!(before, "" | "logging." | "structlog.")
            });
            (name.kind() == "identifier" && is_log).then(|| self.text(&name))
        });
        self.visible(made).or_else(|| {
            self.told("call", "function", "object", "attribute", |of, is_here| {
                of == "logging"
                    || is_here && matches!(of, "self.logger" | "self.log" | "self._logger")
            })
        })
    }

    /// The crate whose macros the file uses.
    fn rust(&self) -> Option<String> {
        // No macro of a log may stand in a `const fn`.
        let head = self.text(&self.function);
        if head
            .split('(')
            .next()
            .is_some_and(|head| head.contains("const fn"))
        {
            return None;
        }
        let uses = |of: &str| {
            let mut before = None;
            let declares = self.root.children().any(|node| {
                let is_free = before.as_deref() != Some("attribute_item");
                before = Some(node.kind().into_owned());
                let text = self.text(&node);
                let text = text.strip_prefix("use ").unwrap_or_default();
                is_free
                    && node.kind() == "use_declaration"
                    && text.strip_prefix(of).is_some_and(|it| it.starts_with("::"))
            });
            declares
                || self.function.dfs().any(|node| {
                    let name = node.field("macro").map(|name| self.text(&name));
                    let path = name.and_then(|name| name.strip_prefix(of)?.strip_prefix("::"));
                    path.is_some_and(|level| LEVELS.contains(&level) || level == "trace")
                })
        };
        ["tracing", "log"]
            .into_iter()
            .find(|of| uses(of))
            .map(str::to_owned)
    }

    /// `console` if the file is told by it, or the log that the file or the function has.
    fn javascript(&self) -> Option<String> {
        let kind = "call_expression";
        self.told(kind, "function", "object", "property", |of, is_here| {
            let is_known = matches!(of, "logger" | "log") && (is_here || self.is_of_module(of));
            of == "console" || is_known || is_here && matches!(of, "this.logger" | "this.log")
        })
    }

    /// The package that the file imports.
    fn go(&self) -> Option<String> {
        let imports = |path: &str| {
            self.root.dfs().any(|node| {
                node.kind() == "import_spec" && self.text(&node) == format!("\"{path}\"")
            })
        };
        let found = [
            ("log/slog", "slog", "slog.Warn"),
            ("log", "log", "log.Print"),
        ]
        .into_iter()
        .find(|(path, name, _)| imports(path) && !self.is_hidden(name));
        found.map(|(_, _, call)| call.to_owned())
    }

    /// The static `Logger` of the class.
    fn java(&self) -> Option<String> {
        let class = self
            .function
            .ancestors()
            .find(|node| node.kind() == "class_body")?;
        let name = class.children().find_map(|field| {
            let is_log = field.kind() == "field_declaration"
                && field
                    .field("type")
                    .is_some_and(|of| self.text(&of) == "Logger");
            let is_static = field.child(0).is_some_and(|modifiers| {
                self.text(&modifiers)
                    .split_whitespace()
                    .any(|it| it == "static")
            });
            let name = field.field("declarator")?.field("name")?;
            (is_log && is_static).then(|| self.text(&name))
        });
        let name = self.visible(name)?;
        let imports = |path: &str| {
            let wanted = format!("import {path};");
            self.root.children().any(|node| self.text(&node) == wanted)
        };
        if imports("java.util.logging.Logger") {
            return Some(format!("{name}.warning"));
        }
        ["org.slf4j.Logger", "org.apache.logging.log4j.Logger"]
            .iter()
            .any(|path| imports(path))
            .then(|| format!("{name}.warn"))
    }

    /// The receiver that a call in the file is told by; `is_log` gets it, and whether the call stands in the
    /// function.
    fn told(
        &self,
        call: &str,
        callee: &str,
        receiver: &str,
        method: &str,
        is_log: impl Fn(&str, bool) -> bool,
    ) -> Option<String> {
        let here = self.function.range();
        let found = self.root.dfs().find_map(|node| {
            let callee = (node.kind() == call)
                .then(|| node.field(callee))
                .flatten()?;
            let (of, name) = (callee.field(receiver)?, callee.field(method)?);
            let is_here = here.contains(&node.range().start);
            let of = self.text(&of);
            (LEVELS.contains(&self.text(&name)) && is_log(of, is_here)).then_some(of)
        });
        self.visible(found)
    }

    fn visible(&self, name: Option<&str>) -> Option<String> {
        name.filter(|name| !self.is_hidden(name)).map(str::to_owned)
    }

    /// Whether the function, or one around it, gives a name another meaning.
    fn is_hidden(&self, name: &str) -> bool {
        let function = std::iter::once(self.function.clone());
        let around = function.chain(self.function.ancestors());
        let mut functions = around.filter(is_function);
        functions.any(|function| {
            function.dfs().any(|node| {
                let is_it = matches!(
                    node.kind().as_ref(),
                    "identifier" | "shorthand_property_identifier_pattern"
                ) && self.text(&node) == name;
                is_it && node.parent().is_some_and(|parent| names(&parent, &node))
            })
        })
    }

    /// Whether the module itself gives a name its meaning.
    fn is_of_module(&self, name: &str) -> bool {
        let gives = |statement: &SyntaxNode<'_>| {
            let is_import = statement.kind() == "import_statement";
            statement.dfs().any(|node| {
                let is_it = node.kind().contains("identifier") && self.text(&node) == name;
                let is_given = || node.parent().is_some_and(|parent| names(&parent, &node));
                is_it && function_of(&node).is_none() && (is_import || is_given())
            })
        };
        self.root.children().any(|statement| gives(&statement))
    }

    fn text(&self, node: &SyntaxNode<'_>) -> &str {
        self.site.text_of(node)
    }
}

/// Whether a node is what its parent gives a meaning to: a parameter, a variable, what is assigned.
fn names(parent: &SyntaxNode<'_>, node: &SyntaxNode<'_>) -> bool {
    let is_field = |name: &str| {
        parent
            .field(name)
            .is_some_and(|field| field.range() == node.range())
    };
    let kind = parent.kind();
    kind.contains("parameter")
        || kind.contains("pattern")
        || kind == "expression_list"
        || ["left", "name"].iter().any(|field| is_field(field)) && !kind.contains("call")
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;

    /// What is told at `at`, where an error of this kind was raised.
    fn told(language: Language, kind: &str, text: &str, at: &str) -> Option<String> {
        let line = text[..text.find(at).unwrap()].matches('\n').count() + 1;
        let error = ErrorEvent::new("", kind, "");
        let line = u32::try_from(line).unwrap();
        let site = Site::new(language, text, &error, line, 0).unwrap();
        let root = site.root();
        let node = root.dfs().find(|node| site.text_of(node) == at).unwrap();
        report(&site, &node)
    }

    #[test]
    fn python_is_told_by_the_logger_that_the_place_can_reach() {
        let of = |text: &str| told(Language::Python, "builtins.KeyError", text, "d[k]");
        let body = "def price(d, k):\n    return d[k]\n";
        for maker in [
            "log = logging.getLogger(__name__)",
            "log = structlog.get_logger()",
            "log = getLogger()",
        ] {
            let said = of(&format!("{maker}\n{body}"));
            assert_eq!(
                said.as_deref(),
                Some("log.warning(\"price: KeyError avoided\")"),
                "{maker}"
            );
        }
        let by_module = of(&format!("def g():\n    logging.info('x')\n{body}"));
        assert_eq!(
            by_module.as_deref(),
            Some("logging.warning(\"price: KeyError avoided\")")
        );
        let own = "class A:\n    def price(self, d, k):\n        self.log.info('x')\n        return d[k]\n";
        assert_eq!(
            of(own).as_deref(),
            Some("self.log.warning(\"price: KeyError avoided\")")
        );
        for silent in [
            body.to_owned(),
            format!("log = make()\n{body}"),
            format!("log = getLogger()\n{}", body.replace("(d, k)", "(d, k, log)")),
            format!("log = getLogger()\n{}", body.replace("return", "log = 1\n    return")),
            "class A:\n    def g(self):\n        self.log.info('x')\n    def price(d, k):\n        return d[k]\n".to_owned(),
        ] {
            assert_eq!(of(&silent), None, "{silent}");
        }
    }

    #[test]
    fn rust_is_told_by_the_macros_that_the_file_uses() {
        let of = |text: &str| told(Language::Rust, "panic", text, "v[9]");
        let body = "fn f(v: &[u8]) -> u8 {\n    v[9]\n}\n";
        for (text, wanted) in [
            (
                format!("use tracing::debug;\n{body}"),
                Some("tracing::warn!(\"f: panic avoided\");"),
            ),
            (
                format!("use log::{{info, warn}};\n{body}"),
                Some("log::warn!(\"f: panic avoided\");"),
            ),
            (
                "fn f(v: &[u8]) -> u8 {\n    log::trace!(\"x\");\n    v[9]\n}\n".to_owned(),
                Some("log::warn!(\"f: panic avoided\");"),
            ),
            (body.to_owned(), None),
            (
                format!("#[cfg(feature = \"log\")]\nuse log::info;\n{body}"),
                None,
            ),
            (format!("use logic::info;\n{body}"), None),
            (format!("use log::info;\nconst {body}"), None),
        ] {
            assert_eq!(of(&text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn the_others_are_told_by_what_they_import_or_declare() {
        let javascript = |text: &str| told(Language::JavaScript, "TypeError", text, "a.b");
        let body = "function f(a) {\n  return a.b;\n}\n";
        assert_eq!(javascript(body), None);
        for (before, by) in [
            ("console.log(1);\n", Some("console")),
            (
                "import logger from './l.js';\nlogger.info('x');\n",
                Some("logger"),
            ),
            ("const log = make();\nlog.debug('x');\n", Some("log")),
            (
                "function g() {\n  const log = make();\n  log.debug('x');\n}\n",
                None,
            ),
        ] {
            let said = javascript(&format!("{before}{body}"));
            let wanted = by.map(|by| format!("{by}.warn(\"f: TypeError avoided\");"));
            assert_eq!(said, wanted, "{before}");
        }
        let go = |import: &str, parameter: &str| {
            let text = format!(
                "package p\n\nimport (\n\t\"fmt\"\n\t{import}\n)\n\nfunc f(v []int{parameter}) int {{\n\treturn v[9]\n}}\n"
            );
            told(Language::Go, "panic", &text, "v[9]")
        };
        assert_eq!(
            go("\"log\"", "").as_deref(),
            Some("log.Print(\"f: panic avoided\")")
        );
        assert_eq!(
            go("\"log/slog\"", "").as_deref(),
            Some("slog.Warn(\"f: panic avoided\")")
        );
        assert_eq!(go("\"log\"", ", log int"), None);
        assert_eq!(go("other \"log\"", ""), None);
        let java = |import: &str, modifiers: &str| {
            let text = format!(
                "import {import};\nclass A {{\n    {modifiers} Logger LOG = x();\n    int f(int[] v) {{\n        return v[9];\n    }}\n}}\n"
            );
            told(
                Language::Java,
                "ArrayIndexOutOfBoundsException",
                &text,
                "v[9]",
            )
        };
        let is_static = "private static final";
        assert_eq!(
            java("org.slf4j.Logger", is_static).as_deref(),
            Some("LOG.warn(\"f: ArrayIndexOutOfBoundsException avoided\");")
        );
        assert_eq!(
            java("java.util.logging.Logger", is_static).as_deref(),
            Some("LOG.warning(\"f: ArrayIndexOutOfBoundsException avoided\");")
        );
        assert_eq!(java("org.slf4j.Logger", "private final"), None);
        assert_eq!(java("my.own.Logger", is_static), None);
    }
}
