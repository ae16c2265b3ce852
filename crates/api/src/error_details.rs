//! The schema of an error's details, which is the same in records and in answers.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// What a client says about an error: any JSON object.
pub struct ErrorDetails;

impl PartialSchema for ErrorDetails {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .description(Some("More about an error, in the client's own words: a JSON object of at most 16 KiB, nested at most 32 deep."))
            .examples([serde_json::json!({"timeout_ms": 5000, "retry_count": 3})])
            .into()
    }
}

impl ToSchema for ErrorDetails {}
