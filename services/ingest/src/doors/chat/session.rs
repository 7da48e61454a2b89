//! One browser's connection, from `hello` to the close.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use chrono::{DateTime, Utc};
use futures::{SinkExt as _, StreamExt as _, stream::SplitSink};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use ring::rand::SecureRandom as _;
use serde::Deserialize;
use tokio::time::Instant;
use trama_platform::{Error, Kind};
use trama_proto::{ids::TenantId, resources::WebChatProvider};

use crate::{
    channels::web_chat::LoginNote,
    domain::{
        chat::{Closing, FromClient, FromServer, check_line},
        visitor::VisitorId,
    },
    doors::Doors,
    store::chat::Conversation,
};

/// How long a client may take to say hello, or to take what we send.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that are read from the database at once.
const PAGE: i64 = 100;
/// Bad frames after which a connection is closed.
const MAX_BAD_FRAMES: u32 = 10;
/// Over which the lines of a client are counted.
const WINDOW: Duration = Duration::from_secs(10);

struct Session {
    doors: Doors,
    conversation: Conversation,
    login: Option<LoginNote>,
    out: SplitSink<WebSocket, Message>,
    /// Position up to which the browser was sent our lines.
    sent_seq: i64,
    bad_frames: u32,
    window_began: Instant,
    lines_in_window: u32,
}

/// What a client said of itself.
struct Hello {
    visitor: VisitorId,
    login: Option<LoginNote>,
    last_seq: i64,
}

/// Runs a connection to its end.
pub(super) async fn run(
    doors: Doors,
    tenant: TenantId,
    channel: String,
    provider: WebChatProvider,
    socket: WebSocket,
) {
    let (mut out, mut incoming) = socket.split();
    let first = tokio::time::timeout(PATIENCE, incoming.next()).await;
    let hello = match first {
        Ok(Some(Ok(Message::Text(text)))) => greet(&doors, &tenant, &channel, &provider, text.as_str()).await,
        _ => Err(Closing::NoHello),
    };
    let (hello, last_seq) = match hello {
        Ok(hello) => hello,
        Err(closing) => return close(&mut out, closing).await,
    };
    let conversation = Conversation {
        tenant,
        channel,
        visitor: hello.visitor.as_str().to_owned(),
    };
    // Listen before looking: a line between the two is seen twice rather than never, and seq tells.
    let hints = match doors.chat.hints(&conversation).await {
        Ok(hints) => hints,
        Err(_) => return close(&mut out, Closing::TryLater).await,
    };
    let mut session = Session {
        doors,
        conversation,
        login: hello.login,
        out,
        sent_seq: hello.last_seq.clamp(0, last_seq),
        bad_frames: 0,
        window_began: Instant::now(),
        lines_in_window: 0,
    };
    let welcome = FromServer::Welcome {
        visitor_id: hello.visitor.as_str().to_owned(),
        seq: last_seq,
    };
    let closing = match session.send(&welcome).await {
        Ok(()) => session.talk(incoming, hints).await,
        Err(closing) => closing,
    };
    close(&mut session.out, closing).await;
}

/// Who it is, and how far the conversation is.
async fn greet(
    doors: &Doors,
    tenant: &TenantId,
    channel: &str,
    provider: &WebChatProvider,
    text: &str,
) -> Result<(Hello, i64), Closing> {
    let Ok(FromClient::Hello {
        visitor_id,
        token,
        last_seq,
    }) = serde_json::from_str(text)
    else {
        return Err(Closing::NoHello);
    };
    let of = |visitor: &VisitorId| Conversation {
        tenant: tenant.clone(),
        channel: channel.to_owned(),
        visitor: visitor.as_str().to_owned(),
    };
    if let Some(token) = token {
        let login = check_token(doors, tenant, provider, &token).map_err(|e| refused(&e))?;
        let visitor = VisitorId::logged_in(tenant, channel, &login.subject);
        let marks = doors
            .chat
            .find(&of(&visitor))
            .await
            .map_err(|_| Closing::TryLater)?
            .unwrap_or_default();
        return Ok((
            Hello {
                visitor,
                login: Some(login),
                last_seq,
            },
            marks.last_seq,
        ));
    }
    // Only an anonymous visitor that we know may come back without a token; everybody else is new.
    if let Some(visitor) = visitor_id
        .as_deref()
        .and_then(VisitorId::parse)
        .filter(VisitorId::is_anonymous)
        && let Some(marks) = doors
            .chat
            .find(&of(&visitor))
            .await
            .map_err(|_| Closing::TryLater)?
    {
        return Ok((
            Hello {
                visitor,
                login: None,
                last_seq,
            },
            marks.last_seq,
        ));
    }
    let mut random = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Closing::TryLater)?;
    Ok((
        Hello {
            visitor: VisitorId::anonymous(random),
            login: None,
            last_seq: 0,
        },
        0,
    ))
}

