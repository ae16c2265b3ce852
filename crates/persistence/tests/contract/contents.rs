//! What is stored comes back as it was: texts, instants, absent values; and batches of any size.

use crate::fixture::{Fixture, counts_of, ever, labels_of};
use crate::samples::{at, completed, error, fields, name, record, set, sound, usage, workflow};
use callscope_analytics::ports::{ErrorFilter, Page};
use callscope_domain::{
    CallFields, CallStatus, Cell, Distribution, Interval, Latency, Level, MESSAGE_MAX, Measure, NumberFact,
    PROVIDERS_PER_CALL_MAX, ProviderType, Resolution, Service, Span, Sums, TOKENS_MAX, TextFact, Timestamp,
    TransitionKind, Window, Zone,
};

on_each_backend!(
    texts_come_back_as_they_were_written,
    what_a_record_leaves_out_is_absent,
    a_batch_with_every_fact_is_as_large_as_any_other,
    the_largest_values_come_back_and_add_up,
    instants_come_back_to_the_microsecond_whatever_the_century,
    a_batch_of_many_calls_is_written_whole,
    a_batch_of_many_providers_is_written_whole,
    nothing_is_asked_of_a_database_without_calls,
);

const HOSTILE: [&str; 7] = [
    "it's \"quoted\" `here` \\ \\n",
    "'); DROP TABLE calls; --",
    "👩‍👩‍👧‍👦 naïve ﷽ \u{202e}right to left\u{feff}",
    "line\nbreak\r\n\ttab \u{1} \u{7f} \u{85}",
    "$1 ?1 :name @x %s {} %% \\x00",
    " leading and trailing ",
    "\u{10ffff}\u{fffd}",
];

/// Texts that may be anything.
const FREE_TEXTS: [TextFact; 6] = [
    TextFact::Agent,
    TextFact::AgentVersion,
    TextFact::Environment,
    TextFact::EndReason,
    TextFact::Language,
    TextFact::ExternalId,
];

async fn texts_come_back_as_they_were_written(fixture: Fixture) {
    for (number, text) in (1..).zip(HOSTILE) {
        let mut call = fields(number, CallStatus::Failed, at(i64::try_from(number).unwrap()));
        for fact in FREE_TEXTS {
            set(&mut call, fact, text);
        }
        call.tags = vec![(name("tag"), name(text))];
        call.workflow = Some(workflow(fixture.tenant, &format!("workflow-{number}"), Some(text)));
        call.providers = vec![usage(ProviderType::Tts, text, &[1.0])];
        let mut with_all = error(call.started_at, Service::Tool, Level::Warning, text);
        with_all.agent = Some(name(text));
        with_all.details = Some(format!("{{\"key\" :  {:?}}}", text.replace(|c: char| c.is_control(), "")).into());
        let longest = "🎧".repeat(MESSAGE_MAX);
        let mut long = error(call.started_at, Service::Tool, Level::Warning, &longest);
        long.details = Some("{}".into());
        call.errors = vec![with_all, long, error(call.started_at, Service::Tool, Level::Warning, text)];
        fixture.write([record(call.clone())]).await;
        // Written over itself, which takes the way of the update.
        fixture.write([record(call.clone())]).await;

        let only = Window::new(call.started_at, call.started_at + Span::from_minutes(1)).unwrap();
        let service = &fixture.server.analytics;
        let page = Page { offset: 0, limit: 10 };
        let page_of_log = service.errors(fixture.tenant, only, ErrorFilter::default(), Vec::new(), page).await.unwrap();
        let errors: Vec<_> = page_of_log.items.into_iter().map(|logged| logged.error).collect();
        assert_eq!(errors, call.errors);
        let stats = service.workflow_stats(fixture.tenant, only, Vec::new(), 10).await.unwrap();
        assert_eq!(labels_of(&stats)[0].name, text);
        assert_eq!(stats.rows.len(), 1);
        let providers = service.provider_latency(fixture.tenant, only, Vec::new()).await.unwrap();
        assert_eq!(counts_of(&providers), [(text.to_owned(), 1)]);
    }
    let expected: Vec<_> = HOSTILE.iter().map(|text| Some((*text).to_owned())).collect();
    for column in FREE_TEXTS {
        let stored = fixture.values(&format!("SELECT {column} AS value FROM calls ORDER BY call_id")).await;
        assert_eq!(stored, expected, "{column}");
    }
    fixture.assert_sound().await;
}

