//! The samples of `/metrics`, parsed.

use super::DEADLINE;
use super::http::Client;
use super::server::Server;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// The counter of requests.
pub const REQUESTS: &str = "conversational_core_requests_total";
/// The histogram of request durations.
pub const SECONDS: &str = "conversational_core_request_duration_seconds";

/// The samples of one scrape, by name and labels as written.
pub struct Scrape(pub BTreeMap<String, f64>);

impl Scrape {
    /// Scrapes a server.
    #[track_caller]
    pub fn of(server: &Server) -> Scrape {
        Scrape::at(server.addr)
    }

    /// Scrapes the server at an address, for threads that cannot borrow the `Server`.
    #[track_caller]
    pub fn at(addr: SocketAddr) -> Scrape {
        let response = Client::new(addr).request("GET", "/metrics").send().expect(200);
        assert_eq!(response.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let samples = response.text().lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample, not {line:?}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("a number in {line:?}")))
        });
        Scrape(samples.collect())
    }

    /// The value of a series; 0 if it is absent.
    pub fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// The number of requests by method, endpoint pattern and status.
    pub fn requests(&self, method: &str, endpoint: &str, status: &str) -> f64 {
        self.get(&format!("{REQUESTS}{{method=\"{method}\",endpoint=\"{endpoint}\",status=\"{status}\"}}"))
    }

    /// The changes since an earlier scrape, among the series with that name.
    pub fn since(&self, earlier: &Scrape, name: &str) -> BTreeMap<String, f64> {
        let changed = self.0.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        changed
            .map(|(series, value)| (series.clone(), value - earlier.get(series)))
            .filter(|(_, change)| *change != 0.0)
            .collect()
    }
}

/// Scrapes until the condition holds.
#[track_caller]
pub fn wait_for(server: &Server, mut is_good: impl FnMut(&Scrape) -> bool) -> Scrape {
    let end = Instant::now() + DEADLINE;
    loop {
        let scrape = Scrape::of(server);
        if is_good(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < end, "{:#?}", scrape.0);
        thread::sleep(Duration::from_millis(2));
    }
}
