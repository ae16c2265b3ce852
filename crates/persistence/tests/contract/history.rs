//! Random histories of calls, and what they should come to: a fold over the calls as they are in the end.

use crate::fixture::Server;
use crate::samples::{active, at, error, fields, name, overdue, record, usage, workflow_with_id};
use callscope_analytics::ports::{ErrorFilter, LoggedError, Page};
use callscope_domain::{
    Axis, Call, CallFacts, CallId, CallStatus, Cell, Contribution, Dimension, Group, GroupValue, Incoming, Interval,
    Latency, Level, Measure, MeasureSubject, Metric, NumberFact, ProviderType, ProviderUse, Question, Service, Slug,
    Span, Sums, TenantId, TextFact, TextRule, Timestamp, Totals, Window, Zone,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// Histories play in this many days.
const DAYS: i64 = 4;
const DAY_US: i64 = Span::from_hours(24).as_micros();
/// So few that most records are about a call that is known.
const CALLS: u128 = 150;

/// A tenant's history so far.
pub struct History {
    pub tenant: TenantId,
    random: StdRng,
    /// Each call as it should be now, and the errors it should have.
    calls: BTreeMap<CallId, (CallFacts, Vec<LoggedError>)>,
}

impl History {
    pub fn new(tenant: TenantId, seed: u64) -> Self {
        Self { tenant, random: StdRng::seed_from_u64(seed), calls: BTreeMap::new() }
    }

    /// What arrives next: new calls, replacements with another start, late and early records, timeouts.
    pub fn arrivals(&mut self, count: usize) -> Vec<Incoming> {
        let arrivals: Vec<Incoming> = (0..count).map(|_| self.arrival()).collect();
        for incoming in &arrivals {
            self.apply(incoming);
        }
        arrivals
    }

    fn arrival(&mut self) -> Incoming {
        let random = &mut self.random;
        let call = random.random_range(1..=CALLS);
        let started_at = instant(random);
        match random.random_range(0..10) {
            0 => overdue(call, started_at),
            1 | 2 => active(call, started_at),
            _ => record(rich_fields(random, call, started_at)),
        }
    }

    fn apply(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Overdue { id, started_before } => {
                let open = self.calls.get_mut(id).filter(|(facts, _)| facts.status == CallStatus::Active);
                if let Some((facts, _)) = open.filter(|(facts, _)| facts.started_at < *started_before) {
                    *facts = facts.timed_out();
                }
            }
            Incoming::Record(call) => {
                let facts = call.facts();
                let known = self.calls.get(&facts.id);
                if facts.status != CallStatus::Active
                    || known.is_none_or(|(facts, _)| facts.status == CallStatus::Active)
                {
                    self.calls.insert(facts.id, (facts.clone(), logged(call)));
                }
            }
        }
    }

    /// Each call as it should be now.
    pub fn calls(&self) -> Vec<CallFacts> {
        self.calls.values().map(|(facts, _)| facts.clone()).collect()
    }

    /// What the calls of a window should come to.
    fn sum(&self, window: Window) -> Contribution {
        let mut sum = Contribution::default();
        let inside = self.calls.values().filter(|(facts, _)| window.contains(facts.started_at));
        inside.for_each(|(facts, _)| sum.add_call(facts));
        sum
    }

    /// A window of any length: less than a minute, hours, days; with edges anywhere or on boundaries.
    pub fn window(&mut self) -> Window {
        let start = instant(&mut self.random) - Span::from_minutes(self.random.random_range(0..90));
        let length_max = [59_000_000, 3_600_000_000, DAY_US, DAYS * DAY_US][self.random.random_range(0..4)];
        let length = Span::from_micros(self.random.random_range(1..=length_max));
        let end = if self.random.random_bool(0.3) { instant(&mut self.random) } else { start + length };
        Window::new(start, end).unwrap_or_else(|_| Window::new(start, start + length).unwrap())
    }

    /// Fails unless every answer about a window is what the calls come to.
    pub async fn assert_answers(&self, server: &Server, window: Window) {
        let (service, tenant) = (&server.analytics, self.tenant);
        let sum = self.sum(window);
        let shown = |group: &Group| shown_by_summary(&sum.totals(group).sums);
        assert_eq!(server.sums_in(tenant, window, None).await, shown(&Group::TENANT), "{window:?}");
        for number in 0..WORKFLOWS {
            let slug = Some(workflow_slug(number));
            let value = GroupValue::Workflow(workflow_with_id(number + 1, "x", None).id);
            let expected = shown(&Group { dimension: Dimension::Workflow, value });
            assert_eq!(server.sums_in(tenant, window, slug).await, expected, "workflow {number} in {window:?}");
        }
        for &dimension in Dimension::ALL.iter().filter(|&&dimension| dimension != Dimension::Tenant) {
            let is_kept = |metric: &&Metric| metric.is_kept_by(dimension) && **metric != Metric::ActiveCallsNow;
            let metrics = Metric::ALL.iter().filter(is_kept).copied().collect();
            let question = Question {
                window,
                metrics,
                axes: vec![Axis::Dimension(dimension)],
                filters: Vec::new(),
                cut: None,
                shows_unknown: false,
                wants_total: false,
            };
            let figures = service.ask(tenant, question).await.unwrap();
            assert_eq!(figures.additive, dimension.subject() == MeasureSubject::Call);
            let answered: BTreeMap<Group, Totals> = figures
                .rows
                .into_iter()
                .map(|row| (Group { dimension, value: row.first_value().unwrap().value.clone() }, row.totals))
                .collect();
            let expected: BTreeMap<Group, Totals> = sum
                .iter()
                .filter(|(group, _)| group.dimension == dimension && dimension != Dimension::Tenant)
                .map(|(group, totals)| (group.clone(), totals.clone()))
                .collect();
            assert_eq!(answered, expected, "{dimension} in {window:?}");
        }
        self.assert_errors(server, window, &sum).await;
        self.assert_series(server, window).await;
    }

    async fn assert_errors(&self, server: &Server, window: Window, sum: &Contribution) {
        let inside = self.calls.values().filter(|(facts, _)| window.contains(facts.started_at));
        let mut errors: Vec<&LoggedError> = inside.flat_map(|(_, errors)| errors).collect();
        errors.sort_by_key(|logged| (std::cmp::Reverse(logged.error.timestamp), logged.call_id, logged.position));
        for &service in Service::ALL {
            for &level in Level::ALL {
                let filter = ErrorFilter { service: Some(service), level: Some(level) };
                let page = Page { offset: 0, limit: 1_000_000 };
                let log = server.analytics.errors(self.tenant, window, filter, Vec::new(), page).await.unwrap();
                let kind = callscope_domain::ErrorKind { service, level };
                let expected: Vec<&LoggedError> =
                    errors.iter().filter(|logged| logged.error.kind == kind).copied().collect();
                assert_eq!(log.items.iter().collect::<Vec<_>>(), expected, "{window:?}");
                let group = Group { dimension: Dimension::ErrorKind, value: GroupValue::ErrorKind(kind) };
                let counted = sum.totals(&group).sums[Measure::Errors];
                assert_eq!(log.total, counted.unsigned_abs(), "{window:?}");
            }
        }
    }

    async fn assert_series(&self, server: &Server, window: Window) {
        for (interval, zone) in
            [(Interval::Hour, "Asia/Kathmandu"), (Interval::Day, "America/St_Johns"), (Interval::Week, "UTC")]
        {
            let zone: Zone = zone.parse().unwrap();
            let volume = server.analytics.call_volume(self.tenant, window, interval, zone, Vec::new());
            for row in volume.await.unwrap().rows {
                let Cell::Bucket(start) = row.cell else { panic!("{row:?} is of no bucket") };
                let (_, end) = zone.bucket(interval, start);
                let cell = Window::new(start.max(window.start()), end.min(window.end())).unwrap();
                let expected = self.sum(cell).totals(&Group::TENANT).sums;
                for measure in [Measure::Calls, Measure::Completed, Measure::Failed] {
                    assert_eq!(row.count(measure), expected[measure], "{interval} from {start:?} in {window:?}");
                }
            }
        }
    }
}

