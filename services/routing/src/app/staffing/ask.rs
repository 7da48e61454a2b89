//! What is asked, as parsed.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use trama_platform::Error;
use trama_proto::resources::{BusinessHoursSpec, TenantResources};

use crate::{
    staffing::calendar::{Calendar, Step},
    store::staffing::Wanted,
};

/// Days of the past that a forecast looks at: a year, and five weeks to see it turn.
pub(super) const HISTORY_DAYS: u32 = 400;

/// What is to be forecast.
#[derive(Debug, Clone)]
pub struct ForecastAsk {
    /// From; the next midnight when absent.
    pub since: Option<DateTime<Utc>>,
    /// Days ahead.
    pub days: u32,
    /// Intervals.
    pub step: Step,
    /// Whose days.
    pub zone: Tz,
    /// BusinessHours with the special days; none when empty.
    pub hours: String,
    /// Only this, as one series.
    pub only: Option<Wanted>,
}

/// What is to be staffed.
#[derive(Debug, Clone)]
pub struct StaffAsk {
    /// The forecast.
    pub forecast: ForecastAsk,
    /// Share of paid time that is not for customers.
    pub shrinkage: f64,
    /// Staff for this quantile; the mean when absent.
    pub quantile: Option<f64>,
    /// Mean patience on live channels.
    pub patience_seconds: f64,
    /// Play the plan.
    pub simulate: bool,
}

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct WhatIfAsk {
    /// The forecast; its first day is played.
    pub forecast: ForecastAsk,
    /// Agents more or fewer.
    pub agents_delta: i32,
    /// Multiplies contacts.
    pub volume_factor: f64,
    /// Multiplies targets.
    pub target_factor: f64,
}

/// A kind of shift.
#[derive(Debug, Clone)]
pub struct ShiftKind {
    /// Name.
    pub name: String,
    /// First start, minutes after midnight.
    pub earliest: u32,
    /// Last start.
    pub latest: u32,
    /// Every so many minutes.
    pub every: u32,
    /// Minutes, the break included.
    pub length: u32,
    /// Minutes of the break in the middle.
    pub pause: u32,
    /// Cost; the length in hours when absent.
    pub cost: Option<f64>,
}

/// Which shifts are wanted.
#[derive(Debug, Clone)]
pub struct ShiftAsk {
    /// What they cover.
    pub required: StaffAsk,
    /// Kinds.
    pub kinds: Vec<ShiftKind>,
    /// What an uncovered agent-hour costs.
    pub missing_hour: f64,
}

/// The days that a question is about.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub calendar: Calendar,
    /// First forecast day.
    pub first: NaiveDate,
    /// Intervals before it are not shown.
    pub since: DateTime<Utc>,
    pub days: u32,
    /// Last day of the past that is complete and before the forecast.
    pub last: NaiveDate,
    /// Start of the past that is looked at.
    pub from: DateTime<Utc>,
    /// End of the past that is looked at.
    pub to: DateTime<Utc>,
}

impl ForecastAsk {
    pub(super) fn window(
        &self,
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) -> Result<Window, Error> {
        let plain = Calendar::new(self.zone, self.step, BTreeMap::new());
        let today = plain.place(now).0;
        let tomorrow = today.checked_add_days(Days::new(1)).unwrap_or(today);
        let first = self.since.map_or(tomorrow, |since| plain.place(since).0);
        let day_before = |date: NaiveDate| date.pred_opt().unwrap_or(date);
        let last = day_before(today.min(first));
        if first > today + TimeDelta::days(i64::from(HISTORY_DAYS)) {
            return Err(Error::invalid(
                "forecast.since",
                "must be within 400 days from now",
            ));
        }
        let hours = self.special(resources)?;
        let earliest = last
            .checked_sub_days(Days::new(u64::from(HISTORY_DAYS - 1)))
            .unwrap_or(last);
        let special_days: BTreeMap<NaiveDate, String> = earliest
            .iter_days()
            .take_while(|date| *date <= first + TimeDelta::days(i64::from(self.days) + 7))
            .filter_map(|date| Some((date, kind_of_day(hours.as_deref()?, date)?)))
            .collect();
        let start = |date: NaiveDate| {
            plain
                .start_of(date)
                .ok_or_else(|| Error::internal("a date out of range"))
        };
        Ok(Window {
            first,
            since: self.since.map_or_else(|| start(first), Ok)?,
            days: self.days,
            last,
            from: start(earliest)?,
            to: start(last.succ_opt().unwrap_or(last))?,
            calendar: Calendar::new(self.zone, self.step, special_days),
        })
    }

    fn special(&self, resources: Option<&TenantResources>) -> Result<Option<Arc<BusinessHoursSpec>>, Error> {
        if self.hours.is_empty() {
            return Ok(None);
        }
        let found = resources.and_then(|resources| resources.business_hours.get(&self.hours));
        found.cloned().map(Some).ok_or_else(|| {
            Error::invalid(
                "forecast.business_hours",
                format!("there is no BusinessHours resource `{}`", self.hours),
            )
        })
    }
}

/// Closed days are all alike; a special opening is like others of its name.
fn kind_of_day(hours: &BusinessHoursSpec, date: NaiveDate) -> Option<String> {
    let day = hours.days.iter().find(|day| day.names(date))?;
    Some(if day.open.is_empty() {
        "closed".to_owned()
    } else {
        day.name.clone()
    })
}
