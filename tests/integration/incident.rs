//! What an engineer does in an incident: replacing what is wrong, going on after a crash, undoing, restoring a part.

mod first;
mod killed;
mod replace;
pub mod stage;
mod tenant;
