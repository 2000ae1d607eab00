//! Removes credentials from an upstream's texts.
//!
//! Invariant: the result has neither the configured key nor a prefix or suffix of it of `KEY_PIECE_BYTES_MIN` bytes or more,
//! and no word that looks like a key. A word too many is hidden rather than one too few.

use crate::base::limits::{KEY_PIECE_BYTES_MIN, TOKEN_RUN_CHARS_MIN};
use crate::config::types::Secret;

/// Replaces a credential.
const HIDDEN: &str = "[key]";

/// Beginnings of the keys of well-known services.
const KEY_PREFIXES: [&str; 22] = [
    "sk-",
    "sk_",
    "pk-",
    "rk-",
    "gsk_",
    "xai-",
    "r8_",
    "hf_",
    "aiza",
    "nvapi-",
    "csk-",
    "pplx-",
    "sess-",
    "eyj",
    "ghp_",
    "gho_",
    "github_pat_",
    "akia",
    "tgp_",
    "rpa_",
    "fw_",
    "dapi",
];
/// Words after `Bearer` that are not a credential.
const NOT_BEARER: [&str; 14] = [
    "token",
    "tokens",
    "authentication",
    "authorization",
    "auth",
    "scheme",
    "header",
    "key",
    "is",
    "was",
    "and",
    "or",
    "credentials",
    "prefix",
];
/// Words after a mention of a key within which an identifier is taken for it.
const WORDS_AFTER_KEY: u8 = 4;

/// The text without credentials.
pub(crate) fn redact(text: &str, secrets: &[Secret]) -> String {
    let keys = secrets.iter().map(Secret::expose).filter(|key| !key.is_empty());
    hide_words(&keys.fold(text.to_owned(), |text, key| hide_key(&text, key)))
}

/// Hides the configured key, and its beginnings and ends.
fn hide_key(text: &str, key: &str) -> String {
    let length = key.len().min(KEY_PIECE_BYTES_MIN);
    let (all, key_bytes) = (text.as_bytes(), key.as_bytes());
    let mut is_hidden = vec![false; all.len()];
    for at in occurrences(all, &key_bytes[..length]) {
        let common = all[at..].iter().zip(key_bytes).take_while(|(a, b)| a == b).count();
        is_hidden[at..at + common].fill(true);
    }
    for at in occurrences(all, &key_bytes[key_bytes.len() - length..]) {
        let end = at + length;
        let common = all[..end].iter().rev().zip(key_bytes.iter().rev()).take_while(|(a, b)| a == b).count();
        is_hidden[end - common..end].fill(true);
    }
    let mut out = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, char) in text.char_indices() {
        let hides = is_hidden[at..at + char.len_utf8()].contains(&true);
        match (hides, was_hidden) {
            (false, _) => out.push(char),
            (true, false) => out.push_str(HIDDEN),
            (true, true) => {}
        }
        was_hidden = hides;
    }
    out
}

/// All occurrences, overlapping ones too.
fn occurrences<'t>(text: &'t [u8], piece: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + memchr::memmem::find(text.get(from..)?, piece)?;
        from = at + 1;
        Some(at)
    })
}

/// What the last words and the characters since the last one say about the next word.
#[derive(Debug, Default)]
struct WordContext {
    /// The last word was `Bearer` or `Basic`.
    after_scheme: bool,
    /// The last word names a credential: `api_key`, `token`.
    after_name: bool,
    /// So many more words may be the value of a key that was mentioned.
    words_after_key: u8,
}

/// Hides words that look like a credential.
fn hide_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut context = WordContext::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (between, after) = rest.split_at(rest.find(is_word_char).unwrap_or(rest.len()));
        out.push_str(between);
        let (word, after) = after.split_at(after.find(|char| !is_word_char(char)).unwrap_or(after.len()));
        // A full stop after a word ends a sentence.
        let core = word.trim_end_matches('.');
        if is_credential(core, between, &context) {
            out.push_str(HIDDEN);
            out.push_str(&word[core.len()..]);
            context = WordContext { words_after_key: context.words_after_key, ..WordContext::default() };
        } else {
            out.push_str(word);
            if !core.is_empty() {
                context.note(core);
            }
        }
        rest = after;
    }
    out
}

impl WordContext {
    fn note(&mut self, word: &str) {
        let lower = word.to_ascii_lowercase();
        self.after_scheme = matches!(&lower[..], "bearer" | "basic");
        self.after_name = ["key", "token", "secret", "password", "passwd", "authorization", "credential"]
            .iter()
            .any(|name| lower.ends_with(name));
        let is_key = ["key", "keys", "secret", "password"].iter().any(|name| lower.ends_with(name));
        self.words_after_key = if is_key { WORDS_AFTER_KEY } else { self.words_after_key.saturating_sub(1) };
    }
}

fn is_word_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '*' | '.' | '\u{2026}' | '\u{2022}')
}

