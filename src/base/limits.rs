//! Every bound of the program that is not a setting, named, with its unit last, and tied to the others.
//!
//! Defaults and ranges of the settings that people can change stand in `config`.

/// Longest request target, in bytes; a longer one is `414`.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Most header fields in one request; more is `431`.
pub const HEADERS_MAX: usize = 100;
/// Longest line of a chunk header, extensions included, in bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Longest trailer section of a chunked body, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Largest value that `MAX_HEADER_BYTES` may take.
pub const HEAD_BYTES_SETTING_MAX: usize = 1024 * 1024;
/// Longest `X-Request-Id` that is taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Most parameters in one query or form.
pub const FORM_PAIRS_MAX: usize = 256;

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Clock difference between token makers and us that is forgiven, in seconds.
pub const TOKEN_LEEWAY_SECONDS: i64 = 30;
/// Longest user id, in Unicode scalar values.
pub const USER_ID_CHARS_MAX: usize = 255;
/// Longest name or email taken over from a token, in Unicode scalar values; longer ones are cut.
pub const PROFILE_CHARS_MAX: usize = 320;
/// Shortest password that can be set, in Unicode scalar values.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in Unicode scalar values.
pub const PASSWORD_CHARS_MAX: usize = 200;
/// Most passwords that wait to be checked; more is `503`.
pub const PASSWORD_QUEUE_MAX: usize = 64;
/// Most memory that a stored hash may ask for when it is checked, in KiB.
pub const PASSWORD_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes over that memory that a stored hash may ask for.
pub const PASSWORD_PASSES_MAX: u32 = 32;

/// Longest workspace name, in Unicode scalar values.
pub const WORKSPACE_NAME_CHARS_MAX: usize = 100;
/// Longest workspace description, in Unicode scalar values.
pub const WORKSPACE_DESCRIPTION_CHARS_MAX: usize = 500;
/// Longest conversation topic, in Unicode scalar values.
pub const TOPIC_CHARS_MAX: usize = 200;
/// Most participants of one conversation.
pub const PARTICIPANTS_MAX: usize = 256;
/// Longest message content, in bytes of UTF-8.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest message content on the conversations API, in Unicode scalar values.
pub const CONVERSATIONS_API_CONTENT_CHARS_MAX: usize = 4000;
/// Largest metadata object, in bytes without white space between tokens.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of a metadata object; the object itself is level 1.
pub const METADATA_LEVELS_MAX: usize = 64;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// How long an idempotency key is kept, in seconds.
pub const IDEMPOTENCY_RETENTION_SECONDS: i64 = 24 * 60 * 60;
/// Most ids in one `GET /users?ids=`.
pub const USERS_QUERY_IDS_MAX: usize = 1000;

/// Items of a list when the request names no `limit`.
pub const LIST_LIMIT_DEFAULT: u32 = 100;
/// Largest `limit` of a list.
pub const LIST_LIMIT_MAX: u32 = 1000;
/// A list answer ends early rather than pass this many bytes.
pub const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Last messages that come with one conversation.
pub const CONVERSATION_MESSAGES_MAX: u32 = 100;
/// Last messages that come with each of many conversations.
pub const CONVERSATION_LIST_MESSAGES_MAX: u32 = 50;
/// Bytes of last messages that come with a conversation that was just changed: the writer reads them, so they are few.
pub const UPDATED_CONVERSATION_BYTES_MAX: usize = 512 * 1024;

/// Most commands in one transaction.
pub const TRANSACTION_COMMANDS_MAX: usize = 256;
/// Most content bytes in one transaction, so that a batch of large messages stays small in memory.
pub const TRANSACTION_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most commands that wait for the writer; more is `503`.
pub const WRITER_QUEUE_MAX: usize = 4096;
/// Most bytes of commands that wait for the writer; more is `503`.
pub const WRITER_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most queries that wait for the readers; more is `503`.
pub const READER_QUEUE_MAX: usize = 4096;
/// Reading threads.
pub const READER_THREADS: usize = 2;
/// Access data of conversations that the writer keeps in memory, in bytes: some 12,000 conversations of three.
pub const WRITER_CACHE_CONVERSATION_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Users that the writer keeps in memory.
pub const WRITER_CACHE_USERS_MAX: usize = 4096;
/// Rows of deleted things that are removed in one transaction.
pub const PURGE_ROWS_MAX: usize = 256;
/// Bytes of deleted messages after which a transaction removes no more.
pub const PURGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of earlier messages that a responder is given with the message to answer.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024;
/// Messages before the one to answer that are looked at for its history, and as many after it for late answers to them.
pub const HISTORY_ROWS_EXAMINED_MAX: u32 = 1024;
/// How long `GET /health` waits for a reader, in milliseconds.
pub const HEALTH_TIMEOUT_MILLISECONDS: u64 = 2000;
/// Time between two tries to write while the database cannot be written to, in milliseconds.
pub const WRITER_PROBE_MILLISECONDS: u64 = 1000;
/// How long a transaction may take before the service counts as unhealthy, in milliseconds.
pub const WRITER_STUCK_MILLISECONDS: u64 = 10_000;
/// How long a connection waits for SQLite's own locks, in milliseconds.
pub const SQLITE_BUSY_MILLISECONDS: u64 = 5000;
/// Frames in the write-ahead log after which it is carried over into the database.
pub const WAL_CHECKPOINT_FRAMES: u32 = 4000;
/// Frames in it after which the writer waits for readers, so that it can start anew.
pub const WAL_FRAMES_MAX: u32 = 2 * WAL_CHECKPOINT_FRAMES;
/// How long it then waits for them, in milliseconds; a transaction of a reader takes a few.
pub const WAL_READERS_MILLISECONDS: u64 = 100;