async fn what_a_record_leaves_out_is_absent(fixture: Fixture) {
    let mut full = fields(1, CallStatus::Failed, at(0));
    for fact in FREE_TEXTS {
        set(&mut full, fact, "text");
    }
    full.workflow = Some(workflow(fixture.tenant, "daily", None));
    fixture.write([record(full), completed(2, at(0))]).await;
    fixture.write([completed(1, at(0))]).await;
    for column in FREE_TEXTS {
        assert_eq!(fixture.values(&format!("SELECT {column} AS value FROM calls")).await, [None, None], "{column}");
    }
    let calls = fixture.calls().await;
    assert!(calls.iter().all(|call| call.workflow_id.is_none() && call.providers.is_empty()), "{calls:?}");
    fixture.assert_sound().await;
}

async fn a_batch_with_every_fact_is_as_large_as_any_other(fixture: Fixture) {
    let rich = |number: u32| {
        let mut call = fields(u128::from(number) + 1, CallStatus::Completed, at(i64::from(number) * 7));
        for &fact in NumberFact::ALL {
            call.numbers.set(fact, Some(1));
        }
        for fact in FREE_TEXTS {
            set(&mut call, fact, "same");
        }
        set(&mut call, TextFact::Outcome, if number.is_multiple_of(2) { "success" } else { "failure" });
        call.turn_latencies = vec![Latency::MIN];
        call.providers = ProviderType::ALL.iter().map(|&stage| usage(stage, "all", &[1.0])).collect();
        call.errors = vec![error(call.started_at, Service::Tool, Level::Warning, "odd")];
        record(call)
    };
    fixture.write((0..1500).map(rich)).await;
    let totals = fixture.totals().await;
    assert_eq!((totals[Measure::Calls], totals[Measure::TotalTokens]), (1500, 1500));
    fixture.assert_sound().await;
}

async fn the_largest_values_come_back_and_add_up(fixture: Fixture) {
    let largest = |number| {
        let mut call = fields(number, CallStatus::Completed, at(0));
        for &fact in NumberFact::ALL {
            call.numbers.set(fact, Some(fact.upper_bound()));
        }
        call.ended_at = Some(at(24 * 60));
        call.providers = vec![usage(ProviderType::Llm, &"🎧".repeat(64), &[600_000.0; 100])];
        call.providers[0].latencies.push(Latency::MIN);
        call
    };
    let calls: Vec<_> = (1..=50).map(largest).collect();
    fixture.write(calls.iter().cloned().map(record)).await;
    let totals = fixture.totals().await;
    assert_eq!(totals[Measure::TotalTokens], 50 * TOKENS_MAX);
    assert_eq!(totals[Measure::DurationUs], 50 * 86_400_000_000);
    assert_eq!(totals[Measure::LlmSamples], 50 * 101);
    assert_eq!(totals[Measure::LlmLatencyUs], 50 * (100 * 600_000_000 + 1));
    assert_eq!(fixture.calls().await[0], *sound(calls[0].clone()).facts());
    fixture.assert_sound().await;
}

async fn instants_come_back_to_the_microsecond_whatever_the_century(fixture: Fixture) {
    // Before and after 1970, from which one database counts, and 2000, from which the other does.
    let instants = [-62_135_596_800_000_000, -1, 0, 946_684_799_999_999, 946_684_800_000_001, 1_768_608_000_123_457];
    let instants = instants.map(Timestamp::from_micros);
    for (number, started_at) in (1..).zip(instants) {
        let mut call = fields(number, CallStatus::Completed, started_at);
        call.ended_at = Some(started_at + Span::from_micros(1));
        call.errors = vec![error(started_at, Service::Stt, Level::Error, "timeout")];
        fixture.write([record(call)]).await;
        for (start, expected) in [(started_at, 1), (started_at + Span::from_micros(1), 0)] {
            for length in [Span::from_micros(1), Span::from_hours(1)] {
                let window = Window::new(start, start + length).unwrap();
                let totals = fixture.server.sums_in(fixture.tenant, window, None).await;
                assert_eq!(totals[Measure::Calls], expected, "{window:?}");
            }
        }
    }
    let calls = fixture.calls_in(Window::new(instants[0], at(99)).unwrap()).await;
    assert_eq!(calls.iter().map(|call| call.started_at).collect::<Vec<_>>(), instants);
    assert!(calls.iter().all(|call| call.ended_at == Some(call.started_at + Span::from_micros(1))));
}

