//! What follows when customers become one, and two again.

use sqlx::PgConnection;
use trama_customers::{Split, Undone};
use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, MergeId, TenantId};
use uuid::Uuid;

use super::invitations::CUSTOMER;

/// Why nobody is asked about a case that nobody can tell whose it is.
pub const UNDECIDED: &str = "a merge of customers was undone, and nothing says whose case this was";

/// Remembers a merge and repoints, with what is now known of the survivor. A merge that is known, or was undone before it came, changes nothing.
pub async fn save_merge(
    tx: &mut Tx,
    tenant: &TenantId,
    merge: MergeId,
    survivor: (CustomerId, &[u8]),
    merged: CustomerId,
) -> Result<(), Error> {
    if !trama_customers::note_merge(tx.conn(), tenant, merge, survivor.0, merged).await? {
        return Ok(());
    }
    let theirs: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE invitations SET customer_id = $3, version = version + 1 WHERE tenant = $1 AND customer_id = $2
         RETURNING invitation_id",
    )
    .bind(tenant.as_str())
    .bind(merged.uuid())
    .bind(survivor.0.uuid())
    .fetch_all(tx.conn())
    .await?;
    keep_known(tx, tenant, &theirs, survivor.1).await
}

/// What is known of whoever these are about; sealed for whoever wants it, as when somebody is asked.
async fn keep_known(tx: &mut Tx, tenant: &TenantId, invitations: &[Uuid], known: &[u8]) -> Result<(), Error> {
    if invitations.is_empty() {
        return Ok(());
    }
    let places = invitations.iter().map(|id| (tenant.as_str(), *id));
    let mut customers = vec![known.to_vec(); invitations.len()];
    tx.seal(CUSTOMER, places, &mut customers).await?;
    sqlx::query(
        "UPDATE invitations i SET customer = known.customer
         FROM unnest($2::uuid[], $3::bytea[]) AS known (invitation_id, customer)
         WHERE i.tenant = $1 AND i.invitation_id = known.invitation_id",
    )
    .bind(tenant.as_str())
    .bind(invitations)
    .bind(customers)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Undoes a merge: what follows the restored customer's words, and what was asked for under them or under one merged
/// into them, is theirs. Of what nobody can tell, nobody is asked.
pub async fn save_split(
    tx: &mut Tx,
    tenant: &TenantId,
    split: &Split<'_>,
    known: &[u8],
) -> Result<(), Error> {
    let Some(Undone { survivor, now }) = trama_customers::undo(tx.conn(), tenant, split).await? else {
        return Ok(());
    };
    let theirs: Vec<Uuid> = sqlx::query_scalar(
        "WITH RECURSIVE theirs AS (
             SELECT $2::uuid AS id
             UNION
             SELECT m.merged_id FROM theirs JOIN customer_merges m
                 ON m.tenant = $1 AND m.survivor_id = theirs.id AND NOT m.undone)
         UPDATE invitations SET customer_id = $3, version = version + 1
         WHERE tenant = $1 AND asked_customer_id IN (SELECT id FROM theirs)
         RETURNING invitation_id",
    )
    .bind(tenant.as_str())
    .bind(split.restored.uuid())
    .bind(now.uuid())
    .fetch_all(tx.conn())
    .await?;
    keep_known(tx, tenant, &theirs, known).await?;
    let said = give_by_words(tx.conn(), tenant, split, now).await?;
    keep_known(tx, tenant, &said, known).await?;
    sqlx::query(
        "WITH RECURSIVE held AS (
             SELECT unnest($2::uuid[]) AS id
             UNION
             SELECT m.survivor_id FROM held JOIN customer_merges m
                 ON m.tenant = $1 AND m.merged_id = held.id AND NOT m.undone)
         UPDATE invitations SET status = 'suppressed', until = NULL, reason = $4, version = version + 1
         WHERE tenant = $1 AND status = 'scheduled' AND interaction_id IS NULL
           AND asked_customer_id IN (SELECT id FROM held) AND ($3::timestamptz IS NULL OR created_at >= $3)",
    )
    .bind(tenant.as_str())
    .bind([survivor.uuid(), split.survivor.uuid()])
    .bind(split.merged_at)
    .bind(UNDECIDED)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What follows words that went to the restored customer goes with them, whoever it was asked under. Gives which.
async fn give_by_words(
    conn: &mut PgConnection,
    tenant: &TenantId,
    split: &Split<'_>,
    now: CustomerId,
) -> Result<Vec<Uuid>, Error> {
    let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT invitation_id, interaction_id FROM invitations WHERE tenant = $1 AND interaction_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(split.interactions)
    .fetch_all(&mut *conn)
    .await?;
    let theirs = trama_customers::of_restored(conn, tenant, split, &found).await?;
    sqlx::query(
        "UPDATE invitations SET customer_id = $3, asked_customer_id = $4, version = version + 1
         WHERE tenant = $1 AND invitation_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(&theirs)
    .bind(now.uuid())
    .bind(split.restored.uuid())
    .execute(conn)
    .await?;
    Ok(theirs)
}
