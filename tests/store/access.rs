//! Who may do and see what, and who is told.

use crate::common::*;
use cortex_core::internals::limits::{METADATA_BYTES_MAX, PARTICIPANTS_MAX};
use cortex_core::internals::{
    ApiVariant, CommandKind, Content, Conversation, ConversationId, ConversationRef, EventKind, EventNumber, Metadata,
    Outcome, Pagination, QueryKind, QueryResult, Rejection, Resource, Role, StreamFilter, Topic, UserId, WorkspaceId,
};
use std::collections::BTreeSet;

/// Ann owns the workspace, ben and cyd take part in the conversation, and dan has nothing to do with them.
struct House {
    world: World,
    workspace: WorkspaceId,
    conversation: ConversationId,
}

fn house() -> House {
    let mut world = World::in_memory();
    let workspace = world.workspace("ann");
    let conversation = world.conversation("ann", workspace, &["ben", "cyd"]);
    world.workspace("dan");
    House { world, workspace, conversation }
}

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

type MakeAct = fn(WorkspaceId, ConversationId) -> CommandKind;
type MakeQuestion = fn(WorkspaceId, ConversationId) -> QueryKind;

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

/// What becomes of an act of the owner, of a participant, and of a stranger.
const ACTS: &[(&str, MakeAct, [Is; 3])] = {
    use ApiVariant::*;
    use Is::*;
    const HIDDEN: Is = NotFound(Resource::Conversation);
    &[
        ("update the workspace", |w, _| update_workspace(w, "n"), [Done, Forbidden, Forbidden]),
        ("delete the workspace", |w, _| CommandKind::DeleteWorkspace { id: w }, [Done, Forbidden, Forbidden]),
        ("make a conversation", |w, _| create_conversation(Some(w), &[]), [Done, Forbidden, Forbidden]),
        ("post", |_, c| say(c, Role::User, Config), [Done, Done, Forbidden]),
        ("post as a chat", |_, c| say(c, Role::User, Conversations), [Done, Done, HIDDEN]),
        ("post as the assistant", |_, c| say(c, Role::Assistant, Conversations), [Done, Forbidden, HIDDEN]),
        ("post as the system", |_, c| say(c, Role::System, Config), [Done, Forbidden, Forbidden]),
        ("rename", |_, c| change(c, Config), [Done, Done, Forbidden]),
        ("rename a chat", |_, c| change(c, Conversations), [Done, Done, HIDDEN]),
        (
            "add somebody",
            |_, c| update_conversation(c, Some(&["ann", "ben", "cyd", "eve"]), None),
            [Done, Done, Forbidden],
        ),
        ("remove somebody", |_, c| update_conversation(c, Some(&["ben"]), None), [Done, Forbidden, Forbidden]),
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
        ("delete a chat", |_, c| delete(c, Conversations), [Done, Forbidden, HIDDEN]),
    ]
};

#[test]
fn acts_by_owner_participant_and_stranger() {
    for (name, kind, expected) in ACTS {
        for (user, expected) in ["ann", "ben", "dan"].iter().zip(expected) {
            let House { mut world, workspace, conversation } = house();
            let position = world.writer().position();
            let (receipt, events) = world.act(user, kind(workspace, conversation));
            let done = receipt.result.is_ok();
            assert_eq!(&outcome(receipt.result), expected, "{name} by {user}");
            assert_eq!(done, world.writer().position() > position, "{name} by {user}");
            assert_eq!(done, receipt.number.is_some_and(|number| events.iter().any(|e| e.number == number)), "{name}");
            world.writer().check_invariants();
        }
    }
}

