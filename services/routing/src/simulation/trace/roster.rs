//! The same day with more or fewer agents: what staffing asks.

use std::str::FromStr;

use super::{Trace, TraceError};

/// So many agents more or fewer, everywhere or in one team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterChange {
    /// Only in this team.
    pub team: Option<String>,
    /// How many more; negative: fewer.
    pub by: i32,
}

impl FromStr for RosterChange {
    type Err = TraceError;

    /// `-5`, `+5` or `team:+5`.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        let (team, number) = match text.rsplit_once(':') {
            Some((team, number)) => (Some(team.to_owned()), number),
            None => (None, text),
        };
        let by = number
            .parse()
            .map_err(|_| TraceError::Roster(format!("{text:?} is not written +5, -5 or team:+5")))?;
        Ok(Self { team, by })
    }
}

impl Trace {
    /// The same day with another roster. Whoever is taken away or doubled is spread evenly over the list; a doubled
    /// agent has the hours, skills and fate of the one he is a double of.
    pub fn with_roster(&self, change: &RosterChange) -> Result<Self, TraceError> {
        let eligible: Vec<usize> = (0..self.agents.len())
            .filter(|at| {
                change
                    .team
                    .as_ref()
                    .is_none_or(|team| self.agents[*at].team == *team)
            })
            .collect();
        if eligible.is_empty() {
            return Err(TraceError::Roster(match &change.team {
                Some(team) => format!("nobody is in team {team:?}"),
                None => "the trace has no agents".to_owned(),
            }));
        }
        let count = change.by.unsigned_abs() as usize;
        let spread = (0..count).map(|n| eligible[(2 * n + 1) * eligible.len() / (2 * count)]);
        if change.by >= 0 {
            Ok(self.with_doubles(spread))
        } else if count < eligible.len() {
            Ok(self.without(&spread.collect::<Vec<_>>()))
        } else {
            Err(TraceError::Roster(format!(
                "cannot take {count} agents away where there are {}",
                eligible.len()
            )))
        }
    }

    fn with_doubles(&self, of: impl Iterator<Item = usize>) -> Self {
        let mut trace = self.clone();
        for (n, original) in (1..).zip(of) {
            let mut agent = self.agents[original].clone();
            agent.id = format!("{}+{n}", agent.id);
            let double = trace.agents.len();
            trace.agents.push(agent);
            let presence = self.presence.iter().filter(|row| row.agent == original);
            trace.presence.extend(presence.map(|row| super::PresenceRow {
                agent: double,
                ..*row
            }));
        }
        trace
    }

    fn without(&self, gone: &[usize]) -> Self {
        let mut trace = self.clone();
        let mut place = Vec::with_capacity(self.agents.len());
        let mut kept = 0;
        for agent in 0..self.agents.len() {
            let stays = !gone.contains(&agent);
            place.push(stays.then_some(kept));
            kept += usize::from(stays);
        }
        trace.agents = (self.agents.iter().zip(&place))
            .filter(|(_, place)| place.is_some())
            .map(|(agent, _)| agent.clone())
            .collect();
        trace.presence = (self.presence.iter())
            .filter_map(|row| {
                Some(super::PresenceRow {
                    agent: place[row.agent]?,
                    ..*row
                })
            })
            .collect();
        for item in &mut trace.items {
            item.preferred = item.preferred.and_then(|agent| place[agent]);
        }
        trace
    }
}
