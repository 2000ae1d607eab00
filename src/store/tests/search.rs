//! Searches compared with a model, while the index follows in steps.

use super::answers::{begin, finish, open_answered};
use super::support::{self, TempDir};
use super::*;
use crate::base::limits::{SEARCH_SCOPES_MAX, SEARCH_STEP_BYTES_MAX, SEARCH_STEP_MESSAGES_MAX};
use crate::base::random::Random;
use crate::domain::answer_job::JobId;
use crate::domain::event::EventBody;
use crate::domain::result::{Rejection, Resource};
use crate::domain::search::{MATCH_END, MATCH_START, Search, SearchPage, SearchTerm};
use crate::store::admin::integrity;
use crate::store::search::index;
use crate::store::sqlite::damage::{self, IntegrityCheck};

/// Words of the messages. Some begin like others.
const WORDS: [&str; 8] = ["alpha", "alphabet", "beta", "gamma", "delta", "ga", "bet", "zeta"];
const USERS: [&str; 3] = ["ann", "bob", "eve"];

pub(super) fn term(words: &str) -> SearchTerm {
    SearchTerm { words: words.into(), is_prefix: false, is_excluded: false }
}

pub(super) fn prefix(words: &str) -> SearchTerm {
    SearchTerm { is_prefix: true, ..term(words) }
}

pub(super) fn not(term: SearchTerm) -> SearchTerm {
    SearchTerm { is_excluded: true, ..term }
}

fn all_of(terms: &[SearchTerm]) -> Search {
    Search { terms: terms.into(), conversation: None, workspace: None, limit: 100, before: None }
}

fn query(user: &str, search: &Search) -> Query {
    let reply_to = ReplyTo { shard: 0, slot: 0, generation: 0 };
    Query { reply_to, caller: UserId::new_unchecked(user), kind: QueryKind::Search(Box::new(search.clone())) }
}

fn search_in_steps(writer: &Writer, user: &str, search: &Search, rows_max: usize) -> (SearchPage, usize) {
    let (response, steps) = execute_in_steps(writer, &query(user, search), rows_max);
    let QueryResult::Search(page) = response.result.unwrap() else { panic!() };
    (page, steps)
}

fn search(writer: &Writer, user: &str, search: &Search) -> SearchPage {
    search_in_steps(writer, user, search, QUERY_ROWS_EXAMINED_MAX).0
}

fn texts(page: &SearchPage) -> Vec<&str> {
    page.results.iter().map(|result| result.message.content.as_str()).collect()
}

fn index_all(writer: &mut Writer) -> usize {
    let mut steps = 0;
    while writer.indexing_due().is_some() {
        writer.index_messages();
        steps += 1;
        assert!(steps < 100_000, "the index is never complete");
    }
    steps
}

#[track_caller]
fn assert_consistent(writer: &Writer) {
    assert_eq!(integrity::rows(&writer.connection.db, |_, _| {}), [""; 0]);
    writer.check_search_index();
    if support::is_sqlite() {
        assert_eq!(damage::damage(writer.connection.db.sqlite(), IntegrityCheck::Whole), [""; 0]);
    }
}

fn post_message(
    writer: &mut Writer,
    user: &str,
    conversation: ConversationRef,
    text: &str,
) -> (MessageId, Option<JobId>) {
    let committed = writer.commit_batch(&[command(user, post(conversation, text))], NOW);
    let Outcome::Posted { event, .. } = committed.results[0].result.clone().unwrap() else { panic!() };
    let EventBody::Message(message) = &event.body else { panic!() };
    (message.id, committed.jobs.first().map(|job| job.key))
}

fn update(conversation: ConversationId, message: MessageId, text: &str) -> CommandKind {
    let content = Some(Content::new(text).unwrap());
    CommandKind::UpdateMessage { conversation: ConversationRef::Id(conversation), message, content, metadata: None }
}

fn delete(conversation: ConversationId, message: MessageId) -> CommandKind {
    CommandKind::DeleteMessage { conversation: ConversationRef::Id(conversation), message }
}

