//! Are these two one person? What people decide.

use chrono::{DateTime, Duration, Utc};
use trama_platform::{Command, Error, page};
use trama_proto::{
    identity_resolution::v1::{self as wire, ReviewDecision, ReviewStatus},
    ids::{CustomerId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::{App, Caller, explaining::wire_likeness};
use crate::{
    domain::{ids::ReviewId, merge::remains},
    error::refused,
    store::{
        self,
        reviews::{Review, Wanted},
    },
};

impl App {
    /// Questions, the one that is due first first.
    pub async fn list_reviews(
        &self,
        tenant: &TenantId,
        status: ReviewStatus,
        about: Option<CustomerId>,
        (size, token): (i32, &str),
    ) -> Result<wire::ListReviewsResponse, Error> {
        let most = page::size(size)?;
        let after: Option<(DateTime<Utc>, Uuid)> = page::start(token)?;
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let ids = match about {
            None => None,
            Some(id) => {
                let customer = self.read(&mut tx, tenant, id).await?;
                Some(customer.members.iter().map(|m| m.id).collect::<Vec<_>>())
            }
        };
        let wanted = Wanted {
            status,
            about: ids.as_deref(),
            after,
            most: most + 1,
        };
        let mut reviews = store::reviews::list(tx.conn(), tenant, &wanted).await?;
        let more = i64::try_from(reviews.len()).is_ok_and(|n| n > most);
        reviews.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let last = reviews.last().filter(|_| more);
        Ok(wire::ListReviewsResponse {
            next_page_token: last
                .map(|r| page::token(&(r.due_at, r.id.uuid())))
                .unwrap_or_default(),
            reviews: reviews.iter().map(|r| wire_review(r, now)).collect(),
        })
    }

    /// One question with both customers, as they are now.
    pub async fn get_review(
        &self,
        tenant: &TenantId,
        id: ReviewId,
    ) -> Result<wire::GetReviewResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let (rules, now) = (self.rules(tenant), tx.now());
        let review = store::reviews::find(tx.conn(), tenant, id, false)
            .await?
            .ok_or_else(|| Error::not_found("review", id))?;
        let one = self.read(&mut tx, tenant, review.one).await?;
        let other = self.read(&mut tx, tenant, review.other).await?;
        let likeness = if one.id == other.id {
            None
        } else {
            self.alike(&mut tx, tenant, &one, &other, &rules).await?
        };
        Ok(wire::GetReviewResponse {
            review: Some(wire_review(&review, now)),
            customer: Some(one.context(&rules, now, false)),
            other: Some(other.context(&rules, now, false)),
            likeness_now: likeness.map(|(likeness, _)| wire_likeness(&likeness)),
        })
    }

    /// Answers a question.
    pub async fn decide_review(
        &self,
        caller: &Caller,
        id: ReviewId,
        decision: ReviewDecision,
        reason: &str,
        request: &wire::DecideReviewRequest,
    ) -> Result<wire::DecideReviewResponse, Error> {
        const METHOD: &str = "DecideReview";
        let tenant = &caller.tenant;
        let by = caller.subject.as_str();
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(tenant, by, METHOD, &request.request_id, request);
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let (rules, now) = (self.rules(tenant), tx.now());
        let found = store::reviews::find(tx.conn(), tenant, id, false)
            .await?
            .ok_or_else(|| Error::not_found("review", id))?;
        // Customers are locked before reviews, everywhere.
        let (one, other) = self
            .read_both_alone(&mut tx, tenant, (found.one, found.other))
            .await?;
        let mut review = store::reviews::find(tx.conn(), tenant, id, true)
            .await?
            .filter(|r| r.status == ReviewStatus::Open)
            .ok_or_else(|| refused("this question is answered"))?;
        let mut merge_id = String::new();
        let decided = Some((by.to_owned(), reason.to_owned(), now));
        match decision {
            ReviewDecision::Same if one.id == other.id => {
                review.status = ReviewStatus::Same;
                review.decided = decided;
            }
            ReviewDecision::Same => {
                let survivor = remains(&one, &other).id;
                let merged = if survivor == one.id { other.id } else { one.id };
                let (_, record) = self
                    .merge_into(&mut tx, caller, (survivor, merged), reason, &rules, None)
                    .await?;
                merge_id = record.id.to_string();
                review.status = ReviewStatus::Same;
                review.decided = decided;
            }
            ReviewDecision::Different if one.id == other.id => {
                return Err(refused(
                    "both are one customer by now; split them with SplitCustomers if they are two",
                ));
            }
            ReviewDecision::Different => {
                store::merges::keep_apart(tx.conn(), tenant, (one.id, other.id), by, now).await?;
                review.status = ReviewStatus::Different;
                review.decided = decided;
            }
            ReviewDecision::Later => {
                let hours = i64::from(rules.policy().similarity.review_hours);
                review.due_at = now + Duration::hours(hours);
            }
            ReviewDecision::Unspecified => return Err(Error::invalid("decision", "say what is decided")),
        }
        store::reviews::save(tx.conn(), tenant, &review).await?;
        let (was, is) = (found.status.as_str_name(), review.status.as_str_name());
        tx.changed(("review", &id), "status", was, is);
        let (was, is) = (found.due_at.to_rfc3339(), review.due_at.to_rfc3339());
        tx.changed(("review", &id), "due_at", &was, &is);
        let outcome = match decision {
            ReviewDecision::Same => "same",
            ReviewDecision::Different => "different",
            ReviewDecision::Later => "later",
            ReviewDecision::Unspecified => "unspecified",
        };
        metrics::counter!("trama_identity_resolution_reviews_decided_total", "decision" => outcome)
            .increment(1);
        let response = wire::DecideReviewResponse {
            review: Some(wire_review(&review, now)),
            merge_id,
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

fn wire_review(review: &Review, now: DateTime<Utc>) -> wire::Review {
    let decided = review.decided.as_ref();
    wire::Review {
        review_id: review.id.to_string(),
        customer_id: review.one.to_string(),
        other_customer_id: review.other.to_string(),
        kind: review.kind as i32,
        status: review.status as i32,
        likeness: review.likeness.as_ref().map(wire_likeness),
        reason: review.reason.clone(),
        create_time: Some(to_wire(review.created_at)),
        due_at: Some(to_wire(review.due_at)),
        overdue: review.status == ReviewStatus::Open && review.due_at <= now,
        decided_by: decided.map(|(by, ..)| by.clone()).unwrap_or_default(),
        decision_reason: decided.map(|(_, why, _)| why.clone()).unwrap_or_default(),
        decided_at: decided.map(|(.., at)| to_wire(*at)),
        sightings: review.sightings,
    }
}
