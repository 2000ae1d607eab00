//! Layer 6: the command line. Each command is a row of `COMMANDS` with its help, and a module that runs it.
//!
//! Results go to standard output, errors to standard error, one line each. Exit codes: 0 success, 1 failure, 2 invalid command
//! line. Standard output that is closed early is not a failure.

mod backup;
mod config;
mod data;
mod export;
mod health;
mod import;
mod output;
mod prompt;
mod restore;
mod serve;
mod token;
mod usage;
mod user;
mod user_args;
mod verify;

use crate::config::{SettingError, Settings, from_environment};
use crate::runtime::process;
use lexopt::prelude::*;
use output::{print_error, print_text};
use std::fmt::Write;
use std::process::ExitCode;

/// Exit code for an invalid command line, as in shells.
const USAGE: u8 = 2;

/// One command.
struct Entry {
    /// Its name: one or two words.
    name: &'static str,
    /// Its options and arguments, for usage lines.
    usage: &'static str,
    /// Its effect, in one line.
    summary: &'static str,
    /// The rest of `--help`. Lines end with a line feed.
    help: &'static str,
    /// Parses its arguments and runs it.
    run: fn(&mut lexopt::Parser) -> Result<(), CliError>,
}

/// The help for the arguments that name a user.
macro_rules! user_help {
    () => {
        "USER       the email of a user with a password, or an id\n--id ID    the user with this id, instead of USER\n"
    };
}

