//! From text to a condition: a recursive descent over the grammar of the module.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::ConditionError;
use super::expression::{Comparison, Condition, Expr, Kind};
use super::quantity::{Quantity, Scalar};
use super::scope::Variable;
use super::token::{Spanned, Token, tokens, wrong};

pub(super) fn too_long(text: &str, n_bytes: usize) -> ConditionError {
    let expected = format!("at most {}", Condition::MAX_LENGTH);
    wrong(
        "",
        0..0,
        format!("a condition of {} bytes", n_bytes.max(text.len())),
        expected,
    )
}

pub(super) fn parse(text: &str) -> Result<Expr, ConditionError> {
    if text.len() > Condition::MAX_LENGTH {
        return Err(too_long(text, text.len()));
    }
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let root = parser.or()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    parser.as_condition(root)
}

struct Parser<'t> {
    text: &'t str,
    /// Ends in [`Token::End`], which is never passed.
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

type Parsed = Result<Expr, ConditionError>;

impl Parser<'_> {
    fn current(&self) -> &Spanned {
        // `at` only moves while the current token is not the last.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Token {
        &self.current().0
    }

    fn bump(&mut self) -> Spanned {
        let current = self.current().clone();
        if current.0 != Token::End {
            self.at += 1;
        }
        current
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if is_it {
            self.bump();
        }
        is_it
    }

    fn eat_keyword(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Keyword(k) if *k == word);
        if is_it {
            self.bump();
        }
        is_it
    }

    fn expect_symbol(&mut self, symbol: &str, expected: &str) -> Result<(), ConditionError> {
        if self.eat_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    fn unexpected(&self, expected: &str) -> ConditionError {
        let (token, span) = self.current();
        wrong(self.text, span.clone(), token.to_string(), expected)
    }

    fn span_from(&self, start: usize) -> Range<usize> {
        let end = self
            .at
            .checked_sub(1)
            .map_or(start, |last| self.tokens[last].1.end);
        start..end
    }

    fn start(&self) -> usize {
        self.current().1.start
    }

    fn wrong_part(&self, part: &Expr, found: &str, expected: &str) -> ConditionError {
        wrong(self.text, part.span.clone(), found, expected)
    }

    /// Refuses values where a condition is needed.
    fn as_condition(&self, part: Expr) -> Parsed {
        match kind(&part) {
            Some("a condition" | "a boolean") | None => Ok(part),
            Some(found) => Err(self.wrong_part(
                &part,
                found,
                "a comparison such as `x > 5`, or a boolean variable",
            )),
        }
    }

    /// Refuses conditions where a value is needed.
    fn as_value(&self, part: Expr) -> Parsed {
        match kind(&part) {
            Some(found @ "a condition") => Err(self.wrong_part(&part, found, "a value")),
            _ => Ok(part),
        }
    }

    fn as_number(&self, part: Expr) -> Parsed {
        match kind(&part) {
            Some("a number") | None => Ok(part),
            Some(found) => Err(self.wrong_part(&part, found, "a number")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= Condition::MAX_DEPTH {
            let expected = format!("at most {} levels of nesting", Condition::MAX_DEPTH);
            return Err(self.unexpected(&expected));
        }
        self.depth += 1;
        let part = read(self);
        self.depth -= 1;
        part
    }

    fn or(&mut self) -> Parsed {
        self.logical("or", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Parsed {
        self.logical("and", Self::not, Kind::And)
    }

    fn logical(
        &mut self,
        word: &str,
        read: fn(&mut Self) -> Parsed,
        kind: fn(Vec<Expr>) -> Kind,
    ) -> Parsed {
        let start = self.start();
        let first = read(self)?;
        if !matches!(self.peek(), Token::Keyword(k) if *k == word) {
            return Ok(first);
        }
        let mut parts = vec![self.as_condition(first)?];
        while self.eat_keyword(word) {
            let part = read(self)?;
            parts.push(self.as_condition(part)?);
        }
        Ok(Expr {
            kind: kind(parts),
            span: self.span_from(start),
        })
    }

    fn not(&mut self) -> Parsed {
        let start = self.start();
        if !self.eat_keyword("not") {
            return self.comparison();
        }
        let part = self.nested(Self::not)?;
        let part = self.as_condition(part)?;
        Ok(Expr {
            kind: Kind::Not(Box::new(part)),
            span: self.span_from(start),
        })
    }

    fn comparison(&mut self) -> Parsed {
        let start = self.start();
        let left = self.sum()?;
        let comparison = match self.peek() {
            Token::Symbol("=") => return Err(self.unexpected("`==` to compare")),
            Token::Symbol(s) => Comparison::ALL.into_iter().find(|c| c.symbol() == *s),
            Token::Keyword("in" | "not") => return self.membership(left, start),
            _ => None,
        };
        let Some(comparison) = comparison else {
            return Ok(left);
        };
        self.bump();
        let left = self.as_value(left)?;
        let right = self.sum()?;
        let right = self.as_value(right)?;
        if comparison.is_order() {
            for side in [&left, &right] {
                if let Some(found @ ("a string" | "a boolean")) = kind(side) {
                    let expected = "a number (others are compared by `==` and `!=`)";
                    return Err(self.wrong_part(side, found, expected));
                }
            }
        }
        if let (Some(expected), Some(found)) = (kind(&left), kind(&right))
            && expected != found
        {
            return Err(self.wrong_part(&right, found, &format!("{expected} like on the left")));
        }
        let kind = Kind::Compare(Box::new(left), comparison, Box::new(right));
        Ok(Expr {
            kind,
            span: self.span_from(start),
        })
    }

    fn membership(&mut self, value: Expr, start: usize) -> Parsed {
        let is_negated = self.eat_keyword("not");
        if !self.eat_keyword("in") {
            return Err(self.unexpected("`in`"));
        }
        let value = self.as_value(value)?;
        self.expect_symbol("[", "a list such as [\"a\", \"b\"]")?;
        let mut items: Vec<Expr> = Vec::new();
        loop {
            let item = self.item()?;
            let like = kind(items.first().unwrap_or(&value));
            if let (Some(expected), Some(found)) = (like, kind(&item))
                && expected != found
            {
                return Err(self.wrong_part(&item, found, &format!("{expected} like the others")));
            }
            items.push(item);
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_symbol("]", "`,` or `]`")?;
        let kind = Kind::In {
            value: Box::new(value),
            is_negated,
            items,
        };
        Ok(Expr {
            kind,
            span: self.span_from(start),
        })
    }

    fn item(&mut self) -> Parsed {
        let start = self.start();
        let is_negative = self.eat_symbol("-");
        let quantity = match self.peek().clone() {
            Token::Number(value, unit) => {
                Quantity::number(if is_negative { -value } else { value }).in_unit(unit)
            }
            Token::Text(text) if !is_negative => Quantity::from(text),
            _ => return Err(self.unexpected("a number or a string in quotes")),
        };
        self.bump();
        Ok(Expr {
            kind: Kind::Literal(quantity),
            span: self.span_from(start),
        })
    }

    fn sum(&mut self) -> Parsed {
        self.arithmetic(["+", "-"], Self::product, Kind::Sum)
    }

    fn product(&mut self) -> Parsed {
        self.arithmetic(["*", "/"], Self::factor, Kind::Product)
    }

    /// A chain of operands between `operators`, the second of which is the inverse.
    fn arithmetic(
        &mut self,
        operators: [&str; 2],
        read: fn(&mut Self) -> Parsed,
        kind: fn(Box<Expr>, Vec<(bool, Expr)>) -> Kind,
    ) -> Parsed {
        let start = self.start();
        let first = read(self)?;
        let mut rest = Vec::new();
        loop {
            let is_inverse = if self.eat_symbol(operators[0]) {
                false
            } else if self.eat_symbol(operators[1]) {
                true
            } else {
                break;
            };
            let part = read(self)?;
            rest.push((is_inverse, self.as_number(part)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let first = self.as_number(first)?;
        Ok(Expr {
            kind: kind(Box::new(first), rest),
            span: self.span_from(start),
        })
    }

    fn factor(&mut self) -> Parsed {
        let start = self.start();
        let kind = match self.peek().clone() {
            Token::Symbol("-") => {
                self.bump();
                let part = self.nested(Self::factor)?;
                Kind::Negative(Box::new(self.as_number(part)?))
            }
            Token::Symbol("(") => {
                self.bump();
                let part = self.nested(Self::or)?;
                self.expect_symbol(")", "an operator or `)`")?;
                return Ok(Expr {
                    span: self.span_from(start),
                    ..part
                });
            }
            Token::Number(value, unit) => {
                self.bump();
                Kind::Literal(Quantity::number(value).in_unit(unit))
            }
            Token::Text(text) => {
                self.bump();
                Kind::Literal(text.into())
            }
            Token::Keyword(word @ ("true" | "false")) => {
                self.bump();
                Kind::Literal((word == "true").into())
            }
            Token::Name(name) => {
                self.bump();
                Kind::Variable(Variable {
                    name,
                    labels: self.labels()?,
                })
            }
            _ => return Err(self.unexpected("a variable, a number, a string in quotes or `(`")),
        };
        Ok(Expr {
            kind,
            span: self.span_from(start),
        })
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, ConditionError> {
        let mut labels = BTreeMap::new();
        if !self.eat_symbol("{") || self.eat_symbol("}") {
            return Ok(labels);
        }
        loop {
            let Token::Name(name) = self.peek().clone() else {
                return Err(self.unexpected("a label such as service=\"gateway\""));
            };
            if labels.contains_key(&name) {
                return Err(self.unexpected("each label once"));
            }
            self.bump();
            self.expect_symbol("=", "`=` after the name of the label")?;
            let Token::Text(value) = self.peek().clone() else {
                return Err(self.unexpected("the value of the label, in quotes"));
            };
            self.bump();
            labels.insert(name, value);
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_symbol("}", "`,` or `}`")?;
        Ok(labels)
    }
}

/// What a part is, where that does not depend on values.
fn kind(part: &Expr) -> Option<&'static str> {
    match &part.kind {
        Kind::Or(_) | Kind::And(_) | Kind::Not(_) | Kind::Compare(..) | Kind::In { .. } => {
            Some("a condition")
        }
        Kind::Sum(..) | Kind::Product(..) | Kind::Negative(_) => Some("a number"),
        Kind::Literal(quantity) => Some(match quantity.value {
            Scalar::Number(_) => "a number",
            Scalar::Bool(_) => "a boolean",
            Scalar::Text(_) => "a string",
        }),
        Kind::Variable(_) => None,
    }
}

#[cfg(test)]
mod tests;
