//! Connecting, and knowing what one is connected to.

use std::path::PathBuf;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::error::Error as DriverError;
use mongodb::options::{ClientOptions, ConnectionString, ReadPreference, SelectionCriteria, ServerAddress, Tls};
use mongodb::{Client, Database};

use super::answer;
use super::error::{Attempt, BACKUP_ROLES, explain};
use super::member::MemberChoice;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// How long to look for a server, unless the URI says otherwise: longer than an election takes.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// How far a secondary may lag behind before the primary is read instead.
const MAX_LAG: Duration = Duration::from_secs(30);

/// How long a secondary is looked for before the primary is asked.
pub(super) const SECONDARY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node is waited for until it has the cluster time that is to be read.
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(1);

/// The wire version of `MongoDB` 6.0, the first whose reads can name the collection that is meant by its UUID.
const WIRE_VERSION_6_0: i32 = 17;

/// Lets a directly connected node answer whatever its state; elsewhere prefers secondaries.
const ANY_NODE: ReadPreference = ReadPreference::SecondaryPreferred { options: None };

/// Asks the primary, and whoever is there when there is none.
const PRIMARY_PREFERRED: ReadPreference = ReadPreference::PrimaryPreferred { options: None };

/// The settings that every command for looking around shares.
pub(super) const LOOK: Attempt<'static> = Attempt { doing: "connect to MongoDB", action: "hello", roles: BACKUP_ROLES };

/// Returns the file of the client's certificate that a URI names, if it does; none where the URI makes no sense, which
/// connecting tells.
#[must_use]
pub fn certificate_file(uri: &Secret) -> Option<PathBuf> {
    match ConnectionString::parse(uri.reveal()).ok()?.tls? {
        Tls::Enabled(options) => options.cert_key_file_path,
        Tls::Disabled => None,
    }
}

/// What a server says about itself.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The replica set's name; none for a standalone server.
    pub replica_set: Option<String>,
    /// The address the server knows itself by.
    pub(super) me: Option<String>,
    /// Whether it is a secondary.
    pub secondary: bool,
    /// Whether it is a primary or a secondary.
    pub(super) holds_data: bool,
    /// The addresses of the members that hold data.
    members: Vec<String>,
    /// The newest majority-committed operation; none for a standalone server.
    pub(super) majority: Option<Timestamp>,
    /// The newest operation, committed or not; none for a standalone server.
    pub(super) applied: Option<Timestamp>,
    wire_version: i32,
    sharded: bool,
    /// What each start of a server makes anew: no two processes have the same.
    process: Option<bson::oid::ObjectId>,
}

impl Hello {
    fn parse(reply: &Document) -> Self {
        let text = |key| reply.get_str(key).ok().map(str::to_owned);
        let is = |key| reply.get_bool(key).unwrap_or(false);
        let last_write = |key| reply.get_document("lastWrite").ok()?.get_document(key).ok()?.get_timestamp("ts").ok();
        Self {
            replica_set: text("setName"),
            me: text("me"),
            members: ["hosts", "passives"].into_iter().flat_map(|key| addresses(reply, key)).collect(),
            secondary: is("secondary"),
            holds_data: is("secondary") || is("isWritablePrimary"),
            majority: last_write("majorityOpTime"),
            applied: last_write("opTime"),
            wire_version: reply.get_i32("maxWireVersion").unwrap_or(0),
            sharded: reply.get_str("msg").is_ok_and(|message| message == "isdbgrid"),
            process: reply.get_document("topologyVersion").and_then(|version| version.get_object_id("processId")).ok(),
        }
    }
}

fn addresses(reply: &Document, key: &str) -> Vec<String> {
    let listed = reply.get_array(key).map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect()
}

/// Which member is read where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodePreference {
    /// The primary and no other.
    Primary,
    /// The primary, or a secondary while there is none.
    PrimaryPreferred,
    /// A secondary and no other.
    Secondary,
    /// A secondary, or the primary where there is none.
    #[default]
    SecondaryPreferred,
    /// Whoever answers first.
    Nearest,
}

