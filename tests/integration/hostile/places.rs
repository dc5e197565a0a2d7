//! Manifests and catalogs that are signed as they should be and lead elsewhere: whoever holds the signing key gets no further
//! than the repository and the databases that a backup may hold.

use std::fs;

use regrow::codec::signing::MANIFEST_PURPOSE;
use serde_json::Value;

use crate::harness::{self, Workspace};
use crate::small_backups::{fill, signing_key, take_into};

/// Where an attacker would have an object be.
const ELSEWHERE: [&str; 7] = [
    "../outside",
    "/etc/passwd",
    "backups/../../outside",
    "control/lease.json",
    "backups/20260101T000000Z-daily-0000/packs/0001.tar",
    "packs/0001.tar\u{0}",
    "",
];

#[tokio::test]
async fn keys_in_a_manifest_stay_in_their_backups_folder() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let backup = take_into(&workspace, servers, &db).await;
    fs::write(workspace.path("outside"), "not of the repository").unwrap();
    let place = workspace.repository().join(format!("backups/{}/manifest.json", backup.id));
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut manifest = serde_json::to_value(&backup).unwrap();
        change(&mut manifest);
        fs::write(&place, signing_key(&workspace).sign(MANIFEST_PURPOSE, &manifest.to_string())).unwrap();
        let stated = format!("error: the manifest of {} is malformed: ", backup.id);
        for command in ["restore", "show", "verify"] {
            let run = workspace.run([command, backup.id.as_str()]).exits(5);
            assert!(run.stderr.starts_with(&stated) || run.stdout.contains("is malformed: "), "{run:?}");
        }
    };
    for key in ELSEWHERE {
        forge(&|manifest| manifest["catalog"]["key"] = key.into());
        forge(&|manifest| manifest["packs"][0]["key"] = key.into());
    }
    for (offset, size) in [(u64::MAX, 1), (0, u64::MAX), (0, 40 << 20), (1 << 40, 10)] {
        forge(&|manifest| {
            manifest["packs"][0]["segments"][0]["offset"] = offset.into();
            manifest["packs"][0]["segments"][0]["size"] = size.into();
        });
    }
    forge(&|manifest| manifest["catalog"]["size"] = u64::MAX.into());
    assert_eq!(fs::read_to_string(workspace.path("outside")).unwrap(), "not of the repository");
}

#[tokio::test]
async fn maps_lead_to_no_name_that_belongs_to_the_server() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let backup = take_into(&workspace, servers, &db).await;
    for to in ["a/b", "local", "config", "$external", "regrow_restore", "a\\b", &"x".repeat(64)] {
        let map = format!("{db}={to}");
        let run = workspace.run(["restore", backup.id.as_str(), "--map", &map, "--confirm", "rs0"]).exits(7);
        assert!(run.stderr.contains(" cannot become "), "{to}: {run:?}");
        assert_eq!(run.stderr.matches("hint: ").count(), 1, "{run:?}");
    }
    for to in ["admin.system.users", "shop.system.views", "admin.system.version"] {
        let map = format!("{db}.orders={to}");
        let run = workspace.run(["restore", backup.id.as_str(), "--map", &map, "--confirm", "rs0"]).exits(7);
        assert!(run.stderr.contains("it belongs to the server"), "{to}: {run:?}");
    }
}
