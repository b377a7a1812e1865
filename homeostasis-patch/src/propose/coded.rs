//! Templates that data cannot say: they look through the scopes of a file.

use homeostasis_core::record::{RecoveryStrategy, RiskLevel};

use super::condition;
use super::draft::{Draft, Drafts};
use super::grammar::function_of;
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// The most letters that a mistyped name may differ by.
const MAX_DISTANCE: usize = 2;

/// Whether a template in code is for the error of a site.
pub(crate) fn knows(site: &Site<'_>) -> bool {
    let kind = site.error.kind.rsplit('.').next().unwrap_or_default();
    site.language == Language::Python && matches!(kind, "NameError" | "UnboundLocalError")
}

/// What the templates in code make of a site.
pub(crate) fn drafts(site: &Site<'_>) -> Drafts {
    let mut drafts = Drafts::default();
    if site.language == Language::Rust && site.error.kind == "panic" {
        drafts.made = condition::drafts(site);
    }
    if site.language != Language::Python {
        return drafts;
    }
    let kind = site.error.kind.rsplit('.').next().unwrap_or_default();
    match kind {
        "NameError" => drafts.made = near_names(site),
        "UnboundLocalError" => drafts.made = first_value(site),
        _ => {}
    }
    drafts
}

/// `name 'itmes' is not defined`: the names of the file that are spelled almost so.
fn near_names(site: &Site<'_>) -> Vec<Draft> {
    let Some(wrong) = quoted(&site.error.message) else {
        return Vec::new();
    };
    let root = site.root();
    let mut places: Vec<(f64, SyntaxNode<'_>)> = identifiers(&root)
        .filter(|node| site.text_of(node) == wrong && !is_keyword(node))
        .map(|node| (site.fit(&node), node))
        .filter(|(fit, _)| *fit > 0.0)
        .collect();
    places.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let Some((_, place)) = places.first() else {
        return Vec::new();
    };
    let function = function_of(place);
    let mut known: Vec<(usize, bool, &str)> = Vec::new();
    for node in identifiers(&root).filter(is_bound) {
        let name = site.text_of(&node);
        let distance = distance(wrong, name);
        let home = function_of(&node);
        let is_local = home.is_some()
            && home.as_ref().map(SyntaxNode::range) == function.as_ref().map(SyntaxNode::range);
        let is_visible = home.is_none() || is_local;
        let is_near =
            distance > 0 && distance <= MAX_DISTANCE && distance * 3 <= wrong.len().max(3);
        if is_visible && is_near && known.iter().all(|(_, _, other)| *other != name) {
            known.push((distance, !is_local, name));
        }
    }
    known.sort_unstable();
    known
        .into_iter()
        .take(3)
        .map(|(distance, is_far, name)| Draft {
            template: "python/near-name".to_owned(),
            // Every use on the line means the same.
            edits: places
                .iter()
                .filter(|(_, node)| node.start_pos().line() == place.start_pos().line())
                .map(|(_, node)| (node.range(), name.to_owned()))
                .collect(),
            imports: Vec::new(),
            explanation: format!("`{wrong}` is not defined, and `{name}` is spelled almost so"),
            behaviour: format!(
                "where NameError was raised for `{wrong}`, the value of `{name}` is used; \
                 no input that worked before behaves otherwise"
            ),
            recovery: RecoveryStrategy::Correct,
            confidence: if distance == 1 { 0.85 } else { 0.7 } - if is_far { 0.1 } else { 0.0 },
            risk: RiskLevel::Medium,
            requires_review: false,
        })
        .collect()
}

/// `local variable 'x' referenced before assignment`: a first value at the top of the function, of
/// the kind that it is given elsewhere.
fn first_value(site: &Site<'_>) -> Vec<Draft> {
    let Some(name) = quoted(&site.error.message) else {
        return Vec::new();
    };
    let root = site.root();
    let place = identifiers(&root).find(|node| site.text_of(node) == name && site.fit(node) > 0.0);
    let Some(function) = place.as_ref().and_then(function_of) else {
        return Vec::new();
    };
    let statements = function.field("body").map(|body| {
        let all: Vec<_> = body.children().filter(SyntaxNode::is_named).collect();
        all
    });
    let first = statements.into_iter().flatten().find(|statement| {
        let text = site.text_of(statement);
        let is_docstring = text.starts_with(['"', '\'']);
        !is_docstring && statement.kind() != "comment" && statement.kind() != "global_statement"
    });
    let Some((first, indent)) = first.and_then(|first| {
        let indent = site.indent_at(first.range().start)?;
        Some((first, indent))
    }) else {
        return Vec::new();
    };
    // A name of the module that is written in the function without `global`.
    let is_global = identifiers(&root)
        .any(|node| site.text_of(&node) == name && is_bound(&node) && function_of(&node).is_none());
    let at = first.range().start;
    let mut made = Vec::new();
    let mut draft = |statement: String, behaviour: String, recovery, confidence: f64| {
        made.push(Draft {
            template: "python/first-value".to_owned(),
            edits: vec![(at..at, format!("{statement}\n{indent}"))],
            imports: Vec::new(),
            explanation: format!("`{name}` is read on a way on which nothing was assigned to it"),
            behaviour,
            recovery,
            confidence,
            risk: RiskLevel::Medium,
            requires_review: false,
        });
    };
    if is_global {
        let behaviour = format!(
            "the function reads and writes the `{name}` of the module, which it only read before it failed"
        );
        let recovery = RecoveryStrategy::Correct;
        draft(format!("global {name}"), behaviour, recovery, 0.7);
    }
    for (rank, value) in first_values(site, &function, name).into_iter().enumerate() {
        let behaviour = format!(
            "on the way on which UnboundLocalError was raised, `{name}` is {value}; other ways \
             assign to it as before"
        );
        let confidence = if rank == 0 { 0.75 } else { 0.5 };
        let recovery = RecoveryStrategy::Substitute;
        draft(format!("{name} = {value}"), behaviour, recovery, confidence);
    }
    made
}

/// First values for a name, by what is assigned to it in a function.
fn first_values(site: &Site<'_>, function: &SyntaxNode<'_>, name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for node in function.dfs() {
        let is_it = node.kind().contains("assignment")
            && node
                .field("left")
                .is_some_and(|left| site.text_of(&left) == name);
        let Some(value) = node.field("right").filter(|_| is_it) else {
            continue;
        };
        let text = site.text_of(&value);
        let value = match value.kind().as_ref() {
            "integer" | "binary_operator" => "0",
            "float" => "0.0",
            "string" | "concatenated_string" => "\"\"",
            "list" | "list_comprehension" => "[]",
            "dictionary" | "dictionary_comprehension" => "{}",
            "true" | "false" | "comparison_operator" | "not_operator" => "False",
            _ if node.kind() == "augmented_assignment" => "0",
            _ if text.starts_with("int(") || text.starts_with("len(") => "0",
            _ => "None",
        };
        if !found.contains(&value) {
            found.push(value);
        }
    }
    if !found.contains(&"None") {
        found.push("None");
    }
    found.truncate(3);
    found
}

fn identifiers<'a>(root: &SyntaxNode<'a>) -> impl Iterator<Item = SyntaxNode<'a>> {
    let all: Vec<_> = root
        .dfs()
        .filter(|node| node.kind() == "identifier")
        .collect();
    all.into_iter()
}

