//! The bodies of responses to queries: compact JSON, with the members in the order of the API's description.

use crate::domain::model::UserProfile;
use crate::domain::page::Page;
use crate::domain::query::QueryResult;
use crate::domain::search::{SearchPage, SearchResult};
use crate::domain::usage::{UsageKey, UsageReport, UsageSums};
use crate::wire::conversation_view;
use crate::wire::json::JsonWriter;
use crate::wire::resource::{conversation_json, workspace_json};

/// A body, and the values of the response's fields about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryBody {
    /// The JSON text.
    pub body: Vec<u8>,
    /// Whether the store truncated the list: `X-Truncated`.
    pub truncated: bool,
    /// The number of items in the whole list, where the body does not have it: `X-Total-Count`.
    pub total: Option<u64>,
}

/// The body of the response to a query; `None` for results that no response contains.
pub(crate) fn query_body(result: &QueryResult) -> Option<QueryBody> {
    let mut body = Vec::new();
    match result {
        QueryResult::Workspaces(page) => {
            return Some(list("workspaces", page, workspace_json));
        }
        QueryResult::Conversations(page) => {
            return Some(list("conversations", page, conversation_json));
        }
        QueryResult::Workspace(one) => {
            JsonWriter(&mut body).raw("{\"workspace\":");
            workspace_json(one, &mut body);
            body.push(b'}');
        }
        QueryResult::Conversation(one) => {
            JsonWriter(&mut body).raw("{\"conversation\":");
            conversation_json(one, &mut body);
            body.push(b'}');
        }
        QueryResult::ConversationView(one) => {
            conversation_view::conversation(&mut JsonWriter(&mut body), one);
            return Some(QueryBody { body, truncated: one.last.truncated, total: None });
        }
        QueryResult::ConversationViews(page) => {
            JsonWriter(&mut body).array(&page.items, conversation_view::conversation);
            let truncated = page.truncated || page.items.iter().any(|view| view.last.truncated);
            return Some(QueryBody { body, truncated, total: Some(page.total) });
        }
        QueryResult::Messages(page) => {
            JsonWriter(&mut body).array(&page.messages, conversation_view::message);
            return Some(QueryBody { body, truncated: page.truncated, total: None });
        }
        QueryResult::Message(one) => conversation_view::message(&mut JsonWriter(&mut body), one),
        QueryResult::Usage(report) => {
            usage(&mut JsonWriter(&mut body), report);
            return Some(QueryBody { body, truncated: report.truncated, total: None });
        }
        QueryResult::Users(users) => {
            JsonWriter(&mut body).raw("{\"users\":").array(users, user).raw("}");
        }
        QueryResult::Search(page) => {
            search_page(&mut JsonWriter(&mut body), page);
            return Some(QueryBody { body, truncated: page.truncated, total: None });
        }
        QueryResult::Alive
        | QueryResult::StreamAccess(_)
        | QueryResult::JournalPage(_)
        | QueryResult::AnswerPage(_)
        | QueryResult::Jobs(_)
        | QueryResult::History(_) => {
            return None;
        }
    }
    Some(QueryBody { body, truncated: false, total: None })
}

fn usage(json: &mut JsonWriter, report: &UsageReport) {
    json.raw("{\"usage\":").array(&report.groups, |json, (key, sums)| {
        match key {
            UsageKey::Day(day) => json.raw("{\"day\":\"").raw(&day.to_string()).raw("\","),
            UsageKey::Conversation(None) => json.raw("{\"conversation_id\":null,"),
            UsageKey::Conversation(Some(id)) => json.raw("{\"conversation_id\":").uuid(id.0).raw(","),
            UsageKey::Model(name) => json.raw("{\"model\":").string(name).raw(","),
            UsageKey::User(id) => json.raw("{\"user_id\":").string(id.as_str()).raw(","),
        };
        usage_sums(json, sums);
        json.raw("}");
    });
    json.raw(",\"total\":{");
    usage_sums(json, &report.total);
    json.raw("}}");
}

fn usage_sums(json: &mut JsonWriter, sums: &UsageSums) {
    json.raw("\"answers\":").number(sums.answers);
    json.raw(",\"prompt_tokens\":").number(sums.tokens.prompt);
    json.raw(",\"completion_tokens\":").number(sums.tokens.completion);
    json.raw(",\"reasoning_tokens\":").number(sums.tokens.reasoning);
    json.raw(",\"cached_tokens\":").number(sums.tokens.cached);
}

fn search_page(json: &mut JsonWriter, page: &SearchPage) {
    json.raw("{\"results\":").array(&page.results, search_result);
    json.raw(",\"total_is_at_least\":").number(page.total_is_at_least).raw("}");
}

/// A message that matches, and the part of its text around the first match.
pub(super) fn search_result(json: &mut JsonWriter, result: &SearchResult) {
    json.raw("{\"message\":");
    conversation_view::message(json, &result.message);
    json.raw(",\"snippet\":").string(&result.snippet).raw("}");
}

fn user(json: &mut JsonWriter, user: &UserProfile) {
    json.raw("{\"user_id\":").string(user.id.as_str()).raw(",\"name\":").string(&user.name).raw("}");
}

/// `{"<name>":[…],"total":n}`
fn list<T>(name: &str, page: &Page<T>, item: fn(&T, &mut Vec<u8>)) -> QueryBody {
    let mut body = Vec::new();
    JsonWriter(&mut body)
        .raw("{\"")
        .raw(name)
        .raw("\":")
        .array(&page.items, |json, one| item(one, json.0))
        .raw(",\"total\":")
        .number(page.total)
        .raw("}");
    QueryBody { body, truncated: page.truncated, total: None }
}
