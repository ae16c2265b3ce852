//! What the read endpoints are asked, and how they answer: from the cache if they can, and with no body where the client
//! has it already.

use crate::auth::{AnalyticsRead, Authorized};
use crate::cache::{Answer, Question};
use crate::params::{NoParams, Query, QueryParams};
use crate::problem::{Problem, ProblemCode};
use crate::responses::rfc3339;
use crate::state::ApiState;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use callscope_domain::{TenantId, Window};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use std::marker::PhantomData;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, ResponseBuilder};

/// Names the window that an answer is about. Where retention has deleted calls, an edge inside a minute is answered from
/// the whole minute.
const ANSWERED_WINDOW: HeaderName = HeaderName::from_static("x-answered-window");
/// Figures are their tenant's alone, and whoever keeps them asks whether they are still true.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");
/// What decides whose figures they are.
const VARY: HeaderValue = HeaderValue::from_static("X-API-Key, Authorization");

/// Where the operations are that answer so.
const QUESTIONS_PATH: &str = "/api/v1/analytics/";

/// A question of someone who may ask it. Its query string is not read yet: an answer that is kept needs none of that.
pub struct Asked<P = NoParams> {
    tenant: TenantId,
    request: HttpRequest,
    params: PhantomData<P>,
}

impl<P: QueryParams> FromRequest for Asked<P> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let authorized = Authorized::<AnalyticsRead, Unread>::from_request(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let Authorized { tenant, params: Unread, .. } = authorized.await?;
            Ok(Self { tenant, request, params: PhantomData })
        })
    }
}

/// Parameters that are left in the query string.
struct Unread;

impl QueryParams for Unread {
    fn take(_: &mut Query) -> Self {
        Self
    }

    fn from_query_string(_: &str) -> Result<Self, Problem> {
        Ok(Self)
    }
}

impl<P: QueryParams> Asked<P> {
    /// The answer that is kept, or what `ask` gives for the tenant and the parameters. The operation is the name that the
    /// question is known by, with what its path says.
    pub async fn answer(
        self,
        state: &ApiState,
        operation: &str,
        ask: impl AsyncFnOnce(TenantId, P) -> Result<Answer, Problem>,
    ) -> Result<HttpResponse, Problem> {
        let query_string = self.request.query_string();
        let ask = async || ask(self.tenant, P::from_query_string(query_string)?).await;
        answer_as(state, self.tenant, operation, query_string, self.request.headers(), ask).await
    }
}

/// The answer to a question that is kept, or what `ask` gives; `text` is all that the question says.
pub async fn answer_as(
    state: &ApiState,
    tenant: TenantId,
    operation: &str,
    text: &str,
    headers: &HeaderMap,
    ask: impl AsyncFnOnce() -> Result<Answer, Problem>,
) -> Result<HttpResponse, Problem> {
    let load = async {
        let taken = state.answers_in_work.take(tenant).await;
        let overloaded = |_| Problem::new(ProblemCode::Overloaded, "too many answers of this tenant are being made");
        let _turn = taken.map_err(overloaded)?;
        let asked = tokio::time::timeout(state.limits.request_timeout, Box::pin(ask())).await;
        asked.map_err(|_| Problem::new(ProblemCode::Unavailable, "the database took too long to answer"))?
    };
    let question = Question { tenant, operation, query_string: text };
    let (answer, found) = state.cache.answer(question, load).await?;
    state.metrics.answers.count(found);
    Ok(respond(&answer, headers))
}

/// An answer without a window.
pub fn plain_answer(body: &impl Serialize) -> Result<Answer, Problem> {
    Ok(Answer::new(json(body)?, None))
}

/// The answer to a question about a window, and the window that was answered.
pub fn answer(body: &impl Serialize, answered_window: Window) -> Result<Answer, Problem> {
    let window = format!("{}/{}", rfc3339(answered_window.start()), rfc3339(answered_window.end()));
    Ok(Answer::new(json(body)?, HeaderValue::from_str(&window).ok()))
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer is no JSON");
        Problem::internal()
    })
}

fn respond(answer: &Answer, asked: &HeaderMap) -> HttpResponse {
    let is_known = is_known(asked, &answer.tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, answer.tag.clone()))
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::VARY, VARY));
    if let Some(window) = &answer.window {
        response.insert_header((ANSWERED_WINDOW, window.clone()));
    }
    if is_known {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, JSON)).body(answer.body.clone())
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether a client says in `If-None-Match` that it has what this tag stands for (RFC 9110, 13.1.2: the comparison is
/// the weak one).
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

/// Says of every operation that answers so what its answers carry.
pub fn describe(document: &mut OpenApi) {
    for (_, item) in document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with(QUESTIONS_PATH)) {
        let Some(operation) = &mut item.get else { continue };
        let responses = &mut operation.responses.responses;
        if let Some(RefOr::T(answer)) = responses.get_mut("200") {
            answer.headers.extend(headers());
        }
        let not_modified =
            ResponseBuilder::new().description("The answer has not changed since the one named in `If-None-Match`");
        let mut not_modified = not_modified.build();
        not_modified.headers.extend(headers());
        responses.insert("304".to_owned(), not_modified.into());
    }
}

/// What is said of them.
const HEADERS: &[(&str, &str)] = &[
    ("ETag", "A strong validator. Send it as `If-None-Match` to get 304 without a body while the answer is the same"),
    ("Cache-Control", "The client may keep the answer, and must revalidate it before each use"),
    ("Vary", "The headers that carry the credential"),
];

fn headers() -> impl Iterator<Item = (String, RefOr<Header>)> {
    HEADERS.iter().map(|&(name, description)| {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let header = HeaderBuilder::new().schema(Some(text)).description(Some(description)).build();
        (name.to_owned(), header.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_list_and_weakly_and_as_any() {
        let tag = HeaderValue::from_static("\"a\"");
        let knows = |lists: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(list));
            }
            is_known(&headers, &tag)
        };
        for lists in [&["\"a\""][..], &["W/\"a\""], &["*"], &["\"b\", \"a\""], &["\"b\"", "\"c\",\"a\""]] {
            assert!(knows(lists), "{lists:?}");
        }
        for lists in [&[][..], &[""], &["a"], &["\"b\""], &["w/\"a\""], &["\"a\"b"]] {
            assert!(!knows(lists), "{lists:?}");
        }
    }
}
