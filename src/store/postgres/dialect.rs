//! Translation of the statements that both engines share.
//!
//! The statements are written in the SQL that SQLite and PostgreSQL have in common. This module replaces the rest: the marks of
//! parameters, a column with a reserved name, the name of the index by conversation, `CROSS JOIN … ON`, which orders the joins of
//! SQLite, the `max` and `min` of several values, hints about indexes, and comparisons without case.

/// The statement in PostgreSQL's form.
pub(crate) fn translate(sql: &str) -> String {
    let sql = sql.replace("email = ?1 COLLATE NOCASE", concat!(folded_email!("email"), " = ", folded_email!("?1")));
    let mut out = String::with_capacity(sql.len() + 32);
    let mut rest = sql.as_str();
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\'' | '"' => quoted(rest),
            '?' => {
                out.push('$');
                rest = &rest[1..];
                continue;
            }
            _ if is_name(next) => {
                let name = &rest[..rest.find(|char| !is_name(char)).unwrap_or(rest.len())];
                rest = &rest[name.len()..];
                rest = translate_name(name, rest, &mut out);
                continue;
            }
            _ => &rest[..next.len_utf8()],
        };
        out.push_str(taken);
        rest = &rest[taken.len()..];
    }
    out
}

/// The expression by which emails are compared without ASCII case. They are bytes, which have no case; in the form `escape`, all
/// but ASCII is written in digits.
macro_rules! folded_email {
    ($email:literal) => {
        concat!("lower(encode(", $email, ", 'escape') COLLATE \"C\")")
    };
}
pub(crate) use folded_email;

/// Translates a name or key word, and returns what follows it.
fn translate_name<'s>(name: &str, rest: &'s str, out: &mut String) -> &'s str {
    match name {
        // The table has an index by conversation.
        "conversation_index" => out.push_str("messages"),
        // Without quotes, it is the role of the session.
        "user" => out.push_str("\"user\""),
        "CROSS" if rest.trim_start().starts_with("JOIN") => return rest.trim_start(),
        "INDEXED" => {
            let index = rest.trim_start().strip_prefix("BY").unwrap_or(rest).trim_start();
            return &index[index.find(|char| !is_name(char)).unwrap_or(index.len())..];
        }
        "max" if has_several_arguments(rest) => out.push_str("greatest"),
        "min" if has_several_arguments(rest) => out.push_str("least"),
        _ => out.push_str(name),
    }
    rest
}

/// The quoted text at the start.
fn quoted(sql: &str) -> &str {
    let quote = &sql[..1];
    let end = sql[1..].find(quote).map_or(sql.len(), |end| end + 2);
    &sql[..end]
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Whether `sql` begins with a list of arguments in parentheses that has a comma outside of inner ones.
fn has_several_arguments(sql: &str) -> bool {
    let mut depth = 0;
    for char in sql.chars() {
        match char {
            '(' => depth += 1,
            ')' if depth == 1 => return false,
            ')' => depth -= 1,
            ',' if depth == 1 => return true,
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_translated() {
        let table = [
            ("SELECT a FROM t WHERE b = ?1 AND c > ?12", "SELECT a FROM t WHERE b = $1 AND c > $12"),
            ("SELECT user, p.user FROM users u", "SELECT \"user\", p.\"user\" FROM users u"),
            ("SELECT '?1 user' || \"user\" FROM t", "SELECT '?1 user' || \"user\" FROM t"),
            ("FROM a CROSS JOIN b ON b.x = a.x", "FROM a JOIN b ON b.x = a.x"),
            ("FROM a\n    CROSS JOIN b ON true", "FROM a\n    JOIN b ON true"),
            ("FROM e INDEXED BY e_index WHERE x", "FROM e  WHERE x"),
            ("SELECT max(a), max(b, 1)", "SELECT max(a), greatest(b, 1)"),
            ("SELECT max(coalesce(a, 0), ?2)", "SELECT greatest(coalesce(a, 0), $2)"),
            ("SELECT max(coalesce(a, 0))", "SELECT max(coalesce(a, 0))"),
            (
                "SELECT min(a, b), min(a) OVER (PARTITION BY b, c)",
                "SELECT least(a, b), min(a) OVER (PARTITION BY b, c)",
            ),
            (
                "FROM conversation_index i JOIN messages m ON i.x = conversation_index_of",
                "FROM messages i JOIN messages m ON i.x = conversation_index_of",
            ),
            ("SELECT max, maxim(a, b)", "SELECT max, maxim(a, b)"),
            ("WHERE kind <> 'it''s ?'", "WHERE kind <> 'it''s ?'"),
            (
                "WHERE email = ?1 COLLATE NOCASE AND x",
                "WHERE lower(encode(email, 'escape') COLLATE \"C\") = lower(encode($1, 'escape') COLLATE \"C\") AND x",
            ),
        ];
        for (sql, expected) in table {
            assert_eq!(translate(sql), expected);
        }
    }
}