/// All commands. The first is the default.
static COMMANDS: &[Entry] = &[
    Entry {
        name: "serve",
        usage: "",
        summary: "serve until SIGTERM or SIGINT (the default)",
        help: "Prints its address when it is ready. A second signal ends it at once.\n",
        run: serve::run,
    },
    Entry {
        name: "health",
        usage: "",
        summary: "check whether the server with these settings is ready",
        help: "Requests /health/ready on HOST and PORT, and fails unless the status is 200.\n",
        run: health::run,
    },
    Entry {
        name: "config check",
        usage: "",
        summary: "check the settings, and print their values without secrets",
        help: "Loads the settings as serve does, and fails if serve would not start with them.\n\
               Prints a line for each: NAME=value # origin\n\
               The last line is a comment with the memory plan.\n",
        run: config::check,
    },
    Entry {
        name: "user add",
        usage: "EMAIL [--name NAME] [--id ID] [--password-stdin]",
        summary: "add a user with a password, and print the id",
        help: "Prompts for the password twice on a terminal; otherwise, or with --password-stdin, reads it as one line of\n\
               standard input. It must have 12 to 200 characters.\n\
               \n\
               --name NAME         the name that others see\n\
               --id ID             the oid of the user's tokens, instead of a new UUID; adds the password to a user\n\
               \u{20}                   user only had tokens\n\
               --password-stdin    read the password from standard input without a prompt\n\
               \n\
               Creates the database if it does not exist.\n",
        run: user::add,
    },
    Entry {
        name: "user list",
        usage: "[--json]",
        summary: "list all users in the order of creation",
        help: "--json    print one object per line: id, email, name, disabled, deleted, has_password, created_at\n",
        run: user::list,
    },
    Entry {
        name: "user passwd",
        usage: "USER [--password-stdin]",
        summary: "change a user's password, and end the user's older tokens and their streams",
        help: concat!(
            "Reads the password as user add does.\n\n",
            user_help!(),
            "\n--password-stdin    read the password from standard input without a prompt\n"
        ),
        run: user::passwd,
    },
    Entry {
        name: "user disable",
        usage: "USER",
        summary: "reject a user's password until user enable, and end the user's tokens and streams",
        help: concat!(user_help!(), "\n--id also accepts the id of a user user has not used the server yet.\n"),
        run: user::disable,
    },
    Entry {
        name: "user enable",
        usage: "USER",
        summary: "enable a disabled user, who then logs in again",
        help: concat!(user_help!(), "\nTokens that have not expired are accepted again.\n"),
        run: user::enable,
    },
    Entry {
        name: "user delete",
        usage: "USER [--yes]",
        summary: "delete a user permanently: name, email and password are erased, and tokens of the id are rejected forever",
        help: concat!(
            user_help!(),
            "\n--yes    do not ask for confirmation; required without a terminal\n\n",
            "The user's messages stay in their conversations, under the id and without a name. The user's workspaces\n",
            "stay too, since others may use them; to delete them, do so first with a token from token issue. The\n",
            "email may be used for another user, the id may not.\n"
        ),
        run: user::delete,
    },
    Entry {
        name: "token issue",
        usage: "USER [--name NAME] [--email EMAIL] [--hours HOURS]",
        summary: "print a token for a user, signed with the configured key",
        help: concat!(
            user_help!(),
            "\n--id also accepts the id of a user user has not used the server yet.\n\n",
            "--name NAME, --email EMAIL    the claims of the token, instead of the stored values\n",
            "--hours HOURS                 its lifetime, 1 to 8784; by default JWT_EXPIRATION_HOURS\n"
        ),
        run: token::issue,
    },
    Entry {
        name: "usage",
        usage: "[--from DAY] [--to DAY] [--by KEY] [--json]",
        summary: "print the tokens that answers used; a server may run",
        help: "--from DAY  the first day (UTC), like 2026-01-31; 29 days before the last one if missing\n\
               --to DAY    the last day; today if missing\n\
               --by KEY    user (the default), day, conversation or model\n\
               --json      one JSON object instead of a table\n",
        run: usage::run,
    },
    Entry {
        name: "backup",
        usage: "FILE",
        summary: "copy the database to a new file; a server may run",
        help: "The copy is a consistent snapshot with everything that was acknowledged before it began. An existing file is\n\
               not overwritten. The file contains the data of all users: protect it like the database.\n",
        run: backup::run,
    },
    Entry {
        name: "restore",
        usage: "[--force] FILE",
        summary: "replace the database with a backup; no server may run",
        help: "FILE is verified first, and is not changed. Event numbers continue far ahead and the epoch changes, so that\n\
               clients that resume from a lost number get a gap. Tokens stay valid.\n\n\
               --force  replace an existing database, which is kept beside it under a name with the time\n",
        run: restore::run,
    },
    Entry {
        name: "verify",
        usage: "[FILE]",
        summary: "check the integrity of the database or of a backup; a server may run",
        help: "Reads everything and changes nothing. Prints a line for each finding, and fails if there is one; otherwise\n\
               prints ok and the number of rows.\n",
        run: verify::run,
    },
    Entry {
        name: "export",
        usage: "[--with-passwords] [FILE]",
        summary: "write users, conversations and messages as lines of JSON; a server may run",
        help: "Writes to standard output, or to a new FILE.\n\n\
               --with-passwords  include password hashes, so that users can log in after an import\n",
        run: export::run,
    },
    Entry {
        name: "import",
        usage: "[FILE]",
        summary: "create a database from an export; no server may run",
        help: "Reads FILE or standard input. The database must not exist, or must be empty. Ids, numbers and times are kept;\n\
               the journal continues as after a restore.\n",
        run: import::run,
    },
];

/// The reason why a command ends without success, or early.
enum CliError {
    /// The command line is invalid.
    Usage {
        /// The reason.
        what: String,
        /// The command whose help to point to; empty for the program's.
        of: &'static str,
    },
    /// It failed, with one line per error.
    Failed(Vec<String>),
    /// Help or the version was requested.
    Print(String),
    /// Standard output is closed.
    BrokenPipe,
}

impl CliError {
    /// An invalid command line, for this reason.
    fn usage(what: impl Into<String>) -> CliError {
        CliError::Usage { what: what.into(), of: "" }
    }
}

impl From<lexopt::Error> for CliError {
    fn from(error: lexopt::Error) -> CliError {
        CliError::usage(error.to_string())
    }
}

impl From<String> for CliError {
    fn from(line: String) -> CliError {
        CliError::Failed(vec![line])
    }
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    process::ignore_file_size_signals();
    let done = match dispatch(&mut lexopt::Parser::from_env()) {
        Err(CliError::Print(text)) => print_text(&text),
        done => done,
    };
    match done {
        Ok(()) | Err(CliError::Print(_) | CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Usage { what, of }) => {
            let command = format!("cortex-core {of}");
            print_error(format_args!("{what}; see {} --help", command.trim_end()));
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(lines)) => {
            for line in lines {
                print_error(line);
            }
            ExitCode::FAILURE
        }
    }
}

