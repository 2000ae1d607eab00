use super::*;
use crate::base::random::Random;

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    JsonWriter(&mut out).string(text);
    String::from_utf8(out).unwrap()
}

#[test]
fn escapes_all_of_unicode_as_serde_json_does() {
    for char in '\0'..=char::MAX {
        // Alone, and at each position of a word of eight bytes: both ways to scan.
        let alone = char.to_string();
        assert_eq!(escaped(&alone), serde_json::to_string(&alone).unwrap());
    }
    for char in ('\0'..='\u{2100}').chain(['\u{2028}', '\u{2029}', '\u{fffd}', '\u{1f600}', char::MAX]) {
        for before in 0..9 {
            let text = format!("{}{char}{}", "x".repeat(before), "\u{ff}".repeat(5));
            assert_eq!(escaped(&text), serde_json::to_string(&text).unwrap());
        }
    }
}

#[test]
fn escapes_random_texts_as_serde_json_does_and_reads_them_back() {
    let mut random = Random::new(11);
    let alphabet = ['"', '\\', '\n', '\0', '\u{1f}', ' ', '!', '#', '[', ']', 'a', '\u{7f}', 'é', '\u{1f600}'];
    for _ in 0..5000 {
        let length = random.below(40);
        let text: String = (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
        let json = escaped(&text);
        assert_eq!(json, serde_json::to_string(&text).unwrap());
        assert_eq!(super::text(&json).unwrap(), text);
    }
}

#[test]
fn unescapes_what_serde_json_unescapes() {
    let strings = [
        r#""""#,
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0041\u00e9\u20AC""#,
        r#""\ud83d\ude00""#,
        r#""\uD83D\uDE00x""#,
        r#""a\u0000b""#,
        r#""\ud7ff\ue000""#,
        r#""é\u00e9😀""#,
    ];
    for raw in strings {
        assert_eq!(text(raw).unwrap(), serde_json::from_str::<String>(raw).unwrap(), "{raw}");
    }
    let lone = [
        (r#""\ud800""#, 1),
        (r#""ab\udc00""#, 3),
        (r#""\ud800x""#, 1),
        (r#""\ud800\n""#, 1),
        (r#""\ud83d\ude00\ude00""#, 13),
        (r#""\ud800\ud800\udc00""#, 1),
        (r#""\ud800\u0041""#, 1),
    ];
    for (raw, at) in lone {
        assert!(serde_json::from_str::<String>(raw).is_err(), "{raw}");
        assert_eq!(text(raw), Err(at), "{raw}");
    }
}

#[test]
fn names_are_equal_when_they_say_the_same() {
    let table = [
        (r#""a""#, r#""\u0061""#, true),
        (r#""é""#, r#""\u00E9""#, true),
        (r#""😀""#, r#""\ud83d\ude00""#, true),
        (r#""/""#, r#""\/""#, true),
        (r#""\ud800""#, r#""\uD800""#, true),
        (r#""\ud800""#, r#""\ud801""#, false),
        (r#""a""#, r#""A""#, false),
        (r#""\\u0061""#, r#""a""#, false),
    ];
    for (a, b, same) in table {
        assert_eq!(name(a) == name(b), same, "{a} {b}");
    }
}

#[test]
fn objects_and_arrays_come_apart() {
    let object = " { \"a\" : [1, {\"]\": \"}\"}] ,\n\"b\\\"\":\"x,\\\\\", \"c\":-1.5e3 , \"d\":null}";
    let expected =
        [("\"a\"", "[1, {\"]\": \"}\"}]"), ("\"b\\\"\"", "\"x,\\\\\""), ("\"c\"", "-1.5e3"), ("\"d\"", "null")];
    assert_eq!(members(object).collect::<Vec<_>>(), expected);
    assert_eq!(members("{ }").count(), 0);
    assert_eq!(elements("[1 ,\"a\",[2,[]],{\"x\":3} ]").collect::<Vec<_>>(), ["1", "\"a\"", "[2,[]]", "{\"x\":3}"]);
    assert_eq!(elements("[\n]").count(), 0);
}

#[test]
fn numbers_times_and_ids() {
    let mut out = Vec::new();
    let id = Uuid::from_u128(0x0190c42e_8d3f_7123_9abc_0123456789ab);
    JsonWriter(&mut out)
        .raw("{\"n\":")
        .number(u64::MAX)
        .raw(",\"t\":")
        .time(WallTime(0))
        .raw(",\"u\":")
        .uuid(id)
        .raw("}");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"n\":18446744073709551615,\"t\":\"1970-01-01T00:00:00.000000Z\",\
         \"u\":\"0190c42e-8d3f-7123-9abc-0123456789ab\"}"
    );
}
