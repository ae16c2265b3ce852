//! How this build compares with another one: the same records and the same questions for both, in turn.

use crate::client::Batch;
use crate::measure::{Bench, reads};
use crate::records::{Order, Records, batches};
use crate::report::{Bound, print_row, short};
use crate::server::{Instance, Program};
use std::time::{Duration, Instant};

/// Requests that one build gets before the other has its turn: some seconds of work.
const TURN_BATCHES: usize = 10;
/// Slower by this factor counts as a change and not as noise.
const TOLERANCE: f64 = 1.05;

/// Sends the same records to both builds in turn, in time order and shuffled, then asks both the same questions.
pub fn measure(bench: &mut Bench, other: &Program) -> anyhow::Result<()> {
    let records = bench.records();
    println!("\n## {}: this build against another one, {} calls", bench.engine.name(), short(records.calls));
    let shuffled = Pair::create(bench, other, "shuffled")?;
    shuffled.ingest(bench, "shuffled", &Records { order: Order::Shuffled, ..records })?;
    shuffled.remove()?;
    let pair = Pair::create(bench, other, "ordered")?;
    pair.ingest(bench, "in time order", &records)?;
    for instance in [&pair.this, &pair.other] {
        instance.database.settle()?;
    }
    let sizes = [&pair.this, &pair.other]
        .map(|instance| instance.database.sizes().map(|sizes| sizes.iter().map(|(_, bytes)| bytes).sum::<u64>()));
    let [this, other] = sizes;
    bench.report.claim("bytes on disk, this build / the other", this? as f64 / other? as f64, Bound::AtMost(1.25));
    let instances = [("this".to_owned(), &pair.this), ("other".to_owned(), &pair.other)];
    let comparison = reads::compare(&instances, bench.arguments.questions, bench.end)?;
    comparison.print(&[(0, 1)]);
    let (question, ratio) = comparison.worst(0, 1);
    bench.report.claim(format!("p50, this build / the other, worst: {question}"), ratio, Bound::AtMost(TOLERANCE));
    pair.remove()
}

/// A database and a server of each build.
struct Pair {
    this: Instance,
    other: Instance,
}

impl Pair {
    fn create(bench: &Bench, other: &Program, name: &str) -> anyhow::Result<Self> {
        let this = Instance::create(bench.engine, &format!("{name}-this"))?;
        Ok(Self { this, other: Instance::create_by(other, bench.engine, &format!("{name}-other"))? })
    }

    fn ingest(&self, bench: &mut Bench, how: &str, records: &Records) -> anyhow::Result<()> {
        let mut batches = batches(&records.file(bench.folder)?, &"".into())?.peekable();
        let mut times = [Duration::ZERO; 2];
        let mut first = 0;
        while batches.peek().is_some() {
            let turn: Vec<Batch> = batches.by_ref().take(TURN_BATCHES).collect::<anyhow::Result<_>>()?;
            for index in [first, 1 - first] {
                let instance = [&self.this, &self.other][index];
                let started = Instant::now();
                instance.send(turn.iter().map(|batch| Ok(Batch { key: instance.key.clone(), ..batch.clone() })))?;
                times[index] += started.elapsed();
            }
            // Neither build always comes second.
            first = 1 - first;
        }
        let rates = times.map(|time| records.calls as f64 / time.as_secs_f64());
        print_row(how, rates.iter().map(|rate| format!("{rate:>14.0}")));
        let resident = [self.this.server.resident_mib()?, self.other.server.resident_mib()?];
        print_row("resident MiB", resident.iter().map(|mib| format!("{mib:>14}")));
        let claim = format!("calls/s {how}, this build / the other");
        bench.report.claim(claim, rates[0] / rates[1], Bound::AtLeast(1.0 / TOLERANCE));
        Ok(())
    }

    fn remove(self) -> anyhow::Result<()> {
        self.this.remove()?;
        self.other.remove()
    }
}
