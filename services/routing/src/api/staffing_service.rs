//! Volumes, forecasts, staff, schedules.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tonic::{Request, Response, Status};
use trama_platform::{Error, principal};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, InvalidId},
    resources::Kind,
    routing::v1::{self, staffing_service_server::StaffingService},
    time::{from_wire, to_wire},
};

use crate::{
    app::staffing::{
        AgentAdherence, ForecastAsk, Forecasts, Imported, ShiftAsk, ShiftKind, Shifts, Side, Staff, StaffAsk,
        Staffing, WhatIfAsk,
    },
    staffing::{
        adherence::{Difference, Exception},
        calendar::Step,
        forecast::Method,
        shifts::Quality,
        table::LineError,
    },
    store::staffing::Wanted,
};

const MOST_CSV_BYTES: usize = 3 * 1_024 * 1_024;
const MOST_SHIFT_KINDS: usize = 50;

/// Implements the contract.
pub struct StaffingApi {
    /// The use cases.
    pub staffing: Staffing,
}

#[tonic::async_trait]
impl StaffingService for StaffingApi {
    async fn import_volumes(
        &self,
        request: Request<v1::ImportVolumesRequest>,
    ) -> Result<Response<v1::ImportVolumesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let (csv, zone) = (csv(&request.csv)?, zone("time_zone", &request.time_zone)?);
        let answer = |imported| {
            let (rows, errors) = taken(imported);
            v1::ImportVolumesResponse { rows, errors }
        };
        let key = (request.request_id.as_str(), request);
        Ok(Response::new(
            self.staffing
                .import_volumes(caller, csv, zone, key, answer)
                .await?,
        ))
    }

    async fn export_volumes(
        &self,
        request: Request<v1::ExportVolumesRequest>,
    ) -> Result<Response<v1::ExportVolumesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let zone = zone("time_zone", &request.time_zone)?;
        let csv = self.staffing.export_volumes(&tenant, since, until, zone).await?;
        Ok(Response::new(v1::ExportVolumesResponse { csv }))
    }

    async fn forecast(
        &self,
        request: Request<v1::ForecastRequest>,
    ) -> Result<Response<v1::ForecastResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = forecast_ask("", request.get_ref())?;
        let forecasts = self.staffing.forecast(&tenant, &ask).await?;
        Ok(Response::new(v1::ForecastResponse {
            series: series(forecasts, ask.since),
        }))
    }

    async fn required_staff(
        &self,
        request: Request<v1::RequiredStaffRequest>,
    ) -> Result<Response<v1::RequiredStaffResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = staff_ask("", request.get_ref())?;
        let shrinkage = ask.shrinkage;
        let staff = self.staffing.required(&tenant, ask).await?;
        Ok(Response::new(v1::RequiredStaffResponse {
            points: points(&staff, shrinkage),
            notes: staff.notes,
        }))
    }

    async fn what_if(
        &self,
        request: Request<v1::WhatIfRequest>,
    ) -> Result<Response<v1::WhatIfResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        if !(-100_000..=100_000).contains(&request.agents_delta) {
            return Err(Error::invalid("agents_delta", "must be from -100000 to 100000").into());
        }
        let ask = WhatIfAsk {
            forecast: forecast_ask(
                "forecast.",
                request
                    .forecast
                    .as_ref()
                    .unwrap_or(&v1::ForecastRequest::default()),
            )?,
            agents_delta: request.agents_delta,
            volume_factor: number("volume_factor", request.volume_factor, 1.0, 0.01, 100.0)?,
            target_factor: number("target_factor", request.target_factor, 1.0, 0.01, 100.0)?,
        };
        let played = self.staffing.what_if(&tenant, ask).await?;
        Ok(Response::new(v1::WhatIfResponse {
            now: Some(side(&played.now)),
            then: Some(side(&played.then)),
            runs: i32::try_from(played.runs).unwrap_or(i32::MAX),
            notes: played.notes,
        }))
    }

    async fn propose_shifts(
        &self,
        request: Request<v1::ProposeShiftsRequest>,
    ) -> Result<Response<v1::ProposeShiftsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let ask = shift_ask(request.get_ref())?;
        Ok(Response::new(proposal(self.staffing.shifts(&tenant, ask).await?)))
    }

    async fn import_schedules(
        &self,
        request: Request<v1::ImportSchedulesRequest>,
    ) -> Result<Response<v1::ImportSchedulesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let (csv, zone) = (csv(&request.csv)?, zone("time_zone", &request.time_zone)?);
        let answer = |imported| {
            let (rows, errors) = taken(imported);
            v1::ImportSchedulesResponse { rows, errors }
        };
        let key = (request.request_id.as_str(), request);
        Ok(Response::new(
            self.staffing
                .import_schedules(caller, csv, zone, key, answer)
                .await?,
        ))
    }

    async fn export_schedules(
        &self,
        request: Request<v1::ExportSchedulesRequest>,
    ) -> Result<Response<v1::ExportSchedulesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = required_moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let zone = zone("time_zone", &request.time_zone)?;
        let csv = self
            .staffing
            .export_schedules(&tenant, since, until, zone)
            .await?;
        Ok(Response::new(v1::ExportSchedulesResponse { csv }))
    }

    async fn get_adherence(
        &self,
        request: Request<v1::GetAdherenceRequest>,
    ) -> Result<Response<v1::GetAdherenceResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let since = required_moment(
            "since",
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?;
        let until = moment(
            "until",
            request.until.is_some(),
            from_wire(request.until.as_ref()),
        )?;
        let agent = match request.agent_id.as_str() {
            "" => None,
            id => Some(
                id.parse::<AgentId>()
                    .map_err(|e: InvalidId| Error::invalid("agent_id", e.to_string()))?,
            ),
        };
        let agents = self.staffing.adherence(&tenant, agent, since, until).await?;
        Ok(Response::new(v1::GetAdherenceResponse {
            agents: agents.iter().map(adherence).collect(),
        }))
    }
}

