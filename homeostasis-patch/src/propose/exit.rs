//! Ways out: statements that leave the place where something cannot be done.

use homeostasis_core::record::RecoveryStrategy;

use super::branch::denies;
use super::donor::values;
use super::grammar::{function_of, is_in_loop, return_type, returns};
use super::permission::decides_permission;
use super::refusal::{Decision, is_no};
use super::rust_exit;
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// A statement that leaves the place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exit {
    pub(crate) statement: String,
    /// In words, such as `the function returns 0, as it does elsewhere`.
    pub(crate) words: String,
    /// How much confidence it leaves, up to 1.
    pub(crate) weight: f64,
}

impl Exit {
    /// How the program goes on by it, in a function that says that it returns `declared`.
    pub(crate) fn recovery(&self, language: Language, declared: Option<&str>) -> RecoveryStrategy {
        let statement = self.statement.trim_end_matches(';');
        let begins = |parts: &[&str]| parts.iter().any(|part| statement.starts_with(part));
        if begins(&["continue", "break"]) {
            return RecoveryStrategy::Skip;
        }
        let value = statement.strip_prefix("return").map(str::trim);
        let fails = match (language, value) {
            (_, None) => true,
            (Language::Rust, Some(value)) => value.starts_with("Err(") || value == "None",
            (Language::Go, Some(value)) => {
                let last = declared.map(|it| it.trim_end_matches(')'));
                let says =
                    last.is_some_and(|it| it.rsplit([',', ' ', '(']).next() == Some("error"));
                says && value != "nil" && !value.ends_with(", nil")
            }
            _ => false,
        };
        if fails {
            RecoveryStrategy::Propagate
        } else {
            RecoveryStrategy::Return
        }
    }
}

/// Ways to leave the function or the round of the loop around a node, best first.
pub(crate) fn exits(site: &Site<'_>, node: &SyntaxNode<'_>) -> Vec<Exit> {
    let end = match site.language {
        Language::Python | Language::Go => "",
        _ => ";",
    };
    let mut found = Vec::new();
    let function = function_of(node);
    // The round that is skipped may be the one that says no.
    let is_strict = function
        .as_ref()
        .is_some_and(|f| decides_permission(site, f));
    if is_in_loop(node) && !is_strict {
        found.push(Exit {
            statement: format!("continue{end}"),
            words: "this round of the loop is skipped".to_owned(),
            weight: 0.96,
        });
    }
    let Some(function) = function else {
        return found;
    };
    if matches!(
        function.kind().as_ref(),
        "class_definition" | "lambda" | "async_block"
    ) {
        return found;
    }
    for (value, weight, origin) in values(site, &function) {
        if is_strict && !denies(site.language, &value) {
            continue;
        }
        let statement = format!("return {value}").trim_end().to_owned() + end;
        if found.iter().all(|exit| exit.statement != statement) {
            let value = if value.is_empty() { "nothing" } else { &value };
            found.push(Exit {
                statement,
                words: format!("the function returns {value}{origin}"),
                weight,
            });
        }
    }
    if site.language == Language::Rust && !is_strict {
        found.extend(rust_exit::as_far_as_built(site, &function, node));
        found.extend(rust_exit::handed_back(site, &function));
    }
    if let Some(decision) = Decision::around(site, node).filter(|it| it.refuses_when().is_some()) {
        let own = decision.exit(site, node);
        keep_refusing(site, &function, own, end, &mut found);
    }
    found
}

