//! Which statement a node stands in, and whether it is evaluated whenever the statement is.

use super::grammar::BLOCKS;
use crate::syntax::SyntaxNode;

/// What evaluates its parts later, several times, or under conditions or names of its own.
const BARRIERS: [&str; 19] = [
    "closure_expression",
    "match_arm",
    "while_expression",
    "let_chain",
    "else_clause",
    "lambda",
    "elif_clause",
    "while_statement",
    "case_clause",
    "arrow_function",
    "do_statement",
    "for_clause",
    "lambda_expression",
    "ternary_expression",
    "conditional_expression",
    "communication_case",
    "macro_definition",
    "default_parameter",
    "switch_rule",
];

const COMPREHENSIONS: [&str; 4] = [
    "list_comprehension",
    "set_comprehension",
    "dictionary_comprehension",
    "generator_expression",
];

/// The statement around a node, if the node is evaluated once whenever the statement is, so that
/// what it is made of can be asked in front of it.
pub(crate) fn statement_of<'a>(node: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    let mut node = node.clone();
    loop {
        let parent = node.parent()?;
        if BLOCKS.contains(&parent.kind().as_ref()) {
            return Some(node);
        }
        if is_conditional(&parent, &node) {
            return None;
        }
        node = parent;
    }
}

/// Whether `parent` does not evaluate `node` exactly once, first or with its other parts.
fn is_conditional(parent: &SyntaxNode<'_>, node: &SyntaxNode<'_>) -> bool {
    let kind = parent.kind();
    let is_field = |name: &str| {
        parent
            .field(name)
            .is_some_and(|field| field.range() == node.range())
    };
    if kind == "if_statement" && node.kind() == "if_statement" {
        return true;
    }
    // `while let`, unbraced bodies, and conditions that are asked in each round.
    if ["consequence", "alternative", "body"]
        .iter()
        .any(|name| is_field(name))
    {
        return true;
    }
    match kind.as_ref() {
        "boolean_operator" => is_field("right"),
        "binary_expression" => {
            let operator = parent.field("operator");
            let operator = operator.as_ref().map(SyntaxNode::text);
            is_field("right") && matches!(operator.as_deref(), Some("&&" | "||" | "??"))
        }
        "augmented_assignment_expression" => {
            let operator = parent.field("operator");
            let operator = operator.as_ref().map(SyntaxNode::text);
            is_field("right") && matches!(operator.as_deref(), Some("&&=" | "||=" | "??="))
        }
        // `a < f() < b.c`: the third is not asked where the first two fail.
        "comparison_operator" => {
            let parts: Vec<_> = parent.children().filter(SyntaxNode::is_named).collect();
            parts.iter().position(|part| part.range() == node.range()) > Some(1)
        }
        // The message of an assertion is made where it fails.
        "assert_statement" => {
            let first = parent.children().find(SyntaxNode::is_named);
            first.is_none_or(|first| first.range() != node.range())
        }
        // Of C: `for (init; condition; update)`; of Go: `for condition {`.
        "for_statement" => {
            !(is_field("right") || is_field("init") || is_field("initializer"))
                && node.kind() != "range_clause"
        }
        "for_in_clause" => !is_field("right"),
        kind if COMPREHENSIONS.contains(&kind) => {
            let first = parent
                .children()
                .find(|child| child.kind() == "for_in_clause");
            first.is_none_or(|first| first.range() != node.range())
        }
        kind => BARRIERS.contains(&kind),
    }
}

