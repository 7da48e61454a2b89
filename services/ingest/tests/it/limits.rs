//! A tenant whose providers send more than it may receive.

use std::time::Duration;

use serde_json::json;
use trama_platform::config::Rate;

use crate::support::{World, text_message, whatsapp};

async fn world(per_second: f64, http_wait_ms: u64) -> World {
    World::configured("http://127.0.0.1:9", move |config| {
        config.limits.http = Rate { per_second, burst: 2 };
        config.limits.http_wait_ms = http_wait_ms;
    })
    .await
}

#[tokio::test]
async fn a_webhook_waits_for_its_turn_and_nothing_is_lost() {
    let world = world(50.0, 5_000).await;
    for n in 0..6 {
        let body = whatsapp(json!({"messages": [text_message(&format!("wamid.{n}"), "ciao")]}));
        assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    }
    assert_eq!(world.interactions().await.len(), 6);
    world.stop().await;
}

#[tokio::test]
async fn what_would_wait_too_long_is_sent_back_with_the_time_to_come_again() {
    let world = world(0.5, 0).await;
    let body = whatsapp(json!({"messages": [text_message("wamid.1", "ciao")]}));
    for _ in 0..2 {
        assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    }
    let refused = world.post_whatsapp(&body).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    // Tenants that there are not share a bucket of their own.
    for (name, status) in [("x", 404), ("y", 404), ("z", 429)] {
        let answer = world.get(&format!("/webhooks/{name}/whatsapp")).await;
        assert_eq!(answer.status(), status);
    }
    world.app.clock.advance(Duration::from_secs(2));
    assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    world.stop().await;
}
