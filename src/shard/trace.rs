//! Inputs and outputs of a shard in the log at level `TRACE`: kinds, slots, numbers and sizes. Never bodies, tokens,
//! passwords or texts.

use crate::domain::command::ReplyTo;
use crate::domain::work::Work;
use crate::shard::message::ShardMessage;
use crate::shard::{Input, Output};
use std::fmt::{Display, Formatter, Result};

/// An input as one line.
pub(super) struct TracedInput<'a, 'b>(pub &'a Input<'b>);

/// An output as one line.
pub(super) struct TracedOutput<'a>(pub &'a Output);

impl Display for TracedInput<'_, '_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Input::Bytes { slot, bytes } => write!(f, "bytes slot={slot} bytes={}", bytes.len()),
            Input::Ended { slot } => write!(f, "peer_closed slot={slot}"),
            Input::Failed { slot } => write!(f, "failed slot={slot}"),
            Input::Wrote { slot, bytes } => write!(f, "wrote slot={slot} bytes={bytes}"),
            Input::Undelivered { slot, bytes } => write!(f, "undelivered slot={slot} bytes={bytes}"),
            Input::Message(message) => write_message(f, message),
        }
    }
}

fn write_message(f: &mut Formatter<'_>, message: &ShardMessage) -> Result {
    match message {
        ShardMessage::Committed(share) => write!(
            f,
            "committed before={} through={} events={} results={} started={} token_rules={}",
            share.before,
            share.through,
            share.events.len(),
            share.results.len(),
            share.started.len(),
            share.token_rules.is_some()
        ),
        ShardMessage::QueryResponse(response) => {
            let (ok, weight) = (response.result.is_ok(), response.weight());
            write!(f, "query_response {} position={} ok={ok} weight={weight}", To(response.to), response.position)
        }
        ShardMessage::PasswordResponse(response) => {
            write!(f, "password_response {} ok={}", To(response.to), response.result.is_ok())
        }
        ShardMessage::CommandResult(result) => {
            write!(f, "command_result {} ok={}", To(result.to), result.result.is_ok())
        }
        #[cfg(feature = "cluster")]
        ShardMessage::PeerResponse(response) => {
            let (answers, is_complete) = (response.answers.len(), response.is_complete);
            write!(f, "peer_response {} answers={answers} complete={is_complete}", To(response.to))
        }
        ShardMessage::Delta(delta) => write!(f, "delta message={} index={}", delta.message_id, delta.index),
        ShardMessage::AnswerStatus(change) => {
            write!(f, "answer_status reply_to={} status={}", change.reply_to, change.phase.as_str())
        }
        ShardMessage::Piped(to) => write!(f, "piped {}", To(*to)),
        ShardMessage::Dropped(to) => write!(f, "dropped {}", To(*to)),
        ShardMessage::CommandDropped(to) => write!(f, "command_dropped {}", To(*to)),
        ShardMessage::Drain => f.write_str("drain"),
        ShardMessage::Reload(_) => f.write_str("reload"),
    }
}

impl Display for TracedOutput<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Output::Work(work) => {
                let to = To(work.reply_to());
                match work {
                    Work::Command(command) => write!(f, "command {to} weight={}", command.weight()),
                    Work::Query(_) => write!(f, "query {to}"),
                    Work::Password(_) => write!(f, "password_check {to}"),
                    Work::CancelAnswer { conversation_id, .. } => {
                        write!(f, "cancel_answer {to} conversation={conversation_id}")
                    }
                    #[cfg(feature = "cluster")]
                    Work::AskPeers(query) => write!(f, "ask_peers {to} {:?}", query.kind),
                    Work::Pass(_) => write!(f, "pass {to}"),
                    Work::ControlPassing { control, .. } => write!(f, "control_passing {to} {control:?}"),
                }
            }
            Output::TuneStream(slot) => write!(f, "tune_stream slot={slot}"),
            Output::Resume(slot) => write!(f, "resume slot={slot}"),
            Output::MeasureUndelivered(slot) => write!(f, "measure_undelivered slot={slot}"),
            Output::EndWriting(slot) => write!(f, "end_writing slot={slot}"),
            Output::Close(slot) => write!(f, "close slot={slot}"),
            Output::StopAccepting => f.write_str("stop_accepting"),
            Output::Quiesced => f.write_str("quiesced"),
            Output::Drained => f.write_str("drained"),
        }
    }
}

/// The connection that waits for a result.
struct To(ReplyTo);

impl Display for To {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "slot={} generation={}", self.0.slot, self.0.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::holder::Holder;
    use crate::domain::password::{PasswordCheck, PasswordJob};

    #[test]
    fn lines_have_sizes_and_ids_and_no_content() {
        let secret = "Authorization: Bearer secret";
        let reply_to = ReplyTo { shard: 0, slot: 7, generation: 9 };
        let check = PasswordCheck::Login { email: secret.into(), password: secret.into() };
        let table = [
            (TracedInput(&Input::Bytes { slot: 3, bytes: secret.as_bytes() }).to_string(), "bytes slot=3 bytes=28"),
            (TracedInput(&Input::Wrote { slot: 3, bytes: 5 }).to_string(), "wrote slot=3 bytes=5"),
            (TracedInput(&Input::Message(ShardMessage::Dropped(reply_to))).to_string(), "dropped slot=7 generation=9"),
            (
                TracedOutput(&Output::Work(Work::Password(PasswordJob { reply_to, holder: Holder::Server, check })))
                    .to_string(),
                "password_check slot=7 generation=9",
            ),
            (TracedOutput(&Output::Close(4)).to_string(), "close slot=4"),
        ];
        for (line, expected) in table {
            assert_eq!(line, expected);
        }
    }
}
