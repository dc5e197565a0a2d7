//! What a person gets wrong: one `error:` line with the cause, one `hint:` line with the remedy, the right
//! exit code, nothing changed, and no secret on the screen.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mongodb::bson::doc;

use crate::harness::{self, Invocation, S3, Workspace};
use crate::small_backups::fill;

/// The password of every wrong URI here.
const PASSWORD: &str = "sesame-open-up";

/// An operator with a repository, one backup in it, and a server that asks who one is.
struct Ground {
    workspace: Workspace,
    db: String,
    id: String,
}

impl Ground {
    async fn new() -> Self {
        let servers = harness::authenticated();
        let db = fill(servers).await;
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let id = workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned();
        Self { workspace, db, id }
    }

    /// Sets one key of the configuration for one run that must fail, and sets it back.
    fn fails_with(&mut self, key: &str, value: impl Into<toml::Value>, arguments: &[&str], code: i32, said: &str) {
        let kept = fs::read(self.workspace.config_file()).unwrap();
        let before: toml::Table = String::from_utf8(kept).unwrap().parse().unwrap();
        self.workspace.set(key, value);
        self.fails(arguments, code, said);
        let (table, name) = key.split_once('.').unwrap();
        self.workspace.set(key, before[table][name].clone());
    }

    /// Runs `regrow -q`, so that only errors are said, and checks everything that this page promises.
    fn fails(&self, arguments: &[&str], code: i32, said: &str) {
        self.fails_as(self.workspace.regrow([&["-q"], arguments].concat()), code, said);
    }

    fn fails_as(&self, invocation: Invocation, code: i32, said: &str) {
        let before = files(&self.workspace.path(""));
        let run = invocation.run().exits(code);
        assert_eq!(run.stdout, "", "stdout is for answers: {run:?}");
        let identity = fs::read_to_string(self.workspace.identity_file()).unwrap();
        for secret in [PASSWORD, "root-password", &harness::s3().secret_key, identity.lines().last().unwrap()] {
            assert!(!run.stderr.contains(secret), "a secret is shown: {run:?}");
        }
        let servers = harness::authenticated();
        let stderr = run.stderr.replace(self.workspace.path("").to_str().unwrap(), "FOLDER/");
        let stderr = stderr.replace(&servers.hosts()[0].address(), "SERVER");
        assert_eq!(stderr.trim_end(), said, "{run:?}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: "), "{run:?}");
        assert_eq!(files(&self.workspace.path("")), before, "nothing is changed");
    }

    fn restore<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["restore", &self.id][..], more].concat()
    }

    /// Writes the descriptor with one text in another's place, for one run that must fail.
    fn fails_with_descriptor(&self, from: &str, to: &str, code: i32, said: &str) {
        let path = self.workspace.repository().join("regrow-repository.json");
        let content = fs::read_to_string(&path).unwrap();
        assert!(content.contains(from), "{content}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, content.replace(from, to)).unwrap();
        self.fails(&["list"], code, said);
        fs::write(&path, content).unwrap();
    }

    /// Returns the URI of a new user, as which `fails` must never print the password.
    async fn limited_user(&self) -> String {
        let servers = harness::authenticated();
        let roles = vec![doc! { "role": "read", "db": &self.db }];
        let create = doc! { "createUser": &self.db, "pwd": PASSWORD, "roles": roles };
        servers.client().await.database("admin").run_command(create).await.unwrap();
        let address = servers.hosts()[0].address();
        format!("mongodb://{}:{PASSWORD}@{address}/?replicaSet=rs0&authSource=admin", self.db)
    }
}

