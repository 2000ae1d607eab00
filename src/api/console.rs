//! The console: a page for browsers and its files, embedded from `src/api/console/`. It uses the API like any other client.

use super::accept::{is_unchanged, prefers_html};
use super::context::Context;
use super::cors;
use super::error::ApiError;
use super::html::{HTML, policy};
use super::request::Request;
use super::response::Response;
use crate::wire;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// A file of the console.
#[derive(Debug)]
struct ConsoleFile {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        ConsoleFile { name: $name, content_type: $content_type, content: include_str!(concat!("console/", $name)) }
    };
}

/// The page.
static PAGE: ConsoleFile = file!("index.html", HTML);

/// The files that the page refers to.
static FILES: &[ConsoleFile] = &[
    file!("style.css", CSS),
    file!("app.js", JAVASCRIPT),
    file!("api.js", JAVASCRIPT),
    file!("tree.js", JAVASCRIPT),
    file!("chat.js", JAVASCRIPT),
    file!("markdown.js", JAVASCRIPT),
    file!("search.js", JAVASCRIPT),
    file!("stream.js", JAVASCRIPT),
    file!("health.js", JAVASCRIPT),
    file!("learn.js", JAVASCRIPT),
];

/// `GET /`: the page for browsers, if the console is enabled; otherwise JSON.
pub(super) fn root(context: &Context, request: &Request<'_>) -> Response {
    let json = || Response::json(wire::service::root());
    if !context.settings.console {
        return json();
    }
    let response = if prefers_html(request.accept) { respond(&PAGE, request) } else { json() };
    // This replaces the `Vary` of other responses.
    let varies = if cors::varies(&context.settings.origins).is_some() { "Accept, Origin" } else { "Accept" };
    response.with("Vary", varies)
}

/// `GET /console`
pub(super) fn page(request: &Request<'_>) -> Response {
    respond(&PAGE, request)
}

/// `GET /console/{file}`
pub(super) fn file(request: &Request<'_>) -> Result<Response, ApiError> {
    let file = FILES.iter().find(|file| file.name == request.parameters[0]);
    Ok(respond(file.ok_or_else(ApiError::no_such_path)?, request))
}

/// A file, or `304` if the client has it. Caches ask each time, so that after an upgrade no page runs with older files.
fn respond(file: &'static ConsoleFile, request: &Request<'_>) -> Response {
    let response = match is_unchanged(request.if_none_match, etag()) {
        true => Response { status: 304, ..Response::empty() },
        false => Response { content_type: file.content_type, ..Response::json(file.content.as_bytes()) },
    };
    response
        .with("Content-Security-Policy", policy("'self'", "'self'"))
        .with("Cache-Control", "no-cache")
        .with("ETag", etag())
}

/// The entity tag of every file: a hash of all of them, since they belong together. Hashed at the first request.
fn etag() -> &'static str {
    static ETAG: OnceLock<String> = OnceLock::new();
    ETAG.get_or_init(|| {
        let mut hash = Sha256::new();
        for file in FILES.iter().chain([&PAGE]) {
            hash.update(file.content);
        }
        format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.finalize()[..12]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    /// Maximum size of all files together.
    const BYTES_MAX: usize = 60 * 1000;

    fn files() -> impl Iterator<Item = &'static ConsoleFile> {
        FILES.iter().chain([&PAGE])
    }

    /// What a file contains that the console must not: resources of other hosts, code in HTML, HTML made from text.
    fn violations(name: &str, content: &str) -> Vec<String> {
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
    fn every_file_of_the_directory_is_served() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/console");
        let entries = fs::read_dir(directory).unwrap();
        let present: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served: BTreeSet<String> = files().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, present);
        for file in files() {
            let expected = match file.name.rsplit('.').next().unwrap() {
                "html" => HTML,
                "css" => CSS,
                "js" => JAVASCRIPT,
                other => panic!("no media type for {other}"),
            };
            assert_eq!(file.content_type, expected, "{}", file.name);
        }
    }

    #[test]
    fn the_console_is_small() {
        let bytes: usize = files().map(|file| file.content.len()).sum();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes, more than {BYTES_MAX}");
    }

    #[test]
    fn no_file_needs_another_host_or_makes_html_of_text() {
        for file in files() {
            assert_eq!(violations(file.name, file.content), [""; 0], "{}", file.name);
        }
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

    #[test]
    fn the_page_refers_to_files_that_exist() {
        let mut referred = 0;
        for file in files() {
            for rest in file.content.split("/console/").skip(1) {
                let name = rest.split(['"', '\'', '`']).next().unwrap_or_default();
                assert!(FILES.iter().any(|file| file.name == name), "{} refers to {name:?}", file.name);
                referred += 1;
            }
            for rest in file.content.split("from \"./").skip(1) {
                let name = rest.split('"').next().unwrap_or_default();
                assert!(FILES.iter().any(|file| file.name == name), "{} imports {name:?}", file.name);
            }
        }
        assert!(referred >= 2, "the page refers to its style and its script");
    }
}
