//! Whether an expression may be evaluated twice, proven by its syntax.
//!
//! Names, literals, attributes and subscripts of these are, and what operators make of them.
//! Of calls only those are that the standard libraries define to look and not to touch.
//! Attributes and subscripts that a class computes with effects are not seen.

use super::mapping::is_mapping;
use crate::Language;
use crate::syntax::SyntaxNode;

/// Made of their parts, each of which must be repeatable; or without parts.
const COMPOSITES: [&str; 40] = [
    "identifier",
    "field_identifier",
    "property_identifier",
    "type_identifier",
    "package_identifier",
    "scoped_identifier",
    "self",
    "this",
    "crate",
    "super",
    "attribute",
    "member_expression",
    "selector_expression",
    "field_expression",
    "field_access",
    "subscript",
    "subscript_expression",
    "index_expression",
    "array_access",
    "slice",
    "slice_expression",
    "range_expression",
    "parenthesized_expression",
    "unary_operator",
    "not_operator",
    "binary_operator",
    "binary_expression",
    "boolean_operator",
    "comparison_operator",
    "reference_expression",
    "type_cast_expression",
    "primitive_type",
    "tuple",
    "tuple_expression",
    "argument_list",
    "arguments",
    "optional_chain",
    "none",
    "nil",
    "mutable_specifier",
];

/// Functions that look at their argument and consume nothing of it.
const fn functions(language: Language) -> &'static [&'static str] {
    match language {
        Language::Python => &["len", "abs", "str", "bool", "isinstance", "type"],
        Language::Go => &["len", "cap"],
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            &["String", "Number", "Boolean", "isNaN"]
        }
        Language::Rust | Language::Java => &[],
    }
}

/// Methods of the standard library that look at their receiver and change nothing, and whose names
/// are not used for what acts, as `start` and `count` are.
const fn methods(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &[
            "len",
            "is_empty",
            "is_some",
            "is_none",
            "is_ok",
            "is_err",
            "as_ref",
            "as_str",
            "as_bytes",
            "as_slice",
            "as_deref",
            "to_string",
            "to_owned",
            "clone",
            "iter",
            "chars",
            "char_indices",
            "bytes",
            "first",
            "capacity",
            "abs",
            "min",
            "max",
            "borrow",
            "saturating_sub",
            "wrapping_sub",
            "trim",
            "starts_with",
            "ends_with",
            "contains",
            "contains_key",
            "keys",
            "values",
            "unwrap",
        ],
        Language::Python => &[
            "strip",
            "lstrip",
            "rstrip",
            "lower",
            "upper",
            "title",
            "casefold",
            "startswith",
            "endswith",
            "isdigit",
            "keys",
            "values",
            "items",
        ],
        Language::JavaScript | Language::TypeScript | Language::Tsx => &[
            "toString",
            "toLowerCase",
            "toUpperCase",
            "trim",
            "startsWith",
            "endsWith",
            "includes",
            "indexOf",
            "charAt",
            "charCodeAt",
            "isArray",
            "hasOwnProperty",
        ],
        Language::Go => &["Len"],
        Language::Java => &[
            "length",
            "size",
            "isEmpty",
            "toString",
            "toLowerCase",
            "toUpperCase",
            "trim",
            "strip",
            "startsWith",
            "endsWith",
            "contains",
            "containsKey",
            "equals",
            "charAt",
            "indexOf",
            "keySet",
            "values",
            "entrySet",
        ],
    }
}

/// Whether evaluating the node again gives the same and does nothing.
pub(crate) fn is_repeatable(language: Language, node: &SyntaxNode<'_>) -> bool {
    let kind = node.kind();
    if !node.is_named() {
        // Channels of Go are received from by an operator, and counters counted up.
        return !matches!(node.text().as_ref(), "<-" | "++" | "--" | "await" | "yield");
    }
    if node.children().next().is_none() {
        let is_plain = COMPOSITES.contains(&kind.as_ref()) || is_literal(&kind);
        return is_plain;
    }
    let is_call = matches!(
        kind.as_ref(),
        "call" | "call_expression" | "method_invocation"
    );
    if is_call {
        return is_looking(language, node)
            && node.children().all(|part| is_repeatable(language, &part));
    }
    let is_known = COMPOSITES.contains(&kind.as_ref())
        || is_literal(&kind)
        || matches!(kind.as_ref(), "unary_expression" | "interpolation");
    is_known && node.children().all(|part| is_repeatable(language, &part))
}