/// Numbers that a restored journal leaves for every second since 1970, on average: it goes on from there, beyond what any
/// journal before it has given out. No disk commits so many events.
pub const RESTORE_NUMBERS_PER_SECOND: u64 = 1 << 20;
/// Numbers that a restored journal leaves out at least, whatever the clock says.
pub const RESTORE_NUMBERS_MIN: u64 = 1 << 32;
/// Largest number that a restored journal may go on from: JavaScript reads greater ones inexactly.
pub const EVENT_NUMBER_MAX: u64 = (1 << 53) - 1;
/// Pages of a database that are copied between two reports of progress.
pub const COPY_PAGES: u32 = 1024;
/// Findings that one kind of check names one by one; the others are counted.
pub const FINDINGS_MAX: usize = 20;

/// Events that one journal page holds at most.
pub const PAGE_EVENTS_MAX: usize = 256;
/// Journal rows that one page looks at; past that it ends, complete through the last of them.
pub const PAGE_ROWS_EXAMINED_MAX: usize = 4096;
/// Rows of other people's messages that one page passes over at the end of the journal; past that it ends.
pub const PAGE_TAIL_ROWS_MAX: usize = 8 * PAGE_ROWS_EXAMINED_MAX;
/// Conversations of a user that a page lists before it looks through the end of the journal; for a user with more, each
/// conversation is looked at as it comes.
pub const PAGE_CONVERSATIONS_LISTED_MAX: usize = 1024;
/// Numbers at the end of the journal after which the messages among them are put into their recipients' inboxes.
pub const INBOX_FLUSH_NUMBERS: u64 = 8192;
/// Recipients of messages, each message counted for itself, that one flush of the inboxes holds in memory.
pub const INBOX_FLUSH_ENTRIES_MAX: usize = 64 * 1024;
/// Messages that one step of a flush gathers.
pub const INBOX_STEP_MESSAGES_MAX: usize = 1024;
/// Inboxes that one step of a flush writes to; in a batch of more commands, as many as those.
pub const INBOX_STEP_USERS_MAX: usize = 64;
/// Bytes after which a chunk of an inbox is full; a number takes at least one.
pub const INBOX_CHUNK_BYTES_MAX: usize = 512;
/// Most bytes of committed events that wait in one event loop's mailbox; past that only their numbers are kept.
pub const MAILBOX_EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of readers' answers that wait in one event loop's mailbox; past that they are `503`. The loop turns each
/// into JSON by itself, more slowly than readers find them.
pub const MAILBOX_RESULT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of recent frames that one event loop keeps for subscribers that fell back a little.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest frame of an event: content and metadata with every byte escaped, and the rest.
pub const FRAME_BYTES_MAX: usize = 6 * (CONTENT_BYTES_MAX + METADATA_BYTES_MAX) + 64 * 1024;
/// Smallest block of memory that goes back to the system as soon as it is freed, in bytes: lists and large messages.
pub const LARGE_ALLOCATION_BYTES_MIN: i32 = 1024 * 1024;
/// Bytes that one read of a socket takes at most.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads of one connection in one turn of the loop, so that nobody starves.
pub const READS_PER_TURN_MAX: usize = 4;
/// Buffers in one `writev`.
pub const WRITE_BUFFERS_MAX: usize = 64;
/// Streams with little to write that are written in one turn of the loop; requests are looked at between two turns.
pub const STREAM_WRITES_PER_TURN_MAX: usize = 32;
/// Bytes that wait for one stream past which joining more of them makes writing no cheaper.
pub const STREAM_HOLD_BYTES_MAX: usize = 16 * 1024;
/// How long events wait at most for those of commands under way, to be written together, in microseconds.
pub const STREAM_HOLD_MICROSECONDS_MAX: u64 = 1000;
/// Connections that are accepted in one turn of the loop.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// How long a closing connection is still read, so that the peer sees the last answer, in milliseconds.
pub const LINGER_MILLISECONDS: u64 = 2000;
/// How long at shutdown a connection without a request is kept, so that one that is on its way is answered, in
/// milliseconds. Requests are served meanwhile.
pub const DRAIN_NOTICE_MILLISECONDS: u64 = 1000;
/// Connections that are kept for the event loops while the server starts; more wait in the kernel's queue.
pub const STARTUP_CONNECTIONS_MAX: usize = 256;
/// How long one of them is kept before its client is told to come back, in milliseconds.
pub const STARTUP_WAIT_MILLISECONDS: u64 = 30_000;
/// Bytes of each that are looked at: a question about the server's health is short.
pub const STARTUP_PEEK_BYTES_MAX: usize = 2048;
/// Bytes that are read and thrown away from a closing connection, whose peer may be in the middle of a large body.
pub const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest body of a request that is refused from its head alone that is passed over, so that the connection can go on.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// Largest body of a request about passwords, which anybody may send.
pub const PASSWORD_BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of answers that may wait for slow readers in one event loop before no more is asked or done; more is `503`.
pub const RESPONSES_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long accepting pauses when descriptors have run out, in milliseconds.
pub const ACCEPT_PAUSE_MILLISECONDS: u64 = 100;
/// Send buffer of the kernel for a stream, in bytes, so that it cannot hide a slow reader for long.
pub const STREAM_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Longest spread of the `retry:` that streams get at shutdown, in milliseconds.
pub const SHUTDOWN_RETRY_SPREAD_MILLISECONDS: u64 = 3000;
/// Reconnection time that streams are told, in milliseconds.
pub const STREAM_RETRY_MILLISECONDS: u64 = 3000;
/// Rate buckets of each kind (users, addresses, accounts) that are kept; beyond, the fullest go first.
pub const RATE_BUCKETS_MAX: usize = 16 * 1024;
/// How many times a user's rate one address may ask at without a good token: many people share an address, and one
/// of them can use it up for all.
pub const REQUESTS_PER_ADDRESS_FACTOR: u64 = 10;
/// How many times the logins to one account one address may try on all of them.
pub const LOGINS_PER_ADDRESS_FACTOR: u64 = 10;
/// Log lines that wait for the logging thread; more are counted and dropped.
pub const LOG_QUEUE_MAX: usize = 8192;
/// Bytes of log lines that wait for the logging thread; more are counted and dropped.
pub const LOG_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest text of one field of a log line, in bytes before escaping; the rest is cut off.
pub const LOG_FIELD_BYTES_MAX: usize = 2048;
/// How long the logging thread gathers lines between two writes, in milliseconds.
pub const LOG_PAUSE_MILLISECONDS: u64 = 5;
/// How long the end of the program waits for the last log lines to be written, in milliseconds.
pub const LOG_FLUSH_MILLISECONDS: u64 = 2000;

