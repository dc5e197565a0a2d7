//! Members of a replica set that are killed, stopped, stepped down, removed and cut off under each command.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use super::{QUICK, Tally, says_why};
use crate::capture::{Writer, is_the_oplog};
use crate::harness::{self, Options, Run, Running, Servers, Topology, Workspace, fail_point};

const DOCUMENTS: i32 = 600;
const WEIGHT: usize = 40_000;

/// For how long each command of a kind is held back, so that events come while there is something left to do.
const SLOW: Duration = Duration::from_millis(400);

/// Longer than an election takes, and than the driver needs to notice that a member is silent.
const AWAY: Duration = Duration::from_secs(9);

/// Longer than whatever a set does by itself takes on a loaded machine.
const LIMIT: Duration = Duration::from_mins(2);

/// What happens to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    PrimaryKilled,
    PrimarySteppedDown,
    PrimarySilent,
    PrimaryCutOff,
    ReadMemberKilled,
    ReadMemberSilent,
    ReadMemberRemoved,
    SessionsKilled,
}

const EVENTS: [Event; 8] = [
    Event::PrimaryKilled,
    Event::PrimarySteppedDown,
    Event::PrimarySilent,
    Event::PrimaryCutOff,
    Event::ReadMemberKilled,
    Event::ReadMemberSilent,
    Event::ReadMemberRemoved,
    Event::SessionsKilled,
];

/// A replica set of three with some data.
struct Set {
    servers: Servers,
    workspace: Workspace,
}

impl Set {
    async fn new() -> Self {
        let servers = harness::own(&Options {
            topology: Topology::ReplicaSet { nodes: 3 },
            parameters: vec!["enableTestCommands=1"],
            ..Options::default()
        });
        let orders = servers.client().await.database("shop").collection::<Document>("orders");
        for batch in (0..DOCUMENTS).collect::<Vec<_>>().chunks(100) {
            let documents = batch.iter().map(|id| doc! { "_id": id, "weight": "x".repeat(WEIGHT) });
            orders.insert_many(documents).await.unwrap();
        }
        let mut workspace = Workspace::on_disk(&format!("{}&{QUICK}", servers.uri()));
        workspace.set("oplog.slice_interval", "1s");
        workspace.run(["init"]).exits(0);
        Self { servers, workspace }
    }

    fn nodes(&self) -> std::ops::Range<usize> {
        0..self.servers.hosts().len()
    }

    /// Holds each of the program's commands of a kind back for a while, on every member.
    async fn slow_down(&self, command: &str) {
        for node in self.nodes() {
            fail_point::hold(&self.servers.node_client(node).await, command, 0, SLOW).await;
        }
    }

    async fn let_go(&self) {
        for node in self.nodes() {
            fail_point::let_go(&self.servers.node_client(node).await).await;
        }
    }

    /// Waits until some member is asked, and returns which one.
    async fn asked(&self) -> usize {
        let waiting = self.nodes().map(|node| {
            Box::pin(async move { fail_point::wait_until_held(&self.servers.node_client(node).await, 0).await })
        });
        select_all(waiting).await.1
    }

    /// Lets something happen, `node` being the member that the program talks to.
    async fn happens(&self, event: Event, node: usize) {
        let servers = &self.servers;
        let primary = servers.primary().await;
        match event {
            Event::PrimaryKilled => self.is_killed(primary).await,
            Event::ReadMemberKilled => self.is_killed(node).await,
            Event::PrimarySilent => self.is_silent(primary).await,
            Event::PrimaryCutOff => self.is_cut_off(primary).await,
            Event::ReadMemberSilent => self.is_silent(node).await,
            Event::PrimarySteppedDown => {
                let order = doc! { "replSetStepDown": 5, "force": true };
                servers.node_client(primary).await.database("admin").run_command(order).await.unwrap();
            }
            Event::SessionsKilled => {
                for node in self.nodes() {
                    let order = doc! { "killAllSessions": [] };
                    servers.node_client(node).await.database("admin").run_command(order).await.unwrap();
                }
            }
            Event::ReadMemberRemoved => {
                self.is_removed_and_added(if node == primary { (node + 1) % 3 } else { node }).await;
            }
        }
    }

