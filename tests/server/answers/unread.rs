//! Answers and streams that are not read: no work for streams without room, and no text lost to them.

use super::*;
use crate::common::Origin;
use crate::common::metrics::Scrape;
use crate::common::model::Call;
use crate::common::reader::{Opening, Reader};
use crate::common::token::token;

const FRAMED: &str = "cortex_answer_framed_bytes_total";
/// Default of `STREAM_BUFFER_BYTES`.
const STREAM_BUFFER_BYTES: usize = 64 * 1024;

/// Has the model write `bytes` more bytes; `reading` follows, so that there is more than one delta.
fn write(call: &mut Call, bytes: usize, text: &mut String, (stream, reading): &mut (Stream, Reading)) {
    let end = text.len() + bytes;
    while text.len() < end {
        let piece = format!("{}\n", "x".repeat(1023));
        for _ in 0..16 {
            call.say(&piece);
            *text += &piece;
        }
        reading.until(stream, text);
    }
}

#[test]
fn an_answer_is_not_framed_for_streams_without_room() {
    const UNREAD: usize = 90;
    let model = Model::start();
    let server = Server::start(options(&model).set("WORKERS", 1));
    let (ann, _, stream) = start_question(&server);
    let opening = Opening { token: token("ann"), origin: Origin::with_receive_buffer(2048), ..Opening::default() };
    let unread: Vec<Reader> = (0..UNREAD).map(|_| Reader::open(server.addr, &opening).expect("a stream")).collect();
    let mut call = model.call();
    call.begin();
    let (mut text, mut read) = (String::new(), (stream, Reading::default()));
    let before = Scrape::of(&server).get(FRAMED);
    // More than the kernel's buffers and the outbox of a stream take.
    write(&mut call, 500_000, &mut text, &mut read);
    let middle = Scrape::of(&server).get(FRAMED);
    write(&mut call, 200_000, &mut text, &mut read);
    let after = Scrape::of(&server).get(FRAMED);
    println!("framed: {} bytes, then {} bytes", middle - before, after - middle);
    assert!(middle - before < 4.0 * 500_000.0, "the streams share {} bytes of frames", middle - before);
    assert!(after - middle < 2.0 * 200_000.0, "{} bytes are framed, although one stream reads", after - middle);
    call.finish();
    assert_output(&read.1.until_output(&mut read.0), &text, "complete");
    drop((ann, unread));
}

#[test]
fn a_reader_that_lags_gets_several_deltas_as_one() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (ann, _, stream) = start_question(&server);
    let mut late = (ann.stream(), Reading::default());
    let mut call = model.call();
    call.begin();
    let (mut text, mut read) = (String::new(), (stream, Reading::default()));
    write(&mut call, 900_000, &mut text, &mut read);
    // The model is silent: only what the reader takes makes room for more.
    late.1.until(&mut late.0, &text);
    assert_eq!(late.1.snapshots, 0, "it was there from the beginning");
    assert!(late.1.deltas < read.1.deltas, "{} deltas, and {} for a fast reader", late.1.deltas, read.1.deltas);
    call.say("end");
    text += "end";
    call.finish();
    for (mut stream, mut reading) in [late, read] {
        assert_output(&reading.until_output(&mut stream), &text, "complete");
        assert_eq!(reading.text, text);
    }
}

#[test]
fn a_long_text_comes_in_pieces_that_fit_into_the_buffer() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (ann, _, stream) = start_question(&server);
    let mut call = model.call();
    call.begin();
    let (mut text, mut read) = (String::new(), (stream, Reading::default()));
    write(&mut call, 300_000, &mut text, &mut read);
    let mut late = (ann.stream(), Reading::default());
    while late.1.text != text {
        let before = late.0.raw.len();
        late.1.take(&late.0.next_own());
        let bytes = late.0.raw.len() - before;
        // What was read with the piece may belong to the next one.
        assert!(bytes <= 2 * STREAM_BUFFER_BYTES, "a piece has {bytes} bytes");
    }
    assert_eq!(late.1.snapshots, 1, "the text begins with a snapshot");
    assert!(late.1.deltas >= 300_000 / STREAM_BUFFER_BYTES, "{} pieces follow", late.1.deltas);
    call.finish();
    assert_output(&late.1.until_output(&mut late.0), &text, "complete");
}

#[test]
fn a_participant_who_comes_back_gets_the_text_from_its_beginning() {
    let model = Model::start();
    let server = Server::start(options(&model));
    let (mut owner, ann) = (User::new(&server, "owner"), User::new(&server, "ann"));
    let workspace = owner.create_workspace("w");
    let conversation = owner.create_conversation(&workspace, "t", &["ann"]);
    let (mut of_owner, mut of_ann) = (owner.stream(), ann.stream());
    owner.say(&conversation, "Hello?");
    let mut call = model.call();
    call.begin().say("one ");
    let (mut by_owner, mut by_ann) = (Reading::default(), Reading::default());
    by_owner.until(&mut of_owner, "one ");
    by_ann.until(&mut of_ann, "one ");
    let path = format!("/config/conversation/{conversation}");
    owner.put(&path, json!({"participant_ids": []})).expect(200);
    assert_eq!(of_ann.next_own().kind(), "conversation_left");
    owner.put(&path, json!({"participant_ids": ["ann"]})).expect(200);
    assert_eq!(of_ann.next_own().kind(), "conversation_updated");
    call.say("two");
    let mut again = Reading::default();
    again.until(&mut of_ann, "one two");
    assert_eq!(again.snapshots, 1, "the text from its beginning");
    call.finish();
    assert_output(&again.until_output(&mut of_ann), "one two", "complete");
}
