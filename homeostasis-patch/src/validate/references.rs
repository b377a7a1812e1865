//! Every mention of a dangerous name, however it is reached.

use super::RefusalReason::{
    self, ConfusableCharacter, Environment, Evaluation, ForeignCode, HiddenCharacter, Process,
    Reflection, UnsafeCode, UnverifiedTls,
};
use super::characters::has_styled_letters;
use super::danger::{judged, judged_glob, judged_within};
use super::fact::{Fact, Sense};
use super::names::{Names, required_module};
use super::token::{FlatTree, Kind, Token, joined};
use super::validation::Flag;
use crate::Language;

/// A name and what hangs on it: `a.b["c"]` is `a.b.c`.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) path: String,
    /// Its first token, and the one after its last.
    pub(super) tokens: (usize, usize),
    pub(super) line: usize,
}

/// All references, in order, as they are written.
pub(super) fn references(tree: &FlatTree<'_>) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tree.tokens.len() {
        let (reference, next) = reference_at(tree, at);
        found.extend(reference);
        at = next.max(at + 1);
    }
    found
}

fn is_link(token: &Token<'_>) -> bool {
    token.is(".") || token.is("?.") || token.is("::")
}

/// The chain that begins at `at`: a name, or what follows a call or a literal.
fn reference_at(tree: &FlatTree<'_>, at: usize) -> (Option<Reference>, usize) {
    let tokens = &tree.tokens;
    let first = &tokens[at];
    let mut path = match first.kind {
        Kind::Word => first.text.to_owned(),
        Kind::Punctuation if first.text == ")" => parenthesized(tree, at).to_owned(),
        Kind::Punctuation if first.text == "]" => "()".to_owned(),
        Kind::Text(_) | Kind::Template => "()".to_owned(),
        _ => return (None, at + 1),
    };
    let mut end = at + 1;
    while let Some(next) = tokens.get(end) {
        if is_link(next) && tokens.get(end + 1).is_some_and(Token::is_word) {
            path.push('.');
            path.push_str(tokens[end + 1].text);
            end += 2;
        } else if let Some((name, closed)) = computed_member(tree, end) {
            path.push('.');
            path.push_str(&name);
            end = closed + 1;
        } else {
            break;
        }
    }
    if !path.contains('.') && !first.is_word() {
        return (None, at + 1);
    }
    let reference = Reference {
        path,
        tokens: (at, end),
        line: first.line,
    };
    (Some(reference), end)
}

/// The name in `(name)` or `(name as T)` that ends at `at`; `()` stands for anything else.
fn parenthesized<'t>(tree: &FlatTree<'t>, at: usize) -> &'t str {
    let tokens = &tree.tokens;
    let start = at.saturating_sub(6);
    let Some(open) = (start..at).rev().find(|idx| tokens[*idx].is("(")) else {
        return "()";
    };
    let is_call = open > 0
        && (tokens[open - 1].is_word() || tokens[open - 1].is(")") || tokens[open - 1].is("]"))
        && ![
            "return", "await", "in", "not", "and", "or", "yield", "else", "typeof",
        ]
        .iter()
        .any(|word| tokens[open - 1].is(word));
    let is_name = open + 1 < at && tokens[open + 1..at].iter().all(Token::is_word);
    let is_cast = at - open == 2 || at - open > 2 && tokens[open + 2].is("as");
    if !is_call && is_name && is_cast {
        tokens[open + 1].text
    } else {
        "()"
    }
}

/// `["name"]` or `?.["name"]` at `at`: the name, and its closing bracket.
fn computed_member(tree: &FlatTree<'_>, at: usize) -> Option<(String, usize)> {
    if !is_script(tree.language) && tree.language != Language::Python {
        return None;
    }
    let open = at + usize::from(tree.tokens.get(at)?.is("?."));
    if !tree.tokens.get(open)?.is("[") {
        return None;
    }
    let (name, end) = tree.folded(open + 1)?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    (is_name && tree.tokens.get(end)?.is("]")).then_some((name, end))
}

pub(super) fn is_script(language: Language) -> bool {
    matches!(
        language,
        Language::JavaScript | Language::TypeScript | Language::Tsx
    )
}

