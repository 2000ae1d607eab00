//! `GET /search`: what is found, by which query, and by whom.

use crate::common::user::{ids, text};
use crate::common::{
    Client, Options, Response, Server, UNKNOWN_ID, User, assert_error, assert_invalid, database, eventually,
};
use cortex_core::internals::limits::{LIST_BYTES_MAX, SEARCH_QUERY_CHARS_MAX, SEARCH_WORDS_MAX};
use cortex_core::internals::{MATCH_END, MATCH_START};
use serde_json::{Value, json};

/// The path of a search, with every byte of the query escaped.
fn path(query: &str, parameters: &str) -> String {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("/search?q={escaped}{parameters}")
}

#[track_caller]
fn search(user: &mut User, query: &str, parameters: &str) -> Response {
    user.get(&path(query, parameters))
}

/// The messages of a page.
fn messages(page: &Value) -> Vec<Value> {
    page["results"].as_array().expect("a list").iter().map(|result| result["message"].clone()).collect()
}

/// What a search finds: the contents, newest first. The page has all of it.
#[track_caller]
fn found_with(user: &mut User, query: &str, parameters: &str) -> Vec<String> {
    let response = search(user, query, parameters).expect(200);
    assert_eq!(response.header("X-Truncated"), None, "{}", response.shown());
    let page = response.json();
    let contents: Vec<String> = messages(&page).iter().map(|message| text(&message["content"])).collect();
    assert_eq!(page["total_is_at_least"], contents.len(), "all are counted: {page}");
    contents
}

#[track_caller]
fn found(user: &mut User, query: &str) -> Vec<String> {
    found_with(user, query, "")
}

/// The only snippet of a search.
#[track_caller]
fn snippet(user: &mut User, query: &str) -> String {
    let page = search(user, query, "").expect(200).json();
    assert_eq!(page["results"].as_array().map(Vec::len), Some(1), "{query}: {page}");
    text(&page["results"][0]["snippet"])
}

/// The marked parts of a snippet.
#[track_caller]
fn marked(snippet: &str) -> Vec<&str> {
    let mut parts = snippet.split(MATCH_START);
    let before = parts.next().expect("a split has a part");
    assert!(!before.contains(MATCH_END), "{snippet:?}");
    let parts = parts.map(|part| {
        let (within, after) = part.split_once(MATCH_END).unwrap_or_else(|| panic!("a mark is open: {snippet:?}"));
        assert!(!after.contains(MATCH_END), "{snippet:?}");
        within
    });
    parts.collect()
}

