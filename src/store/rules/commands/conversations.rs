//! Making, changing, leaving and deleting conversations.

use super::{Done, merged};
use crate::base::limits::{CONVERSATION_MESSAGES_MAX, PARTICIPANTS_MAX, UPDATED_CONVERSATION_BYTES_MAX};
use crate::base::time::WallTime;
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::EventKind;
use crate::domain::id::{ConversationId, EventNumber, UserId, WorkspaceId};
use crate::domain::model::{Content, Conversation, Metadata, Role, Topic};
use crate::domain::query::ConversationView;
use crate::domain::result::{Outcome, Rejection, Resource};
use crate::store::data;
use crate::store::error::Stop;
use crate::store::rules::transaction::{Author, Batch, Caller, Notice};
use crate::store::sqlite::read::conversation_queries;
use crate::store::sqlite::tables::conversations::{self, Home, Room};
use crate::store::sqlite::tables::users::Member;
use crate::wire::metadata;
use std::collections::HashSet;
use std::sync::Arc;

/// What a new conversation is to be.
pub(crate) struct Wanted<'w> {
    pub topic: &'w Topic,
    pub participants: &'w [UserId],
    pub metadata: &'w Metadata,
    pub first: Option<&'w Content>,
}

/// What is to change; what is absent stays.
pub(crate) struct Change<'w> {
    pub topic: Option<&'w Topic>,
    pub participants: Option<&'w [UserId]>,
    pub metadata: Option<&'w Metadata>,
}

