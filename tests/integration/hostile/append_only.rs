//! Credentials that may only create and read, as of a bucket under Object Lock: backups and their evidence need no more.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use regrow::clock::Clock;
use regrow::format::evidence::Event;
use regrow::random::Random;
use regrow::repository::{Recorder, Repository};
use regrow::storage::{Abilities, Entry, Key, Storage, StorageError, StorageResult, Stored, Upload};
use regrow::verify::Level;

use crate::harness::{self, Workspace};
use crate::small_backups::{fill, local, plan, signing_key, take, verified};

/// A store that lets nothing be replaced or removed, not even in `control/`.
#[derive(Debug)]
struct CreateOnly(Arc<dyn Storage>);

fn denied(operation: &str, key: &str) -> StorageError {
    StorageError::Denied {
        place: key.to_owned(),
        operation: operation.to_owned(),
        reason: "create and read only".into(),
    }
}

#[async_trait]
impl Storage for CreateOnly {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        self.0.create(key, content).await
    }

    async fn replace(&self, key: &Key, _old: Bytes, _new: Bytes) -> StorageResult<()> {
        Err(denied("replace", key))
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        self.0.upload(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.0.read(key, range).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.0.size(key).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.0.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        Err(denied("delete", key))
    }

    async fn sweep(&self, _prefix: &str, _age: Duration) -> StorageResult<usize> {
        Ok(0)
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.0.probe().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_and_evidence_need_no_more_than_creating_and_reading() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let store: Arc<dyn Storage> = Arc::new(CreateOnly(local(&workspace.repository())));
    let (key, plan) = (signing_key(&workspace), plan(servers, &db).await);
    let mut repository = Repository::open(Arc::clone(&store)).await.unwrap();
    for _ in 0..2 {
        let backup = take(&plan, Arc::clone(&store), &key, &[workspace.recipient()]).await.unwrap();
        let now = Clock::system().now();
        let run = serde_json::json!({
            "job": "backup-manual", "due": null, "started_at": now, "finished_at": now, "attempts": 1,
        });
        let event = Event::Backup { run: serde_json::from_value(run).unwrap(), backup: backup.id, imported: false };
        let recorder = Recorder { who: "a test", signing_key: &key, random: &Random::system() };
        repository.record_one(event, now, &recorder).await.unwrap();
    }
    let second = regrow::codec::SigningKey::generate(&Random::system()).entry();
    assert!(repository.accept_key(&second, &key, Clock::system().now()).await.unwrap());
    let found = verified(&repository, Level::Checksum).await;
    assert_eq!((found.findings.len(), found.backups.len()), (0, 2), "{:?}", found.findings);
    let denied = store.delete("regrow-repository.json").await.unwrap_err();
    assert!(matches!(denied, StorageError::Denied { .. }), "{denied}");
    workspace.run(["verify"]).exits(0);
}
