//! Whether a text matches a search, and the snippet that shows where.

use crate::base::limits::SNIPPET_CHARS_MAX;
use crate::domain::search::{MATCH_END, MATCH_START, SearchTerm};
use crate::store::search::tokenizer::Tokenizer;
use crate::store::sql::SqlResult;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

/// Characters of a snippet before its first match, at most.
const CHARS_BEFORE_MATCH: usize = 60;

/// Marks the cut ends of a snippet.
const CUT: &str = "\u{2026}";

/// The terms of a search, in words of the index.
#[derive(Debug, Clone)]
pub(crate) struct SearchWords {
    pub terms: Vec<TermWords>,
}

/// The words of a term, which are next to each other in a text that has the term: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TermWords {
    pub words: Vec<String>,
    pub is_prefix: bool,
    pub is_excluded: bool,
}

impl SearchWords {
    /// Cuts the terms of a search into words. Terms without words are left out.
    pub(crate) fn of(tokenizer: &Tokenizer, terms: &[SearchTerm]) -> SqlResult<SearchWords> {
        let mut all = Vec::with_capacity(terms.len());
        for SearchTerm { words, is_prefix, is_excluded } in terms {
            let term =
                TermWords { words: tokenizer.all_words(words)?, is_prefix: *is_prefix, is_excluded: *is_excluded };
            if !term.words.is_empty() {
                all.push(term);
            }
        }
        Ok(SearchWords { terms: all })
    }

    /// The terms that a text must have.
    pub(crate) fn required(&self) -> impl Iterator<Item = &TermWords> {
        self.terms.iter().filter(|term| !term.is_excluded)
    }

    /// Whether a text has all required terms and no excluded one.
    pub(crate) fn match_text(&self, tokenizer: &Tokenizer, text: &str) -> SqlResult<bool> {
        if text.is_ascii() && !self.required().flat_map(|term| &term.words).all(|word| has_letters(text, word)) {
            return Ok(false);
        }
        let mut required_left = self.required().count();
        let has_excluded = required_left < self.terms.len();
        let mut is_found = vec![false; self.terms.len()];
        let mut is_rejected = false;
        let mut recent = RecentWords::of(self);
        tokenizer.words(text, |word, range| {
            recent.push(word, range);
            for (term, is_found) in self.terms.iter().zip(&mut is_found) {
                if *is_found || recent.term_start(term).is_none() {
                    continue;
                }
                if term.is_excluded {
                    is_rejected = true;
                    return ControlFlow::Break(());
                }
                *is_found = true;
                required_left -= 1;
            }
            if required_left == 0 && !has_excluded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(required_left == 0 && !is_rejected)
    }

    /// A part of a text that matches, on one line, around the first word of the search, with marks around all of them.
    pub(crate) fn snippet(&self, tokenizer: &Tokenizer, text: &str) -> SqlResult<String> {
        let mut window = 0..0;
        let mut matches: Vec<Range<usize>> = Vec::new();
        let mut recent = RecentWords::of(self);
        tokenizer.words(text, |word, range| {
            if !matches.is_empty() && range.start >= window.end {
                return ControlFlow::Break(());
            }
            let end = range.end;
            recent.push(word, range);
            if let Some(start) = self.required().filter_map(|term| recent.term_start(term)).min() {
                if matches.is_empty() {
                    window = window_around(text, start);
                }
                match matches.last_mut() {
                    Some(last) if start <= last.end => last.end = end,
                    _ => matches.push(start..end),
                }
            }
            ControlFlow::Continue(())
        })?;
        if matches.is_empty() {
            window = window_around(text, 0);
        }
        Ok(marked(text, window, &matches))
    }
}

impl TermWords {
    /// Whether the last word of the term is `word`, or its beginning.
    fn ends_with(&self, word: &str) -> bool {
        let last = self.words.last().map_or("", String::as_str);
        if self.is_prefix { word.starts_with(last) } else { word == last }
    }
}

/// The last words of a text that is read: as many as the longest term has.
struct RecentWords {
    words: VecDeque<(String, Range<usize>)>,
    words_max: usize,
}

impl RecentWords {
    fn of(search: &SearchWords) -> RecentWords {
        let words_max = search.terms.iter().map(|term| term.words.len()).max().unwrap_or(1);
        RecentWords { words: VecDeque::with_capacity(words_max), words_max }
    }

    fn push(&mut self, word: &str, range: Range<usize>) {
        let mut place =
            if self.words.len() == self.words_max { self.words.pop_front() } else { None }.unwrap_or_default();
        place.0.clear();
        place.0.push_str(word);
        place.1 = range;
        self.words.push_back(place);
    }

    /// Where the term begins, if it ends with the last word.
    fn term_start(&self, term: &TermWords) -> Option<usize> {
        let ends = self.words.back().is_some_and(|(word, _)| term.ends_with(word));
        if !ends || term.words.len() > self.words.len() {
            return None;
        }
        let first = self.words.len() - term.words.len();
        let before_last = term.words.len() - 1;
        let is_same =
            self.words.range(first..).zip(&term.words[..before_last]).all(|((word, _), wanted)| word == wanted);
        is_same.then(|| self.words[first].1.start)
    }
}

/// Whether an ASCII text has the letters of a word somewhere, in either case. It costs less than to cut the text into words.
fn has_letters(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let Some(first) = word.first() else { return true };
    text.windows(word.len()).any(|part| part[0].eq_ignore_ascii_case(first) && part.eq_ignore_ascii_case(word))
}

/// The bytes of a snippet whose first match begins at byte `start`.
fn window_around(text: &str, start: usize) -> Range<usize> {
    let before = &text[..start];
    let from = before.char_indices().rev().take(CHARS_BEFORE_MATCH).last().map_or(start, |(at, _)| at);
    // Begins with a whole word, if there is one.
    let from = match before[from..].split_once(char::is_whitespace) {
        Some((cut, rest)) if from > 0 && !rest.trim().is_empty() => from + cut.len(),
        _ => from,
    };
    let end = text[from..].char_indices().nth(SNIPPET_CHARS_MAX).map_or(text.len(), |(at, _)| from + at);
    from..end
}

/// The text of a window, on one line, with marks around the matches.
fn marked(text: &str, window: Range<usize>, matches: &[Range<usize>]) -> String {
    let mut snippet = String::with_capacity(window.len() + 16);
    let mut from = window.start;
    if from > 0 {
        snippet.push_str(CUT);
    }
    for found in matches {
        let (start, end) = (found.start.max(from), found.end.min(window.end));
        if start < end {
            push_line(&mut snippet, &text[from..start]);
            snippet.push(MATCH_START);
            push_line(&mut snippet, &text[start..end]);
            snippet.push(MATCH_END);
            from = end;
        }
    }
    push_line(&mut snippet, &text[from..window.end]);
    let mut snippet = snippet.trim().to_owned();
    if window.end < text.len() {
        snippet.push_str(CUT);
    }
    snippet
}

/// Appends text without line breaks, other control characters, and the marks of matches.
fn push_line(line: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            MATCH_START | MATCH_END => {}
            char if char.is_whitespace() || char.is_control() => {
                if !(line.is_empty() || line == CUT || line.ends_with(' ')) {
                    line.push(' ');
                }
            }
            char => line.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::SqlConnection;

    fn search(terms: &[(&str, bool, bool)]) -> (Tokenizer, SearchWords) {
        let tokenizer =
            Tokenizer::new(&SqlConnection::of_sqlite(rusqlite::Connection::open_in_memory().unwrap())).unwrap();
        let terms: Vec<SearchTerm> = terms
            .iter()
            .map(|(words, is_prefix, is_excluded)| SearchTerm {
                words: (*words).into(),
                is_prefix: *is_prefix,
                is_excluded: *is_excluded,
            })
            .collect();
        let words = SearchWords::of(&tokenizer, &terms).unwrap();
        (tokenizer, words)
    }

    #[test]
    fn a_text_matches_if_it_has_all_required_terms_and_no_excluded_one() {
        const TEXT: &str = "The quick brown fox, the lazy dog. Quick!";
        type Terms = &'static [(&'static str, bool, bool)];
        let table: [(Terms, bool); 17] = [
            (&[("fox", false, false)], true),
            (&[("FOX", false, false)], true),
            (&[("fo", false, false)], false),
            (&[("fo", true, false)], true),
            (&[("fox", true, false)], true),
            (&[("fox", false, false), ("dog", false, false)], true),
            (&[("fox", false, false), ("cat", false, false)], false),
            (&[("fox", false, false), ("cat", false, true)], true),
            (&[("fox", false, false), ("dog", false, true)], false),
            (&[("fox", false, false), ("do", true, true)], false),
            (&[("quick brown fox", false, false)], true),
            (&[("quick-brown", false, false)], true),
            (&[("quick fox", false, false)], false),
            (&[("dog quick", false, false)], true),
            (&[("lazy do", true, false)], true),
            (&[("fox", false, false), ("brown dog", false, true)], true),
            (&[("fox", false, false), ("lazy dog", false, true)], false),
        ];
        for (terms, matches) in table {
            let (tokenizer, words) = search(terms);
            assert_eq!(words.match_text(&tokenizer, TEXT).unwrap(), matches, "{terms:?}");
        }
    }

