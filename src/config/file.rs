//! The shape of `regrow.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::drill::Drill;
use super::explain::explain;
use super::notify::Notify;
use super::source::Source;
use super::verify::Verify;
use crate::error::{Error, Result};
use crate::mongo::NodePreference;
use crate::pattern::NamespacePattern;
use crate::secret::SecretReference;
use crate::storage::LockMode;
use crate::units::{ByteSize, Span};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What is backed up.
    pub source: Option<Source>,
    /// Where backups go.
    pub repository: Repository,
    /// How backups are taken.
    pub backup: Option<Backup>,
    /// How much work is put into making them small.
    pub compression: Option<Compression>,
    /// Whom they are encrypted to.
    pub encryption: Option<EncryptionTable>,
    /// What signs them.
    pub signing: Option<Signing>,
    /// Continuous capture.
    pub oplog: Option<Oplog>,
    /// How long things are kept.
    pub retention: Option<Retention>,
    /// Objectives by name.
    #[serde(default)]
    pub tiers: BTreeMap<String, Tier>,
    /// Sets of namespaces with a tier.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// Where drills restore to.
    pub drill: Option<Drill>,
    /// How what is stored is verified.
    pub verify: Option<Verify>,
    /// How reports are written.
    pub report: Option<Report>,
    /// The service's own endpoint.
    pub server: Option<Server>,
    /// Who is told what.
    pub notify: Option<Notify>,
    /// The folder of the schedules.
    pub schedules: Option<String>,
}

/// `[repository]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// `s3://bucket/prefix` or `file:///path`.
    pub url: String,
    /// The bucket's region.
    pub region: Option<String>,
    /// The URL of an S3-compatible store.
    pub endpoint: Option<String>,
    /// Against whom objects are locked, in a bucket with Object Lock.
    pub object_lock: Option<LockMode>,
    /// For how long, from when they are written.
    pub object_lock_for: Option<Span>,
    /// The file of the authorities that may issue the store's certificate, besides those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How much it may hold before that is said.
    pub budget: Option<ByteSize>,
    /// The public keys whose signatures count, instead of those that the repository lists itself.
    pub trusted_keys: Option<Vec<String>>,
    /// The file in which this machine remembers what the repository holds.
    pub witness_file: Option<String>,
}

/// `[backup]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Whether daily backups are increments where they can be.
    pub incremental: Option<bool>,
    /// How much of what there is an increment may cost, in percent; a full backup is taken where it would be more.
    pub largest_increment: Option<u8>,
}

/// `[compression]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// The zstd level.
    pub level: Option<i32>,
}

/// `encryption = "none"`, or `[encryption]`.
#[derive(Debug, Clone)]
pub enum EncryptionTable {
    /// Encryption switched off, written out.
    Off,
    /// Recipients and identities.
    Table(Encryption),
}

impl<'de> Deserialize<'de> for EncryptionTable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EncryptionVisitor)
    }
}

/// Written by hand, because serde's untagged enums say nothing about a misspelt key inside the table.
struct EncryptionVisitor;

impl<'de> serde::de::Visitor<'de> for EncryptionVisitor {
    type Value = EncryptionTable;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table with recipients and identity_file, or the word \"none\"")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
        if word == "none" {
            Ok(EncryptionTable::Off)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
        }
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
        Encryption::deserialize(serde::de::value::MapAccessDeserializer::new(table)).map(EncryptionTable::Table)
    }
}

/// `[encryption]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// Public keys, `age1…`.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// The file of private keys, where restores run.
    pub identity_file: Option<String>,
}

/// `[signing]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// The file of the signing key.
    pub key_file: String,
}

/// `[oplog]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oplog {
    /// Whether the oplog is captured.
    pub enabled: Option<bool>,
    /// How often a slice is closed.
    pub slice_interval: Option<Span>,
    /// Which member's oplog is read.
    pub read_preference: Option<NodePreference>,
}

/// `[retention]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Daily backups to keep.
    pub daily: Option<u32>,
    /// Weekly backups to keep.
    pub weekly: Option<u32>,
    /// Monthly backups to keep.
    pub monthly: Option<u32>,
    /// How long the oplog is kept.
    pub oplog: Option<Span>,
}

