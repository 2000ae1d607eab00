//! Random commands, and their effects on the model.

use super::answers;
use super::model::*;
use crate::common::*;
use cortex_core::internals::{
    AnswerSummary, Command, CommandKind, Content, ConversationId, ConversationRef, Event, EventKind, JobId, Message,
    MessageId, Metadata, Random, StoredPhase, UserId, WorkspaceId,
};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct ModelRun {
    pub world: World,
    pub model: Model,
    pub answers: answers::Answers,
    pub random: Random,
}

impl ModelRun {
    pub fn user(&mut self) -> &'static str {
        USERS[self.random.below(USERS.len() as u64) as usize]
    }

    pub fn some_users(&mut self) -> Vec<&'static str> {
        USERS.iter().copied().filter(|_| self.random.below(2) == 0).collect()
    }

    /// Any workspace, also a deleted one. Rejected commands must change nothing.
    pub fn workspace(&mut self) -> Option<WorkspaceId> {
        let ids: Vec<_> = self.model.workspaces.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    pub fn conversation(&mut self) -> Option<ConversationId> {
        let ids: Vec<_> = self.model.conversations.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    pub fn message(&mut self) -> Option<(MessageId, ConversationId)> {
        let ids: Vec<_> = self.model.messages.iter().map(|(id, (conversation, _))| (*id, *conversation)).collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len() as u64) as usize])
    }

    /// A change of any message, also a deleted one, and sometimes with the wrong conversation.
    pub fn message_command(&mut self) -> Option<CommandKind> {
        let (message, mut place) = self.message()?;
        if self.random.below(10) == 0 {
            place = self.conversation()?;
        }
        let conversation = ConversationRef::Id(place);
        if self.random.below(3) == 0 {
            return Some(CommandKind::DeleteMessage { conversation, message });
        }
        let text = format!("changed {}", self.random.below(1000));
        let content = (self.random.below(4) > 0).then(|| Content::new(&text).unwrap());
        let patches = [r#"{"a":1}"#, r#"{"a":[2]}"#, r#"{"a":null}"#];
        let patch = patches.get(self.random.below(4) as usize);
        Some(CommandKind::UpdateMessage {
            conversation,
            message,
            content,
            metadata: patch.map(|json| Metadata::new_unchecked(*json)),
        })
    }

    pub fn any_command(&mut self) -> Option<CommandKind> {
        let wanted = self.some_users();
        Some(match self.random.below(100) {
            0..=2 => create_workspace("w"),
            3..=4 => update_workspace(self.workspace()?, "x"),
            5 if self.random.below(3) == 0 => CommandKind::DeleteWorkspace { id: self.workspace()? },
            5..=14 => create_conversation(Some(self.workspace()?), &wanted),
            15 => create_conversation(None, &wanted),
            16..=27 => update_conversation(self.conversation()?, Some(&wanted), None),
            28..=30 => update_conversation(self.conversation()?, None, Some(r#"{"a":1}"#)),
            31..=37 => leave(self.conversation()?),
            38..=39 => delete_conversation(self.conversation()?),
            40..=44 => post(ConversationRef::Default, "to myself"),
            45..=60 => self.message_command()?,
            61..=78 => self.answer_command()?,
            79..=81 => self.answer_again_command()?,
            82 => self.cancel_command()?,
            _ => post(ConversationRef::Id(self.conversation()?), "hello"),
        })
    }

    pub fn run_batch(&mut self) {
        let size = 1 + self.random.below(12);
        let mut drawn: Vec<(&'static str, CommandKind)> =
            (0..size).filter_map(|_| Some((self.user(), self.any_command()?))).collect();
        // The number of a job that no event has is the last one of its batch.
        if let Some(alone) = drawn.iter().position(|(_, kind)| matches!(kind, CommandKind::AnswerMessage { .. })) {
            drawn = vec![drawn.swap_remove(alone)];
        }
        for (user, kind) in &mut drawn {
            if matches!(kind, CommandKind::Answer { .. } | CommandKind::CancelAnswers { .. }) {
                *user = answers::RESPONDER;
            }
        }
        let commands: Vec<Command> = drawn.iter().map(|(user, kind)| command(user, kind.clone())).collect();
        let committed = self.world.commit(&commands);
        let mut events = committed.events.iter().peekable();
        for ((user, kind), command_result) in drawn.iter().zip(&committed.results) {
            match (kind, &command_result.result) {
                (CommandKind::Answer { job, step }, result) => self.apply_step(*job, step, result, &mut events),
                (CommandKind::AnswerMessage { conversation, message }, result) => {
                    let job = JobId(committed.through);
                    self.apply_answer_again(user, (*conversation, *message), result, job, &mut events);
                }
                (CommandKind::CancelAnswers { conversation, running, .. }, result) => {
                    self.apply_cancel(*conversation, running.as_deref(), result, &mut events);
                }
                (_, Ok(_)) => self.apply_command(user, kind, &mut events),
                (_, Err(_)) => {}
            }
            if let (CommandKind::DeleteMessage { message, .. }, Ok(_)) = (kind, &command_result.result) {
                self.apply_deletion(*message, &mut events);
            }
        }
        assert!(events.next().is_none(), "every event belongs to a successful command");
        self.check_committed(&committed);
    }

    /// Checks the events of a successful command and their recipients, and applies them to the model.
    pub fn apply_command<'e>(
        &mut self,
        user: &'static str,
        kind: &CommandKind,
        events: &mut std::iter::Peekable<impl Iterator<Item = &'e Arc<Event>>>,
    ) {
        let mut first = true;
        while let Some(event) = events.next_if(|event| first || !begins(kind, event)) {
            self.apply(user, kind, event);
            first = false;
            if ends(kind, event, events.peek().copied()) {
                break;
            }
        }
    }

    pub fn apply(&mut self, user: &'static str, kind: &CommandKind, event: &Arc<Event>) {
        assert_eq!(event.actor.as_str(), user);
        self.apply_message(user, kind, event);
        let model = &mut self.model;
        if let Some(id) = event.conversation_id
            && !matches!(event.kind, EventKind::ConversationLeft | EventKind::OutputError)
            && let Some(conversation) = model.conversations.get_mut(&id)
        {
            conversation.updated_at = event.at;
        }
        let recipients_of: BTreeSet<&str> = match event.kind {
            EventKind::WorkspaceCreated => {
                let made = ModelWorkspace { owner: user, deleted: false, unnotified: BTreeSet::new() };
                model.workspaces.insert(event.workspace_id, made);
                [user].into()
            }
            EventKind::WorkspaceUpdated => [user].into(),
            EventKind::WorkspaceDeleted => {
                let inside =
                    model.conversations.iter().filter(|(_, c)| c.workspace == event.workspace_id && !c.deleted);
                let took_part = inside.flat_map(|(_, c)| c.participants.iter().map(|(user, _)| *user));
                let mut unnotified: BTreeSet<_> = took_part.chain([user]).collect();
                let notified: BTreeSet<_> =
                    event.recipients.iter().filter_map(|id| unnotified.take(id.as_str())).collect();
                assert!(notified.contains(user));
                let workspace = model.workspaces.get_mut(&event.workspace_id).unwrap();
                (workspace.deleted, workspace.unnotified) = (true, unnotified);
                notified
            }
            EventKind::ConversationCreated => {
                let mut participants: Vec<&'static str> = match kind {
                    CommandKind::CreateConversation { participants, .. } => known(participants),
                    _ => Vec::new(),
                };
                if !participants.contains(&user) {
                    participants.push(user);
                }
                let id = event.conversation_id.unwrap();
                let participants = participants.into_iter().map(|user| (user, event.number.0)).collect();
                let (workspace, updated_at) = (event.workspace_id, event.at);
                let made = ModelConversation { workspace, participants, updated_at, deleted: false };
                model.conversations.insert(id, made);
                model.recipients_of(&id)
            }
            EventKind::ConversationUpdated => {
                let id = event.conversation_id.unwrap();
                let participants = &mut model.conversations.get_mut(&id).unwrap().participants;
                match kind {
                    CommandKind::LeaveConversation { .. } => {
                        participants.retain(|(participant, _)| *participant != user)
                    }
                    CommandKind::UpdateConversation { participants: Some(wanted), .. } => {
                        let wanted = known(wanted);
                        participants.retain(|(participant, _)| *participant == user || wanted.contains(participant));
                        for joining in wanted {
                            if participants.iter().all(|(participant, _)| *participant != joining) {
                                participants.push((joining, event.number.0));
                            }
                        }
                    }
                    _ => {}
                }
                model.recipients_of(&id)
            }
            EventKind::ConversationLeft => {
                assert_eq!(event.recipients.len(), 1);
                let id = event.conversation_id.unwrap();
                let left = event.recipients[0].as_str();
                assert!(model.conversations[&id].participants.iter().all(|(participant, _)| *participant != left));
                [USERS.iter().copied().find(|user| *user == left).unwrap()].into()
            }
            EventKind::ConversationDeleted => {
                let id = event.conversation_id.unwrap();
                model.conversations.get_mut(&id).unwrap().deleted = true;
                model.recipients_of(&id)
            }
            EventKind::Input
            | EventKind::Output
            | EventKind::OutputError
            | EventKind::MessageUpdated
            | EventKind::MessageDeleted => model.recipients_of(&event.conversation_id.unwrap()),
            other => panic!("{other:?}"),
        };
        let recipients: BTreeSet<&str> = event.recipients.iter().map(UserId::as_str).collect();
        assert_eq!(recipients, recipients_of, "{event:?}");
        assert_eq!(recipients.len(), event.recipients.len(), "a recipient is listed twice");
        if let Some(id) = event.conversation_id {
            assert!(!self.model.is_deleted(&id) || event.kind == EventKind::ConversationDeleted, "{event:?}");
        }
        self.model.events.push(event.clone());
    }

    /// Applies the events of maintenance, which notify participants of deleted workspaces.
    pub fn apply_notifications(&mut self) {
        for event in std::mem::take(&mut self.world.notifications) {
            assert_eq!(event.kind, EventKind::WorkspaceDeleted);
            let workspace = self.model.workspaces.get_mut(&event.workspace_id).unwrap();
            assert!(workspace.deleted && event.actor.as_str() == workspace.owner && !event.recipients.is_empty());
            for id in event.recipients.iter() {
                assert!(workspace.unnotified.remove(id.as_str()), "{id} is notified once");
            }
            self.model.events.push(event);
        }
    }

    /// Checks the event of a message against its command, and applies it to the model.
    pub fn apply_message(&mut self, user: &str, kind: &CommandKind, event: &Event) {
        let Some(id) = event.message_id() else { return };
        if matches!(event.kind, EventKind::Output | EventKind::OutputError) {
            return;
        }
        let conversation = event.conversation_id.unwrap();
        if event.kind == EventKind::Input {
            self.model.messages.insert(id, (conversation, event.message().cloned()));
            self.answers.add_job(id, event);
            self.model.answers.insert(id, queued());
            return;
        }
        let owner = self.model.workspaces[&event.workspace_id].owner;
        let (known_conversation, message) = self.model.messages.get_mut(&id).unwrap();
        assert_eq!(*known_conversation, conversation);
        if matches!(kind, CommandKind::Answer { .. }) {
            return;
        }
        let before = message.take().unwrap();
        assert!(before.sender.as_str() == user || owner == user, "{user} changed a message of {}", before.sender);
        if let CommandKind::UpdateMessage { message: asked, content, metadata, .. } = kind {
            assert_eq!((*asked, event.kind), (id, EventKind::MessageUpdated));
            let mut after = Message { updated_at: event.at, ..before };
            after.content = content.clone().unwrap_or(after.content);
            after.metadata = match metadata.as_ref().map(Metadata::as_str) {
                None => after.metadata,
                Some(r#"{"a":null}"#) => Metadata::empty(),
                Some(json) => Metadata::new_unchecked(json),
            };
            assert_eq!(event.message(), Some(&after));
            *message = Some(after);
        }
    }
}

/// The state of an answer that has not begun.
fn queued() -> AnswerSummary {
    AnswerSummary { phase: StoredPhase::Queued, message_id: None, error: None }
}

fn known(ids: &[UserId]) -> Vec<&'static str> {
    ids.iter().map(|id| *USERS.iter().find(|user| **user == id.as_str()).unwrap()).collect()
}

/// Whether `event` can only be the first event of a command.
fn begins(kind: &CommandKind, event: &Event) -> bool {
    match kind {
        CommandKind::PostMessage { .. } => false,
        CommandKind::CreateConversation { .. } => event.kind != EventKind::ConversationCreated,
        _ => event.kind != EventKind::ConversationLeft,
    }
}

/// Whether `event` is the last event of a command.
fn ends(kind: &CommandKind, event: &Event, next: Option<&Arc<Event>>) -> bool {
    match kind {
        CommandKind::PostMessage { .. } => event.kind == EventKind::Input,
        CommandKind::CreateConversation { .. } => event.kind == EventKind::ConversationCreated,
        _ => next.is_none_or(|next| next.kind != EventKind::ConversationLeft),
    }
}
