//! Every bound of the program that is not a setting: named, with its unit last, and tied to the others by assertions.
//!
//! Defaults and ranges of the settings are in `config`.

// HTTP requests.

/// Longest request target, in bytes; a longer one is rejected with `414`.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Most header fields in one request; more are rejected with `431`.
pub const HEADERS_MAX: usize = 100;
/// Longest chunk header line, extensions included, in bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Longest trailer section of a chunked body, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Largest value that the setting `MAX_HEADER_BYTES` accepts.
pub(crate) const HEAD_BYTES_SETTING_MAX: usize = 1024 * 1024;
/// Longest client-supplied `X-Request-Id`, in bytes; a longer one is replaced by a generated id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Most parameters in one query string or form.
pub const FORM_PAIRS_MAX: usize = 256;
/// Longest body, in bytes, that is read and dropped after a request was rejected by its head, so that the connection can
/// be reused.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// Largest body, in bytes, of the password endpoints, which need no token.
pub const PASSWORD_BODY_BYTES_MAX: usize = 16 * 1024;

// Tokens and passwords.

/// Longest token that is parsed, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest token that a connection keeps with its claims for the next request, in bytes.
pub(crate) const VERIFIED_TOKEN_BYTES_MAX: usize = 512;
/// Most names in the header of a token, and in its payload. Each name is compared with those before it.
pub(crate) const TOKEN_NAMES_MAX: usize = 64;
/// Clock difference to other token issuers that is tolerated, in seconds.
pub const TOKEN_LEEWAY_SECONDS: i64 = 30;
/// Longest user id, in Unicode scalar values.
pub const USER_ID_CHARS_MAX: usize = 255;
/// Longest name or email taken from a token, in Unicode scalar values; a longer one is truncated.
pub const PROFILE_CHARS_MAX: usize = 320;
/// Shortest new password, in Unicode scalar values.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in Unicode scalar values.
pub const PASSWORD_CHARS_MAX: usize = 200;
/// Most password checks in the queue; more are rejected with `503`.
pub(crate) const PASSWORD_QUEUE_MAX: usize = 64;
/// Most memory that a stored hash may require for a check, in KiB.
pub(crate) const PASSWORD_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes over that memory that a stored hash may require.
pub(crate) const PASSWORD_PASSES_MAX: u32 = 32;

// Workspaces, conversations and messages.

/// Longest workspace name, in Unicode scalar values.
pub const WORKSPACE_NAME_CHARS_MAX: usize = 100;
/// Longest workspace description, in Unicode scalar values.
pub const WORKSPACE_DESCRIPTION_CHARS_MAX: usize = 500;
/// Longest conversation topic, in Unicode scalar values.
pub const TOPIC_CHARS_MAX: usize = 200;
/// Most participants in one conversation.
pub const PARTICIPANTS_MAX: usize = 256;
/// Longest message content, in bytes of UTF-8.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// Largest metadata object, in bytes, not counting white space between tokens.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Longest reasoning that is taken from a model and stored beside its answer, in bytes of UTF-8; the rest is cut off.
pub const REASONING_BYTES_MAX: usize = 256 * 1024;
/// Longest error message of an answer, in bytes of UTF-8; the rest is cut off.
pub(crate) const ANSWER_ERROR_BYTES_MAX: usize = 4 * 1024;
/// Most answers to one message, superseded ones included.
pub(crate) const ANSWER_ATTEMPTS_MAX: i64 = 1000;
/// Longest name of a model under which usage is counted, in bytes of UTF-8; the rest is cut off.
pub(crate) const MODEL_NAME_BYTES_MAX: usize = 256;
/// Most days in one report of usage.
pub(crate) const USAGE_DAYS_MAX: i64 = 366;
/// Days in a report of usage whose beginning is not given.
pub(crate) const USAGE_DAYS_DEFAULT: i64 = 30;
/// Most conversations or models in one report of usage. The total includes the others.
pub(crate) const USAGE_GROUPS_MAX: usize = 10_000;
/// Deepest nesting of a metadata object; the object itself is level 1.
pub const METADATA_LEVELS_MAX: usize = 64;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Retention of an idempotency key, in seconds.
pub const IDEMPOTENCY_RETENTION_SECONDS: i64 = 24 * 60 * 60;
/// Most ids in one `GET /users?ids=`.
pub const USERS_QUERY_IDS_MAX: usize = 1000;

// Lists.

