use std::sync::Arc;

use tonic::Code;
use trama_platform::{Error, Kind};
use trama_proto::case::v1::{GetCaseRequest, case_service_client::CaseServiceClient};
use trama_testkit::TestApp;

use crate::counter::Counter;

async fn call(app: &TestApp, token: Option<&str>) -> Code {
    let mut client = CaseServiceClient::new(app.grpc());
    let message = GetCaseRequest { case_id: "x".into() };
    let request = match token {
        Some(token) => app.request_with(token, message),
        None => tonic::Request::new(message),
    };
    client
        .get_case(request)
        .await
        .expect_err("this app has no such service")
        .code()
}

#[tokio::test]
async fn only_a_good_credential_with_the_scope_gets_past_the_door() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    assert_eq!(call(&app, None).await, Code::Unauthenticated);
    assert_eq!(call(&app, Some("nonsense")).await, Code::Unauthenticated);
    assert_eq!(call(&app, Some("trama_x_y")).await, Code::Unauthenticated);
    assert_eq!(
        call(&app, Some(&app.token("acme", "carla", "customer.read"))).await,
        Code::PermissionDenied
    );
    assert_eq!(
        call(&app, Some(&app.token("Not A Tenant", "carla", "case.read"))).await,
        Code::InvalidArgument
    );
    // Past the door: this app simply has no such service.
    assert_eq!(
        call(&app, Some(&app.token("acme", "carla", "case.read"))).await,
        Code::Unimplemented
    );
    app.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let token = app.token("acme", "carla", "*");
    // Known as good, from now on by heart.
    assert_eq!(call(&app, Some(&token)).await, Code::Unimplemented);
    app.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    assert_eq!(call(&app, Some(&token)).await, Code::Unauthenticated);
    app.stop().await;
}

#[tokio::test]
async fn rows_of_another_tenant_do_not_exist() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    app.publish("acme", "a", &crate::counter::work("a")).await;
    app.settle().await;
    let count = |tenant: &'static str| {
        let db = app.db("counter").clone();
        async move {
            let mut tx = db
                .tx(&trama_testkit::tenant(tenant))
                .await
                .expect("a transaction");
            let n: i64 = sqlx::query_scalar("SELECT count(*) FROM counts")
                .fetch_one(tx.conn())
                .await
                .expect("a count");
            n
        }
    };
    assert_eq!(count("acme").await, 1);
    assert_eq!(count("rival").await, 0);
    // Nor can a row be written for another.
    let mut tx = app
        .db("counter")
        .tx(&trama_testkit::tenant("rival"))
        .await
        .expect("a transaction");
    let written = sqlx::query("INSERT INTO counts VALUES ('acme', 'b', 1)")
        .execute(tx.conn())
        .await;
    assert!(written.is_err());
    app.stop().await;
}

#[tokio::test]
async fn reflection_and_health_answer_without_a_credential() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let mut client = ServerReflectionClient::new(app.grpc());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "trama.case.v1.CaseService".into(),
        )),
    };
    let mut answers = client
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    assert!(format!("{:?}", answer.message_response).contains("FileDescriptorResponse"));
    app.stop().await;
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a browser is outside the platform and its guard"
)]
async fn a_browser_of_an_allowed_origin_speaks_grpc_web_and_others_do_not() {
    let app = TestApp::builder(&[Arc::new(Counter)])
        .configure(|c| c.listen.cors_origins.push("https://desk.example".into()))
        .start()
        .await;
    let browser = reqwest::Client::new();
    let url = format!(
        "http://{}/trama.case.v1.CaseService/GetCase",
        app.running.addresses.grpc
    );
    for (origin, allowed) in [("https://desk.example", true), ("https://evil.example", false)] {
        let asked = browser
            .request(reqwest::Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,x-grpc-web",
            )
            .send()
            .await
            .expect("an answer to the pre-flight");
        assert_eq!(
            asked.headers().contains_key("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
    }
    let answer = browser
        .post(&url)
        .header("origin", "https://desk.example")
        .header("content-type", "application/grpc-web+proto")
        .header(
            "authorization",
            format!("Bearer {}", app.token("acme", "carla", "case.read")),
        )
        .body(vec![0_u8; 5])
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://desk.example"
    );
    // This app has no such service, and says so in gRPC's own terms.
    assert_eq!(answer.headers()["grpc-status"], "12");
    app.stop().await;
}

#[test]
fn every_kind_has_a_code_and_a_status() {
    for kind in [
        Kind::Invalid,
        Kind::NotFound,
        Kind::Conflict,
        Kind::AlreadyExists,
        Kind::Precondition,
        Kind::Unauthenticated,
        Kind::Denied,
        Kind::Exhausted,
        Kind::Unavailable,
        Kind::Internal,
    ] {
        assert!(kind.http().is_client_error() || kind.http().is_server_error());
        assert_ne!(kind.grpc(), Code::Ok);
    }
    let status = tonic::Status::from(Error::invalid("handle.value", "must be an address"));
    assert!(status.message().contains("handle.value"));
}
