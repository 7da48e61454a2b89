//! What `trama identity eval` says of records is what the service makes of them, although it asks their handles first: pairs
//! differ where a handle names somebody of whom the record says too little to be weighed.

use std::{collections::HashMap, time::Duration};

use trama_identity_resolution::matching::{
    Policy,
    eval::{
        Mapping,
        records::Rows,
        run::{Mode, run},
    },
};
use trama_proto::{
    identity_resolution::v1::{PersonFacts, Record, ResolveRecordRequest},
    ids::derive,
};
use trama_testkit::TestApp;
use uuid::Uuid;

use crate::world::{TENANT, client, handle, start};

const RECORDS: &str = include_str!("../../src/matching/tests/households.csv");
const MAPPING: &str = include_str!("../../../../examples/identity/mappings/households.yaml");

/// `record_id,given_name,surname,date_of_birth,email,phone,street,house_number,postal_code,town`.
fn record(line: &str) -> Record {
    let cells: Vec<&str> = line.trim_end().split(',').collect();
    let [
        id,
        given,
        surname,
        birth,
        email,
        phone,
        street,
        number,
        postal,
        town,
    ] = cells[..]
    else {
        panic!("ten columns: {line}");
    };
    let handles = [("email", email), ("phone", phone)];
    let handles = handles.into_iter().filter(|(_, value)| !value.is_empty());
    Record {
        source: "crm".into(),
        external_id: id.into(),
        handles: handles
            .map(|(kind, value)| handle(&format!("{kind}:{value}")))
            .collect(),
        facts: Some(PersonFacts {
            given_name: given.into(),
            surname: surname.into(),
            birth_date: birth.into(),
            street: street.into(),
            house_number: number.into(),
            city: town.into(),
            postal_code: postal.into(),
            ..PersonFacts::default()
        }),
        ..Record::default()
    }
}

/// Whose each record is now, by the records' ids here.
async fn customers(app: &TestApp) -> HashMap<Uuid, Uuid> {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT o.observation_id, COALESCE(c.merged_into, c.customer_id)
         FROM observations o JOIN customers c USING (tenant, customer_id) WHERE o.tenant = $1",
    )
    .bind(TENANT)
    .fetch_all(tx.conn())
    .await
    .expect("rows");
    rows.into_iter().collect()
}

/// Pairs of records of one person, by either; and by both.
fn pairs(one: &[usize], other: &[usize]) -> (usize, usize) {
    let (mut either, mut both) = (0, 0);
    for a in 0..one.len() {
        for b in 0..a {
            let (here, there) = (one[a] == one[b], other[a] == other[b]);
            either += usize::from(here || there);
            both += usize::from(here && there);
        }
    }
    (either, both)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_makes_of_records_what_eval_says_of_them() {
    let app = start().await;
    let lines: Vec<&str> = RECORDS.lines().skip(1).collect();
    let mut ids = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let record = record(line);
        ids.push(derive(&[
            b"record",
            TENANT.as_bytes(),
            record.source.as_bytes(),
            record.external_id.as_bytes(),
        ]));
        let request = ResolveRecordRequest {
            record: Some(record),
            dry_run: false,
        };
        let answer = client(&app)
            .resolve_record(app.request(TENANT, "crm", request))
            .await;
        answer.expect("resolved");
        // Now and then there is time to look again.
        if number % 12 == 0 {
            app.advance(Duration::from_secs(5)).await;
        }
    }
    // A night.
    app.advance(Duration::from_secs(24 * 3600)).await;
    app.advance(Duration::from_secs(3600)).await;

    let customers = customers(&app).await;
    let mut numbers: HashMap<Uuid, usize> = HashMap::new();
    let served: Vec<usize> = ids
        .iter()
        .map(|id| {
            let next = numbers.len();
            *numbers.entry(customers[id]).or_insert(next)
        })
        .collect();

    let policy = Policy::shipped();
    let mapping = Mapping::parse(MAPPING).expect("a mapping");
    let table = Rows::open(RECORDS.as_bytes(), &mapping, &policy).and_then(Rows::read);
    let table = table.expect("records");
    let clustering = run(
        Mode::Online,
        table.len(),
        |at| table.facts(at, &policy),
        &policy,
        1,
    );
    let evaluated: Vec<usize> = clustering
        .profile_of
        .iter()
        .map(|profile| usize::try_from(profile.0).expect("a number"))
        .collect();

    let (either, both) = pairs(&served, &evaluated);
    let agreement = both as f64 / either as f64;
    println!("{both} of {either} pairs: {agreement:.4}");
    assert!(agreement >= 0.995, "{both} of {either} pairs: {agreement:.4}");
    app.stop().await;
}
