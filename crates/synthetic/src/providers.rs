//! The providers of the three stages, and the latencies that each shows.

use crate::draws::{Draws, Weighted};
use crate::record::ProviderUse;
use crate::words::ProviderType;

/// The bounds of a latency: no turn is served faster, and past the upper one the client has given up.
const LATENCY_MS_MIN: f64 = 5.0;
const LATENCY_MS_MAX: f64 = 30_000.0;

/// How much whole calls differ, as the deviation of a logarithm: every stage of a call shares its caller's network.
const CALL_SPREAD: f64 = 0.12;

/// One provider of one stage.
#[derive(Debug)]
pub(crate) struct Provider {
    /// The name on the wire.
    pub(crate) name: &'static str,
    /// The name in messages for people.
    pub(crate) label: &'static str,
    median_ms: f64,
    /// The deviation of the latency's logarithm.
    spread: f64,
    weight: f64,
}

/// The stages of a turn in order, each with its providers, busiest first.
static STAGES: [(ProviderType, [Provider; 3]); 3] = [
    (
        ProviderType::Stt,
        [
            provider("deepgram", "Deepgram", 115.0, 0.30, 55.0),
            provider("assemblyai", "AssemblyAI", 140.0, 0.35, 25.0),
            provider("google", "Google", 165.0, 0.35, 20.0),
        ],
    ),
    (
        ProviderType::Llm,
        [
            provider("openai", "OpenAI", 540.0, 0.45, 50.0),
            provider("anthropic", "Anthropic", 640.0, 0.40, 32.0),
            provider("groq", "Groq", 310.0, 0.50, 18.0),
        ],
    ),
    (
        ProviderType::Tts,
        [
            provider("cartesia", "Cartesia", 92.0, 0.30, 45.0),
            provider("elevenlabs", "ElevenLabs", 150.0, 0.35, 38.0),
            provider("azure", "Azure", 180.0, 0.40, 17.0),
        ],
    ),
];

/// The model of a story that is much slower than the others.
static SLOW_MODEL: Provider = provider(SLOW_MODEL_NAME, "the self-hosted model", 1900.0, 0.45, 6.0);

/// The name on the wire of the slow model of a [`Story`](crate::Story).
pub const SLOW_MODEL_NAME: &str = "self-hosted";

const fn provider(name: &'static str, label: &'static str, median_ms: f64, spread: f64, weight: f64) -> Provider {
    Provider { name, label, median_ms, spread, weight }
}

/// How many samples each stage of a call has, in the order stt, llm, tts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageSamples([usize; 3]);

impl StageSamples {
    /// A conversation of so many turns; the agent speaks once more than it answers, to greet.
    pub(crate) fn of_turns(turns: usize) -> Self {
        Self([turns, turns, turns + 1])
    }

    /// So many in all, as evenly as they go, earlier stages first.
    pub(crate) fn exactly(total: usize) -> Self {
        Self([0, 1, 2].map(|stage| (total + 2 - stage) / 3))
    }
}

/// All providers, by stage.
#[derive(Clone, Debug)]
pub(crate) struct Providers {
    stages: [Stage; 3],
}

#[derive(Clone, Debug)]
struct Stage {
    provider_type: ProviderType,
    /// Busiest first.
    providers: &'static [Provider; 3],
    choice: Weighted<&'static Provider>,
}

/// The provider that each stage of one call starts with, in the order stt, llm, tts.
pub(crate) type ChosenProviders = [&'static Provider; 3];

impl Providers {
    /// With the slow model among those of the llm stage, or without.
    pub(crate) fn new(has_slow_model: bool) -> Self {
        let stages = STAGES.each_ref().map(|(provider_type, providers)| {
            let further = (has_slow_model && *provider_type == ProviderType::Llm).then_some(&SLOW_MODEL);
            let weighted = providers.iter().chain(further).map(|one| (one, one.weight));
            Stage { provider_type: *provider_type, providers, choice: Weighted::new(weighted) }
        });
        Self { stages }
    }

    /// Draws one provider for each stage of a call.
    pub(crate) fn choose(&self, draws: &mut Draws) -> ChosenProviders {
        self.stages.each_ref().map(|stage| *stage.choice.pick(draws))
    }

    /// Draws the latencies of one call, stages in order; a stage without samples has no entry.
    ///
    /// With the probability `fallback_rate` a stage of two samples or more changes to a second provider on the way.
    /// `slowdown` names a provider that is slower than usual, and how many times.
    pub(crate) fn latencies(
        &self,
        draws: &mut Draws,
        chosen: ChosenProviders,
        StageSamples(samples): StageSamples,
        fallback_rate: f64,
        slowdown: Option<(&str, f64)>,
    ) -> Vec<ProviderUse> {
        let call_factor = draws.log_normal(1.0, CALL_SPREAD);
        let mut uses = Vec::with_capacity(3);
        for ((stage, provider), count) in self.stages.iter().zip(chosen).zip(samples) {
            if count == 0 {
                continue;
            }
            let kept = if count > 1 && draws.chance(fallback_rate) { draws.within(1..=count - 1) } else { count };
            let factor = |of: &Provider| match slowdown {
                Some((name, times)) if name == of.name => call_factor * times,
                _ => call_factor,
            };
            uses.push(stage.work(draws, provider, factor(provider), kept));
            if kept < count {
                let stand_in = stage.stand_in(provider);
                uses.push(stage.work(draws, stand_in, factor(stand_in), count - kept));
            }
        }
        uses
    }
}

impl Stage {
    /// Who takes over when `provider` fails: the busiest of the others.
    fn stand_in(&self, provider: &Provider) -> &'static Provider {
        let [busiest, second, _] = self.providers;
        if provider.name == busiest.name { second } else { busiest }
    }

    fn work(&self, draws: &mut Draws, provider: &Provider, factor: f64, count: usize) -> ProviderUse {
        let median_ms = provider.median_ms * factor;
        ProviderUse {
            provider_type: self.provider_type,
            provider_name: provider.name.to_owned(),
            latencies_ms: (0..count).map(|_| latency_ms(draws.heavy_tailed(median_ms, provider.spread))).collect(),
        }
    }
}

/// Within bounds, and rounded to one decimal as clients report it.
fn latency_ms(drawn_ms: f64) -> f64 {
    (drawn_ms.clamp(LATENCY_MS_MIN, LATENCY_MS_MAX) * 10.0).round() / 10.0
}
