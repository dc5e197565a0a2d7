//! The source: does it answer, which version is it, do its members keep up, does it know what time it is.

use std::time::Duration;

use super::check::{Check, doing};
use super::notes::Notes;
use super::{Found, Installation};
use crate::clock::Clock;
use crate::error::Result;
use crate::mongo::health::{self, Member, Skew};
use crate::mongo::{Deployment, oplog};
use crate::units::Elapsed;

/// What checks of the source say when it is not there.
pub(super) const NO_SOURCE: &str = "the source cannot be reached";

/// How far a secondary may lag behind; Regrow reads the primary beyond.
const MAX_LAG: Duration = Duration::from_secs(30);

/// By how much clocks may differ: the lease allows for that much.
const SKEW: i64 = 5_000;

/// By how much they may not: times in reports and of restores would be wrong.
const BAD_SKEW: i64 = 60_000;

pub(super) async fn connect(installation: &Installation) -> (Check, Option<Deployment>) {
    let doing = doing("source", "connected to source.uri and asked what is there");
    let (uri, member) = match (&installation.source, &installation.member) {
        (Err(error), _) | (_, Err(error)) => return (doing.failed(error), None),
        (Ok(uri), Ok(member)) => (uri, member.clone()),
    };
    let deployment = match Deployment::connect(uri).await {
        Err(error) => return (doing.failed(&error), None),
        Ok(deployment) => deployment.reading_from(member),
    };
    let check = match describe(&deployment).await {
        Ok(notes) => notes.end(doing),
        Err(error) => doing.failed(&error),
    };
    (check, Some(deployment))
}

async fn describe(deployment: &Deployment) -> Result<Notes> {
    let mut notes = Notes::default();
    let (version, compatibility) = deployment.versions().await?;
    let name = &deployment.hello.replica_set;
    let set = name.as_ref().map_or_else(|| "a standalone server".to_owned(), |name| format!("replica set {name}"));
    let addresses = deployment.addresses();
    notes.well(format!("MongoDB {version}, feature compatibility version {compatibility}, {set} at {addresses}"));
    if let Some(chosen) = deployment.chosen_member().await? {
        notes.well(format!("{} is the member that backups read", chosen.address));
    }
    if compatibility == "unknown" {
        notes.warning(
            "the user may not read the feature compatibility version",
            "grant it 'find' on admin.system.version: the role regrowBackup has it",
        );
    } else if !version.starts_with(&format!("{compatibility}.")) {
        let series: Vec<&str> = version.split('.').take(2).collect();
        notes.warning(
            "the upgrade of the servers is not finished: the feature compatibility version is an older one",
            format!(
                "when you will not go back: db.adminCommand({{ setFeatureCompatibilityVersion: \"{}\" }}), and take a backup",
                series.join(".")
            ),
        );
    }
    if name.is_none() {
        notes.warning(
            "it has no oplog: backups are not of one moment, and nothing between them can be restored",
            "start mongod with --replSet rs0 and run rs.initiate() once: a set of one node is enough",
        );
    }
    Ok(notes)
}

pub(super) async fn members(found: &Found) -> Check {
    let doing = doing("replica set", "asked how its members fare");
    let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
    if source.hello.replica_set.is_none() {
        return doing.skipped("it is a standalone server");
    }
    let members = match health::members(source).await {
        Err(error) => return doing.unknown(&error),
        Ok(members) => members,
    };
    let mut notes = Notes::default();
    notes.well(members.iter().map(describe_member).collect::<Vec<_>>().join(", "));
    judge(&members, &mut notes);
    notes.end(doing)
}

fn describe_member(member: &Member) -> String {
    let lag = member.lag.map(|lag| format!(", {} behind", Elapsed(lag))).unwrap_or_default();
    format!("{} {}{lag}", member.address, member.state)
}

