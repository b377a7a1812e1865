//! Who may do what: names of checks of identity and permission, and how they are called.

use super::RefusalReason::RemovedAuthorization;
use super::condition::is_literal;
use super::dead_code::{header, is_condition_holder};
use super::fact::{Fact, Sense};
use super::guard::{function_name, is_permission};
use super::names::Names;
use super::references::Reference;
use super::token::{FlatTree, Kind, Token, is_function, joined};
use super::validation::Flag;
use super::words::name_words;
use crate::Language;

/// Of each check of permission: that it is there, with how many arguments, and which of them are
/// written out.
pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        let path = names.resolved(&reference.path);
        let last = path.rsplit('.').next().unwrap_or_default();
        let is_own = reference
            .path
            .rsplit('.')
            .next()
            .is_some_and(is_authorization);
        if !is_authorization(last) && !is_own && !compares_secrets(last) {
            continue;
        }
        let line = reference.line;
        let mut push = |sense, key: String| {
            found.push(Fact::new(sense, key, line, &reference.path));
        };
        push(Sense::Required(RemovedAuthorization), last.to_owned());
        if always(tree, reference) {
            let function = tree
                .function_of(reference.tokens.0)
                .map(|idx| function_name(tree, idx));
            let function = function.unwrap_or_default();
            push(
                Sense::Required(RemovedAuthorization),
                format!("{last} always in {function}"),
            );
        }
        if within_all(tree, reference.tokens.0) {
            push(Sense::Required(RemovedAuthorization), format!("all {last}"));
        }
        let (start, end) = reference.tokens;
        let defines = start > 0
            && ["def", "fn", "func", "function"]
                .iter()
                .any(|word| tree.tokens[start - 1].is(word));
        let next = tree.tokens.get(end);
        let is_plain = !reference.path.contains('.');
        if is_plain && (defines || next.is_some_and(|t| t.is("=") || t.is(":="))) {
            // Counted by its uses: a definition beside an import takes its place.
            push(
                Sense::Forbidden(RemovedAuthorization),
                format!("defines {last}"),
            );
        }
        if defines || !next.is_some_and(|t| t.is("(")) {
            continue;
        }
        let mut open = end;
        for idx in 0..16 {
            let argument = tree.first_argument(open);
            if argument.is_empty() {
                break;
            }
            push(
                Sense::Required(RemovedAuthorization),
                format!("{last} argument {idx}"),
            );
            let text = joined(argument);
            let is_written = argument.len() == 1
                && (is_literal(&text) || matches!(argument[0].kind, Kind::Text(_) | Kind::Number));
            if is_written {
                push(
                    Sense::Forbidden(RemovedAuthorization),
                    format!("{last}({text}"),
                );
            }
            push(Sense::Kept(Flag::ChangedCheck), format!("{last}({text}"));
            open += 1 + argument.len();
            if !tree.tokens.get(open).is_some_and(|t| t.is(",")) {
                break;
            }
        }
    }
    for (idx, token) in tree.tokens.iter().enumerate() {
        grants(tree, idx, token, &mut found);
    }
    found
}

/// `is_admin=True`, and the answers of functions that permit something.
fn grants(tree: &FlatTree<'_>, idx: usize, token: &Token<'_>, found: &mut Vec<Fact>) {
    let is_true = |at: usize| {
        tree.tokens
            .get(at)
            .is_some_and(|t| t.is("True") || t.is("true"))
    };
    let mut push = |key: String| {
        let sense = Sense::Forbidden(RemovedAuthorization);
        found.push(Fact::new(sense, key, token.line, token.text));
    };
    let next = |n: usize| tree.tokens.get(idx + n);
    if token.is_word() && names_permission(token.text) {
        let given = next(1).is_some_and(|t| t.is("=") || t.is(":") || t.is(":="))
            && is_true(idx + 2)
            || next(1).is_some_and(|t| t.is(":"))
                && next(3).is_some_and(|t| t.is("="))
                && is_true(idx + 4);
        if given {
            push(format!("grants {}", token.text));
        }
    }
    let alternates = tree.language == Language::Rust && token.is("|");
    if alternates || is_true(idx) {
        let before = idx.checked_sub(1).map_or("", |at| tree.tokens[at].text);
        let compared = matches!(before, "==" | "!=" | "is" | "===" | "!==");
        let function = tree.function_of(idx).map(|f| function_name(tree, f));
        if let Some(function) = function.filter(|name| is_permission(name) && !compared) {
            push(format!("{} in {function}", token.text));
        }
    }
}

/// A name of a value that permits something: `allowed`, `is_admin`.
fn names_permission(name: &str) -> bool {
    let words = name_words(name);
    let ends = words.last().is_some_and(|word| names_identity(word));
    ends && words.iter().all(|word| {
        !matches!(
            word.as_str(),
            "denied"
                | "forbidden"
                | "banned"
                | "revoked"
                | "expired"
                | "unauthorized"
                | "csrf"
                | "signature"
                | "password"
        )
    })
}

