//! How workflows are labelled, and how questions are narrowed to one.

use crate::fixture::{Fixture, counts_of, ever, labels_of};
use crate::samples::{active, at, fields, of_workflow, record, slug, workflow, workflow_with_id};
use callscope_domain::{CallStatus, Incoming, Interval, Measure, Span, Timestamp, Window, Workflow, Zone};

on_each_backend!(
    the_newest_start_labels_a_workflow_in_any_order_of_arrival,
    a_record_without_a_name_never_hides_a_name,
    without_a_name_the_newest_slug_is_the_label,
    a_call_that_is_sent_again_may_rename_its_workflow,
    a_workflow_filter_counts_its_calls_only,
    a_filter_takes_every_workflow_with_the_slug,
    workflow_stats_are_busiest_first_then_by_slug,
);

/// A completed call of a workflow.
fn call(number: u128, started_at: Timestamp, workflow: Workflow) -> Incoming {
    record(callscope_domain::CallFields {
        workflow: Some(workflow),
        ..fields(number, CallStatus::Completed, started_at)
    })
}

/// Every workflow's slug and name, by slug.
async fn labels(fixture: &Fixture) -> Vec<(String, String)> {
    let figures = fixture.server.analytics.workflow_stats(fixture.tenant, ever(), Vec::new(), 1000).await.unwrap();
    let mut labels: Vec<_> =
        labels_of(&figures).into_iter().map(|label| (label.slug.to_string(), label.name)).collect();
    labels.sort();
    labels
}

/// Writes three records of a workflow in each order, one by one and as one batch, each time under another id; and
/// fails unless each time they leave the same label.
async fn assert_label_in_any_order(
    fixture: &Fixture,
    records: [(Timestamp, &str, Option<&str>); 3],
    expected: (&str, &str),
) {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (number, order) in (0..).zip(ORDERS) {
        for (batch, id) in [(false, 2 * number + 1), (true, 2 * number + 2)] {
            let calls = order.iter().map(|&index| {
                let (started_at, of, called) = records[index];
                call(id * 10 + index as u128, started_at, workflow_with_id(id, of, called))
            });
            if batch {
                fixture.write(calls).await;
            } else {
                for call in calls {
                    fixture.write([call]).await;
                }
            }
        }
    }
    let (of, called) = expected;
    assert_eq!(labels(fixture).await, vec![(of.to_owned(), called.to_owned()); 12]);
}

async fn the_newest_start_labels_a_workflow_in_any_order_of_arrival(fixture: Fixture) {
    let records = [(at(0), "a", Some("Oldest")), (at(60), "b", Some("Middle")), (at(9000), "c", Some("Newest"))];
    assert_label_in_any_order(&fixture, records, ("c", "Newest")).await;
}

async fn a_record_without_a_name_never_hides_a_name(fixture: Fixture) {
    let records = [(at(0), "a", Some("Named")), (at(60), "b", None), (at(9000), "c", None)];
    assert_label_in_any_order(&fixture, records, ("a", "Named")).await;
}

async fn without_a_name_the_newest_slug_is_the_label(fixture: Fixture) {
    let records = [(at(0), "a", None), (at(60), "b", None), (at(9000), "c", None)];
    assert_label_in_any_order(&fixture, records, ("c", "c")).await;
}

async fn a_call_that_is_sent_again_may_rename_its_workflow(fixture: Fixture) {
    let tenant = fixture.tenant;
    fixture.write([call(1, at(0), workflow(tenant, "daily", Some("Dayly")))]).await;
    fixture.write([call(1, at(0), workflow(tenant, "daily", Some("Daily")))]).await;
    assert_eq!(labels(&fixture).await, [("daily".to_owned(), "Daily".to_owned())]);
}

