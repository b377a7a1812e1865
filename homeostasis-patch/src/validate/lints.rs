//! Comments that turn off a tool.

use super::RefusalReason::SuppressedLint;
use super::fact::{Fact, Sense};
use super::token::FlatTree;

/// Words in comments that turn off a tool.
const DIRECTIVES: &[&str] = &[
    "noqa",
    "type: ignore",
    "type:ignore",
    "pylint: disable",
    "pylint:disable",
    "nosec",
    "pragma: no cover",
    "mypy: ignore",
    "pyright: ignore",
    "flake8: noqa",
    "ruff: noqa",
    "fmt: off",
    "eslint-disable",
    "@ts-ignore",
    "@ts-nocheck",
    "@ts-expect-error",
    "istanbul ignore",
    "tslint:disable",
    "jshint ignore",
    "nolint",
    "#nosec",
    "go:build ignore",
    "nosonar",
    "checkstyle:off",
    "noinspection",
    "codeql",
    "nosemgrep",
    "biome-ignore",
    "deno-lint-ignore",
    "@phpstan",
    "cspell:disable",
];

pub(super) fn facts(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut found = Vec::new();
    for (line, comment) in &tree.comments {
        let lower = comment.to_lowercase();
        for directive in DIRECTIVES
            .iter()
            .filter(|directive| lower.contains(**directive))
        {
            found.push(Fact::new(
                Sense::Forbidden(SuppressedLint),
                *directive,
                *line,
                comment,
            ));
        }
    }
    found
}
