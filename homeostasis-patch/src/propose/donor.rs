//! Values that a function may return or fail with: those that it uses itself before any invented.

use std::collections::BTreeMap;

use super::branch::{Branch, branch_of, means_success};
use super::grammar::{function_of, return_type, returns};
use super::rust_exit;
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// The error value that the function around a node fails with: of `Err(…)` in Rust.
pub(crate) fn failure(site: &Site<'_>, node: &SyntaxNode<'_>) -> Option<String> {
    let function = function_of(node)?;
    let declared = return_type(site.language, &function)?;
    let inside = |text: &str| {
        let inner = text.strip_prefix("Err(")?.strip_suffix(')')?;
        // `?` converts by itself, and a second conversion would leave the type open.
        Some(inner.strip_suffix(".into()").unwrap_or(inner).to_owned())
    };
    let sibling = donors(site, &function)
        .into_iter()
        .find_map(|donor| inside(&donor.value));
    sibling.or_else(|| invented_error(&declared))
}

fn invented_error(declared: &str) -> Option<String> {
    let error = declared.strip_suffix('>')?.rsplit_once(',')?.1.trim();
    if error.starts_with("Box<dyn") || declared.contains("Box<dyn") {
        return Some("\"a value is missing\"".to_owned());
    }
    match error {
        "String" | "std::string::String" => Some("String::from(\"a value is missing\")".to_owned()),
        "()" => Some("()".to_owned()),
        "&'static str" => Some("\"a value is missing\"".to_owned()),
        _ => None,
    }
}

/// The values of `return` that a guard may use: siblings', then those the type suggests.
pub(super) fn values(
    site: &Site<'_>,
    function: &SyntaxNode<'_>,
) -> Vec<(String, f64, &'static str)> {
    let mut found: Vec<_> = donors(site, function)
        .into_iter()
        .map(|donor| {
            let weight = match donor.branch {
                Branch::Failure => 1.0,
                Branch::Condition => 0.97,
                Branch::End => 0.9,
            };
            let weight = if donor.n > 1 { weight } else { weight * 0.98 };
            (donor.value, weight, ", as it does elsewhere")
        })
        .collect();
    let declared = return_type(site.language, function);
    match site.language {
        Language::Rust => match declared.as_deref() {
            None if function.kind() == "function_item" => found.push((String::new(), 0.9, "")),
            Some(declared) => found.extend(rust_default(declared)),
            None => {}
        },
        Language::Python => found.push(python_default(site, function, declared.as_deref())),
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            let value = match declared.as_deref() {
                Some("number") => "0",
                Some("string") => "\"\"",
                Some("boolean") => "false",
                Some(list) if list.ends_with("[]") || list.starts_with("Array<") => "[]",
                Some(or_null) if or_null.contains("null") => "null",
                _ => "",
            };
            found.push((
                value.to_owned(),
                if value.is_empty() { 0.6 } else { 0.8 },
                "",
            ));
        }
        Language::Go => found.extend(go_default(declared.as_deref())),
        Language::Java => {
            let value = match declared.as_deref() {
                Some("void") | None => "",
                Some("int" | "long" | "short" | "byte" | "double" | "float") => "0",
                Some("boolean") => "false",
                Some("String") => "\"\"",
                Some(list) if list.starts_with("List") => "java.util.List.of()",
                Some(map) if map.starts_with("Map") => "java.util.Map.of()",
                Some(optional) if optional.starts_with("Optional") => "java.util.Optional.empty()",
                Some(_) => "null",
            };
            let weight = if value == "null" { 0.6 } else { 0.8 };
            found.push((value.to_owned(), weight, ""));
        }
    }
    found
}

/// A value that a function returns elsewhere.
struct Donor {
    value: String,
    /// How often it is returned.
    n: usize,
    /// What it answers, where it answers the most alike.
    branch: Branch,
}

/// What other returns of the function return, of values that mean the same everywhere in it: those
/// that answer an error or an absence first, then the most frequent. What says that something went
/// well is among them only where it answers an absence.
fn donors(site: &Site<'_>, function: &SyntaxNode<'_>) -> Vec<Donor> {
    let parameters: Vec<String> = function
        .field("parameters")
        .map(|all| {
            all.dfs()
                .filter(|node| node.kind() == "identifier")
                .map(|node| node.text().into_owned())
                .collect()
        })
        .unwrap_or_default();
    let mut counted: BTreeMap<String, (Branch, usize, usize)> = BTreeMap::new();
    let mut values = returns(function);
    if site.language == Language::Rust {
        let tails = function.dfs().filter(|node| {
            let text = site.text_of(node);
            node.kind() == "call_expression" && text.starts_with("Err(")
                || node.kind() == "identifier" && text == "None"
        });
        values.extend(tails.map(|tail| (tail.clone(), Some(tail))));
    }
    let declared = return_type(site.language, function);
    for (place, (statement, value)) in values.iter().enumerate() {
        let text = match value {
            None => String::new(),
            Some(node) if is_constant(site, node, &parameters) => site.text_of(node).to_owned(),
            Some(_) => continue,
        };
        let branch = branch_of(site, statement);
        let is_good = means_success(site.language, &text, declared.as_deref());
        if is_good && branch != Branch::Failure {
            continue;
        }
        if !text.contains('\n') && text.len() <= 120 {
            let known = counted.entry(text).or_insert((branch, 0, place));
            known.0 = known.0.min(branch);
            known.1 += 1;
        }
    }
    let mut ranked: Vec<_> = counted.into_iter().collect();
    ranked.sort_by_key(|(_, (branch, n, place))| (*branch, std::cmp::Reverse(*n), *place));
    ranked
        .into_iter()
        .map(|(value, (branch, n, _))| Donor { value, n, branch })
        .collect()
}