#[test]
fn nothing_is_left_of_what_was_deleted() {
    type End = fn(WorkspaceId, ConversationId) -> CommandKind;
    let ends: [(&str, End); 2] = [
        ("conversation", |_, c| delete(c, ApiVariant::Config)),
        ("workspace", |w, _| CommandKind::DeleteWorkspace { id: w }),
    ];
    for (ended, end) in ends {
        for purged in [false, true] {
            let House { mut world, workspace, conversation } = house();
            world.done("ann", end(workspace, conversation));
            if purged {
                world.maintain_all();
            }
            for (name, kind, _) in ACTS {
                let about_workspace = name.contains("workspace") || *name == "make a conversation";
                if about_workspace && ended == "conversation" {
                    continue;
                }
                let thing = if about_workspace { Resource::Workspace } else { Resource::Conversation };
                for user in ["ann", "ben", "dan"] {
                    let refusal = world.refused(user, kind(workspace, conversation));
                    assert_eq!(refusal, Rejection::NotFound(thing), "{name} by {user} after the {ended}'s end");
                }
            }
            for user in ["ann", "ben", "dan"] {
                let gone = QueryKind::Conversation(ConversationRef::Id(conversation));
                assert_eq!(world.denied(user, gone), Rejection::NotFound(Resource::Conversation));
                if ended == "workspace" {
                    assert_eq!(
                        world.denied(user, QueryKind::Workspace(workspace)),
                        Rejection::NotFound(Resource::Workspace)
                    );
                }
            }
        }
    }
}

#[test]
fn questions_by_owner_participant_and_stranger() {
    use Is::*;
    const SPAN: Pagination = Pagination { limit: 10, offset: 0 };
    let table: &[(&str, MakeQuestion, [Is; 3])] = &[
        ("the workspace", |w, _| QueryKind::Workspace(w), [Done, Forbidden, Forbidden]),
        ("its conversations", |w, _| QueryKind::Conversations(w, SPAN), [Done, Forbidden, Forbidden]),
        ("the conversation", |_, c| QueryKind::Conversation(ConversationRef::Id(c)), [Done, Done, Forbidden]),
        (
            "the chat",
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
    let House { mut world, workspace, conversation } = house();
    for (name, kind, expected) in table {
        for (user, expected) in ["ann", "ben", "dan"].iter().zip(expected) {
            let answer = world.ask(user, kind(workspace, conversation));
            assert_eq!(&outcome(answer.result), expected, "{name} for {user}");
        }
    }
}

#[test]
fn ids_that_are_not_ours_are_not_found() {
    let House { mut world, workspace, conversation } = house();
    let other = house();
    // The same number and time under another key, a message's id, and one bit of the time changed.
    let forged = |id: uuid::Uuid| uuid::Uuid::from_u128(id.as_u128() ^ 1 << 64);
    let message = world.post("ann", conversation, "x").message().unwrap().id;
    for id in [other.workspace.0, conversation.0, message.0, forged(workspace.0), uuid::Uuid::nil()] {
        let refusal = world.refused("ann", update_workspace(WorkspaceId(id), "n"));
        assert_eq!(refusal, Rejection::NotFound(Resource::Workspace), "{id}");
        assert_eq!(world.denied("ann", QueryKind::Workspace(WorkspaceId(id))), refusal, "{id}");
    }
    for id in [other.conversation.0, workspace.0, message.0, forged(conversation.0), uuid::Uuid::max()] {
        let refusal = world.refused("ann", post(ConversationRef::Id(ConversationId(id)), "x"));
        assert_eq!(refusal, Rejection::NotFound(Resource::Conversation), "{id}");
        let kind = QueryKind::Conversation(ConversationRef::Id(ConversationId(id)));
        assert_eq!(world.denied("ann", kind), refusal, "{id}");
    }
}

#[test]
fn default_means_the_callers_own() {
    let mut world = World::in_file();
    let (receipt, events) = world.act("ann", post(ConversationRef::Default, "x"));
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["workspace_created", "conversation_created", "input"]);
    assert_eq!(receipt.number, Some(EventNumber(3)));
    let (_, events) = world.act("ben", post(ConversationRef::Default, "x"));
    assert!(events.iter().all(|event| names(&event.recipients) == ["ben"]));
    let (_, events) = world.act("ann", post(ConversationRef::Default, "y"));
    assert_eq!(events.len(), 1, "made once");
    let own = events[0].conversation_id.unwrap();

    let filter = StreamFilter { conversation: Some(ConversationRef::Default), ..EVERYTHING };
    let QueryResult::StreamAccess(allowed) = world.found("ann", QueryKind::StreamAccess(filter)) else { panic!() };
    assert_eq!(allowed.conversation, Some(ConversationRef::Id(own)));
    let kind = QueryKind::Conversation(ConversationRef::Default);
    let QueryResult::Conversation(conversation) = world.found("ann", kind) else { panic!() };
    assert_eq!((conversation.id, conversation.topic.as_str(), conversation.message_count), (own, "Default", 2));

    // A conversation that was deleted is made again in the same workspace, and with the workspace if that was deleted.
    world.done(
        "ann",
        CommandKind::DeleteConversation { conversation: ConversationRef::Default, api_variant: ApiVariant::Config },
    );
    let (_, events) = world.act("ann", post(ConversationRef::Default, "x"));
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["conversation_created", "input"]);
    assert_eq!(events[0].workspace_id, conversation.workspace_id);
    world.done("ann", CommandKind::DeleteWorkspace { id: conversation.workspace_id });
    world.reopen();
    let Outcome::ConversationCreated { conversation: made, .. } = world.done("ann", create_conversation(None, &[]))
    else {
        panic!()
    };
    assert_ne!(made.workspace_id, conversation.workspace_id);
    let (_, events) = world.act("ann", post(ConversationRef::Default, "x"));
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["conversation_created", "input"]);
    assert_eq!(events[0].workspace_id, made.workspace_id, "a default workspace serves both");
    world.writer().check_invariants();
}

