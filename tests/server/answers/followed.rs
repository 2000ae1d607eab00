//! One answer as a stream, whose ids are offsets in its text.

use super::*;
use crate::common::assert_error;
use crate::common::token::token;
use cortex_core::internals::Random;

/// A client that follows one answer.
struct Follower {
    stream: Stream,
    text: String,
    snapshots: usize,
    deltas: usize,
}

/// The path of the stream of an answer, by the answer's id or by the id of the message that it answers.
fn target(conversation: &str, message: &str) -> String {
    format!("/conversations/{conversation}/messages/{message}/stream")
}

impl Follower {
    /// Follows from the beginning.
    #[track_caller]
    fn open(user: &User, conversation: &str, message: &str) -> Follower {
        Follower::resume(user, conversation, message, String::new(), None)
    }

    /// Follows with the text that an earlier stream brought.
    #[track_caller]
    fn resume(user: &User, conversation: &str, message: &str, text: String, last_event_id: Option<usize>) -> Follower {
        let authorization = format!("Bearer {}", user.token);
        let number = last_event_id.map(|number| number.to_string());
        let mut fields = vec![("Authorization", authorization.as_str())];
        fields.extend(number.as_ref().map(|number| ("Last-Event-ID", number.as_str())));
        let stream = Stream::try_open_at(user.addr(), &target(conversation, message), &fields).expect("a stream");
        Follower { stream, text, snapshots: 0, deltas: 0 }
    }

    /// The next event. A delta or snapshot is applied to the text.
    #[track_caller]
    fn next(&mut self) -> Event {
        let event = self.stream.next();
        let data = &event.data["data"];
        let offset = data["offset"].as_u64().map(|offset| offset as usize);
        match event.kind() {
            "output_delta" => {
                let offset = offset.expect("an offset");
                // The client had a part of a character.
                assert!(offset <= self.text.len(), "a delta begins where the text ends: {event:?}");
                self.text.truncate(offset);
                self.text += data["delta"].as_str().expect("text");
                self.deltas += 1;
            }
            "output_snapshot" => {
                self.text = text(&data["text"]);
                assert_eq!(offset, Some(self.text.len()), "the next delta begins there");
                self.snapshots += 1;
            }
            "output" | "heartbeat" => {}
            _ => return event,
        }
        // The end has an id of its own, so that a client that has only the text gets it.
        let id = self.text.len() as u64 + u64::from(event.kind() == "output");
        assert_eq!(event.number(), id, "the id is the offset: {event:?}");
        event
    }

    #[track_caller]
    fn until(&mut self, expected: &str) {
        while self.text != expected {
            let event = self.next();
            assert_ne!(event.kind(), "output", "the answer ends with {:?}", self.text);
        }
    }

    /// Reads the last event and the end of the stream. Until then, only text and heartbeats may come.
    #[track_caller]
    fn until_end(&mut self) -> Event {
        loop {
            let event = self.next();
            if !matches!(event.kind(), "output_delta" | "output_snapshot" | "heartbeat") {
                assert!(self.stream.until_end().is_empty(), "nothing follows");
                return event;
            }
        }
    }
}

/// The status of a request for the stream of an answer.
#[track_caller]
fn status(user: &mut User, method: &str, conversation: &str, message: &str, last_event_id: &str) -> u16 {
    let request = user.request(method, &target(conversation, message)).header("Last-Event-ID", last_event_id);
    request.send().status
}

/// The answer of a conversation with one message.
#[track_caller]
fn answer_id(user: &mut User, conversation: &str) -> String {
    text(&messages(user, conversation)[1]["id"])
}

