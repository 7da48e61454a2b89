//! How busy people are: time with work in hand, of the time with work in hand or available.

use std::time::Duration;

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        Agent, GetKpisRequest, Handover, ListOccupancyRequest, ParkWorkRequest, Presence, TeamOccupancy,
        WatchWallboardRequest, desk_service_client::DeskServiceClient,
        routing_service_client::RoutingServiceClient, supervisor_service_client::SupervisorServiceClient,
    },
    time::to_wire,
};
use trama_testkit::{TestApp, start_of_time};

use crate::support::*;

/// Whoever is done with work wraps up for a minute.
const WRAPPING: &str = "
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: general, namespace: acme }
spec: { serviceLevel: { targetSeconds: 300, goal: 0.8 }, wrapUpSeconds: 60 }
---
apiVersion: trama.dev/v1alpha1
kind: RoutingPolicy
metadata: { name: main, namespace: acme }
spec: { rules: [], defaultQueue: general }
";

const QUARTERS: ListOccupancyRequest = ListOccupancyRequest {
    since: None,
    until: None,
    interval_minutes: 15,
    team: String::new(),
    page_size: 0,
    page_token: String::new(),
};

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

fn of_teams(agent: Agent, teams: &[&str]) -> Agent {
    Agent {
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
        ..agent
    }
}

/// Of channels on which nobody writes.
fn idle(agent: Agent) -> Agent {
    Agent {
        channel_kinds: vec![ChannelKind::Email.into()],
        ..agent
    }
}

async fn list(app: &TestApp, tenant: &str, request: ListOccupancyRequest) -> (Vec<TeamOccupancy>, String) {
    let mut client = RoutingServiceClient::new(app.grpc());
    let answer = client.list_occupancy(app.request(tenant, "boss", request)).await;
    let answer = answer.expect("occupancy").into_inner();
    (answer.occupancy, answer.next_page_token)
}

/// Minute at which the interval begins, team, seconds busy, seconds staffed.
fn times(found: &[TeamOccupancy]) -> Vec<(i64, &str, f64, f64)> {
    let minute = |o: &TeamOccupancy| (o.start.expect("a start").seconds - start_of_time().timestamp()) / 60;
    found
        .iter()
        .map(|o| (minute(o), o.team.as_str(), o.busy_seconds, o.staffed_seconds))
        .collect()
}

/// A chat of this number, in the agent's hands.
async fn chat(app: &TestApp, desk: &mut Desk<'_>, number: u128) -> String {
    request(app, &asked(app, number, 1, ChannelKind::Whatsapp)).await;
    let offer = desk.next_offer().await;
    desk.accept(&offer.offer_id).await.expect("accepted");
    // Who doubts presses twice.
    desk.accept(&offer.offer_id).await.expect("accepted already");
    offer.work_item.expect("the item").work_item_id
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    sqlx::query_scalar(sql)
        .fetch_one(tx.conn())
        .await
        .expect("a count")
}

#[tokio::test]
async fn work_in_hand_is_counted_once_and_time_away_only_with_work_in_hand() {
    let app = app_with(WRAPPING).await;
    let mut anna = Desk::available(&app, of_teams(human("anna"), &["front"])).await;
    let bot = Agent {
        bot: true,
        ..idle(human("robot"))
    };
    let _robot = Desk::available(&app, of_teams(bot, &["front"])).await;
    app.advance(minutes(2)).await;
    let first = chat(&app, &mut anna, 1).await;
    app.advance(minutes(2)).await;
    let second = chat(&app, &mut anna, 2).await;
    app.advance(minutes(1)).await;
    let _luca = Desk::available(&app, of_teams(idle(human("luca")), &["front", "night"])).await;
    anna.complete(&first).await.expect("done");
    app.advance(minutes(3)).await;
    anna.complete(&second)
        .await
        .expect("done, and wrapping up until 9");
    app.advance(minutes(1)).await;
    app.advance(minutes(1)).await;
    anna.presence(Presence::Away).await;
    app.advance(minutes(3)).await;
    anna.presence(Presence::Available).await;
    app.advance(minutes(1)).await;
    let third = chat(&app, &mut anna, 3).await;
    app.advance(minutes(2)).await;
    // At 16: anna was busy from 2 to 9 and from 14 on, there until 10 and from 13 on; luca was there from 5 on.
    let (running, _) = list(&app, ACME, QUARTERS).await;
    let first_quarter = [
        (0, "", 480.0, 720.0 + 600.0),
        (0, "front", 480.0, 720.0 + 600.0),
        (0, "night", 0.0, 600.0),
    ];
    assert_eq!(times(&running[..3]), first_quarter);
    assert_eq!(
        times(&running[3..]),
        [
            (15, "", 60.0, 120.0),
            (15, "front", 60.0, 120.0),
            (15, "night", 0.0, 60.0)
        ]
    );
    assert_eq!(
        (running[0].occupancy, running[0].agents),
        (480.0 / 1_320.0, 1_320.0 / 900.0)
    );
    assert_eq!((running[3].occupancy, running[3].agents), (0.5, 2.0));
    assert_eq!(
        count(&app, "SELECT count(*) FROM team_times").await,
        0,
        "nothing is folded so soon"
    );

    anna.presence(Presence::Away).await;
    app.advance(minutes(2)).await;
    anna.complete(&third)
        .await
        .expect("done, and wrapping up until 19");
    app.advance(minutes(1)).await;
    app.advance(minutes(1)).await;
    // At 20: anna was busy until 19 although away from 16 on.
    app.eventually("the leader folds the first quarter", async || {
        count(&app, "SELECT count(*) FROM team_times").await == 3
    })
    .await;
    let (folded, _) = list(&app, ACME, QUARTERS).await;
    assert_eq!(folded[..3], running[..3]);
    let second_quarter = [
        (15, "", 240.0, 540.0),
        (15, "front", 240.0, 540.0),
        (15, "night", 0.0, 300.0),
    ];
    assert_eq!(times(&folded[3..]), second_quarter);
    app.stop().await;
}

