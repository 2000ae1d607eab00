//! Conversations and messages as the conversations API shows them.

use crate::domain::model::{Conversation, Message};
use crate::domain::query::{ConversationView, MessagePage, Page, TruncatedEnd};
use crate::wire::json::JsonWriter;
use crate::wire::reply::{QueryBody, bounded, user_id};

/// An array of conversations.
pub(crate) fn chats(listed: &Page<ConversationView>, bytes_max: usize) -> QueryBody {
    let rendered = bounded("[", "]", listed, |one, out| chat(one, out, bytes_max), bytes_max);
    QueryBody { total: Some(listed.total), ..rendered }
}

/// A conversation with its last messages, as many as stay within `bytes_max`; whether some are missing.
pub(crate) fn chat(chat: &ConversationView, out: &mut Vec<u8>, bytes_max: usize) -> bool {
    let before = out.len();
    let mut end = Vec::new();
    after_messages(&mut JsonWriter(&mut end), &chat.conversation);
    before_messages(&mut JsonWriter(out), &chat.conversation);
    let bytes_left = bytes_max.saturating_sub(out.len() - before + end.len());
    let truncated = message_texts(&chat.last, out, bytes_left);
    out.append(&mut end);
    truncated
}

/// A conversation that was just made, with its first message.
pub(crate) fn conversation(json: &mut JsonWriter, conversation: &Conversation, first: Option<&Message>) {
    before_messages(json, conversation);
    if let Some(first) = first {
        message(json, first);
    }
    after_messages(json, conversation);
}

/// An array of messages.
pub(crate) fn messages(page: &MessagePage, bytes_max: usize) -> QueryBody {
    let mut body = b"[".to_vec();
    let truncated = message_texts(page, &mut body, bytes_max.saturating_sub(2));
    body.push(b']');
    QueryBody { body, truncated, total: None }
}

/// A message.
pub(crate) fn message(json: &mut JsonWriter, message: &Message) {
    json.raw("{\"id\":")
        .uuid(message.id.0)
        .raw(",\"conversation_id\":")
        .uuid(message.conversation_id.0)
        .raw(",\"sender_id\":")
        .string(message.sender.as_str())
        .raw(",\"sender_name\":")
        .string(&message.sender_name)
        .raw(",\"role\":\"")
        .raw(message.role.as_str())
        .raw("\",\"content\":")
        .string(message.content.as_str())
        .raw(",\"timestamp\":")
        .time(message.created_at)
        .raw(",\"updated_at\":")
        .time(message.updated_at)
        .raw(",\"status\":\"")
        .raw(message.status.as_str())
        .raw("\",\"metadata\":")
        .raw(message.metadata.as_str())
        .raw("}");
}

fn before_messages(json: &mut JsonWriter, conversation: &Conversation) {
    json.raw("{\"id\":")
        .uuid(conversation.id.0)
        .raw(",\"title\":")
        .string(conversation.topic.as_str())
        .raw(",\"workspace_id\":")
        .uuid(conversation.workspace_id.0)
        .raw(",\"participant_ids\":")
        .array(conversation.participants.iter(), user_id)
        .raw(",\"messages\":[");
}

fn after_messages(json: &mut JsonWriter, conversation: &Conversation) {
    json.raw("],\"message_count\":")
        .number(conversation.message_count)
        .raw(",\"created_at\":")
        .time(conversation.created_at)
        .raw(",\"updated_at\":")
        .time(conversation.updated_at)
        .raw(",\"metadata\":")
        .raw(conversation.metadata.as_str())
        .raw("}");
}

