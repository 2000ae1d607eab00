use super::*;
use crate::domain::id::EventNumber;

/// Splits `a=1&b=2` without decoding.
fn pairs(query: &str) -> Vec<QueryPair<'_>> {
    fn split(pair: &str) -> QueryPair<'_> {
        let (name, value) = pair.split_once('=').unwrap();
        (name.into(), value.into())
    }
    query.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

fn rejected_fields<T>(result: Result<T, FieldErrors>) -> Vec<(&'static str, String)> {
    result.err().unwrap_or_default()
}

#[test]
fn spans() {
    let good = [
        ("", 100, 0),
        ("limit=1", 1, 0),
        ("limit=1000&offset=0", 1000, 0),
        ("offset=9223372036854775807&other=x", 100, i64::MAX as u64),
        ("limit=007", 7, 0),
    ];
    for (query, limit, offset) in good {
        assert_eq!(pagination(&pairs(query)), Ok(Pagination { limit, offset }), "{query}");
    }
    let (limit, offset) = ("must be a whole number from 1 to 1000", "must be a whole number from 0");
    let bad = [
        ("limit=0", vec![("limit", limit)]),
        ("limit=1001", vec![("limit", limit)]),
        ("limit=", vec![("limit", limit)]),
        ("limit=+5", vec![("limit", limit)]),
        ("limit=5.0", vec![("limit", limit)]),
        ("limit=٣", vec![("limit", limit)]),
        ("limit=99999999999999999999", vec![("limit", limit)]),
        ("limit=-1&offset=-1", vec![("limit", limit), ("offset", offset)]),
        ("offset=x", vec![("offset", offset)]),
        ("offset=9223372036854775808", vec![("offset", offset)]),
        ("limit=1&limit=1", vec![("limit", "must be given once")]),
    ];
    for (query, expected) in bad {
        let expected: Vec<_> = expected.into_iter().map(|(name, rule)| (name, rule.to_owned())).collect();
        assert_eq!(rejected_fields(pagination(&pairs(query))), expected, "{query}");
    }
}

#[test]
fn conversation_lists() {
    let list = conversation_list(&pairs("workspace_id=w&limit=5&offset=2")).unwrap();
    assert_eq!(list, ConversationList { workspace_id: "w".into(), pagination: Pagination { limit: 5, offset: 2 } });
    let bad = rejected_fields(conversation_list(&pairs("limit=0")));
    assert_eq!(bad[0], ("workspace_id", "is required".into()));
    assert_eq!(bad[1].0, "limit");
    let bad = rejected_fields(conversation_list(&pairs("workspace_id=a&workspace_id=a")));
    assert_eq!(bad, [("workspace_id", "must be given once".into())]);
}

#[test]
fn searches() {
    const ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";
    let term = |words: &str| SearchTerm { words: words.into(), is_prefix: false, is_excluded: false };
    let bare =
        SearchParameters { terms: vec![term("a")], conversation_id: None, workspace_id: None, limit: 20, before: None };
    assert_eq!(search(&pairs("q=a&offset=x")), Ok(bare.clone()));
    let full = SearchParameters {
        terms: vec![term("a"), SearchTerm { is_excluded: true, ..term("b c") }],
        conversation_id: Some("default".into()),
        workspace_id: Some("w".into()),
        limit: SEARCH_LIMIT_MAX,
        before: MessageId::parse(ID),
    };
    let query = format!("before={}&limit=100&workspace_id=w&conversation_id=default&q=a -\"b c\"", ID.to_uppercase());
    assert_eq!(search(&pairs(&query)), Ok(full));
    assert_eq!(search(&pairs("q=a&limit=1")), Ok(SearchParameters { limit: 1, ..bare }));

    let limit = ("limit", "must be a whole number from 1 to 100");
    let before = ("before", "must be the id of a message");
    let once = "must be given once";
    let bad = [
        ("", vec![("q", "is required")]),
        ("q=", vec![("q", "must have a word to search for")]),
        ("q=a *", vec![("q", "character 3: * must be at the end of a word or after a closing quote")]),
        ("q=a&q=a", vec![("q", once)]),
        ("limit=0&before=x", vec![("q", "is required"), limit, before]),
        ("q=a&limit=101", vec![limit]),
        ("q=a&limit=", vec![limit]),
        ("q=a&before=", vec![before]),
        ("q=a&before=default", vec![before]),
        (
            "q=\"&conversation_id=&conversation_id=&workspace_id=w&workspace_id=w&limit=+1&before=a&before=a",
            vec![
                ("q", "character 1: the quote is not closed"),
                ("conversation_id", once),
                ("workspace_id", once),
                limit,
                ("before", once),
            ],
        ),
    ];
    for (query, expected) in bad {
        let expected: Vec<_> = expected.into_iter().map(|(name, rule)| (name, rule.to_owned())).collect();
        assert_eq!(rejected_fields(search(&pairs(query))), expected, "{query}");
    }
}