/// All commands: name, usage and summary.
pub fn commands() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    COMMANDS.iter().map(|entry| (entry.name, entry.usage, entry.summary))
}

fn dispatch(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    let mut words = String::new();
    let (mut help, mut version) = (false, false);
    loop {
        let exact = COMMANDS.iter().find(|entry| entry.name == words);
        if let Some(entry) = exact {
            return run_entry(entry, parser, help);
        }
        match parser.next()? {
            Some(Long("help") | Short('h')) => help = true,
            Some(Long("version") | Short('V')) => version = true,
            Some(Value(word)) => {
                let word = word.string()?;
                let longer = if words.is_empty() { word.clone() } else { format!("{words} {word}") };
                if !COMMANDS.iter().any(|entry| entry.name == longer || entry.name.starts_with(&format!("{longer} "))) {
                    return Err(CliError::usage(format!("unknown command {longer:?}")));
                }
                words = longer;
            }
            Some(other) => return Err(other.unexpected().into()),
            None if version => {
                return Err(CliError::Print(concat!("cortex-core ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            None if help => return Err(CliError::Print(overview(&words))),
            None if words.is_empty() => return run_entry(&COMMANDS[0], parser, false),
            None => return Err(CliError::usage(format!("{words:?} needs a subcommand"))),
        }
    }
}

/// `--help` may appear anywhere among a command's arguments.
fn run_entry(entry: &Entry, parser: &mut lexopt::Parser, help: bool) -> Result<(), CliError> {
    let asked = help
        || parser.try_raw_args().is_some_and(|arguments| {
            arguments.as_slice().iter().take_while(|raw| *raw != "--").any(|raw| raw == "--help" || raw == "-h")
        });
    if asked {
        return Err(CliError::Print(format!(
            "{}\n\nusage: {}\n\n{}",
            sentence(entry.summary),
            usage(entry),
            entry.help
        )));
    }
    (entry.run)(parser).map_err(|failure| match failure {
        CliError::Usage { what, .. } => CliError::Usage { what, of: entry.name },
        other => other,
    })
}

/// For a command that takes no further arguments.
fn reject_more_arguments(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    match parser.next()? {
        Some(argument) => Err(argument.unexpected().into()),
        None => Ok(()),
    }
}

/// The settings, or all their errors. Warnings go to standard error.
fn settings() -> Result<Settings, CliError> {
    let loaded = from_environment().map_err(bad_settings)?;
    for warning in loaded.warnings {
        print_error(format_args!("warning: {warning}"));
    }
    Ok(loaded.settings)
}

fn bad_settings(errors: Vec<SettingError>) -> CliError {
    CliError::Failed(errors.iter().map(ToString::to_string).collect())
}

fn usage(entry: &Entry) -> String {
    format!("cortex-core {} {}", entry.name, entry.usage).trim_end().to_owned()
}

fn sentence(summary: &str) -> String {
    let mut letters = summary.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// All commands that begin with these words.
fn overview(words: &str) -> String {
    let mut text = String::from(
        "Cortex Core: a conversation backend over HTTP and Server-Sent Events\n\nusage: cortex-core [COMMAND]\n\n",
    );
    let wanted = |entry: &&Entry| words.is_empty() || entry.name.starts_with(&format!("{words} "));
    let width = COMMANDS.iter().filter(wanted).map(|entry| entry.name.len()).max().unwrap_or(0);
    for Entry { name, summary, .. } in COMMANDS.iter().filter(wanted) {
        writeln!(text, "  {name:width$}  {summary}").expect("writing to a String does not fail");
    }
    text.push_str(
        "\ncortex-core COMMAND --help describes a command; --version prints the version.\n\
         Settings come from the environment or from a .env file in the working directory;\n\
         .env.example has all of them with their defaults.\n",
    );
    text
}
