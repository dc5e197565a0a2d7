//! Backups of little data in many segments and packs, taken through the library: what faults are tried on.

use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use regrow::backup::{
    self, BackupContext, BackupPlan, BackupRequest, BackupSettings, Destination, IncrementSettings, Targets,
};
use regrow::clock::Clock;
use regrow::codec::{Recipients, SigningKey};
use regrow::error::Result;
use regrow::format::manifest::Manifest;
use regrow::format::{BackupId, BackupKind};
use regrow::mongo::Deployment;
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::secret::Secret;
use regrow::storage::{Local, Storage};
use regrow::verify::{Level, Verification, VerifyRequest, verify};

use crate::harness::{self, Servers, Workspace};

/// Three of the documents below fill a segment, two segments a pack.
pub const TARGETS: Targets = Targets { segment_bytes: 4 * 1024, pack_bytes: 4 * 1024, ..Targets::DEFAULT };

const COLLECTIONS: [(&str, u32); 2] = [("orders", 9), ("customers", 3)];

/// Fills a database of the test's own and returns its name.
pub async fn fill(servers: &Servers) -> String {
    let db = harness::unique_database_name();
    let database = servers.client().await.database(&db);
    for (name, count) in COLLECTIONS {
        let documents =
            (0..count).map(|number| doc! { "_id": i64::from(number), "of": name, "noise": noise(name, number) });
        database.collection::<Document>(name).insert_many(documents).await.unwrap();
    }
    db
}

/// Returns a kilobyte that does not compress, so that stored sizes are known.
fn noise(name: &str, number: u32) -> mongodb::bson::Binary {
    let hash = |part: u32| regrow::codec::sha256(format!("{name} {number} {part}").as_bytes());
    let bytes = (0..40).flat_map(hash).collect();
    mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes }
}

/// Returns every document of a database as the server sends it, by collection, ordered by `_id`.
pub async fn content(servers: &Servers, db: &str) -> Vec<(String, Vec<RawDocumentBuf>)> {
    let database = servers.client().await.database(db);
    let mut names = database.list_collection_names().await.unwrap();
    names.sort();
    let mut content = Vec::new();
    for name in names {
        let collection = database.collection::<RawDocumentBuf>(&name);
        let mut found = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let mut documents = Vec::new();
        while found.advance().await.unwrap() {
            documents.push(found.current().to_owned());
        }
        content.push((name, documents));
    }
    content
}

/// Plans a backup of one database.
pub async fn plan(servers: &Servers, db: &str) -> BackupPlan {
    let deployment = Deployment::connect(&Secret::new(servers.uri().to_owned())).await.unwrap();
    let patterns = vec![db.parse().unwrap()];
    let request = BackupRequest { source: "test".to_owned(), kind: BackupKind::Manual, patterns };
    BackupPlan::make(&deployment, request, &Clock::system(), &Random::system()).await.unwrap()
}

/// Takes the planned backup anew, under an id of its own, in small segments and packs.
pub async fn take(
    plan: &BackupPlan,
    storage: Arc<dyn Storage>,
    signing_key: &SigningKey,
    recipients: &[&str],
) -> Result<Manifest> {
    take_as(BackupKind::Manual, plan, storage, signing_key, recipients).await
}

/// Takes the planned backup anew, as one of this kind.
pub async fn take_as(
    kind: BackupKind,
    plan: &BackupPlan,
    storage: Arc<dyn Storage>,
    signing_key: &SigningKey,
    recipients: &[&str],
) -> Result<Manifest> {
    take_at(Clock::system(), kind, plan, storage, signing_key, recipients).await
}

/// Takes the planned backup anew, as one of this kind, by this clock.
pub async fn take_at(
    clock: Clock,
    kind: BackupKind,
    plan: &BackupPlan,
    storage: Arc<dyn Storage>,
    signing_key: &SigningKey,
    recipients: &[&str],
) -> Result<Manifest> {
    let repository = Repository::open(storage).await?;
    let mut plan = plan.clone();
    plan.started_at = clock.now();
    plan.id = BackupId::generate(plan.started_at, kind, &Random::system());
    execute(plan, repository, Recipients::parse(recipients)?, signing_key, clock).await
}

/// Takes a daily backup of everything that a server holds: an increment, where there is something to build on and it may be
/// one.
pub async fn take_all(
    servers: &Servers,
    storage: Arc<dyn Storage>,
    signing_key: &SigningKey,
    recipient: &str,
    increments: Option<IncrementSettings>,
) -> Result<Manifest> {
    take_all_at(Clock::system(), servers, storage, signing_key, recipient, increments).await
}

/// The same by this clock.
pub async fn take_all_at(
    clock: Clock,
    servers: &Servers,
    storage: Arc<dyn Storage>,
    signing_key: &SigningKey,
    recipient: &str,
    increments: Option<IncrementSettings>,
) -> Result<Manifest> {
    let deployment = Deployment::connect(&Secret::new(servers.uri().to_owned())).await?;
    let repository = Repository::open(storage).await?;
    let recipients = Recipients::parse(&[recipient])?;
    let random = Random::system();
    let request = BackupRequest { source: "test".to_owned(), kind: BackupKind::Daily, patterns: Vec::new() };
    let destination = Destination { repository: &repository, recipients: Some(&recipients) };
    let (plan, _) = backup::plan(&deployment, request, increments, destination, (&clock, &random)).await?;
    execute(plan, repository, recipients, signing_key, clock).await
}

async fn execute(
    plan: BackupPlan,
    repository: Repository,
    recipients: Recipients,
    signing_key: &SigningKey,
    clock: Clock,
) -> Result<Manifest> {
    let context = BackupContext {
        repository,
        recipients: Some(recipients),
        signing_key: signing_key.clone(),
        clock,
        random: Random::system(),
        who: "a test".into(),
        progress: Progress::default(),
        targets: TARGETS,
        settings: BackupSettings::default(),
    };
    backup::execute(plan, &context, std::future::pending()).await
}

/// Takes a small backup of `db` into a workspace's repository, where the real binary finds it.
pub async fn take_into(workspace: &Workspace, servers: &Servers, db: &str) -> Manifest {
    let key = signing_key(workspace);
    let plan = plan(servers, db).await;
    take(&plan, local(&workspace.repository()), &key, &[workspace.recipient()]).await.unwrap()
}

/// Verifies everything in a repository.
pub async fn verified(repository: &Repository, level: Level) -> Verification {
    let request = VerifyRequest::everything(level);
    verify(repository, &request, Clock::system().now(), &Progress::default()).await.unwrap()
}

/// Returns the key that `regrow init` has made.
pub fn signing_key(workspace: &Workspace) -> SigningKey {
    let key = std::fs::read_to_string(workspace.path("regrow-signing.key")).expect("regrow init has made the key");
    SigningKey::parse(&Secret::new(key)).unwrap()
}

/// Returns the store in a directory.
pub fn local(root: &std::path::Path) -> Arc<dyn Storage> {
    Arc::new(Local::open(root, Clock::system(), Random::system()))
}
