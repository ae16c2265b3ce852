//! The pages for people: Swagger UI, the document that it shows, and the way there from `/`.
//!
//! The assets are constants of the program and are sent without a copy. The file that starts Swagger UI is our own,
//! because it adds a plugin, which the library's configuration cannot.

use crate::auth::count_page;
use crate::openapi::document;
use crate::problem::{Problem, ProblemCode};
use crate::{OPENAPI_PATH, ROOT_PATH, SWAGGER_PATH};
use actix_web::dev::Payload;
use actix_web::guard::Get;
use actix_web::http::header::{self, ContentEncoding, ContentType, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use std::borrow::Cow;
use std::future::{Ready, ready};
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// The file of Swagger UI that starts it.
const INITIALIZER: &str = "swagger-initializer.js";
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

static INITIALIZER_TEXT: LazyLock<web::Bytes> =
    LazyLock::new(|| include_str!("swagger/initializer.js").replace("{document}", OPENAPI_PATH).into());
/// The document as it is sent. Serializing strings and numbers cannot fail.
static DOCUMENT: LazyLock<web::Bytes> = LazyLock::new(|| document().to_json().unwrap_or_default().into());

pub fn routes(config: &mut web::ServiceConfig) {
    let page = |path: &str| web::resource(path.to_owned()).guard(Get());
    config
        .service(page(ROOT_PATH).to(to_swagger_ui))
        .service(page(SWAGGER_PATH.trim_end_matches('/')).to(to_swagger_ui))
        .service(page(OPENAPI_PATH).to(get_document))
        .service(page(&swagger_template()).to(get_asset));
}

/// The route of everything that Swagger UI loads.
pub fn swagger_template() -> String {
    format!("{SWAGGER_PATH}{{_:.*}}")
}

/// A request that its client address may send now.
struct PageRequest;

impl FromRequest for PageRequest {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(count_page(request).map(|()| Self))
    }
}

async fn to_swagger_ui(_: PageRequest) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, SWAGGER_PATH)).finish()
}

async fn get_document(_: PageRequest) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT.clone())
}

async fn get_asset(_: PageRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    if path.as_str() == INITIALIZER {
        return Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JAVASCRIPT)).body(INITIALIZER_TEXT.clone()));
    }
    // The configuration is part of the initializer alone.
    let found = utoipa_swagger_ui::serve(&path, Arc::new(Config::default())).ok().flatten();
    let file = found.ok_or_else(|| Problem::new(ProblemCode::NotFound, "Swagger UI has no such file"))?;
    let mut response = HttpResponse::Ok();
    if file.gzpipped {
        response.insert_header(ContentEncoding::Gzip);
    }
    Ok(response.content_type(file.content_type).body(match file.bytes {
        Cow::Borrowed(bytes) => web::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }))
}
