//! Participants, metadata and recipients of conversations.

use crate::common::*;
use cortex_core::internals::limits::{METADATA_BYTES_MAX, PARTICIPANTS_MAX};
use cortex_core::internals::{
    ApiVariant, CommandKind, ConversationRef, EventKind, EventNumber, Metadata, Outcome, QueryKind, QueryResult,
    Rejection, StreamFilter, UserId,
};
use std::collections::BTreeSet;

#[test]
fn the_default_conversation_belongs_to_the_caller() {
    let mut world = World::in_file();
    let (command_result, events) = world.run("ann", post(ConversationRef::Default, "x"));
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["workspace_created", "conversation_created", "input"]);
    assert_eq!(command_result.number, Some(EventNumber(3)));
    let (_, events) = world.run("ben", post(ConversationRef::Default, "x"));
    assert!(events.iter().all(|event| names(&event.recipients) == ["ben"]));
    let (_, events) = world.run("ann", post(ConversationRef::Default, "y"));
    assert_eq!(events.len(), 1, "the conversation is created once");
    let own = events[0].conversation_id.unwrap();

    let filter = StreamFilter { conversation: Some(ConversationRef::Default), ..EVERYTHING };
    let QueryResult::StreamAccess(allowed) = world.query_result("ann", QueryKind::StreamAccess(filter)) else {
        panic!()
    };
    assert_eq!(allowed.conversation, Some(ConversationRef::Id(own)));
    let kind = QueryKind::Conversation(ConversationRef::Default);
    let QueryResult::Conversation(conversation) = world.query_result("ann", kind) else { panic!() };
    assert_eq!((conversation.id, conversation.topic.as_str(), conversation.message_count), (own, "Default", 2));

    // A deleted default conversation is created again in the same workspace, or with a new workspace if that was deleted.
    world.done(
        "ann",
        CommandKind::DeleteConversation { conversation: ConversationRef::Default, api_variant: ApiVariant::Config },
    );
    let (_, events) = world.run("ann", post(ConversationRef::Default, "x"));
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["conversation_created", "input"]);
    assert_eq!(events[0].workspace_id, conversation.workspace_id);
    world.done("ann", CommandKind::DeleteWorkspace { id: conversation.workspace_id });
    world.reopen();
    let Outcome::ConversationCreated { conversation: made, .. } = world.done("ann", create_conversation(None, &[]))
    else {
        panic!()
    };
    assert_ne!(made.workspace_id, conversation.workspace_id);
    let (_, events) = world.run("ann", post(ConversationRef::Default, "x"));
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["conversation_created", "input"]);
    assert_eq!(events[0].workspace_id, made.workspace_id, "conversations share the default workspace");
    world.writer().check_invariants();
}

#[test]
fn each_event_has_exactly_its_recipients() {
    let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
    let recipients_of = |world: &mut World, user: &str, kind: CommandKind| -> Vec<(EventKind, BTreeSet<String>)> {
        let (_, events) = world.run(user, kind);
        let told = |ids: &[UserId]| ids.iter().map(|id| id.as_str().to_owned()).collect();
        events.iter().map(|event| (event.kind, told(&event.recipients))).collect()
    };
    let set = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|id| id.to_string()).collect() };
    use EventKind::*;

    let kind = update_workspace(workspace, "n");
    assert_eq!(recipients_of(&mut world, "ann", kind), [(WorkspaceUpdated, set(&["ann"]))]);
    let kind = post(ConversationRef::Id(conversation), "x");
    assert_eq!(recipients_of(&mut world, "ben", kind), [(Input, set(&["ann", "ben", "cyd"]))]);
    let kind = update_conversation(conversation, Some(&["ann", "eve"]), None);
    assert_eq!(
        recipients_of(&mut world, "ann", kind),
        [
            (ConversationUpdated, set(&["ann", "eve"])),
            (ConversationLeft, set(&["ben"])),
            (ConversationLeft, set(&["cyd"])),
        ]
    );
    assert_eq!(
        recipients_of(&mut world, "ann", leave(conversation)),
        [(ConversationUpdated, set(&["ann", "eve"])), (ConversationLeft, set(&["ann"]))],
        "the owner remains a recipient, but not a participant"
    );
    assert_eq!(
        world.rejected("ann", leave(conversation)),
        Rejection::Conflict("the caller is not a participant of the conversation")
    );
    let kind = update_conversation(conversation, None, Some("{}"));
    assert_eq!(recipients_of(&mut world, "eve", kind), [(ConversationUpdated, set(&["ann", "eve"]))]);
    assert_eq!(
        recipients_of(&mut world, "eve", leave(conversation)),
        [(ConversationUpdated, set(&["ann"])), (ConversationLeft, set(&["eve"]))]
    );
    world.conversation("ann", workspace, &["ben"]);
    assert_eq!(
        recipients_of(&mut world, "ann", delete_conversation(conversation)),
        [(ConversationDeleted, set(&["ann"]))]
    );
    assert_eq!(
        recipients_of(&mut world, "ann", CommandKind::DeleteWorkspace { id: workspace }),
        [(WorkspaceDeleted, set(&["ann", "ben"]))]
    );
}

