//! `GET /docs`: the API's description as a page. No script, and nothing from another host.
//!
//! The page is made of the document's text when it is first asked for, and kept: it is the same for everybody.

use super::Response;
use super::openapi::DOCUMENT;
use crate::wire::json;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::OnceLock;

const STYLE: &str = include_str!("docs.css");

/// The page.
pub(crate) fn page() -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    Response::page(PAGE.get_or_init(|| render(DOCUMENT)))
}

/// A page for an OpenAPI document that is valid, and whose references lead into its components.
fn render(document: &str) -> String {
    let components = member(document, "components").unwrap_or("{}");
    let mut page = DocsPage { out: String::with_capacity(4 * document.len()), document, components };
    page.whole().expect("writing to memory does not fail");
    page.out
}

struct DocsPage<'d> {
    out: String,
    document: &'d str,
    components: &'d str,
}

/// An operation, with the path that it stands under.
#[derive(Clone, Copy)]
struct DocumentedOperation<'d> {
    method: &'d str,
    path: &'d str,
    item: &'d str,
    body: &'d str,
}

impl<'d> DocsPage<'d> {
    fn whole(&mut self) -> fmt::Result {
        let info = member(self.document, "info").unwrap_or("{}");
        let (title, version) = (word(info, "title"), word(info, "version"));
        write!(
            self.out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}: the API</title>\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\n\
             <body><header><h1>{0} <small>{1}</small></h1>",
            Html(&title),
            Html(&version)
        )?;
        self.prose(&word(info, "description"))?;
        self.out.push_str("<p>For programs: <a href=\"/openapi.json\">openapi.json</a>, OpenAPI 3.1.</p></header>\n");
        let operations = self.operations();
        self.contents(&operations)?;
        self.out.push_str("<main>\n");
        self.authentication()?;
        for tag in list(self.document, "tags") {
            let name = word(tag, "name");
            write!(self.out, "<section><h2>{}</h2>", Html(&name))?;
            self.prose(&word(tag, "description"))?;
            for operation in operations.iter().filter(|operation| has_tag(operation.body, &name)) {
                self.operation(*operation)?;
            }
            self.out.push_str("</section>\n");
        }
        self.errors()?;
        self.out.push_str("<section><h2>schemas</h2>\n");
        for (name, schema) in fields(member(self.components, "schemas").unwrap_or("{}")) {
            write!(self.out, "<article id=\"schema-{0}\"><h3>{0}</h3>", Html(&name))?;
            self.prose(&word(schema, "description"))?;
            self.out.push_str("<div>");
            self.schema(schema)?;
            self.out.push_str("</div>");
            if let Some(example) = list(schema, "examples").next() {
                write!(self.out, "<h4>Example</h4><pre>{}</pre>", Html(example))?;
            }
            self.out.push_str("</article>\n");
        }
        self.out.push_str("</section>\n</main></body></html>\n");
        Ok(())
    }

    fn operations(&self) -> Vec<DocumentedOperation<'d>> {
        let mut operations = Vec::new();
        for (path, item) in json::members(member(self.document, "paths").unwrap_or("{}")) {
            for (method, body) in json::members(item).filter(|(name, _)| *name != "\"parameters\"") {
                operations.push(DocumentedOperation { method: bare(method), path: bare(path), item, body });
            }
        }
        operations
    }

    fn contents(&mut self, operations: &[DocumentedOperation<'_>]) -> fmt::Result {
        self.out.push_str("<nav><h2>contents</h2>");
        for tag in list(self.document, "tags") {
            let name = word(tag, "name");
            write!(self.out, "<h4>{}</h4><ul>", Html(&name))?;
            for operation in operations.iter().filter(|operation| has_tag(operation.body, &name)) {
                let (id, summary) = (word(operation.body, "operationId"), word(operation.body, "summary"));
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
        for (name, scheme) in fields(member(self.components, "securitySchemes").unwrap_or("{}")) {
            let how = match &*word(scheme, "in") {
                "query" => format!("?{}=…", word(scheme, "name")),
                _ => "Authorization: Bearer …".to_owned(),
            };
            write!(self.out, "<tr><td>{}</td><td><code>{}</code></td><td>", Html(&name), Html(&how))?;
            self.prose(&word(scheme, "description"))?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></section>\n");
        Ok(())
    }

    fn operation(&mut self, operation: DocumentedOperation<'d>) -> fmt::Result {
        let DocumentedOperation { method, path, body, .. } = operation;
        let id = word(body, "operationId");
        let (method, path) = (MethodName(method), Html(path));
        write!(self.out, "<article id=\"{id}\"><h3>{method} <a href=\"#{id}\"><code>{path}</code></a></h3>")?;
        self.prose(&word(body, "summary"))?;
        self.prose(&word(body, "description"))?;
        let schemes: Vec<Cow<'_, str>> =
            list(body, "security").flat_map(|one| fields(one).map(|(name, _)| name)).collect();
        if member(body, "security").is_none() {
            self.out.push_str("<p><em>Needs a <a href=\"#authentication\">token</a>.</em></p>");
        } else if schemes.is_empty() {
            self.out.push_str("<p><em>Needs no token.</em></p>");
        } else {
            let schemes = schemes.join(", ");
            write!(self.out, "<p><em>Needs one of: <a href=\"#authentication\">{}</a>.</em></p>", Html(&schemes))?;
        }
        self.parameters(operation)?;
        if let Some(wanted) = member(body, "requestBody") {
            self.out.push_str("<h4>Body</h4>");
            self.contents_of(wanted)?;
            // Said here too, since nobody writes a request without it.
            if let Some(schema) = json_of(wanted).and_then(|one| member(one, "schema")) {
                self.schema(self.followed(schema))?;
            }
        }
        self.answers(body)?;
        let curl = self.curl(operation);
        writeln!(self.out, "<h4>Example</h4><pre>{}</pre></article>", Html(&curl))
    }

    fn parameters_of(&self, operation: DocumentedOperation<'d>) -> Vec<&'d str> {
        let [shared, own] = [operation.item, operation.body].map(|place| list(place, "parameters"));
        shared.chain(own).map(|parameter| self.followed(parameter)).collect()
    }

    fn parameters(&mut self, operation: DocumentedOperation<'d>) -> fmt::Result {
        const HEAD: &str = "<h4>Parameters</h4><div class=\"wide\"><table><thead><tr><th>name<th>in<th>value\
            <th>what it is</thead><tbody>";
        self.out.push_str(HEAD);
        for parameter in self.parameters_of(operation) {
            let required = if member(parameter, "required") == Some("true") { " <em>required</em>" } else { "" };
            let (name, place) = (word(parameter, "name"), word(parameter, "in"));
            write!(self.out, "<tr><td><code>{}</code>{required}</td><td>{}</td><td>", Html(&name), Html(&place))?;
            self.schema(member(parameter, "schema").unwrap_or("{}"))?;
            self.out.push_str("</td><td>");
            self.prose(&word(parameter, "description"))?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></div>");
        Ok(())
    }

    /// What goes well in full, and what does not by its status alone: every error stands once, further down.
    fn answers(&mut self, body: &'d str) -> fmt::Result {
        self.out.push_str("<h4>Answers</h4>");
        let (errors, good): (Vec<_>, Vec<_>) = fields(member(body, "responses").unwrap_or("{}"))
            .partition(|(_, response)| member(response, "$ref").is_some());
        for (status, response) in good {
            write!(self.out, "<p>{}: ", Html(&status))?;
            self.inline(&word(response, "description"))?;
            self.out.push_str("</p>");
            self.contents_of(response)?;
            self.headers_of(response)?;
        }
        self.out.push_str("<p>Errors:");
        for (status, response) in errors {
            let name = last(member(response, "$ref").unwrap_or_default());
            write!(self.out, " <a href=\"#error-{}\">{}</a>", Html(name), Html(&status))?;
        }
        self.out.push_str("</p>");
        Ok(())
    }

    fn errors(&mut self) -> fmt::Result {
        self.out.push_str(
            "<section><h2>errors</h2><p>They all have the shape of an <a href=\"#schema-Error\">Error</a>.</p>",
        );
        self.out.push_str("<table><tbody>");
        for (name, response) in fields(member(self.components, "responses").unwrap_or("{}")) {
            let status = name.split('-').next().unwrap_or_default();
            write!(self.out, "<tr id=\"error-{}\"><td>{}</td><td>", Html(&name), Html(status))?;
            self.prose(&word(response, "description"))?;
            self.headers_of(response)?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></section>\n");
        Ok(())
    }

    fn headers_of(&mut self, response: &'d str) -> fmt::Result {
        for (name, header) in member(response, "headers").into_iter().flat_map(fields) {
            // Every answer has this one, and it says nothing of this one.
            if name != "X-Request-Id" {
                write!(self.out, "<div><small><code>{}</code>: ", Html(&name))?;
                self.inline(&word(self.followed(header), "description"))?;
                self.out.push_str("</small></div>");
            }
        }
        Ok(())
    }

    /// The media types of a body or an answer, each with its schema.
    fn contents_of(&mut self, place: &'d str) -> fmt::Result {
        for (media, one) in member(place, "content").into_iter().flat_map(fields) {
            write!(self.out, "<div><code>{}</code>: ", Html(&media))?;
            self.schema(member(one, "schema").unwrap_or("{}"))?;
            self.out.push_str("</div>");
        }
        Ok(())
    }

    /// A schema in words; the members of an object as a list.
    fn schema(&mut self, schema: &'d str) -> fmt::Result {
        if let Some(target) = member(schema, "$ref") {
            return write!(self.out, "<a href=\"#schema-{0}\">{0}</a>", Html(last(target)));
        }
        for (key, joint) in [("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")] {
            for (place, one) in list(schema, key).enumerate() {
                self.out.push_str(if place > 0 { joint } else { "" });
                self.schema(one)?;
            }
        }
        if let Some(value) = member(schema, "const") {
            write!(self.out, "<code>{}</code>", Html(value))?;
        }
        for (place, value) in list(schema, "enum").enumerate() {
            write!(self.out, "{}<code>{}</code>", if place > 0 { ", " } else { "" }, Html(value))?;
        }
        if let Some(kind) = member(schema, "type").filter(|_| member(schema, "enum").is_none()) {
            let kinds: Vec<&str> = if kind.starts_with('[') { json::elements(kind).collect() } else { vec![kind] };
            let kinds: Vec<&str> = kinds.into_iter().map(bare).collect();
            self.out.push_str(&kinds.join(" or "));
        }
        for (key, joint) in [("items", " of "), ("contentSchema", " with ")] {
            if let Some(inner) = member(schema, key) {
                self.out.push_str(joint);
                self.schema(inner)?;
            }
        }
        self.bounds(schema)?;
        let required: Vec<&str> = list(schema, "required").map(bare).collect();
        if let Some(properties) = member(schema, "properties") {
            self.out.push_str("<ul>");
            for (name, property) in fields(properties) {
                let mark = if required.contains(&&*name) { "" } else { " <em>optional</em>" };
                write!(self.out, "<li><code>{}</code>{mark}: ", Html(&name))?;
                self.schema(property)?;
                if let Some(about) = member(property, "description") {
                    self.out.push_str(" <small>");
                    self.inline(&text(about))?;
                    self.out.push_str("</small>");
                }
                self.out.push_str("</li>");
            }
            self.out.push_str("</ul>");
        }
        Ok(())
    }

    fn bounds(&mut self, schema: &str) -> fmt::Result {
        for (low, high, unit) in
            [("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"), ("minimum", "maximum", "")]
        {
            match (member(schema, low), member(schema, high)) {
                (Some(low), Some(high)) => write!(self.out, ", {low} to {high}{unit}")?,
                (Some(low), None) => write!(self.out, ", at least {low}{unit}")?,
                (None, Some(high)) => write!(self.out, ", at most {high}{unit}")?,
                (None, None) => {}
            }
        }
        for name in ["format", "pattern"] {
            if let Some(value) = member(schema, name) {
                write!(self.out, ", {name} <code>{}</code>", Html(&text(value)))?;
            }
        }
        if let Some(value) = member(schema, "default") {
            write!(self.out, ", default <code>{}</code>", Html(value))?;
        }
        Ok(())
    }

    /// A request that can be pasted into a shell, with the example of each thing that must be there.
    fn curl(&self, operation: DocumentedOperation<'d>) -> String {
        let mut url = operation.path.to_owned();
        let mut joint = '?';
        for parameter in self.parameters_of(operation) {
            if member(parameter, "required") != Some("true") {
                continue;
            }
            let (name, value) = (word(parameter, "name"), self.example(parameter));
            if word(parameter, "in") == "path" {
                url = url.replace(&format!("{{{name}}}"), &value);
            } else {
                url = format!("{url}{joint}{name}={value}");
                joint = '&';
            }
        }
        let content = member(operation.body, "requestBody").and_then(|body| member(body, "content"));
        let body =
            content.and_then(|content| member(content, "application/json")).and_then(|one| member(one, "example"));
        let mut curl = "curl -sS".to_owned();
        if member(operation.body, "responses").is_some_and(|all| all.contains("text/event-stream")) {
            curl.push('N');
        }
        match (operation.method, body) {
            ("get", _) | ("post", Some(_)) => {}
            (method, _) => curl.push_str(&format!(" -X {}", method.to_uppercase())),
        }
        curl.push_str(&format!(" \"$URL{url}\""));
        if member(operation.body, "security") != Some("[]") {
            curl.push_str(" -H \"Authorization: Bearer $TOKEN\"");
        }
        if let Some(body) = body {
            curl.push_str(&format!(" \\\n  -H 'Content-Type: application/json' -d '{body}'"));
        }
        curl
    }

    /// The example of a parameter, or else of its schema, as it stands in a URL.
    fn example(&self, parameter: &str) -> String {
        let schema = self.followed(member(parameter, "schema").unwrap_or("{}"));
        match member(parameter, "example").or_else(|| list(schema, "examples").next()) {
            Some(items) if items.starts_with('[') => json::elements(items).map(bare).collect::<Vec<_>>().join(","),
            Some(value) => bare(value).to_owned(),
            None => "…".to_owned(),
        }
    }

    /// What a reference leads to; anything else is itself.
    fn followed<'v>(&self, value: &'v str) -> &'v str
    where
        'd: 'v,
    {
        let Some(target) = member(value, "$ref") else { return value };
        let place = bare(target).strip_prefix("#/components/").and_then(|place| place.split_once('/'));
        let found = place.and_then(|(kind, name)| member(member(self.components, kind)?, name));
        found.expect("a reference leads into the components")
    }

    /// A paragraph for each that an empty line sets apart.
    fn prose(&mut self, text: &str) -> fmt::Result {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.out.push_str("<p>");
            self.inline(paragraph)?;
            self.out.push_str("</p>");
        }
        Ok(())
    }

    /// Text in which back quotes mark code.
    fn inline(&mut self, text: &str) -> fmt::Result {
        for (place, piece) in text.split('`').enumerate() {
            let (open, close) = if place % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
            write!(self.out, "{open}{}{close}", Html(piece))?;
        }
        Ok(())
    }
}

/// Text with what HTML would take for markup escaped.
struct Html<'a>(&'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            _ => f.write_char(char),
        })
    }
}