/// Facts about dangerous names. `defined` holds the functions and types of the text before.
pub(super) fn facts(
    tree: &FlatTree<'_>,
    names: &Names,
    references: &[Reference],
    before: &Names,
) -> Vec<Fact> {
    let mut finder = Finder {
        tree,
        names,
        before,
        facts: Vec::new(),
    };
    for import in &names.imports {
        let judge = if import.is_glob { judged_glob } else { judged };
        let within = || judged_within(tree.language, &import.path, true);
        if let Some(reason) = judge(tree.language, &import.path).or_else(within) {
            finder.add(
                reason,
                format!("import {}", import.path),
                import.line,
                &import.path,
            );
        }
    }
    for reference in references {
        finder.reference(reference);
    }
    finder.words();
    finder.directives();
    finder.built_paths();
    finder.addresses();
    finder.facts
}

struct Finder<'a, 't> {
    tree: &'a FlatTree<'t>,
    names: &'a Names,
    before: &'a Names,
    facts: Vec<Fact>,
}

impl Finder<'_, '_> {
    fn add(&mut self, reason: RefusalReason, key: String, line: usize, text: &str) {
        self.facts
            .push(Fact::new(Sense::Forbidden(reason), key, line, text));
    }

    fn reference(&mut self, reference: &Reference) {
        let tokens = &self.tree.tokens;
        let (start, end) = reference.tokens;
        let head = reference.path.split('.').next().unwrap_or_default();
        let before = start.checked_sub(1).map(|idx| &tokens[idx]);
        let is_plain = !reference.path.contains('.');
        if is_plain && self.is_only_a_name(start, end, before) {
            return;
        }
        let is_own = self.before.defined.contains(head) && self.names.defined.contains(head);
        let is_own = is_own && !self.names.is_alias(head);
        if is_own && is_plain {
            return;
        }
        // Of what the file defines only the members are looked at.
        let path = match reference.path.split_once('.') {
            Some((_, members)) if is_own && !members.starts_with("class") => {
                format!("().{members}")
            }
            _ => self.names.resolved(&reference.path),
        };
        self.lookups(reference, &path);
        self.special(reference, &path);
        let is_module = self.names.is_alias(head);
        let Some(reason) = judged(self.tree.language, &path)
            .or_else(|| judged_within(self.tree.language, &path, is_module))
        else {
            return;
        };
        let (key, text) = self.call_key(reason, &path, reference);
        self.add(reason, key, reference.line, &text);
    }

    /// A definition, a keyword argument, a key: the name is not used.
    fn is_only_a_name(&self, start: usize, end: usize, before: Option<&Token<'_>>) -> bool {
        let defines = [
            "def",
            "class",
            "fn",
            "func",
            "function",
            "struct",
            "interface",
            "import",
            "as",
        ];
        if before.is_some_and(|token| defines.iter().any(|word| token.is(word)) || is_link(token)) {
            // A link before a chain stands behind something that is not a name: judged there.
            return true;
        }
        let Some(next) = self.tree.tokens.get(end) else {
            return false;
        };
        let is_key = next.is(":") && before.is_some_and(|token| token.is("{") || token.is(","));
        let word = self.tree.tokens[start].text;
        let is_jsx = word == "dangerouslySetInnerHTML";
        (next.is("=") || is_key) && !is_jsx
    }

    /// Of calls that start or run something the first argument tells one from another.
    fn call_key(
        &self,
        reason: RefusalReason,
        path: &str,
        reference: &Reference,
    ) -> (String, String) {
        let end = reference.tokens.1;
        let is_call = self.tree.tokens.get(end).is_some_and(|t| t.is("("));
        if !is_call {
            return (path.to_owned(), reference.path.clone());
        }
        let argument = joined(self.tree.first_argument(end));
        let text = format!("{}({argument}", reference.path);
        match reason {
            Process | Evaluation | UnsafeCode | ForeignCode | RefusalReason::Destruction => {
                (format!("{path}({argument}"), text)
            }
            _ => (path.to_owned(), text),
        }
    }

