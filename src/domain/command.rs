//! What the event loops ask of the store, and what they get back. Plain values: `runtime` carries them, and neither
//! side names the other.

use crate::base::time::WallTime;
use crate::domain::event::{Event, KindSet};
use crate::domain::id::*;
use crate::domain::model::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Where an answer goes: a connection of a shard. The generation tells a reused slot from the one that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// Index of the shard.
    pub shard: u16,
    /// Slot of the connection in it.
    pub slot: u32,
    /// Which use of the slot.
    pub generation: u32,
}

/// Who asks, as their token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub id: UserId,
    /// The name in the token; `None` leaves the stored one.
    pub name: Option<Arc<str>>,
    /// The email in the token; `None` leaves the stored one.
    pub email: Option<Arc<str>>,
}

/// A change that somebody asks for.
#[derive(Debug, Clone)]
pub struct Command {
    /// Who waits for the receipt.
    pub reply_to: ReplyTo,
    /// Who asks.
    pub actor: Actor,
    /// The request's id.
    pub correlation_id: Arc<str>,
    /// Set when the request carried an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// What to do.
    pub kind: CommandKind,
}

/// An idempotency key and what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: Box<str>,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// A conversation as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationRef {
    /// The caller's own default conversation, made when it is first written to.
    Default,
    /// By id.
    Id(ConversationId),
}

/// Which API a request came through: it decides the shape of the answer and whether a stranger's thing is `403` or `404`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVariant {
    /// `/input` and `/config`.
    Config,
    /// `/conversations`.
    Conversations,
}

