//! Customers in bulk, in and out.

use tonic::Code;
use trama_proto::identity_resolution::v1::{
    ColumnMapping, ExportCustomersRequest, FinishImportRequest, GetImportRequest, GetImportResponse,
    ImportState, PutChunkRequest, RecordFormat, StartImportRequest,
};
use trama_testkit::TestApp;

use crate::{
    profile_world::{imports, start},
    world::{TENANT, count},
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
