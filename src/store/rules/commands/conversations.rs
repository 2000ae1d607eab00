//! Commands that create, update, leave and delete conversations.

use super::{CommandOutcome, merged};
use crate::base::limits::{CONVERSATION_MESSAGES_MAX, PARTICIPANTS_MAX, UPDATED_CONVERSATION_BYTES_MAX};
use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::EventKind;
use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
use crate::domain::model::{Content, Conversation, Metadata, Role, Topic};
use crate::domain::page::ConversationView;
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::error::Abort;
use crate::store::rules::records::{ConversationAccess, UserRef, WorkspaceRef};
use crate::store::rules::rows::{RowResult, Rows};
use crate::store::rules::transaction::{Author, CommandCaller, NewStateEvent, Transaction};
use crate::wire::answer_settings;
use crate::wire::event;
use crate::wire::metadata;
use std::collections::HashSet;
use std::sync::Arc;

/// The fields of a new conversation.
pub(crate) struct ConversationDraft<'w> {
    pub topic: &'w Topic,
    pub participants: &'w [UserId],
    pub metadata: &'w Metadata,
    /// Messages before the first, which nothing answers.
    pub earlier: &'w [(Role, Content)],
    pub first: Option<&'w Content>,
}

/// The fields of a conversation to update; `None` leaves a field unchanged.
pub(crate) struct ConversationPatch<'w> {
    pub topic: Option<&'w Topic>,
    pub participants: Option<&'w [UserId]>,
    pub metadata: Option<&'w Metadata>,
}

