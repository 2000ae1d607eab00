//! The table of paths, methods and operations. Everything that is served stands here, and only here.

use super::error::ApiError;
use crate::base::limits::PASSWORD_BODY_BYTES_MAX;
use crate::http1::head::Method;
use crate::http1::urlencoded::decode_path_segment;
use std::borrow::Cow;

/// What can be asked for, a name each.
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
    CreateConversation,
    ListConversations,
    GetConversation,
    UpdateConversation,
    LeaveConversation,
    DeleteConversation,
    ListUsers,
    CancelAnswer,
    CreateChat,
    ListChats,
    GetChat,
    UpdateChat,
    DeleteChat,
    PostMessage,
    ListMessages,
    GetMessage,
    UpdateMessage,
    DeleteMessage,
}

/// What a request must show before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// A token in the `Authorization` field.
    Token,
    /// A token there, or a ticket or (in development) a token in the query.
    TokenOrTicket,
}

/// What an operation does with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Reads none; one that comes is passed over.
    None,
    /// `application/json`.
    Json,
    /// `application/json` or `application/x-www-form-urlencoded`.
    JsonOrForm,
}

impl Operation {
    /// What a request must show.
    pub fn access(self) -> Access {
        match self {
            Operation::Root
            | Operation::Health
            | Operation::HealthLive
            | Operation::HealthReady
            | Operation::Metrics
            | Operation::OpenApi
            | Operation::Docs
            | Operation::Login => Access::Open,
            Operation::OpenStream => Access::TokenOrTicket,
            _ => Access::Token,
        }
    }

    /// What it does with a body.
    pub fn body(self) -> BodyKind {
        use Operation::*;
        match self {
            Login => BodyKind::JsonOrForm,
            ChangePassword | PostInput | CreateWorkspace | UpdateWorkspace | CreateConversation
            | UpdateConversation | CreateChat | UpdateChat | PostMessage | UpdateMessage => BodyKind::Json,
            _ => BodyKind::None,
        }
    }

    /// The largest body that it takes, in bytes; `setting` is `MAX_BODY_BYTES`.
    pub fn body_bytes_max(self, setting: usize) -> usize {
        match self {
            Operation::Login | Operation::ChangePassword => setting.min(PASSWORD_BODY_BYTES_MAX),
            _ => setting,
        }
    }

    /// Whether an `Idempotency-Key` is heeded.
    pub fn is_idempotent_by_key(self) -> bool {
        matches!(self, Operation::PostInput | Operation::CreateChat | Operation::PostMessage)
    }

    /// What the request is about, as validation errors name it.
    pub fn subject(self) -> &'static str {
        use Operation::*;
        match self {
            PostInput => "input",
            Login | ChangePassword | Verify | Refresh => "login",
            CreateWorkspace | ListWorkspaces | GetWorkspace | UpdateWorkspace | DeleteWorkspace => "workspace",
            OpenStream | ListStreams | RenewStream | StreamTicket => "stream",
            ListUsers => "user",
            Root | Health | HealthLive | HealthReady | Metrics | OpenApi | Docs => "request",
            CreateConversation | ListConversations | GetConversation | UpdateConversation | LeaveConversation
            | DeleteConversation | CreateChat | ListChats | GetChat | UpdateChat | DeleteChat | CancelAnswer => {
                "conversation"
            }
            PostMessage | ListMessages | GetMessage | UpdateMessage | DeleteMessage => "message",
        }
    }
}

/// One path and what can be done there.
#[derive(Debug)]
pub struct Route {
    /// The path; `{…}` stands for one segment.
    pub pattern: &'static str,
    /// The methods it knows. `HEAD` goes wherever `GET` does, `OPTIONS` everywhere.
    pub methods: &'static [(Method, Operation)],
}

