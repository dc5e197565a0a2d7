//! The network between the program and an S3 store fails in every way, at any moment, under every command that reads or writes
//! what is stored.

use serde_json::Value;

use super::{Striker, Tally, strikes};
use crate::contents::Contents;
use crate::harness::{self, FaultProxy, Run, Workspace};
use crate::incident::stage::fill;
use crate::storage_faults::seed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_over_a_bad_network_is_whole() {
    let (servers, s3, db) = (harness::replica_set(), harness::s3(), harness::unique_database_name());
    let (client, seed) = (servers.client().await, seed());
    fill(&client, &db, 2000).await;
    let good = Contents::of_database(&client, &db).await;
    let proxy = FaultProxy::start(s3.endpoint.trim_start_matches("http://"), seed);
    let mut workspace = Workspace::on_s3(servers.uri(), s3);
    workspace.set("repository.endpoint", format!("http://{}", proxy.address()));
    workspace.run(["init"]).exits(0);
    let back_up = || workspace.regrow(["backup", "--ns", &db, "--json"]);
    let verify = || workspace.regrow(["verify", "--level", "content", "--json"]);
    let is_proved = |run: Run| {
        let backup: Value = run.exits(0).json();
        workspace.run(["diff", backup["id"].as_str().unwrap(), "--check"]).exits(0);
        assert_eq!(verify().run().exits(0).json::<Value>()["ok"], true);
    };

    let (mut tally, mut striker) =
        (Tally::of("backup to S3"), Striker::measure(&proxy, seed + 1, || drop(back_up().run().exits(0))));
    for fault in strikes() {
        let run = striker.strike(fault, || back_up().spawn());
        tally.add(&run, striker.has_struck());
        is_proved(if run.code == 0 { run } else { back_up().run() });
    }
    tally.tell();

    let (mut tally, mut striker) =
        (Tally::of("verify of S3"), Striker::measure(&proxy, seed + 2, || drop(verify().run())));
    for fault in strikes() {
        let run = striker.strike(fault, || verify().spawn());
        tally.add(&run, striker.has_struck());
        // What could not be read is not called damaged.
        assert!(run.code != 0 || run.json::<Value>()["ok"] == true, "{run:?}");
        verify().run().exits(0);
    }
    tally.tell();

    let copy = format!("{db}_copy");
    let map = format!("{db}={copy}");
    let restore = || workspace.regrow(["restore", "latest", "--map", &map, "--confirm", "rs0"]);
    let expected = good.renamed(|_, name| Some((copy.clone(), name.to_owned())));
    let now = async || Contents::of_database(&client, &copy).await;
    let mut striker = Striker::measure(&proxy, seed + 3, || drop(restore().run().exits(0)));
    let mut tally = Tally::of("restore from S3");
    for fault in strikes() {
        client.database(&copy).drop().await.unwrap();
        let run = striker.strike(fault, || restore().spawn());
        tally.add(&run, striker.has_struck());
        if run.code != 0 {
            assert!(now().await.names().is_empty(), "{run:?}");
            restore().run().exits(0);
        }
        now().await.assert_equals(&expected);
    }
    tally.tell();
}
