//! gRPC ↔ app.

pub mod audit;
pub mod documents;
pub mod import;
pub mod privacy;
pub mod profile;
mod read;
pub mod review;
pub mod verification;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::{Error, principal};
use trama_proto::{
    common::v1::{self as common, ChannelKind},
    identity_resolution::v1::{
        self as wire, ConsentStatus, Purpose, identity_service_server::IdentityService,
    },
    ids::{ChallengeId, CustomerId, MergeId},
};

use crate::{
    app::{App, Caller, ContactQuestion, Link, Merge},
    domain::{
        challenge::Code,
        handle::{Handle, HandleKey, Trust},
    },
};
use read::{id, profile_change, reason};

/// Questions that one batch may hold.
const MOST_QUESTIONS: usize = 256;

/// The gRPC service.
pub struct Api(Arc<App>);

impl Api {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }

    fn handle(&self, caller: &Caller, handle: Option<&common::Handle>) -> Result<HandleKey, Error> {
        let handle = handle.ok_or_else(|| Error::invalid("handle", "is missing"))?;
        let rules = self.0.rules(&caller.tenant);
        rules
            .handle(&handle.kind, &handle.value)
            .map_err(read::invalid_handle)
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let principal = principal(request)?;
    let subject = principal.subject.parse().map_err(Error::from)?;
    Ok(Caller {
        tenant: principal.tenant.clone(),
        subject,
        origin: principal.origin.clone(),
    })
}

#[tonic::async_trait]
impl IdentityService for Api {
    async fn get_customer(
        &self,
        request: Request<wire::GetCustomerRequest>,
    ) -> Result<Response<wire::GetCustomerResponse>, Status> {
        let caller = caller(&request)?;
        let customer: CustomerId = id("customer_id", &request.get_ref().customer_id)?;
        Ok(Response::new(self.0.get_customer(&caller, customer).await?))
    }

    async fn find_customers(
        &self,
        request: Request<wire::FindCustomersRequest>,
    ) -> Result<Response<wire::FindCustomersResponse>, Status> {
        let caller = caller(&request)?;
        let key = self.handle(&caller, request.get_ref().handle.as_ref())?;
        let customers = self.0.find_customers(&caller, &key).await?;
        Ok(Response::new(wire::FindCustomersResponse { customers }))
    }

