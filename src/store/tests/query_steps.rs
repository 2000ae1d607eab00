//! Queries in steps: every step examines a bounded number of rows, and the steps together find what a single one finds.

use super::*;
use crate::base::limits::{PAGE_CONVERSATIONS_LISTED_MAX, PARTICIPANTS_MAX};
use crate::domain::event::{EventKind, KindSet};
use crate::domain::page::Pagination;
use crate::domain::query::MessageCursor;
use crate::domain::result::Rejection;
use rusqlite::{Connection, ffi};

/// A filter that accepts everything.
const ALL: StreamFilter = StreamFilter { conversation: None, workspace: None, kinds: KindSet::ALL };

fn query(user: &str, kind: QueryKind) -> Query {
    Query { reply_to: ReplyTo { shard: 0, slot: 0, generation: 0 }, caller: UserId::new_unchecked(user), kind }
}

fn commit(writer: &mut Writer, commands: &[Command]) -> Vec<Outcome> {
    let results = writer.commit_batch(commands, NOW).results;
    results.into_iter().map(|result| result.result.unwrap()).collect()
}

fn conversations(writer: &mut Writer, user: &str, workspace: WorkspaceId, participants: &[&str], count: usize) {
    let commands: Vec<Command> =
        (0..count).map(|_| command(user, create_conversation(workspace, participants))).collect();
    commands.chunks(256).for_each(|chunk| drop(commit(writer, chunk)));
}

/// `eve` has made up `ids`, and many conversations with them. The conversations of the other workspace belong to `ann`, and
/// `eve` and `ben` participate in them.
struct CrowdedStore {
    writer: Writer,
    workspace: WorkspaceId,
    shared: WorkspaceId,
    conversation: ConversationRef,
    ids: Vec<String>,
}

impl CrowdedStore {
    fn new(conversations_each: usize) -> CrowdedStore {
        let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
        let ids: Vec<String> = (1..PARTICIPANTS_MAX).map(|id| format!("made-up-{id}")).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let workspace = add_workspace(&mut writer, "eve");
        let shared = add_workspace(&mut writer, "ann");
        for _ in 0..conversations_each {
            // Workspaces without conversations are examined as well.
            add_workspace(&mut writer, "eve");
        }
        conversations(&mut writer, "eve", workspace, &names, conversations_each);
        conversations(&mut writer, "ann", shared, &["eve", "ben"], conversations_each);
        let conversation = ConversationRef::Id(add_conversation(&mut writer, "eve", workspace, &["ben"]));
        let posts: Vec<Command> = (0..2000).map(|_| command("eve", post(conversation, "x"))).collect();
        posts.chunks(256).for_each(|chunk| drop(commit(&mut writer, chunk)));
        CrowdedStore { writer, workspace, shared, conversation, ids }
    }

    /// Every query of a client, with the rows that it names at most.
    fn queries(&self) -> Vec<(&'static str, QueryKind, usize)> {
        let page = |limit, offset| Pagination { limit, offset };
        let filter = |kinds| StreamFilter { kinds, ..ALL };
        let journal = |filter| QueryKind::JournalPage { after: EventNumber(0), bytes_max: 1 << 20, filter };
        let unrelated = self.ids.iter().map(|id| UserId::new_unchecked(id.as_str())).collect();
        vec![
            ("a health check", QueryKind::Alive([127, 0, 0, 1].into()), 1),
            ("workspaces", QueryKind::Workspaces(page(1000, 0)), 1),
            ("workspaces far back", QueryKind::Workspaces(page(10, 100_000)), 1),
            ("conversations of a workspace", QueryKind::Conversations(self.workspace, page(1000, 0)), 1),
            ("conversations far back", QueryKind::Conversations(self.workspace, page(2, 290)), 1),
            ("a conversation", QueryKind::Conversation(self.conversation), PARTICIPANTS_MAX),
            ("a view", QueryKind::ConversationView(self.conversation), PARTICIPANTS_MAX + 100),
            ("views", QueryKind::ConversationViews { pagination: page(1000, 0), with_messages: false }, 1),
            (
                "views with messages",
                QueryKind::ConversationViews { pagination: page(1000, 0), with_messages: true },
                50,
            ),
            ("views far back", QueryKind::ConversationViews { pagination: page(9, 590), with_messages: false }, 1),
            (
                "messages",
                QueryKind::Messages {
                    conversation: self.conversation,
                    cursor: MessageCursor::First,
                    limit: 1000,
                    with_reasoning: false,
                },
                1000,
            ),
            ("users", QueryKind::Users(unrelated), 256),
            ("a user who shares nothing", QueryKind::Users(vec![UserId::new_unchecked("ann")]), 1),
            (
                "a stream of a workspace",
                QueryKind::StreamAccess(StreamFilter { workspace: Some(self.shared), ..ALL }),
                1,
            ),
            ("a page", journal(ALL), 256),
            ("a page of messages that there are none of", journal(filter(KindSet::NONE.with(EventKind::Output))), 32),
        ]
    }

