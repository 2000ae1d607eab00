//! The format of log lines. Text from a peer can neither control a terminal nor end a line nor forge a field.

use crate::base::decimal;
use crate::base::limits::LOG_FIELD_BYTES_MAX;
use crate::base::text::beginning;
use crate::base::time::WallTime;
use std::io::Write;

/// The format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `2026-01-31T09:15:30.123456Z INFO request method=GET path=/ …`
    Text,
    /// One JSON object per line.
    Json,
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessLine<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// As it was sent, without the part from `?` or `#`, which may contain a token.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The length of the response body.
    pub bytes: u64,
    /// Microseconds from the head of the request to the end of the response.
    pub micros: u64,
    /// `X-Request-Id`.
    pub request_id: &'a str,
    /// The user of the token.
    pub user: Option<&'a str>,
}

/// The line of a request, with its line end.
pub(super) fn access_line(format: LogFormat, at: WallTime, line: &AccessLine<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match format {
        LogFormat::Text => access_text(&mut out, at, line),
        LogFormat::Json => access_json(&mut out, at, line),
    }
    out
}

/// A line of the `log` facade, with its line end.
pub(super) fn message_line(format: LogFormat, at: WallTime, level: &str, target: &str, text: &str) -> Vec<u8> {
    let target = target.strip_prefix("cortex_core::").unwrap_or(target);
    let mut out = Vec::with_capacity(64 + text.len());
    match format {
        LogFormat::Text => {
            text_start(&mut out, at, level);
            escape(&mut out, target, Escapes::Text);
            out.extend_from_slice(b": ");
            escape(&mut out, text, Escapes::Text);
        }
        LogFormat::Json => {
            json_start(&mut out, at, level);
            out.extend_from_slice(b"\"target\":");
            json_field(&mut out, target);
            out.extend_from_slice(b",\"message\":");
            json_field(&mut out, text);
            out.push(b'}');
        }
    }
    out.push(b'\n');
    out
}

fn access_text(out: &mut Vec<u8>, at: WallTime, line: &AccessLine<'_>) {
    text_start(out, at, "INFO");
    out.extend_from_slice(b"request method=");
    text_field(out, line.method);
    out.extend_from_slice(b" path=");
    text_field(out, without_query(line.path));
    for (name, number) in numbers(line) {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        decimal::push(out, number);
    }
    out.extend_from_slice(b" request_id=");
    text_field(out, line.request_id);
    out.extend_from_slice(b" user=");
    match line.user {
        Some(user) => text_field(out, user),
        None => out.push(b'-'),
    }
    out.push(b'\n');
}

fn access_json(out: &mut Vec<u8>, at: WallTime, line: &AccessLine<'_>) {
    json_start(out, at, "INFO");
    out.extend_from_slice(b"\"message\":\"request\",\"method\":");
    json_field(out, line.method);
    out.extend_from_slice(b",\"path\":");
    json_field(out, without_query(line.path));
    for (name, number) in numbers(line) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        decimal::push(out, number);
    }
    out.extend_from_slice(b",\"request_id\":");
    json_field(out, line.request_id);
    out.extend_from_slice(b",\"user\":");
    match line.user {
        Some(user) => json_field(out, user),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}\n");
}

fn numbers(line: &AccessLine<'_>) -> [(&'static str, u64); 3] {
    [("status", u64::from(line.status)), ("bytes", line.bytes), ("micros", line.micros)]
}

fn text_start(out: &mut Vec<u8>, at: WallTime, level: &str) {
    out.extend_from_slice(&at.rfc3339());
    out.push(b' ');
    out.extend_from_slice(level.as_bytes());
    out.push(b' ');
}

fn json_start(out: &mut Vec<u8>, at: WallTime, level: &str) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&at.rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(level.as_bytes());
    out.extend_from_slice(b"\",");
}

fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// A value: unquoted if it is one plain word, otherwise in quotes.
fn text_field(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    // A lone `-` means no value.
    if !text.is_empty() && text != "-" && text.len() <= LOG_FIELD_BYTES_MAX && text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'"');
        escape(out, text, Escapes::Quoted);
        out.push(b'"');
    }
}

fn json_field(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text, Escapes::Json);
    out.push(b'"');
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Free text: escapes only characters that control or mislead a terminal.
    Text,
    /// Within quotes: quotes and backslashes too.
    Quoted,
    /// RFC 8259 §7.
    Json,
}