#[test]
fn messages_are_found_by_their_words() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("trip");
    let said = [
        "See you in Zürich, tomorrow!",
        "The train to ZURICH leaves at 7:30.",
        "zu\u{308}rich",
        "A well-known café (près de la gare)",
        "cats and dogs",
        "the cat sat on the mat",
        "the mat, the cat",
        "snake_case, a.b.c and user@example.com",
        "Отправление поезда",
        "東京 で会いましょう",
        "sat on\n\tthe <b>cat</b>",
        "left\0right",
    ];
    for content in said {
        ann.post_message(&conversation, content);
    }
    let table: [(&str, &[usize]); 48] = [
        // A word, in any case, with or without diacritics.
        ("zurich", &[0, 1, 2]),
        ("ZÜRICH", &[0, 1, 2]),
        ("zu\u{308}Rich", &[0, 1, 2]),
        ("cafe", &[3]),
        ("CAFÉ", &[3]),
        ("pres", &[3]),
        ("отправление", &[8]),
        ("ПОЕЗДА", &[8]),
        ("東京", &[9]),
        ("7", &[1]),
        // Whole words only.
        ("cat", &[5, 6, 10]),
        ("zuric", &[]),
        ("urich", &[]),
        ("absent", &[]),
        // All words, in any order.
        ("cat mat", &[5, 6]),
        ("mat cat the", &[5, 6]),
        ("  train\u{a0}zurich\n", &[1]),
        ("cat dogs", &[]),
        // Phrases, whatever separates the words.
        ("\"the cat\"", &[5, 6]),
        ("\"the mat the cat\"", &[6]),
        ("“on the” cat", &[5, 10]),
        ("\"sat on the b cat\"", &[10]),
        ("\"cat the\"", &[]),
        ("\"ZURICH! Tomorrow?\"", &[0]),
        ("well-known", &[3]),
        ("known-well", &[]),
        ("\"well known\"", &[3]),
        ("snake_case", &[7]),
        ("case", &[7]),
        ("a.b.c", &[7]),
        ("b.c.a", &[]),
        ("user@example.com", &[7]),
        ("7:30", &[1]),
        ("right", &[11]),
        ("\"left right\"", &[11]),
        // Beginnings of words.
        ("zur*", &[0, 1, 2]),
        ("ZÜR*", &[0, 1, 2]),
        ("cat*", &[4, 5, 6, 10]),
        ("\"the ma\"*", &[5, 6]),
        ("\"the c\"* -sat", &[6]),
        ("東*", &[9]),
        // Exclusion.
        ("cat -sat", &[6]),
        ("-sat cat -mat", &[]),
        ("cat -\"sat on\"", &[6]),
        ("zurich -t*", &[2]),
        ("mat -\"cat the\"", &[5, 6]),
        ("the -dogs -train -sat", &[6]),
        // Words that other syntaxes reserve.
        ("cats AND dogs", &[4]),
    ];
    for (query, expected) in table {
        let expected: Vec<&str> = expected.iter().rev().map(|index| said[*index]).collect();
        assert_eq!(found(&mut ann, query), expected, "{query}");
    }
    // These are words, and no operators.
    for query in ["cats OR zurich", "NOT zurich", "cat NEAR mat", "content:cat", "cat^", "(cat OR", "{cat} +mats"] {
        assert_eq!(found(&mut ann, query).len(), if query == "cat^" { 3 } else { 0 }, "{query}");
    }
}

