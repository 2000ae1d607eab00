//! What tests, benches and fuzz targets use of the crate, which is a program and has no other interface.
//!
//! Each item is listed, so that the compiler still reports what the program itself does not use. The names do not follow
//! the module layout, so that a move of a module changes this file and no test.

pub use crate::api::openapi::DOCUMENT;
pub use crate::api::operation::{Access, BodyKind, Operation};
pub use crate::api::request_metrics::Endpoint;
pub use crate::api::router::ROUTES;
pub use crate::api::{Context, StreamStart};
pub use crate::auth::jwt::{Claims, Keys, Purpose};
pub use crate::auth::token_error::TokenError;
pub use crate::base::memory_plan::{Instances, MemoryDemand, MemoryPlan};
pub use crate::base::random::Random;
pub use crate::base::time::{MonoTime, Now, WallTime};
pub use crate::config::Settings;
pub use crate::config::table::VARIABLES;
pub use crate::config::types::{Database, Secret};
pub use crate::config::upstream_address::UpstreamAddress;
pub use crate::config::upstream_fields::UpstreamField;
pub use crate::domain::answer_job::{
    AnswerJob, AnswerStep, CancelledAnswer, JobClass, JobId, JobPage, JobRange, RESPONDERS, Turn, UserJobPage, UserKey,
};
pub use crate::domain::answer_page::{AnswerPage, EndedText};
pub use crate::domain::answer_status_change::{AnswerPhase, AnswerStatusChange};
#[cfg(feature = "cluster")]
pub use crate::domain::bus_message::{BusMessage, CommitNotice};
pub use crate::domain::command::{Actor, ApiVariant, Command, CommandKind, ConversationRef, Idempotency, ReplyTo};
pub use crate::domain::commit::Committed;
pub use crate::domain::completion_error::CompletionError;
pub use crate::domain::event::{Event, EventBody, EventKind, KindSet};
pub use crate::domain::history::{AnswerSettings, History};
pub use crate::domain::holder::Holder;
#[cfg(feature = "cluster")]
pub use crate::domain::id::InstanceName;
pub use crate::domain::id::{
    ConversationId, EventNumber, InstanceId, MessageId, RESPONDER_PREFIX, UserId, WorkspaceId,
};
pub use crate::domain::last_event_id::{LastEventId, parse_last_event_ids};
pub use crate::domain::live_answer::{AnswerDelta, AnswerTextKind, LiveAnswer};
#[cfg(feature = "cluster")]
pub use crate::domain::live_answer::{AnswerPart, TextRequest};
pub use crate::domain::model::{
    AnswerSummary, Content, Conversation, Message, Metadata, Role, Status, StoredPhase, Topic, UserProfile, Workspace,
    WorkspaceDescription, WorkspaceName,
};
pub use crate::domain::page::{ConversationView, Page, Pagination};
pub use crate::domain::passing::{AnswerPipe, PassingBody, PassingForm, PassingRequest};
pub use crate::domain::password::{PasswordCheck, PasswordOutcome, PasswordResponse};
pub use crate::domain::query::{
    JournalPage, MessageCursor, Query, QueryKind, QueryResponse, QueryResult, StreamFilter,
};
pub use crate::domain::responder::ResponderKind;
pub use crate::domain::result::{CommandResult, Outcome, Rejection, Resource};
pub use crate::domain::search::{MATCH_END, MATCH_START, Search, SearchPage, SearchResult, SearchTerm};
#[cfg(feature = "cluster")]
pub use crate::domain::slice::JournalSlice;
pub use crate::domain::started_answer::{AnswerStarted, LiveAnswerSet};
pub use crate::domain::token_rules::{Credential, TokenRule, TokenRules};
pub use crate::domain::usage::{Day, DayRange, TokenCounts, TokenUsage, UsageBy, UsageKey, UsageReport, UsageSums};
pub use crate::domain::work::Work;
pub use crate::http1::body::{BodyError, BodyReader};
pub use crate::http1::head::{Framing, Head, HeadError, HeadLimits, HeaderBuf, Method, Version};
pub use crate::responder::answer::{Answer, AnswerEffect, StoreResult};
pub use crate::responder::breaker::{Breaker, Position};
pub use crate::responder::model_request::{ModelEffect, ModelRequest};
pub use crate::responder::openai::{AnswerPieces, AnswerReader, ReadProgress};
pub use crate::responder::passed_answer::{PassedAnswer, PassedEffect};
pub use crate::responder::retry::RetryPolicy;
pub use crate::responder::scheduler::{
    CancelRequest, ImmediateAnswer, JobEnd, OutsideEnd, PassingId, PassingRejection, Scheduler, SchedulerInput,
    SchedulerLimits, SchedulerOutput, StopReason,
};
pub use crate::responder::{Completion, ContextRules, Failure, FailureKind, Timeouts, Upstream, UpstreamSettings};
pub use crate::runtime::merger::Merger;
pub use crate::runtime::queue::Queue;
#[cfg(feature = "cluster")]
pub use crate::runtime::recent_events::RecentEvents;
pub use crate::runtime::responders::{AnswerId, DriverRequest, ResponderInput, StoreReply};
pub use crate::shard::message::{CommitShare, ShardMessage};
pub use crate::shard::shared::SharedState;
pub use crate::shard::{Input, Output, Shard};
pub use crate::sse::decode::Decoder;
pub use crate::store::{
    Admin, FlushLimits, MaintenanceDue, NewUser, PendingQuery, QueryStep, Reader, ResponderRules, Retention,
    StoreConfig, UserSelector, Writer,
};