/// The call is made whenever its function is run: behind no condition and in no `try`.
fn always(tree: &FlatTree<'_>, reference: &Reference) -> bool {
    let start = reference.tokens.0;
    let before = start.checked_sub(1).map_or("", |at| tree.tokens[at].text);
    for idx in tree.around(start).take(64) {
        let node = &tree.nodes[idx];
        if is_function(node.kind) {
            break;
        }
        let is_expression = node.kind == "expression_statement";
        let is_first = start == node.tokens.0;
        if is_expression
            && !is_first
            && matches!(before, "??" | "||" | "&&" | "or" | "and" | "?" | ":")
        {
            return false;
        }
        let is_branch = is_condition_holder(node.kind) || node.kind == "else_clause";
        let is_other = node.kind.starts_with("try") && node.kind != "try_expression"
            || node.kind.contains("lambda")
            || node.kind.starts_with("while")
            || node.kind.starts_with("for_");
        if is_other || is_branch && start >= body_start(tree, idx) {
            return false;
        }
    }
    true
}

/// The first token behind the condition of a statement.
fn body_start(tree: &FlatTree<'_>, idx: usize) -> usize {
    let node = &tree.nodes[idx];
    if node.kind == "else_clause" {
        return node.tokens.0;
    }
    let open = node.tokens.0 + 1;
    let braced = matches!(
        tree.language,
        Language::Rust | Language::Go | Language::Python
    );
    if !braced && tree.tokens.get(open).is_some_and(|t| t.is("(")) {
        return tree.closing(open);
    }
    node.tokens.0 + header(tree, idx).len()
}

/// `all(… has_role(r) …)`
fn within_all(tree: &FlatTree<'_>, token: usize) -> bool {
    let start = token.saturating_sub(12);
    tree.tokens[start..token]
        .windows(2)
        .any(|pair| matches!(pair[0].text, "all" | "every") && pair[1].is("("))
}

/// A word that says that somebody may do something, or may not.
pub(super) fn names_identity(word: &str) -> bool {
    matches!(
        word,
        "allowed"
            | "allow"
            | "permitted"
            | "permission"
            | "permissions"
            | "authorized"
            | "authorised"
            | "unauthorized"
            | "authenticated"
            | "authorize"
            | "authenticate"
            | "admin"
            | "superuser"
            | "forbidden"
            | "denied"
            | "banned"
            | "privileged"
            | "csrf"
            | "password"
            | "signature"
            | "revoked"
            | "expired"
            | "role"
            | "roles"
            | "owner"
            | "owns"
            | "staff"
            | "access"
    )
}

/// A comparison that takes as long whatever differs, or the check of a password.
fn compares_secrets(last: &str) -> bool {
    matches!(
        last,
        "compare_digest"
            | "timingSafeEqual"
            | "checkpw"
            | "check_password_hash"
            | "constant_time_compare"
            | "constant_time_eq"
            | "ConstantTimeCompare"
            | "CompareHashAndPassword"
            | "verify_password"
            | "verify_token"
    )
}

/// `check_permission`, `requireAuth`, `is_admin`, `login_required`, `PreAuthorize`.
pub(super) fn is_authorization(name: &str) -> bool {
    let words = name_words(name);
    let Some(first) = words.first() else {
        return false;
    };
    let verbs = [
        "check", "require", "requires", "required", "verify", "ensure", "assert", "has", "is",
        "validate", "can", "must", "enforce", "pre", "roles", "with",
    ];
    let nouns = [
        "auth",
        "authenticated",
        "authorized",
        "authentication",
        "authorization",
        "permission",
        "permissions",
        "admin",
        "role",
        "roles",
        "login",
        "logged",
        "access",
        "owner",
        "csrf",
        "signature",
        "scope",
        "privilege",
        "credentials",
        "allowed",
        "authorize",
        "superuser",
        "staff",
        "jwt",
    ];
    let starts = [
        "authorize",
        "authenticate",
        "authorized",
        "authenticated",
        "secured",
    ];
    if starts.contains(&first.as_str()) {
        return true;
    }
    let has_noun = words[1..].iter().any(|word| nouns.contains(&word.as_str()));
    verbs.contains(&first.as_str()) && has_noun
        || words.last().is_some_and(|last| last == "required") && nouns.contains(&first.as_str())
        || first == "csrf" && words.iter().any(|word| word == "protect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_permission_checks_are_known() {
        for name in [
            "check_permission",
            "requireAuth",
            "is_admin",
            "login_required",
            "PreAuthorize",
            "authorize",
        ] {
            assert!(is_authorization(name), "{name}");
        }
        for name in [
            "author",
            "is_empty",
            "has_next",
            "checkout",
            "role",
            "permissions",
            "required",
            "isolate",
        ] {
            assert!(!is_authorization(name), "{name}");
        }
    }
}
