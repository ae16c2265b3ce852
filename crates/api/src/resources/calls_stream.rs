//! `GET /api/v1/sse/calls/stream`: the same events for browsers and curl.

use crate::HeadOnly;
use crate::auth::{AnalyticsRead, SocketAuthorized};
use crate::field::{FieldCode, Rule};
use crate::live::StreamSession;
use crate::live::filter::{EventFilter, FollowParams, event_id};
use crate::live::messages::{Notice, written};
use crate::problem::Problem;
use crate::problem_responses::problems;
use crate::state::ApiState;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, get, web};

use callscope_analytics::live::Follower;
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa_actix_web::service_config::ServiceConfig;

problems! {
    /// Of the stream.
    StreamProblems:
    MalformedRequest = "the query string is not valid percent-encoded UTF-8",
    AuthenticationError = "the API key is not valid",
    AuthorizationError = "the credential lacks the scope analytics:read",
    ValidationError = "since invalid_format: must be the id of an event, a whole number from 0 on",
    RateLimitExceeded = "the credential's limit of requests is reached",
    InternalError = "an unexpected error; the request id in X-Request-Id finds it in the server's log",
    Overloaded = "this tenant has too many sockets open; close some",
}

/// Which event a browser saw last before the connection was lost.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

/// The header in the document: a whole number that may be left out. (An optional type would also allow null, which no
/// header can be.)
struct LastEventId;

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0));
        let header = ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .description(Some("The id of the last event that was received"))
            .required(Required::False)
            .schema(Some(id));
        vec![header.build()]
    }
}

/// The routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(stream_calls);
}

/// Call events as they happen
///
/// Server-sent events of the tenant's calls, until the client closes the connection. The first event is `connected`, with
/// the number of active calls and the id of the last event. Then follow `call.started`, `call.ended`, `call.failed` and
/// `call.error`, each with an id; `active_count` when the number of active calls changes; and `dropped` with the number
/// of events that a slow client has missed.
///
/// A client that reconnects with `Last-Event-ID`, as browsers do, first gets the events that it missed, if they are still
/// kept (1 hour unless configured otherwise), else `reset`. The parameter `since` does the same; the header wins. A
/// comment is sent every 30 seconds, so that proxies keep the connection open.
///
/// The answer does not end, so a browser form cannot show it. To try it:
///
/// ```sh
/// curl -N -H "X-API-Key: $CALLSCOPE_KEY" http://localhost:8080/api/v1/sse/calls/stream
/// ```
#[utoipa::path(
    tag = "Live",
    params(FollowParams, LastEventId),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream",
         example = "event: call.ended\nid: 1042\ndata: {\"type\":\"call.ended\",\"id\":1042}\n\n"),
        StreamProblems
    ),
    security(("api_key" = []), ("bearer" = []))
)]
#[get("/api/v1/sse/calls/stream")]
async fn stream_calls(
    state: web::Data<ApiState>,
    request: HttpRequest,
    asked: SocketAuthorized<AnalyticsRead, FollowParams>,
) -> Result<HttpResponse, Problem> {
    let last_seen = match request.headers().get(LAST_EVENT_ID) {
        None => asked.params.since,
        Some(value) => {
            let id = value
                .to_str()
                .map_err(|_| Rule::new(FieldCode::InvalidFormat, "must be plain text"))
                .and_then(|text| event_id(text.trim()));
            Some(id.map_err(|fault| Problem::invalid_field(LAST_EVENT_ID.as_str(), fault))?)
        }
    };
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies must not collect it.
        .insert_header(("X-Accel-Buffering", "no"));
    if request.extensions().contains::<HeadOnly>() {
        return Ok(response.finish());
    }
    let session = state.sockets.open(&request, asked.credential)?;
    let follower = state.live.follow(asked.tenant, last_seen).await?;
    let mut greeting = format!("retry: {RETRY_MS}\n");
    // With the number of the last event before it, so that a client that loses the connection at once misses nothing.
    let start = last_seen.filter(|_| !follower.is_reset).map_or(follower.cursor.0, |id| id.0);
    push(&mut greeting, "connected", Some(start), &Notice::connected(asked.tenant, &follower).text());
    if follower.is_reset {
        let cursor = follower.cursor.0;
        push(&mut greeting, "reset", Some(cursor), &Notice::Reset { cursor }.text());
    }
    let listener = Listener {
        greeting: Some(greeting),
        follower,
        filter: EventFilter::new(asked.params),
        pause: state.sockets.limits().ping_interval,
        session,
        checked_at: Instant::now(),
    };
    let (sender, receiver) = mpsc::channel(1);
    let send_timeout = state.sockets.limits().send_timeout;
    actix_web::rt::spawn(listener.deliver(sender, send_timeout));
    let events = stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, Infallible>(web::Bytes::from(text)), receiver))
    });
    Ok(response.streaming(events))
}

struct Listener {
    greeting: Option<String>,
    follower: Follower,
    filter: EventFilter,
    /// How long the stream may be silent.
    pause: Duration,
    session: StreamSession,
    /// When the credential was last checked.
    checked_at: Instant,
}

impl Listener {
    /// Sends messages until the server shuts down, the client is gone, or the client does not read: such a client must
    /// not keep its slot in the quota.
    async fn deliver(mut self, sender: mpsc::Sender<String>, send_timeout: Duration) {
        loop {
            let text = tokio::select! {
                text = self.next() => text,
                () = sender.closed() => None,
            };
            let Some(text) = text else { return };
            if !matches!(timeout(send_timeout, sender.send(text)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// What is sent next; none when all is over.
    async fn next(&mut self) -> Option<String> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        if self.checked_at.elapsed() >= self.pause {
            if !self.session.is_authorized().await {
                return None;
            }
            self.checked_at = Instant::now();
        }
        let wanted = async {
            loop {
                match self.follower.next().await {
                    Ok(Some(message)) if self.filter.wants(&message) => return Some(message),
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "events could not be loaded");
                        return None;
                    }
                }
            }
        };
        let mut text = String::new();
        match timeout(self.pause, wanted).await {
            Ok(message) => {
                let (name, id, data) = written(&message?);
                push(&mut text, name, id, &data);
            }
            Err(_) => text.push_str(": still here\n\n"),
        }
        Some(text)
    }
}

/// Adds an event. The data is JSON, so it has no line breaks.
fn push(text: &mut String, name: &str, id: Option<i64>, data: &str) {
    let _ = writeln!(text, "event: {name}");
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "data: {data}\n\n");
}
