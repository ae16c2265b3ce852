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
    /// The one of most calls first, the most expensive last; never empty.
    models: &'static [Model],
}

/// A model of a provider.
#[derive(Debug)]
pub(crate) struct Model {
    /// The name on the wire.
    pub(crate) name: &'static str,
    pub(crate) price: Price,
}

/// What a provider charges, in US dollars.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Price {
    /// For a minute of audio.
    Minute(f64),
    /// For a million tokens.
    Tokens { input: f64, cached: f64, output: f64 },
    /// There is no price list.
    Unknown,
}

/// The share of a provider's calls that use its last model.
const LAST_MODEL_SHARE: f64 = 0.3;

impl Provider {
    /// Draws a model, or takes the most expensive one.
    pub(crate) fn choose_model(&'static self, draws: &mut Draws, is_expensive: bool) -> &'static Model {
        let [.., last] = self.models else { unreachable!("a provider has a model") };
        if is_expensive || draws.chance(LAST_MODEL_SHARE) { last } else { self.usual_model() }
    }

    fn usual_model(&self) -> &'static Model {
        &self.models[0]
    }
}

/// The stages of a turn in order, each with its providers, busiest first.
static STAGES: [(ProviderType, [Provider; 3]); 3] = [
    (
        ProviderType::Stt,
        [
            provider(
                ("deepgram", "Deepgram"),
                (115.0, 0.30),
                55.0,
                &[by_minute("nova-3", 0.0077), by_minute("nova-3-medical", 0.0092)],
            ),
            provider(("assemblyai", "AssemblyAI"), (140.0, 0.35), 25.0, &[by_minute("universal-streaming", 0.0025)]),
            provider(("google", "Google"), (165.0, 0.35), 20.0, &[by_minute("chirp-2", 0.016)]),
        ],
    ),
    (
        ProviderType::Llm,
        [
            provider(
                ("openai", "OpenAI"),
                (540.0, 0.45),
                50.0,
                &[by_tokens("gpt-4.1-mini", 0.4, 0.1, 1.6), by_tokens("gpt-4.1", 2.0, 0.5, 8.0)],
            ),
            provider(
                ("anthropic", "Anthropic"),
                (640.0, 0.40),
                32.0,
                &[by_tokens(SLOWED_MODEL_NAME, 1.0, 0.1, 5.0), by_tokens("claude-sonnet-4-5", 3.0, 0.3, 15.0)],
            ),
            provider(
                ("groq", "Groq"),
                (310.0, 0.50),
                18.0,
                &[
                    by_tokens("llama-3.1-8b-instant", 0.05, 0.05, 0.08),
                    by_tokens("llama-3.3-70b-versatile", 0.59, 0.59, 0.79),
                ],
            ),
        ],
    ),
    (
        ProviderType::Tts,
        [
            provider(("cartesia", "Cartesia"), (92.0, 0.30), 45.0, &[by_minute("sonic-2", 0.038)]),
            provider(
                ("elevenlabs", "ElevenLabs"),
                (150.0, 0.35),
                38.0,
                &[by_minute("eleven_flash_v2_5", 0.05), by_minute("eleven_multilingual_v2", 0.1)],
            ),
            provider(
                ("azure", "Azure"),
                (180.0, 0.40),
                17.0,
                &[by_minute("neural", 0.015), by_minute("neural-hd", 0.03)],
            ),
        ],
    ),
];

/// The model of a story that is much slower than the others.
static SLOW_MODEL: Provider = provider(
    (SLOW_MODEL_NAME, "the self-hosted model"),
    (1900.0, 0.45),
    6.0,
    &[Model { name: "llama-3.1-70b-int4", price: Price::Unknown }],
);

/// The name on the wire of the slow model of a [`Story`](crate::Story).
pub const SLOW_MODEL_NAME: &str = "self-hosted";

/// The name on the wire of the model of a [`Story`](crate::Story) that gets slower for two hours.
pub(crate) const SLOWED_MODEL_NAME: &str = "claude-haiku-4-5";

const fn provider(
    (name, label): (&'static str, &'static str),
    (median_ms, spread): (f64, f64),
    weight: f64,
    models: &'static [Model],
) -> Provider {
    Provider { name, label, median_ms, spread, weight, models }
}

const fn by_minute(name: &'static str, usd: f64) -> Model {
    Model { name, price: Price::Minute(usd) }
}

const fn by_tokens(name: &'static str, input: f64, cached: f64, output: f64) -> Model {
    Model { name, price: Price::Tokens { input, cached, output } }
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

/// Their models.
pub(crate) type ChosenModels = [&'static Model; 3];

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
    /// `slowdown` says how many times slower than usual a provider or its model is. Without models, uses name none.
    pub(crate) fn latencies(
        &self,
        draws: &mut Draws,
        chosen: ChosenProviders,
        models: Option<ChosenModels>,
        StageSamples(samples): StageSamples,
        fallback_rate: f64,
        slowdown: impl Fn(&Provider, Option<&Model>) -> f64,
    ) -> Vec<ProviderUse> {
        let call_factor = draws.log_normal(1.0, CALL_SPREAD);
        let mut uses = Vec::with_capacity(3);
        for (index, stage) in self.stages.iter().enumerate() {
            let (provider, model, count) = (chosen[index], models.map(|models| models[index]), samples[index]);
            if count == 0 {
                continue;
            }
            let kept = if count > 1 && draws.chance(fallback_rate) { draws.within(1..=count - 1) } else { count };
            let factor = |provider, model| call_factor * slowdown(provider, model);
            uses.push(stage.work(draws, (provider, model), factor(provider, model), kept));
            if kept < count {
                let stand_in = stage.stand_in(provider);
                let model = model.map(|_| stand_in.usual_model());
                uses.push(stage.work(draws, (stand_in, model), factor(stand_in, model), count - kept));
            }
        }
        uses
    }
}

impl Stage {
    /// The provider that takes over when `provider` fails: the busiest of the others.
    fn stand_in(&self, provider: &Provider) -> &'static Provider {
        let [busiest, second, _] = self.providers;
        if provider.name == busiest.name { second } else { busiest }
    }

    fn work(
        &self,
        draws: &mut Draws,
        (provider, model): (&Provider, Option<&Model>),
        factor: f64,
        count: usize,
    ) -> ProviderUse {
        let median_ms = provider.median_ms * factor;
        ProviderUse {
            provider_type: self.provider_type,
            provider_name: provider.name.to_owned(),
            model: model.map(|model| model.name),
            latencies_ms: (0..count).map(|_| latency_ms(draws.heavy_tailed(median_ms, provider.spread))).collect(),
        }
    }
}

/// Within bounds, and rounded to one decimal as clients report it.
pub(crate) fn latency_ms(drawn_ms: f64) -> f64 {
    (drawn_ms.clamp(LATENCY_MS_MIN, LATENCY_MS_MAX) * 10.0).round() / 10.0
}
