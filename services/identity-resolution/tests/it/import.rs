//! Customers in bulk, in and out.

use tonic::Code;
use trama_proto::identity_resolution::v1::{
    ColumnMapping, ExportCustomersRequest, FinishImportRequest, GetImportRequest, GetImportResponse,
    ImportState, LinkRelationRequest, ListRelationsRequest, PutChunkRequest, RecordFormat, Relation,
    RelationKind, RelationStatus, StartImportRequest, UnlinkRelationRequest,
};
use trama_testkit::TestApp;

use crate::{
    profile_world::{imports, start},
    world::{TENANT, client, count},
};

const CSV: &str = "id,Name,Mail,orders,ok\r\n\
    2001,Bea Verdi,bea@example.com,12,true\r\n\
    2002,\"Neri, Carlo\",carlo@example.com,3,false\r\n\
    2003,Dino Blu,not-a-mail,1,true\r\n\
    2004,Eva Gialli,eva@example.com,many,maybe\r\n\
    \r\n\
    2005,Fabio\r\n\
    2006,Gina Rosa,gina@example.com,30,\r\n";

fn mapping() -> Vec<ColumnMapping> {
    [
        ("id", "external_id"),
        ("Name", "display_name"),
        ("Mail", "handle:email"),
        ("orders", "trait:orders"),
        ("ok", "consent:email/marketing"),
    ]
    .map(|(column, target)| ColumnMapping {
        column: column.into(),
        target: target.into(),
    })
    .into()
}

pub async fn open(app: &TestApp, request: StartImportRequest) -> Result<String, tonic::Status> {
    let answer = imports(app)
        .start_import(app.request(TENANT, "admin", request))
        .await?;
    Ok(answer.into_inner().import_id)
}

async fn csv(app: &TestApp, dry_run: bool) -> String {
    let request = StartImportRequest {
        format: RecordFormat::Csv as i32,
        mapping: mapping(),
        source: "crm".into(),
        dry_run,
        ..Default::default()
    };
    open(app, request).await.expect("open")
}

async fn put(app: &TestApp, import: &str, offset: i64, data: &[u8]) -> Result<i64, tonic::Status> {
    let request = PutChunkRequest {
        import_id: import.into(),
        offset,
        data: data.to_vec(),
    };
    let answer = imports(app)
        .put_chunk(app.request(TENANT, "admin", request))
        .await?;
    Ok(answer.into_inner().next_offset)
}

pub async fn send(app: &TestApp, import: &str, data: &[u8], piece: usize) -> GetImportResponse {
    let mut offset = 0;
    for chunk in data.chunks(piece) {
        offset = put(app, import, offset, chunk).await.expect("taken");
    }
    let size = i64::try_from(data.len()).expect("small");
    let finish = FinishImportRequest {
        import_id: import.into(),
        size,
    };
    imports(app)
        .finish_import(app.request(TENANT, "admin", finish))
        .await
        .expect("finished");
    app.settle().await;
    get(app, import).await
}

async fn get(app: &TestApp, import: &str) -> GetImportResponse {
    let request = GetImportRequest {
        import_id: import.into(),
        ..Default::default()
    };
    imports(app)
        .get_import(app.request(TENANT, "admin", request))
        .await
        .expect("the import")
        .into_inner()
}

