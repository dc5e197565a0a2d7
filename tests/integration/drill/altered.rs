//! A backup of which one document was altered before it was sealed: every hash and every signature is right.

use mongodb::bson::{RawDocument, RawDocumentBuf};
use regrow::clock::Clock;
use regrow::codec::{Identities, Recipients, Sealer};
use regrow::format::segment::{Documents, Walk};
use regrow::format::{BackupId, BackupKind, Subject};
use regrow::random::Random;
use regrow::repository::{BackupWriter, Repository};
use regrow::secret::Secret;
use serde_json::Value;

use super::ground::Ground;
use super::outcome;
use crate::small_backups::{local, signing_key};

#[tokio::test]
async fn a_document_that_was_altered_before_sealing_fails_the_drill_by_the_name_of_its_collection() {
    let ground = Ground::new().await;
    let altered = alter(&ground, "customers").await;
    let verified = ground.workspace.run(["verify", altered.as_str()]);
    assert_eq!(verified.exits(0).stdout, "", "no hash tells");
    let run = ground.workspace.run(["drill", altered.as_str(), "--json"]).exits(5);
    let drill: Value = run.json();
    assert_eq!((&drill["passed"], outcome(&drill, "documents")), (&Value::Bool(false), "failed"), "{drill}");
    let detail = drill["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("customers") && !detail.contains("orders"), "{detail}");
    ground.is_clean();
    let records = ground.evidence("drill");
    let result = &records.last().unwrap()["payload"]["details"]["result"];
    assert_eq!((&result["passed"], &result["backup"]), (&Value::Bool(false), &Value::from(altered.as_str())));
    assert!(!result.to_string().contains("customers"), "names in evidence: {result}");
    ground.workspace.run(["drill", ground.backup.as_str()]).exits(0);
}

/// Copies the backup, sealed anew, with the last byte of the last document of a collection changed; returns the copy's id.
async fn alter(ground: &Ground, collection: &str) -> BackupId {
    let repository = Repository::open(local(&ground.workspace.repository())).await.unwrap();
    let identity = std::fs::read_to_string(ground.workspace.identity_file()).unwrap();
    let identities = Some(Identities::parse(&Secret::new(identity)).unwrap());
    let mut manifest = repository.manifest(&ground.backup.parse().unwrap()).await.unwrap();
    let catalog = repository.catalog(&manifest, identities.as_ref()).await.unwrap();
    let segments = repository.segments(&manifest, identities).await.unwrap();
    let of_collection = catalog.collections.iter().find(|record| record.name == collection).unwrap();
    let wanted = of_collection.segments.last().unwrap().n;
    manifest.id = BackupId::generate(Clock::system().now(), BackupKind::Manual, &Random::system());
    let sealer = Sealer::new(Some(Recipients::parse(&[ground.workspace.recipient()]).unwrap()));
    let mut writer = BackupWriter::new(repository.clone(), manifest.id.clone(), sealer.encryption(), 1 << 30);
    let numbers: Vec<u64> = manifest.packs.iter().flat_map(|pack| &pack.segments).map(|segment| segment.n).collect();
    for number in numbers {
        let (bytes, _) = segments.read(number).await.unwrap();
        let mut documents: Vec<RawDocumentBuf> =
            Walk::new(&bytes).map(|document| document.unwrap().to_owned()).collect();
        if number == wanted {
            let last = documents.last_mut().unwrap();
            *last = changed(last);
        }
        let documents: Documents = documents.into_iter().collect();
        let sealed = sealer.seal(Subject::Segment { backup: manifest.id.clone(), number }, &documents).unwrap();
        writer.append(number, sealed).await.unwrap();
    }
    let sealed = sealer.seal(Subject::Catalog { backup: manifest.id.clone() }, &catalog.encode().unwrap()).unwrap();
    (manifest.packs, manifest.catalog) = writer.finish_data(sealed).await.unwrap();
    writer.commit(&manifest, &signing_key(&ground.workspace)).await.unwrap();
    manifest.id
}

/// Changes the last byte of the last value.
fn changed(document: &RawDocument) -> RawDocumentBuf {
    let mut bytes = document.as_bytes().to_vec();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    RawDocumentBuf::from_bytes(bytes).unwrap()
}
