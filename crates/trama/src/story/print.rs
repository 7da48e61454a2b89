//! What the reader sees.

use std::{io::IsTerminal as _, net::SocketAddr, time::Duration};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use trama_platform::Addresses;
use trama_proto::{
    case::v1::{CaseKind, CaseStatus, GetJourneyRequest, case_service_client::CaseServiceClient},
    common::v1::ChannelKind,
    routing::v1::{GetKpisRequest, routing_service_client::RoutingServiceClient},
    survey::v1::{GetScoresRequest, QuestionKind, survey_service_client::SurveyServiceClient},
    time::from_wire,
};
use trama_sandbox::Sandbox;

use super::{
    script::Script,
    world::{World, said},
};

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A channel's kind, as YAML writes it.
pub fn kind(value: i32) -> String {
    match ChannelKind::try_from(value).unwrap_or_default() {
        ChannelKind::Unspecified => "all",
        ChannelKind::Email => "email",
        ChannelKind::Whatsapp => "whatsapp",
        ChannelKind::Voice => "voice",
        ChannelKind::WebChat => "webChat",
        ChannelKind::Sms => "sms",
        ChannelKind::Api => "api",
        ChannelKind::Internal => "internal",
    }
    .to_owned()
}

/// A case's status, in a word.
pub fn status(value: i32) -> String {
    format!("{:?}", CaseStatus::try_from(value).unwrap_or_default()).to_lowercase()
}

/// Where each door listens.
pub fn doors(addresses: &Addresses, smtp: SocketAddr, sandbox: &Sandbox, took: Duration) {
    println!(
        "{} up in {:.1} s: six services, one process.",
        paint("1", "Trama"),
        took.as_secs_f64()
    );
    println!("  webhooks, chat     http://{}", addresses.http);
    println!("  mail (SMTP, LMTP)  {smtp}");
    println!("  gRPC, gRPC-Web     http://{}", addresses.grpc);
    println!("  health, metrics    http://{}", addresses.admin);
    println!(
        "  provider stand-in  {} · SMTP {}",
        sandbox.base_url(),
        sandbox.smtp_addr()
    );
}

/// The story's title.
pub fn title(text: &str) {
    println!("\n{}", paint("1", text));
}

/// A step begins.
pub fn step(number: usize, tell: &str) {
    println!("\n{:>3}  {}", number, paint("1", tell));
}

/// Something was done.
pub fn action(line: &str) {
    println!("     {}", paint("2", &format!("→ {line}")));
}

/// A check held.
pub fn held(line: &str) {
    println!("     {} {line}", paint("32", "✓"));
}

/// A check did not hold.
pub fn failed(line: &str) {
    println!("     {} {line}", paint("31", "✗"));
}

/// The end.
pub fn verdict(held: usize, failed: usize) {
    if failed == 0 {
        println!("\n{}", paint("32", &format!("{held} checks held.")));
    } else {
        println!(
            "\n{}",
            paint("31", &format!("{failed} check did not hold ({held} did)."))
        );
    }
}

/// Journeys, cases, figures.
pub async fn summary(world: &World, script: &Script) -> anyhow::Result<()> {
    for (name, person) in &script.people {
        let Ok(customer) = world.customer(name).await else {
            continue;
        };
        let request = world.request(
            "supervisor",
            GetJourneyRequest {
                customer_id: customer.customer_id,
            },
        )?;
        let journey = CaseServiceClient::new(world.grpc())
            .get_journey(request)
            .await
            .map_err(said)?
            .into_inner();
        println!("\n{}", paint("1", &format!("The journey of {}", person.name)));
        let mut table = table(["at", "channel", "who", "what", ""]);
        for step in &journey.steps {
            let at = from_wire(step.at.as_ref())
                .map(|t| t.format("%T%.3f").to_string())
                .unwrap_or_default();
            let words: String = step.summary.chars().take(64).collect();
            table.add_row([
                at,
                kind(step.channel_kind),
                step.actor.clone(),
                step.what.clone(),
                words.replace('\n', " "),
            ]);
        }
        println!("{table}");
        for case in &journey.cases {
            let kind_of = if case.kind() == CaseKind::Recovery {
                "follow-up"
            } else {
                "need"
            };
            let intent = case.understanding.clone().unwrap_or_default().intent;
            let e = case.effort.unwrap_or_default();
            println!(
                "  {kind_of} {}: {} · {intent} · {} contacts, {} switches, {} transfers, {} repeats, {} re-verifications, {} s waited",
                case.case_id.get(..8).unwrap_or_default(),
                status(case.status),
                e.contacts,
                e.channel_switches,
                e.transfers,
                e.repeats,
                e.reverifications,
                e.waited_seconds
            );
        }
    }
    figures(world).await
}

async fn figures(world: &World) -> anyhow::Result<()> {
    let request = world.request("supervisor", GetKpisRequest::default())?;
    let kpis = RoutingServiceClient::new(world.grpc())
        .get_kpis(request)
        .await
        .map_err(said)?
        .into_inner()
        .kpis;
    println!("\n{}", paint("1", "Figures"));
    let mut work = table([
        "channel",
        "answered",
        "ASA (s)",
        "service level",
        "waiting",
        "AHT (s)",
    ]);
    for k in &kpis {
        work.add_row([
            kind(k.channel_kind),
            k.answered.to_string(),
            format!("{:.1}", k.asa_seconds),
            format!("{:.0} %", k.service_level * 100.0),
            k.waiting.to_string(),
            format!("{:.1}", k.aht_seconds),
        ]);
    }
    println!("{work}");
    let request = world.request("supervisor", GetScoresRequest::default())?;
    let scores = SurveyServiceClient::new(world.grpc())
        .get_scores(request)
        .await
        .map_err(said)?
        .into_inner()
        .scores;
    let mut asked = table(["survey", "value", "95 % interval", "answers", "asked"]);
    for s in &scores {
        let (name, scale, unit) = match s.kind() {
            QuestionKind::Nps => ("NPS", 1.0, ""),
            QuestionKind::Csat => ("CSAT", 100.0, " %"),
            QuestionKind::Ces => ("CES", 1.0, ""),
            QuestionKind::Unspecified => ("?", 1.0, ""),
        };
        asked.add_row([
            name.to_owned(),
            format!("{:.0}{unit}", s.value * scale),
            format!(
                "{:.0} … {:.0}{unit}",
                s.interval_low * scale,
                s.interval_high * scale
            ),
            s.responses.to_string(),
            s.asked.to_string(),
        ]);
    }
    println!("{asked}");
    Ok(())
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}