async fn a_workflow_filter_counts_its_calls_only(fixture: Fixture) {
    let (tenant, service) = (fixture.tenant, &fixture.server.analytics);
    let second = Span::from_seconds(1);
    let daily = || workflow(tenant, "daily", None);
    let mut open = fields(4, CallStatus::Active, at(5));
    open.workflow = Some(daily());
    fixture
        .write([
            call(1, at(0) + second, daily()),
            call(2, at(2), daily()),
            call(3, at(2), workflow(tenant, "weekly", None)),
            record(open),
            active(5, at(2)),
        ])
        .await;
    let scope = |of: &str| Some(slug(of));
    // The first window has whole buckets, the second lies inside one minute.
    for (window, of, expected) in [
        (ever(), "daily", 3),
        (ever(), "weekly", 1),
        (ever(), "unknown", 0),
        (Window::new(at(0), at(0) + second + second).unwrap(), "daily", 1),
        (Window::new(at(0), at(0) + second).unwrap(), "daily", 0),
        (Window::new(at(2), at(2) + second).unwrap(), "daily", 1),
    ] {
        let totals = fixture.server.sums_in(tenant, window, scope(of)).await;
        assert_eq!(totals[Measure::Calls], expected, "{of} in {window:?}");
    }
    for (scope, expected) in [(scope("daily"), 1), (scope("weekly"), 0), (scope("unknown"), 0), (None, 2)] {
        // Whatever the window.
        let window = Window::new(at(-9), at(-8)).unwrap();
        let summary = service.summary(tenant, window, of_workflow(scope.clone())).await.unwrap();
        assert_eq!((summary.active_calls, summary.rows[0].count(Measure::Calls)), (expected, 0), "{scope:?}");
    }
    let day = Window::new(at(0), at(24 * 60)).unwrap();
    let cells = service
        .call_volume(tenant, day, Interval::Hour, Zone::default(), of_workflow(scope("daily")))
        .await
        .unwrap()
        .rows;
    assert_eq!(cells.iter().map(|row| row.count(Measure::Calls)).collect::<Vec<_>>()[..2], [3, 0]);
}

async fn a_filter_takes_every_workflow_with_the_slug(fixture: Fixture) {
    fixture
        .write([
            call(1, at(0), workflow_with_id(1, "daily", Some("One"))),
            call(2, at(0), workflow_with_id(2, "daily", Some("Two"))),
            call(3, at(0), workflow_with_id(3, "weekly", Some("Three"))),
        ])
        .await;
    let total =
        async |window| fixture.server.sums_in(fixture.tenant, window, Some(slug("daily"))).await[Measure::Calls];
    assert_eq!(total(ever()).await, 2);
    // The third becomes another daily one, with all the calls that it ever had.
    fixture.write([call(4, at(1), workflow_with_id(3, "daily", Some("Three")))]).await;
    assert_eq!(total(ever()).await, 4);
    let minute = Window::new(at(0), at(0) + Span::from_seconds(1)).unwrap();
    assert_eq!(total(minute).await, 3);
    let names: Vec<_> = labels(&fixture).await.into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["One", "Three", "Two"]);
}

async fn workflow_stats_are_busiest_first_then_by_slug(fixture: Fixture) {
    let calls = [("b", 2), ("c", 3), ("a", 2), ("d", 1)].into_iter().flat_map(|(of, count)| vec![of; count]);
    let calls = (1..).zip(calls).map(|(number, of)| call(number, at(0), workflow(fixture.tenant, of, None)));
    fixture.write(calls).await;
    for (limit, expected) in [(10, vec!["c", "a", "b", "d"]), (2, vec!["c", "a"])] {
        let figures = fixture.server.analytics.workflow_stats(fixture.tenant, ever(), Vec::new(), limit).await.unwrap();
        assert_eq!(counts_of(&figures).iter().map(|(slug, _)| slug.as_str()).collect::<Vec<_>>(), expected);
    }
    let window = Window::new(at(1), at(2)).unwrap();
    assert_eq!(fixture.server.analytics.workflow_stats(fixture.tenant, window, Vec::new(), 10).await.unwrap().rows, []);
}
