//! What integration tests stand on: real servers that start when first asked for, and the real binary.
//!
//! Tests run on many threads of one process. Shared servers ([`replica_set`], [`three_nodes`],
//! [`authenticated`], [`standalone`], [`s3`]) start once and end with the process; a test keeps to itself
//! by a [`unique_database_name`] or an [`S3::unique_repository_url`] and never stops or kills them. A test that
//! does starts its [`own`]. What cannot be had fails the test with the reason; nothing is ever skipped.

// It is ahead of the tests: what no test uses yet is no mistake.
#![allow(dead_code, unused_imports)]

mod certificates;
pub mod fail_point;
mod fault_proxy;
mod http_proxy;
mod mail_server;
mod planted;
mod receiver;
mod running;
mod s3;
mod servers;
pub mod time;
mod tls_front;
mod workspace;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use certificates::{Authority, Issued};
pub use fault_proxy::{Fault, FaultProxy, Whom};
pub use http_proxy::{HttpProxy, Refusal, Request, Verdict};
pub use mail_server::{Mail, MailServer};
pub use planted::plant;
pub use receiver::{Answer, Received, Receiver};
pub use running::{Invocation, Run, Running};
pub use s3::S3;
pub use servers::{Host, Options, Servers, Topology};
pub use tls_front::TlsFront;
pub use workspace::Workspace;

/// Returns the shared single-node replica set: what most tests need.
pub fn replica_set() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| own(&Options::default()))
}

/// Returns the shared replica set of a primary and two secondaries.
pub fn three_nodes() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, ..Options::default() }))
}

/// Returns the shared single-node replica set with access control; its `uri()` may do everything.
pub fn authenticated() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| own(&Options { authentication: true, ..Options::default() }))
}

/// Returns the shared server that is no replica set and so has no oplog.
pub fn standalone() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| own(&Options { topology: Topology::Standalone, ..Options::default() }))
}

/// Returns the shared S3 store: the one that `$REGROW_TEST_S3_ENDPOINT` names, else an S3 server of ours.
pub fn s3() -> &'static S3 {
    static NAMED: OnceLock<Option<S3>> = OnceLock::new();
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    NAMED.get_or_init(S3::from_environment).as_ref().unwrap_or_else(|| {
        SERVERS.get_or_init(|| own(&Options { topology: Topology::None, s3: true, ..Options::default() })).s3()
    })
}

/// Starts servers for one test alone, to be killed, paused and broken; dropping them stops them.
pub fn own(options: &Options) -> Servers {
    Servers::start(options)
}

/// Whether there is time and room for all of it: `scripts/faults.sh` says so.
pub fn takes_long() -> bool {
    std::env::var("REGROW_FAULTS").is_ok_and(|wanted| wanted == "all")
}

/// Returns a database name that no other test uses, so that tests can share a server.
pub fn unique_database_name() -> String {
    unique("test")
}

/// Returns a name that is unique in this run; the process id keeps runs against a lasting store apart.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
