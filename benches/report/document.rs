//! The documents: tables of the figures, the aims, and which charts there are.

use super::chart::{self, Group};
use super::figures::{Contender, Figure, Row, cell, median, number, ratio};
use std::fmt::Write;

/// The contender that is this program.
const PROGRAM: &str = "Cortex Core";
/// The limits of the machine: contenders whose names begin so do the least for the same result.
const LIMIT: &str = "bare";

/// The start of a row's name, and a unit of the row.
type RowAndUnit = (&'static str, &'static str);

/// A bound of a figure of this program.
struct Aim {
    text: &'static str,
    row: &'static str,
    unit: &'static str,
    /// A contender whose name begins so, times `factor`; without one, `factor` itself.
    beside: Option<&'static str>,
    factor: f64,
}

const AIMS: [Aim; 12] = [
    Aim {
        text: "processor time of `GET /` is at most that of the bare loop by 0.95",
        row: "GET /, 64 connections",
        unit: "processor µs",
        beside: Some("bare"),
        factor: 1.0 / 0.95,
    },
    Aim {
        text: "processor time of a request on a short connection is at most that of the bare loop by 0.9",
        row: "short connections",
        unit: "processor µs",
        beside: Some("bare"),
        factor: 1.0 / 0.9,
    },
    Aim {
        text: "durable `POST` at 64 connections is at least 2.5 times the axum service's",
        row: "POST /input, durable, 64 connections",
        unit: "requests/s",
        beside: Some("axum"),
        factor: 2.5,
    },
    Aim {
        text: "and takes at most the processor time of `durable-streams`",
        row: "POST /input, durable, 64 connections",
        unit: "processor µs",
        beside: Some("durable-streams"),
        factor: 1.0,
    },
    Aim {
        text: "fan-out flat out is at least that of the bare loop with joined frames",
        row: "fan-out to 1000 streams, flat out",
        unit: "deliveries/s",
        beside: Some("bare loop of writes, 16"),
        factor: 1.0,
    },
    Aim {
        text: "and that of `durable-streams`",
        row: "fan-out to 1000 streams, flat out",
        unit: "deliveries/s",
        beside: Some("durable-streams"),
        factor: 1.0,
    },
    Aim {
        text: "fan-out one at a time is at least 0.9 of the bare loop of writes",
        row: "fan-out to 1000 streams, one at a time",
        unit: "deliveries/s",
        beside: Some("bare"),
        factor: 0.9,
    },
    Aim {
        text: "p99 of 20 messages a second to 100 streams is at most twice that of Redis",
        row: "fan-out to 100 streams, 20 a second",
        unit: "p99 µs",
        beside: Some("Redis"),
        factor: 2.0,
    },
    Aim {
        text: "a reader gets at least 500,000 events a second of a replay",
        row: "replay of 100000 events to 1 reader",
        unit: "events/s",
        beside: None,
        factor: 500_000.0,
    },
    Aim {
        text: "15,000 streams return after a restart within 3 s",
        row: "return of 15000 streams",
        unit: "s",
        beside: None,
        factor: 3.0,
    },
    Aim {
        text: "an idle stream takes at most 700 bytes",
        row: "memory of 15000 idle streams",
        unit: "bytes each",
        beside: None,
        factor: 700.0,
    },
    Aim { text: "the program has at most 3.3 MB", row: "size of the program", unit: "MB", beside: None, factor: 3.3 },
];

/// The rows of README.md, with their units.
const SUMMARY: [RowAndUnit; 10] = [
    ("GET /, 64 connections", "requests/s"),
    ("short connections", "requests/s"),
    ("POST /input, durable, 64 connections", "requests/s"),
    ("fan-out to 1000 streams, flat out", "deliveries/s"),
    ("fan-out to 1000 streams, one at a time", "deliveries/s"),
    ("fan-out to 100 streams, 20 a second", "p99 µs"),
    ("replay of 100000 events to 1 reader", "events/s"),
    ("return of 15000 streams", "s"),
    ("memory of 15000 idle streams", "bytes each"),
    ("start with an existing database", "p50 ms"),
];