/// Longest answer head that an upstream may send, in bytes.
pub const UPSTREAM_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of one answer on the wire of an upstream; a model's text has some hundred bytes around each token.
pub const UPSTREAM_BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest line, and largest data of one event, in an upstream's event stream, in bytes.
pub const UPSTREAM_EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Largest answer of an upstream that is no event stream, in bytes: a full text with every byte escaped, and the rest.
pub const UPSTREAM_PLAIN_BYTES_MAX: usize = 6 * CONTENT_BYTES_MAX + 64 * 1024;
/// Bytes of an upstream's error answer that are looked at.
pub const UPSTREAM_ERROR_BYTES_MAX: usize = 64 * 1024;
/// Most text that goes along as context, in bytes; the oldest messages are left out first.
pub const UPSTREAM_CONTEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest part of an upstream's error text that clients see, in Unicode scalar values.
pub const UPSTREAM_EXCERPT_CHARS_MAX: usize = 200;
/// Longest model name and finish reason taken over from an upstream, in Unicode scalar values; longer ones are cut.
pub const UPSTREAM_NAME_CHARS_MAX: usize = 255;
/// How long a connection to an upstream may take, name lookup and TLS included, in milliseconds.
pub const UPSTREAM_CONNECT_MILLISECONDS: u64 = 5_000;
/// How long an upstream may take from the whole request to the first byte of the answer's body, in milliseconds.
pub const UPSTREAM_FIRST_BYTE_MILLISECONDS: u64 = 60_000;
/// How long an upstream may send nothing in the middle of an answer, in milliseconds.
pub const UPSTREAM_BETWEEN_BYTES_MILLISECONDS: u64 = 30_000;
/// How long the end of the stream is waited for after the text is finished, for the token counts, in milliseconds.
pub const UPSTREAM_TAIL_MILLISECONDS: u64 = 2_000;
/// How long one answer may take, with every try, in milliseconds.
pub const UPSTREAM_TOTAL_MILLISECONDS: u64 = 600_000;
/// Longest time between two looks at whether an answer was cancelled, in milliseconds.
pub const UPSTREAM_TICK_MILLISECONDS_MAX: u64 = 400;
/// Tries to get one answer.
pub const UPSTREAM_ATTEMPTS_MAX: u32 = 4;
/// Pause before the second try, in milliseconds; it doubles with each further one.
pub const UPSTREAM_RETRY_MILLISECONDS: u64 = 500;
/// Longest pause between two tries, in milliseconds.
pub const UPSTREAM_RETRY_MILLISECONDS_MAX: u64 = 8_000;
/// Longest `Retry-After` that is waited for, in milliseconds; after a longer one there is no further try.
pub const UPSTREAM_RETRY_AFTER_MILLISECONDS_MAX: u64 = 30_000;
/// Failures in a row after which an upstream is left alone.
pub const BREAKER_FAILURES_MAX: u32 = 5;
/// How long it is left alone before one request probes it, in milliseconds.
pub const BREAKER_COOL_DOWN_MILLISECONDS: u64 = 10_000;
/// Answers of models that run at once, each on a thread of its own.
pub const RESPONDER_WORKERS_MAX: usize = 256;
/// Orders to answer that are kept in memory; the others wait in their table.
pub const RESPONDER_WAITING_MAX: usize = 1024;
/// News that wait for the thread that gives orders out.
pub const RESPONDER_NEWS_MAX: usize = 4096;
/// Most bytes of pieces of answers that wait in one event loop's mailbox; past that they are dropped, and the shard asks
/// for the text.
pub const MAILBOX_DELTA_BYTES_MAX: usize = 1024 * 1024;
/// Shortest time between two deltas of one answer, in milliseconds.
pub const OUTPUT_DELTA_MILLISECONDS: u64 = 50;
/// Shortest time between two times that an answer's new text is appended to disk, in milliseconds.
pub const OUTPUT_APPEND_MILLISECONDS: u64 = 1_000;

