//! The unit of systemd.

use std::process::Command;

use super::{STOPS_WITHIN_SECONDS, is_understood, project, read, said_by};

/// What `systemd-analyze security` may find at most, in tenths of its scale of 0 to 10: 12 is what a service has that needs
/// the network, and 100 one without any protection.
const EXPOSURE: &str = "--threshold=12";

/// Returns the values of a setting, in their order.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

/// Writes the unit with the program that is here, so that systemd finds it.
fn unit_with_this_program() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("regrow.service");
    let unit = read("deploy/systemd/regrow.service").replace("/usr/local/bin/regrow", env!("CARGO_BIN_EXE_regrow"));
    std::fs::write(&path, unit).unwrap();
    (folder, path)
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let (_folder, path) = unit_with_this_program();
    let output = Command::new("systemd-analyze").arg("verify").arg(path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains("regrow.service"), "{said}");
}

#[test]
fn the_service_has_no_more_rights_than_it_needs() {
    let (_folder, path) = unit_with_this_program();
    said_by(Command::new("systemd-analyze").args(["security", "--no-pager", "--offline=true", EXPOSURE]).arg(path));
}

#[test]
fn the_unit_is_what_the_daemon_expects() {
    let unit = read("deploy/systemd/regrow.service");
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    assert_eq!(settings(&unit, "WatchdogSec"), ["2min"]);
    assert_eq!(settings(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    let patience: u64 = settings(&unit, "TimeoutStopSec")[0].strip_suffix('s').unwrap().parse().unwrap();
    assert!(patience > STOPS_WITHIN_SECONDS);
    let command: Vec<&str> = settings(&unit, "ExecStart")[0].split(' ').collect();
    assert_eq!(command[0], "/usr/local/bin/regrow");
    is_understood(&command[1..]);
}

#[test]
fn the_user_that_the_unit_names_is_made() {
    let file = project("deploy/systemd/regrow.sysusers.conf");
    said_by(Command::new("systemd-sysusers").arg("--dry-run").arg(file));
    let unit = read("deploy/systemd/regrow.service");
    let user = settings(&unit, "User")[0];
    assert!(read("deploy/systemd/regrow.sysusers.conf").contains(&format!("\nu {user} ")));
}