/// Everything that is served.
pub static ROUTES: &[Route] = &[
    Route { pattern: "/", methods: &[(Method::Get, Operation::Root)] },
    Route { pattern: "/input", methods: &[(Method::Post, Operation::PostInput)] },
    Route { pattern: "/output/stream", methods: &[(Method::Get, Operation::OpenStream)] },
    Route { pattern: "/output/streams", methods: &[(Method::Get, Operation::ListStreams)] },
    Route { pattern: "/output/streams/{stream_id}/renew", methods: &[(Method::Post, Operation::RenewStream)] },
    Route { pattern: "/auth/login", methods: &[(Method::Post, Operation::Login)] },
    Route { pattern: "/auth/verify", methods: &[(Method::Get, Operation::Verify)] },
    Route { pattern: "/auth/refresh", methods: &[(Method::Post, Operation::Refresh)] },
    Route { pattern: "/auth/password", methods: &[(Method::Post, Operation::ChangePassword)] },
    Route { pattern: "/auth/stream-ticket", methods: &[(Method::Post, Operation::StreamTicket)] },
    Route {
        pattern: "/config/workspace",
        methods: &[(Method::Get, Operation::ListWorkspaces), (Method::Post, Operation::CreateWorkspace)],
    },
    Route {
        pattern: "/config/workspace/{workspace_id}",
        methods: &[
            (Method::Get, Operation::GetWorkspace),
            (Method::Put, Operation::UpdateWorkspace),
            (Method::Delete, Operation::DeleteWorkspace),
        ],
    },
    Route {
        pattern: "/config/conversation",
        methods: &[(Method::Get, Operation::ListConversations), (Method::Post, Operation::CreateConversation)],
    },
    Route {
        pattern: "/config/conversation/{conversation_id}",
        methods: &[
            (Method::Get, Operation::GetConversation),
            (Method::Put, Operation::UpdateConversation),
            (Method::Delete, Operation::DeleteConversation),
        ],
    },
    Route {
        pattern: "/config/conversation/{conversation_id}/leave",
        methods: &[(Method::Post, Operation::LeaveConversation)],
    },
    Route {
        pattern: "/conversations",
        methods: &[(Method::Get, Operation::ListChats), (Method::Post, Operation::CreateChat)],
    },
    Route {
        pattern: "/conversations/{conversation_id}",
        methods: &[
            (Method::Get, Operation::GetChat),
            (Method::Put, Operation::UpdateChat),
            (Method::Delete, Operation::DeleteChat),
        ],
    },
    Route {
        pattern: "/conversations/{conversation_id}/messages",
        methods: &[(Method::Get, Operation::ListMessages), (Method::Post, Operation::PostMessage)],
    },
    Route { pattern: "/conversations/{conversation_id}/cancel", methods: &[(Method::Post, Operation::CancelAnswer)] },
    Route {
        pattern: "/conversations/{conversation_id}/messages/{message_id}",
        methods: &[
            (Method::Get, Operation::GetMessage),
            (Method::Put, Operation::UpdateMessage),
            (Method::Delete, Operation::DeleteMessage),
        ],
    },
    Route { pattern: "/users", methods: &[(Method::Get, Operation::ListUsers)] },
    Route { pattern: "/health", methods: &[(Method::Get, Operation::Health)] },
    Route { pattern: "/health/live", methods: &[(Method::Get, Operation::HealthLive)] },
    Route { pattern: "/health/ready", methods: &[(Method::Get, Operation::HealthReady)] },
    Route { pattern: "/metrics", methods: &[(Method::Get, Operation::Metrics)] },
    Route { pattern: "/openapi.json", methods: &[(Method::Get, Operation::OpenApi)] },
    Route { pattern: "/docs", methods: &[(Method::Get, Operation::Docs)] },
];

/// Most segments that a pattern leaves open.
pub(crate) const PARAMETERS_MAX: usize = 2;

/// The open segments of a path, in order and decoded; empty, which none is, where the pattern has fewer.
pub(crate) type Parameters<'a> = [Cow<'a, str>; PARAMETERS_MAX];

/// Where a path leads, with the segments that its pattern leaves open.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The row of the table.
    pub route: &'static Route,
    /// Its place in the table.
    pub place: usize,
    /// The open segments.
    pub parameters: Parameters<'a>,
}

