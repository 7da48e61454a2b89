use serde_json::json;
use trama_platform::bus::Stream;
use trama_proto::ingest::v1::{GetAttachmentRequest, InteractionReceived};
use trama_sandbox::{Accounts, Config, Sandbox, TwilioAccount, WhatsAppAccount};

use crate::support::{ACCESS_TOKEN, ANNA, APP_SECRET, AUTH_TOKEN, World, whatsapp};

async fn sandbox() -> Sandbox {
    let accounts = Accounts {
        whatsapp: Some(WhatsAppAccount {
            phone_number_id: "106".into(),
            display_phone_number: "390212345678".into(),
            waba_id: "1".into(),
            access_token: ACCESS_TOKEN.into(),
            app_secret: APP_SECRET.into(),
            callback_url: String::new(),
        }),
        twilio: Some(TwilioAccount {
            account_sid: "AC0123456789abcdef0123456789abcdef".into(),
            auth_token: AUTH_TOKEN.into(),
            status_callback_url: None,
        }),
    };
    Sandbox::start(Config {
        accounts,
        ..Config::default()
    })
    .await
    .expect("a sandbox")
}

fn voice_note(id: &str) -> serde_json::Value {
    let audio = json!({"id": id, "mime_type": "audio/ogg; codecs=opus", "voice": true});
    whatsapp(
        json!({"messages": [{"from": ANNA, "id": "wamid.1", "timestamp": "1780300000", "type": "audio", "audio": audio}]}),
    )
}

#[tokio::test]
async fn a_voice_note_is_readable_before_anybody_hears_of_it() {
    let sandbox = sandbox().await;
    let world = World::start_with(sandbox.base_url(), json!({})).await;
    let id = sandbox.add_media(vec![1_u8; 100_000], "audio/ogg");
    for _ in 0..2 {
        assert_eq!(world.post_whatsapp(&voice_note(id.as_str())).await.status(), 200);
    }
    let received: InteractionReceived = world.app.wait_for("the voice note", |_| true).await;
    let interaction = received.interaction.expect("an interaction");
    let file = &interaction.attachments[0];
    assert!(file.voice_note);
    assert_eq!(
        (file.size_bytes, file.content_type.as_str()),
        (100_000, "audio/ogg; codecs=opus")
    );
    let request = GetAttachmentRequest {
        object_key: file.object_key.clone(),
    };
    let mut pieces = world
        .ingest()
        .get_attachment(world.app.request("acme", "carla", request))
        .await
        .expect("a file")
        .into_inner();
    assert_eq!(
        pieces
            .message()
            .await
            .expect("a piece")
            .expect("a piece")
            .data
            .len(),
        64 * 1024
    );
    assert_eq!(world.interactions().await.len(), 1);
    // Whatever timers are left find nothing to do and end.
    world.app.advance(std::time::Duration::from_secs(600)).await;
    let mut tx = world.app.db("ingest").system_tx().await.expect("a transaction");
    let timers: i64 = sqlx::query_scalar("SELECT count(*) FROM timers")
        .fetch_one(tx.conn())
        .await
        .expect("a number");
    assert_eq!(timers, 0);
    drop(tx);
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_file_that_never_comes_does_not_hold_the_interaction_for_ever() {
    let sandbox = sandbox().await;
    let world = World::start_with(sandbox.base_url(), json!({})).await;
    assert_eq!(world.post_whatsapp(&voice_note("404404404")).await.status(), 200);
    world.app.settle().await;
    let waits = || async {
        let mut tx = world.app.db("ingest").system_tx().await.expect("a transaction");
        let attempts: Option<i32> = sqlx::query_scalar("SELECT attempts FROM pending_media")
            .fetch_optional(tx.conn())
            .await
            .expect("a row");
        attempts
    };
    world
        .app
        .eventually("one try failed", || async { waits().await == Some(1) })
        .await;
    assert!(world.app.events::<InteractionReceived>().await.is_empty());
    world.app.advance(std::time::Duration::from_secs(2)).await;
    let received: InteractionReceived = world
        .app
        .wait_for("the interaction without the file", |_| true)
        .await;
    let file = received
        .interaction
        .expect("an interaction")
        .attachments
        .remove(0);
    assert_eq!(
        (file.size_bytes, file.object_key.as_str(), file.voice_note),
        (0, "", true)
    );
    assert_eq!(waits().await, None);
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn twilios_media_are_fetched_behind_their_redirect() {
    let sandbox = sandbox().await;
    let world = World::start_with(sandbox.base_url(), json!({})).await;
    let id = sandbox.add_media(b"jpeg".to_vec(), "image/jpeg");
    let url = sandbox.twilio_media_url(&id).expect("an account");
    let fields = [
        ("MessageSid", "SM1"),
        ("From", "+393331234567"),
        ("To", "+390212345678"),
        ("Body", "ecco"),
        ("NumMedia", "1"),
        ("MediaUrl0", url.as_str()),
        ("MediaContentType0", "image/jpeg"),
    ];
    assert_eq!(
        world.post_twilio("/webhooks/acme/sms", &fields).await.status(),
        200
    );
    let received: InteractionReceived = world.app.wait_for("the message", |_| true).await;
    let interaction = received.interaction.expect("an interaction");
    assert_eq!(
        (interaction.text.as_str(), interaction.attachments[0].size_bytes),
        ("ecco", 4)
    );
    assert_eq!(world.app.count(Stream::DeadLetters).await, 0);
    world.stop().await;
    sandbox.stop().await;
}