pub async fn export(app: &TestApp, format: RecordFormat, token: &str) -> (String, String) {
    let request = ExportCustomersRequest {
        format: format as i32,
        page_token: token.into(),
        reason: "test".into(),
        ..Default::default()
    };
    let mut stream = imports(app)
        .export_customers(app.request(TENANT, "admin", request))
        .await
        .expect("a stream")
        .into_inner();
    let (mut text, mut last) = (String::new(), String::new());
    while let Some(piece) = stream.message().await.expect("a piece") {
        text.push_str(std::str::from_utf8(&piece.data).expect("UTF-8"));
        last = piece.page_token;
    }
    (text, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn good_lines_are_taken_and_bad_ones_named() {
    let (app, _) = start().await;
    let import = csv(&app, false).await;
    let done = send(&app, &import, CSV.as_bytes(), 7).await;
    assert_eq!(done.state(), ImportState::Done);
    assert_eq!((done.records, done.created, done.failed), (6, 3, 3));
    let errors: Vec<(i64, &str)> = done.errors.iter().map(|e| (e.line, e.column.as_str())).collect();
    assert_eq!(errors, [(4, "Mail"), (5, "orders"), (5, "ok"), (7, "")]);
    assert!(done.errors.iter().all(|e| !e.message.contains("not-a-mail")));
    assert_eq!(count(&app, "customers").await, 3);
    assert_eq!(
        count(&app, "segment_members").await,
        3,
        "two with many orders, one who agreed"
    );
    assert_eq!(count(&app, "import_chunks").await, 0);

    // The same file again says nothing new.
    let again = csv(&app, false).await;
    let done = send(&app, &again, CSV.as_bytes(), 1000).await;
    assert_eq!((done.created, done.updated, done.unchanged), (0, 0, 3));
    assert_eq!(count(&app, "consents").await, 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_the_bad_lines_and_changes_nothing() {
    let (app, _) = start().await;
    let import = csv(&app, true).await;
    let done = send(&app, &import, CSV.as_bytes(), 100).await;
    assert_eq!((done.records, done.failed, done.created), (6, 3, 0));
    assert_eq!(count(&app, "customers").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_is_carried_on_and_repeats_are_skipped() {
    let (app, _) = start().await;
    let import = csv(&app, false).await;
    let bytes = CSV.as_bytes();
    assert_eq!(put(&app, &import, 0, &bytes[..60]).await.expect("taken"), 60);
    assert_eq!(put(&app, &import, 0, &bytes[..50]).await.expect("known"), 60);
    assert_eq!(
        put(&app, &import, 90, &bytes[90..])
            .await
            .expect_err("a hole")
            .code(),
        Code::InvalidArgument
    );
    let short = FinishImportRequest {
        import_id: import.clone(),
        size: 61,
    };
    let refused = imports(&app)
        .finish_import(app.request(TENANT, "admin", short))
        .await;
    assert_eq!(
        refused.expect_err("bytes are missing").code(),
        Code::InvalidArgument
    );
    app.settle().await;
    assert_eq!(get(&app, &import).await.next_offset, 60);
    assert_eq!(
        put(&app, &import, 40, &bytes[40..]).await.expect("taken"),
        i64::try_from(bytes.len()).expect("small")
    );
    let done = send(&app, &import, bytes, 1000).await;
    assert_eq!(
        (done.state(), done.created, done.failed),
        (ImportState::Done, 3, 3)
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_can_read_fails_as_a_whole() {
    let (app, _) = start().await;
    let import = csv(&app, false).await;
    let done = send(&app, &import, b"id,Shoe size\n1,42\n", 100).await;
    assert_eq!((done.state(), done.records), (ImportState::Failed, 0));
    assert!(done.failure.contains("Shoe size"));
    let wrong = StartImportRequest {
        format: RecordFormat::Csv as i32,
        source: "crm".into(),
        mapping: vec![ColumnMapping {
            column: "a".into(),
            target: "trait:colour".into(),
        }],
        ..Default::default()
    };
    assert_eq!(
        open(&app, wrong).await.expect_err("refused").code(),
        Code::InvalidArgument
    );
    let other = GetImportRequest {
        import_id: import,
        ..Default::default()
    };
    let other = imports(&app).get_import(app.request("rival", "eve", other)).await;
    assert_eq!(other.expect_err("nothing").code(), Code::NotFound);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported_and_says_nothing_new() {
    let (app, _) = start().await;
    let first = csv(&app, false).await;
    send(&app, &first, CSV.as_bytes(), 1000).await;
    for (format, pieces) in [(RecordFormat::Csv, 100), (RecordFormat::JsonLines, 33)] {
        let (text, last) = export(&app, format, "").await;
        assert!(text.contains("Bea Verdi") && text.contains("gina@example.com"));
        let request = StartImportRequest {
            format: format as i32,
            source: "crm".into(),
            ..Default::default()
        };
        let import = open(&app, request).await.expect("open");
        let done = send(&app, &import, text.as_bytes(), pieces).await;
        assert_eq!(
            (done.records, done.failed, done.created, done.updated),
            (3, 0, 0, 0),
            "{:?}",
            done.errors
        );
        let (rest, _) = export(&app, format, &last).await;
        assert!(
            !rest.contains("Bea Verdi"),
            "the token carries on after the last piece"
        );
    }
    app.stop().await;
}

async fn link(app: &TestApp, (one, other): (&str, &str), kind: RelationKind, role: &str) -> Relation {
    let request = LinkRelationRequest {
        relation: Some(Relation {
            customer_id: one.into(),
            other_customer_id: other.into(),
            kind: kind as i32,
            role: role.into(),
            evidence: "they said so".into(),
            ..Relation::default()
        }),
        request_id: String::new(),
    };
    let answer = client(app)
        .link_relation(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("linked").into_inner().relation.expect("a relation")
}

async fn unlink(app: &TestApp, relation: &Relation) {
    let request = UnlinkRelationRequest {
        relation_id: relation.relation_id.clone(),
        request_id: String::new(),
    };
    client(app)
        .unlink_relation(app.request(TENANT, "bruno", request))
        .await
        .expect("unlinked");
}

/// Kind, first, second and role of all relations of a customer.
async fn relations_of(app: &TestApp, customer: &str) -> Vec<(RelationKind, String, String, String)> {
    let request = ListRelationsRequest {
        customer_id: customer.into(),
        ..Default::default()
    };
    let answer = client(app)
        .list_relations(app.request(TENANT, "bruno", request))
        .await
        .expect("listed")
        .into_inner();
    let mut all: Vec<_> = answer
        .relations
        .into_iter()
        .map(|r| (r.kind(), r.customer_id, r.other_customer_id, r.role))
        .collect();
    all.sort_by_key(|(kind, ..)| *kind as i32);
    all
}

/// The line of somebody in an export of JSON lines.
async fn line_of(app: &TestApp, external_id: &str) -> serde_json::Value {
    let (text, _) = export(app, RecordFormat::JsonLines, "").await;
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|line| line["external_id"] == external_id)
        .expect("the line")
}

async fn id_of(app: &TestApp, external_id: &str) -> String {
    line_of(app, external_id).await["customer_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn lines(app: &TestApp, text: &str) -> GetImportResponse {
    let request = StartImportRequest {
        format: RecordFormat::JsonLines as i32,
        source: "crm".into(),
        ..Default::default()
    };
    let import = open(app, request).await.expect("open");
    send(app, &import, text.as_bytes(), 500).await
}

#[tokio::test(flavor = "multi_thread")]
async fn relations_are_imported_as_they_were_exported_and_once() {
    let (app, _) = start().await;
    let first = csv(&app, false).await;
    send(&app, &first, CSV.as_bytes(), 1000).await;
    let (bea, carlo, gina) = (
        id_of(&app, "2001").await,
        id_of(&app, "2002").await,
        id_of(&app, "2006").await,
    );
    let household = link(&app, (&bea, &carlo), RelationKind::Household, "").await;
    link(&app, (&gina, &bea), RelationKind::CompanyContact, "buyer").await;
    let before = relations_of(&app, &bea).await;
    let (text, _) = export(&app, RecordFormat::JsonLines, "").await;

    // Said again, nothing is new.
    let done = lines(&app, &text).await;
    assert_eq!((done.failed, done.errors.len()), (0, 0), "{:?}", done.errors);
    assert_eq!(relations_of(&app, &bea).await, before);
    assert_eq!(count(&app, "relations").await, 2);

    // Lost, they come back by the file; what a person took away does not.
    unlink(&app, &household).await;
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query("DELETE FROM relations WHERE role = 'buyer'")
        .execute(tx.conn())
        .await
        .expect("lost");
    tx.commit().await.expect("committed");
    let done = lines(&app, &text).await;
    assert_eq!((done.failed, done.errors.len()), (0, 0), "{:?}", done.errors);
    assert_eq!(
        relations_of(&app, &bea).await,
        [(RelationKind::CompanyContact, gina, bea, "buyer".to_owned())]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_names_customers_nobody_knows_is_told_and_taken_otherwise() {
    let (app, _) = start().await;
    let nobody = "018f3c1e-7d2a-7000-8000-000000000001";
    let text = format!(
        "{{\"external_id\":\"2001\",\"display_name\":\"Bea Verdi\",\"relations\":\"household:{nobody}|contact:{nobody}:ceo\"}}\n\
         {{\"external_id\":\"2002\",\"relations\":\"friend:{nobody}\"}}\n"
    );
    let done = lines(&app, &text).await;
    assert_eq!((done.created, done.failed), (1, 1));
    let errors: Vec<(i64, &str)> = done.errors.iter().map(|e| (e.line, e.column.as_str())).collect();
    assert_eq!(errors, [(1, "relations"), (1, "relations"), (2, "relations")]);
    assert!(done.errors.iter().all(|e| !e.message.contains(nobody)));
    assert_eq!(count(&app, "relations").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_with_very_many_contacts_cuts_nobody_s_relations_off() {
    let (app, _) = start().await;
    let first = csv(&app, false).await;
    send(&app, &first, CSV.as_bytes(), 1000).await;
    let (bea, carlo, gina) = (
        id_of(&app, "2001").await,
        id_of(&app, "2002").await,
        id_of(&app, "2006").await,
    );
    link(&app, (&bea, &carlo), RelationKind::Household, "").await;
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query(
        "INSERT INTO relations (tenant, relation_id, one, other, kind, role, status, evidence, decided_by, created_at)
         SELECT $1, gen_random_uuid(), $2, gen_random_uuid(), $3, '', $4, '', 'bruno', now() + interval '100 years'
         FROM generate_series(1, 10050)",
    )
    .bind(TENANT)
    .bind(gina.parse::<sqlx::types::Uuid>().expect("an id"))
    .bind(RelationKind::CompanyContact as i16)
    .bind(RelationStatus::Confirmed as i16)
    .execute(tx.conn())
    .await
    .expect("contacts");
    tx.commit().await.expect("committed");
    assert_eq!(
        line_of(&app, "2001").await["relations"],
        format!("household:{carlo}")
    );
    let of_gina = line_of(&app, "2006").await;
    let words: Vec<&str> = of_gina["relations"].as_str().expect("words").split('|').collect();
    assert_eq!(words.len(), 1_001);
    assert_eq!(
        words[1_000], "more:9050",
        "it says what it leaves to the contacts' lines"
    );
    app.stop().await;
}
