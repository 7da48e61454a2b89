//! One record after the other, however the bytes come in.

use serde_json::Value;

use super::{list, without_guard};

/// Longest record. What is longer is a quote that was never closed, most likely.
pub const LONGEST_RECORD: usize = 64 * 1024;
/// Bytes that some programs put before everything else.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180.
    Csv {
        /// Between the values.
        delimiter: u8,
    },
    /// One JSON object a line.
    JsonLines,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The values of a CSV line.
    Values(Vec<String>, Size),
    /// The members of a JSON object that have a value.
    Members(Vec<(String, String)>, Size),
    /// An empty line.
    Blank(Size),
    /// A line that cannot be read.
    Broken(&'static str, Size),
    /// The record is not whole yet.
    Incomplete,
    /// There is nothing more.
    End,
}

/// What a record took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub bytes: usize,
    /// Lines: a quoted value may hold line ends.
    pub lines: u64,
}

/// Cuts the next record off. `whole` says that nothing follows these bytes.
pub fn next(bytes: &[u8], format: Format, first: bool, whole: bool) -> Next {
    let mark = if first && bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    if first && !whole && bytes.len() < BYTE_ORDER_MARK.len() {
        return Next::Incomplete;
    }
    let rest = &bytes[mark..];
    if rest.is_empty() {
        return if whole { Next::End } else { Next::Incomplete };
    }
    let found = match format {
        Format::Csv { delimiter } => csv(rest, delimiter, whole),
        Format::JsonLines => json_line(rest, whole),
    };
    grow(found, mark)
}

fn grow(next: Next, by: usize) -> Next {
    let more = |size: Size| Size {
        bytes: size.bytes + by,
        ..size
    };
    match next {
        Next::Values(values, size) => Next::Values(values, more(size)),
        Next::Members(members, size) => Next::Members(members, more(size)),
        Next::Blank(size) => Next::Blank(more(size)),
        Next::Broken(why, size) => Next::Broken(why, more(size)),
        Next::Incomplete => Next::Incomplete,
        Next::End => Next::End,
    }
}

fn first_line(bytes: &[u8]) -> Size {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |at| at + 1);
    Size { bytes: end, lines: 1 }
}

#[derive(Clone, Copy, PartialEq)]
enum In {
    Start,
    Plain,
    Quotes,
    AfterQuote,
}

fn csv(bytes: &[u8], delimiter: u8, whole: bool) -> Next {
    let mut values: Vec<Vec<u8>> = Vec::new();
    let (mut value, mut state, mut lines) = (Vec::new(), In::Start, 1_u64);
    let mut quoted = false;
    for (at, byte) in bytes.iter().copied().enumerate() {
        if at >= LONGEST_RECORD {
            let why = "is longer than 64 KiB; is a quote not closed?";
            return Next::Broken(why, first_line(bytes));
        }
        match (state, byte) {
            (In::Quotes, b'"') => state = In::AfterQuote,
            (In::Quotes, _) => {
                lines += u64::from(byte == b'\n');
                value.push(byte);
            }
            (In::AfterQuote, b'"') => {
                value.push(b'"');
                state = In::Quotes;
            }
            (In::Start, b'"') => {
                state = In::Quotes;
                quoted = true;
            }
            (In::Start | In::Plain | In::AfterQuote, b'\n') => {
                values.push(value);
                let size = Size { bytes: at + 1, lines };
                return record(values, quoted, size);
            }
            // The return of a line end; one in the middle of a value is kept.
            (In::Start | In::Plain | In::AfterQuote, b'\r')
                if bytes.get(at + 1).is_none_or(|b| *b == b'\n') => {}
            (In::Start | In::Plain | In::AfterQuote, _) if byte == delimiter => {
                values.push(std::mem::take(&mut value));
                state = In::Start;
            }
            (In::Start | In::Plain, _) => {
                value.push(byte);
                state = In::Plain;
            }
            (In::AfterQuote, _) => {
                let why = "goes on after a closing quote";
                return match bytes[at..].iter().position(|b| *b == b'\n') {
                    Some(more) => Next::Broken(
                        why,
                        Size {
                            bytes: at + more + 1,
                            lines,
                        },
                    ),
                    None if whole || bytes.len() >= LONGEST_RECORD => Next::Broken(
                        why,
                        Size {
                            bytes: bytes.len(),
                            lines,
                        },
                    ),
                    None => Next::Incomplete,
                };
            }
        }
    }
    if !whole {
        return Next::Incomplete;
    }
    let size = Size {
        bytes: bytes.len(),
        lines,
    };
    if state == In::Quotes {
        return Next::Broken("has a quote that is not closed", first_line(bytes));
    }
    values.push(value);
    record(values, quoted, size)
}

