//! The error log: order, pages, filters, and whose errors belong to a window.

use crate::fixture::{Fixture, ever};
use crate::samples::{at, error, fields, record};
use callscope_analytics::ports::{ErrorFilter, LoggedError, Page};
use callscope_analytics::service::ErrorLog;
use callscope_domain::{CALL_DURATION_MAX, CLOCK_SKEW_MAX, CallStatus, Level, Service, Span, Timestamp, Window};

on_each_backend!(
    errors_are_newest_first_then_by_call_then_by_position,
    pages_join_without_gaps_or_repeats,
    filters_select_services_and_levels,
    an_error_belongs_to_the_window_of_its_calls_start,
    an_error_as_far_from_its_calls_start_as_can_be_is_found,
);

async fn log(fixture: &Fixture, window: Window, filter: ErrorFilter, offset: u32, limit: u32) -> ErrorLog {
    fixture.server.analytics.errors(fixture.tenant, window, filter, Vec::new(), Page { offset, limit }).await.unwrap()
}

fn messages(items: &[LoggedError]) -> Vec<&str> {
    items.iter().map(|logged| logged.error.message.as_str()).collect()
}

/// A call with an error at each of some instants, called `{call}-{position}`.
async fn write(fixture: &Fixture, call: u128, started_at: Timestamp, errors: &[Timestamp]) {
    let mut fields = fields(call, CallStatus::Active, started_at);
    let message = |position| format!("{call}-{position}");
    fields.errors = (0..)
        .zip(errors)
        .map(|(position, &timestamp)| error(timestamp, Service::Stt, Level::Error, &message(position)))
        .collect();
    fixture.write([record(fields)]).await;
}

async fn errors_are_newest_first_then_by_call_then_by_position(fixture: Fixture) {
    write(&fixture, 7, at(0), &[at(1), at(3), at(1)]).await;
    write(&fixture, 1, at(0), &[at(1), at(2), at(1), at(1)]).await;
    // The first byte decides, and as an unsigned number.
    write(&fixture, u128::MAX, at(0), &[at(1)]).await;
    write(&fixture, 0x7f << 120, at(0), &[at(1)]).await;
    let log = log(&fixture, ever(), ErrorFilter::default(), 0, 50).await;
    let (middle, last) = (format!("{}-0", 0x7f_u128 << 120), format!("{}-0", u128::MAX));
    let expected = ["7-1", "1-1", "1-0", "1-2", "1-3", "7-0", "7-2", &middle, &last];
    assert_eq!(messages(&log.items), expected);
    assert_eq!(log.total, 9);
}

async fn pages_join_without_gaps_or_repeats(fixture: Fixture) {
    for call in 0..7 {
        write(&fixture, call, at(0), &[at(1); 4]).await;
    }
    let whole = log(&fixture, ever(), ErrorFilter::default(), 0, 200).await;
    assert_eq!((whole.items.len(), whole.total), (28, 28));
    let mut joined = Vec::new();
    for offset in (0..=30).step_by(5) {
        let page = log(&fixture, ever(), ErrorFilter::default(), offset, 5).await;
        assert_eq!(page.total, 28);
        joined.extend(page.items);
    }
    assert_eq!(joined, whole.items);
    let past = log(&fixture, ever(), ErrorFilter::default(), u32::MAX, 5).await;
    assert_eq!((past.items.len(), past.total), (0, 28));
    let furthest = log(&fixture, ever(), ErrorFilter::default(), u32::MAX, u32::MAX).await;
    assert_eq!((furthest.items.len(), furthest.total), (0, 28));
}

async fn filters_select_services_and_levels(fixture: Fixture) {
    let mut call = fields(1, CallStatus::Failed, at(0));
    for (index, &service) in Service::ALL.iter().enumerate() {
        for &level in Level::ALL {
            // One of each kind for the first service, two for the second, and so on.
            call.errors.extend((0..=index).map(|_| error(at(1), service, level, &format!("{service} {level}"))));
        }
    }
    fixture.write([record(call)]).await;
    let services = Service::ALL.iter().copied().map(Some).chain([None]);
    for service in services {
        for level in [Some(Level::Error), Some(Level::Warning), None] {
            let filter = ErrorFilter { service, level };
            let of_service =
                service.map_or(15, |service| 1 + Service::ALL.iter().position(|&other| other == service).unwrap());
            let expected = if level.is_some() { of_service } else { 2 * of_service };
            let log = log(&fixture, ever(), filter, 0, 200).await;
            assert_eq!((log.items.len(), log.total), (expected, expected as u64), "{filter:?}");
            let matches = |kind: callscope_domain::ErrorKind| {
                service.is_none_or(|service| service == kind.service) && level.is_none_or(|level| level == kind.level)
            };
            assert!(log.items.iter().all(|logged| matches(logged.error.kind)), "{filter:?}");
        }
    }
}

async fn an_error_belongs_to_the_window_of_its_calls_start(fixture: Fixture) {
    // Started before the window, errors inside it; started inside, errors after it; and both with edges.
    write(&fixture, 1, at(-30), &[at(-29), at(5)]).await;
    write(&fixture, 2, at(10), &[at(10), at(100)]).await;
    write(&fixture, 3, at(60), &[at(59)]).await;
    let in_window = async |start: Timestamp, end: Timestamp| {
        let log = log(&fixture, Window::new(start, end).unwrap(), ErrorFilter::default(), 0, 50).await;
        assert_eq!(log.total, log.items.len() as u64);
        log.items.iter().map(|logged| logged.error.message.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(in_window(at(0), at(60)).await, ["2-1", "2-0"]);
    assert_eq!(in_window(at(10), at(10) + Span::from_micros(1)).await, ["2-1", "2-0"]);
    assert_eq!(in_window(at(10) + Span::from_micros(1), at(60)).await, Vec::<String>::new());
    assert_eq!(in_window(at(-30), at(10)).await, ["1-1", "1-0"]);
    assert_eq!(in_window(at(10), at(61)).await, ["2-1", "3-0", "2-0"]);
}

async fn an_error_as_far_from_its_calls_start_as_can_be_is_found(fixture: Fixture) {
    let earliest = at(0) - CLOCK_SKEW_MAX;
    let latest = at(0) + CALL_DURATION_MAX + CLOCK_SKEW_MAX;
    write(&fixture, 1, at(0), &[earliest, latest]).await;
    let instant = Window::new(at(0), at(0) + Span::from_micros(1)).unwrap();
    let log = log(&fixture, instant, ErrorFilter::default(), 0, 50).await;
    assert_eq!((messages(&log.items), log.total), (vec!["1-1", "1-0"], 2));
}
