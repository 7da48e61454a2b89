//! From hand to hand.

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{Handover, OfferAccepted, WorkItemState, WorkTransferred},
};

use crate::support::*;

#[tokio::test]
async fn a_blind_transfer_waits_for_the_named_agent_with_the_same_clock() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let since = item(&app, 1).await.waiting_since;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    transfer(&app, "anna", &work, Handover::Blind, "bruno").await;
    let offer = bruno.offer().await;
    assert_eq!(
        (
            offer.handover(),
            offer.from_agent_id.as_str(),
            offer.note.as_str()
        ),
        (Handover::Blind, "anna", "she prefers the phone")
    );
    let found = offer.work_item.expect("the item");
    assert_eq!((found.waiting_since, found.transfers), (since, 1));
    bruno.accept(&offer.offer_id).await.expect("accepted");
    let told = app.events::<WorkTransferred>().await;
    assert_eq!((told.len(), told[0].event.from_agent_id.as_str()), (1, "anna"));
    assert_eq!(load(&app, "anna").await, 0);
    assert_eq!(load(&app, "bruno").await, 2);
    app.stop().await;
}

#[tokio::test]
async fn a_warm_transfer_changes_hands_when_the_second_agent_accepts() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    let still = transfer(&app, "anna", &work, Handover::Warm, "bruno").await;
    assert_eq!(
        (still.state(), still.agent_id.as_str()),
        (WorkItemState::Assigned, "anna")
    );
    let offer = bruno.offer().await;
    assert_eq!(item(&app, 1).await.second_agent_id, "bruno");
    bruno.accept(&offer.offer_id).await.expect("accepted");
    let after = item(&app, 1).await;
    assert_eq!(
        (after.agent_id.as_str(), after.second_agent_id.as_str()),
        ("bruno", "")
    );
    let told = app.events::<WorkTransferred>().await;
    assert_eq!((told.len(), told[0].event.to_agent_id.as_str()), (1, "bruno"));
    assert_eq!(
        app.events::<OfferAccepted>().await.len(),
        1,
        "the case learns it by the transfer"
    );
    assert_eq!((load(&app, "anna").await, load(&app, "bruno").await), (0, 2));
    bruno.complete(&work).await.expect("done");
    assert_eq!(load(&app, "bruno").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_consultation_leaves_the_work_where_it_is_until_somebody_says_otherwise() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    transfer(&app, "anna", &work, Handover::Consult, "bruno").await;
    let offer = bruno.offer().await;
    bruno.accept(&offer.offer_id).await.expect("accepted");
    let during = item(&app, 1).await;
    assert_eq!(
        (during.agent_id.as_str(), during.second_agent_id.as_str()),
        ("anna", "bruno")
    );
    assert_eq!((load(&app, "anna").await, load(&app, "bruno").await), (2, 2));
    end_consultation(&app, "anna", &work, false).await;
    let after = item(&app, 1).await;
    assert_eq!(
        (after.agent_id.as_str(), after.second_agent_id.as_str()),
        ("anna", "")
    );
    assert_eq!((load(&app, "anna").await, load(&app, "bruno").await), (2, 0));
    assert!(app.events::<WorkTransferred>().await.is_empty());
    app.stop().await;
}
