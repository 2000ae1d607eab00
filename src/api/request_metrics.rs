//! Counts and durations of requests, by route.
//!
//! Invariant: label values come from the routes, methods and statuses of this program, never from a client, so the number
//! of series is bounded.

use super::router::ROUTES;
use crate::base::metrics::exposition::Exposition;
use crate::base::metrics::{Counter, DURATION_BOUNDS, Durations};
use crate::http1::head::Method;
use crate::http1::response_write::STATUSES;

/// The route of a request, or the reason why it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint(u16);

impl Endpoint {
    /// The path has no route.
    pub const UNMATCHED: Endpoint = Endpoint(ROUTES_COUNT as u16);
    /// The request head is malformed.
    pub const UNREADABLE: Endpoint = Endpoint(ROUTES_COUNT as u16 + 1);

    /// The route at this index of [`ROUTES`].
    pub fn of_route(index: usize) -> Endpoint {
        debug_assert!(index < ROUTES_COUNT);
        Endpoint(index as u16)
    }

    fn name(index: usize) -> &'static str {
        match ROUTES.get(index) {
            Some(route) => route.pattern,
            None if index == ROUTES_COUNT => "unmatched",
            None => "unreadable",
        }
    }
}

const ROUTES_COUNT: usize = ROUTES.len();
const ENDPOINTS: usize = ROUTES_COUNT + 2;
/// The label values of methods, in the order of the variants of `Method`.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// The index that counts the responses whose status is not one of [`STATUSES`].
const OTHER_STATUS: usize = STATUSES.len();

const REQUESTS: &str = "conversational_core_requests_total";
const SECONDS: &str = "conversational_core_request_duration_seconds";

/// The counters are zeros in `.bss`: they take no memory until the first request.
static COUNTS: [[[Counter; OTHER_STATUS + 1]; METHODS.len()]; ENDPOINTS] =
    [const { [const { [const { Counter::new() }; OTHER_STATUS + 1] }; METHODS.len()] }; ENDPOINTS];
static DURATIONS: [[Durations; METHODS.len()]; ENDPOINTS] =
    [const { [const { Durations::new() }; METHODS.len()] }; ENDPOINTS];

/// Counts a response, and its duration in microseconds. A stream's duration ends with the response's head.
pub fn record(endpoint: Endpoint, method: Method, status: u16, micros: u64) {
    let (endpoint, method) = (endpoint.0 as usize, method as usize);
    let status = STATUSES.iter().position(|(known, _)| *known == status).unwrap_or(OTHER_STATUS);
    COUNTS[endpoint][method][status].add(1);
    DURATIONS[endpoint][method].observe(&DURATION_BOUNDS, micros);
}

/// Writes the series that are not zero.
pub fn render(text: &mut Exposition) {
    text.family(REQUESTS, "counter", "Responses sent, by route.");
    for (endpoint, methods) in COUNTS.iter().enumerate() {
        for (method, statuses) in METHODS.iter().zip(methods) {
            for (index, counter) in statuses.iter().enumerate() {
                let count = counter.get();
                if count > 0 {
                    let status = STATUSES.get(index).map_or("other".to_owned(), |(status, _)| status.to_string());
                    let labels = [("method", *method), ("endpoint", Endpoint::name(endpoint)), ("status", &status)];
                    text.sample(REQUESTS, &labels, count);
                }
            }
        }
    }
    text.family(
        SECONDS,
        "histogram",
        "Time from a complete request head to the response; for a stream, to the response head.",
    );
    for (endpoint, methods) in DURATIONS.iter().enumerate() {
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
    fn method_names_are_in_the_order_of_the_variants() {
        use Method::*;
        for method in [Get, Head, Post, Put, Patch, Delete, Options] {
            assert_eq!(Some(METHODS[method as usize]), method.as_str());
        }
        assert_eq!(METHODS[Other as usize], "other");
        assert_eq!(Other as usize, METHODS.len() - 1);
    }

    #[test]
    fn only_series_that_are_not_zero_are_written() {
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
