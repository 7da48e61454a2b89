//! The words of the chat protocol. One JSON object per text frame.

use serde::{Deserialize, Serialize};

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromClient {
    /// The first frame: who it is and what it has.
    Hello {
        /// The id it got the last time.
        #[serde(default)]
        visitor_id: Option<String>,
        /// The site's login token.
        #[serde(default)]
        token: Option<String>,
        /// The last position it has; what came after is sent again.
        #[serde(default)]
        last_seq: i64,
    },
    /// A line.
    Message {
        /// The client's own id of it: a repeat changes nothing.
        client_msg_id: String,
        /// The line.
        text: String,
    },
    /// Everything up to this position is on the screen's side of the line.
    Received {
        /// Position.
        seq: i64,
    },
    /// Everything up to this position was seen.
    Read {
        /// Position.
        seq: i64,
    },
    /// Somebody is typing; nobody is told yet.
    Typing,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromServer {
    /// Answers `hello`.
    Welcome {
        /// The id to come back with.
        visitor_id: String,
        /// The last position of the conversation.
        seq: i64,
    },
    /// A line is stored.
    Ack {
        /// The client's own id of it.
        client_msg_id: String,
        /// Its position.
        seq: i64,
    },
    /// A line for the client.
    Message {
        /// Its position.
        seq: i64,
        /// The line.
        text: String,
        /// Who wrote it, as customers see it.
        author: String,
        /// Our id of it.
        message_id: String,
        /// When, RFC 3339.
        at: String,
    },
    /// A frame was refused; the connection stays.
    Error {
        /// The client's own id, when the frame had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_msg_id: Option<String>,
        /// What is wrong.
        message: String,
        /// Whether the same frame may succeed later.
        retry: bool,
    },
}

/// Why a connection is closed, beyond the standard codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The first frame was no `hello`, or did not come in time.
    NoHello,
    /// The login token is not valid; take a new one.
    BadToken,
    /// Nobody was there any more.
    Idle,
    /// The client reads too slowly.
    TooSlow,
    /// Too many bad frames.
    Confused,
    /// The server stops; come back.
    Restart,
    /// Something is away; come back.
    TryLater,
}

impl Closing {
    /// The close code.
    pub const fn code(self) -> u16 {
        match self {
            Closing::NoHello => 4400,
            Closing::BadToken => 4401,
            Closing::Idle => 4408,
            Closing::Confused => 4409,
            Closing::Restart => 1012,
            Closing::TooSlow | Closing::TryLater => 1013,
        }
    }

    /// The reason, for developers of clients.
    pub const fn reason(self) -> &'static str {
        match self {
            Closing::NoHello => "say hello first",
            Closing::BadToken => "the login token is not valid; take a new one",
            Closing::Idle => "idle",
            Closing::Confused => "too many bad frames",
            Closing::Restart => "restarting; come back after a moment",
            Closing::TooSlow => "reads too slowly; come back with last_seq",
            Closing::TryLater => "come back after a moment",
        }
    }
}

/// Longest line, in characters.
pub const MAX_LINE: usize = 4096;
/// Longest id a client may give to a line, in bytes.
pub const MAX_CLIENT_ID: usize = 128;

/// Checks a line.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_line(client_msg_id: &str, text: &str) -> Result<(), &'static str> {
    if client_msg_id.is_empty()
        || client_msg_id.len() > MAX_CLIENT_ID
        || !client_msg_id.chars().all(|c| c.is_ascii_graphic())
    {
        return Err("client_msg_id must be 1 to 128 visible ASCII characters");
    }
    if text.trim().is_empty() {
        return Err("text is empty");
    }
    if text.chars().count() > MAX_LINE {
        return Err("text is longer than 4096 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_as_documented() {
        let hello: FromClient = serde_json::from_str(r#"{"type":"hello"}"#).expect("hello");
        assert_eq!(
            hello,
            FromClient::Hello {
                visitor_id: None,
                token: None,
                last_seq: 0
            }
        );
        let line: FromClient =
            serde_json::from_str(r#"{"type":"message","client_msg_id":"1","text":"ciao"}"#).expect("line");
        assert_eq!(
            line,
            FromClient::Message {
                client_msg_id: "1".into(),
                text: "ciao".into()
            }
        );
        let ack = FromServer::Ack {
            client_msg_id: "1".into(),
            seq: 4,
        };
        assert_eq!(
            serde_json::to_string(&ack).expect("json"),
            r#"{"type":"ack","client_msg_id":"1","seq":4}"#
        );
    }

    #[test]
    fn a_line_needs_an_id_and_words() {
        assert!(check_line("1", "ciao").is_ok());
        assert!(check_line("", "ciao").is_err());
        assert!(check_line("1", " \n").is_err());
        assert!(check_line("1", &"è".repeat(MAX_LINE)).is_ok());
        assert!(check_line("1", &"è".repeat(MAX_LINE + 1)).is_err());
    }
}
