//! `MongoDB`: connect, look around, read, and write. Never sees a repository.
//!
//! Documents cross this floor as the server's own bytes: nothing here decodes a user's document into a
//! map, so field order, duplicate names and deprecated types survive.

pub mod accounts;
pub mod answer;
pub mod apply;
pub mod by_id;
pub mod client;
pub mod documents;
pub mod error;
pub mod health;
pub mod load;
mod member;
pub mod namespaces;
pub mod oplog;
pub mod parts;
pub mod pressure;
pub mod privileges;
pub mod read;
pub mod roles;
pub mod scratch;

pub use client::{Deployment, Node, NodePreference, certificate_file, retrying};
pub use member::MemberChoice;
pub use namespaces::{Namespace, NamespaceKind};
