//! One knowledge base for bots and agents.

use tonic::Code;
use trama_proto::{
    case::v1::{AnswerQuestionRequest, GetArticleRequest, PublishArticleRequest, SearchArticlesRequest},
    common::v1::ChannelKind,
};

use super::story::*;

#[tokio::test]
async fn versions_grow_and_the_current_one_is_found() {
    let app = start().await;
    publish_hours(&app).await;
    let mut next = article(
        "opening-hours",
        "Orari",
        "Siamo aperti anche la domenica.",
        &["siete aperti la domenica?"],
        &["opening-hours"],
    );
    assert_eq!(publish(&app, next.clone()).await.version, 2);
    next.language = "en".into();
    next.body = "We are open on Sundays too.".into();
    assert_eq!(
        publish(&app, next).await.version,
        1,
        "each language counts by itself"
    );
    let mut client = knowledge(&app);
    let get = |language: &str, version| GetArticleRequest {
        key: "opening-hours".into(),
        language: language.into(),
        version,
    };
    let current = client
        .get_article(app.request(TENANT, "a", get("it", 0)))
        .await
        .expect("found")
        .into_inner()
        .article
        .expect("one");
    assert_eq!(
        (current.version, current.body.as_str()),
        (2, "Siamo aperti anche la domenica.")
    );
    let old = client
        .get_article(app.request(TENANT, "a", get("it", 1)))
        .await
        .expect("found")
        .into_inner()
        .article
        .expect("one");
    assert!(old.body.contains("lunedì"));
    assert_eq!(
        client
            .get_article(app.request(TENANT, "a", get("it", 9)))
            .await
            .expect_err("none")
            .code(),
        Code::NotFound
    );
    app.stop().await;
}

#[tokio::test]
async fn the_search_ranks_by_words_and_the_answer_is_the_same_for_all() {
    let app = start().await;
    publish_hours(&app).await;
    publish(
        &app,
        article(
            "returns",
            "Come rendere un prodotto",
            "Può rendere il prodotto entro 30 giorni con lo scontrino.",
            &["posso restituire un acquisto?", "come faccio un reso?"],
            &[],
        ),
    )
    .await;
    publish(
        &app,
        article(
            "descale",
            "Decalcificare la macchina",
            "Usi il decalcificante ogni tre mesi e risciacqui due volte.",
            &["come tolgo il calcare?"],
            &[],
        ),
    )
    .await;
    let mut client = knowledge(&app);
    let search = SearchArticlesRequest {
        query: "vorrei restituire un prodotto acquistato".into(),
        language: "it".into(),
        page_size: 0,
    };
    let found = client
        .search_articles(app.request(TENANT, "a", search))
        .await
        .expect("searched")
        .into_inner()
        .articles;
    assert_eq!(found[0].article_key, "returns");
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));

    let mut ask = async |question: &str, intent: &str| {
        let request = AnswerQuestionRequest {
            question: question.into(),
            language: "it".into(),
            intent: intent.into(),
        };
        client
            .answer_question(app.request(TENANT, "a", request))
            .await
            .expect("asked")
            .into_inner()
            .answer
    };
    assert_eq!(
        ask("a che ora aprite?", "")
            .await
            .expect("an answer")
            .article_version,
        "opening-hours@1"
    );
    assert_eq!(
        ask("", "opening-hours").await.expect("an answer").article_version,
        "opening-hours@1"
    );
    assert_eq!(
        ask("come faccio a togliere il calcare dalla macchina", "")
            .await
            .expect("an answer")
            .article_key,
        "descale"
    );
    assert_eq!(ask("qual è la capitale della Mongolia", "").await, None);

    says(
        &app,
        "anna",
        "limescale",
        ChannelKind::Email,
        "come tolgo il calcare?",
    )
    .heard(&app)
    .await;
    let case = only_case(&app, "anna").await;
    let work = last_work(&app, &case.case_id).await.0.expect("work");
    assert_eq!(
        work.snapshot
            .expect("context")
            .suggested_article
            .expect("found")
            .article_key,
        "descale"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_publication_is_one_version_and_bad_articles_are_refused() {
    let app = start().await;
    let mut client = knowledge(&app);
    let request = PublishArticleRequest {
        article: Some(article("a", "T", "B", &[], &[])),
        request_id: "p1".into(),
    };
    for _ in 0..2 {
        let published = client
            .publish_article(app.request(TENANT, "a", request.clone()))
            .await
            .expect("published");
        assert_eq!(published.into_inner().article.expect("one").version, 1);
    }
    let mut bad_language = article("a", "T", "B", &[], &[]);
    bad_language.language = "italiano!".into();
    for bad in [
        article("A b", "T", "B", &[], &[]),
        article("a", "", "B", &[], &[]),
        article("a", "T", " ", &[], &[]),
        bad_language,
    ] {
        let request = PublishArticleRequest {
            article: Some(bad),
            request_id: String::new(),
        };
        let refused = client
            .publish_article(app.request(TENANT, "a", request))
            .await
            .expect_err("bad");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    app.stop().await;
}
