//! Families of forged and unusual tokens from public test vectors for HMAC and JSON Web Signatures, built from our own
//! keys and claims. The MAC is implemented again here, so that the program is not compared with itself.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use cortex_core::internals::limits::TOKEN_BYTES_MAX;
use cortex_core::internals::time::SECOND;
use cortex_core::internals::{Claims, Credential, Keys, Purpose, TokenError, UserId, WallTime};
use sha2::{Digest, Sha256, Sha384, Sha512};

const KEY: &[u8] = b"a key of the families, 32 bytes.";
const HEADER: &str = r#"{"alg":"HS256","kid":"one"}"#;
const PAYLOAD: &str = r#"{"oid":"u","exp":1800000000}"#;
const NOW: WallTime = WallTime(1_769_850_930 * SECOND);

/// RFC 2104 over any of the hashes of FIPS 180-4, whose blocks have `block` bytes.
fn hmac<D: Digest>(key: &[u8], message: &[u8], block: usize) -> Vec<u8> {
    let mut padded = if key.len() > block { D::digest(key).to_vec() } else { key.to_vec() };
    padded.resize(block, 0);
    let with = |mask: u8| padded.iter().map(|byte| byte ^ mask).collect::<Vec<u8>>();
    let inner = D::digest([with(0x36).as_slice(), message].concat());
    D::digest([with(0x5c).as_slice(), inner.as_slice()].concat()).to_vec()
}