/// The changes that can be asked for.
#[derive(Debug, Clone)]
pub enum CommandKind {
    /// Adds a message.
    PostMessage {
        /// Where.
        conversation: ConversationRef,
        /// Who speaks.
        role: Role,
        /// What is said.
        content: Content,
        /// The client's own data.
        metadata: Metadata,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Makes a workspace of the caller's.
    CreateWorkspace {
        /// What it is called.
        name: WorkspaceName,
        /// What it is for.
        description: WorkspaceDescription,
        /// The client's own data.
        metadata: Metadata,
    },
    /// Changes a workspace; by its owner.
    UpdateWorkspace {
        /// Which.
        id: WorkspaceId,
        /// A new name.
        name: Option<WorkspaceName>,
        /// A new description.
        description: Option<WorkspaceDescription>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
    },
    /// Deletes a workspace with all that is in it; by its owner.
    DeleteWorkspace {
        /// Which.
        id: WorkspaceId,
    },
    /// Makes a conversation; by the owner of the workspace.
    CreateConversation {
        /// Where; `None` is the caller's default workspace.
        workspace: Option<WorkspaceId>,
        /// What it is about.
        topic: Topic,
        /// Who takes part beside the caller; without duplicates.
        participants: Vec<UserId>,
        /// The client's own data.
        metadata: Metadata,
        /// The caller's first message in it.
        initial_message: Option<Content>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Changes a conversation; by a participant or the owner of the workspace.
    UpdateConversation {
        /// Which.
        conversation: ConversationRef,
        /// A new topic.
        topic: Option<Topic>,
        /// Who takes part from now on; without duplicates.
        participants: Option<Vec<UserId>>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// The caller takes part no longer.
    LeaveConversation {
        /// Which.
        conversation: ConversationRef,
    },
    /// Changes a message; by its sender or the owner of the workspace.
    UpdateMessage {
        /// Where it is.
        conversation: ConversationRef,
        /// Which.
        message: MessageId,
        /// What it is to say.
        content: Option<Content>,
        /// Keys to set, or with `null` to remove.
        metadata: Option<Metadata>,
    },
    /// Deletes a message; by its sender or the owner of the workspace.
    DeleteMessage {
        /// Where it is.
        conversation: ConversationRef,
        /// Which.
        message: MessageId,
    },
    /// A step of an answer; only the responders take it.
    Answer {
        /// Which order is answered.
        order: JobId,
        /// What is done with it.
        step: AnswerStep,
    },
    /// Deletes a conversation with its messages; by the owner of the workspace.
    DeleteConversation {
        /// Which.
        conversation: ConversationRef,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// Stores a new password, already checked and hashed; tokens made before end.
    SetPassword {
        /// The Argon2id hash in PHC form.
        hash: Box<str>,
    },
}

impl Command {
    /// What the command holds in memory, about, in bytes.
    pub fn weight(&self) -> usize {
        const BASE: usize = 512;
        BASE + match &self.kind {
            CommandKind::PostMessage { content, metadata, .. } => content.as_str().len() + metadata.as_str().len(),
            CommandKind::CreateWorkspace { metadata, .. } => metadata.as_str().len(),
            CommandKind::UpdateWorkspace { metadata, .. } => metadata.as_ref().map_or(0, |m| m.as_str().len()),
            CommandKind::CreateConversation { metadata, participants, initial_message, .. } => {
                metadata.as_str().len()
                    + participants.iter().map(|id| id.as_str().len()).sum::<usize>()
                    + initial_message.as_ref().map_or(0, |content| content.as_str().len())
            }
            CommandKind::UpdateConversation { metadata, participants, .. } => {
                metadata.as_ref().map_or(0, |m| m.as_str().len())
                    + participants.iter().flatten().map(|id| id.as_str().len()).sum::<usize>()
            }
            CommandKind::UpdateMessage { content, metadata, .. } => {
                content.as_ref().map_or(0, |content| content.as_str().len())
                    + metadata.as_ref().map_or(0, |m| m.as_str().len())
            }
            CommandKind::Answer { step, .. } => step.text().len(),
            CommandKind::DeleteWorkspace { .. }
            | CommandKind::LeaveConversation { .. }
            | CommandKind::DeleteConversation { .. }
            | CommandKind::DeleteMessage { .. }
            | CommandKind::SetPassword { .. } => 0,
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// Who waits for it.
    pub to: ReplyTo,
    /// The number of the command's own event, if it made one.
    pub number: Option<EventNumber>,
    /// What was done, or why not.
    pub result: Result<Outcome, Rejection>,
}

/// What was done.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A message was added: the event that it is.
    Posted {
        /// The event; its body is the message.
        event: Arc<Event>,
        /// The conversation as the request named it.
        conversation: ConversationRef,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// A workspace was made.
    WorkspaceCreated(Workspace),
    /// A workspace was changed.
    WorkspaceUpdated(Workspace),
    /// A workspace was deleted.
    WorkspaceDeleted,
    /// A conversation was made, perhaps with a first message.
    ConversationCreated {
        /// The conversation.
        conversation: Conversation,
        /// The event of its first message.
        first: Option<Arc<Event>>,
        /// Through which API.
        api_variant: ApiVariant,
    },
    /// A conversation was changed through the configuration API.
    ConversationUpdated(Conversation),
    /// A conversation was changed through the conversations API.
    ConversationViewUpdated(ConversationView),
    /// The caller takes part no longer.
    ConversationLeft,
    /// A conversation was deleted.
    ConversationDeleted,
    /// A message was changed: as it is now.
    MessageUpdated(Message),
    /// A message was deleted.
    MessageDeleted,
    /// A step of an answer was taken.
    Answered {
        /// The answer's message; `None` when nothing of it was ever shown.
        message_id: Option<MessageId>,
        /// Whether the order is closed now.
        closed: bool,
    },
    /// The password was changed.
    PasswordChanged,
    /// The same request had been answered before: that answer's body, with status 200.
    Replayed {
        /// The first answer's body.
        body: Arc<[u8]>,
        /// The first answer's event.
        number: Option<EventNumber>,
    },
}

/// The `shard` of a `ReplyTo` that leads to the responders instead of to an event loop.
pub const RESPONDERS: u16 = u16::MAX;

/// An order to answer, by the number of the message that is to be answered: each message has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JobId(pub EventNumber);

/// An order to answer a message. It is a row from the message's own commit until the answer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerJob {
    /// Its key.
    pub key: JobId,
    /// The message to answer.
    pub message_id: MessageId,
    /// Where it is.
    pub conversation_id: ConversationId,
    /// Where that is.
    pub workspace_id: WorkspaceId,
    /// Who sent the message, and whose share of running answers this one counts for.
    pub user: UserId,
    /// Who is to answer: a name in `RESPONDERS_ALLOWED`.
    pub responder: Arc<str>,
    /// The request that sent the message.
    pub correlation_id: Arc<str>,
    /// What the message says.
    pub content: Content,
    /// The answer's message, if it was begun already.
    pub started: Option<MessageId>,
}

/// What is done with an answer. Each step is one change of its order together with its message; an order that is
/// closed takes no more (`Rejection::Conflict`), so the first to close it wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerStep {
    /// The first text is there and will be shown: the answer's message is made, with status `streaming`.
    Begin {
        /// The text so far.
        text: Arc<str>,
    },
    /// More text was shown.
    Append {
        /// What comes behind the text that is stored.
        text: Arc<str>,
    },
    /// The answer is over: the message gets its whole text and last status, and is published as `output`.
    Finish {
        /// `Complete`, `Cancelled`, `Interrupted` or `Failed`.
        status: Status,
        /// The whole text; of a message that was never begun, too. `None` leaves what is stored.
        text: Option<Content>,
        /// The answer's metadata: responder, model, token counts.
        metadata: Metadata,
        /// Why it failed, fit for clients: published as `output_error`.
        error: Option<Arc<str>>,
    },
}

impl AnswerStep {
    /// The text that the step brings.
    pub fn text(&self) -> &str {
        match self {
            AnswerStep::Begin { text } | AnswerStep::Append { text } => text,
            AnswerStep::Finish { text, .. } => text.as_ref().map_or("", Content::as_str),
        }
    }
}

/// An answer whose message was made by a commit, for whoever shows its text as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerStarted {
    /// The answer's message.
    pub message_id: MessageId,
    /// Where it is.
    pub conversation_id: ConversationId,
    /// Where that is.
    pub workspace_id: WorkspaceId,
    /// Who sees it.
    pub recipients: Arc<[UserId]>,
    /// Which responder answers.
    pub sender: UserId,
    /// The request that is answered.
    pub correlation_id: Arc<str>,
    /// The text so far.
    pub text: Arc<str>,
}

/// A piece of an answer as it comes; not journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerDelta {
    /// The answer's message.
    pub message_id: MessageId,
    /// Its place among the answer's deltas; they count from 0.
    pub index: u64,
    /// The text that follows what the deltas before it said.
    pub text: Arc<str>,
}

/// The text of an answer through a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSnapshot {
    /// Index of the delta that comes next.
    pub next: u64,
    /// What the deltas before it said.
    pub text: Arc<str>,
}

/// One turn of a conversation, as a responder is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: Content,
}

