//! The dashboard, metrics and health over HTTP, for people, Prometheus, load balancers and scripts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::board::Board;
use super::settings::ServerSettings;
use crate::codec::sha256;
use crate::error::{Error, Result};
use crate::metrics::{self, Readings};
use crate::report::{self, Dashboard};
use crate::secret::Secret;

/// How many connections are served at once; more wait.
const CONNECTIONS: usize = 32;

/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may last: enough for a scrape every few seconds over one connection.
const CONNECTION: Duration = Duration::from_mins(10);

/// The endpoint, ready to answer.
pub(super) struct Endpoint {
    listener: TcpListener,
    token: Option<Secret>,
    board: Board,
}

impl Endpoint {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the address cannot be used.
    pub(super) async fn open(settings: &ServerSettings, board: Board) -> Result<Self> {
        let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
            Error::configuration(format!("cannot listen on {}, which server.listen names", settings.listen))
                .caused_by(error)
                .with_hint("is another service running here? otherwise choose another port")
        })?;
        Ok(Self { listener, token: settings.token.clone(), board })
    }

    /// Answers until the process ends.
    pub(super) async fn serve(self) {
        let (places, token) = (Arc::new(Semaphore::new(CONNECTIONS)), self.token.map(Arc::new));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (board, token) = (self.board.clone(), token.clone());
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(&request, &board, token.as_deref());
                    async { Ok::<_, Infallible>(answer) }
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD);
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let _ = tokio::time::timeout(CONNECTION, connection).await;
                drop(place);
            });
        }
    }
}

fn answer(request: &Request<Incoming>, board: &Board, token: Option<&Secret>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/healthz" => health(board),
        "/readyz" => readiness(board),
        "/" | "/metrics" | "/api/v1/status" if !is_allowed(request, token) => {
            let mut refused = plain(
                StatusCode::UNAUTHORIZED,
                "show the token: Authorization: Bearer TOKEN, or as the password of any user\n",
            );
            // Browsers ask people for the second.
            for way in ["Bearer", "Basic realm=\"Regrow\", charset=\"UTF-8\""] {
                refused.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
            }
            refused
        }
        "/" => page(board),
        "/metrics" => with_type(StatusCode::OK, metrics::CONTENT_TYPE, readings(board)),
        "/api/v1/status" => status(board),
        _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /healthz, /readyz and /api/v1/status\n"),
    }
}

fn is_allowed(request: &Request<Incoming>, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| match value.split_once(' ')? {
        ("Bearer", token) => Some(token.as_bytes().to_vec()),
        ("Basic", login) => {
            let login = BASE64.decode(login).ok()?;
            let colon = login.iter().position(|byte| *byte == b':')?;
            Some(login[colon + 1..].to_vec())
        }
        _ => None,
    });
    // Hashes are compared, so that how long it takes tells nothing.
    shown.is_some_and(|shown| sha256(&shown) == sha256(token.reveal().as_bytes()))
}

/// The dashboard.
fn page(board: &Board) -> Response<Full<Bytes>> {
    let notes = board.notes();
    let status = notes.status.clone().filter(|_| notes.leads);
    let (source, repository) = (notes.source.clone(), notes.repository.clone());
    let running: Vec<_> = notes.running.iter().map(|(job, since)| (job.as_str().to_owned(), *since)).collect();
    let stands_by = !notes.leads && notes.stands_by;
    drop(notes);
    let text = match &status {
        Some(status) => {
            report::dashboard(Dashboard { source: &source, repository: &repository, status, running: &running })
        }
        None => report::standby(&source, stands_by),
    };
    let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", text);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&report::content_security_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the process works at all: whoever asks may start it again where it does not.
fn health(board: &Board) -> Response<Full<Bytes>> {
    let is_alive = board.is_alive();
    let code = if is_alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(code, &json!({ "alive": is_alive }))
}

/// Whether it does its work: it leads and has read the repository, or it stands by.
fn readiness(board: &Board) -> Response<Full<Bytes>> {
    let notes = board.notes();
    let (leads, ready) = (notes.leads, !notes.leads && notes.stands_by || notes.leads && notes.status.is_some());
    drop(notes);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(code, &json!({ "ready": ready, "leads": leads }))
}

fn readings(board: &Board) -> String {
    let notes = board.notes();
    metrics::render(&Readings {
        // Only who leads keeps reading it.
        status: notes.status.as_deref().filter(|_| notes.leads),
        leads: notes.leads,
        capture_runs: notes.capture_runs,
        oplog_window_seconds: notes.oplog_window.filter(|_| notes.leads),
        running: notes.running.clone(),
        open_alerts: notes.open_alerts.iter().map(|(severity, count)| (*severity, *count)).collect(),
        notification_failures: notes.notification_failures.clone().into_iter().collect(),
    })
}

fn status(board: &Board) -> Response<Full<Bytes>> {
    let notes = board.notes();
    let status = notes.status.clone().filter(|_| notes.leads);
    let (source, repository) = (notes.source.clone(), notes.repository.clone());
    drop(notes);
    match status {
        Some(status) => json_answer(StatusCode::OK, &status.to_json(&source, &repository)),
        None => json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": "this service stands by, or has not read the repository yet" }),
        ),
    }
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    with_type(code, "application/json", format!("{value}\n"))
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(code, "text/plain; charset=utf-8", text.to_owned())
}

fn with_type(code: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