/// A message of the model.
#[derive(Debug, Clone)]
struct Said {
    id: MessageId,
    conversation: usize,
    text: String,
}

/// Whether a text of words that spaces separate has a term.
pub(super) fn has(text: &str, term: &SearchTerm) -> bool {
    let (text, wanted): (Vec<&str>, Vec<&str>) = (text.split(' ').collect(), term.words.split(' ').collect());
    let (last, before) = wanted.split_last().unwrap();
    text.windows(wanted.len()).any(|window| {
        let is_last =
            if term.is_prefix { window[before.len()].starts_with(last) } else { window[before.len()] == *last };
        is_last && &window[..before.len()] == before
    })
}

fn some_text(random: &mut Random) -> String {
    // A few texts take several steps.
    let words = if random.below(40) == 0 { SEARCH_STEP_BYTES_MAX / 2 } else { 1 + random.below(6) as usize };
    let words: Vec<&str> = (0..words).map(|_| WORDS[random.below(WORDS.len() as u64) as usize]).collect();
    words.join(" ")
}

fn some_search(random: &mut Random) -> Search {
    let word = |random: &mut Random| WORDS[random.below(WORDS.len() as u64) as usize];
    let mut terms = vec![match random.below(4) {
        0 => term(&format!("{} {}", word(random), word(random))),
        1 => prefix(["al", "g", "bet", "q"][random.below(4) as usize]),
        _ => term(word(random)),
    }];
    for _ in 0..random.below(3) {
        terms.push(match random.below(4) {
            0 => not(term(&format!("{} {}", word(random), word(random)))),
            1 => not(prefix("ze")),
            2 => not(term(word(random))),
            _ => term(word(random)),
        });
    }
    Search { limit: 1 + random.below(30) as u32, ..all_of(&terms) }
}

#[test]
fn searches_agree_with_a_model_whatever_the_index_has() {
    for seed in 0..12 {
        run_model(seed);
    }
}

fn run_model(seed: u64) {
    let random = &mut Random::new(seed);
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let workspaces = ["ann", "bob"].map(|user| add_workspace(&mut writer, user));
    // The owner of each conversation, and its participants.
    let access = [("ann", vec![]), ("ann", vec!["bob"]), ("bob", vec!["ann"]), ("bob", vec![]), ("ann", vec!["eve"])];
    let conversations = access.clone().map(|(owner, participants)| {
        let workspace = workspaces[usize::from(owner == "bob")];
        add_conversation(&mut writer, owner, workspace, &participants)
    });
    let mut is_deleted = [false; 5];
    let mut said: Vec<Said> = Vec::new();
    for _ in 0..150 {
        match random.below(12) {
            0..=5 => {
                let at = random.below(5) as usize;
                if !is_deleted[at] {
                    let text = some_text(random);
                    let (id, _) =
                        post_message(&mut writer, access[at].0, ConversationRef::Id(conversations[at]), &text);
                    said.push(Said { id, conversation: at, text });
                }
            }
            6 if !said.is_empty() => {
                let at = random.below(said.len() as u64) as usize;
                let (text, one) = (some_text(random), &mut said[at]);
                done(&mut writer, access[one.conversation].0, update(conversations[one.conversation], one.id, &text));
                one.text = text;
            }
            7 if !said.is_empty() => {
                let at = random.below(said.len() as u64) as usize;
                let one = said.remove(at);
                done(&mut writer, access[one.conversation].0, delete(conversations[one.conversation], one.id));
            }
            8 if random.below(20) == 0 => {
                let at = random.below(5) as usize;
                if !std::mem::replace(&mut is_deleted[at], true) {
                    let conversation = ConversationRef::Id(conversations[at]);
                    let kind = CommandKind::DeleteConversation { conversation, api_variant: ApiVariant::Config };
                    done(&mut writer, access[at].0, kind);
                    said.retain(|one| one.conversation != at);
                }
            }
            9 => drop(maintain(&mut writer, NOW)),
            _ => writer.index_messages(),
        }
        if random.below(5) == 0 {
            compare(&writer, random, &said, &access, &conversations);
        }
        if random.below(25) == 0 {
            assert_consistent(&writer);
        }
    }
    while maintain(&mut writer, NOW) {}
    index_all(&mut writer);
    compare(&writer, random, &said, &access, &conversations);
    assert_consistent(&writer);
}