#[test]
fn everybody_concerned_is_told_and_nobody_else() {
    let House { mut world, workspace, conversation } = house();
    let audience = |world: &mut World, user: &str, kind: CommandKind| -> Vec<(EventKind, BTreeSet<String>)> {
        let (_, events) = world.act(user, kind);
        let told = |ids: &[UserId]| ids.iter().map(|id| id.as_str().to_owned()).collect();
        events.iter().map(|event| (event.kind, told(&event.recipients))).collect()
    };
    let set = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|id| id.to_string()).collect() };
    use EventKind::*;

    let kind = update_workspace(workspace, "n");
    assert_eq!(audience(&mut world, "ann", kind), [(WorkspaceUpdated, set(&["ann"]))]);
    let kind = post(ConversationRef::Id(conversation), "x");
    assert_eq!(audience(&mut world, "ben", kind), [(Input, set(&["ann", "ben", "cyd"]))]);
    let kind = update_conversation(conversation, Some(&["ann", "eve"]), None);
    assert_eq!(
        audience(&mut world, "ann", kind),
        [
            (ConversationUpdated, set(&["ann", "eve"])),
            (ConversationLeft, set(&["ben"])),
            (ConversationLeft, set(&["cyd"])),
        ]
    );
    assert_eq!(
        audience(&mut world, "ann", leave(conversation)),
        [(ConversationUpdated, set(&["ann", "eve"])), (ConversationLeft, set(&["ann"]))],
        "the owner is told as owner, and takes part no longer"
    );
    assert_eq!(
        world.refused("ann", leave(conversation)),
        Rejection::Conflict("the caller does not take part in the conversation")
    );
    let kind = update_conversation(conversation, None, Some("{}"));
    assert_eq!(audience(&mut world, "eve", kind), [(ConversationUpdated, set(&["ann", "eve"]))]);
    assert_eq!(
        audience(&mut world, "eve", leave(conversation)),
        [(ConversationUpdated, set(&["ann"])), (ConversationLeft, set(&["eve"]))]
    );
    world.conversation("ann", workspace, &["ben"]);
    assert_eq!(audience(&mut world, "ann", delete_conversation(conversation)), [(ConversationDeleted, set(&["ann"]))]);
    assert_eq!(
        audience(&mut world, "ann", CommandKind::DeleteWorkspace { id: workspace }),
        [(WorkspaceDeleted, set(&["ann", "ben"]))]
    );
}

