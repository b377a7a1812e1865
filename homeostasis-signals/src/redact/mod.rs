//! Redaction: secrets are replaced by what they were before anything is kept or sent.
//!
//! | file | what |
//! |---|---|
//! | `kinds.rs` | the table of what is known by how it looks |
//! | `names.rs` | the table of names whose values are secret |
//! | `assignment.rs` | names and values in free text |
//! | `card.rs` | numbers of payment cards |
//! | `check.rs` | chance, base64, check digits |
//! | `redactor.rs` | the search |
//! | `builder.rs` | what a host adds |

mod assignment;
mod builder;
mod card;
mod check;
mod kinds;
mod marker;
mod names;
mod redactor;
#[cfg(test)]
mod samples;

pub use builder::{RedactionConfig, RedactionPattern, SecretRedactorBuilder};
pub use redactor::SecretRedactor;
