//! The project's Rust files, and their code as tokens.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A file of Rust code.
pub struct Source {
    /// Its path in the project.
    pub path: PathBuf,
    /// The path of its module in the crate.
    pub module: Vec<String>,
    pub text: String,
    pub tokens: Vec<Token>,
    /// The tokens outside `#[cfg(test)]`; empty for a file that is compiled for tests only.
    pub code: Vec<Token>,
}

/// A name, a number, `::` or one other character of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The line, from 1.
    pub line: usize,
    pub text: String,
}

/// A comment: its lines without their markers, joined by spaces.
pub struct Comment {
    /// Its first line, from 1.
    pub line: usize,
    /// Whether it is documentation.
    pub is_doc: bool,
    /// The text.
    pub text: String,
}

impl Source {
    fn new(path: PathBuf, text: String) -> Source {
        let tokens = tokens(&text);
        let code = without_tests(&tokens);
        Source { module: module_path(&path), path, text, tokens, code }
    }

    /// Code as the file of the given module.
    pub fn sample(module: &str, text: &str) -> Source {
        let path =
            if module.is_empty() { "src/lib.rs".to_owned() } else { format!("src/{}.rs", module.replace("::", "/")) };
        Source::new(path.into(), text.to_owned())
    }

    /// Its comments, in order; consecutive line comments of one kind are one.
    pub fn comments(&self) -> Vec<Comment> {
        comments(&self.text)
    }

    /// The module's path as written in code, without `crate::`.
    pub fn name(&self) -> String {
        self.module.join("::")
    }
}

/// The project's directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of `src`, read once.
pub fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut sources = rust_files("src");
        assert!(sources.len() > 50, "the sources are found");
        strip_test_modules(&mut sources);
        sources
    })
}

/// Every Rust file of `tests`, `benches` and `fuzz`, read once.
pub fn outside() -> &'static [Source] {
    static OUTSIDE: OnceLock<Vec<Source>> = OnceLock::new();
    OUTSIDE.get_or_init(|| ["tests", "benches", "fuzz"].into_iter().flat_map(rust_files).collect())
}

/// Every Rust file under a directory of the project, ordered by path.
pub fn rust_files(directory: &str) -> Vec<Source> {
    let mut files = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                files.push((path.strip_prefix(root()).expect("it is in the project").to_owned(), text));
            }
        }
    }
    files.sort();
    files.into_iter().map(|(path, text)| Source::new(path, text)).collect()
}

/// Removes the code of files whose module, or one around it, is declared with `#[cfg(test)]`.
pub fn strip_test_modules(sources: &mut [Source]) {
    let mut test_modules = BTreeSet::new();
    for source in &*sources {
        for range in test_items(&source.tokens) {
            let item = &source.tokens[range];
            if let [.., keyword, name, end] = item
                && keyword.text == "mod"
                && end.text == ";"
            {
                test_modules.insert([source.module.as_slice(), std::slice::from_ref(&name.text)].concat());
            }
        }
    }
    for source in sources {
        if (1..=source.module.len()).any(|length| test_modules.contains(&source.module[..length])) {
            source.code.clear();
        }
    }
}

