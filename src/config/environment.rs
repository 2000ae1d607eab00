//! Merges the process environment with `.env`. The process environment is not modified.

use super::parse::{SettingError, plain_or_quoted};
use super::settings::{LoadedSettings, Settings};
use super::table::{VARIABLES, Variable};
use super::types::Environment;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;

/// The file of settings in the working directory.
const DOTENV: &str = ".env";

/// Loads the settings from the environment, and the rest from `.env`, if that exists.
///
/// # Errors
/// Returns all invalid values, or the reason why `.env` cannot be read or parsed.
pub(crate) fn from_environment() -> Result<LoadedSettings, Vec<SettingError>> {
    described_environment().map(|(loaded, _)| loaded)
}

/// Loads the settings, and describes each variable in a line with its value and origin: `NAME=value # origin`. The values of
/// secrets are omitted.
pub(crate) fn described_environment() -> Result<(LoadedSettings, Vec<String>), Vec<SettingError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = RawEnvironment::gather(&|name| std::env::var_os(name), std::fs::read(DOTENV));
    let values = found.values.clone();
    let loaded = found.load(cores)?;
    let lines = VARIABLES.iter().map(|variable| describe(variable, &values, &loaded.settings)).collect();
    Ok((loaded, lines))
}

/// A value and its origin.
type SourcedValue = (String, &'static str);

/// The variables that are set, as text.
struct RawEnvironment {
    values: HashMap<String, SourcedValue>,
    errors: Vec<SettingError>,
    warnings: Vec<String>,
}

impl RawEnvironment {
    fn gather(environment: &dyn Fn(&str) -> Option<OsString>, dotenv: io::Result<Vec<u8>>) -> RawEnvironment {
        let mut errors = Vec::new();
        let mut values = HashMap::new();
        match dotenv.map(|bytes| parse_dotenv(&bytes)) {
            Ok(Ok(parsed)) => values = parsed,
            Ok(Err(rest)) => errors.push(SettingError::new(DOTENV, rest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => errors.push(SettingError::new(DOTENV, format_args!("cannot be read: {error}"))),
        }
        let warnings = unknown_names(&values).into_iter().collect();
        for variable in VARIABLES {
            match environment(variable.name).map(OsString::into_string) {
                // An empty variable is unset, so the value in `.env` counts.
                Some(Ok(value)) if !value.is_empty() => {
                    values.insert(variable.name.to_owned(), (value, "environment"));
                }
                Some(Err(_)) => errors.push(SettingError::new(variable.name, "is not UTF-8")),
                _ => {}
            }
        }
        RawEnvironment { values, errors, warnings }
    }

    fn load(mut self, cores: usize) -> Result<LoadedSettings, Vec<SettingError>> {
        match Settings::load(&|name| self.values.get(name).map(|(value, _)| value.clone()), cores) {
            Ok(mut loaded) if self.errors.is_empty() => {
                loaded.warnings.append(&mut self.warnings);
                Ok(loaded)
            }
            Ok(_) => Err(self.errors),
            Err(more) => {
                self.errors.extend(more);
                Err(self.errors)
            }
        }
    }
}

/// Warnings about unknown names in `.env`, which may be misspelt.
fn unknown_names(values: &HashMap<String, SourcedValue>) -> Option<String> {
    let unknown: BTreeSet<&str> =
        values.keys().map(String::as_str).filter(|name| VARIABLES.iter().all(|known| known.name != *name)).collect();
    let names = unknown.iter().copied().collect::<Vec<_>>().join(", ");
    match unknown.len() {
        0 => None,
        1 => Some(format!("{DOTENV} has {names}, which is no setting: is it misspelt?")),
        _ => Some(format!("{DOTENV} has {names}, which are no settings: are they misspelt?")),
    }
}

fn describe(variable: &Variable, values: &HashMap<String, SourcedValue>, settings: &Settings) -> String {
    let set = |name: &str| values.get(name).filter(|(value, _)| !value.trim().is_empty());
    let name = variable.name;
    if let Some((value, origin)) = set(name) {
        let value = if variable.secret { "(set)".to_owned() } else { plain_or_quoted(value) };
        return format!("{name}={value} # {origin}");
    }
    if let Some((other, (value, _))) = variable.alias.and_then(|other| Some((other, set(other)?))) {
        return format!("{name}={} # {other}", plain_or_quoted(value));
    }
    let workers = settings.workers.to_string();
    let default = match settings.environment {
        _ if name == "WORKERS" => &workers,
        Environment::Development => variable.default,
        Environment::Production => variable.in_production,
    };
    let origin = if default.is_empty() { "unset" } else { "default" };
    format!("{name}={default} # {origin}")
}

/// Parses `.env`. Of several lines with the same name, the last counts, as in a shell. Errors do not quote the line, which may
/// contain a key.
fn parse_dotenv(bytes: &[u8]) -> Result<HashMap<String, SourcedValue>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = HashMap::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = item.map_err(|error| match line_of(&error, text) {
            Some(line) => format!("cannot be understood at line {line}"),
            None => "cannot be understood".to_owned(),
        })?;
        values.insert(name, (value, DOTENV));
    }
    Ok(values)
}

/// The line number of a parser error, which contains only the text from that line on.
fn line_of(error: &dotenvy::Error, text: &str) -> Option<usize> {
    let dotenvy::Error::LineParse(bad, _) = error else { return None };
    let begins = |line: &str| !line.trim().is_empty() && bad.trim_start().starts_with(line.trim());
    text.lines().position(begins).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn compose(
        environment: &dyn Fn(&str) -> Option<OsString>,
        dotenv: io::Result<Vec<u8>>,
        cores: usize,
    ) -> Result<LoadedSettings, Vec<SettingError>> {
        RawEnvironment::gather(environment, dotenv).load(cores)
    }

    fn load(environment: &[(&str, &str)], dotenv: &str) -> Result<LoadedSettings, Vec<SettingError>> {
        let find = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        compose(&find, Ok(dotenv.into()), 2)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let dotenv = "PORT=1\nWORKERS=3\n";
        let settings = load(&[("PORT", "2")], dotenv).unwrap().settings;
        assert_eq!((settings.port, settings.workers), (2, 3));
        let settings = load(&[("PORT", "")], dotenv).unwrap().settings;
        assert_eq!(settings.port, 1, "an empty variable counts as unset");
    }

    #[test]
    fn files_as_people_write_them() {
        let table = [
            ("", "127.0.0.1"),
            ("\n# HOST=1.1.1.1\n", "127.0.0.1"),
            ("HOST=1.1.1.1", "1.1.1.1"),
            ("HOST=1.1.1.1\r\nPORT=1\r\n", "1.1.1.1"),
            ("HOST = 1.1.1.1 # why\n", "1.1.1.1"),
            ("export HOST=1.1.1.1\n", "1.1.1.1"),
            ("HOST=\"1.1.1.1\"\n", "1.1.1.1"),
            ("HOST='1.1.1.1'\n", "1.1.1.1"),
            ("\u{feff}HOST=1.1.1.1\n", "1.1.1.1"),
            ("HOST=2.2.2.2\nHOST=1.1.1.1\n", "1.1.1.1"),
            ("HOST=\n", "127.0.0.1"),
            ("SOMETHING_ELSE=x\n", "127.0.0.1"),
        ];
        for (dotenv, host) in table {
            assert_eq!(load(&[], dotenv).unwrap().settings.host, host, "{dotenv:?}");
        }
    }

    #[test]
    fn the_example_file_can_be_used_as_it_is_and_with_every_line_in_force() {
        let example = include_str!("../../.env.example");
        let in_force: String = VARIABLES.iter().fold(example.to_owned(), |text, variable| {
            text.replace(&format!("\n# {}=", variable.name), &format!("\n{}=", variable.name))
        });
        assert_eq!(in_force.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count(), VARIABLES.len());
        let defaults = compose(&|_| None, Ok(Vec::new()), 4);
        assert_eq!(compose(&|_| None, Ok(example.into()), 4), defaults);
        assert_eq!(compose(&|_| None, Ok(in_force.into()), 4), defaults);
    }

    #[test]
    fn bad_files_are_refused_without_repeating_them() {
        let errors = load(&[("PORT", "x")], "WORKERS=1\n\nJWT_SECRET_KEY 'hidden\n").unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(messages[0], ".env cannot be understood at line 3");
        assert!(messages[1].starts_with("PORT is \"x\""), "every bad value is reported: {messages:?}");
        assert!(!messages.concat().contains("hidden"), "{messages:?}");
        let broken = compose(&|_| None, Ok(b"HOST=\xff".to_vec()), 1).unwrap_err();
        assert_eq!(broken[0].to_string(), ".env is not UTF-8");
        let unreadable = compose(&|_| None, Err(io::ErrorKind::PermissionDenied.into()), 1).unwrap_err();
        assert!(unreadable[0].to_string().starts_with(".env cannot be read: "));
        assert!(compose(&|_| None, Err(io::ErrorKind::NotFound.into()), 1).is_ok());
    }

    #[test]
    fn a_variable_that_is_no_text_is_refused() {
        let find = |name: &str| (name == "JWT_ISSUER").then(|| OsString::from_vec(vec![0xff]));
        let errors = compose(&find, Ok(Vec::new()), 1).unwrap_err();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["JWT_ISSUER is not UTF-8"]);
    }

    #[test]
    fn a_name_in_the_file_that_is_no_setting_is_warned_of() {
        let warnings = |dotenv: &str| load(&[("PROT", "1")], dotenv).unwrap().warnings;
        assert!(warnings("PORT=1\n# PROT=2\n").is_empty(), "the environment has many names of others");
        assert_eq!(warnings("PROT=1\n"), [".env has PROT, which is no setting: is it misspelt?"]);
        assert_eq!(warnings("b=1\nA=2\nb=3\n"), [".env has A, b, which are no settings: are they misspelt?"]);
    }

    #[test]
    fn each_variable_is_described_in_a_line() {
        let described = |environment: &[(&str, &str)], dotenv: &str| {
            let find = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            let found = RawEnvironment::gather(&find, Ok(dotenv.into()));
            let values = found.values.clone();
            let settings = found.load(2).unwrap().settings;
            VARIABLES.iter().map(|variable| describe(variable, &values, &settings)).collect::<Vec<_>>()
        };
        let key = "a-secret-key-of-more-than-32-bytes-0123456789";
        let dotenv = "PORT=1\nJWT_ISSUER=\"an issuer\"\nJWT_SECRET_KEY=hidden\n";
        let environment = [("JWT_SECRET_KEY", key), ("ENVIRONMENT", "production"), ("JWT_AUDIENCE", " ")];
        let lines = described(&environment, dotenv);
        assert_eq!(lines.len(), VARIABLES.len());
        for line in [
            "PORT=1 # .env",
            "JWT_ISSUER=\"an issuer\" # .env",
            "JWT_SECRET_KEY=(set) # environment",
            "JWT_PREVIOUS_SECRET_KEYS= # unset",
            "JWT_AUDIENCE= # unset",
            "ENV=production # ENVIRONMENT",
            "ENVIRONMENT=production # environment",
            "HOST=0.0.0.0 # default",
            "WORKERS=2 # default",
        ] {
            assert!(lines.iter().any(|other| other == line), "{line} in {lines:#?}");
        }
        assert!(described(&[], "").contains(&"HOST=127.0.0.1 # default".to_owned()));
        let lines = described(&[("SENTRY_DSN", "https://hidden@sentry.example/1")], "");
        assert!(lines.contains(&"SENTRY_DSN=https://***@sentry.example/1 # environment".to_owned()), "{lines:#?}");
        let lines = described(&[("RESPONDER_URL", "https://a.example/v1?key=hidden&v=1")], "");
        let shown = "RESPONDER_URL=https://a.example/v1?key=***&v=1 # environment";
        assert!(lines.contains(&shown.to_owned()), "{lines:#?}");
    }

    #[test]
    fn the_defaults_of_production_are_those_of_the_table() {
        let key = ("JWT_SECRET_KEY", "a-key-of-production-with-more-than-32-bytes");
        let production = [("ENV", "production"), key];
        let in_force: String = VARIABLES
            .iter()
            .filter(|variable| !["ENV", key.0].contains(&variable.name))
            .map(|variable| format!("{}={}\n", variable.name, variable.in_production))
            .collect();
        let find = |name: &str| production.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let defaults = compose(&find, Ok(Vec::new()), 4);
        assert!(defaults.is_ok());
        assert_eq!(compose(&find, Ok(in_force.into()), 4), defaults);
    }
}