/// Appends at most `LOG_FIELD_BYTES_MAX` bytes of `text`, escaped, and `…` if it was truncated.
fn escape(out: &mut Vec<u8>, text: &str, escapes: Escapes) {
    let kept = beginning(text, LOG_FIELD_BYTES_MAX);
    for c in kept.chars() {
        match c {
            '"' | '\\' if escapes != Escapes::Text => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ if is_unsafe_for_terminal(c) && escapes == Escapes::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a Vec takes all that is written");
                }
            }
            _ if is_unsafe_for_terminal(c) => {
                write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a Vec takes all that is written");
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if kept.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Whether a character controls a terminal, ends a line, or invisibly changes the displayed text: controls, line separators,
/// zero-width and bidirectional formatting, tags.
fn is_unsafe_for_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: WallTime = WallTime(1_769_850_930_123_456);
    const LINE: AccessLine<'_> = AccessLine {
        method: "GET",
        path: "/",
        status: 200,
        bytes: 41,
        micros: 57,
        request_id: "r-1",
        user: Some("550e8400-e29b-41d4-a716-446655440000"),
    };

    fn text(line: &AccessLine<'_>) -> String {
        String::from_utf8(access_line(LogFormat::Text, AT, line)).unwrap()
    }

    fn json(line: &AccessLine<'_>) -> String {
        String::from_utf8(access_line(LogFormat::Json, AT, line)).unwrap()
    }

    #[test]
    fn access_lines() {
        assert_eq!(
            text(&LINE),
            "2026-01-31T09:15:30.123456Z INFO request method=GET path=/ status=200 bytes=41 micros=57 \
             request_id=r-1 user=550e8400-e29b-41d4-a716-446655440000\n"
        );
        assert_eq!(
            json(&LINE),
            "{\"time\":\"2026-01-31T09:15:30.123456Z\",\"level\":\"INFO\",\"message\":\"request\",\"method\":\"GET\",\
             \"path\":\"/\",\"status\":200,\"bytes\":41,\"micros\":57,\"request_id\":\"r-1\",\
             \"user\":\"550e8400-e29b-41d4-a716-446655440000\"}\n"
        );
        let nobody = AccessLine { user: None, bytes: 0, micros: u64::MAX, ..LINE };
        assert!(text(&nobody).ends_with(" bytes=0 micros=18446744073709551615 request_id=r-1 user=-\n"));
        assert!(json(&nobody).ends_with(",\"user\":null}\n"));
    }

    #[test]
    fn paths_go_without_their_query() {
        for path in ["/output/stream?ticket=secret", "/output/stream#secret", "/output/stream?a=b#secret?"] {
            let line = AccessLine { path, ..LINE };
            assert!(text(&line).contains(" path=/output/stream "), "{path}");
            assert!(!text(&line).contains("secret") && !json(&line).contains("secret"), "{path}");
        }
    }

    #[test]
    fn values_stay_what_they_are_and_harm_nobody() {
        let table = [
            ("plain", "plain", r#""plain""#),
            ("a=b", "a=b", r#""a=b""#),
            ("", r#""""#, r#""""#),
            ("-", r#""-""#, r#""-""#),
            ("two words", r#""two words""#, r#""two words""#),
            ("\"\\", r#""\"\\""#, r#""\"\\""#),
            ("ü\u{1f600}", "\"ü\u{1f600}\"", "\"ü\u{1f600}\""),
            ("x status=500", r#""x status=500""#, r#""x status=500""#),
            ("x\nline\r\t", r#""x\nline\r\t""#, r#""x\nline\r\t""#),
            ("\u{1b}[2J\u{7}\0", r#""\u{1b}[2J\u{7}\u{0}""#, r#""\u001b[2J\u0007\u0000""#),
            ("\u{7f}\u{9b}31m", r#""\u{7f}\u{9b}31m""#, r#""\u007f\u009b31m""#),
            ("\u{202e}gpj", r#""\u{202e}gpj""#, r#""\u202egpj""#),
            ("\u{2028}\u{feff}", r#""\u{2028}\u{feff}""#, r#""\u2028\ufeff""#),
            ("\u{e0041}", r#""\u{e0041}""#, r#""\udb40\udc41""#),
        ];
        for (user, in_text, in_json) in table {
            let line = AccessLine { user: Some(user), ..LINE };
            assert!(text(&line).ends_with(&format!(" user={in_text}\n")), "{user:?}: {}", text(&line));
            assert!(json(&line).ends_with(&format!("\"user\":{in_json}}}\n")), "{user:?}: {}", json(&line));
        }
    }

    #[test]
    fn messages_stay_on_one_line() {
        let line = message_line(
            LogFormat::Text,
            AT,
            "WARN",
            "cortex_core::store::writer",
            "two\nlines, \"quotes\" and \u{1b}[m",
        );
        let line = String::from_utf8(line).unwrap();
        assert_eq!(&line[27..], " WARN store::writer: two\\nlines, \"quotes\" and \\u{1b}[m\n");
        let line = message_line(LogFormat::Json, AT, "WARN", "mio", "two\nlines, \"quotes\"");
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with("\"level\":\"WARN\",\"target\":\"mio\",\"message\":\"two\\nlines, \\\"quotes\\\"\"}\n"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = format!("x{}", "ü".repeat(LOG_FIELD_BYTES_MAX));
        let line = text(&AccessLine { path: &long, ..LINE });
        let kept = format!("path=\"x{}…\" status=", "ü".repeat((LOG_FIELD_BYTES_MAX - 1) / 2));
        assert!(line.contains(&kept), "{line}");
        let whole = "x".repeat(LOG_FIELD_BYTES_MAX);
        assert!(text(&AccessLine { path: &whole, ..LINE }).contains(&format!(" path={whole} ")));
    }
}
