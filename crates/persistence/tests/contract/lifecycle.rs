//! A call's life: `active -> completed | failed`, in whatever order records arrive.

use crate::fixture::{Fixture, counts_of, ever, sums};
use crate::samples::{LENGTH, active, at, completed, error, failed, fields, overdue, record, usage};
use callscope_analytics::ports::{ErrorFilter, Page};
use callscope_domain::Measure::{Calls, Completed, DurationUs, Ended, Failed, LlmLatencyUs, LlmSamples, TotalTokens};
use callscope_domain::TransitionKind::{Created, Ignored, Replaced, TimedOut};
use callscope_domain::{CallStatus, Level, NumberFact, ProviderType, Service, Window};

on_each_backend!(
    a_call_is_created_and_then_replaced,
    the_same_record_twice_changes_nothing,
    an_active_record_never_reopens_a_finished_call,
    an_end_may_come_before_its_start_record,
    an_overdue_call_is_closed_without_an_end,
    a_real_end_replaces_a_timeout,
    an_active_record_does_not_undo_a_timeout,
    only_active_calls_that_started_before_the_bound_are_closed,
    a_call_may_be_created_closed_and_ended_in_one_batch,
    a_corrected_start_moves_the_call_to_its_new_bucket,
    the_last_of_a_batchs_records_of_one_call_wins,
    errors_go_when_a_call_is_replaced_by_one_with_fewer,
    a_replacement_takes_back_what_the_old_record_said,
);

async fn a_call_is_created_and_then_replaced(fixture: Fixture) {
    assert_eq!(fixture.write([active(1, at(0))]).await, [Created]);
    assert_eq!(fixture.totals().await, sums(&[(Calls, 1)]));
    assert_eq!(fixture.write([completed(1, at(0))]).await, [Replaced]);
    let ended = [(Calls, 1), (Ended, 1), (DurationUs, LENGTH.as_micros())];
    let with = |status| sums(&[&ended[..], &[(status, 1)]].concat());
    assert_eq!(fixture.totals().await, with(Completed));
    assert_eq!(fixture.write([failed(1, at(0))]).await, [Replaced]);
    assert_eq!(fixture.totals().await, with(Failed));
    fixture.assert_sound().await;
}

async fn the_same_record_twice_changes_nothing(fixture: Fixture) {
    let mut whole = fields(1, CallStatus::Failed, at(0));
    crate::samples::set_number(&mut whole, NumberFact::TotalTokens, 1500);
    whole.providers = vec![usage(ProviderType::Stt, "deepgram", &[118.2, 131.5])];
    whole.errors = vec![error(at(1), Service::Stt, Level::Error, "timeout")];
    assert_eq!(fixture.write([record(whole.clone())]).await, [Created]);
    let before = (fixture.totals().await, fixture.calls().await, fixture.errors().await);
    assert_eq!(fixture.write([record(whole.clone()), record(whole)]).await, [Replaced, Replaced]);
    assert_eq!((fixture.totals().await, fixture.calls().await, fixture.errors().await), before);
    fixture.assert_sound().await;
}

async fn an_active_record_never_reopens_a_finished_call(fixture: Fixture) {
    fixture.write([completed(1, at(0)), failed(2, at(0))]).await;
    let before = (fixture.totals().await, fixture.calls().await);
    assert_eq!(fixture.write([active(1, at(0)), active(2, at(60))]).await, [Ignored, Ignored]);
    assert_eq!((fixture.totals().await, fixture.calls().await), before);
    assert_eq!(fixture.server.analytics.active_calls(fixture.tenant, at(0), Vec::new()).await.unwrap(), 0);
    fixture.assert_sound().await;
}

async fn an_end_may_come_before_its_start_record(fixture: Fixture) {
    assert_eq!(fixture.write([completed(1, at(0))]).await, [Created]);
    assert_eq!(fixture.write([active(1, at(0))]).await, [Ignored]);
    assert_eq!(fixture.calls().await[0].status, CallStatus::Completed);
    assert_eq!(fixture.totals().await[Calls], 1);
}

