//! Servers started by `scripts/servers.py`, which ends them when its stdin does: at the latest with this process.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{S3, plant};

/// What to start.
pub struct Options {
    pub topology: Topology,
    /// Access control, with a user that may do everything.
    pub authentication: bool,
    pub s3: bool,
    /// An S3 server whose bucket has Object Lock, instead.
    pub object_lock: bool,
    /// A folder with `server.pem` and `ca.pem`: the servers require TLS.
    pub tls: Option<PathBuf>,
    /// `name=value`, as `mongod --setParameter` takes them.
    pub parameters: Vec<&'static str>,
    pub cache_gigabytes: f32,
    pub oplog_megabytes: u32,
    /// How often a checkpoint is written; the server keeps the oplog since the last one, whatever its size.
    pub checkpoint_seconds: u32,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Topology {
    ReplicaSet {
        nodes: u8,
    },
    Standalone,
    /// No `MongoDB` at all.
    None,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            topology: Topology::ReplicaSet { nodes: 1 },
            authentication: false,
            s3: false,
            object_lock: false,
            tls: None,
            parameters: Vec::new(),
            cache_gigabytes: 0.5,
            oplog_megabytes: 256,
            checkpoint_seconds: 60,
        }
    }
}

/// Running servers; dropping this stops them and removes their files.
pub struct Servers {
    description: Description,
    script: Mutex<Script>,
}

/// What `servers.py serve` says about what it started.
#[derive(Deserialize)]
struct Description {
    uri: Option<String>,
    hosts: Vec<Host>,
    user: Option<String>,
    password: Option<String>,
    s3: Option<S3>,
}

/// One mongod; `pid` is that of its first start.
#[derive(Deserialize)]
pub struct Host {
    pub port: u16,
    pub pid: u32,
    pub dbpath: PathBuf,
    pub argv: Vec<String>,
}

impl Host {
    /// Returns what a replica set calls this member.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Servers {
    pub(super) fn start(options: &Options) -> Self {
        let mut script = Script::start(options);
        let description: Description = script.read();
        description.password.iter().for_each(|password| plant("the password of MongoDB", password));
        description.s3.iter().for_each(|s3| plant("the store's secret key", &s3.secret_key));
        Self { description, script: Mutex::new(script) }
    }

    /// Returns the connection string, with the user that may do everything where there is one.
    pub fn uri(&self) -> &str {
        self.description.uri.as_deref().expect("a MongoDB was asked for")
    }

    /// Returns the connection string of one node alone, whatever its state.
    pub fn node_uri(&self, node: usize) -> String {
        let Description { user, password, hosts, .. } = &self.description;
        let account = match (user, password) {
            (Some(user), Some(password)) => format!("{user}:{password}@"),
            _ => String::new(),
        };
        format!("mongodb://{account}{}/?directConnection=true", hosts[node].address())
    }

    /// Returns the connection string of one node alone, without a user.
    pub fn anonymous_uri(&self, node: usize) -> String {
        format!("mongodb://{}/?directConnection=true", self.hosts()[node].address())
    }

    /// Returns a new client: one must not outlive its test's runtime, so tests never share them.
    pub async fn client(&self) -> Client {
        Client::with_uri_str(self.uri()).await.expect("the servers' own connection string is valid")
    }

    /// Returns a new client of one node alone.
    pub async fn node_client(&self, node: usize) -> Client {
        Client::with_uri_str(self.node_uri(node)).await.expect("the servers' own connection string is valid")
    }

    pub fn hosts(&self) -> &[Host] {
        &self.description.hosts
    }

    /// Returns the S3 server started along with these.
    pub fn s3(&self) -> &S3 {
        self.description.s3.as_ref().expect("an S3 server was asked for")
    }

    /// Returns the number of the node that is primary now.
    pub async fn primary(&self) -> usize {
        let hello: Document =
            self.client().await.database("admin").run_command(doc! { "hello": 1 }).await.expect("a primary answers");
        let address = hello.get_str("primary").expect("a member of a set with a primary names it");
        self.hosts().iter().position(|host| host.address() == address).expect("the primary is one of ours")
    }

    /// Ends a node as a power cut would.
    pub fn kill(&self, node: usize) {
        self.order("kill", node);
    }

    /// Shuts a node down cleanly.
    pub fn stop(&self, node: usize) {
        self.order("stop", node);
    }

    /// Starts a node that was ended, on the same port and files, and waits until it listens; returns its process id.
    pub fn start_again(&self, node: usize) -> u32 {
        self.order("start", node)
    }

    /// Freezes a node: connections stay open and nothing answers.
    pub fn pause(&self, node: usize) {
        self.order("pause", node);
    }

    pub fn resume(&self, node: usize) {
        self.order("resume", node);
    }

    /// Ends the S3 server as a power cut would.
    pub fn kill_s3(&self) {
        self.order("kill", "s3");
    }

    pub fn start_s3_again(&self) {
        self.order("start", "s3");
    }

    pub fn pause_s3(&self) {
        self.order("pause", "s3");
    }

    pub fn resume_s3(&self) {
        self.order("resume", "s3");
    }

    fn order(&self, verb: &str, server: impl std::fmt::Display) -> u32 {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(script.orders(), "{verb} {server}").expect("the script takes orders");
        match script.read() {
            Answer::Done { pid } => pid,
            Answer::Refused { error } => panic!("{error}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Done { pid: u32 },
    Refused { error: String },
}

/// The running `servers.py`.
struct Script {
    process: Child,
    /// Open for as long as the servers are wanted.
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    complaints: Complaints,
}

impl Script {
    fn start(options: &Options) -> Self {
        let mut process = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers.py"))
            .arg("serve")
            .args(arguments(options))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 is needed to start the servers");
        Self {
            orders: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("stdout is piped")).lines(),
            complaints: Complaints::collect(process.stderr.take().expect("stderr is piped")),
            process,
        }
    }

    fn orders(&mut self) -> &mut ChildStdin {
        self.orders.as_mut().expect("taken only when dropped")
    }

    /// Returns the next line that the script prints; panics with its own words when it has ended instead.
    fn read<T: DeserializeOwned>(&mut self) -> T {
        let Some(line) = self.answers.next() else {
            panic!("the servers did not start\n{}", self.complaints.all());
        };
        serde_json::from_str(&line.expect("the script prints text")).expect("the script prints JSON")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait(); // It has stopped the servers and removed their files when it ends.
    }
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = match options.topology {
        Topology::ReplicaSet { nodes } => vec![format!("--nodes={nodes}")],
        Topology::Standalone => vec!["--standalone".to_owned()],
        Topology::None => vec!["--no-mongod".to_owned()],
    };
    let switches = [(options.authentication, "--auth"), (options.s3, "--s3"), (options.object_lock, "--object-lock")];
    arguments.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, switch)| switch.to_owned()));
    arguments.extend(options.tls.iter().map(|folder| format!("--tls={}", folder.display())));
    arguments.extend(options.parameters.iter().map(|parameter| format!("--set-parameter={parameter}")));
    arguments.push(format!("--cache-gb={}", options.cache_gigabytes));
    arguments.push(format!("--oplog-mb={}", options.oplog_megabytes));
    arguments.push(format!("--checkpoint-seconds={}", options.checkpoint_seconds));
    arguments
}

/// What the script says on stderr: shown as it comes (a first fetch takes minutes) and kept for the panic.
struct Complaints {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Complaints {
    fn collect(from: impl std::io::Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let _ = writeln!(std::io::stderr(), "{line}");
                let mut kept = lock(&kept);
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// Returns everything, once the script has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        lock(&self.text).clone()
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