struct MethodName<'a>(&'a str);

impl fmt::Display for MethodName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<b class=\"method\">{}</b>", self.0.to_uppercase())
    }
}

/// The value of a member whose name has no escapes; of what is no object, none.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let members = object.starts_with('{').then(|| json::members(object))?;
    members.into_iter().find(|(known, _)| bare(known) == name).map(|(_, value)| value)
}

/// Names and values of an object.
fn fields(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    json::members(object).map(|(name, value)| (text(name), value))
}

/// The elements of a member that is an array; none if it is not there.
fn list<'a>(object: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    member(object, name).into_iter().flat_map(json::elements)
}

/// The text of a member that is a string; empty if it is not there.
fn word<'a>(object: &'a str, name: &str) -> Cow<'a, str> {
    member(object, name).map(text).unwrap_or_default()
}

fn text(string: &str) -> Cow<'_, str> {
    json::text(string).expect("the document's strings are text")
}

/// A string that has no escapes, without its quotes; anything else as it stands.
fn bare(value: &str) -> &str {
    value.trim_matches('"')
}

/// The name at the end of a reference.
fn last(target: &str) -> &str {
    bare(target).rsplit('/').next().unwrap_or_default()
}

/// What stands under JSON in a body or an answer.
fn json_of(place: &str) -> Option<&str> {
    member(member(place, "content")?, "application/json")
}

