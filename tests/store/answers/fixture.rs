//! A conversation in which a responder answers.

use crate::common::*;
use cortex_core::internals::{
    AnswerJob, AnswerStep, ApiVariant, CommandKind, Content, ConversationId, ConversationRef, Event, EventKind,
    EventNumber, JobId, Message, MessageId, Metadata, Outcome, QueryKind, QueryResult, Rejection, Status, Topic,
    WorkspaceId,
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

    /// Posts a message of `ben`. Returns its answer job.
    pub fn ask(&mut self, text: &str) -> AnswerJob {
        let committed = self.world.commit(&[command("ben", post(ConversationRef::Id(self.conversation), text))]);
        let [job] = &committed.jobs[..] else { panic!("{:?}", committed.jobs) };
        job.clone()
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
        match self.world.query_result("ann", QueryKind::Message(ConversationRef::Id(self.conversation), id)) {
            QueryResult::Message(message) => message,
            other => panic!("{other:?}"),
        }
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

pub fn open_jobs(world: &mut World) -> Vec<AnswerJob> {
    match world.query_result(ECHO, QueryKind::OpenJobs { after: JobId(EventNumber(0)), limit: 1000 }) {
        QueryResult::OpenJobs(jobs) => jobs,
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
    CommandKind::Answer { job, step: AnswerStep::Finish { status: Status::Failed, text, metadata, error } }
}

pub fn with_metadata(json: &str) -> CommandKind {
    CommandKind::CreateConversation {
        workspace: None,
        topic: Topic::new_unchecked("t"),
        participants: Vec::new(),
        metadata: Metadata::new_unchecked(json),
        initial_message: Some(Content::new_unchecked("first")),
        api_variant: ApiVariant::Conversations,
    }
}
