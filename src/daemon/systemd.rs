//! Telling systemd how the service is: ready, alive, reloading, stopping. Without systemd nothing is told.

use sd_notify::NotifyState;

use super::board::Board;

/// Tells a state; a service manager that cannot be told is no reason to stop.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// Tells that the configuration is being read again; since when, systemd wants to know.
pub(super) fn reloading() {
    let since = NotifyState::monotonic_usec_now();
    if let Ok(since) = since {
        tell(&[NotifyState::Reloading, since]);
    }
}

/// Tells that the service is alive, for as long as its main loop comes round. Never ends where a watchdog waits for it.
pub(super) async fn feed_watchdog(board: &Board) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(timeout / 3);
    loop {
        ticks.tick().await;
        if board.is_alive() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the main loop hangs; the service manager will start the service again");
        }
    }
}
