//! Floor 6: the command line. Each command is a row of `COMMANDS`, with its own help, and a module that runs it.
//!
//! What a command is asked for goes to standard output; what went wrong goes to standard error, in one line. Exit codes:
//! 0 done, 1 it failed, 2 the command line cannot be understood. A reader of standard output that has had enough is no
//! failure.

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
mod user;
mod verify;
mod who;

use crate::config::{SettingError, Settings, from_environment};
use crate::runtime::process;
use lexopt::prelude::*;
use output::{complain, say};
use std::fmt::Write;
use std::process::ExitCode;

/// Exit code for a command line that cannot be understood, as shells have it.
const USAGE: u8 = 2;

/// One command.
struct Entry {
    /// The words that name it.
    name: &'static str,
    /// Its options and arguments, as usage lines have them.
    usage: &'static str,
    /// What it does, in one line.
    summary: &'static str,
    /// What else there is to know, as `--help` says it; lines end with a line feed.
    help: &'static str,
    /// Reads the arguments and does it.
    run: fn(&mut lexopt::Parser) -> Result<(), CliError>,
}

/// What a command's help says of the argument that names a user.
macro_rules! who {
    () => {
        "WHO        the email of a user with a password, or an id\n--id ID    in place of WHO: the user of this id\n"
    };
}

/// Every command; the first is what runs when none is named.
static COMMANDS: &[Entry] = &[
    Entry {
        name: "serve",
        usage: "",
        summary: "serve until SIGTERM or SIGINT (the default)",
        help: "A second signal ends it at once. Where it listens is printed when it is ready.\n",
        run: serve::run,
    },
    Entry {
        name: "health",
        usage: "",
        summary: "ask the server of these settings whether it is ready",
        help: "Asks /health/ready on HOST and PORT, and fails unless the answer is 200.\n",
        run: health::run,
    },
    Entry {
        name: "config check",
        usage: "",
        summary: "check the settings and say what they come to, without secrets",
        help: "Reads the same settings as serve does, and fails where serve would refuse to start because of them.\n\
               There is a line for each: NAME=value # where it comes from.\n",
        run: config::check,
    },
    Entry {
        name: "user add",
        usage: "EMAIL [--name NAME] [--id ID] [--password-stdin]",
        summary: "add a user who logs in with a password, and print the id",
        help: "The password is asked for twice on a terminal, and else read from standard input, of which it is one line;\n\
               with --password-stdin it is read there in any case. It has 12 to 200 characters.\n\
               \n\
               --name NAME         what others see\n\
               --id ID             the oid of the user's tokens, instead of a new UUID; a user who has come by token\n\
               \u{20}                   only, without a password, gets this one\n\
               --password-stdin    reads the password from standard input without asking\n\
               \n\
               Makes the database if there is none yet.\n",
        run: user::add,
    },
    Entry {
        name: "user list",
        usage: "[--json]",
        summary: "list all users, in the order in which they came",
        help: "--json    one object per line: id, email, name, disabled, deleted, has_password, created_at\n",
        run: user::list,
    },
    Entry {
        name: "user passwd",
        usage: "WHO [--password-stdin]",
        summary: "change the password of a user; older tokens of theirs end, and so do their streams",
        help: concat!(
            "The password is read as user add reads it.\n\n",
            who!(),
            "\n--password-stdin    reads the password from standard input without asking\n"
        ),
        run: user::passwd,
    },
    Entry {
        name: "user disable",
        usage: "WHO",
        summary: "refuse a user's tokens and password until user enable, and end their streams",
        help: concat!(who!(), "\nWith --id also an id that no user has had yet: its tokens are refused from now on.\n"),
        run: user::disable,
    },
    Entry {
        name: "user enable",
        usage: "WHO",
        summary: "let a disabled user in again",
        help: concat!(who!(), "\nTokens that have not expired meanwhile are good again.\n"),
        run: user::enable,
    },
    Entry {
        name: "user delete",
        usage: "WHO [--yes]",
        summary: "delete a user for good: name, email and password go, and no token of the id is good again",
        help: concat!(
            who!(),
            "\n--yes    does not ask; needed where there is no terminal to ask on\n\n",
            "What the user wrote stays in its conversations, under the id and without a name. So do the user's own\n",
            "workspaces, which others may be talking in; to have them go as well, delete them first, with a token\n",
            "of token issue. The email is free for another user; the id never is.\n"
        ),
        run: user::delete,
    },
    Entry {
        name: "token issue",
        usage: "WHO [--name NAME] [--email EMAIL] [--hours HOURS]",
        summary: "print a token of a user, signed with the configured key",
        help: concat!(
            who!(),
            "\nWith --id also an id that no user has had yet.\n\n",
            "--name NAME, --email EMAIL    what the token says, instead of what is known\n",
            "--hours HOURS                 how long it lives, 1 to 8784; else JWT_EXPIRATION_HOURS\n"
        ),
        run: token::issue,
    },
    Entry {
        name: "backup",
        usage: "FILE",
        summary: "copy the database to a new file, also while a server runs",
        help: "The copy is of one moment, and has everything that was acknowledged before it began. A file that is there\n\
               already is not overwritten. The file has the data of all users: keep it as safe as the database.\n",
        run: backup::run,
    },
    Entry {
        name: "restore",
        usage: "[--force] FILE",
        summary: "make a backup the database; no server may run",
        help: "FILE is checked first and stays as it is. Event numbers go on far ahead and the epoch changes, so that clients\n\
               that come back with a number of the lost time are told of the gap. Tokens stay good.\n\n\
               --force  replaces a database that is there already; it is kept beside it under a name with the time in it\n",
        run: restore::run,
    },
    Entry {
        name: "verify",
        usage: "[FILE]",
        summary: "look through the database, or a backup, for anything that is wrong, also while a server runs",
        help: "Prints one line for each finding and fails if there is one; else it says ok and what there is. Nothing is\n\
               changed, and everything is read.\n",
        run: verify::run,
    },
    Entry {
        name: "export",
        usage: "[--with-passwords] [FILE]",
        summary: "write users, conversations and messages as lines of JSON, also while a server runs",
        help: "Writes to standard output, or to a new FILE.\n\n\
               --with-passwords  hashes of passwords too, so that people can log in after an import\n",
        run: export::run,
    },
    Entry {
        name: "import",
        usage: "[FILE]",
        summary: "make a database of an export; no server may run",
        help: "Reads standard input, or FILE. There must be no database yet, or one in which nothing has happened. Ids, numbers\n\
               and times stay as they were; the journal goes on as after a restore.\n",
        run: import::run,
    },
];

