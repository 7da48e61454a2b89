use tonic::Code;
use trama_proto::{
    common::v1::{Handle, Interaction},
    ingest::v1::{
        GetAttachmentRequest, PostChatMessageRequest, SubmitInteractionRequest,
        chat_service_client::ChatServiceClient,
    },
};

use crate::support::World;

fn kiosk(channel: &str) -> SubmitInteractionRequest {
    SubmitInteractionRequest {
        channel: channel.into(),
        interaction: Some(Interaction {
            provider_id: "kiosk-1".into(),
            text: "il distributore è vuoto".into(),
            party: Some(Handle {
                kind: "crm".into(),
                value: "1001".into(),
                trust: 0,
            }),
            ..Interaction::default()
        }),
    }
}

#[tokio::test]
async fn an_interaction_handed_in_twice_is_one() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = world.app.request("acme", "kiosk", kiosk("kiosk"));
        ids.push(
            world
                .ingest()
                .submit_interaction(request)
                .await
                .expect("taken")
                .into_inner()
                .interaction_id,
        );
    }
    let said = world.interactions().await;
    assert_eq!(said.len(), 1);
    assert_eq!(
        [&said[0].interaction_id, &said[0].interaction_id],
        [&ids[0], &ids[1]]
    );
    assert_eq!(
        (said[0].channel.as_str(), said[0].conversation_key.as_str()),
        ("kiosk", "crm:1001")
    );
    world.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_and_scopes_hold() {
    let world = World::start().await;
    let refused = |request| async {
        world
            .ingest()
            .submit_interaction(request)
            .await
            .expect_err("refused")
            .code()
    };
    assert_eq!(
        refused(world.app.request("acme", "kiosk", kiosk("mail"))).await,
        Code::InvalidArgument
    );
    assert_eq!(
        refused(world.app.request("acme", "kiosk", kiosk("nothing"))).await,
        Code::NotFound
    );
    assert_eq!(
        refused(world.app.request("beta", "kiosk", kiosk("kiosk"))).await,
        Code::NotFound
    );
    let mut empty = kiosk("kiosk");
    empty.interaction = None;
    assert_eq!(
        refused(world.app.request("acme", "kiosk", empty)).await,
        Code::InvalidArgument
    );
    let weak = world.app.token("acme", "kiosk", "case.read");
    assert_eq!(
        refused(world.app.request_with(&weak, kiosk("kiosk"))).await,
        Code::PermissionDenied
    );

    for key in [
        "acme/../beta/x",
        "acme/deliveries/018f3c1e-7d2a-7000-8000-000000000001",
        "",
        "acme/018f3c1e-7d2a-7000-8000-000000000001/0",
    ] {
        let request = world.app.request(
            "acme",
            "bruno",
            GetAttachmentRequest {
                object_key: key.into(),
            },
        );
        assert_eq!(
            world
                .ingest()
                .get_attachment(request)
                .await
                .expect_err(key)
                .code(),
            Code::NotFound,
            "{key}"
        );
    }

    let mut chat = ChatServiceClient::new(world.app.grpc());
    let post = PostChatMessageRequest {
        channel: "site".into(),
        visitor_id: "nobody".into(),
        message_id: "m".into(),
        text: "x".into(),
        author_name: String::new(),
    };
    let error = chat
        .post_chat_message(world.app.request("acme", "n", post))
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::InvalidArgument);
    world.stop().await;
}
