//! Ways out of functions of Rust beside what they return elsewhere.

use super::branch::means_success;
use super::exit::Exit;
use super::grammar::return_type;
use super::reach::statement_of;
use super::site::Site;
use crate::syntax::SyntaxNode;

/// `return out;` where the function ends with `out`, which it began before the place: what it has
/// come to so far.
pub(super) fn as_far_as_built(
    site: &Site<'_>,
    function: &SyntaxNode<'_>,
    node: &SyntaxNode<'_>,
) -> Option<Exit> {
    let body = function.field("body")?;
    let is_statement = |node: &SyntaxNode<'_>| node.is_named() && !node.kind().contains("comment");
    let statements: Vec<_> = body.children().filter(is_statement).collect();
    let last = statements
        .last()
        .filter(|last| last.kind() == "identifier")?;
    let name = site.text_of(last);
    let place = statement_of(node)?.range().start;
    let begun = statements.iter().find_map(|statement| {
        let is_it = statement.kind() == "let_declaration"
            && statement.range().end <= place
            && statement
                .field("pattern")
                .is_some_and(|pattern| site.text_of(&pattern).trim_start_matches("mut ") == name);
        is_it.then(|| statement.field("value")).flatten()
    })?;
    // What only says how it went says so too early.
    let declared = return_type(site.language, function)?;
    let begun = site.text_of(&begun);
    let only_reports = matches!(declared.as_str(), "bool" | "()")
        || declared.contains("Result<(),")
        || declared.contains("Result<()>")
        || declared.contains("Result<bool");
    let is_no = begun == "false" || begun.starts_with("Err(") || begun == "None";
    let says_well =
        means_success(site.language, begun, None) || means_success(site.language, name, None);
    (is_no || !only_reports && !says_well).then(|| Exit {
        statement: format!("return {name};"),
        words: format!("the function returns `{name}` as far as it has come"),
        weight: 0.95,
    })
}

/// `return Ok(given);` where the function gives a parameter back unchanged elsewhere, and something
/// else where it has done its work: what only checks a parameter gives back nothing else.
pub(super) fn handed_back(site: &Site<'_>, function: &SyntaxNode<'_>) -> Option<Exit> {
    let parameters: Vec<&str> = function
        .field("parameters")?
        .children()
        .filter_map(|parameter| Some(site.text_of(&parameter.field("pattern")?)))
        .collect();
    let ends = function.dfs().filter_map(|node| {
        let is_end = node
            .parent()
            .is_some_and(|parent| matches!(parent.kind().as_ref(), "block" | "return_expression"));
        let text = site.text_of(&node);
        let inner = ["Ok(", "Some("]
            .iter()
            .find_map(|open| text.strip_prefix(open)?.strip_suffix(')'))?;
        (is_end && node.kind() == "call_expression").then_some((text, inner))
    });
    let ends: Vec<_> = ends.collect();
    let is_given = |inner: &&str| parameters.contains(inner);
    let (given, _) = ends.iter().find(|(_, inner)| is_given(inner))?;
    let works =
        |(_, inner): &(&str, &str)| !is_given(inner) && !matches!(*inner, "()" | "true" | "false");
    if !ends.iter().any(works) {
        return None;
    }
    Some(Exit {
        statement: format!("return {given};"),
        words: format!("the function returns {given}, as it does where nothing is to be done"),
        weight: 0.9,
    })
}

/// `&'a str` as `&str`: for a value of its own, how long it lives does not matter.
pub(super) fn without_lifetime(declared: &str) -> String {
    let Some(rest) = declared.strip_prefix("&'") else {
        return declared.to_owned();
    };
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
    format!("&{}", rest.trim_start())
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;
    use crate::Language;
    use crate::propose::exit::exits;

    fn statements(text: &str, at: &str) -> Vec<String> {
        let line = text[..text.find(at).unwrap()].matches('\n').count() + 1;
        let error = ErrorEvent::default();
        let site = Site::new(
            Language::Rust,
            text,
            &error,
            u32::try_from(line).unwrap(),
            0,
        );
        let site = site.unwrap();
        let root = site.root();
        let node = root.dfs().find(|node| site.text_of(node) == at).unwrap();
        let found = exits(&site, &node);
        found.into_iter().map(|exit| exit.statement).collect()
    }

    #[test]
    fn what_was_begun_before_the_place_is_returned_as_it_is() {
        let begun = "fn f(n: u8) -> Out {\n    let mut out = Out::new();\n    g(n);\n    out\n}\n";
        assert!(statements(begun, "g(n)").contains(&"return out;".to_owned()));
        let later = "fn f(n: u8) -> Out {\n    g(n);\n    let out = Out::new();\n    out\n}\n";
        assert!(!statements(later, "g(n)").contains(&"return out;".to_owned()));
    }

    #[test]
    fn what_only_says_that_it_went_well_is_no_way_out() {
        for begun in ["true", "is_long(n)", "State::Accepted"] {
            let text = format!(
                "fn f(n: u8) -> bool {{\n    let mut fine = {begun};\n    g(n);\n    fine\n}}\n"
            );
            assert!(
                !statements(&text, "g(n)").contains(&"return fine;".to_owned()),
                "{begun}"
            );
        }
        let state =
            "fn f(n: u8) -> State {\n    let mut s = State::Accepted;\n    g(n);\n    s\n}\n";
        assert!(!statements(state, "g(n)").contains(&"return s;".to_owned()));
        let no = "fn f(n: u8) -> bool {\n    let mut fine = false;\n    g(n);\n    fine\n}\n";
        assert!(statements(no, "g(n)").contains(&"return fine;".to_owned()));
        let strict = "fn may_edit(n: u8) -> Roles {\n    let mut out = Roles::new();\n    g(n);\n    out\n}\n";
        assert!(statements(strict, "g(n)").is_empty());
        let checked = "fn f(tag: T, n: u8) -> Result<T, E> {\n    g(n);\n    if n == 3 {\n        return Err(E::Three);\n    }\n    Ok(tag)\n}\n";
        assert_eq!(statements(checked, "g(n)"), ["return Err(E::Three);"]);
    }

    #[test]
    fn a_chain_goes_on_with_itself_and_lifetimes_do_not_matter() {
        let chain =
            "impl P {\n    fn f(&mut self) -> &mut Self {\n        g(1);\n        self\n    }\n}\n";
        assert_eq!(statements(chain, "g(1)"), ["return self;"]);
        let text = "fn f<'a>(s: &'a str) -> &'a str {\n    g(s);\n    h(s)\n}\n";
        assert_eq!(statements(text, "g(s)"), ["return \"\";"]);
        let given = "fn f(a: T, n: u8) -> Result<T, E> {\n    let d = g(n);\n    if d == 0 {\n        Ok(a)\n    } else {\n        Ok(h(a, d))\n    }\n}\n";
        assert_eq!(statements(given, "g(n)"), ["return Ok(a);"]);
        assert_eq!(without_lifetime("&'static mut [u8]"), "&mut [u8]");
    }
}