async fn an_overdue_call_is_closed_without_an_end(fixture: Fixture) {
    fixture.write([active(1, at(0))]).await;
    assert_eq!(fixture.write([overdue(1, at(1))]).await, [TimedOut]);
    let calls = fixture.calls().await;
    assert_eq!((calls[0].status, calls[0].ended_at), (CallStatus::Failed, None));
    // No end, so nothing that would touch the average duration.
    assert_eq!(fixture.totals().await, sums(&[(Calls, 1), (Failed, 1)]));
    assert_eq!(fixture.values("SELECT end_reason AS value FROM calls").await, [Some("timeout".into())]);
    assert_eq!(fixture.server.analytics.active_calls(fixture.tenant, at(0), Vec::new()).await.unwrap(), 0);
    fixture.assert_sound().await;
}

async fn a_real_end_replaces_a_timeout(fixture: Fixture) {
    fixture.write([active(1, at(0))]).await;
    fixture.write([overdue(1, at(1))]).await;
    assert_eq!(fixture.write([completed(1, at(0))]).await, [Replaced]);
    let totals = fixture.totals().await;
    assert_eq!([Calls, Completed, Failed, Ended].map(|measure| totals[measure]), [1, 1, 0, 1]);
    assert_eq!(fixture.values("SELECT end_reason AS value FROM calls").await, [None]);
    fixture.assert_sound().await;
}

async fn an_active_record_does_not_undo_a_timeout(fixture: Fixture) {
    fixture.write([active(1, at(0))]).await;
    fixture.write([overdue(1, at(1))]).await;
    assert_eq!(fixture.write([active(1, at(0))]).await, [Ignored]);
    assert_eq!(fixture.calls().await[0].status, CallStatus::Failed);
    fixture.assert_sound().await;
}

async fn only_active_calls_that_started_before_the_bound_are_closed(fixture: Fixture) {
    fixture.write([active(1, at(5)), completed(2, at(0))]).await;
    let before = fixture.calls().await;
    // Not yet overdue, ended already, never seen.
    assert_eq!(fixture.write([overdue(1, at(5)), overdue(2, at(9)), overdue(3, at(9))]).await, [Ignored; 3]);
    assert_eq!(fixture.calls().await, before);
    fixture.assert_sound().await;
}

async fn a_call_may_be_created_closed_and_ended_in_one_batch(fixture: Fixture) {
    let closed = [active(1, at(0)), overdue(1, at(1))];
    assert_eq!(fixture.write(closed).await, [Created, TimedOut]);
    let ended = [active(2, at(0)), overdue(2, at(1)), completed(2, at(0)), overdue(2, at(1))];
    assert_eq!(fixture.write(ended).await, [Created, TimedOut, Replaced, Ignored]);
    let ended = fixture.calls().await.iter().map(|call| (call.status, call.ended_at)).collect::<Vec<_>>();
    assert_eq!(ended, [(CallStatus::Failed, None), (CallStatus::Completed, Some(at(0) + LENGTH))]);
    let reasons = fixture.values("SELECT end_reason AS value FROM calls ORDER BY call_id").await;
    assert_eq!(reasons, [Some("timeout".into()), None]);
    fixture.assert_sound().await;
}

