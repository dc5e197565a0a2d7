//! To another server, with access control on both sides and no more rights than the documentation asks for.

use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, Timestamp, cstr, doc, rawdoc};
use mongodb::options::{ClientOptions, Credential};
use mongodb::{Client, Database};
use serde_json::Value;

use super::odd::{self, run};
use super::{back_up, initialised, restore};
use crate::contents::{Contents, all};
use crate::harness::{self, Options, Servers, Workspace};

const NEEDS_CODING: &str = "p@ss:w/rd%20 \u{e9}";

#[tokio::test]
async fn the_built_in_roles_are_enough_and_accounts_keep_their_passwords() {
    let [source, target] = [(); 2].map(|()| harness::own(&Options { authentication: true, ..super::without_expiry() }));
    let (source_client, target_client) = (source.client().await, target.client().await);
    odd::fill(&source_client).await;
    create_accounts(&source_client).await;
    add_user(&source_client.database("admin"), "existing", "the source's", rawdoc! {}).await;
    add_user(&source_client.database("admin"), "backup", "b", rawdoc! { "roles": ["backup"] }).await;
    add_user(&target_client.database("admin"), "existing", "the target's", rawdoc! { "roles": ["read"] }).await;
    add_user(
        &target_client.database("admin"),
        "restorer",
        "r",
        rawdoc! { "roles": ["restore", "readAnyDatabase", "backup"] },
    )
    .await;
    let before = entries(&target_client, "system.users").await;

    let workspace = initialised(Workspace::on_disk(&uri_of(&source, "backup", "b")));
    back_up(&workspace, &[]);
    let to = uri_of(&target, "restorer", "r");
    let restored = restore(&workspace, &["--users", "--to", &to, "--confirm", "rs0"]).exits(0);
    assert!(!(restored.stdout + &restored.stderr).contains(":r@"), "a password is nowhere in the output");

    Contents::of(&target_client).await.assert_equals(&Contents::of(&source_client).await);
    let after = entries(&target_client, "system.users").await;
    let wanted = entries(&source_client, "system.users").await;
    let added = wanted.into_iter().filter(|user| before.iter().all(|known| name(known) != name(user)));
    let mut expected: Vec<_> = before.iter().cloned().chain(added).collect();
    expected.sort_by_key(name);
    assert_eq!(after, expected, "those that were there are unchanged, the others as they were on the source");
    assert_eq!(entries(&target_client, "system.roles").await, entries(&source_client, "system.roles").await);

    let anna = log_in(&target, "odd", "anna", "old password").await.unwrap();
    assert_eq!(
        anna.database("odd").collection::<Document>("ids").count_documents(doc! {}).await.unwrap(),
        odd::documents::ids().len() as u64
    );
    anna.database("odd_names").collection::<Document>("a").estimated_document_count().await.unwrap_err();
    log_in(&target, "admin", "o'dd@:/%", NEEDS_CODING).await.unwrap();
    log_in(&target, "admin", "existing", "the target's").await.unwrap();
    log_in(&target, "admin", "existing", "the source's").await.unwrap_err();
    log_in(&target, "admin", "restorer", "r").await.unwrap();
    log_in(&target, "odd", "elsewhere", "x").await.expect_err("may log in from another address only");
}

#[tokio::test]
async fn empty_timestamps_ask_for_one_more_role_and_say_which() {
    let servers = harness::authenticated();
    let admin = servers.client().await;
    let db = harness::unique_database_name();
    let user = db.clone();
    let document = rawdoc! { "_id": 1, "b": 1, "t": Timestamp { time: 0, increment: 0 }, "a": 2 };
    let replacement =
        rawdoc! { "q": { "_id": 1 }, "u": [{ "$replaceWith": { "$literal": document } }], "upsert": true };
    run(&admin.database(&db), rawdoc! { "update": "clocks", "updates": [replacement] }).await;
    add_user(&admin.database("admin"), &user, "r", rawdoc! { "roles": ["restore", "readAnyDatabase", "backup"] }).await;
    let workspace = initialised(Workspace::on_disk(servers.uri()));
    back_up(&workspace, &["--ns", &db]);
    let (copy, to) = (harness::unique_database_name(), uri_of(servers, &user, "r"));
    let map = format!("{db}={copy}");
    let arguments = ["--map", &map, "--to", &to, "--confirm", "rs0"];

    let refused = restore(&workspace, &arguments).exits(3);
    assert!(
        refused.stderr.contains("'update'") && refused.stderr.contains("readWriteAnyDatabase"),
        "{}",
        refused.stderr
    );
    assert_eq!(Contents::of_database(&admin, &copy).await.names(), [""; 0], "what it created is gone again");
    run(&admin.database("admin"), rawdoc! { "grantRolesToUser": user.as_str(), "roles": ["readWriteAnyDatabase"] })
        .await;
    let restored: Value = restore(&workspace, &arguments).exits(0).json();
    assert_eq!(restored["documents"], 1);
    let source = Contents::of_database(&admin, &db).await.renamed(|_, name| Some((copy.clone(), name.to_owned())));
    Contents::of_database(&admin, &copy).await.assert_equals(&source);
}

