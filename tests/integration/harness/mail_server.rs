//! A mail server that keeps what it is sent: as much of SMTP as a client needs to hand over an e-mail.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An e-mail as it was handed over.
#[derive(Clone, Debug)]
pub struct Mail {
    /// User and password, if the client logged in.
    pub login: Option<(String, String)>,
    pub from: String,
    pub to: Vec<String>,
    /// Head and text, without the transport's dots.
    pub data: String,
}

impl Mail {
    /// Returns the value of a header, unfolded; panics when there is none or more than one.
    pub fn header(&self, name: &str) -> String {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        let found: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(found.len(), 1, "{name} in {head}");
        found[0].to_owned()
    }

    /// Returns the text, undecoded.
    pub fn text(&self) -> &str {
        self.data.split_once("\r\n\r\n").expect("an e-mail has a head and a text").1
    }
}

/// A server on a port of its own, which lives as long as the test's process.
pub struct MailServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mails: Vec<Mail>,
    refusals: VecDeque<(&'static str, String)>,
}

impl MailServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that breaks off is no failure of the server.
                thread::spawn(move || Session::new(connection, &state)?.serve());
            }
        });
        Self { address, state }
    }

    /// Returns `smtp://` and the address.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Answers the next such command (`AUTH`, `MAIL`, `RCPT`, `DATA`) like this; what the client sent along goes
    /// where the answer says `{}`.
    pub fn refuse_next(&self, command: &'static str, answer: &str) -> &Self {
        lock(&self.state).refusals.push_back((command, answer.to_owned()));
        self
    }

    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.state).mails.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Session<'a> {
    input: BufReader<TcpStream>,
    output: TcpStream,
    state: &'a Mutex<State>,
    mail: Mail,
}

impl<'a> Session<'a> {
    fn new(connection: TcpStream, state: &'a Mutex<State>) -> std::io::Result<Self> {
        let mail = Mail { login: None, from: String::new(), to: Vec::new(), data: String::new() };
        Ok(Self { output: connection.try_clone()?, input: BufReader::new(connection), state, mail })
    }

    fn serve(mut self) -> std::io::Result<()> {
        self.say("220 test.example.com")?;
        while let Some(line) = self.line()? {
            let (command, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            let command = command.to_ascii_uppercase();
            if let Some(answer) = self.refusal(&command) {
                self.say(&answer.replace("{}", rest))?;
                continue;
            }
            match command.as_str() {
                "EHLO" => self.say("250-test.example.com\r\n250 AUTH PLAIN LOGIN")?,
                "AUTH" => self.log_in(rest)?,
                "MAIL" => self.mail.from = self.path(rest)?,
                "RCPT" => {
                    let to = self.path(rest)?;
                    self.mail.to.push(to);
                }
                "DATA" => self.take_data()?,
                "QUIT" => return self.say("221 bye"),
                "NOOP" | "RSET" => self.say("250 ok")?,
                _ => self.say("502 what?")?,
            }
        }
        Ok(())
    }

    fn refusal(&self, command: &str) -> Option<String> {
        let refusals = &mut lock(self.state).refusals;
        let is_next = refusals.front().is_some_and(|(refused, _)| *refused == command);
        if is_next { refusals.pop_front().map(|(_, answer)| answer) } else { None }
    }

    fn log_in(&mut self, rest: &str) -> std::io::Result<()> {
        let login = match rest.split_once(' ') {
            Some(("PLAIN", first)) => {
                let first = decode(first);
                let parts: Vec<&str> = first.split('\0').collect();
                (parts[1].to_owned(), parts[2].to_owned())
            }
            _ => (self.ask("VXNlcm5hbWU6")?, self.ask("UGFzc3dvcmQ6")?),
        };
        self.mail.login = Some(login);
        self.say("235 welcome")
    }

    fn ask(&mut self, what: &str) -> std::io::Result<String> {
        self.say(&format!("334 {what}"))?;
        Ok(decode(&self.line()?.unwrap_or_default()))
    }

    /// Takes the path of `FROM:<path>` or `TO:<path>`.
    fn path(&mut self, rest: &str) -> std::io::Result<String> {
        self.say("250 ok")?;
        let path = rest.split_once('<').and_then(|(_, path)| path.split_once('>')).map(|(path, _)| path);
        Ok(path.unwrap_or_default().to_owned())
    }

    fn take_data(&mut self) -> std::io::Result<()> {
        self.say("354 go on")?;
        while let Some(line) = self.line()?.filter(|line| line != ".") {
            self.mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
            self.mail.data.push_str("\r\n");
        }
        lock(self.state).mails.push(self.mail.clone());
        self.say("250 kept")
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let length = self.input.read_line(&mut line)?;
        Ok((length > 0).then(|| line.strip_suffix("\r\n").unwrap_or(&line).to_owned()))
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        write!(self.output, "{line}\r\n")
    }
}

fn decode(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text")
}