/// In front of a condition that refuses, only ways out that refuse: those of the condition itself
/// before others.
fn keep_refusing(
    site: &Site<'_>,
    function: &SyntaxNode<'_>,
    own: Option<String>,
    end: &str,
    found: &mut Vec<Exit>,
) {
    let declared = return_type(site.language, function);
    // Where nothing is ever returned, to return is to pass.
    let gives = declared.is_some() || returns(function).iter().any(|(_, value)| value.is_some());
    found.retain(|exit| {
        let bare = exit.statement.trim_end_matches(';');
        let value = bare.strip_prefix("return ");
        own.as_deref() == Some(bare)
            || gives && value.is_some_and(|it| is_no(site.language, it, declared.as_deref()))
    });
    let Some(own) = own else {
        return;
    };
    let statement = format!("{own}{end}");
    if found.iter().all(|exit| exit.statement != statement) {
        let words = format!("`{own}` follows, as where the condition refuses");
        let exit = Exit {
            statement,
            words,
            weight: 1.0,
        };
        found.insert(0, exit);
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;

    fn statements(language: Language, text: &str, at: &str) -> Vec<String> {
        let line = text[..text.find(at).unwrap()].matches('\n').count() + 1;
        let error = ErrorEvent::default();
        let line = u32::try_from(line).unwrap();
        let site = Site::new(language, text, &error, line, 0).unwrap();
        let root = site.root();
        let node = root.dfs().find(|node| site.text_of(node) == at).unwrap();
        let found = exits(&site, &node);
        found.into_iter().map(|exit| exit.statement).collect()
    }

    #[test]
    fn siblings_come_first_and_nothing_that_is_called_or_local_is_a_sibling() {
        let python = "def f(a, q):\n    x = g(a)\n    if a:\n        return -1\n    if q:\n        return q.pop()\n    return x.size()\n";
        assert_eq!(
            statements(Language::Python, python, "g(a)"),
            ["return -1", "return None"]
        );
        let rust = "fn f(a: u8) -> Result<u8, E> {\n    let x = g(a);\n    if a == 0 {\n        return Err(E::None { a });\n    }\n    h(x)\n}\n";
        assert_eq!(
            statements(Language::Rust, rust, "g(a)"),
            ["return Err(E::None { a });"]
        );
        let go = "package p\n\nfunc f(a int) (int, error) {\n\tx := g(a)\n\tif x > 1 {\n\t\treturn 0, errors.New(\"big\")\n\t}\n\treturn x, nil\n}\n";
        assert_eq!(
            statements(Language::Go, go, "g(a)"),
            ["return 0, errors.New(\"big\")"]
        );
    }

    #[test]
    fn what_answers_an_absence_comes_first_and_success_is_no_way_out() {
        let python = "def save(a, db):\n    x = g(a)\n    if a > 3:\n        return 'late'\n    if a > 4:\n        return 'late'\n    if not a:\n        return 'empty'\n    db.put(x)\n    return True\n";
        assert_eq!(
            statements(Language::Python, python, "g(a)"),
            ["return 'empty'", "return 'late'", "return \"\""]
        );
        let rust = "fn f(a: u8) -> Result<(), E> {\n    let x = g(a);\n    if a == 9 {\n        return Ok(());\n    }\n    if a == 0 {\n        return Err(E::Zero);\n    }\n    h(x)\n}\n";
        assert_eq!(
            statements(Language::Rust, rust, "g(a)"),
            ["return Err(E::Zero);"]
        );
        let go = "package p\n\nfunc f(a int) error {\n\tx := g(a)\n\tif a > 9 {\n\t\treturn nil\n\t}\n\tif a == 0 {\n\t\treturn ErrZero\n\t}\n\treturn nil\n}\n";
        assert_eq!(statements(Language::Go, go, "g(a)"), ["return ErrZero"]);
        let status = "def post(body):\n    order = g(body)\n    if order['kind'] == 'ping':\n        return 200\n    if body is None:\n        return 400\n    return 200\n";
        assert_eq!(
            statements(Language::Python, status, "g(body)"),
            ["return 400", "return None"]
        );
    }

    #[test]
    fn functions_of_permission_only_say_no() {
        let python = "def may_edit(user, page):\n    role = g(user)\n    if page is None:\n        return True\n    for rule in page.rules:\n        if h(rule):\n            return False\n    return role == 'editor'\n";
        assert_eq!(
            statements(Language::Python, python, "g(user)"),
            ["return False"]
        );
        assert_eq!(
            statements(Language::Python, python, "h(rule)"),
            ["return False"],
            "no rule is skipped"
        );
        let raising = "def authorize(user):\n    role = g(user)\n    if role != 'admin':\n        raise Denied()\n";
        assert!(statements(Language::Python, raising, "g(user)").is_empty());
    }

    #[test]
    fn a_round_is_skipped_and_a_result_begun_empty_stays_empty() {
        let python = "def f(xs):\n    out = []\n    y = g(xs)\n    for x in xs:\n        out.append(h(x))\n    return out\n";
        assert_eq!(statements(Language::Python, python, "g(xs)"), ["return []"]);
        assert_eq!(
            statements(Language::Python, python, "h(x)"),
            ["continue", "return []"]
        );
    }

    #[test]
    fn a_way_out_says_how_the_program_goes_on() {
        use RecoveryStrategy::{Propagate, Return, Skip};
        for (language, declared, statement, wanted) in [
            (Language::Python, None, "continue", Skip),
            (Language::Python, None, "return 0", Return),
            (Language::Python, None, "return", Return),
            (Language::Python, None, "raise Denied()", Propagate),
            (Language::JavaScript, None, "throw new Error();", Propagate),
            (Language::Java, Some("void"), "return;", Return),
            (
                Language::Rust,
                Some("Option<u8>"),
                "return None;",
                Propagate,
            ),
            (
                Language::Rust,
                Some("Result<u8, E>"),
                "return Err(E);",
                Propagate,
            ),
            (
                Language::Rust,
                Some("Result<u8, E>"),
                "return Ok(0);",
                Return,
            ),
            (Language::Go, Some("error"), "return ErrGone", Propagate),
            (Language::Go, Some("(int, error)"), "return 0, nil", Return),
            (
                Language::Go,
                Some("(int, error)"),
                "return 0, err",
                Propagate,
            ),
            (Language::Go, Some("*User"), "return nil", Return),
            (Language::Go, Some("int"), "return 0", Return),
        ] {
            let exit = Exit {
                statement: statement.to_owned(),
                words: String::new(),
                weight: 1.0,
            };
            assert_eq!(exit.recovery(language, declared), wanted, "{statement}");
        }
    }
}
