//! The expressions of FTS5 that select candidates: numbers of messages that may match.
//!
//! An expression is a conjunction of **operands**: the required words, the words that a prefix stands for, and the workspaces
//! and conversations of the caller. FTS5 finds the next common number of its operands by leaps, so the operand that selects fewest
//! messages bounds the work. [`window`] measures that, and cuts the numbers into windows that bound it.

use crate::base::limits::SEARCH_PREFIX_WORDS_MAX;
use crate::store::sqlite::search::matching::SearchWords;
use rusqlite::{Connection, OptionalExtension, params};
use std::fmt::Write;

/// Messages that the operand with fewest messages selects within a window.
const WINDOW_MESSAGES: i64 = 256;
/// Bytes of the words that a prefix may stand for.
const PREFIX_WORDS_BYTES_MAX: usize = 4096;

/// What a search selects in the index, apart from the caller's access.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchExpression {
    /// Operands of required words.
    required: Vec<String>,
    /// Excluded words.
    excluded: Vec<String>,
    /// Whether a message that is selected may not match, so that its text must be read.
    pub needs_text: bool,
}

/// A workspace or conversation to which an expression is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SearchScope {
    Workspace(i64),
    Conversation(i64),
}

/// The beginning of the words that name a scope.
const SCOPE_MARK: char = '\u{e000}';

impl SearchScope {
    /// The word by which the index has the scope of each message, as in the view `search_texts`.
    fn word(self) -> String {
        match self {
            SearchScope::Workspace(number) => format!("{SCOPE_MARK}w{number}"),
            SearchScope::Conversation(number) => format!("{SCOPE_MARK}c{number}"),
        }
    }
}

impl SearchExpression {
    /// The expression for a search. Looks up what its prefixes stand for.
    pub(crate) fn of(db: &Connection, search: &SearchWords) -> rusqlite::Result<SearchExpression> {
        let mut expression = SearchExpression::default();
        for term in &search.terms {
            // The index does not store where in a message a word is, and has words of its own that begin like this.
            let is_exact = term.words.len() == 1 && !term.words[0].starts_with(SCOPE_MARK);
            if term.is_excluded {
                match is_exact && !term.is_prefix {
                    true => expression.excluded.push(quoted(&term.words[0])),
                    false => expression.needs_text = true,
                }
                continue;
            }
            expression.needs_text |= !is_exact;
            let Some((last, others)) = term.words.split_last() else { continue };
            expression.required.extend(others.iter().map(|word| quoted(word)));
            if !term.is_prefix {
                expression.required.push(quoted(last));
            } else if let Some(words) = words_with_prefix(db, last)? {
                expression.required.push(any_of(words.iter().map(String::as_str)));
            } else {
                expression.needs_text = true;
            }
        }
        Ok(expression)
    }

    /// The operands of the expression within scopes, or among all messages. None if nothing limits the search.
    pub(crate) fn operands(&self, scopes: &[SearchScope]) -> Vec<String> {
        let mut operands = self.required.clone();
        if !scopes.is_empty() {
            let scopes: Vec<String> = scopes.iter().map(|scope| scope.word()).collect();
            operands.push(any_of(scopes.iter().map(String::as_str)));
        }
        operands
    }

    /// The whole expression for these operands.
    pub(crate) fn text(&self, operands: &[String]) -> String {
        let mut text = format!("({})", operands.join(" AND "));
        for word in &self.excluded {
            write!(text, " NOT {word}").expect("writing to memory does not fail");
        }
        text
    }

    /// About the bytes that the expression holds.
    pub(crate) fn bytes(&self) -> usize {
        self.required.iter().chain(&self.excluded).map(String::len).sum()
    }
}

/// The first number of the window that ends before `below`: the operand that selects fewest messages selects at most
/// [`WINDOW_MESSAGES`] within it. 0 if nothing is before the window.
pub(crate) fn window(db: &Connection, operands: &[String], below: i64) -> rusqlite::Result<i64> {
    let mut from = below;
    for operand in operands {
        let nth: Option<i64> = db
            .prepare_cached(NTH_BELOW)?
            .query_row(params![operand, below, WINDOW_MESSAGES - 1], |row| row.get(0))
            .optional()?;
        // Fewer messages than a window has may be left.
        from = from.min(nth.unwrap_or(0));
        if from == 0 {
            break;
        }
    }
    Ok(from)
}

/// The words of the index that begin with `prefix`; `None` if they are too many. A message that a word of the result comes from may
/// have been deleted.
fn words_with_prefix(db: &Connection, prefix: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let (mut words, mut bytes): (Vec<String>, usize) = (Vec::new(), 0);
    let mut from = prefix.to_owned();
    let mut statement = db.prepare_cached(WORD_FROM)?;
    loop {
        // Finds each word with a new search of the index, because between two words are all messages that have the first.
        let mut rows = statement.query([&from])?;
        let Some(row) = rows.next()? else { break };
        let word = row.get_ref(0)?.as_bytes()?;
        if !word.starts_with(prefix.as_bytes()) {
            break;
        }
        bytes += word.len();
        if words.len() == SEARCH_PREFIX_WORDS_MAX || bytes > PREFIX_WORDS_BYTES_MAX {
            return Ok(None);
        }
        // FTS5 cuts a long word, perhaps within a character, but none that is shorter than the bound.
        let Ok(word) = str::from_utf8(word) else { return Ok(None) };
        // No word has a control character, so none is between the two.
        from = format!("{word}\u{1}");
        words.push(word.to_owned());
    }
    if words.is_empty() {
        words.push(prefix.to_owned());
    }
    Ok(Some(words))
}

fn any_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(quoted).collect();
    format!("({})", words.join(" OR "))
}

/// A string of FTS5. Words have no quotes.
fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

const NTH_BELOW: &str = "
    SELECT rowid FROM search_index WHERE search_index MATCH ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT 1 OFFSET ?3";
const WORD_FROM: &str = "SELECT term FROM search_words WHERE term >= ?1 LIMIT 1";
