//! Clients whose streams move from one instance to another.

use super::ServerDatabase;
use crate::common::{Server, User};
use serde_json::json;

/// The balancer may send a client that reconnects to an instance that has not seen its last event yet.
#[test]
fn a_client_resumes_at_an_instance_that_is_behind() {
    let database = ServerDatabase::create("resume");
    let (first, second) = (Server::start(database.options()), Server::start(database.options()));
    let (mut sender, reader) = (User::new(&first, "ann"), User::new(&second, "ann"));
    let mut say = |content: &str| sender.post("/input", json!({"content": content})).expect(200).number("X-Event-Id");
    for round in 0..30 {
        let received = say(&format!("received {round}"));
        let mut stream = reader.stream_with(&format!("last_event_id={received}&types=input"));
        assert_eq!(stream.established.number(), received);
        let next = say(&format!("next {round}"));
        assert_eq!(stream.next().kind(), "caught_up", "neither a gap nor the event that the client has");
        let event = stream.next();
        assert_eq!((event.content(), event.number()), (format!("next {round}").as_str(), next));
    }
    let mut stream = reader.stream_with("last_event_id=1000000000&types=input");
    assert_eq!(stream.next().kind(), "gap", "no instance has assigned it");
}
