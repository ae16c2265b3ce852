//! How fast records go in over HTTP: in time order, against the floor, and in disorder.

use crate::measure::Bench;
use crate::measure::floor;
use crate::records::{Order, Records, batches};
use crate::report::{Bound, short};
use crate::server::Instance;

/// Measures ingestion; gives the database that was loaded in time order.
pub fn measure(bench: &mut Bench) -> anyhow::Result<Instance> {
    let records = bench.records();
    println!("\n## {}: ingestion of {} calls over HTTP", bench.engine.name(), short(records.calls));
    let loaded = Instance::create(bench.engine, "large")?;
    let in_order = load(bench, &loaded, &records)?;
    println!("in time order: {in_order:.0} calls/s");
    println!("resident after ingestion: {} MiB", loaded.server.resident_mib()?);

    let floor = floor::measure(bench.engine, &loaded)?;
    println!("the floor, the same rows into a bare table of calls: {floor:.0} calls/s");
    bench.report.claim("ingestion in time order / the floor", in_order / floor, Bound::AtLeast(0.25));

    let shuffled = Instance::create(bench.engine, "shuffled")?;
    let in_disorder = load(bench, &shuffled, &Records { order: Order::Shuffled, ..records })?;
    println!("shuffled over 30 days: {in_disorder:.0} calls/s");
    bench.report.claim("ingestion shuffled / in time order", in_disorder / in_order, Bound::AtLeast(0.2));
    println!("resident after shuffled ingestion: {} MiB", shuffled.server.resident_mib()?);
    shuffled.remove()?;
    Ok(loaded)
}

fn load(bench: &Bench, instance: &Instance, records: &Records) -> anyhow::Result<f64> {
    let file = records.file(bench.folder)?;
    instance.database.checkpoint()?;
    instance.send(batches(&file, &instance.key)?)
}
