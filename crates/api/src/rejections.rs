//! The rejected records of a batch, within a budget: a batch of nothing but long mistakes must not make an answer of
//! many megabytes.

use crate::field::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

/// Rejected records that are answered with all of their faults; the ones after them with the first.
const IN_FULL_MAX: usize = 1000;
/// Bytes of an answer up to which rejected records are answered with their faults.
const FAULTS_BYTES_MAX: usize = 1 << 20;
/// Bytes up to which they are named. The ones after them are counted.
const NAMES_BYTES_MAX: usize = 2 << 20;
/// Bytes of a rejected record and of a fault beside what is in them.
const RECORD_BYTES: usize = 48;
const FAULT_BYTES: usize = 72;

/// A record that was not accepted, and why.
#[derive(Serialize, ToSchema)]
pub struct RejectedRecord {
    /// Its place in the batch, from 0.
    #[schema(minimum = 0, example = 1)]
    pub index: usize,
    /// The call id that it gave, if it could be read.
    #[schema(required, example = "31c02e4f-12e0-4af0-869b-aab222503a09")]
    pub call_id: Option<String>,
    /// What is wrong with it: at most 20 faults, and after the first 1,000 rejected records only one. Empty where the
    /// answer would become longer than 1 MiB.
    #[schema(example = json!([{"field": "started_at", "code": "required", "message": "is required"}]))]
    pub errors: Vec<FieldError>,
}

/// Collects rejected records.
#[derive(Default)]
pub struct Rejections {
    /// Those that are named.
    pub records: Vec<RejectedRecord>,
    /// The number of the others.
    pub omitted: u64,
    bytes: usize,
}

impl Rejections {
    /// Adds a record, as far as there is room for it.
    pub fn add(&mut self, index: usize, call_id: Option<String>, mut errors: Vec<FieldError>) {
        if self.records.len() >= IN_FULL_MAX {
            errors.truncate(1);
        }
        let name = RECORD_BYTES + call_id.as_deref().map_or(0, escaped);
        let fault = |fault: &FieldError| FAULT_BYTES + escaped(&fault.field) + escaped(&fault.message);
        let faults: usize = errors.iter().map(fault).sum();
        if self.bytes + name > NAMES_BYTES_MAX {
            self.omitted += 1;
            return;
        }
        self.bytes += name;
        if self.bytes + faults <= FAULTS_BYTES_MAX {
            self.bytes += faults;
        } else {
            errors.clear();
        }
        self.records.push(RejectedRecord { index, call_id, errors });
    }
}

/// Bytes of a text in JSON.
fn escaped(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FieldCode, Rule};

    #[test]
    fn an_answer_is_bounded_whatever_is_wrong() {
        let mut rejections = Rejections::default();
        for index in 0..50_000 {
            let fault = FieldError::new("\u{1}".repeat(64), Rule::new(FieldCode::Unknown, "is not known here"));
            rejections.add(index, Some("\u{1}".repeat(64)), vec![fault; 20]);
        }
        assert_eq!(rejections.omitted + rejections.records.len() as u64, 50_000);
        assert!(rejections.omitted > 0 && rejections.records[0].errors.len() == 20);
        assert!(rejections.records.last().unwrap().errors.is_empty());
        let json = serde_json::to_vec(&rejections.records).unwrap();
        assert!((2_000_000..NAMES_BYTES_MAX + 1000).contains(&json.len()), "{}", json.len());
    }
}