    #[test]
    fn a_snippet_is_one_line_around_the_first_match() {
        let snippet = |term: &str, text: &str| {
            let (tokenizer, words) = search(&[(term, true, false)]);
            words.snippet(&tokenizer, text).unwrap().replace(MATCH_START, "[").replace(MATCH_END, "]")
        };
        assert_eq!(snippet("fox", "a fox,\n\n\tand foxes"), "a [fox], and [foxes]");
        assert_eq!(snippet("a b", "x a b a b a bc y"), "x [a b] [a b] [a bc] y");
        assert_eq!(snippet("fox", "<b>fox</b> \u{e000}\u{e001} \u{7}fox"), "<b>[fox]</b> [fox]");
        let long = format!("{} fox {}", "before ".repeat(100), "after ".repeat(100));
        let cut = snippet("fox", &long);
        assert!(
            cut.starts_with("\u{2026}before ") && cut.contains(" [fox] after ") && cut.ends_with('\u{2026}'),
            "{cut}"
        );
        assert!((SNIPPET_CHARS_MAX - 10..=SNIPPET_CHARS_MAX + 4).contains(&cut.chars().count()), "{cut}");
        // One word may be longer than a snippet.
        let cut = snippet("\u{fc}", &format!("x {}", "\u{fc}".repeat(5000)));
        assert!(cut.starts_with("x [\u{fc}") && cut.ends_with("]\u{2026}") && cut.chars().count() < 210, "{cut}");
        let cut = snippet("z", &format!("{} z", "\u{fc}".repeat(5000)));
        assert!(cut.ends_with(" [z]") && cut.chars().count() < 70, "{cut}");
    }
}
