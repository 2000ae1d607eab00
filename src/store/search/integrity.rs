//! Whether the index has exactly the words that it should have.

use crate::store::search::server_index;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::{SqlConnection, SqlResult};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

/// Words of this length are not compared, because FTS5 cuts them at 32 KiB.
const LONG_WORD_BYTES: usize = 16 * 1024;

/// Pairs of a word and a message, as their number and the sum of their hashes, so that the order does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct WordPairs {
    count: u64,
    sum: u64,
}

impl WordPairs {
    fn add(&mut self, word: &[u8], message: i64) {
        if word.len() >= LONG_WORD_BYTES {
            return;
        }
        let mut hasher = DefaultHasher::new();
        (word, message).hash(&mut hasher);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

/// Whether the index has the words of the texts that it should have, and no others.
pub(crate) fn is_consistent(db: &SqlConnection) -> SqlResult<bool> {
    if db.is_server() {
        return server_index::is_consistent(db);
    }
    let indexed = indexed_words(db.sqlite())?;
    let (tokenizer, mut expected) = (Tokenizer::new(db)?, WordPairs::default());
    let mut statement = db.prepare_cached(EXPECTED_TEXTS)?;
    let mut rows = statement.query([])?;
    let mut words = HashSet::new();
    while let Some(row) = rows.next()? {
        let (message, text): (i64, &str) = (row.get(0)?, row.text(1)?);
        let (from, end) = (row.get::<i64>(2)? as usize, row.get::<Option<i64>>(3)?);
        let end = end.map_or(text.len(), |end| end as usize);
        let (Some(rest), Some(beginning)) = (text.get(from..end), text.get(..from)) else { return Ok(false) };
        tokenizer.words(rest, |word, _| {
            if !words.contains(word) {
                words.insert(word.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        // A word is removed with the first part that has it.
        tokenizer.words(beginning, |word, _| {
            words.remove(word);
            ControlFlow::Continue(())
        })?;
        words.drain().for_each(|word| expected.add(word.as_bytes(), message));
    }
    Ok(indexed == expected)
}

/// The words of the index. FTS5 cuts a long word within a character, so they are bytes.
fn indexed_words(db: &rusqlite::Connection) -> rusqlite::Result<WordPairs> {
    let mut indexed = WordPairs::default();
    let mut statement = db.prepare_cached(INDEXED_WORDS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        indexed.add(row.get_ref(0)?.as_bytes()?, row.get(1)?);
    }
    Ok(indexed)
}

const INDEXED_WORDS: &str = "SELECT term, doc FROM search_words";
/// Selects texts, and the first byte and the end of what the index has of each.
const EXPECTED_TEXTS: &str = "
    SELECT t.number, t.text, 0, NULL FROM search_texts t
    WHERE t.number <= (SELECT through FROM search_state WHERE id = 1) AND t.number NOT IN (SELECT number FROM search_pending)
    UNION ALL
    SELECT p.number, t.text, 0, p.done FROM search_pending p JOIN search_texts t ON t.number = p.number
    UNION ALL
    SELECT number, text, done, NULL FROM search_removals";
