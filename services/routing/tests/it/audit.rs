//! Commands that share a transaction leave a trail each.

use trama_proto::{audit::v1::AuditOutcome, common::v1::ChannelKind};

use crate::support::*;

#[tokio::test]
async fn a_desk_command_tells_who_moved_which_item_from_which_state_to_which() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = carla.offer().await;
    let taken = carla.accept(&offer.offer_id).await.expect("accepted");
    carla.complete(&taken.work_item_id).await.expect("done");
    // Refused: it changes nothing and leaves none.
    assert!(
        carla
            .accept("00000000-0000-4000-8000-000000000000")
            .await
            .is_err()
    );
    let accepted = app.audited("/trama.routing.v1.DeskService/AcceptOffer").await;
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0].subject, "carla");
    assert_eq!(accepted[0].outcome(), AuditOutcome::Committed);
    assert_eq!(accepted[0].origin, "127.0.0.1");
    assert_eq!(accepted[0].objects[0].id, offer.offer_id);
    let change = &accepted[0].changes[0];
    assert_eq!(
        (change.before.as_str(), change.after.as_str()),
        ("offered", "assigned")
    );
    assert_eq!(change.object.as_ref().expect("an item").id, taken.work_item_id);
    let completed = app.audited("/trama.routing.v1.DeskService/CompleteWork").await;
    assert_eq!(completed.len(), 1);
    assert_eq!(completed[0].changes[0].before, "assigned");
    app.stop().await;
}
