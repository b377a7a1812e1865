# `just check` is what CI runs. Every recipe is one or more steps of `.ci/run`, which needs no `just`.

# List the recipes.
default:
    @just --list

# Everything CI runs, in CI's order; stops at the first failure.
check:
    .ci/run

# Rewrite every file in the house format.
fmt:
    cargo fmt --all

# Clippy with default, no and all features, warnings denied.
lint:
    .ci/run fmt clippy-default clippy-no-default clippy-all clippy-each-feature

# All tests and doctests; arguments are passed on: `just test -p homeostasis-detect`.
test *ARGS="--workspace":
    cargo test {{ ARGS }} --all-features

# The arrows, the weight of the default tree, licenses and manifests.
architecture:
    cargo test -p homeostasis --test architecture

# Documentation with broken links denied.
doc:
    .ci/run doc

# The short examples, and the storefront.
examples:
    .ci/run examples release-runs

# What `cargo package` would ship, compared with the allow-list.
package:
    .ci/run package

# Licenses, bans and sources (needs cargo-deny).
deny:
    .ci/run deny

# Build with the oldest supported compiler (needs that toolchain).
msrv:
    .ci/run msrv

# The names of the steps.
steps:
    .ci/run --list
