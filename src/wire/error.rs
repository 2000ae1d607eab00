//! The JSON of all error responses.

use crate::wire::json::JsonWriter;

/// `{"error":{"code","message","details"?}}`. `details` has each invalid field with the violated rule.
pub(crate) fn error_body(code: &str, message: &str, details: Option<&[(&str, String)]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + code.len() + message.len());
    let mut json = JsonWriter(&mut out);
    json.raw("{\"error\":{\"code\":").string(code).raw(",\"message\":").string(message);
    if let Some(details) = details {
        json.raw(",\"details\":{");
        for (index, (field, rule)) in details.iter().enumerate() {
            json.raw(if index > 0 { "," } else { "" }).string(field).raw(":").string(rule);
        }
        json.raw("}");
    }
    json.raw("}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_form_of_the_api() {
        let two = [("name", "must be 1 to 100 characters".to_owned()), ("x\"y", "is\nrequired".to_owned())];
        let table = [
            (None, r#"{"error":{"code":"not_found","message":"No \"such\" path"}}"#),
            (Some(&two[..0]), r#"{"error":{"code":"not_found","message":"No \"such\" path","details":{}}}"#),
            (
                Some(&two[..1]),
                r#"{"error":{"code":"not_found","message":"No \"such\" path","details":{"name":"must be 1 to 100 characters"}}}"#,
            ),
            (
                Some(&two[..]),
                r#"{"error":{"code":"not_found","message":"No \"such\" path","details":{"name":"must be 1 to 100 characters","x\"y":"is\nrequired"}}}"#,
            ),
        ];
        for (details, expected) in table {
            let body = error_body("not_found", "No \"such\" path", details);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
    }
}
