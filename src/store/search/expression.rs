//! The expressions of FTS5 that select candidates: numbers of messages that may match.
//!
//! An expression is a conjunction of **operands**: the required words and prefixes, and the workspaces and conversations of the
//! caller. FTS5 finds the common numbers of its operands by leaps, so the operand that selects fewest messages bounds the work. It
//! does not stop at the least number that is wanted, and it begins with the newest messages. So FTS5 gets an expression only if one
//! of its operands is **rare**, and then no more of them than narrow the search: to read a text costs about as much as a leap.
//! Otherwise each operand is read alone, in windows that bound the messages that any of them selects.
//!
//! On a server, expressions are those of PostgreSQL, and the index bounds its windows itself (see [`server_index`]).

use crate::base::limits::{SEARCH_PREFIX_PAGES_MAX, SEARCH_WORDS_MAX};
use crate::store::search::index_leaf;
use crate::store::search::matching::SearchWords;
use crate::store::search::server_index::{self, SelectedMessages};
use crate::store::sql::{SqlConnection, SqlResult, params};
use rusqlite::ToSql;
use std::collections::VecDeque;
use std::fmt::Write;

/// Messages that a rare operand selects, at most.
const RARE_MESSAGES: usize = 4096;
/// Messages that rare scopes have, at most: more than those of most callers.
const RARE_SCOPES_MESSAGES: usize = 2 * RARE_MESSAGES;
/// Messages that are counted for one word or conversation, at most.
const COUNTED_MAX: i64 = RARE_MESSAGES as i64 + 1;
/// Messages of all users that are examined rather than searched for among those of the caller, at most.
const FEW_MESSAGES: usize = 256;
/// Messages that each operand selects within a window, at most.
const WINDOW_MESSAGES: usize = 2048;
/// Pages of the index that are read to count what a prefix selects, at most.
const COUNTED_PAGES: usize = 2;

/// What a search selects in the index, apart from the caller's access.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchExpression {
    /// Operands of required words and prefixes. The first one selects fewest messages, as far as known.
    required: Vec<Operand>,
    /// Excluded words.
    excluded: Vec<String>,
    /// Whether a message that all operands select may not match, so that its text must be read.
    needs_text: bool,
}

/// A part of an expression.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    /// An expression of FTS5, or of PostgreSQL.
    text: String,
    /// The number of messages that it selects, old ones included, if it is known to be rare.
    rare: Option<usize>,
    /// About the pages of the index that have these messages, except for a page of each segment.
    pages: usize,
}

/// The messages that an expression selects within a window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// Their numbers, newest first.
    pub numbers: VecDeque<i64>,
    /// The first number of the window.
    pub from: i64,
    /// Whether one of them may not match, so that its text must be read.
    pub needs_text: bool,
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

impl Operand {
    /// The operand that selects the messages of scopes, which are not empty.
    pub(crate) fn of_scopes(db: &SqlConnection, scopes: &[SearchScope]) -> SqlResult<Operand> {
        if db.is_server() {
            let words: Vec<String> = scopes.iter().map(|scope| server_index::operand(&scope.word(), false)).collect();
            return Ok(Operand::on_server(format!("({})", words.join(" | "))));
        }
        let words: Vec<String> = scopes.iter().map(|scope| quoted(&scope.word())).collect();
        let mut messages = 0;
        for (scope, word) in scopes.iter().zip(&words) {
            messages += match scope {
                SearchScope::Workspace(_) => count(db, COUNT, word)?,
                SearchScope::Conversation(number) => count(db, COUNT_IN_CONVERSATION, number)?,
            };
            if messages > RARE_SCOPES_MESSAGES {
                break;
            }
        }
        let rare = Some(messages).filter(|messages| *messages <= RARE_SCOPES_MESSAGES);
        Ok(Operand { text: format!("({})", words.join(" OR ")), rare, pages: usize::MAX })
    }

    /// An operand on a server, where nothing is counted.
    fn on_server(text: String) -> Operand {
        Operand { text, rare: None, pages: 0 }
    }

