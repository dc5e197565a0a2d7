//! Catalogs that are signed and sealed as they should be and hold names that lead elsewhere: what a backup names becomes files
//! of an export and collections of a restore, and stays where those belong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regrow::codec::signing::MANIFEST_PURPOSE;
use regrow::codec::{Identities, Recipients, Sealer, sha256};
use regrow::format::Subject;
use regrow::format::catalog::Catalog;
use regrow::format::manifest::Manifest;
use regrow::repository::Repository;
use regrow::secret::Secret;

use crate::harness::{self, Options, Servers, Workspace};
use crate::small_backups::{fill, local, signing_key, take_into};

/// Databases and collections that no backup holds.
const NAMES_OF_NONE: [(&str, &str); 14] = [
    ("../x", "orders"),
    ("..", "orders"),
    ("/tmp/x", "orders"),
    ("a/b", "orders"),
    ("a\0b", "orders"),
    ("", "orders"),
    ("$external", "orders"),
    ("shop", ""),
    ("shop", "a\0b"),
    ("admin", "system.users"),
    ("shop", "system.views"),
    ("local", "oplog.rs"),
    ("config", "transactions"),
    ("regrow_restore", "journal"),
];

/// Collections that a server refuses to make.
const NAMES_OF_NO_SERVER: [&str; 3] = ["$cmd", "orders$x", ".orders"];

/// Collections that a server has, although they are no names of files.
const NAMES_OF_NO_FILE: [&str; 4] = ["../../x", "/tmp/x", "..", "a/b"];

/// A backup whose catalog is forged, by somebody who has the signing key.
struct Stage {
    servers: Servers,
    workspace: Workspace,
    manifest: Manifest,
    catalog: Catalog,
}

impl Stage {
    async fn new() -> Self {
        let servers = harness::own(&Options::default());
        let db = fill(&servers).await;
        let mut workspace = Workspace::on_disk(servers.uri());
        workspace.set("drill.target", servers.uri()).set("drill.allow_source", true);
        workspace.run(["init"]).exits(0);
        let manifest = take_into(&workspace, &servers, &db).await;
        let identity = Secret::new(fs::read_to_string(workspace.identity_file()).unwrap());
        let identities = Identities::parse(&identity).unwrap();
        let repository = Repository::open(local(&workspace.repository())).await.unwrap();
        let catalog = repository.own_catalog(&manifest, Some(&identities)).await.unwrap();
        servers.client().await.database(&db).drop().await.unwrap();
        Self { servers, workspace, manifest, catalog }
    }

    /// Gives the first collection another name.
    fn forge(&self, db: &str, name: &str) {
        let Self { workspace, .. } = self;
        let (mut manifest, mut catalog) = (self.manifest.clone(), self.catalog.clone());
        let record = &mut catalog.collections[0];
        (record.db, record.name) = (db.to_owned(), name.to_owned());
        let recipients = Recipients::parse(&[workspace.recipient()]).unwrap();
        let subject = Subject::Catalog { backup: manifest.id.clone() };
        let sealed = Sealer::new(Some(recipients)).seal(subject, &catalog.encode().unwrap()).unwrap();
        (manifest.catalog.size, manifest.catalog.sha256) = (sealed.len() as u64, sha256(&sealed));
        let json = serde_json::to_string(&manifest).unwrap();
        fs::write(workspace.repository().join(&manifest.catalog.key), sealed).unwrap();
        let place = workspace.repository().join(format!("backups/{}/manifest.json", manifest.id));
        fs::write(place, signing_key(workspace).sign(MANIFEST_PURPOSE, &json)).unwrap();
    }

    /// Returns the commands that make something of names.
    fn commands(&self) -> [Vec<&str>; 6] {
        let id = self.manifest.id.as_str();
        [
            vec!["export", id, "--format", "mongodump", "-o", "exported"],
            vec!["export", id, "--format", "mongodump", "--archive", "exported.archive"],
            vec!["export", id, "--format", "json", "--ns", "shop.orders", "-o", "exported.json"],
            vec!["export", id, "--format", "bson", "--ns", "shop.orders", "-o", "exported.bson"],
            vec!["restore", id, "--confirm", "rs0"],
            vec!["drill", id],
        ]
    }

    /// Returns every namespace of the server that is not its own.
    async fn namespaces(&self) -> BTreeSet<String> {
        let client = self.servers.client().await;
        let mut found = BTreeSet::new();
        for db in client.list_database_names().await.unwrap() {
            if !["admin", "config", "local"].contains(&db.as_str()) {
                let names = client.database(&db).list_collection_names().await.unwrap();
                found.extend(names.into_iter().map(|name| format!("{db}.{name}")));
            }
        }
        found
    }

    /// Returns every file in the workspace that is not the repository's.
    fn files(&self) -> BTreeSet<String> {
        files_below(&self.workspace.path(""), &self.workspace.repository())
    }
}

fn files_below(folder: &Path, except: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path != except).flat_map(|path| {
        let itself = BTreeSet::from([path.display().to_string()]);
        if path.is_dir() { files_below(&path, except) } else { itself }
    });
    files.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_names_what_no_backup_holds_is_damaged() {
    let stage = Stage::new().await;
    let (files, namespaces) = (stage.files(), stage.namespaces().await);
    for (db, name) in NAMES_OF_NONE {
        stage.forge(db, name);
        for command in stage.commands() {
            let run = stage.workspace.run(&command).exits(5);
            assert_eq!(run.stderr.matches("error: ").count(), 1, "{db:?} {name:?} {command:?}: {run:?}");
            assert!(run.stdout_and_stderr().contains("the namespace "), "{db:?} {name:?} {command:?}: {run:?}");
        }
        assert_eq!(stage.files(), files, "{db:?} {name:?}");
        assert_eq!(stage.namespaces().await, namespaces, "{db:?} {name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_names_what_no_server_makes_leaves_nothing_in_a_server() {
    let stage = Stage::new().await;
    let (files, namespaces) = (stage.files(), stage.namespaces().await);
    for name in NAMES_OF_NO_SERVER {
        stage.forge("shop", name);
        for command in &stage.commands()[4..] {
            let run = stage.workspace.run(command);
            assert!(run.code != 0 && run.stderr.matches("error: ").count() == 1, "{name} {command:?}: {run:?}");
            assert_eq!(stage.namespaces().await, namespaces, "{name} {command:?}: {run:?}");
        }
        assert_eq!(stage.files(), files, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_names_no_files_is_exported_into_its_folder() {
    let stage = Stage::new().await;
    let (files, exported) = (stage.files(), stage.workspace.path("exported"));
    for name in NAMES_OF_NO_FILE {
        stage.forge("shop", name);
        stage.workspace.run(&stage.commands()[0]).exits(0);
        let new: Vec<String> = stage.files().difference(&files).cloned().collect();
        assert!(new.iter().all(|file| Path::new(file).starts_with(&exported)), "{name}: {new:?}");
        assert!(new.len() >= 4, "both collections, and their metadata: {new:?}");
        fs::remove_dir_all(&exported).unwrap();
    }
}
