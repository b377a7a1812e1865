//! The value of a condition, and the check of its units.

use super::error::{ConditionError, EvalError};
use super::expression::{Comparison, Condition, Expr, Kind};
use super::quantity::{Quantity, Scalar};
use super::scope::{Scope, Variable};
use super::token::wrong;
use super::truth::Truth;
use super::unit::{Measure, Unit};

/// What is known of the unit of a number.
#[derive(Debug, Clone, Copy)]
enum Dimension {
    /// A literal without unit, which takes that of its neighbor.
    Bare,
    /// A variable whose unit nobody tells.
    Untold,
    Known(Measure),
}

use Dimension::{Bare, Known, Untold};

impl Dimension {
    fn of_literal(unit: Unit) -> Self {
        unit.measure().map_or(Bare, Known)
    }

    fn of_variable(unit: Unit, variable: &Variable) -> Self {
        unit.measure()
            .or_else(|| Unit::from_metric_name(&variable.name).measure())
            .map_or(Untold, Known)
    }

    fn times(self, other: Self) -> Self {
        match (self, other) {
            (Bare, one) | (one, Bare) => one,
            (Known(a), Known(b)) => Known(a.times(b)),
            (Untold, _) | (_, Untold) => Untold,
        }
    }

    /// `untold` is the unit of a quotient of two values of untold units.
    fn over(self, other: Self, untold: Self) -> Self {
        match (self, other) {
            (one, Bare) => one,
            (Known(a), Known(b)) => Known(a.over(b)),
            (Bare, Known(b)) => Unit::Count
                .measure()
                .map_or(Untold, |count| Known(count.over(b))),
            (Untold, Untold) => untold,
            (Untold, Known(_)) | (Known(_) | Bare, Untold) => Untold,
        }
    }
}

pub(super) fn check_units(
    condition: &Condition,
    unit_of: &dyn Fn(&Variable) -> Unit,
) -> Result<(), ConditionError> {
    Checker {
        text: &condition.text,
        unit_of,
    }
    .dimension(&condition.root)
    .map(|_| ())
}

struct Checker<'a> {
    text: &'a str,
    unit_of: &'a dyn Fn(&Variable) -> Unit,
}

impl Checker<'_> {
    /// The unit of `part`; conditions, strings and booleans count as untold.
    fn dimension(&self, part: &Expr) -> Result<Dimension, ConditionError> {
        match &part.kind {
            Kind::Or(parts) | Kind::And(parts) => {
                parts
                    .iter()
                    .try_for_each(|part| self.dimension(part).map(|_| ()))?;
                Ok(Untold)
            }
            Kind::Not(part) | Kind::Negative(part) => self.dimension(part),
            Kind::Compare(left, _, right) => {
                self.join(self.dimension(left)?, right)?;
                Ok(Untold)
            }
            Kind::In { value, items, .. } => {
                let dimension = self.dimension(value)?;
                items
                    .iter()
                    .try_for_each(|item| self.join(dimension, item).map(|_| ()))?;
                Ok(Untold)
            }
            Kind::Sum(first, rest) => rest
                .iter()
                .try_fold(self.dimension(first)?, |dimension, (_, part)| {
                    self.join(dimension, part)
                }),
            Kind::Product(first, rest) => {
                rest.iter()
                    .try_fold(self.dimension(first)?, |dimension, (divides, part)| {
                        let other = self.dimension(part)?;
                        Ok(if *divides {
                            dimension.over(other, Untold)
                        } else {
                            dimension.times(other)
                        })
                    })
            }
            Kind::Literal(Quantity {
                value: Scalar::Number(_),
                unit,
            }) => Ok(Dimension::of_literal(*unit)),
            Kind::Literal(_) => Ok(Untold),
            Kind::Variable(variable) => {
                Ok(Dimension::of_variable((self.unit_of)(variable), variable))
            }
        }
    }

    fn join(&self, left: Dimension, right: &Expr) -> Result<Dimension, ConditionError> {
        match (left, self.dimension(right)?) {
            (Known(a), Known(b)) if !a.fits(b) => Err(wrong(
                self.text,
                right.span.clone(),
                format!("a value in `{b}`"),
                format!("one that compares with `{a}`"),
            )),
            (Known(a), Known(_) | Bare) | (Bare, Known(a)) => Ok(Known(a)),
            (Bare, Bare) => Ok(Bare),
            (Untold, _) | (_, Untold) => Ok(Untold),
        }
    }
}