    fn of_word(db: &SqlConnection, word: &str) -> SqlResult<Operand> {
        if db.is_server() {
            return Ok(Operand::on_server(server_index::operand(word, false)));
        }
        let text = quoted(word);
        let rare = count_rare(db, &text)?;
        let pages = if rare.is_some() { 0 } else { pages_between(db, word.as_bytes(), word.as_bytes())? };
        Ok(Operand { text, rare, pages })
    }

    /// The operand for the words that begin with `prefix`; `None` if they have too many pages. FTS5 reads all of them at each
    /// search.
    fn of_prefix(db: &SqlConnection, prefix: &str) -> SqlResult<Option<Operand>> {
        if db.is_server() {
            return Ok(Some(Operand::on_server(server_index::operand(prefix, true))));
        }
        // No word has this byte.
        let last = [prefix.as_bytes(), &[u8::MAX]].concat();
        let pages = pages_between(db, prefix.as_bytes(), &last)?;
        if pages > SEARCH_PREFIX_PAGES_MAX {
            return Ok(None);
        }
        let text = format!("{} *", quoted(prefix));
        let rare = if pages > COUNTED_PAGES { None } else { count_rare(db, &text)? };
        Ok(Some(Operand { text, rare, pages }))
    }

    /// Orders operands by the messages that they select.
    fn rank(&self) -> (usize, usize) {
        (self.rare.unwrap_or(usize::MAX), self.pages)
    }
}

impl SearchExpression {
    /// The expression for a search. Looks up what its words and prefixes select.
    pub(crate) fn of(db: &SqlConnection, search: &SearchWords) -> SqlResult<SearchExpression> {
        let mut expression = SearchExpression::default();
        for term in &search.terms {
            // The index does not store where in a message a word is, and has words of its own that begin like this.
            let is_exact = term.words.len() == 1
                && !term.words[0].starts_with(SCOPE_MARK)
                && !(db.is_server() && server_index::is_cut(&term.words[0]));
            if term.is_excluded {
                match is_exact && !term.is_prefix {
                    true if db.is_server() => expression.excluded.push(server_index::operand(&term.words[0], false)),
                    true => expression.excluded.push(quoted(&term.words[0])),
                    false => expression.needs_text = true,
                }
                continue;
            }
            expression.needs_text |= !is_exact;
            for (word, words_left) in term.words.iter().zip((0..term.words.len()).rev()) {
                // In some scripts, a term has more words than the query shows.
                if expression.required.len() == SEARCH_WORDS_MAX {
                    expression.needs_text = true;
                } else if words_left > 0 || !term.is_prefix {
                    expression.required.push(Operand::of_word(db, word)?);
                } else if let Some(operand) = Operand::of_prefix(db, word)? {
                    expression.required.push(operand);
                } else {
                    expression.needs_text = true;
                }
            }
        }
        expression.required.sort_unstable_by_key(Operand::rank);
        Ok(expression)
    }

    /// Whether the words select so few messages of all users that their scopes need not be looked up.
    pub(crate) fn is_selective(&self) -> bool {
        let is_rare = |at: usize| self.required.get(at).and_then(|operand| operand.rare);
        is_rare(0).is_some_and(|count| count <= FEW_MESSAGES || is_rare(1).is_some())
    }

