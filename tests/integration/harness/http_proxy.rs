//! A proxy before an S3 server that reads whole requests and passes them on as they came (their `Host` is signed), or does
//! with them what a rule says.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A request, whose body nobody looks at.
pub struct Request {
    head: String,
}

/// What an S3 server answers where it does not do what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The server never sees it.
    RefuseBefore(Refusal),
    /// The server has carried it out when it is refused.
    RefuseAfter(Refusal),
    /// The server has carried it out when the connection breaks.
    Lose,
}

/// A proxy on a port of its own, which lives as long as the test's process.
pub struct HttpProxy {
    address: SocketAddr,
}

impl HttpProxy {
    /// Starts a proxy before the server at `endpoint`, an `http://host:port`.
    pub fn start(endpoint: &str, rule: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Self {
        let server = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rule = Arc::new(rule);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, rule) = (server.clone(), Arc::clone(&rule));
                // Whatever breaks on either side ends this connection, as it would without a proxy.
                thread::spawn(move || serve(&client, &server, &*rule));
            }
        });
        Self { address }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Request {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Returns what is asked for, without the query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Whether the query has this parameter.
    pub fn asks(&self, parameter: &str) -> bool {
        let (_, query) = self.target().split_once('?').unwrap_or_default();
        query.split('&').any(|part| part.split('=').next() == Some(parameter))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

impl Refusal {
    fn answer(self, to: &Request) -> Vec<u8> {
        let Self { status, code } = self;
        let body = format!("<Error><Code>{code}</Code><Message>a test will have it so</Message></Error>");
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} {code}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n");
        if to.method() == "HEAD" { head.into_bytes() } else { (head + &body).into_bytes() }
    }
}

/// Serves the requests of one connection, each through a connection to the server of its own: none has become stale.
fn serve(client: &TcpStream, server: &str, rule: &dyn Fn(&Request) -> Verdict) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut requests, mut answers) = (BufReader::new(client), client);
    while let Some(head) = read_head(&mut requests)? {
        let request = Request { head };
        if request.header("expect").is_some() {
            answers.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = read_body(&mut requests, &request.head)?;
        let answer = match rule(&request) {
            Verdict::Pass => pass_on(&request, &body, server)?,
            Verdict::RefuseBefore(refusal) => refusal.answer(&request),
            Verdict::RefuseAfter(refusal) => {
                pass_on(&request, &body, server)?;
                refusal.answer(&request)
            }
            Verdict::Lose => {
                pass_on(&request, &body, server)?;
                break;
            }
        };
        answers.write_all(&answer)?;
    }
    Ok(())
}

/// Returns what the server answers.
fn pass_on(request: &Request, body: &[u8], server: &str) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(server)?;
    server.set_nodelay(true)?;
    server.write_all(request.head.as_bytes())?;
    server.write_all(body)?;
    let mut answer = BufReader::new(&server);
    loop {
        let head = read_head(&mut answer)?.ok_or(ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        // The client was told already that it may go on.
        if status == "100" {
            continue;
        }
        let has_body = request.method() != "HEAD" && !["204", "304"].contains(&status);
        let body = if has_body { read_body(&mut answer, &head)? } else { Vec::new() };
        return Ok([head.into_bytes(), body].concat());
    }
}

/// Reads up to the empty line; none where the other side has nothing more to say.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let begin = head.len();
        match from.read_line(&mut head)? {
            0 => return Ok(None),
            _ if &head[begin..] == "\r\n" => return Ok(Some(head)),
            _ => {}
        }
    }
}

/// Reads a body as it comes, chunked or not.
fn read_body(from: &mut impl BufRead, head: &str) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(head, "transfer-encoding").is_some() {
        while read_chunk(from, &mut body)? {}
    } else if let Some(length) = header(head, "content-length") {
        from.take(length.parse().map_err(io::Error::other)?).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// Reads a chunk, or the last one with what trails it; returns whether others follow.
fn read_chunk(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let begin = body.len();
    from.read_until(b'\n', body)?;
    let line = String::from_utf8_lossy(&body[begin..]).into_owned();
    let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).map_err(io::Error::other)?;
    if size == 0 {
        // Up to the empty line.
        while from.read_until(b'\n', body)? > 2 {}
        return Ok(false);
    }
    from.take(size + 2).read_to_end(body)?;
    Ok(true)
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim()))
}