enum Value {
    Unknown,
    Number(f64, Dimension),
    Bool(bool),
    Text(String),
}

impl Value {
    fn of(quantity: Quantity, dimension: Dimension) -> Self {
        match quantity.value {
            Scalar::Number(value) if value.is_nan() => Self::Unknown,
            Scalar::Number(value) => Self::Number(value, dimension),
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Text(text) => Self::Text(text),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Number(..) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Text(_) => "a string",
        }
    }
}

fn wrong_kind(part: &Expr, found: &Value, expected: &'static str) -> EvalError {
    EvalError::WrongKind {
        place: part.to_string(),
        found: found.kind(),
        expected,
    }
}

pub(super) fn condition(part: &Expr, scope: &dyn Scope) -> Result<Truth, EvalError> {
    match &part.kind {
        Kind::Or(parts) => parts.iter().try_fold(Truth::False, |truth, part| {
            Ok(truth | condition(part, scope)?)
        }),
        Kind::And(parts) => parts.iter().try_fold(Truth::True, |truth, part| {
            Ok(truth & condition(part, scope)?)
        }),
        Kind::Not(part) => Ok(!condition(part, scope)?),
        Kind::Compare(left, comparison, right) => {
            let (a, b) = (value(left, scope)?, value(right, scope)?);
            compare((left, &a), *comparison, (right, &b))
        }
        Kind::In {
            value: member,
            is_negated,
            items,
        } => {
            let a = value(member, scope)?;
            let found = items.iter().try_fold(Truth::False, |found, item| {
                let b = value(item, scope)?;
                Ok(found | compare((member, &a), Comparison::Equal, (item, &b))?)
            })?;
            Ok(if *is_negated { !found } else { found })
        }
        _ => match value(part, scope)? {
            Value::Unknown => Ok(Truth::Unknown),
            Value::Bool(value) => Ok(value.into()),
            other => Err(wrong_kind(part, &other, "a boolean")),
        },
    }
}

fn compare(
    (left, a): (&Expr, &Value),
    comparison: Comparison,
    (right, b): (&Expr, &Value),
) -> Result<Truth, EvalError> {
    let equal = |is_equal: bool| match comparison {
        Comparison::NotEqual => !is_equal,
        _ => is_equal,
    };
    if comparison.is_order() {
        number(left, a)?;
        number(right, b)?;
    }
    match (a, b) {
        (Value::Unknown, _) | (_, Value::Unknown) => Ok(Truth::Unknown),
        (Value::Bool(a), Value::Bool(b)) => Ok(equal(a == b).into()),
        (Value::Text(a), Value::Text(b)) => Ok(equal(a == b).into()),
        (Value::Number(a, of_a), Value::Number(b, of_b)) => {
            let (a, b, _) = join((left, *a, *of_a), (right, *b, *of_b))?;
            Ok(match comparison {
                Comparison::Less => a < b,
                Comparison::LessOrEqual => a <= b,
                Comparison::Greater => a > b,
                Comparison::GreaterOrEqual => a >= b,
                Comparison::Equal => a == b,
                Comparison::NotEqual => a != b,
            }
            .into())
        }
        (a, b) => Err(wrong_kind(right, b, a.kind())),
    }
}

/// The number in `value`; `None` when it is unknown.
fn number(part: &Expr, value: &Value) -> Result<Option<(f64, Dimension)>, EvalError> {
    match value {
        Value::Unknown => Ok(None),
        Value::Number(value, dimension) => Ok(Some((*value, *dimension))),
        other => Err(wrong_kind(part, other, "a number")),
    }
}

