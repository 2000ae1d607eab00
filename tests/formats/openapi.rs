//! Compares the description with the program's tables: routes, limits, error codes and event types.

use cortex_core::internals::limits::{
    CONTENT_BYTES_MAX, CONVERSATION_MESSAGES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, LIST_BYTES_MAX, LIST_LIMIT_DEFAULT,
    LIST_LIMIT_MAX, METADATA_BYTES_MAX, METADATA_LEVELS_MAX, PARTICIPANTS_MAX, PASSWORD_BODY_BYTES_MAX,
    PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PROFILE_CHARS_MAX, REQUEST_ID_BYTES_MAX, SEARCH_LIMIT_DEFAULT,
    SEARCH_LIMIT_MAX, SEARCH_QUERY_CHARS_MAX, SEARCH_WORDS_MAX, TARGET_BYTES_MAX, TOPIC_CHARS_MAX, USER_ID_CHARS_MAX,
    USERS_QUERY_IDS_MAX, WORKSPACE_DESCRIPTION_CHARS_MAX, WORKSPACE_NAME_CHARS_MAX,
};
use cortex_core::internals::{Access, BodyKind, DOCUMENT, EventKind, Method, Operation, ROUTES, Role, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("the description is JSON")
}

/// Every route with its method in lower case and its entry in the document.
fn operations(document: &Value) -> Vec<(&'static str, Method, Operation, Value)> {
    let rows =
        ROUTES.iter().flat_map(|route| route.methods.iter().map(|(method, what)| (route.pattern, *method, *what)));
    rows.map(|(path, method, operation)| {
        let described = &document["paths"][path][name_of(method).to_lowercase()];
        assert!(described.is_object(), "{} {path} is described", name_of(method));
        (path, method, operation, described.clone())
    })
    .collect()
}

fn name_of(method: Method) -> &'static str {
    method.as_str().expect("a route has a method with a name")
}

/// The target of a reference; any other value itself.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        None => value,
        Some(target) => {
            let place = target.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            place.unwrap_or_else(|| panic!("{target} does not resolve"))
        }
    }
}

