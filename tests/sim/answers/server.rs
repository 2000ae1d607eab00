//! The server of the simulated model: one connection, on which it responds in a seeded way. It stalls, cuts, mixes in what
//! is no text, and lies about the end.

use cortex_core::internals::Random;

/// One connection to the model's server.
#[derive(Default)]
pub struct ModelConnection {
    /// Bytes that the server has sent and the answer has not received.
    in_transit: Vec<u8>,
    has_head: bool,
    /// The server sends nothing more by itself.
    pub is_silent: bool,
    /// The connection ends after the bytes in transit.
    is_closing: bool,
}

/// What the server does next.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerAction {
    /// It sent this text.
    Said(&'static str),
    /// It sent something else.
    Other,
    /// Nothing.
    Nothing,
}

/// What arrives at the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    Bytes(Vec<u8>),
    Closed,
    Nothing,
}

impl ModelConnection {
    /// Whether the server has responded at all.
    pub fn has_responded(&self) -> bool {
        self.has_head
    }

    /// The server acts. In calm times it finishes the answer; `has_said` tells whether the answer has any text.
    pub fn act(&mut self, random: &mut Random, calm: bool, has_said: bool) -> ServerAction {
        if self.is_closing || (self.is_silent && !calm) {
            return ServerAction::Nothing;
        }
        if !self.has_head {
            return self.respond(random, calm);
        }
        let choice = if calm { 8 } else { random.below(20) };
        match choice {
            0..8 => self.say(["and ", "so ", "on ", "\u{1f600} "][choice as usize % 4], random),
            // A model without text says some before its end.
            8..10 if !has_said => self.say("yes", random),
            8 => {
                self.is_closing = true;
                self.send("data: [DONE]\n\n")
            }
            9 => {
                // It ends with a finish reason alone.
                self.is_closing = true;
                self.send("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n")
            }
            10 => {
                self.is_closing = true;
                ServerAction::Other
            }
            11 => {
                self.is_closing = true;
                self.send("data: {\"error\":{\"message\":\"no more\"}}\n\n")
            }
            12 => self.send(": still here\n\n"),
            13 => self.send("data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"another choice\"}}]}\n\n"),
            14 => self.send("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"),
            15 | 16 => {
                self.is_silent = true;
                ServerAction::Nothing
            }
            _ => ServerAction::Nothing,
        }
    }

    /// Some of the bytes in transit arrive.
    pub fn arrive(&mut self, random: &mut Random) -> Arrival {
        if self.in_transit.is_empty() {
            return if self.is_closing { Arrival::Closed } else { Arrival::Nothing };
        }
        let all = self.in_transit.len();
        let some = if random.below(2) == 0 { all } else { 1 + random.below(all as u64) as usize };
        Arrival::Bytes(self.in_transit.drain(..some).collect())
    }

    fn respond(&mut self, random: &mut Random, calm: bool) -> ServerAction {
        self.has_head = true;
        match if calm { 0 } else { random.below(16) } {
            0..12 => self.send("HTTP/1.1 200 OK\r\n\r\n"),
            12 => self.reject("503 x", "Retry-After: 1\r\n", "{\"error\":{\"message\":\"busy\"}}"),
            13 => self.reject("500 x", "", "oops"),
            14 => self.reject("400 x", "", "{\"error\":{\"message\":\"bad\"}}"),
            _ => {
                self.is_closing = true;
                self.send("HTTP/1.1 20")
            }
        }
    }

    fn reject(&mut self, status: &str, fields: &str, body: &str) -> ServerAction {
        self.is_closing = true;
        self.send(&format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    fn say(&mut self, text: &'static str, random: &mut Random) -> ServerAction {
        let reason = if random.below(8) == 0 { ",\"finish_reason\":\"stop\"" } else { "" };
        self.send(&format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}{reason}}}]}}\n\n"));
        ServerAction::Said(text)
    }

    fn send(&mut self, text: &str) -> ServerAction {
        self.in_transit.extend_from_slice(text.as_bytes());
        ServerAction::Other
    }
}
