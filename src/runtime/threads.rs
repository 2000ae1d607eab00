//! The threads beside the event loops: the writer, the readers, and the one that checks passwords; and the bounded
//! queues that lead to them.
//!
//! Invariant: whatever was taken out of a queue is answered, also when answering it panics.

use super::answers::desk::{Desk, News};
use super::clock::Clock;
use super::queue::{Queue, Wakeup};
use super::replies::Replies;
use crate::auth::password::Hasher;
use crate::base::limits::*;
use crate::base::log as logging;
use crate::base::metrics::{self, COMMIT_BOUNDS, DURATION_BOUNDS};
use crate::base::time::WallTime;
use crate::domain::command::{Command, ReplyTo};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::domain::password::{PasswordCheck, PasswordJob, PasswordOutcome, PasswordResponse};
use crate::domain::query::Query;
use crate::domain::result::Rejection;
use crate::domain::work::Work;
use crate::shard::shared::stream_registry::Registry;
use crate::store::{Due, PasswordRecord, Reader, Writer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// The writer looks at least so often for what is to be cleaned up, in milliseconds.
const HOUSEKEEPING_MILLISECONDS: u64 = 60_000;
/// An idle writer looks at least so often for what other processes did to users, in milliseconds.
const LOOK_BESIDE_MILLISECONDS: u64 = 250;
/// How long it waits for work while it cannot write; then it tries whether it can.
const PROBE: Duration = Duration::from_millis(WRITER_PROBE_MILLISECONDS);
/// It also looks for what is to be cleaned up after so many batches.
const BATCHES_PER_HOUSEKEEPING: u32 = 64;

/// WriterWork for the writer.
pub enum WriterWork {
    /// A change.
    Command(Command),
    /// A question to a database that only the writer can reach.
    Query(Query),
    /// A look at a password in such a database.
    Password(PasswordLookup),
}

/// Whose password is looked up.
enum Login {
    Email(Box<str>),
    User(UserId),
}

/// A stored hash, and whose it is where that was not known.
type Stored = (String, Option<UserProfile>);

/// A password that the writer looks up for the password thread, which waits for it.
pub struct PasswordLookup {
    login: Login,
    answer: SyncSender<Result<Option<Stored>, Rejection>>,
}

/// The ways from an event loop to the other threads.
#[derive(Clone)]
pub struct Ports {
    /// To the writer.
    pub writer: Arc<Queue<WriterWork>>,
    /// To the readers; `None` when the writer answers questions too.
    pub readers: Option<Arc<Queue<Query>>>,
    /// To the password thread.
    pub passwords: Arc<Queue<PasswordJob>>,
    /// To the responders.
    pub desk: Arc<Desk>,
}

impl Ports {
    /// Empty queues.
    pub fn new(in_memory: bool) -> Ports {
        Ports {
            writer: Arc::new(Queue::new(WRITER_QUEUE_MAX, WRITER_QUEUE_BYTES_MAX, &metrics::WRITER_QUEUE)),
            readers: (!in_memory).then(|| Arc::new(Queue::new(READER_QUEUE_MAX, usize::MAX, &metrics::READER_QUEUE))),
            passwords: Arc::new(Queue::new(PASSWORD_QUEUE_MAX, usize::MAX, &metrics::PASSWORD_QUEUE)),
            desk: Arc::default(),
        }
    }

    /// Hands work to its worker; gives back whose work was not taken because the queue is full. The writer starts on a
    /// command only after `wake_writer`.
    pub fn submit(&self, work: Work) -> Result<(), ReplyTo> {
        match work {
            Work::Command(command) => self.submit_command(command),
            Work::Query(query) => self.ask(query),
            Work::Password(job) => self.passwords.push(job, 1).map_err(|job| job.reply_to),
            Work::CancelAnswer { reply_to: to, conversation_id } => {
                if self.desk.tell(News::Cancel { to, conversation_id }) { Ok(()) } else { Err(to) }
            }
        }
    }

    fn submit_command(&self, command: Command) -> Result<(), ReplyTo> {
        let (to, weight) = (command.reply_to, command.weight());
        self.writer.push_without_wake(WriterWork::Command(command), weight).map_err(|_| to)
    }

    /// Tells the writer of all changes since the last call: those of one turn make one batch.
    pub fn wake_writer(&self) {
        self.writer.wake();
    }

    /// Hands a question to whoever answers it.
    pub fn ask(&self, query: Query) -> Result<(), ReplyTo> {
        let to = query.reply_to;
        match &self.readers {
            Some(readers) => readers.push(query, 1).map_err(|_| to),
            None => self.writer.push(WriterWork::Query(query), 1).map_err(|_| to),
        }
    }

    /// The same for who is no event loop and hands changes over one by one: the writer hears of it at once.
    pub fn submit_now(&self, command: Command) -> Result<(), ReplyTo> {
        self.submit_command(command)?;
        self.wake_writer();
        Ok(())
    }

    /// Takes nothing more in; what waits is still done.
    pub fn close(&self) {
        if let Some(readers) = &self.readers {
            readers.close();
        }
        self.passwords.close();
        self.writer.close();
    }
}

/// The writer: takes all that waits, commits it as one, tells everybody. While the database cannot be written to, it tries
/// by itself whether it can be again. A panic here ends the process, because the state of the writer's memory would not
/// be known, and so does a database that cannot be synced.
pub fn write(mut writer: Writer, ports: &Ports, replies: &Replies, registry: &Registry, clock: Clock) {
    // A database in memory is nobody else's.
    let look_beside =
        if ports.readers.is_some() { Duration::from_millis(LOOK_BESIDE_MILLISECONDS) } else { Duration::MAX };
    let mut works = Vec::new();
    let mut due = Due::Now;
    let (mut batches_since, mut tidy_by) = (0, clock.now().mono);
    let mut probe_at = tidy_by;
    loop {
        if writer.is_spoiled() {
            log::error!(
                "the database could not be synced: ending, so that the next start writes it anew from the write-ahead log"
            );
            logging::flush();
            exit(1);
        }
        let failing = writer.fault().is_some();
        let until_due = if failing { PROBE } else { patience(due, clock.now().wall) };
        let patience = until_due.min(look_beside);
        let taken = ports.writer.take(&mut works, TRANSACTION_COMMANDS_MAX, TRANSACTION_BYTES_MAX, Some(patience));
        if taken == Wakeup::Closed {
            break;
        }
        // A batch looks by itself.
        if taken == Wakeup::Idle
            && let Some(changes) = writer.look_beside()
        {
            registry.committed(changes.through);
            replies.committed(changes);
        }
        let mut commands = Vec::with_capacity(works.len());
        let mut others = Vec::new();
        for work in works.drain(..) {
            match work {
                WriterWork::Command(command) => commands.push(command),
                other => others.push(other),
            }
        }
        if !commands.is_empty() {
            let began = clock.now();
            registry.writer_begins(began.mono);
            let committed = writer.commit_batch(&commands, began.wall);
            registry.writer_rests(writer.fault());
            metrics::COMMIT_DURATION.observe(&DURATION_BOUNDS, clock.now().mono.since(began.mono));
            metrics::COMMIT_COMMANDS.observe(&COMMIT_BOUNDS, commands.len() as u64);
            let made = |event: &&Arc<Event>| event.kind == EventKind::ConversationCreated;
            metrics::CONVERSATIONS.add(committed.events.iter().filter(made).count() as u64);
            registry.committed(committed.through);
            replies.committed(committed);
            batches_since += 1;
        }
        for other in others {
            match other {
                WriterWork::Query(query) => replies.query_response(writer.read(&query)),
                WriterWork::Password(lookup) => answer_lookup(&mut writer, lookup),
                WriterWork::Command(_) => unreachable!("commands were taken out above"),
            }
        }
        let now = clock.now();
        if failing && now.mono >= probe_at {
            registry.writer_begins(now.mono);
            writer.probe();
            registry.writer_rests(writer.fault());
            probe_at = clock.now().mono.plus_milliseconds(WRITER_PROBE_MILLISECONDS);
        }
        due = writer.due(now.wall);
        if writer.fault().is_some() {
            continue;
        }
        // While there is more to clean up, steps and batches take turns.
        let is_due = taken == Wakeup::Idle && patience == until_due;
        if is_due || due == Due::Now || batches_since >= BATCHES_PER_HOUSEKEEPING || now.mono >= tidy_by {
            registry.writer_begins(now.mono);
            writer.housekeeping(now.wall);
            registry.writer_rests(writer.fault());
            due = writer.due(now.wall);
            (batches_since, tidy_by) = (0, now.mono.plus_milliseconds(HOUSEKEEPING_MILLISECONDS));
        }
    }
    writer.close();
}

/// How long the writer waits for work before it cleans up.
fn patience(due: Due, now: WallTime) -> Duration {
    let longest = Duration::from_millis(HOUSEKEEPING_MILLISECONDS);
    match due {
        Due::Now | Due::WhenIdle => Duration::ZERO,
        Due::At(at) => Duration::from_micros(at.0.saturating_sub(now.0).max(1000) as u64).min(longest),
        Due::Sometime => longest,
    }
}

/// A reader: answers one question after the other.
pub fn read(mut reader: Reader, queue: &Queue<Query>, replies: &Replies) {
    let mut queries = Vec::new();
    while queue.take(&mut queries, 1, usize::MAX, None) == Wakeup::Work {
        for query in queries.drain(..) {
            // A question that we answer wrongly is no reason to leave all others unanswered.
            match catch_unwind(AssertUnwindSafe(|| reader.answer(&query))) {
                Ok(answer) => replies.query_response(answer),
                Err(_) => replies.dropped(query.reply_to),
            }
        }
    }
}

/// Where the password thread finds passwords.
pub enum Passwords {
    /// In the database, by itself.
    Reader(Box<Reader>),
    /// In memory, by way of the writer.
    Writer(Arc<Queue<WriterWork>>),
}

impl Passwords {
    fn find(&mut self, login: Login) -> Result<Option<Stored>, Rejection> {
        match self {
            Passwords::Reader(reader) => match login {
                Login::Email(email) => reader.password_record(&email).map(stored),
                Login::User(user) => reader.password_of(&user).map(|hash| hash.map(|hash| (hash, None))),
            },
            Passwords::Writer(queue) => {
                let (answer, answered) = sync_channel(1);
                let lookup = WriterWork::Password(PasswordLookup { login, answer });
                queue.push(lookup, 1).map_err(|_| Rejection::Unavailable)?;
                answered.recv().unwrap_or(Err(Rejection::Unavailable))
            }
        }
    }
}

fn stored(record: Option<PasswordRecord>) -> Option<Stored> {
    record.filter(|record| !record.disabled).map(|record| (record.hash, Some(record.profile)))
}

fn answer_lookup(writer: &mut Writer, lookup: PasswordLookup) {
    let found = match lookup.login {
        Login::Email(email) => writer.password_record(&email).map(stored),
        Login::User(user) => writer.password_of(&user).map(|hash| hash.map(|hash| (hash, None))),
    };
    // The password thread is gone only when the process ends.
    let _ = lookup.answer.send(found);
}

/// The password thread: one at a time, so that at most one hash's memory is in use.
pub fn check_passwords(mut passwords: Passwords, queue: &Queue<PasswordJob>, replies: &Replies) {
    let hasher = Hasher::new();
    let mut jobs = Vec::new();
    while queue.take(&mut jobs, 1, usize::MAX, None) == Wakeup::Work {
        for job in jobs.drain(..) {
            let to = job.reply_to;
            match catch_unwind(AssertUnwindSafe(|| check_password(&mut passwords, &hasher, job.check))) {
                Ok(result) => replies.password_response(PasswordResponse { to, result }),
                Err(_) => replies.dropped(to),
            }
        }
    }
}

fn check_password(
    passwords: &mut Passwords,
    hasher: &Hasher,
    check: PasswordCheck,
) -> Result<PasswordOutcome, Rejection> {
    let (login, password, new) = match check {
        PasswordCheck::Login { email, password } => (Login::Email(email), password, None),
        PasswordCheck::Change { user, current, new } => (Login::User(user), current, Some(new)),
    };
    let stored = passwords.find(login)?;
    // An unknown user costs the same time as a known one.
    let right = hasher.verify_or_dummy(stored.as_ref().map(|(hash, _)| hash.as_str()), &password);
    Ok(match (stored, new) {
        (Some(_), Some(new)) if right => PasswordOutcome::Hash(hasher.hash(&new).into()),
        (Some((_, Some(profile))), None) if right => PasswordOutcome::User(profile),
        _ => PasswordOutcome::Wrong,
    })
}
