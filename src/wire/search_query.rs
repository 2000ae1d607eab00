//! The query of a search: words, `"phrases"`, `prefix*` and `-excluded`, separated by white space.
//!
//! Invariant: the words of a term are a slice of the query, with a letter or digit and without a quote.

use crate::base::limits::{SEARCH_QUERY_CHARS_MAX, SEARCH_WORDS_MAX};
use crate::domain::search::SearchTerm;

const NO_WORD: &str = "must have a word to search for";
const EXCLUDED_ONLY: &str = "must have a word that is not excluded";
const NUL: &str = "U+0000 is not allowed";
const MINUS_ALONE: &str = "- must be followed by a word or a quote";
const STAR_WITHIN: &str = "* must be at the end of a word or after a closing quote";
const QUOTE_OPEN: &str = "the quote is not closed";
const QUOTE_WITHIN: &str = "white space must precede an opening quote";
const QUOTE_FOLLOWED: &str = "white space must follow a closing quote";
const EMPTY_PHRASE: &str = "a phrase must have a letter or digit";
const EMPTY_WORD: &str = "a word must have a letter or digit";

/// Parses the query of a search.
///
/// # Errors
///
/// Returns the violated rule. If it concerns one place, that character's position comes first, counted from 1.
pub fn search_terms(query: &str) -> Result<Vec<SearchTerm>, String> {
    if query.chars().count() > SEARCH_QUERY_CHARS_MAX {
        return Err(format!("must be at most {SEARCH_QUERY_CHARS_MAX} characters"));
    }
    let mut cursor = Cursor { query, at: 0 };
    // SQLite ends a text there.
    if let Some(at) = query.find('\0') {
        return Err(cursor.violation(at, NUL));
    }
    let (mut terms, mut words) = (Vec::new(), 0);
    cursor.take_while(char::is_whitespace);
    while cursor.peek().is_some() {
        let term = cursor.term()?;
        words += count_words(&term.words);
        terms.push(term);
        cursor.take_while(char::is_whitespace);
    }
    if terms.is_empty() {
        return Err(NO_WORD.to_owned());
    }
    if words > SEARCH_WORDS_MAX {
        return Err(format!("must have at most {SEARCH_WORDS_MAX} words"));
    }
    if terms.iter().all(|term| term.is_excluded) {
        return Err(EXCLUDED_ONLY.to_owned());
    }
    Ok(terms)
}

struct Cursor<'a> {
    query: &'a str,
    /// The place of the next character, in bytes.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Parses a term, which the next character begins.
    fn term(&mut self) -> Result<SearchTerm, String> {
        let minus_at = self.at;
        let is_excluded = self.skip(|char| char == '-');
        if is_excluded && self.peek().is_none_or(|next| next == '-' || next.is_whitespace()) {
            return Err(self.violation(minus_at, MINUS_ALONE));
        }
        let words_at = self.at;
        let is_phrase = self.skip(is_quote);
        let words = if is_phrase { self.phrase(words_at)? } else { self.take_while(continues_word) };
        let star_at = self.at;
        let is_prefix = self.skip(|char| char == '*');
        let is_ended = self.peek().is_none_or(char::is_whitespace);
        match () {
            () if is_prefix && (!is_ended || (words.is_empty() && !is_phrase)) => {
                Err(self.violation(star_at, STAR_WITHIN))
            }
            () if !words.contains(is_searchable) => {
                Err(self.violation(words_at, if is_phrase { EMPTY_PHRASE } else { EMPTY_WORD }))
            }
            () if !is_ended => Err(self.violation(self.at, if is_phrase { QUOTE_FOLLOWED } else { QUOTE_WITHIN })),
            () => Ok(SearchTerm { words: words.into(), is_prefix, is_excluded }),
        }
    }

    /// The text up to the closing quote, which is skipped. The opening one was at `opened_at`.
    fn phrase(&mut self, opened_at: usize) -> Result<&'a str, String> {
        let words = self.take_while(|char| !is_quote(char));
        if self.skip(is_quote) { Ok(words) } else { Err(self.violation(opened_at, QUOTE_OPEN)) }
    }

    fn peek(&self) -> Option<char> {
        self.query[self.at..].chars().next()
    }

    /// Skips the next character if it is `wanted`.
    fn skip(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let next = self.peek().filter(|next| wanted(*next));
        self.at += next.map_or(0, char::len_utf8);
        next.is_some()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.query[self.at..];
        let taken = rest.find(|char| !wanted(char)).map_or(rest, |end| &rest[..end]);
        self.at += taken.len();
        taken
    }

    /// A rule that the character at this byte violates.
    fn violation(&self, at: usize, rule: &str) -> String {
        format!("character {}: {rule}", self.query[..at].chars().count() + 1)
    }
}

/// Whether a character opens or closes a phrase. Keyboards of phones type the typographic ones.
fn is_quote(char: char) -> bool {
    matches!(char, '"' | '“' | '”' | '„')
}

fn continues_word(char: char) -> bool {
    !char.is_whitespace() && !is_quote(char) && char != '*'
}

/// Whether words of messages have the character: a letter, a digit, or a character of private use.
fn is_searchable(char: char) -> bool {
    char.is_alphanumeric()
        || matches!(char, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}')
}

