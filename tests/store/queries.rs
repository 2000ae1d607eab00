//! Results of queries: order, bounds, position and exact content.

use crate::common::*;
use cortex_core::internals::limits::{LIST_BYTES_MAX, METADATA_BYTES_MAX};
use cortex_core::internals::{
    ApiVariant, Command, CommandKind, Content, ConversationRef, EventNumber, Metadata, Outcome, Pagination, QueryKind,
    QueryResult, Role, WorkspaceDescription, WorkspaceName,
};

#[test]
fn lists_are_in_creation_order_and_bounded() {
    let mut world = World::in_file();
    let large = Metadata::new_unchecked(format!(r#"{{"x":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX - 8)));
    let fitting = LIST_BYTES_MAX / (METADATA_BYTES_MAX + 1024);
    let creates: Vec<Command> = (0..fitting + 50)
        .map(|n| {
            let name = WorkspaceName::new(&format!("w{n}")).unwrap();
            let description = WorkspaceDescription::new("d").unwrap();
            command("ann", CommandKind::CreateWorkspace { name, description, metadata: large.clone() })
        })
        .collect();
    world.commit(&creates);
    let mut names = Vec::new();
    loop {
        let pagination = Pagination { limit: 1000, offset: names.len() as u64 };
        let QueryResult::Workspaces(listed) = world.query_result("ann", QueryKind::Workspaces(pagination)) else {
            panic!()
        };
        assert_eq!(listed.total, creates.len() as u64);
        let bytes: usize = listed.items.iter().map(|workspace| workspace.metadata.as_str().len()).sum();
        assert!(bytes <= LIST_BYTES_MAX && !listed.items.is_empty());
        names.extend(listed.items.iter().map(|workspace| workspace.name.as_str().to_owned()));
        if !listed.truncated {
            break;
        }
    }
    assert_eq!(names, (0..creates.len()).map(|n| format!("w{n}")).collect::<Vec<_>>());
    let QueryResult::Workspaces(listed) =
        world.query_result("ann", QueryKind::Workspaces(Pagination { limit: 2, offset: 3 }))
    else {
        panic!()
    };
    assert_eq!(listed.items.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["w3", "w4"]);
    assert!(!listed.truncated, "a page that reaches its limit is not truncated");
    let QueryResult::Workspaces(listed) =
        world.query_result("ann", QueryKind::Workspaces(Pagination { limit: 2, offset: u64::MAX }))
    else {
        panic!()
    };
    assert!(listed.items.is_empty() && listed.total == creates.len() as u64);
    let QueryResult::Workspaces(listed) =
        world.query_result("nobody", QueryKind::Workspaces(Pagination { limit: 2, offset: 0 }))
    else {
        panic!()
    };
    assert_eq!((listed.items.len(), listed.total, listed.truncated), (0, 0, false));
}

#[test]
fn responses_have_the_position_of_their_snapshot() {
    let mut world = World::in_file();
    let workspace = world.workspace("ann");
    let answer = world.query("ann", QueryKind::Workspace(workspace));
    assert_eq!(answer.position, EventNumber(1));
    world.done("ann", post(ConversationRef::Default, "x"));
    assert_eq!(world.query("ann", QueryKind::Workspace(workspace)).position, EventNumber(4));
    assert_eq!(world.query("ben", QueryKind::Workspace(workspace)).position, EventNumber(4), "also with a rejection");
}

#[test]
fn a_message_is_stored_byte_for_byte() {
    let mut world = World::in_file();
    let metadata = Metadata::new_unchecked(r#"{"b":1.50e+03,"a":[123456789012345678901234567890,"\u00e9"]}"#);
    let content = Content::new("a\u{0}b\r\n'\"\\ \u{1f600}").unwrap();
    let kind = CommandKind::PostMessage {
        conversation: ConversationRef::Default,
        role: Role::Assistant,
        content: content.clone(),
        metadata: metadata.clone(),
        api_variant: ApiVariant::Config,
    };
    let Outcome::Posted { event, .. } = world.done("ann", kind) else { panic!() };
    world.reopen();
    let page = world.page("ann", event.number.0 - 1, usize::MAX, EVERYTHING);
    assert_eq!(page.events.len(), 1);
    let message = page.events[0].message().unwrap();
    assert_eq!((&message.content, &message.metadata, message.role), (&content, &metadata, Role::Assistant));
    assert_eq!(Some(message), event.message());
}
