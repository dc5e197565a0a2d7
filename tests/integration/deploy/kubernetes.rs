//! The manifests, as `kubectl` builds them and Kubernetes' own schema reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use regrow::config::Config;
use serde_json::{Value, json};

use super::{STOPS_WITHIN_SECONDS, is_understood, manifests, project, read, said_by, texts, tool, yaml};

const SECRETS: &str = "/run/secrets/regrow/";

/// What runs the service.
fn daemon() -> &'static [Value] {
    static BUILT: OnceLock<Vec<Value>> = OnceLock::new();
    BUILT.get_or_init(|| build("daemon"))
}

/// What runs without it.
fn cron() -> &'static [Value] {
    static BUILT: OnceLock<Vec<Value>> = OnceLock::new();
    BUILT.get_or_init(|| build("cron"))
}

fn build(way: &str) -> Vec<Value> {
    let folder = project("deploy/kubernetes").join(way);
    manifests(&said_by(Command::new(tool("kubectl")).arg("kustomize").arg(folder)))
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> Vec<&'a Value> {
    manifests.iter().filter(|manifest| manifest["kind"] == kind).collect()
}

fn name(manifest: &Value) -> &str {
    manifest["metadata"]["name"].as_str().unwrap()
}

/// Returns the pod of whatever runs some.
fn pod(manifest: &Value) -> &Value {
    let spec = &manifest["spec"];
    let template =
        if manifest["kind"] == "CronJob" { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] };
    &template["spec"]
}

fn container(manifest: &Value) -> &Value {
    let containers = pod(manifest)["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1, "{}", name(manifest));
    &containers[0]
}

/// Returns the data of the generated map whose name begins so.
fn config_map(manifests: &[Value], beginning: &str) -> BTreeMap<String, String> {
    let maps = of_kind(manifests, "ConfigMap");
    let map = maps.into_iter().find(|map| name(map).starts_with(beginning)).unwrap();
    serde_json::from_value(map["data"].clone()).unwrap()
}

/// Returns everything that runs.
fn workloads() -> Vec<Value> {
    let all = [daemon(), cron()].concat();
    let found: Vec<Value> =
        all.into_iter().filter(|manifest| manifest["kind"] == "Deployment" || manifest["kind"] == "CronJob").collect();
    assert_eq!(found.len(), 9);
    found
}

fn shipped_schedules() -> BTreeMap<String, String> {
    let paths = fs::read_dir(project("schedules")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn no_pod_may_do_more_than_it_must() {
    for workload in workloads() {
        let pod = pod(&workload);
        let name = name(&workload);
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["serviceAccountName"], "regrow", "{name}");
        let context = &pod["securityContext"];
        assert_eq!((&context["runAsNonRoot"], &context["runAsUser"]), (&json!(true), &json!(65532)), "{name}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let container = container(&workload);
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(mount["readOnly"] == true || mount["mountPath"] == "/tmp", "{name}: {mount}");
        }
    }
}

#[test]
fn every_pod_has_limits_and_time_to_end() {
    for workload in workloads() {
        let name = name(&workload);
        assert!(pod(&workload)["terminationGracePeriodSeconds"].as_u64().unwrap() > STOPS_WITHIN_SECONDS, "{name}");
        let resources = &container(&workload)["resources"];
        assert!(resources["limits"]["memory"].is_string() && resources["requests"]["cpu"].is_string(), "{name}");
        assert!(resources["limits"]["cpu"].is_null(), "{name}: throttled, a backup misses its moment");
    }
}

#[test]
fn the_program_understands_what_it_is_told_to_do() {
    for workload in workloads() {
        is_understood(&texts(&container(&workload)["args"]));
    }
}

#[test]
fn two_instances_run_and_are_asked_whether_they_live() {
    let [deployment] = of_kind(daemon(), "Deployment")[..] else { panic!("one") };
    assert_eq!(deployment["spec"]["replicas"], 2);
    let container = container(deployment);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for selecting in [
        of_kind(daemon(), "Service")[0]["spec"]["selector"].clone(),
        of_kind(daemon(), "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].clone(),
    ] {
        assert_eq!(&selecting, labels);
    }
    assert_eq!(of_kind(daemon(), "ServiceAccount")[0]["automountServiceAccountToken"], false);
}

#[test]
fn the_operator_of_prometheus_finds_the_instances() {
    let [monitor] = &yaml(&read("deploy/prometheus/service-monitor.yaml"))[..] else { panic!("one document") };
    let service = of_kind(daemon(), "Service")[0];
    assert_eq!(name(service), "regrow", "the rules look for a job of that name");
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]);
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(endpoint["authorization"]["credentials"], json!({"name": "regrow", "key": "metrics-token"}));
}

#[test]
fn the_program_reads_the_configuration() {
    let text = &config_map(daemon(), "regrow-config")["regrow.toml"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("regrow.toml");
    fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path)).unwrap();
    assert!(config.recipients().is_err(), "nobody's backups are encrypted to a recipient that stands here");
    assert_eq!(config.signing_key_path(), Path::new(SECRETS).join("regrow-signing.key"));
    let ports = &container(of_kind(daemon(), "Deployment")[0])["ports"][0]["containerPort"];
    let server = config.file.server.unwrap();
    assert_eq!(server.listen.unwrap().to_string(), format!("0.0.0.0:{ports}"));
    assert_eq!(&*server.token.unwrap(), format!("file:{SECRETS}metrics-token"), "whoever reads metrics has a token");
}

