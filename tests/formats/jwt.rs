//! Valid and invalid tokens, written with and without the key.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use cortex_core::internals::limits::{PROFILE_CHARS_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS};
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{Claims, Credential, Keys, Purpose, TokenError, UserId, WallTime};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384};

const KEY: &[u8] = b"a key of the tests, 32 bytes long";
const OLD_KEY: &[u8] = b"the key of last year";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const NOW_SECONDS: i64 = 1_769_850_930;
const NOW: WallTime = WallTime(NOW_SECONDS * SECOND + 123_456);

fn keys() -> Keys {
    Keys::new(KEY, &[OLD_KEY.to_vec()], None, None)
}

fn strict_keys() -> Keys {
    Keys::new(KEY, &[], Some("issuer".into()), Some("here".into()))
}

fn sign_text(key: &[u8], signed: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn token_of(key: &[u8], header: &str, payload: &[u8]) -> String {
    sign_text(key, &format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)))
}

/// A token with our key and the usual header.
fn with_payload(payload: &str) -> String {
    token_of(KEY, HEADER, payload.as_bytes())
}

/// A token of user `u` that expires in a minute, with more members appended.
fn with_claims(more: &str) -> String {
    with_payload(&format!(r#"{{"oid":"u","exp":{}{more}}}"#, NOW_SECONDS + 60))
}

fn with_header(header: &str) -> String {
    token_of(KEY, header, format!(r#"{{"oid":"u","exp":{}}}"#, NOW_SECONDS + 60).as_bytes())
}

/// The parts of a valid token.
fn parts() -> [String; 3] {
    let token = with_claims("");
    let mut parts = token.split('.').map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap())
}

fn claims() -> Claims {
    Claims {
        user: UserId::new("550e8400-e29b-41d4-a716-446655440000").unwrap(),
        name: Some("Test User".into()),
        email: Some("user@example.com".into()),
        sub: None,
        expires_at: WallTime((NOW_SECONDS + 3600) * SECOND),
        issued_at: Some(NOW),
        credential: Credential { authenticated_at: Some(NOW), generation: None },
        purpose: Purpose::Access,
        key: keys().current(),
    }
}

#[test]
fn signed_tokens_verify() {
    let odd = Claims {
        user: UserId::new("ü \"quoted\" \\ \u{1} \u{1f600}").unwrap(),
        name: Some("".into()),
        email: None,
        sub: Some("s".into()),
        ..claims()
    };
    let ticket = Claims { purpose: Purpose::StreamTicket, ..claims() };
    let derived = Claims {
        credential: Credential { authenticated_at: Some(NOW.plus_seconds(-86_400)), generation: Some(u64::MAX) },
        ..claims()
    };
    let bare = Claims { name: None, email: None, issued_at: None, credential: Credential::default(), ..claims() };
    for keys in [keys(), strict_keys()] {
        for claims in [&claims(), &odd, &ticket, &derived, &bare] {
            let claims = Claims { key: keys.current(), ..claims.clone() };
            assert_eq!(keys.verify(&keys.sign(&claims).unwrap(), NOW), Ok(claims));
        }
    }
}

#[test]
fn our_tokens_are_written_as_documented() {
    let (keys, others) = (strict_keys(), keys());
    let ticket = Claims { purpose: Purpose::StreamTicket, key: keys.current(), ..claims() };
    assert_eq!(others.sign(&ticket), None, "another issuer and audience are other keys");
    let token = keys.sign(&ticket).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let expected = concat!(
        r#"{"oid":"550e8400-e29b-41d4-a716-446655440000","name":"Test User","email":"user@example.com","#,
        r#""iss":"issuer","aud":"here","use":"stream","iat":1769850930.123456,"exp":1769854530}"#
    );
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
    let part_of_second = Claims { expires_at: WallTime(NOW.0 + 3600 * SECOND), ..claims() };
    let read = others.verify(&others.sign(&part_of_second).unwrap(), NOW).unwrap();
    assert_eq!(read.expires_at, WallTime((NOW_SECONDS + 3600) * SECOND), "exp is a whole second");
}

#[test]
fn a_profile_that_makes_the_token_too_long_is_left_out() {
    let long = "\u{1}".repeat(PROFILE_CHARS_MAX * 2);
    let user = UserId::new(&"\u{1}".repeat(255)).unwrap();
    let long =
        Claims { user, name: Some(long.as_str().into()), email: Some(long.into()), sub: Some("s".into()), ..claims() };
    let token = keys().sign(&long).unwrap();
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert_eq!(keys().verify(&token, NOW), Ok(Claims { name: None, email: None, sub: None, ..long }));
}

#[test]
fn valid_tokens_are_accepted() {
    let exp = NOW_SECONDS + 60;
    let old = format!(r#"{{"oid":"u","exp":{exp}}}"#);
    let table: Vec<(&str, String)> = vec![
        ("only what is required", with_claims("")),
        ("the previous key", token_of(OLD_KEY, HEADER, old.as_bytes())),
        ("typ first", with_header(r#"{"typ":"JWT","alg":"HS256"}"#)),
        ("no typ", with_header(r#"{"alg":"HS256"}"#)),
        ("another typ", with_header(r#"{"alg":"HS256","typ":"at+jwt"}"#)),
        ("typ in lower case", with_header(r#"{"alg":"HS256","typ":"jwt"}"#)),
        ("a key id and unknown parameters", with_header(r#"{"kid":"1","x":[{"y":null}],"alg":"HS256"}"#)),
        ("header with white space", with_header("{ \"typ\":\"JWT\",\r\n \"alg\" : \"HS256\" }")),
        ("payload with white space", with_payload(&format!("\n{{ \"oid\" : \"u\" ,\r\n\t\"exp\" : {exp} }} "))),
        ("fractional times", with_claims(&format!(r#","iat":{NOW_SECONDS}.123456,"nbf":{NOW_SECONDS}.5"#))),
        ("fractional exp", with_payload(&format!(r#"{{"oid":"u","exp":{exp}.75}}"#))),
        ("exp with an exponent", with_payload(r#"{"oid":"u","exp":1.8e9}"#)),
        ("the last second that can be written", with_payload(r#"{"oid":"u","exp":253402300799}"#)),
        ("null profile", with_claims(r#","name":null,"email":null,"sub":null"#)),
        ("unknown claims", with_claims(r#","roles":["a",{"b":[1,2,{}]}],"jti":"x","azp":7"#)),
        ("another use of \"use\"", with_claims(r#","use":"sig""#)),
        ("issuer and audience, not enforced", with_claims(r#","iss":"x","aud":["y","z"]"#)),
        ("empty audience, not enforced", with_claims(r#","aud":[]"#)),
        ("claim name with escapes", with_payload(&format!(r#"{{"\u006fid":"u","exp":{exp}}}"#))),
        ("not before, in leeway", with_claims(&format!(r#","nbf":{}"#, NOW_SECONDS + TOKEN_LEEWAY_SECONDS))),
        ("issued ahead, in leeway", with_claims(&format!(r#","iat":{}"#, NOW_SECONDS + TOKEN_LEEWAY_SECONDS))),
        ("expired, in leeway", with_payload(&format!(r#"{{"oid":"u","exp":{}}}"#, NOW_SECONDS - 29))),
        ("not before 1970", with_claims(r#","nbf":0"#)),
        ("another use of \"token_generation\"", with_claims(r#","token_generation":["x"]"#)),
        ("logged in ahead, in leeway", with_claims(&format!(r#","auth_time":{}"#, NOW_SECONDS + TOKEN_LEEWAY_SECONDS))),
    ];
    for (name, token) in table {
        let read = keys().verify(&token, NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.user.as_str(), "u", "{name}");
        assert_eq!(read.purpose, Purpose::Access, "{name}");
    }
}

#[test]
fn valid_claims_are_decoded() {
    let token =
        with_claims(r#","name":"N\u00fc","email":"e@x","sub":"s","iat":1769850900.000001,"use":"stream","aud":"here""#);
    let expected = Claims {
        user: UserId::new("u").unwrap(),
        name: Some("Nü".into()),
        email: Some("e@x".into()),
        sub: Some("s".into()),
        expires_at: WallTime((NOW_SECONDS + 60) * SECOND),
        issued_at: Some(WallTime(1_769_850_900_000_001)),
        credential: Credential { authenticated_at: Some(WallTime(1_769_850_900_000_001)), generation: None },
        purpose: Purpose::StreamTicket,
        key: keys().current(),
    };
    assert_eq!(keys().verify(&token, NOW), Ok(expected));
}

#[test]
fn the_credential_is_the_login_and_not_the_issue() {
    let at = |seconds: i64| Some(WallTime(seconds * SECOND));
    let table = [
        ("", None, None),
        (r#","iat":1769850000"#, at(1_769_850_000), None),
        (r#","iat":1769850000,"auth_time":1769840000"#, at(1_769_840_000), None),
        (r#","auth_time":0"#, at(0), None),
        (r#","iat":1769850000,"token_generation":"7""#, at(1_769_850_000), Some(7)),
        (r#","token_generation":"0""#, None, Some(0)),
        (r#","token_generation":7"#, None, None),
        (r#","token_generation":"-7""#, None, None),
    ];
    for (more, authenticated_at, generation) in table {
        let read = keys().verify(&with_claims(more), NOW).unwrap();
        assert_eq!(read.credential, Credential { authenticated_at, generation }, "{more}");
    }
    let ahead = with_claims(&format!(r#","auth_time":{}"#, NOW_SECONDS + TOKEN_LEEWAY_SECONDS + 1));
    assert_eq!(keys().verify(&ahead, NOW), Err(TokenError::IssuedInFuture));
    assert_eq!(keys().verify(&with_claims(r#","auth_time":"yesterday""#), NOW), Err(TokenError::Time));
}

#[test]
fn long_profile_claims_are_truncated() {
    let whole = "ü".repeat(PROFILE_CHARS_MAX);
    let longer = format!("{whole}ü");
    let read = keys().verify(&with_claims(&format!(r#","name":"{longer}","email":"{longer}""#)), NOW).unwrap();
    assert_eq!(read.name.as_deref(), Some(whole.as_str()));
    assert_eq!(read.email.as_deref(), Some(whole.as_str()));
    let read = keys().verify(&with_claims(&format!(r#","name":"{whole}""#)), NOW).unwrap();
    assert_eq!(read.name.as_deref(), Some(whole.as_str()));
}

#[test]
fn a_payload_of_any_size_up_to_the_limit() {
    for chars in (0..6200).step_by(7) {
        let token = with_claims(&format!(r#","x":"{}""#, "y".repeat(chars)));
        let result = keys().verify(&token, NOW).map(|_| ());
        let expected = if token.len() <= TOKEN_BYTES_MAX { Ok(()) } else { Err(TokenError::TooLong) };
        assert_eq!(result, expected, "{chars}");
    }
}

/// RFC 7515 A.1: its signature is valid, but it has no `oid`.
#[test]
fn the_rfc_example_fails_only_for_its_claims() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let keys = Keys::new(&URL_SAFE_NO_PAD.decode(key).unwrap(), &[], None, None);
    let token = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    assert_eq!(keys.verify(token, WallTime(1_300_819_379 * SECOND)), Err(TokenError::UserMissing));
    assert_eq!(keys.verify(token, NOW), Err(TokenError::Expired));
    assert_eq!(keys.verify(&token.replace("EjXk", "EjXg"), NOW), Err(TokenError::Signature));
}

#[test]
fn malformed_tokens_are_rejected() {
    use TokenError::*;
    let [header, payload, signature] = parts();
    let signed = format!("{header}.{payload}");
    let of_hs384 = Hmac::<Sha384>::new_from_slice(KEY).unwrap().chain_update(&signed).finalize().into_bytes();
    let of_hs384 = URL_SAFE_NO_PAD.encode(of_hs384);
    let spaced = format!("{} {}", &payload[..4], &payload[4..]);
    let padded = URL_SAFE.encode(r#"{"oid":"u","exp":18000000000}"#);
    assert!(padded.ends_with('='), "the case needs padding");
    let unpadded = padded.trim_end_matches('=');
    // The last character of this length has bits that belong to no byte: the next one in the alphabet sets one.
    let stray = format!("{}{}", &unpadded[..unpadded.len() - 1], (unpadded.as_bytes()[unpadded.len() - 1] + 1) as char);
    let standard = STANDARD.encode(r#"{"oid":"u","exp":1800000000,"x":"<?>~~~>>>???"}"#);
    let standard = standard.trim_end_matches('=');
    assert!(standard.contains(['+', '/']), "the case needs the other alphabet");
    let other_payload = with_claims(r#","x":1"#).split('.').nth(1).unwrap().to_owned();
    let other_header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let table: Vec<(&str, String, TokenError)> = vec![
        ("empty", String::new(), Parts),
        ("one part", header.clone(), Parts),
        ("two parts", signed.clone(), Parts),
        ("four parts", format!("{signed}.{signature}.{signature}"), Parts),
        ("a dot at the end", format!("{signed}.{signature}."), Parts),
        ("a dot in front", format!(".{signed}.{signature}"), Parts),
        ("only dots", "..".into(), Header),
        ("over the limit", format!("{header}.{}.{signature}", "A".repeat(TOKEN_BYTES_MAX)), TooLong),
        ("no signature", format!("{signed}."), Signature),
        ("short signature", format!("{signed}.{}", &signature[..40]), Signature),
        ("long signature", format!("{signed}.{signature}AAAAA"), Signature),
        ("twice the signature", format!("{signed}.{signature}{signature}"), Signature),
        ("padded signature", format!("{signed}.{signature}="), Encoding),
        ("signature with white space", format!("{signed}.{} {}", &signature[..9], &signature[10..]), Encoding),
        ("signature with a line end", format!("{signed}.{signature}\n"), Encoding),
        ("white space in front", format!(" {signed}.{signature}"), Encoding),
        ("signature that is not ASCII", format!("{signed}.{}ü", &signature[..41]), Encoding),
        ("signature of another hash", format!("{signed}.{of_hs384}"), Signature),
        ("signature of another payload", format!("{header}.{other_payload}.{signature}"), Signature),
        ("signature of another header", format!("{other_header}.{payload}.{signature}"), Signature),
        ("a key that is not ours", token_of(b"guessed", HEADER, b"{}"), Signature),
        ("no payload", format!("{header}..{signature}"), Signature),
        ("signed white space in the payload", sign_text(KEY, &format!("{header}.{spaced}")), Encoding),
        ("signed padding in the payload", sign_text(KEY, &format!("{header}.{padded}")), Encoding),
        ("signed payload with stray bits", sign_text(KEY, &format!("{header}.{stray}")), Encoding),
        ("signed payload in the other alphabet", sign_text(KEY, &format!("{header}.{standard}")), Encoding),
        ("signed header with one character too many", sign_text(KEY, &format!("{header}A.{payload}")), Encoding),
        ("signed empty payload", sign_text(KEY, &format!("{header}.")), Payload),
        ("signed empty header", sign_text(KEY, &format!(".{payload}")), Header),
    ];
    for (name, token, error) in table {
        assert_eq!(keys().verify(&token, NOW), Err(error), "{name}");
    }
    let good = sign_text(KEY, &format!("{header}.{unpadded}"));
    assert!(keys().verify(&good, NOW).is_ok(), "without padding and stray bits it is valid");
}

#[test]
fn invalid_headers_are_rejected() {
    use TokenError::*;
    let table = [
        ("none", r#"{"alg":"none"}"#, Algorithm),
        ("None", r#"{"alg":"None","typ":"JWT"}"#, Algorithm),
        ("lower case", r#"{"alg":"hs256"}"#, Algorithm),
        ("HS384", r#"{"alg":"HS384"}"#, Algorithm),
        ("HS512", r#"{"alg":"HS512"}"#, Algorithm),
        ("RS256 with our key as the public one", r#"{"alg":"RS256"}"#, Algorithm),
        ("algorithm with white space", r#"{"alg":"HS256 "}"#, Algorithm),
        ("empty algorithm", r#"{"alg":""}"#, Algorithm),
        ("no algorithm", r#"{"typ":"JWT"}"#, Header),
        ("null algorithm", r#"{"alg":null}"#, Header),
        ("algorithms", r#"{"alg":["HS256"]}"#, Header),
        ("two algorithms", r#"{"alg":"HS256","alg":"HS256"}"#, Header),
        ("two algorithms, one escaped", r#"{"alg":"none","\u0061lg":"HS256"}"#, Header),
        ("any parameter twice", r#"{"alg":"HS256","kid":"1","kid":"1"}"#, Header),
        ("critical extension", r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Critical),
        ("empty critical list", r#"{"alg":"HS256","crit":[]}"#, Critical),
        ("null critical list", r#"{"alg":"HS256","crit":null}"#, Critical),
        ("typ is a number", r#"{"alg":"HS256","typ":1}"#, Header),
        ("typ is null", r#"{"alg":"HS256","typ":null}"#, Header),
        ("an array", r#"["HS256"]"#, Header),
        ("a string", r#""HS256""#, Header),
        ("empty", "", Header),
        ("an empty object", "{}", Header),
        ("something behind", r#"{"alg":"HS256"}{}"#, Header),
        ("cut off", r#"{"alg":"HS256""#, Header),
        ("single quotes", r#"{'alg':'HS256'}"#, Header),
        ("trailing comma", r#"{"alg":"HS256",}"#, Header),
        ("byte order mark", "\u{feff}{\"alg\":\"HS256\"}", Header),
    ];
    let [_, payload, _] = parts();
    for (name, header, error) in table {
        assert_eq!(keys().verify(&with_header(header), NOW), Err(error), "{name}");
        let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(keys().verify(&unsigned, NOW), Err(error), "{name}, unsigned");
    }
    let not_utf8 = URL_SAFE_NO_PAD.encode(b"{\"alg\":\"HS256\",\"\xff\":1}");
    assert_eq!(keys().verify(&sign_text(KEY, &format!("{not_utf8}.{payload}")), NOW), Err(Header));
}

#[test]
fn invalid_signed_claims_are_rejected() {
    use TokenError::*;
    let exp = NOW_SECONDS + 60;
    let gone = NOW_SECONDS - TOKEN_LEEWAY_SECONDS;
    let late = NOW_SECONDS + TOKEN_LEEWAY_SECONDS + 1;
    let whole = [
        ("an array", "[]", Payload),
        ("a string", r#""oid""#, Payload),
        ("null", "null", Payload),
        ("cut off", r#"{"oid":"u","exp":1800000000"#, Payload),
        ("something behind", r#"{"oid":"u","exp":1800000000} x"#, Payload),
        ("comment", r#"{"oid":"u",/**/"exp":1800000000}"#, Payload),
        ("raw control character", "{\"oid\":\"u\n\",\"exp\":1800000000}", Payload),
        ("half of a surrogate pair", r#"{"oid":"\ud800","exp":1800000000}"#, Payload),
        ("empty object", "{}", ExpirationMissing),
        ("no exp", r#"{"oid":"u"}"#, ExpirationMissing),
        ("Exp", r#"{"oid":"u","Exp":1800000000}"#, ExpirationMissing),
        ("no oid", r#"{"sub":"u","exp":1800000000}"#, UserMissing),
    ];
    let expirations = [
        ("NaN", "NaN".to_owned(), Payload),
        ("Infinity", "Infinity".into(), Payload),
        ("beyond a double", "1e999".into(), Payload),
        ("in hexadecimal", "0x7fffffff".into(), Payload),
        ("with a leading zero", format!("0{exp}"), Payload),
        ("with a plus", format!("+{exp}"), Payload),
        ("null", "null".into(), Time),
        ("a string", format!("\"{exp}\""), Time),
        ("true", "true".into(), Time),
        ("a list", format!("[{exp}]"), Time),
        ("an object", r#"{"$date":1}"#.into(), Time),
        ("in milliseconds", format!("{exp}000"), Time),
        ("beyond the last year", "253402300800".into(), Time),
        ("beyond 64 bits", "18446744073709551616".into(), Time),
        ("1e300", "1e300".into(), Time),
        ("negative", "-1".into(), Time),
        ("a negative fraction", "-0.5".into(), Time),
        ("just past", gone.to_string(), Expired),
        ("past by a fraction", format!("{gone}.123456"), Expired),
        ("long past", "0".into(), Expired),
    ];
    let users = [
        ("empty", r#""""#.to_owned(), User),
        ("null", "null".into(), User),
        ("a number", "7".into(), User),
        ("a list", r#"["u"]"#.into(), User),
        ("too long", format!("\"{}\"", "ü".repeat(256)), User),
        ("of a responder", r#""responder:echo""#.into(), User),
        ("of a responder, escaped", r#""\u0072esponder:x""#.into(), User),
    ];
    let more = [
        ("not yet valid", format!(r#""nbf":{late}"#), NotYetValid),
        ("nbf is a string", r#""nbf":"0""#.into(), Time),
        ("nbf null", r#""nbf":null"#.into(), Time),
        ("nbf in milliseconds", format!(r#""nbf":{exp}000"#), Time),
        ("issued in the future", format!(r#""iat":{late}"#), IssuedInFuture),
        ("iat is a string", r#""iat":"0""#.into(), Time),
        ("iat is a date", r#""iat":"2026-01-31T09:15:30Z""#.into(), Time),
        ("iat negative", r#""iat":-1"#.into(), Time),
        ("oid twice", r#""oid":"v""#.into(), Duplicate),
        ("exp twice", format!(r#""exp":{exp}"#), Duplicate),
        ("exp twice, once escaped", format!(r#""ex\u0070":{exp}"#), Duplicate),
        ("name twice, first null", r#""name":null,"name":"n""#.into(), Duplicate),
        ("an unknown claim twice", r#""x":1,"y":2,"x":1"#.into(), Duplicate),
        ("name is a number", r#""name":1"#.into(), Text),
        ("name is a list", r#""name":["n"]"#.into(), Text),
        ("email is an object", r#""email":{}"#.into(), Text),
        ("sub is false", r#""sub":false"#.into(), Text),
        ("sub is a number", r#""sub":1"#.into(), Text),
        ("iss is a number", r#""iss":1"#.into(), Text),
        ("iss null", r#""iss":null"#.into(), Text),
        ("aud is a number", r#""aud":1"#.into(), Text),
        ("aud with a number in it", r#""aud":["a",1]"#.into(), Text),
        ("use is a list", r#""use":["stream"]"#.into(), Text),
    ];
    let mut table: Vec<(String, String, TokenError)> = Vec::new();
    table.extend(whole.map(|(name, payload, error)| (name.into(), payload.into(), error)));
    table.extend(
        expirations.map(|(name, exp, error)| (format!("exp {name}"), format!(r#"{{"oid":"u","exp":{exp}}}"#), error)),
    );
    table.extend(
        users.map(|(name, oid, error)| (format!("oid {name}"), format!(r#"{{"oid":{oid},"exp":{exp}}}"#), error)),
    );
    table.extend(more.map(|(name, more, error)| (name.into(), format!(r#"{{"oid":"u","exp":{exp},{more}}}"#), error)));
    for (name, payload, error) in table {
        assert_eq!(keys().verify(&with_payload(&payload), NOW), Err(error), "{name}");
        let forged = token_of(b"guessed", HEADER, payload.as_bytes());
        assert_eq!(keys().verify(&forged, NOW), Err(Signature), "{name}: the signature is checked first");
    }
    let not_utf8 = token_of(KEY, HEADER, b"{\"oid\":\"\xff\",\"exp\":1800000000}");
    assert_eq!(keys().verify(&not_utf8, NOW), Err(Payload));
}

#[test]
fn issuer_and_audience_are_enforced_when_set() {
    use TokenError::*;
    let table: [(&str, Result<(), TokenError>); 11] = [
        (r#","iss":"issuer","aud":"here""#, Ok(())),
        (r#","iss":"issuer","aud":["there","here"]"#, Ok(())),
        (r#","aud":"here""#, Err(Issuer)),
        (r#","iss":"","aud":"here""#, Err(Issuer)),
        (r#","iss":"issuer2","aud":"here""#, Err(Issuer)),
        (r#","iss":["issuer"],"aud":"here""#, Err(Text)),
        (r#","iss":"issuer""#, Err(Audience)),
        (r#","iss":"issuer","aud":[]"#, Err(Audience)),
        (r#","iss":"issuer","aud":"her""#, Err(Audience)),
        (r#","iss":"issuer","aud":["here ","there"]"#, Err(Audience)),
        (r#","iss":"issuer","aud":["here",1]"#, Err(Text)),
    ];
    for (more, expected) in table {
        assert_eq!(strict_keys().verify(&with_claims(more), NOW).map(|_| ()), expected, "{more}");
    }
}

#[test]
fn a_previous_key_verifies_and_signs_only_what_comes_from_its_tokens() {
    let (new, old) = (Keys::new(KEY, &[], None, None), Keys::new(OLD_KEY, &[], None, None));
    let token = keys().sign(&claims()).unwrap();
    assert!(new.verify(&token, NOW).is_ok());
    assert_eq!(old.verify(&token, NOW), Err(TokenError::Signature));
    let of_old_key = Claims { key: old.current(), ..claims() };
    let token = old.sign(&of_old_key).unwrap();
    assert_eq!(keys().verify(&token, NOW).as_ref(), Ok(&of_old_key));
    assert_eq!(new.verify(&token, NOW), Err(TokenError::Signature));
    // What is derived from its claims is signed with the same key, and by no server that has removed the key.
    assert_eq!(keys().sign(&of_old_key), Some(token));
    assert_eq!(new.sign(&of_old_key), None);
    assert!(keys().contains(of_old_key.key) && !new.contains(of_old_key.key));
}

#[test]
fn every_single_character_change_is_rejected() {
    let keys = keys();
    let token = keys.sign(&claims()).unwrap();
    assert!(keys.verify(&token, NOW).is_ok());
    for at in 0..token.len() {
        for other in (0u8..128).map(char::from) {
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(changed == token || keys.verify(&changed, NOW).is_err(), "{other:?} at {at}");
            let inserted = format!("{}{other}{}", &token[..at], &token[at..]);
            assert!(keys.verify(&inserted, NOW).is_err(), "{other:?} before {at}");
        }
        let removed = format!("{}{}", &token[..at], &token[at + 1..]);
        assert!(keys.verify(&removed, NOW).is_err(), "without the one at {at}");
        assert!(keys.verify(&token[..at], NOW).is_err(), "cut at {at}");
    }
}

#[test]
fn messages_fit_into_a_header_field() {
    use TokenError::*;
    let all = [
        [TooLong, Parts, Encoding, Header, Algorithm, Critical, Signature, Payload, Duplicate, ExpirationMissing],
        [Time, Expired, NotYetValid, IssuedInFuture, UserMissing, User, Text, Issuer, Audience, Names],
    ];
    for error in all.into_iter().flatten() {
        let message = error.message();
        assert!(message.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\'), "{message}");
        assert_eq!(error.to_string(), message);
    }
}
