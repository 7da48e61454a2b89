use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};
use trama_proto::{
    common::v1::Trust,
    ingest::v1::{
        PostChatMessageRequest, ReceiptReceived, ReceiptStatus, chat_service_client::ChatServiceClient,
    },
};

use crate::support::{LOGIN_SECRET, PUBLIC_URL, World};

pub struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Browser {
    async fn open(world: &World, origin: &str) -> Option<Self> {
        let url = format!(
            "{}/chat/acme/site",
            world.app.http_url().replace("http://", "ws://")
        );
        let mut request = url.into_client_request().expect("a URL");
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_str(origin).expect("a header"));
        let (socket, _) = connect_async(request).await.ok()?;
        Some(Self { socket })
    }

    pub async fn hello(world: &World, hello: Value) -> (Self, Value) {
        let mut browser = Self::open(world, PUBLIC_URL).await.expect("let in");
        browser.say(hello).await;
        let welcome = browser.hear().await;
        assert_eq!(welcome["type"], "welcome");
        (browser, welcome)
    }

    pub async fn say(&mut self, frame: Value) {
        self.socket
            .send(Message::text(frame.to_string()))
            .await
            .expect("sent");
    }

    pub async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("heard {other:?}"),
            }
        }
    }

    async fn hear_close(&mut self) -> u16 {
        loop {
            if let Message::Close(Some(frame)) = self.next().await {
                return frame.code.into();
            }
        }
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), self.socket.next()).await;
        next.expect("heard in time")
            .expect("still open")
            .expect("a frame")
    }
}

fn token(secret: &str, claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}

fn login(world: &World) -> Value {
    let exp = world.app.clock.now().timestamp() + 3600;
    json!({"sub": "1001", "email": "anna@example.com", "phone": "+39 333 123 4567", "name": "Anna", "exp": exp})
}

async fn post(world: &World, visitor: &str, number: u8, text: &str) -> i64 {
    let message = PostChatMessageRequest {
        channel: "site".into(),
        visitor_id: visitor.into(),
        message_id: message_id(number),
        text: text.into(),
        author_name: "Carla".into(),
    };
    let mut chat = ChatServiceClient::new(world.app.grpc());
    chat.post_chat_message(world.app.request("acme", "notification", message))
        .await
        .expect("posted")
        .into_inner()
        .sequence
}

fn message_id(number: u8) -> String {
    format!("018f3c1e-7d2a-7000-8000-0000000000{number:02}")
}

#[tokio::test]
async fn a_line_is_acknowledged_once_it_is_stored() {
    let world = World::start().await;
    let (mut browser, welcome) = Browser::hello(&world, json!({"type": "hello"})).await;
    for _ in 0..2 {
        browser
            .say(json!({"type": "message", "client_msg_id": "1", "text": "buongiorno"}))
            .await;
        assert_eq!(
            browser.hear().await,
            json!({"type": "ack", "client_msg_id": "1", "seq": 1})
        );
    }
    let said = world.interactions().await;
    assert_eq!((said.len(), said[0].text.as_str()), (1, "buongiorno"));
    let party = said[0].party.as_ref().expect("a party");
    assert_eq!(
        (party.kind.as_str(), &json!(party.value)),
        ("webchat", &welcome["visitor_id"])
    );
    world.stop().await;
}

