//! Scorers: how good an answer is, as the field measures it.

pub(crate) mod nab;
pub(crate) mod templates;
pub(crate) mod time_series;
