//! What a return of a function answers, and what its value means.

use super::grammar::is_function;
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// What a return answers, by the branch that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Branch {
    /// An error, or something that is empty, absent or out of bounds.
    Failure,
    /// Some other condition.
    Condition,
    /// No condition: it is what the function comes to.
    End,
}

/// The branch of a node: what the nearest condition around it tests.
pub(crate) fn branch_of(site: &Site<'_>, node: &SyntaxNode<'_>) -> Branch {
    let mut below = node.clone();
    let mut found = Branch::End;
    for parent in node.ancestors() {
        if is_function(&parent) {
            break;
        }
        let kind = parent.kind();
        let is_field = |name: &str| {
            parent
                .field(name)
                .is_some_and(|field| field.range() == below.range())
        };
        match kind.as_ref() {
            "except_clause" | "catch_clause" => return Branch::Failure,
            // `let Some(x) = … else { return … }`
            "let_declaration" if is_field("alternative") => return Branch::Failure,
            "if_statement" | "elif_clause" | "if_expression" => {
                if is_field("consequence") {
                    let condition = parent.field("condition");
                    let text = condition.as_ref().map_or("", |node| site.text_of(node));
                    return if tests_failure(text) {
                        Branch::Failure
                    } else {
                        Branch::Condition
                    };
                }
                found = Branch::Condition;
            }
            "match_arm" => {
                let pattern = parent.field("pattern");
                let text = pattern.as_ref().map_or("", |node| site.text_of(node));
                let is_failure = text == "None" || text.starts_with("Err(");
                return if is_failure {
                    Branch::Failure
                } else {
                    Branch::Condition
                };
            }
            "case_clause" | "switch_case" | "switch_rule" | "expression_case" => {
                found = Branch::Condition;
            }
            _ => {}
        }
        below = parent;
    }
    found
}

/// Whether a condition asks for an error, an absence or an emptiness.
fn tests_failure(condition: &str) -> bool {
    let text = condition.trim().trim_start_matches('(').trim_start();
    let negates = text.starts_with("not ") || text.starts_with('!');
    let words = [
        " is None",
        "== None",
        " not in ",
        "not isinstance",
        "== nil",
        "== null",
        "=== null",
        "=== undefined",
        "err != nil",
        "== 0",
        "=== 0",
        "<= 0",
        "< 0",
        "< 1",
        "== \"\"",
        "== ''",
        ".is_empty()",
        ".isEmpty()",
        ".is_none()",
        ".is_err()",
        "Err(",
    ];
    negates || words.iter().any(|word| text.contains(word))
}

/// Whether a value, returned, says that something went well or is allowed.
pub(crate) fn means_success(language: Language, value: &str, returned: Option<&str>) -> bool {
    let bare = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let words = [
        "true",
        "ok",
        "okay",
        "success",
        "succeeded",
        "allow",
        "allowed",
        "grant",
        "granted",
        "accept",
        "accepted",
        "approved",
        "authorized",
        "authenticated",
        "valid",
        "passed",
        "permit",
        "permitted",
        "admin",
        "root",
        "yes",
    ];
    let last = bare.rsplit(['.', ':']).next().unwrap_or_default();
    let is_word = words.contains(&last) || words.contains(&bare.as_str());
    let is_status = bare.len() == 3 && bare.starts_with('2') && bare.parse::<u16>().is_ok();
    let is_done = match language {
        Language::Rust => matches!(value, "Ok(())" | "Ok(true)" | "Some(true)"),
        // The error is the last of the results.
        Language::Go => {
            let last = returned.unwrap_or_default().trim_end_matches(')');
            let fails = last.split([',', ' ', '(']).next_back() == Some("error");
            fails && (value == "nil" || value.ends_with(", nil"))
        }
        _ => false,
    };
    let first = bare.split(',').next().unwrap_or_default();
    is_word || is_status || is_done || first == "true" || first == "(true"
}

/// Whether the name of a function says that it decides about permission or proof: by a verb of
/// permission, or by what proves it together with a verb of judging (`parse_token` only reads).
pub(crate) fn speaks_of_permission(name: &str) -> bool {
    let name = words_of(name).join("_");
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    let decides = [
        "allow",
        "permit",
        "permission",
        "authori",
        "authen",
        "grant",
        "verif",
        "genuine",
        "trusted",
        "privilege",
        "forbid",
        "entitle",
    ];
    let proofs = [
        "access",
        "login",
        "admin",
        "role",
        "scope",
        "credential",
        "password",
        "token",
        "signature",
        "secret",
        "owner",
        "certificate",
    ];
    let judges = [
        "check", "valid", "match", "compare", "ensure", "require", "guard",
    ];
    let asks = ["is", "has", "may", "can"];
    has(&decides)
        || begins(&["may_", "can_", "auth_"])
        || name == "auth"
        || has(&proofs) && (has(&judges) || begins(&asks))
}

