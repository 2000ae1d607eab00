//! The bodies of `/` and `/health…`.

use crate::base::time::WallTime;
use crate::wire::json::JsonWriter;

/// The body of `GET /`.
pub(crate) fn root() -> &'static [u8] {
    b"{\"status\":\"online\",\"service\":\"Cortex Core\"}"
}

/// The version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The body of a health response. Each check has a name, and `"ok"` or the fault.
pub(crate) fn health(status: &str, checks: &[(&str, &str)], now: WallTime) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut json = JsonWriter(&mut out);
    json.raw("{\"status\":").string(status).raw(",\"service\":\"conversational-core\",\"timestamp\":").time(now);
    json.raw(",\"version\":").string(VERSION).raw(",\"checks\":{");
    for (place, (name, said)) in checks.iter().enumerate() {
        json.raw(if place > 0 { "," } else { "" }).string(name).raw(":").string(said);
    }
    json.raw("}}");
    out
}
