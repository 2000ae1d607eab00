//! `/openapi.json` and `/docs`, as served.

use crate::common::{Client, Server};
use cortex_core::internals::{DOCUMENT, ROUTES};

#[test]
fn the_description_is_served_without_a_token() {
    let server = Server::with(&[]);
    let response = Client::new(server.addr).request("GET", "/openapi.json").send().expect(200);
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.text(), DOCUMENT);
}

#[test]
fn the_page_is_self_contained_and_shows_every_operation() {
    let server = Server::with(&[]);
    let response = Client::new(server.addr).request("GET", "/docs").send().expect(200);
    assert_eq!(response.header("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = response.header("Content-Security-Policy").expect("a page has a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let script = policy.split("; ").find(|directive| directive.starts_with("script-src"));
    assert!(
        script.is_some_and(|sources| sources.starts_with("script-src 'sha256-") && !sources.contains("self")),
        "{policy}"
    );
    let page = response.text();
    assert_eq!(page.matches("<script").count(), 1);
    for route in ROUTES {
        for (_, operation) in route.methods {
            let name = format!("{operation:?}");
            let article = format!("<article id=\"{}{}\">", name[..1].to_lowercase(), &name[1..]);
            assert!(page.contains(&article), "{} has its article", route.pattern);
        }
        assert!(page.contains(&format!("<code>{}</code>", route.pattern)), "{}", route.pattern);
    }
}

#[test]
fn without_the_console_the_page_has_no_script() {
    let server = Server::with(&[("CONSOLE", "false")]);
    let response = Client::new(server.addr).request("GET", "/docs").send().expect(200);
    let policy = response.header("Content-Security-Policy").expect("a page has a policy");
    assert!(policy.contains("script-src 'none'"), "{policy}");
    assert!(!response.text().contains("<script"));
}