/// Why a command did not do what it was asked to.
enum CliError {
    /// The command line cannot be understood.
    Usage {
        /// Why not.
        what: String,
        /// The command whose help says more; empty for that of the program.
        of: &'static str,
    },
    /// It was understood, and failed; one line per thing that is wrong.
    Failed(Vec<String>),
    /// Help or version was asked for.
    Say(String),
    /// Nobody reads standard output any more, so there is nothing left to do.
    BrokenPipe,
}

impl CliError {
    /// The command line cannot be understood, because of `what`.
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

/// Runs the program as its arguments say.
pub fn run() -> ExitCode {
    process::ignore_file_size_signals();
    let done = match dispatch(&mut lexopt::Parser::from_env()) {
        Err(CliError::Say(text)) => say(&text),
        done => done,
    };
    match done {
        Ok(()) | Err(CliError::Say(_) | CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Usage { what, of }) => {
            let command = format!("cortex-core {of}");
            complain(format_args!("{what}; see {} --help", command.trim_end()));
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(lines)) => {
            for line in lines {
                complain(line);
            }
            ExitCode::FAILURE
        }
    }
}

/// Every command: its name, its options and arguments, and what it does.
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
                    return Err(CliError::usage(format!("there is no command {longer:?}")));
                }
                words = longer;
            }
            Some(other) => return Err(other.unexpected().into()),
            None if version => {
                return Err(CliError::Say(concat!("cortex-core ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            None if help => return Err(CliError::Say(overview(&words))),
            None if words.is_empty() => return run_entry(&COMMANDS[0], parser, false),
            None => return Err(CliError::usage(format!("{words:?} wants another word"))),
        }
    }
}

/// A request for help counts wherever it stands among a command's own arguments.
fn run_entry(entry: &Entry, parser: &mut lexopt::Parser, help: bool) -> Result<(), CliError> {
    let asked = help
        || parser.try_raw_args().is_some_and(|arguments| {
            arguments.as_slice().iter().take_while(|raw| *raw != "--").any(|raw| raw == "--help" || raw == "-h")
        });
    if asked {
        return Err(CliError::Say(format!("{}\n\nusage: {}\n\n{}", sentence(entry.summary), usage(entry), entry.help)));
    }
    (entry.run)(parser).map_err(|failure| match failure {
        CliError::Usage { what, .. } => CliError::Usage { what, of: entry.name },
        other => other,
    })
}

/// For a command that takes no further arguments.
fn no_more(parser: &mut lexopt::Parser) -> Result<(), CliError> {
    match parser.next()? {
        Some(argument) => Err(argument.unexpected().into()),
        None => Ok(()),
    }
}

/// The settings, or every line that is wrong with them; warnings go to standard error.
fn settings() -> Result<Settings, CliError> {
    let loaded = from_environment().map_err(bad_settings)?;
    for warning in loaded.warnings {
        complain(format_args!("warning: {warning}"));
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
        writeln!(text, "  {name:width$}  {summary}").expect("a String takes all");
    }
    text.push_str(
        "\ncortex-core COMMAND --help says more of one; --version gives the version.\n\
         Settings come from the environment or from a .env file in the working directory;\n\
         .env.example names every one with its default.\n",
    );
    text
}
