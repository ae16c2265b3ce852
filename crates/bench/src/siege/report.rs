//! The table of a siege, on the terminal and as a document.

use crate::siege::battle::ATTACKER_NICE;
use crate::siege::verdict::{HEADINGS, Row};
use std::fmt::Write;
use std::path::Path;

/// Prints a row as soon as it is known.
pub fn print(row: &Row) {
    let cells: Vec<String> =
        HEADINGS.iter().zip(&row.cells).skip(3).map(|(heading, cell)| format!("  {heading}: {cell}")).collect();
    println!("\n{} on {} by {}\n{}", row.cells[0], row.cells[1], row.cells[2], cells.join("\n"));
}

/// Writes the document.
pub fn write(path: &Path, rows: &[Row], seconds: u64, described: &str) -> anyhow::Result<()> {
    let limits: std::collections::BTreeSet<&str> =
        rows.iter().map(|row| row.limit.as_str()).filter(|limit| !limit.is_empty()).collect();
    let limits: Vec<&str> = limits.into_iter().collect();
    let passed = rows.iter().filter(|row| row.is_passed).count();
    let mut text = format!(
        "# What attacks cost others\n\n\
         Written by `cargo xtask siege --report {}`: {passed} of {} attacks were withstood. Each attack runs for about \
         {seconds} s against a release build of its own, over a new database, with the default settings unless the list \
         below says otherwise. The server's memory is limited to {}.\n\n\
         `acme` and `initech` are tenants that attack, `a stranger` has no credential. Meanwhile a third tenant, \
         `globex`, asks for summaries of changing windows (50 a second), four of its agents put single calls (10 a \
         second each), and health checks come on connections of their own (10 a second of each kind). Times count from when a request is due, so a \
         server that stalls cannot hide it. The attackers' threads run with a nice value {ATTACKER_NICE} above that of \
         the server and of what measures, because all share one machine; an attacker on a machine of its own would send \
         faster, and the server would spend more on it.\n\n\
         An attack is withstood when the server lives on, reads and writes of `globex` have a 99th percentile of at most \
         10 times that without the attack (or 20 ms) and below 500 ms, none of them fails, each health check takes less \
         than 100 ms, the disk grows by at most 50 bytes for a byte sent (160 MiB are not judged: SQLite's write-ahead \
         log), and within 30 s afterwards memory, connections and answers are as before.\n\n",
        path.display(),
        rows.len(),
        limits.join(" or "),
    );
    writeln!(text, "| {} |", HEADINGS.join(" | "))?;
    writeln!(text, "|{}", " --- |".repeat(HEADINGS.len()))?;
    for row in rows {
        let cells: Vec<String> = row.cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    text.push('\n');
    text.push_str(described);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    Ok(())
}