#[test]
fn a_result_is_the_message_as_the_conversation_has_it() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("t");
    let message = json!({"content": "a needle", "metadata": {"n": 1.10, "a": [null]}});
    let sent = text(&ann.post(&format!("/conversations/{conversation}/messages"), message).expect(200).json()["id"]);
    let own = ann.get(&format!("/conversations/{conversation}/messages/{sent}")).expect(200);
    let response = search(&mut ann, "needle", "").expect(200);
    let whole = format!(
        "{{\"results\":[{{\"message\":{},\"snippet\":\"a {MATCH_START}needle{MATCH_END}\"}}],\"total_is_at_least\":1}}",
        own.text()
    );
    assert_eq!(response.text(), whole);
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.number("X-Last-Event-Id"), own.number("X-Last-Event-Id"));

    let head = ann.request("HEAD", &path("needle", "")).send().expect(200);
    assert_eq!((head.number("Content-Length") as usize, head.body.len()), (whole.len(), 0));
    assert_eq!(head.header("X-Last-Event-Id"), response.header("X-Last-Event-Id"));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = ann.request(method, &path("needle", "")).send();
        assert_error(&response, 405, "method_not_allowed");
        assert_eq!(response.header("Allow"), Some("GET, HEAD, OPTIONS"));
    }
    assert_error(&Client::new(server.addr).request("GET", &path("needle", "")).send(), 401, "unauthorized");
    // A token in the query is for streams only.
    let in_query = path("needle", &format!("&access_token={}", ann.token));
    assert_error(&Client::new(server.addr).request("GET", &in_query).send(), 401, "unauthorized");

    let mut unknown = User::new(&server, "never seen");
    assert_eq!(search(&mut unknown, "needle", "").expect(200).text(), r#"{"results":[],"total_is_at_least":0}"#);
    let metrics = Client::new(server.addr).request("GET", "/metrics").send().expect(200);
    let counted = "conversational_core_requests_total{method=\"GET\",endpoint=\"/search\",status=\"200\"} 2\n";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[test]
fn an_invalid_query_is_rejected_with_every_reason() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("t");
    ann.post_message(&conversation, "a needle");
    assert_invalid(&ann.get("/search"), &["q"]);
    assert_invalid(&ann.get("/search?q"), &["q"]);
    assert_invalid(&ann.get("/search?q=a&q=a"), &["q"]);
    assert_invalid(&ann.get("/search?q=%ff"), &["query"]);
    let table = [
        (" ", "must have a word to search for"),
        ("-needle -a", "must have a word that is not excluded"),
        ("a -", "character 3: - must be followed by a word or a quote"),
        ("é *", "character 3: * must be at the end of a word or after a closing quote"),
        ("a \"needle", "character 3: the quote is not closed"),
        ("a \"\"", "character 3: a phrase must have a letter or digit"),
        ("a \"needle\"b", "character 11: white space must follow a closing quote"),
        ("a nee\"dle\"", "character 6: white space must precede an opening quote"),
        ("a \u{1f600}", "character 3: a word must have a letter or digit"),
        ("nee\0dle", "character 4: U+0000 is not allowed"),
    ];
    for (query, rule) in table {
        let response = search(&mut ann, query, "");
        assert_invalid(&response, &["q"]);
        assert_eq!(response.json()["error"]["message"], "Invalid query parameters");
        assert_eq!(response.json()["error"]["details"]["q"], rule, "{query}");
    }
    for (name, bad) in [
        ("limit", vec!["0", "101", "-1", "+5", "x", "", "99999999999999999999"]),
        ("before", vec!["x", "", "default", "1", UNKNOWN_ID, &conversation]),
    ] {
        for value in bad {
            assert_invalid(&search(&mut ann, "a", &format!("&{name}={value}")), &[name]);
        }
    }
    let all =
        search(&mut ann, "\"", "&limit=x&before=x&conversation_id=a&conversation_id=b&workspace_id=&workspace_id=");
    assert_invalid(&all, &["q", "limit", "before", "conversation_id", "workspace_id"]);
    // A malformed id is reported after everything else.
    assert_invalid(&search(&mut ann, "*", "&conversation_id=x"), &["q"]);

    // The limits of the query, in characters and words.
    let longest = "é".repeat(SEARCH_QUERY_CHARS_MAX);
    ann.post_message(&conversation, &longest);
    assert_eq!(found(&mut ann, &longest), [longest.as_str()]);
    assert_invalid(&search(&mut ann, &format!("{longest}a"), ""), &["q"]);
    let many: Vec<String> = (0..SEARCH_WORDS_MAX).map(|n| format!("w{n}")).collect();
    ann.post_message(&conversation, &many.join(", "));
    assert_eq!(found(&mut ann, &many.join(" ")), [many.join(", ")]);
    assert_eq!(found(&mut ann, &format!("\"{}\"*", many.join(" "))), [many.join(", ")]);
    assert_invalid(&search(&mut ann, &format!("{} w0", many.join(" ")), ""), &["q"]);
}

