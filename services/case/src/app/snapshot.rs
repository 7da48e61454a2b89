//! What whoever takes a case is shown, and which article fits it: one function for bot, agent and portal.

use trama_platform::{Error, Tx};
use trama_proto::{
    case::v1::{Article, ContextSnapshot, SuggestedArticle},
    ids::{CaseId, TenantId},
};

use super::{App, told::tell_article};
use crate::{
    config::Config,
    domain::{Case, Kind, Line},
    error::no_case,
    store::{
        articles::{self, Current, Question, Version},
        cases, timeline,
    },
};

fn same_language(article: &str, wanted: &str) -> bool {
    wanted.is_empty() || article.split('-').next() == wanted.split('-').next()
}

/// The article that an intent names, in a language.
pub fn article_of_intent<'a>(
    articles: &'a [Current],
    tenant: &TenantId,
    intent: &str,
    language: &str,
) -> Option<&'a Current> {
    let fits = |a: &&Current| {
        a.tenant == tenant.as_str()
            && same_language(&a.language, language)
            && a.intents.iter().any(|i| i == intent)
    };
    if intent.is_empty() {
        None
    } else {
        articles.iter().find(fits)
    }
}

/// The article that fits a case, among those at hand: its intent's, else the one that the search once found.
pub fn choose_article(articles: &[Current], case: &Case, config: Config) -> Option<SuggestedArticle> {
    let language = &case.understanding.language;
    if let Some(article) = article_of_intent(articles, &case.tenant, case.intent(), language) {
        return Some(article.suggest(1.0));
    }
    let found = |a: &&Current| {
        a.tenant == case.tenant.as_str() && a.key == case.article_key && same_language(&a.language, language)
    };
    if case.article_key.is_empty() {
        None
    } else {
        articles
            .iter()
            .find(found)
            .map(|a| a.suggest(config.search_coverage))
    }
}

/// What whoever takes a case is shown.
pub fn snapshot_of(case: &Case, lines: &[Line], article: Option<SuggestedArticle>) -> ContextSnapshot {
    ContextSnapshot {
        customer: Some(case.customer.clone()),
        case: Some(case.to_wire()),
        timeline: lines.iter().map(Line::to_wire).collect(),
        suggested_article: article,
    }
}

/// The last lines that belong to a case; of a follow-up, also those of the case that it follows.
pub async fn lines_of(tx: &mut Tx, case: &Case, config: Config) -> Result<Vec<Line>, Error> {
    let mut ids = vec![case.id.uuid()];
    if let (Kind::Recovery, Some(related)) = (case.kind, case.related) {
        ids.push(related.uuid());
    }
    let tenants = vec![case.tenant.as_str(); ids.len()];
    let mut lines = timeline::load_last(tx, &tenants, &ids, config.lines()).await?;
    lines.sort_by_key(|l| (l.occurred_at, l.id));
    lines.drain(..lines.len().saturating_sub(config.lines().into()));
    Ok(lines)
}

/// The article that fits a case, from the table.
pub async fn article_of(
    db: &mut sqlx::PgConnection,
    case: &Case,
    config: Config,
) -> Result<Option<SuggestedArticle>, Error> {
    let list = |text: &str| {
        if text.is_empty() {
            Vec::new()
        } else {
            vec![text.to_owned()]
        }
    };
    let found = articles::load(
        db,
        &[case.tenant.as_str()],
        &list(case.intent()),
        &list(&case.article_key),
    )
    .await?;
    Ok(choose_article(&found, case, config))
}

impl App {
    /// What an offer of this case would carry now.
    ///
    /// # Errors
    /// When there is no such case.
    pub async fn get_snapshot(&self, tenant: &TenantId, id: CaseId) -> Result<ContextSnapshot, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let case = cases::find(&mut tx, tenant, id)
            .await?
            .ok_or_else(|| no_case(id))?;
        let lines = lines_of(&mut tx, &case, self.config).await?;
        let article = article_of(tx.conn(), &case, self.config).await?;
        Ok(snapshot_of(&case, &lines, article))
    }

    /// Ranks articles for a question.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn search_articles(
        &self,
        tenant: &TenantId,
        text: &str,
        language: &str,
        limit: i32,
    ) -> Result<Vec<SuggestedArticle>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let question = Question {
            tenant: tenant.clone(),
            text: text.to_owned(),
            language: language.to_owned(),
        };
        let found = articles::search(tx.conn(), &[question], limit).await?;
        Ok(found.iter().map(|f| f.article.suggest(f.score)).collect())
    }

    /// The one answer to a question: that of its intent, else the best of the search if it is good enough.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn answer_question(
        &self,
        tenant: &TenantId,
        text: &str,
        language: &str,
        intent: &str,
    ) -> Result<Option<SuggestedArticle>, Error> {
        let resources = self.resources.snapshot();
        let guess;
        let intent = if intent.is_empty() {
            guess = self.models.of(tenant, &resources).guess(text);
            guess.intent.as_str()
        } else {
            intent
        };
        let mut tx = self.db.tx(tenant).await?;
        let at_hand = articles::load(tx.conn(), &[tenant.as_str()], &[intent.to_owned()], &[]).await?;
        if let Some(article) = article_of_intent(&at_hand, tenant, intent, language) {
            return Ok(Some(article.suggest(1.0)));
        }
        let question = Question {
            tenant: tenant.clone(),
            text: text.to_owned(),
            language: language.to_owned(),
        };
        let found = articles::search(tx.conn(), &[question], 1).await?;
        Ok(found
            .first()
            .filter(|f| f.coverage >= self.config.search_coverage)
            .map(|f| f.article.suggest(f.score)))
    }
}

impl App {
    /// Publishes the next version of an article in one language, searchable at the commit.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn publish_article(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        article: &Article,
    ) -> Result<Version, Error> {
        let mut version = Version {
            key: article.key.clone(),
            language: article.language.clone(),
            version: 0,
            title: article.title.clone(),
            body: article.body.clone(),
            sample_questions: article.sample_questions.clone(),
            intents: article.intents.clone(),
            published_at: tx.now(),
        };
        articles::lock(tx.conn(), tenant, &version).await?;
        let before = articles::find(tx.conn(), tenant, &version.key, &version.language, 0).await?;
        version.version = articles::publish(tx.conn(), tenant, &version).await?;
        tell_article(tx, before.as_ref(), &version);
        metrics::counter!("trama_case_articles_published_total").increment(1);
        Ok(version)
    }

    /// A version of an article, the current one for 0.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn find_article(
        &self,
        tenant: &TenantId,
        key: &str,
        language: &str,
        version: i32,
    ) -> Result<Option<Version>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        articles::find(tx.conn(), tenant, key, language, version).await
    }
}
