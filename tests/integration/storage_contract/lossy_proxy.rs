//! A proxy before an S3 server that loses one answer: the request arrives and takes effect, and then the
//! connection breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// The request whose answer is lost, the first time that it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Create,
    UploadBegin,
    Part,
    UploadEnd,
}

impl Answer {
    /// Whether `head`, the beginning of a request, is such a request.
    fn is_to(self, head: &str) -> bool {
        let line = head.lines().next().unwrap_or_default();
        let is_part = line.contains("partNumber=");
        match self {
            Self::Create => line.starts_with("PUT ") && !is_part,
            Self::Part => line.starts_with("PUT ") && is_part,
            Self::UploadBegin => line.starts_with("POST ") && !line.contains("uploadId="),
            Self::UploadEnd => line.starts_with("POST ") && line.contains("uploadId="),
        }
    }
}

/// A proxy on a port of its own, which lives as long as the test's process.
pub struct LossyProxy {
    address: SocketAddr,
    lost: Arc<AtomicUsize>,
}

impl LossyProxy {
    /// Starts a proxy before the server at `endpoint`, an `http://host:port`.
    pub fn start(endpoint: &str, answer: Answer) -> Self {
        let server = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lost = Arc::new(AtomicUsize::new(0));
        let counter = lost.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&server) {
                    relay(client, server, answer, counter.clone());
                }
            }
        });
        Self { address, lost }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many answers were lost: none or one.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

/// Copies both ways between the two ends of one connection, until one of them closes.
fn relay(client: TcpStream, server: TcpStream, answer: Answer, lost: Arc<AtomicUsize>) {
    let cut = Arc::new(AtomicBool::new(false));
    let requests = (client.try_clone().unwrap(), server.try_clone().unwrap(), cut.clone());
    thread::spawn(move || {
        let (mut client, mut server, cut) = requests;
        copy(&mut client, &mut server, |content| {
            // A request's head begins a chunk: the client waits for each answer before its next request.
            if answer.is_to(&String::from_utf8_lossy(&content[..content.len().min(4096)]))
                && lost.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                cut.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    thread::spawn(move || {
        let (mut client, mut server) = (client, server);
        copy(&mut server, &mut client, |_| !cut.load(Ordering::SeqCst));
    });
}

/// Copies until the end, or until `goes_on` refuses a chunk; then both connections are closed.
fn copy(from: &mut TcpStream, to: &mut TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(count) if count > 0 && goes_on(&buffer[..count]) && to.write_all(&buffer[..count]).is_ok() => {}
            _ => break,
        }
    }
    for end in [from, to] {
        // It may be closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}
