//! What names sound like.

use std::sync::LazyLock;

use rphonetic::DoubleMetaphone;

static ENGLISH: LazyLock<DoubleMetaphone> = LazyLock::new(|| DoubleMetaphone::new(Some(6)));

/// The English key: Double Metaphone, primary code.
pub(super) fn english_sound(letters: &str) -> String {
    ENGLISH.double_metaphone(letters).primary()
}

/// The Italian key: folds what Italian spelling and a speech recogniser mix up (chiara/kiara, zichichi/sichichi,
/// quattrocchi/quatrochi, schiavone/skiavone), drops vowels after the first letter, keeps six signs. Takes letters a to z.
#[must_use]
pub fn italian_sound(letters: &str) -> String {
    let text = letters.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(8);
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    let mut i = 0;
    while i < text.len() {
        let (sign, used): (&[u8], usize) = match (at(i), at(i + 1), at(i + 2)) {
            (b'g', b'l', b'i') => (b"li", 3),
            (b'g', b'n', _) => (b"n", 2),
            (b's', b'c', b'h') => (b"sk", 3),
            (b's', b'c', b'e' | b'i') => (b"s", 2),
            (b'c', b'c', b'h') | (b'c', b'q', _) => (b"k", if at(i + 2) == b'h' { 3 } else { 2 }),
            (b'c', b'h' | b'k', _) | (b'g', b'h', _) | (b'p' | b't', b'h', _) => (
                match at(i) {
                    b'c' => b"k",
                    b'g' => b"g",
                    b'p' => b"f",
                    _ => b"t",
                },
                2,
            ),
            (b'c', b'e' | b'i', _) => (b"c", 1),
            (b'c', b'c', b'e' | b'i') => (b"c", 2),
            (b'c' | b'q' | b'k', _, _) => (b"k", 1),
            (b'x', _, _) => (b"ks", 1),
            (b'n', b'b' | b'p', _) => (b"m", 1),
            (b'y' | b'j', _, _) => (b"i", 1),
            (b'w', _, _) => (b"v", 1),
            (b'z', _, _) => (b"s", 1),
            (b'h', _, _) => (b"", 1),
            _ => (text.get(i..=i).unwrap_or_default(), 1),
        };
        for byte in sign {
            // Doubles fold; vowels stay only in front, but still part two equal consonants while they are read.
            if out.last() != Some(byte) {
                out.push(*byte);
            }
        }
        i += used;
    }
    let mut key = String::with_capacity(6);
    for (at, byte) in out.into_iter().enumerate() {
        if key.len() == 6 {
            break;
        }
        if at == 0 || !matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u') {
            key.push(char::from(byte));
        }
    }
    key
}
