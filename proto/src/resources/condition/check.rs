//! What a condition may say: words, types and values, checked before it is ever used.

use super::{
    Problem, Word, WordType,
    parse::{Expr, Node, Operator},
};

/// What a part of a condition evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Truth,
    Whole,
    Decimal,
    Text,
    /// Text of a word that has few values.
    OneOf(&'static str, &'static [&'static str]),
    Texts,
    Wholes,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Type::Truth => "true or false",
            Type::Whole => "a whole number",
            Type::Decimal => "a decimal number",
            Type::Text | Type::OneOf(..) => "a text",
            Type::Texts => "a list of texts",
            Type::Wholes => "a list of whole numbers",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Type::Text | Type::OneOf(..))
    }

    fn is_number(self) -> bool {
        matches!(self, Type::Whole | Type::Decimal)
    }

    fn is_list(self) -> bool {
        matches!(self, Type::Texts | Type::Wholes)
    }
}

fn fault<T>(node: &Node, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem {
        at: node.at,
        message: message.into(),
    })
}

/// Checks a whole condition; gives the words it uses.
pub(super) fn condition(root: &Node, words: &'static [Word]) -> Result<Vec<&'static str>, Problem> {
    let mut checker = Checker {
        words,
        used: Vec::new(),
    };
    let found = checker.check(root)?;
    if found != Type::Truth {
        return fault(
            root,
            format!("a condition is true or false, this is {}", found.words()),
        );
    }
    checker.used.sort_unstable();
    checker.used.dedup();
    Ok(checker.used)
}

struct Checker {
    words: &'static [Word],
    used: Vec<&'static str>,
}

impl Checker {
    fn check(&mut self, node: &Node) -> Result<Type, Problem> {
        match &node.expr {
            Expr::Word(name) => self.word(node, name),
            Expr::Truth(_) => Ok(Type::Truth),
            Expr::Whole(_) => Ok(Type::Whole),
            Expr::Decimal(_) => Ok(Type::Decimal),
            Expr::Text(_) => Ok(Type::Text),
            Expr::List(elements) => self.list(node, elements),
            Expr::Not(inner) => {
                self.must_be(inner, Type::Truth)?;
                Ok(Type::Truth)
            }
            Expr::Negate(inner) => {
                let found = self.check(inner)?;
                if found.is_number() {
                    Ok(found)
                } else {
                    fault(inner, format!("`-` needs a number, this is {}", found.words()))
                }
            }
            Expr::If(test, yes, no) => {
                self.must_be(test, Type::Truth)?;
                let (yes_is, no_is) = (self.check(yes)?, self.check(no)?);
                if yes_is == no_is {
                    Ok(yes_is)
                } else if yes_is.is_text() && no_is.is_text() {
                    Ok(Type::Text)
                } else {
                    fault(
                        no,
                        format!("here must be {} too, this is {}", yes_is.words(), no_is.words()),
                    )
                }
            }
            Expr::Method(method, text, part) => {
                for side in [text, part] {
                    let found = self.check(side)?;
                    if !found.is_text() {
                        return fault(
                            side,
                            format!("`{}` needs texts, this is {}", method.name(), found.words()),
                        );
                    }
                }
                Ok(Type::Truth)
            }
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right),
        }
    }

    fn word(&mut self, node: &Node, name: &str) -> Result<Type, Problem> {
        let Some(word) = self.words.iter().find(|w| w.name == name) else {
            let known: Vec<&str> = self.words.iter().map(|w| w.name).collect();
            let hint = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", known.join(", ")),
            };
            return fault(node, format!("`{name}` is not known here; {hint}"));
        };
        self.used.push(word.name);
        Ok(match word.is {
            WordType::Truth => Type::Truth,
            WordType::Whole => Type::Whole,
            WordType::Decimal => Type::Decimal,
            WordType::Text => Type::Text,
            WordType::OneOf(values) => Type::OneOf(word.name, values),
        })
    }

    fn list(&mut self, node: &Node, elements: &[Node]) -> Result<Type, Problem> {
        let mut of = None;
        for element in elements {
            let found = self.check(element)?;
            if *of.get_or_insert(found) != found || !matches!(found, Type::Text | Type::Whole) {
                return fault(element, "a list holds texts only, or whole numbers only");
            }
        }
        match of {
            Some(Type::Whole) => Ok(Type::Wholes),
            Some(_) => Ok(Type::Texts),
            None => fault(node, "nothing is in an empty list"),
        }
    }

    fn binary(&mut self, operator: Operator, left: &Node, right: &Node) -> Result<Type, Problem> {
        let sign = operator.sign();
        match operator {
            Operator::And | Operator::Or => {
                self.must_be(left, Type::Truth)?;
                self.must_be(right, Type::Truth)?;
                Ok(Type::Truth)
            }
            Operator::Equal | Operator::NotEqual => {
                let (l, r) = (self.check(left)?, self.check(right)?);
                may_be(l, right)?;
                may_be(r, left)?;
                let alike = (l.is_text() && r.is_text()) || (l.is_number() && r.is_number()) || l == r;
                if alike && !l.is_list() {
                    Ok(Type::Truth)
                } else {
                    fault(
                        right,
                        format!("`{sign}` does not compare {} with {}", l.words(), r.words()),
                    )
                }
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                for side in [left, right] {
                    let found = self.check(side)?;
                    if !found.is_number() {
                        return fault(
                            side,
                            format!("`{sign}` compares numbers, this is {}", found.words()),
                        );
                    }
                }
                Ok(Type::Truth)
            }
            Operator::In => self.is_in(left, right),
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => self.calculate(sign, left, right),
        }
    }

    fn calculate(&mut self, sign: &str, left: &Node, right: &Node) -> Result<Type, Problem> {
        let (l, r) = (self.check(left)?, self.check(right)?);
        for (side, found) in [(left, l), (right, r)] {
            if !found.is_number() {
                return fault(side, format!("`{sign}` needs numbers, this is {}", found.words()));
            }
        }
        if l != r {
            return fault(
                right,
                format!("`{sign}` does not mix whole and decimal numbers: write 2.0 instead of 2"),
            );
        }
        if sign == "%" && l == Type::Decimal {
            return fault(left, "`%` needs whole numbers");
        }
        Ok(l)
    }

    fn is_in(&mut self, left: &Node, right: &Node) -> Result<Type, Problem> {
        let (l, r) = (self.check(left)?, self.check(right)?);
        if !r.is_list() {
            return fault(
                right,
                format!("`in` needs a list such as ['a', 'b'], this is {}", r.words()),
            );
        }
        if let Expr::List(elements) = &right.expr {
            elements.iter().try_for_each(|element| may_be(l, element))?;
        }
        if (r == Type::Texts && l.is_text()) || (r == Type::Wholes && l == Type::Whole) {
            Ok(Type::Truth)
        } else {
            fault(left, format!("{} is never in {}", l.words(), r.words()))
        }
    }

    fn must_be(&mut self, node: &Node, expected: Type) -> Result<(), Problem> {
        let found = self.check(node)?;
        if found == expected {
            Ok(())
        } else {
            fault(
                node,
                format!("here must be {}, this is {}", expected.words(), found.words()),
            )
        }
    }
}

