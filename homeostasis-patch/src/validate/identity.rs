//! Who may do what: names of checks of identity and permission, and how they are called.

use super::RefusalReason::RemovedAuthorization;
use super::condition::is_literal;
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::Reference;
use super::token::{FlatTree, Kind, joined};
use super::validation::Flag;
use super::words::name_words;

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
    found
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
