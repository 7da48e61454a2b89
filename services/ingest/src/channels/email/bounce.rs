//! Reports of mail servers about mail we sent (RFC 3464).

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

/// What a report says of one of our mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounce {
    /// `Message-ID` of the mail we sent, without angle brackets.
    pub message_id: String,
    /// Status code and the server's words.
    pub error: String,
}

/// What kind of report a mail is.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// None at all.
    None,
    /// A mail of ours will not arrive.
    Failed(Bounce),
    /// About a delay, a success, a reading, a complaint, or a mail that cannot be told.
    Other,
}

/// Reads a `multipart/report`.
pub fn read(mail: &Message<'_>) -> Report {
    if !mail.is_content_type("multipart", "report") {
        return Report::None;
    }
    let kind = mail
        .content_type()
        .and_then(|c| c.attribute("report-type"))
        .unwrap_or_default()
        .to_lowercase();
    if kind != "delivery-status" {
        return Report::Other;
    }
    let mut status = None;
    let mut original = None;
    for part in &mail.parts {
        if part.is_content_type("message", "delivery-status") {
            status = status.or_else(|| failure(&text(part.contents())));
        } else if let PartType::Message(inner) = &part.body {
            original = original.or_else(|| inner.message_id().map(str::to_owned));
        } else if part.is_content_type("text", "rfc822-headers") || part.is_content_type("message", "rfc822")
        {
            let headers = MessageParser::default().parse_headers(part.contents());
            original = original.or_else(|| headers.and_then(|h| h.message_id().map(str::to_owned)));
        }
    }
    match (status, original) {
        (Some(error), Some(message_id)) => Report::Failed(Bounce { message_id, error }),
        _ => Report::Other,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
}

/// The first recipient that failed for good.
fn failure(report: &str) -> Option<String> {
    for group in report.split("\n\n") {
        let field = |name: &str| {
            group.lines().find_map(|l| {
                let (key, value) = l.split_once(':')?;
                key.trim()
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        if field("Action").is_some_and(|a| a.eq_ignore_ascii_case("failed")) {
            let status = field("Status").unwrap_or_default();
            let words = field("Diagnostic-Code").unwrap_or_default();
            // The words may repeat the address; 200 characters tell enough.
            return Some(format!("{status} {words}").trim().chars().take(200).collect());
        }
    }
    None
}
