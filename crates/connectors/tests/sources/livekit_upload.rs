//! Recordings as livekit-agents 1.8.9 posts them.

use crate::{data, names};
use callscope_connectors::facts::Model;
use callscope_connectors::livekit_upload::{
    CHAT_HISTORY_MAX, HEADER_MAX, Recording, RecordingFault, RecordingReader, SessionReport,
};
use callscope_connectors::mapping::provider_of_telemetry;
use callscope_domain::ProviderType;

fn read_in(body: &[u8], boundary: &str, piece: usize) -> Result<Recording, RecordingFault> {
    let mut reader = RecordingReader::new(&format!("multipart/form-data; boundary={boundary}"))?;
    body.chunks(piece).try_for_each(|piece| reader.push(piece))?;
    reader.finish()
}

fn captured(name: &str) -> (Vec<u8>, String) {
    let folder = format!("captures/livekit_observability_{name}");
    let file = names(&folder).into_iter().find(|file| file.ends_with("_recording.bin")).expect("a recording");
    let body = data(&format!("{folder}/{file}"));
    let line = body.split(|byte| *byte == b'\r').next().expect("a first line");
    let boundary = String::from_utf8(line[2..].to_vec()).expect("ASCII");
    (body, boundary)
}

fn report(name: &str) -> SessionReport {
    let (body, boundary) = captured(name);
    let whole = read_in(&body, &boundary, body.len());
    for piece in [1, 7, 64, 1000] {
        assert_eq!(read_in(&body, &boundary, piece), whole, "{name} in pieces of {piece}");
    }
    match whole {
        Ok(Recording::Report(report)) => *report,
        other => panic!("{name}: {other:?}"),
    }
}

