//! Customers in bulk. Bytes come in at the caller's pace and are worked in by a timer, step by step: each step's rows
//! and how far the import is are one transaction, so a crash repeats nothing.

mod consents;
mod people;
mod relations;
pub(super) mod rows;
mod upsert;

use serde_json::json;
use trama_platform::{Command, Error, Tx, page, timers::TimerSpec};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{AgentId, TenantId},
    time::{from_wire, to_wire},
};
use uuid::Uuid;

use super::{App, Caller};
use crate::{
    domain::import::{Next, Reading, Row, Wrong, next},
    error::refused,
    store::{
        self,
        imports::{Import, LineError, State},
    },
};

/// Kind of the timer that works rows in.
pub const TIMER: &str = "import";
/// Rows in one step.
const STEP: usize = 500;
/// Bytes that are read for one step.
const BYTES: usize = 512 * 1024;
/// Largest chunk.
pub const LARGEST_CHUNK: usize = 1024 * 1024;

fn no_import(id: Uuid) -> Error {
    Error::not_found("import", id)
}

impl App {
    /// Opens an import.
    pub async fn start_import(
        &self,
        caller: &Caller,
        mut import: Import,
        request: &wire::StartImportRequest,
    ) -> Result<wire::StartImportResponse, Error> {
        const METHOD: &str = "StartImport";
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
        (import.id, import.started_at) = (tx.new_id(), tx.now());
        store::imports::add(tx.conn(), tenant, &import).await?;
        tx.changed(("import", &import.id), "state", "", import.state.name());
        if let Some(at) = from_wire(request.recorded_at.as_ref()) {
            store::privacy::set_recorded_at(tx.conn(), tenant, import.id, at).await?;
        }
        let response = wire::StartImportResponse {
            import_id: import.id.to_string(),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Takes bytes. What arrived before is skipped, so that whoever carries on may begin too early.
    pub async fn put_chunk(
        &self,
        tenant: &TenantId,
        id: Uuid,
        offset: i64,
        data: &[u8],
    ) -> Result<wire::PutChunkResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let mut import = store::imports::find(tx.conn(), tenant, id, true)
            .await?
            .ok_or_else(|| no_import(id))?;
        if offset > import.received {
            let words = format!(
                "bytes are missing before this place: go on at {}",
                import.received
            );
            return Err(Error::invalid("offset", words));
        }
        let skip = usize::try_from(import.received - offset).unwrap_or(usize::MAX);
        let new = data.get(skip..).unwrap_or_default();
        if !new.is_empty() {
            if import.state != State::Receiving {
                return Err(refused("the import was finished; start another one"));
            }
            store::imports::add_chunk(tx.conn(), tenant, (id, import.received), new).await?;
            let before = import.received;
            import.received += i64::try_from(new.len()).unwrap_or(i64::MAX);
            tx.changed(
                ("import", &id),
                "received_bytes",
                &before.to_string(),
                &import.received.to_string(),
            );
            store::imports::save(tx.conn(), tenant, &import).await?;
            wake(&mut tx, tenant, id);
            tx.commit().await?;
        }
        Ok(wire::PutChunkResponse {
            next_offset: import.received,
        })
    }

    /// All bytes are there.
    pub async fn finish_import(&self, tenant: &TenantId, id: Uuid, size: i64) -> Result<(), Error> {
        let mut tx = self.db.tx(tenant).await?;
        let mut import = store::imports::find(tx.conn(), tenant, id, true)
            .await?
            .ok_or_else(|| no_import(id))?;
        if size != import.received {
            let words = format!("{} bytes arrived: go on there", import.received);
            return Err(Error::invalid("size", words));
        }
        if import.state == State::Receiving {
            let before = import.state;
            import.state = State::Running;
            tx.changed(("import", &id), "state", before.name(), import.state.name());
            store::imports::save(tx.conn(), tenant, &import).await?;
            wake(&mut tx, tenant, id);
            tx.commit().await?;
        }
        Ok(())
    }

    /// How far an import is.
    pub async fn get_import(
        &self,
        tenant: &TenantId,
        id: Uuid,
        size: i64,
        page_token: &str,
    ) -> Result<wire::GetImportResponse, Error> {
        let after: Option<(i64, i32)> = page::start(page_token)?;
        let mut tx = self.db.tx(tenant).await?;
        let import = store::imports::find(tx.conn(), tenant, id, true)
            .await?
            .ok_or_else(|| no_import(id))?;
        let errors = store::imports::errors(tx.conn(), tenant, id, after.unwrap_or((0, 0)), size).await?;
        let full = i64::try_from(errors.len()) == Ok(size);
        let next = errors
            .last()
            .filter(|_| full)
            .map(|e| page::token(&(e.line, e.number)));
        let state = match import.state {
            State::Receiving => wire::ImportState::Receiving,
            State::Running => wire::ImportState::Running,
            State::Done => wire::ImportState::Done,
            State::Failed => wire::ImportState::Failed,
        };
        Ok(wire::GetImportResponse {
            state: state as i32,
            next_offset: import.received,
            worked_bytes: import.worked,
            records: import.records,
            created: import.created,
            updated: import.updated,
            unchanged: import.unchanged,
            failed: import.failed,
            failure: import.failure,
            errors: errors
                .into_iter()
                .map(|e| wire::LineError {
                    line: e.line,
                    column: e.column,
                    message: e.message,
                })
                .collect(),
            next_page_token: next.unwrap_or_default(),
            create_time: Some(to_wire(import.started_at)),
            finish_time: import.finished_at.map(to_wire),
        })
    }

    /// One step of an import.
    pub(super) async fn work_import(&self, tx: &mut Tx, tenant: &TenantId, id: Uuid) -> Result<(), Error> {
        // Whoever brings bytes holds the import and then waits for this timer's row: waiting here would be a deadlock.
        let Some(mut import) = store::imports::find(tx.conn(), tenant, id, false).await? else {
            wake(tx, tenant, id);
            return Ok(());
        };
        let whole = match import.state {
            State::Receiving => false,
            State::Running => true,
            State::Done | State::Failed => return Ok(()),
        };
        let bytes = store::imports::bytes_from(tx.conn(), tenant, (id, import.worked), BYTES).await?;
        let read = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        // The bytes read are the last ones only if nothing of what arrived comes after them.
        let whole = whole && import.worked + read == import.received;
        let schema = self.schema(tenant);
        let rules = self.rules(tenant);
        let reading = Reading {
            schema: &schema,
            rules: &rules,
            trust: import.trust,
            now: tx.now(),
        };
        let step = read_step(&mut import, &bytes, whole, &reading);
        store::imports::add_errors(tx.conn(), tenant, id, &step.errors).await?;
        if !step.rows.is_empty() && !import.dry_run {
            let caller = Caller {
                tenant: tenant.clone(),
                subject: import.started_by.parse::<AgentId>()?,
                origin: String::new(),
            };
            let recorded_at = store::privacy::recorded_at(tx.conn(), tenant, id).await?;
            let known_by = step.rows.iter().map(|row| (row.handles.as_slice(), recorded_at));
            let void = self.void_rows(tx, tenant, &known_by.collect::<Vec<_>>()).await?;
            let rows = step.rows.iter().zip(&void).filter(|(_, void)| !**void);
            let rows: Vec<_> = rows.map(|(row, _)| row.clone()).collect();
            // Who was erased stays so: their lines change nothing.
            import.unchanged += i64::try_from(step.rows.len() - rows.len()).unwrap_or(i64::MAX);
            let counts = self
                .take_rows(tx, &caller, &import.source, &rows, recorded_at)
                .await?;
            import.created += counts.created;
            import.updated += counts.updated;
            import.unchanged += counts.unchanged;
            let mut errors = self.take_relations(tx, &caller, &import.source, &rows).await?;
            errors.extend(stay_withdrawn(counts.refused));
            number_them(&mut errors);
            store::imports::add_errors(tx.conn(), tenant, id, &errors).await?;
        }
        let now = tx.now();
        if step.more {
            wake(tx, tenant, id);
        } else if whole && import.state == State::Running {
            import.state = State::Done;
        }
        if matches!(import.state, State::Done | State::Failed) {
            import.finished_at = Some(now);
        }
        let dropped = if import.state == State::Failed {
            import.received
        } else {
            import.worked
        };
        store::imports::drop_chunks(tx.conn(), tenant, id, dropped).await?;
        store::imports::save(tx.conn(), tenant, &import).await?;
        metrics::counter!("trama_identity_resolution_imported_rows_total")
            .increment(u64::try_from(step.rows.len()).unwrap_or(0));
        Ok(())
    }
}

fn wake(tx: &mut Tx, tenant: &TenantId, id: Uuid) {
    let due_at = tx.now();
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: TIMER,
        key: id.to_string(),
        due_at,
        payload: json!({}),
    });
}

