//! Metrics: what answers show. One row of the table below is one metric: a formula over sums and distributions.

use crate::contribution::Totals;
use crate::dimension::Dimension;
use crate::distribution::Distribution;
use crate::measure::Measure;
use crate::provider::ProviderType;
use crate::words;

/// How a metric is computed. Without data it has no value: no data is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formula {
    /// A sum, as a whole number; 0 without data.
    Sum(Measure),
    /// A sum, divided by a number that turns the unit of storage into that of the metric; unknown when the second sum, the
    /// calls that give it, is 0.
    Known(Measure, Measure, u32),
    /// The first sum without the second, as a whole number.
    Difference(Measure, Measure),
    /// The first sum divided by the second, and by a number that turns the unit of storage into that of the metric.
    Mean(Measure, Measure, u32),
    /// The first sum divided by the second, times a number that turns the units of storage into that of the metric.
    Rate(Measure, Measure, u32),
    /// The first sum as a percentage of the two together.
    Percentage(Measure, Measure),
    /// A nearest-rank percentile.
    Percentile(Distribution, u8),
    /// Calls that are active now, whatever the window.
    ActiveCalls,
}

/// What the numbers of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A percentage.
    Percent,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// US dollars.
    UsDollars,
}

words!(Unit { Count = "count", Percent = "percent", Seconds = "seconds", Milliseconds = "ms", UsDollars = "usd" });

/// One row of the table of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// How it is computed.
    pub formula: Formula,
    /// What its numbers are.
    pub unit: Unit,
    /// The decimals that an answer shows; none for whole numbers.
    pub decimals: u8,
    /// One sentence about it.
    pub description: &'static str,
}

/// Makes the enumeration of metrics: each row is a variant, its name, and the fields of its [`MetricRow`].
macro_rules! metrics {
    ($($variant:ident = $name:literal, $formula:expr, $unit:ident, $decimals:literal, $description:literal;)+) => {
        /// What an answer shows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $description] $variant),+
        }

        words!(Metric { $($variant = $name),+ });

        impl Metric {
            /// Its row.
            #[must_use]
            pub const fn row(self) -> MetricRow {
                match self {
                    $(Self::$variant => MetricRow {
                        formula: $formula,
                        unit: Unit::$unit,
                        decimals: $decimals,
                        description: $description,
                    }),+
                }
            }
        }
    };
}

use Distribution::{Duration, Llm, Stt, Tts};
use Formula::{ActiveCalls, Difference, Known, Mean, Percentage, Percentile, Rate, Sum};
use Measure::{
    CachedTokenCalls, CachedTokens, Calls, Completed, CostMicrousd, DurationUs, Ended, Errors, Failed, InputTokenCalls,
    InputTokens, InterruptibleTurns, InterruptionCalls, Interruptions, LlmLatencyUs, LlmSamples, OutputTokenCalls,
    OutputTokens, PricedCalls, PricedDurationUs, PricedSucceeded, SttLatencyUs, SttSamples, Succeeded, TokenCalls,
    TokenDurationUs, TokenSucceeded, ToolCallCalls, ToolCalls, TotalTokens, TtsLatencyUs, TtsSamples, TurnCalls,
    TurnInterruptions, TurnLatencyUs, TurnSamples, Turns, Unsuccessful,
};