    async fn is_killed(&self, node: usize) {
        self.servers.kill(node);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.servers.start_again(node);
    }

    /// A member that a network cuts off: its connections stay, and nothing comes.
    async fn is_silent(&self, node: usize) {
        self.servers.pause(node);
        tokio::time::sleep(AWAY).await;
        self.servers.resume(node);
    }

    /// A primary that its set is cut off from, and nobody else is: it takes writes until it notices, another is elected, and
    /// what it has taken is rolled back.
    async fn is_cut_off(&self, primary: usize) {
        let others: Vec<usize> = self.nodes().filter(|node| *node != primary).collect();
        for other in &others {
            self.servers.pause(*other);
        }
        self.wait_until("the primary steps down", async || self.leads(primary).await == Some(false)).await;
        self.servers.pause(primary);
        for other in &others {
            self.servers.resume(*other);
        }
        let another_leads =
            async || self.leads(others[0]).await == Some(true) || self.leads(others[1]).await == Some(true);
        self.wait_until("another is elected", another_leads).await;
        self.servers.resume(primary);
    }

    /// Whether a member says that it is the primary; nothing, where it says nothing.
    async fn leads(&self, node: usize) -> Option<bool> {
        let admin = self.servers.node_client(node).await.database("admin");
        let hello = admin.run_command(doc! { "hello": 1 }).await.ok()?;
        hello.get_bool("isWritablePrimary").ok()
    }

