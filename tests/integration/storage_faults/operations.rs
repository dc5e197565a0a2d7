//! What is interrupted, and how it is repeated and proved.

use std::rc::Rc;

use jiff::SignedDuration;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::ground::{DB, Ground, State};
use super::restoring;
use crate::harness::{self, Run};

/// So many hours later what has expired may be removed.
const AFTER_GRACE: i64 = 74;

/// How many storage operations of the service are looked at, at least.
const ENOUGH: usize = 90;

/// How the command says that something stays that should go, and behind which faults.
const LEFT: [(&str, &[&str]); 2] =
    [("is damaged and was left alone", &["truncate"]), ("the rest was not removed: ", &["deny"])];

/// What the service does, soon and once and again.
const DAILY: &str = "job = \"backup\"\nkind = \"daily\"\ncron = \"* * * * *\"\ntimezone = \"Africa/Nairobi\"\n";
const REPORT: &str = "job = \"report\"\ncron = \"*/2 * * * * *\"\ntimezone = \"Africa/Nairobi\"\n";

/// A command that writes to the repository.
pub struct Operation {
    pub name: &'static str,
    pub arguments: Vec<String>,
    /// The state of the repository that it begins from.
    pub state: Rc<State>,
    /// How many hours from now it runs.
    pub hours: i64,
    /// Whether it goes on until it is stopped.
    pub is_endless: bool,
    /// What the service is to do, where it is the service, and the name of what it stores last of that.
    schedule: Option<(&'static str, &'static str)>,
    /// How large segments and packs grow, as the program takes it behind a fault; nothing: as ever.
    pub sizes: &'static str,
    repeat: Repeat,
    /// Where the restore was killed that it goes on with, as the number of a storage operation.
    goes_on_from: Option<usize>,
}

/// What to do after a run that was interrupted.
#[derive(Clone, Copy, PartialEq)]
enum Repeat {
    /// The same again succeeds.
    Same,
    /// The same again succeeds, whether it goes on with what was interrupted or begins anew, and every document is right.
    Resumed,
    /// The same again succeeds once the lease of the one that was killed has run out.
    AfterTheLease,
    /// The same again succeeds, or finds that it has been done; then a backup can be taken.
    Init,
    /// What was begun is finished, or begun anew, and what it restores is right.
    Restore,
    /// Capture goes on once the lease of the service that was killed has run out.
    Capture,
}

impl Operation {
    fn new(name: &'static str, arguments: &[&str], state: &Rc<State>) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let state = Rc::clone(state);
        let (repeat, goes_on_from) = (Repeat::Same, None);
        Self { name, arguments, state, hours: 0, is_endless: false, schedule: None, sizes: "", repeat, goes_on_from }
    }

    /// Those that store data.
    pub async fn storing(ground: &Ground) -> Vec<Self> {
        let (nothing, begun) = (Rc::new(State::default()), Rc::new(ground.state().await));
        vec![
            Self { repeat: Repeat::Init, ..Self::new("init", &["init"], &nothing) },
            Self::new("backup, full", &["backup", "--kind", "daily", "--full"], &begun),
            Self {
                sizes: ",segment=4096,pack=8192",
                repeat: Repeat::Resumed,
                ..Self::new("backup, of several packs", &["backup", "--kind", "daily", "--full", "--resume"], &begun)
            },
            Self::new("backup, increment", &["backup", "--kind", "daily", "--incremental"], &begun),
            Self::new("import", &["import", "dump"], &begun),
            Self::new("capture --once", &["capture", "--once"], &begun),
        ]
    }

