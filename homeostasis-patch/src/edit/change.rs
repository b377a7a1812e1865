//! What an edit would change, in words, and whether it would change anything.

use super::config_edit::parse;
use super::datum::Datum;
use super::tree::locate;
use super::{ConfigEdit, EditError, EditOp, Format};

/// Longest value quoted in a sentence, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// An edit that was made and changes the data.
#[derive(Debug)]
pub(crate) struct Change {
    /// The edited text.
    pub(crate) text: String,
    /// The change with the old and the new value.
    pub(crate) sentence: String,
}

impl ConfigEdit {
    /// The edited text and a sentence on it; `None` if the document says already what the edit
    /// asks for, even if it was made for another old value.
    ///
    /// # Errors
    /// Those of [`ConfigEdit::apply`].
    pub(crate) fn change(&self, source: &str, format: Format) -> Result<Option<Change>, EditError> {
        let root = parse(source, format)?;
        root.datum()?;
        let removes = self.op == EditOp::Remove;
        let place = match locate(&root, &self.path) {
            Err(EditError::NotFound { .. }) if removes => return Ok(None),
            place => place?,
        };
        let node = place.node();
        let is_done = match (&self.op, node) {
            (EditOp::Set(new) | EditOp::Insert(new), Some(node)) => {
                Datum::from_json(new) == Some(node.datum()?)
            }
            (EditOp::Remove, None) => !place.parent.merges(),
            _ => false,
        };
        if is_done {
            return Ok(None);
        }
        let old = node.map_or_else(String::new, |node| excerpt(&source[node.span.clone()]));
        let text = self.apply(source, format)?;
        let path = &self.path;
        let sentence = match &self.op {
            EditOp::Set(new) => format!("set {path} from {old} to {}", excerpt(&new.to_string())),
            EditOp::Insert(new) => format!("insert {path} = {}", excerpt(&new.to_string())),
            EditOp::Remove => format!("remove {path}, which is {old}"),
        };
        Ok(Some(Change { text, sentence }))
    }
}

/// `text` on one line, cut to [`MAX_VALUE_CHARS`]; nothing at all is `null`.
fn excerpt(text: &str) -> String {
    if text.is_empty() {
        return "null".to_owned();
    }
    let mut line = String::new();
    for (n_chars, c) in text.chars().enumerate() {
        if n_chars == MAX_VALUE_CHARS {
            line.push('…');
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "a = 500 # why\nhosts = [\"x\"]\n[b]\nkey = \"v\"\n";

    fn sentence(edit: &ConfigEdit) -> Option<String> {
        let change = edit.change(SOURCE, Format::Toml).unwrap()?;
        assert_ne!(change.text, SOURCE);
        Some(change.sentence)
    }

    #[test]
    fn sentence_names_the_old_and_the_new_value() {
        let path = |text: &str| text.parse().unwrap();
        let cases = [
            (ConfigEdit::set(path("a"), 1000), "set a from 500 to 1000"),
            (ConfigEdit::insert(path("b.n"), 1), "insert b.n = 1"),
            (
                ConfigEdit::remove(path("b.key")),
                "remove b.key, which is \"v\"",
            ),
        ];
        for (edit, expected) in cases {
            assert_eq!(sentence(&edit).as_deref(), Some(expected));
        }
    }

    #[test]
    fn edit_that_is_made_already_changes_nothing_whatever_it_expects() {
        let path = |text: &str| text.parse().unwrap();
        for edit in [
            ConfigEdit::set(path("a"), 500).expecting(100),
            ConfigEdit::insert(path("b.key"), "v"),
            ConfigEdit::insert(path("hosts[0]"), "x"),
            ConfigEdit::remove(path("b.gone")),
            ConfigEdit::remove(path("c.gone")),
        ] {
            assert_eq!(sentence(&edit), None, "{edit}");
        }
    }

    #[test]
    fn long_value_is_cut_and_stays_on_one_line() {
        let long = excerpt(&format!("a\n{}", "é".repeat(100)));
        assert!(long.starts_with("a\\né") && long.ends_with('…'), "{long}");
        assert_eq!(long.chars().count(), 82);
    }
}