impl NodePreference {
    fn criteria(self) -> ReadPreference {
        match self {
            Self::Primary => ReadPreference::Primary,
            Self::PrimaryPreferred => PRIMARY_PREFERRED,
            Self::Secondary => ReadPreference::Secondary { options: None },
            Self::SecondaryPreferred => ANY_NODE,
            Self::Nearest => ReadPreference::Nearest { options: None },
        }
    }
}

/// A standalone server or a replica set, reached through its URI.
#[derive(Debug, Clone)]
pub struct Deployment {
    client: Client,
    options: ClientOptions,
    pub(super) choice: MemberChoice,
    /// What the primary, or whoever answers in its place, says of itself.
    pub hello: Hello,
}

impl Deployment {
    /// Connects and says hello.
    ///
    /// # Errors
    /// When the URI makes no sense, nobody answers, the credentials are refused, the server is too old, or it is a `mongos`.
    pub async fn connect(uri: &Secret) -> Result<Self> {
        let mut options = match ClientOptions::parse(uri.reveal()).await {
            Ok(options) => options,
            Err(error) => return Err(explain_uri(uri, &error).await),
        };
        options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
        options.app_name.get_or_insert_with(|| "regrow".into());
        let client = Client::with_options(options.clone()).map_err(|error| explain(&error, LOOK))?;
        let hello = hello(&client, PRIMARY_PREFERRED).await?;
        if hello.wire_version < WIRE_VERSION_6_0 {
            return Err(Error::failed("the server is older than MongoDB 6.0, the oldest that Regrow works with")
                .with_hint("upgrade the server, or back it up with the tools of its time"));
        }
        if hello.sharded {
            return Err(Error::failed("this is a mongos: sharded clusters are not supported yet")
                .with_hint("back up each shard's replica set by itself, or wait for a version that knows sharding"));
        }
        Ok(Self { client, options, choice: MemberChoice::Any, hello })
    }

