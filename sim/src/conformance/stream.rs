//! The recorded side of a watch: what came so far, taken without waiting.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use fakes::apiserver::Body;
use http_body::Body as _;
use serde_json::Value;

pub(super) struct Stream {
    pub(super) body: Body,
    pub(super) buffer: BytesMut,
    pub(super) events: Vec<Value>,
    pub(super) ended: bool,
    pub(super) closed: bool,
}

impl Stream {
    /// Takes what is there; never waits.
    pub(super) fn drain(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while !self.ended && !self.closed {
            match Pin::new(&mut self.body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end + 1);
            self.events.push(serde_json::from_slice(&line).unwrap_or(Value::Null));
        }
    }
}
