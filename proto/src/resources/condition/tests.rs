use super::*;

struct Test;

impl Vocabulary for Test {
    const WORDS: &'static [Word] = &[
        word("channel", WordType::OneOf(&["voice", "email", "webChat"])),
        word("intent", WordType::Text),
        word("urgency", WordType::Decimal),
        word("waitedSeconds", WordType::Whole),
        word("open", WordType::Truth),
    ];
}

const fn word(name: &'static str, is: WordType) -> Word {
    Word { name, is, about: "" }
}

fn fact(name: &str) -> Option<Fact> {
    match name {
        "channel" => Some(Fact::Text("voice".into())),
        "intent" => Some(Fact::Text("billing".into())),
        "urgency" => Some(Fact::Decimal(0.8)),
        "waitedSeconds" => Some(Fact::Whole(90)),
        _ => None,
    }
}

fn holds(source: &str) -> Result<bool, String> {
    Condition::<Test>::parse(source)?.holds(fact)
}

fn refused(source: &str) -> String {
    Condition::<Test>::parse(source).expect_err(source)
}

#[test]
fn conditions_hold_or_not() {
    for (source, expected) in [
        ("channel == 'voice' && urgency > 0.5", true),
        ("channel in ['email', 'webChat'] || intent == 'billing'", true),
        ("waitedSeconds >= 60 && !(urgency < 0.5)", true),
        ("intent.startsWith('bill') && !intent.contains('x')", true),
        ("waitedSeconds / 60 == 1", true),
        ("waitedSeconds in [1, 2]", false),
        ("urgency > 1", false),
        ("urgency * 100.0 > 79.0", true),
        ("(channel == 'email' ? 10 : 100) > waitedSeconds", true),
        ("true", true),
        ("-waitedSeconds < 0", true),
        ("channel != \"email\"", true),
    ] {
        assert_eq!(holds(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_not_known_is_an_error_only_where_it_decides() {
    assert_eq!(holds("open"), Err("`open` is not known now".to_owned()));
    assert_eq!(holds("urgency > 0.5 || open"), Ok(true));
    assert_eq!(holds("urgency < 0.5 && open"), Ok(false));
    assert_eq!(
        holds("waitedSeconds / 0 == 1"),
        Err("it divides by zero".to_owned())
    );
    assert_eq!(
        holds("waitedSeconds * 9223372036854775807 > 1"),
        Err("a number grows too large".to_owned())
    );
}

#[test]
fn each_mistake_is_named_with_its_place() {
    for (source, message) in [
        (
            "chanel == 'voice'",
            "at character 1: `chanel` is not known here; did you mean `channel`?",
        ),
        (
            "open && colour == 'red'",
            "at character 9: `colour` is not known here; known: channel, intent, urgency, waitedSeconds, open",
        ),
        (
            "channel == 'fax'",
            "at character 12: `channel` is never 'fax'; it is one of voice, email, webChat",
        ),
        (
            "channel in ['voice', 'fax']",
            "at character 22: `channel` is never 'fax'; it is one of voice, email, webChat",
        ),
        (
            "urgency > 'high'",
            "at character 11: `>` compares numbers, this is a text",
        ),
        (
            "intent == 3",
            "at character 11: `==` does not compare a text with a whole number",
        ),
        (
            "['a'] == ['a']",
            "at character 10: `==` does not compare a list of texts with a list of texts",
        ),
        (
            "urgency * 2 > 1.0",
            "at character 11: `*` does not mix whole and decimal numbers: write 2.0 instead of 2",
        ),
        ("urgency % 0.5 > 0.1", "at character 1: `%` needs whole numbers"),
        (
            "intent + 'a' == 'b'",
            "at character 1: `+` needs numbers, this is a text",
        ),
        (
            "-intent == 'b'",
            "at character 2: `-` needs a number, this is a text",
        ),
        (
            "waitedSeconds",
            "at character 1: a condition is true or false, this is a whole number",
        ),
        (
            "open && waitedSeconds",
            "at character 9: here must be true or false, this is a whole number",
        ),
        (
            "open ? 1 : 'a'",
            "at character 12: here must be a whole number too, this is a text",
        ),
        (
            "intent in 'billing'",
            "at character 11: `in` needs a list such as ['a', 'b'], this is a text",
        ),
        (
            "urgency in ['a']",
            "at character 1: a decimal number is never in a list of texts",
        ),
        (
            "intent in ['a', 1]",
            "at character 17: a list holds texts only, or whole numbers only",
        ),
        ("intent in []", "at character 11: nothing is in an empty list"),
        (
            "intent.contains(1)",
            "at character 17: `contains` needs texts, this is a whole number",
        ),
        (
            "intent.matches('a')",
            "at character 8: the function `matches` is not offered; there are contains, startsWith and endsWith",
        ),
        (
            "size(intent) > 1",
            "at character 1: the function `size` is not offered; there are contains, startsWith and endsWith",
        ),
        (
            "intent.size > 1",
            "at character 8: words have no parts: `.size` does not exist",
        ),
        (
            "intent.'a'",
            "at character 8: after `.` stands the name of a function, this is 'a'",
        ),
        (
            "intent[0] == 'a'",
            "at character 7: `[..]` picks from lists, and no word is one",
        ),
        (
            "intent == null",
            "at character 11: `null` fits nothing: compare a text with ''",
        ),
        ("{'a': 1}", "at character 1: `{..}` is not offered in conditions"),
        ("urgency >", "at character 10: something is missing at the end"),
        ("", "at character 1: something is missing at the end"),
        ("&& open", "at character 1: before `&&` something is missing"),
        ("in ['a']", "at character 1: before `in` something is missing"),
        (
            "urgency = 1",
            "at character 9: `=` is not known here; did you mean `==`?",
        ),
        (
            "open & open",
            "at character 6: `&` is not known here; did you mean `&&`?",
        ),
        (
            "open | open",
            "at character 6: `|` is not known here; did you mean `||`?",
        ),
        ("è == 'x'", "at character 1: `è` is not known here"),
        (
            "intent == 'a",
            "at character 11: this text does not end: ' is missing",
        ),
        (r"intent == 'a\'", r"at character 13: `\` is not offered in texts"),
        ("urgency > 1e3", "at character 11: write numbers as 12 or 0.5"),
        (
            "waitedSeconds > 99999999999999999999",
            "at character 17: this number is too large",
        ),
        ("(open", "at character 6: `)` is missing, this is the end"),
        (
            "open)",
            "at character 5: here the condition should end, this is `)`",
        ),
        (
            "open open",
            "at character 6: here the condition should end, this is `open`",
        ),
        ("open ? true", "at character 12: `:` is missing, this is the end"),
    ] {
        assert_eq!(refused(source), message, "{source}");
    }
}

#[test]
fn cost_is_bounded() {
    assert_eq!(
        refused(&"a".repeat(501)),
        "at character 501: has 501 characters, at most 500 are allowed: split it into several rules"
    );
    assert_eq!(
        refused(&"(".repeat(500)),
        "at character 17: this nests deeper than 16: write it simpler"
    );
    assert_eq!(
        refused(&"1+".repeat(240)),
        "at character 130: more than 64 operators: split it into several rules"
    );
    // The worst of each shape, on half of the stack of a worker.
    let worst = || {
        for (part, end) in [
            ("true && ", "true"),
            ("true||", "true"),
            ("1+", "1>0"),
            ("1<", "2"),
            ("1 in ", "1"),
            ("true?true:", "true"),
            ("'a'.contains('a').", "a"),
            ("!", "true"),
            ("(", "1"),
            ("[", "1"),
            ("'a'.contains(", "1"),
        ] {
            for times in [15, 64, (MAX_LENGTH - end.len()) / part.len()] {
                if let Ok(condition) = Condition::<Test>::parse(&(part.repeat(times) + end)) {
                    assert!(condition.holds(fact).is_ok());
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024);
    thread.spawn(worst).unwrap().join().unwrap();
}

#[test]
fn references_are_found() {
    let condition =
        Condition::<Test>::parse("intent in ['a', 'b'] || (open && 'c' == intent) || channel == 'voice'")
            .unwrap();
    assert_eq!(condition.texts_compared_with("intent"), ["a", "b", "c"]);
    assert!(condition.uses("open") && !condition.uses("urgency"));
}

/// What the `cel` crate says; `None` when it cannot say it.
fn by_the_book(source: &str) -> Option<bool> {
    let mut context = cel::Context::default();
    for word in Test::WORDS {
        match fact(word.name) {
            Some(Fact::Truth(value)) => context.add_variable_from_value(word.name, value),
            Some(Fact::Whole(value)) => context.add_variable_from_value(word.name, value),
            Some(Fact::Decimal(value)) => context.add_variable_from_value(word.name, value),
            Some(Fact::Text(value)) => context.add_variable_from_value(word.name, value),
            None => {}
        }
    }
    match cel::Program::compile(source).unwrap().execute(&context) {
        Ok(cel::Value::Bool(holds)) => Some(holds),
        _ => None,
    }
}

fn number() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["waitedSeconds", "0", "1", "60", "90", "9223372036854775807"])
        .prop_map(String::from);
    leaf.prop_recursive(2, 6, 2, |inner| {
        (
            inner.clone(),
            prop::sample::select(vec!["+", "-", "*", "/", "%"]),
            inner,
            any::<bool>(),
        )
            .prop_map(|(l, o, r, brackets)| {
                if brackets {
                    format!("({l} {o} {r})")
                } else {
                    format!("{l} {o} {r}")
                }
            })
    })
}

/// Conditions without mistakes. `open` is a fact that is not known.
fn condition() -> impl Strategy<Value = String> {
    let compare = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "true",
            "false",
            "open",
            "channel == 'voice'",
            "channel in ['email', \"webChat\"]",
            "intent.startsWith('bill')",
            "intent.endsWith(channel)",
            "'a billing b'.contains(intent)",
            "intent != ''",
            "waitedSeconds in [1, 90]",
        ])
        .prop_map(String::from),
        (number(), compare.clone(), number()).prop_map(|(l, c, r)| format!("{l} {c} {r}")),
        (
            prop::sample::select(vec![
                "urgency",
                "0.8",
                "1",
                "urgency * 2.0",
                "-urgency",
                "urgency - 0.3"
            ]),
            compare,
            prop::sample::select(vec!["0.8", "0", "1.5", "waitedSeconds", "urgency / 0.0"])
        )
            .prop_map(|(l, c, r)| format!("{l} {c} {r}")),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["&&", "||", "==", "!="]),
                inner.clone()
            )
                .prop_map(|(l, o, r)| if o.len() == 2 && o.contains('=') {
                    format!("({l}) {o} ({r})")
                } else {
                    format!("{l} {o} {r}")
                }),
            inner.clone().prop_map(|i| format!("!({i})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(t, y, n)| format!("(({t}) ? ({y}) : ({n}))")),
        ]
    })
}

use proptest::prelude::*;

proptest! {
    #[test]
    fn conditions_mean_what_cel_says(source in condition()) {
        prop_assume!(source.chars().count() <= MAX_LENGTH);
        let ours = Condition::<Test>::parse(&source).map(|c| c.holds(fact).ok());
        prop_assert_eq!(ours, Ok(by_the_book(&source)), "{}", source);
    }

    #[test]
    fn no_text_makes_it_panic(source in "\\PC{0,60}") {
        if let Ok(condition) = Condition::<Test>::parse(&source) {
            let _ = condition.holds(fact);
        }
    }

    #[test]
    fn no_mixture_of_its_own_words_makes_it_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "channel", "intent", "urgency", "waitedSeconds", "open", "'voice'", "3", "0.5", "==", "!=", "<", ">=", "&&", "||",
                "!", "(", ")", "[", "]", ",", "in", "+", "-", "*", "/", "%", "?", ":", ".contains(", "true", "null", "'",
            ]),
            0..25,
        ),
    ) {
        if let Ok(condition) = Condition::<Test>::parse(&parts.join(" ")) {
            let _ = condition.holds(fact);
        }
    }
}
