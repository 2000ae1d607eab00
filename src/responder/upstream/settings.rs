//! The settings of an upstream.

use crate::base::limits::*;
use crate::config::types::Secret;
use crate::config::upstream_address::UpstreamAddress;
use crate::config::upstream_fields::UpstreamField;
use crate::responder::breaker::Breaker;
use crate::responder::context::ContextRules;
use crate::responder::retry::RetryPolicy;
use std::path::PathBuf;
use std::sync::Arc;

/// Timeouts of an upstream, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, including name resolution and the TLS handshake.
    pub connect_milliseconds: u64,
    /// From the connection to the first byte of the response body.
    pub first_byte_milliseconds: u64,
    /// Between two bytes of the body.
    pub between_bytes_milliseconds: u64,
    /// For one answer, with all attempts; `None` if there is no bound while bytes arrive.
    pub total_milliseconds: Option<u64>,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect_milliseconds: UPSTREAM_CONNECT_MILLISECONDS,
            first_byte_milliseconds: UPSTREAM_FIRST_BYTE_MILLISECONDS,
            between_bytes_milliseconds: UPSTREAM_BETWEEN_BYTES_MILLISECONDS,
            total_milliseconds: None,
        }
    }
}

/// The settings of an upstream.
#[derive(Debug)]
pub struct UpstreamSettings {
    /// `RESPONDER_URL`
    pub address: UpstreamAddress,
    /// `RESPONDER_MODEL`
    pub model: String,
    /// `RESPONDER_MODELS`: the models that a conversation may choose.
    pub models: Vec<Arc<str>>,
    /// `RESPONDER_HEADERS`. A field `Authorization` here replaces the one with the key.
    pub headers: Vec<UpstreamField>,
    /// `RESPONDER_API_KEY`
    pub api_key: Option<Secret>,
    /// What is sent of a conversation.
    pub context: ContextRules,
    /// `RESPONDER_CA_FILE`: certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// When failed attempts are repeated.
    pub retry: RetryPolicy,
    /// The circuit breaker, closed at first.
    pub breaker: Breaker,
}

impl UpstreamSettings {
    /// The settings of this model, with the defaults of the others.
    pub fn new(address: UpstreamAddress, model: String) -> UpstreamSettings {
        UpstreamSettings {
            address,
            model,
            models: Vec::new(),
            headers: Vec::new(),
            api_key: None,
            context: ContextRules::default(),
            ca_file: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            breaker: Breaker::default(),
        }
    }
}
