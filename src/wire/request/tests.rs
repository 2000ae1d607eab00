//! The accepted and the rejected bodies of each endpoint, rule by rule.

use super::*;

/// An endpoint, by name: a function from a body to its error.
type BodyParser = fn(&[u8]) -> Option<InvalidBody>;

/// An endpoint, a body, and the rejected fields, each with the violated rule.
type BodyCase<'a> = (&'a str, String, Vec<(&'static str, &'a str)>);

const PARSERS: [(&str, BodyParser); 11] = [
    ("post_input", |body| post_input(body).err()),
    ("new_workspace", |body| new_workspace(body).err()),
    ("workspace_change", |body| workspace_change(body).err()),
    ("new_conversation", |body| new_conversation(body).err()),
    ("conversation_change", |body| conversation_change(body).err()),
    ("login", |body| login(body).err()),
    ("password_change", |body| password_change(body).err()),
    ("new_conversation_view", |body| new_conversation_view(body).err()),
    ("conversation_view_change", |body| conversation_view_change(body).err()),
    ("new_message", |body| new_message(body).err()),
    ("message_change", |body| message_change(body).err()),
];

fn reader(name: &str) -> BodyParser {
    PARSERS.iter().find(|(known, _)| *known == name).expect("the table names readers").1
}

fn rejected_fields(name: &str, body: &str) -> Vec<(&'static str, String)> {
    match reader(name)(body.as_bytes()) {
        Some(InvalidBody::Fields(invalid)) => invalid,
        None => Vec::new(),
        Some(InvalidBody::Json(error)) => panic!("{name} {body}: {error}"),
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place_by_every_endpoint() {
    let table: [(&str, &[u8], &str); 22] = [
        ("empty", b"", "a JSON body is expected"),
        ("only white space", b" \r\n\t ", "a JSON body is expected"),
        ("no JSON", b"hello", "expected value at line 1 column 1"),
        ("single quotes", b"{'a':1}", "key must be a string at line 1 column 2"),
        ("cut off in an object", b"{\"a\":1", "EOF while parsing an object at line 1 column 6"),
        ("cut off in a string", b"{\"a", "EOF while parsing a string at line 1 column 3"),
        ("cut off in a value", b"{\"a\":", "EOF while parsing a value at line 1 column 5"),
        ("trailing comma", b"{\"a\":1,}", "line 1 column 8"),
        ("missing comma", b"{\"a\":1 \"b\":2}", "expected `,` or `}` at line 1 column 8"),
        ("missing colon", b"{\"a\" 1}", "expected `:` at line 1 column 6"),
        ("two values", b"{} {}", "trailing characters at line 1 column 4"),
        ("on the third line", b"{\n\"a\":1,\n  x}", "line 3 column 3"),
        ("raw newline in a string", b"{\"a\":\"x\ny\"}", "control character"),
        ("raw tab in a string", b"{\"a\":\"x\ty\"}", "control character"),
        ("unknown escape", b"{\"a\":\"\\x41\"}", "invalid escape at line 1 column 8"),
        ("short escape", b"{\"a\":\"\\u12\"}", "invalid escape"),
        ("leading zero", b"{\"a\":01}", "invalid number at line 1 column 7"),
        ("leading plus", b"{\"a\":+1}", "expected value at line 1 column 6"),
        ("NaN", b"{\"a\":NaN}", "expected value at line 1 column 6"),
        ("byte order mark", b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        ("no UTF-8", b"{\n\"a\":\"\xff\"}", "invalid UTF-8 at line 2 column 6"),
        ("a surrogate in UTF-8", b"{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8 at line 1 column 7"),
    ];
    for (what, body, expected) in table {
        for (name, reader) in PARSERS {
            match reader(body) {
                Some(InvalidBody::Json(error)) => assert!(error.contains(expected), "{name}, {what}: {error}"),
                other => panic!("{name}, {what}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_body_that_is_no_object_is_told_so_by_every_endpoint() {
    for body in ["null", "[]", "[{}]", "\"{}\"", "1", " true "] {
        for (name, _) in PARSERS {
            assert_eq!(rejected_fields(name, body), [("body", "must be a JSON object".to_owned())], "{name} {body}");
        }
    }
}

#[test]
fn every_rule_of_every_field() {
    let long = |chars: usize| format!("\"{}\"", "é".repeat(chars));
    let ids = |count: usize| (0..count).map(|n| format!("\"u{n}\"")).collect::<Vec<_>>().join(",");
    let string = "must be a string";
    let (once, required) = ("must be given once", "is required");
    let mut table: Vec<BodyCase> = vec![
        ("post_input", "{}".into(), vec![("content", required)]),
        (
            "post_input",
            r#"{"content":"","metadata":[]}"#.into(),
            vec![("content", "must have something other than white space"), ("metadata", "must be a JSON object")],
        ),
        (
            "post_input",
            r#"{"content":" \n\u3000"}"#.into(),
            vec![("content", "must have something other than white space")],
        ),
        ("post_input", r#"{"content":null}"#.into(), vec![("content", string)]),
        (
            "post_input",
            r#"{"content":1,"conversation_id":2,"metadata":3}"#.into(),
            vec![("content", string), ("conversation_id", string), ("metadata", "must be a JSON object")],
        ),
        ("post_input", r#"{"content":["a"]}"#.into(), vec![("content", string)]),
        ("post_input", r#"{"content":{"a":"b"}}"#.into(), vec![("content", string)]),
        ("post_input", r#"{"content":true}"#.into(), vec![("content", string)]),
        ("post_input", r#"{"content":"a","content":"a"}"#.into(), vec![("content", once)]),
        ("post_input", r#"{"content":"a","c\u006fntent":1,"content":null}"#.into(), vec![("content", once)]),
        ("post_input", r#"{"content":"a","metadata":{},"metadata":{}}"#.into(), vec![("metadata", once)]),
        ("post_input", r#"{"content":"a","metadata":null}"#.into(), vec![("metadata", "must be a JSON object")]),
        ("post_input", r#"{"content":"a","conversation_id":null}"#.into(), vec![]),
        ("post_input", r#"{"content":"a","conversation_id":""}"#.into(), vec![]),
        ("post_input", r#"{"content":"a","Content":1,"x":1,"x":[{}]}"#.into(), vec![]),
        ("post_input", format!("{{\"content\":\"{}\"}}", "x".repeat(CONTENT_BYTES_MAX)), vec![]),
        (
            "post_input",
            format!("{{\"content\":\"{}\"}}", "x".repeat(CONTENT_BYTES_MAX + 1)),
            vec![("content", "must be at most 1 MiB of UTF-8")],
        ),
        (
            "post_input",
            format!("{{\"content\":\"a\",\"metadata\":{{\"a\":{}}}}}", long(40_000)),
            vec![("metadata", "must be at most 64 KiB without white space between tokens")],
        ),
        (
            "post_input",
            format!("{{\"content\":\"a\",\"metadata\":{}{}}}", "{\"a\":".repeat(65), "1".to_owned() + &"}".repeat(65)),
            vec![("metadata", "must be at most 64 levels deep")],
        ),
        ("new_workspace", "{}".into(), vec![("name", required), ("description", required)]),
        (
            "new_workspace",
            r#"{"name":"","description":""}"#.into(),
            vec![("name", "must be 1 to 100 characters"), ("description", "must be 1 to 500 characters")],
        ),
        ("new_workspace", format!("{{\"name\":{},\"description\":{}}}", long(100), long(500)), vec![]),
        (
            "new_workspace",
            format!("{{\"name\":{},\"description\":{}}}", long(101), long(501)),
            vec![("name", "must be 1 to 100 characters"), ("description", "must be 1 to 500 characters")],
        ),
        ("new_workspace", r#"{"name":" ","description":" "}"#.into(), vec![]),
        (
            "new_workspace",
            r#"{"name":null,"description":null,"metadata":"x"}"#.into(),
            vec![("name", string), ("description", string), ("metadata", "must be a JSON object")],
        ),
        (
            "new_workspace",
            r#"{"name":"a","name":"a","description":"d","description":1}"#.into(),
            vec![("name", once), ("description", once)],
        ),
        ("workspace_change", "{}".into(), vec![]),
        ("workspace_change", r#"{"name":null,"description":null}"#.into(), vec![]),
        ("workspace_change", r#"{"metadata":null}"#.into(), vec![("metadata", "must be a JSON object")]),
        (
            "workspace_change",
            r#"{"name":"","description":[],"metadata":1}"#.into(),
            vec![
                ("name", "must be 1 to 100 characters"),
                ("description", string),
                ("metadata", "must be a JSON object"),
            ],
        ),
        ("workspace_change", r#"{"name":null,"name":null}"#.into(), vec![("name", once)]),
        ("new_conversation", "{}".into(), vec![("workspace_id", required), ("topic", required)]),
        (
            "new_conversation",
            r#"{"workspace_id":null,"topic":null,"participant_ids":null}"#.into(),
            vec![("workspace_id", string), ("topic", string)],
        ),
        ("new_conversation", format!("{{\"workspace_id\":\"w\",\"topic\":{}}}", long(200)), vec![]),
        (
            "new_conversation",
            format!("{{\"workspace_id\":\"w\",\"topic\":{}}}", long(201)),
            vec![("topic", "must be 1 to 200 characters")],
        ),
        (
            "new_conversation",
            r#"{"workspace_id":"w","topic":"","participant_ids":"a","metadata":[1]}"#.into(),
            vec![
                ("topic", "must be 1 to 200 characters"),
                ("participant_ids", "must be an array of strings"),
                ("metadata", "must be a JSON object"),
            ],
        ),
        ("conversation_change", "{}".into(), vec![]),
        ("conversation_change", r#"{"topic":null,"participant_ids":null}"#.into(), vec![]),
        (
            "conversation_change",
            r#"{"topic":"","metadata":null}"#.into(),
            vec![("topic", "must be 1 to 200 characters"), ("metadata", "must be a JSON object")],
        ),
        ("login", "{}".into(), vec![("email", required), ("password", required)]),
        (
            "login",
            r#"{"email":"","password":""}"#.into(),
            vec![("email", "must be 1 to 320 characters"), ("password", "must be 1 to 200 characters")],
        ),
        ("login", r#"{"username":1,"password":null}"#.into(), vec![("username", string), ("password", string)]),
        ("login", r#"{"email":"a","email":"a","password":"p"}"#.into(), vec![("email", once)]),
        ("login", r#"{"username":"a","username":"a","password":"p"}"#.into(), vec![("username", once)]),
        ("login", r#"{"email":null,"username":"a","password":"p"}"#.into(), vec![]),
        ("login", r#"{"email":null,"password":"p"}"#.into(), vec![("email", string)]),
        ("login", format!("{{\"email\":{},\"password\":{}}}", long(320), long(400)), vec![]),
        (
            "login",
            format!("{{\"email\":{},\"password\":{}}}", long(321), long(401)),
            vec![("email", "must be 1 to 320 characters"), ("password", "must be 1 to 200 characters")],
        ),
        ("password_change", "{}".into(), vec![("current_password", required), ("new_password", required)]),
        (
            "password_change",
            format!("{{\"current_password\":\"\",\"new_password\":{}}}", long(11)),
            vec![("current_password", "must be 1 to 200 characters"), ("new_password", "must be 12 to 200 characters")],
        ),
        ("password_change", format!("{{\"current_password\":\"x\",\"new_password\":{}}}", long(12)), vec![]),
        ("password_change", format!("{{\"current_password\":\"x\",\"new_password\":{}}}", long(200)), vec![]),
        (
            "password_change",
            format!("{{\"current_password\":1,\"new_password\":{}}}", long(201)),
            vec![("current_password", string), ("new_password", "must be 12 to 200 characters")],
        ),
    ];
    let participants: Vec<(String, Option<&str>)> = vec![
        ("[]".into(), None),
        (format!("[{}]", ids(256)), None),
        (format!("[{},{}]", ids(128), ids(128)), None),
        (format!("[{},{}]", ids(256), ids(1)), Some("must be at most 256 ids")),
        (format!("[{}]", ["\"a\""; 257].join(",")), Some("must be at most 256 ids")),
        (format!("[{}]", ids(257)), Some("must be at most 256 ids")),
        ("{}".into(), Some("must be an array of strings")),
        ("1".into(), Some("must be an array of strings")),
        (r#"["a",null]"#.into(), Some("item 2 must be a string")),
        (r#"["a","b",["c"]]"#.into(), Some("item 3 must be a string")),
        (r#"["a","b",""]"#.into(), Some("item 3 must be 1 to 255 characters")),
        (format!("[{}]", long(255)), None),
        (format!("[{}]", long(256)), Some("item 1 must be 1 to 255 characters")),
        (r#"["responder:echo"]"#.into(), Some("item 1 must not start with \"responder:\"")),
        ("[],\"participant_ids\":[]".into(), Some(once)),
    ];
    for (value, rule) in &participants {
        let expected: Vec<_> = rule.iter().map(|rule| ("participant_ids", *rule)).collect();
        let created = format!("{{\"workspace_id\":\"w\",\"topic\":\"t\",\"participant_ids\":{value}}}");
        table.push(("new_conversation", created, expected.clone()));
        table.push(("conversation_change", format!("{{\"participant_ids\":{value}}}"), expected));
    }
    for (name, body, expected) in table {
        let expected: Vec<_> = expected.into_iter().map(|(field, rule)| (field, rule.to_owned())).collect();
        assert_eq!(rejected_fields(name, &body), expected, "{name} {}", body.chars().take(200).collect::<String>());
    }
}

#[test]
fn chats_and_their_messages() {
    let role = "must be \"user\", \"assistant\" or \"system\"";
    let too_long = "must be at most 1 MiB of UTF-8";
    let blank = "must have something other than white space";
    let long = "x".repeat(CONTENT_BYTES_MAX + 1);
    let table: Vec<BodyCase> = vec![
        ("new_conversation_view", "{}".into(), vec![("title", "is required")]),
        (
            "new_conversation_view",
            format!(r#"{{"title":"","initial_message":"{long}","workspace_id":1,"metadata":1}}"#),
            vec![
                ("title", "must be 1 to 200 characters"),
                ("initial_message", too_long),
                ("workspace_id", "must be a string"),
                ("metadata", "must be a JSON object"),
            ],
        ),
        ("conversation_view_change", r#"{"topic":1,"messages":2}"#.into(), vec![]),
        ("new_message", "{}".into(), vec![("content", "is required")]),
        ("new_message", r#"{"content":" ","role":"tool"}"#.into(), vec![("content", blank), ("role", role)]),
        ("message_change", "{}".into(), vec![]),
        ("message_change", r#"{"content":"","role":7}"#.into(), vec![("content", blank)]),
    ];
    for (name, body, expected) in table {
        let expected: Vec<_> = expected.into_iter().map(|(field, rule)| (field, rule.to_owned())).collect();
        assert_eq!(rejected_fields(name, &body), expected, "{name} {}", body.chars().take(200).collect::<String>());
    }
    let made = new_conversation_view(br#"{"title":"t","initial_message":null,"workspace_id":"w"}"#).unwrap();
    let (title, workspace_id) = (Topic::new("t").unwrap(), Some("w".to_owned()));
    assert_eq!(made, NewConversationView { title, initial_message: None, workspace_id, metadata: Metadata::empty() });
    let said = new_message(r#"{"content":" é ","role":"system","metadata":{ "a":1}}"#.as_bytes()).unwrap();
    assert_eq!((said.content.as_str(), said.role, said.metadata.as_str()), (" é ", Role::System, r#"{"a":1}"#));
    let change = message_change(br#"{"content":null,"metadata":{"a":null}}"#).unwrap();
    assert_eq!(change, MessageChange { content: None, metadata: Some(Metadata::new_unchecked(r#"{"a":null}"#)) });
}

#[test]
fn values_arrive() {
    let input =
        post_input(b" {\"metadata\" : { \"b\":1.10 , \"a\":2},\"conversation_id\":\"default\",\"c\\u006fntent\":\"h\\u00e9\\n\"}\n");
    assert_eq!(
        input.unwrap(),
        PostInput {
            content: Content::new("hé\n").unwrap(),
            conversation_id: Some("default".into()),
            metadata: Metadata::new_unchecked(r#"{"b":1.10,"a":2}"#),
        }
    );
    let plain = post_input(br#"{"content":"a"}"#).unwrap();
    assert_eq!((plain.conversation_id, plain.metadata), (None, Metadata::empty()));

    let made = new_workspace(br#"{"name":" n ","description":"d"}"#).unwrap();
    assert_eq!((made.name.as_str(), made.description.as_str(), made.metadata.as_str()), (" n ", "d", "{}"));

    let change = workspace_change(br#"{"description":"d","name":null}"#).unwrap();
    let description = Some(WorkspaceDescription::new("d").unwrap());
    assert_eq!(change, WorkspaceChange { name: None, description, metadata: None });
    assert_eq!(workspace_change(br#"{"metadata":{"a":null}}"#).unwrap().metadata.unwrap().as_str(), r#"{"a":null}"#);

    let made = new_conversation(br#"{"workspace_id":"w","topic":"t","participant_ids":["b","a","\u0062","c","a"]}"#);
    let made = made.unwrap();
    assert_eq!((made.workspace_id.as_str(), made.topic.as_str(), made.metadata.as_str()), ("w", "t", "{}"));
    assert_eq!(made.participants.iter().map(UserId::as_str).collect::<Vec<_>>(), ["b", "a", "c"]);

    let change = conversation_change(br#"{"topic":"t","participant_ids":[]}"#).unwrap();
    let topic = Some(Topic::new("t").unwrap());
    assert_eq!(change, ConversationChange { topic, participants: Some(vec![]), metadata: None });

    for (body, email) in [
        (r#"{"email":"a@b","password":"p"}"#, "a@b"),
        (r#"{"username":"u","password":"p"}"#, "u"),
        (r#"{"username":"u","email":"e","password":"p"}"#, "e"),
    ] {
        let login = login(body.as_bytes()).ok().unwrap();
        assert_eq!((login.email.as_str(), login.password.as_str()), (email, "p"), "{body}");
    }
    let change = password_change(br#"{"current_password":"c","new_password":"123456789012"}"#).ok().unwrap();
    assert_eq!((change.current.as_str(), change.new.as_str()), ("c", "123456789012"));
}

#[test]
fn lone_surrogates_are_no_text_but_stay_in_metadata() {
    let table = [
        ("post_input", "{\"content\":\"ab\\ud800\"}", "line 1 column 15"),
        ("post_input", "{\n\"content\":1,\n \"conversation_id\":\"\\udc00x\"}", "line 3 column 21"),
        ("conversation_change", "{\"topic\":\"\",\"participant_ids\":[\"a\",\"\\ud83dx\"]}", "line 1 column 37"),
    ];
    for (name, body, place) in table {
        match reader(name)(body.as_bytes()) {
            Some(InvalidBody::Json(error)) => {
                assert_eq!(error, format!("lone surrogate in a string at {place}"), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
    let kept = r#"{"content":"a","metadata":{"\ud800":"\udc00"},"\udfff":"\ud800"}"#;
    assert_eq!(post_input(kept.as_bytes()).unwrap().metadata.as_str(), r#"{"\ud800":"\udc00"}"#);
}

#[test]
fn depth_exhausts_nothing() {
    const LEVELS: usize = 100_000;
    let arrays = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let objects = format!("{}1{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    for deep in [&arrays, &objects] {
        assert_eq!(rejected_fields("post_input", &format!("{{\"content\":\"a\",\"x\":{deep}}}")), []);
        let expected = [("metadata", "must be at most 64 levels deep".to_owned())];
        assert_eq!(
            rejected_fields("post_input", &format!("{{\"content\":\"a\",\"metadata\":{{\"a\":{deep}}}}}")),
            expected
        );
        let expected = [("content", "must be a string".to_owned())];
        assert_eq!(rejected_fields("post_input", &format!("{{\"content\":{deep}}}")), expected);
        let expected = [("participant_ids", "item 1 must be a string".to_owned())];
        assert_eq!(rejected_fields("conversation_change", &format!("{{\"participant_ids\":[{deep}]}}")), expected);
    }
    assert!(rejected_fields("post_input", &arrays)[0].0 == "body");
    let unclosed = post_input(&arrays.as_bytes()[..LEVELS]);
    assert!(matches!(unclosed, Err(InvalidBody::Json(_))));
}
