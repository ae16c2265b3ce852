//! A latency histogram that merges and subtracts without loss.
//!
//! The idea is that of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", VLDB 2019): cells whose bounds grow by a constant factor, so that every value of a cell
//! lies within a fixed relative distance of one representative. Two things differ. The bounds are whole microseconds
//! from an integer recurrence, so that a value falls in the same cell on every platform; and the counts are signed,
//! so that a histogram can be taken away from another one.

use crate::provider::Latency;
use crate::varint::{self, VarintFault};

/// Upper bound of the relative error of a percentile: any value of a cell stands for any other one of it.
#[cfg(test)]
const RELATIVE_ERROR_MAX: f64 = 0.005;

/// Cell `i` holds the latencies in `(BOUNDS[i - 1], BOUNDS[i]]`, in microseconds; cell 0 holds 1 µs alone.
const BOUNDS: [u32; CELLS] = bounds();
/// Some 3,300: one a microsecond up to 400 µs, then about two hundred for each factor of e.
const CELLS: usize = count_cells();

/// The bound after `bound`: at most 201/200 times as large, so that all values of a cell lie within 1/200 of each other,
/// and at least one microsecond more.
const fn next_bound(bound: u32) -> u32 {
    let grown = bound as u64 * 201 / 200;
    let last = Latency::MAX.as_micros();
    if grown >= last as u64 {
        return last;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below `last`, a u32")]
    let grown = grown as u32;
    if grown > bound { grown } else { bound + 1 }
}

const fn count_cells() -> usize {
    let mut bound = Latency::MIN.as_micros();
    let mut cells = 1;
    while bound < Latency::MAX.as_micros() {
        bound = next_bound(bound);
        cells += 1;
    }
    cells
}

const fn bounds() -> [u32; CELLS] {
    let mut bounds = [Latency::MIN.as_micros(); CELLS];
    let mut cell = 1;
    while cell < CELLS {
        bounds[cell] = next_bound(bounds[cell - 1]);
        cell += 1;
    }
    bounds
}

/// The first byte of every encoded histogram: it names the cell bounds and the layout of the bytes after it.
const VERSION: u8 = 1;

/// Counts of latencies by cell. The default is empty, which is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Non-zero counts by ascending cell. Short for a call, a few hundred cells for a month.
    counts: Vec<(u16, i64)>,
}

/// Why bytes are no histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramBytesFault {
    /// The first byte names a layout that this program does not know.
    #[error("histogram bytes have an unknown version")]
    UnknownVersion,
    /// The bytes end inside a number, or a number does not fit.
    #[error("histogram bytes are cut short or malformed")]
    Malformed,
    /// A cell beyond the last.
    #[error("histogram bytes name a cell that does not exist")]
    UnknownCell,
}

impl From<VarintFault> for HistogramBytesFault {
    fn from(_: VarintFault) -> Self {
        Self::Malformed
    }
}

