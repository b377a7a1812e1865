//! What the grammars call the things that templates ask about.

use crate::Language;
use crate::syntax::SyntaxNode;

const FUNCTIONS: [&str; 17] = [
    "function_item",
    "closure_expression",
    "async_block",
    "function_definition",
    "lambda",
    "function_declaration",
    "function_expression",
    "generator_function_declaration",
    "generator_function",
    "arrow_function",
    "method_definition",
    "method_declaration",
    "constructor_declaration",
    "func_literal",
    "lambda_expression",
    "class_definition",
    "static_initializer",
];

const LOOPS: [&str; 10] = [
    "for_expression",
    "while_expression",
    "loop_expression",
    "for_statement",
    "while_statement",
    "for_in_statement",
    "do_statement",
    "enhanced_for_statement",
    "for_of_statement",
    "do_while_statement",
];

/// What holds statements.
pub(crate) const BLOCKS: [&str; 11] = [
    "block",
    "module",
    "program",
    "source_file",
    "statement_block",
    "statement_list",
    "switch_case",
    "switch_default",
    "constructor_body",
    "switch_block_statement_group",
    "class_body",
];

/// The function around a node.
pub(crate) fn function_of<'a>(node: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    node.ancestors().find(is_function)
}

pub(crate) fn is_function(node: &SyntaxNode<'_>) -> bool {
    FUNCTIONS.contains(&node.kind().as_ref())
}

/// Whether a node is in the body of a loop of its function.
pub(crate) fn is_in_loop(node: &SyntaxNode<'_>) -> bool {
    let mut below = node.clone();
    for parent in node.ancestors() {
        if is_function(&parent) {
            return false;
        }
        let is_body = parent
            .field("body")
            .is_some_and(|body| body.range() == below.range());
        if is_body && LOOPS.contains(&parent.kind().as_ref()) {
            return true;
        }
        below = parent;
    }
    false
}

/// What a function says it returns, as written; `None` if it does not say.
pub(crate) fn return_type(language: Language, function: &SyntaxNode<'_>) -> Option<String> {
    let field = match language {
        Language::Go => "result",
        Language::Java => "type",
        _ => "return_type",
    };
    let text = function.field(field)?.text().into_owned();
    Some(text.trim_start_matches(':').trim().to_owned())
}

/// The returns of a function, each with its value, which is `None` where nothing is returned. Not
/// those of functions inside.
pub(crate) fn returns<'a>(
    function: &SyntaxNode<'a>,
) -> Vec<(SyntaxNode<'a>, Option<SyntaxNode<'a>>)> {
    let mut found = Vec::new();
    let mut open: Vec<SyntaxNode<'a>> = function.children().collect();
    open.reverse();
    while let Some(node) = open.pop() {
        if is_function(&node) {
            continue;
        }
        if matches!(
            node.kind().as_ref(),
            "return_statement" | "return_expression"
        ) {
            found.push((node.clone(), node.children().find(SyntaxNode::is_named)));
        }
        let at = open.len();
        open.extend(node.children());
        open[at..].reverse();
    }
    found
}

/// Whether an expression binds less tightly than a call or a field of it.
pub(crate) fn is_compound(node: &SyntaxNode<'_>) -> bool {
    let kind = node.kind();
    [
        "binary",
        "boolean",
        "unary",
        "comparison",
        "not_operator",
        "lambda",
        "closure",
        "conditional",
        "ternary",
        "assignment",
        "range",
        "type_cast",
        "cast_expression",
        "await",
        "reference_expression",
        "named_expression",
        "yield",
        "if_expression",
        "match_expression",
    ]
    .iter()
    .any(|part| kind.contains(part))
}

/// Whether a node calls something.
pub(crate) fn has_call(node: &SyntaxNode<'_>) -> bool {
    node.dfs().any(|node| is_call(&node))
}

/// Whether a node itself is a call, or counts as one.
pub(crate) fn is_call(node: &SyntaxNode<'_>) -> bool {
    matches!(
        node.kind().as_ref(),
        "call"
            | "call_expression"
            | "method_invocation"
            | "await"
            | "await_expression"
            | "macro_invocation"
            | "update_expression"
            | "new_expression"
            | "object_creation_expression"
    )
}
