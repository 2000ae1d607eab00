use super::*;
use crate::base::limits::HISTORY_BYTES_MAX;
use crate::base::random::Random;
use crate::domain::history::AnswerSettings;
use crate::domain::id::UserId;

const RULES: ContextRules = ContextRules { system_prompt: None, bytes_max: HISTORY_BYTES_MAX, names: true };

/// A turn from `ann: text`, `ben: text` or `model: text`. An id ends at the colon, and its name is in capital letters.
fn turn(line: &str) -> Turn {
    let (sender, text) = line.split_once(": ").expect("a sender and a text");
    Turn {
        role: if sender == "model" { Role::Assistant } else { Role::User },
        text: Content::new_unchecked(text),
        sender: UserId::new_unchecked(sender),
        sender_name: sender.to_uppercase().into(),
    }
}

fn history(lines: &[&str]) -> History {
    History { turns: lines.iter().map(|line| turn(line)).collect(), ..History::default() }
}

fn shown(context: &ModelContext) -> Vec<String> {
    context.messages().iter().map(|(role, text)| format!("{}: {text}", role.as_str())).collect()
}

#[test]
fn user_and_assistant_alternate() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("one message", &["ann: a"], &["user: a"]),
        ("question and answer", &["ann: a", "model: b", "ann: c"], &["user: a", "assistant: b", "user: c"]),
        ("an unanswered message", &["ann: a", "ann: b"], &["user: a\n\nb"]),
        (
            "answers in a row",
            &["ann: a", "model: b", "model: c", "ann: d"],
            &["user: a", "assistant: b\n\nc", "user: d"],
        ),
        ("an answer first", &["model: a", "model: b", "ann: c"], &["user: c"]),
        ("a cut window", &["model: a", "ann: b", "model: c", "ann: d"], &["user: b", "assistant: c", "user: d"]),
        ("white space only", &["ann: a", "model:  \n", "ann: b"], &["user: a\n\nb"]),
    ];
    for (name, lines, expected) in table {
        let context = ModelContext::new(&RULES, &history(lines));
        assert_eq!(shown(&context), *expected, "{name}");
    }
}

#[test]
fn several_people_are_told_apart() {
    let two: &[&str] = &["ann: a", "model: b", "ben: c", "ann: d"];
    let named = ["user: ANN: a", "assistant: b", "user: BEN: c\n\nANN: d"];
    assert_eq!(shown(&ModelContext::new(&RULES, &history(two))), named);
    let off = ContextRules { names: false, ..RULES };
    assert_eq!(shown(&ModelContext::new(&off, &history(two))), ["user: a", "assistant: b", "user: c\n\nd"]);
    assert_eq!(shown(&ModelContext::new(&RULES, &history(&["ann: a", "model: b", "ann: c"])))[0], "user: a");

    let names = [("Ann", "Ann: "), ("", "ann: "), (" \n", "ann: "), ("A\nB:\t\u{7}C", "A B: C: ")];
    for (name, expected) in names {
        let named = Turn { sender_name: name.into(), ..turn("ann: a") };
        assert_eq!(name_prefix(&named), expected, "{name:?}");
    }
    let long = Turn { sender_name: "\u{e9}".repeat(1000).into(), ..turn("ann: a") };
    assert_eq!(name_prefix(&long).chars().count(), SPEAKER_NAME_CHARS_MAX + 2);
}

#[test]
fn one_system_text_comes_first() {
    let rules = |prompt: Option<&str>| ContextRules { system_prompt: prompt.map(str::to_owned), ..RULES };
    let settings =
        |prompt: Option<&str>| AnswerSettings { system_prompt: prompt.map(Into::into), ..Default::default() };
    let table = [
        (None, None, "", None),
        (Some("s"), None, "", Some("system: s")),
        (None, Some("c"), "", Some("system: c")),
        (None, None, "m,n", Some("system: m\n\nn")),
        (Some("s"), Some("c"), "m,n", Some("system: s\n\nc\n\nm\n\nn")),
        (Some(" "), Some(""), "\n", None),
    ];
    for (server, conversation, messages, expected) in table {
        let system = messages.split(',').map(Content::new_unchecked).collect();
        let history = History { system, settings: settings(conversation), ..history(&["ann: a"]) };
        let expected: Vec<&str> = expected.into_iter().chain(["user: a"]).collect();
        assert_eq!(shown(&ModelContext::new(&rules(server), &history)), expected, "{server:?} {conversation:?}");
    }
}

