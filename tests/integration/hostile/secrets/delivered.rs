//! What is delivered to others holds no secret: messages of every channel, the pages and metrics of the service, reports in every
//! format, and what a debugger or a panic would print.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use regrow::config::Config;
use regrow::mongo::Deployment;
use regrow::report::Format;
use regrow::secret::Secret;

use super::{Ground, METRICS, PASSWORD};
use crate::harness::{self, MailServer, Receiver, Running};

/// What is planted in channels; each is needed to reach its channel, and has no business anywhere else.
const HOOK: &str = "pl4nted-hook-path";
const BEARER: &str = "pl4nted-bearer";
const SLACK: &str = "pl4nted-slack-path";
const PAGER: &str = "pl4nted-routing-key";

/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Somebody at the other end of each channel.
struct Others {
    hook: Receiver,
    slack: Receiver,
    pager: Receiver,
    mails: MailServer,
    port: u16,
}

impl Others {
    /// Lets the service tell all of them, and answer on a port.
    fn of(ground: &mut Ground) -> Self {
        for secret in [HOOK, BEARER, SLACK, PAGER] {
            harness::plant("what leads to a channel", secret);
        }
        let [hook, slack, pager] = [(); 3].map(|()| Receiver::start());
        let mails = MailServer::start();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let table = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), toml::Value::from(*value)));
            toml::Value::Table(entries.collect())
        };
        let workspace = &mut ground.workspace;
        let url = |receiver: &Receiver, secret: &str| receiver.url(&format!("/{secret}"));
        let hook_table = table(&[("url", &url(&hook, HOOK)), ("token", BEARER)]);
        workspace.set("notify.webhook", vec![hook_table]);
        workspace.set("notify.slack", vec![table(&[("url", &url(&slack, SLACK))])]);
        workspace.set("notify.pagerduty", vec![table(&[("routing_key", PAGER), ("url", &pager.url("/"))])]);
        let mut mail = table(&[("server", &mails.url()), ("from", "regrow@example.org"), ("user", "regrow")]);
        mail.as_table_mut().unwrap().extend([
            ("to".to_owned(), vec!["team@example.org"].into()),
            ("password".to_owned(), "env:MAIL_PASSWORD".into()),
        ]);
        workspace.set("notify.email", vec![mail]);
        workspace.set("server.listen", format!("127.0.0.1:{port}"));
        Self { hook, slack, pager, mails, port }
    }

    fn were_all_told(&self, what: &str) -> bool {
        let told = |receiver: &Receiver| {
            receiver.received().iter().any(|request| String::from_utf8_lossy(&request.body).contains(what))
        };
        let receivers = [&self.hook, &self.slack, &self.pager];
        let mailed = self.mails.mails().iter().any(|mail| mail.header("Subject").contains(what));
        receivers.into_iter().all(told) && mailed
    }
}

impl Others {
    /// Returns everything that each was sent, but for what it takes to reach it.
    fn sent(&self) -> Vec<(&'static str, String)> {
        let mut sent = Vec::new();
        let receivers =
            [("a webhook", &self.hook, HOOK), ("Slack", &self.slack, SLACK), ("PagerDuty", &self.pager, PAGER)];
        for (name, receiver, own) in receivers {
            for request in receiver.received() {
                let body = String::from_utf8_lossy(&request.body).replace(&format!("\"routing_key\":\"{PAGER}\""), "");
                let path = request.path.replace(own, "");
                let mut headers = request.headers;
                headers.retain(|header, value| !(header == "authorization" && *value == format!("Bearer {BEARER}")));
                sent.push((name, format!("{path}\n{headers:?}\n{body}")));
            }
        }
        // Quoted-printable breaks lines anywhere.
        sent.extend(self.mails.mails().into_iter().map(|mail| ("a mail", mail.data.replace("=\r\n", ""))));
        sent
    }