/// Items in a list when the request has no `limit`.
pub const LIST_LIMIT_DEFAULT: u32 = 100;
/// Largest `limit` of a list.
pub const LIST_LIMIT_MAX: u32 = 1000;
/// Largest list response, in bytes; a longer list is truncated.
pub const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages of a page of a search if the request names no limit.
pub const SEARCH_LIMIT_DEFAULT: u32 = 20;
/// Maximum number of messages of a page of a search.
pub const SEARCH_LIMIT_MAX: u32 = 100;
/// Maximum length of the query of a search, in characters.
pub const SEARCH_QUERY_CHARS_MAX: usize = 500;
/// Maximum number of words in the query of a search, because each is looked up.
pub const SEARCH_WORDS_MAX: usize = 16;
/// Length of a snippet of a search, in characters, without marks.
pub(crate) const SNIPPET_CHARS_MAX: usize = 200;
/// Workspaces and conversations of the caller to which one part of a search is limited, because each is looked up. A caller
/// with more is searched for in several parts.
pub(crate) const SEARCH_SCOPES_MAX: usize = 64;
/// Pages of the index of searches that are read for a prefix. If its words have more, the texts of the messages are searched.
pub(crate) const SEARCH_PREFIX_PAGES_MAX: usize = 16;
/// Bytes of text that one step adds to the index of searches, or removes.
pub(crate) const SEARCH_STEP_BYTES_MAX: usize = 32 * 1024;
/// Messages that one step adds to the index of searches.
pub(crate) const SEARCH_STEP_MESSAGES_MAX: usize = 256;
/// Messages without an entry in the index of searches before it is extended, unless no message is sent for a second. A search reads
/// their texts.
pub(crate) const SEARCH_UNINDEXED_MAX: u64 = 256;
/// Most recent messages included in one conversation.
pub const CONVERSATION_MESSAGES_MAX: u32 = 100;
/// Most recent messages included in each item of a list of conversations.
pub(crate) const CONVERSATION_LIST_MESSAGES_MAX: u32 = 50;
/// Bytes of recent messages included in the response to a conversation update. Small, because the writer reads them.
pub(crate) const UPDATED_CONVERSATION_BYTES_MAX: usize = 512 * 1024;

// The writer and the readers.

/// Most commands in one transaction.
pub const TRANSACTION_COMMANDS_MAX: usize = 256;
/// Most content bytes in one transaction, which bounds the memory that a transaction of large messages needs.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows of participants, events and recipients after which a transaction takes no further command. One command writes at
/// most about four rows per participant.
pub const TRANSACTION_ROWS_MAX: usize = 4096;
/// Most commands in the writer's queue; more are rejected with `503`.
pub(crate) const WRITER_QUEUE_MAX: usize = 4096;
/// Most bytes of commands in the writer's queue; more are rejected with `503`.
pub(crate) const WRITER_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most queries in the readers' queue; more are rejected with `503`.
pub(crate) const READER_QUEUE_MAX: usize = 4096;
/// Rows that one step of a query examines, or eight times as many entries of an index. A query that needs more continues after
/// queries of other users; a journal page ends.
pub const QUERY_ROWS_EXAMINED_MAX: usize = 2048;
/// Bytes of a list under construction that count as one query in the readers' queue.
pub(crate) const READER_QUEUE_ITEM_BYTES: usize = 8 * 1024;
/// Reader threads.
pub(crate) const READER_THREADS: usize = 2;
/// Bytes of conversation access data in the writer's cache: about 12,000 conversations with three participants.
pub(crate) const WRITER_CACHE_CONVERSATION_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Users in the writer's cache.
pub(crate) const WRITER_CACHE_USERS_MAX: usize = 4096;
/// Rows that one purge transaction deletes at most.
pub(crate) const PURGE_ROWS_MAX: usize = 256;
/// Rows of participants that the deletion of a workspace examines at once, and each later step that notifies the others.
pub(crate) const NOTIFIED_ROWS_MAX: usize = 256;
/// Parts of the rules about tokens, one of which is copied when a rule changes.
pub(crate) const TOKEN_RULE_BUCKETS: usize = 1024;
/// Users whose rows one purge transaction checks and removes.
pub(crate) const RELEASED_USERS_MAX: usize = 64;
/// Removed users for each of whom the number of the newest event that retention removed is kept.
pub(crate) const REMOVED_USERS_MAX: u64 = 1 << 18;
/// Bytes of deleted messages after which a purge transaction ends.
pub(crate) const PURGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of text that a responder receives with the message to answer, if `RESPONDER_CONTEXT_TOKENS` is unset.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a user before a text that is sent to a model, in Unicode scalar values.
pub(crate) const SPEAKER_NAME_CHARS_MAX: usize = 64;
/// Messages examined for the history before the message to answer, and as many after it, where late answers to earlier
/// messages are.
pub(crate) const HISTORY_ROWS_EXAMINED_MAX: u32 = 1024;
/// Time that `GET /health` waits for a reader, in milliseconds.
pub const HEALTH_TIMEOUT_MILLISECONDS: u64 = 2000;
/// Time between two write attempts while the database is not writable, in milliseconds.
pub(crate) const WRITER_PROBE_MILLISECONDS: u64 = 1000;
/// Duration of a transaction after which the service reports itself unhealthy, in milliseconds.
pub(crate) const WRITER_STUCK_MILLISECONDS: u64 = 10_000;
/// Time that a connection waits for SQLite's locks, in milliseconds.
pub(crate) const SQLITE_BUSY_MILLISECONDS: u64 = 5000;
/// Frames in the write-ahead log that start a checkpoint.
pub(crate) const WAL_CHECKPOINT_FRAMES: u32 = 4000;
/// Frames in the write-ahead log above which the writer waits for readers, so that the log can restart.
pub const WAL_FRAMES_MAX: u32 = 2 * WAL_CHECKPOINT_FRAMES;
/// Duration of that wait, in milliseconds; a reader's transaction takes a few.
pub(crate) const WAL_READERS_MILLISECONDS: u64 = 100;

