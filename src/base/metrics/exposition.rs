//! The Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use super::instruments::{Counter, DURATION_BOUNDS, Durations, Histogram};
use std::fmt::{self, Write};

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The unit of a histogram's observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// No unit.
    One,
    /// Microseconds, which are written as seconds.
    Microseconds,
}

/// A number as it is written.
struct Amount(u64, Unit);

/// A value of a label as it is written between its quotes.
struct Escaped<'a>(&'a str);

/// Exposition that grows by families of samples.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family: its samples follow, and nothing else before the next family.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample of the family.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: u64) {
        self.amount(name, "", labels, Amount(value, Unit::One));
    }

    /// One sample of the family that is a time or a duration, given in microseconds and written in seconds.
    pub fn sample_seconds(&mut self, name: &str, labels: Labels<'_>, micros: u64) {
        self.amount(name, "", labels, Amount(micros, Unit::Microseconds));
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A family of one gauge in seconds, given in microseconds.
    pub fn gauge_seconds(&mut self, name: &str, help: &str, micros: u64) {
        self.family(name, "gauge", help);
        self.sample_seconds(name, &[], micros);
    }

    /// A family of counters, one for each value of a label.
    pub fn counters(&mut self, name: &str, help: &str, label: (&str, &[&str]), counters: &[Counter]) {
        self.family(name, "counter", help);
        for (value, counter) in label.1.iter().zip(counters) {
            self.sample(name, &[(label.0, value)], counter.get());
        }
    }

    /// The samples of one histogram of durations.
    pub fn durations(&mut self, name: &str, labels: Labels<'_>, histogram: &Durations) {
        self.histogram(name, labels, (&DURATION_BOUNDS, Unit::Microseconds), histogram);
    }

    /// The samples of one histogram: how many observations are up to each bound, their sum and their number.
    pub fn histogram<const BUCKETS: usize>(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        (bounds, unit): (&[u64; BUCKETS], Unit),
        histogram: &Histogram<BUCKETS>,
    ) {
        // A concurrent observation may be missing from the sum, but the buckets and their count always agree.
        let sum = histogram.sum();
        let (buckets, above) = histogram.counts();
        let mut count = 0;
        for (bound, bucket) in bounds.iter().zip(buckets) {
            count += bucket;
            self.bucket(name, labels, format_args!("{}", Amount(*bound, unit)), count);
        }
        count += above;
        self.bucket(name, labels, format_args!("+Inf"), count);
        self.amount(name, "_sum", labels, Amount(sum, unit));
        self.amount(name, "_count", labels, Amount(count, Unit::One));
    }

    /// The whole text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    fn bucket(&mut self, name: &str, labels: Labels<'_>, bound: fmt::Arguments<'_>, count: u64) {
        self.line(format_args!("{name}_bucket{{"));
        for (label, value) in labels {
            self.line(format_args!("{label}=\"{}\",", Escaped(value)));
        }
        self.line(format_args!("le=\"{bound}\"}} {count}\n"));
    }

    fn amount(&mut self, name: &str, suffix: &str, labels: Labels<'_>, amount: Amount) {
        self.line(format_args!("{name}{suffix}"));
        for (place, (label, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            self.line(format_args!("{before}{label}=\"{}\"", Escaped(value)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{after} {amount}\n"));
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes all");
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Amount(value, unit) = self;
        let (whole, fraction) = match unit {
            Unit::One => return value.fmt(f),
            Unit::Microseconds => (value / 1_000_000, value % 1_000_000),
        };
        if fraction == 0 {
            return whole.fmt(f);
        }
        let mut digits = [0; 6];
        let mut rest = fraction;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Exposition)) -> String {
        let mut text = Exposition::default();
        write(&mut text);
        String::from_utf8(text.into_bytes()).unwrap()
    }

    #[test]
    fn families_and_samples() {
        let written = text(|text| {
            text.counter("a_total", "How many.", 3);
            text.family("b", "gauge", "Which.");
            text.sample("b", &[("x", "1"), ("y", "a \"b\"\\\n")], 4);
            text.gauge_seconds("c_seconds", "How long.", 1_500_000);
        });
        let want = "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
                    # HELP b Which.\n# TYPE b gauge\nb{x=\"1\",y=\"a \\\"b\\\"\\\\\\n\"} 4\n\
                    # HELP c_seconds How long.\n# TYPE c_seconds gauge\nc_seconds 1.5\n";
        assert_eq!(written, want);
    }

    #[test]
    fn buckets_add_up() {
        let histogram: Histogram<2> = Histogram::new();
        for micros in [400, 500, 2_500_000, 70_000_001] {
            histogram.observe(&[500, 2_500_000], micros);
        }
        let bounds = (&[500, 2_500_000], Unit::Microseconds);
        let labelled = text(|text| text.histogram("d", &[("m", "GET")], bounds, &histogram));
        let want = "d_bucket{m=\"GET\",le=\"0.0005\"} 2\nd_bucket{m=\"GET\",le=\"2.5\"} 3\n\
                    d_bucket{m=\"GET\",le=\"+Inf\"} 4\nd_sum{m=\"GET\"} 72.500901\nd_count{m=\"GET\"} 4\n";
        assert_eq!(labelled, want);
        let plain = text(|text| text.histogram("d", &[], (&[500, 2_500_000], Unit::One), &histogram));
        assert!(plain.starts_with("d_bucket{le=\"500\"} 2\n") && plain.ends_with("d_sum 72500901\nd_count 4\n"));
    }

    #[test]
    fn seconds_are_written_whole() {
        let table = [
            (0, "0"),
            (1, "0.000001"),
            (100, "0.0001"),
            (999_999, "0.999999"),
            (1_000_000, "1"),
            (10_250_000, "10.25"),
        ];
        for (micros, want) in table {
            assert_eq!(Amount(micros, Unit::Microseconds).to_string(), want);
        }
    }
}
