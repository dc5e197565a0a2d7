//! Can drills run? Where they would restore to is looked at; nothing is restored.

use std::path::{Path, PathBuf};

use super::check::{Check, Doing, doing};
use super::privileges::{Expected, judge};
use super::{Found, Installation, disk, program};
use crate::drill::TargetSettings;
use crate::error::{Error, Result};
use crate::mongo::roles::DRILL;
use crate::mongo::{Deployment, privileges};
use crate::secret::Secret;

pub(super) async fn check(installation: &Installation, found: &Found) -> Check {
    match &installation.drill {
        None => doing("drills", "read [drill]").warning(
            "the configuration does not say where drills restore to, so nothing proves that backups restore",
            "add [drill] with mongod = \"mongod\", or target = \"env:DRILL_URI\" for another server",
        ),
        Some(Err(error)) => doing("drills", "read [drill]").failed(error),
        Some(Ok(TargetSettings::Server { uri, allow_source })) => {
            let doing = doing("drills", "connected to drill.target and asked what its user may do");
            match on_server(uri, *allow_source, found).await {
                Err(error) => doing.failed(&error),
                Ok(target) => of_user(doing, &target).await,
            }
        }
        Some(Ok(TargetSettings::Throwaway { mongod, folder })) => {
            throwaway(doing("drills", "ran drill.mongod and wrote to drill.folder"), mongod, folder, found).await
        }
    }
}

async fn on_server(uri: &Secret, allow_source: bool, found: &Found) -> Result<Deployment> {
    let target = Deployment::connect(uri).await?;
    let is_source = found.source.as_ref().is_some_and(|source| target.is_same_as(source));
    if is_source && !allow_source {
        return Err(Error::configuration(format!("drill.target, {}, is the source", target.addresses()))
            .with_hint("point drill.target at another server, or set drill.mongod and let drills start one"));
    }
    Ok(target)
}

async fn of_user(doing: Doing, target: &Deployment) -> Check {
    match privileges::read(target).await {
        Err(error) => doing.failed(&error),
        // Such a server holds copies for an hour; whether it lets everybody in is said where it is the source.
        Ok(privileges) if !privileges.access_control => {
            doing.ok(format!("{} lets everybody do what drills need", target.addresses()))
        }
        Ok(privileges) => judge(doing, &privileges, &DRILL, Expected::Now),
    }
}

async fn throwaway(doing: Doing, mongod: &Path, folder: &Path, found: &Found) -> Check {
    let version = match program::version(mongod).await {
        Ok(version) => version,
        Err(error) => {
            return doing.misconfigured(
                format!("cannot run '{}', which drill.mongod names: {error}", mongod.display()),
                "install MongoDB's mongod, or name it by its whole path",
            );
        }
    };
    if let Err(error) = tempfile::Builder::new().prefix("regrow-doctor-").tempfile_in(folder) {
        return doing.misconfigured(
            format!("cannot write to {}, where drills keep their data: {error}", folder.display()),
            "make the folder, let the service write to it, or name another by drill.folder",
        );
    }
    let needed = found.newest.as_ref().map_or(0, |newest| newest.bytes_raw);
    match disk::free(PathBuf::from(folder)).await {
        Ok(space) if space.free < needed => doing.problem(
            format!(
                "{} has {} left, and the newest backup holds {}",
                folder.display(),
                space.left(),
                disk::size(needed)
            ),
            "free space, or point drill.folder at a larger disk",
        ),
        Ok(space) => doing.ok(format!("{version}; {} has {} left", folder.display(), space.left())),
        Err(error) => doing.unknown(&error),
    }
}