/// As many messages of the page as stay within `bytes_max`, but one in any case, so that a client that follows the list
/// gets on; whether some are missing, here or from the store.
fn message_texts(page: &MessagePage, out: &mut Vec<u8>, bytes_max: usize) -> bool {
    let count = page.messages.len();
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    // Written in the order in which they are kept, so that the end that goes is never written.
    for place in 0..count {
        let index = if page.kept == TruncatedEnd::Oldest { place } else { count - 1 - place };
        message(&mut JsonWriter(&mut text), &page.messages[index]);
        let commas = place;
        if place > 0 && text.len() + commas > bytes_max {
            break;
        }
        ends.push(text.len());
    }
    let truncated = page.truncated || ends.len() < count;
    let mut start = 0;
    let mut pieces: Vec<&[u8]> = ends.into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect();
    if page.kept == TruncatedEnd::Newest {
        pieces.reverse();
    }
    for (place, piece) in pieces.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(piece);
    }
    truncated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::WallTime;
    use crate::domain::id::{ConversationId, MessageId, UserId, WorkspaceId};
    use crate::domain::model::{Content, Metadata, Role, Status, Topic};
    use serde_json::Value;
    use uuid::Uuid;

    fn said(number: u128) -> Message {
        Message {
            id: MessageId(Uuid::from_u128(number)),
            conversation_id: ConversationId(Uuid::from_u128(1)),
            sender: UserId::new_unchecked("u"),
            sender_name: "U".into(),
            role: Role::User,
            content: Content::new_unchecked("\u{1}".repeat(number as usize)),
            metadata: Metadata::empty(),
            created_at: WallTime(0),
            updated_at: WallTime(0),
            status: Status::Complete,
            reply_to: None,
        }
    }

    fn page(kept: TruncatedEnd) -> MessagePage {
        MessagePage { messages: (0..10).map(said).collect(), truncated: false, kept }
    }

    fn numbers(list: &Value) -> Vec<u128> {
        let id = |message: &Value| Uuid::parse_str(message["id"].as_str().unwrap()).unwrap().as_u128();
        list.as_array().unwrap().iter().map(id).collect()
    }

    #[test]
    fn a_page_keeps_the_end_that_a_client_has_not_seen_the_other_side_of() {
        for kept in [TruncatedEnd::Oldest, TruncatedEnd::Newest] {
            let whole = messages(&page(kept), usize::MAX);
            assert!(!whole.truncated);
            let mut counts = Vec::new();
            for bytes_max in 0..=whole.body.len() {
                let rendered = messages(&page(kept), bytes_max);
                let numbers = numbers(&serde_json::from_slice(&rendered.body).unwrap());
                assert!(rendered.body.len() <= bytes_max || numbers.len() == 1);
                assert_eq!(rendered.truncated, numbers.len() < 10);
                let from = if kept == TruncatedEnd::Oldest { 0 } else { 10 - numbers.len() as u128 };
                assert_eq!(numbers, (from..from + numbers.len() as u128).collect::<Vec<_>>());
                counts.push(numbers.len());
            }
            assert!(counts.is_sorted() && counts[0] == 1 && counts[counts.len() - 1] == 10 && counts.contains(&5));
            assert!(messages(&MessagePage { truncated: true, ..page(kept) }, usize::MAX).truncated);
        }
        let none = messages(&MessagePage { messages: vec![], truncated: false, kept: TruncatedEnd::Oldest }, 0);
        assert_eq!((none.body.as_slice(), none.truncated), (&b"[]"[..], false));
    }

    #[test]
    fn a_conversation_leaves_out_its_older_messages() {
        let one = ConversationView {
            conversation: Conversation {
                id: ConversationId(Uuid::from_u128(1)),
                workspace_id: WorkspaceId(Uuid::from_u128(2)),
                topic: Topic::new_unchecked("t"),
                participants: [UserId::new_unchecked("u")].into(),
                metadata: Metadata::empty(),
                created_at: WallTime(0),
                updated_at: WallTime(0),
                message_count: 10,
            },
            last: page(TruncatedEnd::Newest),
        };
        let mut whole = Vec::new();
        assert!(!chat(&one, &mut whole, usize::MAX));
        for bytes_max in [0, 1000, whole.len() - 1, whole.len()] {
            let mut body = Vec::new();
            let truncated = chat(&one, &mut body, bytes_max);
            let value: Value = serde_json::from_slice(&body).unwrap();
            let numbers = numbers(&value["messages"]);
            assert_eq!(truncated, bytes_max < whole.len());
            assert!(body.len() <= bytes_max || numbers.len() == 1, "{bytes_max}");
            assert_eq!(numbers.last(), Some(&9));
            assert_eq!(value["message_count"], 10);
        }
        // A list ends before an item that does not fit whole, but shows as much as it can of its first.
        let listed = Page { items: vec![one.clone(), one], total: 7, truncated: false };
        for (bytes_max, items, cut) in
            [(1000, 1, true), (whole.len() + 2, 1, true), (2 * whole.len() + 3, 2, false), (usize::MAX, 2, false)]
        {
            let rendered = chats(&listed, bytes_max);
            let value: Value = serde_json::from_slice(&rendered.body).unwrap();
            assert_eq!(value.as_array().map(Vec::len), Some(items), "{bytes_max}");
            assert_eq!((rendered.truncated, rendered.total), (cut, Some(7)), "{bytes_max}");
        }
    }
}
