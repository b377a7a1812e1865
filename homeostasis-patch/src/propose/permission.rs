//! Whether a function decides about permission, by its name or by what it is bound to.

use super::branch::speaks_of_permission;
use super::grammar::function_of;
use super::site::Site;
use crate::syntax::SyntaxNode;

/// Whether a function says by its name that it decides who may do what. One without a name has that of
/// what it is bound to (`const mayEdit = (user) => …`), or is a part of the function around it.
pub(crate) fn decides_permission(site: &Site<'_>, function: &SyntaxNode<'_>) -> bool {
    let mut function = function.clone();
    loop {
        if let Some(name) = name_of(&function) {
            // Of `exports.mayEdit` the last part.
            let name = site.text_of(&name).rsplit('.').next();
            return name.is_some_and(speaks_of_permission);
        }
        match function_of(&function) {
            Some(around) => function = around,
            None => return false,
        }
    }
}

/// The name of a function, or of what a function without a name is bound to.
fn name_of<'a>(function: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    if let Some(name) = function.field("name") {
        return Some(name);
    }
    let mut bound = function.parent()?;
    while matches!(
        bound.kind().as_ref(),
        "parenthesized_expression" | "expression_list" | "literal_element" | "as_expression"
    ) {
        bound = bound.parent()?;
    }
    let fields: &[&str] = match bound.kind().as_ref() {
        "variable_declarator" | "var_spec" => &["name"],
        "pair" | "keyed_element" => &["key"],
        "field_definition" | "public_field_definition" => &["property", "name"],
        "assignment_expression"
        | "assignment"
        | "short_var_declaration"
        | "assignment_statement" => &["left"],
        "let_declaration" => &["pattern"],
        _ => return None,
    };
    fields
        .iter()
        .find_map(|field| bound.field(field))
        .or_else(|| bound.children().find(SyntaxNode::is_named))
}
