//! Texts of answers at other instances than the one that asks the model.

use super::limits::wait_until_acquainted;
use super::redis::wait_until_up;
use crate::cluster::{Cluster, amount};
use crate::common::model::{Call, Model};
use crate::common::redis::TestRedis;
use crate::common::{Options, Stream};
use crate::proxy::Proxy;
use crate::redis_messages::Damage;
use serde_json::json;

fn options(model: &Model) -> Options {
    let options = Options::new().set("RESPONDER", "openai").set("RESPONDER_URL", model.url());
    options.set("RESPONDER_MODEL", "small").set("RESPONDER_CONCURRENCY_PER_USER", 64)
}

/// Three instances of which the first asks the model, since it gets all messages.
fn start(name: &'static str, model: &Model, ports: [u16; 3]) -> Cluster {
    let cluster = Cluster::start_with_redis(name, &options(model), ports);
    wait_until_acquainted(&cluster);
    cluster
}

/// Reads a stream until it has this text of an answer. Each piece begins where the one before it ended.
#[track_caller]
fn read_text(stream: &mut Stream, text: &mut String, whole: &str) {
    while text != whole {
        let event = stream.next_own();
        let data = &event.data["data"];
        let end = |text: &str| data["offset"].as_u64() == Some(text.len() as u64);
        match event.kind() {
            // An instance may learn of the beginning after the stream was opened.
            "input" | "workspace_created" | "conversation_created" => {}
            "output_snapshot" => {
                *text = data["text"].as_str().expect("a text").to_owned();
                assert!(end(text), "{event:?}");
            }
            "output_delta" => {
                assert!(end(text), "{event:?} after {text:?}");
                text.push_str(data["delta"].as_str().expect("a text"));
            }
            _ => panic!("{event:?} after {text:?}"),
        }
        assert!(whole.starts_with(text.as_str()), "{text:?} is no part of {whole:?}");
    }
}

#[test]
fn texts_of_answers_grow_at_every_instance() {
    let (model, redis) = (Model::start(), TestRedis::start());
    let mut cluster = start("texts", &model, [redis.port(); 3]);
    let mut ann = cluster.user(0, "ann");
    let conversation = ann.start_conversation("c");
    let mut streams: Vec<Stream> = (0..3).map(|instance| cluster.user(instance, "ann").stream()).collect();
    let mut texts = vec![String::new(); 3];
    ann.post_message(&conversation, "Hello?");
    let mut call = model.call();
    let mut whole = String::new();
    call.begin();
    for piece in ["one ", "t\u{1f600}o ", "three "] {
        call.say(piece);
        whole += piece;
        streams.iter_mut().zip(&mut texts).for_each(|(stream, text)| read_text(stream, text, &whole));
    }
    // A client that joins midway, at an instance that has the text.
    streams.push(cluster.user(1, "ann").stream());
    texts.push(String::new());
    read_text(&mut streams[3], &mut texts[3], &whole);
    // An instance that starts midway gets the text with the next piece.
    cluster.instances[2].kill();
    cluster.instances[2].start_again();
    wait_until_up(&cluster.addresses());
    (streams[2], texts[2]) = (cluster.user(2, "ann").stream(), String::new());
    call.say("four");
    whole += "four";
    streams.iter_mut().zip(&mut texts).for_each(|(stream, text)| read_text(stream, text, &whole));
    call.finish();
    for stream in &mut streams {
        assert_eq!(stream.next_own().content(), whole);
    }
}

