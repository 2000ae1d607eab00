//! The memory plan: divides the memory that the process may take into named budgets.
//!
//! Invariant: the budgets and the fixed cost together never exceed the limit.

use super::limits::*;
use std::fmt;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest limit that is used, in bytes.
const MEMORY_LIMIT_BYTES_USED_MAX: u64 = 64 * 1024 * MIB as u64;

/// Memory of an idle server with one event loop: heap, stacks, and the kernel's part, in bytes. Program text is not
/// included, because the kernel drops and reads it again.
const IDLE_BYTES: usize = 2 * MIB + 256 * KIB;
/// Memory of each event loop beside its budgets: the read buffer, the kernel's events, and the heap of its thread.
const LOOP_BYTES: usize = 256 * KIB;
/// Largest reserve for the allocator's fragmentation and for what is not counted, in bytes.
const SLACK_BYTES_MAX: usize = 48 * MIB;
/// Smallest and largest reserve for two commands of the command line beside the server, in bytes.
const COMMAND_BYTES: [usize; 2] = [2 * MIB + 256 * KIB, 8 * MIB];
/// Memory per event loop below which fewer loops run than `WORKERS` says.
const LIMIT_BYTES_PER_LOOP: usize = 16 * MIB;
/// Limit from which on there are `READER_THREADS` readers; below it there is one.
const READERS_LIMIT_BYTES: usize = 32 * MIB;
/// Limit from which on the allocator and the sockets are configured for speed.
const ROOMY_LIMIT_BYTES: usize = 256 * MIB;
/// Limit up to which every free page is returned to the system regularly.
const TRIM_LIMIT_BYTES_MAX: usize = 64 * MIB;

/// Bytes of a page of the database.
const PAGE_BYTES: usize = 4096;

/// Memory of a connection without its buffers, in bytes: 300 and the last token with its claims, which are at most 1,100, in the
/// process, and the kernel's socket, about 4 KiB.
const CONNECTION_BYTES: usize = 6 * KIB;
/// Smallest share of the stream outboxes that a stream gets, in bytes.
const STREAM_BUFFER_BYTES_MIN: usize = 2 * KIB;
/// Smallest send and receive buffer of a socket, in bytes, as set; the kernel doubles it.
const SOCKET_BUFFER_BYTES_MIN: usize = 4 * KIB;
/// Memory of one rate limit bucket, in bytes, with its key and the slack of its table.
const RATE_BUCKET_BYTES: usize = 192;
/// Least memory of a query or command in a queue, in bytes.
const QUEUE_ITEM_BYTES_MIN: usize = KIB;
/// Memory of one user in the writer's cache, in bytes.
const CACHED_USER_BYTES: usize = 512;
/// Memory of one gathered pair of message and recipient in an inbox flush, in bytes.
const INBOX_ENTRY_BYTES: usize = 32;
/// Memory of one of the newest messages that a connection remembers, in bytes: its places in a list that doubles and in a map. During a
/// flush, there are half as many more.
const NEWEST_MESSAGE_BYTES: usize = 128;
/// Memory of one answer in progress, in bytes: its text, and what has arrived from the upstream.
const ANSWER_BYTES: usize = 32 * KIB;
/// Smallest page cache of a database connection, in bytes.
const PAGE_CACHE_BYTES_MIN: usize = 32 * KIB;
/// Largest budget of the commits of other instances, in bytes. Of its parts, those that wait have four, a slice has four, and the latest
/// changes have one.
const OTHER_COMMIT_BYTES_MAX: usize = MERGE_BYTES_MAX + SLICE_BYTES_MAX + MERGE_RECENT_BYTES_MAX;
const OTHER_COMMIT_PARTS: usize = 9;
/// How often a message to other instances is in memory while others wait.
const BUS_MESSAGE_COPIES: usize = 3;

/// The cost of hashing a password with Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
}

impl HashCost {
    /// The alternatives that OWASP's Password Storage Cheat Sheet lists as equally strong, the largest first.
    pub(crate) const ALTERNATIVES: [HashCost; 4] = [
        HashCost { memory_kib: 19 * 1024, passes: 2 },
        HashCost { memory_kib: 12 * 1024, passes: 3 },
        HashCost { memory_kib: 9 * 1024, passes: 4 },
        HashCost { memory_kib: 7 * 1024, passes: 5 },
    ];

