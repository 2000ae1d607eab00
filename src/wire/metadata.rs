//! Metadata: any JSON object, kept byte for byte as sent, except for the white space between tokens.
//!
//! It is never parsed into numbers, maps or strings and written again, which would lose the order of keys, big integers,
//! `1.10`, `\u00e9`, or duplicate keys.

use crate::base::limits::{METADATA_BYTES_MAX, METADATA_LEVELS_MAX};
use crate::domain::model::Metadata;
use crate::wire::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

const NOT_AN_OBJECT: &str = "must be a JSON object";
const TOO_LARGE: &str = "must be at most 64 KiB without white space between tokens";
const TOO_DEEP: &str = "must be at most 64 levels deep";

/// Validates and compacts metadata. `raw` is one valid JSON value.
pub fn metadata(raw: &str) -> Result<Metadata, &'static str> {
    let raw = raw.trim_ascii();
    if !raw.starts_with('{') {
        return Err(NOT_AN_OBJECT);
    }
    let bytes = raw.as_bytes();
    let mut compact = String::new();
    // The bytes from `kept` to `at` contain no white space between tokens, and are not copied yet.
    let (mut kept, mut at, mut levels) = (0, 0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = json::string_end(bytes, at);
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                compact.push_str(&raw[kept..at]);
                kept = at + 1;
            }
            b'{' | b'[' => {
                levels += 1;
                if levels > METADATA_LEVELS_MAX {
                    return Err(TOO_DEEP);
                }
            }
            b'}' | b']' => levels -= 1,
            _ => {}
        }
        at += 1;
    }
    let rest = &raw[kept..];
    if compact.len() + rest.len() > METADATA_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    if compact.is_empty() {
        return Ok(Metadata::new_unchecked(rest));
    }
    compact.push_str(rest);
    Ok(Metadata::new_unchecked(compact))
}

/// Merges `patch` into `old`, key by key at the top level: `null` removes a key, any other value replaces the old one, and
/// new keys follow at the end. Keys are compared without their escapes. Of a duplicate key in the patch, the last value
/// counts; of a duplicate key in `old`, the first place stays. The result is no deeper than the deeper of the two.
///
/// # Errors
/// Returns the violated rule if the result is too large.
pub fn merge(old: &Metadata, patch: &Metadata) -> Result<Metadata, &'static str> {
    let mut changes: Vec<MemberChange> = Vec::new();
    let mut places: HashMap<Cow<[u8]>, usize> = HashMap::new();
    for (name, value) in json::members(patch.as_str()) {
        match places.entry(json::name(name)) {
            Entry::Occupied(entry) => changes[*entry.get()].value = value,
            Entry::Vacant(entry) => {
                entry.insert(changes.len());
                changes.push(MemberChange { name, value, made: false });
            }
        }
    }
    let mut merged = String::with_capacity(old.as_str().len() + patch.as_str().len());
    for (name, value) in json::members(old.as_str()) {
        match places.get(&json::name(name)) {
            None => push_member(&mut merged, name, value),
            Some(place) => {
                let change = &mut changes[*place];
                if !change.removes() && !change.made {
                    push_member(&mut merged, name, change.value);
                }
                change.made = true;
            }
        }
    }
    for change in changes.iter().filter(|change| !change.removes() && !change.made) {
        push_member(&mut merged, change.name, change.value);
    }
    merged.push_str(if merged.is_empty() { "{}" } else { "}" });
    if merged.len() > METADATA_BYTES_MAX { Err(TOO_LARGE) } else { Ok(Metadata::new_unchecked(merged)) }
}

struct MemberChange<'a> {
    name: &'a str,
    value: &'a str,
    made: bool,
}

impl MemberChange<'_> {
    fn removes(&self) -> bool {
        self.value == "null"
    }
}

fn push_member(object: &mut String, name: &str, value: &str) {
    object.push(if object.is_empty() { '{' } else { ',' });
    object.push_str(name);
    object.push(':');
    object.push_str(value);
}

/// The value of the top-level member `key`, if it is a string without lone surrogates. Of a duplicate key, the last counts.
pub(crate) fn string_member(metadata: &Metadata, key: &str) -> Option<String> {
    let value = member(metadata, key)?;
    if !value.starts_with('"') {
        return None;
    }
    json::text(value).ok().map(Cow::into_owned)
}

/// Whether there is a top-level member `key`, with any value.
pub(crate) fn has_member(metadata: &Metadata, key: &str) -> bool {
    member(metadata, key).is_some()
}

