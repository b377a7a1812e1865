//! What raises the risk without forbidding anything.

use super::dead_code::header;
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::{Reference, is_script};
use super::token::{FlatNode, FlatTree, is_function, joined};
use super::validation::Flag;
use super::words::name_words;
use crate::Language;

/// Words of code where a wrong value costs most.
const SENSITIVE: &[&str] = &[
    "money",
    "price",
    "amount",
    "balance",
    "pay",
    "payment",
    "charge",
    "invoice",
    "refund",
    "tax",
    "currency",
    "cents",
    "credit",
    "debit",
    "auth",
    "login",
    "token",
    "password",
    "permission",
    "role",
    "admin",
    "session",
    "crypto",
    "encrypt",
    "decrypt",
    "sign",
    "signature",
    "cipher",
    "nonce",
    "hash",
    "key",
    "index",
    "offset",
];

const CONCURRENT: &[&str] = &[
    "Mutex",
    "RwLock",
    "Atomic",
    "AtomicUsize",
    "AtomicU64",
    "AtomicBool",
    "lock",
    "Lock",
    "RLock",
    "Unlock",
    "unlock",
    "spawn",
    "thread",
    "Thread",
    "threading",
    "synchronized",
    "volatile",
    "Ordering",
    "chan",
    "async",
    "await",
    "WaitGroup",
    "Semaphore",
    "Condvar",
    "channel",
    "ConcurrentHashMap",
    "ExecutorService",
    "go",
    "select",
    "asyncio",
    "gather",
    "Worker",
    "SharedArrayBuffer",
];

pub(super) fn facts(
    tree: &FlatTree<'_>,
    names: &Names,
    references: &[Reference],
    path: &str,
) -> Vec<Fact> {
    let mut found = Vec::new();
    let file_words = name_words(path);
    for reference in references {
        let resolved = names.resolved(&reference.path);
        let last = resolved.rsplit('.').next().unwrap_or_default();
        let end = reference.tokens.1;
        let is_call = tree.tokens.get(end).is_some_and(|t| t.is("("));
        let mut push =
            |sense, key: &str| found.push(Fact::new(sense, key, reference.line, &reference.path));
        let gives_default = match tree.language {
            Language::Rust => matches!(
                last,
                "unwrap_or"
                    | "unwrap_or_default"
                    | "unwrap_or_else"
                    | "or_insert"
                    | "or_default"
                    | "map_or"
            ),
            Language::Python => {
                let n_first = tree.first_argument(end).len();
                let has_second = tree
                    .tokens
                    .get(end + 1 + n_first)
                    .is_some_and(|t| t.is(","));
                matches!(last, "get" | "getattr" | "next" | "pop" | "setdefault")
                    && is_call
                    && has_second
            }
            Language::Java => matches!(last, "getOrDefault" | "orElse" | "orElseGet"),
            _ => false,
        };
        if gives_default && is_call {
            if is_sensitive(tree, reference.tokens.0, reference.line, &file_words) {
                push(Sense::Risky(Flag::SensitiveDefault), last);
            }
            if last == "unwrap_or_default" || last == "or_default" {
                push(Sense::Risky(Flag::DefaultValue), last);
            }
        }
        if last.starts_with("wrapping_") || last.starts_with("overflowing_") {
            push(Sense::Risky(Flag::WrappingArithmetic), last);
        }
        if tree.language == Language::Rust
            && (last == "into_inner" || last == "clear_poison" || resolved.contains("PoisonError"))
        {
            push(Sense::Risky(Flag::PoisonIgnored), last);
        }
    }
    for (idx, token) in tree.tokens.iter().enumerate() {
        let is_fallback = is_script(tree.language) && (token.is("??") || token.is("||"));
        if is_fallback && is_sensitive(tree, idx, token.line, &file_words) {
            found.push(Fact::new(
                Sense::Risky(Flag::SensitiveDefault),
                "fallback",
                token.line,
                token.text,
            ));
        }
        if token.is_word()
            && CONCURRENT.contains(&token.text)
            && !(token.text == "go" && tree.language != Language::Go)
        {
            for sense in [
                Sense::Risky(Flag::Concurrency),
                Sense::Kept(Flag::Concurrency),
            ] {
                found.push(Fact::new(sense, token.text, token.line, token.text));
            }
        }
    }
    for (idx, node) in tree.nodes.iter().enumerate() {
        if is_loop(node.kind) {
            let head = joined(header(tree, idx));
            found.push(Fact::new(
                Sense::Kept(Flag::LoopBounds),
                head.clone(),
                node.line,
                &head,
            ));
        }
        if is_function(node.kind) && is_public(tree, node) {
            let head = joined(header(tree, idx));
            found.push(Fact::new(
                Sense::Kept(Flag::PublicSignature),
                head.clone(),
                node.line,
                &head,
            ));
        }
    }
    found
}

fn is_sensitive(tree: &FlatTree<'_>, token: usize, line: usize, file_words: &[String]) -> bool {
    let known = |word: &String| SENSITIVE.contains(&word.as_str());
    if file_words.iter().any(known) {
        return true;
    }
    let start = tree.tokens.partition_point(|t| t.line < line).min(token);
    let on_line = tree.tokens[start..]
        .iter()
        .take(64)
        .take_while(|t| t.line <= line);
    let in_line = on_line
        .filter(|t| t.is_word())
        .flat_map(|t| name_words(t.text))
        .any(|word| known(&word));
    in_line
        || tree.function_of(token).is_some_and(|idx| {
            let head = header(tree, idx);
            head.iter()
                .take(6)
                .filter(|t| t.is_word())
                .flat_map(|t| name_words(t.text))
                .any(|word| known(&word))
        })
}

fn is_loop(kind: &str) -> bool {
    matches!(
        kind,
        "for_expression"
            | "while_expression"
            | "for_statement"
            | "while_statement"
            | "for_in_statement"
            | "enhanced_for_statement"
            | "do_statement"
    )
}

/// Others may call it.
fn is_public(tree: &FlatTree<'_>, node: &FlatNode<'_>) -> bool {
    let tokens = tree.tokens_of(node);
    let name = |at: usize| tokens.get(at).map_or("", |t| t.text);
    match tree.language {
        Language::Rust => tokens.first().is_some_and(|t| t.is("pub")) && name(1) != "(",
        Language::Python => {
            let at = 1 + usize::from(name(0) == "async");
            !name(at).starts_with('_')
        }
        Language::Go => {
            let word = if name(1) == "(" {
                tree.closing(node.tokens.0 + 1) + 1
            } else {
                node.tokens.0 + 1
            };
            tree.tokens
                .get(word)
                .is_some_and(|t| t.text.starts_with(char::is_uppercase))
        }
        Language::Java => tokens
            .iter()
            .take(6)
            .any(|t| t.is("public") || t.is("protected")),
        _ => node
            .parent
            .is_some_and(|p| tree.nodes[p].kind == "export_statement"),
    }
}
