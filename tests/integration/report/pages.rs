//! Pages as a browser shows them: wide and narrow, in light and dark, for those who see and those who do not, and on paper.

use std::fs;
use std::path::Path;
use std::process::Command;

use regrow::report::{Format, render};
use serde_json::Value;

use super::{judged, made_at};
use crate::harness::{self, Workspace};

/// What a page says of itself: what axe finds, its width, and what it asked others for.
const PROBE: &str = r#"
    window.addEventListener("load", function () {
        axe.run(document, { resultTypes: ["violations"] }).then(function (found) {
            var answer = {
                violations: found.violations.map(function (rule) {
                    return rule.id + ": " + rule.nodes.map(function (node) { return node.html; }).slice(0, 3).join(" ");
                }),
                checked: found.passes.length,
                overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                asked: performance.getEntriesByType("resource").map(function (entry) { return entry.name; })
            };
            var place = document.createElement("pre");
            place.id = "answer";
            place.textContent = JSON.stringify(answer);
            document.body.appendChild(place);
        });
    });
"#;

fn chromium(arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let always = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", profile.as_str()];
    let output = Command::new("chromium").args(always).args(arguments).output().expect("a browser is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lets a browser of a width show a page, in light or dark, and returns what the page says of itself.
fn look(page: &str, width: u32, dark: bool) -> Value {
    let mut command = Command::new("python3");
    command.args(["scripts/servers.py", "where", "axe"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let axe = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let axe = fs::read_to_string(axe.trim()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, page.replace("</body>", &format!("<script>{axe}</script><script>{PROBE}</script></body>")))
        .unwrap();
    let (size, file) = (format!("--window-size={width},1200"), format!("file://{}", file.display()));
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let shown = chromium(&[&size, &scheme, "--virtual-time-budget=20000", "--dump-dom", &file]);
    let begin =
        shown.find("<pre id=\"answer\">").unwrap_or_else(|| panic!("the page did not answer: {} bytes", shown.len()));
    let answer = &shown[begin + 17..];
    let answer =
        answer[..answer.find("</pre>").unwrap()].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&answer).unwrap()
}

fn is_for_everybody(name: &str, page: &str) {
    for (width, dark) in [(1280, false), (1280, true), (500, false)] {
        let found = look(page, width, dark);
        assert!(found["checked"].as_u64().unwrap() > 10, "{name}: axe has checked nothing: {found}");
        assert_eq!(found["violations"], serde_json::json!([]), "{name}, {width} wide, dark: {dark}");
        assert!(found["overflow"].as_i64().unwrap() <= 0, "{name} is wider than a screen of {width}: {found}");
        assert_eq!(found["asked"], serde_json::json!([]), "{name} asks others");
    }
}

#[test]
fn the_report_is_for_everybody() {
    is_for_everybody("the report", &render(Format::Html, &judged(), made_at()));
}

#[test]
fn the_report_prints_with_management_s_page_first() {
    let folder = tempfile::tempdir().unwrap();
    let page = render(Format::Html, &judged(), made_at());
    let pdf = regrow::browser::print(&page, None).unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    let file = folder.path().join("report.pdf");
    fs::write(&file, pdf).unwrap();
    let text = |first: &str, last: &str| {
        let output =
            Command::new("pdftotext").args(["-raw", "-f", first, "-l", last]).arg(&file).arg("-").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (first, second) = (text("1", "1"), text("2", "2"));
    for said in ["Backup and recovery compliance", "Objectives were missed", "orders", "Exceptions", "Oplog was lost"] {
        assert!(first.contains(said), "{said} is on the first page: {first}");
    }
    assert!(!first.contains("Exposure over time") && second.contains("Exposure over time"), "{first}\n---\n{second}");
    let printed: String = text("1", "999").split_whitespace().collect();
    let missing: Vec<&str> = words(&page).filter(|word| !printed.contains(word)).collect();
    assert!(missing.is_empty(), "what the page says and the paper does not: {missing:?}");
}

/// Returns the words that a page shows: not those of its charts, and not those for people who do not see.
fn words(page: &str) -> impl Iterator<Item = &str> {
    let body = &page[page.find("<body>").unwrap()..];
    let shown = body.split("<svg").map(|part| part.split_once("</svg>").map_or(part, |(_, behind)| behind));
    let texts = shown.flat_map(|part| part.split('<').filter_map(|tag| tag.split_once('>')));
    let texts = texts.filter(|(tag, _)| *tag != "span class=\"hidden\"").map(|(_, text)| text);
    texts.flat_map(str::split_whitespace).filter(|word| !word.contains('&') && word.is_ascii())
}

#[test]
fn a_browser_that_is_not_there_is_named_with_a_remedy() {
    let error = regrow::browser::print("<p>x", Some(Path::new("/nowhere/browser"))).unwrap_err();
    assert!(error.to_string().contains("/nowhere/browser"), "{error}");
    assert!(error.hint().unwrap().contains("report.browser"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_is_for_everybody_who_may_see_it() {
    let servers = harness::own(&harness::Options::default());
    let mut workspace = Workspace::on_disk(servers.uri());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    workspace.set("server.listen", format!("127.0.0.1:{port}")).set("server.token", "open sesame");
    workspace.set("tiers.critical.rpo", "15m").set("tiers.critical.rto", "1h");
    let workloads: toml::Table =
        "[[workloads]]\nname = \"<b>orders\"\nnamespaces = [\"shop\"]\ntier = \"critical\"\n".parse().unwrap();
    workspace.set("workloads", workloads["workloads"].clone());
    workspace.write(
        "schedules/daily.toml",
        "job = \"backup\"\nkind = \"daily\"\ncron = \"0 2 * * *\"\ntimezone = \"UTC\"\n",
    );
    workspace.run(["init"]).exits(0);
    let mut daemon = workspace.regrow(["daemon"]).spawn();
    let (client, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}/"));
    let mut page = String::new();
    for _ in 0..200 {
        let answer = client.get(&url).basic_auth("anybody", Some("open sesame")).send().await;
        if let Ok(answer) = answer {
            assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
            assert_eq!(answer.headers()["cache-control"], "no-store");
            page = answer.text().await.unwrap();
            if page.contains("Recovery window") && page.contains("-daily-") {
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(page.contains("&lt;b&gt;orders") && page.contains("-daily-"), "{page}");
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let ways: Vec<_> = refused.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(ways.len(), 2, "{ways:?}");
    assert_eq!(client.get(&url).basic_auth("anybody", Some("wrong")).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth("open sesame").send().await.unwrap().status(), 200);
    daemon.kill();
    is_for_everybody("the dashboard", &page);
}