/// What a summary needs.
fn shown_by_summary(sums: &Sums) -> Sums {
    sums.only(&[
        Measure::Calls,
        Measure::Completed,
        Measure::Failed,
        Measure::Ended,
        Measure::DurationUs,
        Measure::TotalTokens,
        Measure::TokenCalls,
        Measure::SttSamples,
        Measure::SttLatencyUs,
        Measure::LlmSamples,
        Measure::LlmLatencyUs,
        Measure::TtsSamples,
        Measure::TtsLatencyUs,
    ])
}

const WORKFLOWS: u128 = 4;
const PROVIDERS: [(ProviderType, &str); 5] = [
    (ProviderType::Stt, "deepgram"),
    (ProviderType::Llm, "openai"),
    (ProviderType::Tts, "openai"),
    (ProviderType::Tts, "cartesia"),
    (ProviderType::Stt, "Deepgram"),
];

fn workflow_slug(number: u128) -> Slug {
    crate::samples::slug(&format!("workflow-{number}"))
}

/// Anywhere in the days of a history, boundaries and the moments before them more often than chance would have it.
fn instant(random: &mut StdRng) -> Timestamp {
    let instant = at(0) + Span::from_micros(random.random_range(0..DAYS * DAY_US));
    let boundary = instant.floor([1, 15, 60, 24 * 60].map(Span::from_minutes)[random.random_range(0..4)]);
    match random.random_range(0..6) {
        0 => boundary,
        1 => boundary - Span::from_micros(1),
        _ => instant,
    }
}