impl Batch<'_> {
    pub(crate) fn create_conversation(
        &mut self,
        caller: &Caller<'_>,
        workspace: Option<WorkspaceId>,
        wanted: Wanted<'_>,
        api_variant: ApiVariant,
    ) -> Done {
        let home = match workspace {
            Some(id) => Some(Arc::new(self.own_workspace(caller, id)?.home)),
            None => None,
        };
        let mut seen = HashSet::new();
        let participants: Vec<&UserId> =
            wanted.participants.iter().chain([caller.id()]).filter(|id| seen.insert(*id)).collect();
        let mut invalid = Vec::new();
        if participants.len() > PARTICIPANTS_MAX {
            invalid.push(too_many_participants());
        }
        invalid.extend(self.wrong_responder(wanted.metadata, &without_nulls(wanted.metadata)));
        if !invalid.is_empty() {
            return Err(Rejection::Invalid(invalid).into());
        }

        let author = self.enter(caller)?;
        let home = match home {
            Some(home) => home,
            None => self.default_workspace(&author)?,
        };
        let (mut conversation, room) =
            self.make_conversation(&author, home, wanted.topic, &participants, wanted.metadata)?;
        let first = match wanted.first {
            Some(content) => Some(self.post(&author, &room, Role::User, content, &Metadata::empty())?),
            None => None,
        };
        if let Some(event) = &first {
            conversation.message_count = 1;
            conversation.updated_at = event.at;
        }
        Ok((Outcome::ConversationCreated { conversation, first, api_variant }, Some(room.number)))
    }

    pub(crate) fn update_conversation(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        change: Change<'_>,
        api_variant: ApiVariant,
    ) -> Done {
        let room = self.admitted(caller, conversation, api_variant)?;
        let may_all = room.is_owner(caller.id());
        if !may_all && change.metadata.is_some_and(|patch| metadata::has_member(patch, "responder")) {
            return Err(Rejection::Forbidden("only the workspace's owner may choose the responder").into());
        }
        let roster = change.participants.map(|wanted| Roster::new(&room, caller.id(), wanted));
        if !may_all && roster.as_ref().is_some_and(|roster| !roster.removed.is_empty()) {
            return Err(Rejection::Forbidden("only the workspace's owner may remove participants").into());
        }
        self.flush_touches()?;
        let mut changed = conversations::of_room(self.db, self.ids, &room)?;
        let mut invalid = Vec::new();
        if roster.as_ref().is_some_and(|roster| roster.kept.len() + roster.added.len() > PARTICIPANTS_MAX) {
            invalid.push(too_many_participants());
        }
        match merged(&changed.metadata, change.metadata) {
            Ok(metadata) => {
                invalid.extend(change.metadata.and_then(|patch| self.wrong_responder(patch, &metadata)));
                changed.metadata = metadata;
            }
            Err(field) => invalid.push(field),
        }
        if !invalid.is_empty() {
            return Err(Rejection::Invalid(invalid).into());
        }
        changed.topic = change.topic.unwrap_or(&changed.topic).clone();

        let author = self.enter(caller)?;
        let stamp = self.next();
        let room = Arc::new(Room { responder: chosen_responder(&changed.metadata), ..(*room).clone() });
        self.memory.rooms.insert(room.number, room.clone());
        conversations::update(self.db, &room, &changed.topic, &changed.metadata)?;
        let (room, removed) = match roster {
            Some(roster) => self.change_roster(&room, roster, stamp.0)?,
            None => (room, Vec::new()),
        };
        changed.participants = room.participant_ids();
        self.announce_change(&author, &room, &mut changed, stamp)?;
        for member in &removed {
            self.announce_left(&author, &room, member)?;
        }
        let outcome = match api_variant {
            ApiVariant::Config => Outcome::ConversationUpdated(changed),
            ApiVariant::Conversations => {
                let last = conversation_queries::last_messages(
                    self.db,
                    self.ids,
                    &room,
                    CONVERSATION_MESSAGES_MAX,
                    UPDATED_CONVERSATION_BYTES_MAX,
                )?;
                Outcome::ConversationViewUpdated(ConversationView { conversation: changed, last })
            }
        };
        Ok((outcome, Some(stamp.0)))
    }

    pub(crate) fn leave_conversation(&mut self, caller: &Caller<'_>, conversation: ConversationRef) -> Done {
        let room = self.admitted(caller, conversation, ApiVariant::Config)?;
        if !room.takes_part(caller.id()) {
            return Err(Rejection::Conflict("the caller does not take part in the conversation").into());
        }
        self.flush_touches()?;
        let mut changed = conversations::of_room(self.db, self.ids, &room)?;

        let author = self.enter(caller)?;
        let stamp = self.next();
        let (removed, kept) = room.participants.iter().cloned().partition(|member| member.id == *caller.id());
        let (room, removed) = self.change_roster(&room, Roster { kept, removed, added: Vec::new() }, stamp.0)?;
        changed.participants = room.participant_ids();
        self.announce_change(&author, &room, &mut changed, stamp)?;
        let mut own = None;
        for member in &removed {
            own = Some(self.announce_left(&author, &room, member)?);
        }
        Ok((Outcome::ConversationLeft, own))
    }

    pub(crate) fn delete_conversation(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> Done {
        let room = self.admitted(caller, conversation, api_variant)?;
        if !room.is_owner(caller.id()) {
            return Err(Rejection::Forbidden("only the workspace's owner may delete the conversation").into());
        }

        let author = self.enter(caller)?;
        let stamp = self.next();
        conversations::mark_deleted(self.db, room.number, stamp.0)?;
        if author.user.default_conversation == Some(room.number) {
            self.set_defaults(&author.user, author.user.default_workspace, None)?;
        }
        self.memory.rooms.remove(&room.number);
        self.withdraw(|_, conversation| conversation == room.id);
        let notice = to_all(EventKind::ConversationDeleted, &room, data::conversation_gone(room.id, room.home.id));
        self.publish(stamp, &author, notice)?;
        Ok((Outcome::ConversationDeleted, Some(stamp.0)))
    }

    /// The caller's default conversation, if there is one.
    pub(crate) fn default_room(&mut self, caller: &Caller<'_>) -> rusqlite::Result<Option<Arc<Room>>> {
        match caller.known.as_ref().and_then(|user| user.default_conversation) {
            Some(number) => self.room_at(number),
            None => Ok(None),
        }
    }

    /// Makes the author's default conversation, and its workspace if there is none.
    pub(crate) fn make_default_room(&mut self, author: &Author<'_>) -> rusqlite::Result<Arc<Room>> {
        let home = self.default_workspace(author)?;
        let participants = [&author.user.member.id];
        let topic = Topic::new_unchecked("Default");
        let (_, room) = self.make_conversation(author, home.clone(), &topic, &participants, &Metadata::empty())?;
        self.set_defaults(&author.user, Some(home.number), Some(room.number))?;
        Ok(room)
    }

    /// A conversation that there is and that the caller may see.
    pub(crate) fn admitted(
        &mut self,
        caller: &Caller<'_>,
        conversation: ConversationRef,
        api_variant: ApiVariant,
    ) -> Result<Arc<Room>, Stop> {
        let room = match conversation {
            ConversationRef::Default => self.default_room(caller)?,
            ConversationRef::Id(id) => self.room(id)?,
        };
        let room = room.ok_or(Rejection::NotFound(Resource::Conversation))?;
        room.admit(caller.id(), api_variant)?;
        Ok(room)
    }

    fn make_conversation(
        &mut self,
        author: &Author<'_>,
        home: Arc<Home>,
        topic: &Topic,
        participants: &[&UserId],
        metadata: &Metadata,
    ) -> rusqlite::Result<(Conversation, Arc<Room>)> {
        let participants = participants.iter().map(|id| self.member(id)).collect::<rusqlite::Result<_>>()?;
        let (number, at) = self.next();
        let id = ConversationId(self.ids.uuid(number, at));
        let room = Arc::new(Room::new(number, at, id, home, participants, chosen_responder(metadata)));
        let conversation = Conversation {
            id,
            workspace_id: room.home.id,
            topic: topic.clone(),
            participants: room.participant_ids(),
            metadata: metadata.clone(),
            created_at: at,
            updated_at: at,
            message_count: 0,
        };
        conversations::insert(self.db, &room, &conversation)?;
        self.memory.rooms.insert(number, room.clone());
        let notice = to_all(EventKind::ConversationCreated, &room, data::conversation(&conversation));
        self.publish((number, at), author, notice)?;
        Ok((conversation, room))
    }

    /// Changes who takes part, by event `number`; returns the conversation after it, and who is no longer in it.
    fn change_roster(
        &mut self,
        room: &Room,
        roster: Roster,
        number: EventNumber,
    ) -> rusqlite::Result<(Arc<Room>, Vec<Member>)> {
        for member in &roster.removed {
            conversations::remove_participant(self.db, room.number, member.key)?;
        }
        let mut participants = roster.kept;
        for (place, id) in roster.added.iter().enumerate() {
            let member = self.member(id)?;
            conversations::add_participant(self.db, room.number, member.key, number, place)?;
            participants.push(member);
        }
        let room = Arc::new(room.with_participants(participants));
        self.memory.rooms.insert(room.number, room.clone());
        Ok((room, roster.removed))
    }

    fn announce_change(
        &mut self,
        author: &Author<'_>,
        room: &Room,
        changed: &mut Conversation,
        (number, at): (EventNumber, WallTime),
    ) -> rusqlite::Result<()> {
        changed.updated_at = at;
        self.touch(room.number, at, None);
        let notice = to_all(EventKind::ConversationUpdated, room, data::conversation(changed));
        self.publish((number, at), author, notice)
    }

    /// Tells somebody who is no longer in the conversation, and nobody else.
    fn announce_left(&mut self, author: &Author<'_>, room: &Room, member: &Member) -> rusqlite::Result<EventNumber> {
        let stamp = self.next();
        let notice = Notice {
            kind: EventKind::ConversationLeft,
            home: &room.home,
            room: Some(room),
            recipients: [member.id.clone()].into(),
            recipient_keys: &[member.key],
            payload: data::conversation_gone(room.id, room.home.id),
        };
        self.publish(stamp, author, notice)?;
        Ok(stamp.0)
    }
}