/// More than one statement's worth of calls, errors, rollups and workflows.
async fn a_batch_of_many_calls_is_written_whole(fixture: Fixture) {
    const CALLS: u128 = 2500;
    let batch = |errors: usize, minutes_apart: i64| {
        (1..=CALLS).map(move |number| {
            let started_at = at(i64::try_from(number).unwrap() * minutes_apart);
            let mut call = fields(number, CallStatus::Failed, started_at);
            call.workflow = Some(workflow(fixture.tenant, &format!("workflow-{}", number % 1100), None));
            call.providers = vec![usage(ProviderType::Stt, "deepgram", &[1.0])];
            call.errors = vec![error(started_at, Service::Tool, Level::Error, "timeout"); errors];
            record(call)
        })
    };
    for (errors, minutes_apart, kind) in [(2, 2, TransitionKind::Created), (1, 1, TransitionKind::Replaced)] {
        let kinds = fixture.write(batch(errors, minutes_apart)).await;
        assert_eq!(kinds, vec![kind; 2500]);
        let audit = fixture.assert_sound().await;
        assert_eq!(audit.calls, 2500);
        assert_eq!(fixture.errors().await.len(), 2500 * errors);
    }
    let stats = fixture.server.analytics.workflow_stats(fixture.tenant, ever(), Vec::new(), 2000).await.unwrap();
    assert_eq!(stats.rows.len(), 1100);
    let ids: Vec<_> = (1..=CALLS).map(|number| crate::samples::overdue(number, at(0))).collect();
    assert_eq!(fixture.write(ids).await, vec![TransitionKind::Ignored; 2500]);
}

/// More names than a statement may have parameters.
async fn a_batch_of_many_providers_is_written_whole(fixture: Fixture) {
    const CALLS: usize = 33_000 / PROVIDERS_PER_CALL_MAX;
    let call = |number: usize| {
        let used = |index| usage(ProviderType::Llm, &format!("model-{number}-{index}"), &[1.0]);
        let providers = (0..PROVIDERS_PER_CALL_MAX).map(used).collect();
        let started_at = at(5 * i64::try_from(number).unwrap());
        record(CallFields { providers, ..fields(number as u128, CallStatus::Completed, started_at) })
    };
    fixture.write((0..CALLS).map(call)).await;
    let providers = fixture.server.analytics.provider_latency(fixture.tenant, ever(), Vec::new()).await.unwrap();
    assert_eq!(providers.rows.len(), CALLS * PROVIDERS_PER_CALL_MAX);
    for row in providers.rows {
        let latencies = row.totals.distribution(Distribution::Llm).unwrap();
        assert_eq!((row.count(Measure::Calls), latencies.histogram.len()), (1, 1));
    }
}

async fn nothing_is_asked_of_a_database_without_calls(fixture: Fixture) {
    let (service, tenant) = (&fixture.server.analytics, fixture.tenant);
    service.ping().await.unwrap();
    assert_eq!(fixture.totals().await, Sums::default());
    assert_eq!(service.workflow_stats(tenant, ever(), Vec::new(), 10).await.unwrap().rows, []);
    assert_eq!(service.provider_latency(tenant, ever(), Vec::new()).await.unwrap().rows, []);
    assert_eq!(fixture.errors().await, []);
    assert_eq!(service.active_calls(tenant, at(0), Vec::new()).await.unwrap(), 0);
    let day = Window::new(at(0), at(24 * 60)).unwrap();
    let cells = service.call_volume(tenant, day, Interval::Hour, Zone::default(), Vec::new()).await.unwrap().rows;
    assert_eq!((cells.len(), cells[23].cell), (24, Cell::Bucket(Resolution::Hour.floor(at(23 * 60)))));
    assert_eq!(fixture.write([]).await, []);
}
