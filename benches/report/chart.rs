//! Charts of bars, as SVG in two versions that differ in their colours only.

use super::figures::number;
use std::fmt::Write;

const WIDTH: usize = 760;
const NAMES_WIDTH: usize = 250;
const BARS_WIDTH: f64 = 380.0;
const BAR: usize = 18;
const PITCH: usize = 26;
const TITLE: usize = 44;
const GROUP: usize = 34;

/// Bars below a heading; the longest of a group has the full width.
pub struct Group {
    pub heading: String,
    /// The name, the value, and whether the bar is this program's.
    pub bars: Vec<(String, f64, bool)>,
}

/// The light and the dark version.
pub fn draw(title: &str, groups: &[Group]) -> [String; 2] {
    // Text, quiet text, other bars, our bars.
    let light = ["#1f2328", "#59636e", "#afb8c1", "#0969da"];
    let dark = ["#f0f6fc", "#9198a1", "#656c76", "#4493f8"];
    [light, dark].map(|colours| version(title, groups, colours))
}

fn version(title: &str, groups: &[Group], [text, quiet, other, ours]: [&str; 4]) -> String {
    let mut body = String::new();
    let mut top = TITLE;
    let mut described = Vec::new();
    for group in groups {
        let _ = writeln!(body, r#"  <text class="quiet" x="16" y="{}">{}</text>"#, top + 20, escaped(&group.heading));
        top += GROUP;
        let longest = group.bars.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (name, value, is_ours) in &group.bars {
            let class = if *is_ours { "ours" } else { "other" };
            let width = value / longest * BARS_WIDTH;
            let base = top + BAR - 4;
            let (name, shown) = (escaped(name), number(*value));
            let _ = write!(
                body,
                r#"  <text class="end" x="{}" y="{base}">{name}</text>
  <rect class="{class}" x="{NAMES_WIDTH}" y="{top}" width="{width:.1}" height="{BAR}" rx="3"/>
  <text x="{:.1}" y="{base}">{shown}</text>
"#,
                NAMES_WIDTH - 10,
                NAMES_WIDTH as f64 + width + 8.0,
            );
            described.push(format!("{name}: {shown}"));
            top += PITCH;
        }
    }
    let (height, title, described) = (top + 12, escaped(title), described.join("; "));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">
  <title id="title">{title}</title>
  <desc id="desc">{described}</desc>
  <style>
    text {{ font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: {text}; }}
    .title {{ font-size: 16px; font-weight: 600; }}
    .quiet {{ fill: {quiet}; }}
    .end {{ text-anchor: end; }}
    .ours {{ fill: {ours}; }}
    .other {{ fill: {other}; }}
  </style>
  <text class="title" x="16" y="28">{title}</text>
{body}</svg>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