    /// The largest alternative that takes less than half of the memory, and in any case the smallest.
    pub(crate) fn within(limit_bytes: u64) -> HashCost {
        let alternatives = HashCost::ALTERNATIVES;
        let fits = |cost: &HashCost| cost.bytes() as u64 <= limit_bytes / 20 * 9;
        alternatives.into_iter().find(fits).unwrap_or(alternatives[3])
    }

    /// The memory of one hash, in bytes.
    pub(crate) const fn bytes(self) -> usize {
        self.memory_kib as usize * KIB
    }
}

/// The instances that may serve the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// This one: the database is in a file.
    One,
    /// Any number: the database is on a server.
    Several,
    /// Any number, which tell each other over a bus what happens.
    SeveralWithBus,
}

/// What the plan is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryDemand {
    /// The memory that the process may take, in bytes.
    pub limit_bytes: u64,
    /// `WORKERS`
    pub workers: usize,
    /// `MAX_CONNECTIONS`, or what the limit of open files allows.
    pub connections_max: usize,
    /// The instances that may serve the database.
    pub instances: Instances,
}

/// The budgets, in bytes, and the numbers that follow from them. A budget is a total for the process unless its name says
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The memory that the process may take.
    pub limit_bytes: usize,
    /// The idle server, its threads, and slack for the allocator.
    pub fixed_bytes: usize,
    /// Two commands of the command line beside the server: they share a control group.
    pub command_bytes: usize,
    /// Pages of files that the kernel cannot reclaim before they are on the disk: of a checkpoint and of a backup; 0 if the database is on
    /// a server.
    pub unsynced_file_bytes: usize,
    /// One password check. A stored hash that needs more is not checked.
    pub password_hash_bytes: usize,
    /// Connections: the kernel's part, and their buffers for sending.
    pub connection_bytes: usize,
    /// Events that wait for the readers of streams.
    pub stream_outbox_bytes: usize,
    /// Responses, other than streams, that wait for their readers.
    pub pending_response_bytes: usize,
    /// Request bodies that are being received.
    pub request_body_bytes: usize,
    /// Request heads that are being received, and pipelined requests.
    pub head_bytes: usize,
    /// Committed events that the event loops have not taken yet.
    pub mailbox_event_bytes: usize,
    /// Query results that the event loops have not serialized yet.
    pub mailbox_result_bytes: usize,
    /// Query results that the readers build.
    pub query_bytes: usize,
    /// Commands that wait for the writer, and those of the present transaction.
    pub writer_queue_bytes: usize,
    /// What the writer knows of conversations and users.
    pub writer_cache_bytes: usize,
    /// SQLite's page caches, of all connections; 0 if the database is on a server.
    pub page_cache_bytes: usize,
    /// Recent events that the event loops keep.
    pub tail_bytes: usize,
    /// Answers in progress.
    pub answer_bytes: usize,
    /// Recipients that an inbox flush gathers.
    pub inbox_flush_bytes: usize,
    /// What the readers and the writer know of the newest messages; 0 if the database is on a server.
    pub newest_message_bytes: usize,
    /// Rate limit buckets.
    pub rate_bucket_bytes: usize,
    /// Log lines that wait for the log's reader.
    pub log_queue_bytes: usize,
    /// Commits of other instances: those that wait for earlier ones, a slice of the journal, and the latest changes; 0 if there are no
    /// others.
    pub other_commit_bytes: usize,
    /// Messages to other instances: those that wait, and those that are being sent, as payloads and in the connection's buffer; 0 without a
    /// bus.
    pub bus_message_bytes: usize,
    /// Texts of running answers that other instances have sent; 0 without a bus.
    pub received_text_bytes: usize,
    /// The latest events of all users; 0 without a bus.
    pub recent_event_bytes: usize,

    /// The cost of new password hashes.
    pub(crate) hash_cost: HashCost,
    /// Number of event loops.
    pub event_loops: usize,
    /// Number of reader threads.
    pub reader_threads: usize,
    /// Most connections.
    pub max_connections: usize,
    /// Send buffer and receive buffer of a socket, in bytes each, as set. `None`: as the kernel has it, except for streams.
    pub socket_buffer_bytes: Option<usize>,
    /// Whether the allocator uses one heap, instead of one per thread.
    pub has_one_heap: bool,
    /// Whether free memory is returned to the system regularly.
    pub is_trimmed: bool,
}

