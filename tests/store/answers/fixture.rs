//! A conversation in which a responder answers.

use crate::common::*;
use cortex_core::internals::{
    AnswerJob, AnswerStep, ApiVariant, CommandKind, Content, ConversationId, ConversationRef, Event, EventKind,
    JobClass, JobId, JobPage, JobRange, Message, MessageId, Metadata, Outcome, QueryKind, QueryResult, Rejection,
    ResponderKind, Status, Topic, UserKey, WorkspaceId,
};
use std::sync::Arc;

pub const ECHO: &str = "responder:echo";
pub const CLOSED: Rejection = Rejection::Conflict("the job is closed");

/// A conversation of `ann` and `ben`, in a store whose default responder is `echo`.
pub struct AnswerFixture {
    pub world: World,
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
}

impl AnswerFixture {
    pub fn new(mut world: World) -> AnswerFixture {
        let workspace = world.workspace("ann");
        let conversation = world.conversation("ann", workspace, &["ben"]);
        AnswerFixture { world, workspace, conversation }
    }

    pub fn in_memory() -> AnswerFixture {
        AnswerFixture::new(World::answered_in_memory(Some("echo")))
    }

    pub fn in_file() -> AnswerFixture {
        AnswerFixture::new(World::answered_in_file(Some("echo")))
    }

    /// Posts a message of `ben`. Returns its answer job, which the commit passes on if no other is open.
    pub fn ask(&mut self, text: &str) -> AnswerJob {
        let committed = self.world.commit(&[command("ben", post(ConversationRef::Id(self.conversation), text))]);
        if let [job] = &committed.jobs[..] {
            return job.clone();
        }
        let [event] = &committed.events[..] else { panic!("{:?}", committed.events) };
        let message = event.message().unwrap();
        let first = open_jobs(&mut self.world).into_iter().find(|job| job.user == message.sender).unwrap();
        AnswerJob {
            key: JobId(event.number),
            message_id: message.id,
            conversation_id: self.conversation,
            workspace_id: self.workspace,
            user: message.sender.clone(),
            user_key: first.user_key,
            responder: ResponderKind::Echo,
            correlation_id: event.correlation_id.clone(),
            content_bytes: text.len(),
            started: None,
        }
    }

    pub fn step(&mut self, kind: CommandKind) -> (Option<MessageId>, Vec<Arc<Event>>) {
        let (command_result, events) = self.world.run(ECHO, kind);
        let Ok(Outcome::Answered { message_id, .. }) = command_result.result else { panic!("{command_result:?}") };
        assert_eq!(command_result.number, events.first().map(|event| event.number));
        (message_id, events)
    }

    pub fn started(&mut self, job: JobId, text: &str) -> MessageId {
        self.step(begin(job, text)).0.unwrap()
    }

    pub fn message(&mut self, id: MessageId) -> Message {
        match self.world.query_result("ann", self.message_query(id)) {
            QueryResult::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    pub fn message_query(&self, message: MessageId) -> QueryKind {
        QueryKind::Message { conversation: ConversationRef::Id(self.conversation), message, with_reasoning: true }
    }

    pub fn open_jobs(&mut self) -> Vec<AnswerJob> {
        open_jobs(&mut self.world)
    }

    /// The status and text of each answer that is replayed to `user`.
    pub fn outputs(&mut self, user: &str) -> Vec<String> {
        let page = self.world.page(user, 0, usize::MAX, EVERYTHING);
        page.events.iter().filter(|event| event.kind == EventKind::Output).map(|event| status_and_text(event)).collect()
    }

    pub fn check(&mut self) {
        self.world.writer().check_invariants();
    }
}

/// The first open job of each conversation.
pub fn open_jobs(world: &mut World) -> Vec<AnswerJob> {
    let classes = [JobClass::Model, JobClass::Immediate];
    let pages = classes.map(|class| job_page(world, class, JobRange::UsersAfter(UserKey(0)), 1000, 1000));
    pages.into_iter().flat_map(|page| page.users).flat_map(|user| user.jobs).collect()
}

pub fn job_page(world: &mut World, class: JobClass, range: JobRange, per_user: u32, limit: u32) -> JobPage {
    match world.query_result(ECHO, QueryKind::Jobs { class, range, per_user, limit }) {
        QueryResult::Jobs(page) => page,
        other => panic!("{other:?}"),
    }
}

pub fn status_and_text(event: &Event) -> String {
    let message = event.message().unwrap();
    format!("{}: {}", message.status.as_str(), message.content.as_str())
}

pub fn failed(job: JobId, text: Option<&str>, error: Option<&str>) -> CommandKind {
    let text = text.map(Content::new_unchecked);
    let (metadata, error) = (Metadata::empty(), error.map(Arc::from));
    CommandKind::Answer {
        job,
        step: AnswerStep::Finish { status: Status::Failed, text, metadata, error, reasoning: None, usage: None },
    }
}

pub fn with_metadata(json: &str) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: None,
        topic: Topic::new_unchecked("t"),
        participants: Vec::new(),
        metadata: Metadata::new_unchecked(json),
        earlier_messages: Vec::new(),
        initial_message: Some(Content::new_unchecked("first")),
        api_variant: ApiVariant::Conversations,
    }
}
