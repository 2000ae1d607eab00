//! From an operation to its handler.

use super::action::Action;
use super::caller::Caller;
use super::context::Context;
use super::error::ApiError;
use super::operation::Operation;
use super::request::Request;
use super::response::Response;
use super::{
    auth, config_conversations, console, conversations, docs, health, input, messages, openai, openapi, search, stream,
    usage, users, workspaces,
};
use crate::base::time::WallTime;

/// Turns a complete request into an action. `caller` is present for every operation that requires a token.
pub(crate) fn dispatch(
    context: &Context,
    request: &Request<'_>,
    caller: Option<&Caller>,
    now: WallTime,
) -> Result<Action, ApiError> {
    use Operation::*;
    let caller = || caller.ok_or_else(ApiError::missing_token);
    match request.operation {
        Root => Ok(Action::Respond(console::root(context, request))),
        Console => Ok(Action::Respond(console::page(request))),
        ConsoleFile => console::file(request).map(Action::Respond),
        Health => Ok(Action::Health),
        HealthLive => Ok(Action::Respond(health::live(now))),
        HealthReady => Ok(Action::Ready),
        Metrics => Ok(Action::Metrics),
        OpenApi => Ok(Action::Respond(Response::json(openapi::DOCUMENT.as_bytes()))),
        Docs => Ok(Action::Respond(docs::page(context))),
        Login => auth::login(request),
        Verify => auth::verify(caller()?),
        Refresh => auth::refresh(context, caller()?, now),
        ChangePassword => auth::change_password(request, caller()?),
        StreamTicket => auth::stream_ticket(context, caller()?, now),
        PostInput => input::post(request),
        OpenStream => stream::open(request),
        ListStreams => Ok(Action::ListStreams),
        RenewStream => stream::renew(request),
        CreateWorkspace => workspaces::create(request),
        ListWorkspaces => workspaces::list(request),
        GetWorkspace => workspaces::get(request),
        UpdateWorkspace => workspaces::update(request),
        DeleteWorkspace => workspaces::delete(request),
        ConfigCreateConversation => config_conversations::create(request),
        ConfigListConversations => config_conversations::list(request),
        ConfigGetConversation => config_conversations::get(request),
        ConfigUpdateConversation => config_conversations::update(request),
        ConfigLeaveConversation => config_conversations::leave(request),
        ConfigDeleteConversation => config_conversations::delete(request),
        CreateConversation => conversations::create(request),
        ListConversations => conversations::list(request),
        GetConversation => conversations::get(request),
        UpdateConversation => conversations::update(request),
        DeleteConversation => conversations::delete(request),
        CancelAnswer => conversations::cancel_answer(request),
        PostMessage => messages::post(request),
        ListMessages => messages::list(request),
        GetMessage => messages::get(request),
        UpdateMessage => messages::update(request),
        DeleteMessage => messages::delete(request),
        AnswerMessage => messages::answer(request),
        Search => search::find(request),
        GetUsage => usage::get(request, now),
        StreamAnswer => stream::open_answer(request),
        ListUsers => users::list(request),
        ListModels => openai::list_models(context),
        GetModel => openai::get_model(context, request),
        CreateChatCompletion => openai::complete(context, request, now),
    }
}