#[test]
fn a_user_finds_their_own_and_shared_messages_only() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben, mut cyd) = (User::new(&server, "ann"), User::new(&server, "ben"), User::new(&server, "cyd"));
    let workspace = ann.create_workspace("ann's");
    let shared = ann.create_conversation(&workspace, "shared", &["ben"]);
    let private = ann.create_conversation(&workspace, "private", &[]);
    ann.say("default", "needle in ann's default");
    ben.say("default", "needle in ben's default");
    ann.say(&private, "needle in private");
    ann.say(&shared, "needle by ann");
    ben.say(&shared, "needle by ben");
    let shared_needles = ["needle by ben", "needle by ann"];
    let anns = ["needle by ben", "needle by ann", "needle in private", "needle in ann's default"];
    assert_eq!(found(&mut ann, "needle"), anns);
    assert_eq!(found(&mut ben, "needle"), ["needle by ben", "needle by ann", "needle in ben's default"]);
    assert_eq!(found(&mut cyd, "needle"), [""; 0]);
    // What is found and what is not counts for each user alone.
    assert_eq!(found(&mut ben, "private"), [""; 0]);
    assert_eq!(found(&mut ben, "needle -private"), ["needle by ben", "needle by ann", "needle in ben's default"]);

    // By conversation: another user's is as unknown as one that does not exist.
    let of = |id: &str| format!("&conversation_id={id}");
    assert_eq!(found_with(&mut ann, "needle", &of(&private)), ["needle in private"]);
    assert_eq!(found_with(&mut ann, "needle", &of(&private.to_uppercase())), ["needle in private"]);
    assert_eq!(found_with(&mut ann, "needle", &of("default")), ["needle in ann's default"]);
    assert_eq!(found_with(&mut ben, "needle", &of("default")), ["needle in ben's default"]);
    assert_eq!(found_with(&mut ben, "needle", &of(&shared)), shared_needles);
    for id in [&private, UNKNOWN_ID, "x", "", &workspace, "Default"] {
        assert_error(&search(&mut ben, "needle", &of(id)), 404, "not_found");
    }
    assert_error(&search(&mut cyd, "needle", &of("default")), 404, "not_found");

    // By workspace: participants search their own conversations in it.
    let within = |id: &str| format!("&workspace_id={id}");
    assert_eq!(found_with(&mut ann, "needle", &within(&workspace)), anns[..3]);
    assert_eq!(found_with(&mut ben, "needle", &within(&workspace)), shared_needles);
    assert_error(&search(&mut cyd, "needle", &within(&workspace)), 403, "forbidden");
    for id in [UNKNOWN_ID, "x", "default", &shared] {
        assert_error(&search(&mut ann, "needle", &within(id)), 404, "not_found");
    }

    // By both: a message must be in both.
    let both = |conversation: &str| format!("{}{}", within(&workspace), of(conversation));
    assert_eq!(found_with(&mut ann, "needle", &both(&private)), ["needle in private"]);
    assert_eq!(found_with(&mut ann, "needle", &both("default")), [""; 0]);
    assert_error(&search(&mut ben, "needle", &both(&private)), 404, "not_found");
    assert_error(&search(&mut cyd, "needle", &both(&shared)), 404, "not_found");

    // Access begins and ends with the participation.
    let participants = json!({"participant_ids": ["ann", "ben", "cyd"]});
    ann.put(&format!("/config/conversation/{shared}"), participants).expect(200);
    assert_eq!(found(&mut cyd, "needle"), shared_needles);
    assert_eq!(found_with(&mut cyd, "needle", &within(&workspace)), shared_needles);
    ben.post(&format!("/config/conversation/{shared}/leave"), json!({})).expect(200);
    assert_eq!(found(&mut ben, "needle"), ["needle in ben's default"]);
    assert_error(&search(&mut ben, "needle", &of(&shared)), 404, "not_found");
    assert_error(&search(&mut ben, "needle", &within(&workspace)), 403, "forbidden");
    // The owner still sees a conversation that they have left.
    ann.post(&format!("/config/conversation/{shared}/leave"), json!({})).expect(200);
    assert_eq!(found(&mut ann, "needle"), anns);
}

