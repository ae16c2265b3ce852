//! How a window is answered: from which whole buckets, and from which calls at its edges.

use crate::time::{Span, Timestamp};
use crate::window::Window;
use crate::words;

/// The width of a rollup's buckets. Each divides the next one, and all are aligned to UTC.
///
/// The quarter of an hour stands between minute and hour for two reasons: a window's edges need at most 28 minute
/// buckets instead of 118, and zones that are off by 30 or 45 minutes find their hours and days in whole buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// One minute.
    Minute,
    /// Fifteen minutes.
    FifteenMinutes,
    /// One hour.
    Hour,
    /// One day of UTC.
    Day,
}

words!(Resolution { Minute = "minute", FifteenMinutes = "15m", Hour = "hour", Day = "day" });

impl Resolution {
    /// The width of a bucket.
    #[must_use]
    pub const fn width(self) -> Span {
        match self {
            Self::Minute => Span::from_minutes(1),
            Self::FifteenMinutes => Span::from_minutes(15),
            Self::Hour => Span::from_hours(1),
            Self::Day => Span::from_hours(24),
        }
    }

    /// The number that stands for it in storage. It never changes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Minute => 0,
            Self::FifteenMinutes => 1,
            Self::Hour => 2,
            Self::Day => 3,
        }
    }

    /// The next wider one.
    #[must_use]
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Minute => Some(Self::FifteenMinutes),
            Self::FifteenMinutes => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// The start of the bucket that holds an instant.
    #[must_use]
    pub const fn floor(self, instant: Timestamp) -> Timestamp {
        instant.floor(self.width())
    }

    /// The widest one that divides every instant given; `None` when not even the minute does.
    #[must_use]
    pub fn widest_dividing(instants: &[Timestamp]) -> Option<Self> {
        let divides = |resolution: Self| instants.iter().all(|&instant| resolution.floor(instant) == instant);
        Self::ALL.iter().rev().copied().find(|&resolution| divides(resolution))
    }
}

/// Adjacent buckets of one resolution: those that start in `[start, end)`, both of them bucket starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRange {
    /// The width of the buckets.
    pub resolution: Resolution,
    /// The start of the first bucket.
    pub start: Timestamp,
    /// The end of the last bucket.
    pub end: Timestamp,
}

/// A window taken apart: disjoint pieces that together cover each of its instants once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// Whole buckets, in order of time; at most [`Self::RANGES_MAX`].
    pub ranges: Vec<BucketRange>,
    /// Parts of a bucket of the finest resolution, at most two, to be answered from the calls themselves.
    pub edges: Vec<Window>,
    /// The narrowest buckets that it may use.
    finest: Resolution,
}

impl WindowPlan {
    /// One range of the coarsest resolution, and two of each finer one.
    pub const RANGES_MAX: usize = 2 * (Resolution::ALL.len() - 1) + 1;

    /// Most edges.
    pub const EDGES_MAX: usize = 2;

    /// Takes a window apart, using buckets of these widths and those between them.
    #[must_use]
    pub fn new(window: Window, finest: Resolution, coarsest: Resolution) -> Self {
        let (first, last) = (window.start().ceil(finest.width()), window.end().floor(finest.width()));
        if first > last {
            // The window lies inside one bucket.
            return Self { ranges: Vec::new(), edges: vec![window], finest };
        }
        let edges = [Window::new(window.start(), first), Window::new(last, window.end())];
        let mut ranges = Vec::with_capacity(Self::RANGES_MAX);
        cover(&mut ranges, first, last, finest, coarsest);
        Self { ranges, edges: edges.into_iter().flatten().collect(), finest }
    }

    /// A plan that reads all calls of a window, and no bucket.
    #[must_use]
    pub fn calls_of(window: Window) -> Self {
        Self { ranges: Vec::new(), edges: vec![window], finest: Resolution::Minute }
    }

    /// A plan that reads nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { ranges: Vec::new(), edges: Vec::new(), finest: Resolution::Minute }
    }

    /// The whole buckets that the edges lie in; they are in none of the ranges. Of calls that are no longer kept, an edge
    /// is answered from its bucket, see [`Self::is_answered_by_calls`].
    pub fn edge_buckets(&self) -> impl Iterator<Item = BucketRange> {
        let resolution = self.finest;
        self.edges.iter().map(move |edge| {
            let start = resolution.floor(edge.start());
            BucketRange { resolution, start, end: start + resolution.width() }
        })
    }

    /// Whether an edge that holds an instant is answered from its calls, and not from the bucket around it, when calls
    /// that started before `kept_from` are no longer kept.
    #[must_use]
    pub fn is_answered_by_calls(&self, instant: Timestamp, kept_from: Option<Timestamp>) -> bool {
        kept_from.is_none_or(|kept_from| self.finest.floor(instant) >= kept_from)
    }

    /// The window that an answer is about: an edge whose calls are no longer kept is rounded outward to its bucket.
    #[must_use]
    pub fn answered_window(&self, window: Window, kept_from: Option<Timestamp>) -> Window {
        let width = self.finest.width();
        let is_kept = |instant| self.is_answered_by_calls(instant, kept_from);
        let start = if is_kept(window.start()) { window.start() } else { window.start().floor(width) };
        let end = if is_kept(window.end()) { window.end() } else { window.end().ceil(width) };
        Window::new(start, end).unwrap_or(window)
    }
}

