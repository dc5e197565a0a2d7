//! The image, and how Docker runs it.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::{STOPS_WITHIN_SECONDS, is_understood, project, read, said_by, texts, tool, yaml};

const DOCKERFILE: &str = "deploy/docker/Dockerfile";

/// Returns what is sent to the builder: everything is left out but what is named.
fn sent() -> Vec<String> {
    let text = read("deploy/docker/Dockerfile.dockerignore");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "nothing is sent but what is named");
    lines[1..].iter().map(|line| line.strip_prefix('!').expect("the rest names what is sent").to_owned()).collect()
}

/// Returns the last stage's instructions.
fn instructions() -> Vec<(String, String)> {
    let text = read(DOCKERFILE).replace("\\\n", "");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    let all: Vec<(String, String)> = pairs.collect();
    let last = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    all[last..].to_vec()
}

fn instruction(name: &str) -> String {
    let all = instructions();
    let found: Vec<&str> = all.iter().filter(|(key, _)| key == name).map(|(_, rest)| rest.as_str()).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0].to_owned()
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { source_files(&path) } else { vec![path] }).collect()
}

/// Resolves `..` without asking the file system.
fn normal(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(part);
        }
    }
    resolved
}

#[test]
fn the_dockerfile_follows_the_rules_of_the_trade() {
    said_by(Command::new(tool("hadolint")).arg(project(DOCKERFILE)));
}

#[test]
fn the_image_has_no_root_and_no_shell() {
    assert!(instruction("FROM").contains("distroless"), "no shell, no package manager");
    assert_eq!(instruction("USER"), "65532:65532");
    assert_eq!(instruction("HEALTHCHECK"), "NONE");
    assert!(instructions().iter().all(|(name, _)| name != "RUN"), "there is nothing that could run it");
    let program: Vec<String> = serde_json::from_str(&instruction("ENTRYPOINT")).unwrap();
    assert_eq!(program, ["/usr/local/bin/regrow"]);
    let arguments: Vec<String> = serde_json::from_str(&instruction("CMD")).unwrap();
    is_understood(&arguments);
}

#[test]
fn the_image_is_built_of_what_is_locked_by_the_compiler_that_is_required() {
    let dockerfile = read(DOCKERFILE);
    assert!(dockerfile.contains("cargo build --release --locked"));
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={version}\n")), "Rust {version}");
}

#[test]
fn the_builder_is_sent_all_that_cargo_needs() {
    let folder = tempfile::tempdir().unwrap();
    for path in sent() {
        said_by(Command::new("cp").arg("-r").arg(project(&path)).arg(folder.path()));
    }
    // A program that does not exist: cargo says so once it has read the manifest and the lock, and builds nothing.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--locked", "--offline", "--bin", "none"]).current_dir(folder.path());
    let said = String::from_utf8(cargo.output().unwrap().stderr).unwrap();
    assert!(said.contains("no bin target named `none`"), "{said}");
}

#[test]
fn the_builder_is_sent_all_that_the_sources_include() {
    let sent: Vec<PathBuf> = sent().iter().map(|path| project(path)).collect();
    for file in source_files(&project("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for start in ["include_str!(\"", "include_bytes!(\""] {
            for rest in text.split(start).skip(1) {
                let included = normal(&file.parent().unwrap().join(rest.split('"').next().unwrap()));
                let is_sent = sent.iter().any(|path| included.starts_with(path));
                assert!(is_sent, "{} includes {}", file.display(), included.display());
            }
        }
    }
}

#[test]
fn compose_runs_it_with_as_few_rights() {
    let [compose] = &yaml(&read("deploy/docker/compose.yaml"))[..] else { panic!("one document") };
    let service = &compose["services"]["regrow"];
    assert_eq!(service["read_only"], true);
    assert_eq!(texts(&service["cap_drop"]), ["ALL"]);
    assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"]);
    let patience = service["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
    assert!(patience.parse::<u64>().unwrap() > STOPS_WITHIN_SECONDS);
    let volumes = texts(&service["volumes"]);
    assert!(volumes.iter().all(|volume| volume.ends_with(":ro")), "{volumes:?}");
    assert!(texts(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "not for everyone");
}