    /// Executes a query in steps. Returns the response and the most instructions of SQLite's machine that a step took.
    fn measure(&self, user: &str, kind: &QueryKind, rows_max: usize) -> (QueryResponse, u64) {
        let db = &self.writer.connection.db;
        let (mut pending, mut most) = (PendingQuery::new(query(user, kind.clone())), 0);
        instructions_since_last_call(db.sqlite());
        loop {
            let step = queries::step(db, &self.writer.meta.ids, pending, limits(rows_max), (EventNumber(0), None));
            most = most.max(instructions_since_last_call(db.sqlite()));
            match step {
                QueryStep::Done(response) => return (response, most),
                QueryStep::More(more) => pending = more,
            }
        }
    }
}

/// The instructions that SQLite's machine has executed for the prepared statements of a connection.
fn instructions_since_last_call(db: &Connection) -> u64 {
    let mut sum = 0;
    // SAFETY: the connection is open, and no statement is finalized in the loop.
    unsafe {
        let mut statement = ffi::sqlite3_next_stmt(db.handle(), std::ptr::null_mut());
        while !statement.is_null() {
            sum += ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 1) as u64;
            statement = ffi::sqlite3_next_stmt(db.handle(), statement);
        }
    }
    sum
}

/// The case of the fault was a search for users: 255 ids with thousands of conversations that the searching user is not in.
#[test]
fn no_step_of_a_query_examines_more_than_its_bound() {
    if !support::is_sqlite() {
        return;
    }
    const ROWS_MAX: usize = 32;
    // SQLite's machine takes up to this many instructions for a row with the rows that it refers to.
    const INSTRUCTIONS_PER_ROW: u64 = 125;
    let crowded = CrowdedStore::new(300);
    for user in ["eve", "ann", "ben", "outsider"] {
        for (name, kind, own_rows) in crowded.queries() {
            let (in_steps, most) = crowded.measure(user, &kind, ROWS_MAX);
            let (at_once, _) = crowded.measure(user, &kind, 1 << 20);
            let bound = INSTRUCTIONS_PER_ROW * (2 * ROWS_MAX + own_rows) as u64;
            assert!(most <= bound, "{name} by {user}: {most} instructions in a step, expected at most {bound}");
            if !matches!(kind, QueryKind::JournalPage { .. }) {
                assert_eq!(format!("{:?}", in_steps.result), format!("{:?}", at_once.result), "{name} by {user}");
            }
            assert_eq!(in_steps.position, crowded.writer.position());
        }
    }
}

/// A user of very many conversations cannot list them, so a page checks the conversation of each message at the journal's end.
#[test]
fn no_page_checks_more_conversations_than_its_bound() {
    if !support::is_sqlite() {
        return;
    }
    const ROWS_MAX: usize = 32;
    let crowded = {
        let mut crowded = CrowdedStore::new(20);
        let CrowdedStore { writer, workspace, shared, .. } = &mut crowded;
        conversations(writer, "eve", *workspace, &[], PAGE_CONVERSATIONS_LISTED_MAX);
        for _ in 0..PAGE_CONVERSATIONS_LISTED_MAX {
            add_workspace(writer, "dan");
        }
        let kind = create_conversation(*shared, &[]);
        let made = commit(writer, &vec![command("ann", kind); 200]);
        let posts: Vec<Command> = made
            .iter()
            .map(|outcome| match outcome {
                Outcome::ConversationCreated { conversation, .. } => {
                    command("ann", post(ConversationRef::Id(conversation.id), "not for eve"))
                }
                other => panic!("{other:?}"),
            })
            .collect();
        commit(writer, &posts);
        crowded
    };
    for user in ["eve", "dan"] {
        let mut after = EventNumber(0);
        while after < crowded.writer.position() {
            let kind = QueryKind::JournalPage { after, bytes_max: 1 << 20, filter: ALL };
            let (response, most) = crowded.measure(user, &kind, ROWS_MAX);
            assert!(most <= 40_000, "a page of {user} after {after} takes {most} instructions");
            let QueryResult::JournalPage(page) = response.result.unwrap() else { panic!() };
            after = page.through;
        }
    }
}

