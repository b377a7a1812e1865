//! What the names of a file stand for: imports, renamings and plain assignments.

use std::collections::{HashMap, HashSet};

use super::token::{FlatTree, Kind, Token};
use crate::Language;

/// One imported thing.
#[derive(Debug)]
pub(super) struct Import {
    /// In full: `os.system`, `os/exec`, `std.process.Command`. Of JavaScript with a leading `@`.
    pub(super) path: String,
    /// All names of `path` are taken in.
    pub(super) is_glob: bool,
    pub(super) line: usize,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    aliases: HashMap<String, String>,
    pub(super) imports: Vec<Import>,
    /// Functions and types the file defines for all of its code: not methods, not what is local.
    pub(super) defined: HashSet<String>,
}

impl Names {
    pub(super) fn of(tree: &FlatTree<'_>) -> Self {
        let mut names = Self::default();
        for node in &tree.nodes {
            let tokens = tree.tokens_of(node);
            match node.kind {
                "import_statement" if tree.language == Language::Python => {
                    names.python(tokens, node.line);
                }
                "import_statement" => names.javascript(tokens, node.line),
                "export_statement" if tokens.iter().any(|t| t.is("from")) => {
                    if let Some(module) = tokens.iter().rev().find_map(Token::value) {
                        names.glob(module_path(module), node.line);
                    }
                }
                "import_from_statement" => names.python_from(tokens, node.line),
                "import_spec" => names.go(tokens, node.line),
                "import_declaration" if tree.language == Language::Java => {
                    names.java(tokens, node.line);
                }
                "use_declaration" | "extern_crate_declaration" => names.rust(tokens, node.line),
                "assignment"
                | "variable_declarator"
                | "let_declaration"
                | "short_var_declaration"
                | "named_expression"
                | "assignment_expression" => {
                    names.assignment(tree, node.tokens);
                }
                _ => {}
            }
        }
        for (idx, pair) in tree.tokens.windows(2).enumerate() {
            let defines = ["def", "class", "fn", "func", "function", "struct", "enum"];
            if defines.iter().any(|word| pair[0].is(word))
                && pair[1].is_word()
                && (tree.language == Language::Java || tree.is_outermost(idx))
            {
                names.defined.insert(pair[1].text.to_owned());
            }
        }
        names
    }

    /// A dotted path with its first name replaced by what it stands for.
    pub(super) fn resolved(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for _ in 0..4 {
            let (head, rest) = path
                .split_once('.')
                .map_or((path.as_str(), None), |(h, r)| (h, Some(r)));
            match self.aliases.get(head) {
                Some(full) if full.as_str() != head => {
                    let grown = rest.map_or_else(|| full.clone(), |rest| format!("{full}.{rest}"));
                    let is_same = grown == path || full.starts_with(&format!("{head}."));
                    path = grown;
                    if is_same {
                        break;
                    }
                }
                _ => break,
            }
        }
        path
    }