fn compare(
    writer: &Writer,
    random: &mut Random,
    said: &[Said],
    access: &[(&str, Vec<&str>); 5],
    conversations: &[ConversationId; 5],
) {
    let user = USERS[random.below(3) as usize];
    let mut wanted = some_search(random);
    let may_see = |at: usize| access[at].0 == user || access[at].1.contains(&user);
    let only = (random.below(4) == 0).then(|| random.below(5) as usize);
    if let Some(at) = only {
        wanted.conversation = Some(ConversationRef::Id(conversations[at]));
        if !may_see(at) || !said.iter().any(|one| one.conversation == at) {
            return;
        }
    }
    if random.below(3) == 0 && !said.is_empty() {
        let one = &said[random.below(said.len() as u64) as usize];
        wanted.before = may_see(one.conversation).then_some(one.id);
    }
    let end = wanted.before.map_or(said.len(), |id| said.iter().position(|one| one.id == id).unwrap());
    let matching: Vec<&Said> = said[..end]
        .iter()
        .rev()
        .filter(|one| may_see(one.conversation) && only.is_none_or(|at| one.conversation == at))
        .filter(|one| wanted.terms.iter().all(|term| has(&one.text, term) != term.is_excluded))
        .collect();
    let limit = wanted.limit as usize;
    for rows_max in [1, 7, QUERY_ROWS_EXAMINED_MAX] {
        let (page, _) = search_in_steps(writer, user, &wanted, rows_max);
        let expected: Vec<MessageId> = matching.iter().take(limit).map(|one| one.id).collect();
        let found: Vec<MessageId> = page.results.iter().map(|result| result.message.id).collect();
        assert_eq!(found, expected, "{user} {wanted:?} in steps of {rows_max}");
        assert_eq!(page.total_is_at_least, matching.len().min(limit + 1) as u64, "{wanted:?}");
        for result in &page.results {
            assert!(result.snippet.contains(MATCH_START) && result.snippet.contains(MATCH_END), "{result:?}");
        }
    }
}

#[test]
fn an_answer_is_found_once_it_is_published_whenever_it_began() {
    let directory = TempDir::new();
    let mut writer = open_answered(&directory.file("a.db"));
    let (_, job) = post_message(&mut writer, "ann", ConversationRef::Default, "question");
    let job = job.unwrap();
    support::claim_open_jobs(&mut writer);
    writer.commit_batch(&[begin(job)], NOW);
    post_message(&mut writer, "ann", ConversationRef::Default, "later");
    index_all(&mut writer);
    assert!(search(&writer, "ann", &all_of(&[term("whole")])).results.is_empty());
    assert!(
        search(&writer, "ann", &all_of(&[term("part")])).results.is_empty(),
        "a text in progress is no message yet"
    );
    writer.commit_batch(&[finish(job)], NOW);
    for _ in 0..2 {
        assert_eq!(texts(&search(&writer, "ann", &all_of(&[term("whole")]))), ["whole"]);
        assert_consistent(&writer);
        index_all(&mut writer);
    }
}

#[test]
fn the_index_survives_the_end_of_the_process_at_any_step() {
    let directory = TempDir::new();
    let path = directory.file("a.db");
    let mut writer = open(&path);
    let long = format!("{} last", "word ".repeat(SEARCH_STEP_BYTES_MAX));
    for text in ["first", &long, "third"] {
        post_message(&mut writer, "ann", ConversationRef::Default, text);
    }
    let mut steps = 0;
    while writer.indexing_due().is_some() {
        writer.index_messages();
        support::kill(writer);
        writer = open(&path);
        assert_consistent(&writer);
        for (wanted, found) in [("first", 1), ("word", 1), ("last", 1), ("third", 1)] {
            assert_eq!(
                search(&writer, "ann", &all_of(&[term(wanted)])).results.len(),
                found,
                "{wanted} after step {steps}"
            );
        }
        steps += 1;
        // The new process has not read how far the index is.
        if index::through(&writer.connection.db).unwrap() == writer.position() && steps > 8 {
            break;
        }
    }
    assert!(steps > 5, "{steps}");
}

