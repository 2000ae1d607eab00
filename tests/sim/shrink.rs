//! Smaller forms of a run that fails: with fewer steps and fewer clients.

use std::fmt;
use std::ops::Range;

/// Runs that are tried to make a failing one smaller.
pub const TRIES_MAX: usize = 300;

/// The number of clients of a run that has all of them.
const ALL: &str = "all";

/// The part of a seed's run that is executed. Each step draws from numbers of its own, so a step does the same when others are
/// left out, as far as it finds the same world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub agents_max: usize,
    pub stream_clients_max: usize,
    /// The steps that are taken, in order.
    steps: Vec<Range<u64>>,
}

impl Form {
    /// The whole run.
    pub fn whole() -> Form {
        Form { agents_max: usize::MAX, stream_clients_max: usize::MAX, steps: std::iter::once(0..u64::MAX).collect() }
    }

    pub fn takes(&self, step: u64) -> bool {
        self.steps.iter().any(|range| range.contains(&step))
    }

    /// Parses what `Display` writes.
    pub fn parse(text: &str) -> Option<Form> {
        let mut parts = text.split('/');
        let number = |text: &str| if text == ALL { Some(usize::MAX) } else { text.parse().ok() };
        let (agents_max, stream_clients_max) = (number(parts.next()?)?, number(parts.next()?)?);
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?)
        };
        let steps = parts.next()?.split(',').filter(|text| !text.is_empty()).map(range).collect::<Option<_>>()?;
        parts.next().is_none().then_some(Form { agents_max, stream_clients_max, steps })
    }

    fn with_steps(&self, taken: &[u64]) -> Form {
        let mut steps: Vec<Range<u64>> = Vec::new();
        for step in taken {
            match steps.last_mut() {
                Some(last) if last.end == *step => last.end += 1,
                _ => steps.push(*step..step + 1),
            }
        }
        Form { steps, ..self.clone() }
    }
}

/// The numbers of clients, and the steps.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for clients_max in [self.agents_max, self.stream_clients_max] {
            match clients_max {
                usize::MAX => write!(f, "{ALL}/")?,
                _ => write!(f, "{clients_max}/")?,
            }
        }
        for (place, range) in self.steps.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match range.end - range.start {
                1 => write!(f, "{comma}{}", range.start)?,
                _ => write!(f, "{comma}{}-{}", range.start, range.end - 1)?,
            }
        }
        Ok(())
    }
}

/// The smallest form that is found to fail in the same way, with its failure. A run has at most `steps` steps.
pub fn shrink(
    steps: u64,
    failure: String,
    tries_max: usize,
    fails: impl Fn(&Form) -> Option<String>,
) -> (Form, String) {
    let mut smallest = (Form::whole(), failure);
    let mut tries = 0;
    let mut attempt = |form: Form, smallest: &mut (Form, String)| {
        if tries == tries_max {
            return false;
        }
        tries += 1;
        match fails(&form) {
            Some(failure) if place_of(&failure) == place_of(&smallest.1) => {
                *smallest = (form, failure);
                true
            }
            _ => false,
        }
    };
    let mut taken: Vec<u64> = (0..steps).collect();
    for count in [1, 2] {
        let fewer = |form: &Form| {
            [Form { agents_max: count, ..form.clone() }, Form { stream_clients_max: count, ..form.clone() }]
        };
        let [agents, stream_clients] = fewer(&smallest.0);
        if smallest.0.agents_max > count {
            attempt(agents, &mut smallest);
        }
        if smallest.0.stream_clients_max > count {
            let stream_clients = Form { agents_max: smallest.0.agents_max, ..stream_clients };
            attempt(stream_clients, &mut smallest);
        }
    }
    // Parts are left out from the end, since what comes after a failure is not needed; then ever smaller parts.
    let mut part = taken.len().div_ceil(2);
    while part > 0 {
        let mut end = taken.len();
        while end > 0 {
            let start = end.saturating_sub(part);
            let rest: Vec<u64> = [&taken[..start], &taken[end..]].concat();
            if attempt(smallest.0.with_steps(&rest), &mut smallest) {
                taken = rest;
            }
            end = start;
        }
        part /= 2;
    }
    smallest
}

/// Where a failure was found, without the step.
fn place_of(failure: &str) -> &str {
    let from = failure.find("panicked at").unwrap_or(0);
    failure[from..].lines().next().unwrap_or_default()
}

#[test]
fn a_failing_run_is_made_smaller() {
    let failure = "panicked at a.rs:1:1:\nit is wrong";
    // It fails if three steps are taken by two agents at least, and in another way if one of the steps is missing.
    let fails = |form: &Form| {
        let needed = [17, 170, 171].map(|step| form.takes(step));
        match (form.agents_max >= 2, needed) {
            (true, [true, true, true]) => Some(failure.to_owned()),
            (true, [true, ..]) => Some("panicked at b.rs:1:1:\nanother one".to_owned()),
            _ => None,
        }
    };
    let (form, _) = shrink(1000, failure.into(), TRIES_MAX, fails);
    assert_eq!(form.to_string(), "2/1/17,170-171");
    assert_eq!(Form::parse("2/1/17,170-171"), Some(form.clone()));
    let text = Form { agents_max: usize::MAX, ..form }.to_string();
    assert_eq!(
        (text.as_str(), Form::parse(&text).map(|form| form.to_string())),
        ("all/1/17,170-171", Some(text.clone()))
    );
    let whole = shrink(1000, failure.into(), 0, fails).0;
    assert_eq!((whole.clone(), Form::parse("1/2")), (Form::whole(), None));
    assert!(whole.takes(0) && whole.takes(5000));
}
