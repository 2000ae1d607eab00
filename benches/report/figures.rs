//! The recorded figures, by row, contender and unit, in the order of their first values.

use serde_json::Value;

/// What is measured, with the figures of each contender.
pub struct Row {
    pub name: String,
    pub contenders: Vec<Contender>,
}

pub struct Contender {
    pub name: String,
    /// The values of all rounds, by unit.
    pub units: Vec<(String, Vec<f64>)>,
}

impl Row {
    pub fn contender(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.name == name)
    }
}

impl Contender {
    /// The values of a unit, one per round; empty without any.
    pub fn values(&self, unit: &str) -> &[f64] {
        self.units.iter().find(|(name, _)| name == unit).map_or(&[], |(_, values)| values)
    }
}

/// Parses the lines that the benchmarks recorded.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        let figure: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let name = |key: &str| figure[key].as_str().ok_or_else(|| format!("{line}: no {key}"));
        let (row, contender, unit) = (name("row")?, name("contender")?, name("unit")?);
        let value = figure["value"].as_f64().ok_or_else(|| format!("{line}: no value"))?;
        let row = entry(&mut rows, |known| known.name == row, || Row { name: row.into(), contenders: Vec::new() });
        let contender = entry(
            &mut row.contenders,
            |known| known.name == contender,
            || Contender { name: contender.into(), units: Vec::new() },
        );
        entry(&mut contender.units, |known| known.0 == unit, || (unit.into(), Vec::new())).1.push(value);
    }
    Ok(rows)
}

/// The entry that `is_wanted`, added at the end if it is missing.
fn entry<T>(entries: &mut Vec<T>, is_wanted: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = entries.iter().position(is_wanted).unwrap_or_else(|| {
        entries.push(new());
        entries.len() - 1
    });
    &mut entries[at]
}

/// The median; of an even number of values, the mean of the two in the middle. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// The ratio of two contenders: the median of the rounds' ratios, or of the medians if one of them lacks rounds.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() == theirs.len() {
        let each: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        median(&each)
    } else {
        Some(median(ours)? / median(theirs)?)
    }
}

/// A number with three significant digits, or all digits before the point, in groups of three.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = if magnitude == 0.0 || magnitude >= 100.0 {
        0
    } else {
        (2 - magnitude.log10().floor() as i32).clamp(0, 6) as usize
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((&*text, ""), |(whole, fraction)| (whole, fraction));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

/// The median, and the smallest and largest value behind it if there are several; empty without values.
pub fn cell(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return String::new() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values.len() {
        1 => number(middle),
        _ => format!("{} ({}–{})", number(middle), number(least), number(most)),
    }
}