    /// Asks the service for everything that it answers.
    async fn answers(&self, service: &Running) -> Vec<(&'static str, String)> {
        let (client, begin) = (reqwest::Client::new(), Instant::now());
        let get = async |path: &str| {
            let request = client.get(format!("http://127.0.0.1:{}{path}", self.port)).bearer_auth(METRICS);
            let response = request.send().await.unwrap();
            (
                response.status().as_u16(),
                format!("{:?}\n{}", response.headers().clone(), response.text().await.unwrap()),
            )
        };
        while get("/metrics").await.0 != 200 {
            assert!(begin.elapsed() < LIMIT, "{}", service.stderr());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut answers = Vec::new();
        for path in ["/", "/metrics", "/api/v1/status", "/readyz", "/healthz", "/nowhere"] {
            answers.push((path, get(path).await.1));
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_delivered_holds_a_secret() {
    let mut ground = Ground::new().await;
    let others = Others::of(&mut ground);
    let planted =
        [("a webhook's path", HOOK), ("its token", BEARER), ("Slack's path", SLACK), ("PagerDuty's key", PAGER)];
    ground.secrets.extend(planted.map(|(name, secret)| (name, secret.to_owned())));
    let db = ground.db.clone();
    ground.workspace.run(["backup", "--ns", &db]).exits(0);
    // Backups fail from now on, and the driver knows the password.
    let away = format!("mongodb://u:{PASSWORD}@127.0.0.1:9/?serverSelectionTimeoutMS=50");
    ground.workspace.set_variable("MONGODB_URI", &away).write(
        "schedules/daily.toml",
        "job = \"backup\"\nkind = \"daily\"\ncron = \"*/2 * * * * *\"\ntimezone = \"UTC\"\ncatch_up = true\nretries = 0\n",
    );
    let service = ground.workspace.regrow(["daemon", "-vv"]).env("RUST_BACKTRACE", "full").spawn();
    let begin = Instant::now();
    while !others.were_all_told("failed") {
        assert!(begin.elapsed() < LIMIT, "not everybody was told: {:#?}\n{}", others.sent(), service.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answers = others.answers(&service).await;
    service.signal("TERM");
    ground.holds_none("the service's log", &service.wait().stdout_and_stderr());
    for (to, text) in others.sent().into_iter().chain(answers) {
        ground.holds_none(to, &text);
    }
    for format in Format::ALL.map(Format::extension) {
        reports_hold_none(&ground, format);
    }
    ground.says_none(&["evidence", "list"]);
    super::stored(&ground);
}

/// The PDF is the HTML page, printed; what it says is compressed, so its text is taken out.
fn reports_hold_none(ground: &Ground, format: &str) {
    let name = format!("report.{format}");
    ground.workspace.run(["report", "-o", &name]).exits(0);
    let content = std::fs::read(ground.workspace.path(&name)).unwrap();
    ground.holds_none(&name, &String::from_utf8_lossy(&content));
    if format == "pdf" {
        let text = std::process::Command::new("pdftotext").arg(ground.workspace.path(&name)).arg("-").output().unwrap();
        assert!(text.status.success() && !text.stdout.is_empty(), "{text:?}");
        ground.holds_none(&name, &String::from_utf8_lossy(&text.stdout));
    }
}

/// Lets a backup panic in the middle.
fn panics(ground: &Ground) {
    let backup = ["backup", "-vv", "--ns", &ground.db];
    let backup = ground.workspace.with_faults("none,panic=/packs/", &ground.workspace.path("operations"), &backup);
    let run = backup.env("RUST_BACKTRACE", "full").run();
    assert!(run.code != 0 && run.stderr.contains("panicked at") && run.stderr.contains("stack backtrace"), "{run:?}");
    ground.holds_none("a panic", &run.stdout_and_stderr());
}

/// What a panic prints of an error, or a log of a setting, is their `Debug` form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_panic_would_print_holds_a_secret() {
    let mut ground = Ground::new().await;
    panics(&ground);
    let planted = format!("mongodb://u:{PASSWORD}@127.0.0.1:9/?serverSelectionTimeoutMS=50");
    ground.workspace.set("source.uri", planted.as_str()).set("drill.target", planted.as_str());
    let config = Config::load(Some(&ground.workspace.config_file())).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("env:WEBHOOK_URL") && shown.contains("[redacted]"), "{shown}");
    ground.holds_none("the configuration", &shown);
    let wrong = [format!("mongodb://u:{PASSWORD}@"), format!("mongodb://u:{PASSWORD}@h/?tls=maybe")];
    for uri in [planted.clone()].into_iter().chain(wrong) {
        let error = Deployment::connect(&Secret::new(uri)).await.map(drop).unwrap_err();
        ground.holds_none("an error of the driver", &format!("{error:?} {error:#?}"));
    }
    let file = std::fs::read_to_string(ground.workspace.config_file()).unwrap();
    for wrong in [
        format!("source = \"{planted}\"\n"),
        format!("notify = \"https://127.0.0.1/{}\"\n{file}", super::WEBHOOK),
        file.replace(&format!("\"{planted}\""), &format!("[\"{planted}\"]")),
        file.replace(&format!("\"{planted}\""), &format!("\"{planted}")),
        file.replace(&format!("\"{planted}\""), &planted),
    ] {
        ground.workspace.write("regrow.toml", wrong);
        let run = ground.workspace.run(["list", "-vv"]).exits(3);
        ground.holds_none("an error of the configuration", &run.stdout_and_stderr());
    }
}
