//! Who matches: the leader of a tenant is killed, told to go, or stopped and woken, in the middle of its work, as a real
//! process beside another one. Whatever happens, every item is done once, by one agent, and the books balance.

use std::{
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status, metadata::MetadataValue, transport::Channel};
use trama_platform::{
    Clock,
    auth::{DevIssuer, DevToken},
};
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        AcceptOfferRequest, Agent, CompleteWorkRequest, GetHealthRequest, OpenDeskRequest, Presence,
        SetPresenceRequest, UpsertAgentRequest, desk_service_client::DeskServiceClient,
        open_desk_response::Event, routing_service_client::RoutingServiceClient,
        supervisor_service_client::SupervisorServiceClient,
    },
};

use crate::platform::{Platform, Provider};

/// Customers who write.
const ITEMS: i64 = 120;
const AGENTS: usize = 8;
/// What a desk takes to think, so that there is work left when the leader goes.
const THINKS: Duration = Duration::from_millis(100);
/// A crash is made good within this time; the machine that tests may be slow.
const PROMISED: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(10);
/// What comes at all has come by then.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two replicas on one database; the first one leads.
struct Pair {
    first: Platform,
    second: Platform,
    leader: Child,
    other: Child,
    issuer: DevIssuer,
    clock: Clock,
    db: PgConnection,
}

/// Who leads, in which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lease {
    holder: String,
    epoch: i64,
}

impl Pair {
    /// `ITEMS` items wait, the agents are there, nobody works yet.
    async fn new() -> Self {
        let first = Platform::new().await;
        let leader = first.start(None).await;
        let (issuer, _) = DevIssuer::open(&first.folder.join("keys")).expect("keys");
        let mut db = PgConnection::connect(&first.database_url)
            .await
            .expect("PostgreSQL");
        sqlx::query("SELECT set_config('trama.tenant', '*', false)")
            .execute(&mut db)
            .await
            .expect("a setting");
        let clock = Clock::system();
        for number in 0..AGENTS {
            let agent = Agent {
                agent_id: format!("agent-{number}"),
                display_name: format!("Agent {number}"),
                channel_kinds: vec![ChannelKind::Whatsapp.into()],
                capacity_units: 6,
                ..Agent::default()
            };
            let request = UpsertAgentRequest {
                agent: Some(agent),
                request_id: String::new(),
            };
            let mut client = RoutingServiceClient::new(door(&first).await);
            client
                .upsert_agent(signed(&issuer, &clock, "admin", request))
                .await
                .expect("an agent");
        }
        // The first one is alone until it leads.
        until(
            &mut db,
            "the first one leads",
            "SELECT count(*) = least(1, $1) FROM routing.leases WHERE holder <> ''",
        )
        .await;
        let second = first.replica();
        let mut pair = Self {
            leader,
            other: second.start(None).await,
            first,
            second,
            issuer,
            clock,
            db,
        };
        let provider = Provider::new(&pair.second);
        for number in 0..usize::try_from(ITEMS).expect("few") {
            assert!(provider.send(number).await, "the webhook is taken");
        }
        pair.until(
            "all wait",
            "SELECT count(*) = $1 FROM routing.work_items WHERE state = 'pending'",
        )
        .await;
        pair
    }

    /// Waits until a question to the database is answered with yes; `$1` is the number of items.
    async fn until(&mut self, what: &str, sql: &'static str) {
        until(&mut self.db, what, sql).await;
    }

    async fn lease(&mut self) -> Lease {
        let (holder, epoch) =
            sqlx::query_as("SELECT holder, epoch FROM routing.leases WHERE tenant = 'acme'")
                .fetch_one(&mut self.db)
                .await
                .expect("a lease");
        Lease { holder, epoch }
    }

