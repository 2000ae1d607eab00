//! Random steps of a store, with commands of every kind.

use crate::common::*;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{
    AnswerStep, CancelledAnswer, Command, CommandKind, CommandResult, Content, ConversationId, ConversationRef,
    Credential, Idempotency, JobId, MessageId, Metadata, MonoTime, Now, Outcome, Random, Role, Status, TokenCounts,
    TokenUsage, WallTime, WorkspaceId,
};

const USERS: [&str; 4] = ["ann", "ben", "cyd", "dan"];
/// The user with a password, who does nothing else.
const EVE: &str = "eve";
const RESPONDER: &str = "responder:echo";
/// Time after which idempotency keys expire, in seconds.
const LONG_SECONDS: u64 = 90_000;

#[derive(Debug, Clone)]
pub enum Step {
    Commands(Vec<Command>),
    Maintain,
    Index,
    Probe,
    Poll,
    /// A reader begins, and keeps its snapshot.
    Hold,
    Release,
    Admin(AdminStep),
    Backup,
    /// The process is stopped, and started again.
    Restart,
}

impl Step {
    /// The kind of each command, or of the step.
    pub fn kinds(&self) -> Vec<String> {
        let name = |debug: String| debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        match self {
            Step::Commands(commands) => commands.iter().map(|command| name(format!("{:?}", command.kind))).collect(),
            step => vec![name(format!("{step:?}"))],
        }
    }
}