impl<R: Rows> Transaction<'_, R> {
    pub(crate) fn create_conversation(
        &mut self,
        caller: &CommandCaller<'_>,
        workspace: Option<WorkspaceId>,
        new: ConversationDraft<'_>,
        api_variant: ApiVariant,
    ) -> CommandOutcome {
        let workspace = match workspace {
            Some(id) => Some(Arc::new(self.own_workspace(caller, id)?.reference)),
            None => None,
        };
        let mut seen = HashSet::new();
        let participants: Vec<&UserId> =
            new.participants.iter().chain([caller.id()]).filter(|id| seen.insert(*id)).collect();
        let mut invalid = Vec::new();
        if participants.len() > PARTICIPANTS_MAX {
            invalid.push(too_many_participants());
        }
        invalid.extend(self.check_answer_settings(new.metadata, &without_nulls(new.metadata)));
        if !invalid.is_empty() {
            return Err(Rejection::Invalid(invalid).into());
        }
        let chosen = metadata::string_member(new.metadata, "responder");
        if api_variant == ApiVariant::OpenAi {
            self.responder_of(chosen.as_deref())?;
        }
        if new.first.is_some() {
            self.check_quota(caller, chosen.as_deref())?;
        }

        let author = self.upsert_author(caller)?;
        let workspace = match workspace {
            Some(workspace) => workspace,
            None => self.default_workspace(&author)?,
        };
        let (mut conversation, access) =
            self.insert_new_conversation(&author, workspace, new.topic, &participants, new.metadata)?;
        for (role, content) in new.earlier {
            let (stamp, message) = self.insert_plain_message(&author, &access, *role, content, &Metadata::empty())?;
            self.emit_message(stamp, &author, &access, message);
        }
        let first = match new.first {
            Some(content) => Some(self.add_message(&author, &access, Role::User, content, &Metadata::empty())?),
            None => None,
        };
        if let Some(event) = &first {
            conversation.message_count = 1 + new.earlier.len() as u64;
            conversation.updated_at = event.at;
        }
        Ok((Outcome::ConversationCreated { conversation, first, api_variant }, Some(access.number)))
    }

    pub(crate) fn update_conversation(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        change: ConversationPatch<'_>,
        api_variant: ApiVariant,
    ) -> CommandOutcome {
        let access = self.authorize(caller, conversation, api_variant)?;
        let is_owner = access.is_owner(caller.id());
        if !is_owner && change.metadata.and_then(answer_settings::owners_member).is_some() {
            return Err(
                Rejection::Forbidden("only the workspace's owner may choose the responder and its settings").into()
            );
        }
        let diff = change.participants.map(|new| ParticipantDiff::new(&access, caller.id(), new));
        if !is_owner && diff.as_ref().is_some_and(|diff| !diff.removed.is_empty()) {
            return Err(Rejection::Forbidden("only the workspace's owner may remove participants").into());
        }
        self.write_updates()?;
        let mut changed = self.rows.conversation(&access)?;
        let mut invalid = Vec::new();
        if diff.as_ref().is_some_and(|diff| diff.kept.len() + diff.added.len() > PARTICIPANTS_MAX) {
            invalid.push(too_many_participants());
        }
        match merged(&changed.metadata, change.metadata) {
            Ok(metadata) => {
                invalid.extend(change.metadata.and_then(|patch| self.check_answer_settings(patch, &metadata)));
                changed.metadata = metadata;
            }
            Err(field) => invalid.push(field),
        }
        if !invalid.is_empty() {
            return Err(Rejection::Invalid(invalid).into());
        }
        changed.topic = change.topic.unwrap_or(&changed.topic).clone();

        let author = self.upsert_author(caller)?;
        let stamp = self.next_number();
        let access =
            Arc::new(ConversationAccess { responder: chosen_responder(&changed.metadata), ..(*access).clone() });
        self.cache.conversations.insert(access.number, access.clone());
        self.rows.update_conversation(&access, &changed.topic, &changed.metadata)?;
        let (access, removed) = match diff {
            Some(diff) => self.change_participants(&access, diff, stamp.0)?,
            None => (access, Vec::new()),
        };
        changed.participants = access.participant_ids();
        self.publish_conversation_update(&author, &access, &mut changed, stamp)?;
        for user in &removed {
            self.publish_left(&author, &access, user)?;
        }
        let outcome = match api_variant {
            ApiVariant::Config => Outcome::ConversationUpdated(changed),
            ApiVariant::Conversations | ApiVariant::OpenAi => {
                let last =
                    self.rows.last_messages(&access, CONVERSATION_MESSAGES_MAX, UPDATED_CONVERSATION_BYTES_MAX)?;
                Outcome::ConversationViewUpdated(ConversationView { conversation: changed, last })
            }
        };
        Ok((outcome, Some(stamp.0)))
    }

    pub(crate) fn leave_conversation(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
    ) -> CommandOutcome {
        let access = self.authorize(caller, conversation, ApiVariant::Config)?;
        if !access.has_participant(caller.id()) {
            return Err(Rejection::Conflict("the caller is not a participant of the conversation").into());
        }
        self.write_updates()?;
        let mut changed = self.rows.conversation(&access)?;

        let author = self.upsert_author(caller)?;
        let stamp = self.next_number();
        let (removed, kept) = access.participants.iter().cloned().partition(|user| user.id == *caller.id());
        let (access, removed) =
            self.change_participants(&access, ParticipantDiff { kept, removed, added: Vec::new() }, stamp.0)?;
        changed.participants = access.participant_ids();
        self.publish_conversation_update(&author, &access, &mut changed, stamp)?;
        let mut own = None;
        for user in &removed {
            own = Some(self.publish_left(&author, &access, user)?);
        }
        Ok((Outcome::ConversationLeft, own))
    }

    pub(crate) fn delete_conversation(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> CommandOutcome {
        let access = self.authorize(caller, conversation, api_variant)?;
        if !access.is_owner(caller.id()) {
            return Err(Rejection::Forbidden("only the workspace's owner may delete the conversation").into());
        }

        let author = self.upsert_author(caller)?;
        let stamp = self.next_number();
        self.rows.mark_conversation_deleted(access.number, stamp.0)?;
        if author.user.default_conversation == Some(access.number) {
            self.set_defaults(&author.user, author.user.default_workspace, None)?;
        }
        self.cache.conversations.remove(&access.number);
        self.drop_answers_in(|_, conversation| conversation == access.id);
        let event = to_recipients(
            EventKind::ConversationDeleted,
            &access,
            event::conversation_tombstone_data(access.id, access.workspace.id),
        );
        self.publish_state_event(stamp, &author, event)?;
        Ok((Outcome::ConversationDeleted, Some(stamp.0)))
    }

    /// The caller's default conversation, if it exists.
    pub(crate) fn default_conversation(
        &mut self,
        caller: &CommandCaller<'_>,
    ) -> RowResult<Option<Arc<ConversationAccess>>> {
        match caller.known.as_ref().and_then(|user| user.default_conversation) {
            Some(number) => self.conversation_at(number),
            None => Ok(None),
        }
    }

    /// Creates the author's default conversation, and the default workspace if it does not exist.
    pub(crate) fn create_default_conversation(&mut self, author: &Author<'_>) -> RowResult<Arc<ConversationAccess>> {
        let workspace = self.default_workspace(author)?;
        let participants = [&author.user.id];
        let topic = Topic::new_unchecked("Default");
        let (_, access) =
            self.insert_new_conversation(author, workspace.clone(), &topic, &participants, &Metadata::empty())?;
        self.set_defaults(&author.user, Some(workspace.number), Some(access.number))?;
        Ok(access)
    }

    /// The conversation, if the caller may see it.
    ///
    /// # Errors
    /// Fails with `NotFound` if the conversation does not exist, and as [`ConversationAccess::authorize`].
    pub(crate) fn authorize(
        &mut self,
        caller: &CommandCaller<'_>,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> Result<Arc<ConversationAccess>, Abort<Rejection>> {
        let access = match conversation {
            ConversationRef::Default => self.default_conversation(caller)?,
            ConversationRef::Id(id) => self.conversation(id)?,
        };
        let access = access.ok_or(Rejection::NotFound(Resource::Conversation))?;
        access.authorize(caller.id(), api_variant)?;
        Ok(access)
    }

    fn insert_new_conversation(
        &mut self,
        author: &Author<'_>,
        workspace: Arc<WorkspaceRef>,
        topic: &Topic,
        participants: &[&UserId],
        metadata: &Metadata,
    ) -> RowResult<(Conversation, Arc<ConversationAccess>)> {
        let participants = participants.iter().map(|id| self.upsert_participant(id)).collect::<RowResult<_>>()?;
        let (number, at) = self.next_number();
        let id = ConversationId(self.ids.uuid(number, at));
        let access =
            Arc::new(ConversationAccess::new(number, at, id, workspace, participants, chosen_responder(metadata)));
        let conversation = Conversation {
            id,
            workspace_id: access.workspace.id,
            topic: topic.clone(),
            participants: access.participant_ids(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
            message_count: 0,
        };
        self.rows.insert_conversation(&access, &conversation)?;
        self.rows_changed += access.participants.len();
        self.cache.conversations.insert(number, access.clone());
        let event = to_recipients(EventKind::ConversationCreated, &access, event::conversation_data(&conversation));
        self.publish_state_event((number, at), author, event)?;
        Ok((conversation, access))
    }

    /// Changes the participants by event `number`. Returns the changed conversation and the removed participants.
    fn change_participants(
        &mut self,
        access: &ConversationAccess,
        diff: ParticipantDiff,
        number: EventNumber,
    ) -> RowResult<(Arc<ConversationAccess>, Vec<UserRef>)> {
        for user in &diff.removed {
            self.rows.delete_participant(access.number, user.key)?;
        }
        self.rows_changed += diff.removed.len() + diff.added.len();
        let mut participants = diff.kept;
        for (ordinal, id) in diff.added.iter().enumerate() {
            let user = self.upsert_participant(id)?;
            self.rows.insert_participant(access.number, user.key, number, ordinal)?;
            participants.push(user);
        }
        let access = Arc::new(access.with_participants(participants));
        self.cache.conversations.insert(access.number, access.clone());
        Ok((access, diff.removed))
    }

    fn publish_conversation_update(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        changed: &mut Conversation,
        (number, at): (EventNumber, WallTime),
    ) -> RowResult<()> {
        changed.updated_at = at;
        self.record_update(access.number, at, None);
        let event = to_recipients(EventKind::ConversationUpdated, access, event::conversation_data(changed));
        self.publish_state_event((number, at), author, event)
    }

    /// Publishes `conversation_left`, whose only recipient is the removed participant.
    fn publish_left(
        &mut self,
        author: &Author<'_>,
        access: &ConversationAccess,
        user: &UserRef,
    ) -> RowResult<EventNumber> {
        let stamp = self.next_number();
        let event = NewStateEvent {
            kind: EventKind::ConversationLeft,
            workspace: &access.workspace,
            conversation: Some(access),
            recipients: [user.id.clone()].into(),
            recipient_keys: &[user.key],
            payload: event::conversation_tombstone_data(access.id, access.workspace.id),
        };
        self.publish_state_event(stamp, author, event)?;
        Ok(stamp.0)
    }
}

/// A change of the participants.
struct ParticipantDiff {
    /// The participants who stay, in the order in which they joined.
    kept: Vec<UserRef>,
    removed: Vec<UserRef>,
    /// The users who join, in the order of the request.
    added: Vec<UserId>,
}

impl ParticipantDiff {
    /// The change that makes `wanted` the participants of `access`. A caller who is a participant stays one.
    fn new(access: &ConversationAccess, caller: &UserId, wanted: &[UserId]) -> ParticipantDiff {
        let mut left: HashSet<&UserId> = wanted.iter().collect();
        let stays = |user: &UserRef| left.remove(&user.id) || user.id == *caller;
        let (kept, removed) = access.participants.iter().cloned().partition(stays);
        // A user who is named twice is added once.
        let added = wanted.iter().filter(|id| left.remove(id)).cloned().collect();
        ParticipantDiff { kept, removed, added }
    }
}

fn to_recipients(kind: EventKind, access: &ConversationAccess, payload: Arc<str>) -> NewStateEvent<'_> {
    NewStateEvent {
        kind,
        workspace: &access.workspace,
        conversation: Some(access),
        recipients: access.recipients.clone(),
        recipient_keys: &access.recipient_keys,
        payload,
    }
}

fn chosen_responder(metadata: &Metadata) -> Option<Arc<str>> {
    metadata::string_member(metadata, "responder").map(Arc::from)
}

/// The metadata of a new conversation without its `null` members: a `null` responder is not a choice.
fn without_nulls(metadata: &Metadata) -> Metadata {
    metadata::merge(&Metadata::empty(), metadata).unwrap_or_else(|_| metadata.clone())
}

fn too_many_participants() -> (&'static str, String) {
    ("participant_ids", format!("must be at most {PARTICIPANTS_MAX} users, the caller included"))
}
