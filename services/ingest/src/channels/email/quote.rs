//! Cutting what a mail quotes and how it is signed, so that only what was said now remains.

/// Words that begin the line above a quotation, as mail programs write it, and how that line ends.
const ATTRIBUTIONS: [(&str, &[&str]); 8] = [
    ("on ", &["wrote:"]),
    ("il ", &["ha scritto:"]),
    ("am ", &["schrieb:"]),
    ("le ", &["a écrit :", "a écrit:"]),
    ("el ", &["escribió:"]),
    ("em ", &["escreveu:"]),
    ("op ", &["schreef:"]),
    ("w dniu ", &["napisał:", "napisał(a):"]),
];

/// Lines that stand over a forwarded or answered mail.
const SEPARATORS: [&str; 9] = [
    "original message",
    "messaggio originale",
    "ursprüngliche nachricht",
    "message d'origine",
    "mensaje original",
    "forwarded message",
    "messaggio inoltrato",
    "weitergeleitete nachricht",
    "## reply above ##",
];

/// First and second header of a block as Outlook writes it.
const BLOCKS: [(&str, &[&str]); 5] = [
    ("from:", &["sent:", "date:"]),
    ("da:", &["inviato:", "data:"]),
    ("von:", &["gesendet:", "datum:"]),
    ("de :", &["envoyé :", "date :"]),
    ("de:", &["enviado:", "fecha:", "envoyé:"]),
];

/// What tells the phone's own signature.
const PHONE_SIGNATURES: [&str; 6] = [
    "sent from my ",
    "inviato da ",
    "von meinem ",
    "gesendet von ",
    "envoyé de mon ",
    "enviado desde ",
];

/// Markers in HTML behind which the quotation begins.
const HTML_MARKERS: [&str; 8] = [
    "class=\"gmail_quote",
    "class=3d\"gmail_quote",
    "id=\"divrplyfwdmsg\"",
    "id=\"appendonsend\"",
    "class=\"moz-cite-prefix\"",
    "class=\"yahoo_quoted\"",
    "<blockquote type=\"cite\"",
    "id=\"mail-editor-reference-message-container\"",
];

/// A line over an attribution may be wrapped over so many lines.
const WRAPPED_LINES: usize = 3;

/// Cuts an HTML mail at its quotation. Without anything before it, nothing is cut.
pub fn cut_html(html: &str) -> &str {
    let lower = html.to_ascii_lowercase();
    let Some(at) = HTML_MARKERS.iter().filter_map(|m| lower.find(m)).min() else {
        return html;
    };
    let tag = lower[..at + 1].rfind('<').unwrap_or(at);
    // ASCII lower-casing keeps every offset.
    html.get(..tag).unwrap_or(html)
}

/// What was said now: without quotation and signature. A mail that is nothing but a quotation stays whole.
pub fn cut(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\u{a0}', " ");
    let lines: Vec<&str> = text.lines().collect();
    let end = (0..lines.len())
        .find(|&at| begins_quotation(&lines, at))
        .unwrap_or(lines.len());
    let mut kept: Vec<&str> = lines[..end]
        .iter()
        .copied()
        .filter(|l| !l.trim_start().starts_with('>'))
        .collect();
    if let Some(signature) = kept.iter().position(|l| *l == "-- " || *l == "--") {
        kept.truncate(signature);
    }
    while kept
        .last()
        .is_some_and(|l| l.trim().is_empty() || is_phone_signature(l))
    {
        kept.pop();
    }
    let said = kept.join("\n").trim().to_owned();
    if said.is_empty() {
        text.trim().to_owned()
    } else {
        said
    }
}

fn begins_quotation(lines: &[&str], at: usize) -> bool {
    let line = lines[at].trim().to_lowercase();
    if line.is_empty() {
        return false;
    }
    is_separator(&line) || is_attribution(lines, at, &line) || is_block(lines, at, &line)
}

fn is_separator(line: &str) -> bool {
    let bare = line.trim_matches(['-', '_', '*', ' ', '=']);
    let dashed = line.starts_with("--") || line.starts_with("__") || line.starts_with("##");
    dashed && SEPARATORS.iter().any(|s| bare == *s || line == *s)
}