    async fn count(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&mut self.db)
            .await
            .expect("a count")
    }

    /// Waits for another leader and its first offer; says how long each took.
    async fn taken_over(&mut self, before: &Lease, since: Instant) -> (Duration, Duration) {
        let leads = loop {
            let now = self.lease().await;
            if now.epoch > before.epoch && !now.holder.is_empty() {
                assert_ne!(now.holder, before.holder, "the other one leads");
                break since.elapsed();
            }
            assert!(since.elapsed() < PROMISED + SLACK, "nobody took over: {now:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let made = self.count("SELECT count(*) FROM routing.offers").await;
        while self.count("SELECT count(*) FROM routing.offers").await == made {
            assert!(
                since.elapsed() < PROMISED + SLACK,
                "the new leader offers nothing"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (leads, since.elapsed())
    }

    /// The agents' desks, on the replica that stays.
    async fn desks(&self) -> Desks {
        let stop = Arc::new(AtomicBool::new(false));
        let mut at_work = tokio::task::JoinSet::new();
        for number in 0..AGENTS {
            let name = format!("agent-{number}");
            let token = token(&self.issuer, &self.clock, &name);
            at_work.spawn(work(door(&self.second).await, token, Arc::clone(&stop)));
        }
        Desks { stop, at_work }
    }

    /// Everything is done, once, and the books balance.
    async fn all_is_well(&mut self, desks: Desks) {
        self.until(
            "all is done",
            "SELECT count(*) = $1 FROM routing.work_items WHERE state = 'completed'",
        )
        .await;
        desks.go_home().await;
        assert_eq!(
            self.count("SELECT count(*) FROM routing.work_items").await,
            ITEMS,
            "none is lost or doubled"
        );
        let twice = "SELECT count(*) FROM routing.offers a JOIN routing.offers b
             ON b.tenant = a.tenant AND b.work_item_id = a.work_item_id AND b.seat = a.seat AND b.offer_id > a.offer_id
             WHERE tstzrange(a.offered_at, a.ended_at) && tstzrange(b.offered_at, b.ended_at)";
        assert_eq!(self.count(twice).await, 0, "no item is with two agents at once");
        let done = "SELECT count(*) FROM (SELECT work_item_id FROM routing.offers WHERE state = 'completed'
             GROUP BY work_item_id HAVING count(*) = 1) once";
        assert_eq!(self.count(done).await, ITEMS, "each is done by one agent, once");
        let open = "SELECT count(*) FROM routing.offers WHERE state IN ('pending', 'accepted')";
        assert_eq!(self.count(open).await, 0);
        let used = "SELECT coalesce(sum(used_units), 0) FROM routing.agents";
        assert_eq!(self.count(used).await, 0, "nobody holds anything");
        let mut boss = SupervisorServiceClient::new(door(&self.second).await);
        let health = boss
            .get_health(signed(&self.issuer, &self.clock, "boss", GetHealthRequest {}))
            .await
            .expect("health");
        let violations = health.into_inner().violations;
        assert!(violations.is_empty(), "{violations:?}");
    }

    async fn end(mut self) {
        for child in [&mut self.leader, &mut self.other] {
            let _ = child.kill();
            child.wait().expect("gone");
        }
        self.db.close().await.expect("closed");
        self.first.remove().await;
    }
}

fn with_token<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

struct Desks {
    stop: Arc<AtomicBool>,
    at_work: tokio::task::JoinSet<()>,
}

impl Desks {
    async fn go_home(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.at_work.abort_all();
        while let Some(ended) = self.at_work.join_next().await {
            assert!(
                ended.is_ok() || ended.is_err_and(|e| e.is_cancelled()),
                "a desk broke"
            );
        }
    }
}

/// An agent at work: takes each offer, thinks, completes it.
async fn work(door: Channel, token: String, stop: Arc<AtomicBool>) {
    let desk = DeskServiceClient::new(door);
    let open = || with_token(&token, OpenDeskRequest::default());
    let opened = patiently(|| {
        let (mut desk, request) = (desk.clone(), open());
        async move { desk.open_desk(request).await }
    });
    let mut stream = opened.await.expect("a desk").into_inner();
    let available = SetPresenceRequest {
        presence: Presence::Available.into(),
        ..SetPresenceRequest::default()
    };
    let present = patiently(|| {
        let (mut desk, request) = (desk.clone(), with_token(&token, available.clone()));
        async move { desk.set_presence(request).await }
    });
    present.await.expect("presence");
    while let Ok(Some(response)) = stream.message().await {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(Event::OfferMade(offer)) = response.event else {
            continue;
        };
        let accept = AcceptOfferRequest {
            offer_id: offer.offer_id,
            request_id: String::new(),
        };
        let accepted = patiently(|| {
            let (mut desk, request) = (desk.clone(), with_token(&token, accept.clone()));
            async move { desk.accept_offer(request).await }
        });
        if !went(accepted.await) {
            continue;
        }
        tokio::time::sleep(THINKS).await;
        let complete = CompleteWorkRequest {
            work_item_id: offer.work_item.expect("the item").work_item_id,
            request_id: String::new(),
        };
        let completed = patiently(|| {
            let (mut desk, request) = (desk.clone(), with_token(&token, complete.clone()));
            async move { desk.complete_work(request).await }
        });
        went(completed.await);
    }
}

/// As a desk does: what is not available now is asked for again.
async fn patiently<T, F, A>(mut call: F) -> Result<T, Status>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, Status>>,
{
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable => {
                tokio::time::sleep(THINKS).await;
            }
            answer => return answer,
        }
    }
}

async fn door(platform: &Platform) -> Channel {
    let address = format!("http://{}", platform.grpc);
    Channel::from_shared(address)
        .expect("an address")
        .connect()
        .await
        .expect("the door is open")
}

fn token(issuer: &DevIssuer, clock: &Clock, subject: &str) -> String {
    let token = DevToken {
        tenant: "acme",
        subject,
        scopes: "*",
        valid_seconds: 3_600,
    };
    issuer.token(clock, &token).expect("a token")
}