// Backup, restore and verification.

/// Event numbers that a restored journal skips per second since 1970, which puts it beyond every number of every earlier
/// journal: no disk commits that many events per second.
pub(crate) const RESTORE_NUMBERS_PER_SECOND: u64 = 1 << 20;
/// The minimum number of event numbers that a restored journal skips.
pub(crate) const RESTORE_NUMBERS_MIN: u64 = 1 << 32;
/// Largest event number: JavaScript's numbers are exact only up to here.
pub(crate) const EVENT_NUMBER_MAX: u64 = (1 << 53) - 1;
/// Database pages copied between two progress reports.
pub(crate) const COPY_PAGES: u32 = 1024;
/// Findings listed per kind of check; the rest are counted.
pub(crate) const FINDINGS_MAX: usize = 20;

// The journal and the inboxes.

/// Most events in one journal page.
pub const PAGE_EVENTS_MAX: usize = 256;
/// Conversations of a user that a page lists before it scans the journal's end; for a user with more, each row's
/// conversation is looked up.
pub const PAGE_CONVERSATIONS_LISTED_MAX: usize = 1024;
/// Part of `JOURNAL_RETENTION_BYTES` that the state events of one user may take before retention may remove them: one of so many
/// parts. Half of it is a burst, the other half the user's rate over that time.
pub(crate) const YOUNG_EVENTS_PARTS: u64 = 2;
/// Users whose rate of state events is remembered; above it, those who wrote least are forgotten.
pub(crate) const EVENT_RATE_USERS_MAX: usize = 4096;
/// Event numbers at the journal's end after which its messages are flushed to the recipients' inboxes.
pub(crate) const INBOX_FLUSH_NUMBERS: u64 = 8192;
/// Pairs of message and recipient that one inbox flush holds in memory.
pub(crate) const INBOX_FLUSH_ENTRIES_MAX: usize = 64 * 1024;
/// Messages collected by one step of a flush.
pub(crate) const INBOX_STEP_MESSAGES_MAX: usize = 1024;
/// Inboxes written by one step of a flush; in a transaction with more commands, one per command.
pub(crate) const INBOX_STEP_USERS_MAX: usize = 64;
/// Event numbers at the journal's end after which its messages are added to the index by conversation, if memory allows. Each
/// connection remembers as many messages.
pub(crate) const INDEX_FLUSH_NUMBERS: u64 = 8192;
/// Bytes of messages after which they are added to the index by conversation. A connection that was just opened reads as many, apart from
/// long texts.
pub(crate) const INDEX_FLUSH_BYTES: usize = 8 * 1024 * 1024;
/// Messages that one step of a flush adds to the index by conversation; in a transaction with more commands, two per command.
pub(crate) const INDEX_STEP_MESSAGES_MAX: usize = 128;
/// Size of a full inbox chunk, in bytes; each number takes at least one.
pub(crate) const INBOX_CHUNK_BYTES_MAX: usize = 512;

// Memory.

/// Largest page cache of a database connection, in bytes: SQLite's default.
pub(crate) const PAGE_CACHE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Smallest memory limit that the server starts with, in bytes; `memory_plan` divides it.
pub(crate) const MEMORY_LIMIT_BYTES_MIN: u64 = 14 * 1024 * 1024;
/// Largest value that the setting `MEMORY_LIMIT_BYTES` accepts.
pub(crate) const MEMORY_LIMIT_BYTES_SETTING_MAX: u64 = 1 << 50;

// The event loops.

