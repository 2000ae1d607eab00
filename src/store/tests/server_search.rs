//! The windows of the index on a server, compared with a model.

use super::search::{has, not, prefix, term};
use super::*;
use crate::base::random::Random;
use crate::domain::search::SearchTerm;
use crate::store::admin::integrity;
use crate::store::search::expression::{Operand, SearchExpression, SearchScope};
use crate::store::search::matching::SearchWords;
use crate::store::search::server_index;
use crate::store::search::tokenizer::Tokenizer;

const WORDS: [&str; 5] = ["alpha", "alphabet", "beta", "bet", "rare"];
const TEXTS: usize = 3000;
const SCOPES: [SearchScope; 2] = [SearchScope::Workspace(1), SearchScope::Conversation(4)];

/// The number of a text: the texts are in many blocks, and one step leaves out many more.
fn number(at: usize) -> i64 {
    1 + 301 * at as i64 + if at < TEXTS / 3 { 0 } else { 1 << 32 }
}

/// Adds a text to the index, some of them in parts. Returns the text.
fn add_text(writer: &Writer, tokenizer: &Tokenizer, random: &mut Random, at: usize) -> String {
    // Some words are in most texts, some in a part of them, and one in few.
    let has = [random.below(2) == 0, random.below(9) == 0, random.below(3) > 0, at < TEXTS / 2, random.below(300) == 0];
    let words: Vec<&str> = WORDS.iter().zip(has).filter(|(_, has)| *has).map(|(word, _)| *word).collect();
    let mut text = format!("\u{e000}w{} \u{e000}c{}", random.below(9), random.below(9));
    let mut done = 0;
    for word in words {
        text = format!("{text} {word}");
        if random.below(4) == 0 {
            let part = format!("{text} end");
            server_index::add(&writer.connection.db, tokenizer, number(at), &part, done..text.len()).unwrap();
            done = text.len();
        }
    }
    if done < text.len() {
        server_index::add(&writer.connection.db, tokenizer, number(at), &text, done..text.len()).unwrap();
    }
    text
}

fn some_terms(random: &mut Random) -> Vec<SearchTerm> {
    let mut terms = Vec::new();
    for _ in 0..1 + random.below(3) {
        let word = WORDS[random.below(5) as usize];
        terms.push(match random.below(4) {
            0 => prefix(&word[..2]),
            1 if !terms.is_empty() => not(term(word)),
            _ => term(word),
        });
    }
    terms
}

#[test]
fn windows_have_all_messages_that_match_whatever_the_words_are() {
    if support::is_sqlite() {
        return;
    }
    let writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let (db, random) = (&writer.connection.db, &mut Random::new(7));
    let tokenizer = Tokenizer::new(db).unwrap();
    db.begin().unwrap();
    let texts: Vec<String> = (0..TEXTS).map(|at| add_text(&writer, &tokenizer, random, at)).collect();
    db.commit().unwrap();
    let scopes = Operand::of_scopes(db, &SCOPES).unwrap();
    let mut most_windows = 0;
    for _ in 0..100 {
        let terms = some_terms(random);
        let scopes = (random.below(2) == 0).then_some(&scopes);
        let matches = |at: &usize| {
            let text = &texts[*at];
            let is_within = text.starts_with("\u{e000}w1 ") || text.split(' ').nth(1) == Some("\u{e000}c4");
            (scopes.is_none() || is_within) && terms.iter().all(|term| has(text, term) != term.is_excluded)
        };
        let expression = SearchExpression::of(db, &SearchWords::of(&tokenizer, &terms).unwrap()).unwrap();
        let (first, end) = (random.below(TEXTS as u64 / 2) as usize, random.below(TEXTS as u64) as usize);
        let (least, mut below) = (number(first), number(end));
        let expected: Vec<i64> = (first..end).rev().filter(matches).map(number).collect();
        let (mut found, mut windows): (Vec<i64>, usize) = (Vec::new(), 0);
        db.begin_snapshot().unwrap();
        while below > least {
            let wanted = 1 << random.below(13);
            let window = expression.candidates(db, scopes, (below, least), wanted).unwrap().unwrap();
            assert!((least..below).contains(&window.from) && window.numbers.len() <= wanted);
            assert!(window.numbers.iter().all(|number| (window.from..below).contains(number)));
            found.extend(window.numbers.iter().filter(|number| !window.needs_text || expected.contains(number)));
            (below, windows) = (window.from, windows + 1);
        }
        db.roll_back().unwrap();
        assert_eq!(found, expected, "{terms:?} in {first}..{end}");
        most_windows = most_windows.max(windows);
    }
    // A block without messages is not visited: there are 1 << 18 of them.
    assert!(most_windows < TEXTS, "{most_windows} windows");
}

#[test]
fn a_difference_between_the_index_and_the_texts_is_found() {
    if support::is_sqlite() {
        return;
    }
    for damage in [
        "DELETE FROM search_words WHERE number = (SELECT max(number) FROM search_words)",
        "UPDATE search_words SET words = words || array_to_tsvector(ARRAY['0 other'])",
        "UPDATE search_words SET words = ts_delete(words, '0 second')",
        "UPDATE search_words SET part = 12",
        "UPDATE search_words SET number = number + 100",
        "INSERT INTO search_words (number, part, words) VALUES (1000, 0, '')",
        "UPDATE search_state SET through = 0",
    ] {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        for text in ["first", "second"] {
            done(&mut writer, "ann", post(ConversationRef::Default, text));
        }
        writer.index_messages();
        writer.check_search_index();
        writer.connection.db.execute_batch(damage).unwrap();
        assert_ne!(integrity::search_index(&writer.connection.db), [""; 0], "{damage}");
    }
}
