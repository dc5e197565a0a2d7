//! What the service needs, resolved and checked before anything begins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::capture::CaptureSettings;
use crate::clock::Clock;
use crate::codec::{Identities, Recipients, SigningKey};
use crate::config::{Config, DrillSettings, VerifySettings, schedules};
use crate::error::{Error, Result};
use crate::format::Job;
use crate::format::manifest::Encryption;
use crate::notify::{Notifier, NotifySettings};
use crate::policy::{Retention, Schedule};
use crate::random::Random;
use crate::secret::Secret;
use crate::status::Objectives;
use crate::verify::Level;

/// Everything that the service works with. Made anew when it is told to read its configuration again.
#[derive(Clone)]
pub struct Settings {
    /// The configuration that it was made of.
    pub config: Config,
    /// What is done when.
    pub schedules: Vec<Schedule>,
    /// The configured name of the source.
    pub source: String,
    /// Where the source is.
    pub source_uri: Secret,
    /// Whom everything is encrypted to.
    pub recipients: Option<Recipients>,
    /// What signs everything.
    pub signing_key: SigningKey,
    /// What is to be reached.
    pub objectives: Objectives,
    /// How the oplog is captured; none where it is not.
    pub capture: Option<CaptureSettings>,
    /// How much is kept; all of it where nothing is said.
    pub retention: Option<Retention>,
    /// How drills are carried out; none where the configuration does not say.
    pub drill: Option<DrillSettings>,
    /// How what is stored is verified.
    pub verify: VerifySettings,
    /// What opens backups; none where nothing that the service does needs it.
    pub identities: Option<Identities>,
    /// Who is told what.
    pub notify: NotifySettings,
    /// Where metrics and health are asked for; none where nowhere.
    pub server: Option<ServerSettings>,
}

/// `[server]`, resolved.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// What those who read metrics and status must show.
    pub token: Option<Secret>,
}

/// Where metrics and health are asked for, unless the configuration says otherwise: nobody else can ask.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);

impl Settings {
    /// Reads the configuration and the schedules, and resolves every secret.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration), naming file, line and the nearest right thing, when
    /// anything is wrong.
    pub fn load(path: Option<&Path>, clock: &Clock, random: &Random) -> Result<Self> {
        let config = Config::load(path)?;
        let schedules = schedules::load(&config.schedules_folder())?;
        let retention = config.retention();
        if let Some(expiry) = schedules.iter().find(|schedule| schedule.job == Job::Expire)
            && retention.is_none()
        {
            return Err(Error::configuration(format!(
                "{}.toml schedules the expiry, and the configuration has no [retention]",
                config.schedules_folder().join(&expiry.name).display()
            ))
            .with_hint(
                "add [retention] with daily, weekly, monthly and oplog, or remove the file to keep everything",
            ));
        }
        config.increment_settings()?;
        config.backup_settings(None)?;
        config.source_member()?;
        let (drill, verify) = (drill(&config, &schedules)?, config.verify()?);
        let identities = identities(&config, drill.is_some(), verify)?;
        let notify = config.notifications()?;
        Notifier::new(notify.clone(), config.source_name(), clock, random)?;
        Ok(Self {
            source: config.source_name().to_owned(),
            source_uri: config.source_uri()?,
            recipients: config.recipients()?,
            signing_key: config.signing_key()?,
            objectives: config.objectives(),
            capture: config.capture()?,
            drill,
            verify,
            identities,
            notify,
            server: Self::server(&config)?,
            retention,
            schedules,
            config,
        })
    }

    /// Resolves `[server]`, if there is one.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when others could ask without a token.
    pub fn server(config: &Config) -> Result<Option<ServerSettings>> {
        let Some(server) = &config.file.server else { return Ok(None) };
        let token = server.token.as_ref().map(|token| Secret::resolve("server.token", token)).transpose()?;
        let listen = server.listen.unwrap_or(DEFAULT_LISTEN);
        if !listen.ip().is_loopback() && token.is_none() {
            return Err(Error::configuration(format!(
                "server.listen is {listen}, where others can ask, and there is no server.token"
            ))
            .with_hint("set server.token (env:NAME or file:/path), or listen on 127.0.0.1"));
        }
        Ok(Some(ServerSettings { listen, token }))
    }

    /// Returns what has to be restarted for, of what differs in `other`; none where it can be taken over as it is.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        let place = |settings: &Self| {
            let repository = &settings.config.file.repository;
            let known = (repository.trusted_keys.clone(), repository.witness_file.clone());
            (repository.url.clone(), repository.region.clone(), repository.endpoint.clone(), known)
        };
        let listen = |settings: &Self| {
            settings
                .server
                .as_ref()
                .map(|server| (server.listen, server.token.as_ref().map(|token| token.reveal().to_owned())))
        };
        if place(self) != place(other) {
            return Some("[repository]");
        }
        if self.signing_key.entry() != other.signing_key.entry() {
            return Some("the signing key");
        }
        (listen(self) != listen(other)).then_some("[server]")
    }
}

/// Resolves how drills are carried out, where any are scheduled.
fn drill(config: &Config, schedules: &[Schedule]) -> Result<Option<DrillSettings>> {
    let Some(schedule) = schedules.iter().find(|schedule| schedule.job == Job::Drill) else { return Ok(None) };
    let file = config.schedules_folder().join(&schedule.name).display().to_string();
    config.drill().map(Some).map_err(|error| error.context(format!("{file}.toml schedules drills")))
}

/// Returns what opens backups, where something that the service does needs it.
fn identities(config: &Config, drills: bool, verify: VerifySettings) -> Result<Option<Identities>> {
    let what = match (drills, verify.level) {
        (true, _) => "drills are scheduled",
        (false, Level::Content) => "verify.level is content",
        (false, _) => return Ok(None),
    };
    let identities = config.identities()?;
    if identities.is_none() && config.encryption() == Encryption::Age {
        return Err(Error::configuration(format!("{what}, and the configuration names no identity that opens backups"))
            .with_hint(
                "set encryption.identity_file; or do it on another machine, and take it out of the configuration of this one",
            ));
    }
    Ok(identities)
}
