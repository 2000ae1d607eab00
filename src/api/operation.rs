//! The operations of the API, and the requirements of each.

use crate::base::limits::PASSWORD_BODY_BYTES_MAX;

/// An operation of the API. `openapi.json` has the same names as `operationId`.
///
/// The names that begin with `Config` are the operations of the configuration API that the conversations API also has,
/// in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Root,
    Health,
    HealthLive,
    HealthReady,
    Metrics,
    OpenApi,
    Docs,
    Console,
    ConsoleFile,
    Login,
    Verify,
    Refresh,
    ChangePassword,
    StreamTicket,
    PostInput,
    OpenStream,
    ListStreams,
    RenewStream,
    CreateWorkspace,
    ListWorkspaces,
    GetWorkspace,
    UpdateWorkspace,
    DeleteWorkspace,
    ConfigCreateConversation,
    ConfigListConversations,
    ConfigGetConversation,
    ConfigUpdateConversation,
    ConfigDeleteConversation,
    ConfigLeaveConversation,
    CreateConversation,
    ListConversations,
    GetConversation,
    UpdateConversation,
    DeleteConversation,
    CancelAnswer,
    PostMessage,
    ListMessages,
    GetMessage,
    UpdateMessage,
    DeleteMessage,
    AnswerMessage,
    Search,
    GetUsage,
    StreamAnswer,
    ListUsers,
    ListModels,
    GetModel,
    CreateChatCompletion,
}

/// The credentials that an operation requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None.
    Open,
    /// A token in the `Authorization` field.
    Token,
    /// A token in the `Authorization` field, or in the query a ticket or (in development) a token.
    TokenOrTicket,
}

/// The body that an operation accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// None; a body is read and discarded.
    None,
    /// `application/json`.
    Json,
    /// `application/json` or `application/x-www-form-urlencoded`.
    JsonOrForm,
}

impl Operation {
    /// The credentials that the operation requires.
    pub fn access(self) -> Access {
        use Operation::*;
        match self {
            Root | Health | HealthLive | HealthReady | Metrics | OpenApi | Docs | Console | ConsoleFile | Login => {
                Access::Open
            }
            OpenStream | StreamAnswer => Access::TokenOrTicket,
            _ => Access::Token,
        }
    }

    /// The body that the operation accepts.
    pub fn body(self) -> BodyKind {
        use Operation::*;
        match self {
            Login => BodyKind::JsonOrForm,
            ChangePassword
            | PostInput
            | CreateWorkspace
            | UpdateWorkspace
            | ConfigCreateConversation
            | ConfigUpdateConversation
            | CreateConversation
            | UpdateConversation
            | PostMessage
            | UpdateMessage
            | CreateChatCompletion => BodyKind::Json,
            _ => BodyKind::None,
        }
    }

    /// The most bytes of a body; `setting` is `MAX_BODY_BYTES`.
    pub fn body_bytes_max(self, setting: usize) -> usize {
        match self {
            Operation::Login | Operation::ChangePassword => setting.min(PASSWORD_BODY_BYTES_MAX),
            _ => setting,
        }
    }

    /// Whether the operation supports `Idempotency-Key`.
    pub fn is_idempotent_by_key(self) -> bool {
        use Operation::*;
        matches!(self, PostInput | CreateConversation | PostMessage | AnswerMessage | CreateChatCompletion)
    }

    /// The status of a successful response.
    pub fn success_status(self) -> u16 {
        if self == Operation::AnswerMessage { 202 } else { 200 }
    }

    /// The subject of the request, for the message of a validation error.
    pub fn subject(self) -> &'static str {
        use Operation::*;
        match self {
            PostInput => "input",
            Login | ChangePassword | Verify | Refresh => "login",
            CreateWorkspace | ListWorkspaces | GetWorkspace | UpdateWorkspace | DeleteWorkspace => "workspace",
            OpenStream | ListStreams | RenewStream | StreamTicket => "stream",
            ListUsers => "user",
            ListModels | GetModel => "model",
            CreateChatCompletion => "completion",
            Search => "search",
            GetUsage => "usage",
            Root | Health | HealthLive | HealthReady | Metrics | OpenApi | Docs | Console | ConsoleFile => "request",
            ConfigCreateConversation
            | ConfigListConversations
            | ConfigGetConversation
            | ConfigUpdateConversation
            | ConfigDeleteConversation
            | ConfigLeaveConversation
            | CreateConversation
            | ListConversations
            | GetConversation
            | UpdateConversation
            | DeleteConversation
            | CancelAnswer => "conversation",
            PostMessage | ListMessages | GetMessage | UpdateMessage | DeleteMessage | AnswerMessage | StreamAnswer => {
                "message"
            }
        }
    }
}
