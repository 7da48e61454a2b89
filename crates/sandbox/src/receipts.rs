//! Delivery receipts: what each provider says about a send, and how it is posted until it is taken.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::World;
use crate::config::{ReceiptOrder, ReceiptPlan, ReceiptStatus, Retry};

/// How many receipts are on the wire at once.
const MAX_POSTS: usize = 64;
/// How long a receiver may take to answer; Twilio gives 15 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause between two tries grows up to this.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What a receipt reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Reached(ReceiptStatus),
    Failed { code: u32 },
}

/// One receipt before a provider puts it into words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub report: Report,
    pub at: DateTime<Utc>,
}

/// A call to a webhook.
pub(crate) struct Call {
    pub url: String,
    pub content_type: &'static str,
    pub user_agent: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

pub(crate) struct Receipts {
    client: reqwest::Client,
    plan: Mutex<ReceiptPlan>,
    posts: Semaphore,
}

impl Receipts {
    #[expect(
        clippy::disallowed_methods,
        reason = "a provider calls whom it wants: the guard is for the platform's own calls"
    )]
    pub fn new(plan: ReceiptPlan) -> io::Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing the race against another crate that installs one is as good as winning it.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            client,
            plan: Mutex::new(plan),
            posts: Semaphore::new(MAX_POSTS),
        })
    }

    pub fn set_plan(&self, plan: ReceiptPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    fn plan(&self) -> ReceiptPlan {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets the receipts of a send accepted at `at` follow it; `words` puts each into the provider's form.
pub(crate) fn follow(
    world: &Arc<World>,
    at: DateTime<Utc>,
    failure: Option<u32>,
    words: impl Fn(Receipt) -> Option<Call>,
) {
    let plan = world.receipts.plan();
    let reports = match failure {
        Some(code) => vec![Report::Failed { code }],
        None => plan.statuses.iter().copied().map(Report::Reached).collect(),
    };
    let mut happened_at = at;
    let mut calls = Vec::with_capacity(reports.len());
    for report in reports {
        happened_at += plan.delay;
        calls.extend(words(Receipt {
            report,
            at: happened_at,
        }));
    }
    if plan.order == ReceiptOrder::Reversed {
        calls.reverse();
    }
    if !calls.is_empty() {
        let poster = world.clone();
        world.spawn(async move { post_all(&poster, &plan, calls).await });
    }
}

async fn post_all(world: &World, plan: &ReceiptPlan, calls: Vec<Call>) {
    for call in calls {
        tokio::time::sleep(plan.delay).await;
        for _ in 0..plan.copies {
            post_until_taken(&world.receipts, plan.retry, &call).await;
        }
    }
}

async fn post_until_taken(receipts: &Receipts, retry: Retry, call: &Call) {
    let started = Instant::now();
    let mut backoff = retry.first_backoff;
    loop {
        let outcome = post(receipts, call).await;
        if outcome.is_ok_and(|status| status.is_success()) {
            return;
        }
        if started.elapsed() + backoff > retry.give_up_after {
            tracing::warn!(url = call.url, "receipt was not taken, giving up");
            return;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

async fn post(receipts: &Receipts, call: &Call) -> Result<StatusCode, reqwest::Error> {
    let _permit = receipts.posts.acquire().await;
    let mut request = receipts
        .client
        .post(&call.url)
        .header(CONTENT_TYPE, call.content_type)
        .header(USER_AGENT, call.user_agent)
        .body(call.body.clone());
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let response = request.send().await?;
    Ok(response.status())
}