/// What a refusal or a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A workspace.
    Workspace,
    /// A conversation.
    Conversation,
    /// A message.
    Message,
    /// A user.
    User,
}

/// Why something was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// There is none.
    NotFound(Resource),
    /// It is someone else's, or not for the caller to do; says what.
    Forbidden(&'static str),
    /// It does not fit the state; says how.
    Conflict(&'static str),
    /// Fields that are not acceptable, each with the rule it breaks.
    Invalid(Vec<(&'static str, String)>),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The user is disabled or deleted.
    Unauthorized,
    /// The database is full, busy or out of order for now.
    Unavailable,
    /// The database failed in a way that waiting will not mend.
    Database,
}

/// A committed batch, as every shard is told of it, with its own share of the receipts.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The journal's position before the batch: a shard that is not there has missed something.
    pub before: EventNumber,
    /// The journal's position after the batch.
    pub through: EventNumber,
    /// The batch's events, in order.
    pub events: Arc<[Arc<Event>]>,
    /// Answers to commands.
    pub results: Vec<CommandResult>,
    /// Orders to answer that the batch made, for the responders.
    pub jobs: Vec<AnswerJob>,
    /// Answers whose message the batch made.
    pub started: Arc<[AnswerStarted]>,
    /// Set when the rules for users' tokens changed.
    pub token_rules: Option<Arc<TokenRules>>,
}

/// Which users' tokens are refused, and from when others' are good. Small: only users with a rule stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules(pub HashMap<UserId, TokenRule>);

/// A rule about one user's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRule {
    /// No token is good: the user is disabled or deleted.
    RejectAll,
    /// Tokens made before this time are no longer good. It is the writer's time, which never goes back though the clock
    /// may.
    IssuedSince(WallTime),
}

impl TokenRules {
    /// Whether a token of `user` made at `issued_at` passes.
    pub fn accepts(&self, user: &UserId, issued_at: Option<WallTime>) -> bool {
        match self.0.get(user) {
            None => true,
            Some(TokenRule::RejectAll) => false,
            Some(TokenRule::IssuedSince(since)) => issued_at.is_some_and(|at| at >= *since),
        }
    }

    /// When a token of `user` that is made now says that it was made; `None` if it would not pass. After a change of the
    /// password that is the time of the change at least: the clock may have gone back behind it, but by no more than
    /// `leeway_seconds`, past which nobody would take the token yet.
    pub fn issue_time(&self, user: &UserId, now: WallTime, leeway_seconds: i64) -> Option<WallTime> {
        match self.0.get(user) {
            None => Some(now),
            Some(TokenRule::RejectAll) => None,
            Some(TokenRule::IssuedSince(since)) => {
                Some(now.max(*since)).filter(|at| *at <= now.plus_seconds(leeway_seconds))
            }
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pagination {
    /// Most items.
    pub limit: u32,
    /// Items to pass over.
    pub offset: u64,
}

/// A question to the store.
#[derive(Debug, Clone)]
pub struct Query {
    /// Who waits for the answer.
    pub reply_to: ReplyTo,
    /// Who asks.
    pub caller: UserId,
    /// What is asked.
    pub kind: QueryKind,
}

/// The questions that can be asked.
#[derive(Debug, Clone)]
pub enum QueryKind {
    /// Whether the database can be read.
    Alive,
    /// The caller's own workspaces, in creation order.
    Workspaces(Pagination),
    /// One workspace of the caller's.
    Workspace(WorkspaceId),
    /// The conversations of one workspace of the caller's, in creation order.
    Conversations(WorkspaceId, Pagination),
    /// One conversation that the caller takes part in or owns.
    Conversation(ConversationRef),
    /// The same with its last messages; a stranger does not learn that there is one.
    ConversationView(ConversationRef),
    /// Every conversation that the caller takes part in or owns, the one that changed last first.
    ConversationViews {
        /// Which part of the list.
        span: Pagination,
        /// Whether each comes with its last messages.
        with_messages: bool,
    },
    /// Messages of one conversation that the caller takes part in or owns.
    Messages {
        /// Which conversation.
        conversation: ConversationRef,
        /// Which messages.
        cursor: MessageCursor,
        /// Most messages.
        limit: u32,
    },
    /// One message of such a conversation.
    Message(ConversationRef, MessageId),
    /// Open orders after this one, oldest first; for the responders. There may be fewer than asked for because they grew
    /// too large: only an empty answer says that there are no more.
    OpenJobs {
        /// The last order that is known already.
        after: JobId,
        /// Most orders.
        limit: u32,
    },
    /// The last `limit` messages of the order's conversation through the one to answer, oldest first; for the responders.
    /// Each answer stands behind what it answers. Empty messages and answers that still grow are left out, and so are the
    /// oldest if the turns are large.
    History {
        /// Which order.
        order: JobId,
        /// Most messages.
        limit: u32,
    },
    /// Names of those of the ids who share a conversation with the caller.
    Users(Vec<UserId>),
    /// Whether the caller may open a stream with this filter.
    StreamAccess(StreamFilter),
    /// Events of the caller's after `after`, at most `bytes_max` of them by `Event::weight`, but at least one.
    JournalPage {
        /// The number through which the caller has everything.
        after: EventNumber,
        /// Where to end.
        bytes_max: usize,
        /// Only these.
        filter: StreamFilter,
    },
}

/// Which messages of a conversation a page has. A message that was deleted since still marks its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageCursor {
    /// The first ones.
    First,
    /// The first ones after this one.
    After(MessageId),
    /// The last ones before this one.
    Before(MessageId),
}

/// Which events a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFilter {
    /// Only of this conversation.
    pub conversation: Option<ConversationRef>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only of these kinds.
    pub kinds: KindSet,
}

/// An answer of the store.
#[derive(Debug, Clone)]
pub struct QueryResponse {
    /// Who waits for it.
    pub to: ReplyTo,
    /// The journal's position in the transaction that answered.
    pub position: EventNumber,
    /// What was found, or why not.
    pub result: Result<QueryResult, Rejection>,
}

impl QueryResponse {
    /// What the answer holds in memory, about, in bytes.
    pub fn weight(&self) -> usize {
        const EACH: usize = 256;
        let conversation = |found: &Conversation| EACH + found.metadata.as_str().len();
        let messages = |page: &MessagePage| -> usize {
            page.messages.iter().map(|found| EACH + found.content.as_str().len() + found.metadata.as_str().len()).sum()
        };
        let chat = |found: &ConversationView| conversation(&found.conversation) + messages(&found.last);
        EACH + match &self.result {
            Ok(QueryResult::Workspaces(found)) => {
                found.items.iter().map(|item| EACH + item.metadata.as_str().len()).sum()
            }
            Ok(QueryResult::Conversations(found)) => found.items.iter().map(conversation).sum(),
            Ok(QueryResult::ConversationViews(found)) => found.items.iter().map(chat).sum(),
            Ok(QueryResult::ConversationView(found)) => chat(found),
            Ok(QueryResult::Messages(found)) => messages(found),
            Ok(QueryResult::Message(found)) => found.content.as_str().len(),
            Ok(QueryResult::Users(found)) => EACH * found.len(),
            Ok(QueryResult::JournalPage(found)) => found.events.iter().map(|event| event.weight()).sum(),
            _ => 0,
        }
    }
}

/// A page of a list, as found.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Whether the page ended early because it grew too large.
    pub truncated: bool,
}

/// A conversation with its last messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation.
    pub conversation: Conversation,
    /// Its last messages, if they were asked for.
    pub last: MessagePage,
}

