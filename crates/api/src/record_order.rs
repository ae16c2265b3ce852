//! Which call a record is of and when that started, without the rest of it: enough to put records in order before they
//! are read.

use crate::words::timestamp;
use callscope_domain::{CallId, ExternalId, Slug, TenantId, Timestamp};
use serde::Deserialize;
use std::borrow::Cow;
use uuid::Uuid;

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    external_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    started_at: Option<Cow<'a, str>>,
}

/// The call and its start as a record gives them; none if it does not, or gives them in a form that is refused.
#[must_use]
pub fn record_order(json: &[u8], tenant: TenantId) -> Option<(CallId, Timestamp)> {
    let fields: Fields<'_> = serde_json::from_slice(json).ok()?;
    let started_at = timestamp(&fields.started_at?).ok()?;
    let id = if let Some(text) = fields.call_id {
        CallId(text.parse::<Uuid>().ok()?)
    } else {
        let source = Slug::new(&*fields.source?).ok()?;
        CallId::derived(tenant, &source, &ExternalId::new(&*fields.external_id?).ok()?)
    };
    Some((id, started_at))
}