#[test]
fn chats_and_their_messages() {
    let pagination = |limit, offset| Pagination { limit, offset };
    let list = |query| conversation_view_list(&pairs(query));
    assert_eq!(list(""), Ok(ConversationViewList { pagination: pagination(100, 0), with_messages: false }));
    let with_messages = ConversationViewList { pagination: pagination(3, 5), with_messages: true };
    assert_eq!(list("limit=3&offset=5&include=messages"), Ok(with_messages));
    assert_eq!(rejected_fields(list("include=all")), [("include", "must be messages".to_owned())]);
    assert_eq!(
        rejected_fields(list("include=messages&include=messages")),
        [("include", "must be given once".to_owned())]
    );
    assert_eq!(rejected_fields(list("limit=0&offset=x&include=")).len(), 3);

    const ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";
    let id = MessageId::parse(ID).unwrap();
    let list = |query: &str| message_list(&pairs(query));
    let good = [
        (String::new(), MessageCursor::First, 100),
        (format!("before={ID}&limit=1000"), MessageCursor::Before(id), 1000),
        (format!("after={}", ID.to_uppercase()), MessageCursor::After(id), 100),
    ];
    for (query, cursor, limit) in good {
        assert_eq!(list(&query), Ok(MessageList { cursor, limit, with_reasoning: false }), "{query}");
        let with_reasoning = MessageList { cursor, limit, with_reasoning: true };
        assert_eq!(list(&format!("{query}&include=reasoning")), Ok(with_reasoning), "{query}");
    }
    let bad = [
        ("before=x".to_owned(), vec!["before"]),
        ("after=".to_owned(), vec!["after"]),
        ("limit=1001&before=default&after=7".to_owned(), vec!["limit", "before", "after"]),
        (format!("before={ID}&after={ID}"), vec!["before"]),
        (format!("before={ID}&before={ID}"), vec!["before"]),
        ("include=messages".to_owned(), vec!["include"]),
    ];
    for (query, fields) in bad {
        let named: Vec<&str> = rejected_fields(list(&query)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, fields, "{query}");
    }
}

#[test]
fn reasoning_of_one_message() {
    assert_eq!([message(&pairs("")), message(&pairs("include=reasoning"))], [Ok(false), Ok(true)]);
    assert_eq!(rejected_fields(message(&pairs("include=all"))), [("include", "must be reasoning".to_owned())]);
}

#[test]
fn days_of_usage() {
    let today = Day::parse("2026-03-01").unwrap();
    let good = [
        ("", ("2026-01-31", "2026-03-01", UsageBy::Day)),
        ("by=model&to=2026-01-31", ("2026-01-02", "2026-01-31", UsageBy::Model)),
        ("by=conversation&from=2026-03-01", ("2026-03-01", "2026-03-01", UsageBy::Conversation)),
        ("by=day&from=2025-03-01&to=2026-03-01", ("2025-03-01", "2026-03-01", UsageBy::Day)),
    ];
    for (query, (from, to, by)) in good {
        let days = DayRange { from: Day::parse(from).unwrap(), to: Day::parse(to).unwrap() };
        assert_eq!(usage(&pairs(query), today), Ok((days, by)), "{query}");
    }
    let bad = [
        ("from=2026-3-1", vec!["from"]),
        ("to=tomorrow&by=user", vec!["to", "by"]),
        ("from=2026-03-02", vec!["from"]),
        ("from=2025-02-28&to=2026-03-01", vec!["from"]),
        ("by=day&by=day", vec!["by"]),
    ];
    for (query, fields) in bad {
        let named: Vec<&str> = rejected_fields(usage(&pairs(query), today)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, fields, "{query}");
    }
}

