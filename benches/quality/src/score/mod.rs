//! How good an answer is, as the field measures it.

pub(crate) mod templates;
