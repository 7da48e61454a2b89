//! From text to hashed features: word 1- and 2-grams, and character 2- to 5-grams inside padded tokens.

/// Groups of features, each with a norm of its own.
pub const GROUPS: usize = 2;

/// A feature before it is weighed: where it hashes to and which token it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Slot.
    pub slot: u32,
    /// Token, for the explanation.
    pub token: u32,
}

/// Lower-case words: letters and digits.
pub fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(|w| w.chars().flat_map(char::to_lowercase).collect())
        .collect()
}

/// Words and single punctuation marks, lower-case.
pub fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() && !c.is_control() {
            tokens.push(c.to_string());
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

/// The hits of each group.
pub fn hits(tokens: &[String], bits: u32) -> [Vec<Hit>; GROUPS] {
    let mut word_hits = Vec::with_capacity(tokens.len() * 2);
    let mut char_hits = Vec::with_capacity(tokens.len() * 16);
    let mut padded: Vec<char> = Vec::new();
    let mut buffer = [0; 4];
    for (number, token) in (0_u32..).zip(tokens) {
        word_hits.push(Hit {
            slot: slot(hash(1, [token.as_bytes()]), bits),
            token: number,
        });
        if let Some(next) = tokens.get(number as usize + 1) {
            word_hits.push(Hit {
                slot: slot(hash(2, [token.as_bytes(), b" ", next.as_bytes()]), bits),
                token: number,
            });
        }
        padded.clear();
        padded.push(' ');
        padded.extend(token.chars());
        padded.push(' ');
        for length in 2..=5_usize {
            for gram in padded.windows(length) {
                let mut state = seed(3);
                for c in gram {
                    state = feed(state, c.encode_utf8(&mut buffer).as_bytes());
                }
                char_hits.push(Hit {
                    slot: slot(state, bits),
                    token: number,
                });
            }
        }
    }
    word_hits.sort_unstable();
    char_hits.sort_unstable();
    [word_hits, char_hits]
}

fn seed(group: u8) -> u64 {
    feed(0xcbf2_9ce4_8422_2325, &[group])
}

/// FNV-1a.
fn feed(mut state: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state
}

fn hash<const N: usize>(group: u8, parts: [&[u8]; N]) -> u64 {
    parts.into_iter().fold(seed(group), feed)
}

/// FNV's low bits are weak: mix, then take the top ones.
#[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
fn slot(hash: u64, bits: u32) -> u32 {
    let mut x = hash;
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    (x >> (64 - bits)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_has_features_in_range(text in "\\PC{0,80}") {
            let tokens = super::tokens(&text);
            for group in super::hits(&tokens, 15) {
                prop_assert!(group.iter().all(|h| h.slot < 1 << 15 && (h.token as usize) < tokens.len()));
            }
        }
    }

    #[test]
    fn accents_and_punctuation_are_tokens() {
        assert_eq!(
            super::tokens("Il caffè, perché?"),
            ["il", "caffè", ",", "perché", "?"]
        );
    }
}
