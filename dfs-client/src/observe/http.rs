//! `/metrics`, `/healthz` and `/readyz` over HTTP/1.1, on the server below tonic. For machines that look at the
//! process from time to time; it is no service of the file system and shares no queue with one.

use super::Observer;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time: a few watchers and a person.
const CONNECTIONS: usize = 32;
/// A client that has not said what it wants by then is cut off; so is one that keeps an idle connection.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// A check that takes longer has failed.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// After a failure to accept (out of descriptors), before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves until the task is ended.
pub async fn serve(listener: TcpListener, observer: Observer) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let observer = observer.clone();
                tokio::spawn(async move {
                    talk(stream, observer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics endpoint cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, observer: Observer) {
    let service = service_fn(move |request| answer(observer.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the metrics endpoint ended badly");
    }
}

async fn answer(observer: Observer, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = [&Method::GET, &Method::HEAD].contains(&request.method());
    let answered = match request.uri().path() {
        _ if !known => response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned()),
        "/metrics" => {
            let text = in_time(move || observer.metrics.text()).await;
            match text {
                Ok(text) => response(StatusCode::OK, OPEN_METRICS, text),
                Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{reason}\n")),
            }
        }
        "/healthz" => verdict(in_time(move || observer.health.dead()).await),
        "/readyz" => verdict(in_time(move || observer.health.unready()).await),
        _ => response(
            StatusCode::NOT_FOUND,
            PLAIN,
            "ask for /metrics, /healthz or /readyz\n".to_owned(),
        ),
    };
    Ok(answered)
}

/// Checks may look at a disk: on a thread that may wait, and not for ever.
async fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_WAIT, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => Err(format!("a check failed: {error}")),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WAIT.as_secs())),
    }
}

fn verdict(wrong: Result<Vec<String>, String>) -> Response<Full<Bytes>> {
    match wrong.unwrap_or_else(|reason| vec![reason]) {
        wrong if wrong.is_empty() => response(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        wrong => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, wrong.join("\n") + "\n"),
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