/// The parameters of an operation, those of its path first.
fn parameters(document: &Value, path: &str, operation: &Value) -> Vec<Value> {
    let all = [&document["paths"][path]["parameters"], &operation["parameters"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten();
    all.map(|parameter| resolve(document, parameter).clone()).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_description_has_exactly_the_routes_of_the_router() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("there are paths") {
        described.extend(keys(item).into_iter().filter(|key| key != "parameters").map(|method| (path.clone(), method)));
    }
    let served: BTreeSet<(String, String)> = operations(&document)
        .into_iter()
        .map(|(path, method, ..)| (path.to_owned(), name_of(method).to_lowercase()))
        .collect();
    assert_eq!(described, served);
}

#[test]
fn every_operation_has_a_unique_id_and_a_tag() {
    let document = document();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().into_iter().flatten().filter_map(|tag| tag["name"].as_str()).collect();
    let mut used = BTreeSet::new();
    for (path, _, operation, described) in operations(&document) {
        let name = format!("{operation:?}");
        let id = name[..1].to_lowercase() + &name[1..];
        assert_eq!(described["operationId"], json!(id), "{path}");
        assert!(described["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{id} has a summary");
        let tag = described["tags"][0].as_str().unwrap_or_default();
        assert!(tags.contains(tag), "{id} has a known tag");
        used.insert(tag.to_owned());
        let open: BTreeSet<String> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(str::to_owned)
            .collect();
        let named: BTreeSet<String> = parameters(&document, path, &described)
            .iter()
            .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(named, open, "the open segments of {path}");
    }
    assert_eq!(used.len(), tags.len(), "every tag is used");
}

#[test]
fn required_credentials_are_described() {
    let document = document();
    assert_eq!(document["security"], json!([{"token": []}]), "the default security requirement");
    for (path, _, operation, described) in operations(&document) {
        let security = &described["security"];
        let responses = keys(&described["responses"]);
        match operation.access() {
            Access::Open => assert_eq!(*security, json!([]), "{path}"),
            Access::Token => assert!(security.is_null(), "{path}"),
            Access::TokenOrTicket => {
                let schemes: BTreeSet<String> = security.as_array().into_iter().flatten().flat_map(keys).collect();
                assert_eq!(schemes, keys(&document["components"]["securitySchemes"]), "{path}");
            }
        }
        // Logins are limited and checked without a token.
        let is_guarded = operation.access() != Access::Open || operation == Operation::Login;
        for status in ["401", "429"] {
            assert_eq!(responses.contains(status), is_guarded, "{status} of {path}");
        }
    }
}

#[test]
fn described_bodies_and_keys_match_the_parsers() {
    let document = document();
    for (path, _, operation, described) in operations(&document) {
        let media = keys(&described["requestBody"]["content"]);
        let responses = keys(&described["responses"]);
        let expected = match operation.body() {
            BodyKind::None => set([]),
            BodyKind::Json => set(["application/json"]),
            BodyKind::JsonOrForm => set(["application/json", "application/x-www-form-urlencoded"]),
        };
        assert_eq!(media, expected, "the body of {path}");
        assert_eq!(described["requestBody"]["required"] == true, !expected.is_empty(), "{path}");
        assert_eq!(responses.contains("415"), !expected.is_empty(), "415 of {path}");
        assert!(expected.is_empty() || responses.contains("422"), "422 of {path}");
        let success = operation.success_status().to_string();
        for status in [&*success, "400", "408", "413", "414", "417", "431"] {
            assert!(responses.contains(status), "{status} of {path}");
        }
        let takes_key = parameters(&document, path, &described).iter().any(|one| one["name"] == "Idempotency-Key");
        let may_replay = described["responses"][&success]["headers"]["Idempotent-Replayed"].is_object();
        let keyed = operation.is_idempotent_by_key();
        assert_eq!((takes_key, may_replay), (keyed, keyed), "Idempotency-Key of {path}");
    }
}

#[test]
fn every_response_describes_its_request_id_and_media_type() {
    let document = document();
    let shared = document["components"]["responses"].as_object().expect("there are shared responses");
    let own = operations(&document)
        .into_iter()
        .map(|(.., operation, described)| described["responses"][operation.success_status().to_string()].clone());
    for response in own.chain(shared.values().cloned()) {
        assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{response}");
        assert!(response["headers"]["X-Request-Id"].is_object(), "{response}");
        assert!(!keys(&response["content"]).is_empty(), "{response}");
    }
    for (status, response) in shared {
        let schema = if status == "openai" { "#/components/schemas/OpenAiError" } else { "#/components/schemas/Error" };
        assert_eq!(response["content"]["application/json"]["schema"]["$ref"], schema, "{status}");
        let expected = match status.as_str() {
            "401" => set(["X-Request-Id", "WWW-Authenticate"]),
            "405" => set(["X-Request-Id", "Allow"]),
            "429" | "503" => set(["X-Request-Id", "Retry-After"]),
            _ => set(["X-Request-Id"]),
        };
        assert!(keys(&response["headers"]).is_superset(&expected), "the fields of {status}");
    }
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    let document = document();
    let mut targets = BTreeSet::new();
    let mut values = vec![&document];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    resolve(&document, value);
                    targets.insert(target.to_owned());
                }
                values.extend(fields.values());
            }
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
    for kind in ["schemas", "parameters", "headers"] {
        for name in keys(&document["components"][kind]) {
            assert!(targets.contains(&format!("#/components/{kind}/{name}")), "{kind}/{name} is unused");
        }
    }
}

#[test]
fn the_described_version_is_the_version_of_the_crate() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_described_error_codes_are_exactly_those_of_the_program() {
    let document = document();
    let listed: BTreeSet<String> =
        document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|code| code.as_str().map(str::to_owned))
            .collect();
    assert_eq!(listed, codes_in_the_source());
    let responses = document["components"]["responses"].to_string();
    for code in listed {
        assert!(responses.contains(&format!("`{code}`")), "a response names {code}");
    }
}

