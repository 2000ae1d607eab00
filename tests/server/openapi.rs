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
    let page = response.text();
    for route in ROUTES {
        for (_, operation) in route.methods {
            let name = format!("{operation:?}");
            let article = format!("<article id=\"{}{}\">", name[..1].to_lowercase(), &name[1..]);
            assert!(page.contains(&article), "{} has its article", route.pattern);
        }
        assert!(page.contains(&format!("<code>{}</code>", route.pattern)), "{}", route.pattern);
    }
}
