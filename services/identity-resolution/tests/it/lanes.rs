//! Records of those who are known take a lane of their own.

use std::time::Duration;

use futures::future::{join, join_all, join3};
use sqlx::{AssertSqlSafe, Row as _};
use trama_proto::identity_resolution::v1::{CustomerChanged, PersonFacts, Resolution, ResolveRecordResponse};
use trama_testkit::TestApp;
use uuid::Uuid;

use crate::{
    locks::{disconnect, held_up, hold},
    similar::{self, record},
    world::{TENANT, client, count, start},
};

async fn resolve(app: &TestApp, external_id: &str, handles: &[&str]) -> ResolveRecordResponse {
    similar::resolve(app, record("crm", external_id, handles, PersonFacts::default())).await
}

fn customer(answer: &ResolveRecordResponse) -> Uuid {
    let customer = answer.customer.as_ref().expect("a customer");
    customer.customer_id.parse().expect("an id")
}

/// As many ask about Bruno, who is held, as there are transactions that decide: each waits in one of its own, since it comes when the
/// one before waits.
async fn all_that_decide_wait(app: &TestApp) -> Vec<ResolveRecordResponse> {
    join_all((0..4_i64).map(|number| async move {
        held_up(app, number).await;
        let phone = format!("phone:+39333000000{number}");
        let handles = ["email:bruno@shop.test", phone.as_str()];
        resolve(app, &format!("b{number}"), &handles).await
    }))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_is_seen_again_and_remembered_and_nobody_is_told() {
    let app = start().await;
    let anna = resolve(&app, "1", &["email:anna@shop.test"]).await;
    app.settle().await;
    app.advance(Duration::from_secs(3_600)).await;
    let (told, rows) = (
        app.events::<CustomerChanged>().await.len(),
        count(&app, "observations").await,
    );
    let again = resolve(&app, "2", &["email:anna@shop.test"]).await;
    let same = resolve(&app, "2", &["email:anna@shop.test"]).await;
    for answer in [&again, &same] {
        assert_eq!(
            (answer.resolution(), customer(answer)),
            (Resolution::Same, customer(&anna))
        );
    }
    app.settle().await;
    assert_eq!(app.events::<CustomerChanged>().await.len(), told);
    assert_eq!(
        count(&app, "observations").await,
        rows + 1,
        "a record that comes twice is one"
    );
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let seen = sqlx::query("SELECT last_seen_at = $1, first_seen_at < $1 FROM handles WHERE value = $2")
        .bind(tx.now())
        .bind("anna@shop.test")
        .fetch_one(tx.conn())
        .await
        .expect("the handle");
    assert_eq!(
        (seen.get(0), seen.get(1)),
        (true, true),
        "seen just now, not first"
    );
    drop(tx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_does_not_wait_for_those_who_must_be_decided_about() {
    let app = start().await;
    let anna = customer(&resolve(&app, "1", &["email:anna@shop.test"]).await);
    let bruno = customer(&resolve(&app, "2", &["email:bruno@shop.test"]).await);
    let holding = hold(&app, bruno).await;
    let others = all_that_decide_wait(&app);
    let known = async {
        held_up(&app, 4).await;
        let known = customer(&resolve(&app, "3", &["email:anna@shop.test"]).await);
        drop(holding);
        known
    };
    let (others, known) = join(others, known).await;
    let others: Vec<_> = others.iter().map(customer).collect();
    assert_eq!(known, anna, "answered while the others waited");
    assert_eq!(others, [bruno; 4]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_database_is_tried_once_more_and_told_then() {
    let app = start().await;
    let bruno = customer(&resolve(&app, "1", &["email:bruno@shop.test"]).await);
    let holding = hold(&app, bruno).await;
    let ask = |number: u32| {
        let phone = format!("phone:+3933300000{number:02}");
        let handles = ["email:bruno@shop.test", phone.as_str()];
        let request = record("crm", &format!("b{number}"), &handles, PersonFacts::default());
        let app = &app;
        async move {
            client(app)
                .resolve_record(app.request(TENANT, "crm", request))
                .await
        }
    };
    let lost = async {
        held_up(&app, 1).await;
        disconnect(&app).await;
        held_up(&app, 1).await;
        disconnect(&app).await;
    };
    let (refused, ()) = join(ask(1), lost).await;
    assert_eq!(refused.expect_err("refused").code(), tonic::Code::Unavailable);
    let lost = async {
        held_up(&app, 1).await;
        disconnect(&app).await;
        held_up(&app, 1).await;
        drop(holding);
    };
    let (answered, ()) = join(ask(2), lost).await;
    assert_eq!(customer(answered.expect("tried once more").get_ref()), bruno);
    app.stop().await;
}

/// Makes the database refuse what one source says.
async fn refuse(app: &TestApp, source: &str) {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let refusal = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuses BEFORE INSERT ON observations FOR EACH ROW WHEN (NEW.source = '{source}') EXECUTE FUNCTION refuse()"
    );
    sqlx::raw_sql(AssertSqlSafe(refusal))
        .execute(tx.conn())
        .await
        .expect("a trigger");
    tx.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_worked_in_takes_nobody_along() {
    let app = start().await;
    let bruno = customer(&resolve(&app, "1", &["email:bruno@shop.test"]).await);
    refuse(&app, "broken").await;
    let before = count(&app, "customers").await;
    let holding = hold(&app, bruno).await;
    // Those who come meanwhile come together.
    let waiting = all_that_decide_wait(&app);
    let arriving = async {
        held_up(&app, 4).await;
        join_all((0..12).map(|number| {
            let app = &app;
            async move {
                let source = if number == 5 { "broken" } else { "crm" };
                let email = format!("email:somebody{number}@shop.test");
                let new = record(source, &format!("n{number}"), &[&email], PersonFacts::default());
                client(app).resolve_record(app.request(TENANT, "crm", new)).await
            }
        }))
        .await
    };
    let release = async {
        held_up(&app, 4).await;
        // Asked after them: by when this is answered most of them have come as far as they can.
        resolve(&app, "2", &["email:bruno@shop.test"]).await;
        drop(holding);
    };
    let (_, answers, ()) = join3(waiting, arriving, release).await;
    let refused: Vec<_> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, (0..12).map(|number| number == 5).collect::<Vec<_>>());
    assert_eq!(
        count(&app, "customers").await,
        before + 11,
        "nobody came of the broken one"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_noted_of_whom_it_no_longer_is_about() {
    let app = start().await;
    let anna = customer(&resolve(&app, "1", &["email:anna@shop.test"]).await);
    let other = Uuid::from_u128(7);
    // Whose the handle was, of whom the record is, which addresses were erased.
    for (owner, member, erased, noted) in [
        (anna, anna, None, true),
        (other, anna, None, false),
        (anna, other, None, false),
        (anna, anna, Some(vec![7_u8; 32]), false),
    ] {
        let mut tx = app
            .db("identity-resolution")
            .system_tx()
            .await
            .expect("a transaction");
        let now = tx.now();
        if let Some(hash) = &erased {
            sqlx::query("INSERT INTO erased_handles (tenant, hash, erased_at) VALUES ($1, $2, $3)")
                .bind(TENANT)
                .bind(hash)
                .bind(now)
                .execute(tx.conn())
                .await
                .expect("written");
        }
        let written = sqlx::query("SELECT note_known($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
            .bind(TENANT)
            .bind(vec![vec![7_u8; 32]])
            .bind(["email"])
            .bind(["anna@shop.test"])
            .bind([owner])
            .bind([now])
            .bind([Uuid::from_u128(1)])
            .bind([member])
            .bind(["crm"])
            .bind([1_i64])
            .bind([vec![0_u8]])
            .bind(now)
            .execute(tx.conn())
            .await;
        let code = written
            .as_ref()
            .err()
            .and_then(|e| e.as_database_error()?.code().map(String::from));
        let expected = if noted { None } else { Some("TR001") };
        assert_eq!(
            code.as_deref(),
            expected,
            "owner {owner}, member {member}, erased {erased:?}: {written:?}"
        );
    }
    app.stop().await;
}