/// The codes in the source: the first string after each call that creates an error, and those of invalid heads.
fn codes_in_the_source() -> BTreeSet<String> {
    let mut codes = set(["bad_request", "uri_too_long", "expectation_failed", "headers_too_large"]);
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                let calls = text.split("ApiError::new(").skip(1);
                // A call that forwards a code does not name one.
                let named = calls.filter(|call| call.trim_start().starts_with(|char: char| char.is_ascii_digit()));
                codes.extend(named.filter_map(|call| call.split('"').nth(1).map(str::to_owned)));
            }
        }
    }
    codes
}

#[test]
fn every_kind_of_event_is_described() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(schemas["EventKind"]["enum"], json!(kinds));
    let mapping = schemas["Event"]["discriminator"]["mapping"].as_object().expect("a mapping");
    assert_eq!(mapping.len(), kinds.len());
    for kind in kinds {
        let target = &mapping[kind];
        let choices = schemas["Event"]["oneOf"].as_array().expect("one of several");
        assert!(choices.contains(&json!({"$ref": target})), "{kind} is one of them");
        let schema = resolve(&document, &json!({"$ref": target})).clone();
        let of_control = &schema["properties"]["type"]["const"];
        let of_other = &schema["allOf"][1]["properties"]["type"]["const"];
        assert!(of_control == kind || of_other == kind, "{kind} has its type");
    }
}

