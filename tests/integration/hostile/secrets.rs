//! Secrets: nothing that the program says or writes holds one, and keys that others can read are refused.

mod delivered;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mongodb::bson::doc;

use crate::damage::every_object::files;
use crate::harness::{self, Running, Workspace};
use crate::small_backups::fill;

/// What is planted, each where it is used. The password is of an account that may do everything.
const PASSWORD: &str = "pl4nted-mongo-password";
const WEBHOOK: &str = "pl4nted-webhook-token";
const MAIL: &str = "pl4nted-mail-password";
const METRICS: &str = "pl4nted-metrics-token";
const HEARTBEAT: &str = "pl4nted-heartbeat-path";

/// A service's place on an S3 store, with a secret in each setting that can hold one.
struct Ground {
    workspace: Workspace,
    secrets: Vec<(&'static str, String)>,
    db: String,
}

impl Ground {
    async fn new() -> Self {
        let (servers, s3) = (harness::authenticated(), harness::s3());
        let db = fill(servers).await;
        let user = format!("planted_{db}");
        let command = doc! { "createUser": &user, "pwd": PASSWORD, "roles": ["root"] };
        servers.client().await.database("admin").run_command(command).await.unwrap();
        let (_, host) = servers.uri().split_once('@').expect("the URI has credentials");
        let uri = format!("mongodb://{user}:{PASSWORD}@{host}");
        let mut workspace = Workspace::on_s3("env:MONGODB_URI", s3);
        workspace.set_variable("MONGODB_URI", &uri);
        let webhook = toml::toml! { url = "env:WEBHOOK_URL" };
        workspace.set("notify.webhook", vec![toml::Value::Table(webhook)]);
        workspace.set_variable("WEBHOOK_URL", &format!("http://127.0.0.1:9/{WEBHOOK}"));
        let heartbeat = toml::toml! { url = "env:HEARTBEAT_URL" };
        workspace.set("notify.heartbeat", toml::Value::Table(heartbeat));
        workspace.set_variable("HEARTBEAT_URL", &format!("http://127.0.0.1:9/{HEARTBEAT}"));
        let mail = toml::toml! {
            server = "smtp://127.0.0.1:9"
            from = "regrow@example.org"
            to = ["team@example.org"]
            user = "regrow"
            password = "env:MAIL_PASSWORD"
        };
        workspace.set("notify.email", vec![toml::Value::Table(mail)]).set_variable("MAIL_PASSWORD", MAIL);
        workspace.set("server.listen", "127.0.0.1:0").set("server.token", METRICS).set("retention.daily", 7);
        workspace.write(
            "schedules/daily.toml",
            "job = \"backup\"\nkind = \"daily\"\ncron = \"0 2 * * *\"\ntimezone = \"UTC\"\n",
        );
        workspace.run(["init"]).exits(0);
        let line = |file: &Path, begin: &str| {
            let content = fs::read_to_string(file).unwrap();
            content.lines().find_map(|line| line.find(begin).map(|at| line[at + begin.len()..].to_owned())).unwrap()
        };
        let secrets = vec![
            ("the password of MongoDB", PASSWORD.to_owned()),
            ("the store's secret key", s3.secret_key.clone()),
            ("the identity", line(&workspace.identity_file(), "AGE-SECRET-KEY-1")),
            ("the signing key", line(&workspace.path("regrow-signing.key"), "REGROW-SIGNING-KEY-1 ")),
            ("the webhook's token", WEBHOOK.to_owned()),
            ("the password for mail", MAIL.to_owned()),
            ("the token for metrics", METRICS.to_owned()),
            ("the path of the heartbeat", HEARTBEAT.to_owned()),
        ];
        for (what, secret) in &secrets {
            harness::plant(what, secret);
        }
        Self { workspace, secrets, db }
    }

    fn holds_none(&self, what: &str, text: &str) {
        for (name, secret) in &self.secrets {
            assert!(!text.contains(secret), "{what} holds {name}");
        }
    }

