//! Text in HTML.

use std::fmt::{self, Write};

/// Appends text as paragraphs, which empty lines separate.
pub(super) fn push_prose(out: &mut String, text: &str) -> fmt::Result {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        out.push_str("<p>");
        push_inline(out, paragraph)?;
        out.push_str("</p>");
    }
    Ok(())
}

/// Appends text in which backquotes mark code.
pub(super) fn push_inline(out: &mut String, text: &str) -> fmt::Result {
    for (index, piece) in text.split('`').enumerate() {
        let (open, close) = if index % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
        write!(out, "{open}{}{close}", Html(piece))?;
    }
    Ok(())
}

/// Displays text with the special characters of HTML escaped.
pub(super) struct Html<'a>(pub(super) &'a str);

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

/// Displays a method.
pub(super) struct MethodName<'a>(pub(super) &'a str);

impl fmt::Display for MethodName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<b class=\"method\">{}</b>", self.0.to_uppercase())
    }
}
