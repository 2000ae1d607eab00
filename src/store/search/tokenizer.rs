//! The tokenizer of the index, `unicode61`, which cuts texts into words
//! <https://www.sqlite.org/fts5.html#unicode61_tokenizer>.
//!
//! Texts that are not indexed yet, phrases and snippets need the words of a text in order. The tokenizer of SQLite itself returns
//! them, so they are the words of the index.

use crate::store::sql::{SqlConnection, SqlResult};
use rusqlite::{Error, ffi};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::{ControlFlow, Range};
use std::ptr::{self, NonNull};

const NAME: &CStr = c"unicode61";
/// As in the statement that creates the index.
const ARGUMENTS: [&CStr; 2] = [c"remove_diacritics", c"2"];

type Create = unsafe extern "C" fn(*mut c_void, *mut *const c_char, c_int, *mut *mut ffi::Fts5Tokenizer) -> c_int;
type Delete = unsafe extern "C" fn(*mut ffi::Fts5Tokenizer);
type OnToken = unsafe extern "C" fn(*mut c_void, c_int, *const c_char, c_int, c_int, c_int) -> c_int;
type Tokenize =
    unsafe extern "C" fn(*mut ffi::Fts5Tokenizer, *mut c_void, c_int, *const c_char, c_int, Option<OnToken>) -> c_int;

/// An instance of the tokenizer. It does not refer to the connection by which it was found.
pub(crate) struct Tokenizer {
    instance: NonNull<ffi::Fts5Tokenizer>,
    tokenize: Tokenize,
    delete: Delete,
}

