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
const BLOCKS: [&str; 11] = [
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

/// What evaluates its parts under conditions or names of its own, so that nothing of them can be
/// asked in front of the statement around.
const BARRIERS: [&str; 22] = [
    "closure_expression",
    "match_arm",
    "while_expression",
    "let_chain",
    "else_clause",
    "lambda",
    "list_comprehension",
    "set_comprehension",
    "dictionary_comprehension",
    "generator_expression",
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
];

/// The statement around a node, if what the node is made of can be asked in front of it.
pub(crate) fn statement_of<'a>(node: &SyntaxNode<'a>) -> Option<SyntaxNode<'a>> {
    let mut node = node.clone();
    loop {
        let parent = node.parent()?;
        let kind = parent.kind();
        if BLOCKS.contains(&kind.as_ref()) {
            return Some(node);
        }
        let is_else_if = kind == "if_statement" && node.kind() == "if_statement";
        if is_else_if || BARRIERS.contains(&kind.as_ref()) {
            return None;
        }
        node = parent;
    }
}

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

/// The values that a function returns, as nodes; `None` where nothing is. Not those of functions
/// inside.
pub(crate) fn returns<'a>(function: &SyntaxNode<'a>) -> Vec<Option<SyntaxNode<'a>>> {
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
            found.push(node.children().find(SyntaxNode::is_named));
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
    node.dfs().any(|node| {
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
    })
}

/// Whether a node calls something that takes, moves on or writes, by its name.
pub(crate) fn has_effect(text: &str) -> bool {
    [
        "next", "nth(", "pop", "drain(", "accept(", "acquire(", "charge", "withdraw", "random",
        "get()", "read", "recv(", "take(", "remove(", "push", "insert(", "send(", "shift(",
        "write", "execute(", "commit(", "post(", "delete(", "fetch", "save(", "create", "await ",
        ".await", "yield", "++", "--", ":=", "poll(", "swap(", "replace(", "<-",
    ]
    .iter()
    .any(|call| text.contains(call))
}