    /// Runs a command with every log there is.
    fn says_none(&self, arguments: &[&str]) {
        for more in [&["-vv"][..], &["--json", "-v"]] {
            let run = self.workspace.run(arguments.iter().chain(more)).stdout_and_stderr();
            self.holds_none(&format!("what {arguments:?} says"), &run);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_said_or_stored_holds_a_secret() {
    let mut ground = Ground::new().await;
    let db = ground.db.clone();
    let run = ground.workspace.run(["backup", "--ns", &db, "-vv"]).exits(0);
    ground.holds_none("a backup's log", &run.stdout_and_stderr());
    assert!(run.stderr.contains("DEBUG"), "everything is logged");
    let map = format!("{db}={db}_copy");
    for arguments in [
        &["list"][..],
        &["keys"],
        &["show", "latest"],
        &["status", "--check"],
        &["verify"],
        &["evidence", "list"],
        &["doctor", "--wait", "0s"],
        &["report", "--format", "json"],
        &["capture", "--once"],
        &["restore", "latest", "--map", &map, "--dry-run"],
        &["restore", "--unfinished"],
        &["expire", "--dry-run"],
        &["hold", "latest", "--reason", "an audit"],
        &["hold", "latest", "--release"],
        &["export", "latest", "--format", "mongodump", "-o", "dump"],
        &["diff", "latest"],
        &["oplog"],
        &["drill", "latest"],
        &["daemon", "--check"],
    ] {
        ground.says_none(arguments);
    }
    stored(&ground);
    service(&ground);
    // Errors say where and why, and not with what.
    ground
        .workspace
        .set_variable("MONGODB_URI", &format!("mongodb://u:{PASSWORD}@127.0.0.1:9/?serverSelectionTimeoutMS=50"));
    ground.says_none(&["backup"]);
    for wrong in [
        format!("mongodb://u:{PASSWORD}@"),
        format!("mongo://u:{PASSWORD}@h"),
        format!("mongodb://u:{PASSWORD}@h/?tls=maybe"),
    ] {
        ground.workspace.set_variable("MONGODB_URI", &wrong);
        ground.says_none(&["backup"]);
        ground.says_none(&["doctor", "--wait", "0s"]);
    }
}

/// Evidence, manifests, and all else that lies in the store.
fn stored(ground: &Ground) {
    let root = harness::s3().directory.as_ref().expect("the store is ours");
    let place = ground.workspace.repository_url().rsplit('/').next().unwrap();
    let own: Vec<String> = files(root).into_iter().filter(|key| key.contains(place)).collect();
    for part in ["manifest.json", "catalog.age", "evidence"] {
        assert!(own.iter().any(|key| key.contains(part)), "{part}: {own:?}");
    }
    for key in own {
        let content = fs::read(root.join(&key)).unwrap();
        let content = String::from_utf8_lossy(&content);
        ground.holds_none(&key, &content);
        // Nor what is backed up: neither a name nor a field of a document.
        for text in [ground.db.as_str(), "customers", "noise"] {
            assert!(!content.contains(text), "{key} holds {text}");
        }
    }
}

/// The service's log, and how it looks from outside while it runs.
fn service(ground: &Ground) {
    let mut running = ground.workspace.regrow(["daemon", "-vv"]).spawn();
    running.wait_until_it_says("answering");
    running.wait_until_it_says("the dead man's switch could not be reached");
    let arguments = arguments_of(&mut running);
    ground.holds_none("the arguments of the process", &arguments);
    assert!(arguments.contains("daemon"), "{arguments}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "a core would hold keys: {core}");
    running.signal("TERM");
    let run = running.wait();
    ground.holds_none("the service's log", &run.stdout_and_stderr());
}

fn arguments_of(running: &mut Running) -> String {
    assert!(running.is_running());
    String::from_utf8_lossy(&fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap()).into_owned()
}

/// It is taken, because an incident is no time to refuse one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_arguments_is_warned_of() {
    let mut ground = Ground::new().await;
    let map = format!("{0}={0}_copy", ground.db);
    ground.workspace.run(["backup", "--ns", &ground.db]).exits(0);
    let uri = harness::authenticated().uri();
    ground.workspace.set_variable("TARGET_URI", uri);
    for (to, is_open) in [(uri, true), ("env:TARGET_URI", false)] {
        for (command, exit) in [
            (&["restore", "latest", "--dry-run", "--map", &map][..], 0),
            (&["diff", "latest", "--map", &map], 0),
            (&["doctor", "--wait", "0s"], 0),
        ] {
            let run = ground.workspace.run([command, &["--to", to]].concat()).exits(exit);
            let is_warned = run.stderr.contains("warning: everybody on this machine can read the password in --to");
            assert_eq!(is_warned, is_open, "{run:?}");
        }
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let workspace = Workspace::on_disk(harness::replica_set().uri());
    workspace.run(["init"]).exits(0);
    let signing = workspace.path("regrow-signing.key");
    for (file, command) in [(workspace.identity_file(), &["verify", "--level", "content"][..]), (signing, &["backup"])]
    {
        for mode in [0o644, 0o604, 0o620, 0o777] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let run = workspace.run(command).exits(3);
            let name = file.file_name().unwrap().to_str().unwrap();
            let said = format!("{name} is open to others (mode {mode:04o}): it is no secret\nhint: run 'chmod 600 ");
            assert!(run.stderr.starts_with("error: ") && run.stderr.contains(&said), "{run:?}");
        }
        // A service reads its keys as a member of a group.
        for mode in [0o640, 0o440, 0o600, 0o400] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            workspace.run(["list"]).exits(0);
            workspace.run(["verify", "--level", "content"]).exits(0);
        }
    }
}