impl LatencyHistogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Latency) {
        let cell = cell_of(latency);
        match self.counts.binary_search_by_key(&cell, |&(cell, _)| cell) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.wrapping_add(1),
            Err(at) => self.counts.insert(at, (cell, 1)),
        }
    }

    /// The number of latencies counted.
    #[must_use]
    pub fn len(&self) -> i64 {
        self.counts.iter().fold(0, |sum, &(_, count)| sum.wrapping_add(count))
    }

    /// Whether every cell is zero.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The nearest-rank percentile in milliseconds, within 0.5 % of the true one, and never outside the latencies that
    /// were counted: the upper end of the least cell is at least the least of them, the lower end of the greatest cell at
    /// most the greatest, and where there is one cell their mean lies among them. `percent` is 1 to 100, `sum_us` the sum
    /// of the latencies. `None` when nothing is counted.
    #[must_use]
    pub fn percentile_ms(&self, percent: u8, sum_us: i64) -> Option<f64> {
        let len = self.len();
        let rank = (i128::from(len) * i128::from(percent) + 99) / 100;
        let mut seen = 0_i128;
        let reaches_rank = |&&(_, count): &&(u16, i64)| {
            seen += i128::from(count);
            seen >= rank
        };
        let &(cell, _) = self.counts.iter().find(reaches_rank).filter(|_| len > 0)?;
        let (low, high) = ends_us(cell);
        let is = |end: Option<&(u16, i64)>| end.is_some_and(|&(of, _)| of == cell);
        let micros = match (is(self.counts.first()), is(self.counts.last())) {
            (true, true) => (sum_us as f64 / len as f64).clamp(low, high),
            (true, false) => high,
            (false, true) => low,
            // The value whose relative distance to both ends is the same.
            (false, false) => 2.0 * low * high / (low + high),
        };
        Some(micros / 1000.0)
    }

    /// Version byte, then runs of adjacent cells: `distance << 1` from the end of the run before for a run of one,
    /// `distance << 1 | 1` and the length for a longer one, then the counts. Numbers are LEB128, counts in zigzag
    /// form. A call's few cells take two bytes each, a month's hundreds of adjacent ones little more than one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.counts.len() * 3);
        bytes.push(VERSION);
        let mut end = 0;
        for run in self.counts.chunk_by(|left, right| left.0 + 1 == right.0) {
            let distance = run.first().map_or(0, |&(cell, _)| u64::from(cell) - end);
            if run.len() == 1 {
                varint::push(&mut bytes, distance << 1);
            } else {
                varint::push(&mut bytes, distance << 1 | 1);
                varint::push(&mut bytes, run.len() as u64);
            }
            for &(cell, count) in run {
                varint::push(&mut bytes, zigzag(count));
                end = u64::from(cell) + 1;
            }
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HistogramBytesFault> {
        let mut counts = Vec::with_capacity(bytes.len());
        decode(bytes, |cell, count| counts.push((cell, count)))?;
        Ok(Self { counts })
    }

    fn merge(&mut self, other: &Self, sign: i64) {
        if other.counts.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.counts.len() + other.counts.len());
        let mut left = self.counts.iter().copied().peekable();
        for &(cell, count) in &other.counts {
            while let Some(smaller) = left.next_if(|&(mine, _)| mine < cell) {
                merged.push(smaller);
            }
            let mine = left.next_if(|&(mine, _)| mine == cell).map_or(0, |(_, count)| count);
            let sum = mine.wrapping_add(count.wrapping_mul(sign));
            if sum != 0 {
                merged.push((cell, sum));
            }
        }
        merged.extend(left);
        self.counts = merged;
    }
}

/// Hears of each cell of encoded bytes, ascending.
fn decode(bytes: &[u8], mut on_cell: impl FnMut(u16, i64)) -> Result<(), HistogramBytesFault> {
    let (&version, mut rest) = bytes.split_first().ok_or(HistogramBytesFault::Malformed)?;
    if version != VERSION {
        return Err(HistogramBytesFault::UnknownVersion);
    }
    let mut cell = 0_u64;
    while !rest.is_empty() {
        let head = varint::take(&mut rest)?;
        let length = if head & 1 == 0 { 1 } else { varint::take(&mut rest)? };
        cell += head >> 1;
        let end = cell.checked_add(length).filter(|&end| end <= CELLS as u64);
        let end = end.ok_or(HistogramBytesFault::UnknownCell)?;
        while cell < end {
            #[expect(clippy::cast_possible_truncation, reason = "below CELLS")]
            on_cell(cell as u16, unzigzag(varint::take(&mut rest)?));
            cell += 1;
        }
    }
    Ok(())
}

/// A sum of many encoded histograms, through one array of all cells: made for the hundreds of a month.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    counts: Vec<i64>,
}

impl Default for HistogramSum {
    fn default() -> Self {
        Self { counts: vec![0; CELLS] }
    }
}

impl HistogramSum {
    /// Adds what [`LatencyHistogram::to_bytes`] wrote.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), HistogramBytesFault> {
        decode(bytes, |cell, count| {
            let sum = &mut self.counts[usize::from(cell)];
            *sum = sum.wrapping_add(count);
        })
    }
}

impl From<HistogramSum> for LatencyHistogram {
    fn from(sum: HistogramSum) -> Self {
        Self { counts: (0..).zip(sum.counts).filter(|&(_, count)| count != 0).collect() }
    }
}

