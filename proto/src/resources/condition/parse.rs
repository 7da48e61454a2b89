//! From text to a tree: the part of CEL's grammar that conditions offer.
//!
//! Written by hand because the stack must not depend on what a tenant writes: eight nested brackets exhaust a megabyte in
//! the `cel` crate's parser, fifty additions in its evaluation (unoptimised build), and that ends the process.

use super::{MAX_LENGTH, Problem};

/// How deep brackets, signs and `? :` may nest.
const MAX_DEPTH: u32 = 16;
/// How many signs between parts there may be: a tree of them is as deep as they are many.
const MAX_OPERATORS: u32 = 64;

/// A part of a condition, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Which character, from 0: of an operation, that of its sign.
    pub at: usize,
    /// What it is.
    pub expr: Expr,
}

/// What a part of a condition is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Word(String),
    Truth(bool),
    Whole(i64),
    Decimal(f64),
    Text(String),
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    Method(Method, Box<Node>, Box<Node>),
}

/// Signs between two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    const ALL: [(&'static str, Operator, u8); 14] = [
        ("||", Operator::Or, 1),
        ("&&", Operator::And, 2),
        ("==", Operator::Equal, 3),
        ("!=", Operator::NotEqual, 3),
        ("<=", Operator::LessOrEqual, 3),
        (">=", Operator::GreaterOrEqual, 3),
        ("<", Operator::Less, 3),
        (">", Operator::Greater, 3),
        ("in", Operator::In, 3),
        ("+", Operator::Add, 4),
        ("-", Operator::Subtract, 4),
        ("*", Operator::Multiply, 5),
        ("/", Operator::Divide, 5),
        ("%", Operator::Remainder, 5),
    ];

    /// As written.
    pub(super) fn sign(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, o, _)| *o == self)
            .map_or("", |(sign, _, _)| sign)
    }
}

/// Functions of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Contains,
    StartsWith,
    EndsWith,
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        match name {
            "contains" => Some(Method::Contains),
            "startsWith" => Some(Method::StartsWith),
            "endsWith" => Some(Method::EndsWith),
            _ => None,
        }
    }

    /// As written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Contains => "contains",
            Method::StartsWith => "startsWith",
            Method::EndsWith => "endsWith",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Whole(i64),
    Decimal(f64),
    Text(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn words(&self) -> String {
        match self {
            Token::Name(name) => format!("`{name}`"),
            Token::Whole(number) => format!("`{number}`"),
            Token::Decimal(number) => format!("`{number}`"),
            Token::Text(text) => format!("'{text}'"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        }
    }
}

/// Longer signs first.
const SIGNS: [&str; 22] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]",
    ",", ".",
];

/// Reads a whole condition.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let length = source.chars().count();
    if length > MAX_LENGTH {
        let message =
            format!("has {length} characters, at most {MAX_LENGTH} are allowed: split it into several rules");
        return Err(Problem {
            at: MAX_LENGTH,
            message,
        });
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        next: 0,
        depth: 0,
        operators: 0,
    };
    let node = parser.choice()?;
    match parser.peek() {
        (_, Token::End) => Ok(node),
        (at, other) => problem(
            *at,
            format!("here the condition should end, this is {}", other.words()),
        ),
    }
}

fn problem<T>(at: usize, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem {
        at,
        message: message.into(),
    })
}

fn tokens(source: &str) -> Result<Vec<(usize, Token)>, Problem> {
    let characters: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let rest = &characters[at..];
        let (token, length) = match character {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' => text(at, rest)?,
            c if c.is_ascii_digit() => number(at, rest)?,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let name: String = rest
                    .iter()
                    .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
                    .collect();
                let length = name.len();
                (Token::Name(name), length)
            }
            _ => sign(at, rest)?,
        };
        found.push((at, token));
        at += length;
    }
    found.push((at, Token::End));
    Ok(found)
}

fn text(at: usize, rest: &[char]) -> Result<(Token, usize), Problem> {
    let quote = rest[0];
    let inside: String = rest[1..].iter().take_while(|c| **c != quote).collect();
    let length = inside.chars().count() + 2;
    if length > rest.len() {
        return problem(at, format!("this text does not end: {quote} is missing"));
    }
    if let Some(place) = inside.chars().position(|c| c == '\\') {
        return problem(at + 1 + place, "`\\` is not offered in texts");
    }
    Ok((Token::Text(inside), length))
}