fn is_literal(kind: &str) -> bool {
    let parts = ["string", "literal", "integer", "float", "number", "escape"];
    parts.iter().any(|part| kind.contains(part))
        || matches!(kind, "true" | "false" | "null" | "undefined")
}

/// Whether a call is one of those that look and do not touch.
fn is_looking(language: Language, call: &SyntaxNode<'_>) -> bool {
    let function = call.field("function").or_else(|| call.field("name"));
    let Some(function) = function else {
        return false;
    };
    let text = function.text().into_owned();
    if function.kind() == "identifier" && call.field("object").is_none() {
        return functions(language).contains(&text.as_str());
    }
    let name = text.rsplit('.').next().unwrap_or_default();
    if name != "get" {
        return methods(language).contains(&name);
    }
    // A mapping's `get` changes nothing; that of a queue takes from it, that of a client sends.
    match language {
        Language::Rust => true,
        Language::Go => false,
        _ => has_word_as_key(call) && is_of_mapping(language, call),
    }
}

/// Whether what `get` is called on is a mapping, by how its function uses it.
fn is_of_mapping(language: Language, call: &SyntaxNode<'_>) -> bool {
    let function = call.field("function");
    let receiver = function
        .as_ref()
        .map_or_else(|| call.field("object"), |it| it.field("object"));
    receiver.is_some_and(|receiver| is_mapping(language, &receiver))
}