const _: () = assert!(METADATA_BYTES_MAX < CONTENT_BYTES_MAX);
const _: () = assert!(TRANSACTION_COMMANDS_MAX <= WRITER_QUEUE_MAX);
const _: () = assert!(SQLITE_BUSY_MILLISECONDS < WRITER_STUCK_MILLISECONDS);
const _: () = assert!(CONTENT_BYTES_MAX + METADATA_BYTES_MAX <= TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX <= WRITER_QUEUE_BYTES_MAX);
const _: () = assert!(TARGET_BYTES_MAX < 16 * 1024);
const _: () = assert!(LIST_LIMIT_DEFAULT <= LIST_LIMIT_MAX);
const _: () =
    assert!(CONVERSATION_MESSAGES_MAX <= LIST_LIMIT_MAX && CONVERSATION_LIST_MESSAGES_MAX <= CONVERSATION_MESSAGES_MAX);
const _: () = assert!(UPDATED_CONVERSATION_BYTES_MAX <= LIST_BYTES_MAX);
const _: () = assert!(PASSWORD_CHARS_MIN <= PASSWORD_CHARS_MAX);
const _: () = assert!(CONTENT_BYTES_MAX <= UPSTREAM_CONTEXT_BYTES_MAX);
const _: () = assert!(UPSTREAM_PLAIN_BYTES_MAX as u64 <= UPSTREAM_BODY_BYTES_MAX);
const _: () = assert!(OUTPUT_DELTA_MILLISECONDS <= UPSTREAM_TICK_MILLISECONDS_MAX);
const _: () = assert!(UPSTREAM_RETRY_MILLISECONDS <= UPSTREAM_RETRY_MILLISECONDS_MAX);
const _: () = assert!(OUTPUT_DELTA_MILLISECONDS <= OUTPUT_APPEND_MILLISECONDS);
const _: () = assert!(READ_BYTES_MAX <= DISCARD_BYTES_MAX && DISCARD_BYTES_MAX <= LINGER_BYTES_MAX);
const _: () = assert!(LIST_BYTES_MAX <= RESPONSES_WAITING_BYTES_MAX);
const _: () = assert!(RESTORE_NUMBERS_MIN < EVENT_NUMBER_MAX && EVENT_NUMBER_MAX < 1 << 53);
const _: () = assert!(LIST_BYTES_MAX <= MAILBOX_RESULT_BYTES_MAX);
