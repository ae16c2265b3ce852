//! Sorts more than fits into memory: parts are sorted there, written to temporary files, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

/// Most temporary files that are open at one time.
const FILES_MAX: usize = 64;
/// Bytes that are read of each at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Where an entry belongs: by key, and among the same keys by position.
pub type Place = (i64, u64);

/// Takes entries in any order. What does not fit into memory goes to temporary files, which no one else can open and which
/// are gone with the process, however it ends.
pub struct Sorter {
    bytes_max: usize,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    files: Vec<File>,
}

/// An entry in memory.
struct Slot {
    place: Place,
    from: usize,
    to: usize,
}

impl Sorter {
    /// Keeps about so many bytes in memory.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: Vec::new(), slots: Vec::new(), files: Vec::new() }
    }

    pub fn push(&mut self, place: Place, bytes: &[u8]) -> io::Result<()> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.slots.push(Slot { place, from, to: self.bytes.len() });
        if self.bytes.len() + self.slots.len() * size_of::<Slot>() >= self.bytes_max {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.files.len() == FILES_MAX {
            let merged = write_file(&mut Sorted::new(std::mem::take(&mut self.files), Vec::new(), Vec::new())?)?;
            self.files.push(merged);
        }
        let (bytes, slots) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.slots));
        let mut part = Sorted::new(Vec::new(), bytes, slots)?;
        self.files.push(write_file(&mut part)?);
        // Their room is used again.
        (self.bytes, self.slots) = (part.bytes, part.slots);
        self.bytes.clear();
        self.slots.clear();
        Ok(())
    }

    /// The entries in order.
    pub fn finish(self) -> io::Result<Sorted> {
        Sorted::new(self.files, self.bytes, self.slots)
    }
}

/// Entries in order.
pub struct Sorted {
    files: Vec<BufReader<File>>,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// The next entry in memory.
    next: usize,
    /// The next entry of each file, and of memory, which counts as the last file.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
}

impl Sorted {
    fn new(files: Vec<File>, bytes: Vec<u8>, mut slots: Vec<Slot>) -> io::Result<Self> {
        slots.sort_unstable_by_key(|slot| slot.place);
        let files = files.into_iter().map(|file| BufReader::with_capacity(BUFFER_BYTES, file)).collect();
        let mut sorted = Self { files, bytes, slots, next: 0, heads: BinaryHeap::new() };
        for source in 0..=sorted.files.len() {
            sorted.advance(source)?;
        }
        Ok(sorted)
    }

    /// The place of the next entry.
    pub fn peek(&self) -> Option<Place> {
        self.heads.peek().map(|Reverse((place, _))| *place)
    }

    /// Takes the next entry out, and puts its bytes in place of what `bytes` holds.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<Place>> {
        let Some(Reverse((place, source))) = self.heads.pop() else { return Ok(None) };
        bytes.clear();
        if let Some(file) = self.files.get_mut(source) {
            let length = read_u64(file)?;
            let read = file.take(length).read_to_end(bytes)?;
            if read as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            let Slot { from, to, .. } = self.slots[self.next];
            bytes.extend_from_slice(&self.bytes[from..to]);
            self.next += 1;
        }
        self.advance(source)?;
        Ok(Some(place))
    }

    /// Notes the next entry of a file or of memory, if there is one.
    fn advance(&mut self, source: usize) -> io::Result<()> {
        let place = match self.files.get_mut(source) {
            Some(file) => read_place(file)?,
            None => self.slots.get(self.next).map(|slot| slot.place),
        };
        self.heads.extend(place.map(|place| Reverse((place, source))));
        Ok(())
    }
}

/// Writes entries to a temporary file, each with its place and length, and goes back to its begin.
fn write_file(entries: &mut Sorted) -> io::Result<File> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile()?);
    let mut bytes = Vec::new();
    while let Some((key, position)) = entries.take(&mut bytes)? {
        file.write_all(&key.to_le_bytes())?;
        file.write_all(&position.to_le_bytes())?;
        file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        file.write_all(&bytes)?;
    }
    let mut file = file.into_inner()?;
    file.rewind()?;
    Ok(file)
}

fn read_place(file: &mut impl io::BufRead) -> io::Result<Option<Place>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    Ok(Some((read_u64(file)?.cast_signed(), read_u64(file)?)))
}

fn read_u64(file: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(bytes_max: usize, entries: &[(Place, Vec<u8>)]) -> Vec<(Place, Vec<u8>)> {
        let mut sorter = Sorter::new(bytes_max);
        for (place, bytes) in entries {
            sorter.push(*place, bytes).unwrap();
        }
        let mut merged = sorter.finish().unwrap();
        let (mut all, mut bytes) = (Vec::new(), Vec::new());
        while let Some(place) = merged.take(&mut bytes).unwrap() {
            all.push((place, bytes.clone()));
        }
        assert_eq!(merged.peek(), None);
        all
    }

    #[test]
    fn entries_are_in_order_whether_they_fit_into_memory_or_not() {
        let entry = |number: u64| {
            let key = (number * 7919 % 100).cast_signed() - 50;
            ((key, number), vec![b'x'; usize::try_from(number % 50).unwrap()])
        };
        let entries: Vec<_> = (0..2000).map(entry).collect();
        let mut expected = entries.clone();
        expected.sort();
        // All in memory; some files; more files than may be open; each entry in a file of its own.
        for bytes_max in [usize::MAX, 20_000, 500, 1] {
            assert_eq!(sorted(bytes_max, &entries), expected, "{bytes_max}");
        }
        assert_eq!(sorted(1, &[]), []);
    }
}