fn is_attribution(lines: &[&str], at: usize, line: &str) -> bool {
    let Some((_, endings)) = ATTRIBUTIONS.iter().find(|(start, _)| line.starts_with(start)) else {
        return false;
    };
    let mut whole = String::new();
    for part in lines[at..].iter().take(WRAPPED_LINES) {
        let part = part.trim().to_lowercase();
        if part.is_empty() {
            return false;
        }
        whole.push_str(&part);
        if endings.iter().any(|e| whole.ends_with(e)) {
            // A sentence may end like this too; a date or an address gives it away.
            return whole.contains(|c: char| c.is_ascii_digit()) || whole.contains('@');
        }
        whole.push(' ');
    }
    false
}

fn is_block(lines: &[&str], at: usize, line: &str) -> bool {
    let plain = |l: &str| l.trim().trim_start_matches('*').to_lowercase().replace('*', "");
    let first = plain(line);
    let Some((_, seconds)) = BLOCKS.iter().find(|(start, _)| first.starts_with(start)) else {
        return false;
    };
    lines[at + 1..]
        .iter()
        .take(3)
        .map(|l| plain(l))
        .any(|l| seconds.iter().any(|s| l.starts_with(s)))
}

fn is_phone_signature(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    line.len() < 60 && PHONE_SIGNATURES.iter().any(|s| line.starts_with(s))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotations_are_cut_in_every_language() {
        for head in [
            "On Mon, 2 Nov 2026 at 10:00, Acme Care <care@acme.example> wrote:",
            "Il giorno lun 2 nov 2026 alle ore 10:00 Acme Care <care@acme.example> ha scritto:",
            "Il giorno lun 2 nov 2026 alle ore 10:00 Acme Care\n<care@acme.example> ha scritto:",
            "Am 02.11.2026 um 10:00 schrieb Acme:\nschrieb:",
            "-----Original Message-----",
            "-----Messaggio originale-----",
            "________________________________\nFrom: Acme\nSent: Monday\nTo: Anna",
            "Da: Acme Care\nInviato: lunedì\nA: Anna",
            "---------- Forwarded message ---------",
        ] {
            let mail =
                format!("La macchina perde ancora.\n\n{head}\n> Buongiorno\n> come possiamo aiutarla?\n");
            let said = cut(&mail);
            assert!(
                said.starts_with("La macchina perde ancora.") && !said.contains("Buongiorno"),
                "{head}: {said}"
            );
        }
    }

    #[test]
    fn answers_between_quoted_lines_stay() {
        assert_eq!(cut("> Quando?\nDomani.\n> Dove?\nA casa."), "Domani.\nA casa.");
    }

    #[test]
    fn signatures_are_cut() {
        assert_eq!(cut("Ciao\n\n-- \nAnna Rossi\nVia Roma 1"), "Ciao");
        assert_eq!(cut("Ciao\n\nInviato da iPhone"), "Ciao");
    }

    #[test]
    fn ordinary_sentences_are_left_alone() {
        for said in [
            "On Monday my colleague wrote to you.",
            "Il tecnico ha scritto",
            "From: here to there\nI drove",
            "Il prezzo:\n- 10 euro",
        ] {
            assert_eq!(cut(said), said);
        }
    }

    #[test]
    fn a_mail_of_nothing_but_a_quotation_stays() {
        assert_eq!(cut("> only this\r\n"), "> only this");
    }

    #[test]
    fn html_is_cut_before_the_quotation() {
        assert_eq!(
            cut_html("<p>Sì</p><div class=\"gmail_quote\">old</div>"),
            "<p>Sì</p>"
        );
        assert_eq!(cut_html("<p>Sì</p>"), "<p>Sì</p>");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", lines in prop::collection::vec("(On |Il |> |-- |From: |Sent: |wrote:|\\PC{0,10})", 0..12)) {
            cut(&text);
            cut_html(&text);
            let joined = lines.join("\n");
            prop_assert!(cut(&joined).len() <= joined.len());
        }
    }
}
