//! Makes one business day of traffic over all channels. Everything random is drawn here, from one seed.
//!
//! The draws are those of the reference generator, so the same parameters and seed give the same tables to the byte.

mod params;
mod random;

use std::{collections::HashMap, fmt::Write as _};

pub use self::params::{
    ChannelParams, DayParams, Named, OutageParams, ShiftParams, SurgeParams, SwitchParams, TeamParams,
};
use self::random::Random;
use super::{kpi::rounded, trace::TraceFiles};

/// Breaks of a shift: at this share of it, so many seconds.
const BREAKS: [(f64, f64); 3] = [(0.25, 600.0), (0.52, 1800.0), (0.78, 600.0)];
/// Breaks begin up to so much earlier or later.
const BREAK_SHIFTS_S: f64 = 1800.0;
/// Offers per item for which an outcome is drawn.
const OUTCOMES: usize = 5;
const CUSTOMERS: u32 = 60_000;

struct Agent<'a> {
    id: String,
    team: &'a TeamParams,
    shift: &'a ShiftParams,
}

/// Draws a day.
pub fn generate(params: &DayParams) -> TraceFiles {
    let mut random = Random::new(params.seed);
    let agents = draw_agents(params, &mut random);
    let presence = draw_presence(params, &agents, &mut random);
    let arrivals = draw_arrivals(params, &agents, &mut random);
    TraceFiles {
        world: serde_json::to_string_pretty(&params.world).unwrap_or_default() + "\n",
        agents: agents_table(&agents),
        presence,
        arrivals,
    }
}

fn draw_agents<'a>(params: &'a DayParams, random: &mut Random) -> Vec<Agent<'a>> {
    let shares: Vec<f64> = params.shifts.iter().map(|shift| shift.w).collect();
    let mut agents = Vec::new();
    for team in &params.teams {
        for _ in 0..params.headcount(team) {
            let shift = &params.shifts[random.choose(&shares)];
            agents.push(Agent {
                id: format!("A{:03}", agents.len() + 1),
                team,
                shift,
            });
        }
    }
    agents
}

fn agents_table(agents: &[Agent<'_>]) -> String {
    let mut text = "agent_id,team,site,langs,channels,skills,start,end\n".to_owned();
    for Agent { id, team, shift } in agents {
        let skills: Vec<String> = team
            .skills
            .iter()
            .map(|(intent, level)| format!("{intent}:{level}"))
            .collect();
        let _ = writeln!(
            text,
            "{id},{},{},{},{},{},{},{}",
            team.name,
            team.site,
            team.langs.join("|"),
            team.channels.join("|"),
            skills.join("|"),
            shift.start,
            shift.end
        );
    }
    text
}

fn draw_presence(params: &DayParams, agents: &[Agent<'_>], random: &mut Random) -> String {
    struct Line {
        at: f64,
        /// As the reference writes it: whole numbers from the parameters, decimals from draws.
        written: String,
        agent: usize,
        state: &'static str,
    }
    let planned = |at: f64, agent, state| Line {
        at,
        written: at.to_string(),
        agent,
        state,
    };
    let drawn = |at: f64, agent, state| Line {
        at,
        written: format!("{at:?}"),
        agent,
        state,
    };
    let mut lines = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let (start, end) = (agent.shift.start, agent.shift.end);
        lines.push(planned(start, index, "available"));
        for (share, lasts) in BREAKS {
            let begins = start + share * (end - start) + random.uniform(-BREAK_SHIFTS_S, BREAK_SHIFTS_S);
            lines.push(drawn(rounded(begins, 1), index, "away"));
            lines.push(drawn(rounded(begins + lasts, 1), index, "available"));
        }
        lines.push(planned(end, index, "away"));
        let outage = &params.outage;
        if outage.hits(&agent.team.site) && random.next() < outage.share {
            lines.push(drawn(
                outage.start + rounded(random.uniform(0.0, 20.0), 1),
                index,
                "lost",
            ));
            lines.push(drawn(
                outage.end + rounded(random.uniform(0.0, 120.0), 1),
                index,
                "back",
            ));
        }
    }
    lines.sort_by(|one, other| {
        let ids = || agents[one.agent].id.cmp(&agents[other.agent].id);
        one.at
            .total_cmp(&other.at)
            .then_with(ids)
            .then_with(|| one.state.cmp(other.state))
    });
    let mut text = "t_s,agent_id,state\n".to_owned();
    for Line {
        written,
        agent,
        state,
        ..
    } in lines
    {
        let _ = writeln!(text, "{written},{},{state}", agents[agent].id);
    }
    text
}

/// Somebody comes at this second; the surge says what about.
struct Coming<'a> {
    at: f64,
    channel: &'a str,
    about: Option<(&'a str, &'a str)>,
}