#[tokio::test]
async fn figures_wallboard_and_history_say_the_same() {
    let app = app().await;
    let mut anna = Desk::available(&app, of_teams(human("anna"), &["front"])).await;
    let _luca = Desk::available(&app, of_teams(idle(human("luca")), &["night"])).await;
    app.advance(minutes(10)).await;
    let work = chat(&app, &mut anna, 1).await;
    app.advance(minutes(20)).await;
    anna.complete(&work).await.expect("done");
    app.advance(minutes(10)).await;
    let day = ListOccupancyRequest {
        interval_minutes: 1_440,
        ..QUARTERS
    };
    let (days, _) = list(&app, ACME, day).await;
    let wanted = [
        ("", 1_200.0, 4_800.0, 0.25),
        ("front", 1_200.0, 2_400.0, 0.5),
        ("night", 0.0, 2_400.0, 0.0),
    ];
    let of = |found: &[TeamOccupancy]| -> Vec<(String, f64, f64, f64)> {
        let each = found.iter();
        each.map(|o| (o.team.clone(), o.busy_seconds, o.staffed_seconds, o.occupancy))
            .collect()
    };
    let wanted = wanted.map(|(team, busy, staffed, share)| (team.to_owned(), busy, staffed, share));
    assert_eq!(of(&days), wanted);

    let mut client = RoutingServiceClient::new(app.grpc());
    let kpis = client
        .get_kpis(app.request(ACME, "boss", GetKpisRequest::default()))
        .await
        .expect("figures")
        .into_inner();
    assert_eq!(of(&kpis.occupancy), wanted);

    let mut boss = SupervisorServiceClient::new(app.grpc());
    for (teams, shown) in [(vec![], &wanted[..]), (vec!["night".to_owned()], &wanted[2..])] {
        let request = WatchWallboardRequest {
            queues: Vec::new(),
            teams,
        };
        let board = boss.watch_wallboard(app.request(ACME, "boss", request)).await;
        let mut board = board.expect("a wallboard").into_inner();
        let first = board.message().await.expect("no error").expect("an open board");
        assert_eq!(of(&first.occupancy), shown);
    }

    // 3 quarters, of everybody and two teams each; by pages and by team they are the same.
    let (all, _) = list(&app, ACME, QUARTERS).await;
    assert_eq!(all.len(), 9);
    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOccupancyRequest {
            page_size: 2,
            page_token,
            ..QUARTERS
        };
        let (page, next) = list(&app, ACME, request).await;
        paged.extend(page);
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    let of_one = ListOccupancyRequest {
        team: "front".into(),
        until: Some(to_wire(start_of_time() + minutes(30))),
        ..QUARTERS
    };
    assert_eq!(
        times(&list(&app, ACME, of_one).await.0),
        [(0, "front", 300.0, 900.0), (15, "front", 900.0, 900.0)]
    );
    assert_eq!(list(&app, "globex", QUARTERS).await.0, []);
    let odd = ListOccupancyRequest {
        interval_minutes: 20,
        ..QUARTERS
    };
    let refused = client.list_occupancy(app.request(ACME, "boss", odd)).await;
    assert_eq!(code(refused), tonic::Code::InvalidArgument);
    app.stop().await;
}

#[tokio::test]
async fn parked_work_does_not_count_and_a_second_agent_does() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    let work = chat(&app, &mut anna, 1).await;
    app.advance(minutes(4)).await;
    let mut desk = DeskServiceClient::new(app.grpc());
    for _ in 0..2 {
        let park = ParkWorkRequest {
            work_item_id: work.clone(),
            request_id: "park".into(),
        };
        desk.park_work(app.request(ACME, "anna", park))
            .await
            .expect("parked");
        app.settle().await;
    }
    app.advance(minutes(6)).await;
    let writes = asked(&app, 1, 2, ChannelKind::Whatsapp);
    request(&app, &writes).await;
    request(&app, &writes).await;
    app.advance(minutes(2)).await;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    transfer(&app, "anna", &work, Handover::Consult, "bruno").await;
    let offer = bruno.next_offer().await;
    app.advance(Duration::from_secs(10)).await;
    bruno.accept(&offer.offer_id).await.expect("accepted");
    app.advance(Duration::from_secs(50)).await;
    end_consultation(&app, "anna", &work, false).await;
    app.advance(minutes(1)).await;
    // At 14: anna was busy until 4 and from 10 on. Bruno came at 12 and was busy for 50 s: an offer is no work yet.
    let (found, _) = list(&app, ACME, QUARTERS).await;
    assert_eq!(times(&found), [(0, "", 480.0 + 50.0, 840.0 + 120.0)]);
    assert_eq!(
        count(&app, "SELECT count(*) FROM agent_loads").await,
        5,
        "each turn is written once"
    );
    assert_eq!(
        count(&app, "SELECT sum(hands) FROM agents").await,
        1,
        "anna still has it"
    );
    app.stop().await;
}