/// Brings two numbers to one unit.
fn join(
    (left, a, of_a): (&Expr, f64, Dimension),
    (right, b, of_b): (&Expr, f64, Dimension),
) -> Result<(f64, f64, Dimension), EvalError> {
    let untold = |part: &Expr, measure: Measure| EvalError::UnknownUnit {
        place: part.to_string(),
        expected: measure.to_string(),
    };
    match (of_a, of_b) {
        (Known(to), Known(from)) if to.fits(from) => Ok((a, from.convert(b, to), of_a)),
        (Known(to), Known(from)) => Err(EvalError::IncompatibleUnits {
            place: right.to_string(),
            found: from.to_string(),
            expected: to.to_string(),
        }),
        // A count has no unit that could be mistaken.
        (Known(to), Untold) if !to.is_count() => Err(untold(right, to)),
        (Untold, Known(to)) if !to.is_count() => Err(untold(left, to)),
        (Known(_), _) => Ok((a, b, of_a)),
        (_, Known(_)) => Ok((a, b, of_b)),
        (Untold, _) | (_, Untold) => Ok((a, b, Untold)),
        (Bare, Bare) => Ok((a, b, Bare)),
    }
}

fn value(part: &Expr, scope: &dyn Scope) -> Result<Value, EvalError> {
    match &part.kind {
        Kind::Literal(quantity) => Ok(Value::of(
            quantity.clone(),
            Dimension::of_literal(quantity.unit),
        )),
        Kind::Variable(variable) => Ok(scope.lookup(variable).map_or(Value::Unknown, |quantity| {
            let dimension = Dimension::of_variable(quantity.unit, variable);
            Value::of(quantity, dimension)
        })),
        Kind::Negative(inner) => {
            let inner_value = value(inner, scope)?;
            Ok(known(
                number(inner, &inner_value)?.map(|(value, dimension)| (-value, dimension)),
            ))
        }
        Kind::Sum(first, rest) => fold(part, first, rest, scope, |left, right, is_subtracted| {
            let (a, b, dimension) = join(left, right)?;
            Ok(Some((if is_subtracted { a - b } else { a + b }, dimension)))
        }),
        Kind::Product(first, rest) => fold(part, first, rest, scope, |left, right, divides| {
            let ((_, a, of_a), (_, b, of_b)) = (left, right);
            Ok(match divides {
                false => Some((a * b, of_a.times(of_b))),
                true if b == 0.0 => None,
                true => Some((a / b, of_a.over(of_b, Known(Measure::share())))),
            })
        }),
        _ => Ok(match condition(part, scope)? {
            Truth::Unknown => Value::Unknown,
            truth => Value::Bool(truth.is_true()),
        }),
    }
}

type Operand<'a> = (&'a Expr, f64, Dimension);

/// The number that two make; `None` when it is unknown.
type Combined = Result<Option<(f64, Dimension)>, EvalError>;

/// Folds a chain of arithmetic; one unknown operand makes the result unknown, and errors of the others still count.
fn fold(
    whole: &Expr,
    first: &Expr,
    rest: &[(bool, Expr)],
    scope: &dyn Scope,
    apply: fn(Operand<'_>, Operand<'_>, bool) -> Combined,
) -> Result<Value, EvalError> {
    let first_value = value(first, scope)?;
    let mut result = number(first, &first_value)?;
    for (idx, (is_inverse, part)) in rest.iter().enumerate() {
        let part_value = value(part, scope)?;
        let operand = number(part, &part_value)?;
        result = match (result, operand) {
            (Some((a, of_a)), Some((b, of_b))) => {
                let left = if idx == 0 { first } else { whole };
                apply((left, a, of_a), (part, b, of_b), *is_inverse)?
            }
            _ => None,
        };
    }
    Ok(known(result))
}