#[test]
fn a_message_of_others_is_never_found_and_a_filter_may_be_rejected() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    let shared = add_conversation(&mut writer, "ann", workspace, &["bob"]);
    let private = add_conversation(&mut writer, "ann", workspace, &[]);
    for (conversation, text) in [(shared, "shared secret"), (private, "private secret")] {
        post_message(&mut writer, "ann", ConversationRef::Id(conversation), text);
    }
    post_message(&mut writer, "eve", ConversationRef::Default, "other secret \u{e000}w1 \u{e000}c1");
    for _ in 0..2 {
        let secret = all_of(&[term("secret")]);
        assert_eq!(texts(&search(&writer, "ann", &secret)), ["private secret", "shared secret"]);
        assert_eq!(texts(&search(&writer, "bob", &secret)), ["shared secret"]);
        assert_eq!(texts(&search(&writer, "eve", &secret)).len(), 1);
        assert!(search(&writer, "zoe", &secret).results.is_empty());
        let within = Search { workspace: Some(workspace), ..secret.clone() };
        assert_eq!(texts(&search(&writer, "ann", &within)).len(), 2);
        assert_eq!(texts(&search(&writer, "bob", &within)), ["shared secret"]);
        let rejected = |user: &str, search: &Search| execute(&writer, &query(user, search)).result.unwrap_err();
        assert!(matches!(rejected("eve", &within), Rejection::Forbidden(_)));
        let hidden = Search { conversation: Some(ConversationRef::Id(private)), ..secret.clone() };
        assert_eq!(rejected("bob", &hidden), Rejection::NotFound(Resource::Conversation));
        let nothing = Search { before: Some(MessageId(uuid::Uuid::from_u128(1))), ..secret.clone() };
        assert!(matches!(rejected("ann", &nothing), Rejection::Invalid(_)));
        // The words by which the index knows workspaces and conversations find only texts that have them.
        assert!(search(&writer, "ann", &all_of(&[prefix("\u{e000}w")])).results.is_empty());
        assert_eq!(search(&writer, "eve", &all_of(&[prefix("\u{e000}w")])).results.len(), 1);
        for scope in ["w", "c"].iter().flat_map(|kind| (1..10).map(move |number| format!("\u{e000}{kind}{number}"))) {
            let secret = all_of(&[term("secret"), not(term(&scope))]);
            assert_eq!(search(&writer, "ann", &secret).results.len(), 2, "without {scope}");
        }
        index_all(&mut writer);
    }
}

#[test]
fn a_message_that_is_edited_during_a_search_is_found_only_if_it_matches() {
    const MESSAGES: usize = 20;
    let mut longest = 0;
    for edited_after in 0..40 {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = add_conversation(&mut writer, "ann", workspace, &[]);
        // More than few messages have the word.
        let ids: Vec<MessageId> = (0..MESSAGES + 400)
            .map(|_| post_message(&mut writer, "ann", ConversationRef::Id(conversation), "alpha").0)
            .collect();
        index_all(&mut writer);
        let mut pending = PendingQuery::new(query("ann", &all_of(&[term("alpha")])));
        for steps in 0.. {
            if steps == edited_after {
                let newest = ids.iter().rev().take(MESSAGES);
                let commands: Vec<Command> =
                    newest.map(|id| command("ann", update(conversation, *id, "beta"))).collect();
                writer.commit_batch(&commands, NOW);
                index_all(&mut writer);
            }
            let (db, ids) = (&writer.connection.db, &writer.meta.ids);
            match queries::step(db, ids, pending, limits(7), (writer.position(), None)) {
                QueryStep::More(more) => pending = more,
                QueryStep::Done(response) => {
                    let QueryResult::Search(page) = response.result.unwrap() else { panic!() };
                    let found = texts(&page);
                    assert!(found.iter().all(|text| *text == "alpha"), "{found:?}, edited after {edited_after} steps");
                    assert!(found.len() >= 100 - MESSAGES, "{} messages", found.len());
                    longest = longest.max(steps);
                    break;
                }
            }
        }
    }
    assert!(longest > 10, "a search has {longest} steps");
}

