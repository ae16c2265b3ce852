//! The words of all sources made comparable: canonical names of providers, and categories of end reasons.
//!
//! The tables are data files in `mapping/`, embedded in the binary and parsed once. A source's own words stay in the
//! record beside the category.

mod end_reasons;
mod providers;

pub use end_reasons::{End, EndOverrides, EndTable, end_category, end_of, status_of};
pub use providers::{normalize_provider, provider_of_telemetry, vendor_of_model};
