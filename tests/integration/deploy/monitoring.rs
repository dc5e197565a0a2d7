//! Prometheus' rules and Grafana's dashboard: they say what they should, of metrics that exist.

use std::collections::BTreeSet;
use std::process::Command;

use regrow::metrics::NAMES;
use serde_json::{Value, json};

use super::{names_existing_commands, project, read, said_by, tool, yaml};

const RULES: &str = "deploy/prometheus/regrow.rules.yml";
const RULE_TESTS: [&str; 2] =
    ["deploy/prometheus/regrow.rules.test.yml", "deploy/prometheus/regrow.rules.days.test.yml"];
const SCRAPE: &str = "deploy/prometheus/scrape.yml";

fn rules() -> Vec<Value> {
    let [file] = &yaml(&read(RULES))[..] else { panic!("one document") };
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule.get("alert").is_some()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/regrow.json")).unwrap()
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

/// Returns the expressions of everything that a rule or a panel asks.
fn expressions() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let rules = rules();
    targets.chain(&rules).map(|asking| asking["expr"].as_str().unwrap().to_owned()).collect()
}

/// Returns the metrics of ours, recorded ones too, that an expression names.
fn ours(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    words.filter(|word| word.starts_with("regrow_") || word.starts_with("regrow:")).collect()
}

fn promtool(arguments: &[&str]) -> String {
    said_by(Command::new(tool("promtool")).args(arguments).current_dir(project("")))
}

#[test]
fn prometheus_takes_the_rules_and_the_scrape() {
    promtool(&["check", "rules", RULES]);
    // Without a look at the token's file, which is not here.
    promtool(&["check", "config", "--syntax-only", SCRAPE]);
}

#[test]
fn each_alert_fires_when_it_should() {
    promtool(&["test", "rules", RULE_TESTS[0], RULE_TESTS[1]]);
    let tests = RULE_TESTS.map(read).concat();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\", severity=")), "{name} has no test");
    }
}

#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&severity), "{name}");
        assert!(alert["annotations"]["summary"].as_str().is_some_and(|summary| summary.len() < 120), "{name}");
        let description = alert["annotations"]["description"].as_str().unwrap();
        let remedies = ["'regrow ", "'systemctl ", "'journalctl "];
        assert!(remedies.iter().any(|remedy| description.contains(remedy)), "{name}: what to do");
        names_existing_commands(description);
    }
}

#[test]
fn only_metrics_that_exist_are_asked_for_and_each_is_shown() {
    let recorded: BTreeSet<String> =
        rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    let expressions = expressions();
    let named: BTreeSet<&str> = expressions.iter().flat_map(|expression| ours(expression)).collect();
    for name in &named {
        assert!(NAMES.contains(name) || recorded.contains(*name), "{name} does not exist");
    }
    for name in NAMES {
        assert!(named.contains(name), "nobody looks at {name}");
    }
}

#[test]
fn the_scrape_has_the_name_that_the_rules_look_for() {
    let [file] = &yaml(&read(SCRAPE))[..] else { panic!("one document") };
    let scrape = &file["scrape_configs"][0];
    assert_eq!(scrape["job_name"], "regrow");
    assert!(scrape["authorization"]["credentials_file"].is_string());
}

#[test]
fn prometheus_understands_every_panel() {
    let expressions = expressions();
    let rules: Vec<Value> = (0..)
        .zip(&expressions)
        .map(|(number, expr)| {
            let record = format!("panel:{number}");
            json!({"record": record, "expr": expr})
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yml");
    // JSON is YAML.
    std::fs::write(&path, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
}

#[test]
fn the_dashboard_is_whole() {
    let panels = panels();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let title = panel["title"].as_str().unwrap();
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title} ends beyond the page");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} covers another panel");
        }
        if !["row", "alertlist"].contains(&panel["type"].as_str().unwrap()) {
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title} asks nothing");
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} explains itself");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}
