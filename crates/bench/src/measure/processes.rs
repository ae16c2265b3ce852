//! How fast several server processes on one PostgreSQL take records in, of one tenant and of many.

use crate::client::{Batch, send};
use crate::measure::Bench;
use crate::records::{BATCH_RECORDS, batches};
use crate::report::{print_row, short};
use crate::server::{Server, create_tenant};
use std::sync::Arc;

/// Connections of the clients, however many processes there are.
const CONNECTIONS: usize = 8;
const PROCESSES: [usize; 3] = [1, 2, 4];

/// Measures ingestion by one, two and four processes.
pub fn measure(bench: &Bench) -> anyhow::Result<()> {
    let tenants = bench.arguments.tenants;
    let records = bench.records();
    let file = records.file(bench.folder)?;
    // A part will do: the first days of the month, as dense as the whole.
    let count = (records.calls / 4).div_ceil(BATCH_RECORDS).max(tenants);
    let batches: Vec<Batch> = batches(&file, &"".into())?.take(count).collect::<anyhow::Result<_>>()?;
    let calls: usize = batches.iter().map(|batch| batch.records).sum();
    println!("\n## {}: ingestion of {} calls by several processes", bench.engine.name(), short(calls));
    let heads = ["one tenant".to_owned(), format!("{tenants} tenants")];
    print_row("calls/s", heads.iter().map(|head| format!("{head:>14}{:>8}", "x")));
    let mut first = None;
    for processes in PROCESSES {
        let rates = [run(bench, &batches, processes, 1)?, run(bench, &batches, processes, tenants)?];
        let first = *first.get_or_insert(rates);
        let figures = rates.iter().zip(first).map(|(rate, first)| format!("{rate:>14.0}{:>8.2}", rate / first));
        print_row(&format!("processes: {processes}"), figures);
    }
    println!("(all processes, their clients and PostgreSQL share this machine's processors)");
    Ok(())
}

fn run(bench: &Bench, batches: &[Batch], processes: usize, tenants: usize) -> anyhow::Result<f64> {
    let database = bench.engine.create("processes")?;
    let keys = (0..tenants)
        .map(|index| create_tenant(&database, &format!("tenant-{index}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut servers = (0..processes).map(|_| Server::start(&database)).collect::<anyhow::Result<Vec<_>>>()?;
    database.checkpoint()?;
    let addresses: Vec<&str> = servers.iter().map(|server| server.address.as_str()).collect();
    let dealt = batches.iter().zip(keys.iter().cycle());
    let rate =
        send(&addresses, CONNECTIONS, dealt.map(|(batch, key)| Ok(Batch { key: Arc::clone(key), ..batch.clone() })))?;
    servers.iter_mut().try_for_each(Server::terminate)?;
    database.remove()?;
    Ok(rate)
}