/// Most bytes of committed events in one event loop's mailbox; above it, only their numbers are kept.
pub const MAILBOX_EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of query results in one event loop's mailbox; above it, a query fails with `503`. The loop serializes the
/// results, which is slower than reading them.
pub const MAILBOX_RESULT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of answer deltas in one event loop's mailbox; above it they are dropped, and the shard requests the text.
pub(crate) const MAILBOX_DELTA_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of the events of commits that wait for others before them; above it they are dropped, and read again.
pub(crate) const MERGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of the latest events that may have ended an answer, which are kept for answers whose start is known late.
pub(crate) const MERGE_RECENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most bytes of messages to other instances that wait; above it they are dropped.
pub(crate) const BUS_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of the texts of running answers that other instances have sent; above it they do not grow.
pub(crate) const RECEIVED_TEXTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of the latest events of all users, for streams that resume after a short time.
pub(crate) const RECENT_EVENTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest time between two messages of an instance on the bus, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const BUS_BEAT_MILLISECONDS: u64 = 250;
/// How long an instance may not receive its own messages before the bus counts as broken, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const BUS_SILENCE_MILLISECONDS: u64 = 1750;
/// Time between two attempts to connect to the bus, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const BUS_RETRY_MILLISECONDS: u64 = 250;
/// Time between two messages of an instance with all that it counts for limits over all instances, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const BUS_COUNTS_MILLISECONDS: u64 = 30_000;
/// How long other instances may take to answer a query on behalf of a client, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const BUS_QUERY_MILLISECONDS: u64 = 300;
/// How often an instance checks whether others have committed while the bus works, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const FOLLOW_WITH_BUS_MILLISECONDS: u64 = 250;
/// Most events of a slice, which an instance reads when others have committed.
#[cfg(feature = "cluster")]
pub(crate) const SLICE_EVENTS_MAX: usize = 4096;
/// Most bytes of the events of a slice with more than one event.
pub(crate) const SLICE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often an instance checks whether others have committed, in milliseconds.
#[cfg(feature = "cluster")]
pub(crate) const FOLLOW_MILLISECONDS: u64 = 20;
/// Bytes of recent frames that one event loop keeps for subscribers that are slightly behind.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest frame of an event: content and metadata with every byte escaped, plus the other fields.
pub(crate) const FRAME_BYTES_MAX: usize = 6 * (CONTENT_BYTES_MAX + METADATA_BYTES_MAX) + 64 * 1024;
/// Longest line of an export: a message with all that belongs to it.
pub(crate) const EXPORT_LINE_BYTES_MAX: usize = FRAME_BYTES_MAX
    + 6 * (REASONING_BYTES_MAX + ANSWER_ERROR_BYTES_MAX)
    + 6 * ANSWER_ATTEMPTS_MAX as usize * MODEL_NAME_BYTES_MAX
    + 1024 * 1024;
