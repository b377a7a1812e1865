//! Cases of changes as text: see the first lines of `harmless.txt`.

#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) reason: Option<String>,
    pub(crate) old: String,
    pub(crate) new: String,
    /// A whole diff instead of two texts.
    pub(crate) diff: Option<String>,
}

pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("## ") {
            let (name, rest) = head.split_once(" | ").expect("`## name | path`");
            let (path, reason) = match rest.split_once(" => ") {
                Some((path, reason)) => (path, Some(reason.to_owned())),
                None => (rest, None),
            };
            let (name, path) = (name.to_owned(), path.to_owned());
            cases.push(Case {
                name,
                path,
                reason,
                ..Case::default()
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        let mut chars = line.chars();
        let sign = chars.next();
        let line = format!("{}\n", written(chars.as_str()));
        match sign {
            Some(' ') => {
                case.old.push_str(&line);
                case.new.push_str(&line);
            }
            Some('-') => case.old.push_str(&line),
            Some('+') => case.new.push_str(&line),
            Some('|') => case.diff.get_or_insert_default().push_str(&line),
            _ => {}
        }
    }
    cases
}

/// `{u+200b}` as that character, `{~}` as nothing.
fn written(line: &str) -> String {
    let line = line.replace("{~}", "");
    let mut text = String::new();
    let mut rest = line.as_str();
    while let Some(at) = rest.find("{u+") {
        text.push_str(&rest[..at]);
        let end = at + rest[at..].find('}').expect("a closing brace");
        let code = u32::from_str_radix(&rest[at + 3..end], 16).expect("a code point");
        text.push(char::from_u32(code).expect("a character"));
        rest = &rest[end + 1..];
    }
    text + rest
}
