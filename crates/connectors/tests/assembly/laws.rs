//! Neither the order of facts, nor their distribution over requests, nor repetitions change the record.

use crate::captures::{self, Capture, Request};
use crate::golden::assert_records;
use crate::schema::{LogRecord, Names, Record, Span, split};
use crate::store::Store;
use callscope_connectors::extraction::CallFacts;
use callscope_connectors::otlp::Encoding;
use proptest::prelude::*;
use std::sync::LazyLock;

static CAPTURES: LazyLock<Vec<Capture>> = LazyLock::new(captures::all);

/// All facts of a capture, one by one.
fn single_facts(capture: &Capture) -> Vec<CallFacts> {
    let calls = capture.requests.iter().flat_map(Request::facts);
    calls
        .flat_map(|CallFacts { key, facts }| {
            facts.into_iter().map(move |fact| CallFacts { key: key.clone(), facts: vec![fact] })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_split_and_repetition_do_not_matter(
        capture in any::<prop::sample::Index>(),
        keys in prop::collection::vec((any::<u32>(), any::<u32>(), 0_u8..4), 300),
    ) {
        let capture = &CAPTURES[capture.index(CAPTURES.len())];
        let mut facts: Vec<(u32, CallFacts)> = Vec::new();
        for (fact, (first, second, copies)) in single_facts(capture).into_iter().zip(keys.iter().cycle()) {
            facts.push((*first, fact.clone()));
            if *copies == 0 {
                facts.push((*second, fact));
            }
        }
        facts.sort_by_key(|(key, _)| *key);
        let mut store = Store::default();
        let mut request: Vec<CallFacts> = Vec::new();
        for (key, fact) in facts {
            match request.iter_mut().find(|call| call.key == fact.key) {
                Some(call) => call.facts.extend(fact.facts),
                None => request.push(fact),
            }
            if key % 5 == 0 {
                store.submit_all(request.drain(..));
            }
        }
        store.submit_all(request.drain(..));
        assert_records(capture, &store.records_if_idle());
    }
}

#[test]
fn requests_twice_and_in_reverse_give_the_same_record() {
    for capture in &*CAPTURES {
        for is_reverse in [false, true] {
            let mut store = Store::default();
            let mut requests: Vec<&Request> = capture.requests.iter().flat_map(|request| [request, request]).collect();
            if is_reverse {
                requests.reverse();
            }
            store.submit_all(requests.iter().flat_map(|request| request.facts()));
            assert_records(capture, &store.records_if_idle());
        }
    }
}

#[test]
fn a_record_a_request_gives_the_same_record() {
    for capture in &*CAPTURES {
        let mut store = Store::default();
        for request in &capture.requests {
            let calls: Vec<CallFacts> = match request {
                Request::Traces(body) => {
                    let bodies = split::<Span>(body);
                    bodies.iter().flat_map(|body| captures::spans(body, Encoding::Protobuf).calls).collect()
                }
                Request::Logs(body) => {
                    let bodies = split::<LogRecord>(body);
                    bodies.iter().flat_map(|body| captures::logs(body, Encoding::Protobuf).calls).collect()
                }
                Request::Recording(_) => request.facts(),
            };
            store.submit_all(calls);
        }
        assert_records(capture, &store.records_if_idle());
    }
}

#[test]
fn json_gives_the_facts_of_protobuf() {
    for capture in &*CAPTURES {
        for request in &capture.requests {
            match request {
                Request::Traces(body) => {
                    let expected = captures::spans(body, Encoding::Protobuf);
                    for names in Names::ALL {
                        let json = Span::json(body, names);
                        assert_eq!(captures::spans(json.as_bytes(), Encoding::Json), expected, "{}", capture.name);
                    }
                }
                Request::Logs(body) => {
                    let expected = captures::logs(body, Encoding::Protobuf);
                    for names in Names::ALL {
                        let json = LogRecord::json(body, names);
                        assert_eq!(captures::logs(json.as_bytes(), Encoding::Json), expected, "{}", capture.name);
                    }
                }
                Request::Recording(_) => {}
            }
        }
    }
}