    /// The name was imported, or stands for something else.
    pub(super) fn is_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }

    /// The name stands for an imported module.
    pub(super) fn is_module(&self, name: &str) -> bool {
        let Some(full) = self.aliases.get(name) else {
            return false;
        };
        self.imports
            .iter()
            .any(|import| import.path == *full || import.path.starts_with(&format!("{full}.")))
    }

    fn import(&mut self, alias: &str, path: String, line: usize) {
        self.aliases.insert(alias.to_owned(), path.clone());
        let is_glob = false;
        self.imports.push(Import {
            path,
            is_glob,
            line,
        });
    }

    fn glob(&mut self, path: String, line: usize) {
        let is_glob = true;
        self.imports.push(Import {
            path,
            is_glob,
            line,
        });
    }

    /// `import a.b as c, d`
    fn python(&mut self, tokens: &[Token<'_>], line: usize) {
        for part in tokens.get(1..).unwrap_or_default().split(|t| t.is(",")) {
            let (path, alias) = renamed(part);
            let path = dotted(path);
            if let Some(alias) = alias {
                self.import(alias, path, line);
            } else {
                let head = path.split('.').next().unwrap_or_default().to_owned();
                self.aliases.insert(head.clone(), head);
                let is_glob = false;
                self.imports.push(Import {
                    path,
                    is_glob,
                    line,
                });
            }
        }
    }

    /// `from a.b import (c as d, e)`
    fn python_from(&mut self, tokens: &[Token<'_>], line: usize) {
        let Some(at) = tokens.iter().position(|t| t.is("import")) else {
            return;
        };
        let module = dotted(&tokens[1.min(at)..at]);
        for part in tokens[at + 1..].split(|t| t.is(",")) {
            let part: Vec<_> = part
                .iter()
                .filter(|t| !t.is("(") && !t.is(")"))
                .cloned()
                .collect();
            let (path, alias) = renamed(&part);
            let name = dotted(path);
            if name == "*" {
                self.glob(module.clone(), line);
            } else if !name.is_empty() {
                let alias = alias.unwrap_or(&name).to_owned();
                self.import(&alias, format!("{module}.{name}"), line);
            }
        }
    }

    /// `import a, {b as c}, * as d from "m"`
    fn javascript(&mut self, tokens: &[Token<'_>], line: usize) {
        let Some(module) = tokens.iter().rev().find_map(Token::value) else {
            return;
        };
        let module = module_path(module);
        let end = tokens.iter().position(|t| t.is("from")).unwrap_or(1).max(1);
        let is_mark = |t: &Token<'_>| t.is(",") || t.is("{") || t.is("}");
        let mut in_braces = false;
        let mut named = false;
        let mut part = Vec::new();
        for token in tokens[1..end].iter().chain(std::iter::once(&tokens[0])) {
            if !is_mark(token) && !token.is("import") {
                part.push(token.clone());
                continue;
            }
            let (path, alias) = renamed(&part);
            let name = dotted(path);
            if !name.is_empty() {
                named = true;
                let alias = alias.unwrap_or(&name).to_owned();
                let is_all = !in_braces || name == "*" || name == "default";
                let path = if is_all {
                    module.clone()
                } else {
                    format!("{module}.{name}")
                };
                self.import(&alias, path, line);
            }
            in_braces = token.is("{") || in_braces && !token.is("}");
            part.clear();
        }
        if !named {
            self.glob(module, line);
        }
    }

    /// `x "os/exec"`
    fn go(&mut self, tokens: &[Token<'_>], line: usize) {
        let Some(path) = tokens.iter().find_map(Token::value) else {
            return;
        };
        let mut parts = path
            .rsplit('/')
            .filter(|p| !(p.starts_with('v') && p[1..].parse::<u8>().is_ok()));
        let last = parts.next().unwrap_or(path);
        match tokens.first() {
            Some(first) if first.is(".") => self.glob(path.to_owned(), line),
            Some(first) if first.is_word() => self.import(first.text, path.to_owned(), line),
            _ => self.import(last, path.to_owned(), line),
        }
    }

    /// `import static a.b.C.*;`
    fn java(&mut self, tokens: &[Token<'_>], line: usize) {
        let skip = 1 + usize::from(tokens.get(1).is_some_and(|t| t.is("static")));
        let path = dotted(tokens.get(skip..).unwrap_or_default());
        if let Some(package) = path.strip_suffix(".*") {
            self.glob(package.to_owned(), line);
        } else if let Some(name) = path.rsplit('.').next() {
            let name = name.to_owned();
            self.import(&name, path, line);
        }
    }

    /// `use a::b::{c as d, self, e::*};`
    fn rust(&mut self, tokens: &[Token<'_>], line: usize) {
        // `pub(crate) use a` and `extern crate a`
        let starts = |word: &str| tokens.iter().position(|t| t.is(word));
        let start = starts("use")
            .or_else(|| starts("crate"))
            .map_or(0, |at| at + 1);
        let mut prefixes: Vec<String> = vec![String::new()];
        let mut path = String::new();
        let mut alias: Option<String> = None;
        let mut renames = false;
        for token in &tokens[start.min(tokens.len())..] {
            match token.text {
                "{" => {
                    prefixes.push(std::mem::take(&mut path));
                    path.clone_from(prefixes.last().unwrap_or(&String::new()));
                }
                "," | "}" | ";" => {
                    self.rust_leaf(
                        &path,
                        alias.take(),
                        prefixes.last().map_or("", String::as_str),
                        line,
                    );
                    renames = false;
                    if token.is("}") && prefixes.len() > 1 {
                        prefixes.pop();
                        path.clear();
                    } else {
                        path.clone_from(prefixes.last().unwrap_or(&String::new()));
                    }
                }
                "::" if !path.is_empty() => path.push('.'),
                "as" => renames = true,
                _ if renames => alias = Some(token.text.to_owned()),
                _ if token.is_word() || token.is("*") => path.push_str(token.text),
                _ => {}
            }
        }
    }

    fn rust_leaf(&mut self, path: &str, alias: Option<String>, prefix: &str, line: usize) {
        if path.is_empty() || path == prefix {
            return;
        }
        let path = path.strip_suffix(".self").unwrap_or(path);
        if let Some(module) = path.strip_suffix(".*") {
            return self.glob(module.to_owned(), line);
        }
        let name = path.rsplit('.').next().unwrap_or(path);
        let alias = alias.unwrap_or_else(|| name.to_owned());
        self.import(&alias, path.to_owned(), line);
    }

    /// `x = a.b`, `const {a: b} = require("m")`, `let f = a::b;`
    fn assignment(&mut self, tree: &FlatTree<'_>, (start, end): (usize, usize)) {
        // A plain path is short, and assignments may be nested deeply.
        let end = end.min(start + 64);
        let tokens = &tree.tokens[start..end];
        let is_sign = |t: &Token<'_>| t.is("=") || t.is(":=");
        let Some(sign) = tokens.iter().position(is_sign) else {
            return;
        };
        let (left, right) = (&tokens[..sign], &tokens[sign + 1..]);
        let is_keyword = |t: &Token<'_>| t.is("let") || t.is("mut") || t.is("const") || t.is("var");
        let left = &left[left.iter().take_while(|t| is_keyword(t)).count()..];
        let right = right.split(|t| t.is(";")).next().unwrap_or_default();
        if let Some((module, n)) = required_module(tree, start + sign + 1) {
            let rest = &tree.tokens[n..end.max(n)];
            let suffix = dotted(rest);
            let module = if suffix.is_empty() {
                module
            } else {
                format!("{module}{suffix}")
            };
            return self.destructured(left, &module);
        }
        let is_path = !right.is_empty()
            && right.len() < 16
            && right.iter().all(|t| t.is_word() || t.is(".") || t.is("::"))
            && right.first().is_some_and(Token::is_word)
            && (right.len() == 1 || right.iter().any(|t| t.kind == Kind::Punctuation));
        let target = left
            .first()
            .filter(|t| t.is_word() && (left.len() == 1 || left[1].is(":")));
        if is_path && let Some(target) = target {
            let path = dotted(right);
            if !self.aliases.contains_key(target.text) && path != target.text {
                self.aliases.insert(target.text.to_owned(), path);
            }
        } else if is_path && left.first().is_some_and(|t| t.is("{")) {
            let module = dotted(right);
            self.destructured(left, &module);
        }
    }

    fn destructured(&mut self, left: &[Token<'_>], module: &str) {
        if let [name] = left {
            self.aliases.insert(name.text.to_owned(), module.to_owned());
            return;
        }
        let inside = left
            .iter()
            .filter(|t| !t.is("{") && !t.is("}"))
            .cloned()
            .collect::<Vec<_>>();
        for part in inside.split(|t| t.is(",")) {
            if let (Some(name), Some(alias)) = (part.first(), part.last()) {
                let path = format!("{module}.{}", name.text);
                self.aliases.insert(alias.text.to_owned(), path);
            }
        }
    }
}

/// The module of a `require("m")` or `await import("m")` that begins at token `at`, and where it
/// ends.
pub(super) fn required_module(tree: &FlatTree<'_>, at: usize) -> Option<(String, usize)> {
    let mut at = at;
    while tree
        .tokens
        .get(at)
        .is_some_and(|t| t.is("await") || t.is("("))
    {
        at += 1;
    }
    let loads = tree
        .tokens
        .get(at)
        .is_some_and(|t| t.is("require") || t.is("import"));
    if !loads || !tree.tokens.get(at + 1)?.is("(") {
        return None;
    }
    let (module, end) = tree.folded(at + 2)?;
    tree.tokens
        .get(end)?
        .is(")")
        .then(|| (module_path(&module), end + 1))
}

pub(super) fn module_path(module: &str) -> String {
    let module = module.strip_prefix("node:").unwrap_or(module);
    format!("@{}", module.strip_suffix("/promises").unwrap_or(module))
}

/// `a.b as c` in two.
fn renamed<'a, 't>(tokens: &'a [Token<'t>]) -> (&'a [Token<'t>], Option<&'t str>) {
    match tokens.iter().position(|t| t.is("as")) {
        Some(at) => (&tokens[..at], tokens.get(at + 1).map(|t| t.text)),
        None => (tokens, None),
    }
}

fn dotted(tokens: &[Token<'_>]) -> String {
    let kept = tokens
        .iter()
        .filter(|t| t.is_word() || t.is("*") || t.is(".") || t.is("::"));
    kept.map(|t| if t.is("::") { "." } else { t.text })
        .collect()
}
