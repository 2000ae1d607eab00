//! A slow reference parser of JSON by the grammar of RFC 8259, which preserves all numbers and strings, also unusual
//! ones.

/// Maximum nesting, limited by the stack.
const LEVELS_MAX: usize = 2000;

/// A value. Numbers keep their text. A string with a lone surrogate is not text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool,
    Number(&'a str),
    Text(Option<String>),
    Array(Vec<Json<'a>>),
    /// Name, value, and the value as written.
    Object(Vec<(Option<String>, Json<'a>, &'a str)>),
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Syntax,
    /// It exceeds `LEVELS_MAX`.
    TooDeep,
}

/// Parses one value in bytes, which are to be UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Json<'_>, Fault> {
    parse(std::str::from_utf8(bytes).map_err(|_| Fault::Syntax)?)
}

/// Parses one value, surrounded only by white space.
pub fn parse(text: &str) -> Result<Json<'_>, Fault> {
    let mut reader = Reader { text, at: 0, level: 0 };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(Fault::Syntax) }
}

/// `text`, which is JSON, without white space between its tokens.
pub fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    text.chars()
        .filter(|c| {
            let keep = in_string || !matches!(c, ' ' | '\t' | '\n' | '\r');
            if in_string && escaped {
                escaped = false;
            } else if in_string && *c == '\\' {
                escaped = true;
            } else if *c == '"' {
                in_string = !in_string;
            }
            keep
        })
        .collect()
}

impl Json<'_> {
    /// Its depth of nesting; a value that is neither array nor object has none.
    pub fn levels(&self) -> usize {
        match self {
            Json::Array(items) => 1 + items.iter().map(Json::levels).max().unwrap_or(0),
            Json::Object(members) => 1 + members.iter().map(|(_, value, _)| value.levels()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    level: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), Fault> {
        if self.take(token) { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn value(&mut self) -> Result<Json<'a>, Fault> {
        match self.rest().chars().next() {
            Some('n') => self.expect("null").map(|()| Json::Null),
            Some('t') => self.expect("true").map(|()| Json::Bool),
            Some('f') => self.expect("false").map(|()| Json::Bool),
            Some('"') => self.string().map(Json::Text),
            Some('[') => self.nested(Self::array),
            Some('{') => self.nested(Self::object),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json<'a>, Fault>) -> Result<Json<'a>, Fault> {
        self.level += 1;
        if self.level > LEVELS_MAX {
            return Err(Fault::TooDeep);
        }
        self.at += 1;
        self.space();
        let value = read(self);
        self.level -= 1;
        value
    }

    fn array(&mut self) -> Result<Json<'a>, Fault> {
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take("]") {
                return Ok(Json::Array(items));
            }
            self.expect(",")?;
            self.space();
        }
    }

    fn object(&mut self) -> Result<Json<'a>, Fault> {
        let mut members = Vec::new();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            let name = self.string()?;
            self.space();
            self.expect(":")?;
            self.space();
            let start = self.at;
            let value = self.value()?;
            members.push((name, value, &self.text[start..self.at]));
            self.space();
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            self.expect(",")?;
            self.space();
        }
    }

    fn number(&mut self) -> Result<Json<'a>, Fault> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let count = reader.rest().bytes().take_while(u8::is_ascii_digit).count();
            reader.at += count;
            if count > 0 { Ok(()) } else { Err(Fault::Syntax) }
        };
        self.take("-");
        if !self.take("0") {
            digits(self)?;
        }
        if self.take(".") {
            digits(self)?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            digits(self)?;
        }
        Ok(Json::Number(&self.text[start..self.at]))
    }

    /// RFC 8259 §7: the text is assembled from UTF-16, which the escapes use.
    fn string(&mut self) -> Result<Option<String>, Fault> {
        self.expect("\"")?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let next = self.rest().chars().next().ok_or(Fault::Syntax)?;
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(String::from_utf16(&units).ok()),
                '\\' => {
                    let escape = self.rest().chars().next().ok_or(Fault::Syntax)?;
                    self.at += escape.len_utf8();
                    units.push(match escape {
                        '"' | '\\' | '/' => escape as u16,
                        'b' => 0x08,
                        'f' => 0x0c,
                        'n' => 0x0a,
                        'r' => 0x0d,
                        't' => 0x09,
                        'u' => {
                            let digits = self.rest().get(..4).ok_or(Fault::Syntax)?;
                            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                                return Err(Fault::Syntax);
                            }
                            self.at += 4;
                            u16::from_str_radix(digits, 16).expect("four digits fit")
                        }
                        _ => return Err(Fault::Syntax),
                    });
                }
                '\0'..='\u{1f}' => return Err(Fault::Syntax),
                _ => units.extend_from_slice(next.encode_utf16(&mut [0; 2])),
            }
        }
    }
}
