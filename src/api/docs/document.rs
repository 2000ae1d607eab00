//! Access to the values of the OpenAPI document, which is valid JSON.

use crate::wire::json;
use std::borrow::Cow;

/// The value of a member of an object; `None` if it is missing, or if the value is not an object. `name` has no escapes.
pub(super) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let members = object.starts_with('{').then(|| json::members(object))?;
    members.into_iter().find(|(known, _)| unquote(known) == name).map(|(_, value)| value)
}

/// The names and values of an object.
pub(super) fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    json::members(object).map(|(name, value)| (text(name), value))
}

/// The elements of a member that is an array; none if it is missing.
pub(super) fn elements<'a>(object: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    member(object, name).into_iter().flat_map(json::elements)
}

/// The text of a member that is a string; empty if it is missing.
pub(super) fn string<'a>(object: &'a str, name: &str) -> Cow<'a, str> {
    member(object, name).map(text).unwrap_or_default()
}

pub(super) fn text(string: &str) -> Cow<'_, str> {
    json::text(string).expect("the strings of the document are valid")
}

/// A string without escapes, without its quotes; any other value unchanged.
pub(super) fn unquote(value: &str) -> &str {
    value.trim_matches('"')
}

/// The name at the end of a reference.
pub(super) fn reference_name(target: &str) -> &str {
    unquote(target).rsplit('/').next().unwrap_or_default()
}

/// The description of the JSON of a request body or a response.
pub(super) fn json_content(parent: &str) -> Option<&str> {
    member(member(parent, "content")?, "application/json")
}

pub(super) fn has_tag(operation: &str, name: &str) -> bool {
    elements(operation, "tags").any(|tag| unquote(tag) == name)
}
