use super::*;
use crate::wire::json;

const ID: &str = "0190c42e-8d3f-7123-9abc-0123456789ab";
const AT: &str = "2026-01-31T09:15:30.123456Z";

fn lines() -> Vec<String> {
    vec![
        format!(
            r#"{{"type":"header","format":"cortex-core-export","version":2,"id_key":"000102030405060708090a0b0c0d0e0f","epoch":"{ID}","position":77,"at":"{AT}"}}"#
        ),
        format!(
            r#"{{"type":"user","id":"u\"é","name":"","email":"a@b","created_at":"{AT}","access":"deleted","tokens_since":"{AT}","token_generation":7,"password":"$argon2id$x","default_workspace_id":"{ID}","default_conversation_id":"{ID}","removed_through":5}}"#
        ),
        format!(
            r#"{{"type":"user","id":"responder:echo","name":"echo","email":"","created_at":"{AT}","access":"enabled","removed_through":0}}"#
        ),
        format!(
            r#"{{"type":"workspace","id":"{ID}","owner_id":"u","name":" n ","description":"d\n","created_at":"{AT}","updated_at":"{AT}","metadata":{{"a":1.10,"a":99999999999999999999}}}}"#
        ),
        format!(
            r#"{{"type":"conversation","id":"{ID}","workspace_id":"{ID}","topic":"t","created_at":"{AT}","updated_at":"{AT}","participants":[{{"id":"u","since":3}},{{"id":"v","since":4}}],"metadata":{{}}}}"#
        ),
        format!(
            r#"{{"type":"message","id":"{ID}","conversation_id":"{ID}","sender_id":"u","role":"assistant","status":"cancelled","created_at":"{AT}","updated_at":"{AT}","reply_to":"{ID}","published":{{"number":9,"at":"{AT}"}},"responder":"echo","correlation_id":"r","metadata":{{"x":"\u00e9"}},"content":"\u0001 é"}}"#
        ),
        format!(
            r#"{{"type":"message","id":"{ID}","conversation_id":"{ID}","sender_id":"u","role":"user","status":"complete","created_at":"{AT}","updated_at":"{AT}","responder":"openai","job":{{"number":12,"user_id":"v"}},"answers":[{{"status":"superseded","answer":11,"model":"m","prompt_tokens":1,"completion_tokens":2,"reasoning_tokens":0,"cached_tokens":0}},{{"status":"failed","error":"e"}}],"error":"x","reasoning":"\u0001","correlation_id":"r","metadata":{{}},"content":"c"}}"#
        ),
        format!(
            r#"{{"type":"usage","user_id":"u","day":"2026-01-31","conversation_id":"{ID}","model":"","answers":1,"prompt_tokens":2,"completion_tokens":3,"reasoning_tokens":4,"cached_tokens":5}}"#
        ),
        r#"{"type":"end","users":2,"workspaces":1,"conversations":1,"messages":1,"usage":0}"#.to_owned(),
    ]
}

#[test]
fn what_is_read_is_written_again_byte_for_byte() {
    for line in lines() {
        let mut out = Vec::new();
        write(&read(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
    }
}

#[test]
fn no_field_is_missing_unknown_or_given_twice() {
    for line in lines() {
        let names: Vec<String> = json::members(&line).map(|(name, _)| name.trim_matches('"').to_owned()).collect();
        const OPTIONAL: [&str; 14] = [
            "tokens_since",
            "token_generation",
            "password",
            "default_workspace_id",
            "default_conversation_id",
            "reply_to",
            "published",
            "responder",
            "job",
            "answers",
            "error",
            "reasoning",
            "usage",
            // In a sum of usage.
            "conversation_id",
        ];
        for name in names {
            let (with, without) = (format!("\"{name}\":"), format!("\"other\":1,\"{name}x\":"));
            let error = read(line.replacen(&with, &without, 1).as_bytes()).unwrap_err();
            let is_sum = name == "answers" && line.contains("\"type\":\"usage\"");
            let is_of_message = name == "conversation_id" && !line.contains("\"type\":\"usage\"");
            let is_optional = OPTIONAL.contains(&&*name) && !is_sum && !is_of_message;
            let expected = if is_optional { "`other`".to_owned() } else { format!("`{name}`") };
            assert!(error.contains(&expected), "{error}: {line}");
            let (_, rest) = line.split_once(&with).unwrap();
            let twice = format!("{{{with}{rest}").replacen('{', &format!("{{{}", &line[1..line.len() - 1]), 1);
            assert!(read(twice.as_bytes()).is_err(), "{twice}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let lines = lines();
    let table = [
        (0, "\"version\":2", "\"version\":3", "`version` is 3, and this program reads versions 1 to 2"),
        (0, "cortex-core-export", "zip", "`format` is \"zip\""),
        (0, "000102", "+00102", "`id_key` must be 32"),
        (0, "77", "-7", "`position` must be a whole number"),
        (1, "2026-01-31", "2026-02-30", "`created_at` must be a time"),
        (1, "deleted", "gone", "`access` is none that there is"),
        (1, "\"u\\\"é\"", "\"\"", "`id` must be 1 to 255 characters"),
        (1, "\"a@b\"", "\"\\ud800\"", "`email` must be a string"),
        (3, "{\"a\"", "[{\"a\"", "expected"),
        (3, "{\"a\":1.10,\"a\":99999999999999999999}", "[]", "`metadata` must be a JSON object"),
        (3, "\" n \"", "\"\"", "`name` must be 1 to 100"),
        (4, "\"since\":4", "\"since\":null", "`participants`: `since` must be a whole number"),
        (4, "[{\"id\":\"u\",\"since\":3}", "[7", "`participants`: must be a JSON object"),
        (5, ID, "x", "`id` must be a UUID"),
        (5, "assistant", "robot", "`role` is none that there is"),
        (5, "\"number\":9", "\"number\":9,\"n\":1", "`n` is unknown"),
        (6, "\"answer\":11", "\"answer\":-1", "`answers`: `answer` must be a whole number"),
        (6, "superseded", "better", "`answers`: `status` is none that there is"),
        (6, "\"cached_tokens\":0", "\"x\":0", "`answers`: `cached_tokens` is missing"),
        (6, "\"number\":12,", "", "`number` is missing"),
        (7, "2026-01-31", "2026-01-32", "`day` must be a date"),
        (8, "\"end\"", "\"finish\"", "there is no type \"finish\""),
        (8, "{", "", "trailing characters"),
    ];
    for (line, from, to, expected) in table {
        let changed = lines[line].replacen(from, to, 1);
        assert_ne!(changed, lines[line], "{from}");
        let error = read(changed.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}: {changed}");
    }
    for (line, expected) in [(&b""[..], "empty"), (b"[]", "must be a JSON object"), (b"\xff{}", "UTF-8")] {
        assert!(read(line).is_err_and(|error| error.contains(expected)), "{expected}");
    }
}
