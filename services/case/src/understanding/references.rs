//! References in a text: `ordine 4711` is `order:4711`.

use super::features::tokens;

/// The references in a text, each once, in the order in which they stand.
pub fn find(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut found: Vec<String> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(kind) = kind(token) else { continue };
        let number = tokens[at + 1..].iter().take(5).find(|t| !is_filler(t));
        if let Some(number) = number
            && number.chars().filter(char::is_ascii_digit).count() >= 3
            && number.len() <= 40
        {
            let reference = format!("{kind}:{number}");
            if !found.contains(&reference) {
                found.push(reference);
            }
        }
    }
    found
}

fn kind(word: &str) -> Option<&'static str> {
    match word {
        "ordine" | "ordini" | "order" | "ord" => Some("order"),
        "pratica" | "caso" | "case" | "ticket" | "segnalazione" => Some("case"),
        "fattura" | "invoice" | "bolletta" | "bill" => Some("invoice"),
        "contratto" | "contract" => Some("contract"),
        _ => None,
    }
}

fn is_filler(token: &str) -> bool {
    matches!(
        token,
        "#" | ":"
            | "."
            | "°"
            | "º"
            | "n"
            | "nr"
            | "no"
            | "num"
            | "numero"
            | "number"
            | "id"
            | "il"
            | "la"
            | "è"
            | "is"
            | "("
    )
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn references_are_found_however_they_are_written() {
        for text in [
            "ordine 4711",
            "Ordine n. 4711",
            "order #4711",
            "il mio ordine: 4711!",
            "ORDINE N° 4711",
            "order number is 4711",
        ] {
            assert_eq!(find(text), ["order:4711"], "{text}");
        }
        assert_eq!(
            find("pratica 12345 e fattura nr. 2024001"),
            ["case:12345", "invoice:2024001"]
        );
        assert!(find("un ordine di 2 caffè").is_empty());
        assert!(find("mi serve un ordine per domani alle 1000 cose").is_empty());
        assert!(find("ordine").is_empty());
    }
}