#[test]
fn ids_of_users() {
    let good = [
        ("ids=a", vec!["a"]),
        ("ids=b,a,b", vec!["b", "a"]),
        ("ids=a,responder:echo,c", vec!["a", "c"]),
        ("ids=responder:echo", vec![]),
    ];
    for (query, expected) in good {
        let ids = user_ids(&pairs(query)).unwrap();
        assert_eq!(ids.iter().map(UserId::as_str).collect::<Vec<_>>(), expected, "{query}");
    }
    let many = |count: usize| format!("ids={}", (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    assert_eq!(user_ids(&pairs(&many(1000))).unwrap().len(), 1000);
    let bad = [
        ("".into(), "is required"),
        ("ids=".into(), "item 1 must be 1 to 255 characters"),
        ("ids=a,,b".into(), "item 2 must be 1 to 255 characters"),
        (format!("ids={}a", "a,".repeat(1000)), "must be at most 1000 ids"),
        (format!("ids={}a", "responder:echo,".repeat(1000)), "must be at most 1000 ids"),
        (format!("ids=a,{}", "x".repeat(256)), "item 2 must be 1 to 255 characters"),
        (many(1001), "must be at most 1000 ids"),
        ("ids=a&ids=b".into(), "must be given once"),
    ];
    for (query, rule) in bad {
        assert_eq!(rejected_fields(user_ids(&pairs(&query))), [("ids", rule.to_owned())], "{query}");
    }
}

#[test]
fn streams() {
    let plain = stream(&pairs("")).unwrap();
    let all = StreamQuery {
        conversation_id: None,
        workspace_id: None,
        kinds: KindSet::ALL,
        named: false,
        last_event_id: LastEventId::Absent,
    };
    assert_eq!(plain, all);
    let query = "conversation_id=default&workspace_id=w&named=true&last_event_id=18446744073709551615&token=t&x=y";
    let expected = StreamQuery {
        conversation_id: Some("default".into()),
        workspace_id: Some("w".into()),
        named: true,
        last_event_id: LastEventId::Number(EventNumber(u64::MAX)),
        ..all
    };
    assert_eq!(stream(&pairs(query)).unwrap(), expected);
    for (query, named) in [("named=1", true), ("named=true", true), ("named=0", false), ("named=false", false)] {
        assert_eq!(stream(&pairs(query)).unwrap().named, named, "{query}");
    }
}

#[test]
fn kinds_of_streams() {
    use EventKind::*;
    let table: [(&str, &[EventKind]); 6] = [
        ("input", &[Input]),
        ("output", EventKind::OF_ANSWERS),
        ("answer_status,output_reasoning_delta", &[AnswerStatus, OutputReasoningDelta]),
        ("input,output_error,input", &[Input, OutputError]),
        ("output_delta", &[OutputDelta]),
        ("heartbeat", &[]),
    ];
    for (types, expected) in table {
        let kinds = stream(&pairs(&format!("types={types}"))).unwrap().kinds;
        for kind in EventKind::ALL {
            let wanted = expected.contains(kind) || kind.is_control();
            assert_eq!(kinds.has(*kind), wanted, "{types} {}", kind.as_str());
        }
    }
    for (types, named) in [("", ""), ("input,", ""), ("Input", "Input"), ("input,foo,bar", "foo"), (" input", " input")]
    {
        let bad = rejected_fields(stream(&pairs(&format!("types={types}"))));
        assert_eq!(bad, [("types", format!("names an unknown kind \"{named}\""))], "{types}");
    }
}

#[test]
fn every_bad_parameter_of_a_stream_is_named() {
    let once = "must be given once";
    let twice = ["conversation_id", "workspace_id", "types", "named", "ticket", "access_token", "token"];
    for name in twice {
        let bad = rejected_fields(stream(&pairs(&format!("{name}=1&{name}=1"))));
        assert_eq!(bad, [(name, once.to_owned())]);
    }
    let number = "must be a whole number from 0";
    for value in ["x", "-1", "%2B1", "1 2", "1.0", "0x1", "1,x", "18446744073709551616"] {
        let bad = rejected_fields(stream(&pairs(&format!("last_event_id={value}"))));
        assert_eq!(bad, [("last_event_id", number.to_owned())], "{value}");
    }
    let bad = rejected_fields(stream(&pairs("types=x&named=yes&last_event_id=y&token=1&token=2")));
    let expected = [
        ("types", "names an unknown kind \"x\"".to_owned()),
        ("named", "must be true or false".to_owned()),
        ("last_event_id", number.to_owned()),
        ("token", once.to_owned()),
    ];
    assert_eq!(bad, expected);
}

#[test]
fn clients_spell_the_position_in_several_ways() {
    let table = [
        ("last_event_id=5", Some(5)),
        ("lastEventId=5", Some(5)),
        ("lastEventID=5", Some(5)),
        ("Last-Event-ID=5", Some(5)),
        ("LASTEVENTID=5", Some(5)),
        ("lastEventId=5&last_event_id=9", Some(9)),
        ("lastEventId=9&lastEventId=5", Some(9)),
        ("last_event_id=1,8", Some(8)),
        ("last_event_id=", None),
        ("last_event_id=&lastEventId=7", Some(7)),
        ("lastEvent=5", None),
    ];
    for (query, expected) in table {
        let expected = expected.map_or(LastEventId::Absent, |number| LastEventId::Number(EventNumber(number)));
        assert_eq!(stream(&pairs(query)).unwrap().last_event_id, expected, "{query}");
    }
}

#[test]
fn login_forms() {
    let login = login_form(&pairs("grant_type=password&username=u&password=p w&scope=")).ok().unwrap();
    assert_eq!((login.email.as_str(), login.password.as_str()), ("u", "p w"));
    let long = format!("username={}&password={}", "x".repeat(321), "x".repeat(801));
    let (email, password) = ("must be 1 to 320 characters", "must be 1 to 200 characters");
    let bad = [
        ("", "is required", "is required"),
        ("username=&password=", email, password),
        (&long, email, password),
        ("username=a&username=a&password=p&password=p", "must be given once", "must be given once"),
    ];
    for (form, username, password) in bad {
        let expected = [("username", username.to_owned()), ("password", password.to_owned())];
        assert_eq!(rejected_fields(login_form(&pairs(form))), expected, "{form}");
    }
}
