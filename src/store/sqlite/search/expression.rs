//! The expressions of FTS5 that select candidates: numbers of messages that may match.
//!
//! An expression is a conjunction of **operands**: the required words, the words that a prefix stands for, and the workspaces
//! and conversations of the caller. FTS5 finds the common numbers of its operands by leaps, so the operand that selects fewest
//! messages bounds the work. It does not stop at the least number that is wanted, and it begins with the newest messages. So it
//! gets the whole expression only if an operand is **rare**. Otherwise each operand is read alone, in windows that bound the
//! messages that any of them selects.

use crate::base::limits::{SEARCH_PREFIX_WORDS_MAX, SEARCH_WORDS_MAX};
use crate::store::sqlite::search::matching::SearchWords;
use rusqlite::{Connection, params};
use std::fmt::Write;

/// Messages that a rare operand selects, at most.
const RARE_MESSAGES: usize = 4096;
/// Messages that each operand selects within a window, at most.
const WINDOW_MESSAGES: usize = 2048;
/// Bytes of the words that a prefix may stand for.
const PREFIX_WORDS_BYTES_MAX: usize = 4096;

/// What a search selects in the index, apart from the caller's access.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchExpression {
    /// Operands of required words.
    required: Vec<String>,
    /// Excluded words.
    excluded: Vec<String>,
    /// The number of messages that the rarest required operand selects; `None` if none of them is rare.
    fewest: Option<usize>,
    /// Whether a message that is selected may not match, so that its text must be read.
    pub needs_text: bool,
}

