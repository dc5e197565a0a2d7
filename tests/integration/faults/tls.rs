//! Servers and stores behind TLS, with an authority of the team's own.

use std::fs;

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::{self, Authority, Options, Run, S3, Servers, TlsFront, Workspace};

async fn fill(client: &Client) -> String {
    let db = harness::unique_database_name();
    let documents = (0..50).map(|id| doc! { "_id": id });
    client.database(&db).collection::<Document>("orders").insert_many(documents).await.unwrap();
    db
}

/// Backs up, captures, verifies, restores and compares.
fn everything_works(workspace: &Workspace, db: &str) {
    workspace.run(["backup", "--ns", db]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    workspace.run(["verify", "--level", "content"]).exits(0);
    let map = format!("{db}={db}_copy");
    workspace.run(["restore", "latest", "--map", &map, "--confirm", "rs0"]).exits(0);
    workspace.run(["diff", "latest", "--map", &map, "--check"]).exits(0);
}

/// Checks that a run says one thing and what helps.
fn is_refused(run: Run, cause: &str, remedy: &str) {
    let run = run.exits(3);
    assert_eq!(run.stdout, "");
    let (error, hint) = run.stderr.split_once('\n').unwrap();
    assert!(error.starts_with("error: cannot ") && error.ends_with(cause), "{run:?}");
    assert!(hint.starts_with("hint: ") && hint.contains(remedy) && hint.lines().count() == 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_requires_tls_is_used_with_its_authority_alone() {
    let authority = Authority::new();
    authority.issue("server");
    let servers = harness::own(&Options { tls: Some(authority.folder().to_owned()), ..Options::default() });
    let trusting = servers.uri().to_owned();
    assert!(trusting.contains("tls=true"), "{trusting}");
    let db = fill(&servers.client().await).await;
    let mut workspace = Workspace::on_disk(&trusting);
    workspace.run(["init"]).exits(0);
    everything_works(&workspace, &db);

    let bare = format!("mongodb://{}/?replicaSet=rs0&serverSelectionTimeoutMS=1500", servers.hosts()[0].address());
    let back_up_from = |workspace: &mut Workspace, uri: &str| {
        workspace.set("source.uri", uri);
        workspace.run(["backup", "--ns", &db])
    };
    is_refused(
        back_up_from(&mut workspace, &format!("{bare}&tls=true")),
        "nobody who is trusted here has issued the server's certificate",
        "tlsCAFile=",
    );
    let run = back_up_from(&mut workspace, &bare).exits(1);
    assert!(run.stderr.contains("hint: ") && run.stderr.contains("add tls=true"), "{run:?}");
    let nowhere = format!("{bare}&tls=true&tlsCAFile={}", workspace.path("nowhere.pem").display());
    let run = back_up_from(&mut workspace, &nowhere).exits(3);
    assert!(run.stderr.contains("nowhere.pem") && run.stderr.contains("hint: check tlsCAFile"), "{run:?}");
    drop(servers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_servers_certificate_is_named() {
    let (servers, authority) = (harness::replica_set(), Authority::new());
    let db = fill(&servers.client().await).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let mut back_up_through = |front: &TlsFront, ca: &str| {
        let quick = "directConnection=true&serverSelectionTimeoutMS=1500";
        workspace.set("source.uri", format!("mongodb://{}/?tls=true&{quick}&tlsCAFile={ca}", front.address()));
        workspace.run(["backup", "--ns", &db])
    };
    let ca = authority.file().display().to_string();
    let address = servers.hosts()[0].address();
    let front = TlsFront::start(&address, authority.issue_expired("expired"));
    is_refused(back_up_through(&front, &ca), "the server's certificate has expired", "renew the server's certificate");
    let front = TlsFront::start(&address, authority.issue_for_another("another"));
    is_refused(
        back_up_through(&front, &ca),
        "the server's certificate is for another name",
        "names that their certificates",
    );
    let front = TlsFront::start(&address, Authority::new().issue("stranger"));
    let untrusted = "nobody who is trusted here has issued the server's certificate";
    is_refused(back_up_through(&front, &ca), untrusted, "tlsCAFile=");
}

/// A store behind TLS, and a workspace that uses it there.
fn store_behind(front: &TlsFront, servers: &Servers, s3: &S3) -> Workspace {
    let mut workspace = Workspace::on_s3(servers.uri(), s3);
    workspace.set("repository.endpoint", format!("https://{}", front.address()));
    workspace
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_behind_tls_is_used_with_its_authority_alone() {
    let (servers, s3, authority) = (harness::replica_set(), harness::s3(), Authority::new());
    let db = fill(&servers.client().await).await;
    let address = s3.endpoint.trim_start_matches("http://");
    let front = TlsFront::start(address, authority.issue("store"));
    let mut workspace = store_behind(&front, servers, s3);
    // Beside the configuration, as every other path.
    fs::copy(authority.file(), workspace.path("store-ca.pem")).unwrap();
    workspace.set("repository.ca_file", "store-ca.pem");
    workspace.run(["init"]).exits(0);
    everything_works(&workspace, &db);

    let front = TlsFront::start(address, authority.issue_expired("expired"));
    let endpoint = |front: &TlsFront| format!("https://{}", front.address());
    workspace.set("repository.endpoint", endpoint(&front));
    is_refused(workspace.run(["list"]), "the server's certificate has expired", "renew the store's certificate");
    let front = TlsFront::start(address, authority.issue_for_another("another"));
    workspace.set("repository.endpoint", endpoint(&front));
    is_refused(workspace.run(["list"]), "the server's certificate is for another name", "repository.endpoint");
    let front = TlsFront::start(address, authority.issue("again"));
    workspace.set("repository.endpoint", endpoint(&front)).unset("repository.ca_file");
    let untrusted = "nobody who is trusted here has issued the server's certificate";
    is_refused(workspace.run(["list"]), untrusted, "repository.ca_file");
    is_refused(workspace.run(["backup"]), untrusted, "repository.ca_file");
}

#[test]
fn a_file_of_authorities_that_holds_none_is_refused() {
    let mut workspace = Workspace::on_s3("mongodb://127.0.0.1:1", harness::s3());
    let authority = Authority::new();
    let issued = authority.issue("with a key");
    let said = |workspace: &Workspace| workspace.run(["list"]).exits(3).stderr;
    workspace.set("repository.ca_file", "missing.pem");
    assert!(said(&workspace).contains("missing.pem cannot be read"), "{}", said(&workspace));
    workspace.set("repository.ca_file", issued.file.display().to_string());
    assert!(said(&workspace).contains("holds a PRIVATE KEY, and not only certificates"), "{}", said(&workspace));
    for (content, cause) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate that cannot be read"),
    ] {
        let file = workspace.write("wrong.pem", content);
        workspace.set("repository.ca_file", file.display().to_string());
        let said = said(&workspace);
        assert!(said.contains(cause) && said.contains("hint: name the file"), "{said}");
    }
    let mut workspace = Workspace::on_disk("mongodb://127.0.0.1:1");
    workspace.set("repository.ca_file", authority.file().display().to_string());
    assert!(said(&workspace).contains("repository.ca_file means nothing for a directory"), "{}", said(&workspace));
}
