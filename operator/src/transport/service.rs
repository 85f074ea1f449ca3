//! [`Transport`] over an [`HttpService`]: what both tiers of the simulation use in the place of reqwest. How to dial is
//! then the service's business.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::{BoxError, ServiceExt};

use super::{ANSWER_MAX, Dial, HttpService, RequestBody, Transport, TransportError};

impl Transport for HttpService {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        deadline: Duration,
        _: &Dial,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let service = self.clone();
        let exchange = async move {
            let answer = service.oneshot(request.map(RequestBody::from)).await.map_err(unknown)?;
            let (parts, mut body) = answer.into_parts();
            let mut bytes = BytesMut::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(unknown)?.into_data() {
                    if bytes.len() + data.len() > ANSWER_MAX {
                        return Err(TransportError::TooLarge(ANSWER_MAX));
                    }
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(http::Response::from_parts(parts, bytes.freeze()))
        };
        timeout(deadline, exchange).await.unwrap_or_else(|_| Err(TransportError::Unknown("no answer in time".into())))
    }
}

/// A service that knows whether anything was sent says so by failing with a [`TransportError`].
fn unknown(error: BoxError) -> TransportError {
    error.downcast().map_or_else(|error| TransportError::Unknown(error.to_string()), |error| *error)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tower::util::BoxCloneSyncService;

    use super::*;

    fn answering(size: usize, after: Duration) -> HttpService {
        BoxCloneSyncService::new(tower::service_fn(move |_| async move {
            tokio::time::sleep(after).await;
            let body = Full::new(Bytes::from(vec![b' '; size])).map_err(|never| match never {}).boxed_unsync();
            Ok(http::Response::new(body))
        }))
    }

    async fn send(service: HttpService) -> Result<usize, TransportError> {
        let request = http::Request::new(Bytes::new());
        service.send(request, Duration::from_secs(30), &Dial::default()).await.map(|answer| answer.body().len())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_whole_in_time_and_not_too_large() {
        assert_eq!(send(answering(ANSWER_MAX, Duration::ZERO)).await, Ok(ANSWER_MAX));
        assert_eq!(send(answering(ANSWER_MAX + 1, Duration::ZERO)).await, Err(TransportError::TooLarge(ANSWER_MAX)));
        let refused = TransportError::Unreachable("connection refused".into());
        let refusal = refused.clone();
        let refusing: HttpService = BoxCloneSyncService::new(tower::service_fn(move |_| {
            let error: BoxError = refusal.clone().into();
            async { Err(error) }
        }));
        assert_eq!(send(refusing).await, Err(refused));
        assert!(matches!(send(answering(0, Duration::from_secs(31))).await, Err(TransportError::Unknown(_))));
    }
}
