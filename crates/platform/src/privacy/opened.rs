//! Rows of an export, as PostgreSQL writes them as JSON, with their sealed columns opened.

use serde_json::Value;
use trama_proto::ids::TenantId;

use crate::{
    Error,
    db::Tx,
    sealing::{Column, Form as _, Shape},
};

/// Opens what is sealed in rows.
///
/// # Errors
/// When a key is not available, or a value does not open: an export that leaves something out would be none.
pub(super) async fn open_rows(
    tx: &mut Tx,
    sealed: &[Column],
    tenant: &TenantId,
    rows: &mut [Value],
) -> Result<(), Error> {
    for row in rows {
        let Value::Object(row) = row else { continue };
        for column in sealed {
            let Some(id) = row_id(row, *column) else { continue };
            let Some(value) = row.get_mut(column.column) else {
                continue;
            };
            match column.shape {
                Shape::Bytes => {
                    let bytes = value
                        .as_str()
                        .and_then(|text| hex::decode(text.strip_prefix("\\x")?).ok());
                    let Some(mut bytes) = bytes.filter(|bytes| bytes.sealed().is_some()) else {
                        continue;
                    };
                    tx.open(*column, [(tenant.as_str(), id, &mut bytes)]).await?;
                    *value = Value::String(format!("\\x{}", hex::encode(bytes)));
                }
                Shape::Text => {
                    if let Value::String(text) = value {
                        tx.open(*column, [(tenant.as_str(), id, text)]).await?;
                    }
                }
                Shape::Json => tx.open(*column, [(tenant.as_str(), id, value)]).await?,
            }
        }
    }
    Ok(())
}

/// What names a row; none when the row does not show it.
fn row_id(row: &serde_json::Map<String, Value>, column: Column) -> Option<String> {
    let parts = column.key.iter().map(|(name, _)| match row.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}