#[test]
fn an_update_replaces_the_participants_except_the_caller() {
    let SharedConversation { mut world, conversation, .. } = SharedConversation::new();
    let table: &[(&str, &[&str], &[&str])] = &[
        ("ann", &["eve", "cyd", "ben"], &["ben", "cyd", "ann", "eve"]),
        ("ann", &["ann", "fay", "eve", "fay"], &["ann", "eve", "fay"]),
        ("eve", &["ann", "fay", "gus"], &["ann", "eve", "fay", "gus"]),
        ("ann", &[], &["ann"]),
    ];
    for (user, wanted, expected) in table {
        let changed = updated(world.done(user, update_conversation(conversation, Some(wanted), None)));
        assert_eq!(names(&changed.participants), *expected);
        world.writer().check_invariants();
    }
    world.done("ann", leave(conversation));
    let changed = updated(world.done("ann", update_conversation(conversation, Some(&["ben"]), None)));
    assert_eq!(names(&changed.participants), ["ben"], "a caller who is not a participant is not added");
}

#[test]
fn a_conversation_has_at_most_256_participants() {
    let SharedConversation { mut world, workspace, .. } = SharedConversation::new();
    let many: Vec<String> = (0..PARTICIPANTS_MAX).map(|n| format!("user {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = world.conversation("ann", workspace, &many[1..]);
    for rejection in [
        world.rejected("ann", create_conversation(Some(workspace), &many)),
        world.rejected("ann", update_conversation(full, Some(&many), None)),
    ] {
        let Rejection::Invalid(fields) = rejection else { panic!("{rejection:?}") };
        assert_eq!(fields[0].0, "participant_ids");
    }
    let (_, events) = world.run("ann", post(ConversationRef::Id(full), "x"));
    assert_eq!(events[0].recipients.len(), PARTICIPANTS_MAX);
}

#[test]
fn merged_metadata_is_bounded() {
    let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
    let half = "x".repeat(METADATA_BYTES_MAX / 2);
    let first = format!(r#"{{"a":1.0,"b":"{half}"}}"#);
    let changed = updated(world.done("ben", update_conversation(conversation, None, Some(&first))));
    assert_eq!(changed.metadata.as_str(), first);
    let grown = format!(r#"{{"c":"{half}"}}"#);
    let many: Vec<String> = (0..=PARTICIPANTS_MAX).map(|n| format!("user {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let Rejection::Invalid(fields) =
        world.rejected("ann", update_conversation(conversation, Some(&many), Some(&grown)))
    else {
        panic!()
    };
    let fields: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(fields, ["metadata", "participant_ids"].into(), "all invalid fields are reported together");
    let changed = updated(world.done("ben", update_conversation(conversation, None, Some(r#"{"b":null,"c":1}"#))));
    assert_eq!(changed.metadata.as_str(), r#"{"a":1.0,"c":1}"#);

    let kind = CommandKind::UpdateWorkspace {
        id: workspace,
        name: None,
        description: None,
        metadata: Some(Metadata::new_unchecked(r#"{"k":[1e2]}"#)),
    };
    let Outcome::WorkspaceUpdated(changed) = world.done("ann", kind) else { panic!() };
    assert_eq!((changed.name.as_str(), changed.metadata.as_str()), ("w", r#"{"k":[1e2]}"#));
    let QueryResult::Workspace(stored) = world.query_result("ann", QueryKind::Workspace(workspace)) else { panic!() };
    assert_eq!(stored, changed);
}
