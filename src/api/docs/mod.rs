//! `GET /docs`: the description of the API as an HTML page, without resources from other hosts.
//!
//! The first request renders the page from the OpenAPI document. All later ones share it. If the console is enabled, the page
//! has a script, by which it can send requests; without scripts it reads the same.

mod document;
mod html;
mod operation;
mod schema;

use super::context::Context;
use super::openapi::DOCUMENT;
use super::response::Response;
use crate::wire::json;
use document::{elements, has_tag, member, members, string, unquote};
use html::{Html, MethodName, push_inline, push_prose};
use std::fmt::{self, Write};
use std::sync::OnceLock;

const STYLE: &str = include_str!("docs.css");
/// The links of the console, without its session.
const VIEWS: &str = "<nav class=\"top\" aria-label=\"Views\"><strong>Cortex Core</strong>\
    <a href=\"/console#/chat\">Chat</a><a href=\"/console#/stream\">Stream</a><a href=\"/console#/health\">Health</a>\
    <a href=\"/console#/learn\">Learn</a><a href=\"/docs\" aria-current=\"page\">API</a></nav>";

/// The form that sends the request of an operation.
const SCRIPT: &str = include_str!("try.js");

/// `GET /docs`
pub(super) fn page(context: &Context) -> Response {
    static READ_ONLY: OnceLock<String> = OnceLock::new();
    static INTERACTIVE: OnceLock<String> = OnceLock::new();
    let is_interactive = context.settings.console;
    let page = if is_interactive { &INTERACTIVE } else { &READ_ONLY };
    Response::page(page.get_or_init(|| render(DOCUMENT, is_interactive)))
}

/// Renders an OpenAPI document. It must be valid, and its references must lead to its components. An interactive page has the
/// script and links to the console.
fn render(document: &str, is_interactive: bool) -> String {
    let components = member(document, "components").unwrap_or("{}");
    let mut page = DocsPage { out: String::with_capacity(4 * document.len()), document, components, is_interactive };
    page.render().expect("writing to memory does not fail");
    page.out
}

/// The page so far, and its source.
struct DocsPage<'d> {
    out: String,
    document: &'d str,
    components: &'d str,
    is_interactive: bool,
}

/// An operation of the document.
#[derive(Clone, Copy)]
struct DocumentedOperation<'d> {
    method: &'d str,
    path: &'d str,
    /// The JSON of the path, which has the parameters of all of its operations.
    path_item: &'d str,
    /// The JSON of the operation.
    body: &'d str,
}