#[test]
fn the_oldest_texts_are_cut_first() {
    let lines = ["ann: aaaa", "model: bbbb", "ann: cccc", "model: dddd", "ann: eeee"];
    let all = ["user: aaaa", "assistant: bbbb", "user: cccc", "assistant: dddd", "user: eeee"];
    let table = [(20, &all[..]), (19, &all[2..]), (12, &all[2..]), (11, &all[4..]), (4, &all[4..]), (0, &all[4..])];
    for (bytes_max, expected) in table {
        let context = ModelContext::new(&ContextRules { bytes_max, ..RULES }, &history(&lines));
        assert_eq!(shown(&context), expected, "{bytes_max}");
    }
    let rules = ContextRules { system_prompt: Some("12345678".to_owned()), bytes_max: 20, names: false };
    let context = ModelContext::new(&rules, &history(&lines));
    assert_eq!(shown(&context)[1..], all[2..], "the system text counts");
    let gap = ["ann: a", "ann: bbbbbbbb", "ann: c"];
    let context = ModelContext::new(&ContextRules { bytes_max: 4, ..RULES }, &history(&gap));
    assert_eq!(shown(&context), ["user: c"], "no older text follows one that is left out");
}

#[test]
fn a_context_that_is_too_long_is_halved() {
    let halves = |lines: &[&str]| {
        let first = ModelContext::new(&RULES, &history(lines));
        let contexts = std::iter::successors(first.shorter(), ModelContext::shorter);
        contexts.map(|context| shown(&context).join(" | ")).collect::<Vec<_>>()
    };
    assert_eq!(halves(&["ann: a"]), [""; 0]);
    assert_eq!(halves(&["ann: a", "ann: b"]), ["user: b"], "a joined text is cut too");
    let five = halves(&["ann: a", "model: b", "ann: c", "model: d", "ann: e"]);
    assert_eq!(five, ["user: c | assistant: d | user: e", "user: e"]);
    let long_first = halves(&["ann: aaaaaaaaaa", "model: b", "ann: c", "model: d", "ann: e"]);
    assert_eq!(long_first[0], "user: c | assistant: d | user: e");
    let long_last = halves(&["ann: a", "model: b", "ann: c", "model: d", "ann: eeeeeeeeeeee"]);
    assert_eq!(long_last.len(), 2, "the message to answer does not count");
}

#[test]
fn every_context_of_a_random_history_alternates() {
    let mut random = Random::new(11);
    for _ in 0..3000 {
        let mut turns: Vec<Turn> = (0..random.below(12)).map(|_| random_turn(&mut random)).collect();
        turns.push(Turn { role: Role::User, ..turn("ann: the message to answer") });
        let system = (0..random.below(3)).map(|n| Content::new_unchecked(["", "be kind"][n as usize % 2])).collect();
        let rules = ContextRules {
            system_prompt: (random.below(2) == 0).then(|| "server".to_owned()),
            bytes_max: random.below(200) as usize,
            names: random.below(2) == 0,
        };
        let history = History { turns, system, ..History::default() };
        let first = ModelContext::new(&rules, &history);
        let texts = first.texts.len();
        let mut steps = 0;
        for context in std::iter::successors(Some(first), ModelContext::shorter) {
            assert_alternates(&context);
            steps += 1;
        }
        assert!(steps <= texts.max(1), "each step is shorter: {steps} of {texts}");
    }
}

fn random_turn(random: &mut Random) -> Turn {
    let sender = ["ann", "ben", "model", "model"][random.below(4) as usize];
    let text =
        ["x", " ", "some words", "\u{e9}\u{1f600}", "a longer text with more words in it"][random.below(5) as usize];
    let role = if random.below(8) == 0 { Role::System } else { turn(&format!("{sender}: x")).role };
    Turn { role, ..turn(&format!("{sender}: {text}")) }
}

fn assert_alternates(context: &ModelContext) {
    let messages = context.messages();
    let rest = if messages[0].0 == Role::System { &messages[1..] } else { &messages[..] };
    for (index, (role, text)) in rest.iter().enumerate() {
        let expected = if index % 2 == 0 { Role::User } else { Role::Assistant };
        assert_eq!(*role, expected, "{messages:?}");
        assert!(!is_blank(text), "{messages:?}");
    }
    let (role, text) = rest.last().expect("a message to answer");
    assert!(*role == Role::User && text.ends_with("the message to answer"), "{messages:?}");
}