/// What one step found.
#[derive(Default)]
struct Step {
    rows: Vec<Row>,
    errors: Vec<LineError>,
    /// There is more to work in already.
    more: bool,
}

/// Reads up to a step's worth of records and moves the import on behind them.
fn read_step(import: &mut Import, bytes: &[u8], whole: bool, by: &Reading<'_>) -> Step {
    let (mut step, mut at) = (Step::default(), 0_usize);
    while step.rows.len() < STEP {
        let found = next(&bytes[at..], import.format, import.worked == 0, whole);
        let (members, size) = match found {
            Next::End => return step,
            Next::Incomplete => {
                // Bytes that arrived behind those that were read complete it.
                let read = i64::try_from(bytes.len() - at).unwrap_or(i64::MAX);
                step.more = import.worked + read < import.received && at > 0;
                return step;
            }
            Next::Blank(size) => (None, size),
            Next::Broken(why, size) => {
                import.records += 1;
                note(
                    import,
                    &mut step,
                    &[Wrong {
                        column: String::new(),
                        message: why.to_owned(),
                    }],
                );
                (None, size)
            }
            Next::Members(members, size) => (Some(members), size),
            Next::Values(values, size) => (columns(import, &mut step, values, by), size),
        };
        if let Some(members) = members {
            import.records += 1;
            match import.mapping.read(&members, by) {
                Ok(row) => step.rows.push(Row {
                    line: import.line,
                    ..row
                }),
                Err(wrong) => note(import, &mut step, &wrong),
            }
        }
        at += size.bytes;
        import.worked += i64::try_from(size.bytes).unwrap_or(i64::MAX);
        import.line += i64::try_from(size.lines).unwrap_or(i64::MAX);
        if import.state == State::Failed {
            return step;
        }
    }
    step.more = true;
    step
}

