//! One answer for a stream that follows it: whether it has ended, and a part of its text.

use crate::base::text::char_boundary;
use crate::domain::answer_page::{AnswerPage, EndedText};
use crate::domain::command::{ApiVariant, ConversationRef};
use crate::domain::event::{Event, EventBody, EventKind};
use crate::domain::id::{EventNumber, MessageId};
use crate::domain::model::{Message, Status, StoredPhase};
use crate::domain::query::QueryResult;
use crate::domain::result::{Rejection, Resource};
use crate::store::error::{self, Abort};
use crate::store::read::read_transaction::ReadTransaction;
use crate::store::rules::records::{ConversationAccess, EventOrigin, message_event_kind};
use crate::store::sql::SqlResult;
use crate::store::tables::{messages, state_events};
use crate::wire::event::output_error_data;
use std::sync::Arc;

impl ReadTransaction<'_> {
    /// The answer with this id, or the newest answer to the message with this id, with the part of its text that begins at byte
    /// `from` and has about `bytes_max`.
    pub(crate) fn answer_page(
        &self,
        conversation: ConversationRef,
        id: MessageId,
        from: usize,
        bytes_max: usize,
    ) -> Result<QueryResult, Abort<Rejection>> {
        let access = self.access(conversation, ApiVariant::Conversations)?;
        let found = messages::find_shown(self.db, self.ids, &access, id, false)?;
        let message = found.ok_or(Rejection::NotFound(Resource::Message))?;
        let mut page = AnswerPage {
            reply_to: message.reply_to,
            message_id: Some(id),
            conversation_id: access.id,
            workspace_id: access.workspace.id,
            ended: None,
        };
        if message_event_kind(&message.sender) == EventKind::Output {
            if message.status != Status::Streaming {
                page.ended = Some(self.ended_text(&access, id, (from, bytes_max))?);
            }
            return Ok(QueryResult::AnswerPage(Box::new(page)));
        }
        let answer = message.answer.as_ref().ok_or(Rejection::NotFound(Resource::Answer))?;
        (page.reply_to, page.message_id) = (Some(id), answer.message_id);
        page.ended = match (answer.phase, answer.message_id) {
            (StoredPhase::Queued | StoredPhase::Begun(Status::Streaming), _) => None,
            (StoredPhase::Begun(_), Some(answer)) => Some(self.ended_text(&access, answer, (from, bytes_max))?),
            (StoredPhase::Begun(status), None) => {
                let reason = answer.error.as_deref().unwrap_or("the answer was cancelled");
                Some(self.ended_without_text(&access, &message, status, reason)?)
            }
        };
        Ok(QueryResult::AnswerPage(Box::new(page)))
    }

    /// A part of the text of an answer that has ended, and with its end the event that published the answer.
    fn ended_text(
        &self,
        access: &ConversationAccess,
        answer: MessageId,
        (from, bytes_max): (usize, usize),
    ) -> SqlResult<EndedText> {
        let found = messages::find_in(self.db, self.ids, access, answer)?;
        let (number, message) = found.ok_or_else(error::missing_row)?;
        let origin = messages::published_as(self.db, number)?;
        let text = message.content.as_str();
        let from = char_boundary(text, from);
        let to = char_boundary(text, from.saturating_add(bytes_max));
        let mut ended = EndedText {
            sender: message.sender.clone(),
            correlation_id: Arc::clone(&origin.correlation_id),
            from,
            part: text[from..to].to_owned(),
            text_bytes: text.len(),
            event: None,
        };
        if to == text.len() {
            ended.event = Some(event_of(access, origin, EventKind::Output, EventBody::Message(message)));
        }
        Ok(ended)
    }

    /// The event about an answer that ended without text. If it is no longer retained, it is made from what the store knows of the
    /// answer.
    fn ended_without_text(
        &self,
        access: &ConversationAccess,
        asked: &Message,
        status: Status,
        reason: &str,
    ) -> SqlResult<EndedText> {
        let number = self.ids.open(asked.id.0).map_or(EventNumber(0), |(number, _)| number);
        let retained = match self.caller()? {
            Some(user) => state_events::unanswered(self.db, user.key, number)?,
            None => None,
        };
        let (origin, data) = match retained {
            Some(retained) => retained,
            None => {
                let data = output_error_data(asked.id, access.id, status, reason);
                (messages::published_as(self.db, number)?, data)
            }
        };
        Ok(EndedText {
            sender: origin.actor.clone(),
            correlation_id: Arc::clone(&origin.correlation_id),
            from: 0,
            part: String::new(),
            text_bytes: 0,
            event: Some(event_of(access, origin, EventKind::OutputError, EventBody::Unanswered(asked.id, data))),
        })
    }
}

fn event_of(access: &ConversationAccess, origin: EventOrigin, kind: EventKind, body: EventBody) -> Arc<Event> {
    Arc::new(Event {
        number: origin.number,
        kind,
        at: origin.at,
        actor: origin.actor,
        correlation_id: origin.correlation_id,
        workspace_id: access.workspace.id,
        conversation_id: Some(access.id),
        recipients: Arc::default(),
        body,
    })
}