fn judge(members: &[Member], notes: &mut Notes) {
    const WELL: [&str; 3] = ["PRIMARY", "SECONDARY", "ARBITER"];
    if !members.iter().any(|member| member.state == "PRIMARY") {
        notes.problem("there is no primary", "bring a majority of the members back");
    }
    for member in members {
        if !WELL.contains(&member.state.as_str()) {
            notes.warning(
                format!("{} is {}", member.address, member.state),
                format!("look into the log of {}", member.address),
            );
        }
        if let Some(lag) = member.lag.filter(|lag| *lag > MAX_LAG) {
            notes.warning(
                format!("{} lags {} behind, so the primary is read in its place", member.address, Elapsed(lag)),
                format!("find out what keeps {} from following: rs.printSecondaryReplicationInfo()", member.address),
            );
        }
    }
}

pub(super) async fn clocks(installation: &Installation, found: &Found) -> Check {
    let doing = doing("clocks", "compared this machine's clock with the servers'");
    let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
    match skews(source, &installation.clock).await {
        Err(error) => doing.failed(&error),
        Ok(skews) => {
            let mut notes = Notes::default();
            for (address, skew) in &skews {
                judge_clock(address, *skew, &mut notes);
            }
            notes.end(doing)
        }
    }
}

async fn skews(source: &Deployment, clock: &Clock) -> Result<Vec<(String, Skew)>> {
    let mut skews = Vec::new();
    for node in source.members().await? {
        // A member that is away is told by another check.
        if let Ok(skew) = health::skew(&node, clock).await {
            skews.push((node.address.clone(), skew));
        }
    }
    if skews.is_empty() {
        let primary = source.primary();
        skews.push((primary.address.clone(), health::skew(&primary, clock).await?));
    }
    Ok(skews)
}

fn judge_clock(address: &str, skew: Skew, notes: &mut Notes) {
    let difference = skew.milliseconds.abs().saturating_sub(skew.inexact).max(0);
    let side = if skew.milliseconds < 0 { "behind" } else { "ahead of" };
    let by = Elapsed(Duration::from_millis(skew.milliseconds.unsigned_abs()));
    let found = format!("{address} is {by} {side} this machine");
    let fix = "let all machines take their time from the same NTP servers (timedatectl, chronyc tracking)";
    match difference {
        0..=SKEW => notes.well(found),
        ..=BAD_SKEW => notes.warning(found, fix),
        _ => notes.problem(found, fix),
    }
}

pub(super) async fn snapshots(found: &Found) -> Check {
    let doing =
        doing("snapshots", "held minSnapshotHistoryWindowInSeconds against the time that the newest backup took");
    let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
    let window = match source.node_to_read().await {
        Err(error) => return doing.failed(&error),
        Ok(node) => health::snapshot_window(&node).await,
    };
    let window = match window {
        Err(error) => return doing.unknown(&error),
        Ok(window) => window,
    };
    let kept = format!("the servers keep snapshots for {}", Elapsed(window));
    let Some(newest) = &found.newest else { return doing.ok(format!("{kept}; no backup tells yet how long it takes")) };
    let took = Duration::try_from(newest.finished_at.duration_since(newest.started_at)).unwrap_or_default();
    let took_text = format!("{kept}; the newest backup took {}", Elapsed(took));
    if took * 5 <= window * 4 {
        return doing.ok(took_text);
    }
    let enough = took.as_secs() * 2 + 60;
    doing.warning(
        format!("{took_text}: what is not read by then is read later and made up for by replaying the oplog, which restores more slowly"),
        format!(
            "on each member: db.adminCommand({{ setParameter: 1, minSnapshotHistoryWindowInSeconds: {enough} }}), and the same in \
             its configuration file; it costs memory and disk while there are many writes"
        ),
    )
}

/// Returns how far back the oplog of the member reaches that capture reads.
pub(super) async fn reach(node: &crate::mongo::Node) -> Result<Duration> {
    let window = oplog::window(node).await?;
    Ok(Duration::from_secs(window.last.time.saturating_sub(window.first.time).into()))
}
