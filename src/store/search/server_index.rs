//! The index on a server: a table with a `tsvector` for each part of a text, and a GIN index of its words.
//!
//! The words are those of the same tokenizer as on SQLite. Each begins with the **block** of its message: its number without the
//! low bits. So the words of a block are next to each other in the index, and what one word or prefix selects in a block is
//! bounded, however common it is. A search visits the blocks that have messages, newest first, until it has enough.
//!
//! Most texts have one row. The rows of a text in parts have a word that says so, because each has only some of the words.

use crate::base::text::beginning;
use crate::domain::id::EventNumber;
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::values::sql;
use crate::store::sql::{Row, SqlConnection, SqlResult, params};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

/// The low bits of a number, which are the place of a message within its block: enough that a search visits few blocks.
const BLOCK_BITS: u32 = 14;
/// Blocks that one statement visits, at most.
const BLOCKS_MAX: usize = 32;
/// The work of visiting a block, in entries of an index.
const BLOCK_ENTRIES: usize = 512;
/// Bytes of a word that the index has. PostgreSQL accepts 2046 with the block.
const WORD_BYTES_MAX: usize = 1024;
/// Stands for the block in a query. No word has this character.
const BLOCK_MARK: &str = "#";
/// What follows the block in the word that rows of a text in parts have. It follows in no other.
const PART_MARK: &str = "+";
/// Separates the words of a parameter. No word has this character.
const SEPARATOR: &str = "\u{1}";
/// Texts that are read at a time to check the index.
const CHECKED_TEXTS: usize = 64;

/// The messages that a query selects within a window.
pub(crate) struct SelectedMessages {
    /// Their numbers, newest first.
    pub numbers: Vec<i64>,
    /// The first number of the window.
    pub from: i64,
    /// Whether one of them may not match, because the index has it in parts.
    pub needs_text: bool,
    /// About the entries of the index that were read.
    pub entries: usize,
}

/// The query for a word, or for the words that begin with it.
pub(crate) fn operand(word: &str, is_prefix: bool) -> String {
    let indexed = beginning(word, WORD_BYTES_MAX);
    let prefix_mark = if is_prefix && indexed.len() == word.len() { ":*" } else { "" };
    format!("'{BLOCK_MARK} {indexed}'{prefix_mark}")
}

/// Whether the index may have a longer word as this one, because it cuts both.
pub(crate) fn is_cut(word: &str) -> bool {
    word.len() + char::MAX.len_utf8() > WORD_BYTES_MAX
}

/// The messages that a search selects in some blocks before `below`, at most `limit`, and none before `least`: those that have all
/// `required` operands, of which there is one at least, and no excluded one, and that a query for scopes selects.
pub(crate) fn select(
    db: &SqlConnection,
    (required, excluded, scopes): (&[&str], &[String], Option<&str>),
    (below, least): (i64, i64),
    limit: usize,
) -> SqlResult<SelectedMessages> {
    // Without statistics, a plan may read the whole table.
    db.run("SET LOCAL enable_seqscan = off", [])?;
    let mut statement = db.prepare_cached(SELECT)?;
    let (query, is_exact) = (query_of(required, excluded, scopes), is_exact_in_parts(required, excluded));
    let mut rows = statement.query(params![query, below, least, BLOCKS_MAX as i64, limit as i64])?;
    let mut selected = SelectedMessages { numbers: Vec::new(), from: least, needs_text: false, entries: 0 };
    let (mut visited, mut blocks, mut last) = (0, 0, least);
    while let Some(row) = rows.next()? {
        let (first, message): (i64, Option<i64>) = (row.get(0)?, row.get(2)?);
        (visited, blocks, last) = (visited + 1, row.get(1)?, message.unwrap_or(first));
        if let Some(message) = message {
            selected.numbers.push(message);
            selected.needs_text |= !is_exact && row.get::<i64>(3)? > 0;
        }
        selected.from = first;
    }
    if visited == limit {
        selected.from = last;
    } else if blocks < BLOCKS_MAX as i64 {
        selected.from = least;
    }
    selected.from = selected.from.max(least);
    selected.entries = BLOCK_ENTRIES * blocks as usize + visited;
    // The blocks are visited in order, and so are the messages of each.
    assert!(selected.numbers.is_sorted_by(|one, next| one > next), "messages are in descending order");
    Ok(selected)
}

