//! What the service manager is told: that the service is ready, alive, reading its configuration again, and ending.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::{DAILY, on_disk, schedule};
use crate::harness;

#[test]
fn systemd_is_told_that_it_is_ready_alive_reloading_and_stopping() {
    let mut workspace = on_disk(harness::replica_set(), &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    let place = workspace.path("notify.socket");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    workspace.set_variable("NOTIFY_SOCKET", place.to_str().unwrap()).set_variable("WATCHDOG_USEC", "3000000");
    let service = workspace.regrow(["daemon"]).spawn();
    let mut said = String::new();
    let mut wait_for = |text: &str| {
        let begin = Instant::now();
        let mut buffer = [0; 4096];
        while !said.contains(text) {
            assert!(begin.elapsed() < Duration::from_mins(1), "{text} was never said: {said}\n{}", service.stderr());
            if let Ok(length) = socket.recv(&mut buffer) {
                said.push_str(&String::from_utf8_lossy(&buffer[..length]));
                said.push('\n');
            }
        }
        said = said.split_off(said.find(text).unwrap() + text.len());
    };
    wait_for("READY=1");
    wait_for("STATUS=leading");
    wait_for("WATCHDOG=1");
    service.signal("HUP");
    wait_for("RELOADING=1");
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    service.signal("TERM");
    wait_for("STOPPING=1");
    service.wait().exits(0);
}
