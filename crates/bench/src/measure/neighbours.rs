//! What a tenant's reads cost when many others share its tables.

use crate::client::Batch;
use crate::measure::{Bench, reads};
use crate::records::{BATCH_RECORDS, Records, batches};
use crate::report::{Bound, short};
use crate::server::{Instance, create_tenant};
use std::collections::VecDeque;
use std::sync::Arc;

/// Asks a database with one tenant, and one where the same tenant has neighbours, in turn.
pub fn measure(bench: &mut Bench, alone: &Instance) -> anyhow::Result<()> {
    let (base, neighbours) = (bench.records(), bench.arguments.neighbours);
    let each = Records { calls: base.calls / 10, seed: 2, ..base };
    println!("\n## {}: {neighbours} other tenants of {} calls each", bench.engine.name(), short(each.calls));
    let crowded = Instance::create(bench.engine, "crowded")?;
    let keys = (0..neighbours)
        .map(|index| create_tenant(&crowded.database, &format!("neighbour-{index}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let own = batches(&base.file(bench.folder)?, &crowded.key)?;
    let others = batches(&each.file(bench.folder)?, &crowded.key)?.collect::<anyhow::Result<Vec<_>>>()?;
    let others = others.iter().flat_map(|batch| keys.iter().map(|key| Batch { key: Arc::clone(key), ..batch.clone() }));
    let rate = crowded.send(mix(own, others.collect(), base.calls.div_ceil(BATCH_RECORDS)))?;
    println!("all tenants ingested side by side: {rate:.0} calls/s");
    for instance in [alone, &crowded] {
        instance.database.settle()?;
    }
    let instances = [("alone".to_owned(), alone), ("crowded".to_owned(), &crowded)];
    let comparison = reads::compare(&instances, bench.arguments.questions, bench.end)?;
    comparison.print(&[(1, 0)]);
    let (question, ratio) = comparison.worst(1, 0);
    let claim = format!("p50 with {neighbours} neighbours / alone, worst: {question}");
    bench.report.claim(claim, ratio, Bound::AtMost(1.3));
    crowded.remove()
}

/// Spreads the others' batches evenly among so many of our own, so that rows of all tenants lie side by side.
fn mix(
    own: impl Iterator<Item = anyhow::Result<Batch>>,
    mut others: VecDeque<Batch>,
    own_count: usize,
) -> impl Iterator<Item = anyhow::Result<Batch>> {
    let between = others.len().div_ceil(own_count.max(1));
    own.flat_map(move |batch| {
        let others: Vec<_> = others.drain(..between.min(others.len())).map(Ok).collect();
        std::iter::once(batch).chain(others)
    })
}