    /// Names that are computed: `getattr(a, "b" + "c")`, `require(x)`, `x[y]` of the global object.
    #[expect(
        clippy::too_many_lines,
        reason = "one part for each way to look a name up"
    )]
    fn lookups(&mut self, reference: &Reference, path: &str) {
        let tree = self.tree;
        let (start, end) = reference.tokens;
        let is_call = tree.tokens.get(end).is_some_and(|t| t.is("("));
        if tree.language == Language::Python
            && is_call
            && matches!(
                path,
                "getattr" | "setattr" | "builtins.getattr" | "builtins.setattr" | "delattr"
            )
        {
            let object = tree.first_argument(end);
            let comma = end + 1 + object.len();
            let target: String = object.iter().map(|t| t.text).collect();
            let target = self.names.resolved(&target);
            let folded = tree.folded(comma + 1).filter(|(_, after)| {
                tree.tokens
                    .get(*after)
                    .is_some_and(|t| t.is(",") || t.is(")"))
            });
            if let Some((name, _)) = folded {
                let full = self.names.resolved(&format!("{target}.{name}"));
                if let Some(reason) = judged(tree.language, &full) {
                    self.add(reason, full.clone(), reference.line, &full);
                }
            } else {
                let name = tree.first_argument(comma);
                let is_simple = name.len() == 1;
                let is_module = self.names.is_alias(&target)
                    || target == "__builtins__"
                    || target == "builtins";
                let key = format!("{path}({target},{}", joined(name));
                if is_simple && !is_module {
                    self.facts.push(Fact::new(
                        Sense::Risky(Flag::DynamicName),
                        key.clone(),
                        reference.line,
                        &key,
                    ));
                } else {
                    self.add(Reflection, key.clone(), reference.line, &key);
                }
            }
        }
        let looks_up = matches!(
            path,
            "getattr" | "setattr" | "delattr" | "builtins.getattr" | "builtins.setattr"
        );
        if tree.language == Language::Python && looks_up && !is_call {
            self.add(Reflection, path.to_owned(), reference.line, path);
        }
        if tree.language == Language::Python
            && is_call
            && matches!(path, "vars" | "locals")
            && tree.first_argument(end).is_empty()
            && tree
                .tokens
                .get(tree.closing(end) + 1)
                .is_some_and(|t| t.is("[") || t.is("."))
        {
            self.add(Reflection, path.to_owned(), reference.line, path);
        }
        if tree.language == Language::Python && (path == "vars" || path.contains(".__dict__")) {
            let target = if path == "vars" {
                tree.first_argument(end).iter().map(|t| t.text).collect()
            } else {
                reference
                    .path
                    .split(".__dict__")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            if self.names.is_alias(&target) {
                self.add(
                    Reflection,
                    format!("{target}.__dict__"),
                    reference.line,
                    &reference.path,
                );
            }
        }
        if is_script(tree.language) && is_call && (path == "require" || path == "import") {
            if let Some((module, _)) = required_module(tree, start) {
                if let Some(reason) = judged(tree.language, &module) {
                    self.add(reason, format!("import {module}"), reference.line, &module);
                }
            } else {
                let key = format!("{path}({}", joined(tree.first_argument(end)));
                self.add(Reflection, key.clone(), reference.line, &key);
            }
        }
        let is_global = matches!(path, "globalThis" | "window" | "global" | "self");
        if is_script(tree.language) && is_global && tree.tokens.get(end).is_some_and(|t| t.is("["))
        {
            self.add(
                Reflection,
                format!("{path}["),
                reference.line,
                &format!("{path}[...]"),
            );
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one part for each construct of a language"
    )]
    fn special(&mut self, reference: &Reference, path: &str) {
        let tree = self.tree;
        let (start, end) = reference.tokens;
        let next = tree.tokens.get(end);
        let argument = match next {
            Some(token) if token.is("(") => tree.first_argument(end),
            _ => &[],
        };
        let line = reference.line;
        let last = path.rsplit('.').next().unwrap_or_default();
        let is_set = |at: usize| tree.tokens.get(at).is_some_and(|t| t.is("="));
        match tree.language {
            Language::Python => {
                let is_item = next.is_some_and(|t| t.is("[")) && is_set(tree.closing(end) + 1);
                let deletes = start > 0 && tree.tokens[start - 1].is("del");
                let is_member = path.starts_with("os.environ.") && is_set(end);
                if path == "os.environ" && (is_item || deletes) || is_member {
                    self.add(Environment, path.to_owned(), line, &reference.path);
                }
                let is_text = last == "format" || last == "format_map";
                if is_text && start > 0 && formats_attributes(&tree.tokens[start]) {
                    let text = joined(&tree.tokens[start..end]);
                    self.add(Reflection, "format".to_owned(), line, &text);
                }
                let head = reference.path.split('.').next().unwrap_or_default();
                let is_patched = reference.path.contains('.')
                    && is_set(end)
                    && self.names.is_module(head)
                    && PATCHED_MODULES
                        .split_ascii_whitespace()
                        .any(|module| path.split('.').next() == Some(module));
                if is_patched {
                    self.add(Reflection, format!("{path} ="), line, &reference.path);
                }
                let runs_query =
                    matches!(last, "execute" | "executemany" | "executescript" | "raw");
                if runs_query && is_put_together(argument) {
                    let text = format!("{last}({}", joined(argument));
                    self.add(Evaluation, text.clone(), line, &text);
                }
                if matches!(path, "operator.attrgetter" | "operator.methodcaller") {
                    let folded = tree.folded(end + 1);
                    let is_plain = argument.iter().filter(|t| t.value().is_some()).count() == 1;
                    let is_harmless = folded.is_some_and(|(name, _)| {
                        ["", "os.", "sys."].iter().all(|module| {
                            judged(tree.language, &format!("{module}{name}")).is_none()
                        })
                    });
                    if !(is_plain && is_harmless) {
                        let text = format!("{path}({}", joined(argument));
                        self.add(Reflection, text.clone(), line, &text);
                    }
                }
                if matches!(path, "__import__" | "importlib.import_module")
                    && let Some(reason) = argument
                        .first()
                        .and_then(Token::value)
                        .and_then(|m| judged(tree.language, m))
                {
                    self.add(reason, format!("import {path}"), line, &reference.path);
                }
            }
            Language::JavaScript | Language::TypeScript | Language::Tsx => {
                let is_timer = matches!(
                    last,
                    "setTimeout" | "setInterval" | "setImmediate" | "execScript"
                );
                if is_timer
                    && argument
                        .first()
                        .is_some_and(|t| matches!(t.kind, Kind::Text(_) | Kind::Template))
                {
                    self.add(Evaluation, joined(argument), line, &joined(argument));
                }
                if matches!(last, "innerHTML" | "outerHTML" | "srcdoc") && is_set(end) {
                    self.add(Evaluation, path.to_owned(), line, &reference.path);
                }
                if path.contains("NODE_TLS_REJECT_UNAUTHORIZED") {
                    self.add(UnverifiedTls, path.to_owned(), line, &reference.path);
                } else if path.starts_with("process.env.") && is_set(end) {
                    self.add(Environment, path.to_owned(), line, &reference.path);
                }
                let builtin = ["Object", "Array", "Function", "String", "Promise"];
                let prototype = path
                    .split_once(".prototype")
                    .is_some_and(|(owner, _)| builtin.contains(&owner));
                if prototype && is_set(end) || path == "__proto__" {
                    self.add(Reflection, path.to_owned(), line, &reference.path);
                }
                let loads = matches!(path, "module.require" | "require.main.require")
                    || last == "getBuiltinModule"
                    || last == "createRequire";
                if loads && let Some((module, _)) = tree.folded(end + 1) {
                    let module = super::names::module_path(&module);
                    let reason = judged(tree.language, &module).unwrap_or(Reflection);
                    self.add(reason, format!("import {module}"), line, &module);
                } else if loads {
                    self.add(Reflection, path.to_owned(), line, &reference.path);
                }
                let runs_query = matches!(last, "query" | "execute" | "raw" | "$queryRawUnsafe");
                if runs_query && is_put_together(argument) {
                    let text = format!("{last}({}", joined(argument));
                    self.add(Evaluation, text.clone(), line, &text);
                }
                // A computed `constructor` leads to the compiler.
                let is_own = path.starts_with("this.") || path.starts_with("super.");
                let is_called = next.is_some_and(|t| t.is("(")) && !is_own;
                if last == "constructor"
                    && (tree.tokens[end - 1].is("]") || is_called)
                    && path.contains('.')
                {
                    self.add(Evaluation, "constructor".to_owned(), line, &reference.path);
                }
            }
            Language::Java => {
                let of_class = ["class", "getClass"].iter().any(|word| {
                    tree.tokens[start.saturating_sub(3)..end]
                        .iter()
                        .any(|t| t.is(word))
                });
                let lists = matches!(
                    last,
                    "getMethods"
                        | "getConstructors"
                        | "getFields"
                        | "getConstructor"
                        | "getEnclosingMethod"
                );
                if lists && of_class {
                    self.add(Reflection, last.to_owned(), line, &reference.path);
                }
                let runs_query = matches!(last, "executeQuery" | "executeUpdate" | "execute");
                if runs_query && is_put_together(argument) {
                    let text = format!("{last}({}", joined(argument));
                    self.add(Evaluation, text.clone(), line, &text);
                }
                if matches!(
                    last,
                    "getMethod" | "getMethods" | "getField" | "getConstructor"
                ) && !argument.is_empty()
                {
                    self.add(
                        Reflection,
                        format!("{last}({}", joined(argument)),
                        line,
                        &reference.path,
                    );
                }
            }
            Language::Rust | Language::Go => {}
        }
    }

    /// Keywords, and names in a spelling that hides them.
    fn words(&mut self) {
        let tree = self.tree;
        for (idx, token) in tree.tokens.iter().enumerate().filter(|(_, t)| t.is_word()) {
            let next = tree.tokens.get(idx + 1);
            let follows =
                |texts: &[&str]| next.is_some_and(|t| texts.iter().any(|text| t.is(text)));
            if has_styled_letters(token.text) {
                self.add(
                    ConfusableCharacter,
                    token.text.to_owned(),
                    token.line,
                    token.text,
                );
            }
            if token.text.contains('\\') {
                self.add(
                    HiddenCharacter,
                    token.text.to_owned(),
                    token.line,
                    token.text,
                );
            }
            match (tree.language, token.text) {
                (Language::Rust, "extern") if !follows(&["crate"]) => {
                    self.add(ForeignCode, "extern".to_owned(), token.line, "extern");
                }
                (Language::Rust, "static") if follows(&["mut"]) => {
                    self.add(
                        UnsafeCode,
                        "static mut".to_owned(),
                        token.line,
                        "static mut",
                    );
                }
                (Language::Rust, "link") if idx >= 2 && tree.tokens[idx - 2].is("#") => {
                    self.add(ForeignCode, "#[link]".to_owned(), token.line, "#[link]");
                }
                (Language::Rust, "path") if idx >= 2 && tree.tokens[idx - 2].is("#") => {
                    self.add(ForeignCode, "#[path]".to_owned(), token.line, "#[path]");
                }
                (Language::Rust, "env" | "option_env" | "naked_asm" | "llvm_asm")
                    if follows(&["!"]) =>
                {
                    let text = format!("{}!", token.text);
                    self.add(ForeignCode, text.clone(), token.line, &text);
                }
                (
                    Language::Rust,
                    "used" | "ctor" | "dtor" | "global_allocator" | "panic_handler" | "feature",
                ) if idx >= 2 && (tree.tokens[idx - 2].is("#") || tree.tokens[idx - 2].is("!")) => {
                    let text = format!("#[{}]", token.text);
                    self.add(ForeignCode, text.clone(), token.line, &text);
                }
                (Language::JavaScript | Language::TypeScript | Language::Tsx, "with")
                    if follows(&["("]) && idx > 0 && !tree.tokens[idx - 1].is(".") =>
                {
                    self.add(Reflection, "with".to_owned(), token.line, "with (");
                }
                (Language::Python, "shell")
                    if follows(&["="])
                        && !tree.tokens.get(idx + 2).is_some_and(|t| t.is("False")) =>
                {
                    self.add(Process, "shell=".to_owned(), token.line, "shell=True");
                }
                _ => {}
            }
        }
    }

    /// Paths that macros put together from their arguments: `std::$a::$b`.
    fn built_paths(&mut self) {
        if self.tree.language != Language::Rust {
            return;
        }
        for trio in self.tree.tokens.windows(3) {
            let is_built = trio[0].is("::")
                && trio[1].text.starts_with('$')
                && trio[1].text != "$crate"
                && !(trio[1].is("$") && trio[2].is("crate"));
            if is_built {
                self.add(Reflection, "::$".to_owned(), trio[0].line, &joined(trio));
            }
        }
    }

    /// Strings that a browser or a template runs.
    fn addresses(&mut self) {
        for (idx, token) in self.tree.tokens.iter().enumerate() {
            let text = match &token.kind {
                Kind::Text(value) => value.as_str(),
                Kind::Template => token.text.trim_start_matches(['f', '"', '\'', '`']),
                _ => continue,
            };
            let plain: String = text
                .chars()
                .take(40)
                .filter(|c| !c.is_whitespace() && !c.is_control())
                .flat_map(char::to_lowercase)
                .collect();
            let before = idx
                .checked_sub(1)
                .map_or("", |at| self.tree.tokens[at].text);
            let leads = is_script(self.tree.language)
                && matches!(before, "=" | ":" | "[")
                && matches!(plain.as_str(), "constructor" | "__proto__");
            if leads {
                self.add(Evaluation, format!("text {plain}"), token.line, text);
            }
            if plain.starts_with("javascript:")
                || plain.starts_with("vbscript:")
                || plain.starts_with("data:text/html")
            {
                self.add(Evaluation, plain.clone(), token.line, text);
            }
        }
    }

    /// Comments that compilers obey.
    fn directives(&mut self) {
        for (line, comment) in &self.tree.comments {
            let is_linkage = [
                "//go:linkname",
                "//go:cgo_",
                "//export ",
                "//go:embed",
                "//go:generate",
                "//go:wasm",
                "//go:nosplit",
                "//go:norace",
                "//go:noescape",
                "//go:uintptr",
                "//go:nocheckptr",
            ];
            if self.tree.language == Language::Go
                && is_linkage.iter().any(|start| comment.starts_with(start))
            {
                let fact = Fact::new(Sense::Forbidden(ForeignCode), *comment, *line, comment);
                self.facts.push(fact);
            }
        }
    }
}