/// Covers `[start, end)`, both multiples of `resolution`, with the coarsest buckets in the middle.
fn cover(
    ranges: &mut Vec<BucketRange>,
    start: Timestamp,
    end: Timestamp,
    resolution: Resolution,
    coarsest: Resolution,
) {
    let mut push = |start: Timestamp, end: Timestamp| {
        if start < end {
            ranges.push(BucketRange { resolution, start, end });
        }
    };
    let inner = resolution
        .coarser()
        .filter(|&coarser| coarser <= coarsest)
        .map(|coarser| (coarser, start.ceil(coarser.width()), end.floor(coarser.width())))
        .filter(|(_, inner_start, inner_end)| inner_start < inner_end);
    match inner {
        None => push(start, end),
        Some((coarser, inner_start, inner_end)) => {
            push(start, inner_start);
            cover(ranges, inner_start, inner_end, coarser, coarsest);
            if inner_end < end {
                ranges.push(BucketRange { resolution, start: inner_end, end });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(start: i64, length: i64) -> Window {
        Window::new(Timestamp::from_micros(start), Timestamp::from_micros(start + length)).unwrap()
    }

    /// The pieces of a plan as spans, in order of time.
    fn pieces(plan: &WindowPlan) -> Vec<(Timestamp, Timestamp)> {
        let ranges = plan.ranges.iter().map(|range| (range.start, range.end));
        let mut pieces: Vec<_> = ranges.chain(plan.edges.iter().map(|edge| (edge.start(), edge.end()))).collect();
        pieces.sort();
        pieces
    }

    const DAY: i64 = 86_400_000_000;

    fn windows() -> impl Strategy<Value = Window> {
        let length = prop_oneof![1..100_000_000_i64, 1..DAY, 1..400 * DAY];
        (-1000 * DAY..30_000 * DAY, length).prop_map(|(start, length)| window(start, length))
    }

    proptest! {
        #[test]
        fn a_plan_covers_each_instant_of_its_window_once(
            window in windows(),
            finest in 0..Resolution::ALL.len(),
            coarsest in 0..Resolution::ALL.len(),
        ) {
            let plan = WindowPlan::new(window, Resolution::ALL[finest.min(coarsest)], Resolution::ALL[coarsest]);
            let pieces = pieces(&plan);
            prop_assert_eq!(pieces.first().unwrap().0, window.start());
            prop_assert_eq!(pieces.last().unwrap().1, window.end());
            prop_assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0));
            prop_assert!(pieces.iter().all(|(start, end)| start < end));
        }

        #[test]
        fn ranges_hold_whole_buckets_and_edges_parts_of_one(window in windows(), finest in 0..Resolution::ALL.len()) {
            let finest = Resolution::ALL[finest];
            let plan = WindowPlan::new(window, finest, Resolution::Day);
            prop_assert!(plan.ranges.len() <= WindowPlan::RANGES_MAX && plan.edges.len() <= 2);
            for range in &plan.ranges {
                prop_assert_eq!(range.resolution.floor(range.start), range.start);
                prop_assert_eq!(range.resolution.floor(range.end), range.end);
            }
            for edge in &plan.edges {
                prop_assert!(edge.end().since(edge.start()) < finest.width());
            }
        }

        #[test]
        fn a_month_takes_at_most_a_hundred_and_ten_buckets(start in 0..30_000 * DAY) {
            let plan = WindowPlan::new(window(start, 30 * DAY), Resolution::Minute, Resolution::Day);
            let buckets: i64 = plan
                .ranges
                .iter()
                .map(|range| range.end.since(range.start).as_micros() / range.resolution.width().as_micros())
                .sum();
            // 30 days, 2 * 23 hours, 2 * 3 quarters of an hour and 2 * 14 minutes.
            prop_assert!(buckets <= 110, "{buckets}");
        }
    }

    #[test]
    fn an_aligned_day_is_one_bucket() {
        let plan = WindowPlan::new(window(5 * DAY, DAY), Resolution::Minute, Resolution::Day);
        assert_eq!(plan.edges, []);
        assert_eq!(plan.ranges.len(), 1);
        assert_eq!(plan.ranges[0].resolution, Resolution::Day);
    }

    #[test]
    fn the_widest_resolution_that_divides_instants_is_found() {
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        assert_eq!(Resolution::widest_dividing(&[at(0), at(2 * 1440)]), Some(Resolution::Day));
        assert_eq!(Resolution::widest_dividing(&[at(0), at(60)]), Some(Resolution::Hour));
        assert_eq!(Resolution::widest_dividing(&[at(45), at(60)]), Some(Resolution::FifteenMinutes));
        assert_eq!(Resolution::widest_dividing(&[at(7)]), Some(Resolution::Minute));
        assert_eq!(Resolution::widest_dividing(&[Timestamp::from_micros(1)]), None);
        assert_eq!(Resolution::widest_dividing(&[]), Some(Resolution::Day));
    }
}
