//! The section of an operation.

use super::document::{elements, json_content, member, members, reference_name, string, unquote};
use super::html::{Html, MethodName, push_inline, push_prose};
use super::{DocsPage, DocumentedOperation};
use crate::wire::json;
use std::borrow::Cow;
use std::fmt::{self, Write};

impl<'d> DocsPage<'d> {
    pub(super) fn operation(&mut self, operation: DocumentedOperation<'d>) -> fmt::Result {
        let DocumentedOperation { method, path, body, .. } = operation;
        let id = string(body, "operationId");
        let (method, path) = (MethodName(method), Html(path));
        write!(self.out, "<article id=\"{id}\"><h3>{method} <a href=\"#{id}\"><code>{path}</code></a></h3>")?;
        push_prose(&mut self.out, &string(body, "summary"))?;
        push_prose(&mut self.out, &string(body, "description"))?;
        let schemes: Vec<Cow<'_, str>> =
            elements(body, "security").flat_map(|scheme| members(scheme).map(|(name, _)| name)).collect();
        if member(body, "security").is_none() {
            self.out.push_str("<p><em>Requires a <a href=\"#authentication\">token</a>.</em></p>");
        } else if schemes.is_empty() {
            self.out.push_str("<p><em>Requires no token.</em></p>");
        } else {
            let schemes = schemes.join(", ");
            write!(self.out, "<p><em>Requires one of: <a href=\"#authentication\">{}</a>.</em></p>", Html(&schemes))?;
        }
        self.parameters(operation)?;
        if let Some(request_body) = member(body, "requestBody") {
            self.out.push_str("<h4>Body</h4>");
            self.media_types(request_body)?;
            // The fields are repeated here, because every client needs them.
            if let Some(schema) = json_content(request_body).and_then(|description| member(description, "schema")) {
                self.schema(self.resolve(schema))?;
            }
        }
        self.responses(body)?;
        let curl = self.curl(operation);
        writeln!(self.out, "<h4>Example</h4><pre>{}</pre></article>", Html(&curl))
    }

    fn parameters_of(&self, operation: DocumentedOperation<'d>) -> Vec<&'d str> {
        let [shared, own] = [operation.path_item, operation.body].map(|parent| elements(parent, "parameters"));
        shared.chain(own).map(|parameter| self.resolve(parameter)).collect()
    }

    fn parameters(&mut self, operation: DocumentedOperation<'d>) -> fmt::Result {
        const HEAD: &str = "<h4>Parameters</h4><div class=\"wide\"><table><thead><tr><th>name<th>in<th>value\
            <th>description</thead><tbody>";
        self.out.push_str(HEAD);
        for parameter in self.parameters_of(operation) {
            let required = if member(parameter, "required") == Some("true") { " <em>required</em>" } else { "" };
            let (name, location) = (string(parameter, "name"), string(parameter, "in"));
            write!(self.out, "<tr><td><code>{}</code>{required}</td><td>{}</td><td>", Html(&name), Html(&location))?;
            self.schema(member(parameter, "schema").unwrap_or("{}"))?;
            self.out.push_str("</td><td>");
            push_prose(&mut self.out, &string(parameter, "description"))?;
            self.out.push_str("</td></tr>");
        }
        self.out.push_str("</tbody></table></div>");
        Ok(())
    }

    /// The successful responses in full, and the errors as links to their common section.
    fn responses(&mut self, body: &'d str) -> fmt::Result {
        self.out.push_str("<h4>Responses</h4>");
        let (errors, successes): (Vec<_>, Vec<_>) = members(member(body, "responses").unwrap_or("{}"))
            .partition(|(_, response)| member(response, "$ref").is_some());
        for (status, response) in successes {
            write!(self.out, "<p>{}: ", Html(&status))?;
            push_inline(&mut self.out, &string(response, "description"))?;
            self.out.push_str("</p>");
            self.media_types(response)?;
            self.headers(response)?;
        }
        self.out.push_str("<p>Errors:");
        for (status, response) in errors {
            let name = reference_name(member(response, "$ref").unwrap_or_default());
            write!(self.out, " <a href=\"#error-{}\">{}</a>", Html(name), Html(&status))?;
        }
        self.out.push_str("</p>");
        Ok(())
    }

    /// A command that can be pasted into a shell, with the examples of all required parameters and of the body.
    fn curl(&self, operation: DocumentedOperation<'d>) -> String {
        let mut url = operation.path.to_owned();
        let mut separator = '?';
        for parameter in self.parameters_of(operation) {
            if member(parameter, "required") != Some("true") {
                continue;
            }
            let (name, value) = (string(parameter, "name"), self.example(parameter));
            if string(parameter, "in") == "path" {
                url = url.replace(&format!("{{{name}}}"), &value);
            } else {
                url = format!("{url}{separator}{name}={value}");
                separator = '&';
            }
        }
        let content = member(operation.body, "requestBody").and_then(|body| member(body, "content"));
        let body =
            content.and_then(|content| member(content, "application/json")).and_then(|json| member(json, "example"));
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

    /// The example of a parameter, or else of its schema, in the form of a URL.
    fn example(&self, parameter: &str) -> String {
        let schema = self.resolve(member(parameter, "schema").unwrap_or("{}"));
        match member(parameter, "example").or_else(|| elements(schema, "examples").next()) {
            Some(items) if items.starts_with('[') => json::elements(items).map(unquote).collect::<Vec<_>>().join(","),
            Some(value) => unquote(value).to_owned(),
            None => "…".to_owned(),
        }
    }
}
