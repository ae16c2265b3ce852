//! Differences of rollups: contributions by minute, summed up to the buckets of every resolution. Pure.

use callscope_domain::{Contribution, Dimension, Group, GroupId, Resolution, Timestamp, Totals};
use std::collections::BTreeMap;

/// What a row of a rollup is found by, in the order in which every writer must touch them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollupKey {
    /// The dimension.
    pub dimension: Dimension,
    /// The width of the bucket.
    pub resolution: Resolution,
    /// The group, by its number.
    pub group: GroupId,
    /// The start of the bucket.
    pub bucket: Timestamp,
}

/// A group that calls are in has no number, which is a bug, or somebody deleted it.
#[derive(Debug, thiserror::Error)]
#[error("a value of the dimension {0} that calls have is not among the groups of the tenant")]
pub struct UnknownGroup(pub Dimension);

/// Differences of rollups: those that are not zero, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollupDeltas {
    rows: Vec<(RollupKey, Totals)>,
}

/// The totals of groups in the finest buckets that they have, ascending.
pub type FinestBuckets = BTreeMap<(Dimension, GroupId), Vec<(Timestamp, Totals)>>;

impl RollupDeltas {
    /// The differences, in the order of their keys.
    #[must_use]
    pub fn rows(&self) -> &[(RollupKey, Totals)] {
        &self.rows
    }

    /// The same, by value.
    #[must_use]
    pub fn into_rows(self) -> Vec<(RollupKey, Totals)> {
        self.rows
    }

    /// The differences that stand in a map.
    #[must_use]
    pub fn from_map(rows: BTreeMap<RollupKey, Totals>) -> Self {
        Self { rows: rows.into_iter().filter(|(_, totals)| !totals.is_zero()).collect() }
    }

    /// Sums minutes up to every resolution that a dimension has; `find_id` gives the numbers of groups.
    pub fn from_minutes(minutes: Minutes, find_id: impl Fn(&Group) -> Option<GroupId>) -> Result<Self, UnknownGroup> {
        let mut groups = FinestBuckets::new();
        for (minute, contribution) in minutes {
            for (group, totals) in contribution.into_groups() {
                let id = find_id(&group).ok_or(UnknownGroup(group.dimension))?;
                groups.entry((group.dimension, id)).or_default().push((minute, totals));
            }
        }
        Ok(Self::from_finest(groups))
    }

    /// Sums the finest buckets of each group up to every resolution that its dimension has.
    #[must_use]
    pub fn from_finest(groups: FinestBuckets) -> Self {
        let mut rows = Vec::new();
        let mut groups = groups.into_iter().peekable();
        while let Some(&((dimension, _), _)) = groups.peek() {
            let mut by_resolution = [const { Vec::new() }; Resolution::ALL.len()];
            while let Some(((_, group), mut finer)) = groups.next_if(|((of, _), _)| *of == dimension) {
                for (&resolution, rows) in Resolution::ALL.iter().zip(&mut by_resolution) {
                    finer = coarser(finer, resolution);
                    if resolution >= dimension.narrowest() {
                        let key = |bucket| RollupKey { dimension, resolution, group, bucket };
                        let kept = |(bucket, totals): &(Timestamp, Totals)| {
                            (key(*bucket), totals.clone().kept_in(dimension, resolution))
                        };
                        rows.extend(finer.iter().map(kept).filter(|(_, totals)| !totals.is_zero()));
                    }
                }
            }
            rows.extend(by_resolution.into_iter().flatten());
        }
        Self { rows }
    }
}

/// Sums ascending buckets up to wider ones, and leaves out what is zero.
fn coarser(finer: Vec<(Timestamp, Totals)>, resolution: Resolution) -> Vec<(Timestamp, Totals)> {
    let mut sums: Vec<(Timestamp, Totals)> = Vec::with_capacity(finer.len());
    for (start, totals) in finer {
        let bucket = resolution.floor(start);
        match sums.last_mut() {
            Some((last, sum)) if *last == bucket => *sum += &totals,
            _ => sums.push((bucket, totals)),
        }
    }
    sums.retain(|(_, totals)| !totals.is_zero());
    sums
}

/// Contributions by minute.
pub type Minutes = BTreeMap<Timestamp, Contribution>;
