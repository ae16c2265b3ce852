//! The facts of a full record beyond those of the plain one: where it came from, how the conversation went, what it cost.
//!
//! These facts are drawn from a source of their own, so that they leave the plain fields of a seed as they are.

use crate::draws::{Draws, Weighted};
use crate::outcomes::EndReason;
use crate::providers::{ChosenModels, ChosenProviders, Price, latency_ms};
use crate::record::{CallRecord, ProviderUse, Tags};
use crate::story::Fate;
use crate::words::{CallOutcome, Direction, EndCategory, ProviderType, TEST};
use crate::workflows::Workflow;
use uuid::Uuid;

/// Makes the seed of the further facts another one than that of the plain fields.
const SEED_MASK: u64 = 0x6661_6374_735f_3134;

const ENVIRONMENTS: [(&str, f64); 3] = [("production", 90.0), ("staging", 6.0), (TEST, 4.0)];
const SOURCES: [(Option<Source>, f64); 4] =
    [(Some(Source::LiveKit), 45.0), (Some(Source::Pipecat), 25.0), (Some(Source::Vapi), 10.0), (None, 20.0)];
const LANGUAGES: [(Language, f64); 4] = [
    (Language { word: "en-US", region: "us" }, 62.0),
    (Language { word: "es-MX", region: "us" }, 18.0),
    (Language { word: "en-GB", region: "eu" }, 12.0),
    (Language { word: "de-DE", region: "eu" }, 8.0),
];
const CAMPAIGNS: [(Option<&str>, f64); 4] =
    [(Some("spring"), 35.0), (Some("renewal"), 30.0), (Some("win-back"), 15.0), (None, 20.0)];
const PLANS: [(&str, f64); 3] = [("basic", 60.0), ("pro", 30.0), ("enterprise", 10.0)];

/// The versions of the agents that take calls, before any release of a story.
const AGENT_VERSIONS: [(&str, &str); 8] = [
    ("greeter-agent", "3.1.0"),
    ("reminder-agent", "2.3.1"),
    ("order-agent", "1.8.0"),
    ("triage-agent", "1.4.2"),
    ("billing-agent", "1.2.0"),
    ("sales-agent", "0.9.3"),
    ("survey-agent", "1.1.0"),
    ("default-agent", "1.0.0"),
];

/// The share of calls of a workflow that take its second way: from a browser, or, where that is usual, by telephone.
const OTHER_DIRECTION_SHARE: f64 = 0.15;
/// The share of turns whose latency the client could not measure.
const UNMEASURED_SHARE: f64 = 0.03;
/// From the end of speech to the certainty that it has ended: the bounds of a call's mean, in milliseconds.
const ENDPOINTING_MS: std::ops::RangeInclusive<f64> = 300.0..=600.0;
/// The share of turns that the caller interrupts, and how much more often those with a slow answer.
const INTERRUPTION_RATE: f64 = 0.05;
const SLOW_ANSWER_MS: f64 = 1800.0;
const SLOW_ANSWER_FACTOR: f64 = 1.8;
/// An agent that reaches a machine hangs up within so many turns.
const VOICEMAIL_TURNS_MAX: usize = 6;
const VOICEMAIL_SHARE: f64 = 0.35;
/// The share of calls whose price the sender does not know, though their models have one.
const UNPRICED_SHARE: f64 = 0.02;
/// The share of a call in which the agent speaks.
const SPOKEN_SHARE: f64 = 0.4;
/// What a minute of the line costs, in US dollars: on the telephone network, and from a browser.
const TELEPHONE_MINUTE_USD: f64 = 0.009;
const WEB_MINUTE_USD: f64 = 0.002;

/// A system that calls come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    LiveKit,
    Pipecat,
    Vapi,
}

#[derive(Clone, Copy, Debug)]
struct Language {
    word: &'static str,
    region: &'static str,
}

/// Draws the further facts.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    draws: Draws,
    environments: Weighted<&'static str>,
    sources: Weighted<Option<Source>>,
    languages: Weighted<Language>,
    campaigns: Weighted<Option<&'static str>>,
    plans: Weighted<&'static str>,
}

/// What the further facts of an answered call follow from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) turns: usize,
    pub(crate) models: ChosenModels,
    pub(crate) end_reason: EndReason,
    pub(crate) tool_rate: f64,
    /// How many times more often than usual the caller interrupts.
    pub(crate) interruption_factor: f64,
}

