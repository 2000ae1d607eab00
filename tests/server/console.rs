//! The console as served: which clients get it at `/`, its header fields, and the setting that disables it.

use crate::common::{Client, Options, Response, Server, assert_error, eventually};
use serde_json::json;
use std::fs;

const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
const HTML: &str = "text/html; charset=utf-8";

/// `GET`, with `Accept` if it is not empty.
fn get(client: &mut Client, path: &str, accept: &str) -> Response {
    let request = client.request("GET", path);
    if accept.is_empty() { request.send() } else { request.header("Accept", accept).send() }
}

#[track_caller]
fn assert_json(response: &Response) {
    assert_eq!(response.json(), json!({"status": "online", "service": "Cortex Core"}), "{}", response.shown());
}

#[test]
fn browsers_get_the_console_at_the_root_and_programs_json() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let page = get(&mut client, "/console", "*/*").expect(200).body;
    let table = [
        (FIREFOX, true),
        (CHROMIUM, true),
        ("text/html", true),
        ("text/html, application/json", true),
        ("", false),
        ("*/*", false),
        ("application/json", false),
        ("text/html;q=0, */*", false),
        ("text/html;q=0.5, application/json", false),
    ];
    for (accept, is_page) in table {
        let response = get(&mut client, "/", accept).expect(200);
        assert!(response.lists("Vary", "Accept") && response.lists("Vary", "Origin"), "{}", response.shown());
        if is_page {
            assert_eq!((response.header("Content-Type"), &response.body), (Some(HTML), &page), "{accept}");
        } else {
            assert_json(&response);
        }
    }
    // The elements of one list may be in several fields.
    let response = client.request("GET", "/").header("Accept", "application/json;q=0.5").header("Accept", "text/html");
    assert_eq!(response.send().expect(200).body, page);
}

#[test]
fn a_page_runs_no_code_but_its_own() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    for (path, accept) in [("/", FIREFOX), ("/console", "")] {
        let response = get(&mut client, path, accept).expect(200);
        let policy = response.header("Content-Security-Policy").expect("a page has a policy");
        let mut directives: Vec<&str> = policy.split("; ").collect();
        directives.sort_unstable();
        let expected = [
            "base-uri 'none'",
            "connect-src 'self'",
            "default-src 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "img-src 'self' data:",
            "script-src 'self'",
            "style-src 'self'",
        ];
        assert_eq!(directives, expected);
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(response.header("Referrer-Policy"), Some("no-referrer"));
        assert_eq!(response.header("Cache-Control"), Some("no-cache"));
    }
}

#[test]
fn every_file_that_the_page_names_is_served_with_its_type() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    let page = get(&mut client, "/console", FIREFOX).expect(200);
    let named: Vec<&str> = page.text().split("\"/console/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.contains(&"app.js") && named.contains(&"style.css"), "{named:?}");
    for name in named {
        let response = get(&mut client, &format!("/console/{name}"), "*/*").expect(200);
        let media_type = if name.ends_with(".js") { "text/javascript" } else { "text/css" };
        assert_eq!(response.header("Content-Type"), Some(format!("{media_type}; charset=utf-8").as_str()), "{name}");
        assert!(!response.body.is_empty(), "{name}");
        let head = client.request("HEAD", &format!("/console/{name}")).send().expect(200);
        assert_eq!(head.number("Content-Length"), response.body.len() as u64, "{name}");
    }
}

#[test]
fn unknown_files_and_methods_are_rejected() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    for path in
        ["/console/", "/console/app", "/console/app.js/", "/console/..%2Fopenapi.json", "/console/%00", "/Console"]
    {
        assert_error(&get(&mut client, path, FIREFOX), 404, "not_found");
    }
    for path in ["/console", "/console/app.js", "/"] {
        let response = client.request("POST", path).send();
        assert_error(&response, 405, "method_not_allowed");
        assert_eq!(response.header("Allow"), Some("GET, HEAD, OPTIONS"), "{path}");
    }
}

#[test]
fn a_browser_that_has_the_file_gets_304() {
    let server = Server::start(Options::new());
    let mut client = Client::new(server.addr);
    for (path, accept) in [("/", FIREFOX), ("/console", FIREFOX), ("/console/app.js", "*/*")] {
        let etag = get(&mut client, path, accept).expect(200).header("ETag").expect("a file has a version").to_owned();
        for (known, status) in [(etag.as_str(), 304), (&format!("\"old\", W/{etag}"), 304), ("\"old\"", 200)] {
            for method in ["GET", "HEAD"] {
                let request = client.request(method, path).header("Accept", accept).header("If-None-Match", known);
                let response = request.send().expect(status);
                assert_eq!(response.header("ETag"), Some(etag.as_str()), "{path}");
                assert_eq!(response.header("Cache-Control"), Some("no-cache"), "{path}");
                assert_eq!(response.body.is_empty(), status == 304 || method == "HEAD", "{path}");
            }
        }
    }
    let response = client.request("GET", "/").header("If-None-Match", "*").send().expect(200);
    assert_json(&response);
}

#[test]
fn without_the_console_its_paths_are_unknown() {
    let server = Server::with(&[("CONSOLE", "false")]);
    let mut client = Client::new(server.addr);
    for accept in [FIREFOX, "*/*"] {
        let response = get(&mut client, "/", accept).expect(200);
        assert_json(&response);
        assert!(!response.lists("Vary", "Accept"), "{}", response.shown());
        for path in ["/console", "/console/app.js", "/console/nothing"] {
            assert_error(&get(&mut client, path, accept), 404, "not_found");
            assert_error(&client.request("POST", path).send(), 404, "not_found");
        }
    }
}

#[test]
fn a_reload_switches_the_console() {
    let mut server = Server::start(Options::new().file(".env", "CONSOLE=false\n"));
    let mut client = Client::new(server.addr);
    assert_error(&get(&mut client, "/console", FIREFOX), 404, "not_found");
    fs::write(server.database().with_file_name(".env"), "CONSOLE=true\n").expect("the file can be written");
    server.process().signal(libc::SIGHUP);
    eventually("the console is served", || get(&mut Client::new(server.addr), "/console", FIREFOX).status == 200);
}
