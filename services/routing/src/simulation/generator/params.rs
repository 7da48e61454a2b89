//! What a day is like.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::super::trace::WorldRules;

/// A table whose order matters: the draws follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for InOrder<T> {
            type Value = Named<T>;

            fn expecting(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                text.write_str("a table")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        from.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

/// A day.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DayParams {
    /// Of all draws.
    pub seed: u64,
    /// When the doors close.
    pub day_s: f64,
    /// Who works.
    pub teams: Vec<TeamParams>,
    /// Headcount is multiplied by this, by team; `*` is every other team.
    #[serde(default)]
    pub staffing: BTreeMap<String, f64>,
    /// When.
    pub shifts: Vec<ShiftParams>,
    /// A site that is lost for a while.
    pub outage: OutageParams,
    /// Everybody calls about the same.
    pub surge: SurgeParams,
    /// Shares of intents.
    pub intents: Named<f64>,
    /// Work of intents, relative.
    pub intent_work: BTreeMap<String, f64>,
    /// Shares of languages.
    pub langs: Named<f64>,
    /// Shares of entitlements.
    pub entitlements: Named<f64>,
    /// Shares of levels 1, 2 and 3, by entitlement.
    pub min_level: BTreeMap<String, [f64; 3]>,
    /// Share of customers whom an agent knows.
    pub preferred_share: f64,
    /// Share of customers who have waited elsewhere, by channel.
    pub carried_share: BTreeMap<String, f64>,
    /// Share of offers that ring out.
    pub p_timeout: f64,
    /// Share of offers that are declined.
    pub p_decline: f64,
    /// Channels.
    pub channels: Named<ChannelParams>,
    /// The rules.
    pub world: WorldRules,
    /// Work that waits when the doors open, by channel.
    #[serde(default)]
    pub overnight: Named<u32>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TeamParams {
    /// Name.
    pub name: String,
    /// Where.
    pub site: String,
    /// Heads.
    pub n: u32,
    /// Languages.
    pub langs: Vec<String>,
    /// Channels.
    pub channels: Vec<String>,
    /// Levels by intent.
    pub skills: BTreeMap<String, u8>,
}

/// A shift.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ShiftParams {
    /// From.
    pub start: f64,
    /// To.
    pub end: f64,
    /// Share of agents.
    pub w: f64,
}

/// A site is lost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OutageParams {
    /// Which; several separated by `|`.
    pub site: String,
    /// Share of its agents.
    pub share: f64,
    /// From.
    pub start: f64,
    /// To.
    pub end: f64,
}

impl OutageParams {
    pub(super) fn hits(&self, site: &str) -> bool {
        self.site.split('|').any(|hit| hit == site)
    }
}

/// More contacts than usual about one thing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SurgeParams {
    /// From.
    pub start: f64,
    /// To.
    pub end: f64,
    /// About what.
    pub intent: String,
    /// In which language.
    pub lang: String,
    /// So many times as many, by channel.
    pub mult: BTreeMap<String, f64>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelParams {
    /// Contacts a day.
    pub volume: f64,
    /// Share of its contacts that the surge multiplies.
    pub surge_share: f64,
    /// Work.
    pub service_median: f64,
    /// Its spread.
    pub service_sigma: f64,
    /// Wrap-up.
    pub wrap_mean: f64,
    /// Patience; zero is endless.
    pub patience_median: f64,
    /// Its spread.
    pub patience_sigma: f64,
    /// Seconds until an offer is accepted.
    pub accept_mean: f64,
    /// The longest.
    pub accept_max: f64,
    /// Shape of the day.
    pub profile: Vec<f64>,
    /// Where customers go who wait.
    pub switch: Vec<SwitchParams>,
}

/// `[to, share, earliest, latest]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SwitchParams {
    /// Channel.
    pub to: String,
    /// Share of customers.
    pub share: f64,
    /// Not before so many seconds.
    pub earliest_s: f64,
    /// Nor after so many.
    pub latest_s: f64,
}

impl DayParams {
    /// Reads and checks them.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let params: Self = serde_json::from_str(text)?;
        params.check().map_err(de::Error::custom)?;
        Ok(params)
    }

    fn check(&self) -> Result<(), String> {
        if self.shifts.is_empty() {
            return Err("shifts is empty".to_owned());
        }
        for (table, empty) in [
            ("intents", self.intents.0.is_empty()),
            ("langs", self.langs.0.is_empty()),
            ("entitlements", self.entitlements.0.is_empty()),
        ] {
            if empty {
                return Err(format!("{table} is empty"));
            }
        }
        let known = |name: &String| self.channels.0.iter().any(|(channel, _)| channel == name);
        for (name, channel) in &self.channels.0 {
            let shaped = channel.profile.len() >= 2 && channel.profile.iter().sum::<f64>() > 0.0;
            if !shaped {
                return Err(format!(
                    "channels.{name}.profile needs two points and a mean above zero"
                ));
            }
            if let Some(switch) = channel.switch.iter().find(|switch| !known(&switch.to)) {
                return Err(format!(
                    "channels.{name}.switch goes to {:?}, which is no channel",
                    switch.to
                ));
            }
        }
        match self.overnight.0.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(format!("overnight.{name} is no channel")),
            None => Ok(()),
        }
    }

    pub(super) fn headcount(&self, team: &TeamParams) -> u32 {
        let factor = self.staffing.get(&team.name).or_else(|| self.staffing.get("*"));
        match factor {
            Some(factor) => (f64::from(team.n) * factor).round().max(1.0) as u32,
            None => team.n,
        }
    }

    /// A channel that [`Self::parse`] has seen.
    pub(super) fn channel(&self, name: &str) -> &ChannelParams {
        let found = self.channels.0.iter().find(|(channel, _)| channel == name);
        &found
            .expect("names of channels were checked when the parameters were read")
            .1
    }
}
