//! What goes wrong in calls: messages as pipelines log them, with the figures that belong to them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::draws::{Draws, Weighted, whole_ms};
use crate::outcomes::EndReason;
use crate::providers::{ChosenProviders, Provider};
use crate::record::ErrorRecord;
use crate::words::{EndCategory, ErrorLevel, ErrorService};

/// What stands in a message for the provider of the service that failed.
const PROVIDER: &str = "{provider}";

/// One kind of error.
#[derive(Debug)]
pub(crate) struct Kind {
    service: ErrorService,
    level: ErrorLevel,
    weight: f64,
    message: &'static str,
    details: fn(&mut Draws) -> Value,
}

static KINDS: [Kind; 14] = [
    Kind {
        service: ErrorService::Stt,
        level: ErrorLevel::Error,
        weight: 16.0,
        message: "Connection timeout to {provider}",
        details: |draws| json!({"timeout_ms": 5000, "attempts": draws.within(1..=3)}),
    },
    Kind {
        service: ErrorService::Stt,
        level: ErrorLevel::Error,
        weight: 6.0,
        message: "{provider} closed the stream unexpectedly",
        details: |draws| json!({"close_code": draws.one_of(&[1006, 1011, 1013])}),
    },
    Kind {
        service: ErrorService::Stt,
        level: ErrorLevel::Warning,
        weight: 9.0,
        message: "Low transcription confidence",
        details: |draws| json!({"confidence": hundredths(draws, 18..=55), "threshold": 0.6}),
    },
    Kind {
        service: ErrorService::Llm,
        level: ErrorLevel::Error,
        weight: 11.0,
        message: "{provider} returned 503 Service Unavailable",
        details: |draws| json!({"http_status": 503, "attempts": draws.within(2..=4)}),
    },
    Kind {
        service: ErrorService::Llm,
        level: ErrorLevel::Error,
        weight: 3.0,
        message: "Context length exceeded",
        details: |draws| json!({"prompt_tokens": draws.within(8200..=12_000), "tokens_max": 8192}),
    },
    Kind {
        service: ErrorService::Llm,
        level: ErrorLevel::Warning,
        weight: 13.0,
        message: "Rate limited by {provider}, retrying",
        details: |draws| json!({"http_status": 429, "retry_after_ms": draws.within(2..=20) * 100}),
    },
    Kind {
        service: ErrorService::Llm,
        level: ErrorLevel::Warning,
        weight: 7.0,
        message: "First token from {provider} was late",
        details: |draws| json!({"latency_ms": draws.within(3001..=9500), "threshold_ms": 3000}),
    },
    Kind {
        service: ErrorService::Tts,
        level: ErrorLevel::Error,
        weight: 9.0,
        message: "Synthesis failed at {provider}",
        details: |draws| json!({"http_status": 500, "characters": draws.within(24..=480)}),
    },
    Kind {
        service: ErrorService::Tts,
        level: ErrorLevel::Warning,
        weight: 6.0,
        message: "Audio underrun while speaking",
        details: |draws| json!({"gap_ms": draws.within(180..=1400)}),
    },
    Kind {
        service: ErrorService::Workflow,
        level: ErrorLevel::Error,
        weight: 4.0,
        message: "No transition matches the caller's answer",
        details: |draws| json!({"node": node(draws), "attempts": draws.within(2..=3)}),
    },
    Kind {
        service: ErrorService::Workflow,
        level: ErrorLevel::Warning,
        weight: 5.0,
        message: "Step repeated: the answer was not understood",
        details: |draws| json!({"node": node(draws), "repeats": draws.within(1..=2)}),
    },
    Kind {
        service: ErrorService::Tool,
        level: ErrorLevel::Error,
        weight: 7.0,
        message: "Tool call timed out",
        details: |draws| json!({"tool": tool(draws), "timeout_ms": 10_000}),
    },
    Kind {
        service: ErrorService::Tool,
        level: ErrorLevel::Error,
        weight: 3.0,
        message: "Tool call returned invalid JSON",
        details: |draws| json!({"tool": tool(draws), "position": draws.within(1..=240)}),
    },
    Kind {
        service: ErrorService::Tool,
        level: ErrorLevel::Warning,
        weight: 4.0,
        message: "Tool call was slow",
        details: |draws| json!({"tool": tool(draws), "latency_ms": draws.within(4000..=9800)}),
    },
];

/// What an incident of a provider of language models looks like.
pub(crate) static MODEL_OUTAGE: Kind = Kind {
    service: ErrorService::Llm,
    level: ErrorLevel::Error,
    weight: 1.0,
    message: "{provider} is degraded: no token within 8 s",
    details: |draws| json!({"timeout_ms": 8000, "attempts": draws.within(2..=4), "region": "us-east"}),
};

/// What a model that got slower looks like: the calls go on.
pub(crate) static LATE_TOKENS: Kind = Kind {
    service: ErrorService::Llm,
    level: ErrorLevel::Warning,
    weight: 1.0,
    message: "{provider} is slow: no token within 3 s",
    details: |draws| json!({"latency_ms": draws.within(3001..=9500), "threshold_ms": 3000}),
};

/// What a workflow does that was released with a fault.
pub(crate) static BROKEN_RELEASE: Kind = Kind {
    service: ErrorService::Workflow,
    level: ErrorLevel::Error,
    weight: 1.0,
    message: "Release 2.4.0: node confirm_slot has no transition for \"later\"",
    details: |draws| json!({"node": "confirm_slot", "release": "2.4.0", "attempts": draws.within(2..=3)}),
};