/// Returns every file below a folder but the configuration, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("regrow.toml") {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn servers_that_do_not_answer_or_refuse() {
    let mut ground = Ground::new().await;
    let server = harness::authenticated().hosts()[0].address();
    ground.fails_with(
        "source.uri",
        format!("mongodb://u:{PASSWORD}@127.0.0.1:1/?serverSelectionTimeoutMS=500"),
        &["backup"],
        1,
        "error: cannot connect to MongoDB: no server answers at 127.0.0.1:1 (I/O error: Connection refused (os error 111))\n\
         hint: check that the servers of the URI run and can be reached from here",
    );
    ground.fails_with(
        "source.uri",
        format!("mongodb://root:{PASSWORD}@{server}/?authSource=admin"),
        &["backup"],
        3,
        "error: cannot connect to MongoDB: the server refuses the user or the password\n\
         hint: check user, password and authSource in the URI",
    );
    ground.fails_with(
        "source.uri",
        format!("mongo://u:{PASSWORD}@{server}/"),
        &["backup"],
        3,
        "error: cannot use the MongoDB URI: unsupported connection string scheme: mongo\n\
         hint: write mongodb://USER:PASSWORD@HOST:PORT/?replicaSet=NAME, or mongodb+srv://…",
    );
    // The driver's own words repeat what it takes for a port.
    for password in [format!("x/{PASSWORD}"), format!("{PASSWORD}:{PASSWORD}"), format!("%{PASSWORD}")] {
        ground.fails_with(
            "source.uri",
            format!("mongodb://u:{password}@{server}/"),
            &["backup"],
            3,
            "error: cannot use the MongoDB URI: its user or password is malformed\n\
             hint: write the characters : / ? # [ ] @ % in user and password as %3A %2F %3F %23 %5B %5D %40 %25",
        );
    }
    ground.fails_with(
        "source.uri",
        "env:NO_SUCH_URI",
        &["backup"],
        3,
        "error: source.uri names the environment variable NO_SUCH_URI, which is not set\n\
         hint: set NO_SUCH_URI, or change source.uri",
    );
}

#[tokio::test]
async fn users_who_lack_a_privilege() {
    let mut ground = Ground::new().await;
    let uri = ground.limited_user().await;
    // The server would silently list only what the user may see: a backup of everything must not.
    ground.fails_with(
        "source.uri",
        uri.as_str(),
        &["backup"],
        3,
        "error: cannot list the databases: the user lacks the privilege 'listDatabases'\n\
         hint: grant the user of the URI the built-in role backup on the database admin; 'regrow doctor' tells what is missing",
    );
    let map = format!("{}={}", ground.db, harness::unique_database_name());
    let target = map.split_once('=').unwrap().1;
    let arguments: Vec<String> = ["--map", &map, "--confirm", "rs0"].map(str::to_owned).to_vec();
    let id = ground.id.clone();
    let restore: Vec<&str> = ["restore", &id].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    ground.fails_with(
        "source.uri",
        uri.as_str(),
        &restore,
        3,
        &format!(
            "error: cannot list the collections of {target}: the user lacks the privilege 'listCollections'\n\
             hint: grant the user of the URI the built-in roles restore and readAnyDatabase on the database admin; 'regrow doctor' tells what is missing"
        ),
    );
    // What the user may read can be backed up.
    ground.workspace.set("source.uri", uri.as_str());
    ground.workspace.run(["backup", "--ns", &ground.db]).exits(0);
}