#[tokio::test]
async fn a_visitor_who_comes_back_gets_what_was_missed_and_only_that() {
    let world = World::start().await;
    let (mut browser, welcome) = Browser::hello(&world, json!({"type": "hello"})).await;
    let visitor = welcome["visitor_id"].as_str().expect("an id").to_owned();
    browser
        .say(json!({"type": "message", "client_msg_id": "1", "text": "ciao"}))
        .await;
    browser.hear().await;
    assert_eq!(post(&world, &visitor, 1, "Come posso aiutarla?").await, 2);
    assert_eq!(post(&world, &visitor, 1, "Come posso aiutarla?").await, 2);
    let heard = browser.hear().await;
    assert_eq!(
        (
            &heard["type"],
            &heard["seq"],
            &heard["author"],
            &heard["message_id"]
        ),
        (
            &json!("message"),
            &json!(2),
            &json!("Carla"),
            &json!(message_id(1))
        )
    );
    drop(browser);
    assert_eq!(post(&world, &visitor, 2, "È ancora lì?").await, 3);

    let (mut browser, welcome) = Browser::hello(
        &world,
        json!({"type": "hello", "visitor_id": visitor, "last_seq": 2}),
    )
    .await;
    assert_eq!(
        (&welcome["visitor_id"], &welcome["seq"]),
        (&json!(visitor), &json!(3))
    );
    assert_eq!(browser.hear().await["text"], "È ancora lì?");

    // Receipts reach back to what was not acknowledged before.
    browser.say(json!({"type": "received", "seq": 3})).await;
    browser.say(json!({"type": "read", "seq": 3})).await;
    browser.say(json!({"type": "read", "seq": 99})).await;
    browser
        .say(json!({"type": "message", "client_msg_id": "2", "text": "sì"}))
        .await;
    assert_eq!(browser.hear().await["seq"], 4);
    world.app.settle().await;
    let receipts = world.app.events::<ReceiptReceived>().await;
    let mut reached: Vec<_> = receipts
        .iter()
        .map(|r| (r.event.message_id.clone(), r.event.status()))
        .collect();
    reached.sort();
    let both = [ReceiptStatus::Delivered, ReceiptStatus::Read];
    let wanted: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|n| both.map(|s| (message_id(n), s)))
        .collect();
    assert_eq!(reached, wanted);
    world.stop().await;
}

#[tokio::test]
async fn a_login_is_proof_and_a_guess_is_not() {
    let world = World::start().await;
    let good = token(LOGIN_SECRET, &login(&world));
    let (mut browser, welcome) = Browser::hello(&world, json!({"type": "hello", "token": good})).await;
    browser
        .say(json!({"type": "message", "client_msg_id": "1", "text": "ciao"}))
        .await;
    browser.hear().await;
    let said = world.interactions().await;
    let known: Vec<_> = said[0]
        .also_known_as
        .iter()
        .map(|h| (format!("{}:{}", h.kind, h.value), h.trust()))
        .collect();
    let proven = |h: &str| (h.to_owned(), Trust::Verified);
    assert_eq!(
        known,
        [
            proven("crm:1001"),
            proven("email:anna@example.com"),
            proven("phone:+393331234567")
        ]
    );
    assert_eq!(said[0].login.as_ref().expect("a login").method, "site_login");

    // Knowing the id of somebody who logged in is not enough.
    let (_browser, other) = Browser::hello(
        &world,
        json!({"type": "hello", "visitor_id": welcome["visitor_id"]}),
    )
    .await;
    assert_ne!(other["visitor_id"], welcome["visitor_id"]);
    let mut expired = login(&world);
    expired["exp"] = json!(1);
    for bad in [
        token("another secret", &login(&world)),
        token(LOGIN_SECRET, &expired),
        "junk".to_owned(),
    ] {
        let mut browser = Browser::open(&world, PUBLIC_URL).await.expect("let in");
        browser.say(json!({"type": "hello", "token": bad})).await;
        assert_eq!(browser.hear_close().await, 4401);
    }
    world.stop().await;
}

#[tokio::test]
async fn strangers_are_kept_out() {
    let world = World::start().await;
    assert!(Browser::open(&world, "https://evil.example").await.is_none());
    let mut rude = Browser::open(&world, PUBLIC_URL).await.expect("let in");
    rude.say(json!({"type": "message", "client_msg_id": "1", "text": "ciao"}))
        .await;
    assert_eq!(rude.hear_close().await, 4400);
    let (_browser, welcome) = Browser::hello(
        &world,
        json!({"type": "hello", "visitor_id": "v-00000000000000000000000000000000"}),
    )
    .await;
    assert_ne!(welcome["visitor_id"], "v-00000000000000000000000000000000");
    world.stop().await;
}

#[tokio::test]
async fn a_bad_frame_is_explained_and_the_line_stays_open() {
    let world = World::start().await;
    let (mut browser, _) = Browser::hello(&world, json!({"type": "hello"})).await;
    browser
        .say(json!({"type": "message", "client_msg_id": "1", "text": " "}))
        .await;
    let error = browser.hear().await;
    assert_eq!(
        (&error["type"], &error["client_msg_id"], &error["retry"]),
        (&json!("error"), &json!("1"), &json!(false))
    );
    browser
        .say(json!({"type": "message", "client_msg_id": "2", "text": "ciao"}))
        .await;
    assert_eq!(browser.hear().await["type"], "ack");
    world.stop().await;
}
