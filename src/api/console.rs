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
    use crate::api::html::tests::violations;
    use std::collections::BTreeSet;
    use std::fs;

    /// Maximum size of all files together.
    const BYTES_MAX: usize = 60 * 1000;

    fn files() -> impl Iterator<Item = &'static ConsoleFile> {
        FILES.iter().chain([&PAGE])
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
