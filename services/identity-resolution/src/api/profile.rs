//! ProfileService ↔ app.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};
use trama_platform::{Error, page};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{self as wire, Purpose, profile_service_server::ProfileService},
    ids::{CustomerId, TenantId},
    time::from_wire,
};
use uuid::Uuid;

use super::{caller, read::id};
use crate::{
    app::{App, Caller, Consenting, Granting, Proof, Statement, Wanted},
    domain::{
        challenge::Code,
        handle::{Handle, Trust},
        import::Row,
    },
};

/// Traits that one call may set.
const MOST_TRAITS: usize = 100;
/// Handles that one record may bring.
const MOST_HANDLES: usize = 64;

/// The gRPC service.
pub struct ProfileApi(Arc<App>);

impl ProfileApi {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }

    /// What is said, each value in its one spelling.
    fn statement(
        &self,
        tenant: &TenantId,
        traits: &HashMap<String, String>,
        source: String,
        now: DateTime<Utc>,
    ) -> Result<Statement, Error> {
        if traits.len() > MOST_TRAITS {
            return Err(Error::invalid("traits", format!("at most {MOST_TRAITS}")));
        }
        let schema = self.0.schema(tenant);
        let mut statement = Statement {
            source,
            ..Statement::default()
        };
        for (name, text) in traits {
            if text.trim().is_empty() {
                statement.cleared.push(name.clone());
            } else {
                let value = schema
                    .canonical(name, text, now)
                    .map_err(|e| Error::invalid(format!("traits.{name}"), e.to_string()))?;
                statement.values.insert(name.clone(), value);
            }
        }
        statement.cleared.sort_unstable();
        Ok(statement)
    }

    fn brand(&self, tenant: &TenantId, brand: &str) -> Result<(), Error> {
        let schema = self.0.schema(tenant);
        let known = &schema.spec().brands;
        let name = brand.len() <= 63
            && brand
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !name {
            return Err(Error::invalid("brand", "must be at most 63 of a-z, 0-9, - and _"));
        }
        if !brand.is_empty() && !known.is_empty() && !known.iter().any(|k| k == brand) {
            return Err(Error::invalid(
                "brand",
                format!("must be one of {}", known.join(", ")),
            ));
        }
        Ok(())
    }
}

/// The name of a system or channel; the caller's own when nothing is said.
pub(super) fn source(field: &str, text: &str, caller: &Caller) -> Result<String, Error> {
    let name = text.trim();
    if name.is_empty() {
        return Ok(caller.subject.to_string());
    }
    let fits = name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid(
            field,
            "must be at most 63 of a-z, A-Z, 0-9, -, _ and .",
        ))
    }
}

fn words(field: &str, text: &str, least: usize) -> Result<(), Error> {
    let length = text.chars().count();
    if text.trim().chars().count() < least || length > 500 {
        return Err(Error::invalid(
            field,
            format!("must be of {least} to 500 characters"),
        ));
    }
    Ok(())
}

fn channel_kind(field: &str, number: i32) -> Result<ChannelKind, Error> {
    match ChannelKind::try_from(number) {
        Ok(
            kind @ (ChannelKind::Email
            | ChannelKind::Whatsapp
            | ChannelKind::Voice
            | ChannelKind::WebChat
            | ChannelKind::Sms),
        ) => Ok(kind),
        Ok(ChannelKind::Unspecified | ChannelKind::Api | ChannelKind::Internal) | Err(_) => {
            Err(Error::invalid(
                field,
                "must be a kind of channel that customers are written to on",
            ))
        }
    }
}

fn purpose(field: &str, number: i32) -> Result<Purpose, Error> {
    match Purpose::try_from(number) {
        Ok(purpose @ (Purpose::Service | Purpose::Survey | Purpose::Marketing)) => Ok(purpose),
        Ok(Purpose::Unspecified | Purpose::Security) | Err(_) => {
            Err(Error::invalid(field, "must be service, survey or marketing"))
        }
    }
}