fn has_tag(operation: &str, name: &str) -> bool {
    list(operation, "tags").any(|tag| bare(tag) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_markup_is_text() {
        let document =
            r#"{"info": {"title": "A<b>", "version": "\"1\"", "description": "x & `y<z`\n\nnext"}, "paths": {}}"#;
        let page = render(document);
        for part in
            ["<title>A&lt;b&gt;: the API</title>", "&quot;1&quot;", "<p>x &amp; <code>y&lt;z</code></p><p>next</p>"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn every_link_on_the_page_leads_to_a_place_on_it_or_to_the_document() {
        let page = render(DOCUMENT);
        let targets: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(targets.len() > 100);
        for target in targets {
            let place = target.strip_prefix('#').map(|id| format!("id=\"{id}\""));
            assert!(target == "/openapi.json" || place.is_some_and(|place| page.contains(&place)), "{target}");
        }
        assert!(!page.contains("://") && !page.contains("<script"), "nothing comes from elsewhere");
    }

    #[test]
    fn an_operation_has_its_example() {
        let page = render(DOCUMENT);
        let want = "curl -sS -X PUT &quot;$URL/config/workspace/0190c42e-8d3f-7123-9abc-0123456789ab&quot; \
                    -H &quot;Authorization: Bearer $TOKEN&quot;";
        assert!(page.contains(want));
        assert!(page.contains("curl -sS &quot;$URL/users?ids=ada,bob&quot;"));
        assert!(page.contains("curl -sSN &quot;$URL/output/stream&quot;"));
    }
}
