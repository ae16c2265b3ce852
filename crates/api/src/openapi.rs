//! The OpenAPI document, generated from the annotated handlers.

mod examples;

use crate::problem::Problem;
use crate::{analytics, asked, auth, resources, words};
use actix_web::App;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "callscope",
        description = "Analytics of voice-AI calls. Clients send one record per call; the analytics endpoints return exact \
            counts, averages and percentiles.\n\n\
            The credential decides the tenant. Send an API key in `X-API-Key`, or a key or token as \
            `Authorization: Bearer`. Every error is a problem document (RFC 9457): `code` identifies the kind of \
            problem, and `errors` names each invalid field. Every answer carries `X-Request-Id`.\n\n\
            Rate limits apply per credential. Answers to a limited credential carry `RateLimit-Limit` (the largest \
            burst), `RateLimit-Remaining` (requests left now) and `RateLimit-Reset` (seconds until the full burst is \
            available), also as `X-RateLimit-…`. A request over the limit gets 429 with `Retry-After`.",
        contact(name = "The operator of this server"),
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "Analytics", description = "Totals, time series, workflow and provider figures, and errors of the calls that started in a time window"),
        (name = "Calls", description = "List calls, and look at one whole"),
        (name = "Ingestion", description = "Send call records: one call, or a batch"),
        (name = "Connectors", description = "Receive the telemetry that agent frameworks send: set \
            `OTEL_EXPORTER_OTLP_ENDPOINT` to this server and `OTEL_EXPORTER_OTLP_HEADERS` to `x-api-key=KEY`"),
        (name = "Live", description = "Call events as they happen. Two WebSockets complement this stream: `/ws/calls` \
            sends the same events, and `/ws/analytics` sends updated figures"),
        (name = "Access", description = "Create, list and revoke API keys of the tenant; create tickets for sockets"),
        (name = "Health", description = "Health checks for load balancers and orchestrators. They need no credential")
    ),
    // Those that no answer and no body names: the builder does not look for them among parameters.
    components(schemas(Problem, resources::RpcStatus, words::Period, words::VolumeInterval, words::Level, words::Service)),
    modifiers(&Credentials)
)]
struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let key = ApiKeyValue::with_description(auth::API_KEY_HEADER, "An API key: cs_live_…");
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The same API key, or a JSON Web Token of the issuer that the server is configured for"))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Every route that the document describes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.configure(analytics::routes).configure(resources::routes);
}

#[must_use]
pub fn document() -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(Document::openapi()).configure(routes);
    let (_, mut document) = app.split_for_parts();
    asked::describe(&mut document);
    examples::complete(&mut document);
    document
}

#[cfg(test)]
mod bounds;