    async fn update_customer(
        &self,
        request: Request<wire::UpdateCustomerRequest>,
    ) -> Result<Response<wire::UpdateCustomerResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let given = request
            .customer
            .as_ref()
            .ok_or_else(|| Error::invalid("customer", "is missing"))?;
        let customer: CustomerId = id("customer.customer_id", &given.customer_id)?;
        let change = profile_change(given, request.update_mask.as_ref())?;
        Ok(Response::new(
            self.0.update_customer(&caller, customer, change, request).await?,
        ))
    }

    async fn link_handle(
        &self,
        request: Request<wire::LinkHandleRequest>,
    ) -> Result<Response<wire::LinkHandleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let link = Link {
            customer: id("customer_id", &request.customer_id)?,
            handle: Handle {
                key: self.handle(&caller, request.handle.as_ref())?,
                trust: Trust::from_wire(
                    request
                        .handle
                        .as_ref()
                        .map_or(common::Trust::Unspecified, |h| h.trust()),
                    Trust::Claimed,
                ),
            },
            reason: reason(&request.reason)?,
        };
        Ok(Response::new(self.0.link_handle(&caller, link, request).await?))
    }

    async fn merge_customers(
        &self,
        request: Request<wire::MergeCustomersRequest>,
    ) -> Result<Response<wire::MergeCustomersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let merge = Merge {
            survivor: id("survivor_customer_id", &request.survivor_customer_id)?,
            merged: id("merged_customer_id", &request.merged_customer_id)?,
            reason: reason(&request.reason)?,
        };
        if merge.survivor == merge.merged {
            return Err(
                Error::invalid("merged_customer_id", "must be another customer than the survivor").into(),
            );
        }
        Ok(Response::new(
            self.0.merge_customers(&caller, merge, request).await?,
        ))
    }

    async fn split_customers(
        &self,
        request: Request<wire::SplitCustomersRequest>,
    ) -> Result<Response<wire::SplitCustomersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let merge: MergeId = id("merge_id", &request.merge_id)?;
        Ok(Response::new(
            self.0.split_customers(&caller, merge, request).await?,
        ))
    }

    async fn preview_split(
        &self,
        request: Request<wire::PreviewSplitRequest>,
    ) -> Result<Response<wire::PreviewSplitResponse>, Status> {
        let caller = caller(&request)?;
        let merge: MergeId = id("merge_id", &request.get_ref().merge_id)?;
        Ok(Response::new(self.0.preview_split(&caller.tenant, merge).await?))
    }

    async fn extract_handle(
        &self,
        request: Request<wire::ExtractHandleRequest>,
    ) -> Result<Response<wire::ExtractHandleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        let key = self.handle(&caller, request.handle.as_ref())?;
        reason(&request.reason)?;
        Ok(Response::new(
            self.0.extract_handle(&caller, customer, &key, request).await?,
        ))
    }

    async fn rekey_handle(
        &self,
        request: Request<wire::RekeyHandleRequest>,
    ) -> Result<Response<wire::RekeyHandleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let named = |field: &str, handle: Option<&common::Handle>| {
            handle
                .ok_or_else(|| Error::invalid(field, "is missing"))
                .and_then(|h| self.handle(&caller, Some(h)))
        };
        let (from, to) = (
            named("from", request.from.as_ref())?,
            named("to", request.to.as_ref())?,
        );
        if from.kind != to.kind || from == to {
            return Err(Error::invalid("to", "must be another handle of the same kind").into());
        }
        let why = reason(&request.reason)?;
        Ok(Response::new(
            self.0.rekey_handle(&caller, (&from, &to), &why, request).await?,
        ))
    }

    async fn revoke_handle(
        &self,
        request: Request<wire::RevokeHandleRequest>,
    ) -> Result<Response<wire::RevokeHandleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        let key = self.handle(&caller, request.handle.as_ref())?;
        let why = reason(&request.reason)?;
        Ok(Response::new(
            self.0
                .revoke_handle(&caller, customer, &key, &why, request)
                .await?,
        ))
    }

    async fn list_handles(
        &self,
        request: Request<wire::ListHandlesRequest>,
    ) -> Result<Response<wire::ListHandlesResponse>, Status> {
        let caller = caller(&request)?;
        let customer = id("customer_id", &request.get_ref().customer_id)?;
        Ok(Response::new(
            self.0.list_handles(&caller.tenant, customer).await?,
        ))
    }

    async fn protect_customer(
        &self,
        request: Request<wire::ProtectCustomerRequest>,
    ) -> Result<Response<wire::ProtectCustomerResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        reason(&request.reason)?;
        Ok(Response::new(
            self.0
                .protect_customer(&caller, customer, request.protected, request)
                .await?,
        ))
    }

    async fn resolve_record(
        &self,
        request: Request<wire::ResolveRecordRequest>,
    ) -> Result<Response<wire::ResolveRecordResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let record = request
            .record
            .as_ref()
            .ok_or_else(|| Error::invalid("record", "is missing"))?;
        let record = read::record(record, &caller.tenant, &self.0.rules(&caller.tenant))?;
        let response = if request.dry_run {
            self.0.foresee_record(&caller.tenant, &record).await?
        } else {
            self.0.resolve_record(&caller.tenant, record).await?
        };
        Ok(Response::new(response))
    }

    async fn explain_match(
        &self,
        request: Request<wire::ExplainMatchRequest>,
    ) -> Result<Response<wire::ExplainMatchResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let both = (
            id("customer_id", &request.customer_id)?,
            id("other_customer_id", &request.other_customer_id)?,
        );
        Ok(Response::new(self.0.explain_match(&caller.tenant, both).await?))
    }

    async fn explain_merge(
        &self,
        request: Request<wire::ExplainMergeRequest>,
    ) -> Result<Response<wire::ExplainMergeResponse>, Status> {
        let caller = caller(&request)?;
        let merge: MergeId = id("merge_id", &request.get_ref().merge_id)?;
        Ok(Response::new(self.0.explain_merge(&caller.tenant, merge).await?))
    }

    async fn link_relation(
        &self,
        request: Request<wire::LinkRelationRequest>,
    ) -> Result<Response<wire::LinkRelationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let together = read::together(request.relation.as_ref())?;
        Ok(Response::new(
            self.0.link_relation(&caller, together, request).await?,
        ))
    }

    async fn unlink_relation(
        &self,
        request: Request<wire::UnlinkRelationRequest>,
    ) -> Result<Response<wire::UnlinkRelationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let relation = id("relation_id", &request.relation_id)?;
        Ok(Response::new(
            self.0.unlink_relation(&caller, relation, request).await?,
        ))
    }

    async fn list_relations(
        &self,
        request: Request<wire::ListRelationsRequest>,
    ) -> Result<Response<wire::ListRelationsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        let page = (request.page_size, request.page_token.as_str());
        Ok(Response::new(
            self.0.list_relations(&caller.tenant, customer, page).await?,
        ))
    }

    async fn list_hierarchy(
        &self,
        request: Request<wire::ListHierarchyRequest>,
    ) -> Result<Response<wire::ListHierarchyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        Ok(Response::new(
            self.0
                .list_hierarchy(&caller.tenant, customer, request.with_contacts)
                .await?,
        ))
    }

    async fn require_verification(
        &self,
        request: Request<wire::RequireVerificationRequest>,
    ) -> Result<Response<wire::RequireVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let handle = request
            .handle
            .as_ref()
            .map(|h| self.handle(&caller, Some(h)))
            .transpose()?;
        let wanted = verification::requirement(&self.0, &caller, request, handle)?;
        Ok(Response::new(
            self.0.require_verification(&caller, wanted, request).await?,
        ))
    }

    async fn check_verification(
        &self,
        request: Request<wire::CheckVerificationRequest>,
    ) -> Result<Response<wire::CheckVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let challenge: ChallengeId = id("challenge_id", &request.challenge_id)?;
        let code = Code::parse(&request.code).ok_or_else(|| Error::invalid("code", "must be six digits"))?;
        let verification = self.0.check_verification(&caller, challenge, &code).await?;
        Ok(Response::new(wire::CheckVerificationResponse {
            verification: Some(verification),
        }))
    }

    async fn set_channel_preference(
        &self,
        request: Request<wire::SetChannelPreferenceRequest>,
    ) -> Result<Response<wire::SetChannelPreferenceResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        let preference = request
            .preference
            .as_ref()
            .ok_or_else(|| Error::invalid("preference", "is missing"))?;
        let need = read::need("preference.need", &preference.need)?;
        let kind = ChannelKind::try_from(preference.channel_kind)
            .map_err(|_| Error::invalid("preference.channel_kind", "is no kind of channel"))?;
        Ok(Response::new(
            self.0
                .set_preference(&caller, customer, need, kind, request)
                .await?,
        ))
    }

    async fn set_consent(
        &self,
        request: Request<wire::SetConsentRequest>,
    ) -> Result<Response<wire::SetConsentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer = id("customer_id", &request.customer_id)?;
        let said = (request.channel_kind(), request.purpose(), request.status());
        if said.0 == ChannelKind::Unspecified {
            return Err(Error::invalid("channel_kind", "say for which kind of channel").into());
        }
        if said.1 == Purpose::Unspecified {
            return Err(Error::invalid("purpose", "say for which purpose").into());
        }
        if said.2 == ConsentStatus::Unspecified {
            return Err(Error::invalid("status", "say whether the customer agreed").into());
        }
        if request.evidence.is_empty() || request.evidence.chars().count() > 500 {
            return Err(Error::invalid("evidence", "say in 1 to 500 characters how we know").into());
        }
        Ok(Response::new(
            self.0.set_consent(&caller, customer, said, request).await?,
        ))
    }

    async fn batch_resolve_contacts(
        &self,
        request: Request<wire::BatchResolveContactsRequest>,
    ) -> Result<Response<wire::BatchResolveContactsResponse>, Status> {
        let caller = caller(&request)?;
        let questions = &request.get_ref().questions;
        if questions.len() > MOST_QUESTIONS {
            return Err(Error::invalid("questions", format!("at most {MOST_QUESTIONS}")).into());
        }
        let questions = questions
            .iter()
            .enumerate()
            .map(|(position, q)| {
                if q.purpose() == Purpose::Unspecified {
                    return Err(Error::invalid(
                        format!("questions[{position}].purpose"),
                        "say why",
                    ));
                }
                Ok(ContactQuestion {
                    customer: id(&format!("questions[{position}].customer_id"), &q.customer_id)?,
                    need: q.need.clone(),
                    purpose: q.purpose(),
                    fallback: q.fallback(),
                    brand: q.brand.clone(),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let answers = self.0.resolve_contacts(&caller.tenant, &questions).await?;
        Ok(Response::new(wire::BatchResolveContactsResponse { answers }))
    }
}