#[test]
fn results_are_read_in_pages() {
    let server = Server::start(Options::new());
    let (mut ann, mut ben) = (User::new(&server, "ann"), User::new(&server, "ben"));
    let workspace = ann.create_workspace("w");
    let conversations: Vec<String> = (0..3).map(|n| ann.create_conversation(&workspace, &n.to_string(), &[])).collect();
    let bens = ben.start_conversation("ben's");
    let mut expected = Vec::new();
    for n in 0..45 {
        expected.push(ann.post_message(&conversations[n % 3], &format!("needle {n}")));
        ann.post_message(&conversations[n % 3], "hay");
        ben.post_message(&bens, "needle of ben");
    }
    expected.reverse();

    let page = |user: &mut User, parameters: &str| {
        let page = search(user, "needle", parameters).expect(200).json();
        let at_least = page["total_is_at_least"].as_u64().expect("a number") as usize;
        (ids(&json!(messages(&page))), at_least)
    };
    for limit in [1, 7, 15, 44, 45, 46, 100] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        while seen.len() < expected.len() {
            let remaining = expected.len() - seen.len();
            let (found, at_least) = page(&mut ann, &format!("&limit={limit}{cursor}"));
            assert_eq!(found.len(), remaining.min(limit));
            assert!((found.len()..=remaining).contains(&at_least), "{at_least} of {remaining}");
            assert_eq!(at_least > found.len(), remaining > limit, "more is announced");
            cursor = format!("&before={}", found[found.len() - 1]);
            seen.extend(found);
        }
        assert_eq!(seen, expected, "limit {limit}");
        assert_eq!(page(&mut ann, &format!("&limit={limit}{cursor}")), (vec![], 0));
    }
    assert_eq!(page(&mut ann, "").0, expected[..20], "the default limit");

    // With a filter, the pages have what it selects.
    let filter = format!("&conversation_id={}&workspace_id={workspace}&limit=10", conversations[0]);
    let of_first: Vec<String> = expected.iter().skip(2).step_by(3).cloned().collect();
    let (first, _) = page(&mut ann, &filter);
    assert_eq!(first, of_first[..10]);
    assert_eq!(page(&mut ann, &format!("{filter}&before={}", first[9])), (of_first[10..].to_vec(), 5));

    // A cursor is a place: it need not match, it may be in another conversation, and it may be deleted.
    let hay = ann.post_message(&conversations[1], "hay");
    let last = ann.post_message(&conversations[1], "needle");
    assert_eq!(page(&mut ann, &format!("&limit=1&before={hay}")).0, expected[..1]);
    assert_eq!(page(&mut ann, &format!("{filter}&before={}", last.to_uppercase())).0, of_first[..10]);
    ann.delete(&format!("/conversations/{}/messages/{hay}", conversations[1])).expect(200);
    assert_eq!(page(&mut ann, &format!("&limit=1&before={hay}")).0, expected[..1]);
    ann.delete(&format!("/conversations/{}/messages/{}", conversations[2], expected[0])).expect(200);
    assert_eq!(page(&mut ann, &format!("&limit=1&before={last}")).0, expected[1..2]);
    assert_eq!(page(&mut ann, &format!("&limit=1&before={}", expected[0])).0, expected[1..2]);
    // Another user's message is as unknown as one that does not exist.
    let of_ben = text(&search(&mut ben, "needle", "&limit=1").expect(200).json()["results"][0]["message"]["id"]);
    assert_invalid(&search(&mut ann, "needle", &format!("&before={of_ben}")), &["before"]);
}

#[test]
fn a_page_ends_early_at_eight_mebibytes() {
    const SIZE: usize = 1024 * 1024 - 16;
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("large");
    let mut expected: Vec<String> = (0..12)
        .map(|n| text(&ann.say(&conversation, &format!("needle {n:02}{}", "-".repeat(SIZE)))["message_id"]))
        .collect();
    expected.reverse();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let response = search(&mut ann, "needle", &format!("&limit=100{cursor}")).expect(200);
        assert!(response.body.len() <= LIST_BYTES_MAX);
        let page = response.json();
        let found = ids(&json!(messages(&page)));
        cursor = format!("&before={}", found[found.len() - 1]);
        let is_last = seen.len() + found.len() == expected.len();
        assert_eq!(response.header("X-Truncated"), (!is_last).then_some("true"));
        assert_eq!(page["total_is_at_least"].as_u64() > Some(found.len() as u64), !is_last);
        seen.extend(found);
        pages += 1;
        if is_last {
            break;
        }
    }
    assert_eq!((seen, pages), (expected, 2));
}