fn known(number: Option<(f64, Dimension)>) -> Value {
    match number {
        Some((value, dimension)) if !value.is_nan() => Value::Number(value, dimension),
        _ => Value::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(variable: &Variable) -> Option<Quantity> {
        Some(match (variable.name(), variable.label("service")) {
            ("disk_usage_percent", _) => Quantity::number(90.0),
            ("error_ratio", _) | ("error_rate", None) => Quantity::number(0.001),
            ("error_rate", Some("gateway")) => Quantity::number(0.2),
            ("latency_seconds", _) => Quantity::number(0.4),
            ("p95_latency", _) => Quantity::number(400.0).in_unit(Unit::Millisecond),
            ("raw_latency", _) => Quantity::number(400.0),
            ("free", _) => Quantity::number(1.0).in_unit(Unit::Gibibyte),
            ("sent_bytes", _) => Quantity::number(10e6),
            ("window", _) => Quantity::number(2.0).in_unit(Unit::Second),
            ("errors_total", _) => Quantity::number(6.0),
            ("requests_total", _) => Quantity::number(100.0),
            ("n" | "limit", _) => Quantity::number(3.0),
            ("zero", _) => Quantity::number(0.0),
            ("nan", _) => Quantity::number(f64::NAN),
            ("state", _) => "degraded".into(),
            ("maintenance", _) => false.into(),
            _ => return None,
        })
    }

    fn evaluate(text: &str) -> Result<Truth, String> {
        let condition = Condition::parse(text).map_err(|e| e.to_string())?;
        condition.evaluate(&scope).map_err(|e| e.to_string())
    }

    #[test]
    fn conditions_that_hold_are_true_and_their_negations_false() {
        for text in [
            "disk_usage_percent > 85",
            "disk_usage_percent > 85%",
            "disk_usage_percent == 0.9 * 100%",
            "disk_usage_percent + 5 > 94%",
            "error_ratio <= 0.1%",
            "error_ratio == 0.1%",
            "0.1% == error_ratio",
            "error_rate < 0.5%",
            "error_rate{service=\"gateway\"} > 5%",
            "latency_seconds < 500ms",
            "latency_seconds == p95_latency",
            "p95_latency == 0.4s",
            "p95_latency == 400",
            "free > 1GB and free == 1024MiB and free < 1.1GB",
            "sent_bytes / window == 5MB/s",
            "errors_total / requests_total > 5%",
            "n / limit == 100%",
            "n * 2 > limit",
            "errors_total > limit",
            "requests_total / 2 > 49 and 2 * window == 4s",
            "-n < 0 and n - 1 - 1 == 1 and 12 / 2 / 3 == 2",
            "state == \"degraded\" and state != 'ok'",
            "state in [\"down\", \"degraded\"] and state not in ['ok']",
            "n in [1, 3] and window in [2000ms]",
            "maintenance == false and not maintenance",
            "true or missing",
        ] {
            assert_eq!(evaluate(text), Ok(Truth::True), "{text}");
            assert_eq!(
                evaluate(&format!("not ({text})")),
                Ok(Truth::False),
                "{text}"
            );
        }
    }

    #[test]
    fn a_missing_value_is_unknown_and_never_false() {
        for text in [
            "missing > 5",
            "not (missing > 5)",
            "missing",
            "missing == missing",
            "nan > 5",
            "nan != nan",
            "n / zero > 1",
            "zero / zero == 0",
            "missing + 1 > 0",
            "missing in [1, 2]",
            "missing not in [1, 2]",
            "missing > 5 and n > 1",
            "missing > 5 or n < 1",
            "missing == \"x\"",
        ] {
            assert_eq!(evaluate(text), Ok(Truth::Unknown), "{text}");
        }
        assert_eq!(evaluate("missing > 5 and n < 1"), Ok(Truth::False));
        assert_eq!(evaluate("missing > 5 or n > 1"), Ok(Truth::True));
    }

    #[test]
    fn units_that_do_not_fit_are_an_error_of_parsing_with_its_place() {
        for (text, at) in [
            ("latency_seconds > 5MB", "5MB"),
            ("disk_usage_percent + 5ms > 3", "5ms"),
            ("not (n > 1 or requests_total > 5%)", "5%"),
            ("free_bytes in [5MB, 5s]", "5s"),
            ("sent_bytes / uptime_seconds > 5MB", "5MB"),
            ("5s > 5MB", "5MB"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert_eq!(&text[error.span.clone()], at, "{error}");
        }
    }

    #[test]
    fn units_of_a_scope_can_be_checked_beforehand() {
        let condition = Condition::parse("free > 5s").unwrap();
        assert!(condition.check_units(|_| Unit::Unspecified).is_ok());
        assert!(condition.check_units(|_| Unit::Minute).is_ok());
        let error = condition.check_units(|_| Unit::Gibibyte).unwrap_err();
        assert_eq!(error.span, 7..9);
    }

    #[test]
    fn values_that_do_not_fit_are_errors_of_evaluation() {
        for (text, message) in [
            ("state > 5", "`state` is a string, expected a number"),
            ("n == \"x\"", "`\"x\"` is a string, expected a number"),
            ("n", "`n` is a number, expected a boolean"),
            ("state or true", "`state` is a string, expected a boolean"),
            (
                "maintenance + 1 > 0",
                "`maintenance` is a boolean, expected a number",
            ),
            (
                "missing + state > 0",
                "`state` is a string, expected a number",
            ),
            (
                "free > 5s",
                "`5s` has the unit s, expected one that converts to GiB",
            ),
            (
                "raw_latency < 500ms",
                "`raw_latency` has no known unit, expected one that converts to ms",
            ),
            (
                "latency_seconds < raw_latency",
                "`raw_latency` has no known unit, expected one that converts to s",
            ),
        ] {
            assert_eq!(evaluate(text), Err(message.to_owned()), "{text}");
        }
    }

    fn any_quantity() -> impl Strategy<Value = Option<Quantity>> {
        let units = vec![
            Unit::Unspecified,
            Unit::Percent,
            Unit::Second,
            Unit::Mebibyte,
            Unit::PerMinute,
            Unit::Count,
        ];
        prop_oneof![
            Just(None),
            (any::<f64>(), prop::sample::select(units))
                .prop_map(|(v, u)| Some(Quantity::number(v).in_unit(u))),
            any::<bool>().prop_map(|v| Some(v.into())),
            "[a-z]".prop_map(|v| Some(v.into())),
        ]
    }

    fn any_truth() -> impl Strategy<Value = Option<bool>> {
        prop_oneof![Just(None), Just(Some(false)), Just(Some(true))]
    }

    proptest! {
        #[test]
        fn evaluation_never_panics(values in prop::collection::vec(any_quantity(), 4), idx in 0..8_usize) {
            let text = [
                "a + b * c - d > 5",
                "a / b / c == d",
                "-a <= 5% or b != \"x\"",
                "a * a * a > b * 5MB",
                "a in [1, 2s] and b not in [\"x\"]",
                "not a or (b and c)",
                "a - b < 3ms",
                "a / 5s > b + 1/s",
            ][idx];
            let scope = |variable: &Variable| {
                let idx = variable.name().bytes().next().map_or(0, |b| usize::from(b - b'a'));
                values[idx].clone()
            };
            let condition = Condition::parse(text).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let _ = condition.evaluate(&scope).map_err(|e| e.to_string());
        }

        #[test]
        fn de_morgan_holds_with_unknowns(p in any_truth(), q in any_truth(), r in any_truth()) {
            let scope = |variable: &Variable| match variable.name() {
                "p" => p.map(Quantity::from),
                "q" => q.map(Quantity::from),
                _ => r.map(Quantity::from),
            };
            let same = [
                ("not (p and q and r)", "not p or not q or not r"),
                ("not (p or q or r)", "not p and not q and not r"),
                ("not not p", "p"),
                ("p and (q or r)", "p and q or p and r"),
            ];
            for (left, right) in same {
                let [left, right] = [left, right].map(|text| Condition::parse(text).unwrap().evaluate(&scope).unwrap());
                prop_assert_eq!(left, right);
            }
        }
    }
}
