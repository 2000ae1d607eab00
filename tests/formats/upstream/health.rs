//! The circuit breaker, observed by its callers and by the upstream.

use super::*;
use cortex_core::internals::{FailureKind, ModelEffect, ModelRequest, MonoTime, Position, Random};
use std::ops::ControlFlow;
use std::time::Duration;

/// One try, without retries.
const ONCE: RetryPolicy = RetryPolicy { tries_max: 1, ..RETRY };

fn guarded(standin: &StandIn, retry: RetryPolicy, cool_down_milliseconds: u64) -> Arc<Upstream> {
    let breaker = Breaker::new(2, cool_down_milliseconds);
    let settings = UpstreamSettings { retry, breaker, ..settings(format!("http://{}/v1", standin.addr)) };
    Arc::new(Upstream::new(settings).unwrap())
}

#[test]
fn a_failing_upstream_opens_the_breaker() {
    let standin = StandIn::start(vec![say(with_length(500, "", ""))]);
    let upstream = guarded(&standin, ONCE, 3_600_000);
    for _ in 0..2 {
        assert_eq!(ask(&upstream).1.unwrap_err().kind, FailureKind::Status(500));
    }
    assert_eq!(upstream.position(), Position::Open);
    for _ in 0..10 {
        let failure = ask(&upstream).1.unwrap_err();
        assert_eq!(failure.kind, FailureKind::CircuitOpen);
        assert!(failure.retry_after.is_some_and(|rest| rest <= Duration::from_secs(3600) && !rest.is_zero()));
    }
    assert_eq!(standin.requests().len(), 2);
}

#[test]
fn retries_end_when_the_breaker_opens_and_report_the_failure() {
    let standin = StandIn::start(vec![say(with_length(503, "", ""))]);
    let upstream = guarded(&standin, RETRY, 3_600_000);
    assert_eq!(ask(&upstream).1.unwrap_err().kind, FailureKind::Status(503));
    assert_eq!((standin.requests().len(), upstream.position()), (3, Position::Closed), "a message counts once");
    assert_eq!(ask(&upstream).1.unwrap_err().kind, FailureKind::Status(503));
    assert_eq!((standin.requests().len(), upstream.position()), (4, Position::Open));
}

#[test]
fn a_successful_probe_closes_the_breaker() {
    let bad = say(with_length(500, "", ""));
    let standin = StandIn::start(vec![bad.clone(), bad.clone(), bad, say(until_close(&good_events()))]);
    let upstream = guarded(&standin, ONCE, 1);
    for _ in 0..2 {
        ask(&upstream).1.unwrap_err();
    }
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(ask(&upstream).1.unwrap_err().kind, FailureKind::Status(500), "the probe fails");
    assert_eq!(upstream.position(), Position::Open);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(ask(&upstream).0, TEXT);
    assert_eq!(upstream.position(), Position::Closed);
}

#[test]
fn a_cancelled_probe_frees_its_slot() {
    let bad = say(with_length(500, "", ""));
    let standin = StandIn::start(vec![bad.clone(), bad, vec![Step::Hang], say(until_close(&good_events()))]);
    let upstream = guarded(&standin, ONCE, 1);
    for _ in 0..2 {
        ask(&upstream).1.unwrap_err();
    }
    std::thread::sleep(Duration::from_millis(5));
    let (_, end) = ask_until(&upstream, &history(&["Hello?"]), |_| {
        if standin.requests().len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((end, upstream.position()), (None, Position::HalfOpen));
    assert_eq!(ask(&upstream).0, TEXT);
    assert_eq!(upstream.position(), Position::Closed);
}

#[test]
fn rejections_of_a_single_request_do_not_count_as_failures() {
    let standin = StandIn::start(vec![say(with_length(400, "", ""))]);
    let upstream = guarded(&standin, ONCE, 3_600_000);
    for _ in 0..5 {
        assert_eq!(ask(&upstream).1.unwrap_err().kind, FailureKind::Status(400));
    }
    assert_eq!(upstream.position(), Position::Closed);
}

#[test]
fn a_request_that_is_dropped_does_not_leave_the_breaker_half_open() {
    let bad = say(with_length(500, "", ""));
    let standin = StandIn::start(vec![bad.clone(), bad, say(until_close(&good_events()))]);
    let upstream = guarded(&standin, ONCE, 1);
    for _ in 0..2 {
        ask(&upstream).1.unwrap_err();
    }
    std::thread::sleep(Duration::from_millis(5));
    let mut request = ModelRequest::new(Arc::clone(&upstream), Random::new(1));
    // The breaker's clock is that of the requests before.
    assert!(matches!(request.poll(MonoTime(60_000_000)), Some(ModelEffect::Prepare { .. })));
    drop(request);
    assert_eq!(upstream.position(), Position::HalfOpen);
    assert_eq!(ask(&upstream).0, TEXT);
}

#[test]
fn many_requests_run_concurrently() {
    let standin = StandIn::start(vec![vec![Step::Pieces(chunked(&good_events(), 40), 60)]]);
    let upstream = upstream(&standin);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| ask(&upstream))).collect();
        for one in asking {
            assert_eq!(one.join().unwrap().0, TEXT);
        }
    });
    assert_eq!(standin.requests().len(), 20);
}
