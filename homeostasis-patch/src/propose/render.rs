//! Text with metavariables filled in.

use std::collections::BTreeMap;

/// What stands for a metavariable.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Binding {
    pub(crate) text: String,
    /// Binds less tightly than a call of it.
    pub(crate) is_compound: bool,
    /// Calls something.
    pub(crate) calls: bool,
    /// Not proven to be the same, and without effects, when it is evaluated again.
    pub(crate) is_once: bool,
}

impl Binding {
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

pub(crate) type Bindings = BTreeMap<String, Binding>;

/// The statement around the match, as it stands.
pub(crate) const STATEMENT: &str = "STATEMENT";

/// A statement that leaves the place.
pub(crate) const EXIT: &str = "EXIT";

/// A statement that says in the program's log that it is left so.
pub(crate) const REPORT: &str = "REPORT";

/// The metavariables of a text, in order.
pub(crate) fn variables(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let name = name_at(&rest[at + 1..]);
        if !name.is_empty() {
            found.push(name);
        }
        rest = &rest[at + 1..];
    }
    found
}

/// Fills in what is bound; in code (`is_code`) with parentheses where the context would tear a
/// compound expression apart. A metavariable that is not bound stays.
pub(crate) fn fill(text: &str, bindings: &Bindings, is_code: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let name = name_at(&rest[at + 1..]);
        let after = &rest[at + 1 + name.len()..];
        match bindings.get(name) {
            Some(bound) if is_code && bound.is_compound && is_torn(&out, after) => {
                out.push('(');
                out.push_str(&bound.text);
                out.push(')');
            }
            Some(bound) => out.push_str(&bound.text),
            None => {
                out.push('$');
                out.push_str(name);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether what stands before and after would bind more tightly than a compound expression.
fn is_torn(before: &str, after: &str) -> bool {
    let opens = |c: char| matches!(c, '(' | '[' | ',' | '{' | '\n' | ':');
    let closes = |c: char| matches!(c, ')' | ']' | ',' | ';' | '}' | '\n' | ':');
    let before = before.trim_end_matches(' ');
    let is_assigned = before.ends_with('=')
        && !before.ends_with("==")
        && !before.ends_with("!=")
        && !before.ends_with("<=")
        && !before.ends_with(">=");
    let is_free = before.is_empty() || before.ends_with(opens) || is_assigned;
    let after = after.trim_start_matches(' ');
    !(is_free && (after.is_empty() || after.starts_with(closes)))
}

fn name_at(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

/// A fix of statements laid out at `indent`, its steps of four spaces becoming `unit`; in front of a
/// line that is `$EXIT` stands `$REPORT`, if that is bound. `None` if
/// the statement would move and holds a string over several lines, which would change.
pub(crate) fn lay_out(
    fix: &str,
    bindings: &Bindings,
    indent: &str,
    unit: &str,
    has_long_string: bool,
) -> Option<String> {
    let mut lines = Vec::new();
    for (idx, line) in fix.trim_end().lines().enumerate() {
        let body = line.trim_start_matches(' ');
        let n_steps = (line.len() - body.len()) / 4;
        let inner = unit.repeat(n_steps);
        let first = if idx == 0 { "" } else { indent };
        if body.trim_end() == format!("${STATEMENT}") {
            let statement = &bindings.get(STATEMENT)?.text;
            if n_steps > 0 && has_long_string {
                return None;
            }
            for (n, part) in statement.lines().enumerate() {
                let at_line = if n == 0 { first } else { "" };
                // Later lines bring the indentation of the file with them.
                let part = if part.trim().is_empty() {
                    String::new()
                } else {
                    format!("{at_line}{inner}{part}")
                };
                lines.push(part);
            }
            continue;
        }
        let mut first = first;
        if body.trim_end() == format!("${EXIT}")
            && let Some(report) = bindings.get(REPORT)
        {
            lines.push(format!("{first}{inner}{}", report.text));
            first = indent;
        }
        lines.push(format!("{first}{inner}{}", fill(body, bindings, true)));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(pairs: &[(&str, &str, bool)]) -> Bindings {
        pairs
            .iter()
            .map(|&(name, text, is_compound)| {
                let binding = Binding {
                    is_compound,
                    ..Binding::of(text)
                };
                (name.to_owned(), binding)
            })
            .collect()
    }

    #[test]
    fn compound_expressions_get_parentheses_where_they_would_be_torn() {
        let bound = bindings(&[("A", "x + 1", true), ("B", "y", false)]);
        let filled = |text| fill(text, &bound, true);
        assert_eq!(filled("$A.f($A, $B)"), "(x + 1).f(x + 1, y)");
        assert_eq!(filled("if $A == 0:"), "if (x + 1) == 0:");
        assert_eq!(filled("v = $A"), "v = x + 1");
        assert_eq!(filled("$C costs $5"), "$C costs $5");
        assert_eq!(fill("$A.f", &bound, false), "x + 1.f");
        assert_eq!(variables("if $A < $B_2: $"), ["A", "B_2"]);
    }

    #[test]
    fn a_statement_is_laid_out_as_the_file_is_and_no_long_string_moves() {
        let bound = bindings(&[(STATEMENT, "f(\n\t\t1)", false), ("A", "a", false)]);
        let fix = "if $A:\n    $STATEMENT\n";
        let out = lay_out(fix, &bound, "\t", "\t", false);
        assert_eq!(out.as_deref(), Some("if a:\n\t\tf(\n\t\t\t1)"));
        assert_eq!(lay_out(fix, &bound, "", "    ", true), None);
        let guard = lay_out("if $A:\n    pass\n$STATEMENT", &bound, "", "    ", true);
        assert_eq!(guard.as_deref(), Some("if a:\n    pass\nf(\n\t\t1)"));
    }
}