#[test]
fn many_conversations_and_many_words_with_a_prefix_are_searched() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    let conversations: Vec<ConversationId> =
        (0..3 * SEARCH_SCOPES_MAX).map(|_| add_conversation(&mut writer, "ann", workspace, &["bob"])).collect();
    for (number, conversation) in conversations.iter().cycle().take(300).enumerate() {
        post_message(&mut writer, "ann", ConversationRef::Id(*conversation), &format!("common word{number}"));
    }
    for _ in 0..2 {
        for user in ["ann", "bob"] {
            let newest: Vec<String> = (0..300).rev().map(|number| format!("common word{number}")).collect();
            let page = search(&writer, user, &Search { limit: 100, ..all_of(&[term("common")]) });
            assert_eq!(texts(&page), newest[..100]);
            let next = Search { limit: 100, before: Some(page.results[99].message.id), ..all_of(&[prefix("word")]) };
            assert_eq!(texts(&search(&writer, user, &next)), newest[100..200]);
            assert_eq!(texts(&search(&writer, user, &all_of(&[term("word7")]))), ["common word7"]);
        }
        index_all(&mut writer);
    }
}

#[test]
fn a_step_is_bounded_and_old_messages_are_indexed_in_steps() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let commands: Vec<Command> =
        (0..5000).map(|number| command("ann", post(ConversationRef::Default, &format!("m{number}")))).collect();
    for batch in commands.chunks(250) {
        writer.commit_batch(batch, NOW);
    }
    let steps = index_all(&mut writer);
    assert!(steps >= 5000 / SEARCH_STEP_MESSAGES_MAX, "{steps}");
    assert_eq!(index::through(&writer.connection.db).unwrap(), writer.position());
    assert_consistent(&writer);
    assert_eq!(writer.indexing_due(), None);
    // A few new messages wait until the writer is quiet, and many do not.
    done(&mut writer, "ann", post(ConversationRef::Default, "x"));
    assert_eq!(writer.indexing_due(), Some(NOW.mono.plus_milliseconds(1000)));
    for batch in commands[..500].chunks(250) {
        writer.commit_batch(batch, NOW);
    }
    assert!(writer.indexing_due().is_some_and(|at| at < NOW.mono));
}

#[test]
fn long_texts_are_indexed_in_parts_whatever_separates_their_words() {
    for separator in [" ", "\u{301} ", "\u{a0}", "\u{60c}", "\u{ff0c}", "\u{1f600}", "\0", "\u{301}\0\u{301}"] {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = add_conversation(&mut writer, "ann", workspace, &[]);
        let mut text: String = (0..40_000).map(|number| format!("word{number}{separator}")).collect();
        // One word, and text without any, that are longer than a step.
        text += &format!("{}last{}", "x".repeat(2 * SEARCH_STEP_BYTES_MAX), " ".repeat(2 * SEARCH_STEP_BYTES_MAX));
        let (message, _) = post_message(&mut writer, "ann", ConversationRef::Id(conversation), &text);
        let steps = index_all(&mut writer);
        assert!(steps > 40_000 * "word1234 ".len() / SEARCH_STEP_BYTES_MAX, "{steps} for {separator:?}");
        assert_consistent(&writer);
        done(&mut writer, "ann", update(conversation, message, &text.replace("word1", "term1")));
        // SQLite also removes the words of the old text in steps.
        let steps_of_update = index_all(&mut writer);
        assert!(if support::is_sqlite() { steps_of_update > steps } else { steps_of_update == steps }, "{separator:?}");
        assert_consistent(&writer);
        for (wanted, found) in [("word1", 0), ("term1", 1), ("word9999", 1)] {
            assert_eq!(search(&writer, "ann", &all_of(&[term(wanted)])).results.len(), found, "{separator:?}");
        }
    }
}