/// Modules whose functions everything rests on.
const PATCHED_MODULES: &str = "os sys builtins json time datetime ssl hmac hashlib logging random secrets socket subprocess \
     re shutil tempfile threading urllib http requests yaml pickle io pathlib math decimal";

/// `"{0.__class__}"`: a format that reads attributes of the language's own.
fn formats_attributes(token: &Token<'_>) -> bool {
    token.value().is_some_and(|value| {
        value
            .split('{')
            .skip(1)
            .filter_map(|part| part.split('}').next())
            .any(|field| field.contains(".__") || field.contains("[__"))
    })
}

/// A query whose text is computed: with `+` or `%`, or with values inside.
fn is_put_together(argument: &[Token<'_>]) -> bool {
    let is_query = argument.iter().take(200).any(|token| {
        let text = token.value().unwrap_or(token.text);
        let start: String = text
            .trim_start_matches(['f', 'r', 'b', '"', '\'', '`', ' ', '\n'])
            .chars()
            .take(8)
            .flat_map(char::to_lowercase)
            .collect();
        matches!(token.kind, Kind::Text(_) | Kind::Template)
            && [
                "select ", "insert ", "update ", "delete ", "replace ", "drop ", "alter ", "with ",
            ]
            .iter()
            .any(|verb| start.starts_with(verb))
    });
    is_query
        && argument.iter().take(200).any(|token| {
            token.kind == Kind::Template || token.is("%") || token.is("format") || token.is("+")
        })
        && argument
            .iter()
            .take(200)
            .any(|token| token.is_word() || token.kind == Kind::Template)
}