metrics! {
    TotalCalls           = "total_calls",                  Sum(Calls),                                     Count,        0, "Calls of any status that started in the window.";
    CompletedCalls       = "completed_calls",              Sum(Completed),                                 Count,        0, "Calls that completed.";
    FailedCalls          = "failed_calls",                 Sum(Failed),                                    Count,        0, "Calls that failed, those included that were closed because their end never came.";
    ActiveCallsNow       = "active_calls",                 ActiveCalls,                                    Count,        0, "Calls that are active now, whatever the window.";
    SuccessRate          = "success_rate",                 Percentage(Completed, Failed),                  Percent,      1, "Percentage of the finished calls that completed.";
    SuccessfulCalls      = "successful_calls",             Sum(Succeeded),                                 Count,        0, "Calls whose outcome is success.";
    UnsuccessfulCalls    = "unsuccessful_calls",           Sum(Unsuccessful),                              Count,        0, "Calls whose outcome is failure.";
    OutcomeSuccessRate   = "outcome_success_rate",         Percentage(Succeeded, Unsuccessful),            Percent,      1, "Percentage of success among the calls whose outcome is success or failure.";
    AvgDurationSeconds   = "avg_duration_seconds",         Mean(DurationUs, Ended, 1_000_000),             Seconds,      1, "Average duration of the calls whose end is known.";
    TotalDurationSeconds = "total_duration_seconds",       Known(DurationUs, Ended, 1_000_000),            Seconds,      1, "Duration of all calls whose end is known.";
    P50DurationSeconds   = "p50_duration_seconds",         Percentile(Duration, 50),                       Seconds,      1, "Median of the durations of the calls whose end is known.";
    P75DurationSeconds   = "p75_duration_seconds",         Percentile(Duration, 75),                       Seconds,      1, "75th percentile of the durations of the calls whose end is known.";
    P90DurationSeconds   = "p90_duration_seconds",         Percentile(Duration, 90),                       Seconds,      1, "90th percentile of the durations of the calls whose end is known.";
    P95DurationSeconds   = "p95_duration_seconds",         Percentile(Duration, 95),                       Seconds,      1, "95th percentile of the durations of the calls whose end is known.";
    P99DurationSeconds   = "p99_duration_seconds",         Percentile(Duration, 99),                       Seconds,      1, "99th percentile of the durations of the calls whose end is known.";
    CountedTurns         = "turns",                        Known(Turns, TurnCalls, 1),                     Count,        0, "Turns of the agent, of the calls that give them.";
    MeasuredTurns        = "measured_turns",               Sum(TurnSamples),                               Count,        0, "Turns whose latency was measured.";
    TurnsPerCall         = "turns_per_call",               Mean(Turns, TurnCalls, 1),                      Count,        2, "Average number of turns of the calls that give them.";
    TotalInterruptions   = "interruptions",                Known(Interruptions, InterruptionCalls, 1),     Count,        0, "How often callers interrupted the agent, of the calls that give it.";
    InterruptionsPerCall = "interruptions_per_call",       Mean(Interruptions, InterruptionCalls, 1),      Count,        2, "Average number of interruptions of the calls that give them.";
    InterruptionsPerTurn = "interruptions_per_turn",       Mean(TurnInterruptions, InterruptibleTurns, 1), Count,        2, "Interruptions per turn, over the calls that give both.";
    TotalToolCalls       = "tool_calls",                   Known(ToolCalls, ToolCallCalls, 1),             Count,        0, "Tools that agents called, of the calls that give it.";
    ToolCallsPerCall     = "tool_calls_per_call",          Mean(ToolCalls, ToolCallCalls, 1),              Count,        2, "Average number of tool calls of the calls that give them.";
    TokensUsed           = "total_tokens",                 Known(TotalTokens, TokenCalls, 1),              Count,        0, "Tokens that language models used, of the calls that give them.";
    TokensIn             = "input_tokens",                 Known(InputTokens, InputTokenCalls, 1),         Count,        0, "Tokens that went into language models.";
    TokensOut            = "output_tokens",                Known(OutputTokens, OutputTokenCalls, 1),       Count,        0, "Tokens that came out of language models.";
    TokensCached         = "cached_input_tokens",          Known(CachedTokens, CachedTokenCalls, 1),       Count,        0, "Tokens that went in and were read from a cache.";
    TokensPerCall        = "tokens_per_call",              Mean(TotalTokens, TokenCalls, 1),               Count,        1, "Average tokens of the calls that give them.";
    TokensPerMinute      = "tokens_per_minute",            Rate(TotalTokens, TokenDurationUs, 60_000_000), Count,        1, "Tokens per minute of call, over the calls that give tokens.";
    TokensPerSuccess     = "tokens_per_successful_call",   Mean(TotalTokens, TokenSucceeded, 1),           Count,        1, "Tokens of all calls that give them, per call whose outcome is success.";
    Cost                 = "cost_usd",                     Known(CostMicrousd, PricedCalls, 1_000_000),    UsDollars,    6, "What calls cost, of the calls that give it.";
    UnpricedCalls        = "unpriced_calls",               Difference(Calls, PricedCalls),                 Count,        0, "Calls that give no cost: theirs is unknown, and not 0.";
    CostPerCall          = "cost_per_call_usd",            Mean(CostMicrousd, PricedCalls, 1_000_000),     UsDollars,    6, "Average cost of the calls that give it.";
    CostPerMinute        = "cost_per_minute_usd",          Rate(CostMicrousd, PricedDurationUs, 60),       UsDollars,    6, "Cost per minute of call, over the calls that give a cost.";
    CostPerSuccess       = "cost_per_successful_call_usd", Mean(CostMicrousd, PricedSucceeded, 1_000_000), UsDollars,    6, "Cost of all calls that give it, per call whose outcome is success.";
    SttLatencySamples    = "stt_latency_samples",          Sum(SttSamples),                                Count,        0, "Measured latencies of speech-to-text turns.";
    AvgSttLatencyMs      = "avg_stt_latency_ms",           Mean(SttLatencyUs, SttSamples, 1000),           Milliseconds, 1, "Average latency over all speech-to-text turns.";
    P50SttLatencyMs      = "p50_stt_latency_ms",           Percentile(Stt, 50),                            Milliseconds, 1, "Median latency over all speech-to-text turns.";
    P75SttLatencyMs      = "p75_stt_latency_ms",           Percentile(Stt, 75),                            Milliseconds, 1, "75th percentile of the latency over all speech-to-text turns.";
    P90SttLatencyMs      = "p90_stt_latency_ms",           Percentile(Stt, 90),                            Milliseconds, 1, "90th percentile of the latency over all speech-to-text turns.";
    P95SttLatencyMs      = "p95_stt_latency_ms",           Percentile(Stt, 95),                            Milliseconds, 1, "95th percentile of the latency over all speech-to-text turns.";
    P99SttLatencyMs      = "p99_stt_latency_ms",           Percentile(Stt, 99),                            Milliseconds, 1, "99th percentile of the latency over all speech-to-text turns.";
    LlmLatencySamples    = "llm_latency_samples",          Sum(LlmSamples),                                Count,        0, "Measured latencies of language-model turns.";
    AvgLlmLatencyMs      = "avg_llm_latency_ms",           Mean(LlmLatencyUs, LlmSamples, 1000),           Milliseconds, 1, "Average latency over all language-model turns.";
    P50LlmLatencyMs      = "p50_llm_latency_ms",           Percentile(Llm, 50),                            Milliseconds, 1, "Median latency over all language-model turns.";
    P75LlmLatencyMs      = "p75_llm_latency_ms",           Percentile(Llm, 75),                            Milliseconds, 1, "75th percentile of the latency over all language-model turns.";
    P90LlmLatencyMs      = "p90_llm_latency_ms",           Percentile(Llm, 90),                            Milliseconds, 1, "90th percentile of the latency over all language-model turns.";
    P95LlmLatencyMs      = "p95_llm_latency_ms",           Percentile(Llm, 95),                            Milliseconds, 1, "95th percentile of the latency over all language-model turns.";
    P99LlmLatencyMs      = "p99_llm_latency_ms",           Percentile(Llm, 99),                            Milliseconds, 1, "99th percentile of the latency over all language-model turns.";
    TtsLatencySamples    = "tts_latency_samples",          Sum(TtsSamples),                                Count,        0, "Measured latencies of text-to-speech turns.";
    AvgTtsLatencyMs      = "avg_tts_latency_ms",           Mean(TtsLatencyUs, TtsSamples, 1000),           Milliseconds, 1, "Average latency over all text-to-speech turns.";
    P50TtsLatencyMs      = "p50_tts_latency_ms",           Percentile(Tts, 50),                            Milliseconds, 1, "Median latency over all text-to-speech turns.";
    P75TtsLatencyMs      = "p75_tts_latency_ms",           Percentile(Tts, 75),                            Milliseconds, 1, "75th percentile of the latency over all text-to-speech turns.";
    P90TtsLatencyMs      = "p90_tts_latency_ms",           Percentile(Tts, 90),                            Milliseconds, 1, "90th percentile of the latency over all text-to-speech turns.";
    P95TtsLatencyMs      = "p95_tts_latency_ms",           Percentile(Tts, 95),                            Milliseconds, 1, "95th percentile of the latency over all text-to-speech turns.";
    P99TtsLatencyMs      = "p99_tts_latency_ms",           Percentile(Tts, 99),                            Milliseconds, 1, "99th percentile of the latency over all text-to-speech turns.";
    AvgTurnLatencyMs     = "avg_turn_latency_ms",          Mean(TurnLatencyUs, TurnSamples, 1000),         Milliseconds, 1, "Average latency over all turns, from the user's last word to the agent's first.";
    P50TurnLatencyMs     = "p50_turn_latency_ms",          Percentile(Distribution::Turn, 50),             Milliseconds, 1, "Median latency over all turns, from the user's last word to the agent's first.";
    P75TurnLatencyMs     = "p75_turn_latency_ms",          Percentile(Distribution::Turn, 75),             Milliseconds, 1, "75th percentile of the latency over all turns, from the user's last word to the agent's first.";
    P90TurnLatencyMs     = "p90_turn_latency_ms",          Percentile(Distribution::Turn, 90),             Milliseconds, 1, "90th percentile of the latency over all turns, from the user's last word to the agent's first.";
    P95TurnLatencyMs     = "p95_turn_latency_ms",          Percentile(Distribution::Turn, 95),             Milliseconds, 1, "95th percentile of the latency over all turns, from the user's last word to the agent's first.";
    P99TurnLatencyMs     = "p99_turn_latency_ms",          Percentile(Distribution::Turn, 99),             Milliseconds, 1, "99th percentile of the latency over all turns, from the user's last word to the agent's first.";
    TotalErrors          = "total_errors",                 Sum(Errors),                                    Count,        0, "Errors of the calls, of any service and level.";
    ErrorsPerCall        = "errors_per_call",              Mean(Errors, Calls, 1),                         Count,        2, "Average number of errors of a call.";
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    /// A whole number.
    Whole(i64),
    /// Any number, not rounded.
    Real(f64),
}