    /// Whether another deployment is this one, as far as what answers there says of itself: the same process, or a member
    /// of the same set.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let (one, other) = (&self.hello, &other.hello);
        let is_same_process = one.process.is_some() && one.process == other.process;
        is_same_process || one.members.iter().any(|member| other.members.contains(member))
    }

    /// Returns the client, which follows the primary.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns whichever node is the primary when it is read from.
    #[must_use]
    pub fn primary(&self) -> Node {
        Node { client: self.client.clone(), address: self.addresses(), preference: ReadPreference::Primary, me: None }
    }

    /// Whether `applyOps` makes documents that are missing, unless it is told not to: up to `MongoDB` 6.0.
    pub(super) fn upserts_unless_told(&self) -> bool {
        self.hello.wire_version <= WIRE_VERSION_6_0
    }

    /// Returns what `--confirm` must name: the replica set, or `standalone`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.hello.replica_set.as_deref().unwrap_or("standalone")
    }

    /// Returns the addresses of the URI, without credentials.
    #[must_use]
    pub fn addresses(&self) -> String {
        self.options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Returns the newest majority-committed cluster time; none for a standalone server.
    ///
    /// Asked of the primary, so that every write acknowledged by the majority before the call is in it.
    ///
    /// # Errors
    /// When nobody answers, or nothing has been committed yet.
    pub async fn committed_time(&self) -> Result<Option<Timestamp>> {
        let hello = hello(&self.client, PRIMARY_PREFERRED).await?;
        if hello.replica_set.is_none() {
            return Ok(None);
        }
        hello.majority.map(Some).ok_or_else(|| {
            Error::failed("the replica set has not committed anything yet").with_hint("wait until it has a primary")
        })
    }

    /// Picks the node to read from: the chosen one, or else a secondary that is not far behind, or else the primary.
    ///
    /// All reads of a dump go to this one node, because positions in a collection are a node's own.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn node_to_read(&self) -> Result<Node> {
        if let Some(chosen) = self.chosen_member().await? {
            return Ok(chosen);
        }
        self.node(self.one_that_keeps_up().await?.me)
    }

    /// Asks a secondary that is not far behind, or else the primary; where the URI names one member, that one, however far it is.
    async fn one_that_keeps_up(&self) -> Result<Hello> {
        let preferred = self.secondary_or_primary().await?;
        if self.is_direct() || !preferred.secondary {
            return Ok(preferred);
        }
        let lag = match (self.committed_time().await?, preferred.majority) {
            (Some(committed), Some(seen)) => committed.time.saturating_sub(seen.time),
            _ => 0,
        };
        if u64::from(lag) > MAX_LAG.as_secs() {
            tracing::warn!(address = preferred.me, lag_seconds = lag, "the secondary lags behind; reading the primary");
            return hello(&self.client, ReadPreference::Primary).await;
        }
        Ok(preferred)
    }

    /// Asks a secondary, or the primary where none answers soon.
    ///
    /// The driver alone does not do: while it is still getting to know the set, it takes whoever it has met first.
    async fn secondary_or_primary(&self) -> Result<Hello> {
        if self.hello.members.len() > 1 && !self.is_direct() {
            let secondary = hello(&self.client, ReadPreference::Secondary { options: None });
            if let Ok(Ok(found)) = tokio::time::timeout(SECONDARY_TIMEOUT, secondary).await {
                return Ok(found);
            }
        }
        hello(&self.client, ANY_NODE).await
    }

    /// Picks a node whose oplog to follow: one that `preference` allows, and where it leaves the choice, none that lags behind.
    ///
    /// # Errors
    /// When no such node answers.
    pub async fn node_to_tail(&self, preference: &NodePreference) -> Result<Node> {
        let hello = match preference {
            NodePreference::SecondaryPreferred => self.one_that_keeps_up().await?,
            other => hello(&self.client, other.criteria()).await?,
        };
        self.node(hello.me)
    }

    /// Returns all members that hold data.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn members(&self) -> Result<Vec<Node>> {
        let hello = hello(&self.client, PRIMARY_PREFERRED).await?;
        if self.is_direct() {
            let (client, address) = (self.client.clone(), self.addresses());
            return Ok(vec![Node { client, address, preference: ANY_NODE, me: hello.me }]);
        }
        hello.members.into_iter().map(|address| self.direct(Some(address))).collect()
    }

    /// Returns the node that calls itself so: through the connections that there are, where these lead to none but that one.
    fn node(&self, me: Option<String>) -> Result<Node> {
        if !self.is_direct() && me.is_some() {
            return self.direct(me);
        }
        let address = me.clone().unwrap_or_else(|| self.addresses());
        Ok(Node { client: self.client.clone(), address, preference: ANY_NODE, me })
    }

    /// Whether the URI names one member that alone is spoken to.
    pub(super) fn is_direct(&self) -> bool {
        self.options.direct_connection == Some(true)
    }

    pub(super) fn direct(&self, address: Option<String>) -> Result<Node> {
        let me = address.clone();
        let address = address.unwrap_or_else(|| self.addresses());
        let parsed = ServerAddress::parse(&address).map_err(|error| explain(&error, LOOK))?;
        let mut options = self.options.clone();
        options.hosts = vec![parsed];
        options.direct_connection = Some(true);
        let client = Client::with_options(options).map_err(|error| explain(&error, LOOK))?;
        Ok(Node { client, address, preference: ANY_NODE, me })
    }

    /// Returns the server's version and its feature compatibility version (`unknown` where it may not be read).
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn versions(&self) -> Result<(String, String)> {
        let admin = self.client.database("admin");
        let info =
            answer::soon(admin.run_command(doc! { "buildInfo": 1 })).await.map_err(|error| explain(&error, LOOK))?;
        let versions = admin.collection::<Document>("system.version");
        let compatibility = answer::soon(versions.find_one(doc! { "_id": "featureCompatibilityVersion" }))
            .await
            .ok()
            .flatten()
            .and_then(|found| found.get_str("version").ok().map(str::to_owned));
        let version = info.get_str("version").unwrap_or("unknown").to_owned();
        Ok((version, compatibility.unwrap_or_else(|| "unknown".into())))
    }
}

/// How often something small is asked again after a lost connection.
const MAX_RETRIES: u32 = 5;