/// Rows that a database server sends at once to a tool that reads a whole table.
pub(crate) const SCAN_ROWS_MAX: usize = 256;
/// The same for messages, whose rows may be large.
pub(crate) const SCAN_MESSAGES_MAX: usize = 16;
/// Lines of an import that are sent to a database server before its replies are awaited.
pub(crate) const IMPORT_LINES_SENT_MAX: u64 = 64;
/// Bytes of such lines.
pub(crate) const IMPORT_BYTES_SENT_MAX: usize = 1024 * 1024;
/// Rows of each kind that an import looks up without the database.
pub(crate) const IMPORT_ROWS_CACHED_MAX: usize = 16 * 1024;
/// Conversations whose participants an import looks up without the database.
pub(crate) const IMPORT_CONVERSATIONS_CACHED_MAX: usize = 256;
/// Size of an allocation, in bytes, from which on it is returned to the system as soon as it is freed: lists, large
/// messages, the memory of a password check.
pub(crate) const LARGE_ALLOCATION_BYTES_MIN: i32 = 1024 * 1024;
/// Time between two times that free memory is returned to the system, if there is little, in milliseconds.
pub(crate) const HEAP_TRIM_MILLISECONDS: u64 = 500;
/// Most bytes read from a socket at once.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads from one connection per turn of the loop, so that no other connection starves.
pub(crate) const READS_PER_TURN_MAX: usize = 4;
/// Buffers in one `writev`.
pub const WRITE_BUFFERS_MAX: usize = 64;
/// Streams with little output that are written per turn of the loop; requests are served between two turns.
pub(crate) const STREAM_WRITES_PER_TURN_MAX: usize = 32;
/// Bytes of streams that are written per turn of the loop, counted before the sockets take them; one stream may exceed it.
pub(crate) const STREAM_BYTES_PER_TURN_MAX: usize = 2 * 1024 * 1024;
/// Bytes queued for one stream above which a delayed write no longer saves work.
pub(crate) const STREAM_HOLD_BYTES_MAX: usize = 16 * 1024;
/// Longest delay of a stream's write while commands are in progress, in microseconds: their events share the write.
pub(crate) const STREAM_HOLD_MICROSECONDS_MAX: u64 = 1000;
/// Send buffer of a stream's socket, in bytes: small, so that a slow reader is noticed early.
pub(crate) const STREAM_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Reconnection time sent to streams in `retry:`, in milliseconds.
pub(crate) const STREAM_RETRY_MILLISECONDS: u64 = 3000;
/// Shortest `retry:` sent to a stream that is turned away, or while no stream can be opened, in milliseconds.
pub(crate) const STREAM_RETRY_MILLISECONDS_MIN: u64 = 500;
/// Spread of such a `retry:`, in milliseconds, so that clients do not reconnect all at once.
pub(crate) const STREAM_RETRY_SPREAD_MILLISECONDS: u64 = 3000;
/// Time for which the database server cannot be reached before streams are turned away, in milliseconds: longer than it takes until a
/// standby is promoted.
pub(crate) const CUT_OFF_MILLISECONDS: u64 = 15_000;
/// Time between two checks whether it can be reached, in milliseconds.
pub(crate) const CUT_OFF_CHECK_MILLISECONDS: u64 = 1000;
/// Connections accepted per turn of the loop.
pub(crate) const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Pause of accepting after file descriptors ran out, in milliseconds.
pub(crate) const ACCEPT_PAUSE_MILLISECONDS: u64 = 100;
/// Time that a closing connection is still read, in milliseconds, so that the peer receives the last response.
pub(crate) const LINGER_MILLISECONDS: u64 = 2000;
/// Bytes read and dropped from a closing connection, whose peer may be in the middle of a large body.
pub(crate) const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time that an idle connection is kept at shutdown, in milliseconds, so that a request already on its way is served.
pub const DRAIN_NOTICE_MILLISECONDS: u64 = 1000;
/// `MAX_CONNECTIONS_PER_ADDRESS`, unless it is set, is the number of connections divided by this.
pub(crate) const CONNECTIONS_PER_ADDRESS_DIVISOR: usize = 4;
/// Bytes of responses that wait for slow readers in one event loop; above it, connections of the largest holder are closed.
pub const RESPONSES_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of incomplete requests in one event loop; above it, requests of the largest holder are rejected with `503`.
pub(crate) const REQUESTS_ARRIVING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of responses queued in one turn of the loop after which it writes before it goes on.
pub(crate) const TURN_RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Connections read per turn of the loop, the networks in turns.
pub(crate) const TURN_CONNECTIONS_MAX: usize = 64;
/// Bytes in an outbox from which on no further pipelined request is read, so that one connection does not occupy a turn.
pub(crate) const PIPELINE_BYTES_MAX: usize = 16 * 1024;
/// Lowest rate at which a client drains a response, in bytes per second; the connection of a slower one is closed.
pub(crate) const DRAIN_BYTES_PER_SECOND_MIN: u64 = 1024;
/// Time over which that rate is averaged, in seconds.
pub(crate) const DRAIN_WINDOW_SECONDS: u64 = 30;
/// Time over which rejected requests make the server unready, in seconds; the one before the present counts as well.
pub(crate) const OVERLOAD_WINDOW_SECONDS: u64 = 5;
/// Fewest users whose requests are rejected for lack of room while the server is not ready.
pub(crate) const OVERLOAD_USERS_MIN: f64 = 3.0;
/// Rate limit buckets per kind (users, addresses, accounts); above it, the fullest are evicted.
pub(crate) const RATE_BUCKETS_MAX: usize = 16 * 1024;
/// Request rate of one address without a valid token, as a multiple of one user's rate: many users may share an address.
pub const REQUESTS_PER_ADDRESS_FACTOR: u64 = 10;
/// Rate of one user's replayed requests, as a multiple of the user's rate.
pub(crate) const REPLAYS_FACTOR: u64 = 10;
/// Login rate of one address over all accounts, as a multiple of the rate for one account.
pub(crate) const LOGINS_PER_ADDRESS_FACTOR: u64 = 10;

// Startup.

/// Connections kept for the event loops during startup; more wait in the kernel's queue.
pub const STARTUP_CONNECTIONS_MAX: usize = 256;
/// Time that such a connection is kept before it gets a `503`, in milliseconds.
pub(crate) const STARTUP_WAIT_MILLISECONDS: u64 = 30_000;
/// Bytes of such a connection that are peeked at: enough for the head of a stream request with a long token.
pub(crate) const STARTUP_PEEK_BYTES_MAX: usize = 16 * 1024;

// The log.