#[tokio::test]
async fn recipients_and_identities() {
    let mut ground = Ground::new().await;
    ground.fails_with(
        "encryption.recipients",
        Vec::<String>::new(),
        &["backup"],
        3,
        "error: encryption.recipients is empty: there is nobody to encrypt to\n\
         hint: run 'regrow keygen -o identity.txt' and put the age1… line that it prints into encryption.recipients",
    );
    ground.fails_with(
        "encryption.recipients",
        vec!["age1nonsense"],
        &["backup"],
        3,
        "error: encryption.recipients: 'age1nonsense' is no age recipient: invalid Bech32 encoding\n\
         hint: a recipient begins with age1 and is printed by 'regrow keygen' or 'age-keygen -y'",
    );
    let identity = fs::read_to_string(ground.workspace.identity_file()).unwrap();
    ground.fails_with(
        "encryption.recipients",
        vec![identity.lines().last().unwrap()],
        &["backup"],
        3,
        "error: encryption.recipients holds a secret key\n\
         hint: put the public age1… line there, and treat that secret key as published",
    );
    let target = harness::unique_database_name();
    let map = format!("{}={target}", ground.db);
    let id = ground.id.clone();
    let restore = ["restore", &id, "--map", &map, "--confirm", "rs0"];
    ground.fails_with(
        "encryption.identity_file",
        "none.txt",
        &restore,
        3,
        "error: cannot read ./none.txt, which encryption.identity_file names: No such file or directory (os error 2)\n\
         hint: put a copy of the identity there, or point encryption.identity_file at one; 'regrow show' names whose identity \
         opens a backup",
    );
    let notes = ground.workspace.write("notes.txt", "not a key");
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o600)).unwrap();
    ground.fails_with(
        "encryption.identity_file",
        "notes.txt",
        &restore,
        3,
        "error: the identity file holds a line that is no age identity: invalid Bech32 encoding\n\
         hint: an identity is a line AGE-SECRET-KEY-1…, as 'regrow keygen' writes it",
    );
    let other = ground.workspace.run(["keygen", "-o", "other.txt"]).exits(0).stdout;
    ground.fails_with(
        "encryption.identity_file",
        "other.txt",
        &restore,
        3,
        &format!(
            "error: cannot open backups/{id}/catalog.age: none of the configured identities opens it; those are of {}\n\
             hint: set encryption.identity_file to the file with the age identity of {}",
            other.trim(),
            ground.workspace.recipient()
        ),
    );
    let config = fs::read_to_string(ground.workspace.config_file()).unwrap();
    let without: Vec<&str> = config.lines().filter(|line| !line.starts_with("identity_file")).collect();
    fs::write(ground.workspace.config_file(), without.join("\n")).unwrap();
    ground.fails(
        &restore,
        3,
        &format!(
            "error: cannot open backup {id}: it is encrypted and no identity is configured\n\
             hint: set encryption.identity_file to the file with the age identity of {}",
            ground.workspace.recipient()
        ),
    );
    let left = harness::authenticated().client().await.database(&target).list_collection_names().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn keys_that_exist_or_do_not_fit() {
    let mut ground = Ground::new().await;
    ground.fails(
        &["keygen", "-o", "identity.txt"],
        7,
        "error: identity.txt exists already\n\
         hint: a key that is overwritten takes its backups with it; choose another name",
    );
    let url = ground.workspace.repository_url().to_owned();
    ground.fails(
        &["init"],
        7,
        &format!(
            "error: there is a repository at {} already\n\
             hint: nothing was changed; use it as it is, or choose another repository.url",
            url.replace(ground.workspace.path("").to_str().unwrap(), "FOLDER/")
        ),
    );
    let key = ground.workspace.path("regrow-signing.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    ground.fails(
        &["backup"],
        3,
        "error: cannot read the signing key ./regrow-signing.key: No such file or directory (os error 2)\n\
         hint: it is the file that 'regrow init' wrote when the repository was made: copy it there from the backup host or \
         from where its copy is kept, or point signing.key_file at it; a new one signs for new repositories alone, or for this one once its key is \
         accepted ('regrow keys --accept')",
    );
    fs::write(&key, "nonsense").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    ground.fails(
        &["backup"],
        3,
        "error: the signing key file holds no signing key\n\
         hint: bring back from a copy the file that 'regrow init' wrote when the repository was made",
    );
    let other = Workspace::on_disk(harness::authenticated().uri());
    other.run(["init"]).exits(0);
    fs::copy(other.path("regrow-signing.key"), &key).unwrap();
    let key_id =
        |content: &[u8]| String::from_utf8_lossy(content).split(' ').nth(4).unwrap().trim_end_matches(':').to_owned();
    let (ours, theirs) = (key_id(&fs::read(&key).unwrap()), key_id(&kept));
    ground.fails(
        &["backup"],
        3,
        &format!(
            "error: the signing key {ours} does not belong to this repository, which knows {theirs}\n\
             hint: use the key file that 'regrow init' wrote for this repository, or accept this key with 'regrow keys \
             --accept' where that one is; if it is that one, the repository's descriptor was replaced"
        ),
    );
    fs::write(&key, kept).unwrap();
    ground.workspace.set("source.name", "still");
    ground.workspace.run(["backup", "--ns", &ground.db]).exits(0);
}

#[tokio::test]
async fn repositories_that_are_none_or_from_the_future() {
    let mut ground = Ground::new().await;
    ground.fails_with_descriptor(
        "\"version\": 1",
        "\"version\": 99",
        3,
        "error: the repository has format version 99; this Regrow reads versions up to 1\n\
         hint: install a newer Regrow",
    );
    ground.fails_with_descriptor(
        "\"features\": []",
        "\"features\": [\"time-travel\"]",
        3,
        "error: the repository needs the feature 'time-travel', which this Regrow does not know\n\
         hint: install a newer Regrow",
    );
    ground.fails_with_descriptor(
        "\"regrow-repository\"",
        "\"something-else\"",
        5,
        "error: regrow-repository.json is malformed: its format is 'something-else'\n\
         hint: it was altered; bring it back from a copy of the repository",
    );
    let empty = ground.workspace.path("empty");
    fs::create_dir(&empty).unwrap();
    let url = format!("file://{}", empty.display());
    ground.fails_with(
        "repository.url",
        url.as_str(),
        &["list"],
        4,
        "error: there is no repository at file://FOLDER/empty\n\
         hint: check repository.url, or make a repository there with 'regrow init'",
    );
    for command in ["list", "backup", "verify"] {
        ground.fails_with(
            "repository.url",
            format!("{url}/below"),
            &[command],
            3,
            "error: cannot open the repository: FOLDER/empty/below does not exist\n\
             hint: check repository.url and that its disk is mounted; only 'regrow init' makes directories",
        );
    }
    ground.fails_with(
        "repository.url",
        "ftp://x/y",
        &["list"],
        3,
        "error: repository.url: 'ftp://x/y' is no place that Regrow knows\n\
         hint: write s3://bucket/prefix or file:///path",
    );
    ground.fails_with(
        "repository.url",
        "file://x/y",
        &["list"],
        3,
        "error: repository.url: 'file://x/y' is no absolute path\n\
         hint: write file:///path with three slashes",
    );
}