#[test]
fn described_roles_and_statuses_match_the_program() {
    let document = document();
    let listed = |name: &str| -> Vec<String> {
        let names = document["components"]["schemas"][name]["enum"].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    // The matches are exhaustive, so that no variant is missed.
    let role = |role| match role {
        Role::User | Role::Assistant | Role::System => 3,
    };
    let status = |status| match status {
        Status::Complete
        | Status::Streaming
        | Status::Cancelled
        | Status::Interrupted
        | Status::Failed
        | Status::Superseded => 6,
    };
    let (roles, statuses) = (listed("Role"), listed("MessageStatus"));
    assert_eq!((roles.len(), statuses.len()), (role(Role::User), status(Status::Complete)));
    assert!(roles.iter().all(|name| Role::parse(name).is_some()), "{roles:?}");
    assert!(statuses.iter().all(|name| Status::parse(name).is_some()), "{statuses:?}");
}

#[test]
fn limits_are_those_of_the_program() {
    let document = document();
    let table = [
        ("schemas/UserId/maxLength", USER_ID_CHARS_MAX),
        ("schemas/ParticipantId/maxLength", USER_ID_CHARS_MAX),
        ("schemas/NewWorkspace/properties/name/maxLength", WORKSPACE_NAME_CHARS_MAX),
        ("schemas/NewWorkspace/properties/description/maxLength", WORKSPACE_DESCRIPTION_CHARS_MAX),
        ("schemas/WorkspaceChange/properties/name/maxLength", WORKSPACE_NAME_CHARS_MAX),
        ("schemas/WorkspaceChange/properties/description/maxLength", WORKSPACE_DESCRIPTION_CHARS_MAX),
        ("schemas/Workspace/properties/name/maxLength", WORKSPACE_NAME_CHARS_MAX),
        ("schemas/Workspace/properties/description/maxLength", WORKSPACE_DESCRIPTION_CHARS_MAX),
        ("schemas/NewConversation/properties/topic/maxLength", TOPIC_CHARS_MAX),
        ("schemas/ConversationChange/properties/topic/maxLength", TOPIC_CHARS_MAX),
        ("schemas/Conversation/properties/topic/maxLength", TOPIC_CHARS_MAX),
        ("schemas/NewConversationView/properties/title/maxLength", TOPIC_CHARS_MAX),
        ("schemas/ConversationViewChange/properties/title/maxLength", TOPIC_CHARS_MAX),
        ("schemas/ConversationView/properties/title/maxLength", TOPIC_CHARS_MAX),
        ("schemas/ConversationView/properties/messages/maxItems", CONVERSATION_MESSAGES_MAX as usize),
        ("schemas/Conversation/properties/participant_ids/maxItems", PARTICIPANTS_MAX),
        ("schemas/ConversationView/properties/participant_ids/maxItems", PARTICIPANTS_MAX),
        ("schemas/NewInput/properties/content/maxLength", CONTENT_BYTES_MAX),
        ("schemas/NewMessage/properties/content/maxLength", CONTENT_BYTES_MAX),
        ("schemas/MessageChange/properties/content/maxLength", CONTENT_BYTES_MAX),
        ("schemas/NewConversationView/properties/initial_message/maxLength", CONTENT_BYTES_MAX),
        ("schemas/PasswordChange/properties/new_password/minLength", PASSWORD_CHARS_MIN),
        ("schemas/PasswordChange/properties/new_password/maxLength", PASSWORD_CHARS_MAX),
        ("schemas/Login/properties/password/maxLength", PASSWORD_CHARS_MAX),
        ("schemas/Login/anyOf/0/properties/email/maxLength", PROFILE_CHARS_MAX),
        ("schemas/LoginForm/properties/username/maxLength", PROFILE_CHARS_MAX),
        ("parameters/Limit/schema/maximum", LIST_LIMIT_MAX as usize),
        ("parameters/Limit/schema/default", LIST_LIMIT_DEFAULT as usize),
        ("parameters/IdempotencyKey/schema/maxLength", IDEMPOTENCY_KEY_BYTES_MAX),
        ("headers/RequestId/schema/maxLength", REQUEST_ID_BYTES_MAX),
    ];
    for (place, limit) in table {
        assert_eq!(document.pointer(&format!("/components/{place}")), Some(&json!(limit)), "{place}");
    }
    let search = parameters(&document, "/search", &document["paths"]["/search"]["get"]);
    let schema = |name: &str| search.iter().find(|one| one["name"] == name).map(|one| one["schema"].clone());
    let limit = json!({"type": "integer", "minimum": 1, "maximum": SEARCH_LIMIT_MAX, "default": SEARCH_LIMIT_DEFAULT});
    assert_eq!(schema("limit"), Some(limit));
    assert_eq!(schema("q"), Some(json!({"type": "string", "minLength": 1, "maxLength": SEARCH_QUERY_CHARS_MAX})));
    for (bytes, words) in [
        (METADATA_BYTES_MAX, "at most 64 KiB"),
        (TARGET_BYTES_MAX, "exceeds 8 KiB"),
        (PASSWORD_BODY_BYTES_MAX, "or 16 KiB for logins"),
        (LIST_BYTES_MAX / 1024, "ended early at 8 MiB"),
    ] {
        assert!(words.contains(&(bytes / 1024).to_string()) && DOCUMENT.contains(words), "{words}");
    }
    for words in [
        format!("{METADATA_LEVELS_MAX} levels"),
        format!("at most {PARTICIPANTS_MAX} including the caller"),
        format!("at most {USERS_QUERY_IDS_MAX} as sent"),
        format!("At most {SEARCH_WORDS_MAX} words"),
    ] {
        assert!(DOCUMENT.contains(&words), "{words}");
    }
}

#[test]
fn the_content_pattern_rejects_white_space_only() {
    let escaped = |code: u32| match char::from_u32(code) {
        Some('\t') => "\\t".to_owned(),
        Some('\r') => "\\r".to_owned(),
        Some(' ') => " ".to_owned(),
        _ => format!("\\u{code:04x}"),
    };
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for code in ('\0'..=char::MAX).filter(|char| char.is_whitespace()).map(u32::from) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => runs.push((code, code)),
        }
    }
    let class: String = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => escaped(first),
            1 => escaped(first) + &escaped(last),
            _ => format!("{}-{}", escaped(first), escaped(last)),
        })
        .collect();
    let document = document();
    for (schema, field) in [
        ("NewInput", "content"),
        ("NewMessage", "content"),
        ("MessageChange", "content"),
        ("NewConversationView", "initial_message"),
    ] {
        let pattern = &document["components"]["schemas"][schema]["properties"][field]["pattern"];
        assert_eq!(*pattern, json!(format!("[^{class}]")), "{field} of {schema}");
    }
}
