//! How much memory a process takes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use super::MIB;
use crate::harness::{Invocation, Run, Running};

/// What a backup or a restore takes at most, with documents of the usual sizes (`docs/PERFORMANCE.md`, Memory).
pub const MOST: usize = 256 * MIB;

/// Often enough that little is missed before the end.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns what a process holds now; none when it has ended.
pub fn resident(process: &Running) -> Option<usize> {
    of(process, "VmRSS:")
}

/// Runs a command to its end, however long that takes, and returns the most memory that it held.
pub fn peak(command: Invocation) -> (Run, usize) {
    let (mut running, mut peak) = (command.spawn(), 0);
    while running.is_running() {
        peak = of(&running, "VmHWM:").unwrap_or(peak);
        std::thread::sleep(PAUSE);
    }
    assert!(peak > 0, "it ended before its memory was measured: {}", running.stderr());
    (running.wait(), peak)
}

/// Returns a size in words.
pub fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes / MIB)
}

fn of(process: &Running, key: &str) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024)
}