#[test]
fn an_answer_is_followed_from_its_question_to_its_end() {
    let model = Model::start();
    for workers in [1, 4] {
        let server = Server::start(options(&model).set("WORKERS", workers));
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let mut all = ann.stream();
        let asked = ann.post_message(&conversation, "Hello?");
        let mut first = Follower::open(&ann, &conversation, &asked);
        assert_eq!(first.stream.established.data["last_event_id"], json!(0));
        let mut call = model.call();
        call.begin();
        let mut expected = String::new();
        let mut others = Vec::new();
        for piece in ["H\u{e9}", "llo ", "\u{1f600}", "\n\u{2028}data: x", "\"quoted\""] {
            call.say(piece);
            expected += piece;
            first.until(&expected);
            let answer = answer_id(&mut ann, &conversation);
            for id in [&asked, &answer] {
                let mut late = Follower::open(&ann, &conversation, id);
                late.until(&expected);
                others.push(late);
            }
        }
        assert!(first.deltas >= 5 && first.snapshots == 0, "each delta comes before the next one is sent");
        call.finish();
        let mut seen = Reading::default();
        let output = seen.until_output(&mut all);
        assert_output(&output, &expected, "complete");
        for mut follower in others.into_iter().chain([first]) {
            let last = follower.until_end();
            assert_eq!((&last.data, follower.snapshots), (&output.data, 0), "the event of the journal");
            assert_eq!(follower.text, expected);
        }
        assert_eq!(seen.text, expected);
    }
}

#[test]
fn a_client_resumes_at_any_offset() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    let mut call = model.call();
    call.begin();
    let (mut whole, mut reading, mut random) = (String::new(), Reading::default(), Random::new(29));
    for round in 0..20 {
        let piece = format!("{round} \u{1f600}\u{e9}\n");
        call.say(&piece);
        whole += &piece;
        reading.until(&mut stream, &whole);
        for _ in 0..4 {
            let cut = random.below(whole.len() as u64 + 1) as usize;
            let boundary = (0..=cut).rev().find(|at| whole.is_char_boundary(*at)).expect("the beginning");
            // The client has kept the bytes of whole characters.
            let known = whole[..boundary].to_owned();
            let mut follower = Follower::resume(&ann, &conversation, &asked, known, Some(cut));
            follower.until(&whole);
            assert_eq!(follower.snapshots, 0, "{cut}");
        }
    }
    call.finish();
    reading.until_output(&mut stream);
    let answer = answer_id(&mut ann, &conversation);
    // A client that has all of the text does not know yet how the answer ended.
    for cut in 0..=whole.len() {
        let boundary = (0..=cut).rev().find(|at| whole.is_char_boundary(*at)).expect("the beginning");
        let known = whole[..boundary].to_owned();
        let mut follower = Follower::resume(&ann, &conversation, &answer, known, Some(cut));
        assert_output(&follower.until_end(), &whole, "complete");
        assert_eq!((follower.text.as_str(), follower.snapshots), (whole.as_str(), 0), "{cut}");
    }
    // With all of it, an `EventSource` is to stop.
    for (method, id) in [("GET", &asked), ("GET", &answer), ("HEAD", &asked)] {
        assert_eq!(status(&mut ann, method, &conversation, id, &(whole.len() + 1).to_string()), 204, "{method} {id}");
    }
    assert_eq!(status(&mut ann, "HEAD", &conversation, &asked, ""), 200);
    // A number that is none of this text brings all of it again.
    for number in [whole.len() + 2, usize::MAX] {
        let mut follower = Follower::resume(&ann, &conversation, &asked, "other".into(), Some(number));
        assert_output(&follower.until_end(), &whole, "complete");
        assert_eq!((follower.text.as_str(), follower.snapshots), (whole.as_str(), 1));
    }
}

