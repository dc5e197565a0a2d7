//! A proxy before a server that does to connections what networks do: cut, late, half closed, in crumbs, silent.
//!
//! It runs on a thread of its own, so that tests may block. What it does by chance it draws from a seed, which it prints.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regrow::random::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The most that is passed on at once.
const CHUNK: usize = 64 * 1024;

/// How many bytes a crumb has at most at first in a connection's answers: lengths and heads are cut to pieces.
const CRUMB: u64 = 7;

/// How many bytes come as such crumbs: were all so small, nothing would end.
const BEGINNING: u64 = 1024;

/// How many bytes a crumb has at most otherwise.
const LARGER_CRUMB: u64 = 700;

/// How late a chunk comes, at most.
const LATE: Duration = Duration::from_millis(20);

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is closed, both ways.
    Cut,
    /// Everything comes late, by as much as chance says.
    Delay,
    /// The server's side ends; what the client sends still arrives.
    HalfClose,
    /// Bytes come few at a time.
    Dribble,
    /// Nothing passes any more, and nothing says so.
    BlackHole,
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The connection that is in use at that moment.
    One,
    /// All of them, and every new one, until the proxy is healed.
    All,
}

/// A proxy before one server, on a port of its own. Dropping it closes every connection.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    /// What happens to all connections now.
    common: watch::Sender<Option<Fault>>,
    /// What happens when so many bytes have passed.
    pending: Mutex<Option<(u64, Fault, Whom)>>,
    passed: AtomicU64,
    struck: AtomicU64,
    random: Random,
}

impl FaultProxy {
    /// Starts a proxy before the server at `address`, which harms nothing until it is told to.
    #[allow(clippy::print_stdout)] // Shown when it fails, and with --nocapture.
    pub fn start(address: &str, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = Arc::new(State {
            common: watch::Sender::new(None),
            pending: Mutex::default(),
            passed: AtomicU64::new(0),
            struck: AtomicU64::new(0),
            random: Random::seeded(seed),
        });
        // Not by the runtime, because tests with one of their own may not wait for another.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = listener.local_addr().unwrap();
        println!("a proxy at {own} before {address}, seed {seed}");
        runtime.spawn(accept(listener, address.to_owned(), Arc::clone(&state)));
        Self { address: own, state, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Strikes when `bytes` more have passed, in both directions together.
    pub fn strike_after(&self, bytes: u64, fault: Fault, whom: Whom) {
        let at = self.state.passed.load(Ordering::SeqCst) + bytes;
        *self.state.pending() = Some((at, fault, whom));
    }

    /// Strikes all connections from now on.
    pub fn strike(&self, fault: Fault) {
        self.state.strike_all(fault);
    }

    /// Lets everything pass again; what was held back comes late, and what was cut stays cut.
    pub fn heal(&self) {
        *self.state.pending() = None;
        self.state.common.send_replace(None);
    }

    /// Returns how many bytes have passed.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }

    /// Returns how often a fault has struck.
    pub fn struck(&self) -> u64 {
        self.state.struck.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.runtime.take().expect("taken only here").shutdown_background();
    }
}

impl State {
    fn pending(&self) -> std::sync::MutexGuard<'_, Option<(u64, Fault, Whom)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike_all(&self, fault: Fault) {
        self.struck.fetch_add(1, Ordering::SeqCst);
        self.common.send_replace(Some(fault));
    }

    /// Counts bytes; returns what strikes the connection that they pass on.
    fn count(&self, bytes: u64) -> Option<Fault> {
        let passed = self.passed.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let mut pending = self.pending();
        let (_, fault, whom) = pending.take_if(|(at, ..)| *at <= passed)?;
        match whom {
            Whom::All => {
                self.strike_all(fault);
                None
            }
            Whom::One => {
                self.struck.fetch_add(1, Ordering::SeqCst);
                Some(fault)
            }
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }
}

async fn accept(listener: std::net::TcpListener, server: String, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        let (server, state) = (server.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // A server that is down refuses, and so does its proxy.
            let Ok(server) = TcpStream::connect(server).await else { return };
            // Crumbs are not to be put together again.
            if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
                return;
            }
            let own = watch::Sender::new(None);
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let requests = Pipe::new(&state, &own, from_client, to_server, false);
            let answers = Pipe::new(&state, &own, from_server, to_client, true);
            tokio::select! {
                () = requests.pass() => {}
                () = answers.pass() => {}
            }
        });
    }
}

/// One direction of a connection.
struct Pipe {
    state: Arc<State>,
    /// What happens to this connection alone.
    own: watch::Sender<Option<Fault>>,
    common: watch::Receiver<Option<Fault>>,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    is_answers: bool,
    /// How many bytes have passed as crumbs.
    crumbled: u64,
}

impl Pipe {
    fn new(
        state: &Arc<State>,
        own: &watch::Sender<Option<Fault>>,
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
        is_answers: bool,
    ) -> Self {
        let common = state.common.subscribe();
        Self { state: Arc::clone(state), own: own.clone(), common, from, to, is_answers, crumbled: 0 }
    }

    fn fault(&self) -> Option<Fault> {
        self.own.borrow().or(*self.common.borrow())
    }

    /// Passes bytes on until either end closes or a fault closes the connection.
    async fn pass(mut self) {
        let mut own = self.own.subscribe();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                // Somebody who waits for nothing is struck as well.
                _ = own.changed() => Ok(usize::MAX),
                _ = self.common.changed() => Ok(usize::MAX),
            };
            let count = match read {
                Ok(0) | Err(_) => return,
                Ok(usize::MAX) => 0,
                Ok(count) => count,
            };
            if let Some(fault) = self.state.count(count as u64) {
                self.own.send_replace(Some(fault));
            }
            if !self.pass_on(&buffer[..count]).await {
                return;
            }
        }
    }

    /// Passes a chunk on as the fault has it; returns whether the connection is still there.
    async fn pass_on(&mut self, chunk: &[u8]) -> bool {
        match self.fault() {
            Some(Fault::Cut) => false,
            Some(Fault::Delay) => {
                tokio::time::sleep(LATE.mul_f64(self.state.random.fraction())).await;
                self.to.write_all(chunk).await.is_ok()
            }
            Some(Fault::HalfClose) if self.is_answers => {
                let _ = self.to.shutdown().await;
                // The other direction goes on until the client has had enough.
                std::future::pending().await
            }
            None | Some(Fault::HalfClose) => self.to.write_all(chunk).await.is_ok(),
            Some(Fault::Dribble) => self.dribble(chunk).await,
            Some(Fault::BlackHole) => {
                self.healed().await;
                self.to.write_all(chunk).await.is_ok()
            }
        }
    }

    async fn dribble(&mut self, mut chunk: &[u8]) -> bool {
        while !chunk.is_empty() {
            let most = if self.is_answers && self.crumbled < BEGINNING { CRUMB } else { LARGER_CRUMB };
            let size = usize::try_from(1 + self.state.below(most)).unwrap_or(1).min(chunk.len());
            let (crumb, rest) = chunk.split_at(size);
            if self.to.write_all(crumb).await.is_err() {
                return false;
            }
            tokio::task::yield_now().await;
            self.crumbled += size as u64;
            chunk = rest;
        }
        true
    }

    /// Waits until nothing is held back any more; what holds back a single connection lasts.
    async fn healed(&mut self) {
        let mut own = self.own.subscribe();
        while self.fault() == Some(Fault::BlackHole) {
            tokio::select! {
                _ = own.changed() => {}
                _ = self.common.changed() => {}
            }
        }
    }
}