/// Finds the row for a raw, still percent-encoded path.
pub fn find(path: &str) -> Result<Matched<'_>, ApiError> {
    // What is spelled like a pattern is a path like any other.
    if let Some(place) = ROUTES.iter().position(|route| route.pattern == path && !path.contains('{')) {
        return Ok(Matched { route: &ROUTES[place], place, parameters: Parameters::default() });
    }
    let matched = ROUTES
        .iter()
        .enumerate()
        .find_map(|(place, route)| match_pattern(route, path).map(|parameters| Matched { route, place, parameters }));
    matched.ok_or_else(ApiError::no_such_path)
}

fn match_pattern<'a>(route: &'static Route, path: &'a str) -> Option<Parameters<'a>> {
    let mut parameters = Parameters::default();
    let mut open = parameters.iter_mut();
    let (mut pattern, mut segments) = (route.pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), segments.next()) {
            (None, None) => return Some(parameters),
            (Some(want), Some(raw)) => {
                let got = if raw.contains('%') { decode_path_segment(raw)? } else { Cow::Borrowed(raw) };
                if want.starts_with('{') && !got.is_empty() {
                    *open.next().expect("no pattern has more open segments") = got;
                } else if want != got {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

impl Route {
    /// The operation for a method; `HEAD` does what `GET` does.
    pub fn operation(&self, method: Method) -> Result<Operation, ApiError> {
        let wanted = if method == Method::Head { Method::Get } else { method };
        self.methods
            .iter()
            .find(|(method, _)| *method == wanted)
            .map(|(_, operation)| *operation)
            .ok_or_else(|| ApiError::method_not_allowed(self.allow()))
    }

    /// The value of `Allow` (RFC 9110 §10.2.1).
    pub fn allow(&self) -> String {
        let mut allow = String::new();
        for (method, _) in self.methods {
            allow.push_str(method.as_str().unwrap_or_default());
            allow.push_str(", ");
            if *method == Method::Get {
                allow.push_str("HEAD, ");
            }
        }
        allow.push_str("OPTIONS");
        allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        let table = [
            ("/", Some(("/", ["", ""]))),
            ("/input", Some(("/input", ["", ""]))),
            ("/inp%75t", Some(("/input", ["", ""]))),
            ("/config/workspace", Some(("/config/workspace", ["", ""]))),
            ("/config/workspace/", None),
            ("/config/workspace/x%20y", Some(("/config/workspace/{workspace_id}", ["x y", ""]))),
            ("/config/workspace/a%2Fb", Some(("/config/workspace/{workspace_id}", ["a/b", ""]))),
            (
                "/config/conversation/default/leave",
                Some(("/config/conversation/{conversation_id}/leave", ["default", ""])),
            ),
            ("/config/workspace/{workspace_id}", Some(("/config/workspace/{workspace_id}", ["{workspace_id}", ""]))),
            ("/config/conversation//leave", None),
            ("/conversations/a/messages", Some(("/conversations/{conversation_id}/messages", ["a", ""]))),
            (
                "/conversations/%61/messages/b%2f",
                Some(("/conversations/{conversation_id}/messages/{message_id}", ["a", "b/"])),
            ),
            ("/conversations/a/messages/", None),
            ("/conversations/a/messages/b/c", None),
            ("/conversations//messages/b", None),
            ("//", None),
            ("/nowhere", None),
            ("", None),
            ("*", None),
        ];
        for (path, want) in table {
            let got = find(path).ok().map(|matched| (matched.route.pattern, matched.parameters.map(Cow::into_owned)));
            assert_eq!(got, want.map(|(pattern, parameters)| (pattern, parameters.map(str::to_owned))), "{path}");
        }
    }

    #[test]
    fn methods() {
        let route = find("/config/workspace").ok().unwrap().route;
        assert_eq!(route.operation(Method::Head).ok(), Some(Operation::ListWorkspaces));
        assert_eq!(route.operation(Method::Delete).map_err(|e| e.status()), Err(405));
        assert_eq!(route.allow(), "GET, HEAD, POST, OPTIONS");
    }

    #[test]
    fn no_two_rows_stand_for_one_path() {
        for (i, a) in ROUTES.iter().enumerate() {
            assert!(ROUTES[i + 1..].iter().all(|b| a.pattern != b.pattern), "{}", a.pattern);
            assert!(a.pattern.matches('{').count() <= PARAMETERS_MAX, "{}", a.pattern);
        }
    }
}