/// The limit is too small for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLittleMemory;

impl MemoryPlan {
    /// Divides the memory.
    ///
    /// # Errors
    /// Fails if the limit is smaller than [`MEMORY_LIMIT_BYTES_MIN`].
    pub(crate) fn new(demand: MemoryDemand) -> Result<MemoryPlan, TooLittleMemory> {
        if demand.limit_bytes < MEMORY_LIMIT_BYTES_MIN {
            return Err(TooLittleMemory);
        }
        let limit = demand.limit_bytes.min(MEMORY_LIMIT_BYTES_USED_MAX) as usize;
        let event_loops = demand.workers.min(limit / LIMIT_BYTES_PER_LOOP).max(1);
        let reader_threads = if limit < READERS_LIMIT_BYTES { 1 } else { READER_THREADS };
        let is_roomy = limit >= ROOMY_LIMIT_BYTES;

        let hash_cost = HashCost::within(limit as u64);
        let password_hash_bytes = (limit / 8).min(PASSWORD_MEMORY_KIB_MAX as usize * KIB).max(hash_cost.bytes());
        let fixed_bytes = IDLE_BYTES + event_loops * LOOP_BYTES + (limit / 16).min(SLACK_BYTES_MAX);
        let command_bytes = (limit / 16).clamp(COMMAND_BYTES[0], COMMAND_BYTES[1]);
        let unsynced_file_bytes =
            if is_roomy { (COPY_PAGES + WAL_CHECKPOINT_FRAMES) as usize * PAGE_BYTES } else { limit / 128 * 3 };
        let rest = limit - fixed_bytes - command_bytes - unsynced_file_bytes - password_hash_bytes;
        let has_file = demand.instances == Instances::One;
        // The percentages add up to 100.
        let share = |percent: usize, bytes_max: usize| (rest / 100 * percent).min(bytes_max);

        let connection_bytes = share(23, usize::MAX);
        let socket_buffer_bytes = if is_roomy {
            None
        } else {
            Some((connection_bytes / 2048).clamp(SOCKET_BUFFER_BYTES_MIN, STREAM_SEND_BUFFER_BYTES))
        };
        let each_bytes = CONNECTION_BYTES + 4 * socket_buffer_bytes.unwrap_or(0);
        let max_connections = demand.connections_max.min(connection_bytes / each_bytes).max(1);

        let database_connections = reader_threads + 2;
        let mut plan = MemoryPlan {
            limit_bytes: limit,
            fixed_bytes,
            command_bytes,
            unsynced_file_bytes: if has_file { unsynced_file_bytes } else { 0 },
            password_hash_bytes,
            connection_bytes,
            stream_outbox_bytes: share(10, usize::MAX),
            pending_response_bytes: share(12, event_loops * RESPONSES_WAITING_BYTES_MAX),
            request_body_bytes: share(9, usize::MAX),
            head_bytes: share(2, usize::MAX),
            mailbox_event_bytes: share(4, event_loops * MAILBOX_EVENT_BYTES_MAX),
            // What a loop has taken from its mailbox is no longer counted there.
            mailbox_result_bytes: share(8, 2 * event_loops * MAILBOX_RESULT_BYTES_MAX),
            query_bytes: share(5, 4 * reader_threads * LIST_BYTES_MAX),
            writer_queue_bytes: share(5, WRITER_QUEUE_BYTES_MAX + TRANSACTION_BYTES_MAX),
            writer_cache_bytes: share(
                2,
                WRITER_CACHE_CONVERSATION_BYTES_MAX + WRITER_CACHE_USERS_MAX * CACHED_USER_BYTES,
            ),
            page_cache_bytes: if has_file { share(5, database_connections * PAGE_CACHE_BYTES_MAX) } else { 0 },
            tail_bytes: share(3, event_loops * TAIL_BYTES_MAX),
            answer_bytes: share(8, ANSWERS_RUNNING_MAX * ANSWER_BYTES),
            inbox_flush_bytes: share(1, INBOX_FLUSH_ENTRIES_MAX * INBOX_ENTRY_BYTES),
            newest_message_bytes: if has_file {
                share(1, database_connections * INDEX_FLUSH_NUMBERS as usize * NEWEST_MESSAGE_BYTES)
            } else {
                0
            },
            rate_bucket_bytes: share(1, 3 * RATE_BUCKETS_MAX * RATE_BUCKET_BYTES),
            log_queue_bytes: share(1, 2 * LOG_QUEUE_BYTES_MAX),
            other_commit_bytes: 0,
            bus_message_bytes: 0,
            received_text_bytes: 0,
            recent_event_bytes: 0,
            hash_cost,
            event_loops,
            reader_threads,
            max_connections,
            socket_buffer_bytes,
            has_one_heap: !is_roomy,
            is_trimmed: limit <= TRIM_LIMIT_BYTES_MAX,
        };
        plan.divide_among_buffers(demand.instances);
        assert!(plan.sum_bytes() <= plan.limit_bytes, "the budgets fit together");
        Ok(plan)
    }

