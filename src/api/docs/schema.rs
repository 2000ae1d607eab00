//! A schema in HTML.

use super::DocsPage;
use super::document::{elements, member, members, reference_name, text, unquote};
use super::html::{Html, push_inline};
use crate::wire::json;
use std::fmt::{self, Write};

impl<'d> DocsPage<'d> {
    /// A schema in words, with the members of an object as a list.
    pub(super) fn schema(&mut self, schema: &'d str) -> fmt::Result {
        if let Some(target) = member(schema, "$ref") {
            return write!(self.out, "<a href=\"#schema-{0}\">{0}</a>", Html(reference_name(target)));
        }
        for (key, separator) in [("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")] {
            for (index, alternative) in elements(schema, key).enumerate() {
                self.out.push_str(if index > 0 { separator } else { "" });
                self.schema(alternative)?;
            }
        }
        if let Some(value) = member(schema, "const") {
            write!(self.out, "<code>{}</code>", Html(value))?;
        }
        for (index, value) in elements(schema, "enum").enumerate() {
            write!(self.out, "{}<code>{}</code>", if index > 0 { ", " } else { "" }, Html(value))?;
        }
        if let Some(kind) = member(schema, "type").filter(|_| member(schema, "enum").is_none()) {
            let kinds: Vec<&str> = if kind.starts_with('[') { json::elements(kind).collect() } else { vec![kind] };
            let kinds: Vec<&str> = kinds.into_iter().map(unquote).collect();
            self.out.push_str(&kinds.join(" or "));
        }
        for (key, separator) in [("items", " of "), ("contentSchema", " with ")] {
            if let Some(inner) = member(schema, key) {
                self.out.push_str(separator);
                self.schema(inner)?;
            }
        }
        self.bounds(schema)?;
        let required: Vec<&str> = elements(schema, "required").map(unquote).collect();
        if let Some(properties) = member(schema, "properties") {
            self.out.push_str("<ul>");
            for (name, property) in members(properties) {
                let optional = if required.contains(&&*name) { "" } else { " <em>optional</em>" };
                write!(self.out, "<li><code>{}</code>{optional}: ", Html(&name))?;
                self.schema(property)?;
                if let Some(description) = member(property, "description") {
                    self.out.push_str(" <small>");
                    push_inline(&mut self.out, &text(description))?;
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
}