/// A change by another process.
#[derive(Debug, Clone)]
pub enum AdminStep {
    Add(&'static str),
    SetPassword(&'static str),
    Disable(&'static str),
    Enable(&'static str),
}

/// Draws steps, and knows what exists.
#[derive(Clone)]
pub struct Script {
    random: Random,
    now: Now,
    workspaces: Vec<WorkspaceId>,
    conversations: Vec<ConversationId>,
    messages: Vec<(ConversationId, MessageId)>,
    jobs: Vec<JobId>,
    keys: u64,
    is_held: bool,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        Script {
            random: Random::new(seed),
            now: Now { wall: START, mono: MonoTime(1_000_000) },
            workspaces: Vec::new(),
            conversations: Vec::new(),
            messages: Vec::new(),
            jobs: Vec::new(),
            keys: 0,
            is_held: false,
        }
    }

    pub fn now(&self) -> Now {
        self.now
    }

    /// Goes on with other choices.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    /// One of the last things of a list, which may be deleted.
    fn recent<T: Copy>(&mut self, from: fn(&Script) -> &Vec<T>) -> Option<T> {
        let len = from(self).len();
        let back = 1 + self.below(len.clamp(1, 12));
        from(self).get(len.checked_sub(back)?).copied()
    }

    /// The next step, and its time.
    pub fn next(&mut self) -> (Step, Now) {
        let seconds = match self.below(60) {
            0 => LONG_SECONDS,
            _ => self.random.below(4),
        };
        // Each step has a time of its own.
        let passed = seconds * SECOND as u64 + 1000;
        self.now = Now { wall: WallTime(self.now.wall.0 + passed as i64), mono: MonoTime(self.now.mono.0 + passed) };
        (self.step(), self.now)
    }

    fn step(&mut self) -> Step {
        match self.below(100) {
            0..=8 => Step::Maintain,
            9..=15 => Step::Index,
            16 => Step::Probe,
            17..=18 => Step::Poll,
            19..=23 => {
                self.is_held = !self.is_held;
                if self.is_held { Step::Hold } else { Step::Release }
            }
            24..=26 => {
                self.is_held = false;
                Step::Restart
            }
            27..=31 => Step::Admin(match self.below(7) {
                0..=2 => AdminStep::Add(EVE),
                3 => AdminStep::SetPassword(EVE),
                4 => AdminStep::Disable("dan"),
                _ => AdminStep::Enable("dan"),
            }),
            32 => Step::Backup,
            _ => Step::Commands(self.commands()),
        }
    }

    fn commands(&mut self) -> Vec<Command> {
        let size = [1, 1, 1, 2, 4][self.below(5)];
        let mut commands = Vec::new();
        while commands.len() < size {
            let user = USERS[self.below(7).saturating_sub(3)];
            let Some(kind) = self.kind() else { continue };
            let user = match &kind {
                CommandKind::Answer { .. } | CommandKind::CancelAnswers { .. } => RESPONDER,
                CommandKind::SetPassword { .. } => EVE,
                _ => user,
            };
            let mut command = command(user, kind);
            command.actor.credential = Credential { authenticated_at: Some(self.now.wall), generation: None };
            if user != RESPONDER && self.below(3) > 0 {
                // Some requests are repeated, and some reuse a key.
                self.keys += u64::from(self.below(8) > 0);
                let key = format!("key {}", self.keys).into();
                command.idempotency = Some(Idempotency { key, fingerprint: [self.keys as u8; 32] });
            }
            // The number of a job that no event has is the last one of its batch.
            if matches!(command.kind, CommandKind::AnswerMessage { .. }) {
                return vec![command];
            }
            commands.push(command);
        }
        commands
    }

    fn text(&mut self) -> String {
        let bytes = match self.below(10) {
            0 => 6_000 + self.below(12_000),
            _ => 10 + self.below(300),
        };
        let word = ["alpha ", "beta ", "gamma ", "delta "][self.below(4)];
        format!("{} {}", self.random.next_u64(), word.repeat(bytes / word.len() + 1))
    }

    fn kind(&mut self) -> Option<CommandKind> {
        let wanted: Vec<&str> = USERS.into_iter().filter(|_| self.random.below(2) == 0).collect();
        Some(match self.below(100) {
            0..=2 => create_workspace("w"),
            3..=5 => update_workspace(self.recent(|all| &all.workspaces)?, "x"),
            6 => CommandKind::DeleteWorkspace { id: self.recent(|all| &all.workspaces)? },
            7..=13 => create_conversation(Some(self.recent(|all| &all.workspaces)?), &wanted),
            14..=15 => with_messages(&self.text()),
            16..=21 => update_conversation(self.recent(|all| &all.conversations)?, Some(&wanted), None),
            22..=23 => update_conversation(self.recent(|all| &all.conversations)?, None, Some(r#"{"a":1}"#)),
            24..=25 => leave(self.recent(|all| &all.conversations)?),
            26..=27 => delete_conversation(self.recent(|all| &all.conversations)?),
            28..=34 => {
                let (conversation, message) = self.recent(|all| &all.messages)?;
                let (conversation, content) = (ConversationRef::Id(conversation), Content::new(&self.text()).ok());
                let metadata = (self.below(2) == 0).then(|| Metadata::new_unchecked(r#"{"a":[2]}"#));
                CommandKind::UpdateMessage { conversation, message, content, metadata }
            }
            35..=39 => {
                let (conversation, message) = self.recent(|all| &all.messages)?;
                delete_message(conversation, message)
            }
            40..=43 => {
                let (conversation, message) = self.recent(|all| &all.messages)?;
                CommandKind::AnswerMessage { conversation: ConversationRef::Id(conversation), message }
            }
            44..=62 => {
                let job = self.recent(|all| &all.jobs)?;
                self.answer(job)
            }
            63..=64 => {
                let conversation = self.recent(|all| &all.conversations)?;
                let job = self.recent(|all| &all.jobs)?;
                let text = Some(Content::new_unchecked("cancelled text"));
                let cancelled =
                    CancelledAnswer { job, text, reasoning: None, metadata: Metadata::empty(), usage: None };
                let running = (self.below(2) == 0).then(|| Box::new(cancelled));
                CommandKind::CancelAnswers { conversation, running, through: None }
            }
            65..=66 => CommandKind::CountUsage(usage(self.random.below(100))),
            67..=68 => {
                let (verified, hash) = [("hash", "other"), ("other", "hash")][self.below(2)];
                CommandKind::SetPassword { verified: verified.into(), hash: hash.into() }
            }
            69..=72 => post(ConversationRef::Default, &self.text()),
            _ => post(ConversationRef::Id(self.recent(|all| &all.conversations)?), &self.text()),
        })
    }

    fn answer(&mut self, job: JobId) -> CommandKind {
        let text = self.text();
        let statuses = [Status::Complete, Status::Complete, Status::Cancelled, Status::Failed];
        let status = statuses[self.below(4)];
        match self.below(12) {
            0..=2 => begin(job, &text),
            3 => begin(job, ""),
            4..=7 => append(job, &text),
            8 => CommandKind::Answer { job, step: AnswerStep::Echo { metadata: Metadata::empty(), bytes: 100 } },
            9 => finish(job, status, None),
            _ => CommandKind::Answer {
                job,
                step: AnswerStep::Finish {
                    status,
                    text: Some(Content::new(&text).expect("a text")),
                    reasoning: Some("because".into()),
                    metadata: Metadata::empty(),
                    error: None,
                    usage: Some(usage(7)),
                },
            },
        }
    }

    /// Takes note of what commands have created.
    pub fn learn(&mut self, results: &[CommandResult]) {
        for outcome in results.iter().filter_map(|result| result.result.as_ref().ok()) {
            let event = match outcome {
                Outcome::WorkspaceCreated(workspace) => {
                    self.workspaces.push(workspace.id);
                    continue;
                }
                Outcome::ConversationCreated { conversation, first, .. } => {
                    self.conversations.push(conversation.id);
                    let Some(event) = first else { continue };
                    event
                }
                Outcome::Posted { event, .. } => event,
                _ => continue,
            };
            let message = event.message().expect("a message");
            self.messages.push((event.conversation_id.expect("a conversation"), message.id));
            self.jobs.push(JobId(event.number));
        }
    }
}

fn usage(tokens: u64) -> TokenUsage {
    TokenUsage { model: "small".into(), tokens: TokenCounts { prompt: tokens, completion: 1, reasoning: 0, cached: 0 } }
}

/// A conversation in the default workspace, with messages of an earlier exchange.
fn with_messages(text: &str) -> CommandKind {
    let mut kind = create_conversation(None, &["ben"]);
    if let CommandKind::CreateConversation { earlier_messages, initial_message, .. } = &mut kind {
        let content = Content::new(text).expect("a text");
        *earlier_messages = vec![(Role::User, content.clone()), (Role::Assistant, content.clone())];
        *initial_message = Some(content);
    }
    kind
}