/// The charts: the names of their files, their titles, and their rows with units.
const CHARTS: [(&str, &str, &[RowAndUnit]); 3] = [
    (
        "requests",
        "Requests per second and core, 64 connections",
        &[("GET /, 64 connections", "requests/s"), ("POST /input, durable, 64 connections", "requests/s")],
    ),
    (
        "deliveries",
        "Deliveries per second and core, 1,000 streams",
        &[
            ("fan-out to 1000 streams, flat out", "deliveries/s"),
            ("fan-out to 1000 streams, one at a time", "deliveries/s"),
        ],
    ),
    (
        "latency",
        "From a message to its arrival at 100 streams, 20 messages a second, µs",
        &[("fan-out to 100 streams, 20 a second", "p50 µs"), ("fan-out to 100 streams, 20 a second", "p99 µs")],
    ),
];

/// A document, and the images that it shows: names and contents.
pub struct Document {
    pub text: String,
    pub images: Vec<(String, String)>,
}

/// Replaces the markers of a template: `about` by the lines about the run, `aims`, `chart NAME`, `rows PREFIX; PREFIX` by the
/// rows whose names begin with one of these, and `rows` by all that no other marker names. A prefix that ends with a colon is not
/// repeated in the table.
///
/// # Errors
///
/// If a marker is unknown.
pub fn render(template: &str, rows: &[Row], about: &str) -> Result<Document, String> {
    let markers = || template.split("<!-- figures: ").skip(1).filter_map(|rest| rest.split(" -->").next());
    let prefixes = |marker: &str| -> Vec<String> {
        let named = marker.strip_prefix("rows ").unwrap_or_default();
        named.split("; ").filter(|prefix| !prefix.is_empty()).map(str::to_owned).collect()
    };
    let all_named: Vec<String> = markers().flat_map(prefixes).collect();
    let is_named = |row: &Row, named: &[String]| named.iter().any(|prefix| row.name.starts_with(prefix.as_str()));
    let (mut text, mut images) = (template.to_owned(), Vec::new());
    for marker in markers() {
        let generated = match marker.split(' ').next().unwrap_or_default() {
            "about" => about.trim_end().to_owned(),
            "aims" => aims(rows),
            "chart" => chart(marker.trim_start_matches("chart "), rows, &mut images)?,
            "rows" if marker == "rows" => table(rows.iter().filter(|row| !is_named(row, &all_named)).collect(), &[]),
            "rows" => {
                let named = prefixes(marker);
                table(rows.iter().filter(|row| is_named(row, &named)).collect(), &named)
            }
            _ => return Err(format!("an unknown marker: {marker}")),
        };
        text = text.replacen(&format!("<!-- figures: {marker} -->"), &generated, 1);
    }
    Ok(Document { text, images })
}

/// The table of README.md; a row is missing until it has been measured.
pub fn summary(rows: &[Row]) -> String {
    let mut table = format!("| | {PROGRAM} | limit of the machine | best of the others |\n| --- | --- | --- | --- |\n");
    for (name, unit) in SUMMARY {
        let Some(row) = find(rows, name) else { continue };
        let Some(ours) = row.contender(PROGRAM).and_then(|ours| median(ours.figures(unit))) else { continue };
        let others = row.contenders.iter().filter(|contender| contender.name != PROGRAM);
        let (limits, peers): (Vec<&Contender>, Vec<&Contender>) =
            others.partition(|contender| contender.name.starts_with(LIMIT));
        let limit = best(&limits, unit).map(|(value, _)| number(value)).unwrap_or_default();
        let peer = best(&peers, unit).map(|(value, name)| format!("{} ({name})", number(value))).unwrap_or_default();
        let _ = writeln!(table, "| {name}, {unit} | {} | {limit} | {peer} |", number(ours));
    }
    table
}

/// The best median of a unit, with the contender's name.
fn best<'a>(contenders: &[&'a Contender], unit: &str) -> Option<(f64, &'a str)> {
    let mut all: Vec<(f64, &str)> = contenders
        .iter()
        .filter_map(|contender| Some((median(contender.figures(unit))?, contender.name.as_str())))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    if is_rate(unit) { all.pop() } else { all.into_iter().next() }
}

/// Whether more of a unit is better.
fn is_rate(unit: &str) -> bool {
    unit.contains("/s")
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name.starts_with(name))
}

