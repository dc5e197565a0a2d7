//! An HTTP server that takes down what it is sent and answers as it is told to: what webhooks are posted to.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Longer than anything takes that a test waits for.
const LIMIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(5);

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    Says(u16, String),
    /// 307, which asks for the same request elsewhere.
    Redirect(String),
    /// None at all, while the connection stays open.
    Hang,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// With the query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    /// Returns the body read as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A server on a port of its own, on a thread of its own; dropping it closes the port.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: oneshot::Sender<Infallible>,
}

struct State {
    received: Vec<Received>,
    next: VecDeque<Answer>,
    otherwise: Answer,
}

impl Receiver {
    /// Starts a server that answers 200 to everything.
    pub fn start() -> Self {
        let state = State { received: Vec::new(), next: VecDeque::new(), otherwise: Answer::Status(200) };
        let state = Arc::new(Mutex::new(state));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).expect("it is a listener"), shared) => {}
                    _ = stopped => {} // The receiver was dropped.
                }
            });
        });
        Self { address, state, _stop: stop }
    }

    /// Returns the URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next `number` requests like this, after those of earlier calls.
    pub fn answer_next(&self, number: usize, answer: &Answer) -> &Self {
        self.lock().next.extend(std::iter::repeat_n(answer.clone(), number));
        self
    }

    /// Answers every request like this from now on, unless [`answer_next`](Self::answer_next) says otherwise.
    pub fn answer_always(&self, answer: Answer) -> &Self {
        self.lock().otherwise = answer;
        self
    }

    /// Returns what has come so far.
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// Waits until so many requests have come, and returns all.
    pub fn wait_for(&self, number: usize) -> Vec<Received> {
        let begin = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= number {
                return received;
            }
            assert!(begin.elapsed() < LIMIT, "only {} of {number} requests came: {received:#?}", received.len());
            std::thread::sleep(POLL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &state));
            // Clients break off when they have waited for long enough.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let received = take_down(request).await?;
    let answer = {
        let mut state = lock(state);
        state.received.push(received);
        state.next.pop_front().unwrap_or_else(|| state.otherwise.clone())
    };
    let response = Response::builder();
    let response = match answer {
        Answer::Status(status) => response.status(status).body(Full::default()),
        Answer::Says(status, text) => response.status(status).body(Full::from(text)),
        Answer::Redirect(to) => response.status(307).header("location", to).body(Full::default()),
        Answer::Hang => std::future::pending().await,
    };
    Ok(response.expect("the answers are valid"))
}

async fn take_down(request: Request<Incoming>) -> Result<Received, hyper::Error> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    Ok(Received { method, path, headers, body })
}
