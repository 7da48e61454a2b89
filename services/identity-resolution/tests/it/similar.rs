//! Matching by what people are called: joined, asked, explained, undone.

use tonic::Code;
use trama_proto::{
    common::v1::{Handle, Interaction},
    identity_resolution::v1::{
        CustomerSplit, DecideReviewRequest, DecideReviewResponse, ExplainMatchRequest, ExplainMergeRequest,
        GetCustomerRequest, GetReviewRequest, ListReviewsRequest, Merge, PersonFacts, PreviewSplitRequest,
        Record, Resolution, ResolveRecordRequest, ResolveRecordResponse, Review, ReviewDecision,
        ReviewStatus, SplitCustomersRequest, review_service_client::ReviewServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::{
    locks::held_up,
    world::{TENANT, client, count, handle, identify, interaction, merges, start, who},
};

pub fn anna(city: &str) -> PersonFacts {
    PersonFacts {
        given_name: "Annalisa".into(),
        surname: "Quattrocchi".into(),
        birth_date: "1984-03-17".into(),
        street: "via Garibaldi".into(),
        house_number: "12".into(),
        city: city.into(),
        postal_code: "20121".into(),
        ..PersonFacts::default()
    }
}

pub fn record(source: &str, id: &str, handles: &[&str], facts: PersonFacts) -> ResolveRecordRequest {
    ResolveRecordRequest {
        record: Some(Record {
            source: source.into(),
            external_id: id.into(),
            handles: handles.iter().map(|h| handle(h)).collect(),
            facts: Some(facts),
            language: "it".into(),
            ..Record::default()
        }),
        dry_run: false,
    }
}

pub async fn resolve(app: &TestApp, request: ResolveRecordRequest) -> ResolveRecordResponse {
    client(app)
        .resolve_record(app.request(TENANT, "crm", request))
        .await
        .expect("resolved")
        .into_inner()
}

/// The merges that made a customer, as whoever wants to undo one finds them.
async fn undoable(app: &TestApp, customer: &str) -> Vec<Merge> {
    let request = GetCustomerRequest {
        customer_id: customer.to_owned(),
    };
    let answer = client(app)
        .get_customer(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("known").into_inner().merges
}

pub fn id(response: &ResolveRecordResponse) -> String {
    response
        .customer
        .as_ref()
        .expect("a customer")
        .customer_id
        .clone()
}

pub fn reviews(app: &TestApp) -> ReviewServiceClient<tonic::transport::Channel> {
    ReviewServiceClient::new(app.grpc())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_the_same_of_themselves_is_the_same_and_the_merge_explains_itself() {
    let app = start().await;
    let first = resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await;
    assert_eq!(first.resolution(), Resolution::Different);
    let second = resolve(
        &app,
        record("shop", "a", &["phone:+393331234567"], anna("Milano")),
    )
    .await;
    assert_eq!(second.resolution(), Resolution::Same);
    assert_eq!(id(&second), id(&first));
    let again = resolve(
        &app,
        record("shop", "a", &["phone:+393331234567"], anna("Milano")),
    )
    .await;
    assert_eq!(id(&again), id(&first));
    app.settle().await;
    let merged = undoable(&app, &id(&first)).await;
    assert_eq!(merged.len(), 1, "a repeat merges nothing");
    assert_eq!(count(&app, "customers").await, 2);
    let told = merges(&app).await;
    assert!(told.is_empty(), "nobody had heard of the new row: {told:?}");

    let explained = client(&app)
        .explain_merge(app.request(
            TENANT,
            "bruno",
            ExplainMergeRequest {
                merge_id: merged[0].merge_id.clone(),
            },
        ))
        .await
        .expect("explained")
        .into_inner();
    let likeness = explained.likeness.expect("similarity decided");
    assert!(likeness.bits > 2.0 && likeness.probability > 0.8, "{likeness:?}");
    assert!(
        likeness
            .evidence
            .iter()
            .any(|e| e.part == "date of birth" && e.bits > 5.0)
    );

    // A person knows better: both are as they were, and stay so.
    let preview = client(&app)
        .preview_split(app.request(
            TENANT,
            "bruno",
            PreviewSplitRequest {
                merge_id: merged[0].merge_id.clone(),
            },
        ))
        .await
        .expect("previewed")
        .into_inner();
    let split = client(&app)
        .split_customers(app.request(
            TENANT,
            "bruno",
            SplitCustomersRequest {
                merge_id: merged[0].merge_id.clone(),
                request_id: "s1".into(),
            },
        ))
        .await
        .expect("split")
        .into_inner();
    assert_eq!(preview.restored, split.restored, "the preview promised this");
    assert_eq!(preview.survivor, split.survivor);
    let restored = split.restored.expect("a customer");
    assert_eq!(restored.handles, [handle("phone:+393331234567")]);
    let third = resolve(
        &app,
        record("shop", "a", &["phone:+393331234567"], anna("Milano")),
    )
    .await;
    assert_eq!(id(&third), restored.customer_id);
    let alike = client(&app)
        .explain_match(app.request(
            TENANT,
            "bruno",
            ExplainMatchRequest {
                customer_id: id(&first),
                other_customer_id: restored.customer_id,
            },
        ))
        .await
        .expect("explained")
        .into_inner();
    assert!(alike.kept_apart && !alike.same_customer);
    assert_eq!(alike.resolution(), Resolution::Review);
    app.advance(std::time::Duration::from_secs(10)).await;
    app.settle().await;
    assert_eq!(
        count(&app, "merges").await,
        1,
        "looking again joins nobody whom a person parted"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_matter_which_of_two_comes_first_nor_that_they_come_at_once() {
    let app = start().await;
    // Both arrive before either is known: nobody to compare with. Looking again joins them.
    let (one, other) = tokio::join!(
        resolve(
            &app,
            record("crm", "1", &["email:annalisa@shop.test"], anna("Milano"))
        ),
        resolve(
            &app,
            record("shop", "a", &["phone:+393331234567"], anna("Milano"))
        ),
    );
    app.advance(std::time::Duration::from_secs(10)).await;
    app.settle().await;
    assert_eq!(count(&app, "merges").await, 1);
    let found = resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await;
    assert!([id(&one), id(&other)].contains(&id(&found)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_come_in_transactions_that_do_not_see_each_other_are_looked_at_again() {
    let app = start().await;
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    // Both are judged before they come to what they are to write here.
    sqlx::query("LOCK TABLE observations IN SHARE ROW EXCLUSIVE MODE")
        .execute(tx.conn())
        .await
        .expect("locked");
    let second = async {
        held_up(&app, 1).await;
        let second = record("shop", "a", &["phone:+393331234567"], anna("Milano"));
        resolve(&app, second).await
    };
    let release = async {
        held_up(&app, 2).await;
        drop(tx);
    };
    let first = record("crm", "1", &["email:annalisa@shop.test"], anna("Milano"));
    let (one, other, ()) = tokio::join!(resolve(&app, first), second, release);
    assert_ne!(id(&one), id(&other), "neither was there for the other");
    app.advance(std::time::Duration::from_secs(10)).await;
    app.settle().await;
    assert_eq!(merges(&app).await.len(), 1);
    assert_eq!(count(&app, "reevaluations").await, 0);
    app.stop().await;
}

/// Two of one home, born on one day: a mistyped name or a twin.
async fn twins(app: &TestApp) -> (String, String, Review) {
    let anna = resolve(
        app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await;
    let twin = PersonFacts {
        given_name: "Ludovica".into(),
        ..self::anna("Milano")
    };
    let twin = resolve(app, record("crm", "2", &["phone:+393339999999"], twin)).await;
    assert_ne!(id(&twin), id(&anna), "two given names are two people");
    app.advance(std::time::Duration::from_secs(10)).await;
    app.settle().await;
    assert_eq!(count(app, "merges").await, 0);
    let open = open_reviews(app).await;
    assert_eq!(open.len(), 1, "a person is asked, once");
    (id(&anna), id(&twin), open[0].clone())
}

pub async fn open_reviews(app: &TestApp) -> Vec<Review> {
    let request = ListReviewsRequest::default();
    let answer = reviews(app)
        .list_reviews(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("listed").into_inner().reviews
}

async fn decide(
    app: &TestApp,
    review: &Review,
    decision: ReviewDecision,
) -> Result<DecideReviewResponse, tonic::Status> {
    let request = DecideReviewRequest {
        review_id: review.review_id.clone(),
        decision: decision as i32,
        reason: "they spoke one after the other".into(),
        request_id: format!("{decision:?}"),
    };
    let answer = reviews(app)
        .decide_review(app.request(TENANT, "bruno", request))
        .await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_asked_about_and_the_answer_holds() {
    let app = start().await;
    let (anna, twin, review) = twins(&app).await;
    let get = GetReviewRequest {
        review_id: review.review_id.clone(),
    };
    let shown = reviews(&app)
        .get_review(app.request(TENANT, "bruno", get.clone()))
        .await
        .expect("shown")
        .into_inner();
    let likeness = shown.likeness_now.expect("both are there");
    assert!(
        likeness.vetoes.contains(&"two given names".to_owned()),
        "{likeness:?}"
    );
    let rival = reviews(&app).get_review(app.request("rival", "eve", get)).await;
    assert_eq!(rival.expect_err("hidden").code(), Code::NotFound);
    let later = decide(&app, &review, ReviewDecision::Later)
        .await
        .expect("put off");
    assert_eq!(later.review.expect("the review").status(), ReviewStatus::Open);
    let decided = decide(&app, &review, ReviewDecision::Different)
        .await
        .expect("decided");
    assert_eq!(decided.review.expect("the review").decided_by, "bruno");
    let again = decide(&app, &review, ReviewDecision::Same)
        .await
        .expect_err("answered");
    assert_eq!(again.code(), Code::FailedPrecondition);
    // Neither the same records again nor a night changes what a person decided.
    assert_eq!(
        id(&resolve(&app, record("crm", "1", &[], self::anna("Milano"))).await),
        anna
    );
    app.advance(std::time::Duration::from_secs(26 * 3600)).await;
    app.settle().await;
    assert_eq!(count(&app, "merges").await, 0);
    assert!(open_reviews(&app).await.is_empty());
    assert_ne!(anna, twin);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_twin_stays_open_when_both_are_looked_at_again() {
    let app = start().await;
    let (_, twin, review) = twins(&app).await;
    // Something new is known of one of them: whoever was asked about is weighed again.
    let more = PersonFacts {
        given_name: "Ludovica".into(),
        ..self::anna("Milano")
    };
    let more = resolve(
        &app,
        record(
            "shop",
            "2",
            &["phone:+393339999999", "email:ludovica@shop.test"],
            more,
        ),
    )
    .await;
    assert_eq!(id(&more), twin);
    app.advance(std::time::Duration::from_secs(10)).await;
    app.settle().await;
    let open = open_reviews(&app).await;
    assert_eq!(open.len(), 1, "a twin is no less a twin");
    assert_eq!(open[0].review_id, review.review_id);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_said_to_be_the_same_is_joined_and_stays_joined() {
    let app = start().await;
    let (anna, twin, review) = twins(&app).await;
    let decided = decide(&app, &review, ReviewDecision::Same)
        .await
        .expect("decided");
    assert_eq!(decided.review.expect("the review").status(), ReviewStatus::Same);
    app.settle().await;
    let merged = merges(&app).await;
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].merge_id, decided.merge_id);
    assert!([&anna, &twin].contains(&&merged[0].merged_customer_id));
    // The two names still contradict; what a person joined matching does not take back.
    app.advance(std::time::Duration::from_secs(26 * 3600)).await;
    app.settle().await;
    assert_eq!(app.events::<CustomerSplit>().await.len(), 0);
    let (one, other) = (
        crate::pains::get(&app, &twin).await,
        crate::pains::get(&app, &anna).await,
    );
    assert_eq!(one.customer_id, other.customer_id);
    assert!(open_reviews(&app).await.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_names_with_different_mails_stay_two_people_on_a_fresh_database() {
    for names in [
        ["Rita Rossini"; 3],
        ["Rita Rossini0", "Rita Rossini1", "Rita Rossini2"],
    ] {
        let app = start().await;
        let mut people = std::collections::BTreeSet::new();
        for (number, name) in names.into_iter().enumerate() {
            let mail = Interaction {
                display_name: name.into(),
                ..interaction(
                    &format!("mail {number}"),
                    &format!("email:rita{number}@example.com"),
                )
            };
            people.insert(who(&app, &mail).await);
            let call = Interaction {
                display_name: name.into(),
                ..interaction(
                    &format!("call {number}"),
                    [
                        "phone:+393331234500",
                        "phone:+393331234510",
                        "phone:+393331234520",
                    ][number],
                )
            };
            people.insert(who(&app, &call).await);
        }
        app.advance(std::time::Duration::from_secs(26 * 3600)).await;
        app.settle().await;
        assert_eq!(count(&app, "merges").await, 0, "{names:?}");
        assert_eq!(people.len(), 6, "{names:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_telephone_does_not_make_one_person_of_two() {
    let app = start().await;
    let named = |name: &str, who: &str| Interaction {
        display_name: who.into(),
        ..interaction(name, "phone:+393331234567")
    };
    let mother = who(&app, &named("1", "Annalisa Quattrocchi")).await;
    let daughter = who(&app, &named("2", "Ludovica Quattrocchi")).await;
    assert_ne!(mother, daughter);
    assert_eq!(who(&app, &named("3", "Ludovica Quattrocchi")).await, daughter);
    assert_eq!(who(&app, &named("4", "Annalisa Quattrocchi")).await, mother);
    assert_eq!(count(&app, "customers").await, 2);
    assert_eq!(count(&app, "relations").await, 1, "a household is suggested");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_many_is_learnt_and_names_nobody_any_more() {
    let app = start().await;
    for number in 0..5 {
        let mut seen = interaction(&format!("visit {number}"), "cookie:kiosk");
        seen.also_known_as = vec![Handle {
            trust: trama_proto::common::v1::Trust::Verified as i32,
            ..handle(&format!("crm:20{number}"))
        }];
        identify(&app, &seen).await;
    }
    let first = who(&app, &interaction("crm of the first", "crm:200")).await;
    let anonymous = who(&app, &interaction("somebody at the kiosk", "cookie:kiosk")).await;
    assert_ne!(anonymous, first);
    assert_eq!(count(&app, "merges").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_checked_and_a_dry_run_remembers_nothing() {
    let app = start().await;
    for (request, field) in [
        (record("", "1", &[], anna("Milano")), "record.source"),
        (record("crm", "", &[], anna("Milano")), "record.external_id"),
        (
            record("crm", "1", &["email:nobody"], anna("Milano")),
            "record.handles[0]",
        ),
    ] {
        let refused = client(&app)
            .resolve_record(app.request(TENANT, "crm", request))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            format!("{refused:?}").contains(field) || refused.message().contains(field),
            "{refused:?}"
        );
    }
    let dry = ResolveRecordRequest {
        dry_run: true,
        ..record("crm", "1", &["email:annalisa@shop.test"], anna("Milano"))
    };
    let foreseen = resolve(&app, dry).await;
    assert_eq!(foreseen.resolution(), Resolution::Different);
    assert_eq!(id(&foreseen), "");
    assert_eq!(count(&app, "customers").await, 0);
    app.stop().await;
}