/// Limits that tests approach.
pub mod limits {
    pub use crate::base::limits::{
        BEGUN_MESSAGES_MAX, CHUNK_LINE_BYTES_MAX, CONTENT_BYTES_MAX, CONVERSATION_MESSAGES_MAX, DISCARD_BYTES_MAX,
        DRAIN_NOTICE_MILLISECONDS, FORM_PAIRS_MAX, HEADERS_MAX, HEALTH_TIMEOUT_MILLISECONDS, HISTORY_BYTES_MAX,
        IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_RETENTION_SECONDS, JOBS_EXAMINED_MAX, LIST_BYTES_MAX,
        LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, MAILBOX_EVENT_BYTES_MAX, MAILBOX_RESULT_BYTES_MAX, METADATA_BYTES_MAX,
        METADATA_LEVELS_MAX, PAGE_CONVERSATIONS_LISTED_MAX, PAGE_EVENTS_MAX, PARTICIPANTS_MAX, PASSWORD_BODY_BYTES_MAX,
        PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PIPE_BYTES_MAX, PROFILE_CHARS_MAX, QUERY_ROWS_EXAMINED_MAX,
        READ_BYTES_MAX, REASONING_BYTES_MAX, REQUEST_ID_BYTES_MAX, REQUESTS_PER_ADDRESS_FACTOR,
        RESPONSES_WAITING_BYTES_MAX, SEARCH_LIMIT_DEFAULT, SEARCH_LIMIT_MAX, SEARCH_QUERY_CHARS_MAX, SEARCH_WORDS_MAX,
        STARTUP_CONNECTIONS_MAX, TAIL_BYTES_MAX, TARGET_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS,
        TOPIC_CHARS_MAX, TRAILER_BYTES_MAX, TRANSACTION_COMMANDS_MAX, TRANSACTION_ROWS_MAX, USER_ID_CHARS_MAX,
        USERS_QUERY_IDS_MAX, WAL_FRAMES_MAX, WORKSPACE_DESCRIPTION_CHARS_MAX, WORKSPACE_NAME_CHARS_MAX,
        WRITE_BUFFERS_MAX,
    };
}

/// Functions of `responder::answer`.
pub mod answer {
    pub use crate::responder::answer::{cancel_step, cancelled_answer, immediate_step};
}

/// Functions of `cli`.
pub mod cli {
    pub use crate::cli::commands;
}

/// Functions of `shard::commit_routing`.
pub mod commit_routing {
    pub use crate::shard::commit_routing::route_commit;
}

/// Functions of `http1::head`.
pub mod head {
    pub use crate::http1::head::{parse_head, worth_parsing};
}

/// Functions of `runtime::process`.
pub mod process {
    pub use crate::runtime::process::raise_open_file_limit;
}

/// Functions of `runtime::mailbox`.
pub mod mailbox {
    pub use crate::runtime::mailbox::bound_events;
}

/// Functions of `base::random`.
pub mod random {
    pub use crate::base::random::{fill_secret, mix};
}

/// Functions of `runtime::responders`.
pub mod responders {
    pub use crate::runtime::responders::{cancel_command, step_command};
}

/// Functions of `sse`.
pub mod sse {
    pub use crate::sse::{BlockFields, write_block};
}

/// Functions of `store`.
pub mod store {
    pub use crate::store::{backup, verify};
}

/// Functions of `base::time`.
pub mod time {
    pub use crate::base::time::SECOND;
}

/// Functions of `http1::urlencoded`.
pub mod urlencoded {
    pub use crate::http1::urlencoded::{decode_path_segment, parse_pairs};
}

/// The routes.
pub mod router {
    pub use crate::api::router::{ROUTES, find};
}

/// Counts of requests by endpoint.
pub mod request_metrics {
    pub use crate::api::request_metrics::{record, render};
}

/// The process's metrics.
pub mod metrics {
    pub use crate::base::metrics::{
        COMMIT_BOUNDS, COMMIT_COMMANDS, Counter, DURATION_BOUNDS, Durations, Gauge, count_rejection, render,
    };
    /// The exposition format.
    pub mod exposition {
        pub use crate::base::metrics::exposition::Exposition;
    }
}

/// The JSON of requests, responses and events.
pub mod wire {
    /// Messages on the bus.
    #[cfg(feature = "cluster")]
    pub mod bus_message {
        pub use crate::wire::bus_message::BusBatch;
    }
    /// Events.
    pub mod event {
        pub use crate::wire::event::{
            answer_status, event_json, output_delta, output_reasoning_delta, output_snapshot,
        };
    }
    /// Metadata.
    pub mod metadata {
        pub use crate::wire::metadata::{merge, metadata};
    }
    /// Query strings.
    pub mod query_params {
        pub use crate::wire::query_params::{
            QueryPair, SearchParameters, conversation_list, conversation_view_list, login_form, message_list,
            pagination, search, stream, user_ids,
        };
    }
    /// Queries of searches.
    pub mod search_query {
        pub use crate::wire::search_query::search_terms;
    }
    /// Results of commands.
    pub mod command_result {
        pub use crate::wire::command_result::command_body;
    }
    /// Request bodies.
    pub mod request {
        pub use crate::wire::request::{
            BegunConversation, CompletionRequest, InvalidBody, conversation_change, conversation_view_change, login,
            message_change, new_conversation, new_conversation_view, new_message, new_workspace, password_change,
            post_input, workspace_change,
        };
    }
}
