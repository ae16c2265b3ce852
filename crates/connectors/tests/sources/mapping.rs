//! Words of the sources and what they must become.

use crate::{data, json};
use callscope_connectors::mapping::{End, EndTable, end_of, normalize_provider, vendor_of_model};
use callscope_domain::ProviderType;

fn table(name: &str) -> EndTable {
    match name {
        "bland_answered_by" => EndTable::BlandAnsweredBy,
        "bland_ended_by" => EndTable::BlandEndedBy,
        "bland_status" => EndTable::BlandStatus,
        "bolna_hangup" => EndTable::BolnaHangup,
        "bolna_status" => EndTable::BolnaStatus,
        "elevenlabs_failure" => EndTable::ElevenLabsFailure,
        "livekit" => EndTable::LiveKit,
        "retell" => EndTable::Retell,
        "tap" => EndTable::Tap,
        "vapi" => EndTable::Vapi,
        other => panic!("unknown table {other}"),
    }
}

#[test]
fn every_published_end_reason_has_its_category_status_and_service() {
    let rows = String::from_utf8(data("end_reasons.tsv")).expect("UTF-8");
    let mut count = 0;
    for row in rows.lines() {
        let [source, reason, category, status, service] =
            row.split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("five columns: {row}"));
        let end = end_of(table(source), reason).unwrap_or(End::UNKNOWN);
        assert_eq!(
            (end.category.as_str(), end.status.as_str(), end.service.as_str()),
            (category, status, service),
            "{source} {reason}"
        );
        count += 1;
    }
    assert!(count > 600, "{count}");
}

#[test]
fn every_spelling_of_a_provider_has_its_canonical_name() {
    for case in json("providers.json").as_array().expect("a list") {
        let model = case["model"].as_str();
        match case["raw"].as_str() {
            Some(raw) => {
                let stage = case["stage"].as_str().map(|stage| stage.parse::<ProviderType>().expect("a stage"));
                let name = normalize_provider(raw, model, stage);
                assert_eq!(name, case["provider"].as_str().expect("a name"), "{case}");
                assert_eq!(normalize_provider(&name, None, stage), name, "a canonical name stays");
            }
            None => assert_eq!(vendor_of_model(model.expect("a model")), case["vendor_of_model"].as_str(), "{case}"),
        }
    }
}