impl Tokenizer {
    /// Creates an instance. If the database is on a server, an empty one of SQLite lends the tokenizer.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub(crate) fn new(db: &SqlConnection) -> SqlResult<Tokenizer> {
        match db {
            SqlConnection::Sqlite(db, _) => Ok(Tokenizer::of_sqlite(db)?),
            #[cfg(feature = "cluster")]
            SqlConnection::Postgres(_) => Ok(Tokenizer::of_sqlite(&rusqlite::Connection::open_in_memory()?)?),
        }
    }

    fn of_sqlite(db: &rusqlite::Connection) -> rusqlite::Result<Tokenizer> {
        let api = fts5_api(db)?;
        // SAFETY: FTS5 returned the pointer, and keeps what it points to as long as the connection is open.
        let find = unsafe { (*api).xFindTokenizer }.ok_or_else(missing)?;
        let (mut context, mut functions) =
            (ptr::null_mut(), ffi::fts5_tokenizer { xCreate: None, xDelete: None, xTokenize: None });
        // SAFETY: the arguments are the interface, a C string and places for the results.
        check(unsafe { find(api, NAME.as_ptr(), &mut context, &mut functions) })?;
        let (create, delete, tokenize): (Create, Delete, Tokenize) =
            match (functions.xCreate, functions.xDelete, functions.xTokenize) {
                (Some(create), Some(delete), Some(tokenize)) => (create, delete, tokenize),
                _ => return Err(missing()),
            };
        let (mut arguments, mut instance) = (ARGUMENTS.map(CStr::as_ptr), ptr::null_mut());
        // SAFETY: the context belongs to the function, and the arguments are C strings that outlive the call.
        check(unsafe { create(context, arguments.as_mut_ptr(), ARGUMENTS.len() as c_int, &mut instance) })?;
        let instance = NonNull::new(instance).ok_or_else(missing)?;
        Ok(Tokenizer { instance, tokenize, delete })
    }

    /// Calls `each` with the words of a text, in the form that the index has, and the bytes that they come from, until it breaks.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub(crate) fn words<F>(&self, text: &str, mut each: F) -> rusqlite::Result<()>
    where
        F: FnMut(&str, Range<usize>) -> ControlFlow<()>,
    {
        let length = c_int::try_from(text.len()).map_err(|_| Error::IntegralValueOutOfRange(0, i64::MAX))?;
        let context = ptr::from_mut(&mut each).cast();
        // SAFETY: the instance is this tokenizer's, the text has the length, and the context is what the callback expects. The
        // tokenizer does not keep them.
        check(unsafe {
            let (instance, text) = (self.instance.as_ptr(), text.as_ptr().cast());
            (self.tokenize)(instance, context, ffi::FTS5_TOKENIZE_DOCUMENT, text, length, Some(on_token::<F>))
        })
    }

    /// The words of a text.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub(crate) fn all_words(&self, text: &str) -> rusqlite::Result<Vec<String>> {
        let mut words = Vec::new();
        self.words(text, |word, _| {
            words.push(word.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(words)
    }
}

impl Drop for Tokenizer {
    fn drop(&mut self) {
        // SAFETY: the instance is not used any more.
        unsafe { (self.delete)(self.instance.as_ptr()) }
    }
}

/// Passes a word to the closure of [`Tokenizer::words`].
unsafe extern "C" fn on_token<F>(
    context: *mut c_void,
    _flags: c_int,
    word: *const c_char,
    length: c_int,
    start: c_int,
    end: c_int,
) -> c_int
where
    F: FnMut(&str, Range<usize>) -> ControlFlow<()>,
{
    // SAFETY: the context is the closure, which is borrowed for the call of the tokenizer, and the word has the length.
    let (each, word) =
        unsafe { (&mut *context.cast::<F>(), std::slice::from_raw_parts(word.cast::<u8>(), length as usize)) };
    match each(str::from_utf8(word).unwrap_or_default(), start as usize..end as usize) {
        ControlFlow::Continue(()) => ffi::SQLITE_OK,
        ControlFlow::Break(()) => ffi::SQLITE_DONE,
    }
}

/// The interface of FTS5 <https://www.sqlite.org/fts5.html#extending_fts5>.
fn fts5_api(db: &rusqlite::Connection) -> rusqlite::Result<*mut ffi::fts5_api> {
    let (mut statement, mut api) = (ptr::null_mut(), ptr::null_mut::<ffi::fts5_api>());
    // SAFETY: the connection is open while it is borrowed. The statement is finalized before its pointer is gone.
    unsafe {
        check(ffi::sqlite3_prepare_v2(db.handle(), c"SELECT fts5(?1)".as_ptr(), -1, &mut statement, ptr::null_mut()))?;
        ffi::sqlite3_bind_pointer(statement, 1, ptr::from_mut(&mut api).cast(), c"fts5_api_ptr".as_ptr(), None);
        ffi::sqlite3_step(statement);
        check(ffi::sqlite3_finalize(statement))?;
    }
    if api.is_null() { Err(missing()) } else { Ok(api) }
}

fn check(code: c_int) -> rusqlite::Result<()> {
    match code {
        ffi::SQLITE_OK | ffi::SQLITE_DONE => Ok(()),
        code => Err(Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

fn missing() -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some("FTS5 lacks its tokenizer".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_without_case_and_diacritics() {
        let tokenizer = Tokenizer::of_sqlite(&rusqlite::Connection::open_in_memory().unwrap()).unwrap();
        let table: [(&str, &[&str]); 8] = [
            ("", &[]),
            (" ,.!\0\u{200f}", &[]),
            ("Hello, World", &["hello", "world"]),
            ("foo-bar_baz 4711", &["foo", "bar", "baz", "4711"]),
            ("Zu\u{308}rich Z\u{fc}rich \u{1ec6}", &["zurich", "zurich", "e"]),
            ("\u{411}\u{418} \u{4e2d}\u{6587}\u{3002}x", &["\u{431}\u{438}", "\u{4e2d}\u{6587}", "x"]),
            ("a\0b", &["a", "b"]),
            ("\u{e000}w12 \u{e001}", &["\u{e000}w12", "\u{e001}"]),
        ];
        for (text, words) in table {
            assert_eq!(tokenizer.all_words(text).unwrap(), words, "{text:?}");
        }
    }

    #[test]
    fn ranges_are_bytes_of_the_text_and_reading_may_stop() {
        let tokenizer = Tokenizer::of_sqlite(&rusqlite::Connection::open_in_memory().unwrap()).unwrap();
        let text = "\u{201e}\u{dc}ber\u{201c} Z\u{fc}ge und mehr";
        let mut ranges = Vec::new();
        tokenizer
            .words(text, |word, range| {
                ranges.push(&text[range]);
                if word == "und" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(ranges, ["\u{dc}ber", "Z\u{fc}ge", "und"]);
    }
}
