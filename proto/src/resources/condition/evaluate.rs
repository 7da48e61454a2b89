//! What a condition amounts to. Types are right already; only facts can be missing and numbers grow too large.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    Fact,
    parse::{Expr, Method, Node, Operator},
};

/// A value on the way.
enum Value<'a> {
    Truth(bool),
    Whole(i64),
    Decimal(f64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
}

/// Whether it holds.
pub(super) fn holds(node: &Node, fact: &dyn Fn(&str) -> Option<Fact>) -> Result<bool, String> {
    match value(node, fact)? {
        Value::Truth(truth) => Ok(truth),
        Value::Whole(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_) => Err(unfit()),
    }
}

/// The check has excluded this; a fact of another type than its word would do it.
fn unfit() -> String {
    "a fact is of another type than its word".to_owned()
}

fn value<'a>(node: &'a Node, fact: &dyn Fn(&str) -> Option<Fact>) -> Result<Value<'a>, String> {
    Ok(match &node.expr {
        Expr::Word(name) => match fact(name).ok_or_else(|| format!("`{name}` is not known now"))? {
            Fact::Truth(truth) => Value::Truth(truth),
            Fact::Whole(number) => Value::Whole(number),
            Fact::Decimal(number) => Value::Decimal(number),
            Fact::Text(text) => Value::Text(Cow::Owned(text)),
        },
        Expr::Truth(truth) => Value::Truth(*truth),
        Expr::Whole(number) => Value::Whole(*number),
        Expr::Decimal(number) => Value::Decimal(*number),
        Expr::Text(text) => Value::Text(Cow::Borrowed(text)),
        Expr::List(elements) => Value::List(
            elements
                .iter()
                .map(|e| value(e, fact))
                .collect::<Result<_, _>>()?,
        ),
        Expr::Not(inner) => Value::Truth(!holds(inner, fact)?),
        Expr::Negate(inner) => match value(inner, fact)? {
            Value::Whole(number) => Value::Whole(number.checked_neg().ok_or_else(too_large)?),
            Value::Decimal(number) => Value::Decimal(-number),
            Value::Truth(_) | Value::Text(_) | Value::List(_) => return Err(unfit()),
        },
        Expr::If(test, yes, no) => return value(if holds(test, fact)? { yes } else { no }, fact),
        Expr::Method(method, text, part) => match (value(text, fact)?, value(part, fact)?) {
            (Value::Text(text), Value::Text(part)) => Value::Truth(match method {
                Method::Contains => text.contains(&*part),
                Method::StartsWith => text.starts_with(&*part),
                Method::EndsWith => text.ends_with(&*part),
            }),
            _ => return Err(unfit()),
        },
        // One side that decides is enough, even when the other cannot be said.
        Expr::Binary(Operator::And, left, right) => Value::Truth(decided(false, left, right, fact)?),
        Expr::Binary(Operator::Or, left, right) => Value::Truth(decided(true, left, right, fact)?),
        Expr::Binary(operator, left, right) => binary(*operator, &value(left, fact)?, &value(right, fact)?)?,
    })
}

/// `||` when `by` is true, `&&` when it is false.
fn decided(by: bool, left: &Node, right: &Node, fact: &dyn Fn(&str) -> Option<Fact>) -> Result<bool, String> {
    match holds(left, fact) {
        Ok(left) if left == by => Ok(by),
        Ok(_) => holds(right, fact),
        Err(unknown) => match holds(right, fact) {
            Ok(right) if right == by => Ok(by),
            Ok(_) | Err(_) => Err(unknown),
        },
    }
}

fn binary<'a>(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, String> {
    let is = |orderings: &[Ordering]| compare(left, right).is_some_and(|found| orderings.contains(&found));
    Ok(match operator {
        Operator::Equal => Value::Truth(equal(left, right)),
        Operator::NotEqual => Value::Truth(!equal(left, right)),
        Operator::Less => Value::Truth(is(&[Ordering::Less])),
        Operator::LessOrEqual => Value::Truth(is(&[Ordering::Less, Ordering::Equal])),
        Operator::Greater => Value::Truth(is(&[Ordering::Greater])),
        Operator::GreaterOrEqual => Value::Truth(is(&[Ordering::Greater, Ordering::Equal])),
        Operator::In => match right {
            Value::List(elements) => Value::Truth(elements.iter().any(|e| equal(left, e))),
            Value::Truth(_) | Value::Whole(_) | Value::Decimal(_) | Value::Text(_) => return Err(unfit()),
        },
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            calculate(operator, left, right)?
        }
        Operator::And | Operator::Or => return Err(unfit()),
    })
}

fn calculate<'a>(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, String> {
    match (left, right) {
        (Value::Whole(l), Value::Whole(r)) => {
            if *r == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
                return Err("it divides by zero".to_owned());
            }
            let number = match operator {
                Operator::Add => l.checked_add(*r),
                Operator::Subtract => l.checked_sub(*r),
                Operator::Multiply => l.checked_mul(*r),
                Operator::Divide => l.checked_div(*r),
                Operator::Remainder => l.checked_rem(*r),
                _ => return Err(unfit()),
            };
            number.map(Value::Whole).ok_or_else(too_large)
        }
        (Value::Decimal(l), Value::Decimal(r)) => Ok(Value::Decimal(match operator {
            Operator::Add => l + r,
            Operator::Subtract => l - r,
            Operator::Multiply => l * r,
            Operator::Divide => l / r,
            _ => return Err(unfit()),
        })),
        _ => Err(unfit()),
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Truth(l), Value::Truth(r)) => l == r,
        (Value::Text(l), Value::Text(r)) => l == r,
        _ => compare(left, right) == Some(Ordering::Equal),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole numbers here are seconds and counts, far below 2^53"
)]
fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Whole(l), Value::Whole(r)) => Some(l.cmp(r)),
        (Value::Decimal(l), Value::Decimal(r)) => l.partial_cmp(r),
        (Value::Whole(l), Value::Decimal(r)) => (*l as f64).partial_cmp(r),
        (Value::Decimal(l), Value::Whole(r)) => l.partial_cmp(&(*r as f64)),
        _ => None,
    }
}

fn too_large() -> String {
    "a number grows too large".to_owned()
}