fn record(values: Vec<Vec<u8>>, quoted: bool, size: Size) -> Next {
    if !quoted && values.len() == 1 && values[0].iter().all(u8::is_ascii_whitespace) {
        return Next::Blank(size);
    }
    let texts: Result<Vec<String>, _> = values.into_iter().map(String::from_utf8).collect();
    match texts {
        Ok(values) => Next::Values(values.into_iter().map(without_guard).collect(), size),
        Err(_) => Next::Broken("is not UTF-8", size),
    }
}

fn json_line(bytes: &[u8], whole: bool) -> Next {
    let end = bytes.iter().position(|b| *b == b'\n');
    let size = match end {
        Some(at) => Size {
            bytes: at + 1,
            lines: 1,
        },
        None if bytes.len() > LONGEST_RECORD || whole => first_line(bytes),
        None => return Next::Incomplete,
    };
    if size.bytes > LONGEST_RECORD + 1 {
        return Next::Broken("is longer than 64 KiB", size);
    }
    let line = &bytes[..size.bytes];
    if line.iter().all(u8::is_ascii_whitespace) {
        return Next::Blank(size);
    }
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(line) else {
        return Next::Broken("is no JSON object", size);
    };
    let mut texts = Vec::with_capacity(members.len());
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::String(text) => texts.push((name, text)),
            Value::Bool(truth) => texts.push((name, truth.to_string())),
            Value::Number(number) => texts.push((name, number.to_string())),
            Value::Array(parts) => {
                let Some(parts) = parts.iter().map(|p| p.as_str()).collect::<Option<Vec<_>>>() else {
                    return Next::Broken("has a list of something else than texts", size);
                };
                texts.push((name, list::join(parts)));
            }
            Value::Object(_) => return Next::Broken("has an object inside the object", size),
        }
    }
    Next::Members(texts, size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::import::csv_value;

    const CSV: Format = Format::Csv { delimiter: b',' };

    /// All records of bytes that arrive in pieces, with the line each begins on.
    fn read(bytes: &[u8], format: Format, piece: usize) -> Vec<(u64, Next)> {
        let (mut arrived, mut worked, mut line, mut found) = (0, 0, 1, Vec::new());
        loop {
            let step = next(
                &bytes[worked..arrived],
                format,
                worked == 0,
                arrived == bytes.len(),
            );
            let size = match &step {
                Next::Incomplete => {
                    arrived = (arrived + piece).min(bytes.len());
                    continue;
                }
                Next::End => return found,
                Next::Values(_, size)
                | Next::Members(_, size)
                | Next::Blank(size)
                | Next::Broken(_, size) => *size,
            };
            assert!(size.bytes > 0, "no step");
            worked += size.bytes;
            found.push((line, step));
            line += size.lines;
        }
    }

    #[test]
    fn quotes_line_ends_and_marks_are_understood() {
        let text = "\u{feff}a,b\r\n\"x, \"\"y\"\"\n z\",2\r\n\n3,\n";
        let found = read(text.as_bytes(), CSV, 1);
        let values: Vec<(u64, Vec<&str>)> = found
            .iter()
            .filter_map(|(line, next)| match next {
                Next::Values(v, _) => Some((*line, v.iter().map(String::as_str).collect())),
                _ => None,
            })
            .collect();
        assert_eq!(
            values,
            [
                (1, vec!["a", "b"]),
                (2, vec!["x, \"y\"\n z", "2"]),
                (5, vec!["3", ""])
            ]
        );
    }

    #[test]
    fn a_broken_line_does_not_take_the_next_with_it() {
        let text = "a,b\n\"x\"y,1\nc,d\n\"never closed,2\n";
        let found = read(text.as_bytes(), CSV, 3);
        let broken: Vec<u64> = found
            .iter()
            .filter_map(|(line, next)| matches!(next, Next::Broken(..)).then_some(*line))
            .collect();
        assert_eq!(broken, [2, 4]);
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_one_line_only() {
        let mut text = String::from("\"open\n");
        for _ in 0..20_000 {
            text.push_str("good,line\n");
        }
        let found = read(text.as_bytes(), CSV, 10_000);
        let good = found
            .iter()
            .filter(|(_, n)| matches!(n, Next::Values(..)))
            .count();
        assert_eq!(good, 20_000);
    }

    #[test]
    fn json_lines_give_their_members_as_texts() {
        let text = "{\"a\":1,\"b\":null,\"c\":true,\"d\":[\"x\",\"y\"]}\n[1]\n{\"a\":{}}\n{\"a\":\"z\"}";
        let found = read(text.as_bytes(), Format::JsonLines, 7);
        let Next::Members(first, _) = &found[0].1 else {
            panic!("{found:?}")
        };
        assert_eq!(
            first,
            &[
                ("a".to_owned(), "1".to_owned()),
                ("c".into(), "true".into()),
                ("d".into(), "x|y".into())
            ]
        );
        assert!(matches!(found[1].1, Next::Broken(..)) && matches!(found[2].1, Next::Broken(..)));
        assert!(matches!(found[3].1, Next::Members(..)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_arrives(
            rows in prop::collection::vec(prop::collection::vec("[a-z ,;\"\r\n\u{e8}]{0,8}", 2..4), 1..6),
            piece in 1..9_usize, delimiter in prop::sample::select(vec![b',', b';', b'\t']),
        ) {
            let written: String = rows
                .iter()
                .map(|row| {
                    let values: Vec<String> = row.iter().map(|v| csv_value(v, delimiter)).collect();
                    values.join(&char::from(delimiter).to_string()) + "\r\n"
                })
                .collect();
            let found = read(written.as_bytes(), Format::Csv { delimiter }, piece);
            let values: Vec<Vec<String>> = found
                .into_iter()
                .filter_map(|(_, next)| match next { Next::Values(v, _) => Some(v), _ => None })
                .collect();
            prop_assert_eq!(values, rows);
        }

        #[test]
        fn any_bytes_come_to_an_end_and_the_pieces_do_not_matter(
            bytes in prop::collection::vec(prop::sample::select(b"ab\",;\r\n{}[]: \xff\xc3".to_vec()), 0..60),
            piece in 1..9_usize, json in any::<bool>(),
        ) {
            let format = if json { Format::JsonLines } else { CSV };
            prop_assert_eq!(read(&bytes, format, piece), read(&bytes, format, 1_000));
        }
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_kept_from_it_and_read_as_it_was() {
        let written = |value: &str| csv_value(value, b',');
        assert_eq!(written("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(written("@SUM(1)"), "'@SUM(1)");
        assert_eq!(written("+39333|+39444"), "+39333|+39444");
        assert_eq!(written("+cmd"), "'+cmd");
        for value in ["=1", "'=1", "''=1", "'Ndrangheta", "-3", "-a", "+39333"] {
            let line = format!("{}\n", written(value));
            match next(line.as_bytes(), CSV, false, true) {
                Next::Values(values, _) => assert_eq!(values, [value]),
                other => panic!("{other:?}"),
            }
        }
    }
}
