//! Large collections are read in parts and through lost connections: each document once, none twice.

use std::collections::HashSet;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, Timestamp, cstr, doc, rawdoc};
use regrow::mongo::{Deployment, Node};
use regrow::mongo::{
    parts::{Part, split},
    read::{AsOf, CollectionReader, Reading, SnapshotLoss},
};
use regrow::secret::Secret;

use super::odd::bytes::{self, Bytes};
use super::odd::{documents, insert, run};
use crate::contents::all;
use crate::harness::{self, Options, Servers};

/// A collection of several batches, and the node and the time to read it at.
struct Large {
    servers: Servers,
    client: Client,
    node: Node,
    at: Timestamp,
    documents: Vec<RawDocumentBuf>,
}

const DB: &str = "parts";
const COLLECTION: &str = "large";

impl Large {
    /// Fills the collection that `create` makes; afterwards it changes, and none of that may be seen.
    async fn fill(create: RawDocumentBuf) -> Self {
        let parameters = vec!["enableTestCommands=1"];
        let servers = harness::own(&Options { parameters, ..Options::default() });
        let client = servers.client().await;
        let database = client.database(DB);
        run(&database, create).await;
        for batch in mixed().chunks(500) {
            insert(&database, COLLECTION, batch).await;
        }
        let natural = rawdoc! { "find": COLLECTION, "hint": { "$natural": 1 } };
        let documents = all(&database, natural).await;
        let deployment = Deployment::connect(&Secret::new(servers.uri().to_owned())).await.unwrap();
        let at = deployment.committed_time().await.unwrap().unwrap();
        let node = deployment.node_to_read().await.unwrap();
        run(&database, rawdoc! { "delete": COLLECTION, "deletes": [{ "q": { "n": { "$mod": [3, 1] } }, "limit": 0 }] })
            .await;
        insert(&database, COLLECTION, &[rawdoc! { "_id": "later" }]).await;
        Self { servers, client, node, at, documents }
    }

    fn reader(&self, part: Part) -> CollectionReader {
        let reading =
            Reading { as_of: AsOf::ClusterTime(self.at), or_later: None, uuid: None, part, document_bytes: 0 };
        CollectionReader::new(&self.node, DB, COLLECTION, reading)
    }

    /// Reads parts as of now, because the server shows the moment no longer at which they were made.
    async fn read_later(&self, parts: Vec<Part>) -> Vec<RawDocumentBuf> {
        let loss = SnapshotLoss::default();
        let mut together = Vec::new();
        for part in parts {
            let (as_of, or_later) = (AsOf::ClusterTime(self.at), Some(loss.clone()));
            let reading = Reading { as_of, or_later, uuid: None, part, document_bytes: 0 };
            let reader = CollectionReader::new(&self.node, DB, COLLECTION, reading);
            together.extend(read(reader, async |_| self.close_connections("getMore", 1).await).await);
        }
        assert!(loss.is_noted());
        together
    }

    async fn forget_snapshots(&self) {
        self.fail_point(doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0 }).await;
        for _ in 0..3 {
            insert(&self.client.database("other"), "ticks", &[rawdoc! {}]).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    async fn split(&self, parts: u64) -> Vec<Part> {
        split(&self.node, DB, COLLECTION, self.at, self.documents.len() as u64, parts).await.unwrap()
    }

    /// Closes the connection on the next `times` commands of a name.
    async fn close_connections(&self, command: &str, times: i32) {
        let data = doc! { "failCommands": [command], "closeConnection": true };
        self.fail_point(doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data }).await;
    }

