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
    /// The first sum divided by the second, and by a number that turns the unit of storage into that of the metric.
    Mean(Measure, Measure, u32),
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
}

words!(Unit { Count = "count", Percent = "percent", Seconds = "seconds", Milliseconds = "ms" });

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

use Distribution::{Llm, Stt, Tts};
use Formula::{ActiveCalls, Mean, Percentage, Percentile, Sum};
use Measure::{
    Calls, Completed, DurationUs, Ended, Errors, Failed, LlmLatencyUs, LlmSamples, SttLatencyUs, SttSamples,
    TotalTokens, TtsLatencyUs, TtsSamples,
};

metrics! {
    TotalCalls         = "total_calls",          Sum(Calls),                           Count,        0, "Calls of any status that started in the window.";
    CompletedCalls     = "completed_calls",      Sum(Completed),                       Count,        0, "Calls that completed.";
    FailedCalls        = "failed_calls",         Sum(Failed),                          Count,        0, "Calls that failed, those included that were closed because their end never came.";
    ActiveCallsNow     = "active_calls",         ActiveCalls,                          Count,        0, "Calls that are active now, whatever the window.";
    AvgDurationSeconds = "avg_duration_seconds", Mean(DurationUs, Ended, 1_000_000),   Seconds,      1, "Average duration of the calls whose end is known.";
    SuccessRate        = "success_rate",         Percentage(Completed, Failed),        Percent,      1, "Percentage of the finished calls that completed.";
    TokensUsed         = "total_tokens",         Sum(TotalTokens),                     Count,        0, "Tokens that language models used.";
    AvgSttLatencyMs    = "avg_stt_latency_ms",   Mean(SttLatencyUs, SttSamples, 1000), Milliseconds, 1, "Average latency over all speech-to-text turns.";
    AvgLlmLatencyMs    = "avg_llm_latency_ms",   Mean(LlmLatencyUs, LlmSamples, 1000), Milliseconds, 1, "Average latency over all language-model turns.";
    AvgTtsLatencyMs    = "avg_tts_latency_ms",   Mean(TtsLatencyUs, TtsSamples, 1000), Milliseconds, 1, "Average latency over all text-to-speech turns.";
    P50SttLatencyMs    = "p50_stt_latency_ms",   Percentile(Stt, 50),                  Milliseconds, 1, "Median latency over all speech-to-text turns.";
    P95SttLatencyMs    = "p95_stt_latency_ms",   Percentile(Stt, 95),                  Milliseconds, 1, "95th percentile of the latency over all speech-to-text turns.";
    P99SttLatencyMs    = "p99_stt_latency_ms",   Percentile(Stt, 99),                  Milliseconds, 1, "99th percentile of the latency over all speech-to-text turns.";
    P50LlmLatencyMs    = "p50_llm_latency_ms",   Percentile(Llm, 50),                  Milliseconds, 1, "Median latency over all language-model turns.";
    P95LlmLatencyMs    = "p95_llm_latency_ms",   Percentile(Llm, 95),                  Milliseconds, 1, "95th percentile of the latency over all language-model turns.";
    P99LlmLatencyMs    = "p99_llm_latency_ms",   Percentile(Llm, 99),                  Milliseconds, 1, "99th percentile of the latency over all language-model turns.";
    P50TtsLatencyMs    = "p50_tts_latency_ms",   Percentile(Tts, 50),                  Milliseconds, 1, "Median latency over all text-to-speech turns.";
    P95TtsLatencyMs    = "p95_tts_latency_ms",   Percentile(Tts, 95),                  Milliseconds, 1, "95th percentile of the latency over all text-to-speech turns.";
    P99TtsLatencyMs    = "p99_tts_latency_ms",   Percentile(Tts, 99),                  Milliseconds, 1, "99th percentile of the latency over all text-to-speech turns.";
    TotalErrors        = "total_errors",         Sum(Errors),                          Count,        0, "Errors of the calls, of any service and level.";
    ErrorsPerCall      = "errors_per_call",      Mean(Errors, Calls, 1),               Count,        2, "Average number of errors of a call.";
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
            Formula::Mean(sum, count, _) => (Some(sum), Some(count)),
            Formula::Percentage(part, rest) => (Some(part), Some(rest)),
            Formula::Percentile(..) | Formula::ActiveCalls => (None, None),
        };
        first.into_iter().chain(second)
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
            let is_count = matches!(metric.row().formula, Formula::Sum(_) | Formula::ActiveCalls);
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
    fn whole_numbers_have_no_decimals() {
        for &metric in Metric::ALL {
            let is_whole = matches!(metric.row().formula, Formula::Sum(_) | Formula::ActiveCalls);
            assert_eq!(metric.row().decimals == 0, is_whole, "{metric}");
        }
    }
}
