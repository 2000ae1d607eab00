//! Errors of a PostgreSQL server and of the connection to it.

use std::error::Error as _;
use std::fmt;
use tokio_postgres::error::SqlState;

/// What an error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerErrorKind {
    /// The server cannot be reached, or has ended the session.
    Unreachable,
    /// The server does not reply in time.
    Silent,
    /// The connection was lost during a commit, and it is unknown whether the commit took effect.
    OutcomeUnknown,
    /// Another session has what is needed.
    Busy,
    /// The server's disk is full.
    Full,
    /// The server accepts no changes.
    ReadOnly,
    /// The server has found damage in its files.
    Damaged,
    /// The statement failed.
    Statement,
}

/// An error of a server. Its message is one line.
#[derive(Debug, Clone)]
pub(crate) struct ServerError {
    pub kind: ServerErrorKind,
    message: String,
}

impl ServerError {
    /// The error for a server that does not reply in time.
    pub(crate) fn no_reply() -> ServerError {
        ServerError { kind: ServerErrorKind::Silent, message: "the server does not reply".into() }
    }

    /// Whether the session cannot be used any more.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(self.kind, ServerErrorKind::Unreachable | ServerErrorKind::Silent)
    }

    /// An error of this kind.
    pub(crate) fn new(kind: ServerErrorKind, message: impl Into<String>) -> ServerError {
        ServerError { kind, message: message.into() }
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> ServerError {
        let Some(reported) = error.as_db_error() else {
            let lost = error.is_closed() || error.source().is_none_or(|source| source.is::<std::io::Error>());
            let kind = if lost { ServerErrorKind::Unreachable } else { ServerErrorKind::Statement };
            let message = match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            return ServerError { kind, message };
        };
        ServerError { kind: kind_of(reported.code()), message: reported.message().replace('\n', " ") }
    }
}

/// The meaning of a code (PostgreSQL documentation, appendix A).
fn kind_of(code: &SqlState) -> ServerErrorKind {
    match code.code() {
        // Of a class of insufficient resources, a full disk alone lasts.
        "53100" => ServerErrorKind::Full,
        "25006" => ServerErrorKind::ReadOnly,
        "XX001" | "XX002" => ServerErrorKind::Damaged,
        // Sessions that the server or an operator ended, or does not accept at present.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "53300" => ServerErrorKind::Unreachable,
        "55P03" | "40001" | "40P01" | "57014" | "22012" => ServerErrorKind::Busy,
        code if code.starts_with("08") => ServerErrorKind::Unreachable,
        code if code.starts_with("53") => ServerErrorKind::Busy,
        _ => ServerErrorKind::Statement,
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_a_caller_can_do() {
        let table = [
            ("53100", ServerErrorKind::Full),
            ("53200", ServerErrorKind::Busy),
            ("53300", ServerErrorKind::Unreachable),
            ("25006", ServerErrorKind::ReadOnly),
            ("25P03", ServerErrorKind::Unreachable),
            ("57P01", ServerErrorKind::Unreachable),
            ("08006", ServerErrorKind::Unreachable),
            ("55P03", ServerErrorKind::Busy),
            ("XX001", ServerErrorKind::Damaged),
            ("23505", ServerErrorKind::Statement),
            ("42601", ServerErrorKind::Statement),
        ];
        for (code, kind) in table {
            assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
        }
    }
}
