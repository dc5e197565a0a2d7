//! Every object of a repository, damaged in every way: `verify` names exactly it, `restore` refuses it.

pub mod every_object;

use std::fs;
use std::path::PathBuf;

use regrow::codec::SigningKey;
use regrow::codec::signing::MANIFEST_PURPOSE;
use regrow::format::layout;
use regrow::format::manifest::Manifest;
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::verify::Level;
use serde_json::Value;

use crate::harness::{self, Workspace};
use crate::small_backups::{content, fill, local, take_into, verified};

/// A backup that evidence knows, and that the store says nothing about, may be there.
#[tokio::test]
async fn what_the_store_does_not_answer_about_has_not_vanished() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let id = workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned();
    let key = layout::manifest(&id.parse().unwrap());
    fs::remove_file(workspace.repository().join(&key)).unwrap();
    let log = workspace.path("operations");
    let verify = |plan: &str| workspace.with_faults(plan, &log, &["verify"]).run();
    assert!(verify("none").exits(5).stdout.contains("recorded as taken"));
    let operations = fs::read_to_string(&log).unwrap();
    let asked = operations.lines().find_map(|line| line.strip_suffix(&format!(" find the size of {key}"))).unwrap();
    for (fault, code) in [("deny", 3), ("refuse", 1)] {
        let run = verify(&format!("{fault}@{asked}")).exits(code);
        assert!(!run.stdout.contains("recorded as taken"), "{run:?}");
    }
}

const LEVELS: [&str; 2] = ["structure", "checksum"];

/// Two small backups of one database, of several packs each.
struct Ground {
    workspace: Workspace,
    backups: [Manifest; 2],
    db: String,
}

/// The bytes of an object before it was damaged.
struct Original(PathBuf, Option<Vec<u8>>);

impl Original {
    fn put_back(self) {
        let Self(path, content) = self;
        let _ = fs::remove_file(&path);
        if let Some(content) = content {
            fs::write(path, content).unwrap();
        }
    }
}

impl Ground {
    /// Takes the backups; afterwards neither `MongoDB` nor an identity is within the configuration's reach.
    async fn new() -> Self {
        let servers = harness::replica_set();
        let db = fill(servers).await;
        let mut workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let backups = [take_into(&workspace, servers, &db).await, take_into(&workspace, servers, &db).await];
        assert!(backups.iter().all(|backup| backup.packs.len() > 1), "several packs");
        workspace.set("source.uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100");
        workspace.set("encryption.identity_file", "/there/is/none");
        Self { workspace, backups, db }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.workspace.repository().join(key)
    }

    fn read(&self, key: &str) -> Vec<u8> {
        fs::read(self.path(key)).unwrap()
    }

    /// Writes `content` over an object, or removes it.
    fn replace(&self, key: &str, content: Option<Vec<u8>>) -> Original {
        let path = self.path(key);
        let original = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        Original(path, original)
    }

    fn flip(&self, key: &str, at: usize) -> Original {
        let mut content = self.read(key);
        content[at] ^= 1;
        self.replace(key, Some(content))
    }

