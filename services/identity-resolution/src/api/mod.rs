//! gRPC ↔ app.

mod read;

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
    app::{App, Caller, ContactQuestion, Link, Merge, Requirement},
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
        HandleKey::normalise(&handle.kind, &handle.value, &rules.policy().default_country_code)
            .map_err(read::invalid_handle)
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let principal = principal(request)?;
    let subject = principal.subject.parse().map_err(Error::from)?;
    Ok(Caller {
        tenant: principal.tenant.clone(),
        subject,
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
        Ok(Response::new(
            self.0.get_customer(&caller.tenant, customer).await?,
        ))
    }

    async fn find_customers(
        &self,
        request: Request<wire::FindCustomersRequest>,
    ) -> Result<Response<wire::FindCustomersResponse>, Status> {
        let caller = caller(&request)?;
        let key = self.handle(&caller, request.get_ref().handle.as_ref())?;
        let customers = self.0.find_customers(&caller.tenant, &key).await?;
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

    async fn require_verification(
        &self,
        request: Request<wire::RequireVerificationRequest>,
    ) -> Result<Response<wire::RequireVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        if !(1..=3).contains(&request.level) {
            return Err(Error::invalid("level", "must be from 1 to 3").into());
        }
        if request.case_id.len() > 64 {
            return Err(Error::invalid("case_id", "must be a case's id").into());
        }
        let handle = request
            .handle
            .as_ref()
            .map(|h| self.handle(&caller, Some(h)))
            .transpose()?;
        let customer = id("customer_id", &request.customer_id)?;
        let wanted = Requirement {
            customer,
            level: request.level,
            handle,
            case_id: request.case_id.clone(),
        };
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
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let answers = self.0.resolve_contacts(&caller.tenant, &questions).await?;
        Ok(Response::new(wire::BatchResolveContactsResponse { answers }))
    }
}