/// Whether a value is made of literals, constants, constructors and parameters alone.
fn is_constant(site: &Site<'_>, value: &SyntaxNode<'_>, parameters: &[String]) -> bool {
    let is_bare_parameter = parameters.iter().any(|name| name == site.text_of(value));
    let is_field_of = |parent: &SyntaxNode<'_>, field: &str, node: &SyntaxNode<'_>| {
        parent
            .field(field)
            .is_some_and(|found| found.range() == node.range())
    };
    !is_bare_parameter
        && value.dfs().all(|node| {
            let kind = node.kind();
            let text = site.text_of(&node);
            match kind.as_ref() {
                "try_expression" | "await" | "await_expression" | "subscript" => false,
                "call" | "call_expression" | "method_invocation" => constructs(text),
                "identifier" => {
                    let is_name = node.parent().is_some_and(|parent| {
                        let kind = parent.kind();
                        kind.contains("scoped")
                            || kind == "macro_invocation"
                            || is_field_of(&parent, "attribute", &node)
                    });
                    is_name
                        || text.starts_with(|c: char| c.is_ascii_uppercase())
                        || CONSTANTS.contains(&text)
                        || parameters.iter().any(|name| name == text)
                }
                _ => !kind.contains("binary") && !kind.contains("index"),
            }
        })
}

/// Names that mean the same everywhere, and packages and functions that only make values.
const CONSTANTS: [&str; 7] = ["nil", "undefined", "dict", "list", "set", "errors", "fmt"];

/// Whether a call makes a value and does nothing else, by its name.
fn constructs(call: &str) -> bool {
    let name = call.split('(').next().unwrap_or_default();
    let is_variant = name.starts_with(|c: char| c.is_ascii_uppercase());
    let is_maker = ["dict", "list", "set", "errors.New", "fmt.Errorf"].contains(&name);
    let converts = [".into()", ".to_owned()", ".to_string()"];
    is_variant || name.contains("::") || is_maker || converts.iter().any(|end| call.ends_with(end))
}

fn rust_default(declared: &str) -> Option<(String, f64, &'static str)> {
    let declared = &rust_exit::without_lifetime(declared);
    let value = match declared.as_str() {
        "()" => "",
        "Self" | "&Self" | "&mut Self" => "self",
        "bool" => "false",
        "f32" | "f64" => "0.0",
        "String" => "String::new()",
        "&str" => "\"\"",
        "char" => "'\\0'",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128"
        | "isize" => "0",
        _ if declared.starts_with("Option<") => "None",
        _ if declared.starts_with("Vec<") => "Vec::new()",
        _ if declared.contains("Result<") => {
            let error = invented_error(declared)?;
            let into = if declared.contains("Box<dyn") {
                ".into()"
            } else {
                ""
            };
            return Some((format!("Err({error}{into})"), 0.8, ""));
        }
        _ if declared.starts_with("&[") => "&[]",
        _ if declared.starts_with("&mut [") => "&mut []",
        _ if declared.starts_with('&') || declared.starts_with("impl ") || declared == "!" => {
            return None;
        }
        _ => "Default::default()",
    };
    let weight = match value {
        "None" => 0.95,
        "Default::default()" => 0.5,
        _ => 0.8,
    };
    Some((value.to_owned(), weight, ""))
}