/// Parts as aiohttp writes them.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, data) in parts {
        let head = format!(
            "--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

/// A `MetricsRecordingHeader` of short fields.
fn header(fields: &[(u8, &[u8])], simulated: bool) -> Vec<u8> {
    let mut header = Vec::new();
    for (tag, bytes) in fields {
        header.extend_from_slice(&[tag << 3 | 2, u8::try_from(bytes.len()).expect("a short field")]);
        header.extend_from_slice(bytes);
    }
    header.extend_from_slice(&[9 << 3, u8::from(simulated)]);
    header
}

#[test]
fn a_session_that_went_well_gives_turns_samples_and_tokens() {
    let report = report("no_audio");
    assert_eq!((report.room_id.as_str(), report.job_id.as_str()), ("RM_08df76b03ea8", "AJ_32abfccf6e0e"));
    assert_eq!((report.ended_at - report.started_at).num_milliseconds(), 16_034);
    assert_eq!(report.ended_at.timestamp_millis(), 1_795_551_132_002);
    assert_eq!(report.agent_name.as_deref(), Some("clinic-receptionist"));
    let session = &report.session;
    assert_eq!((session.close_reason.as_deref(), session.error_counts), (Some("user_initiated"), [0, 0, 0]));
    let tokens = session.tokens;
    assert_eq!((tokens.input, tokens.output, tokens.cached_input), (175, 36, 0));

    let of_user: Vec<_> = session.turns.iter().map(|turn| turn.is_user).collect();
    assert_eq!(of_user, [false, true, false, true, false]);
    let latencies: Vec<_> = session.turns.iter().filter_map(|turn| turn.latency_us).collect();
    assert_eq!(latencies, [1_096_976, 928_420]);
    let samples_of = |stage| {
        let samples = session.turns.iter().flat_map(|turn| &turn.samples).filter(move |sample| sample.stage == stage);
        let provider = |model: &Model| {
            let [provider, name] = [&model.provider, &model.name].map(|text| text.as_deref().unwrap_or_default());
            provider_of_telemetry(stage, provider, name)
        };
        samples.map(|sample| format!("{} {}", provider(&sample.model), sample.latency_us)).collect::<Vec<_>>()
    };
    assert_eq!(samples_of(ProviderType::Stt), ["deepgram 444146", "deepgram 451628"]);
    assert_eq!(samples_of(ProviderType::Llm), ["openai 416458", "openai 326928", "openai 261452"]);
    assert_eq!(samples_of(ProviderType::Tts), ["cartesia 110443", "cartesia 85750", "cartesia 98714"]);
}

#[test]
fn errors_are_counted_by_service() {
    let failed = report("fatal_llm").session;
    assert_eq!((failed.close_reason.as_deref(), failed.error_counts), (Some("error"), [0, 4, 0]));
    assert_eq!(failed.turns.iter().filter(|turn| turn.is_user).count(), 4);
    let deaf = report("stt_down").session;
    assert_eq!((deaf.close_reason.as_deref(), deaf.error_counts), (Some("error"), [4, 0, 0]));
    assert!(deaf.turns.iter().all(|turn| turn.is_interrupted));
}

#[test]
fn nothing_that_was_said_is_kept() {
    for name in ["no_audio", "fatal_llm", "stt_down"] {
        let kept = format!("{:?}", report(name));
        assert!(!kept.contains("Hello") && !kept.contains("appointment"), "{name}");
    }
}

#[test]
fn audio_is_discarded_as_it_arrives() {
    let summary = br#"{"timestamp": 1795551132.5, "close_reason": "CR_NEW"}"#;
    let head = header(&[(1, b"RM_1"), (8, b"AJ_1"), (11, summary)], false);
    let audio = vec![b'-'; 40 << 20];
    let body = form(&[("header", &head), ("audio", &audio)]);
    let Ok(Recording::Report(report)) = read_in(&body, "b", 64 << 10) else { panic!("a report") };
    assert_eq!(
        (report.started_at, report.session.close_reason, report.session.turns.len()),
        (report.ended_at, None, 0)
    );
}

#[test]
fn a_session_is_at_most_a_day_long() {
    let mut head = header(&[(1, b"RM_1"), (11, br#"{"timestamp": 1795551132}"#)], false);
    head.extend_from_slice(&[3 << 3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
    let Ok(Recording::Report(report)) = read_in(&form(&[("header", &head)]), "b", 100) else { panic!("a report") };
    assert_eq!((report.ended_at - report.started_at).num_hours(), 24);
}

#[test]
fn without_a_summary_the_last_message_is_the_end() {
    let head = header(&[(1, b"RM_1")], false);
    let chat = br#"{"items": [{"type": "message", "role": "user", "created_at": 1795551120},
        {"type": "agent_handoff", "created_at": 1795551130}, 7]}"#;
    let body = form(&[("header", &head), ("chat_history", chat)]);
    let Ok(Recording::Report(report)) = read_in(&body, "b", 10) else { panic!("a report") };
    assert_eq!((report.ended_at.timestamp(), report.session.turns.len()), (1_795_551_130, 1));
}

#[test]
fn simulations_and_recordings_that_tell_nothing_are_no_reports() {
    let read = |head: &[u8]| read_in(&form(&[("header", head)]), "b", 100);
    assert_eq!(read(&header(&[(1, b"RM_1")], true)), Ok(Recording::Simulated));
    assert_eq!(read(&header(&[(1, b"RM_1")], false)), Ok(Recording::NothingTold));
    assert_eq!(read(&header(&[(11, br#"{"timestamp": 1795551132}"#)], false)), Ok(Recording::NothingTold));
    assert_eq!(read(b""), Ok(Recording::NothingTold));
}

#[test]
fn a_bad_header_is_refused_and_a_bad_chat_history_is_left_out() {
    let head = header(&[(1, b"RM_1"), (11, br#"{"timestamp": 1795551132}"#)], false);
    assert_eq!(read_in(&form(&[("audio", b"x")]), "b", 100), Err(RecordingFault::Header));
    assert_eq!(read_in(&form(&[("header", b"\xFF\xFF")]), "b", 100), Err(RecordingFault::Header));
    let long = vec![0; HEADER_MAX + 1];
    assert_eq!(read_in(&form(&[("header", &long)]), "b", 1 << 16), Err(RecordingFault::Header));
    let endless = vec![b' '; CHAT_HISTORY_MAX + 1];
    for chat in [&b"[]"[..], b"{", b"\xFF", &endless] {
        let body = form(&[("header", &head), ("chat_history", chat)]);
        let Ok(Recording::Report(report)) = read_in(&body, "b", 1 << 16) else { panic!("a report") };
        assert_eq!(report.session.turns, []);
    }
}