/// The JSON text of the top-level member `key`. Of a duplicate key, the last counts.
pub(crate) fn member<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    json::member(metadata.as_str(), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn kept(raw: &str) -> String {
        serde_json::from_str::<serde::de::IgnoredAny>(raw).expect("the table holds valid JSON");
        metadata(raw).unwrap().as_str().to_owned()
    }

    #[test]
    fn comes_back_byte_for_byte() {
        let table = [
            ("empty", "{}"),
            ("key order", r#"{"b":1,"a":2}"#),
            ("big integer", r#"{"n":123456789012345678901234567890}"#),
            ("exponent", r#"{"n":1.0e+5}"#),
            ("capital exponent", r#"{"n":1E5,"m":-0,"o":-0.0}"#),
            ("trailing zero", r#"{"n":1.10}"#),
            ("out of range", r#"{"n":1e999999}"#),
            ("escaped letter", r#"{"s":"\u00e9","\u00E9":1}"#),
            ("raw letter", r#"{"s":"é😀"}"#),
            ("escaped slashes", r#"{"s":"a\/b\\c\/"}"#),
            ("duplicate keys", r#"{"a":1,"a":2,"a":1}"#),
            ("white space in strings", r#"{" a ":" b \n c "}"#),
            ("quotes in strings", r#"{"a\"}":"{\"b\" : 1}"}"#),
            ("backslash at the end", r#"{"a\\":"b\\"}"#),
            ("lone surrogate", r#"{"s":"\ud800","\udc00":1}"#),
            ("literals", r#"{"a":null,"b":true,"c":false}"#),
            ("line separators", "{\"a\":\"\u{2028}\u{2029}\"}"),
            ("empty key", r#"{"":""}"#),
            ("nesting", r#"{"a":[{},[],[[{"b":[]}]]]}"#),
        ];
        for (what, raw) in table {
            assert_eq!(kept(raw), raw, "{what}");
        }
    }

    #[test]
    fn white_space_goes_only_between_tokens() {
        let table = [
            ("all kinds of it", " \t\r\n{ \t\r\n} \t\r\n", "{}"),
            (
                "around everything",
                "\n{ \"a\" : [ 1 , 2.0 , { } ] ,\r\n\t\"b c\" : \" x  y \" }\n",
                r#"{"a":[1,2.0,{}],"b c":" x  y "}"#,
            ),
            ("around literals", "{\"a\": true , \"b\": null }", r#"{"a":true,"b":null}"#),
            ("after an escaped quote", "{\"a\\\" \" : \"\\\\\" }", r#"{"a\" ":"\\"}"#),
            ("other white space stays", "{\"a\u{a0}\":\"\u{3000}\"}", "{\"a\u{a0}\":\"\u{3000}\"}"),
        ];
        for (what, raw, expected) in table {
            assert_eq!(kept(raw), expected, "{what}");
        }
    }

    #[test]
    fn only_objects_within_the_limits() {
        for raw in ["null", "[]", "[{}]", "\"{}\"", "1", "true", " 0"] {
            assert_eq!(metadata(raw), Err(NOT_AN_OBJECT), "{raw}");
        }
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let arrays = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        for shape in [nested as fn(usize) -> String, arrays] {
            assert!(metadata(&shape(METADATA_LEVELS_MAX)).is_ok());
            assert_eq!(metadata(&shape(METADATA_LEVELS_MAX + 1)), Err(TOO_DEEP));
            assert_eq!(metadata(&shape(100_000)), Err(TOO_DEEP));
        }
        assert!(metadata(&format!("{{\"a\":[{}]}}", vec!["[]"; 1000].join(","))).is_ok(), "wide is not deep");
        assert!(metadata(&format!("{{\"a\":\"{}\"}}", "[".repeat(1000))).is_ok(), "brackets in strings are not levels");

        let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert_eq!(sized(METADATA_BYTES_MAX).len(), METADATA_BYTES_MAX);
        assert!(metadata(&sized(METADATA_BYTES_MAX)).is_ok());
        assert_eq!(metadata(&sized(METADATA_BYTES_MAX + 1)), Err(TOO_LARGE));
        let spaced = format!(" {{ {}{}", " ".repeat(METADATA_BYTES_MAX), &sized(METADATA_BYTES_MAX)[1..]);
        assert_eq!(metadata(&spaced).unwrap().as_str().len(), METADATA_BYTES_MAX, "white space does not count");
    }

    #[test]
    fn merges_key_by_key() {
        let table = [
            ("nothing", r#"{"a":1}"#, "{}", r#"{"a":1}"#),
            ("into nothing", "{}", r#"{"a":1.10}"#, r#"{"a":1.10}"#),
            ("replaces in place", r#"{"a":1,"b":2,"c":3}"#, r#"{"b":9}"#, r#"{"a":1,"b":9,"c":3}"#),
            ("appends in order", r#"{"b":1}"#, r#"{"z":1,"a":2}"#, r#"{"b":1,"z":1,"a":2}"#),
            ("removes", r#"{"a":1,"b":2}"#, r#"{"a":null}"#, r#"{"b":2}"#),
            ("removes the last", r#"{"a":1}"#, r#"{"a":null}"#, "{}"),
            ("removes what is not there", r#"{"a":1}"#, r#"{"b":null}"#, r#"{"a":1}"#),
            ("both nothing", "{}", "{}", "{}"),
            ("is not deep", r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"x":null}}"#, r#"{"a":{"x":null}}"#),
            ("keeps an old null", r#"{"a":null}"#, r#"{"b":1}"#, r#"{"a":null,"b":1}"#),
            ("keys by what they say", r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"\u0061":2}"#),
            ("the same the other way", r#"{"é":1,"b":1}"#, r#"{"\u00E9":null}"#, r#"{"b":1}"#),
            ("lone surrogates", r#"{"\ud800":1,"\ud801":2}"#, r#"{"\uD800":3}"#, r#"{"\ud800":3,"\ud801":2}"#),
            ("an old duplicate is replaced once", r#"{"a":1,"b":2,"a":3}"#, r#"{"a":4}"#, r#"{"a":4,"b":2}"#),
            ("an old duplicate is removed whole", r#"{"a":1,"b":2,"a":3}"#, r#"{"a":null}"#, r#"{"b":2}"#),
            ("old duplicates stay", r#"{"a":1,"a":2}"#, r#"{"b":1}"#, r#"{"a":1,"a":2,"b":1}"#),
            ("the last in a patch counts", r#"{"a":0}"#, r#"{"b":1,"a":1,"b":2,"a":2}"#, r#"{"a":2,"b":2}"#),
            ("null last removes", r#"{"a":0}"#, r#"{"a":1,"a":null}"#, "{}"),
            ("null first does not", r#"{"a":0}"#, r#"{"a":null,"a":1}"#, r#"{"a":1}"#),
            ("values byte for byte", r#"{"a":1.0e+5}"#, r#"{"b":"\/{,\"}:"}"#, r#"{"a":1.0e+5,"b":"\/{,\"}:"}"#),
        ];
        for (what, old, patch, expected) in table {
            let merged = merge(&metadata(old).unwrap(), &metadata(patch).unwrap()).unwrap();
            assert_eq!(merged.as_str(), expected, "{what}");
        }
    }

    #[test]
    fn a_merge_stays_within_the_limit() {
        let sized = |key: char, bytes: usize| metadata(&format!("{{\"{key}\":\"{}\"}}", "x".repeat(bytes))).unwrap();
        let (half, rest) = (METADATA_BYTES_MAX / 2, METADATA_BYTES_MAX / 2 - 15);
        let full = merge(&sized('a', half), &sized('b', rest)).unwrap();
        assert_eq!(full.as_str().len(), METADATA_BYTES_MAX);
        assert_eq!(merge(&sized('a', half), &sized('b', rest + 1)), Err(TOO_LARGE));
        assert!(merge(&full, &sized('b', rest - 1)).is_ok(), "what is replaced does not count");
    }

    #[test]
    fn members_by_name() {
        let data =
            metadata(r#"{"responder":"echo","n":1,"x":null,"e":"\u0061\n","s":"\ud800","n\u0032":"a","n2":"b"}"#)
                .unwrap();
        let table = [
            ("responder", true, Some("echo")),
            ("n", true, None),
            ("x", true, None),
            ("e", true, Some("a\n")),
            ("s", true, None),
            ("n2", true, Some("b")),
            ("echo", false, None),
            ("", false, None),
        ];
        for (key, present, text) in table {
            assert_eq!(has_member(&data, key), present, "{key}");
            assert_eq!(string_member(&data, key).as_deref(), text, "{key}");
        }
        assert!(!has_member(&Metadata::empty(), "a"));
    }

    /// A random JSON value with random white space; the same without the white space is appended to `compact`.
    fn random_value(random: &mut Random, levels: u64, spaced: &mut String, compact: &mut String) {
        const SPACES: &[&str] = &["", "", " ", "\n", "\t \r\n"];
        const SCALARS: &[&str] =
            &["0", "-1.50", "1E+9", "true", "null", "\"\"", "\" \\\" \"", "\"\\\\\"", "\"[{,:}] \""];
        fn both(spaced: &mut String, compact: &mut String, text: &str) {
            spaced.push_str(text);
            compact.push_str(text);
        }
        let space = |random: &mut Random, spaced: &mut String| {
            spaced.push_str(SPACES[random.below(SPACES.len() as u64) as usize]);
        };
        let object = levels == 0 || random.below(2) == 0;
        let (open, close) = if object { ("{", "}") } else { ("[", "]") };
        space(random, spaced);
        both(spaced, compact, open);
        for index in 0..random.below(5) {
            if index > 0 {
                both(spaced, compact, ",");
            }
            space(random, spaced);
            if object {
                both(spaced, compact, &format!("\"k {}\"", random.below(3)));
                space(random, spaced);
                both(spaced, compact, ":");
            }
            if levels < 6 && random.below(3) == 0 {
                random_value(random, levels + 1, spaced, compact);
            } else {
                space(random, spaced);
                both(spaced, compact, SCALARS[random.below(SCALARS.len() as u64) as usize]);
            }
            space(random, spaced);
        }
        space(random, spaced);
        both(spaced, compact, close);
        space(random, spaced);
    }

    #[test]
    fn random_objects_lose_their_white_space_and_nothing_else() {
        let mut random = Random::new(17);
        for _ in 0..2000 {
            let (mut spaced, mut compact) = (String::new(), String::new());
            random_value(&mut random, 0, &mut spaced, &mut compact);
            assert_eq!(kept(&spaced), compact);
            assert_eq!(kept(&compact), compact);
        }
    }
}