#[test]
fn the_number_and_the_credential_have_the_spellings_of_the_other_stream() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    model.call().answer("0123456789");
    Reading::default().until_output(&mut stream);
    let answer = answer_id(&mut ann, &conversation);
    let ticket = text(&ann.post("/auth/stream-ticket", json!({})).expect(200).json()["ticket"]);
    let path = target(&conversation, &answer);
    let rest = |query: &str, fields: &[(&str, &str)]| -> (Option<String>, String) {
        let mut opened =
            Stream::try_open_at(server.addr, &format!("{path}?ticket={ticket}&{query}"), fields).expect("a stream");
        let first = opened.next();
        (first.name.clone(), text(&first.data["data"]["delta"]))
    };
    for query in ["last_event_id=4", "lastEventId=4", "Last-Event-ID=1,4", "last_event_id=4&lastEventID=2"] {
        assert_eq!(rest(query, &[]), (None, "456789".into()), "{query}");
    }
    assert_eq!(rest("named=true", &[]), (Some("output_delta".into()), "0123456789".into()));
    assert_eq!(rest("last_event_id=4", &[("Last-Event-ID", "8")]).1, "89");
    assert_eq!(rest("last_event_id=4", &[("Last-Event-ID", "")]).1, "456789");
    assert_eq!(status(&mut ann, "GET", &conversation, &answer, "11"), 204);
    assert_error(&ann.get(&format!("{path}?last_event_id=x")), 422, "validation_error");
    let authorization = format!("Bearer {}", token("ann"));
    let fields = [("Authorization", authorization.as_str()), ("Last-Event-ID", "no number")];
    let mut lost = Stream::try_open_at(server.addr, &path, &fields).expect("a stream");
    let snapshot = lost.next();
    assert_eq!((snapshot.kind(), text(&snapshot.data["data"]["text"])), ("output_snapshot", "0123456789".into()));
}

#[test]
fn what_has_no_answer_has_no_stream() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, mut eve) = (User::new(&server, "ann"), User::new(&server, "eve"));
    let conversation = ann.start_conversation("c");
    ann.put(&format!("/conversations/{conversation}"), json!({"metadata": {"responder": "none"}})).expect(200);
    let unanswered = ann.post_message(&conversation, "to myself");
    let own =
        ann.post(&format!("/conversations/{conversation}/messages"), json!({"content": "x", "role": "assistant"}));
    let own = text(&own.expect(200).json()["id"]);
    for id in [&unanswered, &own, &conversation, &"x".to_owned()] {
        assert_error(&ann.get(&target(&conversation, id)), 404, "not_found");
        assert_error(&eve.get(&target(&conversation, id)), 404, "not_found");
    }
    let other = ann.start_conversation("other");
    let asked = ann.post_message(&other, "Hello?");
    assert_error(&ann.get(&target(&conversation, &asked)), 404, "not_found");
    assert_error(&eve.get(&target(&other, &asked)), 404, "not_found");
    assert_error(&ann.post(&target(&other, &asked), json!({})), 405, "method_not_allowed");
}

