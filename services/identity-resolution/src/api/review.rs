//! Reviews: gRPC ↔ app.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::Error;
use trama_proto::identity_resolution::v1::{
    self as wire, ReviewDecision, ReviewStatus, review_service_server::ReviewService,
};

use super::{
    caller,
    read::{id, reason},
};
use crate::{app::App, domain::ids::ReviewId};

/// The gRPC service of reviews.
pub struct Reviews(Arc<App>);

impl Reviews {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[tonic::async_trait]
impl ReviewService for Reviews {
    async fn list_reviews(
        &self,
        request: Request<wire::ListReviewsRequest>,
    ) -> Result<Response<wire::ListReviewsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let status = match request.status() {
            ReviewStatus::Unspecified => ReviewStatus::Open,
            status @ (ReviewStatus::Open | ReviewStatus::Same | ReviewStatus::Different) => status,
        };
        let about = (!request.customer_id.is_empty())
            .then(|| id("customer_id", &request.customer_id))
            .transpose()?;
        let page = (request.page_size, request.page_token.as_str());
        Ok(Response::new(
            self.0.list_reviews(&caller.tenant, status, about, page).await?,
        ))
    }

    async fn get_review(
        &self,
        request: Request<wire::GetReviewRequest>,
    ) -> Result<Response<wire::GetReviewResponse>, Status> {
        let caller = caller(&request)?;
        let review: ReviewId = id("review_id", &request.get_ref().review_id)?;
        Ok(Response::new(self.0.get_review(&caller.tenant, review).await?))
    }

    async fn decide_review(
        &self,
        request: Request<wire::DecideReviewRequest>,
    ) -> Result<Response<wire::DecideReviewResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let review: ReviewId = id("review_id", &request.review_id)?;
        if request.decision() == ReviewDecision::Unspecified {
            return Err(Error::invalid("decision", "say SAME, DIFFERENT or LATER").into());
        }
        let why = reason(&request.reason)?;
        Ok(Response::new(
            self.0
                .decide_review(&caller, review, request.decision(), &why, request)
                .await?,
        ))
    }
}
