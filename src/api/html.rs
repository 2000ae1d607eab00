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
pub(super) mod tests {
    use super::*;

    /// What a file of a page must not contain: resources of other hosts, code in HTML, HTML made of text.
    pub(in crate::api) fn violations(name: &str, content: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (at, _) in content.match_indices("//") {
            let before = content[..at].chars().next_back();
            let is_address = before == Some(':') || before.is_some_and(|char| "\"'`(=".contains(char));
            let host: String =
                content[at + 2..].chars().take_while(|char| char.is_alphanumeric() || ".-".contains(*char)).collect();
            // The namespace of SVG is a name; nothing loads it.
            if is_address && !host.is_empty() && host != "www.w3.org" {
                found.push(format!("the host {host}"));
            }
        }
        if name.ends_with(".html") {
            for (at, _) in content.match_indices('<') {
                let tag = &content[at..content[at..].find('>').map_or(content.len(), |end| at + end)];
                let attributes = tag.split_ascii_whitespace().skip(1).filter_map(|part| part.split_once('='));
                let of_code = |name: &str| name == "style" || name.starts_with("on") || name == "srcdoc";
                found.extend(
                    attributes.filter(|(name, _)| of_code(name)).map(|(name, _)| format!("the attribute {name}")),
                );
                if tag.starts_with("<style") || (tag.starts_with("<script") && !tag.contains(" src=")) {
                    found.push(format!("the element {tag}"));
                }
            }
        } else {
            const SINKS: [&str; 11] = [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "setHTMLUnsafe",
                "document.write",
                "DOMParser",
                "createContextualFragment",
                "srcdoc",
                "eval(",
                "Function(",
                "javascript:",
            ];
            found.extend(SINKS.iter().filter(|sink| content.contains(**sink)).map(|sink| (*sink).to_owned()));
        }
        found
    }

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

    #[test]
    fn violations_are_found() {
        let bad = [
            ("a.html", "<script src=\"https://cdn.example/a.js\"></script>"),
            ("a.html", "<script src=//cdn.example/a.js></script>"),
            ("a.html", "<script>alert(1)</script>"),
            ("a.html", "<style>p{}</style>"),
            ("a.html", "<p style=\"color:red\">"),
            ("a.html", "<button type=\"button\" onclick=\"x()\">"),
            ("a.css", "@import url(//fonts.example/a.css);"),
            ("a.js", "import a from 'https://cdn.example/a.js';"),
            ("a.js", "node.innerHTML = text;"),
            ("a.js", "eval(text)"),
        ];
        for (name, content) in bad {
            assert_eq!(violations(name, content).len(), 1, "{content}");
        }
        let good = [
            ("a.html", "<script type=\"module\" src=\"/console/app.js\"></script><p class=\"on\">// a note</p>"),
            ("a.js", "// A comment.\nconst svg = \"http://www.w3.org/2000/svg\"; // another\nfetch(`${url}`);"),
            ("a.js", "/^https?:\\/\\//.test(address)"),
            ("a.css", "a{background:url(data:image/svg+xml,x)}"),
        ];
        for (name, content) in good {
            assert_eq!(violations(name, content), [""; 0], "{content}");
        }
    }
}
