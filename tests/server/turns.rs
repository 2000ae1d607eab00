//! Readers take turns between users: a user whose queries examine very many rows delays no other.
//!
//! Delays are counted in requests, because times depend on the machine. While the hostile user's requests are served, another
//! user sends one request after the other. If each waited for all of the hostile user's requests, few would be served.

use crate::common::sse::Stream;
use crate::common::token::token;
use crate::common::{Client, Options, Sandbox, User, database};
use cortex_core::internals::{
    Actor, ApiVariant, Command, CommandKind, Content, ConversationRef, Credential, Database, Metadata, MonoTime, Now,
    Outcome, ReplyTo, Role, StoreConfig, Topic, UserId, WallTime, WorkspaceDescription, WorkspaceId, WorkspaceName,
    Writer,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Requests of the hostile user that wait at the same time.
const PARALLEL: usize = 40;
/// For so many requests, or journal pages, of the hostile user, at least one request of the other user is served. Without turns,
/// it would wait for about [`PARALLEL`] of them; with turns, a busy machine has been seen to serve one for ten.
const HOSTILE_PER_SERVED: usize = 16;

/// Counts the requests of `victim` that are served while `hostile` runs.
fn served_during(addr: SocketAddr, hostile: impl FnOnce()) -> usize {
    let (ended, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut victim = User::at(addr, "victim");
            while !ended.load(Ordering::Relaxed) {
                victim.get("/conversations").expect(200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        hostile();
        ended.store(true, Ordering::Relaxed);
    });
    served.into_inner()
}

fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    Now { wall: WallTime(since_1970.as_micros() as i64), mono: MonoTime(0) }
}

/// Fills a database without a server, which is faster.
struct Filler(Writer);

impl Filler {
    fn open(path: &Path) -> Filler {
        let database = Database::parse(&database::address_of(path)).expect("an address");
        Filler(Writer::open(&StoreConfig::new(database)).expect("a database"))
    }

    /// Commits the same command of `user` `count` times. Returns the last outcome.
    fn repeat(&mut self, user: &str, kind: &CommandKind, count: usize) -> Outcome {
        let actor =
            Actor { id: UserId::new_unchecked(user), name: None, email: None, credential: Credential::default() };
        let command = Command {
            reply_to: ReplyTo { shard: 0, slot: 0, generation: 0 },
            actor,
            correlation_id: "filler".into(),
            idempotency: None,
            kind: kind.clone(),
        };
        let mut last = None;
        for start in (0..count).step_by(256) {
            let commands = vec![command.clone(); (count - start).min(256)];
            let results = self.0.commit_batch(&commands, now()).results;
            last = results.into_iter().map(|result| result.result.expect("it is accepted")).last();
        }
        last.expect("one command at least")
    }

    fn workspaces(&mut self, user: &str, count: usize) -> WorkspaceId {
        let kind = CommandKind::CreateWorkspace {
            name: WorkspaceName::new_unchecked("w"),
            description: WorkspaceDescription::new_unchecked("d"),
            metadata: Metadata::empty(),
        };
        match self.repeat(user, &kind, count) {
            Outcome::WorkspaceCreated(workspace) => workspace.id,
            other => panic!("{other:?}"),
        }
    }

    fn conversations(&mut self, user: &str, workspace: WorkspaceId, participants: &[String], count: usize) {
        let kind = CommandKind::CreateConversation {
            workspace: Some(workspace),
            topic: Topic::new_unchecked("t"),
            participants: participants.iter().map(|id| UserId::new_unchecked(id.as_str())).collect(),
            metadata: Metadata::empty(),
            earlier_messages: Vec::new(),
            initial_message: None,
            api_variant: ApiVariant::Config,
        };
        self.repeat(user, &kind, count);
    }
}

/// Each of these examined very many rows in one piece, and the readers served one request after the other.
#[test]
fn queries_that_examine_many_rows_delay_no_other_user() {
    const ROUNDS: usize = 4;
    let sandbox = Sandbox::new(Options::new());
    let mut filler = Filler::open(&sandbox.database());
    let ids = |name: &str| (0..200).map(|n| format!("{name}-{n}")).collect::<Vec<_>>();
    let workspace = filler.workspaces("hostile", 1);
    filler.conversations("hostile", workspace, &ids("known"), 200);
    filler.conversations("hostile", workspace, &[], 4_000);
    filler.workspaces("hostile", 4_000);
    let others = filler.workspaces("other", 1);
    filler.conversations("other", others, &ids("unknown"), 2);
    filler.workspaces("victim", 1);
    filler.0.close();
    let server = sandbox.serve();
    let table = [
        ("a search for users of other conversations", 200, format!("/users?ids={}", ids("unknown").join(","))),
        ("the end of a long list", 200, "/conversations?limit=1&offset=4300".to_owned()),
        ("a long list", 200, "/config/workspace?limit=2&offset=3900".to_owned()),
        ("a list with many participants", 200, format!("/config/conversation?workspace_id={workspace}&limit=100")),
        ("a stream of another workspace", 403, format!("/output/stream?workspace_id={others}")),
    ];
    for (name, status, path) in table {
        let served = served_during(server.addr, || {
            thread::scope(|scope| {
                for _ in 0..PARALLEL {
                    scope.spawn(|| {
                        let mut hostile = Client::new(server.addr);
                        for _ in 0..ROUNDS {
                            hostile.request("GET", &path).token(&token("hostile")).send().expect(status);
                        }
                    });
                }
            });
        });
        let expected = PARALLEL * ROUNDS / HOSTILE_PER_SERVED;
        assert!(served >= expected, "{name}: {served} requests were served, expected {expected}");
    }
}

/// The pages of such a replay have no events, only the number through which the stream is complete.
#[test]
fn replays_that_find_nothing_delay_no_other_user() {
    const MESSAGES: usize = 20_000;
    const WORKSPACES: usize = 10_000;
    const STREAMS: usize = 100;
    // A page examines fewer rows than this.
    const PAGE_ROWS_MAX: usize = 2048;
    let sandbox = Sandbox::new(Options::new());
    let mut filler = Filler::open(&sandbox.database());
    let kind = CommandKind::PostMessage {
        conversation: ConversationRef::Default,
        role: Role::User,
        content: Content::new_unchecked("x"),
        metadata: Metadata::empty(),
        api_variant: ApiVariant::Config,
    };
    filler.workspaces("hostile", WORKSPACES);
    filler.repeat("hostile", &kind, MESSAGES);
    filler.workspaces("victim", 1);
    filler.0.close();
    let server = sandbox.serve();
    let empty = User::new(&server, "hostile").create_workspace("empty");
    let table = [
        ("types=output".to_owned(), MESSAGES),
        ("types=message_deleted".to_owned(), WORKSPACES),
        (format!("types=input&workspace_id={empty}"), MESSAGES),
    ];
    for (query, rows) in table {
        let query = format!("last_event_id=0&{query}");
        let served = served_during(server.addr, || {
            thread::scope(|scope| {
                for _ in 0..STREAMS {
                    scope.spawn(|| Stream::open(server.addr, &token("hostile"), &query).next_of("caught_up"));
                }
            });
        });
        let expected = STREAMS * rows / PAGE_ROWS_MAX / HOSTILE_PER_SERVED;
        assert!(served >= expected, "{query}: {served} requests were served, expected {expected}");
    }
}
