//! Whether a `try` around a statement catches the errors of what failed, and of nothing else.

use super::grammar::is_call;
use crate::syntax::SyntaxNode;

/// Statements that are run as a whole and bind no name for a block of their own.
const SIMPLE: [&str; 4] = [
    "expression_statement",
    "return_statement",
    "delete_statement",
    "assignment",
];

/// Methods that raise none of the errors that templates catch.
const SILENT_METHODS: [&str; 28] = [
    "strip",
    "lstrip",
    "rstrip",
    "lower",
    "upper",
    "title",
    "casefold",
    "split",
    "rsplit",
    "partition",
    "rpartition",
    "splitlines",
    "replace",
    "startswith",
    "endswith",
    "removeprefix",
    "removesuffix",
    "get",
    "items",
    "keys",
    "values",
    "append",
    "add",
    "extend",
    "setdefault",
    "copy",
    "trim",
    "toString",
];

/// Functions that raise none of them.
const SILENT: [&str; 11] = [
    "len",
    "str",
    "repr",
    "bool",
    "list",
    "tuple",
    "dict",
    "set",
    "isinstance",
    "os.path.join",
    "os.path.basename",
];

/// What reads a file that is open already, and what is made of its content: no error of a path.
const SILENT_ON_PATHS: [&str; 10] = [
    ".read",
    ".readline",
    ".readlines",
    ".decode",
    "json.load",
    "json.loads",
    "int",
    "float",
    "Path",
    "pathlib.Path",
];

/// What reckons: where it overflows, so does the whole.
const SILENT_ON_OVERFLOW: [&str; 8] = [
    "math.exp",
    "math.expm1",
    "math.cosh",
    "math.pow",
    "pow",
    "float",
    "min",
    "max",
];

/// Errors of paths.
const OF_PATHS: [&str; 4] = [
    "FileNotFoundError",
    "NotADirectoryError",
    "IsADirectoryError",
    "FileExistsError",
];

/// What a fix catches, if it puts a `try` around something.
pub(crate) fn caught(fix: &str) -> Option<&str> {
    if !fix.trim_start().starts_with("try") {
        return None;
    }
    let after = fix.split("except ").nth(1).unwrap_or_default();
    Some(after.split(':').next().unwrap_or_default().trim())
}

/// Whether `statement` is simple, and calls nothing but the failing part of `found` that could
/// raise what is caught. `parts` are what the metavariables of the match stand for.
pub(crate) fn is_alone(
    caught: &str,
    statement: &SyntaxNode<'_>,
    found: &SyntaxNode<'_>,
    parts: &[SyntaxNode<'_>],
) -> bool {
    if !SIMPLE.contains(&statement.kind().as_ref()) {
        return false;
    }
    let failing = callee(found);
    let mut calls = statement.dfs().filter(is_call);
    calls.all(|call| {
        let range = call.range();
        let is_within = |outer: &SyntaxNode<'_>| {
            let outer = outer.range();
            outer.start <= range.start && range.end <= outer.end
        };
        let is_failing = is_within(found) && !parts.iter().any(is_within);
        let name = callee(&call);
        is_failing || name.is_some() && name == failing || is_silent(name.as_deref(), caught)
    })
}

fn is_silent(name: Option<&str>, caught: &str) -> bool {
    let Some(name) = name else {
        return false;
    };
    let method = name.rsplit_once('.').map(|(_, method)| method);
    let is_known = SILENT.contains(&name) || method.is_some_and(|m| SILENT_METHODS.contains(&m));
    let on_paths = || {
        let known = |silent: &&str| match silent.strip_prefix('.') {
            Some(silent) => method == Some(silent),
            None => *silent == name,
        };
        SILENT_ON_PATHS.iter().any(known)
    };
    is_known
        || OF_PATHS.contains(&caught) && on_paths()
        || caught == "OverflowError" && SILENT_ON_OVERFLOW.contains(&name)
}

/// What a call calls, as written.
fn callee(call: &SyntaxNode<'_>) -> Option<String> {
    let function = call.field("function")?;
    Some(function.text().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;

    fn alone(error: &str, body: &str, at: &str) -> bool {
        let text = format!("def f(a, g):\n    {body}\n");
        let syntax = Syntax::parse(Language::Python, &text);
        let root = syntax.root();
        let found = root.dfs().find(|node| node.text() == at).unwrap();
        let block = root.dfs().find(|node| node.kind() == "block").unwrap();
        let arguments = found.field("arguments");
        let parts: Vec<_> = arguments.iter().flat_map(SyntaxNode::children).collect();
        is_alone(error, &block.child(0).unwrap(), &found, &parts)
    }

    #[test]
    fn only_the_errors_of_what_failed_are_caught() {
        assert!(alone("ValueError", "n = int(a)", "int(a)"));
        assert!(alone("ValueError", "n = int(a.strip())", "int(a.strip())"));
        assert!(alone("ValueError", "return int(a) * int(a)", "int(a)"));
        assert!(alone("ValueError", "g[a].append(int(a))", "int(a)"));
        for (body, at) in [
            ("n = g(int(a))", "int(a)"),
            ("n = int(g(a))", "int(g(a))"),
            ("n = int(a.decode())", "int(a.decode())"),
            ("save(int(a), g)", "int(a)"),
            ("n = split(a) + int(a)", "int(a)"),
            ("n = a.len() + int(a)", "int(a)"),
        ] {
            assert!(!alone("ValueError", body, at), "{body}");
        }
    }

    #[test]
    fn no_compound_statement_is_tried() {
        for body in [
            "if int(a):\n        g(a)",
            "for x in range(int(a)):\n        g(x)",
            "while int(a):\n        pass",
            "with g(int(a)):\n        pass",
        ] {
            assert!(!alone("ValueError", body, "int(a)"), "{body}");
        }
        assert!(alone(
            "FileNotFoundError",
            "return open(a).read()",
            "open(a)"
        ));
        assert!(!alone("ValueError", "return open(a).read()", "open(a)"));
        assert!(!alone("FileNotFoundError", "return g(open(a))", "open(a)"));
    }

    #[test]
    fn a_fix_says_what_it_catches() {
        assert_eq!(
            caught("try:\n    x\nexcept KeyError:\n    y"),
            Some("KeyError")
        );
        assert_eq!(caught("if a:\n    x"), None);
    }
}