/// Most lines in the log queue; more are counted and dropped.
pub(crate) const LOG_QUEUE_MAX: usize = 8192;
/// Most bytes in the log queue; lines above it are counted and dropped.
pub(crate) const LOG_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest field of a log line, in bytes before escaping; a longer one is truncated.
pub(crate) const LOG_FIELD_BYTES_MAX: usize = 2048;
/// Time that the log thread collects lines between two writes, in milliseconds.
pub(crate) const LOG_PAUSE_MILLISECONDS: u64 = 5;
/// Time that the process waits for its last log lines to be written, in milliseconds.
pub(crate) const LOG_FLUSH_MILLISECONDS: u64 = 2000;

// Responders and their upstream.

/// Longest response head from an upstream, in bytes.
pub(crate) const UPSTREAM_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of one response body from an upstream; a model's stream has some hundred bytes around each token.
pub(crate) const UPSTREAM_BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest line, and largest `data` of one event, in an upstream's event stream, in bytes: the whole answer may be one event.
pub(crate) const UPSTREAM_EVENT_BYTES_MAX: usize = UPSTREAM_PLAIN_BYTES_MAX;
/// Largest upstream response that is not an event stream, in bytes: a full text with every byte escaped, plus the other
/// fields.
pub(crate) const UPSTREAM_PLAIN_BYTES_MAX: usize = 6 * CONTENT_BYTES_MAX + 64 * 1024;
/// Bytes of an upstream's error response that are parsed.
pub(crate) const UPSTREAM_ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes that count as one token of a context.
pub(crate) const TOKEN_BYTES: usize = 4;
/// Largest `RESPONDER_CONTEXT_TOKENS`.
pub(crate) const CONTEXT_TOKENS_MAX: u32 = 1024 * 1024;
/// Longest name or value of a field that `RESPONDER_HEADERS` adds, in bytes.
pub(crate) const UPSTREAM_FIELD_BYTES_MAX: usize = 8 * 1024;
/// Most fields in `RESPONDER_HEADERS`.
pub(crate) const UPSTREAM_FIELDS_MAX: usize = 32;
/// Most models in `RESPONDER_MODELS`.
pub(crate) const MODELS_MAX: usize = 256;
/// Longest system prompt of a conversation, in bytes.
pub(crate) const SYSTEM_PROMPT_BYTES_MAX: usize = 32 * 1024;
/// Most texts at which an answer ends.
pub(crate) const STOP_TEXTS_MAX: usize = 4;
/// Largest `max_tokens` of a conversation: models count in 32 bits.
pub(crate) const ANSWER_TOKENS_MAX: u64 = i32::MAX as u64;
/// Longest excerpt of an upstream's error text shown to clients, in Unicode scalar values.
pub(crate) const UPSTREAM_EXCERPT_CHARS_MAX: usize = 200;
/// Bytes at the beginning of an upstream's response that are kept, to show them if it cannot be read.
pub(crate) const UPSTREAM_BEGINNING_BYTES: usize = 256;
/// Deepest nesting of an upstream's content parts and error objects that is followed.
pub(crate) const UPSTREAM_NESTING_MAX: usize = 8;
/// Longest white space before a model's `<think>`, in bytes.
pub(crate) const THINK_BLANKS_BYTES_MAX: usize = 64;
/// Shortest beginning or end of the upstream's key that is hidden in texts, in bytes.
pub(crate) const KEY_PIECE_BYTES_MIN: usize = 6;
/// Shortest run of letters and digits that is taken for a credential in an upstream's text, in characters.
pub(crate) const TOKEN_RUN_CHARS_MIN: usize = 16;
/// Longest model name or finish reason taken from an upstream, in Unicode scalar values; a longer one is truncated.
pub(crate) const UPSTREAM_NAME_CHARS_MAX: usize = 255;
/// Time to connect to an upstream, name resolution and TLS handshake included, in milliseconds.
pub(crate) const UPSTREAM_CONNECT_MILLISECONDS: u64 = 5_000;
/// Time from the end of the request to the first byte of the response body, in milliseconds.
pub(crate) const UPSTREAM_FIRST_BYTE_MILLISECONDS: u64 = 300_000;
/// Longest silence of an upstream in the middle of a response, in milliseconds.
pub(crate) const UPSTREAM_BETWEEN_BYTES_MILLISECONDS: u64 = 60_000;
/// Attempts per answer.
pub(crate) const UPSTREAM_ATTEMPTS_MAX: u32 = 4;
/// Pause before the second attempt, in milliseconds; it doubles with each further one.
pub(crate) const UPSTREAM_RETRY_MILLISECONDS: u64 = 500;
/// Longest pause between two attempts, in milliseconds.
pub(crate) const UPSTREAM_RETRY_MILLISECONDS_MAX: u64 = 8_000;
/// Longest wait that an upstream may ask for, in milliseconds; after a longer one there is no further attempt.
pub(crate) const UPSTREAM_RETRY_AFTER_MILLISECONDS_MAX: u64 = 300_000;
/// Time for which the addresses of an upstream's host are used without another resolution, in seconds.
pub(crate) const UPSTREAM_ADDRESS_SECONDS: u64 = 10;
/// Consecutive failures that open the circuit breaker.
pub(crate) const BREAKER_FAILURES_MAX: u32 = 5;
/// Time that the breaker stays open before one request probes the upstream, in milliseconds.
pub(crate) const BREAKER_COOL_DOWN_MILLISECONDS: u64 = 10_000;
/// Most answers of models that run at once.
pub(crate) const ANSWERS_RUNNING_MAX: usize = 2000;
/// Most answer jobs of one user and class that wait in memory; the others wait in their table.
pub(crate) const RESPONDER_WAITING_PER_USER_MAX: usize = 8;
/// Answer jobs after which a page of them has no further user.
pub(crate) const RESPONDER_PAGE_JOBS: usize = 128;
/// Interval at which jobs are listed again that other instances may have left, in milliseconds.
pub(crate) const RESPONDER_RELIST_MILLISECONDS: u64 = 1_000;
/// Most jobs that are closed at once without a model: echoes, and answers that an earlier process began.
pub(crate) const RESPONDER_STEPS_MAX: usize = 64;
/// Most of them of one user.
pub(crate) const RESPONDER_STEPS_PER_USER_MAX: u32 = 16;
/// Most jobs that a page of jobs examines, those in deleted conversations included.
pub const JOBS_EXAMINED_MAX: usize = 1024;
/// Most messages in the queue of the answer scheduler.
pub(crate) const RESPONDER_INPUTS_MAX: usize = 4096;
/// Bytes of an answer that wait for the connection to which it is passed on before its model is no longer read.
pub const PIPE_BYTES_MAX: usize = 16 * 1024;
/// Most requests of one user that wait for a model to answer them at once, beside those in conversations.
pub(crate) const PASSING_WAITING_PER_USER_MAX: usize = 256;
/// Most of them of all users.
pub(crate) const PASSING_WAITING_MAX: usize = 4096;
/// Most messages before the last with which a request of the OpenAI-compatible API begins a conversation.
pub const BEGUN_MESSAGES_MAX: usize = 200;
/// Most answers that one command cancels.
pub(crate) const CANCELLED_ANSWERS_MAX: usize = 256;
/// Longest delta of an answer, in bytes of its text; a longer piece of text is shown in several.
pub(crate) const OUTPUT_DELTA_BYTES_MAX: usize = 4096;
/// Shortest time between two appends of one answer's text to the database, in milliseconds.
pub(crate) const OUTPUT_APPEND_MILLISECONDS: u64 = 1_000;