fn updated(outcome: Outcome) -> Conversation {
    match outcome {
        Outcome::ConversationUpdated(conversation) => conversation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn participants_are_replaced_but_who_asks_stays() {
    let House { mut world, conversation, .. } = house();
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
    assert_eq!(names(&changed.participants), ["ben"], "who does not take part is not put in");
}

#[test]
fn a_conversation_has_at_most_256_participants() {
    let House { mut world, workspace, .. } = house();
    let many: Vec<String> = (0..PARTICIPANTS_MAX).map(|n| format!("user {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = world.conversation("ann", workspace, &many[1..]);
    for refusal in [
        world.refused("ann", create_conversation(Some(workspace), &many)),
        world.refused("ann", update_conversation(full, Some(&many), None)),
    ] {
        let Rejection::Invalid(fields) = refusal else { panic!("{refusal:?}") };
        assert_eq!(fields[0].0, "participant_ids");
    }
    let (_, events) = world.act("ann", post(ConversationRef::Id(full), "x"));
    assert_eq!(events[0].recipients.len(), PARTICIPANTS_MAX);
}

#[test]
fn metadata_merges_within_its_bound() {
    let House { mut world, workspace, conversation } = house();
    let half = "x".repeat(METADATA_BYTES_MAX / 2);
    let first = format!(r#"{{"a":1.0,"b":"{half}"}}"#);
    let changed = updated(world.done("ben", update_conversation(conversation, None, Some(&first))));
    assert_eq!(changed.metadata.as_str(), first);
    let grown = format!(r#"{{"c":"{half}"}}"#);
    let many: Vec<String> = (0..=PARTICIPANTS_MAX).map(|n| format!("user {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let Rejection::Invalid(fields) = world.refused("ann", update_conversation(conversation, Some(&many), Some(&grown)))
    else {
        panic!()
    };
    let fields: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(fields, ["metadata", "participant_ids"].into(), "every bad field at once");
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
    let QueryResult::Workspace(stored) = world.found("ann", QueryKind::Workspace(workspace)) else { panic!() };
    assert_eq!(stored, changed);
}

#[test]
fn an_answer_shows_what_the_same_batch_wrote() {
    let House { mut world, workspace, conversation } = house();
    let committed = world.commit(&[
        command("ben", post(ConversationRef::Id(conversation), "x")),
        command("ann", update_conversation(conversation, None, Some(r#"{"a":1}"#))),
        command("ben", post(ConversationRef::Id(conversation), "y")),
    ]);
    let changed = updated(committed.results[1].result.clone().unwrap());
    assert_eq!((changed.message_count, changed.updated_at), (1, committed.events[1].at));
    let kind = QueryKind::Conversation(ConversationRef::Id(conversation));
    let QueryResult::Conversation(stored) = world.found("ben", kind) else { panic!() };
    assert_eq!((stored.message_count, stored.updated_at), (2, committed.events[2].at));

    let first = Some(Content::new("first").unwrap());
    let kind = CommandKind::CreateConversation {
        workspace: Some(workspace),
        topic: Topic::new("t").unwrap(),
        participants: users(&["ben", "ann", "cyd"]),
        metadata: Metadata::empty(),
        initial_message: first,
        api_variant: ApiVariant::Conversations,
    };
    let Outcome::ConversationCreated { conversation: made, first: Some(event), .. } = world.done("ann", kind) else {
        panic!()
    };
    assert_eq!(names(&made.participants), ["ben", "ann", "cyd"], "the caller keeps the place that they named");
    let kind = QueryKind::Conversation(ConversationRef::Id(made.id));
    let QueryResult::Conversation(stored) = world.found("ben", kind) else { panic!() };
    assert_eq!(stored, made);
    assert_eq!((made.message_count, made.updated_at), (1, event.at));
}

#[test]
fn names_are_told_to_who_shares_a_conversation() {
    let House { mut world, conversation, .. } = house();
    world.post("ben", conversation, "x");
    world.workspace("cyd");
    world.workspace("eve");
    let mut asks = |user: &str| -> Vec<(String, String)> {
        let kind = QueryKind::Users(users(&["dan", "cyd", "ben", "ann", "nobody", "ben"]));
        let QueryResult::Users(found) = world.found(user, kind) else { panic!() };
        found.iter().map(|profile| (profile.id.to_string(), profile.name.to_string())).collect()
    };
    let pairs = |ids: &[&str]| ids.iter().map(|id| (id.to_string(), id.to_uppercase())).collect::<Vec<_>>();
    assert_eq!(asks("ben"), pairs(&["cyd", "ben", "ann"]));
    assert_eq!(asks("ann"), pairs(&["cyd", "ben", "ann"]));
    assert_eq!(asks("dan"), pairs(&["dan"]));
    assert_eq!(asks("eve"), []);
    assert_eq!(asks("nobody"), []);
    world.done("ann", leave(conversation));
    let kind = QueryKind::Users(users(&["ann"]));
    let QueryResult::Users(found) = world.found("ben", kind) else { panic!() };
    assert_eq!(found.len(), 1, "the owner of the workspace is never out of it");
    world.done("ann", delete_conversation(conversation));
    let QueryResult::Users(found) = world.found("ben", QueryKind::Users(users(&["ann", "cyd"]))) else { panic!() };
    assert!(found.is_empty(), "nothing is shared any more");
}