fn draw_arrivals(params: &DayParams, agents: &[Agent<'_>], random: &mut Random) -> String {
    let mut coming = Vec::new();
    for (name, channel) in &params.channels.0 {
        draw_channel(params, name, channel, random, &mut coming);
    }
    for (channel, count) in &params.overnight.0 {
        for _ in 0..*count {
            coming.push(Coming {
                at: random.uniform(0.0, 30.0),
                channel,
                about: None,
            });
        }
    }
    coming.sort_by(|one, other| one.at.total_cmp(&other.at));
    let able = able(agents);
    let mut text = "item_id,t_s,channel,intent,lang,entitlement,min_level,customer_id,preferred_agent,\
                    carried_wait_s,service_s,wrap_s,patience_s,switch_to,switch_after_s,patience2_s,outcomes,\
                    u_transfer\n"
        .to_owned();
    for (number, coming) in (1..).zip(&coming) {
        draw_item(params, number, coming, &able, random, &mut text);
    }
    text
}

fn draw_channel<'a>(
    params: &'a DayParams,
    name: &'a str,
    channel: &ChannelParams,
    random: &mut Random,
    coming: &mut Vec<Coming<'a>>,
) {
    let day = params.day_s;
    let profile = Profile::new(&channel.profile, day);
    let base = channel.volume / day;
    let most = base * profile.most * 1.0001;
    // Thinning: candidates at the highest rate, kept in proportion to the rate at that second.
    let mut at = random.exponential(most);
    while at < day {
        if random.next() * most <= base * profile.at(at) {
            coming.push(Coming {
                at,
                channel: name,
                about: None,
            });
        }
        at += random.exponential(most);
    }
    let surge = &params.surge;
    let times = surge.mult.get(name).copied().unwrap_or(1.0);
    let extra = base * channel.surge_share * (times - 1.0);
    if extra > 0.0 {
        let mut at = surge.start + random.exponential(extra);
        while at < surge.end {
            coming.push(Coming {
                at,
                channel: name,
                about: Some((&surge.intent, &surge.lang)),
            });
            at += random.exponential(extra);
        }
    }
}

/// A piecewise linear shape of the day with mean one.
struct Profile<'a> {
    points: &'a [f64],
    day: f64,
    mean: f64,
    most: f64,
}

impl<'a> Profile<'a> {
    const SAMPLES: u32 = 2000;

    fn new(points: &'a [f64], day: f64) -> Self {
        let mut profile = Self {
            points,
            day,
            mean: 1.0,
            most: 0.0,
        };
        let sample = |k| profile.raw((f64::from(k) + 0.5) * day / f64::from(Self::SAMPLES));
        profile.mean = (0..Self::SAMPLES).map(sample).sum::<f64>() / f64::from(Self::SAMPLES);
        profile.most = points.iter().copied().fold(0.0, f64::max) / profile.mean;
        profile
    }

    fn raw(&self, at: f64) -> f64 {
        let pieces = self.points.len() - 1;
        let x = (at / self.day).clamp(0.0, 0.999_999) * pieces as f64;
        let piece = x as usize;
        self.points[piece] + (self.points[piece + 1] - self.points[piece]) * (x - piece as f64)
    }