#[test]
fn lost_texts_of_answers_are_read_again() {
    let (model, redis) = (Model::start(), TestRedis::start());
    let proxy = Proxy::damaging(redis.port(), Damage::new(7));
    let cluster = start("lost_texts", &model, [redis.port(), proxy.port(), redis.port()]);
    let mut ann = cluster.user(0, "ann");
    let mut stream = cluster.user(1, "ann").stream();
    for _ in 0..amount(4, 40) {
        let conversation = ann.start_conversation("c");
        while stream.next_own().kind() != "conversation_created" {}
        ann.post_message(&conversation, "Hello?");
        let mut call = model.call();
        call.begin();
        let (mut whole, mut text) = (String::new(), String::new());
        for number in 0..50 {
            let piece = format!("piece {number} ");
            call.say(&piece);
            whole += &piece;
            // A piece whose loss is not noticed before the next one would be waited for.
            if number % 10 == 9 {
                call.say("\u{1f600}");
                whole.push('\u{1f600}');
            }
        }
        call.finish();
        loop {
            let event = stream.next_own();
            let data = &event.data["data"];
            match event.kind() {
                "output_delta" => {
                    assert_eq!(data["offset"].as_u64(), Some(text.len() as u64), "{event:?}");
                    text += data["delta"].as_str().expect("a text");
                }
                "output_snapshot" => text = data["text"].as_str().expect("a text").to_owned(),
                "output" => break assert_eq!(event.content(), whole),
                _ => assert_eq!(event.kind(), "input", "{event:?}"),
            }
            assert!(whole.starts_with(&text), "{text:?} is no part of {whole:?}");
        }
    }
}

/// Sends a piece of reasoning.
fn reason(call: &mut Call, text: &str) {
    let chunk = json!({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]});
    call.send(&format!("data: {chunk}\n\n"));
}

/// The offset and the text of the next piece of reasoning.
#[track_caller]
fn next_reasoning(stream: &mut Stream) -> (u64, String) {
    let event = stream.next_of("output_reasoning_delta");
    let data = &event.data["data"];
    (data["offset"].as_u64().expect("an offset"), data["delta"].as_str().expect("a text").to_owned())
}

/// An answer without text is begun again under the same id when its instance is lost. Its reasoning is another one.
#[test]
fn reasoning_that_is_begun_again_is_not_mixed_with_that_of_a_lost_instance() {
    for is_stopped in [false, true] {
        let (model, redis) = (Model::start(), TestRedis::start());
        let mut cluster = start(if is_stopped { "stopped_reason" } else { "killed_reason" }, &model, [redis.port(); 3]);
        let mut ann = cluster.user(0, "ann");
        let conversation = ann.start_conversation("c");
        let mut streams = [1, 2].map(|instance| cluster.user(instance, "ann").stream());
        ann.post_message(&conversation, "Hello?");
        let mut first = model.call();
        reason(first.begin(), "old");
        for stream in &mut streams {
            assert_eq!(next_reasoning(stream), (0, "old".to_owned()));
        }
        if is_stopped {
            cluster.pause(0)
        } else {
            cluster.instances[0].kill()
        }
        let mut second = model.call();
        let mut offset = 0;
        second.begin();
        for piece in ["n\u{1f600}w", "er", "!"] {
            reason(&mut second, piece);
            for stream in &mut streams {
                assert_eq!(next_reasoning(stream), (offset, piece.to_owned()));
            }
            offset += piece.len() as u64;
            if is_stopped {
                // It goes on, until it notices that the answer is not its own any more.
                cluster.resume(0);
                reason(&mut first, "est");
            }
        }
        second.say("the answer");
        second.finish();
        for stream in &mut streams {
            assert_eq!(stream.next_of("output").content(), "the answer");
        }
    }
}

#[test]
fn an_answer_that_is_cancelled_at_another_instance_stops_at_once() {
    for with_redis in [true, false] {
        let (model, redis) = (Model::start(), TestRedis::start());
        let cluster = match with_redis {
            true => start("cancelled", &model, [redis.port(); 3]),
            false => Cluster::start_with("cancelled_without_redis", options(&model)),
        };
        let (mut ann, mut other) = (cluster.user(0, "ann"), cluster.user(1, "ann"));
        for text in ["", "the beginning"] {
            let conversation = ann.start_conversation("c");
            let mut stream = ann.stream();
            ann.post_message(&conversation, "Hello?");
            let mut call = model.call();
            if !text.is_empty() {
                call.begin().say(text);
                stream.next_of("output_delta");
            }
            let cancelled = other.post(&format!("/conversations/{conversation}/cancel"), json!({})).expect(200);
            assert_eq!(cancelled.json()["cancelled"], true, "{}", cancelled.shown());
            call.wait_until_closed();
        }
    }
}
