//! The integration tests: real servers, the real binary, the public way in.
//!
//! One binary, so that servers start once and all tests share them; see [`harness`].

mod floors;
mod harness;
mod round_trip;
mod servers;
mod storage_contract;