/// `src/store/data.rs` and `src/store/data/mod.rs` are `["store", "data"]`; `src/lib.rs` is `[]`.
pub fn module_path(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().skip(1).map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// Whether `module` is `ancestor`, given as `a::b`, or inside it.
pub fn is_within(module: &[String], ancestor: &str) -> bool {
    let ancestor: Vec<&str> = ancestor.split("::").collect();
    module.len() >= ancestor.len() && ancestor.iter().zip(module).all(|(a, b)| a == b)
}

/// Whether a token is a name and not a keyword that occurs before or in a path.
pub fn is_name(token: &str) -> bool {
    token.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && !matches!(token, "use" | "pub" | "as" | "in" | "mod" | "crate" | "super" | "self" | "return")
}

pub fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The text of the token at `at`; empty past either end.
pub fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// The index after the item that begins at `at`: after its last brace or its semicolon.
pub fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let (mut depth, mut braces) = (0, Vec::new());
    while at < tokens.len() {
        match text_at(tokens, at) {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "{" => braces.push(depth),
            "}" => {
                let is_last = braces.pop() == Some(0) && braces.is_empty();
                // `static X: T = T { … };` continues to its semicolon.
                if is_last && !matches!(text_at(tokens, at + 1), ";" | "." | "?") {
                    return at + 1;
                }
            }
            ";" if depth == 0 && braces.is_empty() => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The tokens outside items with `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut code = Vec::new();
    let mut at = 0;
    for range in test_items(tokens) {
        code.extend_from_slice(&tokens[at..range.start]);
        at = range.end;
    }
    code.extend_from_slice(&tokens[at..]);
    code
}

/// The ranges of items, fields and statements with `#[cfg(test)]`, in order.
fn test_items(tokens: &[Token]) -> Vec<Range<usize>> {
    const MARK: [&str; 5] = ["#", "[", "cfg", "(", "test"];
    let mut items: Vec<Range<usize>> = Vec::new();
    for start in 0..tokens.len() {
        let is_inside = items.last().is_some_and(|item| start < item.end);
        if is_inside || !MARK.iter().enumerate().all(|(offset, text)| text_at(tokens, start + offset) == *text) {
            continue;
        }
        let mut at = start;
        while text_at(tokens, at) == "#" {
            at = attribute_end(tokens, at);
        }
        let mut name = at;
        if text_at(tokens, name) == "pub" {
            name += if text_at(tokens, name + 1) == "(" { 4 } else { 1 };
        }
        let is_field = is_name(text_at(tokens, name)) && text_at(tokens, name + 1) == ":";
        items.push(start..if is_field { field_end(tokens, at) } else { item_end(tokens, at) });
    }
    items
}

fn attribute_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match text_at(tokens, at) {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && text_at(tokens, at - 1) == "]" {
            break;
        }
    }
    at
}

/// The index after the comma that ends a field, or of the brace that ends the last one.
fn field_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match text_at(tokens, at) {
            "(" | "[" | "{" | "<" => depth += 1,
            "}" if depth == 0 => return at,
            ">" if text_at(tokens, at - 1) == "-" => {}
            ")" | "]" | "}" | ">" => depth -= 1,
            "," if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The names and punctuation of Rust code with their lines, without comments, strings and characters.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let first = chars[at];
        let is_text = chars[at..end].contains(&'"') || (first == '\'' && end - at > 1);
        if !first.is_whitespace() && !is_text && !is_comment(&chars, at) {
            tokens.push(Token { line, text: chars[at..end].iter().collect() });
        }
        line += chars[at..end].iter().filter(|char| **char == '\n').count();
        at = end;
    }
    tokens
}

fn comments(text: &str) -> Vec<Comment> {
    let chars: Vec<char> = text.chars().collect();
    let mut comments: Vec<Comment> = Vec::new();
    let (mut at, mut line) = (0, 1);
    // The line on which the next line comment continues the last one, and the last one's marker.
    let mut continued = (0, "");
    while at < chars.len() {
        let end = token_end(&chars, at);
        if is_comment(&chars, at) {
            let whole: String = chars[at..end].iter().collect();
            let marker = ["///", "//!", "/**", "/*!", "//", "/*"].into_iter().find(|marker| whole.starts_with(marker));
            let marker = marker.unwrap_or_default();
            let text = whole[marker.len()..].trim_end_matches("*/").trim().to_owned();
            if continued == (line, marker)
                && let Some(last) = comments.last_mut()
            {
                last.text.push(' ');
                last.text.push_str(&text);
            } else {
                comments.push(Comment { line, is_doc: marker.len() > 2, text });
            }
            continued = if marker.starts_with("//") { (line + 1, marker) } else { (0, "") };
        }
        line += chars[at..end].iter().filter(|char| **char == '\n').count();
        at = end;
    }
    comments
}

/// The end of the token that begins at `at`: a comment, a literal, a name or number, `::`, or one character.
fn token_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let find = |from: usize, is_end: &dyn Fn(usize) -> bool| (from..rest.len()).find(|place| is_end(*place));
    let word_end = |from: usize| find(from, &|place| !is_word(rest[place]));
    let end = match rest {
        ['/', '/', ..] => find(2, &|place| rest[place] == '\n'),
        ['/', '*', ..] => Some(block_comment_end(rest)),
        ['"', ..] => Some(string_end(rest, 1)),
        ['\'', '\\', ..] => find(3, &|place| rest[place] == '\'').map(|quote| quote + 1),
        ['\'', _, '\'', ..] => Some(3),
        [':', ':', ..] => Some(2),
        [first, ..] if is_word(*first) => {
            let end = word_end(0).unwrap_or(rest.len());
            let prefix: String = rest[..end].iter().collect();
            match prefix.as_str() {
                "b" | "c" if rest.get(end) == Some(&'"') => Some(string_end(rest, end + 1)),
                "r" | "br" | "cr" => Some(raw_string_end(rest, end).unwrap_or(end)),
                _ => Some(end),
            }
        }
        _ => Some(1),
    };
    at + end.unwrap_or(rest.len())
}

