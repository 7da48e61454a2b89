//! Whose record is this? Resolutions against many customers in PostgreSQL, one by one and in batches.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use trama_identity_resolution::seeding::{Person, Seeder};
use trama_platform::Service;
use trama_proto::{
    common::v1::{Handle, Interaction, Trust},
    identity_resolution::v1::{
        PersonFacts, Record, ResolveRecordRequest, identity_service_client::IdentityServiceClient,
    },
    ids::derive,
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use crate::{
    Arguments,
    app::{self, TENANT},
    machine::Machine,
    report::{Latencies, Report},
    servers::Servers,
};

const BARE: &str = "bare sql, lookup + insert, 8 connections";
/// Callers at the same time.
const CALLERS: u64 = 32;
/// Customers of one COPY.
const CHUNK: u64 = 20_000;

/// The bench `identity`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = Report {
        name: "identity",
        unit: "resolutions per second",
        machine: machine.clone(),
        ..Report::default()
    };
    let service: Arc<dyn Service> = trama_identity_resolution::service();
    let app = app::start(&[service], arguments.partitions).await;
    let result = measure(arguments, servers, &app, &mut report).await;
    app.stop().await;
    result?;
    report.compare_to(BARE);
    Ok(report)
}

async fn measure(
    arguments: &Arguments,
    servers: &Servers,
    app: &TestApp,
    report: &mut Report,
) -> anyhow::Result<()> {
    let seconds = arguments.duration();
    let started = Instant::now();
    seed(app, arguments.customers).await?;
    report.also.insert(
        "customers seeded per second",
        arguments.customers as f64 / started.elapsed().as_secs_f64(),
    );
    let before = bare(app, servers, arguments.customers, seconds / 2).await?;
    online(app, arguments.customers, 0, seconds / 5).await?;
    let (count, elapsed, mut latencies) = online(app, arguments.customers, 10_000_000, seconds).await?;
    let batches = in_batches(app, arguments.customers).await?;
    let after = bare(app, servers, arguments.customers, seconds / 2).await?;
    report.ours = Some(count as f64 / elapsed.as_secs_f64());
    report.limits.insert(BARE, f64::midpoint(before, after));
    report
        .also
        .insert("interactions per second, in batches from the bus", batches);
    report
        .also
        .insert("p99.9 ms", latencies.percentile(0.999).unwrap_or(0.0));
    report.with_latencies(&mut latencies);
    report.note = format!(
        "{} customers with names, birth, address, mail and telephone. ResolveRecord over gRPC by {CALLERS} callers, each record \
         durable when answered: 50 % by a handle that is known, 30 % the same person under a new handle, 20 % somebody new.",
        arguments.customers
    );
    Ok(())
}

/// Somebody, the same for the same number.
struct Somebody {
    given_name: String,
    surname: String,
    birth_date: String,
    street: String,
    house_number: String,
    city: String,
    postal_code: String,
    email: String,
    phone: String,
}

const SYLLABLES: [&str; 24] = [
    "ma", "ri", "lu", "gio", "van", "ni", "fe", "de", "ca", "ste", "fa", "bi", "ro", "ber", "to", "sal",
    "va", "co", "len", "zi", "gra", "pe", "do", "me",
];

fn word(mut number: u64, syllables: usize, end: char) -> String {
    let mut word = String::new();
    for _ in 0..syllables {
        word.push_str(SYLLABLES[(number % 24) as usize]);
        number /= 24;
    }
    word.push(end);
    word
}

impl Somebody {
    fn of(number: u64) -> Self {
        let mix = |salt: u64| {
            let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03);
            x ^= x >> 29;
            x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x ^ (x >> 32)
        };
        // Few frequent and many rare names, as in life.
        let skewed = |salt: u64, most: f64| {
            let share = (mix(salt) % 1_000_000) as f64 / 1_000_000.0;
            (share * share * share * most) as u64
        };
        let city = skewed(5, 3_000.0);
        Self {
            given_name: word(skewed(1, 1_200.0) * 7, 2, 'a'),
            surname: word(skewed(2, 40_000.0) * 5, 3, 'i'),
            birth_date: format!(
                "{}-{:02}-{:02}",
                1940 + mix(3) % 65,
                1 + mix(4) % 12,
                1 + mix(6) % 28
            ),
            street: format!("via {}", word(skewed(7, 9_000.0) * 3, 3, 'o')),
            house_number: (1 + mix(8) % 120).to_string(),
            postal_code: format!("{:05}", 10_000 + city * 17),
            city: word(city * 11, 3, 'e'),
            email: format!("person{number}@mail{}.test", number % 50),
            phone: format!("+393{:09}", 200_000_000 + number),
        }
    }

    fn id(number: u64) -> uuid::Uuid {
        derive(&[b"bench customer", &number.to_be_bytes()])
    }
}

