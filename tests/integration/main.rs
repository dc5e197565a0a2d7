//! The integration tests: real servers, the real binary, the public way in.
//!
//! One binary, so that servers start once and all tests share them; see [`harness`].
#![allow(clippy::unwrap_used)] // All of it is tests, the helpers too.

mod auditors;
mod bad_input;
mod capture;
mod commit_protocol;
mod contents;
mod damage;
mod deploy;
mod diff;
mod doctor;
mod drill;
mod endurance;
mod expire;
mod export;
mod faults;
mod filters;
mod floors;
mod harness;
mod hostile;
mod impact;
mod import;
mod incident;
mod increments;
mod interrupted;
mod known_damage;
mod lease;
mod notify;
mod object_lock;
mod point_in_time;
mod privileges;
mod progress;
mod report;
mod resume;
mod round_trip;
mod runbook;
mod scripts;
mod servers;
mod service;
mod small_backups;
mod stock_tools;
mod storage_contract;
mod storage_faults;
