//! Access checks of commands and queries.

use crate::common::*;
use cortex_core::internals::{
    ApiVariant, CommandKind, ConversationId, ConversationRef, Pagination, QueryKind, Rejection, Resource, Role,
    StreamFilter, Topic, WorkspaceId,
};

#[derive(Debug, PartialEq)]
enum Is {
    Done,
    Forbidden,
    NotFound(Resource),
    Conflict,
}

fn outcome<T>(result: Result<T, Rejection>) -> Is {
    match result {
        Ok(_) => Is::Done,
        Err(Rejection::Forbidden(_)) => Is::Forbidden,
        Err(Rejection::NotFound(thing)) => Is::NotFound(thing),
        Err(Rejection::Conflict(_)) => Is::Conflict,
        Err(other) => panic!("{other:?}"),
    }
}

type MakeCommand = fn(WorkspaceId, ConversationId) -> CommandKind;
type MakeQuery = fn(WorkspaceId, ConversationId) -> QueryKind;

fn change(id: ConversationId, api_variant: ApiVariant) -> CommandKind {
    CommandKind::UpdateConversation {
        conversation: ConversationRef::Id(id),
        topic: Some(Topic::new("new").unwrap()),
        participants: None,
        metadata: None,
        api_variant,
    }
}

fn delete(id: ConversationId, api_variant: ApiVariant) -> CommandKind {
    CommandKind::DeleteConversation { conversation: ConversationRef::Id(id), api_variant }
}

fn say(id: ConversationId, role: Role, api_variant: ApiVariant) -> CommandKind {
    post_as(ConversationRef::Id(id), role, api_variant, "x")
}