/// Fills the tables, as fast as COPY does.
async fn seed(app: &TestApp, customers: u64) -> anyhow::Result<()> {
    let seeder = Seeder::default();
    let mut frequencies: HashMap<i64, u32> = HashMap::new();
    let mut from = 0;
    while from < customers {
        let to = (from + CHUNK).min(customers);
        let (mut people, mut handles, mut keys) = (String::new(), String::new(), String::new());
        for number in from..to {
            let somebody = Somebody::of(number);
            let rows = seeder.rows(&Person {
                given_name: &somebody.given_name,
                surname: &somebody.surname,
                birth_date: &somebody.birth_date,
                street: &somebody.street,
                house_number: &somebody.house_number,
                city: &somebody.city,
                postal_code: &somebody.postal_code,
                email: &somebody.email,
                phone: &somebody.phone,
            });
            let id = Somebody::id(number);
            writeln!(
                people,
                "{TENANT}\t{id}\t2026-01-01\t{} {}\t\\\\x{}",
                somebody.given_name,
                somebody.surname,
                hex::encode(&rows.said)
            )?;
            for (kind, value) in [("email", &somebody.email), ("phone", &somebody.phone)] {
                writeln!(
                    handles,
                    "{TENANT}\t{kind}\t{value}\t{id}\t2\t2026-01-01\t2026-01-01"
                )?;
            }
            for key in rows.keys {
                writeln!(keys, "{TENANT}\t{key}\t{id}")?;
            }
            for value in rows.values {
                *frequencies.entry(value).or_default() += 1;
            }
        }
        copy(
            app,
            "customers (tenant, customer_id, created_at, display_name, said)",
            people,
        )
        .await?;
        copy(
            app,
            "handles (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at)",
            handles,
        )
        .await?;
        copy(app, "block_keys (tenant, key, customer_id)", keys).await?;
        from = to;
    }
    let mut stats = format!("{TENANT}\t0\t{customers}\n");
    for (value, count) in frequencies {
        writeln!(stats, "{TENANT}\t{value}\t{count}")?;
    }
    copy(app, "value_stats (tenant, value, customers)", stats).await?;
    let mut tx = app.db("identity-resolution").system_tx().await?;
    for table in ["customers", "handles", "block_keys", "value_stats"] {
        sqlx::query(AssertSqlSafe(format!("ANALYZE {table}")))
            .execute(tx.conn())
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn copy(app: &TestApp, into: &str, rows: String) -> anyhow::Result<()> {
    let mut tx = app.db("identity-resolution").system_tx().await?;
    let mut copy = tx.conn().copy_in_raw(&format!("COPY {into} FROM STDIN")).await?;
    copy.send(rows.into_bytes()).await?;
    copy.finish().await?;
    tx.commit().await?;
    Ok(())
}

/// What call number `n` says.
fn request(number: u64, salt: u64, customers: u64) -> ResolveRecordRequest {
    let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
    let handle = |kind: &str, value: String| Handle {
        kind: kind.into(),
        value,
        trust: Trust::Observed as i32,
    };
    let (somebody, handle) = match number % 10 {
        0..5 => {
            let somebody = Somebody::of(whom);
            let email = somebody.email.clone();
            (somebody, handle("email", email))
        }
        5..8 => (
            Somebody::of(whom),
            handle("email", format!("other{salt}x{number}@mail.test")),
        ),
        _ => {
            let somebody = Somebody::of(customers + salt + number);
            let phone = somebody.phone.clone();
            (somebody, handle("phone", phone))
        }
    };
    ResolveRecordRequest {
        record: Some(Record {
            source: "bench".into(),
            external_id: format!("{salt}-{number}"),
            handles: vec![handle],
            facts: Some(PersonFacts {
                given_name: somebody.given_name,
                surname: somebody.surname,
                birth_date: somebody.birth_date,
                street: somebody.street,
                house_number: somebody.house_number,
                city: somebody.city,
                postal_code: somebody.postal_code,
                ..PersonFacts::default()
            }),
            language: String::new(),
        }),
        dry_run: false,
    }
}

/// Callers who ask one by one, as fast as they are answered.
async fn online(
    app: &TestApp,
    customers: u64,
    salt: u64,
    seconds: Duration,
) -> anyhow::Result<(u64, Duration, Latencies)> {
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let mut callers: FuturesUnordered<_> = (0..CALLERS)
        .map(|_| async {
            let mut client = IdentityServiceClient::new(app.grpc());
            let mut latencies = Vec::new();
            while started.elapsed() < seconds {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let request = app.request(TENANT, "bench", request(number, salt, customers));
                let asked = Instant::now();
                client.resolve_record(request).await.context("ResolveRecord")?;
                latencies.push(asked.elapsed());
            }
            anyhow::Ok(latencies)
        })
        .collect();
    let mut latencies = Latencies::default();
    let mut count = 0;
    while let Some(one) = callers.next().await {
        for latency in one? {
            count += 1;
            latencies.push(latency);
        }
    }
    Ok((count, started.elapsed(), latencies))
}

/// Interactions that wait on the bus, until all are identified.
async fn in_batches(app: &TestApp, customers: u64) -> anyhow::Result<f64> {
    const COUNT: u64 = 20_000;
    for number in 0..COUNT {
        let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
        let somebody = Somebody::of(whom);
        let email = if number % 2 == 0 {
            somebody.email
        } else {
            format!("batch{number}@mail.test")
        };
        let interaction = Interaction {
            interaction_id: derive(&[b"bench interaction", &number.to_be_bytes()]).to_string(),
            revision: 1,
            channel: "bench".into(),
            party: Some(Handle {
                kind: "email".into(),
                value: email.clone(),
                trust: Trust::Observed as i32,
            }),
            display_name: format!("{} {}", somebody.given_name, somebody.surname),
            text: "hello".into(),
            ..Interaction::default()
        };
        let event = InteractionReceived {
            interaction: Some(interaction),
        };
        app.publish(TENANT, &email, &event).await;
    }
    // What was published while the stage ran already counts: the clock starts with the first publish of the second half.
    let identified = || async {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM interaction_owner")
            .fetch_one(tx.conn())
            .await?;
        anyhow::Ok(u64::try_from(count)?)
    };
    let (first, started) = (identified().await?, Instant::now());
    loop {
        let now = identified().await?;
        if now >= COUNT {
            let rate = (now - first) as f64 / started.elapsed().as_secs_f64();
            return Ok(rate);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The least that a resolution can be: look a handle up, insert another.
async fn bare(app: &TestApp, servers: &Servers, customers: u64, seconds: Duration) -> anyhow::Result<f64> {
    let database: String = {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(tx.conn())
            .await?
    };
    let options: sqlx::postgres::PgConnectOptions = servers.database_url.parse()?;
    let options = options.database(&database).options([("search_path", "identity")]);
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let mut clients: FuturesUnordered<_> = (0..8)
        .map(|_| async {
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::query("CREATE TABLE IF NOT EXISTS bare_inserts (tenant text, kind text, value text, customer_id uuid, PRIMARY KEY (tenant, kind, value))")
                .execute(&mut connection)
                .await
                .ok();
            while started.elapsed() < seconds {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
                let found: Option<uuid::Uuid> = sqlx::query_scalar(
                    "SELECT customer_id FROM handles WHERE tenant = $1 AND kind = 'email' AND value = $2",
                )
                .bind(TENANT)
                .bind(Somebody::of(whom).email)
                .fetch_optional(&mut connection)
                .await?;
                sqlx::query("INSERT INTO bare_inserts VALUES ($1, 'email', $2, $3) ON CONFLICT DO NOTHING")
                    .bind(TENANT)
                    .bind(format!("{number}-{:?}", started))
                    .bind(found)
                    .execute(&mut connection)
                    .await?;
            }
            connection.close().await?;
            anyhow::Ok(())
        })
        .collect();
    while let Some(client) = clients.next().await {
        client?;
    }
    Ok(next.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}