fn signed<T>(issuer: &DevIssuer, clock: &Clock, subject: &str, message: T) -> tonic::Request<T> {
    with_token(&token(issuer, clock, subject), message)
}

async fn until(db: &mut PgConnection, what: &str, sql: &'static str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let yes: bool = sqlx::query_scalar(sql)
            .bind(ITEMS)
            .fetch_one(&mut *db)
            .await
            .expect("an answer");
        if yes {
            return;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An offer may have lapsed while its leader was dead; nothing else may go wrong.
fn went<T>(answer: Result<T, Status>) -> bool {
    match answer {
        Ok(_) => true,
        Err(status) if status.code() == Code::FailedPrecondition => false,
        Err(status) => panic!("{status}"),
    }
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// A third of the work is done.
const UNDER_WAY: &str = "SELECT count(*) > $1 / 3 FROM routing.work_items WHERE state = 'completed'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_within_ten_seconds_and_nothing_is_lost_or_doubled() {
    let mut pair = Pair::new().await;
    let desks = pair.desks().await;
    pair.until("a third is done", UNDER_WAY).await;
    let before = pair.lease().await;
    pair.leader.kill().expect("kill -9");
    let (leads, offers) = pair.taken_over(&before, Instant::now()).await;
    eprintln!("kill -9: another replica leads after {leads:.2?}, offers after {offers:.2?}");
    pair.all_is_well(desks).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_go_hands_over_and_nothing_is_lost_or_doubled() {
    let mut pair = Pair::new().await;
    let desks = pair.desks().await;
    pair.until("a third is done", UNDER_WAY).await;
    let before = pair.lease().await;
    signal(&pair.leader, "-TERM");
    let (leads, offers) = pair.taken_over(&before, Instant::now()).await;
    eprintln!("SIGTERM: another replica leads after {leads:.2?}, offers after {offers:.2?}");
    let status = pair.leader.wait().expect("it ends");
    assert!(status.success(), "it ended with {status}");
    pair.all_is_well(desks).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_and_wakes_up_is_refused() {
    let mut pair = Pair::new().await;
    let desks = pair.desks().await;
    pair.until("a third is done", UNDER_WAY).await;
    let before = pair.lease().await;
    signal(&pair.leader, "-STOP");
    let stopped = Instant::now();
    let (leads, offers) = pair.taken_over(&before, stopped).await;
    eprintln!("SIGSTOP: another replica leads after {leads:.2?}, offers after {offers:.2?}");
    let after = pair.lease().await;
    // Longer than its lease, so that it wakes up in the belief that it leads.
    tokio::time::sleep_until((stopped + Duration::from_secs(15)).into()).await;
    signal(&pair.leader, "-CONT");
    pair.all_is_well(desks).await;
    assert_eq!(pair.lease().await, after, "the other one leads on");
    // The one that woke up is well: it leads again when the other one goes.
    signal(&pair.other, "-TERM");
    assert!(pair.other.wait().expect("it ends").success());
    pair.until(
        "the first one leads again",
        "SELECT holder <> '' AND $1 > 0 FROM routing.leases",
    )
    .await;
    assert_eq!(pair.lease().await.holder, before.holder);
    pair.end().await;
}

/// Sixty customers write while the process dies at a point of its stages, and comes back. At the third time that it comes
/// there: a batch may hold them all, so more than one time for each stage is not certain.
async fn dies_at(point: &str) {
    const COUNT: i64 = 60;
    let platform = Platform::new().await;
    let provider = Provider::new(&platform);
    let mut child = platform.start(Some(point)).await;
    let mut died = false;
    for number in 0..usize::try_from(COUNT).expect("few") {
        while !provider.send(number).await {
            if child.try_wait().expect("a child").is_some() {
                died = true;
                child = platform.start(None).await;
            }
        }
    }
    let mut db = PgConnection::connect(&platform.database_url)
        .await
        .expect("PostgreSQL");
    sqlx::query("SELECT set_config('trama.tenant', '*', false)")
        .execute(&mut db)
        .await
        .expect("a setting");
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        // Nobody is there to be offered anything: what was asked for waits.
        let found: (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(DISTINCT case_id) FROM routing.work_items WHERE state = 'pending' AND number = 1",
        )
        .fetch_one(&mut db)
        .await
        .expect("counts");
        if found == (COUNT, COUNT) {
            break;
        }
        assert!(Instant::now() < deadline, "waited 90 s in vain: {found:?}");
        if child.try_wait().expect("a child").is_some() {
            died = true;
            child = platform.start(None).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM routing.work_items")
        .fetch_one(&mut db)
        .await
        .expect("a count");
    assert!(died, "it never came to {point}");
    assert_eq!(all, COUNT, "no message made a second item");
    db.close().await.expect("closed");
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    platform.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commit_and_ack_leaves_each_case_one_item() {
    dies_at("stage.before_ack:3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commit_and_publish_leaves_each_case_one_item() {
    dies_at("outbox.before_publish:3").await;
}
