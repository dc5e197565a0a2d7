//! What is not resumed: a backup is taken anew then, succeeds, and says why.

use std::fs;

use mongodb::bson::{Document, Timestamp, doc};
use mongodb::{Client, IndexModel};

use regrow::clock::Clock;
use regrow::codec::keys::NewIdentity;

use super::stage::{DB, Ended, Place, Stage, folder};

/// Where a backup is killed: some packs are noted.
const LATE: &str = "90";

/// Leaves an unfinished backup and returns its id.
fn unfinished(workspace: &Place) -> String {
    workspace.killed_at(LATE);
    let id = workspace.unfinished();
    workspace.without_unnoted(&id);
    id
}

/// Takes a backup that must begin anew, and say so; nothing, where there is nothing to say.
fn begins_anew(workspace: &Place, arguments: &[&str], why: Option<&str>) {
    let id = workspace.unfinished();
    let Ended { answer, stderr } = workspace.takes(arguments);
    assert_ne!(answer["id"], id.as_str(), "{arguments:?}, {why:?}: {stderr}");
    assert_eq!(answer["resumed_bytes"], 0);
    let said: Vec<&str> = stderr.lines().filter(|line| line.starts_with("note: begins anew")).collect();
    match why {
        None => {
            assert!(said.is_empty(), "{arguments:?}: {stderr}");
            assert!(stderr.contains("backup can be gone on with; begins anew"), "{arguments:?}: {stderr}");
        }
        Some(why) => {
            let expected = format!("note: begins anew: {id} is not resumed: ");
            assert!(said.len() == 1 && said[0].starts_with(&expected) && said[0].contains(why), "{why}: {stderr}");
            assert_eq!(workspace.leftovers(), 0, "{why}: the backup that was taken instead takes its place");
        }
    }
    workspace.run(["verify", "--level", "content"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_otherwise_is_not_resumed() {
    let stage = Stage::new().await;
    let mut workspace = stage.workspace();
    let id = unfinished(&workspace);
    begins_anew(&workspace, &["--kind", "weekly"], None);
    assert_eq!(workspace.unfinished(), id, "of another kind");
    let Ended { answer, stderr } = workspace.takes_anew(&[]);
    assert_ne!(answer["id"], id.as_str(), "nobody has asked for it: {stderr}");
    assert_eq!(workspace.leftovers(), 0, "nobody will resume it any more");

    for (arguments, why) in [
        (&["--level", "5"][..], "it is compressed at another level"),
        (&["--ns", "shop.orders"], "it is of other namespaces"),
    ] {
        workspace = stage.workspace();
        unfinished(&workspace);
        begins_anew(&workspace, arguments, Some(why));
    }

    workspace = stage.workspace();
    unfinished(&workspace);
    let other = NewIdentity::generate(Clock::system().now()).recipient;
    let recipients = vec![workspace.recipient().to_owned(), other];
    workspace.set("encryption.recipients", recipients);
    begins_anew(&workspace, &[], Some("it is encrypted to others"));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_became_others_are_taken_anew() {
    let stage = Stage::new().await;
    let database = stage.servers.client().await.database(DB);
    let why = Some("collections, options or indexes have changed since");

    let workspace = stage.workspace();
    unfinished(&workspace);
    let index = IndexModel::builder().keys(doc! { "of": 1 }).build();
    database.collection::<Document>("orders").create_index(index).await.unwrap();
    begins_anew(&workspace, &[], why);

    // Of the same name, and with the same documents.
    let workspace = stage.workspace();
    unfinished(&workspace);
    let customers = database.collection::<Document>("customers");
    customers.aggregate([doc! { "$out": "others" }]).await.unwrap();
    customers.drop().await.unwrap();
    let rename = doc! { "renameCollection": "shop.others", "to": "shop.customers" };
    stage.servers.client().await.database("admin").run_command(rename).await.unwrap();
    begins_anew(&workspace, &[], why);
    stage.restores(&workspace, &stage.content().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_the_server_has_forgotten_is_not_resumed() {
    let stage = Stage::new().await;
    let workspace = stage.workspace();
    unfinished(&workspace);
    let client = stage.servers.client().await;
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
    // Later than the backup's own: when this one is gone, so is that.
    let at =
        hello.get_document("lastWrite").unwrap().get_document("majorityOpTime").unwrap().get_timestamp("ts").unwrap();
    let keep = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0 };
    client.database("admin").run_command(keep).await.unwrap();
    while shows(&client, at).await {
        stage.change().await;
    }
    begins_anew(&workspace, &[], Some("the server does not show its moment any more"));
    stage.restores(&workspace, &stage.content().await).await;
}

async fn shows(client: &Client, at: Timestamp) -> bool {
    let find = doc! { "find": "orders", "limit": 1, "readConcern": { "level": "snapshot", "atClusterTime": at } };
    client.database(DB).run_command(find).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_are_gone_or_damaged_are_not_believed() {
    let stage = Stage::new().await;
    let content = stage.content().await;
    let pack = |workspace: &Place, id: &str| folder(workspace, id).join("packs/0002.tar");

    let workspace = stage.workspace();
    let id = unfinished(&workspace);
    fs::remove_file(pack(&workspace, &id)).unwrap();
    begins_anew(&workspace, &[], Some("packs/0002.tar is not there as it was stored"));
    stage.restores(&workspace, &content).await;

    let workspace = stage.workspace();
    let id = unfinished(&workspace);
    let mut bytes = fs::read(pack(&workspace, &id)).unwrap();
    bytes[3000] ^= 1;
    fs::write(pack(&workspace, &id), bytes).unwrap();
    begins_anew(&workspace, &[], Some("packs/0002.tar is not stored as it was sent"));
    stage.restores(&workspace, &content).await;

    let workspace = stage.workspace();
    let id = unfinished(&workspace);
    let checkpoint = folder(&workspace, &id).join("checkpoints/0002.json");
    let text = fs::read_to_string(&checkpoint).unwrap().replace("\"number\":2", "\"number\":3");
    fs::write(&checkpoint, text).unwrap();
    begins_anew(&workspace, &[], Some("checkpoint 2"));
}
