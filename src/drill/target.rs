//! Where a drill restores to: scratch databases of a server, or a server of its own. Never into the source.

use std::path::PathBuf;

use super::scratch::{self, Scratch};
use super::throwaway::{self, Throwaway};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::Manifest;
use crate::mongo::{Deployment, oplog};
use crate::random::Random;
use crate::secret::Secret;

/// Where drills restore to.
#[derive(Debug, Clone)]
pub enum TargetSettings {
    /// Scratch databases of a server.
    Server {
        /// Its URI.
        uri: Secret,
        /// Whether it may be the source.
        allow_source: bool,
    },
    /// A server that each drill starts for itself.
    Throwaway {
        /// The program.
        mongod: PathBuf,
        /// The folder in which each drill makes one of its own.
        folder: PathBuf,
    },
}

/// A target that is ready to be restored into.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) deployment: Deployment,
    pub(super) scratch: Scratch,
    throwaway: Option<Throwaway>,
}

impl Target {
    /// Removes what earlier drills have left, and prepares.
    ///
    /// `source` is where the backup comes from, if that can be reached.
    pub(super) async fn open(
        settings: &TargetSettings,
        source: Option<&Deployment>,
        manifest: &Manifest,
        random: &Random,
    ) -> Result<Self> {
        let (deployment, throwaway) = match settings {
            TargetSettings::Server { uri, allow_source } => {
                let deployment = Deployment::connect(uri).await?;
                if !allow_source {
                    refuse_source(&deployment, source, manifest).await?;
                }
                for id in scratch::sweep(&deployment).await? {
                    tracing::warn!(drill = id, "an earlier drill was killed; its scratch databases were dropped");
                }
                (deployment, None)
            }
            TargetSettings::Throwaway { mongod, folder } => {
                let left = folder.clone();
                let swept = tokio::task::spawn_blocking(move || throwaway::sweep(&left)).await;
                let swept =
                    swept.map_err(|error| Error::failed("removing what a drill left failed").caused_by(error))?;
                for folder in swept? {
                    tracing::warn!(folder = %folder.display(), "an earlier drill was killed; its server was removed");
                }
                let (throwaway, deployment) = Throwaway::start(mongod, folder).await?;
                (deployment, Some(throwaway))
            }
        };
        let scratch = Scratch::begin(&deployment, random).await?;
        Ok(Self { deployment, scratch, throwaway })
    }

    /// Returns what people call it.
    pub(super) fn description(&self) -> String {
        match &self.throwaway {
            Some(_) => format!("a server of its own at {}", self.deployment.addresses()),
            None => format!("scratch databases at {}", self.deployment.addresses()),
        }
    }

    /// Whether the server is the drill's own.
    pub(super) fn is_throwaway(&self) -> bool {
        self.throwaway.is_some()
    }

    /// Removes everything that the drill has made.
    pub(super) async fn close(self) -> Result<()> {
        match self.throwaway {
            Some(throwaway) => {
                // Its beat goes before the server does.
                drop(self.scratch);
                throwaway.end().await
            }
            None => self.scratch.end().await.map_err(|error| error.context("the drill's scratch databases remain")),
        }
    }
}

/// Refuses the deployment that the backup was taken from. What tells is, where it can be read, the replica set's id; and
/// what both servers say of themselves, where the source answers.
async fn refuse_source(target: &Deployment, source: Option<&Deployment>, manifest: &Manifest) -> Result<()> {
    let id = match (&target.hello.replica_set, &manifest.replica_set_id) {
        (Some(_), Some(_)) => match oplog::replica_set_id(&target.primary()).await {
            Ok(id) => Some(id),
            // Drills need not be allowed to read it.
            Err(error) if error.kind() == Kind::Configuration => None,
            Err(error) => return Err(error),
        },
        _ => None,
    };
    let is_source =
        id.is_some() && id == manifest.replica_set_id || source.is_some_and(|source| target.is_same_as(source));
    if is_source {
        return Err(Error::refused(format!("the drill's target, {}, is the source of the backup", target.addresses()))
            .with_hint("point drill.target at another server, or set drill.mongod and let drills start one; drill.allow_source = true allows it"));
    }
    let has_its_name = target.hello.replica_set == manifest.replica_set;
    if id.is_none() && source.is_none() && has_its_name {
        return Err(Error::refused(format!(
            "the drill's target, {}, may be the source of the backup: it bears its name, and neither its id may be read nor does the source answer",
            target.addresses()
        ))
        .with_hint("grant the drill's user the built-in role clusterMonitor on the database admin, or set drill.mongod"));
    }
    Ok(())
}
