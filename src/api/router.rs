//! The routes: paths, methods and operations.

use super::error::ApiError;
use super::operation::Operation;
use crate::config::Settings;
use crate::http1::head::Method;
use crate::http1::urlencoded::decode_path_segment;
use std::borrow::Cow;

/// A path and its operations.
#[derive(Debug)]
pub struct Route {
    /// The path; `{…}` matches one segment, and `{model}` all that follow: names of models may have slashes.
    pub pattern: &'static str,
    /// The supported methods. `HEAD` is supported wherever `GET` is, and `OPTIONS` everywhere.
    pub methods: &'static [(Method, Operation)],
}

/// All routes.
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
        methods: &[
            (Method::Get, Operation::ConfigListConversations),
            (Method::Post, Operation::ConfigCreateConversation),
        ],
    },
    Route {
        pattern: "/config/conversation/{conversation_id}",
        methods: &[
            (Method::Get, Operation::ConfigGetConversation),
            (Method::Put, Operation::ConfigUpdateConversation),
            (Method::Delete, Operation::ConfigDeleteConversation),
        ],
    },
    Route {
        pattern: "/config/conversation/{conversation_id}/leave",
        methods: &[(Method::Post, Operation::ConfigLeaveConversation)],
    },
    Route {
        pattern: "/conversations",
        methods: &[(Method::Get, Operation::ListConversations), (Method::Post, Operation::CreateConversation)],
    },
    Route {
        pattern: "/conversations/{conversation_id}",
        methods: &[
            (Method::Get, Operation::GetConversation),
            (Method::Put, Operation::UpdateConversation),
            (Method::Delete, Operation::DeleteConversation),
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
    Route {
        pattern: "/conversations/{conversation_id}/messages/{message_id}/answer",
        methods: &[(Method::Post, Operation::AnswerMessage)],
    },
    Route {
        pattern: "/conversations/{conversation_id}/messages/{message_id}/stream",
        methods: &[(Method::Get, Operation::StreamAnswer)],
    },
    Route { pattern: "/search", methods: &[(Method::Get, Operation::Search)] },
    Route { pattern: "/usage", methods: &[(Method::Get, Operation::GetUsage)] },
    Route { pattern: "/users", methods: &[(Method::Get, Operation::ListUsers)] },
    Route { pattern: "/v1/models", methods: &[(Method::Get, Operation::ListModels)] },
    Route { pattern: "/v1/models/{model}", methods: &[(Method::Get, Operation::GetModel)] },
    Route { pattern: "/v1/chat/completions", methods: &[(Method::Post, Operation::CreateChatCompletion)] },
    Route { pattern: "/health", methods: &[(Method::Get, Operation::Health)] },
    Route { pattern: "/health/live", methods: &[(Method::Get, Operation::HealthLive)] },
    Route { pattern: "/health/ready", methods: &[(Method::Get, Operation::HealthReady)] },
    Route { pattern: "/metrics", methods: &[(Method::Get, Operation::Metrics)] },
    Route { pattern: "/openapi.json", methods: &[(Method::Get, Operation::OpenApi)] },
    Route { pattern: "/docs", methods: &[(Method::Get, Operation::Docs)] },
    Route { pattern: "/console", methods: &[(Method::Get, Operation::Console)] },
    Route { pattern: "/console/{file}", methods: &[(Method::Get, Operation::ConsoleFile)] },
];

/// The most parameters of a pattern.
pub(crate) const PARAMETERS_MAX: usize = 2;

/// The decoded parameters of a path, in order. Unused entries are empty; a parameter is not.
pub(crate) type Parameters<'a> = [Cow<'a, str>; PARAMETERS_MAX];

/// The route of a path, with the path's parameters.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The route.
    pub route: &'static Route,
    /// The route's index in [`ROUTES`].
    pub index: usize,
    /// The decoded parameters.
    pub parameters: Parameters<'a>,
}

/// Finds the route of a percent-encoded path.
pub fn find(path: &str) -> Result<Matched<'_>, ApiError> {
    // A literal `{…}` in a path is an ordinary segment.
    if let Some(index) = ROUTES.iter().position(|route| route.pattern == path && !path.contains('{')) {
        return Ok(Matched { route: &ROUTES[index], index, parameters: Parameters::default() });
    }
    let matched = ROUTES
        .iter()
        .enumerate()
        .find_map(|(index, route)| match_pattern(route, path).map(|parameters| Matched { route, index, parameters }));
    matched.ok_or_else(ApiError::no_such_path)
}

impl Matched<'_> {
    /// The same, unless the settings disable the route. Its path is then unknown.
    pub(crate) fn if_enabled(self, settings: &Settings) -> Result<Self, ApiError> {
        let is_console = |(_, operation): &_| matches!(operation, Operation::Console | Operation::ConsoleFile);
        let is_disabled = !settings.console && self.route.methods.iter().any(is_console);
        if is_disabled { Err(ApiError::no_such_path()) } else { Ok(self) }
    }
}

fn match_pattern<'a>(route: &'static Route, path: &'a str) -> Option<Parameters<'a>> {
    let mut parameters = Parameters::default();
    let mut unused = parameters.iter_mut();
    let (mut pattern, mut segments) = (route.pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), segments.next()) {
            (None, None) => return Some(parameters),
            (Some(expected), Some(raw)) => {
                let is_rest = expected == "{model}";
                let raw = if is_rest { &path[raw.as_ptr() as usize - path.as_ptr() as usize..] } else { raw };
                let segment = if raw.contains('%') { decode_path_segment(raw)? } else { Cow::Borrowed(raw) };
                if expected.starts_with('{') && !segment.is_empty() {
                    *unused.next().expect("a pattern has at most PARAMETERS_MAX parameters") = segment;
                    if is_rest {
                        return Some(parameters);
                    }
                } else if expected != segment {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

impl Route {
    /// The operation of a method; `HEAD` has the operation of `GET`.
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
    fn paths_match_their_routes() {
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
            (
                "/conversations/a/messages/b/answer",
                Some(("/conversations/{conversation_id}/messages/{message_id}/answer", ["a", "b"])),
            ),
            (
                "/conversations/a/messages/b/stream",
                Some(("/conversations/{conversation_id}/messages/{message_id}/stream", ["a", "b"])),
            ),
            ("/console", Some(("/console", ["", ""]))),
            ("/console/app.js", Some(("/console/{file}", ["app.js", ""]))),
            ("/console/..%2fopenapi.json", Some(("/console/{file}", ["../openapi.json", ""]))),
            ("/console/", None),
            ("/console/a/app.js", None),
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
    fn patterns_are_unique() {
        for (i, a) in ROUTES.iter().enumerate() {
            assert!(ROUTES[i + 1..].iter().all(|b| a.pattern != b.pattern), "{}", a.pattern);
            assert!(a.pattern.matches('{').count() <= PARAMETERS_MAX, "{}", a.pattern);
        }
    }
}