fn is_credential(word: &str, between: &str, context: &WordContext) -> bool {
    let length = word.chars().count();
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_assigned = context.after_name
        && between.len() <= 8
        && between.contains(['=', ':'])
        && (has_digit || length >= TOKEN_RUN_CHARS_MIN || !between.ends_with(' '));
    (length >= 4 && is_assigned)
        || (context.after_scheme && length >= 4 && !NOT_BEARER.contains(&&word.to_ascii_lowercase()[..]))
        || (context.words_after_key > 0 && length >= 8 && has_digit)
        || has_key_prefix(word)
        || is_masked(word, has_digit)
        || is_token(word)
}

fn has_key_prefix(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let rest = KEY_PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.len() >= 3)
}

/// `sk-p****9xyZ`, `abcd...1234`: the ends of a key around a mask.
fn is_masked(word: &str, has_digit: bool) -> bool {
    let inner = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    let has_text = !inner.is_empty();
    (has_text && (word.contains("***") || word.contains("\u{2022}\u{2022}")))
        || inner.contains("**")
        || (has_digit && (inner.contains("...") || inner.contains('\u{2026}')))
}

/// A long run of letters and digits, or a UUID.
fn is_token(word: &str) -> bool {
    let is_mixed =
        |run: &str| run.bytes().any(|byte| byte.is_ascii_digit()) && run.bytes().any(|byte| byte.is_ascii_alphabetic());
    let runs = || word.split(|char: char| !char.is_ascii_alphanumeric());
    let lengths = || runs().map(str::len);
    let is_uuid = lengths().eq([8, 4, 4, 4, 12]) && runs().all(|run| run.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_uuid || runs().any(|run| run.len() >= TOKEN_RUN_CHARS_MIN && is_mixed(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_and_other_words_stay() {
        let table = [
            ("Incorrect API key provided: sk-p****9xyZ.", "Incorrect API key provided: [key]."),
            (
                "Incorrect API key provided: abc*****xyz. See the page",
                "Incorrect API key provided: [key]. See the page",
            ),
            ("key sk-proj-...9xyZ is bad", "key [key] is bad"),
            ("key ab12\u{2026}yz89 is bad", "key [key] is bad"),
            ("Authorization: Bearer abcdef", "Authorization: Bearer [key]"),
            ("bearer zyx-123 rejected", "bearer [key] rejected"),
            ("Bearer token is missing", "Bearer token is missing"),
            ("?key=abcd&model=m", "?key=[key]&model=m"),
            ("{\"api_key\":\"hello-there\"}", "{\"api_key\":\"[key]\"}"),
            ("token: 1234abcd", "token: [key]"),
            ("Invalid API key: please check", "Invalid API key: please check"),
            ("API key 550e8400-e29b-41d4-a716-446655440000 unknown", "API key [key] unknown"),
            ("request 550e8400-e29b-41d4-a716-446655440000", "request [key]"),
            ("gsk_abcdefgh and xai-abcdef and hf_abcdefg", "[key] and [key] and [key]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln", "[key]"),
            ("AIzaSyA1234567", "[key]"),
            ("0123456789abcdef0123456789abcdef", "[key]"),
            ("**Note** the model gpt-4o-mini-2024-07-18 is gone", "**Note** the model gpt-4o-mini-2024-07-18 is gone"),
            ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
            ("claude-3-5-sonnet-20241022 has 200000 tokens", "claude-3-5-sonnet-20241022 has 200000 tokens"),
            ("Loading model... please wait", "Loading model... please wait"),
            ("the maximum is 4096 tokens, but 5000 were sent", "the maximum is 4096 tokens, but 5000 were sent"),
            ("d\u{e9}j\u{e0} vu \u{1f600}", "d\u{e9}j\u{e0} vu \u{1f600}"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(redact(text, &[]), expected, "{text}");
            assert_eq!(redact(expected, &[]), expected, "twice: {text}");
        }
    }

    #[test]
    fn the_ends_of_the_configured_key_are_hidden() {
        let secrets = [Secret::new("unrelated-value"), Secret::new("open-sesame/please")];
        let table = [
            ("open-sesame/please", "[key]"),
            ("open-sesame/pleaseopen-sesame/please", "[key]"),
            ("open-s", "[key]"),
            ("xopen-sesxx", "x[key]xx"),
            ("open-", "open-"),
            ("please open", "[key] open"),
            ("/please", "[key]"),
            ("lease", "lease"),
            ("<open-ses...e/please>", "<[key]...[key]>"),
            ("\u{e9}open-sesame\u{e9}", "\u{e9}[key]\u{e9}"),
        ];
        for (text, expected) in table {
            assert_eq!(redact(text, &secrets), expected, "{text}");
        }
        assert_eq!(redact("a tiny key: abc", &[Secret::new("abc")]), "a tiny key: [key]");
        assert_eq!(redact("aaaaaaaaaaaaaaa", &[Secret::new("aaaaaaa")]), "[key]");
        assert_eq!(redact("nothing", &[Secret::new("")]), "nothing");
    }
}