#[test]
fn an_answer_that_does_not_complete_ends_its_stream() {
    let model = Model::start();
    // What happens; the text before it; the type of the last event, and its status.
    let table = [
        ("the model fails", "", "output_error", None),
        ("the model fails", "half", "output", Some("failed")),
        ("a client cancels", "", "output_error", None),
        ("a client cancels", "half", "output", Some("cancelled")),
        ("the message is deleted", "", "message_deleted", None),
        ("the message is deleted", "half", "output", Some("cancelled")),
        ("the answer is deleted", "half", "message_deleted", None),
        ("the conversation is deleted", "", "conversation_deleted", None),
        ("the conversation is deleted", "half", "conversation_deleted", None),
    ];
    for (what, shown, kind, expected) in table {
        // Each has a server of its own, so that the failures before it do not count.
        let server = Server::start(options(&model));
        let mut ann = User::new(&server, "ann");
        let conversation = ann.start_conversation("c");
        let asked = ann.post_message(&conversation, "Hello?");
        let mut follower = Follower::open(&ann, &conversation, &asked);
        let mut call = Some(model.call());
        if let Some(call) = &mut call
            && !shown.is_empty()
        {
            call.begin().say(shown);
            follower.until(shown);
        }
        let path = format!("/conversations/{conversation}");
        match what {
            "the model fails" if shown.is_empty() => call.take().expect("a call").reject(400, ""),
            "the model fails" => call.take().expect("a call").disconnect(),
            "a client cancels" => drop(ann.post(&format!("{path}/cancel"), json!({})).expect(200)),
            "the message is deleted" => drop(ann.delete(&format!("{path}/messages/{asked}")).expect(200)),
            "the answer is deleted" => {
                let answer = answer_id(&mut ann, &conversation);
                ann.delete(&format!("{path}/messages/{answer}")).expect(200);
            }
            _ => drop(ann.delete(&path).expect(200)),
        }
        let last = follower.until_end();
        let got = last.data["data"]["status"].as_str();
        assert_eq!((last.kind(), got, follower.text.as_str()), (kind, expected, shown), "{what} after {shown:?}");
        let is_end = ["output", "output_error"].contains(&kind);
        assert_eq!(last.number(), shown.len() as u64 + u64::from(is_end));
        // What exists of it can be read again, with the same end.
        let mut events = ann.stream_with("last_event_id=0");
        let published = |events: &mut Stream| loop {
            let event = events.next();
            match event.kind() {
                "caught_up" => return None,
                "output" | "output_error" => return Some(event.data),
                _ => {}
            }
        };
        let published = published(&mut events);
        if kind == "output_error" || (kind == "output" && what != "the message is deleted") {
            let mut again = Follower::open(&ann, &conversation, &asked);
            assert_eq!((Some(again.until_end().data), again.text.as_str()), (published, shown), "{what}");
            assert_eq!(status(&mut ann, "GET", &conversation, &asked, &(shown.len() + 1).to_string()), 204, "{what}");
        } else if what == "the answer is deleted" {
            assert_eq!(
                Follower::open(&ann, &conversation, &asked).until_end().kind(),
                "output_error",
                "its text is gone"
            );
        } else {
            assert_error(&ann.get(&target(&conversation, &asked)), 404, "not_found");
        }
    }
}

#[test]
fn a_message_that_is_answered_again_has_the_stream_of_its_newest_answer() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut ann, conversation, mut stream) = start_question(&server);
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    model.call().answer("the first answer");
    Reading::default().until_output(&mut stream);
    let first = answer_id(&mut ann, &conversation);
    assert_eq!(status(&mut ann, "GET", &conversation, &asked, "17"), 204);
    ann.post(&format!("/conversations/{conversation}/messages/{asked}/answer"), json!({})).expect(202);
    // The client has the text of another answer.
    let mut follower = Follower::resume(&ann, &conversation, &asked, "the first answer".into(), Some(16));
    let mut call = model.call();
    call.begin().say("the second answer is longer");
    follower.until("the second answer is longer");
    call.finish();
    assert_output(&follower.until_end(), "the second answer is longer", "complete");
    assert_eq!(follower.snapshots, 1);
    let mut superseded = Follower::open(&ann, &conversation, &first);
    assert_output(&superseded.until_end(), "the first answer", "superseded");
}

#[test]
fn a_participant_who_is_removed_gets_nothing_more() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut owner, ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let asked = text(&owner.say(&conversation, "Hello?")["message_id"]);
    let (mut of_owner, mut of_ann) =
        (Follower::open(&owner, &conversation, &asked), Follower::open(&ann, &conversation, &asked));
    let mut call = model.call();
    call.begin().say("before ");
    of_owner.until("before ");
    of_ann.until("before ");
    owner.put(&format!("/config/conversation/{conversation}"), json!({"participant_ids": []})).expect(200);
    call.say("after");
    of_owner.until("before after");
    assert_eq!((of_ann.until_end().kind(), of_ann.text.as_str()), ("conversation_left", "before "));
    let mut ann = ann;
    assert_error(&ann.get(&target(&conversation, &asked)), 404, "not_found");
    call.finish();
    assert_output(&of_owner.until_end(), "before after", "complete");
}