#[tokio::test]
async fn buckets_that_are_missing_or_denied() {
    let mut ground = Ground::new().await;
    let s3 = harness::s3();
    ground.workspace.set("repository.endpoint", s3.endpoint.as_str()).set("repository.region", S3::REGION);
    ground.workspace.set("repository.url", "s3://no-such-bucket/x");
    let as_account = |ground: &Ground, command: &str, secret: &str| {
        let invocation = ground.workspace.regrow(["-q", command]);
        invocation.env("AWS_ACCESS_KEY_ID", &s3.access_key).env("AWS_SECRET_ACCESS_KEY", secret)
    };
    // Without a key, init would make one: not for a place that there is not.
    fs::remove_file(ground.workspace.path("regrow-signing.key")).unwrap();
    for command in ["list", "verify", "init"] {
        ground.fails_as(
            as_account(&ground, command, &s3.secret_key),
            3,
            "error: cannot open the repository: s3://no-such-bucket does not exist\n\
             hint: check repository.url; Regrow does not create buckets",
        );
    }
    ground.workspace.set("repository.url", s3.unique_repository_url());
    for command in ["list", "verify", "init"] {
        ground.fails_as(
            as_account(&ground, command, PASSWORD),
            3,
            &format!(
                "error: cannot open the repository: s3://{} denies s3:GetObject: SignatureDoesNotMatch\n\
                 hint: check the credentials and grant them this operation on this place",
                s3.bucket
            ),
        );
    }
}

#[tokio::test]
async fn configurations_that_make_no_sense() {
    let ground = Ground::new().await;
    let config = fs::read_to_string(ground.workspace.config_file()).unwrap();
    let with = |more: &str| fs::write(ground.workspace.config_file(), format!("{config}\n{more}")).unwrap();
    let line = config.lines().count() + 3;
    with("[retention]\ndayly = 7\n");
    ground.fails(
        &["list"],
        3,
        &format!(
            "error: ./regrow.toml, line {line}: unknown field `dayly`, expected one of `daily`, `weekly`, `monthly`, `oplog`\n\
             hint: did you mean 'daily'?"
        ),
    );
    with("[repositry]\nurl = \"\"\n");
    let run = ground.workspace.run(["-q", "list"]).exits(3);
    assert!(run.stderr.ends_with("\nhint: did you mean 'repository'?\n"), "{run:?}");
    with("[retention\n");
    ground.fails(
        &["list"],
        3,
        &format!(
            "error: ./regrow.toml, line {}: unclosed table, expected `]`\n\
             hint: the README shows every section and key",
            line - 1
        ),
    );
    fs::remove_file(ground.workspace.config_file()).unwrap();
    ground.fails(
        &["backup"],
        3,
        "error: there is no configuration: neither ./regrow.toml nor /etc/regrow/regrow.toml\n\
         hint: name one with --config FILE or REGROW_CONFIG; the README shows what belongs into it",
    );
    ground.fails(
        &["--config", "other.toml", "backup"],
        3,
        "error: cannot read the configuration other.toml: No such file or directory (os error 2)\n\
         hint: check the path and who may read it",
    );
}

