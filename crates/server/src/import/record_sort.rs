//! Puts the records of an import in the order of their starts: sums of calls that start together lie together, so that
//! writing them costs less. Records of one call stay in the order of the input.

use crate::import::sorter::{Place, Sorted, Sorter};
use callscope_api::record_order;
use callscope_domain::TenantId;
use std::io;

/// Memory for lines, and for what is noted of each.
const LINE_BYTES: usize = 64 << 20;
const NOTE_BYTES: usize = 16 << 20;

/// Takes lines in any order.
pub struct RecordSort {
    tenant: TenantId,
    /// Lines, by start.
    lines: Sorter,
    /// Starts, by call.
    starts: Sorter,
    count: u64,
}

impl RecordSort {
    pub const fn new(tenant: TenantId) -> Self {
        Self { tenant, lines: Sorter::new(LINE_BYTES), starts: Sorter::new(NOTE_BYTES), count: 0 }
    }

    /// Takes a line of the input. One that cannot be read comes out first, and is refused then.
    pub fn push(&mut self, position: u64, line: &[u8]) -> io::Result<()> {
        self.count += 1;
        let Some((id, start)) = record_order(line, self.tenant) else {
            return self.lines.push((i64::MIN, position), line);
        };
        let start = start.as_micros();
        let (high, low) = id.0.as_u64_pair();
        self.starts.push(((high ^ low).cast_signed(), position), &start.to_le_bytes())?;
        self.lines.push((start, position), line)
    }

    /// The lines in order, and how many there are.
    pub fn finish(self) -> io::Result<(SortedLines, u64)> {
        let late = lines_of_moved_calls(self.starts.finish()?)?;
        let lines = self.lines.finish()?;
        Ok((SortedLines { lines, late, held: Some(Sorter::new(LINE_BYTES)), last: None }, self.count))
    }
}

/// The places of lines that give their call another start than the lines before, and of those after them: they would
/// come out in another order than they went in.
fn lines_of_moved_calls(mut starts: Sorted) -> io::Result<Sorted> {
    let mut late = Sorter::new(NOTE_BYTES);
    let mut bytes = Vec::new();
    let (mut call, mut first, mut is_moved) = (None, 0, false);
    while let Some((key, position)) = starts.take(&mut bytes)? {
        let start = i64::from_le_bytes(bytes.as_slice().try_into().map_err(io::Error::other)?);
        if call != Some(key) {
            (call, first, is_moved) = (Some(key), start, false);
        }
        is_moved |= start != first;
        if is_moved {
            late.push((start, position), &[])?;
        }
    }
    late.finish()
}

/// Lines by start; then those of calls that were moved, as they came.
pub struct SortedLines {
    lines: Sorted,
    /// The places of lines that come last.
    late: Sorted,
    /// These lines, until all others are out.
    held: Option<Sorter>,
    last: Option<Sorted>,
}

impl SortedLines {
    /// The position of the next line, whose bytes are put in place of what `line` holds.
    pub fn take(&mut self, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
        while let Some(place) = self.lines.take(line)? {
            if self.late.peek() != Some(place) {
                return Ok(Some(place.1));
            }
            self.late.take(&mut Vec::new())?;
            if let Some(held) = &mut self.held {
                held.push(by_position(place), line)?;
            }
        }
        if let Some(held) = self.held.take() {
            self.last = Some(held.finish()?);
        }
        let Some(last) = &mut self.last else { return Ok(None) };
        Ok(last.take(line)?.map(|(_, position)| position))
    }
}

const fn by_position((_, position): Place) -> Place {
    (0, position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn line(call: u128, minute: u32) -> String {
        format!(r#"{{"call_id":"{}","started_at":"2026-01-17T10:{minute:02}:00Z"}}"#, Uuid::from_u128(call))
    }

    fn sorted(lines: &[String]) -> Vec<u64> {
        let mut sort = RecordSort::new(TenantId(Uuid::nil()));
        for (position, line) in (0..).zip(lines) {
            sort.push(position, line.as_bytes()).unwrap();
        }
        let (mut sorted, count) = sort.finish().unwrap();
        assert_eq!(count, lines.len() as u64);
        let (mut positions, mut bytes) = (Vec::new(), Vec::new());
        while let Some(position) = sorted.take(&mut bytes).unwrap() {
            assert_eq!(bytes, lines[usize::try_from(position).unwrap()].as_bytes());
            positions.push(position);
        }
        positions
    }

    #[test]
    fn lines_come_by_start_and_in_the_order_of_the_input_within_one() {
        assert_eq!(sorted(&[line(1, 30), line(2, 10), line(3, 20), line(4, 10), line(1, 30)]), [1, 3, 2, 0, 4]);
    }

    #[test]
    fn what_cannot_be_read_comes_first() {
        assert_eq!(sorted(&[line(1, 30), "{".to_owned(), line(2, 10), "[]".to_owned()]), [1, 3, 2, 0]);
    }

    #[test]
    fn lines_of_a_call_whose_start_changes_stay_in_their_order() {
        // Call 1 goes from 10:30 to 10:10 and back.
        assert_eq!(sorted(&[line(1, 30), line(1, 10), line(2, 20), line(1, 30), line(3, 5)]), [4, 2, 0, 1, 3]);
    }
}
