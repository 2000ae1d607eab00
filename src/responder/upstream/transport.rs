//! The bytes between an HTTP request and its socket, encrypted or not.

#[cfg(feature = "tls")]
use crate::responder::tls::TlsSession;
use std::borrow::Cow;

/// Converts between the bytes of HTTP and those of a socket.
#[derive(Debug)]
pub(super) struct Transport {
    /// Bytes for the socket, of which it took `written`.
    outgoing: Vec<u8>,
    written: usize,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsSession>>,
}

impl Transport {
    /// A transport that changes nothing.
    pub(super) fn plain() -> Transport {
        Transport {
            outgoing: Vec::new(),
            written: 0,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// A transport that encrypts.
    #[cfg(feature = "tls")]
    pub(super) fn encrypted(session: TlsSession) -> Transport {
        Transport { outgoing: Vec::new(), written: 0, tls: Some(Box::new(session)) }
    }

    /// Whether the TLS handshake is not finished.
    pub(super) fn is_handshaking(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.is_handshaking();
        }
        false
    }

    /// Sends bytes of HTTP. To be called once, when the socket is connected.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.send(&bytes, &mut self.outgoing);
        }
        self.outgoing = bytes;
        Ok(())
    }

    /// Takes bytes of the socket; returns bytes of HTTP.
    pub(super) fn receive<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, String> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let mut plain = Vec::new();
            tls.receive(bytes, &mut plain, &mut self.outgoing)?;
            return Ok(Cow::Owned(plain));
        }
        Ok(Cow::Borrowed(bytes))
    }

    /// The bytes that the socket takes next.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.written..]
    }

    /// The socket took so many of [`Transport::outgoing`].
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.outgoing.len() {
            self.discard();
        }
    }

    /// Drops what was not sent, because the socket takes nothing more.
    pub(super) fn discard(&mut self) {
        (self.outgoing, self.written) = (Vec::new(), 0);
    }
}