fn csv(text: &str) -> Result<String, Error> {
    if text.len() > MOST_CSV_BYTES {
        return Err(Error::invalid(
            "csv",
            "at most 3 MiB; send it in parts, each with the header",
        ));
    }
    Ok(text.to_owned())
}

fn taken(imported: Imported) -> (i64, Vec<v1::LineError>) {
    let wire = |error: LineError| v1::LineError {
        line: i64::try_from(error.line).unwrap_or(i64::MAX),
        message: error.problem,
    };
    match imported {
        Imported::Rows(rows) => (i64::try_from(rows).unwrap_or(i64::MAX), Vec::new()),
        Imported::Errors(errors) => (0, errors.into_iter().map(wire).collect()),
    }
}

fn zone(field: &str, name: &str) -> Result<Tz, Error> {
    if name.is_empty() {
        return Ok(Tz::UTC);
    }
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(40).collect();
        Error::invalid(
            field,
            format!("`{shown}` is no time zone of the IANA database; write a name such as Europe/Rome"),
        )
    })
}

fn moment(field: &str, is_given: bool, at: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>, Error> {
    let years = 0..7_258_118_400;
    match at {
        Some(at) if years.contains(&at.timestamp()) => Ok(Some(at)),
        None if !is_given => Ok(None),
        Some(_) | None => Err(Error::invalid(field, "must be between 1970 and 2200")),
    }
}

fn required_moment(field: &str, is_given: bool, at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, Error> {
    moment(field, is_given, at)?.ok_or_else(|| Error::invalid(field, "must be given"))
}

/// A number in a range; zero stands for the usual one.
fn number(field: &str, value: f64, usual: f64, least: f64, most: f64) -> Result<f64, Error> {
    if value == 0.0 {
        Ok(usual)
    } else if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(field, format!("must be from {least} to {most}")))
    }
}

fn forecast_ask(at: &str, request: &v1::ForecastRequest) -> Result<ForecastAsk, Error> {
    let field = |name: &str| format!("{at}{name}");
    let days = match request.days {
        0 => 14,
        days @ 1..=42 => days.unsigned_abs(),
        _ => return Err(Error::invalid(field("days"), "must be from 1 to 42")),
    };
    let step = match request.interval_minutes {
        0 => Some(Step::Half),
        minutes => u32::try_from(minutes).ok().and_then(Step::of_minutes),
    };
    let only = match &request.only {
        None => None,
        Some(key) => Some(wanted(&field("only"), key)?),
    };
    Ok(ForecastAsk {
        since: moment(
            &field("since"),
            request.since.is_some(),
            from_wire(request.since.as_ref()),
        )?,
        days,
        step: step.ok_or_else(|| Error::invalid(field("interval_minutes"), "must be 15, 30 or 60"))?,
        zone: zone(&field("time_zone"), &request.time_zone)?,
        hours: request.business_hours.clone(),
        only,
    })
}