#[tokio::test]
async fn backups_that_are_not_there() {
    let ground = Ground::new().await;
    for arguments in [["show", "20991231"], ["verify", "20991231"], ["restore", "20991231"]] {
        ground.fails(
            &arguments,
            4,
            "error: there is no backup '20991231'\n\
             hint: 'regrow list' shows what there is",
        );
    }
    let second = ground.workspace.run(["backup", "--ns", &ground.db]).exits(0).stdout;
    let mut both = [ground.id.as_str(), second.trim()];
    both.sort_unstable();
    ground.fails(
        &["show", "20"],
        4,
        &format!(
            "error: '20' means several backups, {} and {} among them\n\
             hint: write more of the id",
            both[0], both[1]
        ),
    );
    let empty = Workspace::on_disk(harness::authenticated().uri());
    empty.run(["init"]).exits(0);
    for command in ["show", "verify", "restore"] {
        let run = empty.run([command, "latest"]).exits(4);
        assert_eq!(run.stderr, "error: the repository holds no backup yet\nhint: take one with 'regrow backup'\n");
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense() {
    let ground = Ground::new().await;
    let pattern = "hint: write db, db.collection or db.*, where * stands for any characters";
    let map = "hint: write db=other, db.collection=other.collection or db.*=other.*";
    let cases: &[(&[&str], &str, &str)] = &[
        (&["backup", "--ns", ".x"], "error: '.x' is no namespace pattern", pattern),
        (&["backup", "--ns", "x."], "error: 'x.' is no namespace pattern", pattern),
        (&["restore", "latest", "--ns", ""], "error: '' is no namespace pattern", pattern),
        (&["restore", "latest", "--map", "a"], "error: 'a' is no map", map),
        (&["restore", "latest", "--map", "a=b.c"], "error: 'a=b.c' is no map", map),
        (&["restore", "latest", "--map", "=b"], "error: '=b' is no map", map),
        (
            &["backup", "--kind", "hourly"],
            "error: 'hourly' is no kind of backup",
            "hint: use daily, weekly, monthly or manual",
        ),
        (
            &["verify", "--level", "deep"],
            "error: 'deep' is no level of verification",
            "hint: use structure, checksum or content",
        ),
    ];
    for (arguments, error, hint) in cases {
        ground.fails(arguments, 2, &format!("{error}\n{hint}"));
    }
    let run = ground.workspace.run(["restore"]).exits(2);
    assert!(run.stderr.contains("<BACKUP>"), "{run:?}");
    ground.fails(
        &["backup", "--ns", "nothing"],
        4,
        "error: no namespace matches nothing\n\
         hint: check the spelling; a pattern is db, db.collection or db.*",
    );
}

/// As `regrow status | head -1` does to it.
#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let ground = Ground::new().await;
    for command in ["status", "list", "doctor --wait 1s"] {
        let script = format!("{} {command} | (exec <&-; sleep 2)", env!("CARGO_BIN_EXE_regrow"));
        let said = ground.workspace.bash(&format!("set -o pipefail; {script}")).run();
        assert!(!said.stderr.contains("panicked"), "{command}: {said:?}");
    }
}

#[tokio::test]
async fn restores_that_are_refused() {
    let ground = Ground::new().await;
    let (db, id) = (&ground.db, &ground.id);
    ground.fails(
        &ground.restore(&["--confirm", "rs0"]),
        7,
        &format!(
            "error: 2 target namespaces exist already: {db}.customers, {db}.orders\n\
             hint: nothing was changed; leave out with --except what shall stay, take their place with --replace (add --keep-old to be able to undo it), \
             restore under other names with --map FROM=TO, or to another server with --to"
        ),
    );
    let target = harness::unique_database_name();
    let map = format!("{db}={target}");
    ground.fails(
        &ground.restore(&["--map", &map]),
        7,
        "error: the restore was not confirmed\n\
         hint: to restore into this deployment, add --confirm rs0",
    );
    ground.fails(
        &ground.restore(&["--map", &map, "--confirm", "prod"]),
        7,
        "error: 'prod' is not the target's name, which is 'rs0'\n\
         hint: nothing was changed; the target is the deployment at SERVER",
    );
    let [orders, customers] = ["orders", "customers"].map(|name| format!("{db}.{name}={target}.all"));
    let run = ground
        .workspace
        .run(ground.restore(&["-q", "--map", &orders, "--map", &customers, "--confirm", "rs0"]))
        .exits(7);
    let mut said: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(said.pop(), Some("hint: change the --map options"));
    assert_eq!(said, [format!("error: {db}.orders and {db}.customers would both become {target}.all")]);
    ground.fails(
        &ground.restore(&["--ns", "nothing", "--confirm", "rs0"]),
        4,
        &format!(
            "error: backup {id} holds no namespace that matches nothing\n\
             hint: 'regrow show {id}' lists what it holds"
        ),
    );
    let left = harness::authenticated().client().await.database(&target).list_collection_names().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
