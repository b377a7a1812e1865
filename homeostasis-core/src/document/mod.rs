//! Documents that people write (YAML, and JSON with comments), read so that every mistake is found at once and named
//! with its line and column.
//!
//! 1. A [`Parser`] turns text into a tree of [`Node`]s; each knows the file, line and column it came from.
//!    It refuses duplicate keys, streams of several documents and anything that grows beyond its [`Limits`],
//!    and can fill in `${VARIABLES}` from a lookup of the caller.
//! 2. [`Node::overlay`] lays one document over another, for the differences of an environment.
//! 3. [`decode`] reads the tree into the caller's types through a [`Shape`].
//!    Shapes of mappings are plain functions over [`Fields`] that read like a table.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//!
//! use homeostasis::core::document::{self, Fields, Parser, duration, integer, list, nested, non_empty_string};
//!
//! #[derive(Debug)]
//! struct Step {
//!     action: String,
//!     timeout: Duration,
//!     max_retries: u32,
//! }
//!
//! fn step(d: &mut Fields<'_>) -> Option<Step> {
//!     let action = d.required("action", non_empty_string());
//!     let timeout = d.default("timeout", duration(Duration::ZERO..=Duration::from_secs(3600)), Duration::from_secs(30));
//!     let max_retries = d.default("max_retries", integer(0..=10), 0);
//!     Some(Step { action: action?, timeout: timeout?, max_retries: max_retries? })
//! }
//!
//! fn playbook(d: &mut Fields<'_>) -> Option<Vec<Step>> {
//!     d.required("steps", list(nested(step)).at_least(1))
//! }
//!
//! let text = "\
//! steps:
//!   - action: clean_up
//!     timeout: 5x
//!   - action: ''
//!     max_retrys: 3
//! ";
//! let node = Parser::new().source("disk.yaml").parse(text)?;
//! let error = document::decode(&node, nested(playbook)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "disk.yaml:3:14: steps[0].timeout = \"5x\", expected a duration such as 300ms, 30s, 5m, between 0s and 1h\n\
//!      disk.yaml:4:13: steps[1].action = \"\", expected a non-empty string\n\
//!      disk.yaml:5:5: steps[1].max_retrys = unknown field, expected one of `action`, `timeout`, `max_retries`; \
//!      did you mean `max_retries`?",
//! );
//! # Ok::<(), homeostasis::core::ConfigError>(())
//! ```

mod builder;
mod collection;
mod duration;
pub mod duration_text;
mod fields;
mod interpolation;
mod json;
mod located;
mod node;
mod parser;
mod path;
mod scalar;
mod shape;
mod suggestion;

pub use collection::{List, MapOf, list, map_of};
pub use duration::{format_duration, parse_duration};
pub use fields::{Fields, Nested, nested};
pub use located::{Anything, Located, LocatedShape, Raw, located, raw};
pub use node::{Entry, Mapping, Node, Span, Value};
pub use parser::{Format, Limits, Parser};
pub use shape::{
    Boolean, DurationShape, Float, Integer, OneOf, Parsed, RatioShape, Shape, Text, any_duration,
    boolean, decode, duration, float, integer, non_empty_string, one_of, parsed, ratio, string,
};
