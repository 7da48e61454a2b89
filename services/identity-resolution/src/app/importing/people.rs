//! Whose are rows? Decided like everything else that other systems say.

use trama_platform::{Error, Tx};
use trama_proto::ids::derive;

use super::{
    super::{App, Caller, NewRecord},
    rows::Resolved,
};
use crate::domain::{
    customer::Field,
    handle::Trust,
    import::Row,
    said::{Attribute, Said},
};

impl App {
    /// Finds or makes the customers of rows, and keeps what the rows say of name, language and group.
    pub(in crate::app) async fn resolve_rows(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        source: &str,
        rows: &[Row],
    ) -> Result<Vec<Resolved>, Error> {
        let tenant = &caller.tenant;
        let records: Vec<NewRecord> = rows
            .iter()
            .map(|row| NewRecord {
                id: derive(&[
                    b"row",
                    tenant.as_str().as_bytes(),
                    source.as_bytes(),
                    // The id there comes first; a row without one is known by its first handle.
                    row.handles
                        .first()
                        .map(|h| h.key.to_string())
                        .unwrap_or_default()
                        .as_bytes(),
                ]),
                source: format!("import:{source}"),
                handles: row.handles.clone(),
                said: said(row),
                fields: [
                    (Field::DisplayName, &row.display_name),
                    (Field::Language, &row.language),
                    (Field::PersonaGroup, &row.persona_group),
                ]
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(field, text)| (field, text.clone()))
                .collect(),
                // Who was erased is left out before rows are resolved.
                recorded_at: None,
            })
            .collect();
        let observed = self.observe_records(tx, tenant, &records).await?;
        Ok(observed
            .into_iter()
            .map(|o| Resolved {
                customer: o.customer,
                is_new: o.is_new,
                changed: o.changed,
            })
            .collect())
    }
}

fn said(row: &Row) -> Said {
    let mut said = Said::default();
    if !row.display_name.is_empty() {
        said.add(Attribute::FullName, &row.display_name, Trust::Claimed);
    }
    said
}
