//! What is asked for, read from the wire: what makes no sense is refused with the field's name.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use trama_platform::Error;
use trama_proto::{common::v1::ChannelKind, resources::Kind, routing::v1, time::from_wire};

use crate::{
    app::staffing::{ForecastAsk, ShiftAsk, ShiftKind, StaffAsk},
    staffing::calendar::Step,
    store::staffing::Wanted,
};

const MOST_CSV_BYTES: usize = 3 * 1_024 * 1_024;
const MOST_SHIFT_KINDS: usize = 50;

pub(super) fn csv(text: &str) -> Result<String, Error> {
    if text.len() > MOST_CSV_BYTES {
        return Err(Error::invalid(
            "csv",
            "at most 3 MiB; send it in parts, each with the header",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn zone(field: &str, name: &str) -> Result<Tz, Error> {
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

pub(super) fn moment(
    field: &str,
    is_given: bool,
    at: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let years = 0..7_258_118_400;
    match at {
        Some(at) if years.contains(&at.timestamp()) => Ok(Some(at)),
        None if !is_given => Ok(None),
        Some(_) | None => Err(Error::invalid(field, "must be between 1970 and 2200")),
    }
}

pub(super) fn required_moment(
    field: &str,
    is_given: bool,
    at: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, Error> {
    moment(field, is_given, at)?.ok_or_else(|| Error::invalid(field, "must be given"))
}

/// A number in a range; zero stands for the usual one.
pub(super) fn number(field: &str, value: f64, usual: f64, least: f64, most: f64) -> Result<f64, Error> {
    if value == 0.0 {
        Ok(usual)
    } else if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(field, format!("must be from {least} to {most}")))
    }
}

pub(super) fn forecast_ask(at: &str, request: &v1::ForecastRequest) -> Result<ForecastAsk, Error> {
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

pub(super) fn staff_ask(at: &str, request: &v1::RequiredStaffRequest) -> Result<StaffAsk, Error> {
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

pub(super) fn shift_ask(request: &v1::ProposeShiftsRequest) -> Result<ShiftAsk, Error> {
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