/// Whether the first argument of a call is a text that is one word.
fn has_word_as_key(call: &SyntaxNode<'_>) -> bool {
    let arguments = call.field("arguments");
    let first = arguments
        .as_ref()
        .and_then(|all| all.children().find(SyntaxNode::is_named));
    first.is_some_and(|first| {
        let text = first.text();
        let word = text.trim_matches(['"', '\'']);
        let is_word = !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        is_word && first.kind().contains("string")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Syntax;

    fn repeats(language: Language, text: &str, expression: &str) -> bool {
        let syntax = Syntax::parse(language, text);
        let root = syntax.root();
        // The innermost: a list of one expression has the same text.
        let node = root.dfs().filter(|node| node.text() == expression).last();
        is_repeatable(language, &node.unwrap())
    }

    #[test]
    fn names_attributes_literals_and_subscripts_are_repeated_and_calls_are_not() {
        for (expression, expected) in [
            ("a.b", true),
            ("a['k'][0]", true),
            ("a[i + 1]", true),
            ("len(a) - 1", true),
            ("o.get('tax')", false),
            ("d.get('tax')", true),
            ("d.get(tax)", false),
            ("q.get(1)", false),
            ("d.get(1)", false),
            ("client.get('status')", false),
            ("make().get('status')", false),
            ("q.get()", false),
            ("q.get(True)", false),
            ("q.get(block)", false),
            ("requests.get(url)", false),
            ("requests.get('https://a.b/c')", false),
            ("thread.start()", false),
            ("orders.count()", false),
            ("orders.first()", false),
            ("pool.size()", false),
            ("a.strip()", true),
            ("enqueue(a)", false),
            ("a[g()]", false),
            ("f'{h()}'", false),
            ("next(a)", false),
            ("(n := n + 1)", false),
            ("[x for x in a]", false),
            ("transfer(a).balance", false),
        ] {
            let text = format!("def f(a, i, d: dict):\n    x = {expression}\n");
            let found = repeats(Language::Python, &text, expression);
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn what_is_used_as_a_mapping_is_one() {
        for (parameters, before, expected) in [
            ("m", "y = m['k']", true),
            ("m", "for k, v in m.items(): pass", true),
            ("m", "y = list(m.keys())", true),
            ("m", "y = 'k' in m", true),
            ("m", "y = 'k' not in m", true),
            ("m", "y = m in 'k'", false),
            ("m", "y = isinstance(m, dict)", true),
            ("m", "y = isinstance(m, Queue)", false),
            ("", "m = {}", true),
            ("", "m = dict(a=1)", true),
            ("", "m = json.loads(text)", true),
            ("", "m = requests.Session()", false),
            ("", "m = {}\n    m = requests.Session()", false),
            ("m: dict", "pass", true),
            ("m: dict[str, int]", "pass", true),
            ("m: typing.Mapping[str, int] | None", "pass", true),
            ("m: Optional[Dict[str, int]] = None", "pass", true),
            ("m: Session", "pass", false),
            ("m: Queue[dict]", "pass", false),
            ("m: dict | Session", "pass", false),
            ("m", "def g(m): return m['k']", false),
            ("m", "n['k'] = 1", false),
        ] {
            let text = format!("def f({parameters}):\n    {before}\n    x = m.get('job')\n");
            let found = repeats(Language::Python, &text, "m.get('job')");
            assert_eq!(found, expected, "{text}");
        }
        let text =
            "class A:\n    def f(self):\n        self.m['a'] = 1\n        x = self.m.get('job')\n";
        assert!(repeats(Language::Python, text, "self.m.get('job')"));
        let java = "class A { void f(Map<String, B> m, Client c) { x = m.get(\"k\"); y = c.get(\"k\"); } }\n";
        assert!(repeats(Language::Java, java, "m.get(\"k\")"));
        assert!(!repeats(Language::Java, java, "c.get(\"k\")"));
    }

    #[test]
    fn receiving_counting_and_user_functions_are_not_repeated() {
        let go = "package p\n\nfunc f() {\n\tx := a[<-c]\n\ty := u.Name\n\tz := u.Load()\n}\n";
        assert!(!repeats(Language::Go, go, "a[<-c]"));
        assert!(repeats(Language::Go, go, "u.Name"));
        assert!(!repeats(Language::Go, go, "u.Load()"));
        let js = "x = a[i++]; y = a?.b.c; z = a[await g()];\n";
        assert!(!repeats(Language::JavaScript, js, "a[i++]"));
        assert!(repeats(Language::JavaScript, js, "a?.b.c"));
        assert!(!repeats(Language::JavaScript, js, "a[await g()]"));
        let java = "class A { void f() { x = a[i].b; y = q.take(); z = s.length(); } }\n";
        assert!(repeats(Language::Java, java, "a[i].b"));
        assert!(!repeats(Language::Java, java, "q.take()"));
        assert!(repeats(Language::Java, java, "s.length()"));
        let rust = "fn f() { let x = v.len() - 1; let y = q.pop(); let z = next_id(); }\n";
        assert!(repeats(Language::Rust, rust, "v.len() - 1"));
        assert!(!repeats(Language::Rust, rust, "q.pop()"));
        assert!(!repeats(Language::Rust, rust, "next_id()"));
    }

    #[test]
    fn an_iterator_is_not_run_to_its_end_twice() {
        let rust = "fn f() { let x = lines.last(); let y = v.first(); }\n";
        assert!(!repeats(Language::Rust, rust, "lines.last()"));
        assert!(repeats(Language::Rust, rust, "v.first()"));
    }

    #[test]
    fn a_name_that_looks_in_one_language_may_act_in_another() {
        let js = "const m = new Map();\nx = a.items(); y = a.trim(); z = axios.get(url); w = m.get('k'); v = axios.get('k');\n";
        assert!(!repeats(Language::JavaScript, js, "a.items()"));
        assert!(repeats(Language::JavaScript, js, "a.trim()"));
        assert!(!repeats(Language::JavaScript, js, "axios.get(url)"));
        assert!(repeats(Language::JavaScript, js, "m.get('k')"));
        assert!(!repeats(Language::JavaScript, js, "axios.get('k')"));
        let go = "package p\n\nfunc f() {\n\tx := b.Len()\n\ty := c.keys()\n\tz := len(b)\n\tw := str(b)\n}\n";
        assert!(repeats(Language::Go, go, "b.Len()"));
        assert!(!repeats(Language::Go, go, "c.keys()"));
        assert!(repeats(Language::Go, go, "len(b)"));
        assert!(!repeats(Language::Go, go, "str(b)"));
        let java = "class A { void f() { x = a.start(); y = s.get(); z = r.unwrap(); } }\n";
        for call in ["a.start()", "s.get()", "r.unwrap()"] {
            assert!(!repeats(Language::Java, java, call), "{call}");
        }
        let rust = "fn f() { let x = t.start(); let y = v.get(i); let z = c.count(); }\n";
        assert!(!repeats(Language::Rust, rust, "t.start()"));
        assert!(repeats(Language::Rust, rust, "v.get(i)"));
        assert!(!repeats(Language::Rust, rust, "c.count()"));
    }
}