// The limits that must fit into others.

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_SETTING_MAX);
const _: () = assert!(CHUNK_LINE_BYTES_MAX < READ_BYTES_MAX && TRAILER_BYTES_MAX < READ_BYTES_MAX);
const _: () = assert!(READ_BYTES_MAX <= DISCARD_BYTES_MAX && DISCARD_BYTES_MAX <= LINGER_BYTES_MAX);
const _: () = assert!(VERIFIED_TOKEN_BYTES_MAX <= TOKEN_BYTES_MAX);
const _: () = assert!(TOKEN_BYTES_MAX <= TARGET_BYTES_MAX, "a token also fits into the query of a stream");
const _: () = assert!(PASSWORD_CHARS_MIN <= PASSWORD_CHARS_MAX);
const _: () = assert!(2 * PASSWORD_CHARS_MAX * 6 <= PASSWORD_BODY_BYTES_MAX, "two passwords, each character escaped");
const _: () = assert!(METADATA_BYTES_MAX < CONTENT_BYTES_MAX);
const _: () = assert!(LIST_LIMIT_DEFAULT <= LIST_LIMIT_MAX);
const _: () = assert!(CONVERSATION_MESSAGES_MAX <= LIST_LIMIT_MAX);
const _: () = assert!(CONVERSATION_LIST_MESSAGES_MAX <= CONVERSATION_MESSAGES_MAX);
const _: () = assert!(UPDATED_CONVERSATION_BYTES_MAX <= LIST_BYTES_MAX);
const _: () = assert!(
    6 * (CONTENT_BYTES_MAX + METADATA_BYTES_MAX + REASONING_BYTES_MAX + ANSWER_ERROR_BYTES_MAX) < LIST_BYTES_MAX - 4096,
    "every list has room for one item"
);
const _: () = assert!(USAGE_DAYS_DEFAULT <= USAGE_DAYS_MAX);
const _: () = assert!(LIST_BYTES_MAX <= RESPONSES_WAITING_BYTES_MAX);
const _: () = assert!(LIST_BYTES_MAX <= MAILBOX_RESULT_BYTES_MAX);
const _: () = assert!(2 * LIST_BYTES_MAX <= READER_QUEUE_MAX * READER_QUEUE_ITEM_BYTES, "two long lists can wait");
const _: () = assert!(TURN_RESPONSE_BYTES_MAX <= RESPONSES_WAITING_BYTES_MAX);
const _: () = assert!(TRANSACTION_COMMANDS_MAX <= WRITER_QUEUE_MAX);
const _: () = assert!(CONTENT_BYTES_MAX + METADATA_BYTES_MAX + REASONING_BYTES_MAX <= TRANSACTION_BYTES_MAX);
const _: () = assert!(4 * PARTICIPANTS_MAX <= TRANSACTION_ROWS_MAX);
const _: () = assert!(RELEASED_USERS_MAX <= PURGE_ROWS_MAX);
const _: () = assert!(NOTIFIED_ROWS_MAX <= PURGE_ROWS_MAX && PURGE_ROWS_MAX <= TRANSACTION_ROWS_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX <= WRITER_QUEUE_BYTES_MAX);
const _: () = assert!(SQLITE_BUSY_MILLISECONDS < WRITER_STUCK_MILLISECONDS);
const _: () = assert!(WRITER_STUCK_MILLISECONDS < CUT_OFF_MILLISECONDS);
const _: () = assert!(CUT_OFF_CHECK_MILLISECONDS < CUT_OFF_MILLISECONDS);
const _: () = assert!(WAL_READERS_MILLISECONDS < SQLITE_BUSY_MILLISECONDS);
const _: () = assert!(RESTORE_NUMBERS_MIN < EVENT_NUMBER_MAX && EVENT_NUMBER_MAX < 1 << 53);
const _: () = assert!(PAGE_EVENTS_MAX <= QUERY_ROWS_EXAMINED_MAX);
const _: () =
    assert!(INBOX_STEP_MESSAGES_MAX <= INBOX_FLUSH_ENTRIES_MAX && PARTICIPANTS_MAX <= INBOX_FLUSH_ENTRIES_MAX);