/// `[tiers.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The recovery point objective.
    pub rpo: Span,
    /// The recovery time objective.
    pub rto: Span,
}

/// `[[workloads]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Its namespaces.
    #[serde(deserialize_with = "patterns")]
    pub namespaces: Vec<NamespacePattern>,
    /// Its tier.
    pub tier: String,
}

fn patterns<'de, D: Deserializer<'de>>(texts: D) -> Result<Vec<NamespacePattern>, D::Error> {
    let texts = Vec::<String>::deserialize(texts)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// `[report]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The browser that prints PDFs: a path, or a name on `PATH`.
    pub browser: Option<String>,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: Option<SocketAddr>,
    /// What those who read metrics and status must show: `env:NAME`, `file:/path`, or the token itself.
    pub token: Option<SecretReference>,
}

impl File {
    /// Parses the file's text; `name` is its path, for messages.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration), with the line and the nearest known key.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let file: Self = toml::from_str(text).map_err(|error| explain(text, name, &error))?;
        for workload in &file.workloads {
            if !file.tiers.contains_key(&workload.tier) {
                let (workload, tier) = (&workload.name, &workload.tier);
                return Err(Error::configuration(format!(
                    "{name}: the workload '{workload}' names the tier '{tier}', which does not exist"
                ))
                .with_hint(format!("add [tiers.{tier}] with rpo and rto")));
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "[repository]\nurl = \"file:///r\"\n";

    #[test]
    fn the_documented_configuration_is_understood() {
        let text = r#"
            [source]
            name = "smartduka"
            uri = "env:MONGODB_URI"
            [repository]
            url = "s3://backups/smartduka"
            region = "eu-west-1"
            endpoint = "http://127.0.0.1:9000"
            [encryption]
            recipients = ["age1x"]
            identity_file = "/etc/regrow/identity.txt"
            [oplog]
            enabled = true
            slice_interval = "60s"
            [retention]
            daily = 7
            weekly = 5
            monthly = 12
            oplog = "7d"
            [tiers.critical]
            rpo = "15m"
            rto = "1h"
            [[workloads]]
            name = "orders"
            namespaces = ["smartduka.orders", "smartduka.payments"]
            tier = "critical"
            [drill]
            target = "env:DRILL_URI"
            [server]
            listen = "127.0.0.1:8787"
            [notify]
            repeat = "4h"
            [[notify.slack]]
            url = "env:SLACK_URL"
        "#;
        let file = File::parse(text, "regrow.toml").unwrap();
        assert_eq!(file.tiers["critical"].rpo.0.as_secs(), 900);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let error = File::parse(&format!("{REPOSITORY}[encryption]\nrecipient = []\n"), "regrow.toml").unwrap_err();
        assert!(error.to_string().contains("regrow.toml, line 4"), "{error}");
        assert_eq!(error.hint(), Some("did you mean 'recipients'?"));
        let error = File::parse(&format!("{REPOSITORY}[retention]\ndayly = 7\n"), "regrow.toml").unwrap_err();
        assert!(error.to_string().contains("line 4"), "{error}");
        assert_eq!(error.hint(), Some("did you mean 'daily'?"));
    }

    #[test]
    fn a_workload_needs_its_tier() {
        let text = format!("{REPOSITORY}[[workloads]]\nname = \"a\"\nnamespaces = []\ntier = \"gold\"\n");
        assert!(File::parse(&text, "regrow.toml").unwrap_err().to_string().contains("gold"));
    }

    #[test]
    fn a_workload_names_namespaces() {
        let text = format!("{REPOSITORY}[[workloads]]\nname = \"a\"\nnamespaces = [\".orders\"]\ntier = \"gold\"\n");
        let error = File::parse(&text, "regrow.toml").unwrap_err();
        assert_eq!(error.to_string(), "regrow.toml, line 5: '.orders' is no namespace pattern");
    }

    #[test]
    fn encryption_is_switched_off_only_by_the_word() {
        let parse = |line: &str| File::parse(&format!("{line}\n{REPOSITORY}"), "regrow.toml");
        assert!(matches!(parse("encryption = \"none\"").unwrap().encryption, Some(EncryptionTable::Off)));
        assert!(parse("encryption = \"off\"").is_err());
        assert!(parse("encryption = false").is_err());
    }
}