/// Users and roles with everything that they can have, in several databases.
async fn create_accounts(client: &Client) {
    let [odd, admin] = ["odd", "admin"].map(|db| client.database(db));
    let resource = rawdoc! { "db": "odd", "collection": "ids" };
    let read = rawdoc! { "resource": resource, "actions": ["find", "collStats"] };
    let restrictions = rawdoc! { "clientSource": ["127.0.0.1"], "serverAddress": ["127.0.0.1"] };
    run(&odd, rawdoc! { "createRole": "clerk", "privileges": [read], "roles": [], "authenticationRestrictions": [restrictions.clone()] }).await;
    let anywhere = rawdoc! { "resource": { "cluster": true }, "actions": ["listDatabases"] };
    let inherited = [rawdoc! { "role": "clerk", "db": "odd" }, rawdoc! { "role": "hostManager", "db": "admin" }];
    run(&admin, rawdoc! { "createRole": "au.ditor \u{e9}", "privileges": [anywhere], "roles": RawArrayBuf::from_iter(inherited) }).await;
    let custom = rawdoc! { "b": 1, "a": { "employee": 7_i64, "t": Timestamp { time: 0, increment: 0 } } };
    let anna = rawdoc! { "roles": ["clerk"], "customData": custom, "authenticationRestrictions": [restrictions] };
    add_user(&odd, "anna", "old password", anna).await;
    let elsewhere = rawdoc! { "roles": [], "authenticationRestrictions": [{ "clientSource": ["10.255.255.1"] }] };
    add_user(&odd, "elsewhere", "x", elsewhere).await;
    let roles =
        [rawdoc! { "role": "au.ditor \u{e9}", "db": "admin" }, rawdoc! { "role": "readWrite", "db": "any-thing" }];
    add_user(
        &admin,
        "o'dd@:/%",
        NEEDS_CODING,
        rawdoc! { "roles": RawArrayBuf::from_iter(roles), "mechanisms": ["SCRAM-SHA-1"] },
    )
    .await;
}

async fn add_user(database: &Database, user: &str, password: &str, rest: RawDocumentBuf) {
    let mut command = rawdoc! { "createUser": user, "pwd": password };
    for element in rest.iter_elements().map(Result::unwrap) {
        command.append(element.key(), RawBson::from(element.value().unwrap()));
    }
    if rest.is_empty() {
        command.append(cstr!("roles"), RawArrayBuf::new());
    }
    run(database, command).await;
}

async fn log_in(servers: &Servers, db: &str, user: &str, password: &str) -> mongodb::error::Result<Client> {
    let mut options = ClientOptions::parse(servers.anonymous_uri(0)).await?;
    let credential = Credential::builder().username(user.to_owned()).password(password.to_owned());
    options.credential = Some(credential.source(db.to_owned()).build());
    let client = Client::with_options(options)?;
    client.database(db).run_command(doc! { "ping": 1 }).await.map(|_| client)
}

async fn entries(client: &Client, collection: &str) -> Vec<RawDocumentBuf> {
    let mut entries = all(&client.database("admin"), rawdoc! { "find": collection }).await;
    entries.sort_by_key(name);
    entries
}

fn name(entry: &RawDocumentBuf) -> String {
    entry.get_str("_id").expect("an account's _id is text").to_owned()
}

fn uri_of(servers: &Servers, user: &str, password: &str) -> String {
    format!("mongodb://{user}:{password}@{}/?replicaSet=rs0", servers.hosts()[0].address())
}