fn python_default(
    site: &Site<'_>,
    function: &SyntaxNode<'_>,
    declared: Option<&str>,
) -> (String, f64, &'static str) {
    let by_type = declared.and_then(|declared| {
        let base = declared.split('[').next().unwrap_or(declared);
        Some(match base {
            "int" => "0",
            "float" => "0.0",
            "str" => "\"\"",
            "bool" => "False",
            "bytes" => "b\"\"",
            "list" | "List" | "Sequence" => "[]",
            "dict" | "Dict" | "Mapping" => "{}",
            "tuple" | "Tuple" if !declared.contains('[') => "()",
            "set" | "Set" => "set()",
            "None" => "",
            _ if declared.contains("None") || base == "Optional" => "None",
            _ => return None,
        })
    });
    if let Some(value) = by_type {
        return (value.to_owned(), 0.85, ", which is of its type");
    }
    let values = returns(function);
    let values: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
    if values.is_empty() || values.iter().all(Option::is_none) {
        return (String::new(), 0.85, "");
    }
    // `return out` where `out = []` was said: the same empty value.
    for value in values.iter().flatten() {
        let name = site.text_of(value);
        let first = function.dfs().find_map(|node| {
            let is_it = node.kind() == "assignment"
                && node
                    .field("left")
                    .is_some_and(|left| left.kind() == "identifier" && site.text_of(&left) == name);
            is_it.then(|| node.field("right")).flatten()
        });
        let text = first.as_ref().map_or("", |node| site.text_of(node));
        if matches!(
            text,
            "[]" | "{}" | "0" | "0.0" | "\"\"" | "''" | "set()" | "None" | "False"
        ) {
            return (text.to_owned(), 0.9, ", with which it begins its result");
        }
        let kind = value.kind();
        let by_kind = match kind.as_ref() {
            "list" | "list_comprehension" => "[]",
            "dictionary" | "dictionary_comprehension" => "{}",
            "string" | "concatenated_string" => "\"\"",
            "comparison_operator" | "not_operator" | "true" | "false" => "False",
            "binary_operator" if name.contains('/') => "0.0",
            "call" if name.starts_with("float(") => "0.0",
            "binary_operator" => "0",
            "call"
                if ["int(", "len(", "sum(", "round("]
                    .iter()
                    .any(|f| name.starts_with(f)) =>
            {
                "0"
            }
            _ => continue,
        };
        return (by_kind.to_owned(), 0.75, ", which is like its other values");
    }
    ("None".to_owned(), 0.7, "")
}

/// Zero values of Go's result types; an error cannot be invented without an import.
fn go_default(declared: Option<&str>) -> Option<(String, f64, &'static str)> {
    let Some(declared) = declared else {
        return Some((String::new(), 0.9, ""));
    };
    let types = declared.trim_start_matches('(').trim_end_matches(')');
    let mut values = Vec::new();
    for each in types.split(',') {
        let each = each.split_whitespace().last()?;
        values.push(match each {
            "error" => return None,
            "bool" => "false",
            "string" => "\"\"",
            "float32" | "float64" | "byte" | "rune" => "0",
            _ if each.starts_with("int") || each.starts_with("uint") => "0",
            _ if each.starts_with(['*', '[']) || each.starts_with("map[") || each == "any" => "nil",
            _ => return None,
        });
    }
    Some((values.join(", "), 0.8, ""))
}

/// A value that fits where a Python expression stands, by what is done with it.
pub(crate) fn value_for(site: &Site<'_>, node: &SyntaxNode<'_>) -> &'static str {
    let Some(parent) = node.parent() else {
        return "None";
    };
    match parent.kind().as_ref() {
        "parenthesized_expression" => value_for(site, &parent),
        "binary_operator" | "augmented_assignment" => {
            let has_text = parent
                .children()
                .any(|part| matches!(part.kind().as_ref(), "string" | "concatenated_string"));
            if has_text { "\"\"" } else { "0" }
        }
        "comparison_operator" => {
            let operators = site.text_of(&parent);
            if operators.contains(['<', '>']) {
                "0"
            } else if operators.contains(" in ") {
                "()"
            } else {
                "None"
            }
        }
        "for_statement" | "for_in_clause" => "()",
        "subscript" => "{}",
        "attribute" => {
            let name = parent.field("attribute");
            match name.as_ref().map_or("", |name| site.text_of(name)) {
                "get" | "items" | "keys" | "values" => "{}",
                "append" | "extend" => "[]",
                "strip" | "lower" | "upper" | "split" | "startswith" | "endswith" | "replace"
                | "title" | "encode" | "format" => "\"\"",
                _ => "None",
            }
        }
        "argument_list" => {
            let call = parent.parent().and_then(|call| call.field("function"));
            match call.as_ref().map_or("", |call| site.text_of(call)) {
                "len" | "sum" | "sorted" | "max" | "min" | "set" | "list" | "tuple" | "any"
                | "all" | "enumerate" => "()",
                "int" | "float" | "abs" | "round" | "range" => "0",
                _ => "None",
            }
        }
        _ => "None",
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::ErrorEvent;

    use super::*;

    #[test]
    fn the_failure_of_a_function_is_its_own() {
        let rust = "fn f(a: u8) -> Result<u8, String> {\n    let x = g(a);\n    if a == 0 {\n        return Err(\"none\".into());\n    }\n    Ok(x)\n}\n";
        let error = ErrorEvent::default();
        let site = Site::new(Language::Rust, rust, &error, 2, 0).unwrap();
        let root = site.root();
        let node = root
            .dfs()
            .find(|node| site.text_of(node) == "g(a)")
            .unwrap();
        assert_eq!(failure(&site, &node).as_deref(), Some("\"none\""));
    }
}