/// The query for all operands and scopes. Of a text in parts, one operand suffices, because the others may be in other rows.
fn query_of(required: &[&str], excluded: &[String], scopes: Option<&str>) -> String {
    let mut all = required.join(" & ");
    excluded.iter().for_each(|operand| all += &format!(" & !{operand}"));
    if !is_exact_in_parts(required, excluded) {
        // A long word is probably the rarest.
        let one = required.iter().max_by_key(|operand| operand.len()).expect("an operand is required");
        all = format!("(({all}) | ('{BLOCK_MARK}{PART_MARK}' & {one}))");
    }
    match scopes {
        None => all,
        Some(scopes) => format!("{scopes} & {all}"),
    }
}

/// Whether a row of a text in parts shows whether the text has what is required and nothing else.
fn is_exact_in_parts(required: &[&str], excluded: &[String]) -> bool {
    required.len() == 1 && excluded.is_empty()
}

/// Records that a message will have this content, if the index may have words of another one.
pub(crate) fn will_update(db: &SqlConnection, message: EventNumber, content: &str) -> SqlResult<()> {
    db.prepare_cached(SET_CHANGED)?.run(params![sql(message), content])?;
    db.prepare_cached(REMOVE_CHANGED)?.run([sql(message)])
}

/// Adds the words of a part of a message's text.
pub(crate) fn add(
    db: &SqlConnection,
    tokenizer: &Tokenizer,
    message: i64,
    text: &str,
    part: Range<usize>,
) -> SqlResult<()> {
    let end = if part == (0..text.len()) { 0 } else { part.end as i64 };
    let words: Vec<String> = words_of(tokenizer, message, text, part)?.into_iter().collect();
    db.prepare_cached(ADD)?.run(params![message, end, words.join(SEPARATOR)])
}

/// Removes the words of a message.
pub(crate) fn remove(db: &SqlConnection, message: i64) -> SqlResult<()> {
    db.prepare_cached(REMOVE)?.run([message])
}

/// Removes the words of the messages of a conversation through number `last`.
pub(crate) fn remove_through(db: &SqlConnection, conversation: i64, last: i64) -> SqlResult<()> {
    db.prepare_cached(REMOVE_THROUGH)?.run([conversation, last])
}

