//! Whose signatures count: a descriptor that somebody exchanged, keys that the configuration names, a second host's key.

use std::fs;

use regrow::codec::SigningKey;
use regrow::codec::signing::{KEY_PURPOSE, MANIFEST_PURPOSE};
use regrow::format::manifest::Manifest;
use regrow::random::Random;
use serde_json::Value;

use crate::harness::{self, Workspace};
use crate::small_backups::{fill, signing_key, take_into};

/// A repository with one small backup, and a key that its owner never saw.
struct Ground {
    workspace: Workspace,
    backup: Manifest,
    stranger: SigningKey,
}

impl Ground {
    async fn new() -> Self {
        let servers = harness::replica_set();
        let db = fill(servers).await;
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let backup = take_into(&workspace, servers, &db).await;
        Self { workspace, backup, stranger: SigningKey::generate(&Random::system()) }
    }

    fn public_key(&self) -> String {
        signing_key(&self.workspace).entry().public_key
    }

    /// Does what somebody does who may write to the store: puts their own key into the descriptor and signs all anew.
    fn exchange(&self) {
        let root = self.workspace.repository();
        let path = root.join("regrow-repository.json");
        let mut descriptor: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        descriptor["signing_keys"] = serde_json::json!([self.stranger.entry()]);
        fs::write(&path, serde_json::to_vec_pretty(&descriptor).unwrap()).unwrap();
        fs::remove_dir_all(root.join("evidence")).unwrap();
        fs::remove_dir_all(root.join("control")).unwrap();
        let payload = serde_json::to_string(&self.backup).unwrap();
        let manifest = root.join(format!("backups/{}/manifest.json", self.backup.id));
        fs::write(manifest, self.stranger.sign(MANIFEST_PURPOSE, &payload)).unwrap();
    }
}

#[tokio::test]
async fn an_exchanged_descriptor_is_refused_where_keys_are_pinned() {
    let mut ground = Ground::new().await;
    let public_key = ground.public_key();
    ground.exchange();
    // Who believes the bucket's own word sees nothing wrong.
    ground.workspace.run(["show", "latest"]).exits(0);
    ground.workspace.set("repository.trusted_keys", vec![public_key]);
    let (ours, theirs) = (signing_key(&ground.workspace).entry().id, ground.stranger.entry().id);
    let expected = format!(
        "error: regrow-repository.json was exchanged: it lists the signing key {theirs}, and repository.trusted_keys names {ours}\n"
    );
    for command in [&["list"][..], &["restore", "latest", "--confirm", "rs0"], &["verify"], &["backup"], &["status"]] {
        let run = ground.workspace.run(command).exits(5);
        assert!(run.stderr.starts_with(&expected), "{command:?}: {run:?}");
        assert_eq!(run.stderr.matches("hint: ").count(), 1, "{run:?}");
    }
}

#[tokio::test]
async fn a_key_beside_the_right_one_in_the_descriptor_does_not_count_where_keys_are_pinned() {
    let mut ground = Ground::new().await;
    let path = ground.workspace.repository().join("regrow-repository.json");
    let mut descriptor: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    descriptor["signing_keys"].as_array_mut().unwrap().push(serde_json::json!(ground.stranger.entry()));
    fs::write(&path, serde_json::to_vec_pretty(&descriptor).unwrap()).unwrap();
    let payload = serde_json::to_string(&ground.backup).unwrap();
    let manifest = ground.workspace.repository().join(format!("backups/{}/manifest.json", ground.backup.id));
    fs::write(manifest, ground.stranger.sign(MANIFEST_PURPOSE, &payload)).unwrap();
    ground.workspace.run(["show", "latest"]).exits(0);
    let public_key = ground.public_key();
    ground.workspace.set("repository.trusted_keys", vec![public_key]);
    let run = ground.workspace.run(["show", "latest"]).exits(5);
    assert!(run.stderr.contains("which this repository does not know"), "{run:?}");
}

#[tokio::test]
async fn an_old_manifest_in_anothers_place_is_refused() {
    let ground = Ground::new().await;
    let servers = harness::replica_set();
    let newer = take_into(&ground.workspace, servers, &fill(servers).await).await;
    let place = |id: &str| ground.workspace.repository().join(format!("backups/{id}/manifest.json"));
    fs::copy(place(ground.backup.id.as_str()), place(newer.id.as_str())).unwrap();
    let run = ground.workspace.run(["restore", newer.id.as_str(), "--confirm", "rs0"]).exits(5);
    let expected = format!("error: the manifest of {} is malformed: it is that of {}\n", newer.id, ground.backup.id);
    assert!(run.stderr.starts_with(&expected), "{run:?}");
}

