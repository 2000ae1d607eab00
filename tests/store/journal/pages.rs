//! Single journal pages: gaps, visible history, and bounds of work.

use crate::common::*;
use cortex_core::internals::limits::PAGE_CONVERSATIONS_LISTED_MAX;
use cortex_core::internals::{
    ApiVariant, Command, CommandKind, Content, ConversationId, ConversationRef, Event, EventKind, KindSet, Metadata,
    Role, StreamFilter,
};
use std::sync::Arc;

#[test]
fn an_unknown_number_causes_a_gap() {
    let mut world = World::in_memory();
    for user in ["ann", "nobody"] {
        world.workspace("ann");
        let position = world.writer().position();
        let page = world.page(user, position.0 + 1, usize::MAX, EVERYTHING);
        assert_eq!((page.gap, page.through), (Some(position.next()), position));
        assert!(page.events.is_empty());
        let page = world.page(user, position.0, usize::MAX, EVERYTHING);
        assert_eq!((page.gap, page.through), (None, position));
    }
}

#[test]
fn history_from_before_joining_is_not_replayed() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben"]);
    world.post("ann", conversation, "before cyd");
    world.done("ann", update_conversation(conversation, Some(&["ben", "cyd"]), None));
    let joined = world.writer().position().0;
    world.post("ann", conversation, "with cyd");
    assert_eq!(world.replay("cyd", 0), [(joined, "conversation_updated"), (joined + 1, "input")]);
    assert_eq!(world.replay("ben", 0).len(), 4);

    world.done("ben", leave(conversation));
    let left = world.writer().position().0;
    assert_eq!(world.replay("ben", 0), [(left, "conversation_left")], "earlier events are no longer visible to ben");
    world.done("cyd", update_conversation(conversation, Some(&["ben", "cyd", "ann"]), None));
    world.post("ann", conversation, "ben is back");
    let back = [(left, "conversation_left"), (left + 1, "conversation_updated"), (left + 2, "input")];
    assert_eq!(world.replay("ben", 0), back);
}

#[test]
fn a_page_with_many_filtered_rows_ends_early() {
    let mut world = World::in_memory();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &[]);
    let posts: Vec<Command> = (0..6000).map(|_| command("ann", post(ConversationRef::Id(conversation), "x"))).collect();
    world.commit(&posts);
    world.done("ann", update_workspace(workspace, "late"));
    let filter =
        StreamFilter { kinds: KindSet::NONE.with(EventKind::Output).with(EventKind::WorkspaceUpdated), ..EVERYTHING };
    let (mut after, mut pages, mut seen) = (0, 0, Vec::new());
    let position = world.writer().position().0;
    while after < position {
        let page = world.page("ann", after, usize::MAX, filter);
        assert!(page.through.0 > after);
        after = page.through.0;
        pages += 1;
        seen.extend(page.events.iter().map(|event| event.number.0));
    }
    assert_eq!((pages, seen), (4, vec![position]));
}

#[test]
fn a_user_of_very_many_conversations_receives_all_messages() {
    let mut world = World::in_memory();
    let workspace = world.workspace("ann");
    let create: Vec<Command> = (0..PAGE_CONVERSATIONS_LISTED_MAX + 200)
        .map(|_| command("ann", create_conversation(Some(workspace), &["ben"])))
        .collect();
    let conversations: Vec<ConversationId> =
        world.commit(&create).events.iter().map(|event| event.conversation_id.unwrap()).collect();
    let start = world.writer().position().0;
    let posts: Vec<Command> = conversations
        .iter()
        .map(|conversation| command("ann", post(ConversationRef::Id(*conversation), "x")))
        .collect();
    world.commit(&posts);
    for user in ["ann", "ben"] {
        let (mut after, mut seen) = (start, Vec::new());
        while after < world.writer().position().0 {
            let page = world.page(user, after, usize::MAX, EVERYTHING);
            seen.extend(page.events.iter().map(|event| event.conversation_id.unwrap()));
            after = page.through.0;
        }
        assert_eq!(seen, conversations, "{user}");
    }
}

/// A user who has few conversations gets their messages in one order, although one has many and another few.
#[test]
fn messages_of_a_busy_and_a_quiet_conversation_are_merged() {
    let mut world = World::in_memory();
    let workspace = world.workspace("ann");
    let [busy, quiet, other] =
        [&["ben"][..], &["ben"], &[]].map(|participants| world.conversation("ann", workspace, participants));
    let start = world.writer().position().0;
    let place = |post: usize| if post % 50 == 7 { quiet } else { [busy, other, busy][post % 3] };
    let posts: Vec<Command> =
        (0..1000).map(|number| command("ann", post(ConversationRef::Id(place(number)), "x"))).collect();
    let committed = world.commit(&posts);
    let of_ben: Vec<u64> = committed
        .events
        .iter()
        .filter(|event| event.conversation_id != Some(other))
        .map(|event| event.number.0)
        .collect();
    for bytes_max in [1, 1000, usize::MAX] {
        let (mut after, mut seen) = (start, Vec::new());
        while after < committed.through.0 {
            let page = world.page("ben", after, bytes_max, EVERYTHING);
            seen.extend(page.events.iter().map(|event| event.number.0));
            after = page.through.0;
        }
        assert_eq!(seen, of_ben, "pages of {bytes_max} bytes");
    }
}

#[test]
fn a_page_has_the_messages_of_several_reads_with_texts_of_any_length() {
    let mut world = World::in_memory();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben"]);
    let start = world.writer().position().0;
    let posts: Vec<Command> = (0..90)
        .map(|number| {
            let (content, metadata) = ([1, 3071, 3072, 3073, 9000][number % 5], [2, 512, 513, 5000][number % 4]);
            let metadata = match metadata {
                2 => Metadata::empty(),
                bytes => Metadata::new_unchecked(format!("{{\"a\":\"{}\"}}", "é".repeat((bytes - 8) / 2))),
            };
            let kind = CommandKind::PostMessage {
                conversation: ConversationRef::Id(conversation),
                role: Role::User,
                content: Content::new(&"x".repeat(content)).unwrap(),
                metadata,
                api_variant: ApiVariant::Config,
            };
            command("ann", kind)
        })
        .collect();
    let events = world.commit(&posts).events;
    for deleted in [events[3].message_id(), events[31].message_id(), events[32].message_id()] {
        world.done("ann", delete_message(conversation, deleted.unwrap()));
    }
    let is_kept = |event: &&Arc<Event>| ![3, 31, 32].contains(&(event.number.0 - start - 1));
    let expected: Vec<Event> = events
        .iter()
        .filter(is_kept)
        .map(|event| Event { recipients: Arc::default(), ..Event::clone(event) })
        .collect();
    for bytes_max in [1, 60_000, usize::MAX] {
        let (mut after, mut seen) = (start, Vec::new());
        while after < start + 90 {
            let page = world.page("ben", after, bytes_max, EVERYTHING);
            let messages = page.events.iter().filter(|event| event.kind == EventKind::Input);
            seen.extend(messages.map(|event| Event::clone(event)));
            after = page.through.0;
        }
        assert!(seen == expected, "pages of {bytes_max} bytes");
    }
}
