//! Whether raw bytes mention an address of which only a keyed hash is known.

/// Kinds of addresses that stand in raw requests.
const KINDS: [&str; 4] = ["email", "phone", "whatsapp", "webchat"];
/// Shorter words are no addresses.
const SHORTEST: usize = 5;
/// Longer ones neither.
const LONGEST: usize = 254;

/// Whether a word of the text, in one of the spellings of an address, has a wanted hash.
pub fn mentions(text: &[u8], wanted: &[Vec<u8>], hash: impl Fn(&str, &str) -> Vec<u8>) -> bool {
    let is_wanted = |kind: &str, value: &str| wanted.contains(&hash(kind, value));
    text.split(|byte| !is_of_address(*byte))
        .filter(|word| (SHORTEST..=LONGEST).contains(&word.len()))
        .filter_map(|word| std::str::from_utf8(word).ok())
        .any(|word| {
            spellings(word)
                .iter()
                .any(|value| KINDS.iter().any(|kind| is_wanted(kind, value)))
        })
}

/// Whether an address is one of the wanted.
pub fn is_wanted(
    (kind, value): (&str, &str),
    wanted: &[Vec<u8>],
    hash: impl Fn(&str, &str) -> Vec<u8>,
) -> bool {
    spellings(value)
        .iter()
        .any(|value| wanted.contains(&hash(kind, value)))
}

fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"@.+_-:".contains(&byte) || !byte.is_ascii()
}

/// As it stands there, in small letters, and as a telephone number.
fn spellings(word: &str) -> Vec<String> {
    let word = word.trim_matches(['.', '-', ':', '_']);
    let mut found = vec![word.to_owned(), word.to_lowercase()];
    let digits: String = word.chars().filter(char::is_ascii_digit).collect();
    if digits.len() >= SHORTEST && digits.len() + 1 >= word.len() {
        found.push(format!("+{digits}"));
        found.push(digits);
    }
    // `whatsapp:+39…`, `mailto:…`
    if let Some((_, rest)) = word.split_once(':') {
        found.push(rest.to_lowercase());
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(kind: &str, value: &str) -> Vec<u8> {
        format!("#{kind}:{value}").into_bytes()
    }

    #[test]
    fn an_address_is_found_in_mail_json_and_forms() {
        let anna = [hash("email", "anna@example.com"), hash("phone", "+393331234567")];
        for text in [
            "From: Anna <Anna@Example.com>\r\n\r\nciao",
            r#"{"from":"393331234567","text":"ciao"}"#,
            "From=whatsapp:+393331234567&Body=ciao",
            "(anna@example.com).",
        ] {
            assert!(mentions(text.as_bytes(), &anna, hash), "{text}");
        }
        for text in ["joanna@example.com", "3933312345678", "", "ciao"] {
            assert!(!mentions(text.as_bytes(), &anna, hash), "{text}");
        }
    }

    proptest! {
        #[test]
        fn junk_mentions_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!mentions(&bytes, &[b"x".to_vec()], hash));
        }
    }
}
