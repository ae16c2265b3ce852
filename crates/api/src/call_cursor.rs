//! Where a page of a list of calls begins, as clients hold it.

use crate::field::{FieldCode, Rule};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callscope_analytics::call_list::ListPosition;
use callscope_domain::{CallId, Timestamp};
use uuid::Uuid;

/// A place in a list, as clients send it back: the value that it is ordered by, the start and the id.
pub fn cursor(text: &str) -> Result<ListPosition, Rule> {
    let rule = Rule::new(FieldCode::InvalidFormat, "must be the next_cursor of a page of the same list");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| rule.clone())?;
    let (value, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| rule.clone())?;
    let (start, id) = rest.split_first_chunk::<8>().ok_or_else(|| rule.clone())?;
    let id = Uuid::from_slice(id).map_err(|_| rule.clone())?;
    let start = Timestamp::from_micros(i64::from_be_bytes(*start));
    if !start.is_nameable() {
        return Err(rule);
    }
    Ok((i64::from_be_bytes(*value), (start, CallId(id))))
}

/// The text of a place in a list.
pub fn cursor_text((value, (start, id)): ListPosition) -> String {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes.extend_from_slice(&start.as_micros().to_be_bytes());
    bytes.extend_from_slice(id.0.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}
