//! HTML pages, which load nothing from elsewhere.

use super::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The media type of pages.
pub(super) const HTML: &str = "text/html; charset=utf-8";

impl Response {
    /// A `200` with an HTML page. Its policy allows the page's own `<style>` and `<script>` elements, by their hashes.
    pub fn page(html: &'static str) -> Response {
        let policy = policy(&hashes(html, "style"), &hashes(html, "script"));
        Response { content_type: HTML, ..Response::json(html.as_bytes()) }.with("Content-Security-Policy", policy)
    }
}

/// The `Content-Security-Policy` (CSP Level 3) of a page. It allows these sources of styles and scripts, and requests to this
/// server. It forbids resources from elsewhere, any other script or style (in attributes too), form submissions by the
/// browser, and framing.
pub(super) fn policy(style_sources: &str, script_sources: &str) -> String {
    format!(
        "default-src 'none'; style-src {style_sources}; script-src {script_sources}; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The sources of a directive: the SHA-256 of the content of each element of this name, or `'none'` without any.
fn hashes(html: &str, element: &str) -> String {
    let (opening, closing) = (format!("<{element}"), format!("</{element}>"));
    let sources: Vec<String> = html
        .split(&opening)
        .skip(1)
        .filter_map(|rest| rest.split_once('>')?.1.split_once(&closing))
        .map(|(content, _)| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content))))
        .collect();
    if sources.is_empty() { "'none'".to_owned() } else { sources.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_do_what_stands_in_it_and_nothing_else() {
        // The hash of the script is the example of CSP Level 3, section 8.3.
        let response = Response::page(
            "<!doctype html><title>t</title><style>p{}</style><script>doSomething();</script>\
             <style media=print>b{}</style><p>text",
        );
        assert_eq!((response.status, response.content_type), (200, "text/html; charset=utf-8"));
        let (name, policy) = &response.fields[0];
        assert_eq!(*name, "Content-Security-Policy");
        let directive = |name: &str| policy.split("; ").find_map(|part| part.strip_prefix(&format!("{name} ")));
        assert_eq!(directive("default-src"), Some("'none'"));
        assert_eq!(directive("script-src"), Some("'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc='"));
        assert_eq!(directive("style-src").map(|sources| sources.split(' ').count()), Some(2));
        for closed in ["base-uri", "form-action", "frame-ancestors"] {
            assert_eq!(directive(closed), Some("'none'"), "{closed}");
        }
        assert!(Response::page("<p>plain").fields[0].1.contains("script-src 'none'"));
    }
}
