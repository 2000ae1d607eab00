//! A slow reference parser of event streams, written from HTML Standard §9.2.5 and §9.2.6: the whole stream as text,
//! line by line, field by field.

/// A dispatched event: its type, its data, and the last event id at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
    pub last_event_id: String,
}

/// A stream parsed to its end.
#[derive(Debug, Default)]
pub struct Stream {
    pub events: Vec<Event>,
    pub last_event_id: String,
    /// The last `retry` as sent, in digits.
    pub retry: Option<String>,
    /// Whether the end truncated a line, or an event that an empty line would have dispatched.
    pub cut_off: bool,
    /// Whether a line, or the fields of an event, exceeded `bytes_max`; nothing after that was parsed.
    pub too_large: bool,
}

/// Lines, and whether each is complete. CR LF, LF and CR end lines.
fn lines(bytes: &[u8]) -> Vec<(&[u8], bool)> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let end_len = match &bytes[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        if end_len > 0 {
            lines.push((&bytes[start..at], true));
            start = at + end_len;
            at = start;
        } else {
            at += 1;
        }
    }
    if start < bytes.len() {
        lines.push((&bytes[start..], false));
    }
    lines
}

/// Parses a stream in which no line, and no event's fields together, may exceed `bytes_max` bytes.
pub fn read(bytes: &[u8], bytes_max: usize) -> Stream {
    let mut stream = Stream::default();
    let (mut name, mut data, mut id) = (String::new(), String::new(), String::new());
    for (place, (raw, has_ended)) in lines(bytes).into_iter().enumerate() {
        if raw.len() > bytes_max {
            stream.too_large = true;
            return stream;
        }
        let text = String::from_utf8_lossy(raw).into_owned();
        let line = if place == 0 { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if !has_ended {
            stream.cut_off = true;
            break;
        }
        if line.is_empty() {
            stream.last_event_id.clone_from(&id);
            if !data.is_empty() {
                data.pop();
                let name = if name.is_empty() { "message".to_owned() } else { name.clone() };
                let last_event_id = stream.last_event_id.clone();
                stream.events.push(Event { name, data: data.clone(), last_event_id });
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            "retry" if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => {
                stream.retry = Some(value.to_owned());
            }
            _ => {}
        }
        // The line feed after the last data is not counted.
        if name.len() + data.len().saturating_sub(1) + id.len() > bytes_max {
            stream.too_large = true;
            return stream;
        }
    }
    stream.cut_off |= !name.is_empty() || !data.is_empty();
    stream
}