fn moment(field: &str, at: Option<&prost_types::Timestamp>) -> Result<Option<DateTime<Utc>>, Error> {
    match (at, from_wire(at)) {
        (Some(_), None) => Err(Error::invalid(field, "is no moment")),
        (_, moment) => Ok(moment),
    }
}

#[tonic::async_trait]
impl ProfileService for ProfileApi {
    async fn get_profile(
        &self,
        request: Request<wire::GetProfileRequest>,
    ) -> Result<Response<wire::GetProfileResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        words("reason", &request.reason, 0)?;
        let customer: CustomerId = id("customer_id", &request.customer_id)?;
        Ok(Response::new(
            self.0.get_profile(&caller, customer, &request.reason).await?,
        ))
    }

    async fn set_traits(
        &self,
        request: Request<wire::SetTraitsRequest>,
    ) -> Result<Response<wire::SetTraitsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer: CustomerId = id("customer_id", &request.customer_id)?;
        if request.traits.is_empty() {
            return Err(Error::invalid("traits", "say at least one").into());
        }
        let source = source("source", &request.source, &caller)?;
        let statement = self.statement(&caller.tenant, &request.traits, source, self.0.now())?;
        Ok(Response::new(
            self.0.set_traits(&caller, customer, &statement, request).await?,
        ))
    }

    async fn grant_entitlement(
        &self,
        request: Request<wire::GrantEntitlementRequest>,
    ) -> Result<Response<wire::GrantEntitlementResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        words("source", &request.source, 1)?;
        let granting = Granting {
            customer: id("customer_id", &request.customer_id)?,
            valid_from: moment("valid_from", request.valid_from.as_ref())?,
            valid_until: moment("valid_until", request.valid_until.as_ref())?,
        };
        Ok(Response::new(
            self.0.grant_entitlement(&caller, granting, request).await?,
        ))
    }

    async fn search_customers(
        &self,
        request: Request<wire::SearchCustomersRequest>,
    ) -> Result<Response<wire::SearchCustomersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let wanted = match (request.name.trim(), &request.handle, request.segment.as_str()) {
            (name, None, "") if name.chars().filter(|c| c.is_alphanumeric()).count() >= 2 => {
                Wanted::Name(name.to_lowercase())
            }
            (name, None, "") if !name.is_empty() => {
                return Err(Error::invalid("name", "say at least two letters").into());
            }
            ("", Some(handle), "") => {
                let rules = self.0.rules(&caller.tenant);
                let key = rules
                    .handle(&handle.kind, &handle.value)
                    .map_err(super::read::invalid_handle)?;
                Wanted::Handle(key)
            }
            ("", None, segment) if !segment.is_empty() => {
                if !self
                    .0
                    .schema(&caller.tenant)
                    .spec()
                    .segments
                    .contains_key(segment)
                {
                    return Err(
                        Error::invalid("segment", "no segment of the CustomerSchema has this name").into(),
                    );
                }
                Wanted::Segment(segment.to_owned())
            }
            _ => return Err(Error::invalid("name", "say exactly one of name, handle and segment").into()),
        };
        let size = page::size(request.page_size)?;
        Ok(Response::new(
            self.0
                .search_customers(&caller, &wanted, size, &request.page_token)
                .await?,
        ))
    }

    async fn list_access(
        &self,
        request: Request<wire::ListAccessRequest>,
    ) -> Result<Response<wire::ListAccessResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let customer: CustomerId = id("customer_id", &request.customer_id)?;
        let size = page::size(request.page_size)?;
        Ok(Response::new(
            self.0
                .list_access(&caller.tenant, customer, size, &request.page_token)
                .await?,
        ))
    }

    async fn request_consent(
        &self,
        request: Request<wire::RequestConsentRequest>,
    ) -> Result<Response<wire::RequestConsentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        words("evidence", &request.evidence, 1)?;
        self.brand(&caller.tenant, &request.brand)?;
        let wanted = Consenting {
            customer: id("customer_id", &request.customer_id)?,
            kind: channel_kind("channel_kind", request.channel_kind)?,
            purpose: purpose("purpose", request.purpose)?,
            expires_at: moment("expire_time", request.expire_time.as_ref())?,
        };
        if wanted.expires_at.is_some_and(|at| at <= self.0.now()) {
            return Err(Error::invalid("expire_time", "must be in the future").into());
        }
        Ok(Response::new(
            self.0.request_consent(&caller, wanted, request).await?,
        ))
    }

    async fn confirm_consent(
        &self,
        request: Request<wire::ConfirmConsentRequest>,
    ) -> Result<Response<wire::ConfirmConsentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let confirmation: Uuid = id("confirmation_id", &request.confirmation_id)?;
        let proof = match (request.code.as_str(), request.token.as_str()) {
            (code, "") => {
                Proof::Code(Code::parse(code).ok_or_else(|| Error::invalid("code", "must be six digits"))?)
            }
            ("", token) if token.len() <= 128 => Proof::Token(token.to_owned()),
            _ => return Err(Error::invalid("token", "give the code or the token of the link").into()),
        };
        let consent = self.0.confirm_consent(&caller, confirmation, &proof).await?;
        Ok(Response::new(wire::ConfirmConsentResponse {
            consent: Some(consent),
        }))
    }

    async fn withdraw_consent(
        &self,
        request: Request<wire::WithdrawConsentRequest>,
    ) -> Result<Response<wire::WithdrawConsentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        words("evidence", &request.evidence, 1)?;
        self.brand(&caller.tenant, &request.brand)?;
        let customer: CustomerId = id("customer_id", &request.customer_id)?;
        let kinds = request
            .channel_kinds
            .iter()
            .map(|k| channel_kind("channel_kinds", *k))
            .collect::<Result<Vec<_>, _>>()?;
        let purposes = request
            .purposes
            .iter()
            .map(|p| purpose("purposes", *p))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Response::new(
            self.0
                .withdraw_consent(&caller, customer, (&kinds, &purposes), request)
                .await?,
        ))
    }

    async fn list_consents(
        &self,
        request: Request<wire::ListConsentsRequest>,
    ) -> Result<Response<wire::ListConsentsResponse>, Status> {
        let caller = caller(&request)?;
        let customer: CustomerId = id("customer_id", &request.get_ref().customer_id)?;
        Ok(Response::new(
            self.0.list_consents(&caller.tenant, customer).await?,
        ))
    }

    async fn upsert_customer(
        &self,
        request: Request<wire::UpsertCustomerRequest>,
    ) -> Result<Response<wire::UpsertCustomerResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        if request.source.trim().is_empty() {
            return Err(Error::invalid("source", "say which system it comes from").into());
        }
        let source = source("source", &request.source, &caller)?;
        if request.source_version < 0 {
            return Err(Error::invalid("source_version", "must not be negative").into());
        }
        if request.handles.len() > MOST_HANDLES {
            return Err(Error::invalid("handles", format!("at most {MOST_HANDLES}")).into());
        }
        let rules = self.0.rules(&caller.tenant);
        let key = rules
            .handle("crm", &request.external_id)
            .map_err(|e| Error::invalid("external_id", e.to_string()))?;
        let mut row = Row {
            handles: vec![Handle {
                key,
                trust: Trust::Verified,
            }],
            ..Row::default()
        };
        for (position, handle) in request.handles.iter().enumerate() {
            let key = rules
                .handle(&handle.kind, &handle.value)
                .map_err(|e| Error::invalid(format!("handles[{position}]"), e.to_string()))?;
            // Possession is proven to us, not to the other system.
            let trust = Trust::from_wire(handle.trust(), Trust::Observed).min(Trust::Observed);
            if !row.handles.iter().any(|h| h.key == key) {
                row.handles.push(Handle { key, trust });
            }
        }
        row.display_name = super::read::display_name(&request.display_name)?;
        row.language = super::read::language(&request.language)?;
        let statement = self.statement(&caller.tenant, &request.traits, source, self.0.now())?;
        Ok(Response::new(
            self.0.upsert_customer(&caller, row, &statement, request).await?,
        ))
    }
}
