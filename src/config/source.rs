//! `[source]`: what is backed up, and how much of it a backup may take.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::backup::ReadLimits;
use crate::error::{Error, Result};
use crate::mongo::{MemberChoice, NodePreference};
use crate::secret::SecretReference;
use crate::units::{ByteSize, Span};

/// The most parts that are read at once: each holds up to 40 MiB, and a server has better to do than more of them.
const MOST_READERS: usize = 16;

/// The least that is read in a second: less does not even keep up with what the server forgets meanwhile.
const LEAST_RATE: u64 = 64 * 1024;

/// `[source]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name in manifests and reports.
    pub name: String,
    /// `env:NAME`, `file:/path`, or the URI itself.
    pub uri: SecretReference,
    /// Which member is read.
    read_preference: Option<NodePreference>,
    /// What the tags of a secondary must be.
    #[serde(default)]
    read_tags: BTreeMap<String, String>,
    /// The very member that is read, by host and port.
    member: Option<String>,
    /// How many bytes are read in a second at most.
    max_rate: Option<ByteSize>,
    /// How many parts are read at once at most.
    max_parallel: Option<usize>,
    /// How many operations may wait on the server before reading pauses.
    max_queue: Option<u64>,
    /// How far replication may be behind before reading pauses.
    max_lag: Option<Span>,
}

impl Source {
    /// Returns which member is read.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when keys contradict each other.
    pub(super) fn member(&self) -> Result<MemberChoice> {
        let wrong = |what: &str, remedy: &str| Err(Error::configuration(what).with_hint(remedy));
        match (&self.member, self.read_preference, self.read_tags.is_empty()) {
            (None, None, true) => Ok(MemberChoice::Any),
            (Some(address), None, true) => Ok(MemberChoice::At(address.clone())),
            (Some(_), ..) => wrong(
                "source.member names the member that is read, and read_preference or read_tags choose one",
                "remove source.member, or both others",
            ),
            (None, Some(NodePreference::Primary), false) => wrong(
                "source.read_tags choose among secondaries, and source.read_preference is primary",
                "remove source.read_tags, or set source.read_preference to \"secondary\"",
            ),
            (None, preference, _) => {
                let preference = preference.unwrap_or_default();
                Ok(MemberChoice::Preferred { preference, tags: self.read_tags.clone() })
            }
        }
    }

    /// Returns what a backup may take of the deployment.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when a value makes no sense.
    pub(super) fn limits(&self) -> Result<ReadLimits> {
        let mut limits = ReadLimits::default();
        if let Some(ByteSize(rate)) = self.max_rate {
            if rate < LEAST_RATE {
                return Err(Error::configuration(format!("source.max_rate is {rate} bytes a second"))
                    .with_hint("set it to 64KiB or more, or leave it out to read as fast as can be"));
            }
            limits.bytes_per_second = Some(rate);
        }
        if let Some(readers) = self.max_parallel {
            if !(1..=MOST_READERS).contains(&readers) {
                return Err(Error::configuration(format!("source.max_parallel is {readers}"))
                    .with_hint(format!("set it to a number from 1 to {MOST_READERS}, or leave it out for 2")));
            }
            limits.readers = readers;
        }
        limits.most_pressure.queued = self.max_queue.unwrap_or(limits.most_pressure.queued);
        if let Some(Span(lag)) = self.max_lag {
            // Members tell their moments by the second, so those that keep up seem to be one behind at times.
            if lag.as_secs() == 0 {
                return Err(Error::configuration(format!("source.max_lag is {} ms", lag.as_millis()))
                    .with_hint("set it to 1s or more, or leave it out for 10s"));
            }
            limits.most_pressure.lag = lag;
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn source(rest: &str) -> Source {
        toml::from_str(&format!("name = \"shop\"\nuri = \"mongodb://h\"\n{rest}")).unwrap()
    }

    #[test]
    fn limits_are_what_the_keys_say() {
        assert_eq!(source("").limits().unwrap(), ReadLimits::default());
        let all = source("max_rate = \"20MiB\"\nmax_parallel = 4\nmax_queue = 0\nmax_lag = \"2s\"").limits().unwrap();
        assert_eq!((all.bytes_per_second, all.readers), (Some(20 << 20), 4));
        assert_eq!((all.most_pressure.queued, all.most_pressure.lag.as_secs()), (0, 2));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_the_key() {
        for (line, key) in [
            ("max_rate = \"1KiB\"", "source.max_rate"),
            ("max_parallel = 0", "source.max_parallel"),
            ("max_parallel = 17", "source.max_parallel"),
            ("max_lag = \"500ms\"", "source.max_lag"),
        ] {
            let error = source(line).limits().unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration, "{line}");
            assert!(error.to_string().contains(key) && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn a_member_is_chosen_in_one_way() {
        assert_eq!(source("").member().unwrap(), MemberChoice::Any);
        assert_eq!(source("member = \"c:27017\"").member().unwrap(), MemberChoice::At("c:27017".into()));
        let tags = BTreeMap::from([("use".to_owned(), "backup".to_owned())]);
        let chosen = source("read_tags = { use = \"backup\" }").member().unwrap();
        assert_eq!(chosen, MemberChoice::Preferred { preference: NodePreference::SecondaryPreferred, tags });
        for wrong in [
            "member = \"c:1\"\nread_preference = \"secondary\"",
            "member = \"c:1\"\nread_tags = { use = \"backup\" }",
            "read_preference = \"primary\"\nread_tags = { use = \"backup\" }",
        ] {
            assert_eq!(source(wrong).member().unwrap_err().kind(), Kind::Configuration, "{wrong}");
        }
    }
}
