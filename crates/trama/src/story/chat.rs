//! A customer's chat window.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue};

/// An open window.
pub struct Chat {
    /// Who the platform says we are.
    pub visitor_id: String,
    shown: Arc<Mutex<Vec<String>>>,
    outgoing: mpsc::UnboundedSender<Value>,
    acks: mpsc::UnboundedReceiver<String>,
}

impl Chat {
    /// Opens a window; `token` is the site's word that the customer is logged in.
    #[expect(
        clippy::disallowed_methods,
        reason = "the browser's side of the chat lives as long as the story"
    )]
    pub async fn open(url: &str, origin: &str, token: Option<String>) -> anyhow::Result<Self> {
        let mut request = url.into_client_request()?;
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_str(origin)?);
        let (mut socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .context("opening the chat")?;
        let mut hello = json!({"type": "hello", "last_seq": 0});
        if let Some(token) = token {
            hello["token"] = token.into();
        }
        socket.send(Message::text(hello.to_string())).await?;
        let visitor_id = loop {
            let Some(frame) = socket.next().await else {
                anyhow::bail!("the chat closed at once")
            };
            if let Message::Text(text) = frame? {
                let frame: Value = serde_json::from_str(&text)?;
                anyhow::ensure!(frame["type"] == "welcome", "the chat said {frame}");
                break frame["visitor_id"]
                    .as_str()
                    .context("a welcome names the visitor")?
                    .to_owned();
            }
        };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<Value>();
        let (acked, acks) = mpsc::unbounded_channel();
        let window = Arc::clone(&shown);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(frame) = to_send.recv() => {
                        if socket.send(Message::text(frame.to_string())).await.is_err() {
                            return;
                        }
                    }
                    frame = socket.next() => {
                        let Some(Ok(frame)) = frame else { return };
                        let Message::Text(text) = frame else { continue };
                        let Ok(frame) = serde_json::from_str::<Value>(&text) else { continue };
                        match frame["type"].as_str() {
                            Some("message") => {
                                let line = frame["text"].as_str().unwrap_or_default().to_owned();
                                window.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
                                for kind in ["received", "read"] {
                                    let receipt = json!({"type": kind, "seq": frame["seq"]});
                                    if socket.send(Message::text(receipt.to_string())).await.is_err() {
                                        return;
                                    }
                                }
                            }
                            Some("ack") => {
                                let _ = acked.send(frame["client_msg_id"].as_str().unwrap_or_default().to_owned());
                            }
                            _ => {}
                        }
                    }
                    else => return,
                }
            }
        });
        Ok(Self {
            visitor_id,
            shown,
            outgoing,
            acks,
        })
    }

    /// Writes a line, `copies` times, and waits until the platform has it on disk.
    pub async fn write(&mut self, id: &str, text: &str, copies: u32) -> anyhow::Result<()> {
        for _ in 0..copies {
            self.outgoing
                .send(json!({"type": "message", "client_msg_id": id, "text": text}))?;
        }
        let wait = async {
            while let Some(acked) = self.acks.recv().await {
                if acked == id {
                    return Ok(());
                }
            }
            anyhow::bail!("the chat closed")
        };
        tokio::time::timeout(super::world::PATIENCE, wait)
            .await
            .context("the chat did not take the line")?
    }

    /// What the window shows of ours.
    pub fn shown(&self) -> Vec<String> {
        self.shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}
