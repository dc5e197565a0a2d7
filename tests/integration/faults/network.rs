//! The network between the program and a server fails in every way, at any moment, under every command that asks a server.

use std::time::Duration;

use mongodb::Client;
use serde_json::Value;

use super::{Striker, Tally, strikes, uri_through};
use crate::capture::{Writer, is_the_oplog};
use crate::harness::{self, FaultProxy, Options, Run, Servers};
use crate::incident::stage::Stage;
use crate::storage_faults::seed;

/// A server behind a proxy, and a workspace that knows no other way to it.
struct Ground {
    /// Running for as long as the ground is there.
    _servers: Servers,
    stage: Stage,
    proxy: FaultProxy,
}

impl Ground {
    async fn new(seed: u64) -> Self {
        let servers = harness::own(&Options::default());
        let mut stage = Stage::new(&servers).await;
        let proxy = FaultProxy::start(&servers.hosts()[0].address(), seed);
        stage.workspace.set("source.uri", uri_through(&proxy)).set("oplog.slice_interval", "1s");
        Self { _servers: servers, stage, proxy }
    }

    /// Goes on with a restore, or takes it back, as the target's own journal says.
    fn settle(&self) {
        for known in self.stage.unfinished() {
            let (id, stage) = (known["restore"].as_str().unwrap(), known["stage"].as_str().unwrap());
            let way = if stage.contains("--undo") { "--undo" } else { "--resume" };
            self.stage.restore(&[way, id]).exits(0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_whole_or_none() {
    let seed = seed();
    let ground = Ground::new(seed).await;
    let (stage, mut tally) = (&ground.stage, Tally::of("backup"));
    stage.restore(&[&stage.backup, "--replace"]).exits(0);
    let back_up = || stage.workspace.regrow(["backup", "--ns", &stage.db, "--json"]);
    let mut striker = Striker::measure(&ground.proxy, seed + 1, || drop(back_up().run().exits(0)));
    let count = || {
        let listed: Value = stage.workspace.run(["list", "--json"]).exits(0).json();
        listed["backups"].as_array().unwrap().len()
    };
    let is_proved = |run: &Run| {
        let backup: Value = run.json();
        let id = backup["id"].as_str().unwrap();
        stage.workspace.run(["verify", id, "--level", "content"]).exits(0);
        stage.workspace.run(["diff", id, "--check"]).exits(0);
    };
    for fault in strikes() {
        let before = count();
        let run = striker.strike(fault, || back_up().spawn());
        if run.code == 0 {
            is_proved(&run);
        } else {
            assert_eq!(count(), before, "{run:?}");
            is_proved(&back_up().run().exits(0));
        }
        tally.add(&run, striker.has_struck());
    }
    tally.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_whole_or_none() {
    let seed = seed();
    let ground = Ground::new(seed).await;
    let (stage, mut tally) = (&ground.stage, Tally::of("restore"));
    let target = format!("{}_copy", stage.db);
    let map = format!("{}={target}", stage.db);
    let expected = stage.good.renamed(|_, name| Some((target.clone(), name.to_owned())));
    let restore = || {
        let arguments = ["restore", &stage.backup, "--map", &map, "--confirm", "rs0"];
        stage.workspace.regrow(arguments)
    };
    let now = async || crate::contents::Contents::of_database(&stage.client, &target).await;
    let empty = async || stage.client.database(&target).drop().await.unwrap();
    let mut striker = Striker::measure(&ground.proxy, seed + 1, || drop(restore().run().exits(0)));
    empty().await;
    for fault in strikes() {
        let run = striker.strike(fault, || restore().spawn());
        if run.code != 0 {
            ground.settle();
            let left = now().await;
            if left.names().is_empty() {
                restore().run().exits(0);
            }
        }
        now().await.assert_equals(&expected);
        stage.is_clean().await;
        empty().await;
        tally.add(&run, striker.has_struck());
    }
    tally.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replaced_is_wholly_as_it_was_or_wholly_restored() {
    let seed = seed();
    let ground = Ground::new(seed).await;
    let (stage, mut tally) = (&ground.stage, Tally::of("restore --replace"));
    let restore = || stage.workspace.regrow(["restore", &stage.backup, "--replace", "--confirm", "rs0"]);
    let restored = async || {
        let mut now = stage.now().await;
        now.keep(&stage.good.names());
        now
    };
    let mut striker = Striker::measure(&ground.proxy, seed + 1, || drop(restore().run().exits(0)));
    stage.spoil_again().await;
    for fault in strikes() {
        let run = striker.strike(fault, || restore().spawn());
        if run.code != 0 {
            ground.settle();
            if stage.now().await == stage.spoilt {
                restore().run().exits(0);
            }
        }
        restored().await.assert_equals(&stage.good);
        stage.is_clean().await;
        stage.spoil_again().await;
        tally.add(&run, striker.has_struck());
    }
    tally.tell();
}

/// Makes the oplog longer.
async fn write_some(client: &Client) {
    let writer = Writer::start(client, "noise");
    tokio::time::sleep(Duration::from_millis(800)).await;
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_captured_is_the_oplog_whatever_the_network_does() {
    let seed = seed();
    let ground = Ground::new(seed).await;
    let (workspace, mut tally) = (&ground.stage.workspace, Tally::of("capture"));
    let capture = || workspace.regrow(["capture", "--once"]);
    capture().run().exits(0);
    write_some(&ground.stage.client).await;
    let mut striker = Striker::measure(&ground.proxy, seed + 1, || drop(capture().run().exits(0)));
    // Another run may have much less to read.
    striker.whole /= 4;
    for fault in strikes() {
        write_some(&ground.stage.client).await;
        let run = striker.strike(fault, || capture().spawn());
        capture().run().exits(0);
        is_the_oplog(workspace, &ground.stage.client).await;
        tally.add(&run, striker.has_struck());
    }
    tally.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_passes_or_says_why_and_leaves_nothing() {
    let seed = seed();
    let mut ground = Ground::new(seed).await;
    let uri = uri_through(&ground.proxy);
    ground.stage.workspace.set("drill.target", uri).set("drill.allow_source", true);
    let (stage, mut tally) = (&ground.stage, Tally::of("drill"));
    let drill = || stage.workspace.regrow(["drill", &stage.backup, "--json"]);
    let passes = |run: Run| assert_eq!(run.exits(0).json::<Value>()["passed"], true);
    let mut striker = Striker::measure(&ground.proxy, seed + 1, || passes(drill().run()));
    for fault in strikes() {
        let run = striker.strike(fault, || drill().spawn());
        if run.code != 0 {
            passes(drill().run());
        }
        let databases = stage.client.list_database_names().await.unwrap();
        assert!(!databases.iter().any(|name| name.contains("regrow_drill")), "{databases:?}");
        tally.add(&run, striker.has_struck());
    }
    tally.tell();
}
