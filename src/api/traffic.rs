//! What is counted of requests: how many, and how long each took, by the row of the router's table.
//!
//! Invariant: there is one counter for each row, method and status that can be answered, and none for anything that a
//! client made up.

use super::router::ROUTES;
use crate::base::metrics::exposition::Exposition;
use crate::base::metrics::{Counter, DURATION_BOUNDS, Durations};
use crate::http1::head::Method;

/// What a request was for: a row of the router's table, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint(u16);

impl Endpoint {
    /// A path that leads nowhere.
    pub const UNMATCHED: Endpoint = Endpoint(ROUTES_COUNT as u16);
    /// A request whose head could not be read.
    pub const UNREADABLE: Endpoint = Endpoint(ROUTES_COUNT as u16 + 1);

    /// The row at this place of the table.
    pub fn of_route(place: usize) -> Endpoint {
        debug_assert!(place < ROUTES_COUNT);
        Endpoint(place as u16)
    }

    fn name(place: usize) -> &'static str {
        match ROUTES.get(place) {
            Some(route) => route.pattern,
            None if place == ROUTES_COUNT => "unmatched",
            None => "unreadable",
        }
    }
}

const ROUTES_COUNT: usize = ROUTES.len();
const ENDPOINTS: usize = ROUTES_COUNT + 2;
/// The methods in the order of `Method`; the last stands for all that have no name there.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// The statuses that are answered; 0 stands for any other.
const STATUSES: [u16; 24] = [
    200, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 421, 422, 426, 429, 431, 500, 501, 503, 505,
    0,
];

const REQUESTS: &str = "conversational_core_requests_total";
const SECONDS: &str = "conversational_core_request_duration_seconds";

/// Zeroed memory that costs nothing until a request comes.
static COUNTS: [[[Counter; STATUSES.len()]; METHODS.len()]; ENDPOINTS] =
    [const { [const { [const { Counter::new() }; STATUSES.len()] }; METHODS.len()] }; ENDPOINTS];
static TIMES: [[Durations; METHODS.len()]; ENDPOINTS] =
    [const { [const { Durations::new() }; METHODS.len()] }; ENDPOINTS];

/// Counts an answered request. A stream's time ends with its head.
pub fn record(endpoint: Endpoint, method: Method, status: u16, micros: u64) {
    let (place, method) = (endpoint.0 as usize, method as usize);
    let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
    COUNTS[place][method][status].add(1);
    TIMES[place][method].observe(&DURATION_BOUNDS, micros);
}

/// Writes what was counted; what never was is left out.
pub fn render(text: &mut Exposition) {
    text.family(REQUESTS, "counter", "Requests answered, by the pattern of their path.");
    for (endpoint, methods) in COUNTS.iter().enumerate() {
        for (method, statuses) in METHODS.iter().zip(methods) {
            for (status, counter) in STATUSES.iter().zip(statuses) {
                let count = counter.get();
                if count > 0 {
                    let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                    let labels = [("method", *method), ("endpoint", Endpoint::name(endpoint)), ("status", &status)];
                    text.sample(REQUESTS, &labels, count);
                }
            }
        }
    }
    text.family(
        SECONDS,
        "histogram",
        "Time from a request's whole head to its answer; of a stream, to the answer's head.",
    );
    for (endpoint, methods) in TIMES.iter().enumerate() {
        for (method, times) in METHODS.iter().zip(methods) {
            let (buckets, above) = times.counts();
            if above > 0 || buckets.iter().any(|count| *count > 0) {
                text.durations(SECONDS, &[("method", method), ("endpoint", Endpoint::name(endpoint))], times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_stand_in_the_order_of_their_enumeration() {
        use Method::*;
        for method in [Get, Head, Post, Put, Patch, Delete, Options] {
            assert_eq!(Some(METHODS[method as usize]), method.as_str());
        }
        assert_eq!(METHODS[Other as usize], "other");
        assert_eq!(Other as usize, METHODS.len() - 1);
    }

    #[test]
    fn what_is_counted_is_written_and_nothing_else() {
        record(Endpoint::of_route(0), Method::Patch, 299, 1_000);
        record(Endpoint::UNREADABLE, Method::Other, 431, 7);
        let mut text = Exposition::default();
        render(&mut text);
        let text = String::from_utf8(text.into_bytes()).unwrap();
        assert!(text.contains("requests_total{method=\"PATCH\",endpoint=\"/\",status=\"other\"} 1\n"), "{text}");
        assert!(text.contains("requests_total{method=\"other\",endpoint=\"unreadable\",status=\"431\"} 1\n"), "{text}");
        assert!(text.contains("duration_seconds_count{method=\"PATCH\",endpoint=\"/\"} 1\n"), "{text}");
        assert!(!text.contains("endpoint=\"/users\""), "{text}");
    }
}
