//! Who calls too much.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use trama_platform::config::Rate;
use trama_proto::case::v1::{GetCaseRequest, case_service_client::CaseServiceClient};
use trama_testkit::TestApp;

use crate::counter::Counter;

async fn call(app: &TestApp, tenant: &str, subject: &str) -> Status {
    let message = GetCaseRequest { case_id: "x".into() };
    CaseServiceClient::new(app.grpc())
        .get_case(app.request(tenant, subject, message))
        .await
        .expect_err("this app has no such service")
}

#[tokio::test]
async fn a_tenant_that_calls_too_much_is_told_when_to_come_again_and_others_do_not_notice() {
    let app = TestApp::builder(&[Arc::new(Counter)])
        .configure(|config| {
            config.limits.tenant = Rate {
                per_second: 2.0,
                burst: 3,
            };
        })
        .start()
        .await;
    // Past the door: this app simply has no such service.
    for n in 0..3 {
        assert_eq!(
            call(&app, "acme", &format!("agent{n}")).await.code(),
            Code::Unimplemented
        );
    }
    let refused = call(&app, "acme", "carla").await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_retry_info().expect("a RetryInfo");
    assert_eq!(info.retry_delay, Some(Duration::from_millis(500)));
    assert_eq!(call(&app, "globex", "carla").await.code(), Code::Unimplemented);
    app.clock.advance(Duration::from_millis(500));
    assert_eq!(call(&app, "acme", "carla").await.code(), Code::Unimplemented);
    app.stop().await;
}