#[test]
fn changes_and_deletions_show_at_once() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let workspace = ann.create_workspace("w");
    let kept = ann.create_conversation(&workspace, "kept", &[]);
    for n in 0..50 {
        ann.say(&kept, &format!("word{n} needle"));
        assert_eq!(found(&mut ann, &format!("word{n}")), [format!("word{n} needle")], "found once acknowledged");
    }
    let begun = json!({"title": "begun", "initial_message": "the initial message"});
    ann.post("/conversations", begun).expect(200);
    assert_eq!(found(&mut ann, "initial"), ["the initial message"]);
    for role in ["assistant", "system"] {
        let body = json!({"content": format!("from {role}"), "role": role});
        ann.post(&format!("/conversations/{kept}/messages"), body).expect(200);
        assert_eq!(found(&mut ann, role), [format!("from {role}")]);
    }

    let id = ann.post_message(&kept, "an early version");
    let message = format!("/conversations/{kept}/messages/{id}");
    ann.put(&message, json!({"content": "a late version"})).expect(200);
    assert_eq!(found(&mut ann, "early"), [""; 0]);
    assert_eq!(found(&mut ann, "\"late version\""), ["a late version"]);
    ann.put(&message, json!({"metadata": {"early": "early"}})).expect(200);
    assert_eq!(found(&mut ann, "early"), [""; 0], "metadata is not searched");
    assert_eq!(found(&mut ann, "version"), ["a late version"]);
    ann.delete(&message).expect(200);
    assert_eq!(found(&mut ann, "version"), [""; 0]);

    let fleeting = ann.create_conversation(&workspace, "fleeting", &[]);
    ann.say(&fleeting, "a fleeting word");
    assert_eq!(found(&mut ann, "fleeting"), ["a fleeting word"]);
    ann.delete(&format!("/conversations/{fleeting}")).expect(200);
    assert_eq!(found(&mut ann, "fleeting"), [""; 0]);
    assert_error(&search(&mut ann, "needle", &format!("&conversation_id={fleeting}")), 404, "not_found");

    assert_eq!(found_with(&mut ann, "needle", &format!("&workspace_id={workspace}&limit=100")).len(), 50);
    ann.delete(&format!("/config/workspace/{workspace}")).expect(200);
    assert_eq!(found(&mut ann, "needle"), [""; 0]);
    assert_eq!(found(&mut ann, "word*"), [""; 0]);
    assert_error(&search(&mut ann, "needle", &format!("&workspace_id={workspace}")), 404, "not_found");
    assert_error(&search(&mut ann, "needle", &format!("&conversation_id={kept}")), 404, "not_found");
}

#[test]
fn messages_are_found_after_a_restart_and_after_a_kill() {
    let mut server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("t");
    let deleted = ann.post_message(&conversation, "needle, deleted");
    ann.post_message(&conversation, "needle one");
    ann.delete(&format!("/conversations/{conversation}/messages/{deleted}")).expect(200);
    server.stop();
    server.restart();
    ann.follow(&server);
    assert_eq!(found(&mut ann, "needle"), ["needle one"]);
    ann.post_message(&conversation, "needle two");
    server.kill();
    server.restart();
    ann.follow(&server);
    assert_eq!(found(&mut ann, "needle"), ["needle two", "needle one"]);
    assert_eq!(database::sound_message_contents(&server.database()), ["needle one", "needle two"]);
}