/// Asks again, with growing pauses, while the connection is lost.
///
/// # Errors
/// Whatever is said at last.
pub async fn retrying<T, F: Future<Output = Result<T>>>(mut ask: impl FnMut() -> F) -> Result<T> {
    let mut delay = Duration::from_millis(200);
    for _ in 0..MAX_RETRIES {
        match ask().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "asking again");
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
            outcome => return outcome,
        }
    }
    ask().await
}

/// Where reads go: one server connected to directly, or whichever is the primary.
#[derive(Debug, Clone)]
pub struct Node {
    client: Client,
    /// Host and port.
    pub address: String,
    preference: ReadPreference,
    /// What the server called itself; none where that is nobody in particular.
    me: Option<String>,
}

impl Node {
    /// Returns a database as this node holds it.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        let criteria = SelectionCriteria::ReadPreference(self.preference.clone());
        let options = mongodb::options::DatabaseOptions::builder().selection_criteria(criteria).build();
        self.client.database_with_options(name, options)
    }

    /// Makes sure that the same server still answers: positions in a collection are a server's own.
    ///
    /// # Errors
    /// When another one does, or none.
    pub async fn is_itself(&self) -> Result<()> {
        let Some(me) = &self.me else { return Ok(()) };
        let found = self.hello().await?.me;
        if found.as_ref() == Some(me) {
            return Ok(());
        }
        let found = found.unwrap_or_else(|| "a server without a name".into());
        Err(Error::failed(format!("{found} answers at {} by now, and no longer {me}", self.address))
            .with_hint("give the addresses of the servers themselves in the URI, then run it again"))
    }

    /// Asks the node what it is.
    pub(super) async fn hello(&self) -> Result<Hello> {
        hello(&self.client, self.preference.clone()).await
    }

    /// Returns the time of the newest operation that the node has applied, committed or not.
    ///
    /// # Errors
    /// When it does not answer, or is a standalone server.
    pub async fn applied_time(&self) -> Result<Timestamp> {
        let applied = self.hello().await?.applied;
        applied.ok_or_else(|| Error::failed(format!("{} does not say what it has applied", self.address)))
    }

    /// Waits until the node has everything up to `time` majority-committed.
    ///
    /// # Errors
    /// When it has not within a minute.
    pub async fn wait_for(&self, time: Timestamp) -> Result<()> {
        let poll = Duration::from_millis(20);
        for _ in 0..CATCH_UP_TIMEOUT.as_millis() / poll.as_millis() {
            let hello = hello(&self.client, ANY_NODE).await?;
            if hello.majority.is_some_and(|seen| seen >= time) {
                return Ok(());
            }
            tokio::time::sleep(poll).await;
        }
        Err(Error::failed(format!("{} has not caught up with the primary within {CATCH_UP_TIMEOUT:?}", self.address))
            .with_hint("check the secondary's replication lag"))
    }
}

/// Says what is wrong with a URI without repeating any of its credentials, which the driver's words may.
async fn explain_uri(uri: &Secret, error: &DriverError) -> Error {
    let attempt = Attempt { doing: "use the MongoDB URI", ..LOOK };
    let (scheme, rest) = uri.reveal().split_once("://").unwrap_or(("", uri.reveal()));
    let Some((_, harmless)) = rest.rsplit_once('@') else { return explain(error, attempt) };
    match ClientOptions::parse(format!("{scheme}://{harmless}")).await {
        Err(error) => explain(&error, attempt),
        Ok(_) => Error::configuration("cannot use the MongoDB URI: its user or password is malformed")
            .with_hint("write the characters : / ? # [ ] @ % in user and password as %3A %2F %3F %23 %5B %5D %40 %25"),
    }
}

pub(super) async fn hello(client: &Client, from: ReadPreference) -> Result<Hello> {
    let admin = client.database("admin");
    let command = admin.run_command(doc! { "hello": 1 });
    let reply = answer::soon(command.selection_criteria(SelectionCriteria::ReadPreference(from))).await;
    reply.map(|reply| Hello::parse(&reply)).map_err(|error| explain(&error, LOOK))
}

/// Returns the read concern that shows the state at `time`.
pub(super) fn snapshot_at(time: Timestamp) -> RawDocumentBuf {
    rawdoc! { "level": "snapshot", "atClusterTime": time }
}
