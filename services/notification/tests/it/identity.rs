//! A stand-in for the identity service that knows where customers may be reached.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tonic::{Request, Response, Status, transport::server::TcpIncoming};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext, Handle},
    identity_resolution::v1::{
        self as identity, BatchResolveContactsRequest, BatchResolveContactsResponse, ContactAnswer,
        ContactPoint, Purpose,
        identity_service_server::{IdentityService, IdentityServiceServer},
    },
};

/// What it knows.
#[derive(Clone, Default)]
pub struct Identity {
    points: Arc<Mutex<HashMap<String, Vec<ContactPoint>>>>,
    pub questions: Arc<Mutex<Vec<usize>>>,
}

pub fn point(kind: ChannelKind, handle_kind: &str, value: &str) -> ContactPoint {
    let handle = Handle {
        kind: handle_kind.into(),
        value: value.into(),
        trust: 0,
    };
    ContactPoint {
        channel_kind: kind.into(),
        handle: Some(handle),
        reason: "preference for product-fault".into(),
        refused_brands: Vec::new(),
    }
}

impl Identity {
    pub fn reach(&self, customer: &str, points: Vec<ContactPoint>) {
        self.points
            .lock()
            .expect("not poisoned")
            .insert(customer.to_owned(), points);
    }

    /// Serves on a free port until the test ends.
    #[expect(
        clippy::disallowed_methods,
        reason = "a counterpart outside the app's lifecycle"
    )]
    pub fn serve(&self) -> String {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = incoming.local_addr().expect("bound");
        let server =
            tonic::transport::Server::builder().add_service(IdentityServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        format!("http://{address}")
    }
}

macro_rules! not_here {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        // What `async_trait` makes of an `async fn`: it does not look into macros.
        $(fn $name<'life, 'future>(
            &'life self,
            _: Request<identity::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<identity::$response>, Status>> + Send + 'future>>
        where
            'life: 'future,
            Self: 'future,
        {
            Box::pin(async { Err(Status::unimplemented("not in this test")) })
        })*
    };
}

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn batch_resolve_contacts(
        &self,
        request: Request<BatchResolveContactsRequest>,
    ) -> Result<Response<BatchResolveContactsResponse>, Status> {
        let questions = request.into_inner().questions;
        self.questions.lock().expect("not poisoned").push(questions.len());
        let known = self.points.lock().expect("not poisoned");
        let answers = questions
            .iter()
            .map(|q| {
                let allowed = q.purpose() != Purpose::Marketing;
                let points = known
                    .get(&q.customer_id)
                    .filter(|_| allowed)
                    .cloned()
                    .unwrap_or_default();
                let customer = CustomerContext {
                    customer_id: q.customer_id.clone(),
                    display_name: "Anna".into(),
                    language: "it".into(),
                    ..CustomerContext::default()
                };
                ContactAnswer {
                    customer: Some(customer),
                    points,
                }
            })
            .collect();
        Ok(Response::new(BatchResolveContactsResponse { answers }))
    }

    not_here! {
        get_customer(GetCustomerRequest) -> GetCustomerResponse;
        find_customers(FindCustomersRequest) -> FindCustomersResponse;
        update_customer(UpdateCustomerRequest) -> UpdateCustomerResponse;
        link_handle(LinkHandleRequest) -> LinkHandleResponse;
        merge_customers(MergeCustomersRequest) -> MergeCustomersResponse;
        preview_split(PreviewSplitRequest) -> PreviewSplitResponse;
        split_customers(SplitCustomersRequest) -> SplitCustomersResponse;
        extract_handle(ExtractHandleRequest) -> ExtractHandleResponse;
        rekey_handle(RekeyHandleRequest) -> RekeyHandleResponse;
        revoke_handle(RevokeHandleRequest) -> RevokeHandleResponse;
        list_handles(ListHandlesRequest) -> ListHandlesResponse;
        protect_customer(ProtectCustomerRequest) -> ProtectCustomerResponse;
        resolve_record(ResolveRecordRequest) -> ResolveRecordResponse;
        explain_match(ExplainMatchRequest) -> ExplainMatchResponse;
        explain_merge(ExplainMergeRequest) -> ExplainMergeResponse;
        link_relation(LinkRelationRequest) -> LinkRelationResponse;
        unlink_relation(UnlinkRelationRequest) -> UnlinkRelationResponse;
        list_relations(ListRelationsRequest) -> ListRelationsResponse;
        list_hierarchy(ListHierarchyRequest) -> ListHierarchyResponse;
        require_verification(RequireVerificationRequest) -> RequireVerificationResponse;
        check_verification(CheckVerificationRequest) -> CheckVerificationResponse;
        set_channel_preference(SetChannelPreferenceRequest) -> SetChannelPreferenceResponse;
        set_consent(SetConsentRequest) -> SetConsentResponse;
    }
}
