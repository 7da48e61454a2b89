//! Every method of the contract refuses whoever must not call it. Read from the descriptors, so that a new method
//! is covered at once.

use tonic::{Code, metadata::MetadataValue, transport::Channel};
use tonic_prost::ProstCodec;
use trama_testkit::TestApp;

pub async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Code {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("the door is open");
    let mut request = tonic::Request::new(());
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let path = path.parse().expect("a path");
    // An empty message is a message of every type.
    match grpc
        .server_streaming(request, path, ProstCodec::<(), ()>::default())
        .await
    {
        Ok(response) => match response.into_inner().message().await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        },
        Err(status) => status.code(),
    }
}

/// All six.
pub fn services() -> [std::sync::Arc<dyn trama_platform::Service>; 6] {
    [
        trama_ingest::service(),
        trama_identity_resolution::service(),
        trama_case::service(),
        trama_routing::service(),
        trama_notification::service(),
        trama_survey::service(),
    ]
}

#[tokio::test]
async fn every_method_refuses_the_anonymous_the_unscoped_and_answers_nobody_with_unimplemented() {
    let app = TestApp::start(&services()).await;
    let unscoped = app.token("acme", "somebody", "unrelated.scope");
    let mut methods: Vec<_> = trama_proto::method_scopes().into_iter().collect();
    methods.sort();
    assert!(methods.len() > 30);
    for (path, scope) in &methods {
        assert_eq!(
            call(&app.grpc(), path, None).await,
            Code::Unauthenticated,
            "{path} let the anonymous in"
        );
        assert_eq!(
            call(&app.grpc(), path, Some(&unscoped)).await,
            Code::PermissionDenied,
            "{path} needs no {scope}"
        );
        if path.ends_with("/OpenDesk") {
            // A stream that stays open: that it is there is seen in the story.
            continue;
        }
        let code = call(&app.grpc(), path, Some(&app.token("acme", "somebody", scope))).await;
        assert_ne!(code, Code::Unimplemented, "{path}");
        assert_ne!(code, Code::Internal, "{path} breaks on an empty message");
        assert_ne!(code, Code::PermissionDenied, "{path} refuses who holds {scope}");
    }
    app.stop().await;
}