fn rich_fields(random: &mut StdRng, call: u128, started_at: Timestamp) -> callscope_domain::CallFields {
    let status = [CallStatus::Completed, CallStatus::Completed, CallStatus::Failed, CallStatus::Active];
    let mut fields = fields(call, status[random.random_range(0..4)], started_at);
    let length = Span::from_micros(random.random_range(0..3_600_000_000));
    fields.ended_at = fields.ended_at.map(|_| started_at + length);
    for &fact in NumberFact::ALL.iter().filter(|&&fact| fact != NumberFact::Version) {
        fields.numbers.set(fact, random.random_bool(0.7).then(|| random.random_range(0..5000)));
    }
    for &fact in TextFact::ALL {
        let words = match fact.rule() {
            TextRule::Words(words) => words,
            TextRule::Free(_) | TextRule::Slug => &["one", "two", "three"],
        };
        let word = words[random.random_range(0..words.len())];
        fields.texts.set(fact, random.random_bool(0.7).then(|| word.into()));
    }
    fields.turn_latencies = latencies(random);
    // Of the moment and not of chance, so that records move calls from one to another.
    let number = |of: i64| (started_at.as_micros() / of).rem_euclid(4);
    fields.texts.set(TextFact::Agent, (number(7) < 3).then(|| format!("agent-{}", number(7)).into()));
    fields.texts.set(TextFact::EndReason, (number(11) < 3).then(|| format!("reason-{}", number(11)).into()));
    let number = random.random_range(0..=WORKFLOWS);
    fields.workflow = (number < WORKFLOWS).then(|| workflow_with_id(number + 1, workflow_slug(number).as_str(), None));
    for (provider_type, called) in PROVIDERS {
        if random.random_bool(0.6) {
            let model = random.random_bool(0.7).then(|| name(["large", "small"][random.random_range(0..2)]));
            fields.providers.push(ProviderUse {
                model,
                latencies: latencies(random),
                ..usage(provider_type, called, &[])
            });
        }
    }
    for _ in 0..random.random_range(0..4) {
        let service = Service::ALL[random.random_range(0..Service::ALL.len())];
        let level = Level::ALL[random.random_range(0..Level::ALL.len())];
        let timestamp = started_at + Span::from_micros(random.random_range(0..=length.as_micros()));
        let mut error = error(timestamp, service, level, &format!("no. {}", random.random_range(0..99)));
        error.agent = random.random_bool(0.5).then(|| name("agent"));
        fields.errors.push(error);
    }
    fields
}

fn latencies(random: &mut StdRng) -> Vec<Latency> {
    let samples = random.random_range(0..6);
    (0..samples).filter_map(|_| Latency::from_ms(random.random_range(0.001..3000.0))).collect()
}

fn logged(call: &Call) -> Vec<LoggedError> {
    let errors = (0..).zip(call.errors());
    errors.map(|(position, error)| LoggedError { call_id: call.facts().id, position, error: error.clone() }).collect()
}
