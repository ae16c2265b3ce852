//! `GET /ws/analytics`: figures, whenever they have changed.

use crate::auth::{AnalyticsRead, SocketAuthorized};
use crate::live::boards::{Answers, Question, Topic};
use crate::live::messages::Notice;
use crate::live::socket::{End, Incoming, Socket};
use crate::params::{Query, QueryParams, WorkflowParam};
use crate::problem::Problem;
use crate::state::ApiState;
use actix_web::{HttpRequest, HttpResponse, web};
use callscope_domain::{Period, TenantId};
use serde::Deserialize;
use std::future::pending;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::watch::error::RecvError;

/// Which figures are followed.
pub struct BoardParams {
    period: Period,
    workflow: WorkflowParam,
}

impl QueryParams for BoardParams {
    fn take(query: &mut Query) -> Self {
        let period = query.take("period", Period::from_str).unwrap_or_default();
        Self { period, workflow: WorkflowParam::take(query) }
    }
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    Subscribe { topic: Series },
    Unsubscribe { topic: Series },
    Ping {},
}

/// What can be had beside the summary.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Series {
    CallVolume,
}

const CALL_VOLUME: &str = "call-volume";
const NOT_UNDERSTOOD: &str = "not understood; send {\"action\":\"subscribe\",\"topic\":\"call-volume\"}, \
                              {\"action\":\"unsubscribe\",\"topic\":\"call-volume\"} or {\"action\":\"ping\"}";

/// Opens a socket.
pub async fn open(
    state: web::Data<ApiState>,
    request: HttpRequest,
    payload: web::Payload,
    asked: SocketAuthorized<AnalyticsRead, BoardParams>,
) -> Result<HttpResponse, Problem> {
    let tenant = asked.tenant;
    let session = state.sockets.open(&request, asked.credential)?;
    let (response, mut socket) = Socket::open(&request, payload, state.sockets.limits(), session)?;
    let BoardParams { period, workflow } = asked.params;
    let question = Question { topic: Topic::Summary, period, workflow: workflow.workflow };
    let summary = state.boards.follow(tenant, question.clone()).await?;
    let volume = Question { topic: Topic::CallVolume, ..question };
    actix_web::rt::spawn(async move {
        let end = converse(&state, tenant, &mut socket, summary, volume).await;
        socket.close(end).await;
    });
    Ok(response)
}

async fn converse(
    state: &ApiState,
    tenant: TenantId,
    socket: &mut Socket,
    mut summary: Answers,
    volume_question: Question,
) -> End {
    let mut volume: Option<Answers> = None;
    // What is known already is news to this socket.
    summary.mark_changed();
    loop {
        let step = tokio::select! {
            answer = next(Some(&mut summary)) => send(socket, answer).await,
            answer = next(volume.as_mut()) => send(socket, answer).await,
            incoming = socket.receive() => match incoming {
                Ok(Incoming::Text(text)) => match serde_json::from_str(&text) {
                    Ok(Action::Subscribe { topic: Series::CallVolume }) => {
                        match state.boards.follow(tenant, volume_question.clone()).await {
                            Ok(mut answers) => {
                                answers.mark_changed();
                                volume = Some(answers);
                                socket.notify(&Notice::SubscribedTopic { topic: CALL_VOLUME }).await
                            }
                            Err(_) => Err(End::Unavailable),
                        }
                    }
                    Ok(Action::Unsubscribe { topic: Series::CallVolume }) => {
                        volume = None;
                        socket.notify(&Notice::UnsubscribedTopic { topic: CALL_VOLUME }).await
                    }
                    Ok(Action::Ping {}) => socket.notify(&Notice::Pong).await,
                    Err(_) => socket.notify(&Notice::Error { detail: NOT_UNDERSTOOD }).await,
                },
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

/// The next answer; without a question, there is never one.
async fn next(answers: Option<&mut Answers>) -> Result<Option<Arc<str>>, RecvError> {
    match answers {
        None => pending().await,
        Some(answers) => {
            answers.changed().await?;
            Ok(answers.borrow_and_update().clone())
        }
    }
}

async fn send(socket: &mut Socket, answer: Result<Option<Arc<str>>, RecvError>) -> Result<(), End> {
    match answer {
        Ok(Some(text)) => socket.send(&text).await,
        // The first answer is yet to come.
        Ok(None) => Ok(()),
        Err(_) => Err(End::Shutdown),
    }
}
