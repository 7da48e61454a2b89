//! Several values in one column: `a|b`, with `\|` and `\\` for what would part them.

/// Between two values.
const BETWEEN: char = '|';

/// Values as one text.
pub fn join<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            text.push(BETWEEN);
        }
        for c in value.chars() {
            if matches!(c, BETWEEN | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text
}

/// The values of a text, without those that are empty. A `\` before anything else is itself.
pub fn split(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(&next)) if matches!(next, BETWEEN | '\\') => {
                value.push(next);
                rest.next();
            }
            (BETWEEN, _) => values.push(std::mem::take(&mut value)),
            _ => value.push(c),
        }
    }
    values.push(value);
    values.retain(|v| !v.trim().is_empty());
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_other_systems_write_is_read_as_it_stands() {
        assert_eq!(split("a | b||"), ["a ", " b"]);
        assert_eq!(split(r"ACME\anna"), [r"ACME\anna"]);
        assert_eq!(split(r"a\|b"), ["a|b"]);
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_again(values in prop::collection::vec(r"[a-z|\\ ]{0,6}[a-z|\\]", 0..5)) {
            prop_assert_eq!(split(&join(values.iter().map(String::as_str))), values);
        }
    }
}