    /// Runs `verify --json` and checks that it finds exactly these objects, each with its backup.
    fn finds(&self, level: &str, expected: &[&str], case: &str) {
        let run = self.workspace.run(["verify", "--json", "--level", level]);
        let answer: Value = run.json();
        let found: Vec<&str> =
            answer["findings"].as_array().unwrap().iter().map(|finding| finding["object"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{case} at level {level}: {run:?}");
        assert_eq!(answer["ok"], expected.is_empty(), "{case}: {answer}");
        for finding in answer["findings"].as_array().unwrap() {
            let (object, backup) = (finding["object"].as_str().unwrap(), finding["backup"].as_str().unwrap());
            assert!(object.starts_with(&format!("backups/{backup}/")), "{case}: {finding}");
            assert!(!finding["problem"].as_str().unwrap().is_empty(), "{case}: {finding}");
        }
        assert_eq!(answer["checked_bytes"].as_u64().unwrap() > 0, level == "checksum", "{case}: {answer}");
        let run = run.exits(if expected.is_empty() { 0 } else { 5 });
        assert_eq!(run.stderr.matches("error: ").count(), usize::from(!expected.is_empty()), "{case}: {run:?}");
    }

    fn manifest_key(&self, backup: usize) -> String {
        format!("backups/{}/manifest.json", self.backups[backup].id)
    }

    fn objects(&self) -> Vec<String> {
        self.backups.iter().flat_map(|backup| backup.objects().map(|object| object.key.clone())).collect()
    }
}

#[tokio::test]
async fn an_undamaged_repository_never_alarms() {
    let ground = Ground::new().await;
    for level in LEVELS {
        ground.finds(level, &[], "undamaged");
        let run = ground.workspace.run(["verify", "--level", level, "latest"]).exits(0);
        assert_eq!(run.stdout, "");
    }
    let stored = every_object::files(&ground.workspace.repository());
    // What was noted of a backup while it was taken is of no use any more.
    let objects = stored.iter().filter(|key| !layout::is_checkpoint(key)).count();
    let answer: Value = ground.workspace.run(["verify", "--json"]).exits(0).json();
    let bytes: u64 = ground.backups.iter().map(|backup| backup.bytes_stored).sum();
    assert_eq!(answer["checked_objects"], objects, "everything that is stored");
    assert_eq!(answer["checked_bytes"], bytes);
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let ground = Ground::new().await;
    for key in ground.objects() {
        let size = ground.read(&key).len();
        for at in [0, size / 3, size - 1] {
            let original = ground.flip(&key, at);
            ground.finds("checksum", &[&key], &format!("{key}, byte {at}"));
            original.put_back();
        }
        let original = ground.flip(&key, size / 2);
        ground.finds("structure", &[], "existence and size is all that structure looks at");
        original.put_back();
    }
    ground.finds("checksum", &[], "put back");
}

#[tokio::test]
async fn every_byte_of_a_manifest_counts() {
    let ground = Ground::new().await;
    let key = ground.manifest_key(0);
    for level in LEVELS {
        let original = ground.flip(&key, 100);
        ground.finds(level, &[&key], "manifest");
        original.put_back();
    }
    let repository = Repository::open(local(&ground.workspace.repository())).await.unwrap();
    for at in (0..ground.read(&key).len()).step_by(7) {
        let original = ground.flip(&key, at);
        let found = verified(&repository, Level::Structure).await;
        let found: Vec<_> = found.findings.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(found, [key.as_str()], "byte {at}");
        original.put_back();
    }
}

#[tokio::test]
async fn a_descriptor_that_was_altered_is_not_believed() {
    const DESCRIPTOR: &str = "regrow-repository.json";
    let ground = Ground::new().await;
    let content = String::from_utf8(ground.read(DESCRIPTOR)).unwrap();
    for at in 0..content.len() {
        let original = ground.flip(DESCRIPTOR, at);
        if let Ok(repository) = Repository::open(local(&ground.workspace.repository())).await {
            let found = verified(&repository, Level::Structure).await;
            let found: Vec<_> = found.findings.iter().map(|finding| finding.object.clone()).collect();
            assert!(found.iter().any(|object| object == DESCRIPTOR), "byte {at}: {found:?}");
        }
        original.put_back();
    }
    // Another repository's makes nothing believable that is signed: what is the cause stands before what follows of it.
    let other = Workspace::on_disk("mongodb://127.0.0.1:1/");
    other.run(["init"]).exits(0);
    let forged = std::fs::read(other.repository().join(DESCRIPTOR)).unwrap();
    let original = ground.replace(DESCRIPTOR, Some(forged));
    let run = ground.workspace.run(["verify"]).exits(5);
    assert!(run.stdout.starts_with(DESCRIPTOR), "{run:?}");
    assert!(
        run.stderr.contains(&format!("affected: {DESCRIPTOR}")) && run.stderr.contains("from a copy first"),
        "{run:?}"
    );
    original.put_back();
    let original = ground.replace(DESCRIPTOR, Some(b"{}".to_vec()));
    let run = ground.workspace.run(["verify"]).exits(5);
    assert!(run.stderr.starts_with("error: regrow-repository.json is malformed"), "{run:?}");
    original.put_back();
    let original = ground.replace(DESCRIPTOR, None);
    let run = ground.workspace.run(["verify"]).exits(5);
    assert!(run.stderr.starts_with("error: regrow-repository.json is missing"), "{run:?}");
    original.put_back();
}

#[tokio::test]
async fn what_is_cut_short_missing_or_longer_is_found_without_reading_it() {
    let ground = Ground::new().await;
    for key in ground.objects() {
        let content = ground.read(&key);
        let shorter = content[..content.len() - 1].to_vec();
        let longer = [&content[..], b"x"].concat();
        for (what, damaged) in
            [("missing", None), ("empty", Some(Vec::new())), ("shorter", Some(shorter)), ("longer", Some(longer))]
        {
            let original = ground.replace(&key, damaged);
            for level in LEVELS {
                ground.finds(level, &[&key], &format!("{key} is {what}"));
            }
            original.put_back();
        }
    }
    let key = ground.manifest_key(1);
    let content = ground.read(&key);
    for length in [0, 1, content.len() / 2, content.len() - 2] {
        let original = ground.replace(&key, Some(content[..length].to_vec()));
        ground.finds("structure", &[&key], &format!("{length} bytes of the manifest"));
        original.put_back();
    }
}

/// Without its manifest a backup does not exist; nobody can tell that from a backup that was never finished.
#[tokio::test]
async fn a_backup_that_lost_its_manifest_is_named_as_unfinished() {
    let ground = Ground::new().await;
    let id = ground.backups[0].id.to_string();
    ground.replace(&ground.manifest_key(0), None);
    ground.finds("checksum", &[], "no manifest");
    ground.workspace.run(["verify", &id]).exits(4);
    for command in ["list", "verify"] {
        let run = ground.workspace.run([command]).exits(0);
        assert!(run.stderr.contains(&format!("{id} is no backup: it is being taken now, or was cut off; ")), "{run:?}");
        let answer: Value = ground.workspace.run([command, "--json"]).exits(0).json();
        assert_eq!(answer["leftovers"][0]["id"], id, "{answer}");
    }
}

#[tokio::test]
async fn objects_in_each_others_place_are_found() {
    let ground = Ground::new().await;
    let [first, second] = &ground.backups;
    let key = |backup: &Manifest, pack: usize| backup.packs[pack].object.key.clone();
    for (one, other) in [
        (key(first, 0), key(first, 1)),
        (key(first, 0), key(second, 0)),
        (first.catalog.key.clone(), second.catalog.key.clone()),
    ] {
        let (content, others) = (ground.read(&one), ground.read(&other));
        let originals = [ground.replace(&one, Some(others)), ground.replace(&other, Some(content))];
        let mut expected = [one.as_str(), other.as_str()];
        expected.sort_unstable();
        ground.finds("checksum", &expected, "swapped");
        originals.into_iter().for_each(Original::put_back);
    }
    let (mine, theirs) = (ground.manifest_key(0), ground.manifest_key(1));
    let original = ground.replace(&mine, Some(ground.read(&theirs)));
    for level in LEVELS {
        ground.finds(level, &[&mine], "another backup's manifest");
    }
    original.put_back();
}

#[tokio::test]
async fn a_forged_manifest_is_refused() {
    let ground = Ground::new().await;
    let key = ground.manifest_key(0);
    let stranger = SigningKey::generate(&Random::system());
    let payload = serde_json::to_string(&ground.backups[0]).unwrap();
    let original = ground.replace(&key, Some(stranger.sign(MANIFEST_PURPOSE, &payload)));
    for level in LEVELS {
        ground.finds(level, &[&key], "forged");
    }
    let stdout = ground.workspace.run(["verify"]).exits(5).stdout;
    assert!(stdout.contains("is signed by the key") && stdout.contains("does not know"), "{stdout}");
    let run = ground.workspace.run(["show", ground.backups[0].id.as_str()]).exits(5);
    assert!(run.stderr.contains("does not know"), "{run:?}");
    let answer: Value = ground.workspace.run(["list", "--json"]).exits(0).json();
    let states: Vec<_> = answer["backups"].as_array().unwrap().iter().map(|backup| backup["state"].clone()).collect();
    assert!(states.contains(&"damaged".into()) && states.contains(&"complete".into()), "{answer}");
    original.put_back();
}

#[tokio::test]
async fn what_does_not_belong_to_a_backup_is_found() {
    let ground = Ground::new().await;
    let id = &ground.backups[1].id;
    for name in ["packs/9999.tar", "catalog.zst", "evil"] {
        let key = format!("backups/{id}/{name}");
        let original = ground.replace(&key, Some(b"foreign".to_vec()));
        for level in LEVELS {
            ground.finds(level, &[&key], "a foreign object");
        }
        original.put_back();
    }
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored_not_even_in_part() {
    let mut ground = Ground::new().await;
    let servers = harness::replica_set();
    let identity = ground.workspace.identity_file();
    ground.workspace.set("source.uri", servers.uri()).set("encryption.identity_file", identity.to_str().unwrap());
    let backup = ground.backups[0].clone();
    let target = harness::unique_database_name();
    let map = format!("{}={target}", ground.db);
    let restore = || ground.workspace.run(["restore", backup.id.as_str(), "--map", &map, "--confirm", "rs0"]);
    let refused = |key: &str, case: &str| {
        let run = restore().exits(5);
        let error = run.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains(key), "{case}: {key} is named: {error}");
        assert_eq!(run.stderr.matches("\nhint: ").count(), 1, "{case}: {run:?}");
    };
    for pack in &backup.packs {
        let key = &pack.object.key;
        let segment = pack.segments.last().unwrap();
        let original = ground.flip(key, usize::try_from(segment.offset + segment.size / 2).unwrap());
        refused(key, "flipped");
        assert_eq!(content(servers, &target).await, [], "nothing is left of {key}");
        original.put_back();
        for damaged in [None, Some(ground.read(key)[..600].to_vec())] {
            let original = ground.replace(key, damaged);
            refused(key, "cut");
            assert_eq!(content(servers, &target).await, [], "nothing is left of {key}");
            original.put_back();
        }
    }
    let catalog = &backup.catalog.key;
    let original = ground.flip(catalog, 50);
    refused(catalog, "a damaged catalog");
    original.put_back();
    let original = ground.replace(catalog, None);
    refused(catalog, "a missing catalog");
    original.put_back();
    let original = ground.flip(&ground.manifest_key(0), 30);
    refused(backup.id.as_str(), "manifest");
    original.put_back();

    restore().exits(0);
    assert_eq!(content(servers, &target).await, content(servers, &ground.db).await);
}
