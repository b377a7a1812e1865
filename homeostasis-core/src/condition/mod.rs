//! Conditions as playbooks, policies and detectors write them: `disk_usage_percent > 85 and not maintenance`.
//!
//! A condition is parsed once, checked for its units, and then evaluated against any [`Scope`] that knows the values of
//! its variables.
//! It has no loops and no calls; its length ([`Condition::MAX_LENGTH`]) and nesting ([`Condition::MAX_DEPTH`]) are
//! bounded, and evaluation takes time linear in its length.
//!
//! # Grammar
//! ```text
//! condition  = or ;
//! or         = and { "or" and } ;
//! and        = not { "and" not } ;
//! not        = "not" not | comparison ;
//! comparison = sum [ ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum | [ "not" ] "in" list ] ;
//! sum        = product { ( "+" | "-" ) product } ;
//! product    = factor { ( "*" | "/" ) factor } ;
//! factor     = "-" factor | literal | variable | "(" or ")" ;
//! list       = "[" item { "," item } "]" ;
//! item       = [ "-" ] number | string ;
//! literal    = number | string | "true" | "false" ;
//! number     = digits [ "." digits ] [ ( "e" | "E" ) [ "+" | "-" ] digits ] [ [ "_" ] unit ] ;
//! unit       = "%" | "ns" | "us" | "ms" | "s" | "m" | "h" | "d" | "w"
//!            | "B" | "kB" | "MB" | "GB" | "TB" | "KiB" | "MiB" | "GiB" | "TiB"
//!            | "B/s" | "kB/s" | "MB/s" | "GB/s" | "/s" | "/min" | "/h" ;   (* and English names of times: 7_days *)
//! string     = '"' { character | escape } '"' | "'" { character | escape } "'" ;
//! escape     = "\" ( "\" | '"' | "'" | "n" | "t" ) ;
//! variable   = name [ "{" [ label { "," label } ] "}" ] ;
//! label      = name "=" string ;
//! name       = ( letter | "_" ) { letter | digit | "_" | "." | ":" } ;
//! ```
//! Keywords are read without regard to case.
//! Operands of `and`, `or` and `not` are comparisons or boolean variables; operands of comparisons and of arithmetic are
//! values.
//! A word without quotes is a variable: write `state == "degraded"`.
//! A unit follows its number without a space; `10/s` is a rate, `10 / s` divides by the variable `s`.
//!
//! # Units
//! The unit of a variable is the one its scope gives, else the one its name tells ([`Unit::from_metric_name`]).
//! - A number without a unit takes the unit of what it is compared with or added to: `disk_usage_percent > 85` and
//!   `disk_usage_percent > 85%` mean the same.
//! - A number with a unit is converted: `error_ratio < 0.1%` compares with 0.001.
//! - Units that cannot be converted (`latency_seconds > 5MB`) are an error when the condition is parsed, as far as names
//!   tell, and otherwise when it is evaluated.
//! - A value whose unit nobody tells is never guessed: comparing it with `500ms` is an error of evaluation.
//! - Multiplication and division combine units; a quotient of like units is a ratio
//!   (`errors_total / requests_total > 5%`).
//!
//! # Unknown
//! A value that the scope does not have, that is not a number (NaN) or that is the result of a division by zero is
//! unknown, and so is every comparison with it: absence of data is neither success nor failure.
//! `and`, `or` and `not` follow Kleene's strong logic of three values ([`Truth`]).
//!
//! # Examples
//! ```
//! use homeostasis::core::condition::{Condition, Quantity, Truth, Unit, Variable};
//!
//! let condition = Condition::parse("error_rate > 5% and (requests_per_second >= 10 or not maintenance)")?;
//! let scope = |variable: &Variable| match variable.name() {
//!     "error_rate" => Some(Quantity::number(0.08)),
//!     "requests_per_second" => Some(Quantity::number(600.0).in_unit(Unit::PerMinute)),
//!     _ => None,
//! };
//! assert_eq!(condition.evaluate(&scope)?, Truth::True);
//! assert_eq!(condition.evaluate(&|_: &Variable| None)?, Truth::Unknown);
//!
//! let error = Condition::parse("latency_seconds > 5MB").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "found a value in `MB`, expected one that compares with `s`\n  latency_seconds > 5MB\n                    ^^^"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod evaluate;
mod expression;
mod parse;
mod quantity;
mod satisfy;
mod scope;
mod token;
mod truth;
mod unit;

pub use error::{ConditionError, EvalError};
pub use expression::Condition;
pub use quantity::{Quantity, Scalar};
pub use scope::{Scope, Variable};
pub use truth::Truth;
pub use unit::Unit;