/// What tools answer whose certificate has run out.
pub(crate) static EXPIRED_CERTIFICATE: Kind = Kind {
    service: ErrorService::Tool,
    level: ErrorLevel::Error,
    weight: 1.0,
    message: "Tool call refused: the certificate of crm.internal has expired",
    details: |draws| json!({"tool": tool(draws), "host": "crm.internal"}),
};

fn node(draws: &mut Draws) -> &'static str {
    draws.one_of(&["confirm_identity", "collect_date", "choose_option", "wrap_up"])
}

fn tool(draws: &mut Draws) -> &'static str {
    draws.one_of(&["lookup_customer", "book_slot", "fetch_order", "send_sms"])
}

/// A number with two decimals, from its bounds in hundredths.
fn hundredths(draws: &mut Draws, range: std::ops::RangeInclusive<u32>) -> f64 {
    f64::from(draws.within(range)) / 100.0
}

/// The call in which errors happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) started_at: DateTime<Utc>,
    /// Above zero, in whole milliseconds.
    pub(crate) duration: TimeDelta,
    pub(crate) providers: ChosenProviders,
    /// The agents that may be speaking; never empty.
    pub(crate) agents: &'a [&'static str],
    /// Whether an error of a stage names its provider in a field of its own.
    pub(crate) names_providers: bool,
}

/// All kinds of errors.
#[derive(Clone, Debug)]
pub(crate) struct Errors {
    any: Weighted<&'static Kind>,
    /// Those that can end a call.
    fatal: Weighted<&'static Kind>,
}

impl Errors {
    pub(crate) fn new() -> Self {
        let weighted = || KINDS.iter().map(|kind| (kind, kind.weight));
        Self {
            any: Weighted::new(weighted()),
            fatal: Weighted::new(weighted().filter(|(kind, _)| kind.level == ErrorLevel::Error)),
        }
    }

    /// Draws `count` errors that the call survives, oldest first.
    pub(crate) fn survived(&self, draws: &mut Draws, scene: Scene<'_>, count: usize) -> Vec<ErrorRecord> {
        let mut errors: Vec<_> = (0..count)
            .map(|_| {
                let elapsed = draws.fraction();
                let kind = self.any.pick(draws);
                record(draws, scene, kind, elapsed)
            })
            .collect();
        errors.sort_by_key(|error| error.timestamp);
        errors
    }

    /// Draws `count` errors, at least one, of which the last ends the call, and the reason of its end.
    pub(crate) fn fatal(&self, draws: &mut Draws, scene: Scene<'_>, count: usize) -> (Vec<ErrorRecord>, EndReason) {
        let mut errors = self.survived(draws, scene, count - 1);
        let last = self.fatal.pick(draws);
        errors.push(record(draws, scene, last, 1.0));
        (errors, end_reason(last.service))
    }
}

/// Adds an error of this kind to those of a call: as its last one, which ends it, or somewhere on its way. Gives the
/// reason of the end that it would be.
pub(crate) fn add(
    draws: &mut Draws,
    scene: Scene<'_>,
    errors: &mut Vec<ErrorRecord>,
    kind: &Kind,
    is_fatal: bool,
) -> EndReason {
    let elapsed = if is_fatal { 1.0 } else { draws.fraction() };
    errors.push(record(draws, scene, kind, elapsed));
    errors.sort_by_key(|error| error.timestamp);
    end_reason(kind.service)
}

/// `elapsed` is the fraction of the call that is over.
fn record(draws: &mut Draws, scene: Scene<'_>, kind: &Kind, elapsed: f64) -> ErrorRecord {
    let provider = serving(scene.providers, kind.service);
    let after_ms = scene.duration.num_milliseconds() as f64 * elapsed;
    ErrorRecord {
        timestamp: scene.started_at + TimeDelta::milliseconds(whole_ms(after_ms)),
        service: kind.service,
        level: kind.level,
        provider_name: provider.filter(|_| scene.names_providers).map(|provider| provider.name),
        message: provider
            .map_or_else(|| kind.message.to_owned(), |provider| kind.message.replace(PROVIDER, provider.label)),
        details: Some((kind.details)(draws)),
        agent: Some(draws.one_of(scene.agents).to_owned()),
    }
}

/// Why a call ended that this service broke.
const fn end_reason(service: ErrorService) -> EndReason {
    match service {
        ErrorService::Stt => EndReason::new("stt_failure", EndCategory::ProviderError),
        ErrorService::Llm => EndReason::new("llm_failure", EndCategory::ProviderError),
        ErrorService::Tts => EndReason::new("tts_failure", EndCategory::ProviderError),
        ErrorService::Workflow => EndReason::new("workflow_error", EndCategory::AgentError),
        ErrorService::Tool => EndReason::new("tool_failure", EndCategory::AgentError),
    }
}

/// The provider of the stage that a service is, if it is one.
fn serving([stt, llm, tts]: ChosenProviders, service: ErrorService) -> Option<&'static Provider> {
    match service {
        ErrorService::Stt => Some(stt),
        ErrorService::Llm => Some(llm),
        ErrorService::Tts => Some(tts),
        ErrorService::Workflow | ErrorService::Tool => None,
    }
}