#[test]
fn the_secret_holds_what_is_asked_for() {
    let [secret] = &manifests(&read("deploy/kubernetes/base/secret.example.yaml"))[..] else { panic!("one") };
    let mut held: Vec<&str> = secret["stringData"].as_object().unwrap().keys().map(String::as_str).collect();
    let configuration = read("deploy/kubernetes/base/regrow.toml");
    let mut asked: Vec<&str> =
        configuration.split(SECRETS).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let workloads = workloads();
    let variables = workloads.iter().flat_map(|workload| container(workload)["env"].as_array().unwrap());
    let references = variables.filter_map(|variable| variable["valueFrom"].get("secretKeyRef"));
    asked.extend(references.map(|reference| {
        assert_eq!(reference["name"], name(secret));
        reference["key"].as_str().unwrap()
    }));
    asked.sort_unstable();
    asked.dedup();
    held.sort_unstable();
    assert_eq!(held, asked);
    for manifests in [daemon(), cron()] {
        assert!(of_kind(manifests, "Secret").is_empty(), "applying never overwrites the real one");
    }
}

#[test]
fn the_schedules_are_the_shipped_ones_and_lie_beside_the_configuration() {
    let shipped = shipped_schedules();
    assert_eq!(
        config_map(daemon(), "regrow-schedules"),
        shipped,
        "copy schedules/ to deploy/kubernetes/daemon/schedules"
    );
    let volumes = pod(of_kind(daemon(), "Deployment")[0])["volumes"].as_array().unwrap();
    let configuration = volumes.iter().find(|volume| volume["name"] == "configuration").unwrap();
    let sources = configuration["projected"]["sources"].as_array().unwrap();
    let placed: Vec<&Value> =
        sources.iter().filter_map(|source| source["configMap"]["items"].as_array()).flatten().collect();
    let expected: Vec<Value> =
        shipped.keys().map(|name| json!({"key": name, "path": format!("schedules/{name}")})).collect();
    assert_eq!(placed, expected.iter().collect::<Vec<_>>());
}

#[test]
fn jobs_run_when_the_service_would() {
    let shipped: Vec<toml::Table> = shipped_schedules().values().map(|text| text.parse().unwrap()).collect();
    for job in of_kind(cron(), "CronJob") {
        assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid", "{}", name(job));
        let arguments = texts(&container(job)["args"]);
        let kind = arguments.iter().skip_while(|argument| **argument != "--kind").nth(1).copied();
        let is_it = |schedule: &&toml::Table| {
            schedule["job"].as_str() == Some(arguments[0]) && schedule.get("kind").and_then(toml::Value::as_str) == kind
        };
        let Some(schedule) = shipped.iter().find(is_it) else {
            assert!(["capture", "status"].contains(&arguments[0]), "{}: no schedule", name(job));
            continue;
        };
        assert_eq!(job["spec"]["schedule"].as_str(), schedule["cron"].as_str(), "{}", name(job));
        assert_eq!(job["spec"]["timeZone"].as_str(), schedule["timezone"].as_str(), "{}", name(job));
    }
}