fn wanted(field: &str, key: &v1::SeriesKey) -> Result<Wanted, Error> {
    let kind = key.channel_kind();
    let channel = Kind::ALL
        .into_iter()
        .find(|known| ChannelKind::from(*known) == kind);
    if channel.is_none() && key.channel_kind != i32::from(ChannelKind::Unspecified) {
        return Err(Error::invalid(
            format!("{field}.channel_kind"),
            "must be a kind of channel that customers use",
        ));
    }
    for (name, value) in [("intent", &key.intent), ("language", &key.language)] {
        if value.len() > 100 {
            return Err(Error::invalid(format!("{field}.{name}"), "at most 100 bytes"));
        }
    }
    Ok(Wanted {
        channel,
        intent: key.intent.clone(),
        language: key.language.clone(),
    })
}

fn staff_ask(at: &str, request: &v1::RequiredStaffRequest) -> Result<StaffAsk, Error> {
    let field = |name: &str| format!("{at}{name}");
    let quantile = request.quantile;
    if !(quantile == 0.0 || (0.001..=0.999).contains(&quantile)) {
        return Err(Error::invalid(
            field("quantile"),
            "must be from 0.001 to 0.999, or 0 for the mean",
        ));
    }
    Ok(StaffAsk {
        forecast: forecast_ask(
            &field("forecast."),
            request
                .forecast
                .as_ref()
                .unwrap_or(&v1::ForecastRequest::default()),
        )?,
        shrinkage: number(&field("shrinkage"), request.shrinkage, 0.0, 0.0, 0.9)?,
        quantile: (quantile > 0.0).then_some(quantile),
        patience_seconds: number(
            &field("patience_seconds"),
            request.patience_seconds,
            180.0,
            1.0,
            86_400.0,
        )?,
        simulate: request.simulate,
    })
}

fn shift_ask(request: &v1::ProposeShiftsRequest) -> Result<ShiftAsk, Error> {
    let required = staff_ask(
        "required.",
        request
            .required
            .as_ref()
            .unwrap_or(&v1::RequiredStaffRequest::default()),
    )?;
    if request.types.is_empty() || request.types.len() > MOST_SHIFT_KINDS {
        return Err(Error::invalid(
            "types",
            format!("must be from 1 to {MOST_SHIFT_KINDS} kinds of shift"),
        ));
    }
    let interval = required.forecast.step.minutes();
    let kinds = request
        .types
        .iter()
        .enumerate()
        .map(|(number, kind)| shift_kind(number, kind, interval));
    Ok(ShiftAsk {
        kinds: kinds.collect::<Result<_, _>>()?,
        missing_hour: number("under_cover_cost", request.under_cover_cost, 10.0, 0.001, 1e9)?,
        required,
    })
}

fn shift_kind(place: usize, kind: &v1::ShiftType, interval: u32) -> Result<ShiftKind, Error> {
    let field = |name: &str| format!("types[{place}].{name}");
    let minutes = |name: &str, value: i32, least: u32, most: u32| {
        let fits = |value: &u32| (least..=most).contains(value) && value.is_multiple_of(interval);
        u32::try_from(value).ok().filter(fits).ok_or_else(|| {
            Error::invalid(
                field(name),
                format!("must be from {least} to {most}, and whole intervals of {interval} minutes"),
            )
        })
    };
    if kind.name.trim().is_empty() || kind.name.chars().count() > 100 {
        return Err(Error::invalid(field("name"), "must have 1 to 100 characters"));
    }
    let every = if kind.step_minutes == 0 {
        interval.max(30)
    } else {
        minutes("step_minutes", kind.step_minutes, interval, 1_440)?
    };
    let earliest = minutes("earliest_start_minute", kind.earliest_start_minute, 0, 1_439)?;
    let latest = minutes("latest_start_minute", kind.latest_start_minute, earliest, 1_439)?;
    let length = minutes("length_minutes", kind.length_minutes, interval, 2_880)?;
    let pause = u32::try_from(kind.break_minutes)
        .ok()
        .filter(|pause| *pause < length);
    Ok(ShiftKind {
        name: kind.name.clone(),
        earliest,
        latest,
        every,
        length,
        pause: pause
            .ok_or_else(|| Error::invalid(field("break_minutes"), "must be shorter than the shift"))?,
        cost: Some(number(
            &field("cost"),
            kind.cost,
            f64::from(length) / 60.0,
            0.001,
            1e9,
        )?),
    })
}

