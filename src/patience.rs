//! Waiting for a program that was started, and not for ever.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until a program ends; ends it when that takes longer than `patience`, and returns none then. Blocks.
///
/// # Errors
/// When the system does not tell.
pub fn wait(running: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > patience {
            let _ = running.kill();
            let _ = running.wait();
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
