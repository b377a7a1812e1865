//! Whether a value is a mapping, by how the function around it uses or declares it.

use crate::Language;
use crate::syntax::SyntaxNode;

/// Functions of Python that give a mapping (or, of a text of JSON, nothing that has another `get`).
const MAKERS: [&str; 8] = [
    "dict",
    "json.loads",
    "json.load",
    "defaultdict",
    "collections.defaultdict",
    "OrderedDict",
    "collections.OrderedDict",
    "Counter",
];

/// Whether the receiver of a `get` is a name or an attribute that its own function shows to be a
/// mapping. What functions inside of that one do does not count: their names may be others.
pub(crate) fn is_mapping(language: Language, receiver: &SyntaxNode<'_>) -> bool {
    let name = receiver.text();
    let is_plain = name
        .split('.')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'));
    if !is_plain {
        return false;
    }
    let around = receiver.ancestors().find(is_function);
    let Some(around) = around.or_else(|| receiver.ancestors().last()) else {
        return false;
    };
    let (mut uses, mut made, mut other) = (false, false, false);
    let mut rest: Vec<_> = around.children().collect();
    while let Some(node) = rest.pop() {
        if is_function(&node) {
            continue;
        }
        match language {
            Language::Python => {
                uses |= is_used(&node, &name);
                match made_by(&node, &name) {
                    Some(true) => made = true,
                    Some(false) => other = true,
                    None => {}
                }
            }
            _ => match declared(&node, &name) {
                Some(true) => made = true,
                Some(false) => other = true,
                None => {}
            },
        }
        rest.extend(node.children());
    }
    uses || made && !other
}

fn is_function(node: &SyntaxNode<'_>) -> bool {
    matches!(
        node.kind().as_ref(),
        "function_definition"
            | "lambda"
            | "class_definition"
            | "function_declaration"
            | "function_expression"
            | "arrow_function"
            | "method_definition"
            | "method_declaration"
            | "constructor_declaration"
            | "lambda_expression"
            | "class_declaration"
    )
}

/// `m[k]`, `m.items()`, `k in m`, `isinstance(m, dict)`.
fn is_used(node: &SyntaxNode<'_>, name: &str) -> bool {
    let field_is = |field: &str, text: &str| {
        let found = node.field(field);
        found.is_some_and(|it| it.text() == text)
    };
    match node.kind().as_ref() {
        "subscript" => field_is("value", name),
        "call" => {
            let function = node.field("function");
            let function = function.as_ref().map(SyntaxNode::text).unwrap_or_default();
            let looks = ["items", "keys"].iter().any(|method| {
                let object = function.strip_suffix(method);
                object.and_then(|it| it.strip_suffix('.')) == Some(name)
            });
            let asks = || {
                let arguments = node.field("arguments");
                let named: Vec<_> = arguments
                    .iter()
                    .flat_map(SyntaxNode::children)
                    .filter(SyntaxNode::is_named)
                    .collect();
                matches!(named.as_slice(), [one, kind]
                    if one.text() == name && is_mapping_type(&kind.text()))
            };
            looks || function == "isinstance" && asks()
        }
        "comparison_operator" => {
            let parts: Vec<_> = node.children().collect();
            matches!(parts.as_slice(), [_, sign, right]
                if matches!(sign.text().as_ref(), "in" | "not in") && right.text() == name)
        }
        _ => false,
    }
}

/// Whether a node of Python that gives the name a value or a type gives it a mapping; `None` if it
/// does not name it.
fn made_by(node: &SyntaxNode<'_>, name: &str) -> Option<bool> {
    match node.kind().as_ref() {
        "assignment" => {
            let left = node.field("left")?;
            if left.text() != name {
                return None;
            }
            if let Some(annotation) = node.field("type") {
                return Some(is_mapping_type(&annotation.text()));
            }
            let right = node.field("right")?;
            let function = right.field("function");
            Some(match right.kind().as_ref() {
                "dictionary" | "dictionary_comprehension" => true,
                "call" => function.is_some_and(|it| MAKERS.contains(&it.text().as_ref())),
                _ => false,
            })
        }
        "typed_parameter" | "typed_default_parameter" => {
            let named = node.field("name").or_else(|| node.children().next())?;
            let annotation = node.field("type")?;
            (named.text() == name).then(|| is_mapping_type(&annotation.text()))
        }
        _ => None,
    }
}

/// A type of Python that only mappings, or nothing, are of.
fn is_mapping_type(text: &str) -> bool {
    let text = text.trim().trim_matches(['"', '\'']);
    if let Some(inner) = text
        .strip_suffix(']')
        .and_then(|it| it.trim_start_matches("typing.").strip_prefix("Optional["))
    {
        return is_mapping_type(inner);
    }
    let text = text.strip_suffix("| None").map_or(text, str::trim_end);
    let (base, rest) = text.split_once('[').unwrap_or((text, "]"));
    let is_whole = rest.ends_with(']') && !rest.contains("] |") && !rest.contains("]|");
    let base = base.rsplit('.').next().unwrap_or_default();
    is_whole
        && matches!(
            base,
            "dict"
                | "Dict"
                | "Mapping"
                | "MutableMapping"
                | "OrderedDict"
                | "DefaultDict"
                | "defaultdict"
        )
}

/// Of Java and the languages of the web: whether what declares the name, or gives it a value, says
/// that it is a map.
fn declared(node: &SyntaxNode<'_>, name: &str) -> Option<bool> {
    let named = node
        .field("name")
        .or_else(|| node.field("pattern"))
        .or_else(|| node.field("left"))?;
    if named.text() != name {
        return None;
    }
    let kind = match node.kind().as_ref() {
        "variable_declarator" | "assignment_expression" => {
            let parent = node.parent();
            let declaration = parent.as_ref().and_then(|it| it.field("type"));
            let own = node.field("type").or(declaration);
            let value = || {
                let value = node.field("value").or_else(|| node.field("right"))?;
                value.field("constructor").or_else(|| value.field("type"))
            };
            own.or_else(value)
        }
        "formal_parameter" | "required_parameter" | "optional_parameter" => node.field("type"),
        _ => return None,
    };
    Some(kind.is_some_and(|kind| {
        let text = kind.text();
        let text = text.trim_start_matches([':', ' ']);
        let base = text.split('<').next().unwrap_or_default();
        matches!(
            base.trim(),
            "Map" | "HashMap" | "TreeMap" | "LinkedHashMap" | "ConcurrentHashMap" | "ReadonlyMap"
        ) && !text.contains('|')
    }))
}