    /// Those that prove or restore, and record that.
    pub async fn proving(ground: &Ground) -> Vec<Self> {
        let (begun, to) = (Rc::new(ground.state().await), restoring::destination(ground));
        let restore = |name: &'static str, what: &[&str]| {
            let to = to.iter().map(String::as_str);
            let arguments: Vec<&str> = ["restore"].into_iter().chain(what.iter().copied()).chain(to).collect();
            Self { repeat: Repeat::Restore, ..Self::new(name, &arguments, &begun) }
        };
        let plain = restore("restore", &["latest"]);
        let of_full = restore("restore --resume", &[&ground.full]);
        let goes_on_from = Some(restoring::middle_read(ground, &of_full.arguments).await);
        vec![
            Self::new("verify", &["verify"], &begun),
            // Its markers are removed again, or known to be no more than that.
            Self::new("doctor", &["doctor", "--wait", "0s"], &begun),
            Self::new("drill", &["drill", "latest"], &begun),
            plain,
            restore("restore --at", &["--at", "latest"]),
            restore("restore --replace", &["latest", "--replace"]),
            // In the middle of a collection, which an increment's would not be: those are loaded anew.
            Self { goes_on_from, ..of_full },
        ]
    }

    /// Those that let go, hold and accept.
    pub async fn keeping(ground: &Ground) -> Vec<Self> {
        let begun = Rc::new(ground.state().await);
        let done: Value = ground.workspace.run(["expire", "--json"]).exits(0).json();
        let expired = done["expired"][0].as_str().expect("something expires");
        harness::time::pass(&ground.source.client().await, SignedDuration::from_hours(AFTER_GRACE)).await;
        ground.workspace.run(["capture", "--once"]).exits(0);
        let marked = Rc::new(ground.state().await);
        ground.workspace.run(["hold", &ground.backup, "--reason", "an audit"]).exits(0);
        let held = Rc::new(ground.state().await);
        let other = ground.workspace.run(["keygen", "--signing", "-o", "other.key"]).exits(0).stdout;
        let expire = |name: &'static str, state: &Rc<State>, hours: i64| Self {
            hours,
            repeat: Repeat::AfterTheLease,
            ..Self::new(name, &["expire"], state)
        };
        vec![
            expire("expire, marking", &begun, 0),
            expire("expire, removing", &marked, AFTER_GRACE),
            Self::new("hold", &["hold", &ground.backup, "--reason", "an audit"], &begun),
            Self::new("hold --release", &["hold", &ground.backup, "--release"], &held),
            Self::new("undelete", &["undelete", expired], &marked),
            Self::new("keys --accept", &["keys", "--accept", other.trim()], &begun),
        ]
    }

    /// The service, which captures, takes a backup or writes a report, and records what it does.
    pub async fn services(ground: &Ground) -> Vec<Self> {
        let begun = Rc::new(ground.state().await);
        let service = |name: &'static str, schedule: &'static str, last: &'static str| Self {
            is_endless: true,
            schedule: Some((schedule, last)),
            repeat: Repeat::Capture,
            ..Self::new(name, &["daemon"], &begun)
        };
        vec![service("daemon, backing up", DAILY, "manifest.json"), service("daemon, reporting", REPORT, "report.csv")]
    }

    /// Whether it begins where there is no repository yet.
    pub fn begins_with_nothing(&self) -> bool {
        self.repeat == Repeat::Init
    }

    /// Whether the service has done everything once: the lease, capture, and what it is to do.
    pub fn has_done_enough(&self, operations: &[String]) -> bool {
        let stores = |line: &String, last: &str| {
            ["create", "finish"].iter().any(|verb| line.contains(verb)) && line.ends_with(last)
        };
        let has_stored = |last: &str| operations.iter().any(|line| stores(line, last));
        operations.len() >= ENOUGH && self.schedule.is_none_or(|(_, last)| has_stored(last))
    }

    /// Whether what it leaves can be held against the server's oplog.
    pub fn captures(&self) -> bool {
        ["capture", "daemon"].contains(&self.arguments[0].as_str())
    }

    /// Prepares what is outside of the repository; returns the command's arguments.
    pub async fn prepare(&self, ground: &Ground) -> Vec<String> {
        if let Some((schedule, _)) = self.schedule {
            ground.workspace.write("schedules/only.toml", schedule);
        }
        if self.repeat != Repeat::Restore {
            return self.arguments.clone();
        }
        let target = ground.target().client().await.database(restoring::TARGET);
        target.drop().await.unwrap();
        if self.replaces() {
            target.collection::<Document>("orders").insert_one(doc! { "_id": "to be replaced" }).await.unwrap();
        }
        match self.goes_on_from {
            Some(at) => restoring::begun(ground, &self.arguments, at).await,
            None => self.arguments.clone(),
        }
    }

    fn replaces(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--replace")
    }

    fn releases(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--release")
    }

    /// Says what is not so although the command, which said this behind a fault, if there was one, has succeeded.
    pub async fn is_done(&self, ground: &Ground, run: &Run, fault: &str) -> Result<(), String> {
        let listed = |what: &str| -> Value { ground.run(self.hours, &[what, "--json"]).exits(0).json() };
        let has_been_done = match self.arguments[0].as_str() {
            "backup" | "import" => {
                let manifest = format!("backups/{}/manifest.json", run.stdout.trim());
                ground.place.store().size(&manifest).await.is_ok()
            }
            // There was something to capture.
            "capture" => {
                let slices = ground.place.store().list("oplog/").await.unwrap();
                slices.iter().any(|entry| !self.state.holds(&entry.key))
            }
            "hold" => listed("list")["backups"][0]["held"] == !self.releases(),
            // What seems damaged, or may not be removed, stays, and that is said.
            "expire" if LEFT.iter().any(|(left, behind)| behind.contains(&fault) && run.stderr.contains(left)) => true,
            "expire" if self.hours == 0 => listed("list").to_string().contains("\"expired\""),
            "undelete" | "expire" => !listed("list").to_string().contains("\"expired\""),
            "keys" => listed("keys")["keys"].as_array().is_some_and(|keys| keys.len() == 2),
            _ => true,
        };
        if has_been_done { Ok(()) } else { Err(format!("it says that it is done, and it is not: {}", run.stdout)) }
    }

    /// Repeats what was interrupted, or ended with this exit code, and proves that it is done now.
    pub async fn repeat(&self, ground: &Ground, exit: i32) -> Result<(), String> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        match self.repeat {
            Repeat::Same => succeeded(&ground.run(self.hours, &arguments)),
            Repeat::Resumed => {
                succeeded(&ground.run(self.hours, &arguments))?;
                succeeded(&ground.run(self.hours, &["verify", "latest", "--level", "content"]))
            }
            Repeat::AfterTheLease => {
                let again = ground.run(self.hours + 1, &arguments);
                succeeded(&again)?;
                self.is_done(ground, &again, "none").await
            }
            Repeat::Capture => succeeded(&ground.run(self.hours + 1, &["capture", "--once"])),
            Repeat::Init => {
                let again = ground.run(self.hours, &arguments);
                let has_been_done = again.code == 7 && again.stderr.contains("there is a repository");
                if !has_been_done {
                    succeeded(&again)?;
                }
                succeeded(&ground.run(self.hours, &["backup", "--ns", DB]))
            }
            Repeat::Restore => restoring::again(ground, &arguments, exit, self.replaces()).await,
        }
    }
}

pub fn succeeded(run: &Run) -> Result<(), String> {
    if run.code == 0 { Ok(()) } else { Err(format!("the repetition ends with {}: {}", run.code, run.stderr)) }
}
