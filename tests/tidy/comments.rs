//! A comment names the component, not a person, and a doc comment does more than point at its item.

use crate::source::{Source, outside, sources};

/// Words for persons, which a comment about a machine does not need.
const PERSONS: &[&str] = &["anybody", "everybody", "nobody", "somebody", "whoever", "hears"];

/// The same in two words.
const PERSON_PHRASES: &[&str] = &["is told", "are told", "be told", "was told", "lets in", "let in"];

/// The first words of a doc comment that only points at its item.
const POINTERS: &[&str] = &["Each", "How", "That", "These", "They", "This", "Those", "What", "Which", "Who"];

/// Maximum number of words in a doc comment that only points.
const POINTER_WORDS_MAX: usize = 3;

/// A comment with a word or phrase for a person: its line, and the word.
fn persons(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for comment in source.comments() {
        let text = comment.text.to_lowercase().replace('’', "'");
        let words: Vec<&str> = words(&text).map(|word| word.strip_suffix("'s").unwrap_or(word)).collect();
        let single = words.iter().find(|word| PERSONS.contains(word)).map(|word| (*word).to_owned());
        let phrase = words.windows(2).map(|pair| pair.join(" ")).find(|pair| PERSON_PHRASES.contains(&pair.as_str()));
        found.extend(single.or(phrase).map(|word| (comment.line, word)));
    }
    found
}

/// Doc comments of a few words that only point at their item, such as `Which.` or `How many.`
fn pointers(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for comment in source.comments().into_iter().filter(|comment| comment.is_doc) {
        let count = words(&comment.text).count();
        let first = words(&comment.text).next().unwrap_or_default();
        if count <= POINTER_WORDS_MAX && comment.text.ends_with('.') && POINTERS.contains(&first) {
            found.push((comment.line, comment.text));
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !(char.is_alphanumeric() || char == '\'' || char == '_')).filter(|word| !word.is_empty())
}

/// Every Rust file of the project.
fn all_sources() -> impl Iterator<Item = &'static Source> {
    sources().iter().chain(outside())
}

#[test]
fn comments_have_no_persons() {
    let mut complaints = Vec::new();
    for source in all_sources() {
        let found = persons(source).into_iter();
        complaints.extend(
            found.map(|(line, word)| format!("{}:{line}: {word:?}: name the component", source.path.display())),
        );
    }
    crate::report("comments with words for persons", complaints.len());
    crate::assert_tidy(complaints);
}

#[test]
fn doc_comments_say_more_than_a_pointer() {
    let mut complaints = Vec::new();
    for source in all_sources() {
        let found = pointers(source).into_iter();
        complaints.extend(found.map(|(line, text)| format!("{}:{line}: {text:?} only points", source.path.display())));
    }
    crate::report("doc comments that only point", complaints.len());
    crate::assert_tidy(complaints);
}

#[test]
fn persons_in_comments_are_found() {
    let found = |text: &str| persons(&Source::sample("a", text));
    let table: [(&str, &[(usize, &str)]); 7] = [
        ("// Whoever asks gets it.", &[(1, "whoever")]),
        ("/// Bytes that are nobody's.\nfn f() {}", &[(1, "nobody")]),
        ("fn f() {}\n\n//! A stream that is\n//! told of it.", &[(3, "is told")]),
        ("fn f() {} // Somebody else's.", &[(1, "somebody")]),
        ("let nobody = \"nobody is told\"; /* nobody */", &[(1, "nobody")]),
        ("let nobody = \"whoever\"; fn let_in() {}", &[]),
        ("// The client is stale. Told apart by the number, its body is untold.", &[]),
    ];
    for (text, expected) in table {
        let expected: Vec<(usize, String)> = expected.iter().map(|(line, word)| (*line, (*word).to_owned())).collect();
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn pointers_are_found() {
    let lines = |text: &str| pointers(&Source::sample("a", text)).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    let table: [(&str, &[usize]); 8] = [
        ("/// Which.\nfn f() {}", &[1]),
        ("/// They.\nfn f() {}", &[1]),
        ("struct A {\n    /// How far it.\n    a: u8,\n}", &[2]),
        ("//! What comes.", &[1]),
        ("/// How far it is.\nfn f() {}", &[]),
        ("/// Which\n/// responder answers messages.\nfn f() {}", &[]),
        ("/// The body.\nfn f() {}", &[]),
        ("// Which.\nfn f() {}", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(lines(text), expected, "{text}");
    }
}
