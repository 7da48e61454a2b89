//! Knowledge: versions of articles and BM25 over the words of the current ones.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::{case::v1::SuggestedArticle, ids::TenantId};

/// The current version of an article in one language.
#[derive(Debug, Clone, FromRow, PartialEq)]
pub struct Current {
    /// Whose data.
    pub tenant: String,
    /// The same in all languages.
    pub key: String,
    /// Language.
    pub language: String,
    /// Version.
    pub version: i32,
    /// Title.
    pub title: String,
    /// The answer.
    pub body: String,
    /// Intents for which it is the answer.
    pub intents: Vec<String>,
}

impl Current {
    /// As the wire says it.
    pub fn suggest(&self, score: f64) -> SuggestedArticle {
        SuggestedArticle {
            article_key: self.key.clone(),
            article_version: format!("{}@{}", self.key, self.version),
            title: self.title.clone(),
            body: self.body.clone(),
            score,
        }
    }
}

/// Articles that answer one of these intents or have one of these keys.
///
/// # Errors
/// When the database is away.
pub async fn load(
    db: &mut PgConnection,
    tenants: &[&str],
    intents: &[String],
    keys: &[String],
) -> Result<Vec<Current>, Error> {
    if intents.is_empty() && keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "SELECT tenant, key, language, version, title, body, intents FROM articles
         WHERE tenant = ANY($1) AND (intents && $2 OR key = ANY($3))
         ORDER BY tenant, key, language",
    )
    .bind(tenants)
    .bind(intents)
    .bind(keys)
    .fetch_all(db)
    .await?)
}

/// A question to the search.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose data.
    pub tenant: TenantId,
    /// What is asked.
    pub text: String,
    /// In which language; empty for any.
    pub language: String,
}

/// A hit of the search.
#[derive(Debug, FromRow)]
pub struct Found {
    /// Number of the question, from 0.
    pub question: i32,
    /// The article.
    #[sqlx(flatten)]
    pub article: Current,
    /// BM25.
    pub score: f64,
    /// Share of the question's weight that the article's words cover, 0 to 1.
    pub coverage: f64,
}

/// BM25 (k1 1.2, b 0.75) of all questions at once, best first. A word that no article knows counts as rare.
///
/// # Errors
/// When the database is away.
pub async fn search(db: &mut PgConnection, questions: &[Question], limit: i32) -> Result<Vec<Found>, Error> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "WITH question AS (
             SELECT n::integer - 1 AS question, tenant, text, language
             FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q (tenant, text, language, n)
         ), shelf AS (
             SELECT q.question, q.tenant, a.language, count(*)::float8 AS articles, greatest(avg(a.words), 1)::float8 AS words
             FROM question q JOIN articles a ON a.tenant = q.tenant
                  AND (q.language = '' OR split_part(a.language, '-', 1) = split_part(q.language, '-', 1))
             GROUP BY q.question, q.tenant, a.language
         ), term AS (
             SELECT s.question, s.tenant, s.language, s.words, word.lexeme,
                    ln(1 + (s.articles - coalesce(d.df, 0) + 0.5) / (coalesce(d.df, 0) + 0.5)) AS idf
             FROM shelf s JOIN question q USING (question)
                  CROSS JOIN LATERAL unnest(tsvector_to_array(to_tsvector(text_search_of(s.language), q.text))) AS word (lexeme)
                  LEFT JOIN LATERAL (
                      SELECT count(*)::float8 AS df FROM postings p
                      WHERE p.tenant = s.tenant AND p.language = s.language AND p.lexeme = word.lexeme) AS d ON true
         ), weight AS (
             SELECT question, language, sum(idf) AS total FROM term GROUP BY question, language
         ), hit AS (
             SELECT t.question, t.tenant, t.language, p.key,
                    sum(t.idf * p.tf * 2.2 / (p.tf + 1.2 * (0.25 + 0.75 * a.words / t.words))) AS score,
                    sum(t.idf) AS covered
             FROM term t
                  JOIN postings p ON p.tenant = t.tenant AND p.language = t.language AND p.lexeme = t.lexeme
                  JOIN articles a ON a.tenant = p.tenant AND a.key = p.key AND a.language = p.language
             GROUP BY t.question, t.tenant, t.language, p.key
         ), ranked AS (
             SELECT hit.*, covered / greatest(w.total, 1e-9) AS coverage,
                    row_number() OVER (PARTITION BY hit.question ORDER BY score DESC, hit.key, hit.language) AS place
             FROM hit JOIN weight w ON w.question = hit.question AND w.language = hit.language
         )
         SELECT r.question, r.score::float8 AS score, r.coverage::float8 AS coverage,
                a.tenant, a.key, a.language, a.version, a.title, a.body, a.intents
         FROM ranked r JOIN articles a ON a.tenant = r.tenant AND a.key = r.key AND a.language = r.language
         WHERE r.place <= $4
         ORDER BY r.question, r.place",
    )
    .bind(questions.iter().map(|q| q.tenant.as_str()).collect::<Vec<_>>())
    .bind(questions.iter().map(|q| q.text.as_str()).collect::<Vec<_>>())
    .bind(questions.iter().map(|q| q.language.as_str()).collect::<Vec<_>>())
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?)
}