async fn a_corrected_start_moves_the_call_to_its_new_bucket(fixture: Fixture) {
    let day = 24 * 60;
    let mut call = fields(1, CallStatus::Failed, at(10));
    call.errors = vec![error(at(11), Service::Llm, Level::Warning, "slow")];
    fixture.write([record(call.clone())]).await;
    call.started_at = at(3 * day + 10);
    call.ended_at = Some(call.started_at + LENGTH);
    call.errors[0].timestamp = call.started_at;
    assert_eq!(fixture.write([record(call)]).await, [Replaced]);
    for (first, expected) in [(0, 0), (3 * day, 1)] {
        let window = Window::new(at(first), at(first + day)).unwrap();
        let totals = fixture.server.sums_in(fixture.tenant, window, None).await;
        assert_eq!(totals[Calls], expected, "day from minute {first}");
        let page = Page { offset: 0, limit: 10 };
        let log = fixture
            .server
            .analytics
            .errors(fixture.tenant, window, ErrorFilter::default(), Vec::new(), page)
            .await
            .unwrap();
        assert_eq!((log.total, log.items.len()), (expected.unsigned_abs(), usize::try_from(expected).unwrap()));
    }
    fixture.assert_sound().await;
}

async fn the_last_of_a_batchs_records_of_one_call_wins(fixture: Fixture) {
    let mut first = fields(1, CallStatus::Completed, at(0));
    crate::samples::set_number(&mut first, NumberFact::TotalTokens, 10);
    first.errors = vec![error(at(0), Service::Stt, Level::Error, "old")];
    let mut last = fields(1, CallStatus::Failed, at(90));
    crate::samples::set_number(&mut last, NumberFact::TotalTokens, 7);
    last.errors = vec![error(at(90), Service::Tts, Level::Warning, "new")];
    let batch = [record(first), active(1, at(0)), record(last)];
    assert_eq!(fixture.write(batch).await, [Created, Ignored, Replaced]);
    let totals = fixture.totals().await;
    assert_eq!([Calls, Completed, Failed, TotalTokens].map(|measure| totals[measure]), [1, 0, 1, 7]);
    let messages: Vec<_> = fixture.errors().await.iter().map(|logged| logged.error.message.to_string()).collect();
    assert_eq!(messages, ["new"]);
    fixture.assert_sound().await;
}

async fn errors_go_when_a_call_is_replaced_by_one_with_fewer(fixture: Fixture) {
    let with_errors = |messages: &[&str]| {
        let mut call = fields(1, CallStatus::Failed, at(0));
        call.errors = messages.iter().map(|message| error(at(1), Service::Tool, Level::Error, message)).collect();
        record(call)
    };
    let histories: [&[&str]; 7] = [&["a", "b"], &["c"], &[], &["d", "e", "f"], &["g", "h", "i", "j"], &[], &["k"]];
    for messages in histories {
        fixture.write([with_errors(messages)]).await;
        let logged: Vec<_> = fixture.errors().await;
        let logged: Vec<_> = logged.iter().map(|logged| (logged.position, logged.error.message.as_str())).collect();
        assert_eq!(logged, (0..).zip(messages.iter().copied()).collect::<Vec<_>>());
        fixture.assert_sound().await;
    }
}

async fn a_replacement_takes_back_what_the_old_record_said(fixture: Fixture) {
    let mut call = fields(1, CallStatus::Completed, at(0));
    crate::samples::set_number(&mut call, NumberFact::TotalTokens, 99);
    call.providers = vec![usage(ProviderType::Llm, "openai", &[400.0, 500.0])];
    fixture.write([record(call.clone())]).await;
    let measures = [LlmSamples, LlmLatencyUs, TotalTokens];
    let totals = fixture.totals().await;
    assert_eq!(measures.map(|measure| totals[measure]), [2, 900_000, 99]);
    crate::samples::set_number(&mut call, NumberFact::TotalTokens, 1);
    call.providers = vec![usage(ProviderType::Llm, "groq", &[50.0])];
    fixture.write([record(call)]).await;
    let totals = fixture.totals().await;
    assert_eq!(measures.map(|measure| totals[measure]), [1, 50_000, 1]);
    let figures = fixture.server.analytics.provider_latency(fixture.tenant, ever(), Vec::new()).await.unwrap();
    assert_eq!(counts_of(&figures), [("groq".to_owned(), 1)]);
    fixture.assert_sound().await;
}