impl Metric {
    /// The mean, the median, the 95th and the 99th percentile of the latencies of a stage.
    #[must_use]
    pub const fn latencies_of(stage: ProviderType) -> [Self; 4] {
        match stage {
            ProviderType::Stt => {
                [Self::AvgSttLatencyMs, Self::P50SttLatencyMs, Self::P95SttLatencyMs, Self::P99SttLatencyMs]
            }
            ProviderType::Llm => {
                [Self::AvgLlmLatencyMs, Self::P50LlmLatencyMs, Self::P95LlmLatencyMs, Self::P99LlmLatencyMs]
            }
            ProviderType::Tts => {
                [Self::AvgTtsLatencyMs, Self::P50TtsLatencyMs, Self::P95TtsLatencyMs, Self::P99TtsLatencyMs]
            }
        }
    }

    /// The measures that it is computed from.
    pub fn measures(self) -> impl Iterator<Item = Measure> {
        let (first, second) = match self.row().formula {
            Formula::Sum(measure) => (Some(measure), None),
            Formula::Known(first, second, _)
            | Formula::Mean(first, second, _)
            | Formula::Rate(first, second, _)
            | Formula::Difference(first, second)
            | Formula::Percentage(first, second) => (Some(first), Some(second)),
            Formula::Percentile(..) | Formula::ActiveCalls => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The measures that count what it rests on, which together are its base: the calls that give a number, the latencies.
    #[must_use]
    pub const fn base(self) -> (Measure, Option<Measure>) {
        match self.row().formula {
            Formula::Sum(measure) => (measure, None),
            Formula::Known(_, base, _) | Formula::Mean(_, base, _) | Formula::Rate(_, base, _) => (base, None),
            Formula::Percentage(part, rest) => (part, Some(rest)),
            Formula::Percentile(distribution, _) => (distribution.samples(), None),
            Formula::Difference(..) | Formula::ActiveCalls => (Calls, None),
        }
    }

    /// The distribution that it is computed from.
    #[must_use]
    pub const fn distribution(self) -> Option<Distribution> {
        if let Formula::Percentile(distribution, _) = self.row().formula { Some(distribution) } else { None }
    }

    /// Whether the groups of a dimension have what it is computed from.
    #[must_use]
    pub fn is_kept_by(self, dimension: Dimension) -> bool {
        match self.row().formula {
            Formula::Percentile(..) => dimension.has_distributions(),
            // They are counted among the calls themselves, which know their workflow.
            Formula::ActiveCalls => matches!(dimension, Dimension::Tenant | Dimension::Workflow),
            _ => self.measures().all(|measure| dimension.has_sum(measure)),
        }
    }

    /// Its value for some totals; none without data. `active_calls` is the number of calls that are active now.
    #[must_use]
    pub fn value(self, totals: &Totals, active_calls: u64) -> Option<MetricValue> {
        let sum = |measure| totals.sums[measure];
        match self.row().formula {
            Formula::Sum(measure) => Some(MetricValue::Whole(sum(measure))),
            Formula::Known(of, base, divisor) => (sum(base) > 0).then(|| {
                if divisor == 1 {
                    MetricValue::Whole(sum(of))
                } else {
                    MetricValue::Real(sum(of) as f64 / f64::from(divisor))
                }
            }),
            Formula::Difference(whole, part) => Some(MetricValue::Whole(sum(whole).wrapping_sub(sum(part)))),
            Formula::Rate(of, count, factor) => {
                mean(sum(of), sum(count)).map(|mean| MetricValue::Real(mean * f64::from(factor)))
            }
            Formula::Mean(of, count, divisor) => {
                mean(sum(of), sum(count)).map(|mean| MetricValue::Real(mean / f64::from(divisor)))
            }
            Formula::Percentage(part, rest) => {
                let whole = sum(part).wrapping_add(sum(rest));
                mean(sum(part), whole).map(|share| MetricValue::Real(100.0 * share))
            }
            Formula::Percentile(distribution, percent) => {
                totals.distribution(distribution)?.percentile_ms(percent).map(MetricValue::Real)
            }
            Formula::ActiveCalls => i64::try_from(active_calls).ok().map(MetricValue::Whole),
        }
    }
}

/// `sum / count`; none when nothing is counted.
fn mean(sum: i64, count: i64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(sums: &[(Measure, i64)]) -> Totals {
        let mut totals = Totals::default();
        for &(measure, value) in sums {
            totals.sums.add(measure, value);
        }
        totals
    }

    fn real(metric: Metric, totals: &Totals) -> Option<f64> {
        match metric.value(totals, 0) {
            Some(MetricValue::Real(value)) => Some(value),
            Some(MetricValue::Whole(value)) => panic!("{metric} is the whole number {value}"),
            None => None,
        }
    }

    #[test]
    fn what_has_no_data_has_no_value_unless_it_is_a_count() {
        for &metric in Metric::ALL {
            let is_count = matches!(metric.row().formula, Sum(_) | Difference(..) | ActiveCalls);
            let expected = is_count.then_some(MetricValue::Whole(0));
            assert_eq!(metric.value(&Totals::default(), 0), expected, "{metric}");
        }
    }

    #[test]
    fn a_call_without_a_known_end_does_not_touch_the_average_duration() {
        let totals = totals(&[(Calls, 2), (Failed, 2), (Ended, 1), (DurationUs, 2_000_000)]);
        assert_eq!(real(Metric::AvgDurationSeconds, &totals), Some(2.0));
        assert_eq!(real(Metric::SuccessRate, &totals), Some(0.0));
    }

    #[test]
    fn errors_per_call_counts_calls_without_errors() {
        assert_eq!(real(Metric::ErrorsPerCall, &totals(&[(Calls, 4), (Errors, 6)])), Some(1.5));
        assert_eq!(real(Metric::ErrorsPerCall, &totals(&[(Calls, 4)])), Some(0.0));
    }

    #[test]
    fn what_no_call_gives_is_unknown_and_what_some_give_is_over_those() {
        let none = totals(&[(Calls, 3)]);
        assert_eq!(Metric::Cost.value(&none, 0), None);
        assert_eq!(Metric::UnpricedCalls.value(&none, 0), Some(MetricValue::Whole(3)));
        let some = totals(&[
            (Calls, 3),
            (PricedCalls, 2),
            (CostMicrousd, 300_000),
            (PricedDurationUs, 120_000_000),
            (PricedSucceeded, 1),
        ]);
        let of = |metric| real(metric, &some).unwrap();
        assert_eq!((of(Metric::Cost), of(Metric::CostPerCall)), (0.3, 0.15));
        assert_eq!((of(Metric::CostPerMinute), of(Metric::CostPerSuccess)), (0.15, 0.3));
        assert_eq!(Metric::UnpricedCalls.value(&some, 0), Some(MetricValue::Whole(1)));
    }

    #[test]
    fn whole_numbers_have_no_decimals() {
        for &metric in Metric::ALL {
            let is_whole = matches!(metric.row().formula, Sum(_) | Known(_, _, 1) | Difference(..) | ActiveCalls);
            assert_eq!(metric.row().decimals == 0, is_whole, "{metric}");
        }
    }
}
