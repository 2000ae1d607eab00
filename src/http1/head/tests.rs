use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024 };

#[test]
fn fields_are_found_in_any_case_and_order() {
    let input = b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:80\r\nX-One: 1\r\nx-one:  two \r\nX-Two:\r\n\r\nrest";
    let mut buffer = HeaderBuf::new();
    let head = parse_head(input, &mut buffer, &LIMITS).unwrap().unwrap();
    assert_eq!(head.field("x-ONE"), Some(&b"1"[..]));
    assert_eq!(head.field("x-three"), None);
    assert_eq!(head.field("X-Two"), Some(&b""[..]));
    assert_eq!(head.fields("X-One").collect::<Vec<_>>(), [&b"1"[..], b"two"]);
    assert_eq!(head.headers.iter().map(|header| header.name).collect::<Vec<_>>(), ["Host", "X-One", "x-one", "X-Two"]);
    assert_eq!((head.host, head.host_name()), ("[::1]:80", "[::1]"));
    assert_eq!(&input[head.bytes..], b"rest");
}

#[test]
fn parsing_is_worth_it_only_if_the_result_can_be_new() {
    let limits = HeadLimits { head_bytes_max: 10_000 };
    assert!(!worth_parsing(0, b"GET / HT", &limits));
    assert!(worth_parsing(3, b"GET / HTTP/1.1\r\n", &limits));
    assert!(!worth_parsing(16, b"GET / HTTP/1.1\r\nHos", &limits));
    let long = [b'a'; 10_000];
    assert!(worth_parsing(8_000, &long[..TARGET_CHECK_BYTES], &limits));
    assert!(!worth_parsing(TARGET_CHECK_BYTES, &long[..TARGET_CHECK_BYTES + 1], &limits));
    assert!(worth_parsing(9_999, &long, &limits));
}

#[test]
fn a_head_is_parsed_once_per_line_however_it_arrives() {
    let mut input = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    input.resize(8000, b'x');
    input.extend_from_slice(b"\r\n\r\n");
    let parses = (1..=input.len()).filter(|end| worth_parsing(end - 1, &input[..*end], &LIMITS)).count();
    assert_eq!(parses, 4);
}

#[test]
fn every_error_has_a_status_a_code_and_a_message() {
    let table = [
        (HeadError::RequestLine, 400, "bad_request"),
        (HeadError::LengthAndCoding, 400, "bad_request"),
        (HeadError::Expectation, 417, "expectation_failed"),
        (HeadError::TargetTooLong, 414, "uri_too_long"),
        (HeadError::TooManyFields, 431, "headers_too_large"),
        (HeadError::TooLarge, 431, "headers_too_large"),
    ];
    for (error, status, code) in table {
        assert_eq!((error.status(), error.code()), (status, code));
        assert!(!error.message().is_empty());
    }
}
