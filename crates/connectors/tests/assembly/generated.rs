//! The laws of derivation and of segments for facts that no capture has: several sessions and jobs, reports beside
//! spans, contradictions.

use crate::store::{assert_acceptable, identity, short_name};
use callscope_connectors::derivation::{ReportedErrors, derive};
use callscope_connectors::facts::{
    AssemblyKey, Context, Event, Fact, FactId, Failure, Framework, Model, Origin, ReportedSession, ReportedTurn,
    Sample, Speaker, Tokens,
};
use callscope_connectors::segment;
use callscope_domain::{Level, ProviderType, Service};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

const TIME: std::ops::Range<i64> = 1_795_335_372_000_000..1_795_335_472_000_000;

fn name() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of(select(vec!["a", "b", "error", "stt_error", "user_initiated"]).prop_map(Arc::from))
}

fn model() -> impl Strategy<Value = Arc<Model>> {
    (name(), name()).prop_map(|(provider, name)| Arc::new(Model { provider, name }))
}

/// Few ids, so that facts refer to one another.
fn reference() -> impl Strategy<Value = Option<FactId>> {
    option::of((0_u8..24).prop_map(fact_id))
}

fn fact_id(number: u8) -> FactId {
    let origin = match number % 6 {
        0 => Origin::Log,
        1 => Origin::Report,
        trace => Origin::Trace([trace; 16]),
    };
    FactId { origin, id: [number; 8] }
}

fn sample() -> impl Strategy<Value = Sample> {
    (select(ProviderType::ALL), model(), 1_u32..=600_000_000).prop_map(|(stage, model, latency_us)| Sample {
        stage,
        model,
        latency_us,
    })
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (0_u64..1_000, 0_u64..1_000, 0_u64..1_000).prop_map(|(input, output, cached_input)| Tokens {
        input,
        output,
        cached_input,
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    (0..3_000_000_000_000_000_i64, "[a-z]{1,9}").prop_map(|(at_us, message)| Failure { at_us, message: message.into() })
}

fn report() -> impl Strategy<Value = ReportedSession> {
    let turn = (any::<bool>(), any::<bool>(), option::of(1_u32..1_000_000), prop::collection::vec(sample(), 0..3))
        .prop_map(|(is_user, is_interrupted, latency_us, samples)| ReportedTurn {
            is_user,
            is_interrupted,
            latency_us,
            samples,
        });
    (name(), any::<[u8; 3]>(), tokens(), prop::collection::vec(turn, 0..4)).prop_map(
        |(close_reason, counts, tokens, turns)| ReportedSession {
            close_reason,
            error_counts: counts.map(|count| u32::from(count % 3)),
            tokens,
            turns,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let service = || select(Service::ALL);
    let level = select(Level::ALL);
    let speaker = select(vec![Speaker::User, Speaker::Agent, Speaker::Both]);
    prop_oneof![
        (name(), name()).prop_map(|(agent, external_id)| Event::Session { agent, external_id }),
        (reference(), name(), name()).prop_map(|(session, reason, error_type)| Event::SessionClose {
            session,
            reason,
            error_type
        }),
        option::of(failure()).prop_map(|failure| Event::Job { failure }),
        any::<bool>().prop_map(|is_crash| Event::JobShutdown { is_crash }),
        (reference(), speaker, 0_u32..5, any::<bool>(), option::of(1_u32..1_000_000), name(), name()).prop_map(
            |(session, speaker, number, is_interrupted, latency_us, agent, external_id)| Event::Turn {
                session,
                speaker,
                number,
                is_interrupted,
                latency_us,
                agent,
                external_id,
            }
        ),
        any::<bool>().prop_map(|is_failed| Event::Request { is_failed }),
        (reference(), service(), 0_u32..3, option::of(model()), failure()).prop_map(
            |(request, service, retry, model, failure)| Event::Attempt { request, service, retry, model, failure }
        ),
        ("[a-z]{1,9}", any::<bool>(), name()).prop_map(|(name, is_failed, error_type)| Event::Tool {
            name: name.into(),
            is_failed,
            error_type,
        }),
        (service(), level, option::of(model()), failure())
            .prop_map(|(service, level, model, failure)| Event::Problem { service, level, model, failure }),
        failure().prop_map(|failure| Event::Crash { failure }),
        Just(Event::Measurement),
        report().prop_map(|report| Event::Report(Box::new(report))),
    ]
}

/// Facts with different ids, as an assembly has them.
fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let context = [name(), name(), name(), name(), name(), name(), name()].prop_map(
        |[job, service_name, workflow, agent_name, environment, agent_version, language]| {
            Arc::new(Context { job, service_name, workflow, agent_name, environment, agent_version, language })
        },
    );
    let fact = (TIME, 0_i64..90_000_000_000, context, option::of(sample()), option::of(tokens()), event());
    prop::collection::btree_map(0_u8..24, fact, 0..24).prop_map(|facts| {
        let facts = facts.into_iter().map(|(number, (start_us, duration, context, sample, tokens, event))| Fact {
            id: fact_id(number),
            start_us,
            end_us: start_us + duration,
            context,
            sample,
            tokens,
            event,
        });
        facts.collect()
    })
}

fn key() -> AssemblyKey {
    AssemblyKey { framework: Framework::LiveKit, key: "RM_1".to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_give_back_their_facts(facts in facts()) {
        prop_assert_eq!(segment::decode(&segment::encode(&facts)), Ok(facts));
    }

    #[test]
    fn the_order_of_facts_changes_nothing(
        (facts, shuffled) in facts().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        is_idle in any::<bool>(),
    ) {
        let of = |facts: &[Fact]| derive(&identity(&key()), facts, &ReportedErrors::default(), is_idle, short_name);
        let derived = of(&facts);
        derived.iter().for_each(assert_acceptable);
        prop_assert_eq!(&derived, &of(&shuffled));
        // What is stored is what is derived.
        prop_assert_eq!(derived, of(&segment::decode(&segment::encode(&facts)).unwrap()));
    }

    #[test]
    fn errors_keep_their_positions(facts in facts(), first in any::<prop::sample::Index>()) {
        let of = |facts: &[Fact], reported: &ReportedErrors| derive(&identity(&key()), facts, reported, false, short_name);
        let Some(before) = of(&facts[..first.index(facts.len() + 1)], &ReportedErrors::default()) else { return Ok(()) };
        let after = of(&facts, &before.reported_errors).unwrap();
        let ids = |reported: &ReportedErrors| reported.to_bytes().chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (before, after) = (ids(&before.reported_errors), ids(&after.reported_errors));
        // Only errors that a report counted can go, once a service has an error of its own.
        let kept: Vec<_> = before.iter().filter(|id| after.contains(id)).collect();
        prop_assert!(after.iter().take(kept.len()).eq(kept));
    }
}