    /// The messages that the expression selects within scopes, or among all messages: those of the window that ends before
    /// `below`, and does not begin before `least`. A window has about `wanted` messages if more of them are expensive. `None` if
    /// the expression has no operands.
    pub(crate) fn candidates(
        &self,
        db: &SqlConnection,
        scopes: Option<&Operand>,
        (below, least): (i64, i64),
        wanted: usize,
    ) -> SqlResult<Option<Candidates>> {
        if db.is_server() {
            return self.server_candidates(db, scopes, (below, least), wanted);
        }
        // Two operands narrow the search. For most callers, the scopes are one of them.
        let words = self.required.len().min(if scopes.is_some() { 1 } else { 2 });
        let operands: Vec<&Operand> = self.required[..words].iter().chain(scopes).collect();
        if let Some(fewest) = operands.iter().filter_map(|operand| operand.rare).min() {
            let limit = wanted.clamp(1, RARE_MESSAGES);
            let numbers = numbers(db, &self.text(&operands), below, least, limit)?;
            let from = start_of(&numbers, limit).unwrap_or(least);
            let needs_text = self.needs_text || words < self.required.len();
            let entries = fewest * operands.len();
            return Ok(Some(Candidates { numbers: numbers.into(), from, needs_text, entries }));
        }
        let (mut common, mut from, mut entries): (Option<Vec<i64>>, i64, usize) = (None, least, 0);
        // The scopes are often the operand with most messages, and the others need not be read beyond the window.
        for operand in scopes.into_iter().chain(self.required.iter().rev()) {
            let selected = numbers(db, &operand.text, below, from, WINDOW_MESSAGES)?;
            entries += selected.len();
            from = start_of(&selected, WINDOW_MESSAGES).unwrap_or(from);
            common = Some(match common {
                Some(common) => retain_in(common, &selected, true),
                None => selected,
            });
        }
        let Some(mut common) = common else { return Ok(None) };
        common.retain(|number| *number >= from);
        for word in &self.excluded {
            let Some(newest) = common.first().copied() else { break };
            let excluded = numbers(db, word, newest + 1, from, WINDOW_MESSAGES)?;
            entries += excluded.len();
            from = start_of(&excluded, WINDOW_MESSAGES).unwrap_or(from);
            common = retain_in(common, &excluded, false);
            common.retain(|number| *number >= from);
        }
        Ok(Some(Candidates { numbers: common.into(), from, needs_text: self.needs_text, entries }))
    }

    /// As [`SearchExpression::candidates`].
    fn server_candidates(
        &self,
        db: &SqlConnection,
        scopes: Option<&Operand>,
        window: (i64, i64),
        wanted: usize,
    ) -> SqlResult<Option<Candidates>> {
        let required: Vec<&str> = self.required.iter().map(|operand| operand.text.as_str()).collect();
        let scopes = scopes.map(|operand| operand.text.as_str());
        if required.is_empty() {
            return Ok(None);
        }
        let limit = wanted.clamp(1, RARE_MESSAGES);
        let SelectedMessages { numbers, from, needs_text, entries } =
            server_index::select(db, (&required, &self.excluded, scopes), window, limit)?;
        let needs_text = needs_text || self.needs_text;
        Ok(Some(Candidates { numbers: numbers.into(), from, needs_text, entries }))
    }

    /// The conjunction of these operands, without the excluded words.
    fn text(&self, operands: &[&Operand]) -> String {
        let operands: Vec<&str> = operands.iter().map(|operand| operand.text.as_str()).collect();
        let mut text = format!("({})", operands.join(" AND "));
        for word in &self.excluded {
            write!(text, " NOT {word}").expect("writing to memory does not fail");
        }
        text
    }

    /// About the bytes that the expression holds.
    pub(crate) fn bytes(&self) -> usize {
        self.required.iter().map(|operand| &operand.text).chain(&self.excluded).map(String::len).sum()
    }
}

/// The number of messages that `sql` selects with a parameter, at most [`COUNTED_MAX`].
fn count(db: &SqlConnection, sql: &str, parameter: impl ToSql) -> SqlResult<usize> {
    let counted: i64 = db.prepare_cached(sql)?.query_row(params![parameter, COUNTED_MAX], |row| row.get(0))?;
    Ok(counted as usize)
}

/// The number of messages that a rare operand selects, old ones included; `None` for an operand that is not rare.
fn count_rare(db: &SqlConnection, operand: &str) -> SqlResult<Option<usize>> {
    Ok(Some(count(db, COUNT, operand)?).filter(|counted| *counted <= RARE_MESSAGES))
}

