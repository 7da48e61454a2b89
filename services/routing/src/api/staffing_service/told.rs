//! What is answered, for the wire.

use chrono::{DateTime, Utc};
use trama_proto::{common::v1::ChannelKind, routing::v1, time::to_wire};

use crate::{
    app::staffing::{AgentAdherence, Forecasts, Imported, Shifts, Side, Staff},
    staffing::{
        adherence::{Difference, Exception},
        forecast::Method,
        shifts::Quality,
        table::LineError,
    },
    store::staffing::Wanted,
};

pub(super) fn taken(imported: Imported) -> (i64, Vec<v1::LineError>) {
    let wire = |error: LineError| v1::LineError {
        line: i64::try_from(error.line).unwrap_or(i64::MAX),
        message: error.problem,
    };
    match imported {
        Imported::Rows(rows) => (i64::try_from(rows).unwrap_or(i64::MAX), Vec::new()),
        Imported::Errors(errors) => (0, errors.into_iter().map(wire).collect()),
    }
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

pub(super) fn series(forecasts: Forecasts, since: Option<DateTime<Utc>>) -> Vec<v1::SeriesForecast> {
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

pub(super) fn points(staff: &Staff, shrinkage: f64) -> Vec<v1::StaffPoint> {
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
pub(super) fn side(side: &Side) -> v1::WhatIfResult {
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
pub(super) fn proposal(shifts: Shifts) -> v1::ProposeShiftsResponse {
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

pub(super) fn adherence((agent, adherence): &AgentAdherence) -> v1::Adherence {
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
