//! Random draws from one seeded source: chances, choices and the distributions that calls follow.

use std::f64::consts::TAU;
use std::ops::RangeInclusive;

use rand::distr::uniform::SampleUniform;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::{Builder, Uuid};

/// Where the upper tail begins to stretch, in standard deviations: one draw in about eighteen lies beyond.
const TAIL_START: f64 = 1.6;

/// How much faster the logarithm grows beyond [`TAIL_START`]; 2 doubles its slope.
const TAIL_SLOPE: f64 = 2.0;

/// A seeded source of draws.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    // Named, not `StdRng`, whose algorithm may change with any release of rand: a seed must keep its records.
    source: Xoshiro256PlusPlus,
    /// The second value of the last pair of normal draws.
    spare_normal: Option<f64>,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self { source: Xoshiro256PlusPlus::seed_from_u64(seed), spare_normal: None }
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.source.random()
    }

    /// True with this probability: never at 0 or below, always at 1 or above.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Uniform in the range, which must not be empty.
    pub(crate) fn within<T: SampleUniform + PartialOrd>(&mut self, range: RangeInclusive<T>) -> T {
        self.source.random_range(range)
    }

    /// One of the items, each as likely; there must be one.
    pub(crate) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.source.random_range(0..items.len())]
    }

    /// A version 4 id.
    pub(crate) fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.source.random()).into_uuid()
    }

    /// Exponential with mean 1: the gap between two arrivals of a steady stream.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.open_fraction().ln()
    }

    /// Log-normal with this median; `spread` is the standard deviation of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }

    /// Log-normal with a heavier upper tail, as network latencies have: at a spread of 0.45 the 99th percentile is
    /// four times the median instead of less than three.
    pub(crate) fn heavy_tailed(&mut self, median: f64, spread: f64) -> f64 {
        let deviation = self.normal();
        let beyond = (deviation - TAIL_START).max(0.0);
        median * (spread * (deviation + (TAIL_SLOPE - 1.0) * beyond)).exp()
    }

    /// Standard normal, by the Box-Muller transform.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let radius = (-2.0 * self.open_fraction().ln()).sqrt();
        let (sine, cosine) = (TAU * self.fraction()).sin_cos();
        self.spare_normal = Some(radius * sine);
        radius * cosine
    }

    /// Uniform in `(0, 1]`, so that it has a logarithm.
    fn open_fraction(&mut self) -> f64 {
        1.0 - self.fraction()
    }
}

/// Items, each chosen in proportion to its weight.
#[derive(Clone, Debug)]
pub(crate) struct Weighted<T> {
    items: Vec<T>,
    /// The sum of the weights up to and including each item's.
    cumulative: Vec<f64>,
}

impl<T> Weighted<T> {
    /// Takes at least one item; weights are above 0 and need not sum to anything.
    pub(crate) fn new(weighted: impl IntoIterator<Item = (T, f64)>) -> Self {
        let mut total = 0.0;
        let (items, cumulative) = weighted
            .into_iter()
            .map(|(item, weight)| {
                total += weight;
                (item, total)
            })
            .unzip();
        Self { items, cumulative }
    }

    pub(crate) fn pick(&self, draws: &mut Draws) -> &T {
        let last = self.items.len() - 1;
        let target = draws.fraction() * self.cumulative[last];
        let index = self.cumulative.partition_point(|&sum| sum <= target);
        &self.items[index.min(last)]
    }
}

/// The whole milliseconds in `value_ms`, fractions dropped.
#[expect(
    clippy::cast_possible_truncation,
    reason = "dropping the fraction is the purpose, and beyond the range the cast saturates"
)]
pub(crate) fn whole_ms(value_ms: f64) -> i64 {
    value_ms as i64
}
