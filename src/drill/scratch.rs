//! Scratch databases: how they are named, and whose they are.
//!
//! Every database of a drill bears the drill's id in its name, and the drill keeps a beat in a database of its own. So
//! several drills may share a server with each other and with anything else, and what a drill leaves that was killed is
//! known by its process being gone, or on another machine by its beat having stopped: the next drill drops it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::error::Result;
use crate::mongo::{Deployment, scratch};
use crate::namespace::visible_name;
use crate::owner::Owner;
use crate::pattern::NamespaceMap;
use crate::random::Random;

/// What all names begin with.
const PREFIX: &str = "regrow_drill_";

/// The length of a drill's id.
const ID_LENGTH: usize = 8;

/// The longest names that servers take, in bytes.
const LONGEST_DATABASE: usize = 63;
const LONGEST_NAMESPACE: usize = 255;

/// How often the beat is kept, and how old one is that has stopped: a server may be slow, and a network away for a while.
const BEAT: Duration = Duration::from_secs(5);
const STOPPED: Duration = Duration::from_secs(90);

/// What is written where the machine does not tell which process this is.
const UNKNOWN: &str = "unknown";

/// What a drill has on its target.
#[derive(Debug)]
pub(super) struct Scratch {
    id: String,
    deployment: Deployment,
    beating: AbortHandle,
}

impl Scratch {
    /// Writes down that the drill is at work, and keeps doing so.
    pub(super) async fn begin(deployment: &Deployment, random: &Random) -> Result<Self> {
        let id = format!("{:08x}", random.next_u64() & 0xffff_ffff);
        let own = deployment.client().database(&format!("{PREFIX}{id}"));
        let by = Owner::this_process().map_or_else(|| UNKNOWN.into(), |owner| owner.as_word());
        scratch::beat(&own, &by).await?;
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                if let Err(error) = scratch::beat(&own, &by).await {
                    tracing::warn!(%error, "the drill's beat could not be kept");
                }
            }
        });
        Ok(Self { id, deployment: deployment.clone(), beating: beating.abort_handle() })
    }

    /// Returns where each database goes, of which the names of all collections are given.
    pub(super) fn maps(&self, databases: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<NamespaceMap>> {
        let mut maps = Vec::new();
        for (number, (db, collections)) in databases.iter().enumerate() {
            let longest = collections.iter().map(String::len).max().unwrap_or_default();
            let scratch = name(&self.id, db, longest, number);
            for (long, short) in short_names(scratch.len(), collections) {
                maps.push(NamespaceMap::of_collection((db, long), (&scratch, &short)));
            }
            maps.push(format!("{db}={scratch}").parse()?);
        }
        Ok(maps)
    }

    /// Drops everything that the drill has made; the beat last, so that a later drill finds what remains.
    pub(super) async fn end(&self) -> Result<()> {
        let outcome = drop_all(&self.deployment, &self.id).await;
        self.beating.abort();
        // The beat may have been written once more meanwhile.
        outcome?;
        drop_all(&self.deployment, &self.id).await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Drops what drills have left whose beat has stopped; returns their ids.
pub(super) async fn sweep(deployment: &Deployment) -> Result<Vec<String>> {
    let names = scratch::databases(deployment, PREFIX).await?;
    let ids: BTreeSet<&str> = names.iter().filter_map(|name| id_of(name)).collect();
    let mut swept = Vec::new();
    for id in ids {
        let own = deployment.client().database(&format!("{PREFIX}{id}"));
        // The beat is the first that a drill writes and the last that it drops.
        let is_over = scratch::last_beat(&own)
            .await?
            .is_none_or(|(by, age)| age > STOPPED || Owner::parse(&by).is_some_and(|owner| owner.is_gone()));
        if is_over {
            drop_all(deployment, id).await?;
            swept.push(id.to_owned());
        }
    }
    Ok(swept)
}

async fn drop_all(deployment: &Deployment, id: &str) -> Result<()> {
    let mut names = scratch::databases(deployment, PREFIX).await?;
    names.retain(|name| id_of(name) == Some(id));
    // The drill's own has the shortest name.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        scratch::drop_database(&deployment.client().database(&name)).await?;
    }
    Ok(())
}

/// Returns the id of the drill that a database belongs to, if it belongs to one.
fn id_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let (id, rest) = rest.split_at_checked(ID_LENGTH)?;
    let is_id = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && (rest.is_empty() || rest.starts_with('_'))).then_some(id)
}

/// Returns the name of a scratch database: with the source's name in it, where no name becomes too long by that.
fn name(id: &str, db: &str, longest_collection: usize, number: usize) -> String {
    let readable = format!("{PREFIX}{id}_{db}");
    let fits = readable.len() <= LONGEST_DATABASE && readable.len() + 1 + longest_collection <= LONGEST_NAMESPACE;
    if fits { readable } else { format!("{PREFIX}{id}_{number}") }
}

/// Returns the collections whose names are too long in a scratch database, whose own name has so many bytes, each with one
/// that is not and that nothing bears.
fn short_names(database: usize, collections: &BTreeSet<String>) -> Vec<(&str, String)> {
    let is_long = |name: &&String| database + 1 + name.len() > LONGEST_NAMESPACE;
    let long: BTreeSet<&str> = collections.iter().filter(is_long).map(|name| visible_name(name)).collect();
    let free = (0..).map(|number| format!("long_{number}")).filter(|name| !collections.contains(name));
    long.into_iter().zip(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_whose_names_do_not_fit_get_others() {
        let (long, series) = ("n".repeat(240), "t".repeat(220));
        let names = [long.clone(), "long_0".to_owned(), series.clone(), format!("system.buckets.{series}")];
        let names = BTreeSet::from(names);
        let short = |database| short_names(database, &names);
        assert_eq!(short(14), []);
        assert_eq!(short(23), [(&*long, "long_1".to_owned()), (&*series, "long_2".to_owned())]);
    }

    #[test]
    fn names_say_whose_they_are_and_are_never_too_long() {
        assert_eq!(name("0a1b2c3d", "shop", 6, 0), "regrow_drill_0a1b2c3d_shop");
        assert_eq!(name("0a1b2c3d", &"d".repeat(60), 6, 4), "regrow_drill_0a1b2c3d_4");
        assert_eq!(name("0a1b2c3d", "shop", 240, 4), "regrow_drill_0a1b2c3d_4");
        for (name, id) in [
            ("regrow_drill_0a1b2c3d", Some("0a1b2c3d")),
            ("regrow_drill_0a1b2c3d_shop", Some("0a1b2c3d")),
            ("regrow_drill_0a1b2c3", None),
            ("regrow_drill_0a1b2c3dx", None),
            ("regrow_drill_0A1B2C3D_shop", None),
            ("regrow_drill_résumé__", None),
            ("shop", None),
        ] {
            assert_eq!(id_of(name), id, "{name}");
        }
    }
}
