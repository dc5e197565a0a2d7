//! What an attacker can do: keys and stores that lie, repositories put back, objects that lead elsewhere.

mod append_only;
mod bombs;
mod keys;
mod mutations;
mod names;
mod places;
mod rollback;
mod secrets;
mod security;
