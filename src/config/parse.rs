//! Parses single variables, and collects the errors.

use super::table::variable;
use super::upstream_address::secret_parameters;
use std::fmt;

/// Longest value that is shown in a message, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// A variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Which; `.env` for the file itself.
    pub variable: &'static str,
    /// The message: the variable, its value unless it is a secret, and the allowed values.
    pub message: String,
}

impl SettingError {
    /// An error whose message begins with the variable's name.
    pub(super) fn new(variable: &'static str, rest: impl fmt::Display) -> SettingError {
        SettingError { variable, message: format!("{variable} {rest}") }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SettingError {}

/// Looks variables up, and goes on after a bad one, so that all are reported at once.
pub(super) struct VariableReader<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    pub errors: Vec<SettingError>,
}

impl<'l> VariableReader<'l> {
    pub(super) fn new(lookup: &'l dyn Fn(&str) -> Option<String>) -> VariableReader<'l> {
        VariableReader { lookup, errors: Vec::new() }
    }

    /// The value as it is; an empty one counts as unset.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<String> {
        debug_assert_eq!(variable(name).name, name);
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The value without white space around it; one of nothing else counts as unset.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.raw(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Records that `value` is not among the allowed values.
    pub(super) fn refuse(&mut self, name: &'static str, value: &str, allowed: impl fmt::Display) {
        let shown =
            if variable(name).secret { format!("has {} bytes", value.len()) } else { format!("is {}", shown(value)) };
        self.errors.push(SettingError::new(name, format_args!("{shown}: {allowed}")));
    }

    /// The value as `parse` reads it, or `default` if unset. `allowed` describes the values that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        default: T,
        allowed: impl fmt::Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(value) = self.text(name) else { return default };
        parse(&value).unwrap_or_else(|| {
            self.refuse(name, &value, allowed);
            default
        })
    }

    /// A value that `parse` understands, or the sentence why not.
    pub(super) fn checked<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(value) = self.text(name) else { return default };
        parse(&value).unwrap_or_else(|allowed| {
            self.refuse(name, &value, allowed);
            default
        })
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number(&mut self, name: &'static str, default: u64, min: u64, max: u64) -> u64 {
        let allowed = format!("allowed is a whole number from {min} to {max}");
        self.parsed(name, default, allowed, |value| whole(value).filter(|number| (min..=max).contains(number)))
    }

    /// A whole number from `min` to `max`, which fits into 32 bits.
    pub(super) fn small_number(&mut self, name: &'static str, default: u32, min: u32, max: u32) -> u32 {
        self.number(name, default.into(), min.into(), max.into()) as u32
    }

    /// Seconds, as milliseconds: a decimal number from `min_ms` to `max_ms`.
    pub(super) fn seconds(&mut self, name: &'static str, default_ms: u64, min_ms: u64, max_ms: u64) -> u64 {
        let allowed = format!("allowed are seconds from {} to {}", Seconds(min_ms), Seconds(max_ms));
        self.parsed(name, default_ms, allowed, |value| {
            milliseconds(value).filter(|number| (min_ms..=max_ms).contains(number))
        })
    }

    /// A text of at most `chars_max` characters.
    pub(super) fn bounded_text(&mut self, name: &'static str, chars_max: usize) -> Option<String> {
        let allowed = format!("allowed are at most {chars_max} characters");
        self.parsed(name, None, allowed, |value| (value.chars().count() <= chars_max).then(|| Some(value.to_owned())))
    }
}

/// The items between commas, without white space around them and without empty ones.
pub(super) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Decimal digits and nothing else: no sign, no separators.
pub(super) fn whole(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// Decimal seconds with at most three places behind the point.
fn milliseconds(value: &str) -> Option<u64> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, "0"));
    if seconds.is_empty() || fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    whole(seconds)?.checked_mul(1000)?.checked_add(whole(&format!("{fraction:0<3}"))?)
}

/// A value in quotes, escaped, and cut when it is long. Credentials in an address are left out.
pub(super) fn shown(value: &str) -> String {
    let mut value = without_credentials(value);
    if let Some((end, _)) = value.char_indices().nth(SHOWN_CHARS_MAX) {
        value.truncate(end);
        value.push('…');
    }
    format!("{value:?}")
}

/// A value as it is, or as `shown` has it if it could be misread. Credentials in an address are left out.
pub(super) fn plain_or_quoted(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"#$\"'`\\".contains(&byte));
    if plain { without_credentials(value) } else { shown(value) }
}

fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let shown = match rest.rsplit_once('@') {
        Some((_, behind)) => format!("{scheme}://***@{behind}"),
        None => value.to_owned(),
    };
    let secrets: Vec<&str> = secret_parameters(value).collect();
    secrets.into_iter().fold(shown, |shown, secret| shown.replace(&format!("={secret}"), "=***"))
}

/// Milliseconds shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 1000.0)
    }
}
