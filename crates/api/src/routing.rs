//! Requests that no route takes, and the list of all routes.

use crate::auth::count_page;
use crate::live::{ANALYTICS_SOCKET_PATH, CALLS_SOCKET_PATH};
use crate::methods::{READ_METHODS, method_not_allowed};
use crate::openapi::document;
use crate::problem::{Problem, ProblemCode};
use crate::resources::metrics::METRICS_PATH;
use crate::swagger::swagger_template;
use crate::{OPENAPI_PATH, ROOT_PATH, SWAGGER_PATH};
use actix_web::dev::ResourceDef;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::LazyLock;
use utoipa::openapi::path::PathItem;

/// The paths of the document and those of its own pages, with the methods that each takes.
static PATHS: LazyLock<Vec<(ResourceDef, String)>> = LazyLock::new(|| {
    let document = document();
    let described = document.paths.paths.iter().map(|(path, item)| (ResourceDef::new(path.as_str()), methods(item)));
    let pages = [
        ResourceDef::new(ROOT_PATH),
        ResourceDef::new(OPENAPI_PATH),
        ResourceDef::new(CALLS_SOCKET_PATH),
        ResourceDef::new(ANALYTICS_SOCKET_PATH),
        ResourceDef::prefix(SWAGGER_PATH.trim_end_matches('/')),
    ];
    described.chain(pages.map(|page| (page, READ_METHODS.to_owned()))).collect()
});

/// The templates of every route, as the framework names them: the routes that requests are counted by.
pub fn route_templates() -> impl Iterator<Item = String> {
    let described = PATHS.iter().filter_map(|(path, _)| path.pattern().map(str::to_owned));
    described.chain([swagger_template(), METRICS_PATH.to_owned()])
}

fn methods(item: &PathItem) -> String {
    let known = [(READ_METHODS, &item.get), ("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    let known: Vec<&str> = known.iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| *name).collect();
    known.join(", ")
}

/// For requests that no route takes: 405 where the path is known, else 404.
pub async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    count_page(&request)?;
    let known = PATHS.iter().find(|(path, _)| path.is_match(request.path()));
    let Some((_, methods)) = known else {
        return Err(Problem::new(ProblemCode::NotFound, "no operation has this path; see /swagger-ui/"));
    };
    Err(method_not_allowed(methods))
}
