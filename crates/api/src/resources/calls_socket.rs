//! `GET /ws/calls`: the calls of a tenant as they happen.

use crate::auth::{AnalyticsRead, SocketAuthorized};
use crate::live::filter::{CALLS_MAX, EventFilter, FollowParams};
use crate::live::messages::{Notice, written};
use crate::live::socket::{End, Incoming, Socket};
use crate::problem::Problem;
use crate::state::ApiState;
use actix_web::{HttpRequest, HttpResponse, web};
use callscope_analytics::live::Follower;
use callscope_domain::CallId;
use serde::Deserialize;
use uuid::Uuid;

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    Subscribe { call_id: Uuid },
    Unsubscribe { call_id: Uuid },
    Ping {},
}

const NOT_UNDERSTOOD: &str = "not understood; send {\"action\":\"subscribe\",\"call_id\":\"…\"}, \
                              {\"action\":\"unsubscribe\",\"call_id\":\"…\"} or {\"action\":\"ping\"}";

/// Opens a socket.
pub async fn open(
    state: web::Data<ApiState>,
    request: HttpRequest,
    payload: web::Payload,
    asked: SocketAuthorized<AnalyticsRead, FollowParams>,
) -> Result<HttpResponse, Problem> {
    let tenant = asked.tenant;
    let session = state.sockets.open(&request, asked.credential)?;
    let (response, mut socket) = Socket::open(&request, payload, state.sockets.limits(), session)?;
    let mut follower = state.live.follow(tenant, asked.params.since).await?;
    let mut filter = EventFilter::new(asked.params);
    actix_web::rt::spawn(async move {
        let connected = Notice::connected(tenant, &follower);
        let end = match socket.notify(&connected).await {
            Ok(()) => converse(&mut socket, &mut follower, &mut filter).await,
            Err(end) => end,
        };
        socket.close(end).await;
    });
    Ok(response)
}

async fn converse(socket: &mut Socket, follower: &mut Follower, filter: &mut EventFilter) -> End {
    if follower.is_reset
        && let Err(end) = socket.notify(&Notice::Reset { cursor: follower.cursor.0 }).await
    {
        return end;
    }
    loop {
        let step = tokio::select! {
            message = follower.next() => match message {
                Ok(Some(message)) if filter.wants(&message) => socket.send(&written(&message).2).await,
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(End::Shutdown),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "events could not be loaded");
                    Err(End::Unavailable)
                }
            },
            incoming = socket.receive() => match incoming {
                Ok(Incoming::Text(text)) => act(socket, filter, &text).await,
                Ok(Incoming::Tick) => socket.tend().await,
                Ok(Incoming::Nothing) => Ok(()),
                Err(end) => Err(end),
            },
        };
        if let Err(end) = step {
            return end;
        }
    }
}

async fn act(socket: &mut Socket, filter: &mut EventFilter, text: &str) -> Result<(), End> {
    let too_many = format!("a socket follows at most {CALLS_MAX} calls by id; unsubscribe from some");
    let notice = match serde_json::from_str(text) {
        Ok(Action::Subscribe { call_id }) if filter.add(CallId(call_id)) => Notice::Subscribed { call_id },
        Ok(Action::Subscribe { .. }) => Notice::Error { detail: &too_many },
        Ok(Action::Unsubscribe { call_id }) => {
            filter.remove(CallId(call_id));
            Notice::Unsubscribed { call_id }
        }
        Ok(Action::Ping {}) => Notice::Pong,
        Err(_) => Notice::Error { detail: NOT_UNDERSTOOD },
    };
    socket.notify(&notice).await
}