fn refused(error: &Error) -> Closing {
    match error.kind() {
        Kind::Unauthenticated => Closing::BadToken,
        _ => {
            tracing::warn!(detail = error.detail(), "a login token cannot be checked");
            Closing::TryLater
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    email: Option<String>,
    phone: Option<String>,
    name: Option<String>,
}

fn check_token(
    doors: &Doors,
    tenant: &TenantId,
    provider: &WebChatProvider,
    token: &str,
) -> Result<LoginNote, Error> {
    let bad = || Error::new(Kind::Unauthenticated, "the login token is not valid");
    // A channel without a secret knows no logins.
    let secret = provider.login_secret.as_ref().ok_or_else(bad)?;
    let secret = doors.secret(tenant, secret)?;
    let mut validation = Validation::new(Algorithm::HS256);
    // Time comes from our clock, below; an audience is the site's own business.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = secret
        .lines()
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .find_map(|s| {
            jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(s.as_bytes()), &validation).ok()
        })
        .ok_or_else(bad)?
        .claims;
    let in_force = claims.exp > doors.clock.now().timestamp();
    if !in_force || claims.sub.is_empty() || claims.sub.len() > 255 {
        return Err(bad());
    }
    let short = |text: Option<String>| text.filter(|t| !t.is_empty() && t.len() <= 255);
    Ok(LoginNote {
        subject: claims.sub,
        expires_at: claims.exp,
        email: short(claims.email),
        phone: short(claims.phone),
        name: short(claims.name),
    })
}

impl Session {
    async fn talk(
        &mut self,
        mut incoming: futures::stream::SplitStream<WebSocket>,
        mut hints: async_nats::Subscriber,
    ) -> Closing {
        if let Err(closing) = self.send_gap().await {
            return closing;
        }
        let stopping = self.doors.lifecycle.draining();
        let idle = Duration::from_secs(self.doors.config.chat_idle_seconds);
        let mut ping = tokio::time::interval(Duration::from_secs(self.doors.config.chat_ping_seconds));
        ping.reset();
        let mut last_heard = Instant::now();
        loop {
            let result = tokio::select! {
                () = stopping.cancelled() => return Closing::Restart,
                frame = incoming.next() => match frame {
                    None | Some(Err(_)) => return Closing::Idle,
                    Some(Ok(Message::Close(_))) => return Closing::Idle,
                    Some(Ok(Message::Text(text))) => {
                        last_heard = Instant::now();
                        self.take(text.as_str()).await
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        last_heard = Instant::now();
                        Ok(())
                    }
                    Some(Ok(Message::Binary(_))) => self.complain(None, "frames are text").await,
                },
                hint = hints.next() => match hint {
                    None => return Closing::TryLater,
                    Some(_) => self.send_gap().await,
                },
                _ = ping.tick() => {
                    if last_heard.elapsed() > idle {
                        return Closing::Idle;
                    }
                    // The look makes up for a hint that was lost.
                    match self.write(Message::Ping(Default::default())).await {
                        Ok(()) => self.send_gap().await,
                        Err(closing) => Err(closing),
                    }
                }
            };
            if let Err(closing) = result {
                return closing;
            }
        }
    }

    async fn take(&mut self, text: &str) -> Result<(), Closing> {
        match serde_json::from_str(text) {
            Ok(FromClient::Message { client_msg_id, text }) => self.take_line(client_msg_id, &text).await,
            Ok(FromClient::Received { seq }) => self.take_receipt(seq, false).await,
            Ok(FromClient::Read { seq }) => self.take_receipt(seq, true).await,
            Ok(FromClient::Typing) => Ok(()),
            Ok(FromClient::Hello { .. }) => self.complain(None, "hello was said already").await,
            Err(_) => self.complain(None, "not a frame of this protocol").await,
        }
    }

    async fn take_line(&mut self, client_msg_id: String, text: &str) -> Result<(), Closing> {
        if let Err(problem) = check_line(&client_msg_id, text) {
            return self
                .complain(Some(client_msg_id.chars().take(128).collect()), problem)
                .await;
        }
        if self.is_too_fast() {
            return self
                .later(client_msg_id, "too many lines at once; say it again in a moment")
                .await;
        }
        if let Some(login) = &self.login
            && login.expires_at <= self.doors.clock.now().timestamp()
        {
            return Err(Closing::BadToken);
        }
        match self
            .doors
            .chat
            .take_line(&self.conversation, &client_msg_id, text, self.login.as_ref())
            .await
        {
            Ok(seq) => self.send(&FromServer::Ack { client_msg_id, seq }).await,
            Err(error) => {
                tracing::warn!(detail = error.detail(), "a chat line was not stored");
                self.later(client_msg_id, "not stored; say it again in a moment")
                    .await
            }
        }
    }

    async fn take_receipt(&mut self, seq: i64, read: bool) -> Result<(), Closing> {
        // A client cannot have what it was not sent.
        let seq = seq.min(self.sent_seq);
        if let Err(error) = self.doors.chat.take_receipt(&self.conversation, seq, read).await {
            // The next receipt makes up for it.
            tracing::warn!(detail = error.detail(), "a chat receipt was not stored");
        }
        Ok(())
    }

    fn is_too_fast(&mut self) -> bool {
        if self.window_began.elapsed() > WINDOW {
            self.window_began = Instant::now();
            self.lines_in_window = 0;
        }
        self.lines_in_window += 1;
        self.lines_in_window > self.doors.config.chat_lines_per_ten_seconds
    }

    /// Sends what the browser does not have yet.
    async fn send_gap(&mut self) -> Result<(), Closing> {
        loop {
            let lines = match self
                .doors
                .chat
                .lines_after(&self.conversation, self.sent_seq, PAGE)
                .await
            {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::warn!(detail = error.detail(), "chat lines cannot be read");
                    return Ok(());
                }
            };
            let more = lines.len() as i64 == PAGE;
            for line in lines {
                let seq = line.seq;
                self.send(&FromServer::Message {
                    seq,
                    text: line.body,
                    author: line.author,
                    message_id: line.message_id,
                    at: rfc3339(line.created_at),
                })
                .await?;
                self.sent_seq = seq;
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn complain(&mut self, client_msg_id: Option<String>, message: &str) -> Result<(), Closing> {
        self.bad_frames += 1;
        if self.bad_frames > MAX_BAD_FRAMES {
            return Err(Closing::Confused);
        }
        self.send(&FromServer::Error {
            client_msg_id,
            message: message.to_owned(),
            retry: false,
        })
        .await
    }

    async fn later(&mut self, client_msg_id: String, message: &str) -> Result<(), Closing> {
        self.send(&FromServer::Error {
            client_msg_id: Some(client_msg_id),
            message: message.to_owned(),
            retry: true,
        })
        .await
    }

    async fn send(&mut self, frame: &FromServer) -> Result<(), Closing> {
        let text = serde_json::to_string(frame).map_err(|_| Closing::TryLater)?;
        self.write(Message::Text(text.into())).await
    }

    /// Nothing is queued: who does not take a frame in time is too slow.
    async fn write(&mut self, message: Message) -> Result<(), Closing> {
        match tokio::time::timeout(PATIENCE, self.out.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closing::Idle),
            Err(_) => Err(Closing::TooSlow),
        }
    }
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

async fn close(out: &mut SplitSink<WebSocket, Message>, closing: Closing) {
    let frame = CloseFrame {
        code: closing.code(),
        reason: closing.reason().into(),
    };
    // Whoever is gone does not read why.
    let _ = tokio::time::timeout(Duration::from_secs(1), out.send(Message::Close(Some(frame)))).await;
}
