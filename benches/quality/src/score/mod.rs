//! Scorers: how good the scores of a detector are, by labels.

pub(crate) mod nab;
pub(crate) mod time_series;