impl Facts {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            draws: Draws::new(seed ^ SEED_MASK),
            environments: Weighted::new(ENVIRONMENTS),
            sources: Weighted::new(SOURCES),
            languages: Weighted::new(LANGUAGES),
            campaigns: Weighted::new(CAMPAIGNS),
            plans: Weighted::new(PLANS),
        }
    }

    /// Sets what is known when a call starts. Calls that will not be answered are calls of the agent.
    pub(crate) fn start(&mut self, record: &mut CallRecord, workflow: &Workflow, fate: &Fate<'_>, is_answered: bool) {
        let draws = &mut self.draws;
        let direction = match (is_answered, workflow.direction) {
            (false, _) => Direction::Outbound,
            (true, usual) if !draws.chance(OTHER_DIRECTION_SHARE) => usual,
            (true, Direction::Web) => Direction::Inbound,
            (true, Direction::Inbound | Direction::Outbound) => Direction::Web,
        };
        if let Some(source) = *self.sources.pick(draws) {
            let (source, external_id) = source.identify(draws, direction);
            (record.source, record.external_id) = (Some(source), Some(external_id));
        }
        let language = self.languages.pick(draws);
        let campaign = if direction == Direction::Outbound { *self.campaigns.pick(draws) } else { None };
        record.agent_version = fate.agent_version.or_else(|| record.agent.as_deref().and_then(usual_version));
        record.environment = Some(self.environments.pick(draws));
        record.direction = Some(direction);
        record.language = Some(language.word);
        record.tags = Some(Tags { campaign, region: Some(language.region), plan: Some(self.plans.pick(draws)) });
    }

    /// Draws the models of the providers of a call; an expensive agent takes the most expensive ones.
    pub(crate) fn choose_models(&mut self, providers: ChosenProviders, is_expensive: bool) -> ChosenModels {
        providers.map(|provider| provider.choose_model(&mut self.draws, is_expensive))
    }

    /// Sets what a call without a conversation leaves: all counts are known, and nothing is charged.
    pub(crate) fn end_unanswered(record: &mut CallRecord, end_reason: EndReason) {
        record.end_category = Some(end_reason.category);
        record.outcome = Some(CallOutcome::Failure);
        (record.turns, record.interruptions, record.tool_calls) = (Some(0), Some(0), Some(0));
        (record.input_tokens, record.output_tokens, record.cached_input_tokens) = (Some(0), Some(0), Some(0));
        record.cost_usd = Some(0.0);
    }

    /// Sets what follows from a conversation that is over: `record` has its end, its latencies and its tokens.
    pub(crate) fn end(&mut self, record: &mut CallRecord, held: Held) {
        let category = self.end_category(record, held);
        record.end_category = Some(category);
        record.outcome = Some(self.outcome(category));
        self.converse(record, held);
        self.split_tokens(record);
        record.cost_usd = if self.draws.chance(UNPRICED_SHARE) { None } else { cost_usd(record, held.models) };
    }

    /// That of the reason; an agent hangs up for more reasons than platforms tell apart.
    fn end_category(&mut self, record: &CallRecord, held: Held) -> EndCategory {
        if held.end_reason.category != EndCategory::AgentHangup {
            return held.end_reason.category;
        }
        let may_be_machine = record.direction == Some(Direction::Outbound) && held.turns <= VOICEMAIL_TURNS_MAX;
        if may_be_machine && self.draws.chance(VOICEMAIL_SHARE) {
            return EndCategory::Voicemail;
        }
        if self.draws.chance(0.7) { EndCategory::TaskCompleted } else { EndCategory::AgentHangup }
    }

    fn outcome(&mut self, category: EndCategory) -> CallOutcome {
        let success_rate = match category {
            EndCategory::TaskCompleted => 0.97,
            EndCategory::CallerHangup => 0.86,
            EndCategory::AgentHangup => 0.8,
            EndCategory::Transferred => 0.6,
            EndCategory::Silence => 0.1,
            _ => return CallOutcome::Failure,
        };
        match self.draws.fraction() / success_rate {
            ..1.0 => CallOutcome::Success,
            ..1.02 => CallOutcome::Unknown,
            _ => CallOutcome::Failure,
        }
    }

    /// Sets the turns: what each took, which were interrupted, and the tools that they called.
    fn converse(&mut self, record: &mut CallRecord, held: Held) {
        let draws = &mut self.draws;
        let endpointing_ms = draws.within(ENDPOINTING_MS);
        let rate = INTERRUPTION_RATE * held.interruption_factor;
        let mut latencies_ms = Vec::with_capacity(held.turns);
        let mut interruptions = 0;
        let stage = |stage| samples(&record.providers, stage);
        // One sample more of speech than there are turns: the first is that of the greeting, which belongs to no turn.
        let greetings = stage(ProviderType::Tts).count().saturating_sub(held.turns);
        let spoken = stage(ProviderType::Tts).skip(greetings);
        for ((stt_ms, llm_ms), tts_ms) in stage(ProviderType::Stt).zip(stage(ProviderType::Llm)).zip(spoken) {
            let turn_ms = stt_ms + llm_ms + tts_ms + endpointing_ms * draws.within(0.7..=1.3);
            let factor = if turn_ms > SLOW_ANSWER_MS { SLOW_ANSWER_FACTOR } else { 1.0 };
            interruptions += u64::from(draws.chance(rate * factor));
            if !draws.chance(UNMEASURED_SHARE) {
                latencies_ms.push(latency_ms(turn_ms));
            }
        }
        record.turns = Some(held.turns as u64);
        record.interruptions = Some(interruptions);
        record.tool_calls = Some(rounded(held.turns as f64 * held.tool_rate, draws.within(0.0..=2.0)));
        record.turn_latencies_ms = latencies_ms;
    }

    fn split_tokens(&mut self, record: &mut CallRecord) {
        let output = rounded(record.total_tokens as f64, self.draws.within(0.1..=0.22));
        let input = record.total_tokens - output;
        record.output_tokens = Some(output);
        record.input_tokens = Some(input);
        record.cached_input_tokens = Some(rounded(input as f64, self.draws.within(0.0..=0.8)));
    }
}