#[tokio::test]
async fn a_second_host_signs_once_the_first_accepts_its_key() {
    let mut ground = Ground::new().await;
    let first = ground.public_key();
    let second = ground.workspace.run(["keygen", "--signing", "-o", "second.key"]).exits(0).stdout;
    let second = second.trim();
    ground.workspace.set("signing.key_file", "second.key");
    let run = ground.workspace.run(["backup", "--ns", "none_such"]).exits(3);
    assert!(run.stderr.contains("does not belong to this repository"), "{run:?}");
    // It cannot accept itself.
    ground.workspace.run(["keys", "--accept", second]).exits(3);
    ground.workspace.set("signing.key_file", "regrow-signing.key");
    let run = ground.workspace.run(["keys", "--accept", second]).exits(0);
    assert!(run.stdout.contains(&first) && run.stdout.contains(second), "{run:?}");
    assert!(ground.workspace.run(["keys", "--accept", second]).exits(0).stderr.contains("counted already"));

    let servers = harness::replica_set();
    let db = fill(servers).await;
    // Also where only the first key is pinned: what it accepts counts.
    ground.workspace.set("signing.key_file", "second.key").set("repository.trusted_keys", vec![first]);
    let id = ground.workspace.run(["backup", "--ns", &db]).exits(0).stdout;
    ground.workspace.run(["show", id.trim()]).exits(0);
    ground.workspace.run(["verify"]).exits(0);
    let keys: Value = ground.workspace.run(["keys", "--json"]).exits(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
}

#[tokio::test]
async fn a_key_that_a_stranger_accepts_does_not_count() {
    let ground = Ground::new().await;
    let other = SigningKey::generate(&Random::system()).entry();
    let record = serde_json::json!({
        "format": "regrow-key", "version": 1, "repository": ground.backup.repository, "key": ground.stranger.entry(),
        "accepted_at": "2026-11-26T00:00:00Z",
    });
    let place = |id: &str| ground.workspace.write(&format!("repository/keys/{id}.json"), "");
    let own = ground.stranger.entry().id;
    fs::write(place(&own), ground.stranger.sign(KEY_PURPOSE, &record.to_string())).unwrap();
    let keys: Value = ground.workspace.run(["keys", "--json"]).exits(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    let run = ground.workspace.run(["verify"]).exits(5);
    assert!(run.stdout.contains(&format!("keys/{own}.json")), "{run:?}");
    fs::remove_file(place(&own)).unwrap();
    // A record under another key's name is none.
    let signed = signing_key(&ground.workspace).sign(KEY_PURPOSE, &record.to_string());
    fs::write(place(&other.id), signed).unwrap();
    let run = ground.workspace.run(["verify"]).exits(5);
    assert!(run.stdout.contains(&format!("keys/{}.json", other.id)), "{run:?}");
}

#[tokio::test]
async fn trusted_keys_that_are_none_are_named() {
    let mut ground = Ground::new().await;
    for (keys, error) in [
        (vec![], "error: repository.trusted_keys is empty: no signature would count\nhint: "),
        (
            vec!["946ddf1eb0bc92ed".to_owned()],
            "error: repository.trusted_keys: '946ddf1eb0bc92ed' is no public signing key\nhint: ",
        ),
    ] {
        ground.workspace.set("repository.trusted_keys", keys);
        let run = ground.workspace.run(["list"]).exits(3);
        assert!(run.stderr.starts_with(error), "{run:?}");
    }
    ground.workspace.run(["keys", "--accept", "nonsense"]).exits(2);
    let fresh_key = SigningKey::generate(&Random::system()).entry().public_key;
    let mut fresh = Workspace::on_disk(harness::replica_set().uri());
    fresh.set("repository.trusted_keys", vec![fresh_key]);
    let run = fresh.run(["init"]).exits(3);
    assert!(run.stderr.starts_with("error: repository.trusted_keys does not name the key that is to sign"), "{run:?}");
    let made = [fresh.repository().join("regrow-repository.json"), fresh.path("regrow-signing.key")];
    assert!(made.iter().all(|path| !path.exists()), "nothing was made");
}