#[test]
fn a_slow_reader_of_one_answer_loses_nothing() {
    let model = Model::start();
    let server = Server::start(options(&model));
    // Quotation marks are two bytes in JSON, and control characters six.
    for unit in ["plain text ", "\"\"\"\"\"\"\"\"\"\"\"", "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}"] {
        let (mut ann, conversation, mut stream) = start_question(&server);
        let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
        // One that reads nothing while the answer runs, one that reads it only afterwards, and one in the middle.
        let mut slow = Follower::open(&ann, &conversation, &asked);
        let mut call = model.call();
        call.begin();
        let (mut whole, mut reading) = (String::new(), Reading::default());
        for _ in 0..3 {
            let piece = unit.repeat(6_000);
            call.say(&piece);
            whole += &piece;
            reading.until(&mut stream, &whole);
        }
        let mut middle = Follower::resume(&ann, &conversation, &asked, whole[..100_000].to_owned(), Some(100_000));
        call.finish();
        reading.until_output(&mut stream);
        for follower in [&mut slow, &mut middle, &mut Follower::open(&ann, &conversation, &asked)] {
            assert_output(&follower.until_end(), &whole, "complete");
            assert!(follower.text == whole && follower.snapshots == 0);
        }
    }
}

#[test]
fn a_client_with_more_than_survived_a_crash_gets_what_exists() {
    let model = Model::start();
    let mut server = Server::start(options(&model));
    let (mut ann, conversation, _) = start_question(&server);
    let asked = text(&messages(&mut ann, &conversation)[0]["id"]);
    let mut follower = Follower::open(&ann, &conversation, &asked);
    let mut call = model.call();
    call.begin().say("stored ");
    follower.until("stored ");
    // Text is stored about once a second, so that some of this is lost.
    let mut shown = "stored ".to_owned();
    for n in 0..3 {
        let piece = format!("and shown {n} ");
        call.say(&piece);
        shown += &piece;
        follower.until(&shown);
    }
    server.kill();
    server.restart();
    ann.follow(&server);
    let mut again = Follower::resume(&ann, &conversation, &asked, shown.clone(), Some(shown.len()));
    let output = again.until_end();
    let stored = output.content().to_owned();
    assert!(shown.starts_with(&stored) && !stored.is_empty(), "{stored:?}");
    assert_output(&output, &stored, "interrupted");
    assert_eq!((again.text.as_str(), again.snapshots), (stored.as_str(), usize::from(stored != shown)));
    assert_eq!(status(&mut ann, "GET", &conversation, &asked, &(stored.len() + 1).to_string()), 204);
}

#[test]
fn a_stream_of_one_answer_is_a_stream_like_any_other() {
    let model = Model::start();
    let settings = [("MAX_STREAMS_PER_USER", "1"), ("HEARTBEAT_INTERVAL_SECONDS", "0.2")];
    let server = settings.iter().fold(options(&model), |options, (name, value)| options.set(name, value));
    let mut server = Server::start(server);
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("c");
    let asked = ann.post_message(&conversation, "Hello?");
    let mut call = model.call();
    let mut follower = Follower::open(&ann, &conversation, &asked);
    // Silence has heartbeats, and the limit counts the stream.
    assert_eq!(follower.next().kind(), "heartbeat");
    assert_error(&ann.get(&target(&conversation, &asked)), 429, "rate_limited");
    let listed = ann.get("/output/streams").expect(200).json();
    assert_eq!(listed["streams"][0]["stream_id"], follower.stream.established.data["stream_id"]);
    call.begin().say("so far");
    follower.until("so far");
    loop {
        let event = follower.next();
        if event.kind() == "heartbeat" {
            assert_eq!(event.number(), 6);
            break;
        }
    }
    server.process().signal(libc::SIGTERM);
    let last = loop {
        let event = follower.next();
        if event.kind() != "heartbeat" {
            break event;
        }
    };
    // The answer may be interrupted first.
    assert!(["server_shutdown", "output"].contains(&last.kind()), "{last:?}");
    assert_eq!(last.number(), 6 + u64::from(last.kind() == "output"));
}