#[test]
fn a_word_that_the_index_cuts_within_a_character_breaks_no_search() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    // FTS5 keeps 32 KiB of a word, and each character has three bytes.
    let long = "\u{4e2d}".repeat(11_000);
    post_message(&mut writer, "eve", ConversationRef::Default, &format!("a{long}"));
    for text in [&long, &format!("x{long}"), "\u{4e2d}\u{6587}"] {
        post_message(&mut writer, "ann", ConversationRef::Default, text);
    }
    for _ in 0..2 {
        for (wanted, found) in [("\u{4e2d}", 2), ("\u{4e2d}\u{4e2d}", 1), ("x", 1), ("x\u{4e2d}", 1), ("a", 0)] {
            assert_eq!(search(&writer, "ann", &all_of(&[prefix(wanted)])).results.len(), found, "{wanted}");
        }
        index_all(&mut writer);
    }
    assert_consistent(&writer);
}

#[test]
fn a_place_beyond_its_text_stops_the_indexing_alone() {
    for damage in [
        "INSERT INTO search_pending SELECT max(number), 1000 FROM messages",
        "INSERT INTO search_pending SELECT max(number), -1 FROM messages",
        "INSERT INTO search_removals VALUES (1, 2, 'x\u{e9}')",
    ] {
        // A server has no texts to remove.
        if damage.contains("search_removals") && !support::is_sqlite() {
            continue;
        }
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        post_message(&mut writer, "ann", ConversationRef::Default, "first");
        index_all(&mut writer);
        writer.connection.db.execute_batch(damage).unwrap();
        post_message(&mut writer, "ann", ConversationRef::Default, "second");
        writer.index_messages();
        assert_eq!((writer.indexing_due(), writer.fault()), (None, None), "{damage}");
        assert_eq!(texts(&search(&writer, "ann", &all_of(&[not(term("third")), prefix("s")]))), ["second"]);
        assert_eq!(texts(&search(&writer, "ann", &all_of(&[term("first")]))), ["first"]);
        assert_ne!(integrity::search_index(&writer.connection.db), [""; 0], "{damage}");
    }
}

#[test]
fn a_busy_writer_does_not_keep_edited_and_deleted_texts_from_the_index() {
    for (text_bytes, interval) in [(10, 100), (200, 1), (1500, 10)] {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let workspace = add_workspace(&mut writer, "ann");
        let conversation = add_conversation(&mut writer, "ann", workspace, &[]);
        let reference = ConversationRef::Id(conversation);
        let long = "word ".repeat(2 * SEARCH_STEP_BYTES_MAX / 5);
        let ids = ["first", &long, &long].map(|text| post_message(&mut writer, "ann", reference, text).0);
        index_all(&mut writer);
        done(&mut writer, "ann", update(conversation, ids[0], "edited"));
        done(&mut writer, "ann", delete(conversation, ids[1]));
        done(&mut writer, "ann", update(conversation, ids[2], &long.replace("word", "term")));
        // Commands never pause for as long as a few messages wait.
        for number in 0..3000 {
            let now = Now { mono: NOW.mono.plus_milliseconds(interval * number), ..NOW };
            let new = command("ann", post(reference, &"n".repeat(text_bytes)));
            writer.commit_batch(&[new], now);
            if writer.indexing_due().is_some_and(|at| at <= now.mono) {
                writer.index_messages();
            }
        }
        let rows = |table| -> i64 {
            writer.connection.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!(rows("search_pending"), 0, "{text_bytes} bytes");
        assert!(!support::is_sqlite() || rows("search_removals") == 0, "{text_bytes} bytes");
        assert_consistent(&writer);
    }
}
