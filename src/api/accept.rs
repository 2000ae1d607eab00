//! The choice between a page and JSON, by `Accept` (RFC 9110 §12.5.1), and of `304`, by `If-None-Match` (§13.1.2).

/// The weight of a media range without one, in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// Whether a client prefers an HTML page to JSON: its `Accept` names `text/html`, with a weight that is above zero and not
/// below that of JSON. `*/*` names no type: programs send it, and get JSON.
pub(super) fn prefers_html(accept: Option<&[u8]>) -> bool {
    let Some(accept) = accept.and_then(|raw| std::str::from_utf8(raw).ok()) else { return false };
    let weight = |media_type| weight_of(accept, media_type);
    // The most specific range counts.
    let json = || ["application/json", "application/*", "*/*"].into_iter().find_map(weight).unwrap_or(0);
    weight("text/html").is_some_and(|html| html > 0 && html >= json())
}

/// The weight of a media range, in thousandths; `None` if it is not listed. Parameters other than `q` are ignored, and so
/// are ranges with an invalid weight.
fn weight_of(accept: &str, media_range: &str) -> Option<u16> {
    let weights = accept.split(',').filter_map(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        if !name.trim().eq_ignore_ascii_case(media_range) {
            return None;
        }
        let mut parameters = parameters.split(';').map(str::trim);
        let weight = parameters.find_map(|part| part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('='));
        weight.map_or(Some(WEIGHT_MAX), parse_weight)
    });
    weights.max()
}

/// Parses `0`, `1`, or either with up to three decimals, at most 1.
fn parse_weight(raw: &str) -> Option<u16> {
    let (whole, decimals) = raw.trim().split_once('.').unwrap_or((raw.trim(), ""));
    let is_valid =
        matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let weight = is_valid.then(|| format!("{whole}{decimals:0<3}").parse().ok())?;
    weight.filter(|weight| *weight <= WEIGHT_MAX)
}

/// Whether `If-None-Match` names the current entity tag, in the weak comparison. `etag` has no comma.
pub(super) fn is_unchanged(if_none_match: Option<&[u8]>, etag: &str) -> bool {
    let names_it = |raw: &[u8]| {
        let raw = raw.trim_ascii();
        raw == b"*" || raw.strip_prefix(b"W/").unwrap_or(raw) == etag.as_bytes()
    };
    if_none_match.is_some_and(|list| list.split(|byte| *byte == b',').any(names_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_the_page_and_programs_json() {
        let table: [(&str, bool); 27] = [
            // Chromium, Firefox and Safari.
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("TEXT/HTML", true),
            ("text/html;charset=utf-8", true),
            ("text/html, application/json", true),
            ("application/json;q=0.9, text/html", true),
            ("application/json;q=0.9, text/html;q=0.95", true),
            ("text/html, */*", true),
            ("text/html ; q=0.5 , */* ; q=0.4", true),
            ("application/json;q=0, */*, text/html;q=0.1", true),
            ("text/html;level=1;Q=0.3", true),
            ("text/html;q=0.2, text/html;q=0.9, */*;q=0.8", true),
            ("", false),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("application/json, text/plain, */*", false),
            ("text/html;q=0", false),
            ("text/html;q=0.000, */*", false),
            ("text/html;q=0.5, application/json", false),
            ("text/html;q=0.5, application/*;q=0.6", false),
            ("text/html;q=0.5, */*;q=0.6", false),
            ("application/xhtml+xml", false),
            ("text/htmlx", false),
            ("text/html;q=2", false),
            ("text/html;q=high", false),
        ];
        for (accept, expected) in table {
            assert_eq!(prefers_html(Some(accept.as_bytes())), expected, "{accept}");
        }
        assert!(!prefers_html(None) && !prefers_html(Some(b"\xff, text/html")));
    }

    #[test]
    fn weights() {
        let table = [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.999", Some(999)),
            ("1.001", None),
            ("0.1234", None),
            ("-1", None),
            (".5", None),
            ("", None),
        ];
        for (raw, expected) in table {
            assert_eq!(parse_weight(raw), expected, "{raw}");
        }
    }

    #[test]
    fn entity_tags() {
        let table = [
            (r#""a""#, true),
            (r#"W/"a""#, true),
            (r#""b", W/"a""#, true),
            ("*", true),
            (r#""b""#, false),
            ("a", false),
            ("", false),
        ];
        for (raw, expected) in table {
            assert_eq!(is_unchanged(Some(raw.as_bytes()), r#""a""#), expected, "{raw}");
        }
        assert!(!is_unchanged(None, r#""a""#));
    }
}
