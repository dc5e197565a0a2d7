//! The files in `deploy/`: what a machine, a cluster and Prometheus make of them is tried with their own tools, which
//! `scripts/prerequisites.py` fetches, and what they say is held against the program.

mod containers;
mod kubernetes;
mod metrics;
mod monitoring;
mod store;
mod systemd;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// How long the daemon takes at most to end after SIGTERM; whatever stops it must have more patience.
const STOPS_WITHIN_SECONDS: u64 = 30;

/// Returns a path of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns a tool's path, fetching it first where it is missing.
fn tool(name: &str) -> PathBuf {
    let path = said_by(Command::new("python3").arg(project("scripts/servers.py")).args(["where", name]));
    PathBuf::from(path.trim_end())
}

/// Runs a program that must succeed and returns what it prints; panics with its own words.
fn said_by(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout
}

/// Returns a YAML file's documents.
fn yaml(text: &str) -> Vec<Value> {
    documents(text, &[])
}

/// Returns manifests that Kubernetes knows, each field of them.
fn manifests(text: &str) -> Vec<Value> {
    documents(text, &["--kubernetes"])
}

fn documents(text: &str, arguments: &[&str]) -> Vec<Value> {
    let mut python = Command::new("python3");
    python.arg(project("scripts/manifests.py")).args(arguments);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "manifests.py refuses it, and says why");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Checks that the program understands these arguments: it gets as far as to miss its configuration.
fn is_understood<S: AsRef<str>>(arguments: &[S]) {
    // Whatever is installed on this machine stays out of it.
    let arguments: Vec<String> =
        arguments.iter().map(|argument| argument.as_ref().replace("/etc/regrow/", "/nowhere/")).collect();
    let mut regrow = Command::new(env!("CARGO_BIN_EXE_regrow"));
    let output = regrow.args(&arguments).env("REGROW_CONFIG", "/nowhere/regrow.toml").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "regrow {arguments:?}\n{stderr}");
}

/// Checks that each command that a text names exists: `regrow list`, 'regrow status'.
fn names_existing_commands(text: &str) {
    let mut regrow = Command::new(env!("CARGO_BIN_EXE_regrow"));
    let help = said_by(regrow.arg("--help"));
    let commands: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    for start in ["`regrow ", "'regrow "] {
        for rest in text.split(start).skip(1) {
            let command = rest.split(|letter: char| !letter.is_ascii_lowercase()).next().unwrap();
            assert!(commands.contains(&command), "there is no 'regrow {command}'");
        }
    }
}

/// Returns the texts of a JSON array.
fn texts(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn the_guide_names_commands_that_exist() {
    names_existing_commands(&read("deploy/README.md"));
}