/// Whether the index has the words of the texts that it should have, and no others.
pub(crate) fn is_consistent(db: &SqlConnection) -> SqlResult<bool> {
    let tokenizer = Tokenizer::new(db)?;
    let mut after = 0;
    loop {
        let mut statement = db.prepare_cached(CHECKED_TEXTS_AFTER)?;
        let texts: BTreeMap<i64, (String, i64)> = statement
            .query_map([after, CHECKED_TEXTS as i64], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?
            .collect::<SqlResult<_>>()?;
        let last = texts.keys().last().copied().filter(|_| texts.len() == CHECKED_TEXTS).unwrap_or(i64::MAX);
        let mut rows: BTreeMap<i64, Vec<IndexRow>> = BTreeMap::new();
        let mut statement = db.prepare_cached(CHECKED_ROWS)?;
        for row in statement.query_map([after, last], index_row)? {
            let (message, row) = row?;
            rows.entry(message).or_default().push(row);
        }
        for (message, (text, done)) in texts {
            let found = rows.remove(&message).unwrap_or_default();
            if !is_text_indexed(&tokenizer, message, &text, done as usize, &found)? {
                return Ok(false);
            }
        }
        if !rows.is_empty() {
            return Ok(false);
        }
        if last == i64::MAX {
            return Ok(true);
        }
        after = last;
    }
}

/// A row of the index.
struct IndexRow {
    /// The byte at which its part of the text ends; 0 for a whole text.
    end: i64,
    words: BTreeSet<String>,
}

fn index_row(row: Row<'_>) -> SqlResult<(i64, IndexRow)> {
    let words = row.text(2)?.split(SEPARATOR).map(str::to_owned).collect();
    Ok((row.get(0)?, IndexRow { end: row.get(1)?, words }))
}

/// Whether the rows of a message, in order, have the words of the first `done` bytes of its text.
fn is_text_indexed(tokenizer: &Tokenizer, message: i64, text: &str, done: usize, rows: &[IndexRow]) -> SqlResult<bool> {
    let mut start = 0;
    for row in rows {
        let end = if row.end == 0 { text.len() } else { row.end as usize };
        if start > end || text.get(start..end).is_none() || words_of(tokenizer, message, text, start..end)? != row.words
        {
            return Ok(false);
        }
        start = end;
    }
    Ok(start == done)
}

/// The words that the index has for a part of a message's text.
fn words_of(tokenizer: &Tokenizer, message: i64, text: &str, part: Range<usize>) -> SqlResult<BTreeSet<String>> {
    let block = message >> BLOCK_BITS;
    let mut words = BTreeSet::new();
    tokenizer.words(&text[part.clone()], |word, _| {
        words.insert(format!("{block:x} {}", beginning(word, WORD_BYTES_MAX)));
        ControlFlow::Continue(())
    })?;
    if part.start > 0 {
        // A text begins with the words that name its scopes.
        let mut scopes = 2;
        tokenizer.words(text, |word, _| {
            words.insert(format!("{block:x} {word}"));
            scopes -= 1;
            if scopes > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    if part != (0..text.len()) {
        words.insert(format!("{block:x}{PART_MARK}"));
    }
    Ok(words)
}

/// As `step::NEW_TEXTS`. A server sends all rows, so it leaves out the texts of contents that have more than `?3` bytes, and those
/// after the first `?4` bytes.
pub(crate) const NEW_TEXTS: &str = "
    SELECT m.number, CASE WHEN m.bytes <= ?3 AND m.bytes_before < ?4
            THEN (SELECT t.text FROM search_texts t WHERE t.number = m.number) END,
        coalesce(m.bytes > ?3, false), m.bytes IS NOT NULL AND m.bytes_before >= ?4
    FROM (
        SELECT n.number, n.bytes,
            coalesce(sum(CASE WHEN n.bytes <= ?3 THEN n.bytes END)
                OVER (ORDER BY n.number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
        FROM (
            SELECT number, CASE WHEN published_by IS NOT NULL THEN octet_length(content) END AS bytes
            FROM messages WHERE number > ?1 ORDER BY number LIMIT ?2
        ) n
    ) m ORDER BY m.number";
/// Selects blocks, their count, and the messages in them that a query selects: a row for each message, and one for a block
/// without any. The condition on the numbers is one that no index has, so that the index of words is used.
const SELECT: &str = "
    WITH RECURSIVE blocks (first, count) AS (
        SELECT (max(number) >> 14) << 14, 1 FROM search_words WHERE number < ?2
        UNION ALL
        SELECT (SELECT (max(w.number) >> 14) << 14 FROM search_words w WHERE w.number < b.first), b.count + 1
        FROM blocks b WHERE b.first > ?3 AND b.count < ?4
    )
    SELECT b.first, b.count, found.number, found.part FROM blocks b LEFT JOIN LATERAL (
        SELECT w.number, max(w.part) AS part FROM search_words w
        WHERE w.words @@ CAST(replace(?1, '#', to_hex(b.first >> 14)) AS tsquery) AND w.number + 0 < ?2 AND w.number + 0 >= ?3
        GROUP BY w.number ORDER BY w.number DESC
    ) found ON true
    WHERE b.first IS NOT NULL LIMIT ?5";
const SET_CHANGED: &str = "
    INSERT INTO search_pending (number, done) SELECT number, 0 FROM messages
    WHERE number = ?1 AND content <> ?2 AND published_by IS NOT NULL
        AND number <= (SELECT through FROM search_state WHERE id = 1)
    ON CONFLICT (number) DO UPDATE SET done = 0";
const REMOVE_CHANGED: &str = "
    DELETE FROM search_words WHERE number = ?1 AND number IN (SELECT number FROM search_pending WHERE number = ?1 AND done = 0)";
const ADD: &str = "
    INSERT INTO search_words (number, part, words) VALUES (?1, ?2, array_to_tsvector(string_to_array(?3, chr(1))))";
const REMOVE: &str = "DELETE FROM search_words WHERE number = ?1";
const REMOVE_THROUGH: &str = "
    DELETE FROM search_words WHERE number IN (SELECT number FROM conversation_index WHERE conversation = ?1 AND number <= ?2)";
/// Selects texts, and the end of what the index has of each.
const CHECKED_TEXTS_AFTER: &str = "
    SELECT t.number, t.text, coalesce(p.done, octet_length(t.text)) FROM search_texts t
    LEFT JOIN search_pending p ON p.number = t.number
    WHERE t.number > ?1 AND t.number <= (SELECT through FROM search_state WHERE id = 1) ORDER BY t.number LIMIT ?2";
const CHECKED_ROWS: &str = "
    SELECT number, part, array_to_string(tsvector_to_array(words), chr(1)) FROM search_words
    WHERE number > ?1 AND number <= ?2 ORDER BY number, part";
