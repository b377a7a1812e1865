//! What of an upstream's file is in force: workers read it when they start, and only then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reload::MAX_FILE;
use super::workers::Workers;
use crate::file::{read_small, write_atomically};

/// Lies beside a file while workers serve that began before the file was changed: what they read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    content: Option<String>,
    /// Process id and start of each.
    workers: Vec<(u32, u64)>,
}

impl Note {
    /// A hidden one, so that a configuration that includes all files of the folder by `*` does not take
    /// it up.
    fn path(file: &Path) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().unwrap_or_default());
        name.push(".in-force");
        file.with_file_name(name)
    }

    /// The note, if it says anything about the workers of now.
    fn read(file: &Path, now: &Workers) -> io::Result<Option<Self>> {
        // Escapes make it longer than what it quotes.
        let Some(text) = read_small(&Self::path(file), 8 * MAX_FILE)? else {
            return Ok(None);
        };
        let note: Self = serde_json::from_str(&text)?;
        let holds = now.serving().any(|worker| note.workers.contains(&worker));
        Ok(holds.then_some(note))
    }

    /// Notes what is in force, before the file is changed; a note from before that holds goes on.
    pub(super) fn write(file: &Path, now: &Workers) -> io::Result<()> {
        let note = Self {
            content: in_force(file, now)?,
            workers: now.serving().collect(),
        };
        write_atomically(&Self::path(file), serde_json::to_string(&note)?.as_bytes())
    }

    /// Forgets it: others serve.
    pub(super) fn remove(file: &Path) {
        // One that stays says nothing about workers that serve.
        let _ = fs::remove_file(Self::path(file));
    }

    /// Forgets it if the file is again what those workers read.
    pub(super) fn remove_after(file: &Path, now: &Workers) {
        let note = Self::read(file, now);
        let is_same = |note: &Self| read_small(file, MAX_FILE).is_ok_and(|is| is == note.content);
        if note.is_ok_and(|note| note.is_some_and(|note| is_same(&note))) {
            Self::remove(file);
        }
    }
}

/// Whether the file was changed and workers serve that began before.
pub(super) fn is_behind(file: &Path, now: &Workers) -> io::Result<bool> {
    Ok(Note::read(file, now)?.is_some())
}

/// The content of the file that the workers of now began with; `None` if there was no file.
pub(super) fn in_force(file: &Path, now: &Workers) -> io::Result<Option<String>> {
    match Note::read(file, now)? {
        Some(note) => Ok(note.content),
        None => read_small(file, MAX_FILE),
    }
}

/// The servers of the upstream `name` with their weights, zero if they are down or backup; `None` if
/// there is no such upstream.
pub(super) fn servers(content: &str, name: &str) -> Option<Vec<(String, u32)>> {
    let lines = content.lines();
    let lines: Vec<_> = lines
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    let text = lines.join("\n");
    let (_, body) = text
        .split_once("upstream")
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(name)?.split_once('{'))
        .filter(|(between, _)| between.trim().is_empty())?;
    let body = body.split('}').next()?;
    let servers = body.split(';').filter_map(|directive| {
        let mut words = directive.split_whitespace();
        let address = words
            .next()
            .filter(|word| *word == "server")
            .and(words.next())?;
        let mut weight = 1;
        for word in words {
            match word.split_once('=') {
                Some(("weight", number)) => weight = number.parse().ok()?,
                None if matches!(word, "down" | "backup") => return Some((address.to_owned(), 0)),
                _ => {}
            }
        }
        Some((address.to_owned(), weight))
    });
    Some(servers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_read_as_nginx_reads_it() {
        let text = "# upstream old { server x:1; }\nupstream app { # ours\n\
            server 127.0.0.1:1 weight=5 max_fails=2;\n server [::1]:2;server b:3 down;\n\
            server c:4 weight=9 backup; keepalive 16;\n}\nserver { listen 80; }\n";
        let found = servers(text, "app").unwrap();
        let found: Vec<_> = found.iter().map(|(at, n)| format!("{at} {n}")).collect();
        assert_eq!(found, ["127.0.0.1:1 5", "[::1]:2 1", "b:3 0", "c:4 0"]);
        assert!(servers(text, "ap").is_none() && servers(text, "other").is_none());
        assert_eq!(servers("upstream\n app{}", "app"), Some(Vec::new()));
    }
}