/// The messages that an expression selects within a window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// Their numbers, newest first.
    pub numbers: Vec<i64>,
    /// The first number of the window.
    pub from: i64,
    /// About the entries of the index that were read.
    pub entries: usize,
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
        // In some scripts, a term has more words than the query shows.
        expression.needs_text |= expression.required.len() > SEARCH_WORDS_MAX;
        expression.required.truncate(SEARCH_WORDS_MAX);
        for operand in &expression.required {
            expression.fewest = fewer(expression.fewest, count_rare(db, operand)?);
        }
        Ok(expression)
    }

    /// The messages that the expression selects within scopes, or among all messages: those of the window that ends before
    /// `below`, and does not begin before `least`. `operands` are those of [`SearchExpression::operands`], and not empty.
    pub(crate) fn candidates(
        &self,
        db: &Connection,
        operands: &[String],
        below: i64,
        least: i64,
    ) -> rusqlite::Result<Candidates> {
        let (mut fewest, mut entries) = (self.fewest, 0);
        if let Some(scopes) = operands.get(self.required.len()) {
            let count = count_rare(db, scopes)?;
            entries += count.unwrap_or(RARE_MESSAGES);
            fewest = fewer(fewest, count);
        }
        if let Some(fewest) = fewest {
            let numbers = numbers(db, &self.text(operands), below, least, RARE_MESSAGES)?;
            let from = start_of(&numbers, RARE_MESSAGES).unwrap_or(least);
            return Ok(Candidates { numbers, from, entries: entries + fewest * operands.len() });
        }
        let (mut common, mut from): (Option<Vec<i64>>, i64) = (None, least);
        // The scopes are often the operand with most messages, and the others need not be read beyond the window.
        for operand in operands.iter().rev() {
            let selected = numbers(db, operand, below, from, WINDOW_MESSAGES)?;
            entries += selected.len();
            from = start_of(&selected, WINDOW_MESSAGES).unwrap_or(from);
            common = Some(match common {
                Some(common) => retain_in(common, &selected, true),
                None => selected,
            });
        }
        let mut common = common.unwrap_or_default();
        common.retain(|number| *number >= from);
        for word in &self.excluded {
            let Some(newest) = common.first().copied() else { break };
            let excluded = numbers(db, word, newest + 1, from, WINDOW_MESSAGES)?;
            entries += excluded.len();
            from = start_of(&excluded, WINDOW_MESSAGES).unwrap_or(from);
            common = retain_in(common, &excluded, false);
            common.retain(|number| *number >= from);
        }
        Ok(Candidates { numbers: common, from, entries })
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
    fn text(&self, operands: &[String]) -> String {
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

/// The number of messages that a rare operand selects, old ones included; `None` for an operand that is not rare.
fn count_rare(db: &Connection, operand: &str) -> rusqlite::Result<Option<usize>> {
    let counted: i64 =
        db.prepare_cached(COUNT)?.query_row(params![operand, RARE_MESSAGES as i64 + 1], |row| row.get(0))?;
    Ok(Some(counted as usize).filter(|counted| *counted <= RARE_MESSAGES))
}

fn fewer(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// The newest numbers of at least `from` and less than `below` that an expression selects, newest first, at most `limit`.
fn numbers(db: &Connection, expression: &str, below: i64, from: i64, limit: usize) -> rusqlite::Result<Vec<i64>> {
    let mut statement = db.prepare_cached(NUMBERS)?;
    statement.query_map(params![expression, below, from, limit as i64], |row| row.get(0))?.collect()
}

/// Where a window begins that `limit` messages fill; `None` if they are fewer.
fn start_of(numbers: &[i64], limit: usize) -> Option<i64> {
    numbers.last().copied().filter(|_| numbers.len() == limit)
}

/// Keeps the numbers that are among `others`, or those that are not. Both are in descending order.
fn retain_in(mut numbers: Vec<i64>, others: &[i64], keeps_common: bool) -> Vec<i64> {
    let mut others = others.iter().peekable();
    numbers.retain(|number| {
        while others.next_if(|other| *other > number).is_some() {}
        (others.peek() == Some(&number)) == keeps_common
    });
    numbers
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
        // FTS5 cuts a long word, perhaps within a character, but not one that is shorter than the bound.
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

const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM search_index WHERE search_index MATCH ?1 LIMIT ?2)";
const NUMBERS: &str = "
    SELECT rowid FROM search_index WHERE search_index MATCH ?1 AND rowid < ?2 AND rowid >= ?3 ORDER BY rowid DESC LIMIT ?4";
const WORD_FROM: &str = "SELECT term FROM search_words WHERE term >= ?1 LIMIT 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::domain::search::SearchTerm;
    use crate::store::sqlite::schema;
    use crate::store::sqlite::search::tokenizer::Tokenizer;
    use rusqlite::ffi;
    use std::path::Path;

    const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "rare", "once"];

    /// An index of texts without messages: text n is that of message n + 1.
    fn index_of<'a>(texts: impl Iterator<Item = &'a str>) -> Connection {
        let mut db = Connection::open_in_memory().unwrap();
        schema::migrate(&mut db, Path::new("test")).unwrap();
        let transaction = db.transaction().unwrap();
        for (text, number) in texts.zip(1..) {
            transaction
                .prepare_cached("INSERT INTO search_index (rowid, text) VALUES (?1, ?2)")
                .unwrap()
                .execute(params![number, text])
                .unwrap();
        }
        transaction.commit().unwrap();
        db
    }

    fn expression_of(db: &Connection, required: &[&str], excluded: &[&str]) -> SearchExpression {
        let term = |words: &&str, is_excluded| SearchTerm { words: (*words).into(), is_prefix: false, is_excluded };
        let terms: Vec<SearchTerm> =
            required.iter().map(|word| term(word, false)).chain(excluded.iter().map(|word| term(word, true))).collect();
        SearchExpression::of(db, &SearchWords::of(&Tokenizer::new(db).unwrap(), &terms).unwrap()).unwrap()
    }

    #[test]
    fn windows_have_all_messages_that_match_whatever_the_words_are() {
        const TEXTS: usize = 30_000;
        let random = &mut Random::new(7);
        let texts: Vec<String> = (0..TEXTS)
            .map(|number| {
                // Some words are in most texts, some in a part of them, and some in few.
                let has = [random.below(2) == 0, random.below(3) > 0, random.below(9) == 0, number < 9_000];
                let has = [has[0], has[1], has[2], has[3], random.below(300) == 0, number == 5];
                WORDS.iter().zip(has).filter(|(_, has)| *has).map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let db = index_of(texts.iter().map(String::as_str));
        for _ in 0..60 {
            let word = |random: &mut Random| WORDS[random.below(WORDS.len() as u64) as usize];
            let required: Vec<&str> = (0..1 + random.below(3)).map(|_| word(random)).collect();
            let excluded: Vec<&str> = (0..random.below(3)).map(|_| word(random)).collect();
            let has = |number: &i64, wanted: &&str| texts[*number as usize - 1].split(' ').any(|word| word == *wanted);
            let (top, least) = (1 + random.below(TEXTS as u64) as i64, 1 + random.below(3_000) as i64);
            let expected: Vec<i64> = (least..top)
                .rev()
                .filter(|number| required.iter().all(|word| has(number, word)))
                .filter(|number| !excluded.iter().any(|word| has(number, word)))
                .collect();
            let expression = expression_of(&db, &required, &excluded);
            let operands = expression.operands(&[]);
            let (mut found, mut below) = (Vec::new(), top);
            while below > least {
                let window = expression.candidates(&db, &operands, below, least).unwrap();
                assert!((least..below).contains(&window.from) && window.numbers.len() <= RARE_MESSAGES);
                assert!(window.numbers.iter().all(|number| (window.from..below).contains(number)));
                found.extend(window.numbers);
                below = window.from;
            }
            assert_eq!(found, expected, "{required:?} without {excluded:?} in {least}..{top}");
        }
    }

    #[test]
    fn a_window_does_not_read_the_whole_index() {
        const TEXTS: usize = 400_000;
        let db = index_of((0..TEXTS).map(|number| if number % 2 == 0 { "red common" } else { "blue common" }));
        for (required, excluded) in [(["red", "blue"].as_slice(), [].as_slice()), (&["common"], &["red", "blue"])] {
            let expression = expression_of(&db, required, excluded);
            let operands = expression.operands(&[]);
            let whole = pages_read(&db, || {
                assert_eq!(numbers(&db, &expression.text(&operands), i64::MAX, 1, 1).unwrap(), [0; 0]);
            });
            let window = pages_read(&db, || {
                let window = expression.candidates(&db, &operands, TEXTS as i64 / 2, 1).unwrap();
                assert_eq!(window.numbers, [0; 0]);
                assert!(window.from > TEXTS as i64 / 2 - 3 * WINDOW_MESSAGES as i64, "{}", window.from);
            });
            assert!(window > 0 && window < whole / 3, "{window} pages for a window, and {whole} for all");
        }
    }

    /// The pages of the database that the closure reads, from the cache or from the disk.
    fn pages_read(db: &Connection, call: impl Fn()) -> i32 {
        let taken = || {
            let (mut hits, mut highest) = (0, 0);
            // SAFETY: the connection is open, and the pointers are to places for the results.
            let code = unsafe {
                ffi::sqlite3_db_status(db.handle(), ffi::SQLITE_DBSTATUS_CACHE_HIT, &mut hits, &mut highest, 1)
            };
            assert_eq!(code, ffi::SQLITE_OK);
            hits
        };
        taken();
        call();
        taken()
    }
}