/// Neighbouring messages of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether there are fewer than asked for because they grew too large.
    pub truncated: bool,
    /// Which of the messages asked for are here if there are fewer: what a client goes on from is the other end.
    pub kept: TruncatedEnd,
}

/// Which end of a page stays when the page has to become smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncatedEnd {
    /// The oldest messages: the page is one of many towards the newest.
    Oldest,
    /// The newest messages: the page is one of many towards the oldest.
    Newest,
}

/// What was found.
#[derive(Debug, Clone)]
pub enum QueryResult {
    /// The database can be read.
    Alive,
    /// Workspaces.
    Workspaces(Page<Workspace>),
    /// A workspace.
    Workspace(Workspace),
    /// Conversations.
    Conversations(Page<Conversation>),
    /// A conversation.
    Conversation(Conversation),
    /// A conversation with its last messages.
    ConversationView(ConversationView),
    /// Conversations, each perhaps with its last messages.
    ConversationViews(Page<ConversationView>),
    /// Messages of one conversation.
    Messages(MessagePage),
    /// A message.
    Message(Message),
    /// Open orders to answer.
    OpenJobs(Vec<AnswerJob>),
    /// What was said before an answer.
    History(Vec<Turn>),
    /// Users.
    Users(Vec<UserProfile>),
    /// The stream may be opened, with this filter: a default conversation is named by its id.
    StreamAccess(StreamFilter),
    /// Events.
    JournalPage(JournalPage),
}

