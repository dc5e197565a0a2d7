//! Recovery without Regrow: `tar`, `age`, `zstd`, `sha256sum` and `openssl`, as `docs/FORMAT.md` shows them, and the script that
//! uses them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf};
use regrow::format::manifest::Manifest;
use serde_json::Value;

use crate::harness::{self, Workspace};
use crate::small_backups::{content, fill, take_into};

/// A backup, and a folder that has nothing but its objects, the identity and the stock tools.
struct Rescue {
    workspace: Workspace,
    manifest: Manifest,
    db: String,
}

impl Rescue {
    async fn new() -> Self {
        let servers = harness::replica_set();
        let db = fill(servers).await;
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let manifest = take_into(&workspace, servers, &db).await;
        assert!(manifest.packs.len() > 1, "several packs");
        Self { workspace, manifest, db }
    }

    fn object(&self, key: &str) -> PathBuf {
        self.workspace.repository().join(key)
    }

    fn manifest_file(&self) -> PathBuf {
        self.object(&format!("backups/{}/manifest.json", self.manifest.id))
    }

    /// Runs a shell command in the workspace and returns what it prints.
    fn shell(&self, command: &str) -> Vec<u8> {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", command]).current_dir(self.workspace.path(""));
        let output = bash.output().expect("bash is there");
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Decrypts and decompresses one sealed file.
    fn open(&self, sealed: &Path) -> Vec<u8> {
        self.shell(&format!("age -d -i identity.txt '{}' | zstd -dcq", sealed.display()))
    }
}

/// Runs the script; returns what it said.
fn run_script(workspace: &Workspace, backup: &str, out: &str) -> Output {
    let mut script = Command::new("bash");
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/recover-without-regrow.sh"));
    script.args(["repository", "identity.txt", backup, out]).current_dir(workspace.path(""));
    script.output().expect("bash is there")
}

/// Recovers a backup by the script into a folder of the workspace, and returns that.
pub fn recover(workspace: &Workspace, backup: &str, out: &str) -> PathBuf {
    let output = run_script(workspace, backup, out);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    workspace.path(out)
}

/// Runs the script, which must fail, and returns its error.
fn refused(workspace: &Workspace, backup: &str, out: &str) -> String {
    let output = run_script(workspace, backup, out);
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Splits a run of BSON documents, each of which begins with its length.
pub fn documents(mut run: &[u8]) -> Vec<RawDocumentBuf> {
    let mut documents = Vec::new();
    while !run.is_empty() {
        let length = i32::from_le_bytes(run[..4].try_into().unwrap());
        let (document, rest) = run.split_at(usize::try_from(length).unwrap());
        documents.push(RawDocument::from_bytes(document).unwrap().to_owned());
        run = rest;
    }
    documents
}

fn is(entry: &Document, kind: &str) -> bool {
    entry.get_str("type").unwrap() == kind
}

/// Returns a number of a document whether it is stored in 32 bits or 64.
fn number(document: &Document, key: &str) -> i64 {
    document.get_i64(key).or_else(|_| document.get_i32(key).map(i64::from)).unwrap()
}

#[tokio::test]
async fn every_document_comes_back_with_tar_age_and_zstd() {
    let rescue = Rescue::new().await;
    for pack in &rescue.manifest.packs {
        rescue.shell(&format!("tar -xf '{}'", rescue.object(&pack.object.key).display()));
    }
    let catalog = documents(&rescue.open(&rescue.object(&rescue.manifest.catalog.key)));
    let catalog: Vec<Document> = catalog.iter().map(|entry| Document::try_from(&**entry).unwrap()).collect();
    let mut runs: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    for entry in catalog.iter().filter(|entry| is(entry, "segments")) {
        let run = runs.entry(number(entry, "collection")).or_default();
        for segment in entry.get_array("segments").unwrap() {
            let n = number(segment.as_document().unwrap(), "n");
            run.extend(rescue.open(&rescue.workspace.path(&format!("{n:06}.age"))));
        }
    }
    let mut found = Vec::new();
    for entry in catalog.iter().filter(|entry| is(entry, "collection")) {
        assert_eq!(entry.get_str("db").unwrap(), rescue.db);
        let mut documents = documents(&runs[&number(entry, "number")]);
        documents.sort_by_key(|document| document.get_i64("_id").unwrap());
        found.push((entry.get_str("name").unwrap().to_owned(), documents));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, content(harness::replica_set(), &rescue.db).await, "byte for byte");
}

#[tokio::test]
async fn sha256sum_finds_what_the_manifest_says() {
    let rescue = Rescue::new().await;
    let manifest: Value = serde_json::from_slice(&fs::read(rescue.manifest_file()).unwrap()).unwrap();
    let manifest = &manifest["payload"];
    let packs = manifest["packs"].as_array().unwrap();
    for object in packs.iter().chain([&manifest["catalog"]]) {
        let path = rescue.object(object["key"].as_str().unwrap());
        rescue.shell(&format!("echo '{}  {}' | sha256sum --check", object["sha256"].as_str().unwrap(), path.display()));
    }
    for pack in packs {
        let path = rescue.object(pack["key"].as_str().unwrap());
        for segment in pack["segments"].as_array().unwrap() {
            let cut = format!(
                "tail -c +{} '{}' | head -c {}",
                segment["offset"].as_u64().unwrap() + 1,
                path.display(),
                segment["size"]
            );
            // Without pipefail: head ends before tail has said everything.
            let sum = rescue.shell(&format!("set +o pipefail; {cut} | sha256sum"));
            assert!(sum.starts_with(segment["sha256"].as_str().unwrap().as_bytes()), "{cut}");
        }
    }
}

/// Returns the commands of the block of `docs/FORMAT.md` that mentions `program`.
fn documented(program: &str) -> String {
    let page = include_str!("../../docs/FORMAT.md");
    let mut blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.find(|block| block.contains(program)).unwrap().to_owned()
}

#[tokio::test]
async fn openssl_checks_the_signature_as_documented() {
    let rescue = Rescue::new().await;
    let descriptor = fs::read(rescue.workspace.repository().join("regrow-repository.json")).unwrap();
    let descriptor: Value = serde_json::from_slice(&descriptor).unwrap();
    let public = BASE64.decode(descriptor["signing_keys"][0]["public_key"].as_str().unwrap()).unwrap();
    let der = [&hex::decode("302a300506032b6570032100").unwrap()[..], &public].concat();
    rescue.workspace.write("public.der", der);
    let manifest = fs::read(rescue.manifest_file()).unwrap();
    let signed: Value = serde_json::from_slice(&manifest).unwrap();
    rescue.workspace.write("signature", BASE64.decode(signed["signature"]["value"].as_str().unwrap()).unwrap());
    rescue.workspace.write("manifest.json", &manifest);
    let commands = documented("openssl");
    assert!(String::from_utf8(rescue.shell(&commands)).unwrap().contains("Signature Verified Successfully"));

    let altered = String::from_utf8(manifest).unwrap().replacen("\"documents\":12", "\"documents\":13", 1);
    rescue.workspace.write("manifest.json", altered);
    let refused = Command::new("bash").args(["-c", &commands]).current_dir(rescue.workspace.path("")).output().unwrap();
    assert!(!refused.status.success(), "an altered manifest is refused");
}

#[tokio::test]
async fn the_script_finds_the_backup_and_says_what_stands_in_its_way() {
    let rescue = Rescue::new().await;
    let (workspace, id) = (&rescue.workspace, rescue.manifest.id.to_string());
    let folder = recover(workspace, "latest", "a");
    assert_eq!(fs::read_dir(folder.join(&rescue.db)).unwrap().count(), 4, "two collections with their metadata");
    recover(workspace, &id[..15], "b");
    assert!(refused(workspace, &id, "a").contains("a is not empty"));
    assert!(refused(workspace, "2019", "c").contains("holds no backup '2019'"));

    let other = Workspace::on_disk("mongodb://127.0.0.1:1");
    let identity = fs::read(workspace.identity_file()).unwrap();
    fs::copy(other.identity_file(), workspace.identity_file()).unwrap();
    assert!(refused(workspace, &id, "d").contains("is identity.txt the right identity?"));
    fs::write(workspace.identity_file(), identity).unwrap();

    let pack = &rescue.manifest.packs[1];
    let place = rescue.object(&pack.object.key);
    let whole = fs::read(&place).unwrap();
    let mut damaged = whole.clone();
    damaged[usize::try_from(pack.segments[0].offset).unwrap() + 300] ^= 1;
    fs::remove_file(&place).unwrap();
    fs::write(&place, damaged).unwrap();
    let said = refused(workspace, &id, "e");
    assert!(said.contains(&format!("segment {} of {} is damaged", pack.segments[0].n, pack.object.key)), "{said}");
    fs::remove_file(&place).unwrap();
    assert!(refused(workspace, &id, "f").contains("cannot read"));
    fs::write(&place, whole).unwrap();
    recover(workspace, &id, "g");

    let manifest = fs::read_to_string(rescue.manifest_file()).unwrap();
    fs::remove_file(rescue.manifest_file()).unwrap();
    fs::write(rescue.manifest_file(), manifest.replacen("\"documents\":12", "\"documents\":13", 1)).unwrap();
    assert!(refused(workspace, &id, "h").contains("is not signed by a key of this repository"));
}

#[tokio::test]
async fn the_script_recovers_what_is_not_encrypted() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("encryption", "none");
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    let folder = recover(&workspace, "latest", "out");
    for (name, wanted) in content(servers, &db).await {
        let mut found = documents(&fs::read(folder.join(&db).join(format!("{name}.bson"))).unwrap());
        found.sort_by_key(|document| document.get_i64("_id").unwrap());
        assert_eq!(found, wanted);
    }
}
