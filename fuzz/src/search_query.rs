//! Queries of searches: a second parser, which reads one character at a time, and round trips through a canonical spelling.
//!
//! Input: the query. It may have characters beyond ASCII.

use cortex_core::internals::SearchTerm;
use cortex_core::internals::limits::{SEARCH_QUERY_CHARS_MAX, SEARCH_WORDS_MAX};
use cortex_core::internals::wire::search_query::search_terms;

pub fn run(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let got = search_terms(query);
    let chars: Vec<char> = query.chars().collect();
    assert_eq!(got.as_ref().ok(), read(&chars).as_ref(), "{query:?}: {got:?}");
    match got {
        Ok(terms) => valid(query, &terms),
        Err(rule) => invalid(&chars, &rule),
    }
}

fn valid(query: &str, terms: &[SearchTerm]) {
    let mut rest = query;
    for term in terms {
        let at = rest.find(&*term.words).expect("the words of the terms are slices, one after the other");
        rest = &rest[at + term.words.len()..];
    }
    let canonical: Vec<String> = terms.iter().map(spelled).collect();
    let canonical = canonical.join(" ");
    assert_eq!(search_terms(&canonical).as_deref(), Ok(terms), "{canonical:?}");
    // Each term is a query of its own, unless it is excluded.
    for term in terms {
        let alone = search_terms(&spelled(term));
        assert_eq!(alone.is_ok(), !term.is_excluded, "{term:?}");
    }
}

/// A term without quotes, if it needs none.
fn spelled(term: &SearchTerm) -> String {
    let needs_quotes =
        term.words.starts_with('-') || term.words.contains(|char: char| char.is_whitespace() || char == '*');
    let quote = if needs_quotes { "\"" } else { "" };
    let (minus, star) = (if term.is_excluded { "-" } else { "" }, if term.is_prefix { "*" } else { "" });
    format!("{minus}{quote}{}{quote}{star}", term.words)
}

/// A violation at one place names a character of the query.
fn invalid(chars: &[char], rule: &str) {
    assert!(!rule.is_empty());
    let Some(rest) = rule.strip_prefix("character ") else { return };
    let (position, rule) = rest.split_once(": ").expect("a position precedes the rule");
    let at = position.parse::<usize>().expect("a position is a number") - 1;
    let found = chars[at];
    let is_there = match rule.split(' ').next() {
        Some("-") => found == '-',
        Some("*") => found == '*',
        Some("U+0000") => found == '\0',
        Some("the") => is_quote(found),
        _ => true,
    };
    assert!(is_there, "{rule}: {found:?}");
}

fn is_quote(char: char) -> bool {
    "\"“”„".contains(char)
}

fn is_searchable(char: char) -> bool {
    let code = u32::from(char);
    let is_private = (0xe000..=0xf8ff).contains(&code) || (code >= 0xf0000 && code & 0xffff < 0xfffe);
    char.is_alphanumeric() || is_private
}

/// The place of the parser.
enum State {
    Between,
    /// After a minus.
    Minus,
    Word(String),
    Phrase(String),
    /// After the closing quote.
    Closed(String),
    /// After a star.
    Starred(String),
}

/// The terms, or nothing if the query is invalid.
fn read(chars: &[char]) -> Option<Vec<SearchTerm>> {
    if chars.len() > SEARCH_QUERY_CHARS_MAX || chars.contains(&'\0') {
        return None;
    }
    let mut terms = Vec::new();
    let (mut state, mut is_excluded) = (State::Between, false);
    // White space at the end ends the last term.
    for char in chars.iter().copied().chain([' ']) {
        let is_space = char.is_whitespace();
        state = match state {
            State::Between if is_space => State::Between,
            State::Between if char == '-' => {
                is_excluded = true;
                State::Minus
            }
            State::Minus if char == '-' || is_space => return None,
            State::Between | State::Minus if is_quote(char) => State::Phrase(String::new()),
            State::Between | State::Minus if char == '*' => return None,
            State::Between | State::Minus => State::Word(char.to_string()),
            State::Phrase(words) if is_quote(char) => State::Closed(words),
            State::Phrase(words) => State::Phrase(words + &char.to_string()),
            State::Word(words) | State::Closed(words) if char == '*' => State::Starred(words),
            State::Word(words) if !is_space && !is_quote(char) => State::Word(words + &char.to_string()),
            State::Word(words) | State::Closed(words) if is_space => {
                terms.push((words, false, std::mem::take(&mut is_excluded)));
                State::Between
            }
            State::Starred(words) if is_space => {
                terms.push((words, true, std::mem::take(&mut is_excluded)));
                State::Between
            }
            State::Word(_) | State::Closed(_) | State::Starred(_) => return None,
        };
    }
    let is_complete = matches!(state, State::Between) && terms.iter().any(|(_, _, is_excluded)| !is_excluded);
    let counts: Option<Vec<usize>> = terms.iter().map(|(words, ..)| count(words)).collect();
    let terms = terms.into_iter().map(|(words, is_prefix, is_excluded)| SearchTerm {
        words: words.into(),
        is_prefix,
        is_excluded,
    });
    (is_complete && counts?.iter().sum::<usize>() <= SEARCH_WORDS_MAX).then(|| terms.collect())
}

/// The number of words, of which there must be one.
fn count(words: &str) -> Option<usize> {
    let (mut count, mut is_within) = (0, false);
    for char in words.chars() {
        let is_mark = (0x300..0x370).contains(&u32::from(char));
        if is_searchable(char) {
            count += usize::from(!is_within);
            is_within = true;
        } else if !is_mark {
            is_within = false;
        }
    }
    (count > 0).then_some(count)
}