impl Source {
    /// Its name, and an id in its form. Browser calls do not come from Vapi, but from `LiveKit` instead.
    fn identify(self, draws: &mut Draws, direction: Direction) -> (&'static str, String) {
        match self {
            Self::Vapi if direction != Direction::Web => ("vapi", draws.uuid().to_string()),
            Self::Pipecat => ("pipecat", draws.uuid().simple().to_string()),
            Self::LiveKit | Self::Vapi => ("livekit", room(draws.uuid())),
        }
    }
}

/// The id of a room as `LiveKit` writes it: `RM_` and twelve letters or digits.
fn room(random: Uuid) -> String {
    const SYMBOLS: &[u8; 64] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ234567892345678";
    let mut id = String::with_capacity(15);
    id.push_str("RM_");
    id.extend(random.as_bytes()[..12].iter().map(|byte| char::from(SYMBOLS[usize::from(byte % 64)])));
    id
}

fn usual_version(agent: &str) -> Option<&'static str> {
    AGENT_VERSIONS.iter().find(|(name, _)| *name == agent).map(|(_, version)| *version)
}

/// The samples of a stage in the order of the turns.
fn samples(uses: &[ProviderUse], stage: ProviderType) -> impl Iterator<Item = f64> {
    uses.iter().filter(move |used| used.provider_type == stage).flat_map(|used| used.latencies_ms.iter().copied())
}

/// Tokens, minutes of audio and minutes of line at their prices; `None` when a model has none.
fn cost_usd(record: &CallRecord, [stt, llm, tts]: ChosenModels) -> Option<f64> {
    let minutes = (record.ended_at? - record.started_at).num_milliseconds() as f64 / 60_000.0;
    let line_usd = match record.direction? {
        Direction::Inbound | Direction::Outbound => TELEPHONE_MINUTE_USD,
        Direction::Web => WEB_MINUTE_USD,
    };
    let charged = |price, minutes| match price {
        Price::Minute(usd) => Some(usd * minutes),
        Price::Tokens { input, cached, output } => {
            let from_cache = record.cached_input_tokens? as f64;
            let read = record.input_tokens? as f64 - from_cache;
            let written = record.output_tokens? as f64;
            Some((read * input + from_cache * cached + written * output) / 1e6)
        }
        Price::Unknown => None,
    };
    let usd = charged(stt.price, minutes)?
        + charged(llm.price, minutes)?
        + charged(tts.price, minutes * SPOKEN_SHARE)?
        + line_usd * minutes;
    Some((usd * 1e6).round() / 1e6)
}

/// A share of a number, rounded; neither is negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "neither is negative or large")]
fn rounded(of: f64, share: f64) -> u64 {
    (of * share).round() as u64
}