#[test]
fn the_last_changed_conversations_are_found_at_every_offset() {
    let mut writer = Writer::open(&StoreConfig::new(support::temporary_database())).unwrap();
    let workspace = add_workspace(&mut writer, "ann");
    let other = add_workspace(&mut writer, "ben");
    conversations(&mut writer, "ann", workspace, &[], 2000);
    conversations(&mut writer, "ben", other, &["ann"], 2500);
    let list = |limit, offset, rows_max| {
        let pagination = Pagination { limit, offset };
        let kind = QueryKind::ConversationViews { pagination, with_messages: false };
        let (response, steps) = execute_in_steps(&writer, &query("ann", kind), rows_max);
        let QueryResult::ConversationViews(page) = response.result.unwrap() else { panic!() };
        assert_eq!((page.total, page.truncated), (4500, false));
        (page.items.iter().map(|view| view.conversation.created_at.0).collect::<Vec<_>>(), steps)
    };
    let mut all = Vec::new();
    for offset in [0, 1000, 2000, 3000, 4000] {
        all.extend(list(1000, offset, 1 << 20).0);
    }
    assert_eq!(all.len(), 4500);
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "the last changed conversation comes first, and none twice");
    for (limit, offset) in [(1, 0), (10, 1_995), (1000, 1_001), (5, 3_999), (1000, 4_400), (7, 4_500), (7, u64::MAX)] {
        let (found, steps) = list(limit, offset, 100);
        let expected = all.iter().skip(offset.min(9999) as usize).take(limit as usize).copied().collect::<Vec<_>>();
        assert_eq!(found, expected, "{limit} from {offset}");
        assert!(steps > 40, "{steps}");
    }
}

#[test]
fn access_is_checked_in_each_step() {
    let mut crowded = CrowdedStore::new(20);
    let run = |crowded: &CrowdedStore, pending| {
        queries::step(
            &crowded.writer.connection.db,
            &crowded.writer.meta.ids,
            pending,
            limits(8),
            (EventNumber(0), None),
        )
    };
    let pagination = Pagination { limit: 100, offset: 0 };
    let kind = QueryKind::ConversationViews { pagination, with_messages: false };
    let mut pending = PendingQuery::new(query("ben", kind));
    let mut steps = 0;
    let page = loop {
        match run(&crowded, pending) {
            QueryStep::More(more) => pending = more,
            QueryStep::Done(response) => {
                let QueryResult::ConversationViews(page) = response.result.unwrap() else { panic!() };
                break page;
            }
        }
        steps += 1;
        if steps == 4 {
            // All of the 21 conversations of `ben` are selected by now, and some of them are loaded.
            done(&mut crowded.writer, "ann", CommandKind::DeleteWorkspace { id: crowded.shared });
        }
    };
    assert_eq!(page.total, 21);
    assert!((1..21).contains(&page.items.len()), "deleted conversations are not shown: {}", page.items.len());

    let kind = QueryKind::Conversations(crowded.workspace, pagination);
    let QueryStep::More(pending) = run(&crowded, PendingQuery::new(query("eve", kind))) else { panic!() };
    done(&mut crowded.writer, "eve", CommandKind::DeleteWorkspace { id: crowded.workspace });
    let QueryStep::Done(response) = run(&crowded, pending) else { panic!() };
    assert!(matches!(response.result, Err(Rejection::NotFound(_))), "{response:?}");
}