    /// Divides what is left among the buffers that several instances need. It is at least what a database in a file takes.
    fn divide_among_buffers(&mut self, instances: Instances) {
        let left = self.limit_bytes - self.sum_bytes();
        let part = |divisor: usize, bytes_max: usize| (left / divisor).min(bytes_max);
        match instances {
            Instances::One => {}
            Instances::Several => self.other_commit_bytes = part(1, OTHER_COMMIT_BYTES_MAX),
            Instances::SeveralWithBus => {
                self.other_commit_bytes = part(4, OTHER_COMMIT_BYTES_MAX);
                self.bus_message_bytes = part(4, BUS_MESSAGE_COPIES * BUS_QUEUE_BYTES_MAX);
                self.received_text_bytes = part(3, RECEIVED_TEXTS_BYTES_MAX);
                let others = self.other_commit_bytes + self.bus_message_bytes + self.received_text_bytes;
                self.recent_event_bytes = (left - others).min(RECENT_EVENTS_BYTES_MAX);
            }
        }
    }

    /// A plan for tests and commands that need no limit.
    pub fn unlimited() -> MemoryPlan {
        let demand = MemoryDemand {
            limit_bytes: MEMORY_LIMIT_BYTES_USED_MAX,
            workers: 1,
            connections_max: usize::MAX,
            instances: Instances::SeveralWithBus,
        };
        MemoryPlan::new(demand).expect("the limit is large enough")
    }

