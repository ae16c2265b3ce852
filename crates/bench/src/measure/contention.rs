//! How long answers take while records of the same tenant go in at full speed.

use crate::client::Asker;
use crate::measure::Bench;
use crate::measure::reads::{Latency, Windows};
use crate::records::{Records, batches};
use crate::report::{Bound, short};
use crate::server::Instance;
use std::time::Duration;

/// Between two questions: modest, so that the reader itself is no load.
const PAUSE: Duration = Duration::from_millis(20);

/// How much less urgent the senders are, in steps of `nice`.
const SENDERS_NICE: i32 = 10;

/// Asks one question after the other: idle, during ingestion, idle again.
pub fn measure(bench: &mut Bench, instance: &Instance) -> anyhow::Result<()> {
    // Other calls of the same days.
    let records = Records { seed: 3, ..bench.records() };
    println!("\n## {}: summary while {} more calls go in", bench.engine.name(), short(records.calls));
    let file = records.file(bench.folder)?;
    instance.database.settle()?;
    let (asker, mut windows) = (instance.asker(), Windows::new(bench.end));
    let has_enough = |times: &[Duration]| times.len() >= bench.arguments.questions;
    ask_until(has_enough, &asker, &mut windows)?;
    let mut idle = ask_until(has_enough, &asker, &mut windows)?;
    let (rate, mut busy) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            // Who sends is elsewhere in life: it must not take processors from who is measured, which it would not there.
            // Its threads inherit this.
            rustix::process::nice(SENDERS_NICE)?;
            instance.send(batches(&file, &instance.key)?)
        });
        let busy = ask_until(|_| sender.is_finished(), &asker, &mut windows);
        let rate = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        anyhow::Ok((rate, busy?))
    })?;
    idle.extend(ask_until(has_enough, &asker, &mut windows)?);
    let (idle, busy, questions) = (Latency::from(&mut idle[..]), Latency::from(&mut busy[..]), busy.len());
    println!("idle, before and after: p50 {:.2} ms, p99 {:.2} ms", idle.p50, idle.p99);
    println!("during {rate:.0} calls/s: p50 {:.2} ms, p99 {:.2} ms, of {questions} questions", busy.p50, busy.p99);
    println!("p50 during ingestion / idle: {:.2}", busy.p50 / idle.p50);
    bench.report.claim("p99 of summary during ingestion / idle", busy.p99 / idle.p99, Bound::AtMost(5.0));
    Ok(())
}

fn ask_until(
    is_over: impl Fn(&[Duration]) -> bool,
    asker: &Asker,
    windows: &mut Windows,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !is_over(&times) {
        times.push(asker.ask(&windows.draw().path("summary", ""))?.1);
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}