/// The values of a CSV line by their columns; the first line names them.
fn columns(
    import: &mut Import,
    step: &mut Step,
    values: Vec<String>,
    by: &Reading<'_>,
) -> Option<Vec<(String, String)>> {
    let Some(header) = &import.header else {
        if let Err(wrong) = import.mapping.check_columns(&values, by.schema) {
            import.state = State::Failed;
            import.failure = format!("column `{}`: {}", wrong.column, wrong.message);
        }
        import.header = Some(values);
        return None;
    };
    if values.len() != header.len() {
        let message = format!(
            "has {} values, the first line names {} columns",
            values.len(),
            header.len()
        );
        import.records += 1;
        note(
            import,
            step,
            &[Wrong {
                column: String::new(),
                message,
            }],
        );
        return None;
    }
    Some(header.iter().cloned().zip(values).collect())
}

/// Lines that were taken, but for consents that stay withdrawn.
fn stay_withdrawn(consents: Vec<(i64, String)>) -> impl Iterator<Item = LineError> {
    consents.into_iter().map(|(line, column)| LineError {
        line,
        number: 0,
        column: column.chars().take(100).collect(),
        message: "was withdrawn and stays so; a consent_time column can show that they agreed since"
            .to_owned(),
    })
}

/// A line that was taken has no errors of its own yet.
fn number_them(errors: &mut [LineError]) {
    errors.sort_by_key(|e| e.line);
    let (mut line, mut number) = (0, 0);
    for error in errors {
        number = if error.line == line { number + 1 } else { 1 };
        line = error.line;
        error.number = number;
    }
}

fn note(import: &mut Import, step: &mut Step, wrong: &[Wrong]) {
    import.failed += 1;
    for (number, one) in (1..).zip(wrong) {
        step.errors.push(LineError {
            line: import.line,
            number,
            column: one.column.chars().take(100).collect(),
            message: one.message.clone(),
        });
    }
}