/// Each command with its outcome for the owner, a participant, and an outsider.
const COMMANDS: &[(&str, MakeCommand, [Is; 3])] = {
    use ApiVariant::*;
    use Is::*;
    const HIDDEN: Is = NotFound(Resource::Conversation);
    &[
        ("update the workspace", |w, _| update_workspace(w, "n"), [Done, Forbidden, Forbidden]),
        ("delete the workspace", |w, _| CommandKind::DeleteWorkspace { id: w }, [Done, Forbidden, Forbidden]),
        ("create a conversation", |w, _| create_conversation(Some(w), &[]), [Done, Forbidden, Forbidden]),
        ("post", |_, c| say(c, Role::User, Config), [Done, Done, Forbidden]),
        ("post by the conversations API", |_, c| say(c, Role::User, Conversations), [Done, Done, HIDDEN]),
        ("post as the assistant", |_, c| say(c, Role::Assistant, Conversations), [Done, Forbidden, HIDDEN]),
        ("post as the system", |_, c| say(c, Role::System, Config), [Done, Forbidden, Forbidden]),
        ("rename", |_, c| change(c, Config), [Done, Done, Forbidden]),
        ("rename by the conversations API", |_, c| change(c, Conversations), [Done, Done, HIDDEN]),
        (
            "add a participant",
            |_, c| update_conversation(c, Some(&["ann", "ben", "cyd", "eve"]), None),
            [Done, Done, Forbidden],
        ),
        ("remove participants", |_, c| update_conversation(c, Some(&["ben"]), None), [Done, Forbidden, Forbidden]),
        ("set metadata", |_, c| update_conversation(c, None, Some(r#"{"a":1}"#)), [Done, Done, Forbidden]),
        (
            "set the responder",
            |_, c| update_conversation(c, None, Some(r#"{"responder":"echo"}"#)),
            [Done, Forbidden, Forbidden],
        ),
        (
            "remove the responder",
            |_, c| update_conversation(c, None, Some(r#"{"responder":null}"#)),
            [Done, Forbidden, Forbidden],
        ),
        ("leave", |_, c| leave(c), [Done, Done, Forbidden]),
        ("delete", |_, c| delete(c, Config), [Done, Forbidden, Forbidden]),
        ("delete by the conversations API", |_, c| delete(c, Conversations), [Done, Forbidden, HIDDEN]),
    ]
};

#[test]
fn commands_by_owner_participant_and_outsider() {
    for (name, kind, expected) in COMMANDS {
        for (user, expected) in ["ann", "ben", "dan"].iter().zip(expected) {
            let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
            let position = world.writer().position();
            let (command_result, events) = world.run(user, kind(workspace, conversation));
            let done = command_result.result.is_ok();
            assert_eq!(&outcome(command_result.result), expected, "{name} by {user}");
            assert_eq!(done, world.writer().position() > position, "{name} by {user}");
            assert_eq!(
                done,
                command_result.number.is_some_and(|number| events.iter().any(|e| e.number == number)),
                "{name}"
            );
            world.writer().check_invariants();
        }
    }
}

#[test]
fn deleted_resources_are_not_found() {
    type End = fn(WorkspaceId, ConversationId) -> CommandKind;
    let ends: [(&str, End); 2] = [
        ("conversation", |_, c| delete(c, ApiVariant::Config)),
        ("workspace", |w, _| CommandKind::DeleteWorkspace { id: w }),
    ];
    for (ended, end) in ends {
        for purged in [false, true] {
            let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
            world.done("ann", end(workspace, conversation));
            if purged {
                world.maintain_all();
            }
            for (name, kind, _) in COMMANDS {
                let about_workspace = name.contains("workspace") || *name == "create a conversation";
                if about_workspace && ended == "conversation" {
                    continue;
                }
                let thing = if about_workspace { Resource::Workspace } else { Resource::Conversation };
                for user in ["ann", "ben", "dan"] {
                    let rejection = world.rejected(user, kind(workspace, conversation));
                    assert_eq!(
                        rejection,
                        Rejection::NotFound(thing),
                        "{name} by {user} after the deletion of the {ended}"
                    );
                }
            }
            for user in ["ann", "ben", "dan"] {
                let gone = QueryKind::Conversation(ConversationRef::Id(conversation));
                assert_eq!(world.query_rejection(user, gone), Rejection::NotFound(Resource::Conversation));
                if ended == "workspace" {
                    assert_eq!(
                        world.query_rejection(user, QueryKind::Workspace(workspace)),
                        Rejection::NotFound(Resource::Workspace)
                    );
                }
            }
        }
    }
}

#[test]
fn queries_by_owner_participant_and_outsider() {
    use Is::*;
    const PAGE: Pagination = Pagination { limit: 10, offset: 0 };
    let table: &[(&str, MakeQuery, [Is; 3])] = &[
        ("the workspace", |w, _| QueryKind::Workspace(w), [Done, Forbidden, Forbidden]),
        ("its conversations", |w, _| QueryKind::Conversations(w, PAGE), [Done, Forbidden, Forbidden]),
        ("the conversation", |_, c| QueryKind::Conversation(ConversationRef::Id(c)), [Done, Done, Forbidden]),
        (
            "the conversation by the conversations API",
            |_, c| QueryKind::ConversationView(ConversationRef::Id(c)),
            [Done, Done, NotFound(Resource::Conversation)],
        ),
        ("a stream of all", |_, _| QueryKind::StreamAccess(EVERYTHING), [Done, Done, Done]),
        (
            "a stream of the workspace",
            |w, _| QueryKind::StreamAccess(StreamFilter { workspace: Some(w), ..EVERYTHING }),
            [Done, Done, Forbidden],
        ),
        (
            "a stream of the conversation",
            |_, c| QueryKind::StreamAccess(StreamFilter { conversation: Some(ConversationRef::Id(c)), ..EVERYTHING }),
            [Done, Done, Forbidden],
        ),
        (
            "the default conversation",
            |_, _| QueryKind::Conversation(ConversationRef::Default),
            [NotFound(Resource::Conversation), NotFound(Resource::Conversation), NotFound(Resource::Conversation)],
        ),
        (
            "a stream of the default conversation",
            |_, _| QueryKind::StreamAccess(StreamFilter { conversation: Some(ConversationRef::Default), ..EVERYTHING }),
            [NotFound(Resource::Conversation), NotFound(Resource::Conversation), NotFound(Resource::Conversation)],
        ),
    ];
    let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
    for (name, kind, expected) in table {
        for (user, expected) in ["ann", "ben", "dan"].iter().zip(expected) {
            let answer = world.query(user, kind(workspace, conversation));
            assert_eq!(&outcome(answer.result), expected, "{name} for {user}");
        }
    }
}

#[test]
fn ids_of_other_databases_are_not_found() {
    let SharedConversation { mut world, workspace, conversation } = SharedConversation::new();
    let other = SharedConversation::new();
    // An id with the same number and time under another key, the id of a message, and an id with one bit changed.
    let forged = |id: uuid::Uuid| uuid::Uuid::from_u128(id.as_u128() ^ 1 << 64);
    let message = world.post("ann", conversation, "x").message().unwrap().id;
    for id in [other.workspace.0, conversation.0, message.0, forged(workspace.0), uuid::Uuid::nil()] {
        let rejection = world.rejected("ann", update_workspace(WorkspaceId(id), "n"));
        assert_eq!(rejection, Rejection::NotFound(Resource::Workspace), "{id}");
        assert_eq!(world.query_rejection("ann", QueryKind::Workspace(WorkspaceId(id))), rejection, "{id}");
    }
    for id in [other.conversation.0, workspace.0, message.0, forged(conversation.0), uuid::Uuid::max()] {
        let rejection = world.rejected("ann", post(ConversationRef::Id(ConversationId(id)), "x"));
        assert_eq!(rejection, Rejection::NotFound(Resource::Conversation), "{id}");
        let kind = QueryKind::Conversation(ConversationRef::Id(ConversationId(id)));
        assert_eq!(world.query_rejection("ann", kind), rejection, "{id}");
    }
}