const _: () = assert!(CONTENT_BYTES_MAX + METADATA_BYTES_MAX <= MAILBOX_EVENT_BYTES_MAX);
const _: () = assert!(STREAM_HOLD_BYTES_MAX <= STREAM_SEND_BUFFER_BYTES);
const _: () = assert!(LARGE_ALLOCATION_BYTES_MIN as usize <= LIST_BYTES_MAX);
const _: () = assert!(LOG_FIELD_BYTES_MAX < LOG_QUEUE_BYTES_MAX);
const _: () = assert!(HISTORY_BYTES_MAX <= CONTEXT_TOKENS_MAX as usize * TOKEN_BYTES);
const _: () = assert!(SYSTEM_PROMPT_BYTES_MAX < METADATA_BYTES_MAX);
const _: () = assert!(UPSTREAM_PLAIN_BYTES_MAX as u64 <= UPSTREAM_BODY_BYTES_MAX);
const _: () = assert!(UPSTREAM_EVENT_BYTES_MAX >= UPSTREAM_PLAIN_BYTES_MAX, "an answer may be one event");
const _: () = assert!(UPSTREAM_EVENT_BYTES_MAX as u64 <= UPSTREAM_BODY_BYTES_MAX);
const _: () = assert!(UPSTREAM_RETRY_MILLISECONDS <= UPSTREAM_RETRY_MILLISECONDS_MAX);
const _: () = assert!(UPSTREAM_CONNECT_MILLISECONDS < UPSTREAM_FIRST_BYTE_MILLISECONDS);
const _: () = assert!(RESPONDER_PAGE_JOBS + RESPONDER_WAITING_PER_USER_MAX <= JOBS_EXAMINED_MAX);
const _: () = assert!(RESPONDER_WAITING_PER_USER_MAX <= RESPONDER_PAGE_JOBS, "a page has room for one user");
const _: () = assert!(RESPONDER_STEPS_PER_USER_MAX as usize <= RESPONDER_STEPS_MAX);
const _: () = assert!(UPSTREAM_RETRY_MILLISECONDS_MAX <= UPSTREAM_RETRY_AFTER_MILLISECONDS_MAX);
const _: () = assert!(OUTPUT_DELTA_BYTES_MAX <= REASONING_BYTES_MAX && REASONING_BYTES_MAX <= CONTENT_BYTES_MAX);
