//! Schemas that no wire type has by itself: one record in two roles, and the records of a batch.

use crate::record::CallRecord;
use std::borrow::Cow;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// A record that no path names the call of: the same as one that a path does, but for the call's id.
pub struct BatchRecord;

const CALL_ID: &str = "call_id";
const CALL_ID_DESCRIPTION: &str = "The call's id, unique within the tenant. Required, unless `source` and \
    `external_id` are given: they then make the id.";

impl PartialSchema for BatchRecord {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut record)) = CallRecord::schema() else { return CallRecord::schema() };
        if let Some(RefOr::T(Schema::Object(call_id))) = record.properties.get_mut(CALL_ID) {
            call_id.description = Some(CALL_ID_DESCRIPTION.to_owned());
        }
        record.into()
    }
}

impl ToSchema for BatchRecord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("CallRecord")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        CallRecord::schemas(schemas);
    }
}

/// The records of a batch as one JSON value.
pub struct BatchRecords;

impl PartialSchema for BatchRecords {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Ref::from_schema_name(BatchRecord::name())).min_items(Some(1)).into()
    }
}

impl ToSchema for BatchRecords {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((BatchRecord::name().into_owned(), BatchRecord::schema()));
        BatchRecord::schemas(schemas);
    }
}

/// The records of a batch as lines: at least one of them is not blank.
pub struct BatchLines;

impl PartialSchema for BatchLines {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some(r"\S")).into()
    }
}

impl ToSchema for BatchLines {}