/// Events of one user, in order.
#[derive(Debug, Clone)]
pub struct JournalPage {
    /// The events; every one of the user's after the asked-for number and through `through` is among them, unless
    /// `gap` says otherwise.
    pub events: Vec<Arc<Event>>,
    /// The number through which the page is complete: the snapshot's position, or the last event of a full page.
    pub through: EventNumber,
    /// The snapshot's position.
    pub position: EventNumber,
    /// Set when an event of the user's after the asked-for number is no longer kept, or the number is not of this
    /// journal: the first number from which on everything is there.
    pub gap: Option<EventNumber>,
}

/// Work for the password thread: slow on purpose, so it has a thread and a bounded queue of its own.
#[derive(Clone)]
pub struct PasswordJob {
    /// Who waits for the answer.
    pub reply_to: ReplyTo,
    /// What to check.
    pub check: PasswordCheck,
}

/// What to check of a password.
#[derive(Clone)]
pub enum PasswordCheck {
    /// Does this email have this password?
    Login {
        /// The email, or the user name as older clients call it.
        email: Box<str>,
        /// The password as typed.
        password: Box<str>,
    },
    /// Does this user have the current password? Then hash the new one.
    Change {
        /// Who.
        user: UserId,
        /// The current password as typed.
        current: Box<str>,
        /// The new password, of a valid length.
        new: Box<str>,
    },
}

/// What the password thread found.
#[derive(Clone)]
pub struct PasswordAnswer {
    /// Who waits for it.
    pub to: ReplyTo,
    /// What was found, or why not.
    pub result: Result<PasswordFound, Rejection>,
}

/// What a password check found.
#[derive(Clone)]
pub enum PasswordFound {
    /// Email and password are those of this user.
    User(UserProfile),
    /// The new password's hash, in PHC form.
    Hash(Box<str>),
    /// They are not, or the user has no password.
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that goes back a little after a change of the password locks nobody out, and lets no older token in.
    #[test]
    fn tokens_made_after_a_change_pass_though_the_clock_went_back() {
        let user = |name: &str| UserId::new(name).unwrap();
        let since = WallTime(1_000_000_000);
        let token_rules = TokenRules(HashMap::from([
            (user("changed"), TokenRule::IssuedSince(since)),
            (user("disabled"), TokenRule::RejectAll),
        ]));
        let table = [
            ("changed", since.plus_seconds(5), Some(since.plus_seconds(5))),
            ("changed", since, Some(since)),
            ("changed", since.plus_seconds(-30), Some(since)),
            // Such a token would be refused as one of the future until the clock is there.
            ("changed", since.plus_seconds(-31), None),
            ("disabled", since, None),
            ("other", since.plus_seconds(-31), Some(since.plus_seconds(-31))),
        ];
        for (name, now, expected) in table {
            let issued_at = token_rules.issue_time(&user(name), now, 30);
            assert_eq!(issued_at, expected, "{name} at {now}");
            assert!(issued_at.is_none() || token_rules.accepts(&user(name), issued_at), "{name} at {now}");
        }
        assert!(
            !token_rules.accepts(&user("changed"), Some(WallTime(since.0 - 1)))
                && !token_rules.accepts(&user("changed"), None)
        );
    }
}