fn aims(rows: &[Row]) -> String {
    let mut table = "| aim | measured | aim is | of the aim |\n| --- | --- | --- | --- |\n".to_owned();
    for aim in AIMS {
        let row = find(rows, aim.row);
        let ours: &[Figure] = row.and_then(|row| row.contender(PROGRAM)).map_or(&[], |ours| ours.figures(aim.unit));
        let other = |name| row.and_then(|row| row.contenders.iter().find(|other| other.name.starts_with(name)));
        let bound: Vec<Figure> = match aim.beside {
            None => ours.iter().map(|our| Figure { value: aim.factor, ..*our }).collect(),
            Some(name) => {
                let theirs = other(name).map_or(&[][..], |other| other.figures(aim.unit));
                theirs.iter().map(|their| Figure { value: their.value * aim.factor, ..*their }).collect()
            }
        };
        // At least 1 if the aim is reached.
        let reached = ratio(ours, &bound).map(|ratio| if is_rate(aim.unit) { ratio } else { 1.0 / ratio });
        let (ours, bound) = (median(ours), median(&bound));
        let shown =
            |value: Option<f64>| value.map_or("not measured".to_owned(), |it| format!("{} {}", number(it), aim.unit));
        let reached = reached.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(table, "| {} | {} | {} | {reached} |", aim.text, shown(ours), shown(bound));
    }
    table.trim_end().to_owned()
}

fn chart(name: &str, rows: &[Row], images: &mut Vec<(String, String)>) -> Result<String, String> {
    let (_, title, lines) =
        CHARTS.iter().find(|(known, ..)| *known == name).ok_or_else(|| format!("an unknown chart: {name}"))?;
    let mut groups = Vec::new();
    for (row, unit) in *lines {
        let Some(row) = find(rows, row) else { continue };
        let values = row.contenders.iter().filter_map(|contender| {
            let value = median(contender.figures(unit))?;
            Some((contender.name.clone(), value, contender.name == PROGRAM))
        });
        let mut bars: Vec<(String, f64, bool)> = values.collect();
        bars.sort_by(|a, b| if is_rate(unit) { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
        groups.push(Group { heading: format!("{}, {unit}", row.name), bars });
    }
    if groups.is_empty() {
        return Ok(String::new());
    }
    let [light, dark] = ["light", "dark"].map(|colours| format!("bench-{name}-{colours}.svg"));
    let drawn = chart::draw(title, &groups);
    images.extend([light.clone(), dark.clone()].into_iter().zip(drawn));
    Ok(format!(
        "<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"images/{dark}\">\n  \
         <img alt=\"{title}\" src=\"images/{light}\">\n</picture>"
    ))
}

/// A table with a line for each contender of each row, and a column for each unit. Without other contenders, there is no column
/// for them.
fn table(rows: Vec<&Row>, prefixes: &[String]) -> String {
    let mut units: Vec<&str> = Vec::new();
    for (unit, _) in rows.iter().flat_map(|row| &row.contenders).flat_map(|contender| &contender.units) {
        if !units.contains(&unit.as_str()) {
            units.push(unit);
        }
    }
    if units.is_empty() {
        return "Not measured.".to_owned();
    }
    let alone = rows.iter().flat_map(|row| &row.contenders).all(|contender| contender.name == PROGRAM);
    let (before, after) = if alone { ("", "") } else { (" |", " ratio |") };
    let mut table = format!("| |{before} {} |{after}\n", units.join(" | "));
    let columns = 1 + units.len() + if alone { 0 } else { 2 };
    let _ = writeln!(table, "|{}", " --- |".repeat(columns));
    for row in rows {
        let ours = row.contender(PROGRAM);
        for contender in &row.contenders {
            let name = prefixes
                .iter()
                .filter(|prefix| prefix.ends_with(':'))
                .fold(&*row.name, |name, prefix| name.strip_prefix(prefix.as_str()).map_or(name, str::trim_start));
            let _ = write!(table, "| {} |", if alone || contender.name == row.contenders[0].name { name } else { "" });
            if !alone {
                let _ = write!(table, " {} |", contender.name);
            }
            for unit in &units {
                let _ = write!(table, " {} |", cell(contender.figures(unit)));
            }
            if !alone {
                let first = &contender.units[0];
                let ratio =
                    ours.filter(|_| contender.name != PROGRAM).and_then(|ours| ratio(ours.figures(&first.0), &first.1));
                let _ = write!(table, " {} |", ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
            }
            table.push('\n');
        }
    }
    table.trim_end().to_owned()
}