impl std::ops::AddAssign<&Self> for LatencyHistogram {
    fn add_assign(&mut self, other: &Self) {
        self.merge(other, 1);
    }
}

impl std::ops::SubAssign<&Self> for LatencyHistogram {
    fn sub_assign(&mut self, other: &Self) {
        self.merge(other, -1);
    }
}

fn cell_of(latency: Latency) -> u16 {
    let cell = BOUNDS.partition_point(|&bound| bound < latency.as_micros());
    #[expect(clippy::cast_possible_truncation, reason = "at most CELLS - 1, since the last bound is Latency::MAX")]
    let cell = cell as u16;
    cell
}

/// The least and the greatest value of a cell, in microseconds.
fn ends_us(cell: u16) -> (f64, f64) {
    let high = f64::from(BOUNDS[usize::from(cell)]);
    let low = if cell == 0 { high } else { f64::from(BOUNDS[usize::from(cell) - 1] + 1) };
    (low, high)
}

const fn zigzag(count: i64) -> u64 {
    (count.cast_unsigned() << 1) ^ (count >> 63).cast_unsigned()
}

const fn unzigzag(encoded: u64) -> i64 {
    (encoded >> 1).cast_signed() ^ -((encoded & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latencies() -> impl Strategy<Value = Vec<Latency>> {
        // Evenly over the magnitudes, not over the values; half of them close together, in adjacent cells.
        prop::collection::vec(
            prop_oneof![0.0_f64..20.2, 9.0_f64..9.2].prop_map(|power| Latency::from_ms(power.exp() / 1000.0).unwrap()),
            0..200,
        )
    }

    fn histogram(latencies: &[Latency]) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        for &latency in latencies {
            histogram.record(latency);
        }
        histogram
    }

    fn sum_us(latencies: &[Latency]) -> i64 {
        latencies.iter().map(|latency| i64::from(latency.as_micros())).sum()
    }

    fn sum(left: &LatencyHistogram, right: &LatencyHistogram) -> LatencyHistogram {
        let mut sum = left.clone();
        sum += right;
        sum
    }

    #[test]
    fn the_cells_reach_from_a_microsecond_to_the_longest_latency() {
        assert_eq!((BOUNDS[0], BOUNDS[CELLS - 1]), (1, 600_000_000));
        assert!(BOUNDS.is_sorted_by(|left, right| left < right));
        assert!(u16::try_from(CELLS).is_ok());
    }

    #[test]
    fn the_ends_of_every_cell_are_within_the_error_bound_of_each_other() {
        for cell in 0..u16::try_from(CELLS).unwrap() {
            let (low, high) = ends_us(cell);
            assert!((high - low) / low <= RELATIVE_ERROR_MAX, "cell {cell}: {low} to {high}");
        }
    }

    #[test]
    fn percentiles_of_one_or_two_latencies_lie_among_them() {
        let percentiles = |samples: &[u32]| {
            let samples: Vec<Latency> = samples.iter().map(|&micros| Latency::from_micros(micros).unwrap()).collect();
            let percentile = |percent| histogram(&samples).percentile_ms(percent, sum_us(&samples)).unwrap();
            [50, 95].map(|percent| format!("{:.3}", percentile(percent)))
        };
        assert_eq!(percentiles(&[402_000]), ["402.000", "402.000"]);
        assert_eq!(percentiles(&[402_000, 403_000]), ["402.500", "402.500"]);
        assert_eq!(percentiles(&[402_000, 655_100]), ["403.036", "653.753"]);
    }

    #[test]
    fn an_empty_histogram_has_no_percentile() {
        assert_eq!(LatencyHistogram::default().percentile_ms(50, 0), None);
    }

    #[test]
    fn the_stored_layout_never_changes() {
        // Written by the first version. If this fails, databases can no longer be read: add a version instead.
        let samples = [1, 2, 2, 3, 100, 402_000].map(|micros| Latency::from_micros(micros).unwrap());
        let bytes = histogram(&samples).to_bytes();
        assert_eq!(bytes, [1, 1, 3, 2, 4, 2, 0xc0, 1, 2, 0x96, 0x1b, 2]);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let from = LatencyHistogram::from_bytes;
        assert_eq!(from(&[]), Err(HistogramBytesFault::Malformed));
        assert_eq!(from(&[2]), Err(HistogramBytesFault::UnknownVersion));
        assert_eq!(from(&[1, 4]), Err(HistogramBytesFault::Malformed));
        assert_eq!(from(&[1, 5, 2, 2]), Err(HistogramBytesFault::Malformed));
        assert_eq!(from(&[1, 0xfe, 0xff, 0x7f, 2]), Err(HistogramBytesFault::UnknownCell));
        assert_eq!(from(&[1, 1, 0xff, 0xff, 0x7f, 2]), Err(HistogramBytesFault::UnknownCell));
        assert_eq!(from(&[[1].as_slice(), &[0xff; 12]].concat()), Err(HistogramBytesFault::Malformed));
    }

    proptest! {
        #[test]
        fn percentiles_are_within_the_error_bound(mut samples in latencies(), percent in 1_u8..=100) {
            prop_assume!(!samples.is_empty());
            let estimate = histogram(&samples).percentile_ms(percent, sum_us(&samples)).unwrap();
            samples.sort();
            let rank = (samples.len() * usize::from(percent)).div_ceil(100);
            let exact = f64::from(samples[rank - 1].as_micros()) / 1000.0;
            prop_assert!((estimate - exact).abs() <= exact * RELATIVE_ERROR_MAX + 1e-9, "{estimate} for {exact}");
        }

        #[test]
        fn percentiles_are_never_outside_the_samples_even_after_subtraction(
            samples in latencies(),
            others in latencies(),
            percent in 1_u8..=100,
        ) {
            prop_assume!(!samples.is_empty());
            let mut rest = histogram(&[samples.clone(), others.clone()].concat());
            rest -= &histogram(&others);
            let estimate = rest.percentile_ms(percent, sum_us(&samples)).unwrap();
            let ms = |latency: Option<&Latency>| f64::from(latency.unwrap().as_micros()) / 1000.0;
            let (least, greatest) = (ms(samples.iter().min()), ms(samples.iter().max()));
            prop_assert!(least - 1e-9 <= estimate && estimate <= greatest + 1e-9, "{least} {estimate} {greatest}");
        }

        #[test]
        fn addition_is_commutative_and_associative(a in latencies(), b in latencies(), c in latencies()) {
            let (a, b, c) = (histogram(&a), histogram(&b), histogram(&c));
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
        }

        #[test]
        fn merging_equals_recording_everything_in_one(a in latencies(), b in latencies()) {
            prop_assert_eq!(sum(&histogram(&a), &histogram(&b)), histogram(&[a, b].concat()));
        }

        #[test]
        fn the_sum_of_many_equals_adding_one_after_the_other(
            many in prop::collection::vec((latencies(), 0_usize..20), 0..5),
        ) {
            // Counts of one byte, of two, of more.
            let doubled = |times: usize, samples| (0..times).fold(histogram(samples), |half, _| sum(&half, &half));
            let many: Vec<LatencyHistogram> = many.iter().map(|(samples, times)| doubled(*times, samples)).collect();
            let one_after_the_other = many.iter().fold(LatencyHistogram::default(), |left, right| sum(&left, right));
            let mut sum = HistogramSum::default();
            for histogram in &many {
                sum.add_bytes(&histogram.to_bytes()).unwrap();
            }
            prop_assert_eq!(LatencyHistogram::from(sum), one_after_the_other);
        }

        #[test]
        fn subtracting_what_was_added_leaves_the_rest(a in latencies(), b in latencies()) {
            let (a, b) = (histogram(&a), histogram(&b));
            let mut rest = sum(&a, &b);
            rest -= &b;
            prop_assert_eq!(&rest, &a);
            rest -= &a;
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn bytes_give_the_histogram_back_even_with_negative_counts(a in latencies(), b in latencies()) {
            let mut difference = histogram(&a);
            difference -= &histogram(&b);
            prop_assert_eq!(LatencyHistogram::from_bytes(&difference.to_bytes()), Ok(difference));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = LatencyHistogram::from_bytes(&bytes);
        }
    }
}