    fn at(&self, at: f64) -> f64 {
        self.raw(at) / self.mean
    }
}

type Able<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<&'a str>>;

fn able<'a>(agents: &'a [Agent<'a>]) -> Able<'a> {
    let mut able = Able::new();
    for agent in agents {
        for intent in agent.team.skills.keys() {
            for lang in &agent.team.langs {
                for channel in &agent.team.channels {
                    able.entry((channel, intent, lang))
                        .or_default()
                        .push(agent.id.as_str());
                }
            }
        }
    }
    able
}

fn draw_item(
    params: &DayParams,
    number: u32,
    coming: &Coming<'_>,
    able: &Able<'_>,
    random: &mut Random,
    text: &mut String,
) {
    let channel = params.channel(coming.channel);
    let intent = coming
        .about
        .map_or_else(|| random.name(&params.intents), |(intent, _)| intent);
    let lang = coming
        .about
        .map_or_else(|| random.name(&params.langs), |(_, lang)| lang);
    let entitlement = random.name(&params.entitlements);
    let level = 1 + random.choose(
        params
            .min_level
            .get(entitlement)
            .map_or(&[1.0], |shares| &shares[..]),
    );
    let preferred = match able.get(&(coming.channel, intent, lang)) {
        Some(agents) if random.next() < params.preferred_share => agents[random.below_usize(agents.len())],
        Some(_) | None => "",
    };
    let carried_share = params.carried_share.get(coming.channel).copied().unwrap_or(0.0);
    let carried = if random.next() < carried_share {
        rounded(random.log_normal(90.0, 0.9), 1)
    } else {
        0.0
    };
    let work = params.intent_work.get(intent).copied().unwrap_or(1.0);
    let service = random
        .log_normal(channel.service_median * work, channel.service_sigma)
        .max(20.0);
    let wrap = rounded(
        random.gauss(channel.wrap_mean, channel.wrap_mean * 0.3).max(0.0),
        1,
    );
    let patience = draw_patience(channel, random);
    let (mut to, mut after, mut patience_there) = ("", String::new(), String::new());
    for switch in &channel.switch {
        if to.is_empty() && random.next() < switch.share {
            to = &switch.to;
            after = format!(
                "{:?}",
                rounded(random.uniform(switch.earliest_s, switch.latest_s), 1)
            );
            patience_there = draw_patience(params.channel(to), random);
        }
    }
    let outcomes: Vec<String> = (0..OUTCOMES)
        .map(|_| draw_outcome(params, channel, random))
        .collect();
    let customer = 1 + random.below(CUSTOMERS - 1);
    let transfer = rounded(random.next(), 4);
    let _ = writeln!(
        text,
        "I{number:05},{:?},{},{intent},{lang},{entitlement},{level},C{customer:05},{preferred},{carried:?},{:?},\
         {wrap:?},{patience},{to},{after},{patience_there},{},{transfer:?}",
        rounded(coming.at, 2),
        coming.channel,
        rounded(service, 1),
        outcomes.join(";"),
    );
}

fn draw_patience(channel: &ChannelParams, random: &mut Random) -> String {
    if channel.patience_median > 0.0 {
        format!(
            "{:?}",
            rounded(
                random.log_normal(channel.patience_median, channel.patience_sigma),
                1
            )
        )
    } else {
        String::new()
    }
}

fn draw_outcome(params: &DayParams, channel: &ChannelParams, random: &mut Random) -> String {
    let draw = random.next();
    if draw < params.p_timeout {
        "T".to_owned()
    } else if draw < params.p_timeout + params.p_decline {
        format!("D{:.1}", random.uniform(2.0, 8.0))
    } else {
        let after = 1.0 + random.exponential(1.0 / channel.accept_mean);
        format!("A{:.1}", after.min(channel.accept_max))
    }
}