fn key(wanted: Wanted) -> v1::SeriesKey {
    v1::SeriesKey {
        channel_kind: wanted
            .channel
            .map_or(ChannelKind::Unspecified, ChannelKind::from)
            .into(),
        intent: wanted.intent,
        language: wanted.language,
    }
}

fn series(forecasts: Forecasts, since: Option<DateTime<Utc>>) -> Vec<v1::SeriesForecast> {
    let wire = |(wanted, forecast): (Wanted, crate::staffing::forecast::Forecast)| {
        let score = |method| forecast.scores.iter().find(|score| score.method == method);
        let chosen = score(forecast.method);
        let shown = forecast
            .points
            .iter()
            .filter(|point| since.is_none_or(|since| point.start >= since));
        v1::SeriesForecast {
            key: Some(key(wanted)),
            method: format!("{}: {}", forecast.method, forecast.why),
            wape: chosen.map(|score| score.wape),
            naive_wape: score(Method::SeasonalNaive).map(|score| score.wape),
            coverage_80: chosen.map(|score| score.coverage_80),
            points: shown
                .map(|point| v1::ForecastPoint {
                    start: Some(to_wire(point.start)),
                    contacts: point.mean,
                    low_80: point.band_80.low,
                    high_80: point.band_80.high,
                    low_95: point.band_95.low,
                    high_95: point.band_95.high,
                })
                .collect(),
            notes: forecast.notes,
        }
    };
    forecasts.into_iter().map(wire).collect()
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn points(staff: &Staff, shrinkage: f64) -> Vec<v1::StaffPoint> {
    let wire = |(need, service_level, occupancy): &(crate::staffing::required::Requirement, f64, f64)| {
        v1::StaffPoint {
            start: Some(to_wire(need.start)),
            agents: count(need.agents),
            full_time_equivalents: f64::from(need.agents) / (1.0 - shrinkage),
            service_level: *service_level,
            occupancy: *occupancy,
            explanation: need.explanation.clone(),
        }
    };
    staff.intervals.iter().map(wire).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a day has fewer contacts than a long has numbers"
)]
fn side(side: &Side) -> v1::WhatIfResult {
    v1::WhatIfResult {
        agents: i32::try_from(side.agents).unwrap_or(i32::MAX),
        contacts: side.contacts.round() as i64,
        service_level: side.service_level,
        asa_seconds: side.answer_seconds,
        abandonment: side.abandonment,
        occupancy: side.occupancy,
        unfinished: side.unfinished.round() as i64,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "fewer agents than an int has numbers"
)]
fn proposal(shifts: Shifts) -> v1::ProposeShiftsResponse {
    let quality = match shifts.proposal.quality {
        Quality::Optimal => "optimal",
        Quality::NearlyOptimal => "nearly optimal",
        Quality::OutOfTime => "out of time",
        Quality::Greedy => "greedy",
    };
    v1::ProposeShiftsResponse {
        shifts: shifts
            .shifts
            .into_iter()
            .map(|(r#type, start, people)| v1::ProposedShift {
                r#type,
                start: Some(to_wire(start)),
                count: count(people),
            })
            .collect(),
        coverage: shifts
            .coverage
            .iter()
            .map(|(start, coverage)| v1::CoveragePoint {
                start: Some(to_wire(*start)),
                required: count(coverage.need),
                // Somebody who is on a break for half of the interval covers half of it: not a whole person.
                covered: (coverage.at_work + 1e-6).floor() as i32,
            })
            .collect(),
        cost: shifts.proposal.cost,
        missing_hours: shifts.proposal.missing_hours,
        quality: quality.to_owned(),
    }
}

fn adherence((agent, adherence): &AgentAdherence) -> v1::Adherence {
    v1::Adherence {
        agent_id: agent.to_string(),
        adherence: adherence.adherence().unwrap_or(1.0),
        conformance: adherence.conformance().unwrap_or(1.0),
        exceptions: adherence.exceptions.iter().map(exception).collect(),
    }
}

fn exception(exception: &Exception) -> String {
    let what = match exception.difference {
        Difference::Absent => "absent",
        Difference::Late => "late",
        Difference::LateBack => "late back",
        Difference::LeftEarly => "left early",
        Difference::Away => "away",
        Difference::NotResponding => "did not respond",
        Difference::WorkedInBreak => "worked in the break",
        Difference::WorkedInstead => "worked instead of what was planned",
        Difference::Unplanned => "worked without a plan",
    };
    let written = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%MZ").to_string();
    format!(
        "{what} for {:.0} minutes, {} to {}",
        exception.minutes(),
        written(exception.from),
        written(exception.to)
    )
}
