//! Reads at several sizes of one tenant, and what its calls take on disk.

use crate::measure::{Bench, plain_sql, reads};
use crate::records::Records;
use crate::report::{Bound, short};
use crate::server::Instance;

/// The most workflows that the generator knows.
const MANY_WORKFLOWS: usize = 200;
/// Which of the sizes is measured with many workflows as well.
const TWIN: usize = 1;

/// Measures reads of the loaded database, and of smaller and larger ones.
pub fn measure(bench: &mut Bench, loaded: &mut Instance) -> anyhow::Result<()> {
    let base = bench.records();
    println!("\n## {}: reads over HTTP, 30 days, uncached, unaligned edges", bench.engine.name());
    loaded.database.settle()?;
    let start_up = loaded.restart()?;
    print_sizes(loaded, base.calls)?;

    let others = import_others(bench, &base)?;
    let instances: Vec<(String, &Instance)> =
        others.iter().map(|(label, instance)| (label.clone(), instance.as_ref().unwrap_or(loaded))).collect();
    let (largest, wide) = (instances.len() - 2, instances.len() - 1);
    let comparison = reads::compare(&instances, bench.arguments.questions, bench.end)?;
    comparison.print(&[(largest, 0), (wide, TWIN)]);
    println!("wide: {MANY_WORKFLOWS} workflows instead of {}", base.workflows);
    let (question, ratio) = comparison.worst(largest, 0);
    let claim = format!("p50 at {} / at {} calls, worst: {question}", instances[largest].0, instances[0].0);
    bench.report.claim(claim, ratio, Bound::AtMost(2.0));
    println!("start-up with {} calls: {} ms until ready", short(base.calls), start_up.as_millis());
    println!("resident after reads: {} MiB", loaded.server.resident_mib()?);

    for (_, instance) in others {
        instance.map_or(Ok(()), Instance::remove)?;
    }
    plain_sql::summary(bench, loaded)?;
    plain_sql::provider_latency(bench, loaded, &base)
}

/// Databases of every size, the loaded one left out, and last one with many workflows; by what they are called.
fn import_others(bench: &Bench, base: &Records) -> anyhow::Result<Vec<(String, Option<Instance>)>> {
    let mut others = Vec::new();
    for calls in sizes(base.calls, bench.arguments.calls) {
        let name = format!("calls-{calls}");
        let import = || Instance::import(bench.engine, &name, &Records { calls, ..*base });
        let instance = (calls != base.calls).then(import).transpose()?;
        if let Some(larger) = instance.as_ref().filter(|_| calls > base.calls) {
            print_sizes(larger, calls)?;
        }
        others.push((short(calls), instance));
    }
    let wide = Records { calls: sizes(base.calls, base.calls)[TWIN], workflows: MANY_WORKFLOWS, ..*base };
    others.push((format!("{} wide", short(wide.calls)), Some(Instance::import(bench.engine, "wide", &wide)?)));
    Ok(others)
}

/// A hundredth of what is loaded, a tenth, all of it; then ten times as much, and so on, up to the largest.
fn sizes(loaded: usize, largest: usize) -> Vec<usize> {
    let larger = std::iter::successors(Some(loaded), |size| Some(size * 10)).take_while(|&size| size < largest);
    [loaded / 100, loaded / 10].into_iter().chain(larger).chain([largest]).collect()
}

fn print_sizes(loaded: &Instance, calls: usize) -> anyhow::Result<()> {
    let sizes = loaded.database.sizes()?;
    let total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    let per_call = |bytes: u64| bytes as f64 / calls as f64;
    let parts: Vec<String> =
        sizes.iter().map(|(name, bytes)| format!("{name} {:.0}", per_call(*bytes))).take(4).collect();
    println!(
        "{} calls on disk: {} MiB, {:.0} bytes a call ({})",
        short(calls),
        total >> 20,
        per_call(total),
        parts.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn sizes_grow_tenfold_up_to_the_largest() {
        assert_eq!(sizes(1_000_000, 1_000_000), [10_000, 100_000, 1_000_000]);
        assert_eq!(sizes(1_000_000, 10_000_000), [10_000, 100_000, 1_000_000, 10_000_000]);
        assert_eq!(sizes(1000, 30_000), [10, 100, 1000, 10_000, 30_000]);
    }
}