/// The pages of the index between the first word that is at least `first` and the last one that is at most `last`, except for a
/// page of each segment.
fn pages_between(db: &SqlConnection, first: &[u8], last: &[u8]) -> SqlResult<usize> {
    let term = |word: &[u8]| [MAIN_INDEX_MARK, word].concat();
    let terms = [term(first), term(last)];
    let mut statement = db.prepare_cached(PAGES_BETWEEN)?;
    let mut rows = statement.query(params![terms[0], terms[1]])?;
    let mut pages = 0;
    while let Some(row) = rows.next()? {
        let (between, continued, leaf): (i64, i64, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // The pages that continue another word are not read.
        let is_other =
            leaf.and_then(|leaf| index_leaf::last_term(&leaf)).is_some_and(|term| term < terms[0] || term > terms[1]);
        pages += if is_other { between - continued } else { between };
    }
    Ok(pages.max(0) as usize)
}

/// The newest numbers of at least `from` and less than `below` that an expression selects, newest first, at most `limit`.
fn numbers(db: &SqlConnection, expression: &str, below: i64, from: i64, limit: usize) -> SqlResult<Vec<i64>> {
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

/// A string of FTS5. Words have no quotes.
fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM search_index WHERE search_index MATCH ?1 LIMIT ?2)";
const COUNT_IN_CONVERSATION: &str =
    "SELECT coalesce((SELECT min(message_count, ?2) FROM conversation_state WHERE conversation = ?1), 0)";
const NUMBERS: &str = "
    SELECT rowid FROM search_index WHERE search_index MATCH ?1 AND rowid < ?2 AND rowid >= ?3 ORDER BY rowid DESC LIMIT ?4";
/// The byte before each word in the table `search_index_idx`.
const MAIN_INDEX_MARK: &[u8] = b"0";
/// Selects the pages of each segment, how many of the last of them may continue a word, and the leaf on which this word begins.
/// FTS5 stores the first word of each leaf with twice the number of the page, and one more if the messages of its last word continue
/// on further pages (`fts5_index.c`, "The %_idx table"). These have no first word.
const PAGES_BETWEEN: &str = "
    WITH RECURSIVE segments (id) AS (
        SELECT min(segid) FROM search_index_idx
        UNION ALL
        SELECT (SELECT min(segid) FROM search_index_idx WHERE segid > segments.id) FROM segments WHERE segments.id IS NOT NULL
    ), places (segment, first, last, next) AS (
        SELECT id,
            coalesce(
                (SELECT pgno >> 1 FROM search_index_idx WHERE segid = id AND term <= ?1 ORDER BY term DESC LIMIT 1), 1
            ),
            coalesce((SELECT pgno FROM search_index_idx WHERE segid = id AND term <= ?2 ORDER BY term DESC LIMIT 1), 2),
            coalesce(
                (SELECT pgno >> 1 FROM search_index_idx WHERE segid = id AND term > ?2 ORDER BY term LIMIT 1),
                (SELECT 1 + (max(d.id) & 2147483647) FROM search_index_data d WHERE d.id < (segments.id << 37) + (1 << 31))
            )
        FROM segments WHERE id IS NOT NULL
    )
    SELECT next - first - 1, next - (last >> 1) - 1,
        CASE last & 1 WHEN 1 THEN (SELECT block FROM search_index_data WHERE id = (segment << 37) + (last >> 1)) END
    FROM places";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::domain::search::SearchTerm;
    use crate::store::search::tokenizer::Tokenizer;
    use crate::store::sqlite::schema;
    use rusqlite::ffi;
    use std::path::Path;

    const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "rare", "once"];

    /// An index of texts without messages: text n is that of message n + 1.
    fn index_of<'a>(texts: impl Iterator<Item = &'a str>) -> SqlConnection {
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
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
        SqlConnection::of_sqlite(db)
    }

    fn expression_of(db: &SqlConnection, required: &[&str], excluded: &[&str]) -> SearchExpression {
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
            let matches = |number: &i64| {
                required.iter().all(|word| has(number, word)) && !excluded.iter().any(|word| has(number, word))
            };
            let expected: Vec<i64> = (least..top).rev().filter(&matches).collect();
            let expression = expression_of(&db, &required, &excluded);
            let (mut found, mut below): (Vec<i64>, i64) = (Vec::new(), top);
            while below > least {
                let wanted = 1 << random.below(13);
                let window = expression.candidates(&db, None, (below, least), wanted).unwrap().unwrap();
                assert!((least..below).contains(&window.from) && window.numbers.len() <= RARE_MESSAGES);
                assert!(window.numbers.iter().all(|number| (window.from..below).contains(number)));
                found.extend(window.numbers.iter().filter(|number| !window.needs_text || matches(number)));
                below = window.from;
            }
            assert_eq!(found, expected, "{required:?} without {excluded:?} in {least}..{top}");
        }
    }

    #[test]
    fn a_prefix_is_an_operand_unless_its_words_have_many_pages() {
        let texts: Vec<String> =
            (0..120_000).map(|number| format!("common few{} word{number}", number % 1000)).collect();
        let db = index_of(texts.iter().map(String::as_str));
        let operand = |prefix| Operand::of_prefix(&db, prefix).unwrap();
        for (prefix, messages) in [("zz", 0), ("aa", 0), ("word5999", 11), ("few999", 120), ("few99", 1200 + 120)] {
            assert_eq!(operand(prefix).unwrap().rare, Some(messages), "{prefix}");
        }
        assert!(operand("few9").is_some_and(|operand| operand.pages <= SEARCH_PREFIX_PAGES_MAX));
        for prefix in ["w", "word"] {
            assert!(operand(prefix).is_none(), "{prefix}");
        }
        assert!(Operand::of_prefix(&index_of([].into_iter()), "a").unwrap().is_some());
    }

    #[test]
    fn the_pages_of_a_common_word_are_not_those_of_its_neighbors() {
        // The word fills many pages, which follow the leaf with its neighbors.
        let text = |number| if number < 9 { format!("commo{number} common commona{number}") } else { "common".into() };
        let texts: Vec<String> = (0..120_000).map(text).collect();
        let db = index_of(texts.iter().map(String::as_str));
        assert!(Operand::of_prefix(&db, "common").unwrap().is_none());
        for (prefix, messages) in [("commo1", 1), ("commom", 0), ("commona", 9), ("commonb", 0)] {
            let operand = Operand::of_prefix(&db, prefix).unwrap();
            assert_eq!(operand.and_then(|operand| operand.rare), Some(messages), "{prefix}");
        }
    }

    #[test]
    fn a_window_does_not_read_the_whole_index() {
        const TEXTS: usize = 400_000;
        let db = index_of((0..TEXTS).map(|number| if number % 2 == 0 { "red common" } else { "blue common" }));
        for (required, excluded) in [(["red", "blue"].as_slice(), [].as_slice()), (&["common"], &["red", "blue"])] {
            let expression = expression_of(&db, required, excluded);
            let operands: Vec<&Operand> = expression.required.iter().collect();
            let whole = pages_read(&db, || {
                assert_eq!(numbers(&db, &expression.text(&operands), i64::MAX, 1, 1).unwrap(), [0; 0]);
            });
            let window = pages_read(&db, || {
                let window = expression.candidates(&db, None, (TEXTS as i64 / 2, 1), usize::MAX).unwrap().unwrap();
                assert_eq!(window.numbers, [0; 0]);
                assert!(window.from > TEXTS as i64 / 2 - 3 * WINDOW_MESSAGES as i64, "{}", window.from);
            });
            assert!(window > 0 && window < whole / 3, "{window} pages for a window, and {whole} for all");
        }
    }

    /// The pages of the database that the closure reads, from the cache or from the disk.
    fn pages_read(db: &SqlConnection, call: impl Fn()) -> i32 {
        let taken = || {
            let (mut hits, mut highest) = (0, 0);
            // SAFETY: the connection is open, and the pointers are to places for the results.
            let code = unsafe {
                ffi::sqlite3_db_status(db.sqlite().handle(), ffi::SQLITE_DBSTATUS_CACHE_HIT, &mut hits, &mut highest, 1)
            };
            assert_eq!(code, ffi::SQLITE_OK);
            hits
        };
        taken();
        call();
        taken()
    }
}
