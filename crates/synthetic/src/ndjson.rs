//! Writes records as newline-delimited JSON, the body of a bulk ingestion request.

use std::borrow::Borrow;
use std::io::{self, Write};

use crate::record::CallRecord;

/// Writes one line for each record, in the order given, each ended by a newline.
///
/// Records may be lent or handed over, so a million can be written while they are generated. A writer that is not
/// memory should be buffered. Fails only when the writer does.
pub fn write_ndjson<W: Write>(
    mut writer: W,
    records: impl IntoIterator<Item = impl Borrow<CallRecord>>,
) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut writer, record.borrow())?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}
