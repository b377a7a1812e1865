//! Redaction: secrets are replaced by what they were before anything is kept or sent.
//!
//! | file | what |
//! |---|---|
//! | `kinds.rs` | the table of what is known by how it looks |
//! | `names.rs` | the table of names whose values are secret |
//! | `assignment.rs`, `enclosed.rs` | names and values in free text |
//! | `plausible.rs`, `named.rs` | whether a value is the secret its name promises, and which part of it |
//! | `card.rs`, `key_line.rs` | numbers of payment cards, lines of a private key |
//! | `check.rs` | chance, base64, check digits |
//! | `marker.rs` | what stands in the place of a secret |
//! | `redactor.rs`, `search.rs` | the search, and what is known while it goes on |
//! | `scan.rs` | small steps over text |
//! | `builder.rs` | what a host adds |

mod assignment;
mod builder;
mod card;
mod check;
mod enclosed;
mod key_line;
mod kinds;
mod marker;
mod named;
mod names;
mod plausible;
mod redactor;
#[cfg(test)]
mod samples;
mod scan;
mod search;

pub use builder::{RedactionConfig, RedactionPattern, SecretRedactorBuilder};
pub use redactor::SecretRedactor;