    /// The budgets with their names, in the order of the documentation. Those that this process does not need are 0.
    pub fn budgets(&self) -> [(&'static str, usize); 25] {
        [
            ("fixed", self.fixed_bytes),
            ("two commands of the command line", self.command_bytes),
            ("files before they are synced", self.unsynced_file_bytes),
            ("password check", self.password_hash_bytes),
            ("connections", self.connection_bytes),
            ("outboxes of streams", self.stream_outbox_bytes),
            ("pending responses", self.pending_response_bytes),
            ("request bodies", self.request_body_bytes),
            ("request heads", self.head_bytes),
            ("events in mailboxes", self.mailbox_event_bytes),
            ("query results in mailboxes", self.mailbox_result_bytes),
            ("queries", self.query_bytes),
            ("writer's queue", self.writer_queue_bytes),
            ("writer's cache", self.writer_cache_bytes),
            ("page caches", self.page_cache_bytes),
            ("tails of events", self.tail_bytes),
            ("answers", self.answer_bytes),
            ("inbox flush", self.inbox_flush_bytes),
            ("newest messages", self.newest_message_bytes),
            ("rate limit buckets", self.rate_bucket_bytes),
            ("log queue", self.log_queue_bytes),
            ("commits of other instances", self.other_commit_bytes),
            ("messages to other instances", self.bus_message_bytes),
            ("texts of other instances", self.received_text_bytes),
            ("latest events", self.recent_event_bytes),
        ]
    }

    /// The sum of all budgets.
    pub fn sum_bytes(&self) -> usize {
        self.budgets().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Largest request body, in bytes, whatever `MAX_BODY_BYTES` says: several fit into the budget, and the command that it
    /// becomes fits into the writer's queue.
    pub(crate) fn body_bytes_max(&self) -> usize {
        (self.request_body_bytes / 4).min(self.writer_queue_limit_bytes())
    }

    /// Largest list response, in bytes, unless it has a single item.
    pub(crate) fn list_bytes_max(&self) -> usize {
        let query_bytes = self.query_bytes / (2 * self.reader_threads);
        LIST_BYTES_MAX.min(query_bytes).min(self.pending_response_bytes / 2).min(self.mailbox_result_limit_bytes())
    }

    /// Most bytes of commands in the writer's queue. The rest of the budget is for the transaction.
    pub(crate) fn writer_queue_limit_bytes(&self) -> usize {
        (self.writer_queue_bytes - self.transaction_bytes_max()).min(WRITER_QUEUE_BYTES_MAX)
    }

    /// Most bytes of commands in one transaction.
    pub(crate) fn transaction_bytes_max(&self) -> usize {
        (self.writer_queue_bytes / 3).min(TRANSACTION_BYTES_MAX)
    }

    /// Most bytes of query results that wait in the mailbox of one event loop.
    pub(crate) fn mailbox_result_limit_bytes(&self) -> usize {
        self.mailbox_result_bytes / (2 * self.event_loops)
    }

    /// Most bytes of committed events that wait in the mailbox of one event loop.
    pub(crate) fn mailbox_event_limit_bytes(&self) -> usize {
        self.mailbox_event_bytes / self.event_loops
    }

    /// Most bytes of answer deltas that wait in the mailbox of one event loop. Their texts belong to the answers.
    pub(crate) fn mailbox_delta_limit_bytes(&self) -> usize {
        (self.mailbox_event_limit_bytes() / 4).min(MAILBOX_DELTA_BYTES_MAX)
    }

    /// Most items in the readers' queue. A query that continues later holds a part of its list there, which counts as items
    /// of [`MemoryPlan::reader_queue_item_bytes`].
    pub(crate) fn reader_queue_max(&self) -> usize {
        (self.query_bytes / 2 / self.reader_queue_item_bytes()).min(READER_QUEUE_MAX)
    }

    /// Bytes of one item of the readers' queue.
    pub(crate) fn reader_queue_item_bytes(&self) -> usize {
        if self.has_one_heap { QUEUE_ITEM_BYTES_MIN } else { READER_QUEUE_ITEM_BYTES }
    }

    /// The least weight of a command in the writer's queue, in bytes, which bounds the number of commands.
    pub(crate) fn command_weight_min(&self) -> usize {
        if self.has_one_heap { QUEUE_ITEM_BYTES_MIN } else { WRITER_QUEUE_BYTES_MAX / WRITER_QUEUE_MAX }
    }

    /// Most bytes of incomplete requests in one event loop.
    pub(crate) fn request_limit_bytes(&self) -> usize {
        ((self.request_body_bytes + self.head_bytes) / self.event_loops).min(REQUESTS_ARRIVING_BYTES_MAX)
    }

    /// Most bytes of responses that wait for slow readers in one event loop.
    pub(crate) fn response_limit_bytes(&self) -> usize {
        (self.pending_response_bytes / self.event_loops).min(RESPONSES_WAITING_BYTES_MAX)
    }

    /// Bytes of responses queued in one turn of an event loop after which it writes.
    pub(crate) fn turn_response_bytes_max(&self) -> usize {
        (self.response_limit_bytes() / 4).min(TURN_RESPONSE_BYTES_MAX)
    }

    /// Most bytes that are offered to a socket at once. Fewer than are read at once, unless they are unlimited.
    pub(crate) fn write_bytes_max(&self) -> usize {
        self.socket_buffer_bytes.map_or(usize::MAX, |bytes| bytes.min(READ_BYTES_MAX))
    }

    /// Most bytes of the events of commits that wait for others before them.
    pub(crate) fn merge_bytes_max(&self) -> usize {
        self.other_commit_bytes / OTHER_COMMIT_PARTS * 4
    }

    /// Most bytes of the latest events that may have ended an answer.
    pub(crate) fn merge_recent_bytes_max(&self) -> usize {
        self.other_commit_bytes / OTHER_COMMIT_PARTS
    }

    /// Most bytes of the events of a slice with more than one event.
    #[cfg(feature = "cluster")]
    pub(crate) fn slice_bytes_max(&self) -> usize {
        self.other_commit_bytes / OTHER_COMMIT_PARTS * 4
    }

    /// Most bytes of messages to other instances that wait.
    #[cfg(feature = "cluster")]
    pub(crate) fn bus_queue_bytes_max(&self) -> usize {
        self.bus_message_bytes / BUS_MESSAGE_COPIES
    }

    /// Bytes of recent frames that one event loop keeps.
    pub(crate) fn tail_limit_bytes(&self) -> usize {
        self.tail_bytes / self.event_loops
    }

    /// Page cache of one database connection of the server, in bytes.
    pub(crate) fn page_cache_bytes_each(&self) -> usize {
        (self.page_cache_bytes / (self.reader_threads + 2)).max(PAGE_CACHE_BYTES_MIN)
    }

    /// Pages that are written to a file before it is synced. A checkpoint writes twice as many.
    pub(crate) fn unsynced_pages(&self) -> u32 {
        if self.has_one_heap { (self.unsynced_file_bytes / 3 / PAGE_BYTES) as u32 } else { u32::MAX }
    }

    /// Page cache of each database connection of a command, in bytes: a backup has two.
    pub(crate) fn command_cache_bytes(&self) -> usize {
        (self.command_bytes / 16).clamp(PAGE_CACHE_BYTES_MIN, PAGE_CACHE_BYTES_MAX)
    }

    /// The part of the streams' outboxes that a new stream gets, when `reserved_bytes` of them are taken and it wants
    /// `wanted_bytes`; `None` if nothing is left. The first streams get what they want, and the last ones the minimum, so
    /// that few streams have large buffers and many have small ones.
    pub(crate) fn stream_buffer_bytes(&self, reserved_bytes: usize, wanted_bytes: usize) -> Option<usize> {
        let left = self.stream_outbox_bytes.saturating_sub(reserved_bytes);
        let divisor = match left / (self.stream_outbox_bytes / 4).max(1) {
            3.. => 1,
            2 => 4,
            1 => 16,
            _ => usize::MAX,
        };
        let bytes = (wanted_bytes / divisor).min(self.stream_outbox_bytes / 4).max(STREAM_BUFFER_BYTES_MIN);
        (bytes <= left).then_some(bytes)
    }

    /// Most answers in progress.
    pub(crate) fn answers_max(&self) -> usize {
        (self.answer_bytes / ANSWER_BYTES).max(1)
    }

    /// Most answer jobs that are closed at once without a model.
    pub(crate) fn answer_steps_max(&self) -> usize {
        const STEPS_MIN: usize = 8;
        if self.has_one_heap { STEPS_MIN } else { RESPONDER_STEPS_MAX }
    }

    /// Most answer jobs of each class that wait in memory. While a slot is free, only users with a running job are passed over;
    /// their jobs do not fill the window.
    pub(crate) fn answers_waiting_max(&self) -> usize {
        (self.answers_max() + self.answer_steps_max()) * RESPONDER_WAITING_PER_USER_MAX + RESPONDER_PAGE_JOBS
    }

    /// Most rate limit buckets per kind.
    pub(crate) fn rate_buckets_max(&self) -> usize {
        (self.rate_bucket_bytes / (3 * RATE_BUCKET_BYTES)).min(RATE_BUCKETS_MAX)
    }

    /// Recipients that an inbox flush gathers at most.
    pub(crate) fn inbox_entries_max(&self) -> usize {
        (self.inbox_flush_bytes / INBOX_ENTRY_BYTES).clamp(PARTICIPANTS_MAX, INBOX_FLUSH_ENTRIES_MAX)
    }

    /// Messages after which the index by conversation gets them. The readers and the writer remember them, and the writer gathers them.
    pub(crate) fn newest_messages_max(&self) -> u64 {
        if self.newest_message_bytes == 0 {
            return INDEX_FLUSH_NUMBERS;
        }
        let holders = self.reader_threads + 2;
        ((self.newest_message_bytes / holders / NEWEST_MESSAGE_BYTES) as u64).clamp(64, INDEX_FLUSH_NUMBERS)
    }

    /// Users in the writer's cache.
    pub(crate) fn cached_users_max(&self) -> usize {
        (self.writer_cache_bytes / 5 / CACHED_USER_BYTES).clamp(16, WRITER_CACHE_USERS_MAX)
    }

    /// Bytes of conversation access data in the writer's cache.
    pub(crate) fn cached_conversation_bytes_max(&self) -> usize {
        (self.writer_cache_bytes / 5 * 4).min(WRITER_CACHE_CONVERSATION_BYTES_MAX)
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections {}, event loops {}, readers {}, request bodies of {} KiB, lists of {} KiB, password hashes of {} KiB \
             with {} passes; in KiB:",
            self.max_connections,
            self.event_loops,
            self.reader_threads,
            self.body_bytes_max() / KIB,
            self.list_bytes_max() / KIB,
            self.hash_cost.memory_kib,
            self.hash_cost.passes
        )?;
        let needed = self.budgets().into_iter().filter(|(_, bytes)| *bytes > 0);
        for (index, (name, bytes)) in needed.enumerate() {
            write!(f, "{} {name} {}", if index == 0 { "" } else { "," }, bytes / KIB)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn plan(limit_bytes: u64, workers: usize) -> MemoryPlan {
        plan_of(limit_bytes, workers, Instances::One)
    }

    fn plan_of(limit_bytes: u64, workers: usize, instances: Instances) -> MemoryPlan {
        MemoryPlan::new(MemoryDemand { limit_bytes, workers, connections_max: 100_000, instances }).unwrap()
    }

    /// The number of budgets that are needed.
    const INSTANCES: [(Instances, usize); 3] =
        [(Instances::One, 21), (Instances::Several, 19), (Instances::SeveralWithBus, 22)];

    #[test]
    fn the_budgets_fit_into_every_limit() {
        let mut random = Random::new(17);
        let ends = [MEMORY_LIMIT_BYTES_MIN, 64 << 30, u64::MAX];
        // As many small limits as large ones.
        let samples = (0..20_000).map(|_| {
            let highest = MEMORY_LIMIT_BYTES_MIN << random.below(13);
            MEMORY_LIMIT_BYTES_MIN + random.below(highest.min(64 << 30) - MEMORY_LIMIT_BYTES_MIN + 1)
        });
        let limits: Vec<u64> = ends.into_iter().chain(samples).collect();
        for limit_bytes in limits {
            let demand = MemoryDemand {
                limit_bytes,
                workers: 1 + random.below(64) as usize,
                connections_max: 1 + random.below(2_000_000) as usize,
                instances: INSTANCES[random.below(3) as usize].0,
            };
            let plan = MemoryPlan::new(demand).unwrap();
            assert!(plan.sum_bytes() as u64 <= limit_bytes, "{demand:?}");
            let needed: Vec<usize> =
                plan.budgets().iter().map(|(_, bytes)| *bytes).filter(|bytes| *bytes > 0).collect();
            let (_, count) = INSTANCES.into_iter().find(|(instances, _)| *instances == demand.instances).unwrap();
            assert!(needed.len() == count && needed.iter().all(|bytes| *bytes >= 8 * KIB), "{demand:?}: {plan:?}");
            assert!(plan.max_connections >= 1 && plan.max_connections <= demand.connections_max, "{demand:?}");
            assert!(plan.event_loops >= 1 && plan.event_loops <= demand.workers, "{demand:?}");
            assert!(plan.password_hash_bytes >= plan.hash_cost.bytes(), "{demand:?}");
            assert!(plan.body_bytes_max() >= 16 * KIB && plan.list_bytes_max() >= 16 * KIB, "{demand:?}");
            assert!(plan.transaction_bytes_max() + plan.writer_queue_limit_bytes() <= plan.writer_queue_bytes);
        }
    }

    #[test]
    fn a_limit_that_is_too_small_is_an_error() {
        let demand =
            |limit_bytes| MemoryDemand { limit_bytes, workers: 1, connections_max: 1, instances: Instances::One };
        for limit_bytes in [0, 1, MEMORY_LIMIT_BYTES_MIN - 1] {
            assert_eq!(MemoryPlan::new(demand(limit_bytes)), Err(TooLittleMemory));
        }
        assert!(MemoryPlan::new(demand(MEMORY_LIMIT_BYTES_MIN)).is_ok());
    }

    #[test]
    fn the_cost_of_a_hash_follows_the_limit() {
        let table = [(14, 7168, 5), (16, 7168, 5), (24, 9216, 4), (32, 12288, 3), (43, 19456, 2), (64, 19456, 2)];
        for (mib, memory_kib, passes) in table {
            assert_eq!(plan(mib << 20, 4).hash_cost, HashCost { memory_kib, passes }, "{mib} MiB");
        }
        assert_eq!(plan(1 << 30, 4).password_hash_bytes, 128 * MIB, "hashes of other programs may need more");
    }

    #[test]
    fn the_outboxes_of_streams_fit_together() {
        for (mib, few, many) in [(14, 0, 10), (16, 2, 35), (64, 12, 400), (1024, 250, 15_000)] {
            let plan = plan(mib << 20, 4);
            let mut buffers = Vec::new();
            let mut reserved = 0;
            while let Some(bytes) = plan.stream_buffer_bytes(reserved, 64 * KIB) {
                reserved += bytes;
                buffers.push(bytes);
            }
            assert!(reserved <= plan.stream_outbox_bytes);
            let full = buffers.iter().filter(|bytes| **bytes == 64 * KIB).count();
            assert!(full >= few && buffers.len() >= many, "{mib} MiB: {full} full ones of {}", buffers.len());
            assert!(buffers.is_sorted_by(|a, b| a >= b) && *buffers.last().unwrap() == STREAM_BUFFER_BYTES_MIN);
        }
        assert_eq!(plan(1 << 30, 4).stream_buffer_bytes(0, 1024), Some(STREAM_BUFFER_BYTES_MIN));
        let small = plan(16 << 20, 4);
        assert_eq!(small.stream_buffer_bytes(0, 16 * MIB), Some(small.stream_outbox_bytes / 4), "whatever it wants");
    }

    #[test]
    fn with_a_gibibyte_the_constants_hold() {
        let plan = plan(1 << 30, 4);
        assert_eq!((plan.event_loops, plan.reader_threads), (4, READER_THREADS));
        assert_eq!(plan.list_bytes_max(), LIST_BYTES_MAX);
        assert_eq!(plan.writer_queue_limit_bytes(), WRITER_QUEUE_BYTES_MAX);
        assert_eq!(plan.transaction_bytes_max(), TRANSACTION_BYTES_MAX);
        assert_eq!(plan.tail_limit_bytes(), TAIL_BYTES_MAX);
        assert_eq!(plan.page_cache_bytes_each(), PAGE_CACHE_BYTES_MAX);
        assert_eq!(plan.cached_users_max(), WRITER_CACHE_USERS_MAX);
        assert_eq!(plan.cached_conversation_bytes_max(), WRITER_CACHE_CONVERSATION_BYTES_MAX);
        assert_eq!(plan.answers_max(), ANSWERS_RUNNING_MAX);
        assert!(plan.body_bytes_max() >= 2 * MIB && plan.max_connections >= 20_000);
        assert_eq!((plan.socket_buffer_bytes, plan.has_one_heap, plan.is_trimmed), (None, false, false));
    }

    #[test]
    #[cfg(feature = "cluster")]
    fn the_buffers_of_several_instances_follow_the_limit() {
        let plan = plan_of(1 << 30, 4, Instances::SeveralWithBus);
        assert_eq!(plan.merge_bytes_max(), MERGE_BYTES_MAX);
        assert_eq!(plan.merge_recent_bytes_max(), MERGE_RECENT_BYTES_MAX);
        assert_eq!(plan.slice_bytes_max(), SLICE_BYTES_MAX);
        assert_eq!(plan.bus_queue_bytes_max(), BUS_QUEUE_BYTES_MAX);
        assert_eq!(
            (plan.received_text_bytes, plan.recent_event_bytes),
            (RECEIVED_TEXTS_BYTES_MAX, RECENT_EVENTS_BYTES_MAX)
        );
        // The other budgets do not depend on the instances.
        let shared = |plan: &MemoryPlan| plan.budgets()[3..14].to_vec();
        for mib in [14, 24, 64, 256, 1024] {
            let plans = INSTANCES.map(|(instances, _)| plan_of(mib << 20, 4, instances));
            assert_eq!(shared(&plans[0]), shared(&plans[1]));
            assert_eq!(shared(&plans[0]), shared(&plans[2]));
            assert!(plans[1].merge_bytes_max() >= plans[2].merge_bytes_max());
            assert!(plans[2].slice_bytes_max() >= (mib as usize).min(256) * 2 * KIB, "{mib} MiB: {}", plans[2]);
        }
    }
}
