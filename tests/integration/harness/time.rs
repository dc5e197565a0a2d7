//! Time that passes for a server alone: it believes whoever tells it that the cluster is further on, and so what it writes
//! from then on is later. What would take days is tried at once.

use jiff::SignedDuration;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, Timestamp, deserialize_from_document, doc};
use mongodb::{Client, ClusterTime};

/// Lets so much time pass by the cluster's clock, and writes something at the end of it. Only without access control: a
/// server that has it asks for a signature.
pub async fn pass(client: &Client, by: SignedDuration) {
    let mut session = client.start_session().await.unwrap();
    let admin = client.database("admin");
    let told = admin.run_command(doc! { "ping": 1 }).session(&mut session).await.unwrap();
    let Some(Bson::Timestamp(now)) = told.get_document("$clusterTime").unwrap().get("clusterTime") else {
        panic!("{told}")
    };
    let later = Timestamp { time: now.time + u32::try_from(by.as_secs()).unwrap(), increment: 1 };
    let hash = Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] };
    let later = doc! { "clusterTime": later, "signature": { "hash": hash, "keyId": 0_i64 } };
    session.advance_cluster_time(&deserialize_from_document::<ClusterTime>(later).unwrap());
    let passing = client.database("passing").collection::<Document>("time");
    passing.insert_one(doc! {}).session(&mut session).await.unwrap();
}
