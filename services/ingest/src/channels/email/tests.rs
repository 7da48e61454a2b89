use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::channels::testing::{delivery, only, read};

fn provider() -> Value {
    json!({"email": {"addresses": ["care@acme.example"], "from": "Acme <care@acme.example>", "relay": "localhost:25"}})
}

fn mail(headers: &str, body: &str) -> Delivery {
    let text = format!(
        "From: Anna Rossi <Anna@Example.COM>\r\nTo: care@acme.example\r\nSubject: =?utf-8?q?perdit=C3=A0?=\r\nMessage-ID: <m1@example.com>\r\n{headers}\r\n{body}"
    );
    let mut delivery = delivery(text);
    delivery
        .attributes
        .insert(attribute::MAIL_FROM.into(), "anna@example.com".into());
    delivery
        .attributes
        .insert(attribute::RCPT_TO.into(), "care+4711@acme.example".into());
    delivery
}

#[test]
fn a_mail_says_what_was_written_now() {
    let found = read(
        provider(),
        &mail(
            "In-Reply-To: <a@acme.example>\r\nReferences: <r@acme.example> <a@acme.example>\r\n",
            "Perde ancora.\r\n\r\nOn 2 Nov 2026 at 10:00, Acme wrote:\r\n> Buongiorno\r\n",
        ),
    );
    let i = only(found).interaction;
    let party = i.party.unwrap();
    assert_eq!(
        (party.kind.as_str(), party.value.as_str()),
        ("email", "anna@example.com")
    );
    assert_eq!(
        (i.display_name.as_str(), i.subject.as_str(), i.text.as_str()),
        ("Anna Rossi", "perdità", "Perde ancora.")
    );
    assert_eq!(
        (i.in_reply_to.as_str(), i.conversation_key.as_str()),
        ("a@acme.example", "r@acme.example")
    );
    assert_eq!(
        (i.our_address.as_str(), i.provider_id.as_str()),
        ("care@acme.example", "m1@example.com")
    );
    assert!(!i.automatic);
}

#[test]
fn html_is_read_when_there_is_no_plain_text() {
    let found = read(
        provider(),
        &mail(
            "Content-Type: text/html; charset=utf-8\r\n",
            "<style>p{}</style><p>Perde <b>ancora</b></p><div class=\"gmail_quote\">vecchio</div>",
        ),
    );
    assert_eq!(only(found).interaction.text, "Perde ancora");
}

#[test]
fn files_are_taken_out() {
    let headers = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n";
    let body = "--b\r\nContent-Type: text/plain\r\n\r\nEcco la foto\r\n--b\r\nContent-Type: image/jpeg; name=\"../foto.jpg\"\r\nContent-Disposition: attachment; filename=\"../foto.jpg\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAQID\r\n--b--\r\n";
    let draft = only(read(provider(), &mail(headers, body)));
    assert_eq!(draft.interaction.text, "Ecco la foto");
    assert_eq!(draft.inline.len(), 1);
    assert_eq!(
        (
            draft.inline[0].filename.as_str(),
            draft.inline[0].content_type.as_str(),
            draft.inline[0].bytes.as_ref()
        ),
        ("foto.jpg", "image/jpeg", [1, 2, 3].as_slice())
    );
}

#[test]
fn machines_are_recognised() {
    for header in [
        "Auto-Submitted: auto-replied\r\n",
        "Precedence: bulk\r\n",
        "List-Id: <x.example>\r\n",
        "X-Auto-Response-Suppress: OOF, AutoReply\r\n",
        "X-Autoreply: yes\r\n",
    ] {
        assert!(
            only(read(provider(), &mail(header, "x"))).interaction.automatic,
            "{header}"
        );
    }
    for header in [
        "Auto-Submitted: no\r\n",
        "Precedence: first-class\r\n",
        "X-Auto-Response-Suppress: DR\r\n",
    ] {
        assert!(
            !only(read(provider(), &mail(header, "x"))).interaction.automatic,
            "{header}"
        );
    }
    let mut bounced = mail("", "x");
    bounced
        .attributes
        .insert(attribute::MAIL_FROM.into(), String::new());
    assert!(only(read(provider(), &bounced)).interaction.automatic);
}

const BOUNCE: &str = "From: mailer-daemon@mx.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; anna@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 unknown\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <ours@acme.example>\r\nSubject: x\r\n\r\n--b--\r\n";

#[test]
fn a_bounce_is_the_fate_of_our_mail() {
    let found = read(provider(), &delivery(BOUNCE));
    assert!(found.interactions.is_empty());
    let receipt = &found.receipts[0];
    assert_eq!(
        (
            receipt.provider_message_id.as_str(),
            receipt.status(),
            receipt.error.as_str()
        ),
        (
            "ours@acme.example",
            ReceiptStatus::Failed,
            "5.1.1 smtp; 550 unknown"
        )
    );
    let whole = BOUNCE.replace("text/rfc822-headers", "message/rfc822");
    assert_eq!(
        read(provider(), &delivery(whole)).receipts[0].provider_message_id,
        "ours@acme.example"
    );
}

#[test]
fn a_delay_changes_nothing() {
    let found = read(
        provider(),
        &delivery(BOUNCE.replace("Action: failed", "Action: delayed")),
    );
    assert_eq!(
        (found.receipts.len(), found.interactions.len(), found.ignored),
        (0, 0, 1)
    );
}

#[test]
fn without_a_message_id_the_bytes_are_the_id() {
    let strip = |d: Delivery| {
        delivery(
            String::from_utf8(d.body.to_vec())
                .unwrap()
                .replace("Message-ID: <m1@example.com>\r\n", ""),
        )
    };
    let (first, again, other) = (strip(mail("", "x")), strip(mail("", "x")), strip(mail("", "y")));
    let id = |d: &Delivery| only(read(provider(), d)).interaction.interaction_id;
    assert_eq!(id(&first), id(&again));
    assert_ne!(id(&first), id(&other));
}

#[test]
fn a_mailbox_is_known_whatever_follows_a_plus() {
    assert_eq!(
        mailbox("Care+Token@Acme.example").as_deref(),
        Some("care@acme.example")
    );
    assert_eq!(mailbox("+x@acme.example"), None);
    assert_eq!(mailbox("nobody"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), headers in "[A-Za-z0-9:;=<>@/ \"\r\n-]{0,200}", text in "\\PC*") {
        read(provider(), &delivery(body));
        read(provider(), &mail(&headers, &text));
    }
}