/// A word with few values is compared with one of them.
fn may_be(word: Type, value: &Node) -> Result<(), Problem> {
    match (word, &value.expr) {
        (Type::OneOf(name, values), Expr::Text(text)) if !values.contains(&text.as_str()) => fault(
            value,
            format!("`{name}` is never '{text}'; it is one of {}", values.join(", ")),
        ),
        _ => Ok(()),
    }
}

/// The texts that stand beside a word in `==`, `!=` and `in`.
pub(super) fn texts_compared_with<'a>(node: &'a Node, word: &str, found: &mut Vec<&'a str>) {
    match &node.expr {
        Expr::Word(_)
        | Expr::Truth(_)
        | Expr::Whole(_)
        | Expr::Decimal(_)
        | Expr::Text(_)
        | Expr::List(_) => {}
        Expr::Not(inner) | Expr::Negate(inner) => texts_compared_with(inner, word, found),
        Expr::If(test, yes, no) => [test, yes, no]
            .into_iter()
            .for_each(|part| texts_compared_with(part, word, found)),
        Expr::Method(_, left, right) => [left, right]
            .into_iter()
            .for_each(|part| texts_compared_with(part, word, found)),
        Expr::Binary(operator, left, right) => {
            if matches!(operator, Operator::Equal | Operator::NotEqual | Operator::In) {
                for (one, other) in [(left, right), (right, left)] {
                    if matches!(&one.expr, Expr::Word(name) if name == word) {
                        found.extend(texts(other));
                    }
                }
            }
            texts_compared_with(left, word, found);
            texts_compared_with(right, word, found);
        }
    }
}

fn texts(node: &Node) -> impl Iterator<Item = &str> {
    let nodes = match &node.expr {
        Expr::List(elements) => elements.as_slice(),
        _ => std::slice::from_ref(node),
    };
    nodes.iter().filter_map(|node| match &node.expr {
        Expr::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The known word that differs by at most two edits, if any.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (edits(&name.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
