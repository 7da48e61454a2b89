//! What came in, and what will.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use prost::Message;
use trama_platform::{Command, Error, Principal, Tx};
use trama_proto::ids::TenantId;

use super::{
    Staffing,
    ask::{ForecastAsk, HISTORY_DAYS, Window},
    long_ago, precondition, tell_import,
};
use crate::{
    staffing::{
        calendar::{Calendar, Step},
        forecast::{Forecast, forecast},
        rows::{self, Row},
        table::{LineError, TableErrors},
        volume::{Missing, Series, Volumes},
    },
    store::staffing::{self as store, Wanted},
};

/// Rows that one answer holds: a message may be 4 MiB.
const MOST_EXPORTED: usize = 40_000;
/// Rows that one forecast reads.
const MOST_READ: usize = 1_000_000;
/// Series that one call forecasts.
const MOST_SERIES: usize = 100;

/// What became of a file.
#[derive(Debug)]
pub enum Imported {
    /// All of it was taken.
    Rows(usize),
    /// Nothing was.
    Errors(Vec<LineError>),
}

impl From<TableErrors> for Imported {
    fn from(errors: TableErrors) -> Self {
        Imported::Errors(errors.0)
    }
}

/// Forecasts by series.
pub type Forecasts = Vec<(Wanted, Forecast)>;

impl Staffing {
    /// Takes counts; they replace what was known of their time.
    pub async fn import_volumes<Q: Message, R: Message + Default>(
        &self,
        caller: &Principal,
        csv: String,
        zone: Tz,
        (request_id, request): (&str, &Q),
        answer: fn(Imported) -> R,
    ) -> Result<R, Error> {
        let (tenant, subject) = (&caller.tenant, caller.subject.as_str());
        let (now, calendar) = (self.clock.now(), Calendar::new(zone, Step::Quarter, [].into()));
        let rows = match self.compute(move || Ok(rows::read(&csv, &calendar, now))).await? {
            Ok(rows) => rows,
            Err(errors) => return Ok(answer(errors.into())),
        };
        let command = Command::new(tenant, subject, "ImportVolumes", request_id, request);
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = tx.replay(&command).await? {
            return Ok(answer);
        }
        store::lock_imports(tx.conn(), tenant).await?;
        let gone = store::replace_volumes(tx.conn(), tenant, &rows).await?;
        tell_import(&tx, ("volumes", tenant), gone, rows.len());
        let answer = answer(Imported::Rows(rows.len()));
        tx.remember(&command, &answer).await?;
        tx.commit().await?;
        metrics::counter!("trama_routing_volumes_imported_total").increment(rows.len() as u64);
        Ok(answer)
    }

    /// What came in, as CSV.
    pub async fn export_volumes(
        &self,
        tenant: &TenantId,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        zone: Tz,
    ) -> Result<String, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let until = until.unwrap_or(tx.now());
        let all = Wanted::default();
        let rows = store::volumes(tx.conn(), tenant, &all, since, until, MOST_EXPORTED as i64 + 1).await?;
        if rows.len() > MOST_EXPORTED {
            let last = rows[MOST_EXPORTED - 1].start;
            return Err(Error::invalid(
                "until",
                format!(
                    "{MOST_EXPORTED} intervals fit one answer; ask until {} and then from there on",
                    last.to_rfc3339()
                ),
            ));
        }
        Ok(rows::write(&rows, &Calendar::new(zone, Step::Quarter, [].into())))
    }

    /// What will come in.
    pub async fn forecast(&self, tenant: &TenantId, ask: &ForecastAsk) -> Result<Forecasts, Error> {
        let resources = self.resources.snapshot();
        let mut tx = self.db.tx(tenant).await?;
        let window = ask.window(resources.tenant(tenant), tx.now())?;
        let rows = read_history(&mut tx, tenant, ask, &window).await?;
        drop(tx);
        let only = ask.only.clone();
        self.compute(move || forecasts(rows, &window, only)).await
    }
}

/// The past that a question looks at.
pub(super) async fn read_history(
    tx: &mut Tx,
    tenant: &TenantId,
    ask: &ForecastAsk,
    window: &Window,
) -> Result<Vec<Row>, Error> {
    let wanted = ask.only.clone().unwrap_or_default();
    let from = window.from.max(long_ago()) - TimeDelta::hours(1);
    let rows = store::volumes(tx.conn(), tenant, &wanted, from, window.to, MOST_READ as i64 + 1).await?;
    if rows.len() > MOST_READ {
        return Err(Error::invalid(
            "forecast.only",
            format!("more than {MOST_READ} intervals were counted; ask for one channel, intent or language"),
        ));
    }
    if rows.is_empty() {
        return Err(precondition(format!(
            "nothing came in before {}; import volumes, or wait a day",
            window.calendar.written(window.to)
        )));
    }
    Ok(rows)
}

fn forecasts(mut rows: Vec<Row>, window: &Window, only: Option<Wanted>) -> Result<Forecasts, Error> {
    if only.is_some() {
        // One series of all that was read, whatever it is called.
        let series = rows[0].series.clone();
        for row in &mut rows {
            row.series.clone_from(&series);
        }
    }
    let volumes = Volumes::of(rows, &window.calendar);
    let series: Vec<Series> = volumes.series().cloned().collect();
    if series.len() > MOST_SERIES {
        return Err(Error::invalid(
            "forecast.only",
            format!(
                "{} series are more than {MOST_SERIES}; ask for one channel, intent or language",
                series.len()
            ),
        ));
    }
    let mut all = Vec::with_capacity(series.len());
    for series in series {
        let Some(forecast) = of_series(&volumes, &series, window, window.days)? else {
            continue;
        };
        let key = only.clone().unwrap_or(Wanted {
            channel: Some(series.channel),
            intent: series.intent,
            language: series.language,
        });
        all.push((key, forecast));
    }
    Ok(all)
}

/// The forecast of one series; `None` where its past is too young.
pub(super) fn of_series(
    volumes: &Volumes,
    series: &Series,
    window: &Window,
    days: u32,
) -> Result<Option<Forecast>, Error> {
    let calendar = &window.calendar;
    let Some(history) = volumes.history(series, calendar, Missing::Zero, window.last, HISTORY_DAYS) else {
        return Ok(None);
    };
    forecast(&history, calendar, window.first, days)
        .map(Some)
        .map_err(|error| precondition(error.to_string()))
}