/// One version of an article in one language.
#[derive(Debug, Clone, FromRow)]
pub struct Version {
    /// The same in all languages.
    pub key: String,
    /// Language.
    pub language: String,
    /// Number, from 1.
    pub version: i32,
    /// Title.
    pub title: String,
    /// The answer.
    pub body: String,
    /// As customers ask it.
    pub sample_questions: Vec<String>,
    /// Intents for which it is the answer.
    pub intents: Vec<String>,
    /// When.
    pub published_at: DateTime<Utc>,
}

/// Keeps others from publishing the article meanwhile: two at once would take the same number.
///
/// # Errors
/// When the database is away.
pub async fn lock(db: &mut PgConnection, tenant: &TenantId, article: &Version) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2 || '/' || $3, 18))")
        .bind(tenant.as_str())
        .bind(&article.key)
        .bind(&article.language)
        .execute(db)
        .await?;
    Ok(())
}

/// Publishes the next version, [`lock`]ed, and makes its words searchable. Returns its number.
///
/// # Errors
/// When the database is away.
pub async fn publish(db: &mut PgConnection, tenant: &TenantId, article: &Version) -> Result<i32, Error> {
    let version: i32 = sqlx::query_scalar(
        "INSERT INTO article_versions (tenant, key, language, version, title, body, sample_questions, intents, published_at)
         SELECT $1, $2, $3, 1 + coalesce(max(version), 0), $4, $5, $6, $7, $8
         FROM article_versions WHERE tenant = $1 AND key = $2 AND language = $3
         RETURNING version",
    )
    .bind(tenant.as_str())
    .bind(&article.key)
    .bind(&article.language)
    .bind(&article.title)
    .bind(&article.body)
    .bind(&article.sample_questions)
    .bind(&article.intents)
    .bind(article.published_at)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query("DELETE FROM postings WHERE tenant = $1 AND key = $2 AND language = $3")
        .bind(tenant.as_str())
        .bind(&article.key)
        .bind(&article.language)
        .execute(&mut *db)
        .await?;
    let words: i64 = sqlx::query_scalar(
        "WITH word AS (
             INSERT INTO postings (tenant, language, lexeme, key, tf)
             SELECT $1, $3, lexeme, $2, coalesce(cardinality(positions), 1)
             FROM unnest(to_tsvector(text_search_of($3), $4))
             RETURNING tf)
         SELECT coalesce(sum(tf), 0)::bigint FROM word",
    )
    .bind(tenant.as_str())
    .bind(&article.key)
    .bind(&article.language)
    .bind(format!(
        "{}\n{}\n{}",
        article.title,
        article.body,
        article.sample_questions.join("\n")
    ))
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        "INSERT INTO articles (tenant, key, language, version, title, body, intents, words)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant, key, language) DO UPDATE SET version = excluded.version, title = excluded.title,
             body = excluded.body, intents = excluded.intents, words = excluded.words",
    )
    .bind(tenant.as_str())
    .bind(&article.key)
    .bind(&article.language)
    .bind(version)
    .bind(&article.title)
    .bind(&article.body)
    .bind(&article.intents)
    .bind(i32::try_from(words).unwrap_or(i32::MAX))
    .execute(db)
    .await?;
    Ok(version)
}

/// A version of an article, the current one for 0.
///
/// # Errors
/// When the database is away.
pub async fn find(
    db: &mut PgConnection,
    tenant: &TenantId,
    key: &str,
    language: &str,
    version: i32,
) -> Result<Option<Version>, Error> {
    Ok(sqlx::query_as(
        "SELECT key, language, version, title, body, sample_questions, intents, published_at FROM article_versions
         WHERE tenant = $1 AND key = $2 AND language = $3 AND ($4 = 0 OR version = $4)
         ORDER BY version DESC LIMIT 1",
    )
    .bind(tenant.as_str())
    .bind(key)
    .bind(language)
    .bind(version)
    .fetch_optional(db)
    .await?)
}

/// Whether a version exists in any language.
///
/// # Errors
/// When the database is away.
pub async fn exists(
    db: &mut PgConnection,
    tenant: &TenantId,
    key: &str,
    version: i32,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM article_versions WHERE tenant = $1 AND key = $2 AND version = $3)",
    )
    .bind(tenant.as_str())
    .bind(key)
    .bind(version)
    .fetch_one(db)
    .await?)
}
