//! One record of another system, such as a CRM that tells its changes.

use trama_platform::{Command, Error, Kind};
use trama_proto::{identity_resolution::v1 as wire, time::from_wire};

use super::super::{App, Caller, auditing::became_known, profiles::Statement};
use crate::{
    domain::import::Row,
    store::{self, Question},
};

impl App {
    /// Writes a record under its id there, unless a newer one was seen before.
    pub async fn upsert_customer(
        &self,
        caller: &Caller,
        row: Row,
        statement: &Statement,
        request: &wire::UpsertCustomerRequest,
    ) -> Result<wire::UpsertCustomerResponse, Error> {
        const METHOD: &str = "UpsertCustomer";
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(
            tenant,
            caller.subject.as_str(),
            METHOD,
            &request.request_id,
            request,
        );
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let (source, external_id) = (request.source.as_str(), request.external_id.as_str());
        if request.source_version > 0
            && !store::profiles::advance_version(
                tx.conn(),
                tenant,
                (source, external_id),
                request.source_version,
            )
            .await?
        {
            return Err(Error::new(
                Kind::Conflict,
                "source_version: this version of the record, or a newer one, was taken before",
            ));
        }
        let recorded_at = from_wire(request.recorded_at.as_ref());
        self.refuse_erased(&mut tx, tenant, &row.handles, recorded_at)
            .await?;
        let people = self
            .resolve_rows(&mut tx, caller, source, std::slice::from_ref(&row))
            .await?;
        let Some(person) = people.first().copied() else {
            return Err(Error::internal("a record was resolved to nobody"));
        };
        let customer = self.read_alone(&mut tx, tenant, person.customer).await?;
        let customer = self.state(&mut tx, caller, customer, statement).await?;
        became_known(&tx, customer.id, person.is_new);
        if person.is_new || person.changed {
            self.note(&mut tx, caller, &[customer.id], "changed", "record")
                .await?;
        }
        let question = Question {
            customers: vec![(tenant, customer.id)],
            ..Question::default()
        };
        let now = tx.now();
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let customer = worlds
            .get(tenant)
            .and_then(|w| w.get(customer.id))
            .unwrap_or(&customer);
        let response = wire::UpsertCustomerResponse {
            customer: Some(customer.context(&self.rules(tenant), now, person.is_new)),
            created: person.is_new,
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}