fn is_comment(chars: &[char], at: usize) -> bool {
    chars[at] == '/' && matches!(chars.get(at + 1), Some('/' | '*'))
}

fn block_comment_end(rest: &[char]) -> usize {
    let (mut at, mut levels) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => levels += 1,
            ['*', '/', ..] => levels -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if levels == 0 {
            break;
        }
    }
    at
}

/// The index after the closing quote of the string whose first character is at `at`.
fn string_end(rest: &[char], mut at: usize) -> usize {
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The index after a raw string whose prefix ends at `at`; `None` if there is none.
fn raw_string_end(rest: &[char], at: usize) -> Option<usize> {
    let hashes = rest[at..].iter().take_while(|char| **char == '#').count();
    if rest.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let from = at + hashes + 1;
    let end = rest[from..].windows(closing.len()).position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| from + end + closing.len()))
}

#[test]
fn paths_of_files_are_paths_of_modules() {
    let table = [
        ("src/store/data.rs", "store::data"),
        ("src/store/data/mod.rs", "store::data"),
        ("src/wire/request/tests.rs", "wire::request::tests"),
        ("src/main.rs", "main"),
        ("src/lib.rs", ""),
    ];
    for (path, module) in table {
        assert_eq!(module_path(Path::new(path)).join("::"), module);
    }
}

#[test]
fn test_code_is_separated() {
    let table = [
        ("fn a() {} #[cfg(test)] mod tests { fn b() { c() } } fn d() {}", "fn a() {} fn d() {}"),
        ("#[cfg(test)] #[derive(Debug)] pub struct A { b: [u8; 4] } struct C;", "struct C;"),
        ("struct A { #[cfg(test)] pub b: Vec<(u8, u8)>, c: u8 }", "struct A { c: u8 }"),
        ("#[cfg(test)] use a::{b, c}; #[cfg(test)] mod d; fn e() {}", "fn e() {}"),
        (
            "#[cfg(all(unix))] fn a() {} #[cfg(test)] pub(crate) fn b(c: [u8; 2]) -> D { E { f: 1 } }",
            "#[cfg(all(unix))] fn a() {}",
        ),
        ("#[cfg(test)] static A: B = B { c: 1 }; fn d() {}", "fn d() {}"),
    ];
    for (text, rest) in table {
        let texts = |tokens: &[Token]| tokens.iter().map(|token| token.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&Source::sample("a", text).code), texts(&tokens(rest)), "{text}");
    }
    let mut sources = ["a", "a::b", "a::b::c", "a::d"].map(|name| {
        let text = if name == "a" { "#[cfg(test)] mod b; mod d;" } else { "fn f() {}" };
        Source::sample(name, text)
    });
    strip_test_modules(&mut sources);
    assert_eq!(sources.map(|source| source.code.is_empty()), [false, true, true, false]);
}
