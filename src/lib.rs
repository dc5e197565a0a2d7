//! Regrow: `MongoDB` backup and disaster recovery that proves its backups restore.
//!
//! The library holds every operation; the binary is a thin shell around [`cli`]. The floors of the
//! house, what each may import and the invariants between them are in `docs/ARCHITECTURE.md`; a test
//! holds every `use crate::…` against that table.

pub mod backup;
pub mod browser;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod compliance;
pub mod config;
pub mod daemon;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod error;
pub mod expire;
pub mod export;
pub mod filter;
pub mod format;
pub mod handshake;
pub mod import;
pub mod metrics;
pub mod mongo;
pub mod namespace;
pub mod notify;
pub mod operations;
pub mod owner;
pub mod patience;
pub mod pattern;
pub mod policy;
pub mod progress;
pub mod random;
pub mod rate;
pub mod report;
pub mod repository;
pub mod restore;
pub mod search;
pub mod secret;
pub mod status;
pub mod storage;
pub mod units;
pub mod verify;