/// A change of who takes part.
struct Roster {
    /// Who stays, in the order in which they joined.
    kept: Vec<Member>,
    removed: Vec<Member>,
    /// Who joins, in the order in which they were named.
    added: Vec<UserId>,
}

impl Roster {
    /// What makes the participants of `room` those that `caller` wants; a caller who takes part stays in.
    fn new(room: &Room, caller: &UserId, wanted: &[UserId]) -> Roster {
        let mut new: HashSet<&UserId> = wanted.iter().collect();
        let stays = |member: &Member| new.remove(&member.id) || member.id == *caller;
        let (kept, removed) = room.participants.iter().cloned().partition(stays);
        // Removing as we go names each once.
        let added = wanted.iter().filter(|id| new.remove(id)).cloned().collect();
        Roster { kept, removed, added }
    }
}

fn to_all(kind: EventKind, room: &Room, payload: Arc<str>) -> Notice<'_> {
    Notice {
        kind,
        home: &room.home,
        room: Some(room),
        recipients: room.recipients.clone(),
        recipient_keys: &room.recipient_keys,
        payload,
    }
}

fn chosen_responder(metadata: &Metadata) -> Option<Arc<str>> {
    metadata::string_member(metadata, "responder").map(Arc::from)
}

/// What a new thing's metadata would be as a change: a `null` chooses nothing.
fn without_nulls(metadata: &Metadata) -> Metadata {
    metadata::merge(&Metadata::empty(), metadata).unwrap_or_else(|_| metadata.clone())
}

fn too_many_participants() -> (&'static str, String) {
    ("participant_ids", format!("must be at most {PARTICIPANTS_MAX} users, the caller included"))
}
