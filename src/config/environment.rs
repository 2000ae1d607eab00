//! The process environment and `.env`, put together. The process environment is only read.

use super::read::SettingError;
use super::settings::{Loaded, Settings};
use super::variables::VARIABLES;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;

/// The file beside the environment, in the working directory.
const DOTENV: &str = ".env";

/// Reads the settings from the environment, and from `.env` what is not set there. A missing `.env` is none; one that
/// cannot be read or understood is an error, like every bad value.
pub fn from_environment() -> Result<Loaded, Vec<SettingError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    compose(&|name| std::env::var_os(name), std::fs::read(DOTENV), cores)
}

fn compose(
    environment: &dyn Fn(&str) -> Option<OsString>,
    dotenv: io::Result<Vec<u8>>,
    cores: usize,
) -> Result<Loaded, Vec<SettingError>> {
    let mut errors = Vec::new();
    let mut values = HashMap::new();
    match dotenv.map(|bytes| parse_dotenv(&bytes)) {
        Ok(Ok(parsed)) => values = parsed,
        Ok(Err(rest)) => errors.push(SettingError::new(DOTENV, rest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => errors.push(SettingError::new(DOTENV, format_args!("cannot be read: {error}"))),
    }
    for variable in VARIABLES {
        match environment(variable.name).map(OsString::into_string) {
            // An empty variable counts as unset, so it hides nothing.
            Some(Ok(value)) if !value.is_empty() => drop(values.insert(variable.name.to_owned(), value)),
            Some(Err(_)) => errors.push(SettingError::new(variable.name, "is not UTF-8")),
            _ => {}
        }
    }
    match Settings::load(&|name| values.get(name).cloned(), cores) {
        Ok(loaded) if errors.is_empty() => Ok(loaded),
        Ok(_) => Err(errors),
        Err(more) => {
            errors.extend(more);
            Err(errors)
        }
    }
}

/// The last of several lines with one name wins, as in a shell. The error never repeats the line, which may be a key's.
fn parse_dotenv(bytes: &[u8]) -> Result<HashMap<String, String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = HashMap::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = item.map_err(|error| match line_of(&error, text) {
            Some(line) => format!("cannot be understood at line {line}"),
            None => "cannot be understood".to_owned(),
        })?;
        values.insert(name, value);
    }
    Ok(values)
}

/// The parser tells the text that it stumbled over, which begins with a line, but not that line's number.
fn line_of(error: &dotenvy::Error, text: &str) -> Option<usize> {
    let dotenvy::Error::LineParse(bad, _) = error else { return None };
    let begins = |line: &str| !line.trim().is_empty() && bad.trim_start().starts_with(line.trim());
    text.lines().position(begins).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn load(environment: &[(&str, &str)], dotenv: &str) -> Result<Loaded, Vec<SettingError>> {
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
}