/// Whether a text has a word for what is refused or went wrong, such as `is_revoked`, `Denied`,
/// `on_error`.
pub(crate) fn speaks_of_refusal(text: &str) -> bool {
    let words = words_of(text);
    let whole = [
        "bad",
        "wrong",
        "illegal",
        "err",
        "errs",
        "error",
        "errors",
        "errorf",
        "blocked",
        "banned",
        "deny",
        "denied",
        "denies",
        "forged",
        "warn",
        "warning",
        "bail",
        "abort",
        "missing",
        "stale",
        "untrusted",
    ];
    let begins = [
        "invalid",
        "revok",
        "expir",
        "forbid",
        "blacklist",
        "reject",
        "refus",
        "malform",
        "corrupt",
        "tamper",
        "mismatch",
        "fail",
        "disallow",
        "unauth",
        "suspicious",
        "malicious",
        "violat",
    ];
    words.iter().any(|word| {
        whole.contains(&word.as_str()) || begins.iter().any(|part| word.starts_with(part))
    })
}

/// The words of a text, in small letters: of `is_revoked`, `isRevoked` and `HTTPError` two each.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let letters: Vec<char> = text.chars().collect();
    for (idx, &c) in letters.iter().enumerate() {
        if !c.is_alphabetic() {
            continue;
        }
        let before = idx.checked_sub(1).and_then(|before| letters.get(before));
        let before = before.filter(|before| before.is_alphabetic());
        let after = letters.get(idx + 1);
        // At the hump of `isRevoked`, and at that of `HTTPError`.
        let is_hump = c.is_uppercase()
            && (before.is_some_and(|it| !it.is_uppercase())
                || after.is_some_and(|it| it.is_lowercase()));
        if before.is_none() || is_hump {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words
}

/// Whether a value is what a function of permissions may answer where it does not know: no.
pub(crate) fn denies(language: Language, value: &str) -> bool {
    let value = value.trim();
    let bare = value.trim_matches(['"', '\'']).to_ascii_lowercase();
    let is_word = [
        "false",
        "none",
        "null",
        "denied",
        "deny",
        "forbidden",
        "unauthorized",
    ]
    .contains(&bare.as_str());
    let is_status = matches!(bare.as_str(), "401" | "403");
    match language {
        Language::Rust => value.starts_with("Err(") || is_word || is_status,
        Language::Go => {
            let first = bare.split(',').next().unwrap_or_default();
            is_word || is_status || first == "false" || bare.contains("err")
        }
        _ => is_word || is_status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_ask_for_failure_are_known() {
        for text in [
            "not x",
            "x is None",
            "(!x)",
            "err != nil",
            "v.is_empty()",
            "len(x) == 0",
        ] {
            assert!(tests_failure(text), "{text}");
        }
        for text in ["x", "x > 3", "user.is_admin", "x is not None"] {
            assert!(!tests_failure(text), "{text}");
        }
    }

    #[test]
    fn functions_that_decide_are_told_from_those_that_read() {
        for name in [
            "is_allowed",
            "authorize",
            "may_edit",
            "mayEdit",
            "CanDelete",
            "check_token",
            "hasRole",
            "verifySignature",
        ] {
            assert!(speaks_of_permission(name), "{name}");
        }
        for name in [
            "parse_signature",
            "load_tokens",
            "price",
            "canvas",
            "mayor",
            "check_stock",
            "is_empty",
            "role_names",
        ] {
            assert!(!speaks_of_permission(name), "{name}");
        }
    }

    #[test]
    fn words_for_refusal_are_found_in_names() {
        for text in [
            "is_revoked",
            "isRevoked",
            "Status::DENIED",
            "'invalid'",
            "on_err",
            "HTTPError",
        ] {
            assert!(speaks_of_refusal(text), "{text}");
        }
        for text in [
            "badge", "terror", "block", "is_known", "ferry", "valid", "Ok(3)",
        ] {
            assert!(!speaks_of_refusal(text), "{text}");
        }
    }

    #[test]
    fn success_is_told_from_failure_by_value() {
        for value in [
            "True",
            "\"ok\"",
            "200",
            "Access.ALLOWED",
            "'granted'",
            "True, None",
        ] {
            assert!(means_success(Language::Python, value, None), "{value}");
        }
        for value in ["False", "None", "0", "404", "-1", "\"\"", "2"] {
            assert!(!means_success(Language::Python, value, None), "{value}");
        }
        assert!(means_success(Language::Rust, "Ok(())", None));
        assert!(!means_success(Language::Rust, "Ok(0)", None));
        assert!(means_success(Language::Go, "nil", Some("error")));
        assert!(means_success(Language::Go, "0, nil", Some("(int, error)")));
        assert!(!means_success(Language::Go, "nil", Some("*User")));
    }
}
