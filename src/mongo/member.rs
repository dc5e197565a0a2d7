//! Which member of a replica set is read, where somebody has chosen one.

use std::collections::BTreeMap;

use mongodb::options::{ReadPreference, ReadPreferenceOptions};

use super::client::{Deployment, Hello, Node, NodePreference, SECONDARY_TIMEOUT, hello};
use crate::error::{Error, Result};

/// Which member of a replica set is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MemberChoice {
    /// A secondary that keeps up, or else the primary.
    #[default]
    Any,
    /// Whoever the driver finds.
    Preferred {
        /// Where.
        preference: NodePreference,
        /// What a secondary's tags must be; empty where any will do.
        tags: BTreeMap<String, String>,
    },
    /// The one at this address, which may be hidden.
    At(String),
}

impl Deployment {
    /// Chooses which member [`node_to_read`](Self::node_to_read) returns.
    #[must_use]
    pub fn reading_from(mut self, choice: MemberChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Returns the member that was chosen; none where any will do.
    ///
    /// # Errors
    /// When it cannot be read, or nobody is as was asked for.
    pub async fn chosen_member(&self) -> Result<Option<Node>> {
        match &self.choice {
            MemberChoice::Any => Ok(None),
            MemberChoice::Preferred { preference, tags } => {
                let found = self.preferred(*preference, tags).await.map_err(|error| {
                    error.with_hint("check source.read_preference and source.read_tags against rs.conf().members")
                })?;
                self.direct(found.me).map(Some)
            }
            MemberChoice::At(address) => self.member_at(address).await.map(Some),
        }
    }

    /// Asks whoever is preferred. The driver alone does not do where a secondary is: while it is still getting to know the
    /// set, it takes the primary that it has met first.
    async fn preferred(&self, preference: NodePreference, tags: &BTreeMap<String, String>) -> Result<Hello> {
        if preference == NodePreference::SecondaryPreferred {
            let secondary = hello(self.client(), criteria(NodePreference::Secondary, tags));
            if let Ok(Ok(found)) = tokio::time::timeout(SECONDARY_TIMEOUT, secondary).await {
                return Ok(found);
            }
        }
        hello(self.client(), criteria(preference, tags)).await
    }

    /// Returns the member at this address, where any may be read and this one can; otherwise none.
    pub async fn any_member_at(&self, address: &str) -> Option<Node> {
        if self.choice != MemberChoice::Any || self.is_direct() {
            return None;
        }
        self.member_at(address).await.ok()
    }

    async fn member_at(&self, address: &str) -> Result<Node> {
        let node = self.direct(Some(address.to_owned()))?;
        let found = node.hello().await.map_err(|error| {
            error
                .context(format!("source.member is {address}"))
                .with_hint("check source.member: host and port of a secondary, as rs.conf().members has them")
        })?;
        let is_ours = found.replica_set.is_some() && found.replica_set == self.hello.replica_set;
        if !is_ours || !found.holds_data {
            let is = match &found.replica_set {
                Some(name) if is_ours => format!("a member of {name} that holds no data now"),
                Some(name) => format!("a member of {name}"),
                None => "no member of a replica set".to_owned(),
            };
            return Err(Error::configuration(format!("source.member is {address}, which is {is}"))
                .with_hint("give host and port of a secondary, hidden or not, as rs.conf().members has them"));
        }
        // Under the name that it gives itself, so that it is known again.
        self.direct(found.me.or_else(|| Some(address.to_owned())))
    }
}

/// Returns what the driver shall find: tags count for secondaries alone.
fn criteria(preference: NodePreference, tags: &BTreeMap<String, String>) -> ReadPreference {
    let tags = || tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let options = Some(ReadPreferenceOptions::builder().tag_sets(vec![tags()]).build());
    match preference {
        NodePreference::Primary => ReadPreference::Primary,
        NodePreference::PrimaryPreferred => ReadPreference::PrimaryPreferred { options },
        NodePreference::Secondary => ReadPreference::Secondary { options },
        NodePreference::SecondaryPreferred => ReadPreference::SecondaryPreferred { options },
        NodePreference::Nearest => ReadPreference::Nearest { options },
    }
}