    /// Returns how often connections were closed.
    async fn closed_connections(&self) -> i32 {
        let reply = self.fail_point(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
        reply.get_i32("count").unwrap()
    }

    async fn fail_point(&self, command: Document) -> Document {
        self.client.database("admin").run_command(command).await.unwrap()
    }

    /// Ends every open cursor on the collection, as a server does whose sessions have expired.
    async fn kill_cursors(&self) -> usize {
        let idle = rawdoc! { "$currentOp": { "allUsers": true, "idleCursors": true } };
        let ours = rawdoc! { "$match": { "type": "idleCursor", "ns": format!("{DB}.{COLLECTION}") } };
        let command = rawdoc! { "aggregate": 1, "pipeline": [idle, ours], "cursor": {} };
        let cursors = all(&self.client.database("admin"), command).await;
        for cursor in &cursors {
            let id = cursor.get_document("cursor").unwrap().get("cursorId").unwrap().unwrap();
            let mut command = rawdoc! { "killCursors": COLLECTION };
            command.append(cstr!("cursors"), RawArrayBuf::from_iter([RawBson::from(id)]));
            run(&self.client.database(DB), command).await;
        }
        cursors.len()
    }

    fn assert_is_whole(&self, read: &[RawDocumentBuf]) {
        let id = |document: &RawDocumentBuf| format!("{:?}", document.get("_id"));
        let wrong = read.iter().zip(&self.documents).position(|(read, expected)| read != expected);
        let wrong = wrong.map(|at| (at, id(&read[at]), id(&self.documents[at])));
        assert_eq!((wrong, read.len()), (None, self.documents.len()), "(number, read, expected), how many");
    }
}

fn plain() -> RawDocumentBuf {
    rawdoc! { "create": COLLECTION }
}

/// About 40 MiB of documents in no order, whose `_id`s are of every type.
fn mixed() -> Vec<RawDocumentBuf> {
    let numbered = (0..2500_i32).map(|number| match (number * 7919 % 2500, number % 5) {
        (id, 0) => Bytes::with_id(bytes::INT32, (id + 10_000).to_le_bytes()),
        (id, 1) => Bytes::with_id(bytes::INT64, i64::from(id + 20_000).to_le_bytes()),
        (id, 2) => Bytes::with_id(bytes::DOUBLE, (f64::from(id) + 0.5).to_le_bytes()),
        (id, 3) => Bytes::with_id(bytes::STRING, bytes::string(format!("id {id}"))),
        (id, _) => Bytes::with_id(bytes::DOCUMENT, Bytes::new().int("b", id).int("a", 1).encode()),
    });
    let heavy = (0..).zip(numbered).map(|(n, id)| id.int("n", n).text("weight", "x".repeat(16_000)).raw());
    let mut documents: Vec<_> = heavy.collect();
    for (at, odd) in documents::ids().into_iter().enumerate() {
        documents.insert(at * 20, odd);
    }
    documents
}

/// Reads to the end; `between` is called after each batch.
async fn read(mut reader: CollectionReader, mut between: impl AsyncFnMut(usize)) -> Vec<RawDocumentBuf> {
    let mut documents = Vec::new();
    for batch in 1.. {
        let more = reader.next(|document| documents.push(document.to_owned())).await.unwrap();
        if !more {
            break;
        }
        between(batch).await;
    }
    documents
}

#[tokio::test]
async fn parts_make_up_the_collection_exactly() {
    let large = Large::fill(plain()).await;
    for wanted in [1, 2, 7, 40] {
        let parts = large.split(wanted).await;
        assert!(
            parts.len() as u64 <= wanted && (wanted < 2 || parts.len() as u64 > wanted / 2),
            "{} of {wanted}",
            parts.len()
        );
        let mut together = Vec::new();
        let mut sizes = Vec::new();
        for part in parts {
            let documents = read(large.reader(part), async |_| ()).await;
            sizes.push(documents.len());
            together.extend(documents);
        }
        large.assert_is_whole(&together);
        let largest = *sizes.iter().max().unwrap();
        assert!(largest < large.documents.len() / sizes.len() * 6, "about even: {sizes:?}");
    }
}

#[tokio::test]
async fn parts_that_are_read_later_leave_nothing_out() {
    let clustered = rawdoc! { "create": COLLECTION, "clusteredIndex": { "key": { "_id": 1 }, "unique": true } };
    for create in [plain(), clustered] {
        let large = Large::fill(create).await;
        let mut of_parts = Vec::new();
        for wanted in [1, 7, 40] {
            of_parts.push(large.split(wanted).await);
        }
        large.forget_snapshots().await;
        let natural = rawdoc! { "find": COLLECTION, "hint": { "$natural": 1 } };
        let there = all(&large.client.database(DB), natural).await;
        assert!(
            there.len() < large.documents.len(),
            "a third of the documents was deleted, and the ends of parts with them"
        );
        for parts in of_parts {
            let read = large.read_later(parts).await;
            let read: HashSet<&[u8]> = read.iter().map(|document| document.as_bytes()).collect();
            assert!(there.iter().all(|document| read.contains(document.as_bytes())));
        }
    }
}

#[tokio::test]
async fn a_lost_connection_costs_no_document() {
    let large = Large::fill(plain()).await;
    large.close_connections("getMore", 2).await;
    let documents = read(large.reader(Part::default()), async |_| ()).await;
    assert_eq!(large.closed_connections().await, 2);
    large.assert_is_whole(&documents);

    // Before the first document, and within a part.
    let mut together = Vec::new();
    for part in large.split(3).await {
        large.close_connections("find", 1).await;
        let reader = large.reader(part);
        together.extend(read(reader, async |_| large.close_connections("getMore", 1).await).await);
    }
    large.assert_is_whole(&together);
}

#[tokio::test]
async fn a_cursor_that_the_server_forgot_costs_no_document() {
    let large = Large::fill(plain()).await;
    let mut killed = 0;
    let documents = read(large.reader(Part::default()), async |batch| {
        if batch == 1 {
            killed = large.kill_cursors().await;
        }
    });
    let documents = documents.await;
    assert_eq!(killed, 1);
    large.assert_is_whole(&documents);
}

#[tokio::test]
async fn a_clustered_collection_resumes_as_well() {
    let clustered = rawdoc! { "create": COLLECTION, "clusteredIndex": { "key": { "_id": 1 }, "unique": true } };
    let large = Large::fill(clustered).await;
    assert_eq!(large.split(4).await.len(), 1, "its positions are no numbers, so it is read in one go");
    large.close_connections("getMore", 2).await;
    let documents = read(large.reader(Part::default()), async |_| ()).await;
    assert_eq!(large.closed_connections().await, 2);
    large.assert_is_whole(&documents);
}

#[tokio::test]
async fn a_server_that_stays_away_is_an_error() {
    let large = Large::fill(plain()).await;
    let mut reader = large.reader(Part::default());
    assert!(reader.next(|_| ()).await.unwrap());
    large.close_connections("find", 100).await;
    assert_eq!(large.kill_cursors().await, 1);
    let begin = std::time::Instant::now();
    reader.next(|_| ()).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(30) && large.closed_connections().await > 1);
    drop(large.servers);
}
