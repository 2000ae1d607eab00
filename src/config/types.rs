//! The types of single settings.

use std::fmt;
use std::path::PathBuf;

/// The environment that a server runs in. It determines defaults and the checks at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine. No setting is required.
    Development,
    /// Production. Unsafe settings stop the start.
    Production,
}

/// Where the data are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A private temporary file, which disappears with the process.
    Memory,
    /// In this file; a relative path starts at the working directory.
    File(PathBuf),
    /// On a PostgreSQL server, at this address with its credentials.
    #[cfg(feature = "cluster")]
    Server(Secret),
}

impl Database {
    /// Whether several instances may use it.
    pub fn is_server(&self) -> bool {
        !matches!(self, Database::Memory | Database::File(_))
    }

    /// Reads `sqlite:///relative`, `sqlite:////absolute` or `sqlite:///:memory:`, also as `sqlite+aiosqlite:`, or the address of
    /// a PostgreSQL server; the error says what is allowed.
    pub fn parse(raw: &str) -> Result<Database, String> {
        const ALLOWED: &str = if cfg!(feature = "cluster") {
            "allowed are sqlite:///relative/path, sqlite:////absolute/path, sqlite:///:memory: and \
             postgres://user:password@host/name"
        } else {
            "allowed are sqlite:///relative/path, sqlite:////absolute/path and sqlite:///:memory:"
        };
        let (scheme, rest) = raw.split_once(':').ok_or(ALLOWED)?;
        if ["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            #[cfg(feature = "cluster")]
            return Ok(Database::Server(Secret::new(raw)));
            #[cfg(not(feature = "cluster"))]
            return Err("a PostgreSQL server needs a program built with --features cluster".into());
        }
        if !["sqlite", "sqlite+aiosqlite"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(ALLOWED.into());
        }
        let path = rest.strip_prefix("///").filter(|path| !path.is_empty()).ok_or(ALLOWED)?;
        if path == ":memory:" {
            return Ok(Database::Memory);
        }
        // SQLite reads both forms as an address with options, not as a file's name.
        if path.contains('?') || path.starts_with("file:") {
            return Err("options of SQLite are not accepted".into());
        }
        if path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") || path == "." || path == ".." {
            return Err("it names a directory, not a file".into());
        }
        Ok(Database::File(path.into()))
    }
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the value as it is.
    pub fn new(value: impl Into<Box<str>>) -> Secret {
        Secret(value.into())
    }

    /// The value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A bucket that fills by `per_second` and holds `burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that become allowed in a second.
    pub per_second: u32,
    /// Requests that are allowed at once.
    pub burst: u32,
}