fn hs256(key: &[u8], message: &str) -> Vec<u8> {
    hmac::<Sha256>(key, message.as_bytes(), 64)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The signed part.
fn signed(header: &str, payload: &str) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

/// `signed` with a valid signature.
fn with_mac(key: &[u8], signed: &str) -> String {
    format!("{signed}.{}", encode(hs256(key, signed)))
}

fn verify(token: &str) -> Result<(), TokenError> {
    Keys::new(KEY, &[], None, None).verify(token, NOW).map(|claims| assert_eq!(claims.user.as_str(), "u"))
}

#[test]
fn the_test_mac_matches_the_standard_vectors() {
    // RFC 4231, test case 2.
    let (key, message) = (b"Jefe".as_slice(), b"what do ya want for nothing?".as_slice());
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of_256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex(hmac::<Sha256>(key, message, 64)), of_256);
    assert!(hex(hmac::<Sha384>(key, message, 128)).starts_with("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"));
    assert!(hex(hmac::<Sha512>(key, message, 128)).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6"));
}

#[test]
fn keys_of_every_size_sign_and_verify() {
    let long: Vec<u8> = (0..=255).cycle().skip(1).take(1001).collect();
    for size in [1, 15, 16, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 255, 1000] {
        let key = &long[..size];
        let keys = Keys::new(key, &[], None, None);
        assert!(keys.verify(&with_mac(key, &signed(HEADER, PAYLOAD)), NOW).is_ok(), "{size}");
        let claims = Claims {
            user: UserId::new("u").unwrap(),
            name: None,
            email: None,
            sub: None,
            expires_at: WallTime(NOW.0 + 60 * SECOND),
            issued_at: None,
            credential: Credential::default(),
            key: keys.current(),
            purpose: Purpose::Access,
        };
        let ours = keys.sign(&claims).unwrap();
        let (text, signature) = ours.rsplit_once('.').unwrap();
        assert_eq!(signature, encode(hs256(key, text)), "{size}");
        // Neither a prefix of the key nor an extension of it verifies, except for zeros up to a block: RFC 2104 §2.
        let fewer = &long[..size - 1];
        let more = [key, b"x"].concat();
        for other in [fewer, &more, &long[1..=size], &[]] {
            assert!(keys.verify(&with_mac(other, &signed(HEADER, PAYLOAD)), NOW).is_err(), "{size}");
        }
    }
}

#[test]
fn macs_of_extreme_values_verify() {
    let mut found = [false; 4];
    for n in 0.. {
        let text = signed(HEADER, &format!(r#"{{"oid":"u","exp":1800000000,"n":{n}}}"#));
        let mac = hs256(KEY, &text);
        let edges = [mac[0] == 0 && mac[1] < 16, mac[0] == 255 && mac[1] >= 240, mac[31] == 0, mac[31] == 255];
        if edges.contains(&true) {
            assert_eq!(verify(&format!("{text}.{}", encode(&mac))), Ok(()), "{n}");
        }
        for (seen, edge) in found.iter_mut().zip(edges) {
            *seen |= edge;
        }
        if !found.contains(&false) {
            return;
        }
    }
}

#[test]
fn a_modified_mac_is_rejected() {
    let text = signed(HEADER, PAYLOAD);
    let mac = hs256(KEY, &text);
    let changed = |change: &dyn Fn(usize, u8) -> u8| -> Vec<u8> {
        mac.iter().enumerate().map(|(at, byte)| change(at, *byte)).collect()
    };
    let mut table: Vec<(String, Vec<u8>)> = vec![
        ("all bits turned".into(), changed(&|_, byte| !byte)),
        ("all first bits turned".into(), changed(&|_, byte| byte ^ 0x80)),
        ("all last bits turned".into(), changed(&|_, byte| byte ^ 1)),
        ("zeros".into(), vec![0; 32]),
        ("ones".into(), vec![255; 32]),
        ("backwards".into(), mac.iter().rev().copied().collect()),
        ("halves swapped".into(), [&mac[16..], &mac[..16]].concat()),
        ("half and zeros".into(), [&mac[..16], &[0; 16]].concat()),
        ("zeros and half".into(), [&[0; 16], &mac[16..]].concat()),
        ("a zero more".into(), [&mac[..], &[0]].concat()),
        ("a zero first".into(), [&[0], &mac[..]].concat()),
        ("of SHA-384".into(), hmac::<Sha384>(KEY, text.as_bytes(), 128)),
        ("of SHA-384, cut".into(), hmac::<Sha384>(KEY, text.as_bytes(), 128)[..32].to_vec()),
        ("of SHA-512, cut".into(), hmac::<Sha512>(KEY, text.as_bytes(), 128)[..32].to_vec()),
        ("with another block".into(), hmac::<Sha256>(KEY, text.as_bytes(), 128)),
        ("a bare hash".into(), Sha256::digest(&text).to_vec()),
        ("a hash of key and text".into(), Sha256::digest([KEY, text.as_bytes()].concat()).to_vec()),
        ("a hash of text and key".into(), Sha256::digest([text.as_bytes(), KEY].concat()).to_vec()),
        ("key and text exchanged".into(), hmac::<Sha256>(text.as_bytes(), KEY, 64)),
        ("an empty key's".into(), hs256(b"", &text)),
        ("the key's in base64".into(), hs256(STANDARD.encode(KEY).as_bytes(), &text)),
        ("the key's in capitals".into(), hs256(&KEY.to_ascii_uppercase(), &text)),
        ("the key's with a line end".into(), hs256(&[KEY, b"\n"].concat(), &text)),
        ("of the payload".into(), hs256(KEY, &encode(PAYLOAD))),
        ("of the header".into(), hs256(KEY, &encode(HEADER))),
        ("of both without the dot".into(), hs256(KEY, &text.replace('.', ""))),
        ("with a dot behind".into(), hs256(KEY, &format!("{text}."))),
        ("of what is not encoded".into(), hs256(KEY, &format!("{HEADER}.{PAYLOAD}"))),
        ("of the header and a payload not encoded".into(), hs256(KEY, &format!("{}.{PAYLOAD}", encode(HEADER)))),
        ("of the payload and the header".into(), hs256(KEY, &signed(PAYLOAD, HEADER))),
        ("of nothing".into(), hs256(KEY, "")),
        ("of itself".into(), hmac::<Sha256>(KEY, &mac, 64)),
    ];
    for bit in 0..256 {
        table.push((
            format!("bit {bit} turned"),
            changed(&|at, byte| if at == bit / 8 { byte ^ 1 << (bit % 8) } else { byte }),
        ));
    }
    for bytes in 0..32 {
        table.push((format!("cut to {bytes} bytes"), mac[..bytes].to_vec()));
        table.push((format!("the last {bytes} bytes"), mac[32 - bytes..].to_vec()));
    }
    for (name, forged) in table {
        assert_eq!(verify(&format!("{text}.{}", encode(forged))), Err(TokenError::Signature), "{name}");
    }
    assert_eq!(verify(&format!("{text}.{}", encode(&mac))), Ok(()));
}

/// Spellings of a part in base64url that some decoders accept, for each part, with a signature of the original text and
/// one of the text as spelled.
#[test]
fn each_token_part_has_exactly_one_encoding() {
    let good = with_mac(KEY, &signed(HEADER, PAYLOAD));
    let parts: Vec<&str> = good.split('.').collect();
    for at in 0..3 {
        let part = parts[at];
        let (first, rest) = part.split_at(1);
        let (front, last) = part.split_at(part.len() - 1);
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        let mut spellings: Vec<String> = ["", "    ", "\n", "\r\n", "\t", "\0", "?", "####", "=", "%", "ü", "\u{feff}"]
            .iter()
            .flat_map(|odd| [format!("{odd}{part}"), format!("{first}{odd}{rest}"), format!("{part}{odd}")])
            .filter(|spelling| spelling != part)
            .collect();
        spellings.extend(["?", "=", " ", "+", "/", ".", ",", "~", "\u{ff21}"].map(|odd| format!("{odd}{rest}")));
        spellings.extend(["==", "===", "====", "%3D", "A", "AA", "AAAA"].map(|odd| format!("{part}{odd}")));
        spellings.extend([front.to_owned(), rest.to_owned(), String::new(), part.repeat(2), part.to_uppercase()]);
        spellings.extend([URL_SAFE.encode(&bytes), STANDARD.encode(&bytes), encode(part)]);
        spellings.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        // The bits of the last character that belong to no byte.
        if !part.len().is_multiple_of(4) {
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let value = alphabet.find(last).unwrap();
            spellings.extend((1..4).map(|bits| format!("{front}{}", &alphabet[(value | bits)..][..1])));
        }
        for spelling in spellings.iter().filter(|spelling| *spelling != part) {
            let mut spelled = parts.clone();
            spelled[at] = spelling;
            assert!(verify(&spelled.join(".")).is_err(), "part {at} as {spelling:?}");
            if at < 2 {
                let signed = with_mac(KEY, &spelled[..2].join("."));
                assert!(verify(&signed).is_err(), "part {at} as {spelling:?}, signed so");
            }
        }
    }
    assert_eq!(verify(&good), Ok(()));
}

#[test]
fn a_token_has_three_parts_in_one_line() {
    let good = with_mac(KEY, &signed(HEADER, PAYLOAD));
    let [header, payload, mac] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let nested = encode(&good);
    let table = [
        ("no header", format!(".{payload}.{mac}")),
        ("no header and no dot", format!("{payload}.{mac}")),
        ("no payload", format!("{header}..{mac}")),
        ("no payload and no dot", format!("{header}.{mac}")),
        ("no signature", format!("{header}.{payload}.")),
        ("no signature and no dot", format!("{header}.{payload}")),
        ("no header and no signature", format!(".{payload}.")),
        ("the payload alone", payload.to_owned()),
        ("the header alone", format!("{header}..")),
        ("the signature alone", format!("..{mac}")),
        ("one dot", ".".into()),
        ("three dots", "...".into()),
        ("an empty part behind", format!("{good}.")),
        ("an empty part before", format!(".{good}")),
        ("an empty part within", format!("{header}..{payload}.{mac}")),
        ("a part more", format!("{good}.Zm9v")),
        ("five parts, as of an encrypted one", format!("{header}.{payload}.{mac}.{mac}.{mac}")),
        ("parts turned round", format!("{mac}.{payload}.{header}")),
        ("a header as payload", format!("{header}.{header}.{mac}")),
        ("two tokens", format!("{good} {good}")),
        ("two tokens with a comma", format!("{good},{good}")),
        ("a scheme before", format!("Bearer {good}")),
        ("in quotes", format!("\"{good}\"")),
        ("other dots", good.replace('.', "\u{2024}")),
        ("colons", good.replace('.', ":")),
        ("escaped dots", good.replace('.', "%2e")),
        ("a token signed as a header", with_mac(KEY, &format!("{nested}.{payload}"))),
        ("a token signed as a payload", with_mac(KEY, &format!("{header}.{nested}"))),
        (
            "the flattened JSON serialization",
            format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{mac}"}}"#),
        ),
        (
            "the general JSON serialization",
            format!(r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{mac}"}}]}}"#),
        ),
        (
            "the JSON serialization with dots",
            format!(r#"{{"payload":"{payload}","protected":"{header}","header":{{"x":"a.b"}},"signature":"{mac}."}}"#),
        ),
    ];
    for (name, token) in table {
        assert!(verify(&token).is_err(), "{name}: {token}");
    }
}

#[test]
fn only_hs256_is_accepted_whatever_the_header_says() {
    let names = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "",
        "HS256 ",
        "hs256",
        "Hs256",
        "HS1",
        "HS128",
        "HS384",
        "HS512",
        "HMAC",
        "HMAC-SHA256",
        "SHA256",
        "S256",
        "RS1",
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "ES256",
        "ES256K",
        "ES512",
        "EdDSA",
        "Ed25519",
        "dir",
        "A128KW",
        "A256KW",
        "A256GCMKW",
        "PBES2-HS256+A128KW",
        "RSA-OAEP",
        "ECDH-ES",
        "HS256,none",
        "HS256\\u0000",
        "HS\\uff12\\uff15\\uff16",
        "\\u041dS256",
        "HS256\\n",
    ];
    for name in names {
        let text = signed(&format!(r#"{{"alg":"{name}","typ":"JWT"}}"#), PAYLOAD);
        let macs = [
            Vec::new(),
            hs256(KEY, &text),
            hs256(b"", &text),
            hmac::<Sha384>(KEY, text.as_bytes(), 128),
            hmac::<Sha512>(KEY, text.as_bytes(), 128),
            vec![0; 64],
            vec![0; 256],
        ];
        for mac in macs {
            let token = format!("{text}.{}", encode(&mac));
            assert!(verify(&token).is_err(), "{name:?} with {} bytes", mac.len());
        }
    }
}

/// A header with this many names.
fn many_names(names: usize) -> String {
    format!(r#"{{"alg":"HS256"{}}}"#, (1..names).map(|n| format!(r#","{n}":0"#)).collect::<String>())
}

#[test]
fn keys_and_extensions_in_a_header_are_ignored_or_rejected() {
    use TokenError::*;
    let own = encode(b"a key that the sender has chosen");
    let jwk = format!(r#"{{"kty":"oct","k":"{own}","alg":"HS256"}}"#);
    // Header and expected result with a valid signature.
    let table: Vec<(&str, String, Result<(), TokenError>)> = vec![
        ("jwk", format!(r#"{{"alg":"HS256","jwk":{jwk}}}"#), Ok(())),
        ("jku", r#"{"alg":"HS256","jku":"http://127.0.0.1/keys"}"#.into(), Ok(())),
        ("x5u", r#"{"alg":"HS256","x5u":"file:///etc/passwd"}"#.into(), Ok(())),
        ("x5c", r#"{"alg":"HS256","x5c":["AAAA"]}"#.into(), Ok(())),
        ("kid is a path", r#"{"alg":"HS256","kid":"../../../../dev/null"}"#.into(), Ok(())),
        ("kid is a command", r#"{"alg":"HS256","kid":"' UNION SELECT '' --"}"#.into(), Ok(())),
        ("kid is an object", r#"{"alg":"HS256","kid":{"a":[1]}}"#.into(), Ok(())),
        ("kid is empty", r#"{"alg":"HS256","kid":""}"#.into(), Ok(())),
        ("zip", r#"{"alg":"HS256","zip":"DEF"}"#.into(), Ok(())),
        ("enc", r#"{"alg":"HS256","enc":"A128GCM"}"#.into(), Ok(())),
        ("cty", r#"{"alg":"HS256","cty":"JWT"}"#.into(), Ok(())),
        ("b64 that is true", r#"{"alg":"HS256","b64":true}"#.into(), Ok(())),
        ("typ of something else", r#"{"alg":"HS256","typ":"JWE"}"#.into(), Ok(())),
        ("typ empty", r#"{"alg":"HS256","typ":""}"#.into(), Ok(())),
        ("typ of two", r#"{"alg":"HS256","typ":["JWT"]}"#.into(), Err(Header)),
        ("typ twice", r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#.into(), Err(Header)),
        ("critical b64", r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#.into(), Err(Critical)),
        ("critical and a string", r#"{"alg":"HS256","crit":"exp"}"#.into(), Err(Critical)),
        ("critical alg", r#"{"alg":"HS256","crit":["alg"]}"#.into(), Err(Critical)),
        ("critical nothing", r#"{"alg":"HS256","crit":[""]}"#.into(), Err(Critical)),
        ("critical that is false", r#"{"alg":"HS256","crit":false}"#.into(), Err(Critical)),
        ("critical twice", r#"{"alg":"HS256","crit":["x"],"crit":["x"]}"#.into(), Err(Header)),
        ("critical, escaped", r#"{"alg":"HS256","cr\u0069t":["exp"]}"#.into(), Err(Critical)),
        ("Critical is another name", r#"{"alg":"HS256","Crit":["exp"]}"#.into(), Ok(())),
        ("the algorithm in an object", r#"{"header":{"alg":"HS256"}}"#.into(), Err(Header)),
        ("the algorithm is an object", r#"{"alg":{"HS256":true}}"#.into(), Err(Header)),
        ("the algorithm is a number", r#"{"alg":256}"#.into(), Err(Header)),
        ("the algorithm is true", r#"{"alg":true}"#.into(), Err(Header)),
        ("the algorithm in capitals", r#"{"ALG":"HS256"}"#.into(), Err(Header)),
        ("the algorithm with white space", r#"{"alg ":"HS256"}"#.into(), Err(Header)),
        ("another case beside it", r#"{"alg":"HS256","Alg":"none"}"#.into(), Ok(())),
        ("the algorithm with escapes", r#"{"\u0061lg":"\u0048S\u0032\u0035\u0036"}"#.into(), Ok(())),
        ("the algorithm and then none", r#"{"alg":"HS256","alg":"none"}"#.into(), Err(Header)),
        ("none and then the algorithm", r#"{"alg":"none","alg":"HS256"}"#.into(), Err(Header)),
        ("white space of JSON", " \t\r\n{ \"alg\"\t:\r\n\"HS256\" } \n".into(), Ok(())),
        ("a vertical tab", "{\u{b}\"alg\":\"HS256\"}".into(), Err(Header)),
        ("a no-break space", "{\u{a0}\"alg\":\"HS256\"}".into(), Err(Header)),
        ("a comment", r#"{/**/"alg":"HS256"}"#.into(), Err(Header)),
        ("a NUL behind", "{\"alg\":\"HS256\"}\0".into(), Err(Header)),
        ("names without quotes", r#"{alg:"HS256"}"#.into(), Err(Header)),
        ("a lone surrogate", r#"{"alg":"HS256","x":"\ud800"}"#.into(), Ok(())),
        ("two objects", r#"{"alg":"HS256"},{"alg":"HS256"}"#.into(), Err(Header)),
        ("an object in an array", r#"[{"alg":"HS256"}]"#.into(), Err(Header)),
        ("a long one", format!(r#"{{"alg":"HS256","x":"{}"}}"#, "y".repeat(5000)), Ok(())),
        ("one over the limit", format!(r#"{{"alg":"HS256","x":"{}"}}"#, "y".repeat(TOKEN_BYTES_MAX)), Err(TooLong)),
        ("the most names", many_names(64), Ok(())),
        ("one name over the limit", many_names(65), Err(Header)),
        ("many names", many_names(500), Err(Header)),
        ("deep arrays", format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000)), Ok(())),
        ("deep objects", format!(r#"{{"alg":"HS256","x":{}0{}}}"#, r#"{"a":"#.repeat(1000), "}".repeat(1000)), Ok(())),
        ("deep and never closed", format!(r#"{{"alg":"HS256","x":{}"#, "[".repeat(5000)), Err(Header)),
    ];
    for (name, header, expected) in table {
        let text = signed(&header, PAYLOAD);
        assert_eq!(verify(&with_mac(KEY, &text)), expected, "{name}");
        // With another key it is always rejected, also with the key that the header names.
        for key in [b"a key that the sender has chosen".as_slice(), b"", b"\0", own.as_bytes(), jwk.as_bytes()] {
            let forged = verify(&with_mac(key, &text));
            assert_eq!(forged, Err(expected.err().unwrap_or(Signature)), "{name}, forged");
        }
    }
}

/// RFC 7797: an unencoded payload, as `"b64":false` declares it.
#[test]
fn an_unencoded_payload_is_rejected() {
    for header in [r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, r#"{"alg":"HS256","b64":false}"#, HEADER] {
        for payload in [PAYLOAD, "u", r#"{"oid":"u","exp":1800000000.5}"#] {
            let token = with_mac(KEY, &format!("{}.{payload}", encode(header)));
            assert!(verify(&token).is_err(), "{token}");
            let detached = format!("{}..{}", encode(header), token.rsplit_once('.').unwrap().1);
            assert!(verify(&detached).is_err(), "{detached}");
        }
    }
}

#[test]
fn invalid_utf8_is_rejected_as_json() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let with_bytes = |text: &str, bytes: &[u8]| {
        let (front, rest) = text.split_at(text.len() - 1);
        [front.as_bytes(), b",\"x\":\"", bytes, b"\"", rest.as_bytes()].concat()
    };
    type Maker<'m> = (&'m str, &'m dyn Fn(&str) -> Vec<u8>);
    let makers: [Maker; 6] = [
        ("UTF-16", &|text| utf16(text)),
        ("a byte order mark", &|text| format!("\u{feff}{text}").into_bytes()),
        ("Latin-1", &|text| with_bytes(text, b"\xfc")),
        ("an overlong form", &|text| with_bytes(text, b"\xc0\xaf")),
        ("a surrogate", &|text| with_bytes(text, b"\xed\xa0\x80")),
        ("a character cut short", &|text| with_bytes(text, b"\xf0\x9f\x98")),
    ];
    for (name, make) in makers {
        let header = with_mac(KEY, &format!("{}.{}", encode(make(HEADER)), encode(PAYLOAD)));
        assert_eq!(verify(&header), Err(TokenError::Header), "{name} in the header");
        let payload = with_mac(KEY, &format!("{}.{}", encode(HEADER), encode(make(PAYLOAD))));
        assert_eq!(verify(&payload), Err(TokenError::Payload), "{name} in the payload");
    }
    // Ignored members may have any depth, since skipping them uses no stack; decoded ones may not.
    for (name, expected) in [("x", Ok(())), ("aud", Err(TokenError::Payload)), ("oid", Err(TokenError::Payload))] {
        let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
        let payload = PAYLOAD.replace("\"exp\"", &format!(r#""{name}":{deep},"exp""#));
        assert_eq!(verify(&with_mac(KEY, &signed(HEADER, &payload))), expected, "{name}");
    }
    let open = format!(r#"{{"oid":"u","exp":1800000000,"x":{}"#, r#"{"a":"#.repeat(900));
    assert_eq!(verify(&with_mac(KEY, &signed(HEADER, &open))), Err(TokenError::Payload));
}
