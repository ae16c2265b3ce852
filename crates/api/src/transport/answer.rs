//! The body of an answer on its way to the connection: in pieces, and noticed when it ends.

use crate::transport::connection::RequestInProgress;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes that are handed over at one time: what is handed over is copied, and stays in memory until the client takes it.
const PIECE_BYTES: usize = 64 << 10;

pin_project! {
    /// A body that knows the request that it answers.
    pub struct AnswerBody<B> {
        #[pin]
        body: B,
        rest: Bytes,
        in_progress: Option<RequestInProgress>,
    }
}

impl<B> AnswerBody<B> {
    pub fn new(body: B, in_progress: Option<RequestInProgress>) -> Self {
        Self { body, rest: Bytes::new(), in_progress }
    }
}

impl<B: MessageBody> MessageBody for AnswerBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            match this.body.poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => *this.rest = bytes,
                other => return other,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }
}
