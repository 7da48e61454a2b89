//! KnowledgeService.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::{Command, Error, principal};
use trama_proto::{
    case::v1::{
        AnswerQuestionRequest, AnswerQuestionResponse, Article, GetArticleRequest, GetArticleResponse,
        PublishArticleRequest, PublishArticleResponse, SearchArticlesRequest, SearchArticlesResponse,
        knowledge_service_server::KnowledgeService,
    },
    time::to_wire,
};

use super::text;
use crate::{
    app::{App, not_found},
    store::articles::Version,
};

/// Longest body of an article.
const LONGEST_BODY: usize = 50_000;

/// The service.
pub struct Knowledge(pub Arc<App>);

fn wire(article: Version) -> Article {
    Article {
        key: article.key,
        language: article.language,
        version: article.version,
        title: article.title,
        body: article.body,
        sample_questions: article.sample_questions,
        intents: article.intents,
        publish_time: Some(to_wire(article.published_at)),
    }
}

fn language(field: &'static str, value: &str) -> Result<(), Error> {
    let valid = (2..=35).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && value
            .split('-')
            .next()
            .is_some_and(|l| (2..=3).contains(&l.len()));
    if valid {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            "must be a BCP 47 language, such as it or en-GB",
        ))
    }
}

fn optional_language(value: &str) -> Result<(), Error> {
    if value.is_empty() {
        Ok(())
    } else {
        language("language", value)
    }
}

fn check(article: &Article) -> Result<(), Error> {
    let valid_key = (1..=100).contains(&article.key.len())
        && article
            .key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if !valid_key {
        return Err(Error::invalid(
            "article.key",
            "must be 1 to 100 of a-z, 0-9, - and _",
        ));
    }
    language("article.language", &article.language)?;
    text("article.title", &article.title, 300)?;
    text("article.body", &article.body, LONGEST_BODY)?;
    if article.sample_questions.len() > 200
        || article.sample_questions.iter().any(|q| q.chars().count() > 1_000)
    {
        return Err(Error::invalid(
            "article.sample_questions",
            "at most 200 of at most 1000 characters",
        ));
    }
    if article.intents.len() > 50 || article.intents.iter().any(|i| i.is_empty() || i.len() > 63) {
        return Err(Error::invalid("article.intents", "at most 50 names of intents"));
    }
    Ok(())
}

#[tonic::async_trait]
impl KnowledgeService for Knowledge {
    async fn publish_article(
        &self,
        request: Request<PublishArticleRequest>,
    ) -> Result<Response<PublishArticleResponse>, Status> {
        let caller = principal(&request)?.clone();
        let tenant = &caller.tenant;
        let request = request.into_inner();
        let article = request
            .article
            .as_ref()
            .ok_or_else(|| Error::invalid("article", "is missing"))?;
        check(article)?;
        let mut tx = self.0.transaction(tenant).await?;
        let command = Command::new(
            tenant,
            &caller.subject,
            "PublishArticle",
            &request.request_id,
            &request,
        );
        if let Some(before) = tx.replay(&command).await? {
            return Ok(Response::new(before));
        }
        let published = self.0.publish_article(&mut tx, tenant, article).await?;
        let response = PublishArticleResponse {
            article: Some(wire(published)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn get_article(
        &self,
        request: Request<GetArticleRequest>,
    ) -> Result<Response<GetArticleResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        text("key", &request.key, 100)?;
        language("language", &request.language)?;
        if request.version < 0 {
            return Err(Error::invalid("version", "must not be negative; 0 is the current one").into());
        }
        let article = self
            .0
            .find_article(&tenant, &request.key, &request.language, request.version)
            .await?
            .ok_or_else(|| not_found("such article"))?;
        Ok(Response::new(GetArticleResponse {
            article: Some(wire(article)),
        }))
    }

    async fn search_articles(
        &self,
        request: Request<SearchArticlesRequest>,
    ) -> Result<Response<SearchArticlesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        text("query", &request.query, 1_000)?;
        optional_language(&request.language)?;
        let limit = match request.page_size {
            0 => 10,
            n if n < 0 => return Err(Error::invalid("page_size", "must not be negative").into()),
            n => n.min(50),
        };
        let articles = self
            .0
            .search_articles(&tenant, &request.query, &request.language, limit)
            .await?;
        Ok(Response::new(SearchArticlesResponse { articles }))
    }

    async fn answer_question(
        &self,
        request: Request<AnswerQuestionRequest>,
    ) -> Result<Response<AnswerQuestionResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        if request.intent.is_empty() {
            text("question", &request.question, 1_000)?;
        }
        optional_language(&request.language)?;
        let answer = self
            .0
            .answer_question(&tenant, &request.question, &request.language, &request.intent)
            .await?;
        Ok(Response::new(AnswerQuestionResponse { answer }))
    }
}