#[test]
fn answers_are_found() {
    let server = Server::start(Options::new().set("RESPONDER", "echo"));
    let mut ann = User::new(&server, "ann");
    let mut stream = ann.stream();
    let asked = text(&ann.say("default", "a needle")["message_id"]);
    let answer = stream.next_of("output");
    let page = search(&mut ann, "needle", "").expect(200).json();
    let found = messages(&page);
    assert_eq!(ids(&json!(found)), [text(&answer.data["data"]["message_id"]), asked.clone()]);
    assert_eq!((&found[0]["role"], &found[0]["sender_id"]), (&json!("assistant"), &json!("responder:echo")));
    assert_eq!(found[1]["answer"]["status"], "complete", "as the conversations API has it");

    // The answer is superseded, and still found.
    ann.post(&format!("/conversations/default/messages/{asked}/answer"), json!({})).expect(202);
    eventually("both answers are found", || {
        let page = search(&mut ann, "needle", "").expect(200).json();
        let mut statuses: Vec<String> = messages(&page).iter().map(|message| text(&message["status"])).collect();
        statuses.sort();
        statuses == ["complete", "complete", "superseded"]
    });
}

#[test]
fn a_snippet_shows_the_matches_on_one_line() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("t");
    ann.post_message(&conversation, "See you\r\n\tin <b>Zürich</b> & \"there\"\u{2028}tomorrow");
    let whole = snippet(&mut ann, "zurich");
    assert_eq!(marked(&whole), ["Zürich"], "{whole:?}");
    assert!(whole.contains(&format!("<b>{MATCH_START}Zürich{MATCH_END}</b> & \"there\"")), "as it was sent: {whole:?}");
    let is_line_break = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    assert!(!whole.contains(is_line_break), "{whole:?}");
    assert_eq!(marked(&snippet(&mut ann, "zur* tomorrow -needle")), ["Zürich", "tomorrow"]);
    let phrase = snippet(&mut ann, "\"you in\"");
    assert_eq!(marked(&phrase).join(" ").split_whitespace().collect::<Vec<_>>(), ["you", "in"], "{phrase:?}");

    // Of a long text, the snippet has the part with the first match.
    let hay = "hay ".repeat(10_000);
    ann.post_message(&conversation, &format!("{hay}the needle in it {hay}"));
    let part = snippet(&mut ann, "needle");
    assert_eq!(marked(&part), ["needle"]);
    assert!(part.chars().count() <= 1000, "{} characters", part.chars().count());
    assert!(part.contains(&format!("the {MATCH_START}needle{MATCH_END} in")), "{part:?}");
    let unbroken = "x".repeat(100_000);
    ann.post_message(&conversation, &format!("{unbroken} é pin é {unbroken}"));
    let part = snippet(&mut ann, "pin");
    assert_eq!(marked(&part), ["pin"]);
    assert!(part.chars().count() <= 1000, "{} characters", part.chars().count());
}

#[test]
fn a_text_with_marks_does_not_forge_a_match() {
    let server = Server::start(Options::new());
    let mut ann = User::new(&server, "ann");
    let conversation = ann.start_conversation("t");
    let contents = [
        format!("{MATCH_END} needle {MATCH_START} forged {MATCH_END}"),
        format!("{MATCH_START}{MATCH_START} pin {MATCH_END}"),
    ];
    for content in &contents {
        ann.post_message(&conversation, content);
    }
    for (query, content) in [("needle", &contents[0]), ("pin", &contents[1])] {
        assert_eq!(marked(&snippet(&mut ann, query)), [query]);
        assert_eq!(found(&mut ann, query), [content.as_str()], "the message itself is as it was sent");
    }
}

#[test]
fn searches_count_against_the_rate_limit() {
    let server = Server::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "2")]);
    let mut ann = User::new(&server, "ann");
    let responses: Vec<Response> = (0..5).map(|_| search(&mut ann, "a", "")).collect();
    assert!(responses[..2].iter().all(|response| response.status == 200));
    let rejected = responses.iter().find(|response| response.status == 429).expect("a rejected search");
    assert_error(rejected, 429, "rate_limited");
}
