//! `usage`: the tokens that the answers of all users used.

use super::CliError;
use super::output::StdoutLines;
use super::user::shown;
use super::user_args;
use crate::base::limits::USAGE_DAYS_DEFAULT;
use crate::domain::query::QueryResult;
use crate::domain::usage::{Day, DayRange, UsageBy, UsageKey, UsageReport, UsageSums};
use crate::runtime::clock::Clock;
use crate::wire::query_result::query_body;
use lexopt::prelude::*;

pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let (mut from, mut to, mut by, mut json) = (None, None, UsageBy::User, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("from") => from = Some(day(parser)?),
            Long("to") => to = Some(day(parser)?),
            Long("by") => by = key(parser)?,
            Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let to = to.unwrap_or_else(|| Day::of(Clock::start().now().wall));
    let from = from.unwrap_or(Day(to.0 - (USAGE_DAYS_DEFAULT - 1)));
    if from > to {
        return Err(CliError::usage(format!("{from} is after {to}")));
    }
    let (_, admin) = user_args::open(false)?;
    let report = admin.usage(DayRange { from, to }, by).map_err(|error| error.to_string())?;
    let mut output = StdoutLines::new();
    if json {
        let body = query_body(&QueryResult::Usage(report)).map(|body| body.body).unwrap_or_default();
        output.line(String::from_utf8(body).expect("JSON is UTF-8"))?;
    } else {
        for line in table(&report) {
            output.line(line)?;
        }
    }
    output.end()
}

fn day(parser: &mut lexopt::Parser) -> Result<Day, CliError> {
    let text = parser.value()?.string()?;
    Day::parse(&text).ok_or_else(|| CliError::usage(format!("{text:?} is not a date like 2026-01-31")))
}

fn key(parser: &mut lexopt::Parser) -> Result<UsageBy, CliError> {
    match &*parser.value()?.string()? {
        "user" => Ok(UsageBy::User),
        "day" => Ok(UsageBy::Day),
        "conversation" => Ok(UsageBy::Conversation),
        "model" => Ok(UsageBy::Model),
        _ => Err(CliError::usage("--by is one of user, day, conversation and model")),
    }
}

/// The lines of a table with the sums of each group, and of all.
fn table(report: &UsageReport) -> Vec<String> {
    let heading = match report.by {
        UsageBy::User => "USER",
        UsageBy::Day => "DAY",
        UsageBy::Conversation => "CONVERSATION",
        UsageBy::Model => "MODEL",
    };
    let mut rows = vec![[heading, "ANSWERS", "PROMPT", "COMPLETION", "REASONING", "CACHED"].map(str::to_owned)];
    for (key, sums) in &report.groups {
        rows.push(row(&name(key), sums));
    }
    rows.push(row(if report.truncated { "total, also of others" } else { "total" }, &report.total));
    let widths: Vec<usize> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: [String; 6]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("  {cell:>width$}"),
        });
        cells.collect()
    };
    rows.into_iter().map(line).collect()
}

fn row(name: &str, UsageSums { answers, tokens }: &UsageSums) -> [String; 6] {
    let [answers, prompt, completion, reasoning, cached] =
        [*answers, tokens.prompt, tokens.completion, tokens.reasoning, tokens.cached].map(|count| count.to_string());
    [name.to_owned(), answers, prompt, completion, reasoning, cached]
}

fn name(key: &UsageKey) -> String {
    match key {
        UsageKey::Day(day) => day.to_string(),
        UsageKey::Conversation(None) => "(none)".to_owned(),
        UsageKey::Conversation(Some(id)) => id.to_string(),
        UsageKey::Model(model) if model.is_empty() => "(not named)".to_owned(),
        UsageKey::Model(model) => shown(model),
        UsageKey::User(user) => shown(user.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::UserId;
    use crate::domain::usage::TokenCounts;

    #[test]
    fn the_columns_of_the_table_are_aligned() {
        let sums = |answers, prompt| UsageSums { answers, tokens: TokenCounts { prompt, ..TokenCounts::default() } };
        let user = |id| UsageKey::User(UserId::new_unchecked(id));
        let groups = vec![(user("ann"), sums(1, 20)), (user("be\u{202e}n"), sums(2, 100_000))];
        let report = UsageReport { by: UsageBy::User, groups, total: sums(3, 100_020), truncated: false };
        assert_eq!(
            table(&report),
            [
                "USER         ANSWERS  PROMPT  COMPLETION  REASONING  CACHED",
                "ann                1      20           0          0       0",
                "be\\u{202e}n        2  100000           0          0       0",
                "total              3  100020           0          0       0",
            ]
        );
    }
}