/// The number of words that a term has at least. The store may find more of them in some scripts.
fn count_words(words: &str) -> usize {
    // Combining marks, which follow their letter, separate no words.
    let is_part = |char| is_searchable(char) || matches!(char, '\u{300}'..='\u{36f}');
    words.split(|char| !is_part(char)).filter(|word| word.contains(is_searchable)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The terms as `[words]`, with `-` before excluded ones and `*` after prefixes.
    fn parsed(query: &str) -> Result<String, String> {
        let terms = search_terms(query)?;
        let shown = terms.iter().map(|term| {
            let (minus, star) = (if term.is_excluded { "-" } else { "" }, if term.is_prefix { "*" } else { "" });
            format!("{minus}[{}]{star}", term.words)
        });
        Ok(shown.collect())
    }

    #[test]
    fn terms_of_a_query() {
        let table = [
            ("hello", "[hello]"),
            ("  two\twords\u{a0}\u{2003}\n", "[two][words]"),
            ("wor*", "[wor]*"),
            ("yes -no", "[yes]-[no]"),
            ("yes -no*", "[yes]-[no]*"),
            ("\"a phrase\"", "[a phrase]"),
            ("-\"a phrase\" yes", "-[a phrase][yes]"),
            ("\"some phra\"*", "[some phra]*"),
            ("yes -\"some phra\"*", "[yes]-[some phra]*"),
            ("“on a phone”", "[on a phone]"),
            ("„auf Deutsch“*", "[auf Deutsch]*"),
            ("“mixed\"", "[mixed]"),
            ("\"*, - and *\"", "[*, - and *]"),
            ("\" spaces \"", "[ spaces ]"),
            // A minus within a word belongs to it, and so does whatever else is not white space, a quote or a star.
            ("foo-bar", "[foo-bar]"),
            ("foo-", "[foo-]"),
            ("-foo-bar yes", "-[foo-bar][yes]"),
            ("a:b (c) AND/OR ^d +e {f} it's", "[a:b][(c)][AND/OR][^d][+e][{f}][it's]"),
            ("c++*", "[c++]*"),
            ("–foo", "[–foo]"),
            ("OR NOT NEAR", "[OR][NOT][NEAR]"),
            ("Zürich zu\u{308}rich 東京 7 \u{e000}", "[Zürich][zu\u{308}rich][東京][7][\u{e000}]"),
            ("twice twice", "[twice][twice]"),
        ];
        for (query, terms) in table {
            assert_eq!(parsed(query), Ok(terms.to_owned()), "{query}");
        }
    }

    #[test]
    fn queries_that_cannot_be_parsed() {
        let at = |position: usize, rule: &str| format!("character {position}: {rule}");
        let table = [
            ("", NO_WORD.to_owned()),
            (" \t\u{3000}", NO_WORD.to_owned()),
            ("-not", EXCLUDED_ONLY.to_owned()),
            ("-\"not this\" -nor*", EXCLUDED_ONLY.to_owned()),
            ("-", at(1, MINUS_ALONE)),
            ("a - b", at(3, MINUS_ALONE)),
            ("é -", at(3, MINUS_ALONE)),
            ("a --b", at(3, MINUS_ALONE)),
            ("*", at(1, STAR_WITHIN)),
            ("*a", at(1, STAR_WITHIN)),
            ("a b*c", at(4, STAR_WITHIN)),
            ("a**", at(2, STAR_WITHIN)),
            ("a -*", at(4, STAR_WITHIN)),
            ("\"a\"*b", at(4, STAR_WITHIN)),
            ("a*\"b\"", at(2, STAR_WITHIN)),
            ("\"", at(1, QUOTE_OPEN)),
            ("é \"b c", at(3, QUOTE_OPEN)),
            ("a -“b", at(4, QUOTE_OPEN)),
            ("\"\"", at(1, EMPTY_PHRASE)),
            ("a \"\"*", at(3, EMPTY_PHRASE)),
            ("a -\" !\"", at(4, EMPTY_PHRASE)),
            ("a \"b\"c", at(6, QUOTE_FOLLOWED)),
            ("\"a\"\"b\"", at(4, QUOTE_FOLLOWED)),
            ("a\"b\"", at(2, QUOTE_WITHIN)),
            ("a b”", at(4, QUOTE_WITHIN)),
            ("a !", at(3, EMPTY_WORD)),
            ("a -! b", at(4, EMPTY_WORD)),
            ("a ?!* b", at(3, EMPTY_WORD)),
            ("a – b", at(3, EMPTY_WORD)),
            ("\u{301}", at(1, EMPTY_WORD)),
            ("\u{1f600}", at(1, EMPTY_WORD)),
            ("ab\0c", at(3, NUL)),
            ("\"a \0 b\"", at(4, NUL)),
        ];
        for (query, rule) in table {
            assert_eq!(parsed(query), Err(rule), "{query}");
        }
    }

    #[test]
    fn the_length_is_bounded_in_characters_and_in_words() {
        let long = "é".repeat(SEARCH_QUERY_CHARS_MAX);
        assert_eq!(parsed(&long), Ok(format!("[{long}]")));
        assert_eq!(parsed(&format!("{long} ")), Err(format!("must be at most {SEARCH_QUERY_CHARS_MAX} characters")));

        let most = |separator: &str| vec!["e\u{301}a"; SEARCH_WORDS_MAX].join(separator);
        let too_many = Err(format!("must have at most {SEARCH_WORDS_MAX} words"));
        for (open, separator, close) in [("", " ", ""), ("\"", " ", "\""), ("", "-", "*"), ("", ".!", "")] {
            let query = format!("{open}{}{close}", most(separator));
            assert!(parsed(&query).is_ok(), "{query}");
            assert_eq!(parsed(&format!("{query} b")), too_many, "{query}");
            assert_eq!(parsed(&format!("{query} -b")), too_many, "excluded words count");
            assert_eq!(parsed(&format!("{open}{}{separator}b{close}", most(separator))), too_many, "{query}");
        }
    }
}