    async fn wait_until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it never came to this: {what}");
    }

    async fn is_removed_and_added(&self, node: usize) {
        let admin = self.servers.client().await.database("admin");
        let found = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
        let whole = found.get_document("config").unwrap().clone();
        let address = self.servers.hosts()[node].address();
        let mut smaller = whole.clone();
        let members = smaller.get_array_mut("members").unwrap();
        members.retain(|member| member.as_document().unwrap().get_str("host").unwrap() != address);
        for (number, mut config) in (1..).zip([smaller, whole]) {
            let version = found.get_document("config").unwrap().get_i32("version").unwrap();
            config.insert("version", Bson::Int32(version + number));
            admin.run_command(doc! { "replSetReconfig": config }).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until there is a primary and every member follows it.
    async fn is_well(&self) {
        let are_well = async || {
            for node in self.nodes() {
                let client = self.servers.node_client(node).await;
                let Ok(hello) = client.database("admin").run_command(doc! { "hello": 1 }).await else { return false };
                let is = |key| hello.get_bool(key).unwrap_or(false);
                if !hello.contains_key("primary") || !(is("isWritablePrimary") || is("secondary")) {
                    return false;
                }
            }
            true
        };
        self.wait_until("every member follows a primary", are_well).await;
    }

    /// Starts a command, and when some member has been asked by it, lets an event happen; returns what became of it.
    async fn run_while(&self, event: Event, command: &str, start: impl FnOnce() -> Running) -> Run {
        self.slow_down(command).await;
        let running = start();
        let node = self.asked().await;
        println!("{event:?} while node {node} is asked");
        self.happens(event, node).await;
        let run = tokio::task::spawn_blocking(|| running.wait()).await.unwrap();
        self.is_well().await;
        self.let_go().await;
        if run.code != 0 {
            says_why(&run);
        }
        run
    }

    /// Makes sure that a database holds what `shop` does.
    fn is_as_backed_up(&self, db: &str) {
        self.workspace.run(["diff", "latest", "--map", &format!("shop={db}"), "--check"]).exits(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_of_a_set_whose_members_fail_are_whole_or_none() {
    let (set, mut tally) = (Set::new().await, Tally::of("backup of a set"));
    let back_up = || set.workspace.regrow(["backup", "--ns", "shop"]);
    let is_proved = |run: Run| {
        let id = run.exits(0).stdout.trim().to_owned();
        set.workspace.run(["verify", &id, "--level", "content"]).exits(0);
        set.workspace.run(["diff", &id, "--check"]).exits(0);
    };
    for event in EVENTS {
        let run = set.run_while(event, "getMore", || back_up().spawn()).await;
        tally.add(&run, true);
        is_proved(if run.code == 0 { run } else { back_up().run() });
    }
    tally.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restores_into_a_set_whose_members_fail_are_whole_or_none() {
    let (set, mut tally) = (Set::new().await, Tally::of("restore into a set"));
    set.workspace.run(["backup", "--ns", "shop"]).exits(0);
    let client = set.servers.client().await;
    let restore =
        |db: &str| set.workspace.regrow(["restore", "latest", "--map", &format!("shop={db}"), "--confirm", "rs0"]);
    // Only the primary is written to.
    let events = [
        Event::PrimaryKilled,
        Event::PrimarySteppedDown,
        Event::PrimarySilent,
        Event::PrimaryCutOff,
        Event::SessionsKilled,
    ];
    for (number, event) in (0..).zip(events) {
        let db = format!("copy_{number}");
        let run = set.run_while(event, "insert", || restore(&db).spawn()).await;
        tally.add(&run, true);
        if run.code != 0 {
            let known: Value = set.workspace.run(["restore", "--unfinished", "--json"]).exits(0).json();
            for known in known["restores"].as_array().unwrap() {
                let id = known["restore"].as_str().unwrap();
                set.workspace.run(["restore", "--undo", id, "--confirm", "rs0"]).exits(0);
            }
            let left = client.database(&db).list_collection_names().await.unwrap();
            assert!(left.is_empty(), "{left:?} {run:?}");
            restore(&db).run().exits(0);
        }
        set.is_as_backed_up(&db);
        client.database(&db).drop().await.unwrap();
    }
    tally.tell();
}

/// For as long as there is no primary, whoever is asked says that it is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_is_listed_again_in_the_middle_of_an_election() {
    const NOT_PRIMARY: i32 = 10_107;
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let client = servers.client().await;
    client.database("shop").collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let restore = ["restore", "latest", "--map", "shop=copy", "--confirm", "rs0"];
    for arguments in [&["backup", "--ns", "shop"][..], &restore] {
        fail_point::fail_with(&client, "listCollections", NOT_PRIMARY, 3).await;
        workspace.run(arguments).exits(0);
    }
    let copied = client.database("copy").collection::<Document>("orders").find_one(doc! {}).await.unwrap();
    assert_eq!(copied, Some(doc! { "_id": 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oplog_of_a_set_whose_members_fail_is_captured_whole() {
    let (set, mut tally) = (Set::new().await, Tally::of("capture of a set"));
    let client = set.servers.client().await;
    set.workspace.run(["capture", "--once"]).exits(0);
    let writer = Writer::start(&client, "noise");
    let mut capture = set.workspace.regrow(["capture"]).spawn();
    // Kills and elections have a test beside that of capture itself.
    let mut events = vec![Event::ReadMemberSilent, Event::ReadMemberRemoved, Event::SessionsKilled];
    if harness::takes_long() {
        events = EVENTS.to_vec();
    }
    for event in events {
        set.slow_down("getMore").await;
        let node = set.asked().await;
        set.let_go().await;
        println!("{event:?} while node {node} is tailed");
        set.happens(event, node).await;
        set.is_well().await;
        assert!(capture.is_running(), "{}", capture.stderr());
        tally.survived += 1;
    }
    writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    set.workspace.run(["capture", "--once"]).exits(0);
    assert!(is_the_oplog(&set.workspace, &client).await > 100);
    let listed: Value = set.workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["gaps"].as_array().unwrap().len(), 0, "{listed}");
    tally.tell();
}
