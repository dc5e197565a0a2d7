//! `MongoDB`: connect, look around, read, and write. Never sees a repository.
//!
//! Documents cross this floor as the server's own bytes: nothing here decodes a user's document into a
//! map, so field order, duplicate names and deprecated types survive.

pub mod accounts;
pub mod apply;
pub mod by_id;
pub mod client;
pub mod documents;
pub mod error;
pub mod health;
pub mod load;
pub mod namespaces;
pub mod oplog;
pub mod parts;
pub mod privileges;
pub mod read;
pub mod roles;
pub mod scratch;

pub use client::{Deployment, Node, NodePreference, certificate_file, retrying};
pub use namespaces::{Namespace, NamespaceKind};
