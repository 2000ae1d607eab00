//! The recorded figures, by row, contender and unit, in the order of their first values.

use serde_json::Value;

/// What is measured, with the figures of each contender.
pub struct Row {
    pub name: String,
    pub contenders: Vec<Contender>,
}

pub struct Contender {
    pub name: String,
    /// The figures of all rounds, by unit.
    pub units: Vec<(String, Vec<Figure>)>,
}

#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// The number of its line among all figures, which grows with time.
    pub line: usize,
    pub value: f64,
}

impl Row {
    pub fn contender(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.name == name)
    }
}

impl Contender {
    /// The figures of a unit, one per round; empty without any.
    pub fn figures(&self, unit: &str) -> &[Figure] {
        self.units.iter().find(|(name, _)| name == unit).map_or(&[], |(_, figures)| figures)
    }
}

/// Parses the lines that the benchmarks recorded.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
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
        entry(&mut contender.units, |known| known.0 == unit, || (unit.into(), Vec::new()))
            .1
            .push(Figure { line: number, value });
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
pub fn median(figures: &[Figure]) -> Option<f64> {
    median_of(figures.iter().map(|figure| figure.value).collect())
}

fn median_of(mut sorted: Vec<f64>) -> Option<f64> {
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// The ratio of two contenders: the median of the ratios of each of their figures and ours that was measured next to it.
pub fn ratio(ours: &[Figure], theirs: &[Figure]) -> Option<f64> {
    let each = theirs.iter().filter_map(|their| {
        let our = ours.iter().min_by_key(|our| our.line.abs_diff(their.line))?;
        Some(our.value / their.value)
    });
    median_of(each.collect())
}

/// A number with three significant digits, or all digits before the point, in groups of three.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    // Digits after the point; the whole part of a smaller number is zero.
    let decimals =
        [100.0, 10.0, 1.0, 0.1, 0.01].iter().position(|bound| magnitude >= *bound || magnitude == 0.0).unwrap_or(5);
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
pub fn cell(figures: &[Figure]) -> String {
    let Some(middle) = median(figures) else { return String::new() };
    let values = || figures.iter().map(|figure| figure.value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    match figures.len() {
        1 => number(middle),
        _ => format!("{} ({}–{})", number(middle), number(least), number(most)),
    }
}