/// The name that a `with` gives to its only item, and the bytes of its head without the colon.
pub(crate) fn with_head<'t>(
    node: &SyntaxNode<'t>,
) -> Option<(SyntaxNode<'t>, std::ops::Range<usize>)> {
    let named = node
        .parent()
        .filter(|parent| parent.kind() == "as_pattern")?;
    let target = named.field("alias")?;
    let item = named.parent().filter(|it| it.kind() == "with_item")?;
    let clause = item.parent().filter(|it| it.kind() == "with_clause")?;
    let statement = clause.parent().filter(|it| it.kind() == "with_statement")?;
    let n_items = clause
        .children()
        .filter(|child| child.kind() == "with_item")
        .count();
    let is_plain = n_items == 1
        && clause.text().starts_with(named.text().as_ref())
        && statement.text().starts_with("with ")
        && target
            .child(0)
            .is_none_or(|name| name.kind() == "identifier");
    is_plain.then(|| (target, statement.range().start..clause.range().end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use crate::syntax::Syntax;

    fn statement(language: Language, text: &str, at: &str) -> Option<String> {
        let syntax = Syntax::parse(language, text);
        let root = syntax.root();
        let node = root.dfs().find(|node| node.text() == at).unwrap();
        statement_of(&node).map(|found| found.text().lines().next().unwrap().to_owned())
    }

    #[test]
    fn what_is_evaluated_first_has_a_statement() {
        for (text, expected) in [
            ("x = a.b\n", "x = a.b"),
            ("if a.b:\n    pass\n", "if a.b:"),
            ("if a.b and c:\n    pass\n", "if a.b and c:"),
            ("for x in a.b:\n    pass\n", "for x in a.b:"),
            ("y = [x for x in a.b]\n", "y = [x for x in a.b]"),
            ("if c:\n    x = a.b\n", "x = a.b"),
            ("assert a.b, c\n", "assert a.b, c"),
        ] {
            let found = statement(Language::Python, text, "a.b");
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
        let js = "function f(a) { for (const x of a.b) { g(x); } }\n";
        let found = statement(Language::JavaScript, js, "a.b");
        assert!(found.unwrap().starts_with("for (const"));
        let go = "package p\n\nfunc f(a *A) {\n\tfor _, x := range a.b {\n\t\tg(x)\n\t}\n}\n";
        assert!(statement(Language::Go, go, "a.b").is_some());
    }

    #[test]
    fn what_is_evaluated_under_a_condition_has_none() {
        for text in [
            "if c and a.b:\n    pass\n",
            "x = c or a.b\n",
            "x = a.b if c else 0\n",
            "x = 1 if a.b else 0\n",
            "while a.b:\n    pass\n",
            "if c:\n    pass\nelif a.b:\n    pass\n",
            "y = [a.b for x in c]\n",
            "y = [x for x in c if a.b]\n",
            "y = [x for z in c for x in a.b]\n",
            "y = lambda: a.b\n",
            "assert c, a.b\n",
            "x = c < d < a.b\n",
        ] {
            assert_eq!(statement(Language::Python, text, "a.b"), None, "{text}");
        }
        for text in [
            "if (c) return a.b;\n",
            "if (c) { } else g(a.b);\n",
            "if (c && a.b) { }\n",
            "x = c ?? a.b;\n",
            "x ||= a.b;\n",
            "for (let i = 0; i < a.b; i++) { }\n",
            "for (let i = 0; i < 3; i += a.b) { }\n",
            "while (c) g(a.b);\n",
            "x = c ? a.b : 0;\n",
        ] {
            assert_eq!(statement(Language::JavaScript, text, "a.b"), None, "{text}");
        }
        for body in [
            "for c < a.b {\n}",
            "if c && a.b {\n}",
            "for i := 0; i < a.b; i++ {\n}",
        ] {
            let go = format!("package p\n\nfunc f() {{\n{body}\n}}\n");
            assert_eq!(statement(Language::Go, &go, "a.b"), None, "{go}");
        }
        for body in ["if (c) return a.b;", "if (c || a.b) { }", "while (a.b) { }"] {
            let java = format!("class A {{ void f() {{ {body} }} }}\n");
            assert_eq!(statement(Language::Java, &java, "a.b"), None, "{java}");
        }
        for body in ["if c && a.b {}", "while a.b {}", "let x = c || a.b;"] {
            let rust = format!("fn f() {{ {body} }}\n");
            assert_eq!(statement(Language::Rust, &rust, "a.b"), None, "{rust}");
        }
    }
}
