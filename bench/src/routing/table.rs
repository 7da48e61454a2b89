//! The comparison as tables.

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use trama_routing::simulation::kpi::{Kpi, Summary};

use crate::Result;

/// The mean over all days, then each day of the best few.
pub fn of(results: &[Result]) -> String {
    let days = results.first().map_or(0, |result| result.days.len());
    format!(
        "\n{}\nMean over {days} days. SL: answered in target. Shortfall: how far the 18 cells of channel and \
         entitlement are below their goals, the headline. The others are models of published rules, not the \
         products.\n\n{}\nShortfall / SL / abandoned, day by day.",
        means(results),
        day_by_day(results)
    )
}

fn means(results: &[Result]) -> Table {
    let mut table = new([
        "router",
        "shortfall pp",
        "SL %",
        "abandoned %",
        "unfinished",
        "SL spread pp",
        "wait ratio",
        "occupancy %",
        "invalid",
        "us/decision",
    ]);
    for result in results {
        let mean = |figure: &dyn Fn(&Summary) -> f64| mean(&result.days, &|kpi| figure(&kpi.summary));
        table.add_row(row(
            result.router,
            [
                format!("{:.2}", mean(&|s| s.shortfall_pp)),
                format!("{:.1}", mean(&|s| s.sl)),
                format!("{:.1}", mean(&|s| s.aband)),
                format!("{:.0}", mean(&|s| s.unfinished as f64)),
                format!("{:.1}", mean(&|s| s.sl_spread_pp)),
                format!("{:.1}", mean(&|s| s.norm_ratio)),
                format!("{:.1}", mean(&|s| s.occ_mean)),
                result
                    .days
                    .iter()
                    .map(|(_, kpi)| kpi.summary.invalid)
                    .sum::<u64>()
                    .to_string(),
                format!("{:.1}", self::mean(&result.days, &|kpi| kpi.perf.mean_us)),
            ],
        ));
    }
    table
}

fn mean(days: &[(String, Kpi)], figure: &dyn Fn(&Kpi) -> f64) -> f64 {
    days.iter().map(|(_, kpi)| figure(kpi)).sum::<f64>() / days.len().max(1) as f64
}

fn day_by_day(results: &[Result]) -> Table {
    let mut table = new(std::iter::once("day").chain(results.iter().map(|result| result.router)));
    let days = results.first().map_or(0, |result| result.days.len());
    for day in 0..days {
        let cells = results.iter().map(|result| {
            let Summary {
                shortfall_pp,
                sl,
                aband,
                ..
            } = &result.days[day].1.summary;
            format!("{shortfall_pp:.2} / {sl:.1} / {aband:.1}")
        });
        table.add_row(row(&results[0].days[day].0, cells));
    }
    table
}

fn new(header: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(header.into_iter().collect::<Vec<_>>());
    table
}

fn row(name: &str, figures: impl IntoIterator<Item = String>) -> Vec<Cell> {
    let right = |text| Cell::new(text).set_alignment(CellAlignment::Right);
    std::iter::once(Cell::new(name))
        .chain(figures.into_iter().map(right))
        .collect()
}