/// The name of an argument in a call: no variable.
fn is_keyword(node: &SyntaxNode<'_>) -> bool {
    node.parent().is_some_and(|parent| {
        let is_field = |name: &str| {
            parent
                .field(name)
                .is_some_and(|field| field.range() == node.range())
        };
        parent.kind() == "keyword_argument" && is_field("name")
            || parent.kind() == "attribute" && is_field("attribute")
    })
}

/// Whether a name is given a meaning here: assigned, a parameter, imported, defined, a loop's.
fn is_bound(node: &SyntaxNode<'_>) -> bool {
    let Some(parent) = node.parent() else {
        return false;
    };
    let is_field = |parent: &SyntaxNode<'_>, name: &str| {
        parent
            .field(name)
            .is_some_and(|field| field.range() == node.range())
    };
    match parent.kind().as_ref() {
        "assignment" | "for_statement" | "for_in_clause" => is_field(&parent, "left"),
        "function_definition" | "class_definition" | "default_parameter" | "named_expression" => {
            is_field(&parent, "name")
        }
        "parameters" | "typed_parameter" | "pattern_list" | "tuple_pattern" | "dotted_name"
        | "as_pattern_target" | "aliased_import" => true,
        _ => false,
    }
}

fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('\'')?;
    Some(rest.split_once('\'')?.0)
}

/// How many letters must be put in, left out, changed or exchanged with their neighbor.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > MAX_DISTANCE {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let is_other = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + is_other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;

    fn results(kind: &str, message: &str, text: &str, line: u32) -> Vec<String> {
        let error = ErrorEvent::new("python", kind, message);
        let site = Site::new(Language::Python, text, &error, line, 0).unwrap();
        let made = drafts(&site).made;
        made.iter()
            .map(|draft| draft.apply(text).unwrap())
            .collect()
    }

    #[test]
    fn a_mistyped_name_becomes_the_near_one_that_is_visible() {
        let text = "def f(items, other):\n    return len(itmes)\n\ndef g(itme):\n    pass\n";
        let found = results("NameError", "name 'itmes' is not defined", text, 2);
        assert_eq!(found, [text.replace("itmes", "items")]);
        let far = "def f(a):\n    return price\n";
        assert!(results("NameError", "name 'price' is not defined", far, 2).is_empty());
    }

    #[test]
    fn a_local_gets_a_first_value_of_its_kind() {
        let text = "def f(xs):\n    \"\"\"Doc.\"\"\"\n    for x in xs:\n        best = x * 2\n    return best\n";
        let found = results(
            "UnboundLocalError",
            "cannot access local variable 'best' where it is not associated with a value",
            text,
            5,
        );
        assert!(
            found[0].contains("\"\"\"\n    best = 0\n    for x in xs:"),
            "{found:?}"
        );
        assert!(found[1].contains("    best = None\n"));
    }

    #[test]
    fn distance_counts_an_exchange_once() {
        assert_eq!(distance("itmes", "items"), 1);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "xyzuvw"), usize::MAX);
    }
}
