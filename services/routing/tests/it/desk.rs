//! Offers and what agents do with them.

use std::time::Duration;

use tonic::Code;
use trama_proto::{
    case::v1::WithdrawReason,
    common::v1::ChannelKind,
    routing::v1::{
        Agent, ListAgentsRequest, OfferAccepted, OfferEnd, OfferEnded, OfferMade, OpenDeskRequest, Presence,
        SetPresenceRequest, UpsertAgentRequest, WorkCompleted, WorkItemState,
        desk_service_client::DeskServiceClient, routing_service_client::RoutingServiceClient,
    },
};

use crate::support::*;

async fn presence_of(app: &trama_testkit::TestApp, agent: &str) -> Agent {
    let mut client = RoutingServiceClient::new(app.grpc());
    let list = client
        .list_agents(app.request(ACME, "boss", ListAgentsRequest::default()))
        .await
        .expect("agents");
    list.into_inner()
        .agents
        .into_iter()
        .find(|a| a.agent_id == agent)
        .expect("the agent")
}

#[tokio::test]
async fn a_request_becomes_an_offer_with_its_context_and_is_accepted_and_completed() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = carla.offer().await;
    assert_eq!(
        offer
            .snapshot
            .expect("context")
            .customer
            .expect("a customer")
            .display_name,
        "Anna"
    );
    let work = offer.work_item.expect("the item");
    assert_eq!(
        (work.state(), work.queue.as_str()),
        (WorkItemState::Offered, "general")
    );
    assert!(
        offer.explanation.contains("idle longest"),
        "{}",
        offer.explanation
    );

    app.clock.advance(Duration::from_secs(7));
    let taken = carla.accept(&offer.offer_id).await.expect("accepted");
    assert_eq!(
        (taken.state(), taken.agent_id.as_str()),
        (WorkItemState::Assigned, "carla")
    );
    assert_eq!(
        carla.updated().await.work_item.expect("the item").state(),
        WorkItemState::Assigned
    );
    let again = carla.accept(&offer.offer_id).await.expect("the same answer");
    assert_eq!(again, taken);
    let accepted = app.events::<OfferAccepted>().await;
    assert_eq!(accepted.len(), 1);
    assert_eq!(
        (
            accepted[0].event.waited_seconds,
            accepted[0].event.agent_id.as_str()
        ),
        (7, "carla")
    );
    assert_eq!(presence_of(&app, "carla").await.used_units, 2);

    app.clock.advance(Duration::from_secs(5));
    assert_eq!(
        carla.complete(&taken.work_item_id).await.expect("done").state(),
        WorkItemState::Completed
    );
    assert_eq!(carla.gone().await.reason, "the work is done");
    let done = app.events::<WorkCompleted>().await;
    assert_eq!((done.len(), done[0].event.handle_seconds), (1, 5));
    assert_eq!(presence_of(&app, "carla").await.used_units, 0);
    let again = carla
        .complete(&taken.work_item_id)
        .await
        .expect("the same answer");
    assert_eq!(again.state(), WorkItemState::Completed);
    assert_eq!(app.events::<WorkCompleted>().await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn waiting_work_is_offered_when_somebody_with_the_skill_comes() {
    let app = app().await;
    request(
        &app,
        &with_intent(asked(&app, 1, 1, ChannelKind::Email), "product-fault"),
    )
    .await;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    assert_eq!(get(&app, 1).await.position, 1);
    let mut able = human("carla");
    able.skills.insert("coffee-machines".into(), 7);
    let mut carla = Desk::available(&app, able).await;
    let work = carla.offer().await.work_item.expect("the item");
    assert_eq!(
        (work.queue.as_str(), work.required_skills),
        ("machines", vec!["coffee-machines".to_owned()])
    );
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    assert_eq!(
        bruno.offer().await.work_item.expect("the item").case_id,
        case(2).to_string()
    );
    app.stop().await;
}

#[tokio::test]
async fn a_declined_offer_goes_to_the_next_agent_and_not_back() {
    let app = app().await;
    let mut first = Desk::available(&app, human("a")).await;
    app.clock.advance(Duration::from_secs(1));
    let mut second = Desk::available(&app, human("b")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = first.offer().await;
    assert_eq!(
        code(second.accept(&offer.offer_id).await),
        Code::FailedPrecondition
    );
    first.decline(&offer.offer_id).await.expect("declined");
    assert_eq!(first.gone().await.reason, "you declined it");
    let offer = second.offer().await;
    second.decline(&offer.offer_id).await.expect("declined");
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    let ends: Vec<_> = app
        .events::<OfferEnded>()
        .await
        .into_iter()
        .map(|e| e.event.end())
        .collect();
    assert_eq!(ends, [OfferEnd::Declined, OfferEnd::Declined]);
    assert_eq!(app.events::<OfferMade>().await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn an_unanswered_offer_lapses_and_its_agent_is_left_alone_for_a_minute() {
    let app = app().await;
    let mut first = Desk::available(&app, human("a")).await;
    app.clock.advance(Duration::from_secs(1));
    let mut second = Desk::available(&app, human("b")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let since = item(&app, 1).await.waiting_since;
    let lapsed = first.offer().await;
    app.advance(Duration::from_secs(30)).await;
    assert_eq!(first.gone().await.reason, "it was not answered in time");
    let offer = second.offer().await;
    assert_eq!(offer.work_item.expect("the item").waiting_since, since);
    assert_eq!(
        code(first.accept(&lapsed.offer_id).await),
        Code::FailedPrecondition
    );
    assert_eq!(presence_of(&app, "a").await.presence(), Presence::NotResponding);
    second.accept(&offer.offer_id).await.expect("accepted");
    app.advance(Duration::from_secs(60)).await;
    assert_eq!(presence_of(&app, "a").await.presence(), Presence::Available);
    request(&app, &asked(&app, 2, 1, ChannelKind::Voice)).await;
    assert_eq!(
        first.offer().await.work_item.expect("the item").case_id,
        case(2).to_string()
    );
    app.stop().await;
}

#[tokio::test]
async fn an_offer_is_not_accepted_after_its_end_even_before_the_timer() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = carla.offer().await;
    app.clock.advance(Duration::from_secs(30));
    assert_eq!(
        code(carla.accept(&offer.offer_id).await),
        Code::FailedPrecondition
    );
    app.stop().await;
}

#[tokio::test]
async fn humans_get_one_offer_at_a_time_up_to_their_capacity_and_calls_alone() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    for number in 1..=4 {
        request(&app, &asked(&app, number, 1, ChannelKind::WebChat)).await;
        app.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(app.events::<OfferMade>().await.len(), 1);
    let first = carla.take().await;
    carla.take().await;
    carla.take().await;
    assert_eq!(
        app.events::<OfferMade>().await.len(),
        3,
        "three chats fill an agent"
    );
    request(&app, &asked(&app, 9, 1, ChannelKind::Voice)).await;
    carla
        .complete(&first.work_item.expect("the item").work_item_id)
        .await
        .expect("done");
    carla.gone().await;
    assert_eq!(
        carla.take().await.work_item.expect("the item").case_id,
        case(4).to_string()
    );
    assert_eq!(
        item(&app, 9).await.state(),
        WorkItemState::Pending,
        "a call needs the whole agent"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_bot_holds_many_offers_at_once() {
    let app = app().await;
    for number in 1..=30 {
        app.publish(
            ACME,
            &case(number).to_string(),
            &asked(&app, number, 1, ChannelKind::Email),
        )
        .await;
    }
    app.settle().await;
    let mut bot = Desk::available(
        &app,
        Agent {
            bot: true,
            capacity_units: 1_000,
            ..human("bot")
        },
    )
    .await;
    for number in 31..=60 {
        app.publish(
            ACME,
            &case(number).to_string(),
            &asked(&app, number, 1, ChannelKind::WebChat),
        )
        .await;
    }
    app.settle().await;
    let mut cases = std::collections::BTreeSet::new();
    let mut last = String::new();
    for _ in 0..60 {
        let offer = bot.offer().await;
        cases.insert(offer.work_item.expect("the item").case_id);
        last = offer.offer_id;
    }
    assert_eq!(cases.len(), 60);
    bot.accept(&last).await.expect("accepted");
    assert_eq!(presence_of(&app, "bot").await.used_units, 30 * 4 + 30 * 2);
    app.stop().await;
}

#[tokio::test]
async fn a_new_line_shows_what_is_in_hand_and_news_of_it() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    carla.take().await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    carla.offer().await;
    let mut second = Desk::open(&app, "carla").await;
    assert_eq!(
        second.updated().await.work_item.expect("the item").case_id,
        case(1).to_string()
    );
    assert_eq!(
        second.offer().await.work_item.expect("the item").case_id,
        case(2).to_string()
    );
    request(&app, &asked(&app, 1, 2, ChannelKind::Whatsapp)).await;
    for desk in [&mut carla, &mut second] {
        let work = desk.updated().await.work_item.expect("the item");
        assert_eq!(
            (work.case_id.clone(), work.channel_kind()),
            (case(1).to_string(), ChannelKind::Whatsapp)
        );
        assert_eq!(work.state(), WorkItemState::Assigned);
    }
    app.stop().await;
}

#[tokio::test]
async fn who_hangs_up_is_offline_after_a_while_and_their_offers_return() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(
        &app,
        &with_intent(asked(&app, 1, 1, ChannelKind::WebChat), "other"),
    )
    .await;
    carla.offer().await;
    drop(carla);
    // The grace begins when the server notices.
    app.eventually("carla is offline", || async {
        app.advance(Duration::from_secs(1)).await;
        presence_of(&app, "carla").await.presence() == Presence::Offline
    })
    .await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    let mut back = Desk::open(&app, "carla").await;
    assert_eq!(presence_of(&app, "carla").await.presence(), Presence::Away);
    app.advance(Duration::from_secs(120)).await;
    assert_eq!(
        presence_of(&app, "carla").await.presence(),
        Presence::Away,
        "a line that lives keeps its agent"
    );
    back.presence(Presence::Offline).await;
    app.stop().await;
}

#[tokio::test]
async fn a_withdrawal_rescinds_an_offer_and_completes_work_in_hand() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    carla.offer().await;
    withdraw(&app, 1, 2, WithdrawReason::Merged).await;
    assert_eq!(carla.gone().await.reason, "the work is no longer wanted");
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Cancelled);
    assert_eq!(
        app.events::<OfferEnded>().await[0].event.end(),
        OfferEnd::Rescinded
    );

    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    carla.take().await;
    withdraw(&app, 2, 2, WithdrawReason::Answered).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Assigned);
    withdraw(&app, 2, 3, WithdrawReason::Resolved).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Completed);
    assert_eq!(carla.gone().await.reason, "the work is done");
    assert_eq!(app.events::<WorkCompleted>().await.len(), 1);
    assert_eq!(presence_of(&app, "carla").await.used_units, 0);
    app.stop().await;
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() {
    let app = app().await;
    let mut admin = RoutingServiceClient::new(app.grpc());
    let bad = [
        Agent {
            agent_id: "with space".into(),
            ..human("x")
        },
        Agent {
            display_name: " ".into(),
            ..human("x")
        },
        Agent {
            channel_kinds: vec![],
            ..human("x")
        },
        Agent {
            channel_kinds: vec![99],
            ..human("x")
        },
        Agent {
            capacity_units: 0,
            ..human("x")
        },
        Agent {
            skills: [("s".to_owned(), 11)].into(),
            ..human("x")
        },
    ];
    for agent in bad {
        let request = UpsertAgentRequest {
            agent: Some(agent),
            request_id: String::new(),
        };
        assert_eq!(
            code(admin.upsert_agent(app.request(ACME, "admin", request)).await),
            Code::InvalidArgument
        );
    }
    let mut desk = DeskServiceClient::new(app.grpc());
    let open = desk
        .open_desk(app.request(ACME, "nobody", OpenDeskRequest::default()))
        .await;
    assert_eq!(code(open), Code::NotFound);
    let mut carla = Desk::available(&app, human("carla")).await;
    let odd = SetPresenceRequest {
        presence: Presence::NotResponding.into(),
        ..SetPresenceRequest::default()
    };
    assert_eq!(
        code(desk.set_presence(app.request(ACME, "carla", odd)).await),
        Code::InvalidArgument
    );
    assert_eq!(code(carla.accept("no id").await), Code::InvalidArgument);
    assert_eq!(code(carla.accept(&case(1).to_string()).await), Code::NotFound);
    assert_eq!(code(carla.complete(&case(1).to_string()).await), Code::NotFound);
    let list = admin
        .list_agents(app.request(ACME, "boss", ListAgentsRequest::default()))
        .await
        .expect("agents");
    assert_eq!(list.into_inner().agents.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn capacity_cannot_shrink_below_what_is_in_use() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    carla.take().await;
    let small = UpsertAgentRequest {
        agent: Some(Agent {
            capacity_units: 3,
            ..human("carla")
        }),
        request_id: String::new(),
    };
    let mut admin = RoutingServiceClient::new(app.grpc());
    assert_eq!(
        code(admin.upsert_agent(app.request(ACME, "admin", small)).await),
        Code::FailedPrecondition
    );
    app.stop().await;
}

#[tokio::test]
async fn a_request_id_belongs_to_the_agent_who_used_it() {
    let app = app().await;
    for name in ["a", "b"] {
        upsert(&app, ACME, human(name)).await;
    }
    let mut desk = DeskServiceClient::new(app.grpc());
    let request = |presence: Presence| SetPresenceRequest {
        presence: presence.into(),
        request_id: "1".into(),
        ..SetPresenceRequest::default()
    };
    for name in ["a", "b", "a"] {
        let answer = desk
            .set_presence(app.request(ACME, name, request(Presence::Available)))
            .await
            .expect("presence");
        assert_eq!(answer.into_inner().agent.expect("the agent").agent_id, name);
    }
    let other = desk
        .set_presence(app.request(ACME, "a", request(Presence::Away)))
        .await;
    assert_eq!(code(other), Code::Aborted, "the same id with another content");
    app.stop().await;
}

#[tokio::test]
async fn the_preferred_agent_gets_the_case_back() {
    let app = app().await;
    let _first = Desk::available(&app, human("a")).await;
    app.clock.advance(Duration::from_secs(1));
    let mut last = Desk::available(&app, human("b")).await;
    let mut event = asked(&app, 1, 1, ChannelKind::WebChat);
    event.preferred_agent_id = "b".into();
    request(&app, &event).await;
    let offer = last.offer().await;
    assert!(offer.explanation.contains("know"), "{}", offer.explanation);
    app.stop().await;
}