fn number(at: usize, rest: &[char]) -> Result<(Token, usize), Problem> {
    let digits = |from: usize| rest[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let whole = digits(0);
    let decimals = if rest.get(whole) == Some(&'.') {
        digits(whole + 1)
    } else {
        0
    };
    let length = if decimals > 0 { whole + 1 + decimals } else { whole };
    if rest
        .get(length)
        .is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
    {
        return problem(at, "write numbers as 12 or 0.5");
    }
    let written: String = rest[..length].iter().collect();
    let token = if decimals > 0 {
        written.parse().ok().map(Token::Decimal)
    } else {
        written.parse().ok().map(Token::Whole)
    };
    match token {
        Some(token) => Ok((token, length)),
        None => problem(at, "this number is too large"),
    }
}

fn sign(at: usize, rest: &[char]) -> Result<(Token, usize), Problem> {
    let starts = |sign: &&str| sign.chars().zip(rest).filter(|(a, b)| a == *b).count() == sign.len();
    match SIGNS.into_iter().find(|sign| starts(sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => problem(
            at,
            match rest[0] {
                '=' => "`=` is not known here; did you mean `==`?".to_owned(),
                '&' => "`&` is not known here; did you mean `&&`?".to_owned(),
                '|' => "`|` is not known here; did you mean `||`?".to_owned(),
                '{' => "`{..}` is not offered in conditions".to_owned(),
                other => format!("`{other}` is not known here"),
            },
        ),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: u32,
    operators: u32,
}

impl Parser {
    fn peek(&self) -> &(usize, Token) {
        // The last token is `End`, and nothing steps over it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> (usize, Token) {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_if(&mut self, sign: &'static str) -> Option<usize> {
        match self.peek() {
            (at, Token::Sign(found)) if *found == sign => {
                let at = *at;
                self.next += 1;
                Some(at)
            }
            _ => None,
        }
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Problem> {
        if self.take_if(sign).is_some() {
            return Ok(());
        }
        let (at, token) = self.peek();
        problem(*at, format!("`{sign}` is missing, this is {}", token.words()))
    }

    /// Everything that recurses comes through here.
    fn deeper(
        &mut self,
        at: usize,
        parse: impl FnOnce(&mut Self) -> Result<Node, Problem>,
    ) -> Result<Node, Problem> {
        if self.depth == MAX_DEPTH {
            return problem(
                at,
                format!("this nests deeper than {MAX_DEPTH}: write it simpler"),
            );
        }
        self.depth += 1;
        let node = parse(self);
        self.depth -= 1;
        node
    }

    fn choice(&mut self) -> Result<Node, Problem> {
        let test = self.operation(1)?;
        let Some(at) = self.take_if("?") else {
            return Ok(test);
        };
        let yes = self.operation(1)?;
        self.expect(":")?;
        let no = self.deeper(at, Self::choice)?;
        Ok(Node {
            at,
            expr: Expr::If(Box::new(test), Box::new(yes), Box::new(no)),
        })
    }

    /// Signs that bind at least so strongly.
    fn operation(&mut self, least: u8) -> Result<Node, Problem> {
        let mut left = self.signed()?;
        loop {
            let (at, token) = self.peek();
            let at = *at;
            let written = match token {
                Token::Sign(sign) => *sign,
                Token::Name(name) => name,
                Token::Whole(_) | Token::Decimal(_) | Token::Text(_) | Token::End => return Ok(left),
            };
            let known = Operator::ALL.iter().find(|(sign, _, _)| *sign == written);
            let Some((_, operator, binds)) = known.filter(|(_, _, binds)| *binds >= least) else {
                return Ok(left);
            };
            self.next += 1;
            self.operators += 1;
            if self.operators > MAX_OPERATORS {
                return problem(
                    at,
                    format!("more than {MAX_OPERATORS} operators: split it into several rules"),
                );
            }
            // At most five levels of binding: this recursion needs no count of its own.
            let right = self.operation(binds + 1)?;
            left = Node {
                at,
                expr: Expr::Binary(*operator, Box::new(left), Box::new(right)),
            };
        }
    }

    fn signed(&mut self) -> Result<Node, Problem> {
        if let Some(at) = self.take_if("!") {
            let inner = self.deeper(at, Self::signed)?;
            return Ok(Node {
                at,
                expr: Expr::Not(Box::new(inner)),
            });
        }
        if let Some(at) = self.take_if("-") {
            let inner = self.deeper(at, Self::signed)?;
            return Ok(Node {
                at,
                expr: Expr::Negate(Box::new(inner)),
            });
        }
        self.member()
    }

    fn member(&mut self) -> Result<Node, Problem> {
        let mut node = self.single()?;
        loop {
            if let Some(at) = self.take_if("[") {
                return problem(at, "`[..]` picks from lists, and no word is one");
            }
            if self.take_if(".").is_none() {
                return Ok(node);
            }
            let (at, token) = self.take();
            let Token::Name(name) = token else {
                return problem(
                    at,
                    format!(
                        "after `.` stands the name of a function, this is {}",
                        token.words()
                    ),
                );
            };
            if self.take_if("(").is_none() {
                return problem(at, format!("words have no parts: `.{name}` does not exist"));
            }
            let Some(method) = Method::named(&name) else {
                return problem(at, not_offered(&name));
            };
            self.operators += 1;
            let argument = self.deeper(at, Self::choice)?;
            self.expect(")")?;
            node = Node {
                at,
                expr: Expr::Method(method, Box::new(node), Box::new(argument)),
            };
        }
    }

    fn single(&mut self) -> Result<Node, Problem> {
        let (at, token) = self.take();
        let expr = match token {
            Token::Name(name) => return self.named(at, name),
            Token::Whole(number) => Expr::Whole(number),
            Token::Decimal(number) => Expr::Decimal(number),
            Token::Text(text) => Expr::Text(text),
            Token::Sign("(") => {
                let node = self.deeper(at, Self::choice)?;
                self.expect(")")?;
                return Ok(node);
            }
            Token::Sign("[") => {
                let mut elements = Vec::new();
                while self.take_if("]").is_none() {
                    if !elements.is_empty() {
                        self.expect(",")?;
                    }
                    elements.push(self.deeper(at, Self::choice)?);
                }
                Expr::List(elements)
            }
            Token::Sign(sign) => return problem(at, format!("before `{sign}` something is missing")),
            Token::End => return problem(at, "something is missing at the end"),
        };
        Ok(Node { at, expr })
    }

    fn named(&mut self, at: usize, name: String) -> Result<Node, Problem> {
        if self.take_if("(").is_some() {
            return problem(at, not_offered(&name));
        }
        let expr = match name.as_str() {
            "true" => Expr::Truth(true),
            "false" => Expr::Truth(false),
            "null" => return problem(at, "`null` fits nothing: compare a text with ''"),
            "in" => return problem(at, "before `in` something is missing"),
            _ => Expr::Word(name),
        };
        Ok(Node { at, expr })
    }
}

fn not_offered(name: &str) -> String {
    format!("the function `{name}` is not offered; there are contains, startsWith and endsWith")
}
