//! Floor 6: the command line. Each command is a row of `COMMANDS`, with its own help, and a module that runs it.
//!
//! What a command is asked for goes to standard output; what went wrong goes to standard error, in one line. Exit codes:
//! 0 done, 1 it failed, 2 the command line cannot be understood.

mod backup;
mod config;
mod data;
mod export;
mod import;
mod restore;
mod serve;
mod verify;

use crate::config::{Settings, from_environment};
use lexopt::prelude::*;
use std::fmt::Write as _;
use std::io::Write as _;
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
    run: fn(&mut lexopt::Parser) -> Result<(), Failure>,
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
        name: "config check",
        usage: "",
        summary: "check the settings and say what they come to, without secrets",
        help: "Reads the same settings as serve does, and fails where serve would refuse to start because of them.\n",
        run: config::check,
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
enum Failure {
    /// The command line cannot be understood.
    Usage(String),
    /// It was understood, and failed; one line per thing that is wrong.
    Failed(Vec<String>),
    /// Help or version was asked for.
    Say(String),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(line: String) -> Failure {
        Failure::Failed(vec![line])
    }
}

/// Runs the program as its arguments say.
pub fn run() -> ExitCode {
    match dispatch(&mut lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Say(text)) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(what)) => {
            complain(&format!("{what}; see cortex-core --help"));
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(lines)) => {
            lines.iter().for_each(|line| complain(line));
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for. Who reads it may have heard enough.
fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Prints a line about what is wrong, if anybody reads it.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "cortex-core: {line}");
}

fn dispatch(parser: &mut lexopt::Parser) -> Result<(), Failure> {
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
                    return Err(Failure::Usage(format!("there is no command {longer:?}")));
                }
                words = longer;
            }
            Some(other) => return Err(other.unexpected().into()),
            None if version => {
                return Err(Failure::Say(concat!("cortex-core ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            None if help => return Err(Failure::Say(overview(&words))),
            None if words.is_empty() => return run_entry(&COMMANDS[0], parser, false),
            None => return Err(Failure::Usage(format!("{words:?} wants another word"))),
        }
    }
}

/// A request for help counts wherever it stands among a command's own arguments.
fn run_entry(entry: &Entry, parser: &mut lexopt::Parser, help: bool) -> Result<(), Failure> {
    let asked = help
        || parser.try_raw_args().is_some_and(|arguments| {
            arguments.as_slice().iter().take_while(|raw| *raw != "--").any(|raw| raw == "--help" || raw == "-h")
        });
    if asked {
        return Err(Failure::Say(format!("{}\n\nusage: {}\n\n{}", sentence(entry.summary), usage(entry), entry.help)));
    }
    (entry.run)(parser)
}

/// For a command that takes no further arguments.
fn no_more(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    match parser.next()? {
        Some(argument) => Err(argument.unexpected().into()),
        None => Ok(()),
    }
}

/// The settings, or every line that is wrong with them; warnings go to standard error.
fn settings() -> Result<Settings, Failure> {
    let loaded =
        from_environment().map_err(|errors| Failure::Failed(errors.iter().map(ToString::to_string).collect()))?;
    for warning in loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    Ok(loaded.settings)
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
    let rows: Vec<(String, &str)> = COMMANDS
        .iter()
        .filter(|entry| words.is_empty() || entry.name.starts_with(&format!("{words} ")))
        .map(|entry| (format!("{} {}", entry.name, entry.usage).trim_end().to_owned(), entry.summary))
        .collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, summary) in rows {
        writeln!(text, "  {name:width$}  {summary}").expect("a String takes all");
    }
    text.push_str(
        "\ncortex-core COMMAND --help says more of one; --version gives the version.\n\
         Settings come from the environment or from a .env file in the working directory;\n\
         .env.example names every one with its default.\n",
    );
    text
}
