//! What a function declares of a name.

use super::grammar::function_of;
use super::site::Site;
use crate::syntax::SyntaxNode;

/// Types of numbers that may be less than zero, in Rust, Go and Java.
const SIGNED: [&str; 18] = [
    "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64", "int", "int8", "int16", "int32",
    "int64", "long", "short", "double", "float32", "float64",
];

/// Whether a node is a parameter of the function around it, by name.
pub(crate) fn is_parameter(site: &Site<'_>, node: &SyntaxNode<'_>) -> bool {
    let text = site.text_of(node);
    let parameters = function_of(node).and_then(|function| function.field("parameters"));
    parameters.is_some_and(|all| {
        all.dfs()
            .any(|node| node.kind() == "identifier" && site.text_of(&node) == text)
    })
}

/// Whether a node is declared in its function as a number that may be less than zero, or is a
/// literal that is.
pub(crate) fn is_signed(site: &Site<'_>, node: &SyntaxNode<'_>) -> bool {
    let text = site.text_of(node);
    if text.starts_with('-') {
        return true;
    }
    let Some(function) = function_of(node) else {
        return false;
    };
    function.dfs().any(|node| {
        let named = node.field("pattern").or_else(|| node.field("name"));
        let (Some(said), Some(named)) = (node.field("type"), named) else {
            return false;
        };
        let said = site.text_of(&said).trim_start_matches(['&', '*']);
        SIGNED.contains(&said) && site.text_of(&named) == text
    })
}