impl<'d> DocsPage<'d> {
    fn render(&mut self) -> fmt::Result {
        let info = member(self.document, "info").unwrap_or("{}");
        let (title, version) = (string(info, "title"), string(info, "version"));
        write!(
            self.out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}: the API</title>\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\n\
             <body>{2}<header><h1>{0} <small>{1}</small></h1>",
            Html(&title),
            Html(&version),
            if self.is_interactive { VIEWS } else { "" }
        )?;
        push_prose(&mut self.out, &string(info, "description"))?;
        self.out.push_str("<p>For programs: <a href=\"/openapi.json\">openapi.json</a>, OpenAPI 3.1.</p></header>\n");
        let operations = self.operations();
        self.contents(&operations)?;
        self.out.push_str("<main>\n");
        self.authentication()?;
        for tag in elements(self.document, "tags") {
            let name = string(tag, "name");
            write!(self.out, "<section><h2>{}</h2>", Html(&name))?;
            push_prose(&mut self.out, &string(tag, "description"))?;
            for operation in operations.iter().filter(|operation| has_tag(operation.body, &name)) {
                self.operation(*operation)?;
            }
            self.out.push_str("</section>\n");
        }
        self.errors()?;
        self.out.push_str("<section><h2>schemas</h2>\n");
        for (name, schema) in members(member(self.components, "schemas").unwrap_or("{}")) {
            write!(self.out, "<article id=\"schema-{0}\"><h3>{0}</h3>", Html(&name))?;
            push_prose(&mut self.out, &string(schema, "description"))?;
            self.out.push_str("<div>");
            self.schema(schema)?;
            self.out.push_str("</div>");
            if let Some(example) = elements(schema, "examples").next() {
                write!(self.out, "<h4>Example</h4><pre>{}</pre>", Html(example))?;
            }
            self.out.push_str("</article>\n");
        }
        self.out.push_str("</section>\n</main>");
        if self.is_interactive {
            write!(self.out, "<script type=\"module\">{SCRIPT}</script>")?;
        }
        self.out.push_str("</body></html>\n");
        Ok(())
    }

    fn operations(&self) -> Vec<DocumentedOperation<'d>> {
        let mut operations = Vec::new();
        for (path, path_item) in json::members(member(self.document, "paths").unwrap_or("{}")) {
            for (method, body) in json::members(path_item).filter(|(name, _)| *name != "\"parameters\"") {
                operations.push(DocumentedOperation { method: unquote(method), path: unquote(path), path_item, body });
            }
        }
        operations
    }

    fn contents(&mut self, operations: &[DocumentedOperation<'_>]) -> fmt::Result {
        self.out.push_str("<nav aria-label=\"Contents\"><h2>contents</h2>");
        for tag in elements(self.document, "tags") {
            let name = string(tag, "name");
            write!(self.out, "<h3>{}</h3><ul>", Html(&name))?;
            for operation in operations.iter().filter(|operation| has_tag(operation.body, &name)) {
                let (id, summary) = (string(operation.body, "operationId"), string(operation.body, "summary"));
                let (method, path) = (MethodName(operation.method), Html(operation.path));
                write!(self.out, "<li>{method} <a href=\"#{id}\">{path}</a> <small>{}</small></li>", Html(&summary))?;
            }
            self.out.push_str("</ul>");
        }
        self.out.push_str("</nav>\n");
        Ok(())
    }

    fn authentication(&mut self) -> fmt::Result {
        self.out.push_str("<section id=\"authentication\"><h2>authentication</h2><table><tbody>");
        for (name, scheme) in members(member(self.components, "securitySchemes").unwrap_or("{}")) {
            let usage = match &*string(scheme, "in") {
                "query" => format!("?{}=…", string(scheme, "name")),
                _ => "Authorization: Bearer …".to_owned(),
            };
            write!(self.out, "<tr><td>{}</td><td><code>{}</code></td><td>", Html(&name), Html(&usage))?;
            push_prose(&mut self.out, &string(scheme, "description"))?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></section>\n");
        Ok(())
    }

    fn errors(&mut self) -> fmt::Result {
        self.out.push_str(
            "<section><h2>errors</h2><p>All errors have the form of <a href=\"#schema-Error\">Error</a>.</p>",
        );
        self.out.push_str("<table><tbody>");
        for (name, response) in members(member(self.components, "responses").unwrap_or("{}")) {
            let status = name.split('-').next().unwrap_or_default();
            write!(self.out, "<tr id=\"error-{}\"><td>{}</td><td>", Html(&name), Html(status))?;
            push_prose(&mut self.out, &string(response, "description"))?;
            self.headers(response)?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></section>\n");
        Ok(())
    }

    /// The media types of a request body or a response, each with its schema.
    fn media_types(&mut self, parent: &'d str) -> fmt::Result {
        for (media_type, description) in member(parent, "content").into_iter().flat_map(members) {
            write!(self.out, "<div><code>{}</code>: ", Html(&media_type))?;
            self.schema(member(description, "schema").unwrap_or("{}"))?;
            self.out.push_str("</div>");
        }
        Ok(())
    }

    fn headers(&mut self, response: &'d str) -> fmt::Result {
        for (name, header) in member(response, "headers").into_iter().flat_map(members) {
            // Every response has this one.
            if name != "X-Request-Id" {
                write!(self.out, "<div><small><code>{}</code>: ", Html(&name))?;
                let description = string(self.resolve(header), "description");
                push_inline(&mut self.out, &description)?;
                self.out.push_str("</small></div>");
            }
        }
        Ok(())
    }

    /// The target of a reference; any other value unchanged.
    fn resolve<'v>(&self, value: &'v str) -> &'v str
    where
        'd: 'v,
    {
        let Some(target) = member(value, "$ref") else { return value };
        let path = unquote(target).strip_prefix("#/components/").and_then(|path| path.split_once('/'));
        let component = path.and_then(|(kind, name)| member(member(self.components, kind)?, name));
        component.expect("a reference leads to a component")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::html::tests::violations;

    #[test]
    fn markup_in_the_document_is_escaped() {
        let document =
            r#"{"info": {"title": "A<b>", "version": "\"1\"", "description": "x & `y<z`\n\nnext"}, "paths": {}}"#;
        let page = render(document, true);
        for part in
            ["<title>A&lt;b&gt;: the API</title>", "&quot;1&quot;", "<p>x &amp; <code>y&lt;z</code></p><p>next</p>"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn every_link_leads_to_an_id_of_the_page_or_to_the_document() {
        let page = render(DOCUMENT, true);
        let targets: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(targets.len() > 100);
        for target in targets {
            let id = target.strip_prefix('#').map(|id| format!("id=\"{id}\""));
            let is_known = ["/openapi.json", "/docs", "data:,"].contains(&target) || target.starts_with("/console#/");
            assert!(is_known || id.is_some_and(|id| page.contains(&id)), "{target}");
        }
        assert!(!page.contains("://"), "the page loads nothing from elsewhere");
    }

    /// `docs.css` begins with the palette for light and for dark screens.
    #[test]
    fn the_page_has_the_colours_of_the_console() {
        let colours = |style: &'static str| {
            let declarations = style.split(['{', '}', ';', '\n']).map(str::trim).filter(|part| part.starts_with("--"));
            let pairs = declarations.filter_map(|declaration| declaration.split_once(':'));
            pairs.map(|(name, value)| (name, value.trim())).collect::<Vec<_>>()
        };
        let console = colours(include_str!("../console/style.css"));
        let used = colours(STYLE);
        assert!(used.len() >= 12, "{used:?}");
        for colour in used {
            assert!(console.contains(&colour), "{colour:?} is none of {console:?}");
        }
    }

    #[test]
    fn the_page_has_a_script_only_if_it_is_interactive() {
        assert_eq!(render(DOCUMENT, true).matches("<script").count(), 1);
        assert_eq!(render(DOCUMENT, false).matches("<script").count(), 0);
    }

    #[test]
    fn the_script_is_small_and_makes_no_html_of_text() {
        assert!(SCRIPT.len() <= 6 * 1024, "{} bytes", SCRIPT.len());
        assert_eq!(violations("try.js", SCRIPT), [""; 0]);
        // The page would end its script there.
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }

    /// The form of an operation begins with this body.
    #[test]
    fn every_json_body_has_an_example() {
        let mut bodies = 0;
        for (path, path_item) in json::members(member(DOCUMENT, "paths").unwrap()) {
            for (method, operation) in json::members(path_item) {
                if let Some(content) = member(operation, "requestBody").and_then(document::json_content) {
                    assert!(member(content, "example").is_some(), "{method} {path}");
                    bodies += 1;
                }
            }
        }
        assert!(bodies > 10, "{bodies}");
    }

    #[test]
    fn an_operation_has_its_example() {
        let page = render(DOCUMENT, true);
        let expected = "curl -sS -X PUT &quot;$URL/config/workspace/0190c42e-8d3f-7123-9abc-0123456789ab&quot; \
                    -H &quot;Authorization: Bearer $TOKEN&quot;";
        assert!(page.contains(expected));
        assert!(page.contains("curl -sS &quot;$URL/users?ids=ada,bob&quot;"));
        assert!(page.contains("curl -sSN &quot;$URL/output/stream&quot;"));
    }
}
