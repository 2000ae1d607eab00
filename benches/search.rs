//! Searches among a million messages, and the cost of their index.
//!
//! The words of the messages are distributed as those of natural languages (Zipf's law). Each row is a kind of search by many
//! users, without waiting: what one reader thread needs for all steps of a search. `cargo bench --bench search -- 100000` measures
//! another number of messages.

mod support;

use cortex_core::internals::limits::QUERY_ROWS_EXAMINED_MAX;
use cortex_core::internals::{
    FlushLimits, PendingQuery, Query, QueryKind, QueryResult, QueryStep, Random, Reader, Search, SearchTerm, UserId,
};
use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::bench_store::{BenchStore, NO_REPLY, USERS, command, post};
use support::figures::{self, PROGRAM};

const VOCABULARY: usize = 200_000;
/// The exponent of Zipf's law.
const EXPONENT: f64 = 1.07;
/// The average length of a message, in bytes.
const MESSAGE_BYTES: u64 = 200;
const SEARCHES: usize = 1_000;
/// Messages that the index lacks in the second part.
const UNINDEXED: usize = 1_000;
/// A user who takes part in many conversations.
const MANY: usize = 5_000;

fn main() -> ExitCode {
    support::main("search", run)
}

fn run() -> Result<(), String> {
    let messages = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let directory = std::env::temp_dir().join(format!("cortex-search-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let path = directory.join("a.db");
    let mut store = BenchStore::new(path.clone(), FlushLimits::default());
    let many = store.user_in("many", MANY);
    let mut language = Language::new();
    let began = Instant::now();
    let text_bytes = std::cell::Cell::new(0);
    let mut write = |store: &mut BenchStore, messages: usize| {
        for message in 0..messages {
            let (room, user) = match message % 20 {
                0 => (many[message / 20 % MANY], "user-0".to_owned()),
                _ => store.rooms[store.random.below(store.rooms.len() as u64) as usize].clone(),
            };
            let text = language.text();
            text_bytes.set(text_bytes.get() + text.len());
            store.waiting.push(command(&user, post(room, text)));
            store.commit_if(256);
        }
        store.commit_if(1);
    };
    write(&mut store, messages);
    eprintln!("{messages} messages are written after {:.0} s", began.elapsed().as_secs_f64());
    let (began, mut longest, mut steps) = (Instant::now(), Duration::ZERO, Vec::new());
    while store.writer.indexing_due().is_some() {
        let step = Instant::now();
        store.writer.index_messages();
        steps.push(step.elapsed());
        longest = longest.max(step.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    let index_bytes: i64 = store
        .writer
        .connection()
        .query_row("SELECT sum(length(block)) FROM search_index_data", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    println!("| index of {messages} messages | |\n| --- | --- |");
    println!("| messages/s | {:.0} |", messages as f64 / seconds);
    println!("| step, ms: p50, p99, longest | {} |", percentiles(&mut steps));
    println!("| bytes of the index per byte of text | {:.3} |", index_bytes as f64 / text_bytes.get() as f64);
    figures::record("the index of search", PROGRAM, "messages/s", messages as f64 / seconds);
    let bytes = index_bytes as f64 / text_bytes.get() as f64;
    figures::record("the index of search", PROGRAM, "bytes per byte of text", bytes);

    let language = &mut Language::new();
    println!("\n| search, ms: p50, p99, longest | index complete | results |\n| --- | --- | --- |");
    measure(&path, language, Some(messages))?;
    write(&mut store, UNINDEXED);
    println!("\n| search, ms: p50, p99, longest | {UNINDEXED} messages not indexed | results |\n| --- | --- | --- |");
    measure(&path, language, None)?;
    drop(store);
    std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())
}

/// Measures each kind of search; `recorded` is the number of messages if the figures are to be recorded.
fn measure(path: &std::path::Path, language: &mut Language, recorded: Option<usize>) -> Result<(), String> {
    type Terms = fn(&mut Language) -> Vec<SearchTerm>;
    let kinds: [(&str, Terms); 10] = [
        ("a common word", |language| vec![term(language.word(0..50))]),
        ("a word", |language| vec![term(language.word(50..5_000))]),
        ("a rare word", |language| vec![term(language.word(5_000..VOCABULARY))]),
        ("no such word", |language| vec![term(format!("{}zz", language.word(0..VOCABULARY)))]),
        ("two words", |language| vec![term(language.word(0..1_000)), term(language.word(0..1_000))]),
        ("a common and a rare word", |language| vec![term(language.word(0..20)), term(language.word(2_000..20_000))]),
        ("a phrase of two words", |language| {
            vec![term(format!("{} {}", language.word(0..200), language.word(0..200)))]
        }),
        ("a prefix of 3 letters", |language| {
            let word = language.word(0..20_000);
            vec![SearchTerm { is_prefix: true, ..term(word.chars().take(3).collect()) }]
        }),
        ("a prefix of 6 letters", |language| {
            let word = language.word(0..VOCABULARY);
            vec![SearchTerm { is_prefix: true, ..term(word.chars().take(6).collect()) }]
        }),
        ("a word without another", |language| {
            vec![term(language.word(0..1_000)), SearchTerm { is_excluded: true, ..term(language.word(0..20)) }]
        }),
    ];
    let mut reader = Reader::open(path, QUERY_ROWS_EXAMINED_MAX).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    let mut many = Vec::new();
    for (name, terms) in kinds {
        let (mut times, mut results) = (Vec::new(), 0);
        for number in 0..SEARCHES {
            let user = format!("user-{}", number as u64 * 7 % USERS);
            let (took, found) = search(&mut reader, &user, terms(language));
            times.push(took);
            results += found;
        }
        for _ in 0..SEARCHES / 10 {
            many.push(search(&mut reader, "many", terms(language)).0);
        }
        all.extend_from_slice(&times);
        println!("| {name} | {} | {:.1} |", percentiles(&mut times), results as f64 / SEARCHES as f64);
        record(name, &times, recorded);
    }
    println!("| all of them | {} | |", percentiles(&mut all));
    println!("| all of them, a participant of {MANY} conversations | {} | |", percentiles(&mut many));
    record("all of them", &all, recorded);
    record(&format!("all of them, a participant of {MANY} conversations"), &many, recorded);
    Ok(())
}

/// Records sorted times.
fn record(name: &str, times: &[Duration], messages: Option<usize>) {
    let Some(messages) = messages else { return };
    let row = format!("search among {messages} messages: {name}");
    for (unit, percent) in [("p50 ms", 50), ("p99 ms", 99)] {
        figures::record(&row, PROGRAM, unit, times[times.len() * percent / 100].as_secs_f64() * 1000.0);
    }
}

/// Runs all steps of a search. Returns the time and the number of results.
fn search(reader: &mut Reader, user: &str, terms: Vec<SearchTerm>) -> (Duration, usize) {
    let search = Search { terms: terms.into(), conversation: None, workspace: None, limit: 20, before: None };
    let kind = QueryKind::Search(Box::new(search));
    let mut pending = PendingQuery::new(Query { reply_to: NO_REPLY, caller: UserId::new_unchecked(user), kind });
    let began = Instant::now();
    loop {
        match reader.step(pending) {
            QueryStep::More(more) => pending = more,
            QueryStep::Done(response) => {
                let took = began.elapsed();
                let Ok(QueryResult::Search(page)) = response.result else { panic!("the search fails") };
                return (took, page.results.len());
            }
        }
    }
}

fn term(words: String) -> SearchTerm {
    SearchTerm { words: words.into(), is_prefix: false, is_excluded: false }
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    format!("{:.2}, {:.2}, {:.2}", ms(times.len() / 2), ms(times.len() * 99 / 100), ms(times.len() - 1))
}

/// Makes texts whose words have the frequencies of a natural language.
struct Language {
    /// The most frequent word first.
    words: Vec<String>,
    /// The sums of the frequencies.
    sums: Vec<f64>,
    random: Random,
}

impl Language {
    fn new() -> Language {
        const SYLLABLES: [&str; 18] = [
            "ka", "to", "re", "mi", "son", "an", "ter", "vo", "li", "pe", "dun", "gra", "el", "st", "ing", "er", "ou",
            "ba",
        ];
        let mut random = Random::new(7);
        let (mut words, mut seen) = (Vec::new(), HashSet::new());
        while words.len() < VOCABULARY {
            // Frequent words are short.
            let syllables =
                1 + random.below(1 + (words.len() as u64 + 1).ilog10() as u64) + words.len() as u64 / 120_000;
            let word: String = (0..=syllables).map(|_| SYLLABLES[random.below(18) as usize]).collect();
            if seen.insert(word.clone()) {
                words.push(word);
            }
        }
        let mut sum = 0.0;
        let sums = (0..VOCABULARY).map(|rank| {
            sum += (rank as f64 + 2.7).powf(-EXPONENT);
            sum
        });
        Language { words, sums: sums.collect(), random }
    }

    /// One of the words with these ranks, each as likely.
    fn word(&mut self, ranks: std::ops::Range<usize>) -> String {
        self.words[ranks.start + self.random.below(ranks.len() as u64) as usize].clone()
    }

    fn text(&mut self) -> String {
        let bytes = MESSAGE_BYTES / 4 + self.random.below(MESSAGE_BYTES * 3 / 2);
        let mut text = String::new();
        while text.len() < bytes as usize {
            let total = self.sums[VOCABULARY - 1];
            let at = self.random.below(1 << 53) as f64 / (1u64 << 53) as f64 * total;
            text.push_str(&self.words[self.sums.partition_point(|sum| *sum <= at).min(VOCABULARY - 1)]);
            text.push(' ');
        }
        text.pop();
        text
    }
}
